"""The pose of a person in a photo, by mediapipe's pose network (its weights lie in the package; nothing is fetched)."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from facechain_ext.errors import BadInput, MissingPackage
from facechain_ext.vision.skeleton import Joint

NOSE, EYES, EARS = 0, (5, 2), (8, 7)
ARMS, LEGS = ((12, 14, 16), (11, 13, 15)), ((24, 26, 28), (23, 25, 27))
"""Places among mediapipe's 33 points, the person's right side first, as OpenPose has it."""
VISIBLE = 0.5


def pose(image: Image.Image) -> list[Joint]:
    """The 18 OpenPose joints of the person in an RGB picture, None where unseen. BadInput where nobody is, MissingPackage."""
    try:
        from mediapipe.python.solutions.pose import Pose
    except ImportError as error:
        raise MissingPackage(
            "Reading a pose from a photo needs mediapipe, which is not installed: give a skeleton picture instead."
        ) from error
    with Pose(static_image_mode=True, model_complexity=1) as network:
        seen: Any = network.process(np.asarray(image.convert("RGB")))
    found = seen.pose_landmarks
    if found is None:
        raise BadInput("No person was found in the pose picture: use one that shows the body, or a skeleton picture.")
    points = [
        (p.x * image.width, p.y * image.height) if p.visibility >= VISIBLE and 0 <= p.x <= 1 and 0 <= p.y <= 1 else None
        for p in found.landmark
    ]
    right, left = ARMS[0][0], ARMS[1][0]
    neck = _middle(points[right], points[left])
    order = (*ARMS[0], *ARMS[1], *LEGS[0], *LEGS[1], *EYES, *EARS)
    return [points[NOSE], neck, *(points[index] for index in order)]


def _seen(point: Any, image: Image.Image) -> Joint:
    inside = point.visibility >= VISIBLE and 0 <= point.x <= 1 and 0 <= point.y <= 1
    return (point.x * image.width, point.y * image.height) if inside else None


def _middle(one: Joint, other: Joint) -> Joint:
    return None if one is None or other is None else ((one[0] + other[0]) / 2, (one[1] + other[1]) / 2)
