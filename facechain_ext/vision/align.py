"""Faces laid onto the 112×112 template of the face encoder (FACTS §2.7 steps 6–7)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from facechain_ext.errors import NoFace

SIZE = 112
TEMPLATE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)],
    dtype=np.float64,
)
"""Eye left, eye right, nose tip, mouth left, mouth right (as the picture shows them) in a 112×112 crop."""

Points = Sequence[Sequence[float]] | np.ndarray


def similarity(points: Points, template: np.ndarray = TEMPLATE) -> np.ndarray:
    """The turn, scale and shift (never a mirroring) that lays `points` [n, 2] onto `template` [n, 2] best: float64 [2, 3].

    With p = points and q = template about their centres, (p.x+i·p.y)·(a+i·b) ≈ q is linear in a and b, so the least
    squares solution is closed; it is Umeyama's (1991) in two dimensions. NoFace when the points fall together.
    """
    source, target = np.asarray(points, dtype=np.float64), np.asarray(template, dtype=np.float64)
    if source.shape != target.shape or not np.isfinite(source).all():
        raise NoFace(f"The points of a face must be {len(target)} pairs of numbers: use a photo where the face is seen clearly.")
    p, q = source - source.mean(0), target - target.mean(0)
    spread = float((p * p).sum())
    a = float((p * q).sum()) / max(spread, 1e-12)
    b = float((p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).sum()) / max(spread, 1e-12)
    if spread < 1e-6 or a * a + b * b < 1e-12:
        raise NoFace("The points of the face fall together: use a photo where the face is larger and seen clearly.")
    turn = np.array([[a, -b], [b, a]])
    return np.hstack([turn, (target.mean(0) - turn @ source.mean(0))[:, None]])


def align(image: Image.Image | np.ndarray, points: Points, size: int = SIZE) -> np.ndarray:
    """The face as uint8 RGB [size, size, 3], bilinear, black outside the picture. image: RGB PIL or uint8 [H, W, 3]."""
    return warp(image, similarity(points) * (size / SIZE), size)


def warp(image: Image.Image | np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """uint8 [size, size, 3] of `image` under the picture → crop matrix [2, 3], bilinear, black outside.

    cv2.warpAffine rounds positions to 1/32 pixel and strays up to 4 grey levels from the exact interpolation done here.
    """
    pixels = np.asarray(image)
    height, width = pixels.shape[:2]
    v, u = np.mgrid[:size, :size].astype(np.float64)
    inverse = np.linalg.inv(matrix[:, :2])
    x, y = (row[0] * (u - matrix[0, 2]) + row[1] * (v - matrix[1, 2]) for row in inverse)
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    crop = np.zeros((size, size, pixels.shape[2]))
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        column, row = left + dx, top + dy
        share = (1 - np.abs(x - column)) * (1 - np.abs(y - row)) * ((column >= 0) & (column < width) & (row >= 0) & (row < height))
        crop += share[..., None] * pixels[row.clip(0, height - 1), column.clip(0, width - 1)]
    return np.rint(crop).astype(np.uint8)
