"""The style LoRA trainer: what it changes, that it learns and restarts exactly, and that its file works in the standalone host."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from facechain_ext.demo.world import person
from facechain_ext.engine.checkpoints import read_tensors, write_adapter
from facechain_ext.engine.identity import to_input
from facechain_ext.engine.injection import Call, attach
from facechain_ext.errors import BadInput, Interrupted
from facechain_ext.hosts.standalone.loras import applied
from facechain_ext.training import faces, fact, style_lora
from facechain_ext.training.drawn import DrawnSettings, draw_set
from facechain_ext.training.loop import Pace, train
from facechain_ext.training.people import PAINTED, anyone
from facechain_ext.training.style_lora import StyleSettings, StyleTrainee, kohya_name
from facechain_ext.training.subjects import DrawnPeople
from tests.training.fact_cases import encoder, loud, networks
from tests.training.test_restart import Stopping, assert_equal

CPU = torch.device("cpu")


def trainee(**settings):
    given = {"steps": 4, "batch": 2, "warmup": 1, "rank": 4, "style": "blueprint", **settings}
    return StyleTrainee(StyleSettings(**given), CPU, networks())


def sheetless(trainee):
    """A sheet takes longer than all steps of a test."""
    trainee.sheet = lambda: None
    return trainee


def test_it_begins_as_the_untouched_model_and_only_the_lora_learns():
    one, plain = trainee(rate=1e-2), networks().unet
    x, text = torch.randn(1, 4, 16, 16), torch.randn(1, 77, 32)
    unet = one.frozen.networks.unet
    before = {key: value.clone() for key, value in unet.state_dict().items()}
    with torch.no_grad():
        assert torch.equal(unet(x, 5, text).sample, plain(x, 5, text).sample)
    one.step(0, np.random.default_rng(0))
    assert any(value.abs().max() > 0 for key, value in one.changes.state_dict().items() if "lora_up" in key)
    assert all(torch.equal(value, before[key]) for key, value in unet.state_dict().items())
    assert len(one.layers) == 16 * 8, "q, k, v and out of both attentions of 16 blocks"


def test_the_file_does_in_the_host_what_the_training_did(tmp_path):
    one = trainee(rate=1e-2, decay=0.0)
    for number in range(2):
        one.step(number, np.random.default_rng(number))
    style_lora.finish(one, tmp_path / style_lora.FINISHED)
    tensors, metadata = read_tensors(tmp_path / style_lora.FINISHED)
    name = kohya_name("down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0")
    assert name == "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0"
    assert tensors[f"{name}.lora_down.weight"].shape == (4, 32) and float(tensors[f"{name}.alpha"]) == 4
    assert metadata["ss_network_dim"] == "4"
    assert metadata["modelspec.trigger_phrase"] == {"blueprint": "a blueprint", "woodcut": "a woodcut print"}[one.settings.style]
    other = networks()
    x, text = torch.randn(1, 4, 16, 16), torch.randn(1, 77, 32)
    with torch.no_grad():
        plain = other.unet(x, 5, text).sample
        one.at_work = one._averaged(1.0)
        trained = one.frozen.networks.unet(x, 5, text).sample
        with applied(other, [(tmp_path / style_lora.FINISHED, 1.0)]):
            assert torch.allclose(other.unet(x, 5, text).sample, trained, atol=2e-3)
    assert (trained - plain).abs().max() > 0.02


def test_stop_and_go_on_is_bit_equal_to_going_through(tmp_path):
    train(sheetless(trainee()), tmp_path / "through", {}, 7, Pace(steps=4))
    with pytest.raises(Interrupted):
        train(Stopping(sheetless(trainee()), 1), tmp_path / "stopped", {}, 7, Pace(steps=4))
    train(sheetless(trainee()), tmp_path / "stopped", {}, 7, Pace(steps=4))
    one, other = (torch.load(tmp_path / run / "state.pt", weights_only=True) for run in ("through", "stopped"))
    assert_equal(one["trainee"], other["trainee"])


def test_it_learns():
    one = trainee(steps=30, rate=3e-2, rank=8, drop=0.0)
    errors = []
    for number in range(30):
        torch.manual_seed(number % 3)
        errors.append(one.step(number, np.random.default_rng(0))["error"])
    assert np.mean(errors[-3:]) < 0.97 * np.mean(errors[:3])


def test_a_folder_of_captioned_pictures(tmp_path):
    for number in range(3):
        Image.new("RGB", (80, 64), (number * 80, 0, 0)).save(tmp_path / f"{number}.png")
    (tmp_path / "0.txt").write_text("a red hat")
    one = trainee(style="", data=str(tmp_path), trigger="mystyle", size=64)
    pictures, tokens, people = one._batch(np.random.default_rng(0))
    assert pictures.shape == (2, 64, 64, 3) and tokens.shape == (2, 77) and not people
    assert one.tokens[0].tolist() != one.tokens[1].tolist() == one.tokens[2].tolist()
    assert np.isfinite(float(one.step(0, np.random.default_rng(0))["error"]))
    assert one.sheet().shape == (2 * 64, 3 * 64, 3)
    assert one.metadata()["modelspec.trigger_phrase"] == "mystyle"
    assert "modelspec.trigger_phrase" not in trainee(style="", data=str(tmp_path), size=64).metadata()


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(BadInput, match="either --data"):
        StyleSettings()
    with pytest.raises(BadInput, match="either --data"):
        StyleSettings(data="x", style="woodcut")
    with pytest.raises(BadInput, match="no pictures"):
        trainee(style="", data=str(tmp_path))
    with pytest.raises(BadInput, match="--drawn has pictures of a drawn style"):
        StyleSettings(data="x", drawn="y")
    with pytest.raises(BadInput, match="--trigger goes before the captions of --data"):
        StyleSettings(style="woodcut", trigger="mystyle")
    Image.new("RGB", (64, 64)).save(tmp_path / "0.png")
    (tmp_path / "0.txt").write_bytes("café".encode("latin-1"))
    with pytest.raises(BadInput, match=r"0\.txt cannot be read: save it as text in UTF-8"):
        trainee(style="", data=str(tmp_path))


@pytest.mark.parametrize("last", [False, True])
def test_channels_last_where_asked(last):
    weight = trainee(last=last).frozen.networks.unet.conv_in.weight
    assert weight.is_contiguous(memory_format=torch.channels_last) == last


@pytest.fixture
def telling(tmp_path, monkeypatch):
    """Settings → a small trainee whose adapter has something to say of faces."""
    teller = fact.FactTrainee(fact.FactSettings(steps=1, device="cpu"), CPU, networks(), encoder(), DrawnPeople())
    loud(teller.adapter)
    write_adapter(teller.adapter, tmp_path / "a.safetensors")
    monkeypatch.setattr(faces, "read_encoder", lambda _: encoder())
    return lambda **settings: trainee(adapter=str(tmp_path / "a.safetensors"), encoder="any", drop=0.0, **settings)


def test_every_other_step_is_told_whom_its_pictures_show(telling, monkeypatch):
    """Its noise is the one of the same UNet with these faces' tokens at its gates; the next step's is the plain UNet's."""
    one, asked, crops = telling(rate=0.0), [], []
    unet, crop = one.frozen.networks.unet, style_lora.head_crop
    whole = unet.forward

    def forward(latents, times, words):
        asked.append((latents, times, words, whole(latents, times, words).sample.detach()))
        return SimpleNamespace(sample=one.changes[next(iter(one.layers))].lora_up.weight.sum() + asked[-1][3])

    unet.forward = forward
    monkeypatch.setattr(style_lora, "head_crop", lambda drawing, *more: crops.append((drawing, crop(drawing, *more))) or crops[-1][1])
    for number in range(2):
        one.step(number, np.random.default_rng(number))
    unet.forward = whole
    assert len(crops) == 2, "one of each picture of the first step"
    shown = [picture.people[0].who for picture in drawn_at(one, np.random.default_rng(0))]
    assert [drawing.people[0].who for drawing, _ in crops] == shown
    with torch.no_grad():
        stack = one.faces.adapter.resampler(encoder()(to_input(torch.from_numpy(np.stack([face for _, face in crops])))))
        call = Call(rows=(0, 1), pictures=(0, 1), progress=0.0, latent=(16, 16))
        with attach(unet, one.faces.adapter, [faces.Variants(stack=stack)], lambda _: call):
            told = unet(*asked[0][:3]).sample
        plain = [unet(*given[:3]).sample for given in asked]
    assert torch.allclose(told, asked[0][3], atol=1e-5) and not torch.allclose(plain[0], told, atol=1e-3)
    assert torch.allclose(plain[1], asked[1][3], atol=1e-5)


