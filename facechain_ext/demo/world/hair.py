"""Draws hair: what falls behind the neck and shoulders, and what lies on the head."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from facechain_ext.demo.world.canvas import Canvas, Frame, Region, ellipse, mix, shade, smooth
from facechain_ext.demo.world.identity import Identity
from facechain_ext.demo.world.traits import RGB

BACK_Z, FRONT_Z = -0.25, 0.06


def hat_line(who: Identity) -> float:
    """Height of a hat's brim on the face: hair above it is under the hat."""
    return min(who.eyes.height - 0.04 - who.brows.height - 0.14, -0.42) * who.face.length


def draw_back_hair(canvas: Canvas, frame: Frame, who: Identity) -> None:
    """Hair behind head and shoulders, drawn before the body."""
    if shape := BACKS.get(who.hair.style):
        tone = canvas.part(shade(who.hair.colour, 0.82), Region.HAIR)
        for polygon in shape(who):
            canvas.refill(frame.at(polygon, BACK_Z), tone)


def draw_hair(canvas: Canvas, frame: Frame, who: Identity) -> None:
    """Hair on the head, drawn after the face; with its strands of lighter tone."""
    if who.hair.style == "bald":
        canvas.fill(frame.at(ellipse(0.22, -0.72 * who.face.length, 0.16, 0.07), 0.2), shade(who.face.skin, 1.45), Region.FACE)
        return
    label = canvas.part(_tone(who), Region.HAIR)
    for polygon in FRONTS[who.hair.style](who):
        canvas.refill(frame.at(polygon, FRONT_Z), label)
    if who.hair.style in SHINING:
        shine = canvas.part(shade(who.hair.colour, 1.25), Region.HAIR)
        top = -who.face.length - 0.02
        curve = smooth([(-0.42, top + 0.2), (-0.2, top + 0.07), (0.08, top + 0.05)], closed=False) * (who.hair.side, 1)
        canvas.restroke(frame.at(curve, FRONT_Z), 0.075 * frame.unit, shine)


SHINING = frozenset(
    {"side part", "bowl", "bob", "long straight", "long wavy", "bun", "side tail", "pompadour", "plaits", "pigtails", "two buns"}
)


def _tone(who: Identity) -> RGB:
    shaved = {"buzz": 0.45, "mohawk": 0.0, "receding": 0.1}.get(who.hair.style, 0.0)
    return mix(who.hair.colour, who.face.skin, shaved)


def _cap(who: Identity, volume: float, temple: float, hairline: list[tuple[float, float]]) -> np.ndarray:
    """A cap of hair: its outer edge from the left temple over the crown to the right one, then the hairline right to left."""
    face = who.face
    side, top = max(face.cheek, face.forehead), -face.length - volume
    outer = [(-side - volume * 0.55, temple), (-side - volume * 0.6, -0.42), (-face.forehead * 0.8 - volume * 0.6, top * 0.84), (0, top),
             (face.forehead * 0.8 + volume * 0.6, top * 0.84), (side + volume * 0.6, -0.42), (side + volume * 0.55, temple)]  # fmt: skip
    return np.vstack((smooth(outer, closed=False), smooth(hairline, closed=False)))


def _hairline(who: Identity, *heights: float, inset: float = 0.1, temple: float = 0.0) -> list[tuple[float, float]]:
    """The lower edge from the right temple to the left; heights in parts of the face's length, right to left."""
    edge = max(who.face.cheek, who.face.forehead) - inset
    xs = np.linspace(edge * 0.88, -edge * 0.88, len(heights))
    middle = [(float(x), h * who.face.length) for x, h in zip(xs, heights, strict=True)]
    return [(edge, temple), *middle, (-edge, temple)]


def _one_side(who: Identity, *heights: float) -> tuple[float, ...]:
    return heights if who.hair.side > 0 else heights[::-1]


def _buzz(who: Identity) -> list[np.ndarray]:
    return [_cap(who, 0.04, -0.12, _hairline(who, -0.55, -0.64, -0.68, -0.64, -0.55, temple=-0.12))]


def _crop(who: Identity) -> list[np.ndarray]:
    return [_cap(who, 0.1 + 0.12 * who.hair.volume, 0.1, _hairline(who, -0.5, -0.58, -0.54, -0.6, -0.5, temple=0.1))]


def _side_part(who: Identity) -> list[np.ndarray]:
    heights = _one_side(who, -0.3, -0.44, -0.58, -0.74, -0.62)
    return [_cap(who, 0.16 + 0.14 * who.hair.volume, 0.05, _hairline(who, *heights, temple=0.05))]


