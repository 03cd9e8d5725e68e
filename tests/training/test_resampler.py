"""Lessons for a resampler: what is asked of tokens, who is kept out, that gates stay as they are, and exact restarts."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from facechain_ext.demo.world import person
from facechain_ext.engine.checkpoints import adapter_tensors, read_adapter, write_adapter
from facechain_ext.errors import BadInput
from facechain_ext.training import fact, fresh, resampler
from facechain_ext.training.drawn import DrawnSettings, draw_set, open_drawn
from facechain_ext.training.latents import open_set
from facechain_ext.training.people import PAINTED
from facechain_ext.training.subjects import StoredPeople
from tests.training.fact_cases import encoder, networks, write_latents

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people") / "drawn"
    draw_set(DrawnSettings(identities=6, each=4, workers=1), folder)
    return folder


@pytest.fixture
def begun(tmp_path):
    """A fresh adapter's file."""
    torch.manual_seed(3)
    made = fresh.build_adapter(fact.FactSettings(batch=2), networks().unet, encoder())
    write_adapter(made, tmp_path / "adapter.safetensors", {"resampler_heads": str(made.sizes.resampler.heads)})
    return tmp_path / "adapter.safetensors"


@pytest.fixture
def trainee(drawn, begun, monkeypatch):
    monkeypatch.setattr(resampler, "read_encoder", lambda path: encoder())
    settings = resampler.ResamplerSettings(steps=30, batch=8, warmup=1, rate=3e-3, decay=0.5, begin=str(begun), drawn=str(drawn), tested=2)
    return lambda **given: resampler.ResamplerTrainee(replace(settings, **given), CPU)


