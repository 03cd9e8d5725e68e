"""A drawing surface of flat parts: a map of part numbers at twice the picture's size, and for each part its colour and what it is."""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache

import cv2
import numpy as np

from facechain_ext.demo.world.traits import RGB

SUPERSAMPLING = 2
FRACTION_BITS = 4


class Region(IntEnum):
    """What a part belongs to."""

    BACKGROUND = 0
    CLOTHES = 1
    SKIN = 2  # neck and hands
    FACE = 3  # with ears, eyes, mouth, beard and glasses
    HAIR = 4
    HAT = 5


class Frame:
    """Places points of a person's head (x right, y down, z to the viewer; 1 = half a mean face) on the canvas."""

    def __init__(self, origin: tuple[float, float], unit: float, roll: float = 0.0, yaw: float = 0.0) -> None:
        """origin and unit in picture pixels, angles in degrees."""
        self.origin = np.array(origin, np.float64) * SUPERSAMPLING
        self.unit = unit * SUPERSAMPLING
        turn, tilt = np.deg2rad(yaw), np.deg2rad(roll)
        self.turn = np.array((np.cos(turn), np.sin(turn)))
        self.rotation = np.array(((np.cos(tilt), np.sin(tilt)), (-np.sin(tilt), np.cos(tilt))))

    def at(self, points: np.ndarray | list, z: float = 0.0) -> np.ndarray:
        """Points [N, 2] at depth z → canvas pixels [N, 2]."""
        flat = np.array(points, np.float64).reshape(-1, 2)
        flat[:, 0] = flat[:, 0] * self.turn[0] + z * self.turn[1]
        return flat @ self.rotation * self.unit + self.origin


class Canvas:
    """The surface. Every call of fill, stroke or disc returns the number of the part it drew."""

    def __init__(self, width: int, height: int) -> None:
        self.labels = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING), np.uint8)
        self.colours: list[RGB] = [(255, 255, 255)]
        self.regions: list[int] = [int(Region.BACKGROUND)]
        self.owners: list[int] = [0]
        self.inked: list[bool] = [False]
        self.owner = 0

    def part(self, colour: RGB, region: Region, ink: bool = False) -> int:
        """A new part of the palette. ink: it is a line, drawn dark by the styles that draw with lines."""
        self.colours.append(colour)
        self.regions.append(int(region))
        self.owners.append(self.owner)
        self.inked.append(ink)
        return len(self.colours) - 1

    def fill(self, points: np.ndarray, colour: RGB, region: Region, inside: int | None = None) -> int:
        """Fill a polygon of canvas pixels [N, 2]; with `inside` only where that part is seen."""
        label = self.part(colour, region)
        self.refill(points, label, inside)
        return label

    def refill(self, points: np.ndarray, label: int, inside: int | None = None) -> None:
        """Fill another polygon as the same part."""
        fixed = _fixed(points)
        if inside is None:
            cv2.fillPoly(self.labels, [fixed], label, shift=FRACTION_BITS)
            return
        before = self.labels.copy()
        cv2.fillPoly(self.labels, [fixed], label, shift=FRACTION_BITS)
        np.copyto(self.labels, before, where=before != inside)

    def stroke(self, points: np.ndarray, width: float, colour: RGB, region: Region, closed: bool = False, ink: bool = True) -> int:
        """Draw a line through canvas pixels [N, 2]; width in canvas pixels."""
        label = self.part(colour, region, ink)
        self.restroke(points, width, label, closed)
        return label

    def restroke(self, points: np.ndarray, width: float, label: int, closed: bool = False) -> None:
        """Draw another line as the same part."""
        cv2.polylines(self.labels, [_fixed(points)], closed, label, max(1, round(width)), shift=FRACTION_BITS)

    def disc(self, centre: np.ndarray, radius: float, colour: RGB, region: Region) -> int:
        """Fill a circle; canvas pixels."""
        label = self.part(colour, region)
        self.redisc(centre, radius, label)
        return label

    def redisc(self, centre: np.ndarray, radius: float, label: int) -> None:
        """Fill another circle as the same part."""
        x, y = _fixed(centre)[0].tolist()
        cv2.circle(self.labels, (x, y), max(1, round(radius * (1 << FRACTION_BITS))), label, -1, shift=FRACTION_BITS)


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.rint(points * (1 << FRACTION_BITS)).astype(np.int32)


def _spline_basis(steps: int) -> np.ndarray:
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    return 0.5 * np.hstack((-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3))


_BASIS = _spline_basis(5)


def smooth(points: np.ndarray | list, closed: bool = True) -> np.ndarray:
    """A Catmull-Rom curve through the points [N, 2], five steps per piece."""
    p = np.array(points, np.float64)
    if closed:
        padded = np.vstack((p[-1:], p, p[:2]))
    else:
        padded = np.vstack((2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]))
    windows = np.stack((padded[:-3], padded[1:-2], padded[2:-1], padded[3:]), axis=1)  # [N, 4, 2]
    curve = (_BASIS @ windows).reshape(-1, 2)
    return curve if closed else np.vstack((curve, p[-1:]))


def ellipse(x: float, y: float, rx: float, ry: float, start: float = 0.0, end: float = 360.0, steps: int = 20) -> np.ndarray:
    """Points [steps, 2] of an ellipse or a part of it, degrees clockwise from the right."""
    return _arc(start, end, steps) * (rx, ry) + (x, y)


@lru_cache(maxsize=64)
def _arc(start: float, end: float, steps: int) -> np.ndarray:
    angle = np.deg2rad(np.linspace(start, end, steps))
    return np.stack((np.cos(angle), np.sin(angle)), axis=1)


def mirror(half: list[tuple[float, float]]) -> np.ndarray:
    """The right half of an outline, top to bottom on the axis, as a closed outline."""
    right = np.array(half, np.float64)
    return np.vstack((right, right[-2:0:-1] * (-1, 1)))


def shade(colour: RGB, factor: float) -> RGB:
    """Darker (factor < 1) or lighter (> 1: the rest of the way to white)."""
    c = np.array(colour, np.float64)
    mixed = c * factor if factor <= 1 else c + (255 - c) * (factor - 1)
    return (int(mixed[0]), int(mixed[1]), int(mixed[2]))


def mix(a: RGB, b: RGB, part: float) -> RGB:
    """`part` of b in a."""
    mixed = np.array(a) * (1 - part) + np.array(b) * part
    return (int(mixed[0]), int(mixed[1]), int(mixed[2]))
