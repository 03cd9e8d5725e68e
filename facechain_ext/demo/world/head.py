"""Draws a head without its hair."""

from __future__ import annotations

import numpy as np

from facechain_ext.demo.world.beards import draw_beard_behind, draw_beard_front
from facechain_ext.demo.world.canvas import Canvas, Frame, Region, ellipse, mix, shade
from facechain_ext.demo.world.features import draw_brows, draw_eyes, draw_mouth, draw_nose
from facechain_ext.demo.world.geometry import EAR_Z, FACE_Z, eye_height, outline
from facechain_ext.demo.world.identity import Identity
from facechain_ext.demo.world.marks import MARKS


def draw_head(canvas: Canvas, frame: Frame, who: Identity, expression: str) -> None:
    """Everything of the head but the hair, back to front."""
    _ears(canvas, frame, who)
    skin = canvas.fill(frame.at(outline(who.face), FACE_Z), who.face.skin, Region.FACE)
    _cheek_shadow(canvas, frame, who, skin)
    if "rosy cheeks" in who.marks:
        _rosy_cheeks(canvas, frame, who)
    draw_beard_behind(canvas, frame, who, skin)
    draw_mouth(canvas, frame, who, expression)
    draw_beard_front(canvas, frame, who, expression)
    draw_eyes(canvas, frame, who, expression)
    draw_nose(canvas, frame, who)
    draw_brows(canvas, frame, who, expression)
    for mark in who.marks:
        if draw := MARKS.get(mark):
            draw(canvas, frame, who)


def _ears(canvas: Canvas, frame: Frame, who: Identity) -> None:
    skin = canvas.part(shade(who.face.skin, 0.95), Region.FACE)
    inner = canvas.part(shade(who.face.skin, 0.78), Region.FACE)
    size = who.face.ears
    for side in (-1, 1):
        x = side * (who.face.cheek + size * 0.25)
        canvas.refill(frame.at(ellipse(x, 0.02, size, size * 1.45), EAR_Z), skin)
        canvas.refill(frame.at(ellipse(x + side * 0.02, 0.03, size * 0.45, size * 0.8), EAR_Z), inner)


def _cheek_shadow(canvas: Canvas, frame: Frame, who: Identity, skin: int) -> None:
    """A flat shadow along the jaw; it gives the outline weight."""
    face = outline(who.face)
    canvas.fill(frame.at(np.vstack((face * (1.02, 1.0) + (0, 0.02), (face * (0.93, 0.9) + (0, -0.03))[::-1])), FACE_Z),
                shade(who.face.skin, 0.9), Region.FACE, inside=skin)  # fmt: skip


def _rosy_cheeks(canvas: Canvas, frame: Frame, who: Identity) -> None:
    rose = canvas.part(mix(who.face.skin, (238, 70, 84), 0.5), Region.FACE)
    for side in (-1, 1):
        canvas.refill(frame.at(ellipse(side * who.face.cheek * 0.62, eye_height(who) + 0.4, 0.17, 0.13), 0.25), rose)
