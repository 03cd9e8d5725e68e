"""Trains the demo model's VAE on crops of drawn pictures: absolute error, error of edges, and a very small KL term."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from facechain_ext.demo.architecture import VAE
from facechain_ext.training.arguments import Common, identity_of, option, parse, speak
from facechain_ext.training.average import Average
from facechain_ext.training.checkpoint import load_weights, save_weights
from facechain_ext.training.device import choose_device, optimise, pace_of, rate_at
from facechain_ext.training.loop import train
from facechain_ext.training.people import ALL_STYLES, PAINTED, anyone, picture

FINISHED = "vae.safetensors"
"""The averaged VAE with centred latents: what the other trainings use."""

NAME, SUMMARY = "train-vae", "Train the demo model's VAE on drawn pictures."


@dataclass(frozen=True, kw_only=True)
class VaeSettings(Common):
    """Settings of the VAE's training."""

    crop: int = option(128, "side of the crops in pixels, a multiple of 8; group norms want whole pictures, flat crops tell them nothing")
    shrink: int = option(
        1, "pictures are shrunk by this factor before they are cropped: colours are learnt sooner from small whole pictures"
    )
    begin: str = option("", "weights to begin with, of a run with smaller pictures")
    edges: float = option(0.5, "weight of the error of horizontal and vertical differences")
    kl: float = option(5e-6, "weight of the KL term, summed over a picture")
    widths: str = option("", "channels of the four levels, as 16,16,32,32; empty: the demo model's")


def to_tensor(pictures: np.ndarray) -> Tensor:
    """RGB uint8 [B, H, W, 3] → [B, 3, H, W] in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_pictures(tensor: Tensor) -> np.ndarray:
    """[B, 3, H, W] in [-1, 1] → RGB uint8 [B, H, W, 3]."""
    return ((tensor.detach().float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def build_vae(widths: str = "") -> AutoencoderKL:
    """The demo model's VAE, or a slimmer one."""
    config = dict(VAE)
    if widths:
        channels = [int(width) for width in widths.split(",")]
        config |= {"block_out_channels": channels, "norm_num_groups": min(32, channels[0])}
    return AutoencoderKL(**config)


class VaeTrainee:
    """The VAE, its optimiser and its average."""

    def __init__(self, settings: VaeSettings, device: torch.device) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.device = settings, device
        self.vae = build_vae(settings.widths).to(device)
        if settings.begin:
            self.vae.load_state_dict(load_weights(Path(settings.begin)))
        else:
            self._quieten()
        self.optimiser = torch.optim.Adam(self.vae.parameters(), lr=settings.rate, betas=(0.9, 0.99))
        self.average = Average({"vae": self.vae}, settings.decay)

    @torch.no_grad()
    def _quieten(self) -> None:
        """Begin with latents that are hardly noisy, or the decoder has nothing to learn from at first."""
        self.vae.quant_conv.bias[VAE["latent_channels"] :] -= 4.0

    def step(self, number: int, rng: np.random.Generator) -> Mapping[str, float]:
        crops = to_tensor(np.stack([self._crop(rng) for _ in range(self.settings.batch)])).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.autocast):
            latents = self.vae.encode(crops).latent_dist
            seen = self.vae.decode(latents.sample()).sample
        error = (seen.float() - crops).abs().mean()
        edges = _edge_error(seen.float(), crops)
        kl = latents.kl().float().mean() / crops[0].numel()
        loss = error + self.settings.edges * edges + self.settings.kl * crops[0].numel() * kl
        norm = optimise(loss, self.optimiser, self.vae.parameters(), rate_at(number, self.settings))
        self.average.follow(number)
        return {"error_of_255": error.item() * 127.5, "edges": edges.item(), "kl": kl.item(), "gradient": norm}

    def _crop(self, rng: np.random.Generator) -> np.ndarray:
        whole, shrink = picture(anyone(PAINTED, rng), rng, ALL_STYLES).picture, self.settings.shrink
        if shrink > 1:
            whole = cv2.resize(whole, None, fx=1 / shrink, fy=1 / shrink, interpolation=cv2.INTER_AREA)
        side = min(self.settings.crop, len(whole))
        top, left = rng.integers(0, whole.shape[0] - side + 1, 2)
        return whole[top : top + side, left : left + side]

    def state(self) -> dict[str, Any]:
        return {"vae": self.vae.state_dict(), "optimiser": self.optimiser.state_dict(), "average": self.average.tensors}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.vae.load_state_dict(state["vae"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average.restore(state["average"])

    def weights(self) -> Mapping[str, Tensor]:
        return self.average.of("vae")

    def metadata(self) -> Mapping[str, str]:
        return {"widths": self.settings.widths}

    @torch.no_grad()
    def sheet(self) -> np.ndarray:
        """Two rows: drawn, and back from the averaged VAE's latents."""
        rng = np.random.default_rng(1)
        drawn = np.stack([picture(anyone(PAINTED, rng), rng, [style]).picture for style in ALL_STYLES])
        vae = build_vae(self.settings.widths).to(self.device).eval()
        vae.load_state_dict(self.average.of("vae"))
        back = to_pictures(vae.decode(vae.encode(to_tensor(drawn).to(self.device)).latent_dist.mean).sample)
        return np.vstack([np.hstack(list(drawn)), np.hstack(list(back))])


def _edge_error(a: Tensor, b: Tensor) -> Tensor:
    difference = a - b
    across, down = difference[..., 1:] - difference[..., :-1], difference[..., 1:, :] - difference[..., :-1, :]
    return across.abs().mean() + down.abs().mean()


@torch.no_grad()
def centre_latents(vae: AutoencoderKL, pictures: Tensor) -> None:
    """Fold a shift and a scale per channel into the 1×1 convolutions on both sides of the latents, in place.

    Afterwards latents × scaling_factor have mean 0 and variance 1 over `pictures` [B, 3, H, W]; what is decoded stays the same.
    """
    latents = vae.encode(pictures).latent_dist.mean
    mean = latents.mean(dim=(0, 2, 3))
    scale = latents.std(dim=(0, 2, 3)) * vae.config.scaling_factor
    count = len(mean)
    before, after = vae.quant_conv, vae.post_quant_conv
    before.bias[:count].sub_(mean).div_(scale)
    before.weight[:count].div_(scale[:, None, None, None])
    before.bias[count:].sub_(2 * scale.log())
    after.bias.add_(after.weight[:, :, 0, 0] @ mean)
    after.weight.mul_(scale[None, :, None, None])


def finish(trainee: VaeTrainee, folder: Path) -> None:
    """Write the averaged VAE with centred latents."""
    rng = np.random.default_rng(2)
    vae = build_vae(trainee.settings.widths).to(trainee.device).eval()
    vae.load_state_dict(trainee.average.of("vae"))
    drawn = np.stack([picture(anyone(PAINTED, rng), rng).picture for _ in range(192)])
    centre_latents(vae, to_tensor(drawn).to(trainee.device))
    save_weights(folder / FINISHED, vae.state_dict(), trainee.metadata())


def main(argv: Sequence[str]) -> None:
    """Command line."""
    settings, folder = parse(VaeSettings, NAME, SUMMARY, argv)
    trainee = VaeTrainee(settings, choose_device(settings))
    train(trainee, folder, identity_of(settings), settings.seed, pace_of(settings))
    finish(trainee, folder)


if __name__ == "__main__":
    speak()
    main(sys.argv[1:])
