"""Trains a style LoRA: low-rank changes of a frozen UNet's transformers, from a folder of pictures or a drawn style (FACTS §1.5).

The file is in kohya's format, with alpha = rank, and works in every WebUI. It changes what kohya's trainer changes: attention, feed-forward
and projections (FACTS §1.5 has attention alone).
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from facechain_ext.demo.world.caption import STYLE_WORDS
from facechain_ext.demo.world.traits import EXTRA_STYLES
from facechain_ext.errors import BadInput
from facechain_ext.hosts.standalone.checkpoint import Networks
from facechain_ext.training.arguments import Common, checkpoint_option, identity_of, option, parse, speak
from facechain_ext.training.average import Average
from facechain_ext.training.checkpoint import CHECKPOINT
from facechain_ext.training.device import choose_device, fused, lay_out, optimise, pace_of, rate_at, send
from facechain_ext.training.drawn import head_cells, open_drawn
from facechain_ext.training.frozen import Frozen, captions_of, finish, listed, networks_of, noise_error, squared, without_words
from facechain_ext.training.latents import HEIGHT
from facechain_ext.training.loop import train
from facechain_ext.training.people import ALL_STYLES, PAINTED, TESTED, anyone, picture
from facechain_ext.training.tokens import tokens_of

NAME, SUMMARY = "train-style-lora", "Train a style LoRA on a folder of pictures, or on a drawn style."
FINISHED = "lora.safetensors"


@dataclass(frozen=True, kw_only=True)
class StyleSettings(Common):
    """Settings of a style LoRA's training."""

    rate: float = option(1e-4, "highest learning rate; cosine to a twentieth of it")
    batch: int = option(4, "pictures per step", lowest=1)
    checkpoint: str = checkpoint_option()
    data: str = option("", "folder of pictures, each with a caption in a .txt of the same name beside it")
    trigger: str = option("", "word before every caption")
    style: str = option("", "instead of a folder: a drawn style", ("", *EXTRA_STYLES))
    drawn: str = option("", "drawn style: folder of draw-people that has it; empty: drawn on the fly by one core")
    size: int = option(512, "side of the folder's pictures in pixels, a multiple of 8", lowest=8, multiple=8)
    rank: int = option(32, "rank of the changes", lowest=1)
    drop: float = option(0.1, "share of captions left out")
    heads: float = option(1.0, "drawn style: how many times as much the noise error in heads counts", lowest=0)
    attention: bool = option(False, "change attention alone, which makes a file half the size")
    velocity: bool = option(False, "the error of the velocity v in place of the noise's: noisy steps, which settle colours, are heard too")
    snr: float = option(0.0, "cap of the signal-to-noise weight (min-SNR); 0: every step of the noise weighs the same")

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.data) == bool(self.style):
            raise BadInput("Give either --data with a folder of pictures, or --style with a drawn style.")
        if self.drawn and not self.style:
            raise BadInput("--drawn has pictures of a drawn style, --data gives others: leave one of the two out.")
        if self.heads != 1 and not self.style:
            raise BadInput("--heads needs to know where heads are, and only drawn pictures tell: give --style, or leave it out.")
        if self.trigger and self.style:
            raise BadInput("--trigger goes before the captions of --data; a drawn style has words of its own: leave it out.")


