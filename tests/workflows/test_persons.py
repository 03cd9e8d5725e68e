"""Saved persons as they are painted: their age without a photo, and whose face it is in a photo of several."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from facechain_ext.errors import BadInput
from facechain_ext.faces.types import Attributes, Face
from facechain_ext.workflows.making import MakingOptions, Order, make
from facechain_ext.workflows.people import Picture
from facechain_ext.workflows.persons import Eyes, from_library, keep
from tests.fakes.room import RED, SIDE, ColourEyes, FakeRoom, FlatHost, encoder, photo
from tests.hosts.standalone_cases import adapter


class PairEyes(ColourEyes):
    """Two faces, one in each half of a wide picture; the one at the left is the larger, and judged to be a child's."""

    def faces(self, image: Image.Image) -> list[Face]:
        if image.width < 2 * image.height:
            return super().faces(image)
        h = image.height
        (one,) = super().faces(image.crop((0, 0, h, h)))
        moved = tuple((x + h, y) for x, y in one.points)
        box = (one.box[0] + h, one.box[1] + 2, one.box[2] + h, one.box[3])
        return [one, Face(box=box, points=moved, score=0.9)]  # type: ignore[arg-type]

    def attributes(self, image: Image.Image, face: Face) -> Attributes:
        return Attributes(gender="male", age=(3, 9) if image.width >= 2 * image.height and face.box[0] < image.height else (30, 39))


def pair() -> Picture:
    """Noise at the left, red at the right."""
    pixels = np.random.default_rng(1).integers(0, 256, (SIDE, 2 * SIDE, 3), dtype=np.uint8)
    pixels[:, SIDE:] = RED
    out = BytesIO()
    Image.fromarray(pixels).save(out, format="PNG")
    return Picture(data=out.getvalue(), name="photo 1")


def eyes_of(analyser: ColourEyes) -> Eyes:
    return Eyes(analyser=analyser, encoder=encoder(), adapter=adapter())


def test_a_saved_child_is_a_child_without_a_photo_too(tmp_path) -> None:
    here = FakeRoom(tmp_path, FlatHost([RED]), eyes=ColourEyes(age=(3, 9)))
    keep(eyes_of(here.eyes), here.library("anna"), "Kim", [photo(RED)], consent=True)
    assert from_library(eyes_of(here.eyes), here.library("anna"), "Kim").attributes == Attributes(gender="male", age=(3, 9))
    options = MakingOptions(prompt="at the beach in a bikini", subject="woman", width=SIDE, height=SIDE, sampler="DDIM")
    with pytest.raises(BadInput, match="the face looks 3 to 9"):
        list(make(Order(options=options, person="Kim"), here, "anna"))


def test_an_analyser_that_tells_no_age_is_not_asked(tmp_path) -> None:
    here = FakeRoom(tmp_path, FlatHost([RED]), eyes=ColourEyes(age=None, gender=None))
    keep(eyes_of(here.eyes), here.library("anna"), "Kim", [photo(RED)], consent=True)
    assert from_library(eyes_of(here.eyes), here.library("anna"), "Kim").attributes is None


def test_of_a_kept_photo_of_two_the_one_that_was_saved_is_meant(tmp_path) -> None:
    here, eyes = FakeRoom(tmp_path, FlatHost([RED])), eyes_of(PairEyes())
    keep(eyes, here.library("anna"), "Left", [pair()], face=1, consent=True, keep_photos=True)
    keep(eyes, here.library("anna"), "Right", [pair()], face=2, consent=True, keep_photos=True)
    left, right = (from_library(eyes, here.library("anna"), name) for name in ("Left", "Right"))
    assert left.attributes == Attributes(gender="male", age=(3, 9)) and left.judge.encoder == "colour-eyes"
    assert right.attributes == Attributes(gender="male", age=(30, 39)), "not the larger face beside them"
