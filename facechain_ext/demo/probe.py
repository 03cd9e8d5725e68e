"""Which looks of a person are right in a picture: a probe on the judge's features, that learns from real renders to read them.

Likeness says whether somebody is known again; this says by what. What the probe reads of real renders is what can be had.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facechain_ext.demo.judge import Judge, view
from facechain_ext.demo.world import Identity, person
from facechain_ext.training.people import JUDGED, picture
from facechain_ext.training.pixels import to_tensor
from facechain_ext.training.recognition import KINDS, kinds_of, named_sizes, sizes_of, worn

GROUPS: dict[str, tuple[str, ...]] = {
    "skin": ("face skin r", "face skin g", "face skin b"),
    "hair colour": ("hair colour r", "hair colour g", "hair colour b"),
    "outline of the face": ("face forehead", "face cheek", "face jaw", "face chin", "face length"),
    "size and place of the eyes": ("eyes size", "eyes gap", "eyes height"),
    "brows": ("brows thickness", "brows arch", "brows tilt", "brows height", "brows length"),
    "size of the nose": ("nose length", "nose width"),
    "mouth": ("mouth width", "mouth upper", "mouth lower", "mouth height"),
}
"""Numbers that are reported together."""
EPOCHS, BATCH, AT_ONCE = 12, 128, 100


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A judge with what reads looks off its features; mean, deviation: of the features [F] and of the numbers [S]."""

    judge: Judge
    network: nn.Module
    features: tuple[Tensor, Tensor]
    sizes: tuple[Tensor, Tensor]

    @torch.no_grad()
    def read(self, views: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Views RGB uint8 [B, 96, 96, 3] → the kinds of KINDS [B, 6] and the numbers of named_sizes [B, S]."""
        mean, deviation = self.features
        *kinds, sizes = parts(self.network.eval()((features_of(self.judge, views) - mean) / deviation))
        numbers = sizes * self.sizes[1] + self.sizes[0]
        return torch.stack([one.argmax(dim=1) for one in kinds], dim=1).numpy(), numbers.numpy()

    def agreement(self, views: np.ndarray, people: Sequence[Identity]) -> dict[str, float]:
        """As `agreement` of what is read of the views [B, 96, 96, 3] with whom they should show [B]."""
        return agreement(*self.read(views), people)


def agreement(kinds: np.ndarray, sizes: np.ndarray, people: Sequence[Identity]) -> dict[str, float]:
    """By what is looked at: the share of right kinds, and for numbers the mean of their correlations with what is right."""
    right = np.array([kinds_of(one) for one in people]) == kinds
    shares = {name: float(right[:, place].mean()) for place, name in enumerate(KINDS)}
    names, wanted = list(named_sizes(people[0])), np.array([sizes_of(one) for one in people])
    places = {group: [names.index(name) for name in members] for group, members in GROUPS.items()}
    return shares | {group: float(np.mean([_correlation(sizes[:, at], wanted[:, at]) for at in found])) for group, found in places.items()}


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Of two columns of numbers; 0 where one of them is always the same."""
    spread = one.std() * other.std()
    return float(((one - one.mean()) * (other - other.mean())).mean() / spread) if spread > 0 else 0.0


@torch.no_grad()
def features_of(judge: Judge, views: np.ndarray) -> Tensor:
    """The maps from which the judge makes its embedding, flat [B, F]."""
    parts_ = [views[first : first + AT_ONCE] for first in range(0, len(views), AT_ONCE)]
    return torch.cat([judge.eval().blocks(judge.stem(to_tensor(part))).flatten(1) for part in parts_])


def parts(told: Tensor) -> list[Tensor]:
    """The network's answer [B, K + S] as one tensor for each of KINDS, and the numbers."""
    widths = [len(names) for names in KINDS.values()]
    return list(told.split([*widths, told.shape[1] - sum(widths)], dim=1))


def fit(judge: Judge, count: int) -> Probe:
    """A probe that has learnt from so many renders of as many people whom the judge knows, with the faults of painted pictures."""
    people = [person(JUDGED.start + number) for number in range(count)]
    views = np.empty((count, *view(np.zeros((128, 128, 3), np.uint8)).shape), np.uint8)
    for number in range(count):
        rng = np.random.default_rng((77, number))
        views[number] = worn(view(picture(JUDGED.start + number, rng).picture), rng)
    torch.manual_seed(0)
    found = features_of(judge, views)
    kinds = torch.tensor([kinds_of(one) for one in people])
    sizes = torch.tensor([sizes_of(one) for one in people], dtype=torch.float32)
    scales = [(each.mean(dim=0), each.std(dim=0) + 1e-4) for each in (found, sizes)]
    found, wanted = ((each - mean) / deviation for each, (mean, deviation) in zip((found, sizes), scales, strict=True))
    width = sum(len(names) for names in KINDS.values()) + sizes.shape[1]
    network = nn.Sequential(nn.Dropout(0.3), nn.Linear(found.shape[1], 512), nn.GELU(), nn.Dropout(0.3), nn.Linear(512, width))
    _teach(network, found, kinds, wanted)
    return Probe(judge=judge, network=network, features=scales[0], sizes=scales[1])


def _teach(network: nn.Module, found: Tensor, kinds: Tensor, wanted: Tensor) -> None:
    steps = EPOCHS * (len(found) // BATCH or 1)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.05)
    rate = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, steps)
    for _ in range(steps):
        rows = torch.randint(len(found), (min(BATCH, len(found)),))
        *told, sizes = parts(network(found[rows]))
        named = sum(F.cross_entropy(one, kinds[rows, place]) for place, one in enumerate(told))
        loss = named / len(told) + F.mse_loss(sizes, wanted[rows])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        rate.step()
