"""The engine against numbers from the published networks (golden/README.md)."""

from __future__ import annotations

import pytest
import torch

from facechain_ext.engine.injection import Person, attach
from tests.engine.cases import both, error, golden

TOLERANCE = 1e-4


def test_encoder_tokens_and_embedding() -> None:
    io, encoder = golden().io("transface"), golden().encoder()
    tokens = encoder(io["images"])
    assert error(tokens, io["tokens"]) <= TOLERANCE
    assert error(encoder.embedding(tokens), io["embedding"]) <= TOLERANCE


@pytest.mark.parametrize("container", ["safetensors", "ckpt"])
def test_resampler(container: str) -> None:
    io, resampler = golden().io("resampler"), golden().adapter(container).resampler
    cond = resampler(io["tokens"]).flatten(0, 1)[None]
    uncond = resampler(torch.zeros_like(io["tokens"])).flatten(0, 1)[None]
    assert error(cond, io["cond"]) <= TOLERANCE
    assert error(uncond, io["uncond"]) <= TOLERANCE


def test_gated_layer() -> None:
    io, layer = golden().io("layer"), golden().adapter().layers[6]
    y = layer(io["x"], io["face"], golden().sizes["heads"], golden().sizes["scale"])
    assert error(y, io["y"]) <= TOLERANCE


@pytest.mark.parametrize("scale", ["plain", "scale_0.0", "scale_0.5", "scale_1.0"])
def test_unet(scale: str) -> None:
    io, unet = golden().io("unet"), golden().unet()
    weight = 0.0 if scale == "plain" else float(scale.removeprefix("scale_"))
    person = Person(identity=golden().identity(), weight=weight)
    with attach(unet, golden().adapter(), [] if scale == "plain" else [person], both(tuple(io["x"].shape[2:]))):
        eps = unet(io["x"], io["t"], encoder_hidden_states=io["text"]).sample
    assert error(eps, io[f"eps_{scale}"]) <= TOLERANCE
