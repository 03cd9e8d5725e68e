"""The head cut out of a photo: from a parser's masks as the published adapter was trained with, or drawn from the face."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from facechain_ext.errors import NoFace
from facechain_ext.vision.align import Points

MIN_SCORE = 0.8
NO_HEAD = "No face was made out in the photo when it was cut out: use one where the whole face is seen clearly."
# A head with hair in eye distances (about 63 mm): half width, half height, and how far its middle lies above the eyes.
HALF_WIDTH, HALF_HEIGHT, RISE = 1.5, 2.05, 0.1
EYES_TO_MOUTH = 1.1  # in eye distances, of a face seen from the front


def head_mask(masks: np.ndarray, labels: Sequence[str], scores: Sequence[float]) -> np.ndarray:
    """Head of the main person, float32 0/1 [H, W], of human parsing (FACTS §2.7 steps 2–4).

    masks: [k, H, W] 0/1; labels: "Face", "Hair", "Human", others ignored; scores: only entries above 0.8 count.
    NoFace without a face; hair or human may be missing.
    """
    face = _largest(masks, labels, scores, "Face")
    if face is None:
        raise NoFace(NO_HEAD)
    return head_from_parsing(face, _largest(masks, labels, scores, "Hair"), _largest(masks, labels, scores, "Human"))


def head_from_parsing(face: np.ndarray | None, hair: np.ndarray | None = None, person: np.ndarray | None = None) -> np.ndarray:
    """The same of single masks [H, W] (0/1 or bool): face and hair, a little grown, within the person, the largest piece without holes."""
    if face is None or not np.any(face):
        raise NoFace(NO_HEAD)
    face = np.asarray(face, dtype=np.float32)
    head = face if hair is None else np.clip(face + np.asarray(hair, dtype=np.float32), 0, 1)
    side = max(int(np.sqrt(face.sum(dtype=np.float64)) / 20), 1)
    head = cv2.dilate(head, np.ones((side, side), np.uint8))
    if person is not None:
        head = head * np.asarray(person, dtype=np.float32)
    piece = _largest_piece((head * 255).astype(np.uint8) > 127)
    return np.clip(piece + face, 0, 1)


def geometric_head(box: Sequence[float], points: Points, size: tuple[int, int]) -> np.ndarray:
    """A head with hair drawn as a tilted ellipse, float32 0/1 [H, W], where no parser looks at the picture.

    size: (width, height). The scale is the larger of eye distance and eyes-to-mouth, as turning shortens either.
    """
    p = np.asarray(points, dtype=np.float64)
    eyes, mouth = (p[0] + p[1]) / 2, (p[3] + p[4]) / 2
    unit = max(np.linalg.norm(p[1] - p[0]), np.linalg.norm(mouth - eyes) / EYES_TO_MOUTH)
    if not np.isfinite(p).all() or unit < 1e-3:
        raise NoFace("The points of the face fall together: use a photo where the face is larger and seen clearly.")
    right = (p[1] - p[0]) / max(float(np.linalg.norm(p[1] - p[0])), 1e-6)
    up = np.array([right[1], -right[0]])
    middle = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
    centre = eyes + right * float((middle - eyes) @ right) / 2 + up * (RISE * unit)
    canvas = np.zeros((size[1], size[0]), np.uint8)
    angle = float(np.degrees(np.arctan2(right[1], right[0])))
    cv2.ellipse(canvas, (tuple(map(float, centre)), (float(2 * HALF_WIDTH * unit), float(2 * HALF_HEIGHT * unit)), angle), 1, -1)
    return canvas.astype(np.float32)


def cut_out(image: Image.Image, mask: np.ndarray) -> Image.Image:
    """The image where the mask [H, W] (0–1) is, black elsewhere."""
    share = np.asarray(mask, dtype=np.float32)[..., None]
    return Image.fromarray(np.rint(np.asarray(image) * share).astype(np.uint8))


def _largest(masks: np.ndarray, labels: Sequence[str], scores: Sequence[float], label: str) -> np.ndarray | None:
    """The mask of that label with the largest area among those scored above 0.8, or None."""
    entries = zip(masks, labels, scores, strict=True)
    found = [mask for mask, name, score in entries if str(name) == label and score > MIN_SCORE and np.any(mask)]
    return max(found, key=lambda mask: float(np.sum(mask, dtype=np.float64)), default=None)


def _largest_piece(head: np.ndarray) -> np.ndarray:
    """The outline with the largest area, filled, as float32 0/1 [H, W]; nothing where there is no piece at all."""
    outlines, _ = cv2.findContours(head.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    piece = np.zeros(head.shape, np.uint8)
    if outlines:
        cv2.fillPoly(piece, [max(outlines, key=cv2.contourArea)], 1)
    return piece.astype(np.float32)
