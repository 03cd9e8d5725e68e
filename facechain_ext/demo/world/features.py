"""Draws eyes, brows, nose and mouth."""

from __future__ import annotations

import numpy as np

from facechain_ext.demo.world.canvas import Canvas, Frame, Region, ellipse, mix, shade, smooth
from facechain_ext.demo.world.geometry import BROW_Z, CORNER_RISE, MOUTH_Z, NOSE_Z, eye_height, mouth_half_width, mouth_height
from facechain_ext.demo.world.identity import Identity

WHITE, DARK, INK = (252, 252, 250), (40, 22, 26), (44, 30, 34)
OPENNESS = {"neutral": 1.0, "smile": 0.9, "laugh": 0.6, "sad": 0.8, "surprised": 1.3}
BROW_RISE = {"neutral": 0.0, "smile": 0.02, "laugh": 0.05, "sad": 0.0, "surprised": 0.1}
BROW_SLANT = {"sad": 0.12}
MOUTH_OPEN = {"laugh": 0.17, "surprised": 0.16}
EYE_SHAPES: dict[str, tuple[tuple[float, float], ...]] = {  # right eye, towards the nose first: x, y with half width 1, half height 1
    "almond": ((-1.0, 0.25), (-0.4, -0.75), (0.35, -0.85), (1.0, -0.1), (0.35, 0.7), (-0.4, 0.75)),
    "round": ((-0.85, 0.0), (-0.5, -0.95), (0.5, -0.95), (0.85, 0.0), (0.5, 0.95), (-0.5, 0.95)),
    "narrow": ((-1.1, 0.1), (-0.4, -0.5), (0.4, -0.5), (1.1, 0.0), (0.4, 0.42), (-0.4, 0.45)),
    "drooping": ((-0.95, -0.3), (-0.3, -0.8), (0.5, -0.5), (1.05, 0.45), (0.3, 0.75), (-0.5, 0.6)),
    "cat": ((-1.0, 0.5), (-0.4, -0.45), (0.3, -0.85), (1.2, -0.75), (0.5, 0.5), (-0.3, 0.75)),
}


def draw_eyes(canvas: Canvas, frame: Frame, who: Identity, expression: str) -> None:
    wide, tall = 0.24 * who.eyes.size, 0.19 * who.eyes.size * OPENNESS[expression]
    shape = np.array(EYE_SHAPES[who.eyes.kind]) * (wide, tall)
    lid = smooth(shape[:4] * 1.06, closed=False)
    closed = smooth(shape)
    white, iris, pupil, spark = (canvas.part(c, Region.FACE) for c in (WHITE, who.eyes.colour, (18, 14, 16), (255, 255, 255)))
    line = canvas.part(INK, Region.FACE, ink=True)
    for side in (-1, 1):
        place = np.array((side * who.eyes.gap, eye_height(who)))
        canvas.refill(frame.at(closed * (side, 1) + place, BROW_Z), white)
        radius = 0.155 * who.eyes.size
        canvas.refill(frame.at(ellipse(place[0], place[1] - 0.01, radius, radius), BROW_Z + 0.04), iris, inside=white)
        canvas.refill(frame.at(ellipse(place[0], place[1] - 0.01, radius * 0.5, radius * 0.5, steps=12), BROW_Z + 0.05), pupil, inside=iris)
        canvas.redisc(frame.at([place + np.array((0.05, -0.06))], BROW_Z + 0.05), 0.042 * frame.unit, spark)
        canvas.restroke(frame.at(lid * (side, 1) + place, BROW_Z), 0.07 * frame.unit, line)
        if who.eyes.lashes:
            _lashes(canvas, frame, shape[2:4] * (side, 1) + place, side, line)


def _lashes(canvas: Canvas, frame: Frame, roots: np.ndarray, side: int, line: int) -> None:
    for root, tip in ((roots[1], (side * 0.14, -0.1)), ((roots[0] + roots[1]) / 2, (side * 0.1, -0.14))):
        canvas.restroke(frame.at([root, root + tip], BROW_Z), 0.06 * frame.unit, line)


def draw_brows(canvas: Canvas, frame: Frame, who: Identity, expression: str) -> None:
    brow, colour = who.brows, shade(mix(who.hair.colour, (40, 28, 26), 0.45), 0.9)
    y = eye_height(who) - brow.height - BROW_RISE[expression]
    slant = brow.tilt - BROW_SLANT.get(expression, 0.0)
    label = canvas.part(colour, Region.FACE, ink=True)
    curve = smooth([(-brow.length, slant * 0.5), (0.0, -brow.arch), (brow.length, -slant)], closed=False)
    for side in (-1, 1):
        points = curve * (side, 1) + (side * (who.eyes.gap + 0.01), y)
        canvas.restroke(frame.at(points, BROW_Z), 1.7 * brow.thickness * frame.unit, label)


