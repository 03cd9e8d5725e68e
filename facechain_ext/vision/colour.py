"""Colours of one face brought to those of another (FACTS §5.1 step 8)."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

BLUR = 32


def match_colour(
    image: Image.Image,
    reference: Image.Image,
    image_mask: np.ndarray | None = None,
    reference_mask: np.ndarray | None = None,
    blur: int = BLUR,
) -> Image.Image:
    """A new image whose colours under `image_mask` have the mean and spread, in CIE LAB, of the reference's under its mask.

    Masks: [H, W] of their own picture, anything above 0 counts; None: all of it. The change fades over about `blur` pixels
    at the mask's edge. An empty mask changes nothing.
    """
    here = _chosen(image_mask, image)
    there = _chosen(reference_mask, reference)
    if not here.any() or not there.any():
        return image.copy()
    lab, goal = _lab(image), _lab(reference)[there]
    mean, spread = lab[here].mean(0), lab[here].std(0)
    moved = (lab - mean) * (goal.std(0) / np.maximum(spread, 1e-4)) + goal.mean(0)
    changed = cv2.cvtColor(moved.astype(np.float32), cv2.COLOR_LAB2RGB).clip(0, 1) * 255
    share = here.astype(np.float32) if image_mask is None else _soft(here, blur)
    before = np.asarray(image, dtype=np.float32)
    return Image.fromarray(np.rint(before + (changed - before) * share[..., None]).clip(0, 255).astype(np.uint8))


def _chosen(mask: np.ndarray | None, image: Image.Image) -> np.ndarray:
    return np.ones((image.height, image.width), bool) if mask is None else np.asarray(mask) > 0


def _lab(image: Image.Image) -> np.ndarray:
    return cv2.cvtColor(np.asarray(image, dtype=np.float32) / 255, cv2.COLOR_RGB2LAB)


def _soft(mask: np.ndarray, blur: int) -> np.ndarray:
    """Box blur of about the width that a WebUI's mask blur has."""
    side = 2 * (blur // 2) + 1
    return cv2.blur(mask.astype(np.float32), (side, side))
