"""The training that judge and face encoder share: a network that tells people apart, whatever it looks at and however it is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from facechain_ext.demo.world import Drawing, person
from facechain_ext.demo.world.traits import STYLES
from facechain_ext.training.arguments import Common, option
from facechain_ext.training.average import Average
from facechain_ext.training.checkpoint import fill, load_weights
from facechain_ext.training.device import fused, optimise, rate_at
from facechain_ext.training.people import ALL_STYLES, TESTED, picture
from facechain_ext.training.pixels import to_tensor
from facechain_ext.training.recognition import TraitHead, margin_loss, rank_first

GALLERY = 12
See = Callable[[Drawing, np.random.Generator, bool], np.ndarray]
"""What a network sees of a drawing, RGB uint8; the flag: with the faults of a training picture."""


@dataclass(frozen=True, kw_only=True)
class LikenessSettings(Common):
    """Settings of a recogniser's training; `batch` counts people."""

    pictures: int = option(4, "pictures of each person in a batch", lowest=2)
    scale: float = option(20.0, "scale of the cosines")
    margin: float = option(0.15, "margin between people")
    traits: float = option(0.5, "weight of reading the traits by name")
    begin: str = option("", "weights to begin with, as this training wrote them; empty: fresh ones")
    tested: int = option(100, "people in the test of every sample sheet; 0 for none", lowest=0)


class LikenessTrainee:
    """A network from views [B, 3, H, W] to embeddings [B, width], a trait head, their optimiser and average."""

    def __init__(
        self, settings: LikenessSettings, device: torch.device, build: Callable[[], nn.Module], width: int, people: range, see: See
    ) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.device, self.build, self.people, self.see = settings, device, build, people, see
        self.network, self.head = build().to(device), TraitHead(width).to(device)
        if settings.begin:
            self.begin(load_weights(Path(settings.begin)), settings.begin)
        self.parameters = [*self.network.parameters(), *self.head.parameters()]
        self.optimiser = torch.optim.AdamW(self.parameters, lr=settings.rate, weight_decay=0.02, fused=fused(device))
        self.average = Average({"network": self.network}, settings.decay)
        self.ceiling = 0.0

    def begin(self, weights: Mapping[str, Tensor], source: str) -> None:
        """Take the network's weights from a file of `weights`. BadWeights."""
        fill(self.network, weights, source, "what this training wrote")

    def step(self, number: int, rng: np.random.Generator) -> Mapping[str, float | Tensor]:
        settings = self.settings
        numbers = rng.integers(self.people.start, self.people.stop, settings.batch).repeat(settings.pictures).tolist()
        views = np.stack([self.see(picture(n, rng, ALL_STYLES), rng, True) for n in numbers])
        self.network.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=settings.autocast):
            found = self.network(to_tensor(views).to(self.device))
        found = found.float()
        likeness, right = margin_loss(found.unflatten(0, (settings.batch, settings.pictures)), settings.scale, settings.margin)
        named = self.head.loss(found, [person(n) for n in numbers])
        norm = optimise(likeness + settings.traits * named, self.optimiser, self.parameters, rate_at(number, settings), clip=5.0)
        self.average.follow(number)
        return {"likeness": likeness.detach(), "right": right, "traits": named.detach(), "gradient": norm, "ceiling": self.ceiling}

    def state(self) -> dict[str, Any]:
        networks = {"network": self.network.state_dict(), "head": self.head.state_dict()}
        return {**networks, "optimiser": self.optimiser.state_dict(), "average": self.average.tensors, "ceiling": self.ceiling}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.head.load_state_dict(state["head"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average.restore(state["average"])
        self.ceiling = state["ceiling"]

    def weights(self) -> Mapping[str, Tensor]:
        return self.average.of("network")

    def metadata(self) -> Mapping[str, str]:
        return {"ceiling": f"{self.ceiling:.4f}"}

    def sheet(self) -> None:
        """No picture: measures how often real renders of unseen people are ranked right; it goes to the log and the weight file."""
        if self.settings.tested:
            network = self.build().to(self.device)
            network.load_state_dict(self.average.of("network"))
            self.ceiling = ceiling(network, self.see, TESTED[: self.settings.tested])


@torch.no_grad()
def embed(network: nn.Module, views: np.ndarray) -> Tensor:
    """Views RGB uint8 [B, H, W, 3] → unit vectors [B, width]."""
    device = next(network.parameters()).device
    return nn.functional.normalize(network.eval()(to_tensor(views).to(device)), dim=1)


def gallery_of(network: nn.Module, see: See, people: Sequence[int]) -> Tensor:
    """Everybody's mean embedding over real renders, unit vectors [people, width]."""
    found = []
    for number in people:
        rng = np.random.default_rng((5, number, 1))
        views = np.stack([see(picture(number, rng), rng, False) for _ in range(GALLERY)])
        found.append(nn.functional.normalize(embed(network, views).mean(dim=0), dim=0))
    return torch.stack(found)


def ceiling(network: nn.Module, see: See, people: Sequence[int], styles: Sequence[str] = STYLES, seed: int = 5) -> float:
    """Share of real renders, one query per style, whose person is ranked first among all by galleries of 12 pictures each."""
    queries, galleries = [], []
    for number in people:
        rng = np.random.default_rng((seed, number))
        queries.append(embed(network, np.stack([see(picture(number, rng, [style]), rng, False) for style in styles])))
        galleries.append(embed(network, np.stack([see(picture(number, rng, styles), rng, False) for _ in range(GALLERY)])))
    return rank_first(torch.stack(queries), torch.stack(galleries))
