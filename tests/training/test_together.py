"""Base model and adapter trained together on tiny networks: both learn, by shares; it restarts exactly; what it refuses."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from facechain_ext.engine.checkpoints import read_adapter
from facechain_ext.errors import BadInput, Interrupted
from facechain_ext.training import base, fact, subjects, together, watch
from facechain_ext.training.device import rate_at
from facechain_ext.training.drawn import DrawnSettings, draw_set
from facechain_ext.training.identity_loss import IdentityLoss, LatentRecogniser
from facechain_ext.training.loop import Pace, train
from facechain_ext.training.noise import add_noise, coarse_weight, mean_weight, snr_weight
from facechain_ext.training.resampler import whose
from facechain_ext.training.team import Team
from tests.training.fact_cases import SMALL_CLIP, SMALL_UNET, encoder, networks, write_latents
from tests.training.test_fact import OnePicture
from tests.training.test_restart import Stopping, assert_equal, without_time
from tests.training.test_style_lora import sheetless

CPU = torch.device("cpu")


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Settings → a small trainee that begins with `networks()`."""
    monkeypatch.setattr(base, "UNET", SMALL_UNET)
    monkeypatch.setattr(base, "CLIP", SMALL_CLIP)
    monkeypatch.setattr(base, "load_networks", lambda *_: networks())
    monkeypatch.setattr(together, "networks_of", lambda *_: networks())
    monkeypatch.setattr(together, "source_of", lambda *_: OnePicture())
    write_latents(tmp_path / "set", 6)

    def made(team=None, **settings):
        given = {"steps": 4, "batch": 3, "alone": 1, "warmup": 1, "rate": 1e-3, "device": "cpu", "latents": str(tmp_path / "set")}
        given |= settings
        return together.TogetherTrainee(together.TogetherSettings(**given), CPU, encoder(), tmp_path / "run", team or Team())

    return made


def moved(before, module):
    return {key for key, value in module.state_dict().items() if not torch.equal(value, before[key])}


def copied(module):
    return {key: value.clone() for key, value in module.state_dict().items()}


def test_unet_text_encoder_and_gates_learn_from_the_first_step(make):
    one = make()
    before = copied(one.base.unet), copied(one.base.text), copied(one.fact.adapter)
    one.step(0, np.random.default_rng(0))
    assert moved(before[0], one.base.unet) and moved(before[1], one.base.text)
    assert any("attn" in key or "to_out" in key for key in moved(before[2], one.fact.adapter))
    assert one.fact.networks.unet is one.base.unet and one.fact.networks.text_encoder is one.base.text


def test_the_unet_learns_by_faces_too(make, monkeypatch):
    """With nothing to learn of pictures without the adapter it moves all the same; words are read as they are there, and stay."""
    one = make()
    monkeypatch.setattr(one.base, "loss", lambda *_: (torch.tensor(0.0), {"error": torch.tensor(0.0), "means": torch.tensor(0.0)}))
    before = copied(one.base.unet), copied(one.base.text)
    one.step(0, np.random.default_rng(0))
    assert moved(before[0], one.base.unet) and not moved(before[1], one.base.text)


def test_the_averages_follow_every_step(make):
    """The first step is followed by nine tenths: 1 − 1/10."""
    one = make()
    before = one.base.unet.conv_in.weight.detach().clone(), one.fact.adapter.layers[0].to_out.weight.detach().clone()
    one.step(0, np.random.default_rng(0))
    now = one.base.unet.conv_in.weight.detach(), one.fact.adapter.layers[0].to_out.weight.detach()
    kept = one.base.average.of("unet")["conv_in.weight"], one.fact.average.of("adapter")["layers.0.to_out.weight"]
    for first, last, mean in zip(before, now, kept, strict=True):
        assert not torch.equal(first, last) and torch.allclose(mean, 0.1 * first + 0.9 * last, atol=1e-7)


def test_couples_have_their_turn_with_and_without_faces(make, tmp_path):
    """Every tenth step is of them: the base model's from the set of couples, as many steps later as pair_every says."""
    write_latents(tmp_path / "couples", 4, people=2)
    one = make(pairs=str(tmp_path / "couples"), pair_every=2)
    assert one.base.pairs is not None and one.base.settings.pair_every == 2
    shapes = []
    whole = one.base._batch
    one.base._batch = lambda *given: shapes.append(whole(*given)[0].shape) or whole(*given)
    one.base.loss(0, np.random.default_rng(0))
    one.base.loss(1, np.random.default_rng(0))
    assert [shape[3] for shape in shapes] == [16, 32]


