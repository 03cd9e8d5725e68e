"""Several processes that train one thing together, one per GPU: each with its own share of pictures, gradients averaged."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from facechain_ext.errors import MissingPackage


class Team:
    """The processes of this training. Alone, every method does nothing."""

    def __init__(self, accelerator: Any = None) -> None:
        """accelerator: accelerate's Accelerator, or None for one process."""
        self._accelerator = accelerator
        self.rank: int = accelerator.process_index if accelerator else 0
        self.count: int = accelerator.num_processes if accelerator else 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    @property
    def own(self) -> tuple[int, ...]:
        """What makes this process's randomness its own."""
        return (self.rank,) if self.count > 1 else ()

    @property
    def stated(self) -> dict[str, int]:
        """What a training's settings say of it; nothing where it is one process."""
        return {"processes": self.count} if self.count > 1 else {}

    def device(self, otherwise: torch.device) -> torch.device:
        """Where this process computes."""
        return self._accelerator.device if self.count > 1 else otherwise

    def wait(self) -> None:
        """Until all are here."""
        if self.count > 1:
            self._accelerator.wait_for_everyone()

    def any(self, flag: bool) -> bool:
        """Whether one of the processes says so: all stop at the same step or none does."""
        if self.count == 1:
            return flag
        told = torch.tensor(float(flag), device=self._accelerator.device)
        return bool(self._accelerator.reduce(told, "sum") > 0)

    def average(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace gradients by their mean over the processes; all in one message, for hundreds of small ones wait for each other."""
        if self.count == 1:
            return
        own = [parameter.grad for parameter in parameters if parameter.grad is not None]
        mean = self._accelerator.reduce(torch.cat([one.flatten() for one in own]), "mean")
        for one, part in zip(own, mean.split([one.numel() for one in own]), strict=True):
            one.copy_(part.view_as(one))


ALONE = Team()


def assemble(device: str = "auto") -> Team:
    """The team this process was started in (by torchrun, or on GPUs `accelerate launch`), or this process alone. MissingPackage.

    device: the one asked for; cpu keeps the team off the GPUs.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ALONE
    try:
        from accelerate import Accelerator
    except ImportError as error:
        raise MissingPackage("Training with several processes needs accelerate: install it, or start one process.") from error
    made = Team(Accelerator(cpu=device == "cpu" or not torch.cuda.is_available()))
    # Left to the end of the process, the connections are torn down while threads still use them, and now and then that aborts it.
    atexit.register(_leave)
    return made


def _leave() -> None:
    """Part from the others in order."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
