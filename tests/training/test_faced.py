"""An adapter beside a style LoRA in training: what it says, that it stays as it is, and that nothing is left of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facechain_ext.engine.checkpoints import adapter_tensors, write_adapter, write_encoder
from facechain_ext.engine.identity import identify
from facechain_ext.engine.injection import Call, Person, attach
from facechain_ext.errors import BadInput, BadWeights
from facechain_ext.training import faced
from facechain_ext.training.encoder import head_crop
from facechain_ext.training.faced import Faced
from facechain_ext.training.fresh import build_adapter
from facechain_ext.training.people import photo
from facechain_ext.training.style_lora import StyleSettings, StyleTrainee, targets
from tests.training.fact_cases import encoder, networks
from tests.training.test_fact import fact, loud

CPU = torch.device("cpu")


def adapter(unet, looks=5):
    torch.manual_seed(2)
    made = build_adapter(fact.FactSettings(steps=1), unet, encoder())
    loud(made)
    torch.nn.init.normal_(made.resampler.latents)
    made.looks = looks
    return made


@pytest.mark.parametrize(("nobody", "rows"), [(0.0, (True, True)), (1.0, (False, False))])
def test_every_row_hears_its_own_person_as_a_host_would_say_it(monkeypatch, nobody, rows):
    """Against the engine's own way, one person at a time: identify, Person, attach."""
    monkeypatch.setattr(faced, "NOBODY", nobody)
    unet = networks().unet
    beside = Faced(encoder(), adapter(unet), unet)
    people, noisy, words = [11, 12], torch.randn(2, 4, 16, 16), torch.randn(2, 77, 32)
    with torch.no_grad():
        plain = unet(noisy, 500, words).sample
        with beside.said(people, np.random.default_rng(3), (16, 16)):
            said = unet(noisy, 500, words).sample
        assert torch.equal(unet(noisy, 500, words).sample, plain), "nothing is left of it"
        rng = np.random.default_rng(3)
        for place, number in enumerate(people):
            crop = torch.from_numpy(head_crop(photo(number, rng), rng, True))[None]
            one = Person(identity=identify(encoder(), beside.adapter, crop, ["a"]), weight=1.0)
            call = Call(rows=rows[:1], pictures=(0,), progress=0.0, latent=(16, 16))
            with attach(unet, beside.adapter, [one], lambda _, call=call: call):
                alone = unet(noisy[place : place + 1], 500, words[place : place + 1]).sample
            assert torch.allclose(said[place], alone[0], atol=1e-5)
            assert (said[place] - plain[place]).abs().max() > 1e-3


def trainee(**settings):
    made = networks()
    beside = Faced(encoder(), adapter(made.unet), made.unet)
    given = {"steps": 4, "batch": 2, "warmup": 1, "rank": 4, "style": "blueprint", "adapter": "there", "rate": 1e-2, **settings}
    return StyleTrainee(StyleSettings(**given), CPU, made, beside if given["adapter"] else None)


def learnt(one):
    torch.manual_seed(6)
    one.step(0, np.random.default_rng(0))
    return one.changes.state_dict()


def test_a_lora_learns_beside_it_and_the_adapter_does_not():
    one = trainee(alone=0.0)
    before = {key: value.clone() for key, value in one.faced.adapter.state_dict().items()}
    beside = learnt(one)
    assert all(torch.equal(value, before[key]) for key, value in one.faced.adapter.state_dict().items())
    without, left_out = learnt(trainee(adapter="")), learnt(trainee(alone=1.0))
    assert all(torch.equal(value, left_out[key]) for key, value in without.items()), "--alone 1 leaves it out of every step"
    assert any(not torch.equal(value, beside[key]) for key, value in without.items())


def test_attention_alone_is_changed_where_asked():
    unet = networks().unet
    names = [path for path, _ in targets(unet, attention=True)]
    assert len(names) == 16 * 8 and all(".attn" in name for name in names)
    assert len(trainee(attention=True).layers) == 16 * 8


def test_what_does_not_fit_is_named(tmp_path):
    with pytest.raises(BadInput, match="--adapter needs to know who is in the pictures"):
        StyleSettings(data="x", adapter="y")
    unet = networks().unet
    other = adapter(unet)
    other.sizes = type(other.sizes)(resampler=other.sizes.resampler, channels=tuple(2 * one for one in other.sizes.channels))
    with pytest.raises(BadWeights, match="64 channels wide, this checkpoint's is 32"):
        Faced(encoder(), other, unet)


def test_it_is_read_from_its_files(tmp_path):
    unet = networks().unet
    one = adapter(unet)
    write_adapter(one, tmp_path / "adapter.safetensors")
    write_encoder(encoder(), tmp_path / "encoder.safetensors")
    read = Faced.of(str(tmp_path / "adapter.safetensors"), str(tmp_path / "encoder.safetensors"), unet)
    assert all(torch.equal(value, adapter_tensors(read.adapter)[key]) for key, value in adapter_tensors(one).items())
