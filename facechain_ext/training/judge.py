"""Trains the judge, and measures the ceiling of every likeness figure: how often it is right about real renders."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facechain_ext.demo.judge import EMBEDDING, Judge, embed, view
from facechain_ext.demo.world import person
from facechain_ext.demo.world.traits import STYLES
from facechain_ext.training.arguments import Common, identity_of, option, parse, speak
from facechain_ext.training.average import Average
from facechain_ext.training.device import choose_device, optimise, pace_of, rate_at
from facechain_ext.training.loop import train
from facechain_ext.training.people import ALL_STYLES, JUDGED, TESTED, picture
from facechain_ext.training.recognition import TraitHead, margin_loss, rank_first, worn
from facechain_ext.training.vae import to_tensor

NAME, SUMMARY = "train-judge", "Train the judge that tells drawn people apart."
GALLERY = 12


@dataclass(frozen=True, kw_only=True)
class JudgeSettings(Common):
    """Settings of the judge's training; `batch` counts people."""

    pictures: int = option(4, "pictures of each person in a batch")
    scale: float = option(20.0, "scale of the cosines")
    margin: float = option(0.15, "margin between people")
    traits: float = option(0.5, "weight of reading the traits by name")
    tested: int = option(100, "people in the test of every sample sheet; 0 for none")


class JudgeTrainee:
    """The judge, its trait head, optimiser and average."""

    def __init__(self, settings: JudgeSettings, device: torch.device) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.device = settings, device
        self.judge, self.head = Judge().to(device), TraitHead(EMBEDDING).to(device)
        self.parameters = [*self.judge.parameters(), *self.head.parameters()]
        self.optimiser = torch.optim.AdamW(self.parameters, lr=settings.rate, weight_decay=0.02)
        self.average = Average({"judge": self.judge}, settings.decay)
        self.ceiling = 0.0

    def step(self, number: int, rng: np.random.Generator) -> Mapping[str, float]:
        settings = self.settings
        numbers = rng.integers(JUDGED.start, JUDGED.stop, settings.batch)
        views = [worn(view(picture(int(n), rng, ALL_STYLES).picture), rng) for n in numbers for _ in range(settings.pictures)]
        self.judge.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=settings.autocast):
            found = self.judge(to_tensor(np.stack(views)).to(self.device))
        found = found.float()
        likeness, right = margin_loss(found.unflatten(0, (settings.batch, settings.pictures)), settings.scale, settings.margin)
        named = self.head.loss(found, [person(int(n)) for n in numbers for _ in range(settings.pictures)])
        norm = optimise(likeness + settings.traits * named, self.optimiser, self.parameters, rate_at(number, settings), clip=5.0)
        self.average.follow(number)
        return {"likeness": likeness.item(), "right": right.item(), "traits": named.item(), "gradient": norm, "ceiling": self.ceiling}

    def state(self) -> dict[str, Any]:
        networks = {"judge": self.judge.state_dict(), "head": self.head.state_dict()}
        return {**networks, "optimiser": self.optimiser.state_dict(), "average": self.average.tensors, "ceiling": self.ceiling}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.judge.load_state_dict(state["judge"])
        self.head.load_state_dict(state["head"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average.restore(state["average"])
        self.ceiling = state["ceiling"]

    def weights(self) -> Mapping[str, Tensor]:
        return self.average.of("judge")

    def metadata(self) -> Mapping[str, str]:
        return {"ceiling": f"{self.ceiling:.4f}"}

    def sheet(self) -> None:
        """No picture: measures the ceiling, which goes to the log and the weight file."""
        if self.settings.tested:
            judge = Judge().to(self.device)
            judge.load_state_dict(self.average.of("judge"))
            self.ceiling = ceiling(judge, TESTED[: self.settings.tested])


def ceiling(judge: Judge, people: Sequence[int], styles: Sequence[str] = STYLES, seed: int = 5) -> float:
    """Share of real renders, one query per style, whose person is ranked first among all by galleries of 12 pictures each."""
    queries, galleries = [], []
    for number in people:
        rng = np.random.default_rng((seed, number))
        queries.append(embed(judge, np.stack([view(picture(number, rng, [style]).picture) for style in styles])))
        galleries.append(embed(judge, np.stack([view(picture(number, rng, styles).picture) for _ in range(GALLERY)])))
    return rank_first(torch.stack(queries), torch.stack(galleries))


def main(argv: Sequence[str]) -> None:
    """Command line."""
    settings, folder = parse(JudgeSettings, NAME, SUMMARY, argv)
    trainee = JudgeTrainee(settings, choose_device(settings))
    train(trainee, folder, identity_of(settings), settings.seed, pace_of(settings))


if __name__ == "__main__":
    speak()
    main(sys.argv[1:])
