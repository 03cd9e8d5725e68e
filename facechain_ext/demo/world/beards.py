"""Draws beards."""

from __future__ import annotations

import numpy as np

from facechain_ext.demo.world.canvas import Canvas, Frame, Region, mix, shade, smooth
from facechain_ext.demo.world.geometry import CORNER_RISE, MOUTH_Z, mouth_height, outline
from facechain_ext.demo.world.identity import Identity
from facechain_ext.demo.world.traits import RGB


def _beard_colour(who: Identity) -> RGB:
    return shade(mix(who.hair.colour, (60, 40, 34), 0.2), 0.88)


def draw_beard_behind(canvas: Canvas, frame: Frame, who: Identity, skin: int) -> None:
    """The part of a beard that grows under and around the mouth; it is drawn before the mouth."""
    face, colour = who.face, _beard_colour(who)
    low, mouth = face.length, mouth_height(who)
    if who.beard == "stubble":
        shape = smooth([(-1, 0.12), (-0.5, mouth - 0.22), (0, mouth - 0.26), (0.5, mouth - 0.22), (1, 0.12), (1, 1.3), (-1, 1.3)])
        canvas.fill(frame.at(shape, 0.1), mix(face.skin, colour, 0.42), Region.FACE, inside=skin)
    elif who.beard in ("full", "long"):
        drop = 0.75 if who.beard == "long" else 0.14
        side = face.cheek + 0.03
        shape = smooth([(-side, 0.05), (-face.cheek * 0.72, 0.3), (-0.36, mouth - 0.2), (0, mouth - 0.22), (0.36, mouth - 0.2),
                        (face.cheek * 0.72, 0.3), (side, 0.05), (face.jaw + 0.06, 0.62 * low), (face.chin * 0.95, low + drop * 0.7),
                        (0, low + drop), (-face.chin * 0.95, low + drop * 0.7), (-face.jaw - 0.06, 0.62 * low)])  # fmt: skip
        canvas.fill(frame.at(shape, 0.05), colour, Region.FACE)
    elif who.beard == "chin strap":
        rim = outline(face)
        lower = rim[rim[:, 1] > 0.0]
        lower = lower[np.argsort(lower[:, 0])]
        canvas.stroke(frame.at(lower * (0.97, 0.98), 0.0), 0.19 * frame.unit, colour, Region.FACE, ink=False)
    elif who.beard == "goatee":
        shape = smooth(
            [(-0.24, mouth + 0.04), (0, mouth + 0.08), (0.24, mouth + 0.04), (0.2, low + 0.02), (0, low + 0.2), (-0.2, low + 0.02)]
        )
        canvas.fill(frame.at(shape, 0.2), colour, Region.FACE)


def draw_beard_front(canvas: Canvas, frame: Frame, who: Identity, expression: str) -> None:
    """Moustaches lie over the mouth."""
    y, colour, half = mouth_height(who) - CORNER_RISE[expression] * 0.3 - 0.07, _beard_colour(who), who.mouth.width
    if who.beard in ("moustache", "goatee", "full", "long"):
        wide = half + (0.1 if who.beard == "moustache" else 0.03)
        shape = smooth([(0, y - 0.1), (wide * 0.6, y - 0.07), (wide, y + 0.06), (wide * 0.4, y + 0.04), (0, y + 0.02),
                        (-wide * 0.4, y + 0.04), (-wide, y + 0.06), (-wide * 0.6, y - 0.07)])  # fmt: skip
        canvas.fill(frame.at(shape, MOUTH_Z), colour, Region.FACE)
    elif who.beard == "handlebar":
        wide = half + 0.16
        shape = smooth([(0, y - 0.08), (wide * 0.6, y - 0.01), (wide, y - 0.2), (wide * 1.05, y - 0.05), (wide * 0.6, y + 0.1),
                        (0, y + 0.03), (-wide * 0.6, y + 0.1), (-wide * 1.05, y - 0.05), (-wide, y - 0.2),
                        (-wide * 0.6, y - 0.01)])  # fmt: skip
        canvas.fill(frame.at(shape, MOUTH_Z), colour, Region.FACE)
