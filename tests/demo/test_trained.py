"""The trained demo model as it comes with the product: it paints whom it is shown, says a judge who conditions nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageChops

from facechain_ext.app import App, Choice
from facechain_ext.demo import photos
from facechain_ext.demo.judge import Judge, view
from facechain_ext.demo.model import TRAINED
from facechain_ext.demo.reader import ATTRIBUTES, Reader
from facechain_ext.demo.world.traits import BACKGROUNDS
from facechain_ext.engine.identity import Identity
from facechain_ext.engine.injection import Person
from facechain_ext.hosts.types import Paint
from facechain_ext.training.checkpoint import load_weights
from facechain_ext.training.judge import seen
from facechain_ext.training.likeness import embed, gallery_of
from facechain_ext.training.people import TESTED
from facechain_ext.training.reader import read
from facechain_ext.workflows.people import Picture, meet, opened

EXAMPLES = Path(__file__).parents[2] / "examples" / "demo"
PROMPT = "a photo of a person, wearing a red hoodie, smiling, at the beach"


@pytest.fixture(scope="module")
def app(tmp_path_factory) -> App:
    made = App(Choice(models=tmp_path_factory.mktemp("models"), scratch=tmp_path_factory.mktemp("scratch")))
    assert made.drawn, "the trained files are there"
    return made


@pytest.fixture(scope="module")
def judge() -> Judge:
    made = Judge()
    made.load_state_dict(load_weights(TRAINED / "judge.safetensors"))
    return made


@pytest.fixture(scope="module")
def gallery(judge) -> torch.Tensor:
    return gallery_of(judge, seen, list(photos.PEOPLE.values()))


@pytest.fixture(scope="module")
def identities(app) -> dict[str, Identity]:
    """Everybody from the first of their photos, as the product meets people."""
    found = {}
    for name in photos.PEOPLE:
        file = EXAMPLES / f"{name}-1.png"
        found[name] = meet(app.analyser, app.encoder, app.adapter, opened([Picture(data=file.read_bytes(), name=file.name)])).identity
    return found


def paint(app, persons, prompt=PROMPT, seed=1, width=128) -> np.ndarray:
    request = Paint(
        prompt=prompt, width=width, height=128, steps=20, cfg=4.0, seed=seed, persons=tuple(persons),
        adapter=app.adapter if persons else None,
    )
    return np.asarray(next(iter(app.host.paint(request))).image)


def test_the_models_fit_into_64_megabytes():
    assert sum(path.stat().st_size for path in TRAINED.iterdir()) <= 64_000_000


@pytest.mark.parametrize("name", sorted(photos.pictures()))
def test_the_photos_are_drawn_people_nobody_learnt_from(name):
    shipped, drawn = Image.open(EXAMPLES / name).convert("RGB"), photos.pictures()[name]
    assert ImageChops.difference(shipped, drawn).getbbox() is None
    assert all(number in TESTED for number in photos.PEOPLE.values())


def test_portraits_are_more_like_their_own_person(app, judge, gallery, identities):
    found = []
    for identity in identities.values():
        painted = [paint(app, [Person(identity=identity, weight=1.0)], seed=seed) for seed in (1, 2, 3)]
        found.append((embed(judge, np.stack([view(one) for one in painted])) @ gallery.T).mean(dim=0))
    likeness = torch.stack(found)  # painted by whom they are compared with
    plain = embed(judge, np.stack([view(paint(app, [], seed=seed)) for seed in (1, 2, 3)])) @ gallery.T
    own, others = likeness.diagonal(), (likeness.sum(dim=1) - likeness.diagonal()) / 3
    assert (own - others).mean() > 0.1 and (own > others).all()
    assert (own - plain.mean(dim=0)).mean() > 0.05, "without the adapter nobody is meant"


def test_two_people_are_each_in_their_half(app, judge, gallery, identities):
    left = torch.zeros(128, 256)
    left[:, :128] = 1
    who, found = list(photos.PEOPLE), []
    for one, other in ((0, 1), (2, 3), (1, 2), (3, 0)):
        persons = [Person(identity=identities[who[place]], weight=1.0, mask=mask) for place, mask in ((one, left), (other, 1 - left))]
        made = paint(app, persons, "a photo of two people, at the beach", seed=5, width=256)
        halves = embed(judge, np.stack([view(made, 64), view(made, 192)])) @ gallery.T
        found.append(float(halves[0, one] - halves[0, other] + halves[1, other] - halves[1, one]) / 2)
    assert np.mean(found) > 0.1


def test_what_was_asked_for_is_still_painted(app, identities):
    reader = Reader()
    reader.load_state_dict(load_weights(TRAINED / "reader.safetensors"))
    place = list(ATTRIBUTES).index("background")
    made = [paint(app, [Person(identity=one, weight=1.0)], seed=seed) for one in identities.values() for seed in (1, 2)]
    assert (read(reader, made)[:, place] == BACKGROUNDS.index("beach")).mean() >= 0.75
