"""Faces without any download: what holds with and without mediapipe, and OpenCV's cascade on a photo whose faces are known."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facechain_ext.errors import MissingPackage
from facechain_ext.faces import embedded
from facechain_ext.faces.embedded import Embedded
from facechain_ext.vision.masks import head_from_parsing
from tests.faces.astronaut import CHEEK, FLAG, HAIR, POINTS, SUIT

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def plain() -> Embedded:
    return Embedded(mediapipe=False)


def test_what_the_cascade_can_do(plain: Embedded) -> None:
    assert plain.capabilities == {"detect", "parse"}


def test_a_picture_without_a_face(plain: Embedded, faceless: Image.Image) -> None:
    assert plain.faces(faceless) == []


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


def test_what_it_cannot_do_is_said(plain: Embedded, astronaut: Image.Image) -> None:
    (face,) = plain.faces(astronaut)
    with pytest.raises(MissingPackage, match="age"):
        plain.attributes(astronaut, face)
    with pytest.raises(MissingPackage, match="persons"):
        plain.embed(astronaut, face)


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
