"""A copy of the picture with what was seen drawn in: boxes, points, numbers and words, readable at any size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont
COLOURS = {"good": "#2ecc71", "warn": "#f1c40f", "reject": "#e74c3c", "other": "#9aa5b1"}
FONT_SHARE, SMALLEST_FONT = 1 / 28, 14
SMALLEST_PICTURE = 480


@dataclass(frozen=True, kw_only=True)
class Mark:
    """What to draw: a box (pixels), points in it, words beneath it, and in which colour (a key of COLOURS)."""

    box: tuple[float, float, float, float]
    points: Sequence[tuple[float, float]] = ()
    words: str = ""
    kind: str = "good"


def annotate(image: Image.Image, marks: Sequence[Mark]) -> Image.Image:
    """A new RGB image with the marks drawn over it; the given one stays as it is.

    Small pictures are enlarged by a whole number first, so that words have room.
    """
    times = max(1, -(-SMALLEST_PICTURE // max(image.size)))
    picture = image.convert("RGB").resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    marks = [_enlarged(mark, times) for mark in marks]
    draw = ImageDraw.Draw(picture)
    unit = max(2, round(max(picture.size) / 220))
    font = _font(max(SMALLEST_FONT, round(max(picture.size) * FONT_SHARE)))
    for mark in marks:
        colour = COLOURS[mark.kind]
        draw.rectangle(mark.box, outline=colour, width=unit)
        for x, y in mark.points:
            draw.ellipse((x - unit, y - unit, x + unit, y + unit), fill=colour)
    for mark in marks:
        if mark.words:
            _write(draw, picture.size, mark, font, unit)
    return picture


def _enlarged(mark: Mark, times: int) -> Mark:
    left, top, right, bottom = (edge * times for edge in mark.box)
    return Mark(box=(left, top, right, bottom), points=[(x * times, y * times) for x, y in mark.points], words=mark.words, kind=mark.kind)


def _write(draw: ImageDraw.ImageDraw, size: tuple[int, int], mark: Mark, font: Font, unit: int) -> None:
    """The words on a dark plate under the box, or above it where there is no room, always within the picture."""
    left, top, right, bottom = draw.multiline_textbbox((0, 0), mark.words, font=font)
    width, height = right - left + 4 * unit, bottom - top + 4 * unit
    x = min(max(mark.box[0], 0), max(size[0] - width, 0))
    y = mark.box[3] + unit
    if y + height > size[1]:
        y = max(min(mark.box[1] - unit, size[1]) - height, 0)
    draw.rectangle((x, y, x + width, y + height), fill="#101418")
    draw.multiline_text((x + 2 * unit - left, y + 2 * unit - top), mark.words, fill=COLOURS[mark.kind], font=font)


def _font(height: int) -> Font:
    """PIL's own font at that height; before Pillow 10.1 it has one size only."""
    try:
        return ImageFont.load_default(size=height)
    except TypeError:
        return ImageFont.load_default()
