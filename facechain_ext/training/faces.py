"""Faces told to a UNet during a training: every row of a batch is told its own."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from facechain_ext.engine.adapter import Adapter
from facechain_ext.engine.checkpoints import read_adapter, read_encoder
from facechain_ext.engine.encoder import FaceEncoder
from facechain_ext.engine.identity import to_input
from facechain_ext.engine.injection import Call, attach
from facechain_ext.engine.sites import find_sites
from facechain_ext.errors import BadInput
from facechain_ext.training.device import send


@dataclass(frozen=True, kw_only=True)
class Variants:
    """One person of every row for engine.injection: variant i is row i's tokens [V, T, context]; mask [B, H, W] or None."""

    stack: Tensor
    mask: Tensor | None = None
    weight: float = 1.0

    def active(self, progress: float) -> bool:
        """Always."""
        return True


class Faces:
    """A finished adapter and its encoder, neither of which learns."""

    def __init__(self, unet: nn.Module, adapter: Adapter, encoder: FaceEncoder) -> None:
        self.unet, self.device = unet, next(unet.parameters()).device
        self.adapter = adapter.to(self.device).eval().requires_grad_(False)
        self.encoder = encoder.to(self.device)

    @classmethod
    def read(cls, unet: nn.Module, adapter: str, encoder: Path) -> Faces:
        """Those of two files. BadInput, BadWeights where they do not belong to the UNet or to one another."""
        gates, eyes = read_adapter(Path(adapter)), read_encoder(encoder)
        gates.check_fits(find_sites(unet))
        check_encoder(gates, eyes, adapter)
        return cls(unet, gates, eyes)

    def told(self, crops: np.ndarray, latent: tuple[int, int]) -> AbstractContextManager[Any]:
        """While it is open the UNet is told the face of every row; crops: uint8 RGB [B, 112, 112, 3]; latent: height and width."""
        with torch.no_grad():
            stack = self.adapter.resampler(self.encoder(to_input(send(crops, self.device))))
        rows = tuple(range(len(crops)))
        call = Call(rows=rows, pictures=rows, progress=0.0, latent=latent)
        return attach(self.unet, self.adapter, [Variants(stack=stack)], lambda _: call)


def check_encoder(adapter: Adapter, encoder: FaceEncoder, path: str) -> None:
    """BadInput where an adapter's resampler does not take what the encoder says."""
    if adapter.sizes.resampler.in_dim != encoder.sizes.dim:
        raise BadInput(f"The adapter {path} was trained with another face encoder: give that one with --encoder.")