def _bowl(who: Identity) -> list[np.ndarray]:
    return [_cap(who, 0.16 + 0.1 * who.hair.volume, 0.28, _hairline(who, -0.34, -0.33, -0.32, -0.33, -0.34, inset=0.13, temple=0.28))]


def _curly(who: Identity) -> list[np.ndarray]:
    cap = _cap(who, 0.08, 0.0, _hairline(who, -0.5, -0.56, -0.56, -0.56, -0.5, temple=0.0))
    side, top = max(who.face.cheek, who.face.forehead), who.face.length
    radius = 0.2 + 0.07 * who.hair.volume
    curls = [ellipse(np.cos(a) * (side + 0.05), -0.1 + np.sin(a) * (top + 0.02), radius, radius, steps=14)
             for a in np.deg2rad(np.linspace(180, 360, 9))]  # fmt: skip
    fringe = [ellipse(x * side, -0.62 * top, 0.17, 0.15, steps=12) for x in (-0.55, -0.2, 0.15, 0.5)]
    return [cap, *curls, *fringe]


def _mohawk(who: Identity) -> list[np.ndarray]:
    top, wide, tall = -who.face.length, 0.2 + 0.08 * who.hair.volume, 0.35 + 0.3 * who.hair.volume
    crest = [(-wide, top * 0.6), (-wide * 1.3, top - tall * 0.5), (-wide * 0.6, top - tall), (0, top - tall * 0.8),
             (wide * 0.6, top - tall), (wide * 1.3, top - tall * 0.5), (wide, top * 0.6), (0, top * 0.52)]  # fmt: skip
    return [np.array(crest)]


def _spiky(who: Identity) -> list[np.ndarray]:
    side, top = max(who.face.cheek, who.face.forehead), who.face.length
    angles, tall = np.deg2rad(np.linspace(172, 368, 15)), 0.32 + 0.22 * who.hair.volume
    reach = np.where(np.arange(15) % 2 == 1, tall, 0.05)
    spikes = np.stack((np.cos(angles) * (side + reach), -0.12 + np.sin(angles) * (top - 0.1 + reach)), axis=1)
    xs = np.linspace(side * 0.86, -side * 0.86, 7)
    fringe = np.stack((xs, np.where(np.arange(7) % 2 == 0, -0.5, -0.66) * top), axis=1)
    return [np.vstack((spikes, fringe))]


def _pompadour(who: Identity) -> list[np.ndarray]:
    cap = _cap(who, 0.06, 0.02, _hairline(who, -0.56, -0.72, -0.76, -0.72, -0.56, temple=0.02))
    top, s, tall = -who.face.length, who.hair.side, 0.3 + 0.25 * who.hair.volume
    roll = smooth([(-0.62 * s, top * 0.68), (-0.78 * s, top - tall * 0.4), (-0.35 * s, top - tall), (0.35 * s, top - tall * 0.8),
                   (0.66 * s, top - 0.02), (0.5 * s, top * 0.66), (0, top * 0.74)])  # fmt: skip
    return [cap, roll]


def _receding(who: Identity) -> list[np.ndarray]:
    return [_cap(who, 0.07, 0.12, _hairline(who, -0.42, -0.86, -0.94, -0.8, -0.94, -0.86, -0.42, inset=0.12, temple=0.12))]


def _afro(who: Identity) -> list[np.ndarray]:
    cap = _cap(who, 0.22 + 0.2 * who.hair.volume, -0.05, _hairline(who, -0.5, -0.58, -0.6, -0.58, -0.5, temple=-0.05))
    return [cap]


def _afro_back(who: Identity) -> list[np.ndarray]:
    size = 1.16 + 0.22 * who.hair.volume
    return [ellipse(0, -0.42, size, size * 0.94, steps=28)]


def _centre_part(who: Identity, temple: float = 0.2) -> list[np.ndarray]:
    return [_cap(who, 0.13 + 0.08 * who.hair.volume, temple, _hairline(who, -0.26, -0.5, -0.84, -0.5, -0.26, inset=0.09, temple=temple))]


def _swept(who: Identity) -> list[np.ndarray]:
    heights = _one_side(who, -0.22, -0.4, -0.56, -0.78, -0.5)
    return [_cap(who, 0.14 + 0.08 * who.hair.volume, 0.2, _hairline(who, *heights, inset=0.09, temple=0.2))]


def _slick(who: Identity) -> np.ndarray:
    return _cap(who, 0.07, 0.0, _hairline(who, -0.5, -0.68, -0.76, -0.68, -0.5, temple=0.0))


def _fringe(who: Identity) -> np.ndarray:
    return _cap(who, 0.1, 0.12, _hairline(who, -0.36, -0.4, -0.42, -0.4, -0.36, inset=0.12, temple=0.12))


