"""Draws what somebody is known by besides their features: marks, spectacles, earrings."""

from __future__ import annotations

import numpy as np

from facechain_ext.demo.world.canvas import Canvas, Frame, Region, ellipse, mix, shade, smooth
from facechain_ext.demo.world.geometry import BROW_Z, EAR_Z, eye_height, mouth_height
from facechain_ext.demo.world.identity import Identity

GLASSES: dict[str, np.ndarray] = {
    "round": ellipse(0, 0, 0.32, 0.32),
    "square": np.array(((-0.3, -0.25), (0.34, -0.25), (0.34, 0.25), (-0.3, 0.25))),
    "cat-eye": smooth([(-0.3, -0.14), (0.06, -0.22), (0.5, -0.42), (0.32, 0.18), (-0.14, 0.25)]),
    "half-rim": smooth([(-0.32, -0.02), (-0.29, -0.22), (0.0, -0.26), (0.32, -0.24), (0.38, -0.02)], closed=False),
    "aviator": smooth([(-0.28, -0.24), (0.33, -0.27), (0.4, 0.08), (0.17, 0.4), (-0.14, 0.28)]),
}


def draw_glasses(canvas: Canvas, frame: Frame, who: Identity) -> None:
    """Glasses go over the hair at the temples."""
    if not who.glasses:
        return
    lens, width = GLASSES[who.glasses], 0.09 * frame.unit
    y, gap = eye_height(who) + 0.02, max(who.eyes.gap, 0.37)
    rim = canvas.part(who.glasses_colour, Region.FACE, ink=True)
    for side in (-1, 1):
        shape = lens * (side, 1) + (side * gap, y)
        canvas.restroke(frame.at(shape, BROW_Z + 0.05), width, rim, closed=who.glasses != "half-rim")
        ends = np.array(((side * (gap + 0.3), y - 0.06), (side * (who.face.cheek + 0.02), y - 0.04)))
        canvas.restroke(np.vstack((frame.at(ends[:1], BROW_Z), frame.at(ends[1:], EAR_Z))), width, rim)
    canvas.restroke(frame.at(smooth([(-gap + 0.28, y), (0, y - 0.05), (gap - 0.28, y)], closed=False), BROW_Z + 0.05), width, rim)


def draw_earrings(canvas: Canvas, frame: Frame, who: Identity) -> None:
    """Earrings hang over the hair."""
    if not who.earrings:
        return
    gold = canvas.part((248, 202, 70), Region.FACE, ink=True)
    for side in (-1, 1):
        x, y = side * (who.face.cheek + who.face.ears * 0.45), 0.06 + who.face.ears * 1.4
        if who.earrings == "studs":
            canvas.redisc(frame.at([(x, y)], EAR_Z), 0.075 * frame.unit, gold)
        else:
            canvas.restroke(frame.at(ellipse(x, y + 0.16, 0.13, 0.16), EAR_Z), 0.06 * frame.unit, gold, closed=True)


FRECKLES = ((0.3, 0.24), (0.42, 0.3), (0.5, 0.2), (0.36, 0.38), (0.56, 0.33), (0.22, 0.32))


def _freckles(canvas: Canvas, frame: Frame, who: Identity) -> None:
    label = canvas.part(shade(mix(who.face.skin, (150, 70, 30), 0.5), 0.8), Region.FACE, ink=True)
    for x, y in FRECKLES:
        for side in (-1, 1):
            canvas.redisc(frame.at([(side * x, eye_height(who) + y)], 0.3), 0.05 * frame.unit, label)


def _mole(canvas: Canvas, frame: Frame, who: Identity) -> None:
    canvas.part((58, 30, 26), Region.FACE, ink=True)
    canvas.redisc(frame.at([(who.mark_side * 0.36, mouth_height(who) - 0.12)], 0.3), 0.1 * frame.unit, len(canvas.colours) - 1)


def _scar(canvas: Canvas, frame: Frame, who: Identity) -> None:
    side, y = who.mark_side, eye_height(who)
    label = canvas.part(mix(who.face.skin, (190, 50, 60), 0.65), Region.FACE, ink=True)
    canvas.restroke(frame.at([(side * 0.56, y + 0.24), (side * 0.36, y + 0.68)], 0.3), 0.1 * frame.unit, label)
    for part in (0.25, 0.5, 0.75):
        x, height = side * (0.56 - 0.2 * part), y + 0.24 + 0.44 * part
        canvas.restroke(frame.at([(x - 0.1, height - 0.04), (x + 0.1, height + 0.04)], 0.3), 0.06 * frame.unit, label)


def _wrinkles(canvas: Canvas, frame: Frame, who: Identity) -> None:
    label = canvas.part(shade(who.face.skin, 0.68), Region.FACE, ink=True)
    y = eye_height(who)
    for height in (0.44, 0.55):
        canvas.restroke(
            frame.at(smooth([(-0.3, y - height), (0, y - height - 0.03), (0.3, y - height)], closed=False), 0.3), 0.04 * frame.unit, label
        )
    for side in (-1, 1):
        fold = smooth([(side * 0.2, y + 0.38), (side * 0.38, y + 0.5), (side * 0.44, y + 0.68)], closed=False)
        canvas.restroke(frame.at(fold, 0.3), 0.045 * frame.unit, label)


def _plaster(canvas: Canvas, frame: Frame, who: Identity) -> None:
    x, y = who.mark_side * 0.45, eye_height(who) + 0.36
    strip = np.array(((-0.28, 0.0), (0.22, -0.18), (0.28, -0.01), (-0.22, 0.17))) * (who.mark_side, 1) + (x, y)
    canvas.fill(frame.at(strip, 0.3), (246, 226, 186), Region.FACE)
    canvas.fill(frame.at((strip - (x, y)) * (0.34, 0.8) + (x, y), 0.3), (214, 176, 124), Region.FACE)


def _eye_patch(canvas: Canvas, frame: Frame, who: Identity) -> None:
    side, y = who.mark_side, eye_height(who)
    label = canvas.part((34, 32, 38), Region.FACE)
    strap = [(-side * who.face.forehead * 0.97, y - 0.5), (side * who.eyes.gap, y - 0.12), (side * who.face.cheek, y + 0.05)]
    canvas.restroke(frame.at(strap, 0.25), 0.055 * frame.unit, label)
    patch = smooth([(-0.32, -0.24), (0.32, -0.24), (0.3, 0.16), (0.0, 0.34), (-0.3, 0.16)]) + np.array((side * who.eyes.gap, y))
    canvas.refill(frame.at(patch, BROW_Z + 0.05), label)


MARKS = {
    "freckles": _freckles, "mole": _mole, "scar": _scar, "wrinkles": _wrinkles, "plaster": _plaster, "eye patch": _eye_patch,
}  # fmt: skip
