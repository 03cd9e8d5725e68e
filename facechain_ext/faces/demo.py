"""Faces of drawn people: the demo world's own eyes, a small network that comes with the trained demo model (demo/README.md).

It knows drawings only: in a photograph it sees nothing, or nonsense.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image

from facechain_ext.errors import MissingPackage, NoFace
from facechain_ext.faces.types import Attributes, Capability, Face, FaceAnalyser, Parsing
from facechain_ext.vision.quality import angles

if TYPE_CHECKING:
    from facechain_ext.demo.parser import Parser

FILE = "analyser.safetensors"
FOLDER = Path(__file__).parents[1] / "demo" / "weights"
LICENCE = "Apache-2.0 (trained by this project)"
ABLE: frozenset[Capability] = frozenset({"detect", "landmarks", "parse"})
MIN_SCORE = 0.35
NOSE, APART = 2, 14
REACH = ((34, 26), (34, 26), (0, 0), (26, 34), (26, 34))
"""How far from the nose the other points are looked for, in pixels of 128: to the sides, and up or down."""
HEAD = 1.45
"""Half a face's box in distances from eyes to mouth."""


def check(folder: Path | None) -> tuple[frozenset[Capability], str]:
    """What can be done with the file in that folder, and what is missing. Opens and imports nothing."""
    if (folder or FOLDER).joinpath(FILE).is_file():
        return ABLE, ""
    return frozenset(), f"The demo model's own face analysis is not trained yet: {FILE} is not in {folder or FOLDER}."


class Demo:
    """Finds and parses drawn faces."""

    name = "demo"
    capabilities: frozenset[Capability] = ABLE

    def __init__(self, folder: Path = FOLDER, device: str = "cpu", network: Parser | None = None) -> None:
        """network: the trained network where it is at hand already; the folder is not looked at then. MissingPackage."""
        missing = "" if network is not None else check(folder)[1]
        if missing:
            raise MissingPackage(missing)
        self._path, self._device, self._network = folder / FILE, device, network

    def faces(self, image: Image.Image) -> list[Face]:
        """Faces of the picture, largest first."""
        return _found(*self._seen(image))

    def parse(self, image: Image.Image, face: Face) -> Parsing:
        """Masks of the person to whom `face` belongs: everything nearer to it, from side to side, than to any other face."""
        maps, scale = self._seen(image)
        place = _nearest(face, _found(maps, scale), image.width)
        masks = [(cv2.resize(one, image.size, interpolation=cv2.INTER_LINEAR) > 0.5) & place for one in maps[5:]]
        if not masks[0].any():
            raise NoFace("No drawn face was made out there: the demo model's face analysis knows drawn people only.")
        return Parsing(face=masks[0], hair=masks[1], person=masks[2], clothes=masks[3])

    def attributes(self, image: Image.Image, face: Face) -> Attributes:
        """Not among its capabilities."""
        raise MissingPackage("The demo model's face analysis cannot judge gender or age: name them yourself.")

    def embed(self, image: Image.Image, face: Face) -> np.ndarray:
        """Not among its capabilities."""
        raise MissingPackage("The demo model's face analysis does not compare persons: the face encoder does.")

    def _seen(self, image: Image.Image) -> tuple[np.ndarray, tuple[float, float]]:
        """Probabilities [9, h, w] at half of the looked-at resolution, and the picture's pixels per one of theirs, across and down."""
        import torch

        from facechain_ext.demo.parser import HEIGHT, MULTIPLE

        width = max(MULTIPLE, round(image.width * HEIGHT / image.height / MULTIPLE) * MULTIPLE)
        filtered = Image.Resampling.BOX if image.height >= HEIGHT else Image.Resampling.BICUBIC
        small = np.array(image.convert("RGB").resize((width, HEIGHT), filtered))
        tensor = torch.from_numpy(small).permute(2, 0, 1)[None].float() / 127.5 - 1
        with torch.inference_mode():
            maps = self._loaded()(tensor.to(self._device)).sigmoid()[0].float().cpu().numpy()
        return maps, (image.width / maps.shape[2], image.height / maps.shape[1])

    def _loaded(self) -> Parser:
        if self._network is None:
            from facechain_ext.demo.parser import read_parser

            self._network = read_parser(self._path).to(self._device)
        return self._network


PHOTO = (
    "This is a photograph, and the demo model knows drawn people only: give one of the pictures in examples/demo, or real weights "
    "(checkpoint, adapter and face encoder; the README's first steps say where they are)."
)


