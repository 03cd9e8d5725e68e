"""People who are partly somebody else: what was meant to stay stays, the rest is the other's, and the judge misses what is missing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facechain_ext.demo.judge import Judge, view
from facechain_ext.demo.mixed import MIXES, STRANGERS, mixed, shares
from facechain_ext.demo.model import TRAINED
from facechain_ext.demo.world import appearance, draw, person, scene
from facechain_ext.training.checkpoint import load_weights
from facechain_ext.training.judge import seen
from facechain_ext.training.likeness import gallery_of
from facechain_ext.training.people import ENCODED, JUDGED, PAINTED, TESTED

WHO, OTHER = person(TESTED[3]), person(STRANGERS + 9)
COARSE = {"glasses": WHO.glasses, "glasses_colour": WHO.glasses_colour, "beard": WHO.beard}


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("everything but the hairstyle", replace(WHO, hair=replace(OTHER.hair, colour=WHO.hair.colour))),
        ("everything but the hair", replace(WHO, hair=OTHER.hair)),
        ("the hair alone", replace(OTHER, hair=WHO.hair)),
        ("these and the hairstyle", replace(OTHER, **COARSE, hair=WHO.hair, face=replace(OTHER.face, skin=WHO.face.skin))),
        (
            "skin, hair colour, glasses, beard",
            replace(OTHER, **COARSE, hair=replace(OTHER.hair, colour=WHO.hair.colour), face=replace(OTHER.face, skin=WHO.face.skin)),
        ),
        (
            "these, face outline and marks, not the hairstyle",
            replace(
                OTHER, **COARSE, hair=replace(OTHER.hair, colour=WHO.hair.colour), face=WHO.face, marks=WHO.marks, mark_side=WHO.mark_side
            ),
        ),
    ],
)
def test_who_is_made_of_two(name, made):
    assert MIXES[name](WHO, OTHER) == made


def test_every_mix_is_tested_and_strangers_are_strangers():
    assert len(MIXES) == 6
    assert all(people[-1] < STRANGERS for people in (PAINTED, ENCODED, JUDGED, TESTED))


def test_views_are_renders_of_the_mix_in_order():
    views, wanted = mixed([TESTED[0], TESTED[1]], lambda who, other: who, 2)
    assert wanted.tolist() == [0, 0, 1, 1]
    assert np.array_equal(views[3], view(draw(person(TESTED[1]), scene(3), appearance(3)).picture))


def test_the_judge_wants_the_face_more_than_the_hair():
    judge, people = Judge(), list(TESTED[:24])
    judge.load_state_dict(load_weights(TRAINED / "judge.safetensors"))
    found = shares(judge, gallery_of(judge, seen, people), people, 2)
    assert found["everything but the hairstyle"] > 0.75 > found["these and the hairstyle"] > 0.2
    assert found["these and the hairstyle"] > found["skin, hair colour, glasses, beard"]
    assert found["these, face outline and marks, not the hairstyle"] > found["skin, hair colour, glasses, beard"]
    assert found["the hair alone"] < 0.3
