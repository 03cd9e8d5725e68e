"""Trains the reader of the demo report: style, clothes, hat and background of drawn pictures."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facechain_ext.demo.reader import ATTRIBUTES, Reader, labels_of, shrunk
from facechain_ext.demo.world import Drawing
from facechain_ext.training.arguments import Common, identity_of, option, parse, speak
from facechain_ext.training.average import Average
from facechain_ext.training.device import choose_device, fused, optimise, pace_of, rate_at
from facechain_ext.training.frozen import finish
from facechain_ext.training.loop import train
from facechain_ext.training.people import ALL_STYLES, JUDGED, TESTED, anyone, picture
from facechain_ext.training.pixels import to_tensor
from facechain_ext.training.recognition import worn

NAME, SUMMARY = "train-reader", "Train the reader that tells what a drawn picture shows."
FINISHED = "reader.safetensors"


@dataclass(frozen=True, kw_only=True)
class ReaderSettings(Common):
    """Settings of the reader's training."""

    tested: int = option(200, "unseen pictures in the test of every sample sheet; 0 for none", lowest=0)


class ReaderTrainee:
    """The reader, its optimiser and its average."""

    def __init__(self, settings: ReaderSettings, device: torch.device) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.device = settings, device
        self.network = Reader().to(device).train()
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=settings.rate, weight_decay=0.02, fused=fused(device))
        self.average = Average({"reader": self.network}, settings.decay)
        self.ceiling = 0.0

    def step(self, number: int, rng: np.random.Generator) -> Mapping[str, float | Tensor]:
        drawn = [picture(anyone(JUDGED, rng), rng, ALL_STYLES) for _ in range(self.settings.batch)]
        seen = to_tensor(np.stack([shrunk(worn(one.picture, rng)) for one in drawn])).to(self.device)
        wanted = torch.tensor([answers(one) for one in drawn], device=self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.autocast):
            found = self.network(seen)
        losses = [F.cross_entropy(logits.float(), wanted[:, place]) for place, logits in enumerate(found)]
        loss = torch.stack(losses).mean()
        norm = optimise(loss, self.optimiser, [*self.network.parameters()], rate_at(number, self.settings), clip=5.0)
        self.average.follow(number)
        named = {name: value.detach() for name, value in zip(ATTRIBUTES, losses, strict=True)}
        return {**named, "gradient": norm, "ceiling": self.ceiling}

    def state(self) -> dict[str, Any]:
        trained = {"reader": self.network.state_dict(), "optimiser": self.optimiser.state_dict(), "average": self.average.tensors}
        return {**trained, "ceiling": self.ceiling}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["reader"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average.restore(state["average"])
        self.ceiling = state["ceiling"]

    def weights(self) -> Mapping[str, Tensor]:
        return self.average.of("reader")

    def metadata(self) -> Mapping[str, str]:
        return {"ceiling": f"{self.ceiling:.4f}"}

    def sheet(self) -> None:
        """No picture: measures the share of right answers on unseen people's pictures."""
        if self.settings.tested:
            network = Reader().to(self.device)
            network.load_state_dict(self.average.of("reader"))
            self.ceiling = right(network, unseen(self.settings.tested))


def answers(drawing: Drawing) -> tuple[int, ...]:
    """The right answers of a drawing."""
    return labels_of(drawing.scene, drawing.people[0].appearance)


def unseen(count: int) -> list[Drawing]:
    """Pictures of people nobody learnt from, in the styles of the base model."""
    return [picture(TESTED[place % len(TESTED)], np.random.default_rng((9, place))) for place in range(count)]


@torch.no_grad()
def read(network: nn.Module, pictures: Sequence[np.ndarray]) -> np.ndarray:
    """The likeliest answers about pictures RGB uint8 [H, W, 3], [B, attributes]."""
    device = next(network.parameters()).device
    found = network.eval()(to_tensor(np.stack([shrunk(one) for one in pictures])).to(device))
    return torch.stack([logits.argmax(dim=1) for logits in found], dim=1).cpu().numpy()


def right(network: nn.Module, drawn: Sequence[Drawing]) -> float:
    """Share of right answers."""
    return float((read(network, [one.picture for one in drawn]) == np.array([answers(one) for one in drawn])).mean())


def main(argv: Sequence[str]) -> None:
    """Command line."""
    settings, folder = parse(ReaderSettings, NAME, SUMMARY, argv)
    trainee = ReaderTrainee(settings, choose_device(settings))
    train(trainee, folder, identity_of(settings), settings.seed, pace_of(settings))
    finish(trainee, folder / FINISHED)


if __name__ == "__main__":
    speak()
    main(sys.argv[1:])
