"""Where things are on a face: its outline, the height of eyes and mouth, and what an expression does to them."""

from __future__ import annotations

import numpy as np

from facechain_ext.demo.world.canvas import mirror, smooth
from facechain_ext.demo.world.identity import Face, Identity

FACE_Z, EAR_Z, BROW_Z, NOSE_Z, MOUTH_Z = 0.0, -0.12, 0.32, 0.55, 0.36

CORNER_RISE = {"neutral": 0.0, "smile": 0.09, "laugh": 0.08, "sad": -0.1, "surprised": 0.0}
MOUTH_SPREAD = {"smile": 1.12, "laugh": 1.15, "surprised": 0.62}


def outline(face: Face) -> np.ndarray:
    """The face's outline [N, 2] in face units."""
    half = [
        (0.0, -1.0), (face.forehead * 0.62, -0.9), (face.forehead, -0.52), (face.cheek, 0.02),
        (face.jaw, 0.56), (face.chin, 0.92), (0.0, 1.0),
    ]  # fmt: skip
    return smooth(mirror(half)) * (1, face.length)


def landmarks(who: Identity, expression: str) -> dict[str, tuple[float, float, float]]:
    """x, y, z of the five points and the ears in face units."""
    rise, half = CORNER_RISE[expression], mouth_half_width(who, expression)
    eye, mouth = eye_height(who), mouth_height(who)
    nose = eye + 0.38 * who.nose.length
    return {
        "eye left": (-who.eyes.gap, eye, BROW_Z),
        "eye right": (who.eyes.gap, eye, BROW_Z),
        "nose": (0.0, nose, NOSE_Z),
        "mouth left": (-half, mouth - rise, MOUTH_Z),
        "mouth right": (half, mouth - rise, MOUTH_Z),
        "ear left": (-who.face.cheek, 0.02, EAR_Z),
        "ear right": (who.face.cheek, 0.02, EAR_Z),
    }


def eye_height(who: Identity) -> float:
    return (who.eyes.height - 0.04) * who.face.length


def mouth_height(who: Identity) -> float:
    return who.mouth.height * who.face.length


def mouth_half_width(who: Identity, expression: str) -> float:
    return who.mouth.width * MOUTH_SPREAD.get(expression, 1.0)
