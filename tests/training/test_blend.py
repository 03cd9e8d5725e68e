"""Blended adapters: every weight is the mean by hand, and what cannot be blended is told in one sentence."""

from __future__ import annotations

import pytest
import torch

from facechain_ext.engine.checkpoints import convert, read_adapter, read_tensors, write_adapter
from facechain_ext.errors import BadInput
from facechain_ext.training import blend, fact, fresh
from facechain_ext.training.commands import COMMANDS
from tests.training.fact_cases import encoder, networks


@pytest.fixture
def files(tmp_path):
    """Two adapters of random weights, no gate of which is silent."""
    made = []
    for seed, name in enumerate(("a", "b")):
        adapter = fresh.build_adapter(fact.FactSettings(batch=2), networks().unet, encoder())
        torch.manual_seed(seed)  # after what was built, which is built from a seed of its own
        for weight in adapter.parameters():
            torch.nn.init.normal_(weight)
        made.append(tmp_path / f"{name}.safetensors")
        write_adapter(adapter, made[-1], {"resampler_heads": str(adapter.sizes.resampler.heads)})
    return made


@pytest.mark.parametrize("half", [False, True])
def test_every_weight_is_the_mean_by_shares(files, tmp_path, half):
    a, b = files
    COMMANDS["blend-adapters"].run(
        ["--adapters", f"{a}=0.6, {b}=0.4", "--half" if half else "--no-half", "--folder", str(tmp_path / "out")]
    )
    mixed, said = read_tensors(tmp_path / "out" / "adapter.safetensors")
    (one, before), (other, _) = read_tensors(a), read_tensors(b)
    assert said["recipe"] == "blend-adapters a.safetensors=0.6, b.safetensors=0.4", "and not where they lay"
    assert mixed.keys() == one.keys() and said["resampler_heads"] == before["resampler_heads"]
    for key, value in mixed.items():
        assert value.dtype == (torch.float16 if half else torch.float32)
        wanted = (0.6 * one[key].double() + 0.4 * other[key].double()).float()
        assert torch.allclose(value.float(), wanted, atol=2e-3 if half else 1e-6), key


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("{a}=0.6,{b}=0.5", "add up to 1.1"),
        ("{a}=1", "has 1 whose shares"),
        ("", "give file=share"),
        ("{a}=0.5,{b}", "give file=share"),
        ("{a}=0.5,{b}=half", "give file=share"),
        ("{a}=nan,{b}=0.5", "add up to nan"),
    ],
)
def test_what_cannot_be_blended_is_told(files, tmp_path, given, words):
    a, b = files
    with pytest.raises(BadInput, match=words):
        blend.blend(blend.BlendSettings(adapters=given.format(a=a, b=b)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_several_photos_weigh_stays_and_is_not_mixed(files, tmp_path):
    for file, as_one in zip(files, (True, False), strict=True):
        convert(file, file.with_name(f"{as_one}.safetensors"), as_one=as_one)
    together, apart = tmp_path / "True.safetensors", tmp_path / "False.safetensors"
    made = blend.blend(blend.BlendSettings(adapters=f"{together}=0.5,{together}=0.5"), tmp_path / "blend")
    assert read_adapter(made).as_one
    with pytest.raises(BadInput, match="lets several photos weigh as one"):
        blend.blend(blend.BlendSettings(adapters=f"{together}=0.5,{apart}=0.5"), tmp_path / "no")


def test_looks_stay_and_are_not_mixed(files, tmp_path):
    for file, looks in zip(files, (5, 1), strict=True):
        convert(file, file.with_name(f"looks-{looks}.safetensors"), looks)
    five, once = tmp_path / "looks-5.safetensors", tmp_path / "looks-1.safetensors"
    made = blend.blend(blend.BlendSettings(adapters=f"{five}=0.5,{five}=0.5"), tmp_path / "out")
    assert read_adapter(made).looks == 5
    with pytest.raises(BadInput, match=r"looks-1\.safetensors is one that looks at photos another number of times than .*looks-5"):
        blend.blend(blend.BlendSettings(adapters=f"{five}=0.5,{once}=0.5"), tmp_path / "other")


def test_adapters_of_another_size_are_told(files, tmp_path):
    wider = fresh.build_adapter(fact.FactSettings(batch=2), networks().unet, encoder())
    wider.layers[0] = type(wider.layers[0])(64, wider.sizes.resampler.out_dim)
    other = tmp_path / "wider.safetensors"
    write_adapter(wider, other, {"resampler_heads": str(wider.sizes.resampler.heads)})
    with pytest.raises(BadInput, match=r"wider\.safetensors is of another size than .*a\.safetensors"):
        blend.blend(blend.BlendSettings(adapters=f"{files[0]}=0.5,{other}=0.5"), tmp_path / "out")
