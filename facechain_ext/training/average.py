"""The exponential moving average of a network's weights: what is shipped in the end."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Average:
    """Follows parameters and float buffers of modules; young averages follow faster (decay grows to its value with the steps)."""

    def __init__(self, modules: Mapping[str, nn.Module], decay: float) -> None:
        self.decay = decay
        self.live = {f"{name}.{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}
        self.tensors = {key: value.detach().clone() for key, value in self.live.items()}

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Move towards the weights after step number `step` (from 0)."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        moving = [key for key, value in self.live.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.tensors[key] for key in moving], [self.live[key] for key in moving], share)
        for key in self.live.keys() - set(moving):
            self.tensors[key].copy_(self.live[key])

    def of(self, name: str) -> dict[str, Tensor]:
        """The averaged state dict of one module."""
        return {key[len(name) + 1 :]: value for key, value in self.tensors.items() if key.startswith(name + ".")}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up a saved average."""
        for key, value in self.tensors.items():
            value.copy_(tensors[key])
