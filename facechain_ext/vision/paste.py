"""A face's surroundings as a square to work on, and the square put back with soft edges (FACTS §1.3 steps 3 and 12)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from facechain_ext.errors import BadInput

FACE_SHARE = 0.7
WORK_SIZE = 512
ERODE_SHARE = 10 / 256  # of half the square's side
BLUR_PER_ERODE = 1.8


@dataclass(frozen=True, kw_only=True)
class Square:
    """A square of a picture: left and top may be negative and it may reach over the far borders; all in whole pixels."""

    left: int
    top: int
    side: int

    def inside(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """The part of it that lies in a picture of that (width, height): left, top, right, bottom."""
        return max(self.left, 0), max(self.top, 0), min(self.left + self.side, size[0]), min(self.top + self.side, size[1])


def square_around(box: Sequence[float], size: tuple[int, int], ratio: float = FACE_SHARE) -> Square:
    """The square about the box's middle in which the box's longer side takes `ratio` of the side. size: the picture's (width, height)."""
    half = int(max(box[2] - box[0], box[3] - box[1]) / ratio / 2)
    square = Square(left=int((box[0] + box[2]) / 2) - half, top=int((box[1] + box[3]) / 2) - half, side=2 * half)
    left, top, right, bottom = square.inside(size)
    if half < 1 or right <= left or bottom <= top:
        raise BadInput("The box of the face lies outside the picture or is empty: choose the face again.")
    return square


def crop_square(image: Image.Image, box: Sequence[float], ratio: float = FACE_SHARE, size: int = WORK_SIZE) -> tuple[Image.Image, Square]:
    """The face with its surroundings at size×size, black beyond the picture's borders, and where it came from."""
    square = square_around(box, image.size, ratio)
    piece = image.crop((square.left, square.top, square.left + square.side, square.top + square.side))
    return piece.resize((size, size), Image.Resampling.BILINEAR), square


def paste_back(
    image: Image.Image,
    piece: Image.Image,
    square: Square,
    box: Sequence[float] | None = None,
    others: Sequence[Sequence[float]] = (),
) -> Image.Image:
    """A new image with `piece` (any size) laid over its square, fading out towards the square's edges.

    box: the face itself, which is taken from the piece entirely. others: boxes of faces that stay as they are.
    """
    share = paste_mask(image.size, square, box, others)
    layer = Image.new("RGB", image.size)
    layer.paste(piece.resize((square.side, square.side), Image.Resampling.LANCZOS), (square.left, square.top))
    below, above = np.asarray(image, dtype=np.float32), np.asarray(layer, dtype=np.float32)
    return Image.fromarray(np.rint(below + (above - below) * share[..., None]).astype(np.uint8))


def paste_mask(
    size: tuple[int, int], square: Square, box: Sequence[float] | None = None, others: Sequence[Sequence[float]] = ()
) -> np.ndarray:
    """How much of the piece shows, float32 0–1 [H, W]: 1 within the square and the box, 0 outside and on the others, soft between.

    Where the square ends at the picture's border there is nothing to blend into, so it stays whole there.
    """
    hard = np.zeros((size[1], size[0]), np.float32)
    _fill(hard, square.inside(size), 1)
    for other in others:
        _fill(hard, other, 0)
    erode = int(ERODE_SHARE * square.side / 2)
    if erode < 1:
        return hard
    soft = cv2.erode(hard, np.ones((2 * erode, 2 * erode), np.uint8))
    blur = 2 * int(BLUR_PER_ERODE * erode) + 1
    soft = cv2.GaussianBlur(soft, (blur, blur), 0)
    if box is not None:
        _fill(soft, box, 1)
    return soft * hard


def _fill(mask: np.ndarray, box: Sequence[float], value: float) -> None:
    """Set the part of the box that lies in the mask [H, W]; boxes that reach outside are cut, not wrapped round."""
    left, top, right, bottom = (max(int(edge), 0) for edge in box)
    mask[top:bottom, left:right] = value
