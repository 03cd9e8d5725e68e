"""Words as a teacher: what the model paints of somebody when it is told in words how they look, an adapter learns to paint from a face.

A checkpoint learns looks in words by all its pictures, an adapter hears of them in the noise alone. Asked twice, with and without these
words, the frozen model says without any noise what they change; an adapter that had this beside what it knows already would paint so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from facechain_ext.demo.world import Identity
from facechain_ext.demo.world.looks import everything
from facechain_ext.demo.world.traits import COLOURLESS
from facechain_ext.engine.injection import Call
from facechain_ext.training.tokens import joined

Tell = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Noise from latents [B, 4, h, w], times [B], words and words with looks [B, 77, context]."""
Attach = Callable[[nn.Module, Sequence[Any], Callable[[int], Call | None]], Any]
"""As engine.injection.attach, on the frozen UNet."""


def described(tokens: np.ndarray, who: Identity, style: str) -> np.ndarray:
    """A caption's tokens [77] with all looks of somebody said at its end, as far as there is room; colours where the style has them."""
    return joined(tokens, everything(who, style not in COLOURLESS))


class Teacher:
    """The frozen model beside the adapter that a training begins with."""

    def __init__(self, unet: nn.Module, before: nn.Module, attach: Attach) -> None:
        self.unet, self.before, self.attach = unet, before.eval().requires_grad_(False), attach

    @contextmanager
    def told_of(self, persons: Sequence[Any], latent: tuple[int, int]) -> Iterator[Tell]:
        """What tells the noise an adapter should, while the block runs: its own of before, and what looks in words change without it.

        persons: whose variant i is row i's, by the adapter of before. Any other adapter on the UNet has to be silent meanwhile.
        """
        with_face = False

        def call(rows: int) -> Call | None:
            every = tuple(range(rows))
            return Call(rows=every, pictures=every, progress=0.0, latent=latent) if with_face else None

        @torch.no_grad()
        def tell(latents: Tensor, times: Tensor, words: Tensor, looks: Tensor) -> Tensor:
            nonlocal with_face
            with_face = True
            own = self.unet(latents, times, words).sample.float()
            with_face = False
            both = self.unet(latents.repeat(2, 1, 1, 1), times.repeat(2), torch.cat((words, looks))).sample.float()
            plain, more = both.chunk(2)
            return own + more - plain

        with self.attach(self.before, persons, call):
            yield tell
