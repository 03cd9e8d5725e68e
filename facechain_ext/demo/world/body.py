"""Draws neck, clothes and arms, and tells the body's keypoints."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from facechain_ext.demo.world.canvas import Canvas, Frame, Region, ellipse, mirror, shade, smooth
from facechain_ext.demo.world.identity import Identity
from facechain_ext.demo.world.scene import Outfit
from facechain_ext.demo.world.traits import CLOTHES_COLOURS, RGB

SHOULDER, ELBOW_DOWN, WRIST_DOWN = (1.22, 0.52), (1.5, 2.1), (1.3, 3.5)
ELBOW_UP, WRIST_UP = (1.86, 1.3), (1.66, -0.1)
RAISED: dict[str, tuple[int, ...]] = {"down": (), "left up": (-1,), "right up": (1,), "both up": (-1, 1)}
"""Sides of the picture (−1 left, 1 right) on which the arm is up."""

TORSO = smooth(mirror([(0.0, 0.2), (0.45, 0.12), (1.05, 0.33), (1.42, 0.66), (1.52, 1.3), (1.5, 2.4), (1.5, 3.8), (0.0, 3.9)]))
NECK = np.array([(-0.36, -0.75), (0.36, -0.75), (0.38, 0.1), (0.55, 0.26), (-0.55, 0.26), (-0.38, 0.1)])


def joints(arms: str) -> dict[str, tuple[float, float]]:
    """Shoulders, elbows and wrists in body units; left and right are those of the picture."""
    places = {"neck": (0.0, 0.35)}
    for side, name in ((-1, "left"), (1, "right")):
        up = side in RAISED[arms]
        for joint, (x, y) in (("shoulder", SHOULDER), ("elbow", ELBOW_UP if up else ELBOW_DOWN), ("wrist", WRIST_UP if up else WRIST_DOWN)):
            places[f"{joint} {name}"] = (side * x, y)
    return places


def draw_body(canvas: Canvas, body: Frame, who: Identity, outfit: Outfit, arms: str) -> None:
    """Body in clothes; `body` has its origin at the root of the neck."""
    colour = CLOTHES_COLOURS[outfit.colour]
    if outfit.clothes == "hoodie":
        canvas.fill(
            body.at(smooth([(-0.6, -0.55), (0.6, -0.55), (1.0, 0.1), (0.8, 0.7), (-0.8, 0.7), (-1.0, 0.1)])),
            shade(colour, 0.7),
            Region.CLOTHES,
        )
    torso = _torso(canvas, body, colour)
    if outfit.clothes == "striped shirt":
        _stripes(canvas, body, torso, colour)
    for side in RAISED[arms]:
        _raised_arm(canvas, body, who, side, colour)
    _neck(canvas, body, who)
    DETAILS[outfit.clothes](canvas, body, who, colour)


def _torso(canvas: Canvas, body: Frame, colour: RGB) -> int:
    torso = canvas.fill(body.at(TORSO), colour, Region.CLOTHES)
    fold = canvas.part(shade(colour, 0.74) if sum(colour) > 200 else shade(colour, 1.25), Region.CLOTHES, ink=True)
    for side in (-1, 1):
        canvas.restroke(body.at(smooth([(side * 1.05, 0.95), (side * 1.0, 1.5), (side * 1.06, 3.8)], closed=False)), 0.06 * body.unit, fold)
    return torso


def _stripes(canvas: Canvas, body: Frame, torso: int, colour: RGB) -> None:
    canvas.colours[torso] = (246, 244, 238) if sum(colour) < 690 else (92, 96, 110)
    label = canvas.part(colour, Region.CLOTHES)
    for y in np.arange(0.45, 3.8, 0.5):
        canvas.refill(body.at([(-1.7, y), (1.7, y), (1.7, y + 0.24), (-1.7, y + 0.24)]), label, inside=torso)


def _raised_arm(canvas: Canvas, body: Frame, who: Identity, side: int, colour: RGB) -> None:
    (sx, sy), (ex, ey), (wx, wy) = SHOULDER, ELBOW_UP, WRIST_UP
    cuff = (wx + 0.15 * (ex - wx), wy + 0.15 * (ey - wy))
    sleeve = canvas.part(shade(colour, 0.86) if sum(colour) > 200 else shade(colour, 1.15), Region.CLOTHES)
    canvas.restroke(body.at([(side * sx * 0.95, sy + 0.15), (side * ex, ey), (side * cuff[0], cuff[1])]), 0.5 * body.unit, sleeve)
    skin = canvas.part(who.face.skin, Region.SKIN)
    palm = (side * (wx - 0.03), wy - 0.28)
    canvas.refill(body.at(ellipse(palm[0], palm[1], 0.24, 0.27)), skin)
    for dx in (-0.17, -0.06, 0.06, 0.17):
        canvas.restroke(body.at([(palm[0] + dx, palm[1] - 0.1), (palm[0] + 1.35 * dx, palm[1] - 0.46)]), 0.11 * body.unit, skin)
    canvas.restroke(body.at([(palm[0] - side * 0.1, palm[1]), (palm[0] - side * 0.36, palm[1] - 0.14)]), 0.12 * body.unit, skin)


def _neck(canvas: Canvas, body: Frame, who: Identity) -> None:
    skin = canvas.fill(body.at(NECK), who.face.skin, Region.SKIN)
    canvas.fill(body.at(ellipse(0, -0.5, 0.62, 0.42)), shade(who.face.skin, 0.76), Region.SKIN, inside=skin)


def _t_shirt(canvas: Canvas, body: Frame, who: Identity, colour: RGB) -> None:
    canvas.fill(body.at(ellipse(0, 0.2, 0.52, 0.27)), who.face.skin, Region.SKIN)
    canvas.stroke(body.at(ellipse(0, 0.2, 0.54, 0.3, 5, 175)), 0.1 * body.unit, shade(colour, 0.66), Region.CLOTHES)


def _striped_shirt(canvas: Canvas, body: Frame, who: Identity, colour: RGB) -> None:
    canvas.fill(body.at(ellipse(0, 0.2, 0.6, 0.18)), who.face.skin, Region.SKIN)
    canvas.stroke(body.at(ellipse(0, 0.2, 0.62, 0.2, 5, 175)), 0.1 * body.unit, colour, Region.CLOTHES)


def _hoodie(canvas: Canvas, body: Frame, who: Identity, colour: RGB) -> None:
    rim = shade(colour, 0.7)
    for side in (-1, 1):
        flap = smooth([(side * 0.42, -0.2), (side * 0.86, 0.1), (side * 0.7, 0.55), (side * 0.06, 0.72), (side * 0.32, 0.25)])
        canvas.fill(body.at(flap), rim, Region.CLOTHES)
    cord = canvas.part((244, 240, 230) if sum(colour) < 690 else (70, 70, 80), Region.CLOTHES, ink=True)
    for side in (-1, 1):
        canvas.restroke(body.at([(side * 0.2, 0.62), (side * 0.24, 1.35)]), 0.08 * body.unit, cord)


def _suit(canvas: Canvas, body: Frame, who: Identity, colour: RGB) -> None:
    white = canvas.fill(body.at([(-0.5, 0.1), (0.5, 0.1), (0.42, 1.0), (0, 2.1), (-0.42, 1.0)]), (250, 250, 250), Region.CLOTHES)
    canvas.fill(body.at([(-0.3, 0.1), (0.3, 0.1), (0, 0.42)]), who.face.skin, Region.SKIN, inside=white)
    tie = (60, 60, 84) if sum(colour) > 200 else (196, 40, 52)
    canvas.fill(body.at([(-0.12, 0.4), (0.12, 0.4), (0.07, 0.58), (0.16, 1.5), (0, 1.8), (-0.16, 1.5), (-0.07, 0.58)]), tie, Region.CLOTHES)
    lapel = canvas.part(shade(colour, 0.72) if sum(colour) > 200 else shade(colour, 1.18), Region.CLOTHES)
    for side in (-1, 1):
        canvas.refill(body.at([(side * 0.5, 0.06), (side * 0.86, 0.75), (side * 0.6, 0.85), (side * 0.7, 1.0), (side * 0.02, 2.1)]), lapel)


def _turtleneck(canvas: Canvas, body: Frame, who: Identity, colour: RGB) -> None:
    collar = [(-0.44, -0.28), (0.44, -0.28), (0.54, 0.36), (-0.54, 0.36)]
    canvas.fill(body.at(collar), shade(colour, 0.84) if sum(colour) > 200 else shade(colour, 1.12), Region.CLOTHES)
    line = canvas.part(shade(colour, 0.62) if sum(colour) > 200 else shade(colour, 1.35), Region.CLOTHES, ink=True)
    for x in (-0.3, -0.1, 0.1, 0.3):
        canvas.restroke(body.at([(x, -0.22), (x * 1.15, 0.32)]), 0.05 * body.unit, line)
    canvas.restroke(body.at(smooth([(-0.56, 0.36), (0, 0.44), (0.56, 0.36)], closed=False)), 0.06 * body.unit, line)


def _dungarees(canvas: Canvas, body: Frame, who: Identity, colour: RGB) -> None:
    """A bib with straps in the named colour over a pale shirt, so the torso is repainted first."""
    shirt = (238, 230, 214) if sum(colour) < 690 else (104, 112, 132)
    canvas.fill(body.at(TORSO), shirt, Region.CLOTHES)
    _neck(canvas, body, who)
    canvas.fill(body.at(ellipse(0, 0.2, 0.5, 0.2)), who.face.skin, Region.SKIN)
    label = canvas.part(colour, Region.CLOTHES)
    for side in (-1, 1):
        canvas.refill(body.at([(side * 0.66, 0.16), (side * 0.92, 0.24), (side * 0.84, 1.25), (side * 0.54, 1.25)]), label)
        canvas.refill(body.at([(side * 1.52, 1.9), (side * 0.8, 1.05), (side * 0.8, 3.8), (side * 1.52, 3.8)]), label)
    canvas.refill(body.at([(-0.86, 1.0), (0.86, 1.0), (0.95, 3.8), (-0.95, 3.8)]), label)
    button = canvas.part((250, 214, 90), Region.CLOTHES)
    for side in (-1, 1):
        canvas.redisc(body.at([(side * 0.68, 1.14)]), 0.1 * body.unit, button)


DETAILS: dict[str, Callable[[Canvas, Frame, Identity, RGB], None]] = {
    "t-shirt": _t_shirt, "striped shirt": _striped_shirt, "hoodie": _hoodie, "suit": _suit, "turtleneck": _turtleneck,
    "dungarees": _dungarees,
}  # fmt: skip
