"""Who somebody is in the demo world: everything that stays the same from picture to picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from facechain_ext.demo.world import traits
from facechain_ext.demo.world.traits import RGB

SEED_SPACE = 0x1D
Kind = TypeVar("Kind")


@dataclass(frozen=True, kw_only=True)
class Face:
    """Outline of the face (half-widths and half-height, 1 = mean half-height), ears, skin."""

    forehead: float
    cheek: float
    jaw: float
    chin: float
    length: float
    ears: float
    skin: RGB


@dataclass(frozen=True, kw_only=True)
class Eyes:
    """kind: one of traits.EYES. size 0.75–1.25. gap: half the distance of the centres; height on the face; both in face units."""

    kind: str
    size: float
    gap: float
    height: float
    colour: RGB
    lashes: bool


@dataclass(frozen=True, kw_only=True)
class Brows:
    """Half thickness, rise of the middle, tilt (positive: outer ends up), distance above the eye, half length."""

    thickness: float
    arch: float
    tilt: float
    height: float
    length: float


@dataclass(frozen=True, kw_only=True)
class Nose:
    """kind: one of traits.NOSES; lengths in face units."""

    kind: str
    length: float
    width: float


@dataclass(frozen=True, kw_only=True)
class Mouth:
    """Half width, thickness of the lips, height on the face."""

    width: float
    upper: float
    lower: float
    height: float
    colour: RGB


@dataclass(frozen=True, kw_only=True)
class Hair:
    """style: one of traits.SHORT_HAIR or LONG_HAIR. volume 0–1. side: −1 or 1, where it is parted."""

    style: str
    colour: RGB
    volume: float
    side: int


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A drawn person. glasses, beard, earrings: kind or empty; marks: kinds; mark_side: the side of the face they are on."""

    face: Face
    eyes: Eyes
    brows: Brows
    nose: Nose
    mouth: Mouth
    hair: Hair
    glasses: str
    glasses_colour: RGB
    beard: str
    earrings: str
    marks: tuple[str, ...]
    mark_side: int


def person(seed: int) -> Identity:
    """The person of this number; the same number is the same person for ever."""
    rng = np.random.default_rng((SEED_SPACE, seed))
    bearded_kind = bool(rng.random() < 0.5)
    return Identity(
        face=_face(rng),
        eyes=_eyes(rng, lashes=not bearded_kind),
        brows=_brows(rng),
        nose=Nose(kind=_pick(rng, traits.NOSES), length=_between(rng, 0.75, 1.25), width=_between(rng, 1.0, 1.7)),
        mouth=_mouth(rng),
        hair=_hair(rng, short=bearded_kind),
        glasses=_pick(rng, traits.GLASSES) if rng.random() < 0.4 else "",
        glasses_colour=_pick(rng, traits.FRAME_COLOURS),
        beard=_pick(rng, traits.BEARDS) if bearded_kind and rng.random() < 0.7 else "",
        earrings=_pick(rng, traits.EARRINGS) if rng.random() < (0.12 if bearded_kind else 0.5) else "",
        marks=_marks(rng),
        mark_side=int(rng.choice((-1, 1))),
    )


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def _pick(rng: np.random.Generator, choices: Sequence[Kind]) -> Kind:
    return choices[int(rng.integers(len(choices)))]


def _face(rng: np.random.Generator) -> Face:
    shape = traits.FACES[list(traits.FACES)[int(rng.integers(len(traits.FACES)))]]
    forehead, cheek, jaw, chin, length = (float(value * rng.uniform(0.95, 1.05)) for value in shape)
    skin = _blend_neighbours(rng, traits.SKINS)
    return Face(forehead=forehead, cheek=cheek, jaw=jaw, chin=chin, length=length, ears=_between(rng, 0.1, 0.3), skin=skin)


def _blend_neighbours(rng: np.random.Generator, colours: tuple[RGB, ...]) -> RGB:
    """A colour between two neighbours of a scale."""
    place = rng.uniform(0, len(colours) - 1.001)
    first, part = int(place), place - int(place)
    mixed = np.array(colours[first]) * (1 - part) + np.array(colours[first + 1]) * part
    return (int(mixed[0]), int(mixed[1]), int(mixed[2]))


def _eyes(rng: np.random.Generator, lashes: bool) -> Eyes:
    return Eyes(
        kind=_pick(rng, traits.EYES),
        size=_between(rng, 0.75, 1.25),
        gap=_between(rng, 0.32, 0.44),
        height=_between(rng, -0.16, 0.0),
        colour=_pick(rng, traits.EYE_COLOURS),
        lashes=lashes,
    )


def _brows(rng: np.random.Generator) -> Brows:
    return Brows(
        thickness=float(rng.choice((0.04, 0.08, 0.14))) * _between(rng, 0.85, 1.15),
        arch=_between(rng, 0.0, 0.12),
        tilt=_between(rng, -0.13, 0.15),
        height=_between(rng, 0.3, 0.42),
        length=_between(rng, 0.2, 0.3),
    )


def _mouth(rng: np.random.Generator) -> Mouth:
    return Mouth(
        width=_between(rng, 0.18, 0.44),
        upper=_between(rng, 0.03, 0.12),
        lower=_between(rng, 0.04, 0.15),
        height=_between(rng, 0.54, 0.64),
        colour=_pick(rng, traits.LIP_COLOURS),
    )


def _hair(rng: np.random.Generator, short: bool) -> Hair:
    style = _pick(rng, traits.SHORT_HAIR if short else traits.LONG_HAIR)
    return Hair(style=style, colour=_pick(rng, traits.HAIR_COLOURS), volume=_between(rng, 0.0, 1.0), side=int(rng.choice((-1, 1))))


def _marks(rng: np.random.Generator) -> tuple[str, ...]:
    count = int(rng.choice((0, 1, 2), p=(0.4, 0.45, 0.15)))
    return tuple(sorted(str(mark) for mark in rng.choice(traits.MARKS, size=count, replace=False)))
