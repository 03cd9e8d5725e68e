"""Photos judged one by one and together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from facechain_ext.errors import NoFace
from facechain_ext.faces.types import Attributes, Face, Parsing, left_to_right, pick
from facechain_ext.faces.vetting import RULES, Report, likeness_to_medoid, vet

POINTS = ((203.5, 101.1), (246.6, 103.5), (223.4, 125.0), (201.8, 139.2), (245.0, 141.0))
BOX = (178.0, 83.0, 273.0, 178.0)


def face(x: float = 0, scale: float = 1.0, **more: object) -> Face:
    """The astronaut's face, moved right and scaled about its left upper corner."""
    left, top = BOX[:2]
    box = (left + x, top, left + x + 95 * scale, top + 95 * scale)
    points = tuple((left + x + (px - left) * scale, top + (py - top) * scale) for px, py in POINTS)
    return Face(**{"box": box, "points": points, "score": 0.9, "yaw": 0.0, "pitch": 0.0, "roll": 0.0} | more)


class Analyser:
    """Sees in photo i what it was told, by the photo's identity."""

    name = "fake"

    def __init__(self, seen: Sequence[tuple[Image.Image, list[Face]]], vectors: Sequence[Sequence[float]] | None = None) -> None:
        self.seen = {id(photo): (at, faces) for at, (photo, faces) in enumerate(seen)}
        self.vectors = vectors
        self.capabilities = frozenset({"detect", "landmarks"} | ({"embed"} if vectors else set()))

    def faces(self, image: Image.Image) -> list[Face]:
        return self.seen[id(image)][1]

    def parse(self, image: Image.Image, face: Face) -> Parsing:
        raise AssertionError("vetting looks at no masks")

    def attributes(self, image: Image.Image, face: Face) -> Attributes:
        raise AssertionError("vetting asks for no attributes")

    def embed(self, image: Image.Image, face: Face) -> np.ndarray:
        assert self.vectors is not None
        return np.array(self.vectors[self.seen[id(image)][0]], np.float32)


@pytest.fixture(scope="module")
def astronaut() -> Image.Image:
    return Image.open(Path(__file__).parents[2] / "examples" / "astronaut.png").convert("RGB")


def codes(report: Report) -> list[str]:
    return [problem.code for problem in report.problems]


def judge(photo: Image.Image, *faces: Face, **more: object) -> Report:
    return vet(Analyser([(photo, list(faces))]), [photo], **more)[0]


def test_a_good_photo_has_nothing_against_it(astronaut: Image.Image) -> None:
    report = judge(astronaut, face())
    assert report.problems == () and report.usable and report.number == 1 and report.face == face() and report.likeness is None


def test_no_face_is_rejected_with_advice(astronaut: Image.Image) -> None:
    report = judge(astronaut)
    assert codes(report) == ["no_face"] and not report.usable and report.face is None
    assert report.problems[0].sentence == "No face found in photo 1."
    assert "64 pixels" in report.problems[0].advice


@pytest.mark.parametrize(
    ("width", "expected", "usable"), [(31.0, ["tiny"], False), (33.0, ["small"], True), (63.0, ["small"], True), (65.0, [], True)]
)
def test_size(astronaut: Image.Image, width: float, expected: list[str], usable: bool) -> None:
    report = judge(astronaut, face(scale=width / 95))
    assert [code for code in codes(report) if code != "blurred"] == expected and report.usable is usable


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"yaw": 45.0}, ["turned"]),
        ({"yaw": -45.0}, ["turned"]),
        ({"yaw": -70.0}, ["profile"]),
        ({"yaw": 20.0, "pitch": 20.0}, []),
        ({"pitch": -40.0}, ["nodding"]),
        ({"eyes_open": 0.1}, ["eyes_closed"]),
        ({"eyes_open": 0.6}, []),
        ({"yaw": None, "pitch": None}, []),
        ({"yaw": None, "pitch": None, "points": (*POINTS[:2], (249.0, 125.0), *POINTS[3:])}, ["turned"]),
        ({"yaw": None, "pitch": None, "points": (*POINTS[:2], (249.0, 125.0), *POINTS[3:]), "estimated": True}, []),
    ],
)
def test_which_way_the_face_looks(astronaut: Image.Image, more: dict[str, object], expected: list[str]) -> None:
    assert codes(judge(astronaut, face(**more))) == expected


def test_sharpness_light_and_edges(astronaut: Image.Image) -> None:
    blurred = astronaut.filter(ImageFilter.GaussianBlur(4))
    assert codes(judge(blurred, face())) == ["blurred"]
    assert codes(judge(ImageEnhance.Brightness(astronaut).enhance(0.2), face())) == ["dark"]
    bright = Image.fromarray((255 - (255 - np.asarray(astronaut, np.float32)) * 0.2).astype(np.uint8))
    assert codes(judge(bright, face())) == ["bright"]
    assert codes(judge(astronaut.crop((205, 0, 512, 512)), face(x=-205))) == ["cut_off"]


