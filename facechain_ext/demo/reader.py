"""The reader: tells what a drawn picture shows, except who, so that a report can say whether a prompt was kept. It conditions nothing."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from torch import Tensor, nn

from facechain_ext.demo.judge import VIEW, Judge
from facechain_ext.demo.world.scene import Appearance, Scene
from facechain_ext.demo.world.traits import BACKGROUNDS, CLOTHES, EXTRA_STYLES, HATS, STYLES

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "style": STYLES + EXTRA_STYLES,
    "clothes": CLOTHES,
    "hat": ("", *HATS),
    "background": BACKGROUNDS,
}
"""What is asked of every picture, and the answers there are."""


def labels_of(scene: Scene, appearance: Appearance) -> tuple[int, ...]:
    """The right answers, as places in ATTRIBUTES."""
    said = (scene.style, appearance.outfit.clothes, appearance.outfit.hat, scene.background)
    return tuple(names.index(one) for names, one in zip(ATTRIBUTES.values(), said, strict=True))


class Reader(nn.Module):
    """Whole pictures shrunk to [B, 3, 96, 96] in [-1, 1] → the answers' logits, one tensor [B, answers] per attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes = [len(names) for names in ATTRIBUTES.values()]
        self.network = Judge(widths=(16, 32, 64, 96), depths=(1, 1, 1, 1), embedding=sum(self.sizes))

    def forward(self, pictures: Tensor) -> Sequence[Tensor]:
        return self.network(pictures).split(self.sizes, dim=1)


def shrunk(picture: np.ndarray) -> np.ndarray:
    """What the reader sees of a picture, RGB uint8 [H, W, 3] → [96, 96, 3]."""
    return cv2.resize(picture, (VIEW, VIEW), interpolation=cv2.INTER_AREA)