class DrawnOnly:
    """The demo model's eyes as the product uses them: where they see nobody and `photos` does, the person is told why."""

    name = "demo"
    capabilities: frozenset[Capability] = ABLE

    def __init__(self, eyes: FaceAnalyser, photos: FaceAnalyser) -> None:
        self._eyes, self._photos = eyes, photos

    def faces(self, image: Image.Image) -> list[Face]:
        """Faces of the picture, largest first. NoFace where only a face analysis for photographs sees one."""
        found = self._eyes.faces(image)
        if not found and self._photos.faces(image):
            raise NoFace(PHOTO)
        return found

    def parse(self, image: Image.Image, face: Face) -> Parsing:
        """Masks of the person to whom `face` belongs."""
        return self._eyes.parse(image, face)

    def attributes(self, image: Image.Image, face: Face) -> Attributes:
        """Not among its capabilities."""
        return self._eyes.attributes(image, face)

    def embed(self, image: Image.Image, face: Face) -> np.ndarray:
        """Not among its capabilities."""
        return self._eyes.embed(image, face)


def _found(maps: np.ndarray, scale: tuple[float, float]) -> list[Face]:
    """Every nose above the threshold with the points around it, in pixels of the picture, largest first."""
    faces = [face for x, y in _peaks(maps[NOSE]) if (face := _face(maps, scale, x, y)) is not None]
    return sorted(faces, key=lambda face: -face.area)


def _nearest(face: Face, faces: list[Face], width: int) -> np.ndarray:
    """The columns of a picture that are nearest to this face, bool [1, width]."""
    middles = np.array([(one.box[0] + one.box[2]) / 2 for one in faces] or [width / 2])
    own = (face.box[0] + face.box[2]) / 2
    columns = np.arange(width) + 0.5
    nearest = np.abs(columns[:, None] - middles).argmin(axis=1)
    return (nearest == int(np.abs(middles - own).argmin()))[None]


def _peaks(heat: np.ndarray) -> list[tuple[int, int]]:
    """Places that are higher than everything nearby, [(x, y)]."""
    side = APART + 1
    highest = cv2.dilate(heat, np.ones((side, side), np.uint8))
    rows, columns = np.nonzero((heat >= highest) & (heat > MIN_SCORE))
    return list(zip(columns.tolist(), rows.tolist(), strict=True))


def _face(maps: np.ndarray, scale: tuple[float, float], x: int, y: int) -> Face | None:
    points, scores = [], []
    for heat, (across, along) in zip(maps[:5], REACH, strict=True):
        (px, py), score = _highest(heat, x, y, across // 2 + 2, along // 2 + 2)
        points.append(((px + 0.5) * scale[0], (py + 0.5) * scale[1]))
        scores.append(score)
    if min(scores) < MIN_SCORE / 2:
        return None
    eyes, mouth = (np.mean(points[i : i + 2], axis=0) for i in (0, 3))
    unit, middle = float(np.linalg.norm(mouth - eyes)), (eyes + mouth) / 2
    box = (middle[0] - HEAD * unit, middle[1] - HEAD * unit, middle[0] + HEAD * unit, middle[1] + HEAD * unit)
    yaw, pitch, roll = angles(points)
    five = tuple((float(px), float(py)) for px, py in points)
    return Face(box=tuple(map(float, box)), points=five, score=float(np.mean(scores)), yaw=yaw, pitch=pitch, roll=roll)  # type: ignore[arg-type]


def _highest(heat: np.ndarray, x: int, y: int, across: int, along: int) -> tuple[tuple[float, float], float]:
    """The highest place of a window around (x, y), between pixels by the weight of its neighbours, and its height."""
    top, left = max(0, y - along), max(0, x - across)
    window = heat[top : y + along + 1, left : x + across + 1]
    row, column = np.unravel_index(int(window.argmax()), window.shape)
    row, column = int(row) + top, int(column) + left
    across_of, down_of = heat[row], heat[:, column]
    return (column + _between(across_of, column), row + _between(down_of, row)), float(heat[row, column])


def _between(line: np.ndarray, place: int) -> float:
    """How far beside its highest pixel a Gaussian spot's middle lies, from −0.5 to 0.5: its logarithm is a parabola."""
    if not 0 < place < len(line) - 1:
        return 0.0
    before, at, after = np.log(np.maximum(line[place - 1 : place + 2], 1e-6))
    bend = before - 2 * at + after
    return float(np.clip((before - after) / (2 * bend), -0.5, 0.5)) if bend < 0 else 0.0
