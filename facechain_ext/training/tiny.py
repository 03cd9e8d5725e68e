"""Trains a tiny decoder of the VAE's latents: a fortieth of the work, for trainings that look at what they paint (cf. TAESD, Bøer Bohan).

It belongs to one VAE's latents and to no product: what people see is decoded by the VAE.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facechain_ext.demo.architecture import VAE
from facechain_ext.errors import BadInput, BadWeights
from facechain_ext.training.arguments import Common, identity_of, option, parse, speak
from facechain_ext.training.average import Average
from facechain_ext.training.checkpoint import load_weights
from facechain_ext.training.device import choose_device, fused, optimise, pace_of, rate_at, send
from facechain_ext.training.drawn import open_drawn
from facechain_ext.training.frozen import finish
from facechain_ext.training.latents import open_set
from facechain_ext.training.loop import train
from facechain_ext.training.pixels import to_pictures, to_tensor
from facechain_ext.training.vae import errors

NAME, SUMMARY = "train-tiny", "Train a tiny decoder of the VAE's latents, for --likeness of train-fact."
FINISHED = "tiny.safetensors"
WIDTHS = (64, 48, 32)
"""Channels at the latents' resolution, twice and four times it; from there pixels are unfolded."""


class Block(nn.Module):
    """Two 3×3 convolutions and a way past them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(width, width, 3, 1, 1), nn.Conv2d(width, width, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.conv2(F.relu(self.conv1(x))))


class TinyDecoder(nn.Module):
    """Scaled latents [B, 4, h, w] → pictures [B, 3, 8·h, 8·w], near [-1, 1]."""

    def __init__(self, widths: tuple[int, int, int] = WIDTHS) -> None:
        super().__init__()
        first, second, third = widths
        self.begin = nn.Conv2d(4, first, 3, 1, 1)
        self.blocks = nn.ModuleList((nn.Sequential(Block(first), Block(first)), Block(second), Block(third)))
        self.wider = nn.ModuleList((nn.Conv2d(first, second, 3, 1, 1), nn.Conv2d(second, third, 3, 1, 1)))
        self.end = nn.Conv2d(third, 12, 3, 1, 1)

    def forward(self, latents: Tensor) -> Tensor:
        x = self.blocks[0](F.relu(self.begin(torch.tanh(latents / 3) * 3)))  # TAESD's bound: far-off numbers are no picture's
        for wider, block in zip(self.wider, self.blocks[1:], strict=True):
            x = block(F.relu(wider(F.interpolate(x, scale_factor=2.0, mode="nearest"))))
        return F.pixel_shuffle(self.end(x), 2)


def read_tiny(path: Path) -> TinyDecoder:
    """A decoder that train-tiny wrote, frozen. BadWeights."""
    network = TinyDecoder()
    try:
        network.load_state_dict(load_weights(path))
    except RuntimeError as error:
        raise BadWeights(f"{path.name} is no tiny decoder: give what `train-tiny` wrote.") from error
    return network.eval().requires_grad_(False)


@dataclass(frozen=True, kw_only=True)
class TinySettings(Common):
    """Settings of a tiny decoder's training."""

    batch: int = option(16, "pictures per step")
    latents: str = option("", "folder of encoded pictures")
    drawn: str = option("", "folder of draw-people that --latents encodes")
    noise: float = option(0.3, "noise on half of the latents, up to so many of their deviations: painted ones are never exact")
    edges: float = option(0.5, "weight of the error of horizontal and vertical differences")
    heads: float = option(4.0, "how many times as much an error in somebody's head counts")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.latents and self.drawn):
            raise BadInput("A tiny decoder learns from pictures and their latents: give --drawn and --latents.")


class TinyTrainee:
    """The decoder, its optimiser and its average."""

    def __init__(self, settings: TinySettings, device: torch.device) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.device = settings, device
        self.drawn, self.set = open_drawn(Path(settings.drawn)), open_set(Path(settings.latents))
        if self.set.drawn != str(self.drawn.folder):
            raise BadInput(f"The latents are not those of {self.drawn.folder}: give its folder to `encode-pictures --drawn`.")
        self.network = TinyDecoder().to(device)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=settings.rate, betas=(0.9, 0.99), fused=fused(device))
        self.average = Average({"tiny": self.network}, settings.decay)

    def step(self, number: int, rng: np.random.Generator) -> Mapping[str, float | Tensor]:
        settings = self.settings
        rows = np.sort(rng.integers(0, min(self.drawn.done, self.set.done), settings.batch))
        pictures, latents = self._rows(rows)
        heads = send(self.drawn.heads[rows].astype(np.float32) / 255, self.device)[:, None]
        weight = 1 + (settings.heads - 1) * F.interpolate(heads, scale_factor=8.0, mode="nearest")
        level = (torch.rand(len(rows), 1, 1, 1, device=self.device) * 2 - 1).clamp(min=0) * settings.noise
        difference = self.network(latents + level * torch.randn_like(latents)) - pictures
        error, edges = errors(difference * weight / weight.mean())
        norm = optimise(error + settings.edges * edges, self.optimiser, [*self.network.parameters()], rate_at(number, settings))
        self.average.follow(number)
        return {"error_of_255": difference.detach().abs().mean() * 127.5, "edges": edges.detach(), "gradient": norm}

    def _rows(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Pictures [B, 3, H, W] in [-1, 1] and their scaled latents [B, 4, h, w]."""
        latents = send(self.set.latents[rows].astype(np.float32), self.device)
        return to_tensor(send(self.drawn.pictures[rows], self.device)), latents * VAE["scaling_factor"]

    def state(self) -> dict[str, Any]:
        return {"tiny": self.network.state_dict(), "optimiser": self.optimiser.state_dict(), "average": self.average.tensors}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["tiny"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average.restore(state["average"])

    def weights(self) -> Mapping[str, Tensor]:
        return self.average.of("tiny")

    def metadata(self) -> Mapping[str, str]:
        return {}

    @torch.no_grad()
    def sheet(self) -> np.ndarray:
        """Two rows: drawn, and what the averaged decoder makes of the latents."""
        pictures, latents = self._rows(np.arange(8) * 4)
        network = TinyDecoder().to(self.device)
        network.load_state_dict(self.average.of("tiny"))
        return np.vstack([np.hstack(list(to_pictures(one))) for one in (pictures, network(latents))])


def main(argv: Sequence[str]) -> None:
    """Command line."""
    settings, folder = parse(TinySettings, NAME, SUMMARY, argv)
    trainee = TinyTrainee(settings, choose_device(settings))
    train(trainee, folder, identity_of(settings), settings.seed, pace_of(settings))
    finish(trainee, folder / FINISHED)


if __name__ == "__main__":
    speak()
    main(sys.argv[1:])
