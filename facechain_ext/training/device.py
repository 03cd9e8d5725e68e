"""Where a training computes, and its learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from facechain_ext.errors import BadInput
from facechain_ext.training.arguments import Common
from facechain_ext.training.loop import Pace
from facechain_ext.training.narrow import use_narrow_heads
from facechain_ext.training.team import ALONE, Team


def choose_device(settings: Common) -> torch.device:
    """The device asked for; sets the number of threads, and takes the kernel of `narrow` into use."""
    if settings.narrow:
        use_narrow_heads()
    if settings.threads:
        torch.set_num_threads(settings.threads)
        cv2.setNumThreads(settings.threads)
    if settings.device != "auto":
        try:
            return torch.zeros(1, device=settings.device).device
        except (RuntimeError, AssertionError) as error:
            raise BadInput(f"The device {settings.device!r} cannot be used here: try --device auto.") from error
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fused(device: torch.device) -> bool:
    """Whether the optimiser can take its step in one go: several times as fast on a CPU."""
    return device.type in ("cpu", "cuda")


def send(array: np.ndarray, device: torch.device) -> Tensor:
    """An array as a tensor there; a GPU fetches it while it computes, nobody waits."""
    whole = np.ascontiguousarray(array)
    tensor = torch.from_numpy(whole if whole.flags.writeable else whole.copy())
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def lay_out(network: nn.Module, settings: Common) -> None:
    """Lay the weights out as the settings say, in place; convolutions hand on pictures laid out as their weights are."""
    if settings.last:
        network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  its stubs lack this overload


def keep_order(network: nn.Module) -> None:
    """Let every norm see and hand back channels first, whatever the convolutions beside it prefer: the other way it is ten times slower."""
    for module in network.modules():
        if isinstance(module, nn.GroupNorm):
            module.register_forward_pre_hook(lambda _, given: (given[0].contiguous(),))
            module.register_full_backward_pre_hook(lambda _, grads: (grads[0].contiguous(),))


def pace_of(settings: Common) -> Pace:
    """The loop's part of the settings."""
    return Pace(steps=settings.steps, log_every=settings.log_every, sheet_every=settings.sheet_every, save_seconds=settings.save_seconds)


def rate_at(step: int, settings: Common) -> float:
    """Linear warm-up, then cosine from `rate` to a twentieth of it."""
    if step < settings.warmup:
        return settings.rate * (step + 1) / settings.warmup
    way = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return settings.rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, way))))


class Optimiser(Protocol):
    """What is used of torch's optimisers."""

    @property
    def param_groups(self) -> list[dict[str, Any]]: ...
    def zero_grad(self, set_to_none: bool = True) -> None: ...
    def step(self) -> Any: ...


def optimise(
    loss: Tensor, optimiser: Optimiser, parameters: Sequence[nn.Parameter], rate: float, clip: float = 1.0, team: Team = ALONE
) -> Tensor:
    """One step of the optimiser by the team's mean gradient; its norm before clipping. A group's `share` multiplies the rate."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    team.average(parameters)
    norm = torch.nn.utils.clip_grad_norm_(parameters, clip)
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("share", 1.0)
    optimiser.step()
    return norm