def test_without_a_rate_of_its_own_the_base_model_stays_as_it_is(make):
    one = make(base_rate=0.0, muon=0.5)
    before = copied(one.base.unet), copied(one.base.text), copied(one.fact.adapter)
    one.step(0, np.random.default_rng(0))
    assert not moved(before[0], one.base.unet) and not moved(before[1], one.base.text) and moved(before[2], one.fact.adapter)


def test_the_pictures_of_a_step_count_alike(make, monkeypatch):
    """Three pictures with a face and one without: the loss is three quarters of the one mean and a quarter of the other."""
    one, losses = make(), []
    monkeypatch.setattr(together, "optimise", lambda loss, *_, **__: losses.append(float(loss)) or loss.detach())
    monkeypatch.setattr(one.base, "loss", lambda *_: (torch.tensor(2.0), {"error": torch.tensor(0.0), "means": torch.tensor(0.0)}))
    monkeypatch.setattr(one.fact, "loss", lambda *_: (torch.tensor(6.0), {}))
    one.step(0, np.random.default_rng(0))
    assert losses == [5.0]


def test_pictures_without_the_adapter_are_learnt_as_train_base_does(make, tmp_path):
    """By hand from the set: noise, weights and means of the one picture that comes without a face."""
    one = make(snr=5.0, drop_alone=0.0)
    torch.manual_seed(5)
    loss, _ = one.base.loss(0, np.random.default_rng(3))
    row = np.random.default_rng(3).integers(0, 6, 1)
    latents = torch.from_numpy(np.load(tmp_path / "set" / "latents.npy")[row].astype(np.float32)) * 0.18215
    tokens = torch.from_numpy(np.load(tmp_path / "set" / "tokens.npy")[row].astype(np.int64))
    torch.manual_seed(5)
    noise = torch.randn_like(latents)
    times = torch.randint(0, 1000, (1,))
    with torch.no_grad():
        known = networks()
        found = known.unet(add_noise(latents, noise, times), times, known.text_encoder(tokens).last_hidden_state).sample
    error, mean = (found - noise).square().mean(), (found - noise).mean(dim=(2, 3)).square().mean()
    wanted = (coarse_weight(times, 1.0) * error + 50 * mean_weight(times, 256) * mean) * snr_weight(times, 5.0)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-4)


def test_both_steps_are_taken_by_what_the_team_answers(make):
    asked = []

    class Zeros(Team):
        def average(self, parameters):
            for parameter in parameters:
                asked.append(0.0 if parameter.grad is None else float(parameter.grad.abs().sum()))
                if parameter.grad is not None:
                    parameter.grad.zero_()

    one = make(Zeros())
    for group in one.optimiser.param_groups:
        group["weight_decay"] = 0.0
    before = copied(one.base.unet), copied(one.fact.adapter)
    one.step(0, np.random.default_rng(0))
    assert len(asked) == len(one.base.parameters) + len(one.fact.parameters) and sum(asked) > 0
    assert not moved(before[0], one.base.unet) and not moved(before[1], one.fact.adapter)


def test_rates_go_by_shares(make):
    one = make(base_rate=0.5, gates=3.0)
    one.step(2, np.random.default_rng(0))
    rate = rate_at(2, one.settings)
    assert {group["lr"] for group in one.base.optimiser.param_groups} == {0.5 * rate}
    assert {round(group["lr"] / rate, 6) for group in one.fact.optimiser.param_groups} == {1.0, 3.0, 0.2}


@pytest.mark.parametrize("muon", [0.0, 0.5])
def test_stop_and_go_on_is_bit_equal_to_going_through(make, tmp_path, muon):
    pace = {"log_every": 1, "sheet_every": 100}

    def fresh():
        return sheetless(make(muon=muon))

    train(fresh(), tmp_path / "through", {"a": 1}, 7, Pace(steps=4, **pace))
    with pytest.raises(Interrupted):
        train(Stopping(fresh(), 1), tmp_path / "stopped", {"a": 1}, 7, Pace(steps=4, **pace))
    train(fresh(), tmp_path / "stopped", {"a": 1}, 7, Pace(steps=4, **pace))
    states = [torch.load(tmp_path / run / "state.pt", weights_only=True) for run in ("through", "stopped")]
    assert states[0]["step"] == states[1]["step"] == 4
    assert_equal(states[0]["trainee"], states[1]["trainee"])
    rows = [without_time(tmp_path / run / "log.csv") for run in ("through", "stopped")]
    assert rows[0] == rows[1] and {"alone", "means", "error", "fair", "gradient"} <= rows[0][0].keys()


