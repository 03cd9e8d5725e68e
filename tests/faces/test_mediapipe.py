"""mediapipe itself on a photo whose faces are known. Left out, and said so, where no wheel of it exists (conftest.py)."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from facechain_ext.faces import embedded
from facechain_ext.faces.embedded import Embedded
from facechain_ext.vision.masks import head_from_parsing
from tests.faces.astronaut import BOX, CHEEK, FLAG, HAIR, POINTS, SCORE, SUIT, WALL


@pytest.fixture(scope="module")
def full() -> Embedded:
    return Embedded()


def test_what_it_can_do(full: Embedded) -> None:
    assert full.capabilities == {"detect", "landmarks", "parse", "eyes"}


def test_a_picture_without_a_face(full: Embedded, faceless: Image.Image) -> None:
    assert full.faces(faceless) == []


def test_the_astronaut_as_mediapipe_sees_her(full: Embedded, astronaut: Image.Image) -> None:
    (face,) = full.faces(astronaut)
    assert np.abs(np.subtract(face.box, BOX)).max() <= 2
    assert face.score == pytest.approx(SCORE, abs=0.01)
    assert np.abs(np.subtract(face.points, POINTS)).max() <= 2
    assert not face.estimated
    assert abs(face.yaw) < 10 and abs(face.pitch) < 20 and face.roll == pytest.approx(3.2, abs=1)
    assert face.eyes_open > 0.7


def test_the_mirrored_photo_gives_the_mirrored_face(full: Embedded, astronaut: Image.Image) -> None:
    (face,) = full.faces(ImageOps.mirror(astronaut))
    left, right = face.points[0], face.points[1]
    assert left[0] < right[0]
    assert left == pytest.approx((511 - 246.6, 103.5), abs=3) and right == pytest.approx((511 - 203.5, 101.1), abs=3)


def test_larger_than_it_is_looked_at(full: Embedded, astronaut: Image.Image) -> None:
    (face,) = full.faces(astronaut.resize((2560, 2560), Image.Resampling.LANCZOS))
    assert np.abs(np.array(face.points) / 5 - POINTS).max() <= 3


def test_small_faces_are_found_in_tiles(full: Embedded, crowd: Image.Image) -> None:
    faces = full.faces(crowd)
    assert len(faces) == 2 and faces[0].area > faces[1].area
    assert np.abs(np.array(faces[0].points) - (np.array(POINTS) * 300 / 512 + (100, 80))).max() <= 4
    assert np.abs(np.array(faces[1].points) - (np.array(POINTS) * 160 / 512 + (1500, 1100))).max() <= 4


def test_head_cut_from_mesh_and_segmentation(full: Embedded, astronaut: Image.Image) -> None:
    (face,) = full.faces(astronaut)
    parsing = full.parse(astronaut, face)
    assert not parsing.geometric
    assert parsing.face[CHEEK[1], CHEEK[0]] and not parsing.face[HAIR[1], HAIR[0]]
    assert parsing.hair[HAIR[1], HAIR[0]] and not (parsing.hair & parsing.face).any()
    assert parsing.person[SUIT[1], SUIT[0]] and not parsing.person[FLAG[1], FLAG[0]]
    head = head_from_parsing(parsing.face, parsing.hair, parsing.person)
    assert head[CHEEK[1], CHEEK[0]] == head[HAIR[1], HAIR[0]] == 1
    assert head[WALL[1], WALL[0]] == head[SUIT[1], SUIT[0]] == 0
    assert 9_000 < head.sum() < 22_000
    assert not parsing.hair[150:].any()  # below the mouth it is neck


def test_a_mesh_that_does_not_start_leaves_the_detector(monkeypatch: pytest.MonkeyPatch, astronaut: Image.Image) -> None:
    def broken(_: object) -> None:
        raise AttributeError("'FieldDescriptor' object has no attribute 'label'")

    monkeypatch.setattr(embedded, "_open_mesh", broken)
    analyser = Embedded()
    assert analyser.capabilities == {"detect", "landmarks", "parse"}
    (face,) = analyser.faces(astronaut)
    assert np.abs(np.array(face.points) - POINTS).max() <= 12 and face.eyes_open is None
    assert analyser.parse(astronaut, face).hair[HAIR[1], HAIR[0]]
