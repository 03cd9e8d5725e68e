"""Trains a ControlNet for body poses: a copy of the frozen UNet's first half that reads OpenPose skeletons (Zhang et al., 2023)."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import ControlNetModel
from torch import Tensor

from facechain_ext.demo.world import Drawing
from facechain_ext.errors import BadInput
from facechain_ext.hosts.standalone.checkpoint import Networks
from facechain_ext.training.arguments import Common, checkpoint_option, identity_of, option, parse, speak
from facechain_ext.training.average import Average
from facechain_ext.training.checkpoint import CHECKPOINT
from facechain_ext.training.device import choose_device, fused, lay_out, optimise, pace_of, rate_at, send
from facechain_ext.training.drawn import open_drawn
from facechain_ext.training.frozen import Frozen, captions_of, finish, listed, networks_of, noise_error, squared, without_words
from facechain_ext.training.latents import LatentSet, check_drawn, drawing_of, enough, open_set
from facechain_ext.training.loop import train
from facechain_ext.training.people import PAINTED, TESTED, anyone, picture
from facechain_ext.training.tokens import tokens_of
from facechain_ext.vision.skeleton import draw_skeletons

NAME, SUMMARY = "train-control", "Train an openpose ControlNet on pictures with skeletons, or on drawn people."
FINISHED = "control.safetensors"
SKELETONS = "skeletons"
HINT = {128: (16, 32, 64, 64)}
"""Channels of the skeleton's own layers by the width of the text; the published (16, 32, 96, 256) for SD1.5's."""

GAIN = 15.0
"""Skeletons are thin lines on black: with this they are a third as loud as the latents beside them."""


@dataclass(frozen=True, kw_only=True)
class ControlSettings(Common):
    """Settings of a ControlNet's training."""

    rate: float = option(1e-4, "highest learning rate; cosine to a twentieth of it")
    batch: int = option(8, "pictures per step", lowest=1)
    checkpoint: str = checkpoint_option()
    data: str = option("", f"folder of captioned pictures, their skeletons in its sub-folder {SKELETONS}; empty: drawn people")
    size: int = option(512, "side of the folder's pictures in pixels, a multiple of 64", lowest=64, multiple=64)
    latents: str = option("", "drawn people: folder of encoded pictures; empty: encoded on the fly, which is slower")
    drawn: str = option("", "drawn people: folder of draw-people that --latents encodes; empty: skeletons are drawn on the fly by one core")
    pictures: int = option(0, "drawn people: how many of the encoded pictures to use; 0: all there are", lowest=0)
    drop: float = option(0.2, "share of captions left out, so that the skeleton is looked at")
    snr: float = option(0.0, "cap of the signal-to-noise weight (min-SNR); 0: every step of the noise weighs the same")

    def __post_init__(self) -> None:
        super().__post_init__()
        beside = [name for name in ("latents", "drawn", "pictures") if getattr(self, name)]
        if self.data and beside:
            raise BadInput(f"--data gives a folder of pictures, --{beside[0]} is about drawn people: leave one of the two out.")
        if self.drawn and not self.latents:
            raise BadInput("--drawn needs the latents of its pictures: give --latents beside it.")


@dataclass(frozen=True, kw_only=True)
class Posed:
    """A batch: latents [B, 4, h, w] scaled, tokens [B, 77], skeletons [B, 3, H, W] in [0, 1]."""

    latents: Tensor
    tokens: np.ndarray
    skeletons: Tensor


