"""Who is in the picture: the values a face analyser returns, and the protocol every backend fulfils."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from facechain_ext.errors import NoFace

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

Box = tuple[float, float, float, float]
Point = tuple[float, float]
Capability = Literal["detect", "landmarks", "parse", "attributes", "embed", "eyes"]


@dataclass(frozen=True, kw_only=True)
class Face:
    """One face of a picture, in pixels of that picture.

    box: left, top, right, bottom. points: eye at the picture's left, eye at its right, nose tip, mouth corner left,
    mouth corner right (the order of insightface, RetinaFace and the alignment template). score: 0–1 as the backend
    gives it. yaw, pitch, roll: degrees, 0 = facing the camera; None where the backend cannot tell.
    eyes_open: 0 (closed) to 1, or None. estimated: the five points were guessed from the box alone.
    """

    box: Box
    points: tuple[Point, Point, Point, Point, Point]
    score: float
    yaw: float | None = None
    pitch: float | None = None
    roll: float | None = None
    eyes_open: float | None = None
    estimated: bool = False

    @property
    def width(self) -> float:
        """Width of the box in pixels."""
        return self.box[2] - self.box[0]

    @property
    def height(self) -> float:
        """Height of the box in pixels."""
        return self.box[3] - self.box[1]

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        return self.width * self.height


@dataclass(frozen=True, kw_only=True)
class Parsing:
    """Masks of one person, each bool [H, W] of the picture it came from, or None where the backend cannot tell.

    geometric: the masks were drawn from the landmarks, not seen in the picture.
    """

    face: np.ndarray | None = None
    hair: np.ndarray | None = None
    person: np.ndarray | None = None
    clothes: np.ndarray | None = None
    geometric: bool = False


@dataclass(frozen=True, kw_only=True)
class Attributes:
    """What a backend judges of a person: gender, and age as the years it lies between (both inclusive); None = unknown."""

    gender: Literal["male", "female"] | None = None
    age: tuple[int, int] | None = None


class FaceAnalyser(Protocol):
    """A backend that looks at pictures (RGB PIL). What it cannot do is not in `capabilities`, and the call raises MissingPackage."""

    name: str
    capabilities: frozenset[Capability]

    def faces(self, image: Image.Image) -> list[Face]:
        """Faces of the picture, largest first; an empty list where there is none."""
        ...

    def parse(self, image: Image.Image, face: Face) -> Parsing:
        """Masks of the person to whom `face` belongs."""
        ...

    def attributes(self, image: Image.Image, face: Face) -> Attributes:
        """Gender and age range of the face, as far as the backend can tell."""
        ...

    def embed(self, image: Image.Image, face: Face) -> np.ndarray:
        """A float32 vector of length 1 that tells persons apart by cosine."""
        ...


class PictureCheck(Protocol):
    """Looks for nudity in a finished picture (RGB PIL)."""

    name: str

    def objects(self, picture: Image.Image, *, strict: bool = False) -> bool:
        """Whether the picture is not to be shown. strict: already on slight signs, for subjects who look under 18."""
        ...


def left_to_right(faces: Sequence[Face]) -> list[Face]:
    """The faces in the order in which a person counts them."""
    return sorted(faces, key=lambda face: (face.box[0], face.box[1]))


def pick(faces: Sequence[Face], number: int | None = None, name: str = "the photo") -> Face:
    """The largest face, or face `number`, counted from the left beginning with 1. NoFace where there is none."""
    if not faces:
        raise NoFace(f"No face found in {name}: use one where the face is at least 64 pixels wide and turned to the camera.")
    if number is None:
        return max(faces, key=lambda face: face.area)
    if not 1 <= number <= len(faces):
        raise NoFace(f"There is no face {number} in {name}, only {len(faces)}: give a number from 1, counted from the left.")
    return left_to_right(faces)[number - 1]
