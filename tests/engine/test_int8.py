"""Matrices in int8: by hand, and as an encoder's file."""

from __future__ import annotations

from pathlib import Path

import torch

from facechain_ext.demo.architecture import ENCODER
from facechain_ext.engine.checkpoints import read_encoder, write_tensors
from facechain_ext.engine.encoder import EncoderSizes, FaceEncoder
from facechain_ext.engine.int8 import from_int8, to_int8


def test_by_hand():
    """1.27 is 127 steps of 0.01; -0.634 is 63 of them and a bit; a row of zeros stays one."""
    tensors = {"m": torch.tensor([[1.27, -0.634, 0.0], [0.0, 0.0, 0.0]]), "v": torch.ones(2)}
    small = to_int8(tensors, ["m"])
    assert small["m"].tolist() == [[127, -63, 0], [0, 0, 0]] and small["v"] is tensors["v"]
    torch.testing.assert_close(small["m.scale"][0], torch.tensor([0.01]))
    back = from_int8(small)
    assert set(back) == {"m", "v"} and back["m"][1].tolist() == [0.0, 0.0, 0.0]
    torch.testing.assert_close(back["m"][0], torch.tensor([1.27, -0.63, 0.0]))


def test_what_is_no_matrix_of_ours_stays():
    plain = {"m": torch.ones(2, 2), "m.scale": torch.ones(2, 1), "n": torch.ones(2, dtype=torch.int8)}
    assert from_int8(plain) == plain


def test_an_encoder_in_int8_sees_nearly_the_same(tmp_path: Path):
    torch.manual_seed(0)
    encoder = FaceEncoder(EncoderSizes(**ENCODER)).eval()
    torch.nn.init.trunc_normal_(encoder.pos_embed, std=0.02)
    names = ("senet.0.weight", "feature.0.weight")
    write_tensors(dict(encoder.state_dict()), tmp_path / "whole.safetensors", {"heads": "2"})
    write_tensors(to_int8(encoder.state_dict(), names), tmp_path / "small.safetensors", {"heads": "2"})
    assert (tmp_path / "small.safetensors").stat().st_size < 0.5 * (tmp_path / "whole.safetensors").stat().st_size
    whole, small = (read_encoder(tmp_path / f"{name}.safetensors") for name in ("whole", "small"))
    faces = torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(1))
    seen, again = (one.embedding(one(faces)) for one in (whole, small))
    assert torch.nn.functional.cosine_similarity(seen, again).min() > 0.999 and not seen.equal(again)
    for name in names:
        matrix, rounded = whole.state_dict()[name], small.state_dict()[name]
        assert ((matrix - rounded).abs() <= matrix.abs().amax(dim=1, keepdim=True) * (0.5 / 127 + 1e-6)).all()
