"""Turns a canvas of flat parts into a picture in one of the styles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from facechain_ext.demo.world.canvas import SUPERSAMPLING, Canvas, Region
from facechain_ext.demo.world.scene import Light, Scene

TILE = 640
LUMINANCE = np.array((0.299, 0.587, 0.114), np.float32)


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """What a style draws from, at the picture's size [H, W]: flat colours (0–255), lines, the places of features (lines with a
    colour of their own, such as brows and spectacles) and people as 0–1, the light, noise offsets."""

    flat: np.ndarray
    lines: np.ndarray
    features: np.ndarray
    people: np.ndarray
    heads: Sequence[np.ndarray]
    unit: float
    light: Light
    offset: tuple[int, int]

    def noise(self, blur: float, along: float = 0.0) -> np.ndarray:
        """Noise of variance 1 [H, W], blurred by so many pixels; `along`: streaks of that length."""
        high, wide = self.lines.shape
        x, y = self.offset
        return _tile(blur, along)[y : y + high, x : x + wide]


@lru_cache(maxsize=16)
def _tile(blur: float, along: float) -> np.ndarray:
    raw = np.random.default_rng(7).standard_normal((TILE, TILE)).astype(np.float32)
    soft = cv2.GaussianBlur(raw, (0, 0), sigmaX=along or blur, sigmaY=blur)
    if along:
        soft = cv2.warpAffine(soft, cv2.getRotationMatrix2D((TILE / 2, TILE / 2), 38, 1.0), (TILE, TILE), borderMode=cv2.BORDER_REFLECT)
    return (soft - soft.mean()) / soft.std()


def render(canvas: Canvas, scene: Scene, heads: Sequence[np.ndarray], unit: float, rng: np.random.Generator) -> np.ndarray:
    """The picture, RGB uint8 [H, W, 3]. heads: middle of each face in pixels; unit: half a mean face."""
    labels = canvas.labels
    high, wide = labels.shape[0] // SUPERSAMPLING, labels.shape[1] // SUPERSAMPLING
    offset = rng.integers(0, (TILE - wide, TILE - high))
    sheet = Sheet(
        flat=_shrink(cv2.applyColorMap(labels, _table(canvas.colours)), wide, high),
        lines=_shrink(_lines(labels), wide, high) / 255,
        features=_shrink(cv2.LUT(labels, _table([255 * ink for ink in canvas.inked])), wide, high) / 255,
        people=_shrink(cv2.LUT(labels, _table([255 * (region != Region.BACKGROUND) for region in canvas.regions])), wide, high) / 255,
        heads=heads,
        unit=unit,
        light=scene.light,
        offset=(int(offset[0]), int(offset[1])),
    )
    return np.clip(STYLES[scene.style](sheet), 0, 255).astype(np.uint8)


def _table(values: Sequence) -> np.ndarray:
    """What each of 256 part numbers stands for, uint8 [256, 1, …]."""
    table = np.zeros((256, 1, *np.shape(values)[1:]), np.uint8)
    table[: len(values), 0] = values
    return table


def _shrink(image: np.ndarray, wide: int, high: int) -> np.ndarray:
    return cv2.resize(image, (wide, high), interpolation=cv2.INTER_AREA).astype(np.float32)


def _lines(labels: np.ndarray) -> np.ndarray:
    """Borders between parts, two canvas pixels wide; 0 or 255."""
    lines = np.zeros(labels.shape, np.uint8)
    lines[:, :-1] = labels[:, :-1] != labels[:, 1:]
    lines[:-1] |= labels[:-1] != labels[1:]
    return cv2.dilate(lines, np.ones((2, 2), np.uint8)) * 255


def _lit(sheet: Sheet, depth: float) -> np.ndarray:
    """Brightness [H, W] of people lit from a side, around 1."""
    high, wide = sheet.lines.shape
    across = np.mean([(np.arange(wide) - head[0]) / (1.4 * sheet.unit) for head in sheet.heads[:1]], axis=0)
    down = np.linspace(0.5, -0.5, high)
    field = np.tanh(across)[None] * sheet.light.side + 0.35 * down[:, None]
    return (sheet.light.level * (1 + depth * field * sheet.people)).astype(np.float32)


def _grey(sheet: Sheet) -> np.ndarray:
    return sheet.flat @ LUMINANCE


def _photo(sheet: Sheet) -> np.ndarray:
    """Lit, with a background out of focus and soft shadows."""
    far = cv2.GaussianBlur(sheet.flat, (0, 0), 1.6) * 0.94
    near = 0.75 * sheet.flat + 0.25 * cv2.GaussianBlur(sheet.flat, (0, 0), 1.3)
    people = sheet.people[..., None]
    mixed = near * people + far * (1 - people)
    halo = cv2.GaussianBlur(sheet.people, (0, 0), 4.0) * (1 - sheet.people)
    inner = 1 - 0.3 * sheet.people * (1 - cv2.GaussianBlur(sheet.people, (0, 0), 3.0))
    tint = np.array((1 + 0.06 * sheet.light.warmth, 1.0, 1 - 0.06 * sheet.light.warmth), np.float32)
    return mixed * (_lit(sheet, 0.3) * inner * (1 - 0.35 * halo))[..., None] * tint


def _pencil(sheet: Sheet) -> np.ndarray:
    """Graphite lines and hatching on paper; the darker, the denser."""
    high, wide = sheet.lines.shape
    y, x = np.mgrid[:high, :wide].astype(np.float32)
    dark = np.clip(1 - _grey(sheet) * _lit(sheet, 0.2) / 255, 0, 1) * (0.4 + 0.6 * sheet.people)
    hatch = 0.5 + 0.5 * np.sin((x + y) * 0.9)
    tone = dark * (0.68 + 0.32 * hatch)
    lines = np.maximum(sheet.lines * (0.4 + 0.2 * sheet.people), sheet.features * 0.85)
    graphite = np.clip(tone * 0.85 + lines * 0.7, 0, 0.92)
    return 248 - graphite[..., None] * np.array((196, 194, 186), np.float32)


def _watercolour(sheet: Sheet) -> np.ndarray:
    """Thin colour running over its borders, darker where it dries, bare paper at the rim."""
    moved = _displaced(sheet.flat, sheet.noise(6.0), sheet.noise(7.0), 0.8)
    pigment = (255 - moved) * (0.68 + 0.08 * np.clip(sheet.noise(9.0), -1.6, 1.6) + 0.25 * cv2.GaussianBlur(sheet.lines, (0, 0), 0.8))[
        ..., None
    ]
    high, wide = sheet.lines.shape
    rim = np.minimum(np.minimum(np.arange(wide), np.arange(wide)[::-1])[None], np.minimum(np.arange(high), np.arange(high)[::-1])[:, None])
    painted = np.clip((rim - 3.5 + 2 * sheet.noise(6.0)) / 2.5, 0, 1)
    return np.array((255, 253, 246), np.float32) - pigment * painted[..., None].astype(np.float32)


def _neon(sheet: Sheet) -> np.ndarray:
    """Glowing lines in the colours of the parts, on a dark night."""
    bright = sheet.flat.max(axis=2, keepdims=True)
    vivid = np.clip(sheet.flat / np.maximum(bright, 30), 0, 1)
    vivid = np.clip(vivid + 1.1 * (vivid - vivid.mean(axis=2, keepdims=True)), 0.04, 1.0) * (110 + 145 * bright / 255)
    glow = vivid * (np.maximum(sheet.lines * 0.85, sheet.features) * (0.35 + 0.65 * sheet.people))[..., None]
    bloom = cv2.GaussianBlur(glow, (0, 0), 2.6)
    night = np.array((14, 8, 34), np.float32) + 0.2 * sheet.flat * (0.35 + 0.65 * sheet.people)[..., None]
    return night + glow * 0.95 + bloom * 0.8


def _comic(sheet: Sheet) -> np.ndarray:
    """Flat strong colours, black outlines, printed dots in the shade."""
    high, wide = sheet.lines.shape
    y, x = np.mgrid[:high, :wide].astype(np.float32)
    grey = _grey(sheet)[..., None]
    strong = np.clip(grey + 1.35 * (sheet.flat - grey), 0, 255)
    dots = (np.sin((x + y) * 0.8) * np.sin((x - y) * 0.8) > 0.12).astype(np.float32)
    shade = np.clip(1.05 - _lit(sheet, 0.5) / sheet.light.level, 0, 0.4) * 0.7 * sheet.people
    behind = (1 - sheet.people) * 0.1
    strong = strong * (1 - cv2.GaussianBlur(dots, (0, 0), 0.5) * (shade + behind))[..., None]
    outline = np.clip(sheet.lines * 1.15, 0, 1) * (0.55 + 0.45 * sheet.people) * (1 - 0.75 * sheet.features)
    return strong * (1 - outline[..., None]) + 12 * outline[..., None]


def _oil(sheet: Sheet) -> np.ndarray:
    """Thick strokes, warm varnish, a dark rim."""
    moved = _displaced(sheet.flat, sheet.noise(3.0), sheet.noise(3.5), 0.9)
    body = cv2.medianBlur(np.clip(moved, 0, 255).astype(np.uint8), 3).astype(np.float32)
    strokes = sheet.noise(1.5, along=8.0)
    high, wide = sheet.lines.shape
    y, x = np.mgrid[:high, :wide].astype(np.float32)
    rim = ((x / wide - 0.5) ** 2 + (y / high - 0.5) ** 2) * 1.1
    relief = _lit(sheet, 0.35) * (1 + 0.05 * np.clip(strokes, -2, 2)) - rim
    return body * np.array((0.98, 0.9, 0.74), np.float32) * relief[..., None] + np.array((14, 6, 0), np.float32)


def _blueprint(sheet: Sheet) -> np.ndarray:
    """White lines on blue squared paper."""
    high, wide = sheet.lines.shape
    grid = np.zeros((high, wide), np.float32)
    grid[::8], grid[:, ::8] = 1, 1
    white = np.clip(
        np.maximum(sheet.lines * (0.45 + 0.4 * sheet.people), 0.95 * sheet.features)
        + 0.2 * (_grey(sheet) / 255) * sheet.people
        + 0.14 * grid,
        0,
        1,
    )
    paper = np.array((22, 62, 150), np.float32)
    return paper * (1 - white[..., None]) + np.array((236, 244, 255), np.float32) * white[..., None]


def _woodcut(sheet: Sheet) -> np.ndarray:
    """Two tones: lines cut into dark wood, wider where it is light."""
    high, wide = sheet.lines.shape
    y = np.mgrid[:high, :wide][0].astype(np.float32)
    wave = 0.5 + 0.5 * np.sin(y * 1.4 + 1.0 * sheet.noise(9.0))
    light = np.clip((_grey(sheet) / 255 * _lit(sheet, 0.3) - 0.1) * (1.15 + 0.4 * sheet.people), 0, 1)
    cut = np.clip((light - 0.1 - 0.75 * wave) * 3 + 0.5, 0, 1) * (
        1 - np.clip(sheet.lines * (0.4 + 0.5 * sheet.people) + sheet.features, 0, 1)
    )
    return np.array((42, 22, 14), np.float32) + cut[..., None] * np.array((206, 196, 160), np.float32)


def _displaced(image: np.ndarray, dx: np.ndarray, dy: np.ndarray, reach: float) -> np.ndarray:
    high, wide = dx.shape
    y, x = np.mgrid[:high, :wide].astype(np.float32)
    return cv2.remap(image, x + reach * dx, y + reach * dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


STYLES: dict[str, Callable[[Sheet], np.ndarray]] = {
    "photo": _photo, "pencil": _pencil, "watercolour": _watercolour, "neon": _neon, "comic": _comic, "oil": _oil,
    "blueprint": _blueprint, "woodcut": _woodcut,
}  # fmt: skip
