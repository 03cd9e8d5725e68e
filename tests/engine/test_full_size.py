"""The published sizes: weights filled by a closed formula, outputs against statistics of the published classes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from facechain_ext.engine.encoder import EncoderSizes, FaceEncoder
from facechain_ext.engine.gate import GatedLayer, published_shapes
from facechain_ext.engine.resampler import Resampler, ResamplerSizes
from tests.engine.cases import GOLDEN

EXPECTED = json.loads((GOLDEN / "full_size_statistics.json").read_text())
ALPHAS = {"alpha_attn": 0.3, "alpha_dense": 0.7}


def values(shape: tuple[int, ...], k: int, amp: float) -> torch.Tensor:
    """The integer hash of `_fill.rule`."""
    h = np.arange(int(np.prod(shape)), dtype=np.uint64)
    h = ((h * 2654435761 + 97531 * k + 12345) & 0xFFFFFFFF).astype(np.uint32)
    h ^= h >> np.uint32(16)
    h *= np.uint32(2246822519)
    h ^= h >> np.uint32(13)
    h *= np.uint32(3266489917)
    h ^= h >> np.uint32(16)
    return torch.from_numpy((amp * (2 * (h.astype(np.float64) / 2**32) - 1)).astype(np.float32)).reshape(shape)


def filled(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Parameters by `_fill.params` and `_fill.exceptions`; num_batches_tracked keeps its ordinal and stays out."""
    out = {}
    for k, key in enumerate(sorted(shapes)):
        if key.endswith("num_batches_tracked"):
            continue
        value = values(shapes[key], k, 0.04) if key not in ALPHAS else torch.tensor(ALPHAS[key])
        if key.endswith("running_var"):
            value = 1 + value.abs()
        elif key.endswith(".weight") and value.ndim == 1:
            value = 1 + value
        out[key] = value
    return out


def fill(module: nn.Module) -> None:
    missing = module.load_state_dict(filled({key: tuple(value.shape) for key, value in module.state_dict().items()}), strict=False)
    assert all(key.endswith("num_batches_tracked") for key in missing.missing_keys)


def check(got: torch.Tensor, expected: dict) -> None:
    flat = got.double().flatten()
    assert list(got.shape) == expected["shape"]
    assert flat.mean().item() == pytest.approx(expected["mean"], rel=1e-3, abs=1e-4)
    assert flat.std(correction=0).item() == pytest.approx(expected["std"], rel=1e-3, abs=1e-4)
    assert flat.abs().max().item() == pytest.approx(expected["absmax"], rel=1e-3, abs=1e-4)
    assert flat[:8].tolist() == pytest.approx(expected["first8"], rel=1e-3, abs=1e-4)
    assert flat[-4:].tolist() == pytest.approx(expected["last4"], rel=1e-3, abs=1e-4)


@torch.no_grad()
def test_encoder() -> None:
    encoder = FaceEncoder(EncoderSizes(dim=512, depth=12, heads=8, hidden=2048, patch=9, tokens=144, embedding=512)).eval()
    fill(encoder)
    tokens = encoder(values((1, 3, 112, 112), 5, 1.0))
    check(tokens, EXPECTED["transface"]["local_tokens"])
    check(encoder.embedding(tokens), EXPECTED["transface"]["global_embed"])
    assert sum(p.numel() for p in encoder.parameters()) == pytest.approx(86.66e6, rel=1e-3)


@torch.no_grad()
def test_resampler() -> None:
    resampler = Resampler(ResamplerSizes(dim=1024, depth=4, heads=12, inner=768, queries=16, in_dim=512, out_dim=768, hidden=4096))
    assert len(resampler.state_dict()) == 51
    fill(resampler)
    check(resampler(values((1, 144, 512), 7, 1.0)), EXPECTED["resampler"]["cond"])
    check(resampler(torch.zeros(1, 144, 512)), EXPECTED["resampler"]["uncond"])


def cross_attention(x: torch.Tensor, text: torch.Tensor, channels: int) -> torch.Tensor:
    """The host's text cross-attention of `input`, written out: 8 heads, weights filled with k = 20…24."""
    shapes = ((channels, channels), (channels, 768), (channels, 768), (channels, channels), (channels,))
    q, k, v, out, bias = (values(shape, 20 + n, 0.04) for n, shape in enumerate(shapes))
    heads = [t.unflatten(2, (8, -1)).transpose(1, 2) for t in (x @ q.T, text @ k.T, text @ v.T)]
    scores = (heads[0] @ heads[1].mT / (channels // 8) ** 0.5).softmax(-1)
    return (scores @ heads[2]).transpose(1, 2).flatten(2) @ out.T + bias


@pytest.mark.parametrize("photos", [1, 2])
@pytest.mark.parametrize(("channels", "tokens"), [(320, 64), (640, 16), (1280, 9)])
@torch.no_grad()
def test_gated_block(channels: int, tokens: int, photos: int) -> None:
    layer = GatedLayer(channels, 768)
    layer.load_published(filled(published_shapes(channels, 768)))
    assert sum(p.numel() for p in layer.parameters()) == {320: 1_888_962, 640: 7_054_722, 1280: 27_216_642}[channels]
    expected = EXPECTED[f"gated_block_{channels}"][f"num_ims_{photos}"]
    x, face = values((1, tokens, channels), 3, 1.0), values((1, 16 * photos, 768), 11, 1.0)
    y = layer(x, face, 8, 0.5)
    check(y, expected["after_face_block"])
    check(y + cross_attention(F.layer_norm(y, (channels,)), values((1, 77, 768), 9, 1.0), channels), expected["block_out_after_attn2"])
    assert (y - layer(x, torch.zeros_like(face), 8, 0.5)).abs().max() > 0
