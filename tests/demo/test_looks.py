"""Looks in words: right ones, none of what cannot be seen, and short enough for a caption."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from facechain_ext.demo.world import appearance, person, scene
from facechain_ext.demo.world import looks as words
from facechain_ext.demo.world.caption import caption
from facechain_ext.demo.world.looks import looks
from facechain_ext.demo.world.traits import EYE_COLOURS, FACES, FRAME_COLOURS, HAIR_COLOURS, SKINS
from facechain_ext.training.tokens import LENGTH, joined, tokens_of

END = 49407


class Chance:
    """A generator whose every number is the same."""

    def __init__(self, value):
        self.value = value

    def random(self):
        return self.value


@pytest.fixture
def somebody():
    made = person(3)
    forehead, cheek, jaw, chin, length = FACES["oval"]
    return replace(
        made,
        face=replace(made.face, forehead=forehead, cheek=cheek * 1.04, jaw=jaw, chin=chin, length=length, skin=SKINS[3]),
        hair=replace(made.hair, style="bun", colour=HAIR_COLOURS[6]),
        eyes=replace(made.eyes, kind="cat", size=1.25, colour=EYE_COLOURS[2]),
        brows=replace(made.brows, thickness=0.14),
        nose=replace(made.nose, kind="hooked"),
        mouth=replace(made.mouth, width=0.2),
        glasses="round",
        glasses_colour=FRAME_COLOURS[3],
        beard="",
        marks=("freckles",),
        earrings="hoops",
    )


def test_everything_is_named_by_hand(somebody):
    assert looks(somebody, Chance(0.0)) == (
        "with red hair in a bun, round blue glasses, tanned skin, an oval face, large cat green eyes, thick brows, a hooked nose, "
        "a small mouth, freckles, hoop earrings"
    )


def test_colours_that_cannot_be_seen_are_not_named(somebody):
    assert looks(somebody, Chance(0.0), colours=False) == (
        "with hair in a bun, round glasses, an oval face, large cat eyes, thick brows, a hooked nose, a small mouth, freckles, "
        "hoop earrings"
    )


def test_nothing_is_said_where_chance_names_nothing(somebody):
    assert looks(somebody, Chance(0.99)) == ""


def test_chance_leaves_out_a_quarter():
    rng = np.random.default_rng(0)
    counts = np.array([[len(looks(person(n), chance).split(", ")) for chance in (rng, Chance(0.0))] for n in range(400)])
    assert counts[:, 0].sum() / counts[:, 1].sum() == pytest.approx(words.SAID, abs=0.03)


def test_every_kind_of_everybody_has_words():
    for number in range(1500):
        said = looks(person(number), Chance(0.0))
        assert re.fullmatch(r"with [a-z, -]+", said) and "{" not in said and ", ," not in said and "  " not in said


def test_a_caption_with_looks_is_read_as_one_sentence():
    for number in range(40):
        said, more = caption(scene(number), [appearance(number)], np.random.default_rng(number)), looks(person(number), Chance(0.5))
        assert np.array_equal(joined(tokens_of([said])[0], more), tokens_of([f"{said}, {more}"])[0])


def test_what_is_too_long_ends_as_every_caption_does():
    row = joined(tokens_of(["a photo"])[0], "red hair, " * 60)
    assert row.shape == (LENGTH,) and row[-1] == END and (row[:-1] != END).all()
    plain = tokens_of(["a photo"])[0]
    assert joined(plain, "") is plain