class LowRank(nn.Module):
    """The change of one matrix, or of one convolution of single cells: up(down(x)), nothing at first."""

    def __init__(self, layer: nn.Linear | nn.Conv2d, rank: int) -> None:
        super().__init__()
        outside, inside, *kernel = layer.weight.shape
        made = partial(nn.Conv2d, kernel_size=1, bias=False) if kernel else partial(nn.Linear, bias=False)
        self.lora_down, self.lora_up = made(inside, rank), made(rank, outside)
        nn.init.normal_(self.lora_down.weight, std=1 / rank)
        nn.init.zeros_(self.lora_up.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.lora_up(self.lora_down(x))


class StyleTrainee:
    """The changes, their optimiser and their average, hung onto a frozen UNet."""

    def __init__(self, settings: StyleSettings, device: torch.device, networks: Networks) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.device, self.frozen = settings, device, Frozen(networks)
        lay_out(networks.unet, settings)
        self.layers = {kohya_name(path): layer for path, layer in targets(networks.unet, settings.attention)}
        made = {name: LowRank(layer, settings.rank) for name, layer in self.layers.items()}
        self.changes = nn.ModuleDict(made).to(device)
        self.at_work = self.changes
        for name, layer in self.layers.items():
            layer.register_forward_hook(self._change(name))
        self.optimiser = torch.optim.AdamW(self.changes.parameters(), lr=settings.rate, weight_decay=0.01, fused=fused(device))
        self.average = Average({"changes": self.changes}, settings.decay)
        self.paths = listed(Path(settings.data)) if settings.data else []
        self.tokens = tokens_of(captions_of(self.paths, settings.trigger)) if self.paths else None
        self.drawn = open_drawn(Path(settings.drawn)) if settings.drawn else None
        self.rows = np.flatnonzero(self.drawn.styles[: self.drawn.done] == ALL_STYLES.index(settings.style)) if self.drawn else np.zeros(0)
        if self.drawn and not len(self.rows):
            raise BadInput(f"{settings.drawn} has no pictures in the style {settings.style}: draw them with `draw-people --styles`.")

    def _change(self, name: str) -> Any:
        return lambda _layer, args, output: output + self.at_work[name](args[0])

    def step(self, number: int, rng: np.random.Generator) -> Mapping[str, Tensor]:
        settings = self.settings
        pictures, tokens, heads = self._batch(rng)
        latents = self.frozen.encode(pictures) * self.frozen.scale
        words = self.frozen.read(without_words(tokens, settings.drop, rng))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=settings.autocast):
            unet = self.frozen.networks.unet
            loss, error = noise_error(
                latents,
                settings.snr,
                lambda noisy, times: unet(noisy, times, words).sample,
                self._weight(heads),
                velocity=settings.velocity,
            )
        norm = optimise(loss, self.optimiser, [*self.changes.parameters()], rate_at(number, settings))
        self.average.follow(number)
        return {"error": error.detach(), "gradient": norm}

    def _weight(self, heads: np.ndarray | None) -> Tensor | None:
        """How much cells count [B, 1, h, w], from how much of each is somebody's head, of 255 [B, h, w]."""
        if heads is None or self.settings.heads == 1:
            return None
        return 1 + (self.settings.heads - 1) / 255 * send(heads.astype(np.float32), self.device)[:, None]

    def _batch(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Pictures, the tokens of their captions, and where heads are, in cells; None where nobody knows."""
        if self.drawn is not None:
            rows = np.sort(rng.choice(self.rows, self.settings.batch))
            return self.drawn.pictures[rows], self.drawn.tokens[rows], self.drawn.heads[rows]
        if self.tokens is None:
            drawn = [picture(anyone(PAINTED, rng), rng, [self.settings.style]) for _ in range(self.settings.batch)]
            heads = np.stack([head_cells(one) for one in drawn])
            return np.stack([one.picture for one in drawn]), tokens_of([one.caption for one in drawn]), heads
        chosen = rng.integers(0, len(self.paths), self.settings.batch)
        pictures = [squared(self.paths[index], self.settings.size) for index in chosen]
        mirrored = [one[:, ::-1] if rng.random() < 0.5 else one for one in pictures]
        return np.stack(mirrored), self.tokens[chosen], None

    def state(self) -> dict[str, Any]:
        return {"changes": self.changes.state_dict(), "optimiser": self.optimiser.state_dict(), "average": self.average.tensors}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.changes.load_state_dict(state["changes"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average.restore(state["average"])

    def weights(self) -> Mapping[str, Tensor]:
        alphas = {f"{name}.alpha": torch.tensor(float(self.settings.rank)) for name in self.layers}
        return {**self.average.of("changes"), **alphas}

    def metadata(self) -> Mapping[str, str]:
        """As kohya's trainer names it, so that WebUIs show it."""
        rank, base = str(self.settings.rank), Path(self.settings.checkpoint or CHECKPOINT).name
        said = {"ss_network_module": "networks.lora", "ss_network_dim": rank, "ss_network_alpha": rank, "ss_sd_model_name": base}
        words = self.settings.trigger if self.settings.data else STYLE_WORDS[self.settings.style][0]
        return said | ({"modelspec.trigger_phrase": words} if words else {})

    def sheet(self) -> np.ndarray:
        """Two rows: the frozen model's pictures, and those with the averaged LoRA."""
        if self.tokens is None:
            rng = np.random.default_rng(5)
            tokens = tokens_of([picture(number, rng, [self.settings.style]).caption for number in TESTED[:6]])
        else:
            tokens = self.tokens[:6]
        words = self.frozen.read(tokens)
        rows = []
        for share in (0.0, 1.0):
            self.at_work = self._averaged(share)
            rows.append(np.hstack(list(self.frozen.paint(words, HEIGHT if self.settings.style else self.settings.size))))
        self.at_work = self.changes
        return np.vstack(rows)

    def _averaged(self, share: float) -> nn.ModuleDict:
        changes = copy.deepcopy(self.changes)
        changes.load_state_dict({key: value * (share if "lora_up" in key else 1) for key, value in self.average.of("changes").items()})
        return changes


def targets(unet: nn.Module, attention: bool = False) -> list[tuple[str, nn.Linear | nn.Conv2d]]:
    """What is changed: every matrix and 1 × 1 convolution of the transformers, which is what kohya's trainer takes too.

    attention: those of both attentions alone.
    """
    parts = (".attn1.", ".attn2.") if attention else (".attentions.",)
    found = [(path, module) for path, module in unet.named_modules() if any(part in path for part in parts)]
    return [(path, module) for path, module in found if isinstance(module, nn.Linear | nn.Conv2d)]


def kohya_name(path: str) -> str:
    """kohya's name of a layer of diffusers' UNet."""
    return f"lora_unet_{path.replace('.', '_')}"


def main(argv: Sequence[str]) -> None:
    """Command line."""
    settings, folder = parse(StyleSettings, NAME, SUMMARY, argv)
    device = choose_device(settings)
    trainee = StyleTrainee(settings, device, networks_of(settings.checkpoint, device))
    train(trainee, folder, identity_of(settings), settings.seed, pace_of(settings))
    finish(trainee, folder / FINISHED)


if __name__ == "__main__":
    speak()
    main(sys.argv[1:])
