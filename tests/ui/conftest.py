"""A WebUI made of small strict fakes, with a real small adapter and encoder in its models folder."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.fakes import page as fakes

ASTRONAUT = Path(__file__).parents[2] / "examples" / "astronaut.png"


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> Path:
    """A models folder with FaceChain/: one adapter and the encoder it belongs to, a few kilobytes each."""
    from facechain_ext.engine.checkpoints import write_adapter, write_encoder
    from facechain_ext.engine.encoder import EncoderSizes, FaceEncoder
    from tests.fakes.networks import RESAMPLER, adapter, fill

    models = tmp_path_factory.mktemp("models")
    write_adapter(adapter(), models / "FaceChain" / "small.safetensors")
    encoder = FaceEncoder(EncoderSizes(dim=RESAMPLER.in_dim, depth=1, heads=2, hidden=16, patch=9, tokens=144, embedding=8))
    fill(encoder, 5)
    write_encoder(encoder, models / "FaceChain" / "encoder.safetensors")
    return models


@pytest.fixture
def models(weights, tmp_path) -> Path:
    """The same files in a folder of this test's own."""
    (tmp_path / "FaceChain").mkdir()
    for file in (weights / "FaceChain").iterdir():
        (tmp_path / "FaceChain" / file.name).symlink_to(file)
    return tmp_path


@pytest.fixture
def host(monkeypatch, models) -> SimpleNamespace:
    """The WebUI's modules."""
    return fakes.install(monkeypatch, models)
