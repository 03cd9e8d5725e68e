"""Muon beside AdamW: steps of matrices are made orthogonal, which takes far fewer pictures to the same error.

Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024); the step's size as in Liu et al., "Muon is scalable
for LLM training" (2025), so that learning rates mean what they mean to AdamW. torch.optim.Muon takes matrices alone; most of a UNet's
weights are kernels of convolutions, here a matrix of outputs by everything that comes in.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the Newton–Schulz iteration: steepest at 0; singular values end between 0.7 and 1.2."""
ITERATIONS = 5
ADAMW = 0.2
"""Root mean square of AdamW's steps, in multiples of its learning rate."""


def orthogonal(matrices: Tensor, exact: bool = False) -> Tensor:
    """The nearest matrices with all singular values about 1 [N, rows, columns], by Newton–Schulz.

    In bfloat16, or as they are where `exact`: some CPUs multiply float32 faster.
    """
    a, b, c = COEFFICIENTS
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT
    x = x if exact else x.bfloat16()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x if wide else x.mT).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Steps along the orthogonalised momentum (Nesterov's) of weights with two and more dimensions.

    size: root mean square of a step, in multiples of the learning rate.
    """

    def __init__(
        self, parameters: Iterable[Any], lr: float, size: float = ADAMW, momentum: float = 0.95, weight_decay: float = 0.01,
        exact: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(list(parameters), {"lr": lr, "size": size, "momentum": momentum, "weight_decay": weight_decay})
        self.exact = exact

    @torch.no_grad()
    def step(self) -> None:
        """One step; weights of the same shape are made orthogonal together."""
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            for weight in weights:
                if not self.state[weight]:
                    self.state[weight]["momentum"] = torch.zeros_like(weight)
            kept, grads = [self.state[weight]["momentum"] for weight in weights], [weight.grad for weight in weights]
            torch._foreach_lerp_(kept, grads, 1 - group["momentum"])
            ways = torch._foreach_lerp(grads, kept, group["momentum"])
            alike: dict[torch.Size, list[int]] = defaultdict(list)
            for index, way in enumerate(ways):
                alike[way.flatten(1).shape].append(index)
            torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
            for (rows, columns), those in alike.items():
                steps = orthogonal(torch.stack([ways[index].flatten(1) for index in those]), self.exact)
                steps.mul_(-group["lr"] * group["size"] * max(rows, columns) ** 0.5)
                torch._foreach_add_(
                    [weights[index] for index in those], [step.view_as(weights[index]) for index, step in zip(those, steps, strict=True)]
                )


class Several:
    """Optimisers of different weights, used like one."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [group for part in self.parts for group in part.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none)

    def step(self) -> None:
        """One step of each."""
        for part in self.parts:
            part.step()


class MuonAndAdamW(Several):
    """Muon for the matrices of hidden layers, AdamW for everything else. Both take weights or groups of them."""

    def __init__(self, hidden: Iterable[Any], others: Iterable[Any], lr: float, size: float, fused: bool, exact: bool = False) -> None:
        self.named: dict[str, Any] = {"muon": Muon(hidden, lr, size, exact=exact)}
        if rest := list(others):  # where matrices alone learn, there is nothing else
            self.named["adamw"] = torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.99), weight_decay=0.01, fused=fused)
        super().__init__(*self.named.values())

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self.named.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, part in self.named.items():
            part.load_state_dict(state[name])


def muon_and_adamw(
    networks: Iterable[nn.Module], outer: Iterable[str], lr: float, size: float, fused: bool, exact: bool = False
) -> MuonAndAdamW:
    """The optimiser of networks; `outer`: ends of the names of layers that read or write pictures and words, which AdamW keeps."""
    hidden, others, ends = [], [], tuple(outer)
    for network in networks:
        for name, weight in network.named_parameters():
            deep = weight.ndim >= 2 and not name.rpartition(".")[0].endswith(ends)
            (hidden if deep else others).append(weight)
    return MuonAndAdamW(hidden, others, lr, size, fused, exact)
