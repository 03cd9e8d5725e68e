"""Several looks at one photo: what each shows, that tokens are their mean, and how an adapter's file asks for them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from facechain_ext.__main__ import convert as convert_command
from facechain_ext.engine.checkpoints import convert, read_adapter, write_adapter
from facechain_ext.engine.identity import identify, to_input
from facechain_ext.engine.looks import LOOKS, looked_at
from facechain_ext.errors import BadInput, BadWeights
from tests.engine.cases import GOLDEN, golden

ENCODER = GOLDEN / "transface_weights.safetensors"


@pytest.fixture
def crops() -> torch.Tensor:
    """Two soft pictures, as faces are: uint8 [2, 112, 112, 3]."""
    rough = np.random.default_rng(0).uniform(0, 255, (2, 7, 7, 3)).astype(np.float32)
    soft = np.stack([cv2.resize(one, (112, 112), interpolation=cv2.INTER_CUBIC) for one in rough])
    return torch.tensor(soft.clip(0, 255)).to(torch.uint8)


def test_what_each_look_shows_against_opencv(crops):
    """A pixel shows what lies as far from the middle as the look goes around, turned by its angle; beyond the border its edge."""
    faces = to_input(crops)
    seen = looked_at(faces, len(LOOKS))
    assert seen[0] is faces
    for (size, degrees), look in zip(LOOKS, seen, strict=True):
        turned = size * np.array(
            [[np.cos(np.radians(degrees)), -np.sin(np.radians(degrees))], [np.sin(np.radians(degrees)), np.cos(np.radians(degrees))]]
        )
        middle = np.array([55.5, 55.5])
        matrix = np.hstack([turned, (middle - turned @ middle)[:, None]])
        for face, found in zip(faces, look, strict=True):
            plain, flags = face.permute(1, 2, 0).numpy(), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            wanted = cv2.warpAffine(plain, matrix, (112, 112), flags=flags, borderMode=cv2.BORDER_REPLICATE)
            assert np.abs(found.permute(1, 2, 0).numpy() - wanted).max() < 0.01, "of 2; OpenCV rounds places to 1/32 of a pixel"
    assert [len(looked_at(faces, count)) for count in (1, 2, 5)] == [1, 2, 5]


def test_tokens_are_the_mean_over_the_looks_and_the_embedding_is_the_plain_one(crops):
    encoder, adapter = golden().encoder(), golden().adapter()
    plain = identify(encoder, adapter, crops, ["a", "b"])
    adapter.looks = 3
    several = identify(encoder, adapter, crops, ["a", "b"])
    with torch.no_grad():
        by_hand = sum(adapter.resampler(encoder(look)) for look in looked_at(to_input(crops), 3)) / 3
    assert torch.allclose(several.tokens, by_hand.flatten(0, 1), atol=1e-5)
    assert several.tokens.shape == plain.tokens.shape and (several.tokens - plain.tokens).abs().max() > 0.01
    assert torch.equal(several.embeddings, plain.embeddings) and torch.equal(several.null, plain.null)


def test_an_adapter_file_asks_for_looks_and_its_tokens_are_told_apart(tmp_path):
    adapter = golden().adapter()
    assert adapter.looks == 1, "published adapters look once"
    adapter.looks = 5
    write_adapter(adapter, tmp_path / "five.safetensors")
    five = read_adapter(tmp_path / "five.safetensors")
    assert five.looks == 5 and five.fingerprint != golden().adapter().fingerprint, "or a library would mix both kinds of tokens"
    for wrong in ("0", "6", "many", "-1"):
        write_adapter(adapter, tmp_path / "wrong.safetensors", {"looks": wrong})
        with pytest.raises(BadWeights, match=f"asks for {wrong} looks at every photo: write a number from 1 to 5"):
            read_adapter(tmp_path / "wrong.safetensors")


@pytest.mark.parametrize("kind", [torch.float16, torch.float32])
def test_converting_keeps_the_numbers_and_their_precision(tmp_path, kind):
    write_adapter(golden().adapter().to(kind), tmp_path / "one.safetensors")
    convert(tmp_path / "one.safetensors", tmp_path / "five.safetensors", looks=5)
    before, after = load_file(tmp_path / "one.safetensors"), load_file(tmp_path / "five.safetensors")
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    assert {value.dtype for value in after.values()} == {kind}


def test_converting_may_set_the_looks(tmp_path):
    write_adapter(golden().adapter(), tmp_path / "one.safetensors")
    convert_command([str(tmp_path / "one.safetensors"), str(tmp_path / "five.safetensors"), "--looks", "5"])
    assert read_adapter(tmp_path / "five.safetensors").looks == 5
    convert(tmp_path / "five.safetensors", tmp_path / "still.safetensors")
    assert read_adapter(tmp_path / "still.safetensors").looks == 5
    convert(tmp_path / "still.safetensors", tmp_path / "again.safetensors", looks=1)
    assert read_adapter(tmp_path / "again.safetensors").fingerprint == golden().adapter().fingerprint
    for source, looks in ((tmp_path / "one.safetensors", 6), (tmp_path / "one.safetensors", -1), (ENCODER, 5)):
        with pytest.raises(BadInput, match=f"--looks {looks} does not fit"):
            convert(source, tmp_path / "no.safetensors", looks)
    assert not (tmp_path / "no.safetensors").exists()
    with safe_open(tmp_path / "five.safetensors", framework="pt") as file:
        assert file.metadata()["looks"] == "5" and file.metadata()["source"] == "one.safetensors"