class ControlTrainee:
    """The ControlNet, its optimiser and its average, beside a frozen UNet."""

    def __init__(self, settings: ControlSettings, device: torch.device, networks: Networks) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.device, self.frozen = settings, device, Frozen(networks)
        self.network = build_control(networks).to(device).train()
        open_hint(self.network)
        for each in (networks.unet, self.network):
            lay_out(each, settings)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=settings.rate, weight_decay=0.01, fused=fused(device))
        self.average = Average({"control": self.network}, settings.decay)
        self.set = open_set(Path(settings.latents)) if settings.latents else None
        self.paths = _paired(Path(settings.data)) if settings.data else []
        self.tokens = tokens_of(captions_of(self.paths)) if self.paths else None
        self.drawn = open_drawn(Path(settings.drawn)) if settings.drawn else None
        if self.set is not None:
            check_drawn(enough(self.set, settings.pictures), self.drawn.folder if self.drawn else None)

    def step(self, number: int, rng: np.random.Generator) -> Mapping[str, Tensor]:
        settings = self.settings
        batch = self._batch(rng)
        words = self.frozen.read(without_words(batch.tokens, settings.drop, rng))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=settings.autocast):
            loss, error = noise_error(
                batch.latents, settings.snr, lambda noisy, times: self._tell(self.network, noisy, times, words, batch.skeletons)
            )
        norm = optimise(loss, self.optimiser, [*self.network.parameters()], rate_at(number, settings))
        self.average.follow(number)
        return {"error": error.detach(), "gradient": norm}

    def _tell(self, control: ControlNetModel, noisy: Tensor, times: Tensor, words: Tensor, skeletons: Tensor) -> Tensor:
        down, mid = control(noisy, times, words, controlnet_cond=skeletons, return_dict=False)
        unet = self.frozen.networks.unet
        return unet(noisy, times, words, down_block_additional_residuals=down, mid_block_additional_residual=mid).sample

    def _batch(self, rng: np.random.Generator) -> Posed:
        if self.tokens is not None:
            chosen = rng.integers(0, len(self.paths), self.settings.batch)
            pictures = np.stack([squared(self.paths[index], self.settings.size) for index in chosen])
            poses = [squared(_skeleton_of(self.paths[index]), self.settings.size) for index in chosen]
            return self._posed(self.frozen.encode(pictures), self.tokens[chosen], poses)
        if self.set is not None:
            numbers = rng.integers(0, min(self.settings.pictures or self.set.done, self.set.done), self.settings.batch)
            latents = send(self.set.latents[numbers].astype(np.float32), self.device)
            return self._posed(latents, self.set.tokens[numbers], [self._skeleton(self.set, int(number)) for number in numbers])
        drawn = [picture(anyone(PAINTED, rng), rng) for _ in range(self.settings.batch)]
        latents = self.frozen.encode(np.stack([one.picture for one in drawn]))
        return self._posed(latents, tokens_of([one.caption for one in drawn]), [skeleton(one) for one in drawn])

    def _skeleton(self, encoded: LatentSet, number: int) -> np.ndarray:
        if self.drawn is None:
            return skeleton(drawing_of(encoded.seed, encoded.people, number))
        height, width = self.drawn.pictures.shape[1:3]
        return np.asarray(draw_skeletons((width, height), self.drawn.bodies(number)))

    def _posed(self, latents: Tensor, tokens: np.ndarray, skeletons: Sequence[np.ndarray]) -> Posed:
        seen = send(np.stack(skeletons), self.device).permute(0, 3, 1, 2).float().div(255)
        return Posed(latents=latents * self.frozen.scale, tokens=tokens, skeletons=seen)

    def state(self) -> dict[str, Any]:
        return {"control": self.network.state_dict(), "optimiser": self.optimiser.state_dict(), "average": self.average.tensors}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["control"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average.restore(state["average"])

    def weights(self) -> Mapping[str, Tensor]:
        return self.average.of("control")

    def metadata(self) -> Mapping[str, str]:
        return {"kind": "openpose ControlNet", "base": Path(self.settings.checkpoint or CHECKPOINT).name}

    @torch.no_grad()
    def sheet(self) -> np.ndarray:
        """Two rows: skeletons, and pictures of the averaged ControlNet with captions that do not tell the pose."""
        if self.tokens is not None:
            poses, tokens = [squared(_skeleton_of(path), self.settings.size) for path in self.paths[:6]], self.tokens[:6]
        else:
            rng = np.random.default_rng(5)
            drawn = [picture(number, rng) for number in TESTED[:6]]
            poses, tokens = [skeleton(one) for one in drawn], tokens_of([one.caption.replace(", waving", "") for one in drawn])
        control = build_control(self.frozen.networks).to(self.device).eval()
        control.load_state_dict(self.average.of("control"))
        seen = self._posed(torch.zeros(1, device=self.device), tokens, poses).skeletons
        painter = _Posing(self, control, torch.cat((seen, seen)))
        made = self.frozen.paint(self.frozen.read(tokens), poses[0].shape[0], painter)
        return np.vstack([np.hstack(poses), np.hstack(list(made))])


class _Posing(torch.nn.Module):
    """UNet and ControlNet as one network for the sampler."""

    def __init__(self, trainee: ControlTrainee, control: ControlNetModel, skeletons: Tensor) -> None:
        super().__init__()
        self.trainee, self.control, self.skeletons = trainee, control, skeletons

    def forward(self, noisy: Tensor, time: Any, words: Tensor) -> Any:
        times = torch.full((len(noisy),), int(time), device=noisy.device)
        return _Sample(self.trainee._tell(self.control, noisy, times, words, self.skeletons))


@dataclass(frozen=True)
class _Sample:
    """What a sampler reads of a UNet's answer."""

    sample: Tensor


@torch.no_grad()
def open_hint(control: ControlNetModel) -> None:
    """Let the skeleton in from the first step, in place; what comes out stays zero.

    As published, the skeleton's own layers end in a zero convolution too: until the outputs have wandered off nobody hears it, and in
    1,500 small steps nobody did.
    """
    layers = control.controlnet_cond_embedding
    for module in layers.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
            torch.nn.init.zeros_(module.bias)
    layers.conv_out.weight.mul_(GAIN)


def build_control(networks: Networks) -> ControlNetModel:
    """A ControlNet that begins as a copy of the UNet's first half and adds nothing yet."""
    text = networks.unet.config["cross_attention_dim"]
    control = ControlNetModel.from_unet(networks.unet, conditioning_embedding_out_channels=HINT.get(text, (16, 32, 96, 256)))
    return control.requires_grad_(True)


def skeleton(drawing: Drawing) -> np.ndarray:
    """The skeletons of everybody in a drawing, RGB uint8 [H, W, 3]."""
    height, width = drawing.picture.shape[:2]
    return np.asarray(draw_skeletons((width, height), [one.keypoints for one in drawing.people]))


def _paired(folder: Path) -> list[Path]:
    paths = listed(folder)
    missing = [path.name for path in paths if not _skeleton_of(path).is_file()]
    if missing:
        raise BadInput(f"{folder / SKELETONS} lacks the skeleton of {missing[0]} ({len(missing)} in all): add a .png of that name.")
    return paths


def _skeleton_of(path: Path) -> Path:
    return path.parent / SKELETONS / f"{path.stem}.png"


def main(argv: Sequence[str]) -> None:
    """Command line."""
    settings, folder = parse(ControlSettings, NAME, SUMMARY, argv)
    device = choose_device(settings)
    trainee = ControlTrainee(settings, device, networks_of(settings.checkpoint, device))
    train(trainee, folder, identity_of(settings), settings.seed, pace_of(settings))
    finish(trainee, folder / FINISHED)


if __name__ == "__main__":
    speak()
    main(sys.argv[1:])