def _bob(who: Identity) -> list[np.ndarray]:
    return [_fringe(who)] if who.hair.volume > 0.5 else _swept(who)


def _bob_back(who: Identity) -> list[np.ndarray]:
    side, top, low = max(who.face.cheek, who.face.forehead), -who.face.length, 0.62 + 0.25 * who.hair.volume
    half = [(0, top - 0.1), (side * 0.8, top * 0.9), (side + 0.16, -0.4), (side + 0.3, 0.2), (side + 0.34, low), (side * 0.5, low + 0.06)]
    right = np.array(half)
    return [smooth(np.vstack((right, right[:0:-1] * (-1, 1))))]


def _long_back(who: Identity) -> list[np.ndarray]:
    side, top, low = max(who.face.cheek, who.face.forehead), -who.face.length, 1.5 + 0.4 * who.hair.volume
    right = np.array(
        [(0, top - 0.12), (side * 0.8, top * 0.9), (side + 0.14, -0.4), (side + 0.22, 0.4), (side + 0.3, low), (side * 0.4, low)]
    )
    return [smooth(np.vstack((right, right[:0:-1] * (-1, 1))))]


def _wavy_back(who: Identity) -> list[np.ndarray]:
    side, top, low = max(who.face.cheek, who.face.forehead), -who.face.length, 1.35 + 0.4 * who.hair.volume
    ys = np.linspace(-0.5, low, 9)
    xs = side + 0.2 + 0.14 * np.where(np.arange(9) % 2 == 0, -1.0, 1.0) + 0.1 * np.arange(9) / 8
    edge = np.stack((xs, ys), axis=1)
    right = np.vstack(([(0, top - 0.14), (side * 0.8, top * 0.9)], edge, [(side * 0.3, low + 0.1)]))
    return [smooth(np.vstack((right, right[:0:-1] * (-1, 1))))]


def _bun(who: Identity) -> list[np.ndarray]:
    size = 0.3 + 0.12 * who.hair.volume
    return [ellipse(0, -who.face.length - size * 0.75, size, size * 0.9), _slick(who)]


def _two_buns(who: Identity) -> list[np.ndarray]:
    size = 0.27 + 0.1 * who.hair.volume
    return [ellipse(s * 0.62, -who.face.length - 0.08, size, size) for s in (-1, 1)] + [_slick(who)]


def _pigtails_back(who: Identity) -> list[np.ndarray]:
    side, big = max(who.face.cheek, who.face.forehead), 0.26 + 0.12 * who.hair.volume
    tail = smooth([(0, -0.2), (big, -0.1), (big * 1.6, 0.4), (big * 1.1, 0.85), (big * 0.4, 0.6), (0, 0.2)])
    return [(tail + np.array((side + 0.04, -0.2))) * (s, 1) for s in (-1, 1)]


def _side_tail_back(who: Identity) -> list[np.ndarray]:
    side, s = max(who.face.cheek, who.face.forehead), who.hair.side
    big = 0.34 + 0.12 * who.hair.volume
    tail = smooth([(-0.2, -0.6), (big, -0.5), (big * 1.5, 0.1), (big * 1.3, 0.9), (big * 0.5, 1.35), (big * 0.3, 0.7), (0, 0.1)])
    return [(tail + np.array((side + 0.02, -0.25))) * (s, 1)]


def _plaits_back(who: Identity) -> list[np.ndarray]:
    side, beads = max(who.face.cheek, who.face.forehead), []
    for s in (-1, 1):
        for k in range(6):
            beads.append(ellipse(s * (side + 0.1 + 0.03 * k), 0.1 + 0.27 * k, 0.17 - 0.012 * k, 0.17, steps=12))
    return beads


FRONTS: dict[str, Callable[[Identity], list[np.ndarray]]] = {
    "buzz": _buzz, "crop": _crop, "side part": _side_part, "bowl": _bowl, "curly": _curly, "mohawk": _mohawk, "spiky": _spiky,
    "pompadour": _pompadour, "receding": _receding, "afro": _afro, "bob": _bob, "long straight": _centre_part, "long wavy": _swept,
    "bun": _bun, "two buns": _two_buns, "pigtails": lambda who: [_fringe(who)], "side tail": _swept, "plaits": _centre_part,
}  # fmt: skip
BACKS: dict[str, Callable[[Identity], list[np.ndarray]]] = {
    "afro": _afro_back, "bob": _bob_back, "long straight": _long_back, "long wavy": _wavy_back, "pigtails": _pigtails_back,
    "side tail": _side_tail_back, "plaits": _plaits_back,
}  # fmt: skip
