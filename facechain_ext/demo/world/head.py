"""Draws a head without its hair: ears, face, eyes, brows, nose, mouth, marks, glasses, beard, earrings."""

from __future__ import annotations

import numpy as np

from facechain_ext.demo.world.canvas import Canvas, Frame, Region, ellipse, mirror, mix, shade, smooth
from facechain_ext.demo.world.identity import Face, Identity
from facechain_ext.demo.world.traits import RGB

FACE_Z, EAR_Z, BROW_Z, NOSE_Z, MOUTH_Z = 0.0, -0.12, 0.32, 0.55, 0.36
WHITE, DARK, INK = (252, 252, 250), (40, 22, 26), (44, 30, 34)
OPENNESS = {"neutral": 1.0, "smile": 0.9, "laugh": 0.6, "sad": 0.8, "surprised": 1.3}
BROW_RISE = {"neutral": 0.0, "smile": 0.02, "laugh": 0.05, "sad": 0.0, "surprised": 0.1}
BROW_SLANT = {"sad": 0.12}
CORNER_RISE = {"neutral": 0.0, "smile": 0.09, "laugh": 0.08, "sad": -0.1, "surprised": 0.0}
MOUTH_OPEN = {"laugh": 0.17, "surprised": 0.16}
MOUTH_SPREAD = {"smile": 1.12, "laugh": 1.15, "surprised": 0.62}


def outline(face: Face) -> np.ndarray:
    """The face's outline [N, 2] in face units."""
    half = [
        (0.0, -1.0), (face.forehead * 0.62, -0.9), (face.forehead, -0.52), (face.cheek, 0.02),
        (face.jaw, 0.56), (face.chin, 0.92), (0.0, 1.0),
    ]  # fmt: skip
    return smooth(mirror(half)) * (1, face.length)


def landmarks(who: Identity, expression: str) -> dict[str, tuple[float, float, float]]:
    """x, y, z of the five points and the ears in face units."""
    rise, half = CORNER_RISE[expression], _mouth_half(who, expression)
    eye, mouth = _eye_y(who), _mouth_y(who)
    nose = eye + 0.38 * who.nose.length
    return {
        "eye left": (-who.eyes.gap, eye, BROW_Z),
        "eye right": (who.eyes.gap, eye, BROW_Z),
        "nose": (0.0, nose, NOSE_Z),
        "mouth left": (-half, mouth - rise, MOUTH_Z),
        "mouth right": (half, mouth - rise, MOUTH_Z),
        "ear left": (-who.face.cheek, 0.02, EAR_Z),
        "ear right": (who.face.cheek, 0.02, EAR_Z),
    }


def draw_head(canvas: Canvas, frame: Frame, who: Identity, expression: str) -> None:
    """Everything of the head but the hair, back to front."""
    _ears(canvas, frame, who)
    skin = canvas.fill(frame.at(outline(who.face), FACE_Z), who.face.skin, Region.FACE)
    _cheek_shadow(canvas, frame, who, skin)
    if "rosy cheeks" in who.marks:
        _rosy_cheeks(canvas, frame, who)
    _beard_behind(canvas, frame, who, skin)
    _mouth(canvas, frame, who, expression)
    _beard_front(canvas, frame, who, expression)
    _eyes(canvas, frame, who, expression)
    _nose(canvas, frame, who)
    _brows(canvas, frame, who, expression)
    for mark in who.marks:
        if draw := MARKS.get(mark):
            draw(canvas, frame, who)


def draw_glasses(canvas: Canvas, frame: Frame, who: Identity) -> None:
    """Glasses go over the hair at the temples."""
    if not who.glasses:
        return
    lens, width = GLASSES[who.glasses], 0.065 * frame.unit
    y, gap = _eye_y(who) + 0.02, max(who.eyes.gap, 0.33)
    rim = canvas.part(who.glasses_colour, Region.FACE, ink=True)
    for side in (-1, 1):
        shape = lens * (side, 1) + (side * gap, y)
        canvas.restroke(frame.at(shape, BROW_Z + 0.05), width, rim, closed=who.glasses != "half-rim")
        ends = np.array(((side * (gap + 0.22), y - 0.06), (side * (who.face.cheek + 0.02), y - 0.04)))
        canvas.restroke(np.vstack((frame.at(ends[:1], BROW_Z), frame.at(ends[1:], EAR_Z))), width, rim)
    canvas.restroke(frame.at(smooth([(-gap + 0.2, y), (0, y - 0.05), (gap - 0.2, y)], closed=False), BROW_Z + 0.05), width, rim)


