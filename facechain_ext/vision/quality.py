"""How well a face can be seen: sharpness, brightness, and which way it looks, from pixels and five points."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from facechain_ext.vision.align import Points

GRID = 64
"""Sharpness is measured with the face at most this wide, so that large and small photos of one sharpness score alike."""
NOSE_DEPTH = 0.5
"""How far the nose tip stands before the plane of eyes and mouth, in eye distances."""
NOSE_LEVEL = 0.52
"""Where between eyes (0) and mouth (1) the nose tip is seen from the front."""


def face_grey(image: Image.Image, box: Sequence[float]) -> np.ndarray:
    """The box as uint8 grey, cut at the picture's borders and shrunk to at most 64 pixels in width; empty where it lies outside."""
    left, top = max(int(box[0]), 0), max(int(box[1]), 0)
    right, bottom = min(round(box[2]), image.width), min(round(box[3]), image.height)
    if right <= left or bottom <= top:
        return np.zeros((0, 0), np.uint8)
    grey = np.asarray(image.crop((left, top, right, bottom)).convert("L"))
    if grey.shape[1] <= GRID:
        return grey
    height = max(1, round(grey.shape[0] * GRID / grey.shape[1]))
    return cv2.resize(grey, (GRID, height), interpolation=cv2.INTER_AREA)


def sharpness(image: Image.Image, box: Sequence[float]) -> float:
    """Variance of the Laplacian over the face, relative to its contrast: about 0.03 and less is blurred, 0.1 and more crisp."""
    grey = face_grey(image, box).astype(np.float64)
    if min(grey.shape) < 3 or grey.std() < 1e-6:
        return 0.0
    return float(cv2.Laplacian(grey, cv2.CV_64F).var() / grey.var())


def brightness(image: Image.Image, box: Sequence[float]) -> float:
    """Mean grey of the face, 0 (black) to 255."""
    grey = face_grey(image, box)
    return float(grey.mean()) if grey.size else 0.0


def angles(points: Points) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees, guessed from five points (good to about ten degrees, roll to one).

    yaw > 0: turned to the picture's right; pitch > 0: looking down; roll > 0: tilted clockwise. The nose tip stands before
    the plane of the eyes and mouth, so turning the head moves it by depth·tan(angle) within that plane.
    """
    p = np.asarray(points, dtype=np.float64)
    eyes, mouth = (p[0] + p[1]) / 2, (p[3] + p[4]) / 2
    right = p[1] - p[0]
    width = max(float(np.linalg.norm(right)), 1e-6)
    right = right / width
    down = np.array([-right[1], right[0]])
    height = max(float((mouth - eyes) @ down), 1e-6)
    sideways = float((p[2] - eyes) @ right)
    below = float((p[2] - eyes) @ down) / height - NOSE_LEVEL
    yaw = np.degrees(np.arctan(sideways / width / NOSE_DEPTH))
    pitch = np.degrees(np.arctan(below / NOSE_DEPTH))
    return float(yaw), float(pitch), float(np.degrees(np.arctan2(right[1], right[0])))