def test_the_loss_by_hand():
    """Two people, tokens of 3 numbers: the traits' error by the head itself, and a fifth of the softmax over cosines, 16 times as large."""
    torch.manual_seed(0)
    people = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    asked = resampler.Lessons(3, people)
    with torch.no_grad():
        asked.embedding.weight.copy_(torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
        asked.embedding.bias.zero_()
    tokens = torch.tensor([[[3.0, 4.0, 0.0]], [[0.0, 2.0, 5.0]]])  # directions (0.6, 0.8) and (0, 1)
    loss, right = asked.loss(tokens, np.array([0, 1]))
    named = asked.traits.loss(tokens.flatten(1), [person(PAINTED.start), person(PAINTED.start + 1)])
    cosines = [[0.6, 0.6 * 0.6 + 0.8 * 0.8], [0.0, 0.8]]
    wanted = [np.log(sum(np.exp(16 * c) for c in row)) - 16 * row[own] for own, row in enumerate(cosines)]
    assert loss.item() == pytest.approx(named.item() + 0.2 * np.mean(wanted), rel=1e-4)
    assert float(right) == 0.5


def test_a_resampler_learns_and_the_gates_stay(trainee, begun):
    one = trainee(anchor=0.0)
    told = [float(one.step(number, np.random.default_rng(number))["told"]) for number in range(30)]
    assert np.mean(told[-5:]) < 0.8 * np.mean(told[:5])
    before, after = adapter_tensors(read_adapter(begun)), one.weights()
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert moved and all(key.startswith("local_fac_prj.") for key in moved), "the gates' tensors are all as they were"
    kept = one.taught().resampler.state_dict()
    assert all(torch.equal(value, kept[key]) for key, value in one.average.of("resampler").items()), "what is kept is the average"
    assert not all(torch.equal(value, kept[key]) for key, value in one.resampler.state_dict().items())


def test_the_anchor_keeps_tokens_where_they_were(trainee):
    moved = {}
    for anchor in (0.0, 30.0):
        one = trainee(anchor=anchor)
        moved[anchor] = [float(one.step(number, np.random.default_rng(number))["moved"]) for number in range(20)][-1]
    assert moved[30.0] < 0.5 * moved[0.0]


def test_who_is_tested_is_in_no_lesson(trainee, monkeypatch):
    one, asked = trainee(tested=2), []
    loss = resampler.Lessons.loss
    monkeypatch.setattr(resampler.Lessons, "loss", lambda self, tokens, who: asked.append(set(who.tolist())) or loss(self, tokens, who))
    for number in range(8):
        one.step(number, np.random.default_rng(number))
    assert set().union(*asked) == {0, 1, 2, 3}
    one.sheet()
    assert asked[-1] == {4, 5} and 0 <= one.unseen <= 1


def test_restored_it_goes_on_bit_by_bit(trainee):
    one, other = trainee(), trainee()
    one.step(0, np.random.default_rng(0))
    other.restore(copy.deepcopy(one.state()))
    for each in (one, other):
        each.step(1, np.random.default_rng(1))
    assert all(torch.equal(value, other.weights()[key]) for key, value in one.weights().items())


@pytest.mark.parametrize("autocast", [False, True])
def test_matrices_in_bfloat16_where_asked(trainee, autocast):
    one, kinds = trainee(autocast=autocast), []
    linear = next(part for part in one.resampler.modules() if isinstance(part, torch.nn.Linear))
    linear.register_forward_hook(lambda *given: kinds.append(given[2].dtype))
    one.step(0, np.random.default_rng(0))
    assert kinds[0] == (torch.bfloat16 if autocast else torch.float32)
    assert one.lessons.embedding.weight.dtype == torch.float32


def test_bad_input(trainee, drawn):
    with pytest.raises(BadInput, match="give --drawn"):
        trainee(drawn="")
    with pytest.raises(BadInput, match="too few people"):
        trainee(tested=6)
    with pytest.raises(BadInput, match="learnt by --begin or --resampler-from"):
        fact.FactSettings(resampler=0.0)


def test_all_may_be_taught_and_nobody_tested(trainee):
    one = trainee(tested=0)
    assert one.learnt == 24
    one.sheet()
    assert one.unseen == 0.0


def test_a_set_knows_whose_faces_it_holds(drawn):
    assert resampler.whose(open_drawn(drawn)).tolist() == np.arange(6).repeat(4).tolist()


def test_everybodys_mean_embedding_by_hand():
    """Of unit vectors, whatever the order and the batches."""
    network, who = encoder(), np.array([1, 0, 1, 0, 1])
    tokens = torch.randn(5, 144, 64)
    unit = F.normalize(network.embedding(tokens), dim=1)
    wanted = torch.stack([F.normalize(unit[torch.from_numpy(who == one)].sum(dim=0), dim=0) for one in (0, 1)])
    assert torch.allclose(resampler.means_of(network, tokens.numpy(), who, batch=2), wanted, atol=1e-5)


def test_fact_leaves_a_resampler_alone_whose_rate_is_nothing(drawn, begun, tmp_path):
    """Gates move, the resampler does not, and its null tokens neither."""
    latents = write_latents(tmp_path / "latents", 24)
    note = latents / "set.json"
    note.write_text(note.read_text().replace('"vae": ""', f'"vae": "", "drawn": "{drawn}"'))
    settings = fact.FactSettings(
        steps=2, batch=2, warmup=1, ahead=True, resampler=0.0, begin=str(begun), muon=0.7, decay=0.5, latents=str(latents), drawn=str(drawn)
    )
    one = fact.FactTrainee(settings, CPU, networks(), encoder(), StoredPeople(open_drawn(drawn), open_set(latents)))
    before = {key: value.clone() for key, value in one.adapter.state_dict().items()}
    for number in range(2):
        one.step(number, np.random.default_rng(number))
    after = one.adapter.state_dict()
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert moved and not any(key.startswith("resampler.") for key in moved)
    assert all(value.grad is None for value in one.adapter.resampler.parameters()), "nor does its gradient count when others' are clipped"
    assert F.mse_loss(one.averaged().resampler(torch.zeros(1, 144, 64)), one.adapter.resampler(torch.zeros(1, 144, 64))) == 0