GLASSES: dict[str, np.ndarray] = {
    "round": ellipse(0, 0, 0.235, 0.235),
    "square": np.array(((-0.24, -0.18), (0.26, -0.18), (0.26, 0.17), (-0.24, 0.17))),
    "cat-eye": smooth([(-0.22, -0.1), (0.05, -0.15), (0.36, -0.28), (0.22, 0.13), (-0.1, 0.17)]),
    "half-rim": smooth([(-0.24, -0.05), (-0.21, -0.16), (0.0, -0.18), (0.24, -0.17), (0.28, -0.04)], closed=False),
    "aviator": smooth([(-0.2, -0.17), (0.24, -0.19), (0.29, 0.05), (0.12, 0.28), (-0.1, 0.2)]),
}


def _eye_y(who: Identity) -> float:
    return (who.eyes.height - 0.04) * who.face.length


def _mouth_y(who: Identity) -> float:
    return who.mouth.height * who.face.length


def _mouth_half(who: Identity, expression: str) -> float:
    return who.mouth.width * MOUTH_SPREAD.get(expression, 1.0)


def _ears(canvas: Canvas, frame: Frame, who: Identity) -> None:
    skin = canvas.part(shade(who.face.skin, 0.95), Region.FACE)
    inner = canvas.part(shade(who.face.skin, 0.78), Region.FACE)
    size = who.face.ears
    for side in (-1, 1):
        x = side * (who.face.cheek + size * 0.25)
        canvas.refill(frame.at(ellipse(x, 0.02, size, size * 1.45), EAR_Z), skin)
        canvas.refill(frame.at(ellipse(x + side * 0.02, 0.03, size * 0.45, size * 0.8), EAR_Z), inner)


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


def _cheek_shadow(canvas: Canvas, frame: Frame, who: Identity, skin: int) -> None:
    """A flat shadow along the jaw; it gives the outline weight."""
    face = outline(who.face)
    canvas.fill(frame.at(np.vstack((face * (1.02, 1.0) + (0, 0.02), (face * (0.93, 0.9) + (0, -0.03))[::-1])), FACE_Z),
                shade(who.face.skin, 0.9), Region.FACE, inside=skin)  # fmt: skip


def _rosy_cheeks(canvas: Canvas, frame: Frame, who: Identity) -> None:
    rose = canvas.part(mix(who.face.skin, (238, 70, 84), 0.5), Region.FACE)
    for side in (-1, 1):
        canvas.refill(frame.at(ellipse(side * who.face.cheek * 0.62, _eye_y(who) + 0.4, 0.17, 0.13), 0.25), rose)


EYE_SHAPES: dict[str, tuple[tuple[float, float], ...]] = {  # right eye, towards the nose first: x, y with half width 1, half height 1
    "almond": ((-1.0, 0.25), (-0.4, -0.75), (0.35, -0.85), (1.0, -0.1), (0.35, 0.7), (-0.4, 0.75)),
    "round": ((-0.85, 0.0), (-0.5, -0.95), (0.5, -0.95), (0.85, 0.0), (0.5, 0.95), (-0.5, 0.95)),
    "narrow": ((-1.1, 0.1), (-0.4, -0.5), (0.4, -0.5), (1.1, 0.0), (0.4, 0.42), (-0.4, 0.45)),
    "drooping": ((-0.95, -0.3), (-0.3, -0.8), (0.5, -0.5), (1.05, 0.45), (0.3, 0.75), (-0.5, 0.6)),
    "cat": ((-1.0, 0.5), (-0.4, -0.45), (0.3, -0.85), (1.2, -0.75), (0.5, 0.5), (-0.3, 0.75)),
}


def _eyes(canvas: Canvas, frame: Frame, who: Identity, expression: str) -> None:
    wide, tall = 0.165 * who.eyes.size, 0.125 * who.eyes.size * OPENNESS[expression]
    shape = np.array(EYE_SHAPES[who.eyes.kind]) * (wide, tall)
    lid = smooth(shape[:4] * 1.06, closed=False)
    closed = smooth(shape)
    white, iris, pupil, spark = (canvas.part(c, Region.FACE) for c in (WHITE, who.eyes.colour, (18, 14, 16), (255, 255, 255)))
    line = canvas.part(INK, Region.FACE, ink=True)
    for side in (-1, 1):
        place = np.array((side * who.eyes.gap, _eye_y(who)))
        canvas.refill(frame.at(closed * (side, 1) + place, BROW_Z), white)
        radius = 0.105 * who.eyes.size
        canvas.refill(frame.at(ellipse(place[0], place[1] - 0.01, radius, radius), BROW_Z + 0.04), iris, inside=white)
        canvas.refill(frame.at(ellipse(place[0], place[1] - 0.01, radius * 0.5, radius * 0.5, steps=12), BROW_Z + 0.05), pupil, inside=iris)
        canvas.redisc(frame.at([place + (0.035, -0.045)], BROW_Z + 0.05), 0.028 * frame.unit, spark)
        canvas.restroke(frame.at(lid * (side, 1) + place, BROW_Z), 0.05 * frame.unit, line)
        if who.eyes.lashes:
            _lashes(canvas, frame, shape[2:4] * (side, 1) + place, side, line)


