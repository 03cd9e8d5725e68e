"""mediapipe and OpenCV themselves on a photo whose faces are known."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from facechain_ext.errors import MissingPackage
from facechain_ext.faces import embedded
from facechain_ext.faces.embedded import Embedded
from facechain_ext.vision.masks import head_from_parsing

ROOT = Path(__file__).parents[2]
# Measured with mediapipe's own programs, apart from this project.
BOX, SCORE = (178, 83, 273, 178), 0.92
POINTS = [(203.5, 101.1), (246.6, 103.5), (223.4, 130.0), (201.8, 139.2), (245.0, 141.0)]
# Read off the photo by eye.
CHEEK, HAIR, WALL, SUIT, FLAG = (215, 135), (225, 40), (330, 60), (225, 250), (30, 100)


@pytest.fixture(scope="module")
def astronaut() -> Image.Image:
    return Image.open(ROOT / "examples" / "astronaut.png").convert("RGB")


@pytest.fixture(scope="module")
def full() -> Embedded:
    return Embedded()


@pytest.fixture(scope="module")
def plain() -> Embedded:
    return Embedded(mediapipe=False)


@pytest.fixture(scope="module")
def crowd(astronaut: Image.Image) -> Image.Image:
    """Two small faces, 28 and 53 pixels wide, in a picture of three megapixels."""
    canvas = Image.new("RGB", (2000, 1500), (90, 120, 90))
    canvas.paste(astronaut.resize((160, 160)), (1500, 1100))
    canvas.paste(astronaut.resize((300, 300)), (100, 80))
    return canvas


def test_what_each_can_do(full: Embedded, plain: Embedded) -> None:
    assert full.capabilities == {"detect", "landmarks", "parse", "eyes"}
    assert plain.capabilities == {"detect", "parse"}


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


@pytest.mark.parametrize(
    ("box", "cut"),
    [
        ((90, 120, 140, 160), True),  # over the left edge, behind which the picture goes on
        ((150, 90, 180, 120), True),
        ((180, 150, 210, 190), True),
        ((120, 180, 160, 205), True),
        ((120, 120, 160, 160), False),
    ],
)
def test_faces_cut_by_a_tile_are_left_to_the_next(box: tuple[float, ...], cut: bool) -> None:
    assert embedded._cut((100, 100, 200, 200), box, (300, 300, 3)) is cut
    assert embedded._cut((0, 0, 300, 300), tuple(edge * 3 - 200 for edge in box), (300, 300, 3)) is False  # the picture's own border


def test_tiles_cover_the_picture_and_overlap() -> None:
    for width, height in ((2048, 1536), (2048, 400), (700, 700), (300, 200)):
        tiles = embedded._tiles(width, height)
        seen = np.zeros((height, width), int)
        for left, top, right, bottom in tiles:
            assert 0 <= left < right <= width and 0 <= top < bottom <= height
            seen[top:bottom, left:right] += 1
        assert (not tiles) if max(width, height) < 640 else seen.min() >= 1 and seen.max() > 1


def test_a_picture_without_a_face(full: Embedded, plain: Embedded, astronaut: Image.Image) -> None:
    rocket = astronaut.crop((330, 0, 512, 300))
    for image in (rocket, Image.new("RGB", (640, 480), "grey"), Image.new("RGB", (1, 1)), Image.new("RGB", (3000, 2))):
        assert full.faces(image) == [] and plain.faces(image) == []


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


def test_the_cascade_alone(plain: Embedded, astronaut: Image.Image, crowd: Image.Image) -> None:
    (face,) = plain.faces(astronaut)
    assert face.estimated and 0.5 < face.score <= 1
    assert np.abs(np.array(face.points) - POINTS).max() <= 12
    parsing = plain.parse(astronaut, face)
    assert parsing.geometric and parsing.person is None
    head = head_from_parsing(parsing.face, parsing.hair, parsing.person)
    assert head[CHEEK[1], CHEEK[0]] == head[HAIR[1], HAIR[0]] == 1 and head[SUIT[1], SUIT[0]] == head[FLAG[1], FLAG[0]] == 0
    assert [round(face.box[0], -2) for face in plain.faces(crowd)] == [200, 1600]
    dark = Image.eval(astronaut, lambda value: value // 12)
    assert len(plain.faces(dark)) == 1


def test_what_it_cannot_do_is_said(full: Embedded, astronaut: Image.Image) -> None:
    (face,) = full.faces(astronaut)
    with pytest.raises(MissingPackage, match="age"):
        full.attributes(astronaut, face)
    with pytest.raises(MissingPackage, match="persons"):
        full.embed(astronaut, face)


def test_mediapipe_without_solutions_is_passed_over(monkeypatch: pytest.MonkeyPatch, astronaut: Image.Image) -> None:
    """Versions from 0.10.30 on have no `solutions`."""
    newer = types.ModuleType("mediapipe")
    newer.__spec__ = types.SimpleNamespace(name="mediapipe")
    monkeypatch.setitem(sys.modules, "mediapipe", newer)
    analyser = Embedded()
    assert analyser.capabilities == {"detect", "parse"} and analyser.faces(astronaut)[0].estimated


def test_opencv_five_has_no_cascade(monkeypatch: pytest.MonkeyPatch, astronaut: Image.Image) -> None:
    monkeypatch.delattr(embedded.cv2, "CascadeClassifier")
    analyser = Embedded(mediapipe=False)
    assert analyser.capabilities == {"parse"}
    with pytest.raises(MissingPackage, match="mediapipe"):
        analyser.faces(astronaut)


def test_a_mesh_that_does_not_start_leaves_the_detector(monkeypatch: pytest.MonkeyPatch, astronaut: Image.Image) -> None:
    def broken(_: object) -> None:
        raise AttributeError("'FieldDescriptor' object has no attribute 'label'")

    monkeypatch.setattr(embedded, "_open_mesh", broken)
    analyser = Embedded()
    assert analyser.capabilities == {"detect", "landmarks", "parse"}
    (face,) = analyser.faces(astronaut)
    assert np.abs(np.array(face.points) - POINTS).max() <= 12 and face.eyes_open is None
    assert analyser.parse(astronaut, face).hair[HAIR[1], HAIR[0]]


def test_nothing_but_our_own_words_reaches_the_screen() -> None:
    program = (
        "import sys, os\nfrom PIL import Image\nfrom facechain_ext.faces.embedded import Embedded, _quiet\n"
        "image = Image.open('examples/astronaut.png').convert('RGB')\nprint(len(Embedded().faces(image)))\n"
        "with _quiet():\n    os.write(2, b'a true error\\nW0000 00:00:1.5 1 some.cc:1] noise\\n')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n" and done.stderr == "a true error\n"


def test_import_is_free() -> None:
    heavy = ("mediapipe", "torch", "matplotlib")
    program = f"import sys, facechain_ext.faces.embedded\nprint([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