def draw_nose(canvas: Canvas, frame: Frame, who: Identity) -> None:
    kind, wide = who.nose.kind, who.nose.width
    top, tip = eye_height(who) + 0.02, eye_height(who) + 0.38 * who.nose.length
    side_tone, line = shade(who.face.skin, 0.84), shade(who.face.skin, 0.6)
    if kind in ("broad", "bulb", "pointed"):
        canvas.fill(_nose_body(frame, kind, top, tip, wide), side_tone, Region.FACE)
    curve = {
        "button": [(-0.1 * wide, tip - 0.02), (0.0, tip + 0.06), (0.1 * wide, tip - 0.02)],
        "straight": [(0.03, top), (0.1 * wide, tip - 0.06), (0.08 * wide, tip + 0.03), (-0.08 * wide, tip + 0.04)],
        "hooked": [(0.0, top - 0.06), (0.15 * wide, tip - 0.2), (0.2 * wide, tip - 0.05), (0.07 * wide, tip + 0.07), (-0.04, tip + 0.01)],
        "broad": [
            (-0.21 * wide, tip - 0.06),
            (-0.17 * wide, tip + 0.05),
            (0, tip + 0.02),
            (0.17 * wide, tip + 0.05),
            (0.21 * wide, tip - 0.06),
        ],
        "bulb": [(-0.13 * wide, tip - 0.02), (-0.08 * wide, tip + 0.09), (0.08 * wide, tip + 0.09), (0.13 * wide, tip - 0.02)],
        "pointed": [(-0.16 * wide, tip + 0.03), (0.0, tip + 0.08), (0.16 * wide, tip + 0.03)],
    }[kind]
    points = smooth(curve, closed=False)
    canvas.stroke(frame.at(points, NOSE_Z - 0.1), 0.055 * frame.unit, line, Region.FACE)


def _nose_body(frame: Frame, kind: str, top: float, tip: float, wide: float) -> np.ndarray:
    if kind == "bulb":
        return frame.at(ellipse(0, tip, 0.15 * wide, 0.12), NOSE_Z - 0.1)
    if kind == "broad":
        return frame.at(smooth([(0, top + 0.05), (0.12 * wide, tip - 0.1), (0.2 * wide, tip), (0, tip + 0.05), (-0.2 * wide, tip),
                                (-0.12 * wide, tip - 0.1)]), NOSE_Z - 0.1)  # fmt: skip
    return np.vstack(
        (frame.at([(0.02, top)], BROW_Z), frame.at([(0.16 * wide, tip + 0.03), (0, tip + 0.08), (-0.05, tip + 0.05)], NOSE_Z - 0.1))
    )


def draw_mouth(canvas: Canvas, frame: Frame, who: Identity, expression: str) -> None:
    mouth, y, half = who.mouth, mouth_height(who), mouth_half_width(who, expression)
    rise, gape = CORNER_RISE[expression], MOUTH_OPEN.get(expression, 0.0)
    left, right, middle = (-half, y - rise), (half, y - rise), y + rise * 0.5
    top, bottom = middle - mouth.upper - gape * 0.35, middle + mouth.lower + gape
    lips = smooth(
        [left, (-half * 0.35, top), (0, top + mouth.upper * 0.4), (half * 0.35, top), right, (half * 0.45, bottom), (-half * 0.45, bottom)]
    )
    lip = canvas.fill(frame.at(lips, MOUTH_Z), mix(mouth.colour, who.face.skin, 0.1), Region.FACE)
    if gape:
        _open_mouth(canvas, frame, (half, y - rise, middle - gape * 0.35, middle + gape), teeth=expression == "laugh", lip=lip)
        return
    line = smooth([left, (0, middle), right], closed=False)
    canvas.stroke(frame.at(line, MOUTH_Z), 0.045 * frame.unit, shade(mouth.colour, 0.5), Region.FACE)


def _open_mouth(canvas: Canvas, frame: Frame, place: tuple[float, float, float, float], teeth: bool, lip: int) -> None:
    half, corner, top, bottom = place
    inner = smooth([(-half * 0.9, corner), (0, top), (half * 0.9, corner), (half * 0.4, bottom), (-half * 0.4, bottom)])
    dark = canvas.fill(frame.at(inner, MOUTH_Z), DARK, Region.FACE)
    canvas.fill(frame.at(ellipse(0, bottom, half * 0.5, 0.07), MOUTH_Z), (206, 84, 92), Region.FACE, inside=dark)
    if teeth:
        canvas.fill(frame.at([(-half, top - 0.05), (half, top - 0.05), (half * 0.8, top + 0.09), (-half * 0.8, top + 0.09)], MOUTH_Z),
                    WHITE, Region.FACE, inside=dark)  # fmt: skip
