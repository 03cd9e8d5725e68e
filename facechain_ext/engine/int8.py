"""Large matrices in files as eight-bit numbers with a scale per row: half of float16, off by 0.4 % of a row's largest at most."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

SCALE = ".scale"
"""What is added to a tensor's name for its scales, float32 [rows, 1]."""


def to_int8(tensors: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """The same tensors with the named matrices [rows, columns] as int8 and their scales beside them."""
    made = dict(tensors)
    for name in names:
        matrix = tensors[name].float()
        scale = matrix.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny) / 127
        made[name], made[name + SCALE] = (matrix / scale).round().to(torch.int8), scale
    return made


def from_int8(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file, its eight-bit matrices as float32 again, without the scales."""
    scales = {name + SCALE for name, value in tensors.items() if value.dtype == torch.int8 and name + SCALE in tensors}
    plain = {name: value for name, value in tensors.items() if name not in scales}
    return {name: value.float() * tensors[name + SCALE] if name + SCALE in scales else value for name, value in plain.items()}