def drawn_at(one, rng):
    """The drawings of a step, in the same order of chances."""
    return [style_lora.picture(anyone(PAINTED, rng), rng, [one.settings.style]) for _ in range(one.settings.batch)]


def test_the_style_alone_learns_beside_an_adapter(telling):
    one = telling(rate=1e-2)
    before = {key: value.clone() for key, value in one.faces.adapter.state_dict().items()}
    one.step(0, np.random.default_rng(0))
    assert_equal(dict(one.faces.adapter.state_dict()), before)
    assert any(value.abs().max() > 0 for key, value in one.changes.state_dict().items() if "lora_up" in key)
    assert all("lora" in key for key in one.weights())


def test_people_of_a_kept_set_are_known(telling, tmp_path):
    draw_set(DrawnSettings(identities=2, each=2, styles="blueprint", workers=1), tmp_path / "set")
    one = telling(drawn=str(tmp_path / "set"))
    _, _, people = one._batch(np.random.default_rng(0))
    rows = np.sort(np.random.default_rng(0).choice(np.arange(4), 2))
    assert people == [person(int(row) // 2) for row in rows]


def test_faces_of_a_folder_are_unknown(tmp_path):
    with pytest.raises(BadInput, match="--adapter tells whom drawn pictures show"):
        StyleSettings(data="x", adapter="y")
