"""A model watched while it paints from noise by itself: its own way down, with guidance as a host's, and what is learnt along it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from facechain_ext.engine.injection import Call
from facechain_ext.training.noise import STEPS, ddim

if TYPE_CHECKING:
    import numpy as np

Tell = Callable[[Tensor, Tensor], Tensor]
"""Guided noise from latents [B, 4, h, w] and times [B]."""
Watcher = Callable[[Tensor, Tensor, "np.ndarray", Tensor], tuple[Tensor, Tensor]]
"""Asked of every step's told pictures as an IdentityLoss is."""

WATCHED = 8
"""Steps of a painting that is watched."""
GUIDANCE = 4.0
"""Prompt strength of pictures that are painted on the way."""


class Guided:
    """Tells noise as a host asks for it: of nobody without words, and of everybody by face and words. The first is not learnt through.

    An adapter is attached to the UNet with `call`; variant 0 of its person is nobody, variant i + 1 whoever picture i is of. It is silent
    whenever this tells nothing.
    """

    def __init__(self, unet: nn.Module, words: Tensor, none: Tensor, latent: tuple[int, int]) -> None:
        """words, none: text embeddings with and without a caption [B, 77, context]; latent: rows and columns of the latents."""
        self.unet, self.words, self.none, self.latent = unet, words, none, latent
        self.shown: tuple[int, ...] = ()

    def call(self, _: int) -> Call | None:
        """What the adapter is told of the rows at hand."""
        return Call(rows=self.shown, pictures=tuple(range(len(self.shown))), progress=0.0, latent=self.latent) if self.shown else None

    def __call__(self, latents: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """Noise without and with face and words, from latents [B, 4, h, w] and times [B]."""
        count = len(latents)
        try:
            with torch.no_grad():
                self.shown = (0,) * count
                without = self.unet(latents, times, self.none).sample.float()
            self.shown = tuple(range(1, count + 1))
            return without, self.unet(latents, times, self.words).sample.float()
        finally:
            self.shown = ()

    @torch.no_grad()
    def alone(self, latents: Tensor, times: Tensor) -> Tensor:
        """Guided noise without the adapter, from the same [B, 4, h, w] and [B]; not learnt through."""
        both = self.unet(torch.cat((latents, latents)), torch.cat((times, times)), torch.cat((self.none, self.words)))
        return guide(*both.sample.float().chunk(2))


def guide(without: Tensor, with_face: Tensor) -> Tensor:
    """Noise told with guidance."""
    return without + GUIDANCE * (with_face - without)


def first_step() -> int:
    """The first step of a watched way, one of the highest eighth: chosen at random, every step of the noise has its turn."""
    return STEPS - 1 - int(torch.randint(STEPS // WATCHED, ()))


def way_from(first: int) -> list[tuple[int, int]]:
    """The steps of a watched way, all as far apart, each with the one after it; -1 after the last."""
    way = range(first, -1, -(STEPS // WATCHED))[:WATCHED]
    return list(zip(way, (*way[1:], -1), strict=True))


@torch.no_grad()
def unwatched(tell: Tell, noise: Tensor, first: int) -> list[Tensor]:
    """The pictures that told noise stands for along the same way from noise [B, 4, h, w], one per step; nothing is learnt from."""
    latents, told = noise, []
    for now, after in way_from(first):
        clean, latents = ddim(latents, tell(latents, torch.full((len(noise),), now, device=noise.device)), now, after)
        told.append(clean)
    return told


def watched(loss: Watcher | None, tell: Tell, noise: Tensor, rows: np.ndarray, first: int = STEPS - 1) -> tuple[Tensor, Tensor]:
    """The loss along a model's own way from noise [B, 4, h, w] to pictures, its mean over the steps; the share that is right in the end.

    Without a loss the way is gone all the same, and nothing is said of it: `tell` may have its own to say.
    Every step is learnt from by itself: what it is given is not learnt through, as in DRTune (Wu et al., 2024). rows: where a face of each
    is kept [B]. first: the first of the steps.
    """
    latents, told, right = noise, [], torch.zeros(())
    everybody = torch.ones(len(noise), dtype=torch.bool, device=noise.device)
    for now, after in way_from(first):
        times = torch.full((len(noise),), now, device=noise.device)
        clean, ahead = ddim(latents, tell(latents, times), now, after)
        if loss is not None:
            wrong, right = loss(clean, times, rows, everybody)
            told.append(wrong)
        latents = ahead.detach()
    return torch.stack(told).mean() if told else right, right
