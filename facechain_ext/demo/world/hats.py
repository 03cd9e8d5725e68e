"""Draws hats."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from facechain_ext.demo.world.canvas import Canvas, Frame, Region, ellipse, smooth
from facechain_ext.demo.world.hair import hat_line
from facechain_ext.demo.world.identity import Identity

HAT_Z = 0.1
COVERING: frozenset[str] = frozenset({"cap", "beanie", "straw hat", "top hat"})
"""Hats under which the hair above the brim disappears."""


def draw_hat(canvas: Canvas, frame: Frame, who: Identity, hat: str) -> None:
    """The hat on the finished head."""
    if hat:
        HATS[hat](canvas, frame, who)


def _skull(who: Identity) -> float:
    return max(who.face.cheek, who.face.forehead) + 0.08


def _dome(who: Identity, extra: float) -> np.ndarray:
    wide, line, top = _skull(who), hat_line(who), -who.face.length - extra
    return smooth([(-wide, line), (-wide * 0.97, line - 0.3), (-wide * 0.55, top + 0.1), (0, top), (wide * 0.55, top + 0.1),
                   (wide * 0.97, line - 0.3), (wide, line), (0, line + 0.06)])  # fmt: skip


def _cap(canvas: Canvas, frame: Frame, who: Identity) -> None:
    wide, line = _skull(who), hat_line(who)
    canvas.fill(frame.at(_dome(who, 0.16), HAT_Z), (206, 44, 50), Region.HAT)
    canvas.fill(frame.at(ellipse(0, line - 0.36, 0.3, 0.24), HAT_Z + 0.2), (250, 246, 238), Region.HAT)
    visor = smooth(
        [
            (-wide * 0.98, line - 0.04),
            (0, line - 0.16),
            (wide * 0.98, line - 0.04),
            (wide * 0.9, line + 0.14),
            (0, line + 0.18),
            (-wide * 0.9, line + 0.14),
        ]
    )
    canvas.fill(frame.at(visor, HAT_Z + 0.25), (150, 24, 34), Region.HAT)


def _beanie(canvas: Canvas, frame: Frame, who: Identity) -> None:
    wide, line = _skull(who), hat_line(who)
    canvas.disc(frame.at([(0, -who.face.length - 0.3)], HAT_Z), 0.24 * frame.unit, (246, 240, 228), Region.HAT)
    canvas.fill(frame.at(_dome(who, 0.2), HAT_Z), (40, 140, 146), Region.HAT)
    edge = wide + 0.05
    band = canvas.fill(frame.at([(-edge, line - 0.2), (edge, line - 0.2), (edge, line + 0.1), (-edge, line + 0.1)], HAT_Z),
                       (246, 240, 228), Region.HAT)  # fmt: skip
    rib = canvas.part((26, 98, 104), Region.HAT, ink=True)
    for x in np.linspace(-wide * 0.8, wide * 0.8, 6):
        canvas.refill(
            frame.at([(x - 0.03, line - 0.2), (x + 0.03, line - 0.2), (x + 0.03, line + 0.1), (x - 0.03, line + 0.1)], HAT_Z),
            rib,
            inside=band,
        )


def _straw_hat(canvas: Canvas, frame: Frame, who: Identity) -> None:
    wide, line = _skull(who), hat_line(who)
    canvas.fill(frame.at(ellipse(0, line, wide + 0.72, 0.26), HAT_Z), (236, 200, 112), Region.HAT)
    canvas.fill(frame.at(_dome(who, 0.14), HAT_Z), (244, 214, 132), Region.HAT)
    ribbon = [(-wide, line - 0.22), (0, line - 0.15), (wide, line - 0.22), (wide, line - 0.02), (0, line + 0.06), (-wide, line - 0.02)]
    canvas.fill(frame.at(ribbon, HAT_Z), (176, 44, 66), Region.HAT)


def _crown(canvas: Canvas, frame: Frame, who: Identity) -> None:
    low = -who.face.length * 0.86
    xs = np.linspace(-0.68, 0.68, 7)
    points = np.stack((xs * 1.08, np.where(np.arange(7) % 2 == 0, low - 0.62, low - 0.3)), axis=1)
    canvas.fill(frame.at(np.vstack((points, [(0.62, low), (0, low + 0.08), (-0.62, low)])), HAT_Z), (250, 204, 50), Region.HAT)
    gems = canvas.part((216, 40, 80), Region.HAT)
    for x in (-0.4, 0.0, 0.4):
        canvas.redisc(frame.at([(x, low - 0.12)], HAT_Z), 0.08 * frame.unit, gems)


def _top_hat(canvas: Canvas, frame: Frame, who: Identity) -> None:
    wide, line = _skull(who), hat_line(who)
    tube = [(-wide * 0.9, line), (-wide * 0.98, line - 0.95), (0, line - 1.02), (wide * 0.98, line - 0.95), (wide * 0.9, line)]
    canvas.fill(frame.at(tube, HAT_Z), (52, 50, 60), Region.HAT)
    half = wide * 0.9
    canvas.fill(frame.at([(-half, line - 0.32), (half, line - 0.32), (half, line - 0.08), (-half, line - 0.08)], HAT_Z),
                (160, 40, 64), Region.HAT)  # fmt: skip
    canvas.fill(frame.at(ellipse(0, line, wide + 0.34, 0.14), HAT_Z), (34, 32, 40), Region.HAT)


HATS: dict[str, Callable[[Canvas, Frame, Identity], None]] = {
    "cap": _cap, "beanie": _beanie, "straw hat": _straw_hat, "crown": _crown, "top hat": _top_hat,
}  # fmt: skip
