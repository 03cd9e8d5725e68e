"""Words as a teacher: what it tells, who is asked, and that gates learn to paint of a face what words say."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from facechain_ext.demo.world import person
from facechain_ext.demo.world.looks import everything
from facechain_ext.engine.checkpoints import write_adapter
from facechain_ext.engine.injection import Call, attach
from facechain_ext.errors import BadInput
from facechain_ext.training import fact, fresh
from facechain_ext.training.batch import Variants
from facechain_ext.training.drawn import DrawnSettings, draw_set, open_drawn
from facechain_ext.training.latents import open_pairs, open_set
from facechain_ext.training.noise import velocity_weight
from facechain_ext.training.subjects import DrawnPeople, StoredPeople
from facechain_ext.training.tokens import _tokenizer
from tests.training.fact_cases import encoder, networks, write_latents

CPU = torch.device("cpu")
ALWAYS = {"drop": 0.0, "drop_words": 0.0, "several": 0.0}


def test_all_looks_in_words():
    """Of a person whose traits are read off: everything that has a word, colours where they can be seen."""
    who = person(4)
    who = replace(who, hair=replace(who.hair, style="bob", colour=(58, 104, 200)), glasses="round", glasses_colour=(24, 24, 30), beard="")
    who = replace(who, nose=replace(who.nose, kind="hooked"), marks=("scar",), earrings="studs", brows=replace(who.brows, thickness=0.08))
    who = replace(who, eyes=replace(who.eyes, kind="cat", size=1.2, colour=(52, 128, 74)), mouth=replace(who.mouth, width=0.4))
    face = replace(who.face, skin=(255, 224, 200), forehead=0.70, cheek=0.80, jaw=0.58, chin=0.25, length=1.04)
    who = replace(who, face=face)
    assert everything(who) == (
        "with a blue bob, round black glasses, very fair skin, an oval face, large cat green eyes, "
        "a hooked nose, a wide mouth, a scar, stud earrings"
    )
    assert everything(who, False) == (
        "with a bob, round glasses, an oval face, large cat eyes, a hooked nose, a wide mouth, a scar, stud earrings"
    )


def said(tokens):
    return _tokenizer().decode(tokens[1 : int(tokens.argmax())])


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people") / "drawn"
    draw_set(DrawnSettings(identities=4, each=3, workers=1, styles="photo,pencil"), folder)
    return folder


@pytest.fixture(scope="module")
def latents(drawn):
    folder = write_latents(drawn.parent / "latents", 12)
    note = folder / "set.json"
    note.write_text(note.read_text().replace('"vae": ""', f'"vae": "", "drawn": "{drawn}"'))
    return folder


def test_an_example_says_how_its_person_looks(drawn, latents, tmp_path):
    """Kept people and those drawn on the fly; nothing more is said of two."""
    source, rng = StoredPeople(open_drawn(drawn), open_set(latents)), np.random.default_rng(0)
    people = open_drawn(drawn)
    for _ in range(6):
        one = source.example(rng, 1, 1.0, False)
        row = int(np.flatnonzero((people.tokens == one.words).all(axis=1))[0])
        looks = everything(person(int(people.who[row, 0])), people.styles[row] == 0)
        whole = f"{said(one.words)} , {looks}".replace(" ", "").replace("-", "")
        assert whole.startswith(said(one.looks()).replace(" ", "").replace("-", "")) and len(said(one.looks())) > len(said(one.words)) + 20
    alone = DrawnPeople().example(rng, 1, 1.0, False)
    assert said(alone.looks()).startswith(f"{said(alone.words)} , with ")
    pairs = open_pairs(write_latents(tmp_path / "pairs", 3, people=2))
    assert DrawnPeople(pairs=pairs).example(rng, 1, 1.0, True).looks is None


def loud(adapter, seed=0):
    torch.manual_seed(seed)
    for layer in adapter.gates():
        torch.nn.init.normal_(layer.to_out.weight, std=0.1)
        torch.nn.init.normal_(layer.ff.out.weight, std=0.1)
    return adapter


@pytest.fixture
def begin(tmp_path):
    """An adapter that says something random."""
    made = loud(fresh.build_adapter(fact.FactSettings(), networks().unet, encoder()))
    write_adapter(made, tmp_path / "adapter.safetensors", {"resampler_heads": str(made.sizes.resampler.heads)})
    return tmp_path / "adapter.safetensors"


@pytest.fixture
def trainee(drawn, latents, begin):
    source = StoredPeople(open_drawn(drawn), open_set(latents))
    given = {"steps": 20, "batch": 3, "warmup": 1, "rate": 3e-3, "resampler": 0.0, "ahead": True, **ALWAYS}
    given |= {"begin": str(begin), "distil": 1.0}
    return lambda **more: fact.FactTrainee(fact.FactSettings(**{**given, **more}), CPU, networks(), encoder(), source)


def told(networks_, adapter, stack, latents, times, words):
    """Noise by the UNet, with faces by an adapter where one is given."""
    call = Call(rows=tuple(range(len(latents))), pictures=tuple(range(len(latents))), progress=0.0, latent=(16, 16))
    on = attach(networks_.unet, adapter, [Variants(stack=stack)], lambda _: call) if adapter is not None else nullcontext()
    with torch.no_grad(), on:
        return networks_.unet(latents, times, words).sample


def test_the_teacher_says_what_it_said_and_what_words_change(trainee):
    one = trainee()
    latents, times, words, looks = torch.randn(2, 4, 16, 16), torch.tensor([3, 900]), torch.randn(2, 77, 32), torch.randn(2, 77, 32)
    stack = torch.randn(2, 16, 32)
    with one.teacher.told_of([Variants(stack=stack)], (16, 16)) as tell:
        found = tell(latents, times, words, looks)
    own = told(one.networks, one.teacher.before, stack, latents, times, words)
    plain, more = (told(one.networks, None, None, latents, times, text) for text in (words, looks))
    assert torch.allclose(found, own + more - plain, atol=1e-5)
    assert (own - plain).abs().max() > 0.01 and (more - plain).abs().max() > 1e-4 and not found.requires_grad
    assert torch.equal(told(one.networks, None, None, latents, times, words), plain), "it leaves nothing on the UNet"


def captured(one, monkeypatch):
    """One step of a training: its batch, what the UNet was given, and the loss."""
    batches, noisy, losses = [], [], []
    batch, add_noise = one.batches.draw, fact.add_noise
    one.batches.draw = lambda *given: batches.append(batch(*given)) or batches[-1]
    one._update = lambda loss, number: losses.append(loss.item()) or torch.zeros(())
    monkeypatch.setattr(fact, "add_noise", lambda *given: noisy.append((add_noise(*given), given[2])) or noisy[-1][0])
    torch.manual_seed(0)
    values = one.step(0, np.random.default_rng(0))
    return batches[0], *noisy[0], losses[0], values


def test_what_is_taught_by_hand(trainee, monkeypatch):
    """Squares of what student and teacher tell apart from one another, three times as loud in heads, by the weight of the steps."""
    one = trainee(heads=3.0, velocity=True, distil=2.0)
    with torch.no_grad():
        for value in one.adapter.parameters():
            value.mul_(1.3)
    batch, noisy, times, loss, values = captured(one, monkeypatch)
    words, looks = (one.networks.text_encoder(text).last_hidden_state for text in (batch.words, batch.looks))
    faces = torch.from_numpy(one.kept[batch.rows[0][:, 0]].astype(np.float32))
    own, before = (told(one.networks, a, a.resampler(faces), noisy, times, words) for a in (one.adapter, one.teacher.before))
    plain, more = (told(one.networks, None, None, noisy, times, text) for text in (words, looks))
    heads = 1 + 2 * batch.head[:, None]
    squares = ((own - before - more + plain).square() * heads).mean(dim=(1, 2, 3)) / heads.mean()
    assert float(values["taught"]) == pytest.approx(float((squares * velocity_weight(times)).mean()), rel=1e-3)
    other = trainee(heads=3.0, velocity=True, distil=1.0)
    other.adapter.load_state_dict(one.adapter.state_dict())
    assert loss - captured(other, monkeypatch)[3] == pytest.approx(float(values["taught"]), rel=1e-3), "one weight more"


@pytest.mark.parametrize("missing", ["drop", "drop_words"])
def test_rows_without_face_or_caption_are_not_asked(trainee, missing):
    one = trainee(**{missing: 1.0})
    assert float(one.step(0, np.random.default_rng(0))["taught"]) == 0.0


def test_pictures_of_two_are_not_asked(drawn, latents, begin, tmp_path):
    pairs = open_pairs(write_latents(tmp_path / "pairs", 3, people=2))
    settings = fact.FactSettings(steps=2, batch=2, warmup=1, begin=str(begin), pairs="given", pair_every=1, distil=1.0, **ALWAYS)
    one = fact.FactTrainee(settings, CPU, networks(), encoder(), DrawnPeople(open_set(write_latents(tmp_path / "set", 4)), pairs))
    assert float(one.step(0, np.random.default_rng(0))["taught"]) == 0.0


def test_gates_learn_it(trainee):
    """Of one batch the student comes nearer to the teacher, and without the teacher's weight it does not."""
    ways = []
    for weight in (1e-9, 30.0):
        one, heard = trainee(distil=weight), []
        for number in range(12):
            torch.manual_seed(0)
            heard.append(float(one.step(number, np.random.default_rng(0))["taught"]))
        ways.append(heard)
    assert ways[1][0] == pytest.approx(ways[0][0], rel=1e-4)
    assert ways[1][-1] < 0.6 * ways[1][0] and ways[1][-1] < 0.8 * ways[0][-1]


