"""Where a person goes: masks as short texts that fit into a picture's info text, and bands from left to right.

A mask is brought to at most 128 pixels and 16 greys before it is used: finer than the UNet's grid at 1,024 pixels, and so
the info text holds all of it.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image

from facechain_ext.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST, GREYS = 128, 16
CODE = re.compile(r"(\d{1,3})[*](\d{1,3})[*]([\w-]+)")
BAND_WIDTH = 256
SOFT = 0.04  # of the picture's width: how far two neighbouring bands run into each other
DATA_URL = re.compile(r"data:[\w/+.-]+;base64,")


def decode(text: str, what: str) -> bytes:
    """The bytes of a base64 text, with or without the head of a data URL. BadInput names `what`."""
    try:
        return base64.b64decode(DATA_URL.sub("", text[:100]) + text[100:], validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadInput(
            f"{what} is not base64: send the picture file's bytes as base64, with or without data:image/…;base64, before it."
        ) from error


def mask_code(text: str, what: str) -> str:
    """A mask given as base64 picture, or as a code already → its code; empty for none. BadInput, BadPicture."""
    if not text or CODE.fullmatch(text):
        return text
    from facechain_ext.vision.pictures import read

    return encode(read(BytesIO(decode(text, what)), name=what).convert("L"))


def encode(mask: Image.Image) -> str:
    """A grey picture (white = here) → `width*height*…`; empty where it is black all over."""
    scale = min(1.0, LONGEST / max(mask.size))
    size = (max(1, round(mask.width * scale)), max(1, round(mask.height * scale)))
    levels = mask.resize(size, Image.Resampling.BOX).point([round(value * (GREYS - 1) / 255) for value in range(256)])
    if levels.getextrema() == (0, 0):
        return ""
    packed = base64.urlsafe_b64encode(zlib.compress(levels.tobytes(), 9)).decode().rstrip("=")
    return f"{size[0]}*{size[1]}*{packed}"


def picture(code: str) -> Image.Image:
    """The mask of a code, "L". BadInput for anything else."""
    match = CODE.fullmatch(code)
    try:
        if match is None:
            raise ValueError("no mask")
        size = (int(match[1]), int(match[2]))
        if not 0 < max(size) <= LONGEST:
            raise ValueError("a size that no mask has")
        packed = base64.urlsafe_b64decode(match[3] + "=" * (-len(match[3]) % 4))
        levels = zlib.decompressobj().decompress(packed, size[0] * size[1])
        return Image.frombytes("L", size, levels).point([min(255, value * 255 // (GREYS - 1)) for value in range(256)])
    except (ValueError, zlib.error) as error:
        raise BadInput("The mask in these parameters is damaged: draw it again.") from error


def bands(count: int) -> list[Image.Image]:
    """Masks "L" that share the picture's width evenly, from left to right, and blend where they meet."""
    return [_band(index, count) for index in range(count)]


def _band(index: int, count: int) -> Image.Image:
    left, right = index / count, (index + 1) / count
    row = bytes(round(255 * _inside((x + 0.5) / BAND_WIDTH, left, right, count, index)) for x in range(BAND_WIDTH))
    return Image.frombytes("L", (BAND_WIDTH, 1), row)


def _inside(x: float, left: float, right: float, count: int, index: int) -> float:
    """1 within [left, right], 0 outside, a ramp of ±SOFT at borders between two bands; the bands of one x add up to 1."""
    rising = 1.0 if index == 0 else (x - left + SOFT) / (2 * SOFT)
    falling = 1.0 if index == count - 1 else (right - x + SOFT) / (2 * SOFT)
    return max(0.0, min(1.0, rising, falling))


def share(mask: Image.Image, box: tuple[float, float, float, float]) -> float:
    """The mask's mean over a box given in fractions of the picture (left, top, right, bottom), 0–1."""
    corners = [round(edge * side) for edge, side in zip(box, (*mask.size, *mask.size), strict=True)]
    left, top = min(corners[0], mask.width - 1), min(corners[1], mask.height - 1)
    cut = mask.crop((left, top, max(corners[2], left + 1), max(corners[3], top + 1)))
    return sum(value * times for value, times in enumerate(cut.histogram())) / (255 * cut.width * cut.height)


def fullest(masks: Sequence[Image.Image | None], box: tuple[float, float, float, float]) -> int | None:
    """Which of the masks holds most of the box; None where all are empty there, or there is none."""
    shares = [0.0 if mask is None else share(mask, box) for mask in masks]
    best = max(range(len(shares)), key=shares.__getitem__, default=None)
    return best if best is not None and shares[best] > 0 else None