def test_several_faces_and_the_number_of_one(astronaut: Image.Image) -> None:
    faces = [face(x=100), face(x=-100, scale=0.9), face(x=200, scale=0.2)]
    report = judge(astronaut, *faces)
    assert report.face == faces[0] and "several_faces" in codes(report) and report.usable and report.faces == tuple(faces)
    assert "shows 3 faces" in next(p for p in report.problems if p.code == "several_faces").sentence
    chosen = judge(astronaut, *faces, face=1)
    assert chosen.face == faces[1] and "several_faces" not in codes(chosen)
    missing = judge(astronaut, *faces, face=4)
    assert codes(missing) == ["no_such_face"] and missing.face is None
    assert missing.problems[0].sentence == "There is no face 4 in photo 1, only 3."
    assert "several_faces" not in codes(judge(astronaut, face(), face(x=200, scale=0.3)))  # a small one in the background


def test_the_same_photo_twice(astronaut: Image.Image) -> None:
    again, other = astronaut.copy(), astronaut.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    photos = [astronaut, other, again]
    reports = vet(Analyser([(photo, [face()]) for photo in photos]), photos, names=["a.jpg", "b.jpg", "c.jpg"])
    assert [codes(report) for report in reports] == [[], [], ["duplicate"]]
    assert reports[2].problems[0].sentence == "c.jpg is the same picture as photo 1."
    assert reports[2].usable


def group(astronaut: Image.Image, vectors: Sequence[Sequence[float]]) -> tuple[Analyser, list[Image.Image]]:
    photos = [ImageEnhance.Brightness(astronaut).enhance(1 + at / 50) for at in range(len(vectors))]
    return Analyser([(photo, [face()]) for photo in photos], vectors), photos


def test_another_person_among_several(astronaut: Image.Image) -> None:
    analyser, photos = group(astronaut, [(1, 0.1, 0), (0, 0.2, 1), (1, -0.1, 0), (0.9, 0.1, 0.1)])
    reports = vet(analyser, photos, same_person=0.5)
    assert [codes(report) for report in reports] == [[], ["other_person"], [], []]
    assert [report.usable for report in reports] == [True, False, True, True]
    assert "photo 2" in reports[1].problems[0].sentence.lower() and "0.50" in reports[1].problems[0].sentence
    assert reports[1].likeness == pytest.approx(0.1 / np.sqrt((0.81 + 0.01 + 0.01) * 1.04) + 0.02 / np.sqrt(0.83 * 1.04), abs=1e-6)
    assert max(report.likeness for report in reports) == pytest.approx(1)
    assert [codes(report) for report in vet(analyser, photos, same_person=0.05)] == [[]] * 4


def test_of_two_photos_neither_is_the_wrong_one(astronaut: Image.Image) -> None:
    analyser, photos = group(astronaut, [(1, 0), (0, 1)])
    reports = vet(analyser, photos, same_person=0.3)
    assert [codes(report) for report in reports] == [[], ["two_persons"]] and reports[1].usable


def test_an_encoder_handed_in_sees_aligned_crops(astronaut: Image.Image) -> None:
    analyser, photos = group(astronaut, [()] * 3)
    analyser.capabilities = frozenset({"detect"})
    crops: list[np.ndarray] = []

    def embed(crop: np.ndarray) -> np.ndarray:
        crops.append(crop)
        return np.array([1.0, 0]) if len(crops) != 2 else np.array([0, 1.0])

    reports = vet(analyser, photos, embed=embed, same_person=0.4)
    assert [codes(report) for report in reports] == [[], ["other_person"], []]
    assert all(crop.shape == (112, 112, 3) and crop.dtype == np.uint8 for crop in crops)
    assert crops[0][52, 38].mean() < crops[0][72, 56].mean()  # the pupil is darker than the nose
    assert [codes(report) for report in vet(analyser, photos)] == [[], [], []]  # no encoder, no comparison


def test_photos_without_a_face_are_left_out_of_the_comparison(astronaut: Image.Image) -> None:
    photos = [astronaut.copy() for _ in range(3)]
    photos = [ImageEnhance.Brightness(photo).enhance(1 + at / 50) for at, photo in enumerate(photos)]
    analyser = Analyser(list(zip(photos, ([face()], [], [face()]), strict=True)), [(1, 0), (0, 1), (1, 0)])
    assert [codes(report) for report in vet(analyser, photos)] == [[], ["no_face"], []]


def test_the_medoid_is_not_pulled_away() -> None:
    vectors = np.array([(5, 0), (4, 0.4), (0, 0.01), (3, -0.3)])
    cosines = likeness_to_medoid(vectors)
    assert int(np.argmin(cosines)) == 2 and cosines[1] == pytest.approx(1)


def test_every_rule_can_be_said() -> None:
    for code, rule in RULES.items():
        assert rule.advice.endswith(".") and rule.sentence.endswith("."), code
        assert rule.severity in ("warn", "reject")


def test_pick_and_count_from_the_left() -> None:
    faces = [face(x=100), face(x=-50, scale=0.9), face(x=10, scale=0.5)]
    assert left_to_right(faces) == [faces[1], faces[2], faces[0]]
    assert pick(faces) == faces[0] and pick(faces, 1) == faces[1] and pick(faces, 3) == faces[0]
    with pytest.raises(NoFace, match=r"No face found in me\.jpg"):
        pick([], name="me.jpg")
    for wrong in (0, 4, -1):
        with pytest.raises(NoFace, match=f"no face {wrong} in the photo, only 3"):
            pick(faces, wrong)