def test_a_sheet_is_painted_by_the_averages_and_leaves_the_networks_as_they_were(make, monkeypatch):
    one, seen = make(), []
    one.step(0, np.random.default_rng(0))
    one.base.average.tensors["unet.conv_in.bias"].fill_(7.0)
    before = copied(one.base.unet), copied(one.base.text)
    bias = one.base.unet.conv_in.bias
    monkeypatch.setattr(one.fact, "sheet", lambda: seen.append(bias.detach().clone()) or np.zeros((1, 1, 3), np.uint8))
    assert one.sheet().shape == (1, 1, 3) and torch.equal(seen[0], torch.full_like(seen[0], 7.0))
    assert not moved(before[0], one.base.unet) and not moved(before[1], one.base.text)


@pytest.mark.parametrize("stopped", [False, True])
def test_the_command_writes_base_model_and_adapter_when_it_ends_and_when_it_is_stopped(make, tmp_path, monkeypatch, stopped):
    made = sheetless(make())
    monkeypatch.setattr(together, "read_encoder", lambda *_: encoder())
    monkeypatch.setattr(together, "TogetherTrainee", lambda *_: Stopping(made, 1) if stopped else made)
    folder = tmp_path / "out"
    given = ["--steps", "3", "--batch", "3", "--alone", "1", "--warmup", "1", "--device", "cpu", "--latents", str(tmp_path / "set")]
    if stopped:
        with pytest.raises(Interrupted):
            together.main([*given, "--folder", str(folder)])
    else:
        together.main([*given, "--folder", str(folder)])
    kept = load_file(folder / "weights.safetensors")
    assert {key.split(".")[0] for key in kept} == {"unet", "text"}
    unet, _ = base.load_base(kept, CPU, folder)
    assert all(torch.equal(value, made.base.average.of("unet")[key]) for key, value in unet.state_dict().items())
    adapter = read_adapter(folder / "adapter.safetensors")
    for key, value in adapter.state_dict().items():
        assert torch.equal(value, made.fact.average.of("adapter")[key]), key


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"data": "people"}, "give --latents, and leave out --data"),
        ({}, "give --latents, and leave out --data"),
        ({"latents": "set", "distil": 1.0}, "leave them to train-fact"),
        ({"latents": "set", "parallel": True}, "leave them to train-fact"),
        ({"latents": "set", "alone": 0}, "--alone is 0: it must be at least 1"),
        ({"latents": "set", "resampler": 0.0}, "give one that has learnt by --begin"),
    ],
)
def test_what_does_not_belong_together_is_refused(settings, words):
    with pytest.raises(BadInput, match=words):
        together.TogetherSettings(**settings)


def test_the_unet_learns_by_who_is_watched(make, monkeypatch, tmp_path):
    """Its gradient grows by the weight of the identity loss, which is asked of told pictures and of those painted from noise."""
    draw_set(DrawnSettings(identities=2, each=3, workers=1), tmp_path / "people")
    note = tmp_path / "set" / "set.json"
    said = {**json.loads(note.read_text()), "drawn": str(tmp_path / "people")}
    note.write_text(json.dumps(said))
    asked = []
    torch.manual_seed(7)
    recogniser = LatentRecogniser(torch.nn.functional.normalize(torch.randn(2, 16), dim=1))

    def of(_path, _encoder, drawn, _seen):
        loss = IdentityLoss(recogniser, whose(drawn))
        return lambda latents, *more: asked.append(len(latents)) or loss(latents, *more)

    monkeypatch.setattr(fact, "IdentityLoss", SimpleNamespace(of=of))
    monkeypatch.setattr(together, "source_of", subjects.source_of)
    monkeypatch.setattr(together, "optimise", lambda loss, *_, **__: loss.backward() or torch.zeros(()))
    monkeypatch.setattr(watch, "WATCHED", 3)

    def gradient(weight):
        one = make(identity=weight, painted=2, ahead=True, drawn=str(tmp_path / "people"), drop=0.0, drop_words=0.0, several=0.0)
        torch.manual_seed(0)
        one.step(0, np.random.default_rng(0))
        return one.base.unet.conv_out.weight.grad.double()

    none, one, two = (gradient(weight) for weight in (1e-9, 1.0, 2.0))
    assert asked[:4] == [3] + [2] * 3, "the batch's pictures once, the painted ones at each of three steps"
    assert not torch.allclose(none, one, rtol=1e-2) and torch.allclose(two - none, 2 * (one - none), rtol=1e-3, atol=1e-6)