def _lashes(canvas: Canvas, frame: Frame, roots: np.ndarray, side: int, line: int) -> None:
    for root, tip in ((roots[1], (side * 0.1, -0.07)), ((roots[0] + roots[1]) / 2, (side * 0.07, -0.1))):
        canvas.restroke(frame.at([root, root + tip], BROW_Z), 0.045 * frame.unit, line)


def _brows(canvas: Canvas, frame: Frame, who: Identity, expression: str) -> None:
    brow, colour = who.brows, shade(mix(who.hair.colour, (40, 28, 26), 0.45), 0.9)
    y = _eye_y(who) - brow.height - BROW_RISE[expression]
    slant = brow.tilt - BROW_SLANT.get(expression, 0.0)
    label = canvas.part(colour, Region.FACE, ink=True)
    curve = smooth([(-brow.length, slant * 0.5), (0.0, -brow.arch), (brow.length, -slant)], closed=False)
    for side in (-1, 1):
        points = curve * (side, 1) + (side * (who.eyes.gap + 0.01), y)
        canvas.restroke(frame.at(points, BROW_Z), 1.7 * brow.thickness * frame.unit, label)


def _nose(canvas: Canvas, frame: Frame, who: Identity) -> None:
    kind, wide = who.nose.kind, who.nose.width
    top, tip = _eye_y(who) + 0.02, _eye_y(who) + 0.38 * who.nose.length
    side_tone, line = shade(who.face.skin, 0.84), shade(who.face.skin, 0.6)
    if kind in ("broad", "bulb", "pointed"):
        canvas.fill(_nose_body(frame, kind, top, tip, wide), side_tone, Region.FACE)
    curve = {
        "button": [(-0.1 * wide, tip - 0.02), (0.0, tip + 0.06), (0.1 * wide, tip - 0.02)],
        "straight": [(0.03, top), (0.1 * wide, tip - 0.06), (0.08 * wide, tip + 0.03), (-0.08 * wide, tip + 0.04)],
        "hooked": [(0.0, top - 0.06), (0.15 * wide, tip - 0.2), (0.2 * wide, tip - 0.05), (0.07 * wide, tip + 0.07), (-0.04, tip + 0.01)],
        "broad": [(-0.21 * wide, tip - 0.06), (-0.17 * wide, tip + 0.05), (0, tip + 0.02), (0.17 * wide, tip + 0.05), (0.21 * wide, tip - 0.06)],
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
    return np.vstack((frame.at([(0.02, top)], BROW_Z), frame.at([(0.16 * wide, tip + 0.03), (0, tip + 0.08), (-0.05, tip + 0.05)], NOSE_Z - 0.1)))


def _mouth(canvas: Canvas, frame: Frame, who: Identity, expression: str) -> None:
    mouth, y, half = who.mouth, _mouth_y(who), _mouth_half(who, expression)
    rise, gape = CORNER_RISE[expression], MOUTH_OPEN.get(expression, 0.0)
    left, right, middle = (-half, y - rise), (half, y - rise), y + rise * 0.5
    top, bottom = middle - mouth.upper - gape * 0.35, middle + mouth.lower + gape
    lips = smooth([left, (-half * 0.35, top), (0, top + mouth.upper * 0.4), (half * 0.35, top), right, (half * 0.45, bottom), (-half * 0.45, bottom)])
    lip = canvas.fill(frame.at(lips, MOUTH_Z), mix(mouth.colour, who.face.skin, 0.2), Region.FACE)
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


def _beard_colour(who: Identity) -> RGB:
    return shade(mix(who.hair.colour, (60, 40, 34), 0.2), 0.88)


def _beard_behind(canvas: Canvas, frame: Frame, who: Identity, skin: int) -> None:
    """The part of a beard that grows under and around the mouth; it is drawn before the mouth."""
    face, colour = who.face, _beard_colour(who)
    low, mouth = face.length, _mouth_y(who)
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
        shape = smooth([(-0.24, mouth + 0.04), (0, mouth + 0.08), (0.24, mouth + 0.04), (0.2, low + 0.02), (0, low + 0.2), (-0.2, low + 0.02)])
        canvas.fill(frame.at(shape, 0.2), colour, Region.FACE)


def _beard_front(canvas: Canvas, frame: Frame, who: Identity, expression: str) -> None:
    """Moustaches lie over the mouth."""
    y, colour, half = _mouth_y(who) - CORNER_RISE[expression] * 0.3 - 0.07, _beard_colour(who), who.mouth.width
    if who.beard in ("moustache", "goatee", "full", "long"):
        wide = half + (0.1 if who.beard == "moustache" else 0.03)
        shape = smooth([(0, y - 0.1), (wide * 0.6, y - 0.07), (wide, y + 0.06), (wide * 0.4, y + 0.04), (0, y + 0.02), (-wide * 0.4, y + 0.04),
                        (-wide, y + 0.06), (-wide * 0.6, y - 0.07)])  # fmt: skip
        canvas.fill(frame.at(shape, MOUTH_Z), colour, Region.FACE)
    elif who.beard == "handlebar":
        wide = half + 0.16
        shape = smooth([(0, y - 0.08), (wide * 0.6, y - 0.01), (wide, y - 0.2), (wide * 1.05, y - 0.05), (wide * 0.6, y + 0.1), (0, y + 0.03),
                        (-wide * 0.6, y + 0.1), (-wide * 1.05, y - 0.05), (-wide, y - 0.2), (-wide * 0.6, y - 0.01)])  # fmt: skip
        canvas.fill(frame.at(shape, MOUTH_Z), colour, Region.FACE)


FRECKLES = ((0.3, 0.24), (0.42, 0.3), (0.5, 0.2), (0.36, 0.38), (0.56, 0.33), (0.22, 0.32))


def _freckles(canvas: Canvas, frame: Frame, who: Identity) -> None:
    label = canvas.part(shade(mix(who.face.skin, (150, 70, 30), 0.5), 0.8), Region.FACE, ink=True)
    for x, y in FRECKLES:
        for side in (-1, 1):
            canvas.redisc(frame.at([(side * x, _eye_y(who) + y)], 0.3), 0.034 * frame.unit, label)


def _mole(canvas: Canvas, frame: Frame, who: Identity) -> None:
    canvas.part((58, 30, 26), Region.FACE, ink=True)
    canvas.redisc(frame.at([(who.mark_side * 0.36, _mouth_y(who) - 0.12)], 0.3), 0.062 * frame.unit, len(canvas.colours) - 1)


def _scar(canvas: Canvas, frame: Frame, who: Identity) -> None:
    side, y = who.mark_side, _eye_y(who)
    label = canvas.part(mix(who.face.skin, (190, 50, 60), 0.65), Region.FACE, ink=True)
    canvas.restroke(frame.at([(side * 0.5, y + 0.2), (side * 0.36, y + 0.56)], 0.3), 0.06 * frame.unit, label)
    for part in (0.25, 0.5, 0.75):
        x, height = side * (0.5 - 0.14 * part), y + 0.2 + 0.36 * part
        canvas.restroke(frame.at([(x - 0.07, height - 0.03), (x + 0.07, height + 0.03)], 0.3), 0.045 * frame.unit, label)


def _wrinkles(canvas: Canvas, frame: Frame, who: Identity) -> None:
    label = canvas.part(shade(who.face.skin, 0.68), Region.FACE, ink=True)
    y = _eye_y(who)
    for height in (0.44, 0.55):
        canvas.restroke(frame.at(smooth([(-0.3, y - height), (0, y - height - 0.03), (0.3, y - height)], closed=False), 0.3), 0.04 * frame.unit, label)
    for side in (-1, 1):
        fold = smooth([(side * 0.2, y + 0.38), (side * 0.38, y + 0.5), (side * 0.44, y + 0.68)], closed=False)
        canvas.restroke(frame.at(fold, 0.3), 0.045 * frame.unit, label)


def _plaster(canvas: Canvas, frame: Frame, who: Identity) -> None:
    x, y = who.mark_side * 0.45, _eye_y(who) + 0.36
    strip = np.array(((-0.2, 0.0), (0.16, -0.13), (0.2, -0.01), (-0.16, 0.12))) * (who.mark_side, 1) + (x, y)
    canvas.fill(frame.at(strip, 0.3), (246, 226, 186), Region.FACE)
    canvas.fill(frame.at((strip - (x, y)) * (0.34, 0.8) + (x, y), 0.3), (214, 176, 124), Region.FACE)


def _eye_patch(canvas: Canvas, frame: Frame, who: Identity) -> None:
    side, y = who.mark_side, _eye_y(who)
    label = canvas.part((34, 32, 38), Region.FACE)
    strap = [(-side * who.face.forehead * 0.97, y - 0.5), (side * who.eyes.gap, y - 0.12), (side * who.face.cheek, y + 0.05)]
    canvas.restroke(frame.at(strap, 0.25), 0.055 * frame.unit, label)
    patch = smooth([(-0.22, -0.16), (0.22, -0.16), (0.2, 0.1), (0.0, 0.22), (-0.2, 0.1)]) + (side * who.eyes.gap, y)
    canvas.refill(frame.at(patch, BROW_Z + 0.05), label)


MARKS = {
    "freckles": _freckles, "mole": _mole, "scar": _scar, "wrinkles": _wrinkles, "plaster": _plaster, "eye patch": _eye_patch,
}  # fmt: skip
