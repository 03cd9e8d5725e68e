"""The golden case, and small UNets of SD1.5's topology, for the engine's tests."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file

from facechain_ext.engine.adapter import Adapter
from facechain_ext.engine.checkpoints import read_adapter, read_encoder
from facechain_ext.engine.encoder import FaceEncoder
from facechain_ext.engine.identity import Identity
from facechain_ext.engine.injection import Call

GOLDEN = Path(__file__).parents[1] / "golden"


@dataclass(frozen=True)
class Case:
    """The golden case: its sizes, and what its files hold."""

    sizes: dict

    def io(self, name: str) -> dict[str, torch.Tensor]:
        return load_file(GOLDEN / f"{name}_io.safetensors")

    def encoder(self) -> FaceEncoder:
        return read_encoder(GOLDEN / "transface_weights.safetensors", heads=self.sizes["vit"]["heads"])

    def adapter(self, container: str = "safetensors") -> Adapter:
        return read_adapter(GOLDEN / f"adapter_weights.{container}", heads=self.sizes["resampler"]["heads"])

    def unet(self):
        from diffusers import UNet2DConditionModel

        unet = UNet2DConditionModel.from_config(json.loads((GOLDEN / "unet_config.json").read_text()))
        unet.load_state_dict(load_file(GOLDEN / "unet_weights.safetensors"))
        return unet.eval().requires_grad_(False)

    def identity(self) -> Identity:
        """The person of unet_io: the face tokens as the published code made them."""
        io = self.io("unet")
        return Identity(
            tokens=io["face_cond"][0], null=io["face_uncond"][0], embeddings=torch.ones(1, 1), photos=("a", "b"), encoder="e", adapter="a"
        )


@cache
def golden() -> Case:
    return Case(json.loads((GOLDEN / "case.json").read_text()))


def error(got: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference relative to max(1, max|expected|), the measure of golden/README.md."""
    return float((got - expected).abs().max() / max(1.0, float(expected.abs().max())))


def both(latent: tuple[int, int], progress: float = 0.0):
    """Calls of a diffusers loop: [uncond, cond] × batch."""

    def calls(rows: int) -> Call:
        half = rows // 2
        return Call(rows=(0,) * half + (1,) * half, pictures=tuple(range(half)) * 2, progress=progress, latent=latent)

    return calls
