"""The network that looks at drawn pictures: a small U-Net that tells five landmarks and four masks of everybody in it.

Made for pictures 128 pixels high; height and width in multiples of 32.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facechain_ext.engine.checkpoints import read_tensors
from facechain_ext.errors import BadWeights

HEIGHT = 128
MULTIPLE = 32
POINTS = 5
MASKS = ("face", "hair", "person", "clothes")
WIDTHS = (16, 32, 64, 96, 128)


class Convolutions(nn.Module):
    """Two 3×3 convolutions with group norms."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(inside, outside, 3, 1, 1, bias=False), nn.GroupNorm(8, outside)
        self.conv2, self.norm2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False), nn.GroupNorm(8, outside)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))))


class Parser(nn.Module):
    """Pictures [B, 3, H, W] in [-1, 1] → logits [B, 9, H/2, W/2]: five landmarks' places, then the masks of MASKS.

    The picture is folded to half its size first; finer than that, drawn pixels tell nothing that a place between pixels does not.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.begin = nn.Conv2d(12, widths[0], 3, 1, 1)
        self.down = nn.ModuleList(Convolutions(a, b) for a, b in zip((widths[0], *widths), widths, strict=False))
        self.up = nn.ModuleList(Convolutions(a + b, a) for a, b in zip(widths[-2::-1], widths[:0:-1], strict=True))
        self.end = nn.Conv2d(widths[0], POINTS + len(MASKS), 1)

    def forward(self, pictures: Tensor) -> Tensor:
        x = self.begin(F.pixel_unshuffle(pictures, 2))
        kept = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            kept.append(x)
        for block, beside in zip(self.up, kept[-2::-1], strict=True):
            x = block(torch.cat((F.interpolate(x, scale_factor=2.0, mode="nearest"), beside), dim=1))
        return self.end(x)


def read_parser(path: Path) -> Parser:
    """The trained network of a file. BadWeights where it is something else."""
    tensors, _ = read_tensors(path)
    network = Parser()
    wrong = [key for key, value in network.state_dict().items() if key not in tensors or tensors[key].shape != value.shape]
    if wrong:
        raise BadWeights(f"{path.name} is not the demo model's face analysis ({wrong[0]} is missing or of another shape).")
    network.load_state_dict({key: tensors[key].float() for key in network.state_dict()})
    return network.eval().requires_grad_(False)
