"""Pictures as networks take and give them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

CELL = 8
"""Side of what one latent stands for, in pixels."""


def to_tensor(pictures: np.ndarray | Tensor) -> Tensor:
    """RGB uint8 [B, H, W, 3] → [B, 3, H, W] in [-1, 1]."""
    whole = torch.from_numpy(np.ascontiguousarray(pictures)) if isinstance(pictures, np.ndarray) else pictures
    return whole.permute(0, 3, 1, 2).float() / 127.5 - 1


def to_pictures(tensor: Tensor) -> np.ndarray:
    """[B, 3, H, W] in [-1, 1] → RGB uint8 [B, H, W, 3]."""
    return ((tensor.detach().float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