def test_the_teacher_is_the_adapter_that_is_named(trainee, begin, tmp_path):
    """What a training begins with, or another's file; a training that learns and goes on keeps it."""
    first = trainee()
    before = {key: value.clone() for key, value in first.teacher.before.state_dict().items()}
    first.step(0, np.random.default_rng(0))
    assert all(torch.equal(value, before[key]) for key, value in first.teacher.before.state_dict().items())
    write_adapter(first.averaged(), tmp_path / "later.safetensors", {"resampler_heads": str(first.adapter.sizes.resampler.heads)})
    later = trainee(begin=str(tmp_path / "later.safetensors"), teacher=str(begin))
    assert all(torch.equal(value, before[key]) for key, value in later.teacher.before.state_dict().items())
    assert not torch.equal(later.adapter.layers[0].to_out.weight, later.teacher.before.layers[0].to_out.weight)


def test_it_is_taught_along_its_own_way(trainee, monkeypatch):
    """At every step of what it paints by itself, each as loud as the others: as far from the teacher as by hand, where words are said."""
    one = trainee(painted=2, heads=3.0, velocity=True)
    with torch.no_grad():
        for value in one.adapter.parameters():
            value.mul_(1.3)
    batch = one.batches.draw(0, np.random.default_rng(0))
    batch = replace(batch, wordless=torch.tensor([False, True, False]))
    words, looks = (one.networks.text_encoder(text).last_hidden_state for text in (batch.words, batch.looks))
    asked, watched = [], fact.watched
    monkeypatch.setattr(fact, "watched", lambda loss, tell, *rest: watched(loss, lambda x, t: asked.append((x, t)) or tell(x, t), *rest))
    with torch.no_grad():
        taught = one._watched(batch, words, looks, batch.rows[0]).taught
    faces = torch.from_numpy(one.kept[batch.rows[0][:2, 0]].astype(np.float32))
    heads, found = 1 + 2 * one.usual[:, None], []
    for latents_, times in asked:
        own, before = (told(one.networks, a, a.resampler(faces), latents_, times, words[:2]) for a in (one.adapter, one.teacher.before))
        plain, more = (told(one.networks, None, None, latents_, times, text[:2]) for text in (words, looks))
        found.append(float(((own - before - more + plain)[0].square() * heads[0]).mean() / heads.mean()) / 2)
    assert len(found) == 8 and float(taught) == pytest.approx(np.mean(found), rel=1e-3)
    told_of = []
    for each in (trainee(painted=2), trainee()):
        monkeypatch.setattr(each, "_watched", lambda *given: fact.Watched(taught=torch.tensor(7.0)))
        torch.manual_seed(0)
        told_of.append(float(each.step(0, np.random.default_rng(0))["taught"]))
    assert told_of[0] == pytest.approx(told_of[1] + 7.0), "beside what it is taught of the pictures"


def test_bad_input(trainee):
    with pytest.raises(BadInput, match="only those of drawn people are known"):
        fact.FactSettings(data="people", distil=1.0)
    with pytest.raises(BadInput, match="give that beside it"):
        fact.FactSettings(teacher="adapter.safetensors")
    with pytest.raises(BadInput, match="--teacher gives an adapter with gates, --parallel asks for one without"):
        fact.FactSettings(teacher="adapter.safetensors", distil=1.0, parallel=True)
    with pytest.raises(BadInput, match=r"nowhere\.safetensors is not there"):
        trainee(teacher="nowhere.safetensors")
