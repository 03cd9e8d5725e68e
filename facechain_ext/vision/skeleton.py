"""Bodies as the OpenPose ControlNet reads them: 18 points joined by coloured limbs on black."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

Joint = tuple[float, float] | None
POINTS = 18
LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0), (0, 14), (14, 16),
    (0, 15), (15, 17),
)  # fmt: skip
"""Pairs of joints: 0 nose, 1 neck, 2–4 right arm, 5–7 left arm, 8–10 right leg, 11–13 left leg, 14/15 eyes, 16/17 ears (FACTS §1.8)."""
STICK = 4 / 512
LIMB_LIGHT = 0.6
BLACK_SHARE = 0.8


def colour(index: int) -> tuple[int, int, int]:
    """The hue of a joint or limb: 18 steps around the colour circle, red first."""
    red, green, blue = colorsys.hsv_to_rgb(index / POINTS, 1.0, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_skeletons(size: tuple[int, int], bodies: Sequence[Sequence[Joint]]) -> Image.Image:
    """Bodies (18 joints each in pixels, None where unseen) on a black picture of the given width and height."""
    width, height = size
    limbs, joints = np.zeros((height, width, 3), np.uint8), np.zeros((height, width, 3), np.uint8)
    stick = max(2, round(STICK * max(size)))
    for body in bodies:
        for index, (a, b) in enumerate(LIMBS):
            if (one := body[a]) is not None and (other := body[b]) is not None:
                _limb(limbs, one, other, stick, colour(index))
        for index, joint in enumerate(body):
            if joint is not None:
                cv2.circle(joints, (round(joint[0]), round(joint[1])), stick, colour(index), -1)
    picture = np.where(joints.any(-1, keepdims=True), joints, (limbs * LIMB_LIGHT).astype(np.uint8))
    return Image.fromarray(picture)


def is_skeleton(image: Image.Image) -> bool:
    """Whether a picture is already drawn that way: mostly black, the rest in pure colours."""
    pixels = np.asarray(image.convert("RGB").resize((128, 128), Image.Resampling.NEAREST)).astype(int)
    lit = pixels.max(-1) > 40
    if not 0.002 < lit.mean() < 1 - BLACK_SHARE:
        return False
    chroma = pixels[lit].max(-1) - pixels[lit].min(-1)
    return bool(np.median(chroma / pixels[lit].max(-1)) > 0.8)


def _limb(canvas: np.ndarray, one: tuple[float, float], other: tuple[float, float], stick: int, shade: tuple[int, int, int]) -> None:
    centre = round((one[0] + other[0]) / 2), round((one[1] + other[1]) / 2)
    length, angle = math.dist(one, other), math.degrees(math.atan2(other[1] - one[1], other[0] - one[0]))
    outline = cv2.ellipse2Poly(centre, (max(1, round(length / 2)), stick), round(angle), 0, 360, 1)
    cv2.fillConvexPoly(canvas, np.asarray(outline), shade)
