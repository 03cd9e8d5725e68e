"""Several photos of a person that weigh as one: by hand, and how an adapter's file asks for it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from torch.nn import functional as F

from facechain_ext.__main__ import convert as convert_command
from facechain_ext.engine.adapter import Adapter
from facechain_ext.engine.checkpoints import convert, read_adapter, write_adapter
from facechain_ext.engine.identity import Identity, join
from facechain_ext.engine.injection import Call, Injector, Person
from facechain_ext.errors import BadInput, BadWeights
from tests.engine.cases import GOLDEN, error, golden

LATENT = (10, 14)
ENCODER = GOLDEN / "transface_weights.safetensors"


@pytest.fixture
def adapter() -> Adapter:
    made = golden().adapter()
    made.as_one = True
    return made


def photos() -> tuple[Identity, Identity]:
    """The first photo of the golden person, and another one."""
    whole = golden().identity()
    one = replace(whole, tokens=whole.tokens[:16], null=whole.null[:16], photos=("a",))
    return one, replace(one, tokens=one.tokens.flip(0) * 1.5, photos=("b",))


def increment(adapter: Adapter, identity: Identity, x: torch.Tensor, row: int = 1) -> torch.Tensor:
    call = Call(rows=(row,), pictures=(0,), progress=0.0, latent=LATENT)
    found = Injector(adapter, [Person(identity=identity, weight=1.0)], heads=4).increment(0, x, call)
    assert found is not None
    return found


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(1, 140, 16, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("row", [0, 1])
def test_the_same_photo_four_times_is_that_photo(adapter, x, row):
    """With a face and without; where each weighs by itself it is another picture."""
    one, _ = photos()
    once = increment(adapter, one, x, row)
    assert error(increment(adapter, join([one] * 4), x, row), once) <= 1e-5
    adapter.as_one = False
    assert torch.equal(increment(adapter, one, x, row), once), "one photo is one photo either way"
    assert error(increment(adapter, join([one] * 4), x, row), once) > 1e-3


def test_two_photos_by_hand(adapter, x):
    """Their scores are log 2 lower, those of the picture's own cells are not."""
    one, other = photos()
    layer = adapter.gate(0)
    face = layer.norm1(layer.linear(torch.cat((one.tokens, other.tokens))))[None]
    q, k, v = F.linear(layer.norm1(x), layer.to_qkv.weight).unflatten(2, (3, 4, -1)).permute(2, 0, 3, 1, 4)
    kf, vf = F.linear(face, layer.to_qkv.weight[16:]).unflatten(2, (2, 4, -1)).permute(2, 0, 3, 1, 4)
    scores = torch.cat((q @ k.mT, q @ kf.mT), dim=3) / (16 // 4) ** 0.5
    scores[..., 140:] -= torch.log(torch.tensor(2.0))
    out = (scores.softmax(-1) @ torch.cat((v, vf), dim=2)).transpose(1, 2).flatten(2)
    step = layer.to_out(out) * layer.alpha_attn.tanh()
    expected = step + layer.ff(layer.norm2(x + step)) * layer.alpha_dense.tanh()
    assert error(increment(adapter, join([one, other]), x), expected) <= 1e-5


def test_a_file_asks_for_it(adapter, tmp_path):
    assert not golden().adapter().as_one, "published adapters let every photo weigh by itself"
    write_adapter(adapter, tmp_path / "one.safetensors")
    found = read_adapter(tmp_path / "one.safetensors")
    assert found.as_one and found.fingerprint == golden().adapter().fingerprint, "tokens are the same, and a library may keep them"
    write_adapter(golden().adapter(), tmp_path / "wrong.safetensors", {"photos": "as two"})
    with pytest.raises(BadWeights, match="asks that photos weigh 'as two'"):
        read_adapter(tmp_path / "wrong.safetensors")


def test_converting_may_ask_for_it(tmp_path):
    write_adapter(golden().adapter(), tmp_path / "published.safetensors")
    convert_command([str(tmp_path / "published.safetensors"), str(tmp_path / "one.safetensors"), "--as-one"])
    assert read_adapter(tmp_path / "one.safetensors").as_one
    convert_command([str(tmp_path / "one.safetensors"), str(tmp_path / "still.safetensors"), "--looks", "2"])
    assert read_adapter(tmp_path / "still.safetensors").as_one
    convert_command([str(tmp_path / "still.safetensors"), str(tmp_path / "again.safetensors"), "--no-as-one"])
    assert not read_adapter(tmp_path / "again.safetensors").as_one
    with safe_open(tmp_path / "again.safetensors", framework="pt") as file:
        assert "photos" not in file.metadata()
    with pytest.raises(BadInput, match="--as-one is about adapters"):
        convert(ENCODER, tmp_path / "no.safetensors", as_one=True)
    assert not (tmp_path / "no.safetensors").exists()
