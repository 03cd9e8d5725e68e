"""Blends adapters weight by weight: what lies between trainings that went on from one another is often better than either.

Averages of networks that were trained from the same beginning are networks of the same kind (model soups, Wortsman et al., 2022).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from facechain_ext.engine.checkpoints import read_adapter, write_adapter
from facechain_ext.errors import BadInput
from facechain_ext.training.arguments import Limited, option, parse, speak
from facechain_ext.training.fact import FINISHED

NAME, SUMMARY = "blend-adapters", "Blend adapters that were trained from one another, weight by weight."


@dataclass(frozen=True, kw_only=True)
class BlendSettings(Limited):
    """What is blended, and how much of each."""

    adapters: str = option("", "adapter files with their shares, as file=share,file=share; shares add up to 1")
    half: bool = option(False, "write the adapter in float16: half the size")


@torch.no_grad()
def blend(settings: BlendSettings, folder: Path) -> Path:
    """Write the mean of the adapters, weighed by their shares, into `folder`. BadInput, BadWeights, CannotWrite."""
    shares = shares_of(settings.adapters)
    adapters = [read_adapter(path) for path, _ in shares]
    first, *others = adapters
    for adapter, (path, _) in zip(others, shares[1:], strict=True):
        if (adapter.sizes, adapter.looks) != (first.sizes, first.looks):
            what = "of another size than" if adapter.sizes != first.sizes else "one that looks at photos another number of times than"
            raise BadInput(f"{path} is {what} {shares[0][0]}: blend adapters that were trained from one another.")
        if adapter.as_one != first.as_one:
            raise BadInput(f"Only one of {path} and {shares[0][0]} lets several photos weigh as one: give both the same by `convert`.")
    take_mean(adapters, [share for _, share in shares])
    said = ", ".join(f"{path.name}={share:g}" for path, share in shares)  # where they lay is nobody's business
    target = folder / FINISHED
    write_adapter(first.half() if settings.half else first, target, {"recipe": f"{NAME} {said}"})
    return target


@torch.no_grad()
def take_mean(networks: Sequence[nn.Module], shares: Sequence[float]) -> None:
    """Give the first of networks of one kind the mean of all, weighed by their shares, in place."""
    mixed = {key: torch.zeros_like(value) for key, value in networks[0].state_dict().items()}
    for network, share in zip(networks, shares, strict=True):
        for key, value in network.state_dict().items():
            mixed[key] += share * value
    networks[0].load_state_dict(mixed)


def shares_of(given: str, flag: str = "--adapters") -> list[tuple[Path, float]]:
    """Files and their shares as given by that flag. BadInput where there are fewer than two, or they do not add up to 1."""
    found = []
    for one in given.split(","):
        name, _, share = one.strip().rpartition("=")
        try:
            found.append((Path(name), float(share)))
        except ValueError:
            raise BadInput(f"{flag} has {one.strip()!r}: give file=share, as a.safetensors=0.6,b.safetensors=0.4.") from None
    whole = sum(share for _, share in found)
    if len(found) < 2 or not math.isclose(whole, 1, abs_tol=1e-6):
        raise BadInput(f"{flag} has {len(found)} whose shares add up to {whole:g}: give two or more, and shares of 1 in all.")
    return found


def main(argv: Sequence[str]) -> None:
    """Command line."""
    blend(*parse(BlendSettings, NAME, SUMMARY, argv))


if __name__ == "__main__":
    speak()
    main(sys.argv[1:])
