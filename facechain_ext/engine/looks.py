"""Several looks at one photo: what an encoder says of a face wavers with how it lies in the cut, and the mean of several wavers less.

An adapter's file asks for them (metadata `looks`); without, a photo is looked at once, as published. Face recognition knows this as
test-time augmentation.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

LOOKS = ((1.0, 0.0), (0.94, 5.0), (0.94, -5.0), (1.06, 5.0), (1.06, -5.0))
"""Every look: how far around the face it goes, in sizes of the aligned face, and how far it is turned, in degrees; the first is plain."""


def looked_at(faces: Tensor, looks: int) -> list[Tensor]:
    """Encoder inputs [n, 3, H, W] by so many looks (1 to 5); the first is `faces` itself. What lies beyond the border is its edge."""
    return [faces, *(_look(faces, size, degrees) for size, degrees in LOOKS[1:looks])]


def _look(faces: Tensor, size: float, degrees: float) -> Tensor:
    cosine, sine = size * math.cos(math.radians(degrees)), size * math.sin(math.radians(degrees))
    turned = torch.tensor(((cosine, -sine, 0.0), (sine, cosine, 0.0)), device=faces.device, dtype=faces.dtype)
    grid = F.affine_grid(turned.expand(len(faces), -1, -1), list(faces.shape), align_corners=False)
    return F.grid_sample(faces, grid, mode="bilinear", padding_mode="border", align_corners=False)
