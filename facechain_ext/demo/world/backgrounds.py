"""Draws what is behind the people."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from facechain_ext.demo.world.canvas import SUPERSAMPLING, Canvas, Region, ellipse, shade, smooth
from facechain_ext.demo.world.traits import RGB, WALLS

BEHIND = Region.BACKGROUND
BOOKS: tuple[RGB, ...] = ((176, 60, 56), (60, 96, 150), (206, 164, 84), (76, 124, 88), (120, 80, 132))


def draw_background(canvas: Canvas, kind: str, rng: np.random.Generator) -> None:
    """Fill the whole canvas. Lengths are in parts of the picture's height, so wide pictures show more of the same."""
    high = canvas.labels.shape[0]
    SCENES[kind](canvas, canvas.labels.shape[1] / high, high, rng)


def _band(canvas: Canvas, wide: float, high: int, top: float, colour: RGB) -> int:
    return canvas.fill(np.array([(0, top), (wide, top), (wide, 1.01), (0, 1.01)]) * high, colour, BEHIND)


def _wall(canvas: Canvas, wide: float, high: int, rng: np.random.Generator) -> None:
    _band(canvas, wide, high, -0.01, WALLS[int(rng.integers(len(WALLS)))])


def _beach(canvas: Canvas, wide: float, high: int, rng: np.random.Generator) -> None:
    horizon = rng.uniform(0.42, 0.5)
    _band(canvas, wide, high, -0.01, (168, 220, 246))
    canvas.disc(np.array([[rng.choice((0.12, wide - 0.12)), rng.uniform(0.1, 0.16)]]) * high, 0.085 * high, (255, 226, 92), BEHIND)
    _band(canvas, wide, high, horizon, (38, 134, 194))
    foam = canvas.part((236, 248, 250), BEHIND)
    for y in (horizon + 0.07, horizon + 0.15):
        xs = np.linspace(-0.05, wide + 0.05, 12)
        canvas.restroke(smooth(np.stack((xs, y + 0.012 * (-1.0) ** np.arange(12)), axis=1), closed=False) * high, SUPERSAMPLING * 1.5, foam)
    shore = horizon + 0.24
    canvas.fill(
        np.array([(0, shore), (wide * 0.5, shore - 0.02), (wide, shore + 0.01), (wide, 1.01), (0, 1.01)]) * high, (240, 214, 150), BEHIND
    )


def _forest(canvas: Canvas, wide: float, high: int, rng: np.random.Generator) -> None:
    _band(canvas, wide, high, -0.01, (206, 230, 196))
    _band(canvas, wide, high, 0.78, (96, 142, 74))
    trunk, light, dark = (canvas.part(c, BEHIND) for c in ((104, 72, 46), (58, 128, 78), (32, 92, 62)))
    xs = np.arange(0.06, wide, 0.17) + rng.uniform(-0.03, 0.03, len(np.arange(0.06, wide, 0.17)))
    for number, x in enumerate(xs):
        base, tall = rng.uniform(0.76, 0.88), rng.uniform(0.6, 0.75)
        canvas.refill(np.array([(x - 0.016, base), (x + 0.016, base), (x + 0.016, base - 0.2), (x - 0.016, base - 0.2)]) * high, trunk)
        for step in range(3):
            low, half = base - 0.1 - step * tall * 0.27, 0.115 - 0.025 * step
            tree = np.array([(x - half, low), (x + half, low), (x, low - tall * 0.42)]) * high
            canvas.refill(tree, light if number % 2 else dark)


def _city(canvas: Canvas, wide: float, high: int, rng: np.random.Generator) -> None:
    _band(canvas, wide, high, -0.01, (250, 196, 150))
    near, window = canvas.part((84, 86, 120), BEHIND), canvas.part((255, 232, 140), BEHIND)
    far = canvas.part((142, 132, 160), BEHIND)
    pane = np.array([(0, 0), (0.05, 0), (0.05, 0.07), (0, 0.07)])
    for x in np.arange(0.0, wide, 0.16):
        top = rng.uniform(0.1, 0.3)
        canvas.refill(np.array([(x + 0.06, top), (x + 0.17, top), (x + 0.17, 1), (x + 0.06, 1)]) * high, far)
    for x in np.arange(0.0, wide, 0.23):
        top = rng.uniform(0.22, 0.5)
        canvas.refill(np.array([(x, top), (x + 0.16, top), (x + 0.16, 1.01), (x, 1.01)]) * high, near)
        for row in np.arange(top + 0.06, 0.95, 0.14):
            for column in (0.02, 0.09):
                canvas.refill((pane + np.array((x + column, row))) * high, window)


def _mountains(canvas: Canvas, wide: float, high: int, rng: np.random.Generator) -> None:
    _band(canvas, wide, high, -0.01, (150, 190, 236))
    cloud = canvas.part((246, 250, 255), BEHIND)
    for dx in (0.0, 0.07, 0.14):
        canvas.refill(ellipse(0.12 + rng.uniform(0, 0.05) + dx, 0.13 + 0.02 * (dx == 0.07), 0.07, 0.035) * high, cloud)
    rock, snow = canvas.part((112, 110, 138), BEHIND), canvas.part((250, 252, 255), BEHIND)
    for x in np.arange(0.08, wide + 0.2, 0.42):
        peak, half = (x + rng.uniform(-0.05, 0.05), rng.uniform(0.16, 0.28)), 0.36
        canvas.refill(np.array([peak, (peak[0] + half, 0.86), (peak[0] - half, 0.86)]) * high, rock)
        cap = [(0, 0), (0.11, 0.2), (0.05, 0.17), (0.0, 0.22), (-0.06, 0.17), (-0.11, 0.2)]
        canvas.refill((np.array(cap) * (0.86, 0.9) + peak) * high, snow)
    _band(canvas, wide, high, 0.78, (108, 160, 92))


def _library(canvas: Canvas, wide: float, high: int, rng: np.random.Generator) -> None:
    _band(canvas, wide, high, -0.01, (92, 62, 42))
    books = [canvas.part(colour, BEHIND) for colour in BOOKS]
    board = canvas.part(shade((150, 104, 66), 1.0), BEHIND)
    for shelf in np.arange(0.0, 1.0, 0.26):
        x = 0.0
        while x < wide:
            thick, tall = rng.uniform(0.06, 0.1), rng.uniform(0.15, 0.21)
            spine = np.array(
                [(x, shelf + 0.22 - tall), (x + thick - 0.006, shelf + 0.22 - tall), (x + thick - 0.006, shelf + 0.22), (x, shelf + 0.22)]
            )
            canvas.refill(spine * high, books[int(rng.integers(len(books)))])
            x += thick
        canvas.refill(np.array([(0, shelf + 0.22), (wide, shelf + 0.22), (wide, shelf + 0.26), (0, shelf + 0.26)]) * high, board)


SCENES: dict[str, Callable[[Canvas, float, int, np.random.Generator], None]] = {
    "wall": _wall, "beach": _beach, "forest": _forest, "city": _city, "mountains": _mountains, "library": _library,
}  # fmt: skip
