"""The judge: a small residual network that tells drawn people apart. It measures likeness and conditions nothing.

Another architecture and other people than the face encoder's; it looks at unaligned squares of a picture, so it needs no detector.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from facechain_ext.demo.model import TRAINED
from facechain_ext.training.checkpoint import fill, load_weights

JUDGE = TRAINED / "judge.safetensors"
VIEW = 96
"""Side of the square the judge looks at, in pixels of a 128-pixel-high picture."""
VIEW_TOP = 12
EMBEDDING = 128
WIDTHS = (24, 48, 96, 160)
DEPTHS = (1, 2, 2, 1)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions and a way past them."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outside)
        same = inside == outside and stride == 1
        self.past = nn.Identity() if same else nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.past(x) + self.norm2(self.conv2(y)))


class Judge(nn.Module):
    """views [B, 3, 96, 96] in [-1, 1] → embeddings [B, 128], not normalised."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS, depths: tuple[int, ...] = DEPTHS, embedding: int = EMBEDDING) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, widths[0], 5, 2, 2, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU())
        blocks, before = [], widths[0]
        for level, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            for number in range(depth):
                blocks.append(ResidualBlock(before, width, 2 if level and not number else 1))
                before = width
        self.blocks = nn.Sequential(*blocks)
        self.embedding = nn.Sequential(nn.Flatten(), nn.Linear(before * (VIEW // 2 ** len(widths)) ** 2, embedding))

    def forward(self, views: Tensor) -> Tensor:
        return self.embedding(self.blocks(self.stem(views)))


def read_judge(path: Path = JUDGE) -> Judge:
    """A judge that train-judge trained; without a path the one that comes with the product. BadWeights."""
    judge = Judge()
    fill(judge, load_weights(path), path, "a judge")
    return judge


def view(picture: np.ndarray, middle: float | None = None) -> np.ndarray:
    """What the judge sees of a picture, RGB uint8 [128, W, 3]: the square [96, 96, 3] around `middle` (x in pixels)."""
    left = round((picture.shape[1] / 2 if middle is None else middle) - VIEW / 2)
    return picture[VIEW_TOP : VIEW_TOP + VIEW, left : left + VIEW]
