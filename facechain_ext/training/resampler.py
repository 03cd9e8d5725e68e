"""Lessons for a resampler: its face tokens must tell whose face it is, said plainly enough for a linear map to read.

The error of the noise teaches a resampler colours and outlines, and little else: what an eye is like moves that error by nothing that is
heard beside its noise. Measured (demo/README.md), a linear map read skin and hair off the tokens, and of eyes, brows, noses nothing.
So it is taught before any gate listens, and `train-fact --resampler 0` leaves it as it is.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facechain_ext.demo.world import person
from facechain_ext.engine.checkpoints import adapter_tensors, read_adapter, read_encoder, write_adapter
from facechain_ext.engine.encoder import FaceEncoder
from facechain_ext.engine.identity import to_input
from facechain_ext.errors import BadInput
from facechain_ext.log import log
from facechain_ext.training.arguments import Common, adapter_option, encoder_option, identity_of, option, parse, speak
from facechain_ext.training.average import Average
from facechain_ext.training.checkpoint import given_or_trained, save_array
from facechain_ext.training.device import choose_device, fused, optimise, pace_of, rate_at, send
from facechain_ext.training.drawn import DrawnSet, check_alone, open_drawn
from facechain_ext.training.encoder import FINISHED as ENCODER
from facechain_ext.training.loop import train
from facechain_ext.training.muon import MuonAndAdamW
from facechain_ext.training.people import PAINTED
from facechain_ext.training.recognition import TraitHead

NAME, SUMMARY = "train-resampler", "Teach an adapter's resampler to tell drawn people apart, before train-fact."
FINISHED = "adapter.safetensors"
AHEAD = 64
"""Faces the encoder looks at together."""
SCALE = 16.0
"""Of the cosines in the softmax over all people."""


class Lessons(nn.Module):
    """Linear maps from a person's face tokens [B, T, context] to their traits by name and to their embedding among everybody's."""

    def __init__(self, width: int, people: Tensor) -> None:
        """width: numbers in all tokens of a face; people: everybody's mean embedding, unit vectors [P, E]."""
        super().__init__()
        self.traits, self.embedding = TraitHead(width), nn.Linear(width, people.shape[1])
        self.people: Tensor
        self.register_buffer("people", people, persistent=False)

    def loss(self, tokens: Tensor, who: np.ndarray) -> tuple[Tensor, Tensor]:
        """Mean of `errors`; share of tokens that are nearest to their own person."""
        errors, right = self.errors(tokens, who)
        return errors.mean(), right.float().mean()

    def errors(self, tokens: Tensor, who: np.ndarray) -> tuple[Tensor, Tensor]:
        """Error of the traits and of whose they are [B], and whether they are nearest to their own [B]; who: rows of `people` [B]."""
        flat = tokens.flatten(1)
        cosines = F.normalize(self.embedding(flat), dim=1) @ self.people.T
        wanted = send(who.astype(np.int64), flat.device)
        named = self.traits.errors(flat, [person(PAINTED.start + int(one)) for one in who])
        return named + 0.2 * F.cross_entropy(SCALE * cosines, wanted, reduction="none"), cosines.argmax(dim=1) == wanted


@torch.no_grad()
def look_ahead(encoder: FaceEncoder, drawn: DrawnSet, *, autocast: bool = False) -> np.ndarray:
    """The encoder's tokens of every face of a set of single people, float16 [N, tokens, dim]; they are kept beside the set. CannotWrite.

    autocast: in bfloat16, where a CPU has it in a quarter of the time, and by 0.3 % off.
    """
    faces, device = drawn.faces[: drawn.done, 0], encoder.pos_embed.device
    shape = (len(faces), encoder.sizes.tokens, encoder.sizes.dim)
    target = drawn.folder / f"seen-{encoder.fingerprint[:12]}{'-bfloat16' if autocast else ''}.npy"
    if encoder.fingerprint and target.is_file() and (kept := np.load(target, mmap_mode="r")).shape == shape:
        return kept
    found = np.empty(shape, np.float16)
    for first in range(0, len(faces), AHEAD):
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            tokens = encoder(to_input(send(faces[first : first + AHEAD], device)))
        found[first : first + AHEAD] = tokens.float().cpu().numpy()
        if first // AHEAD % 100 == 99:
            log.info("The encoder has seen %d of %d faces", first + AHEAD, len(faces))
    if encoder.fingerprint:
        save_array(target, found)
    return found


@torch.no_grad()
def means_of(encoder: FaceEncoder, tokens: np.ndarray, who: np.ndarray, batch: int = 256) -> Tensor:
    """Everybody's mean embedding over their faces' tokens [N, T, dim], unit vectors [P, E]; who: rows of the result [N]."""
    device = encoder.pos_embed.device
    found = []
    for first in range(0, len(tokens), batch):
        found.append(F.normalize(encoder.embedding(send(tokens[first : first + batch].astype(np.float32), device)), dim=1))
    total = torch.zeros(int(who.max()) + 1, found[0].shape[1], device=device)
    total.index_add_(0, send(who.astype(np.int64), device), torch.cat(found))
    return F.normalize(total, dim=1)


def whose(drawn: DrawnSet) -> np.ndarray:
    """Of every face of a set of single people, whose it is, from 0 [N]. BadInput where its pictures show several."""
    check_alone(drawn)
    return drawn.who[: drawn.done, 0] - PAINTED.start


@dataclass(frozen=True, kw_only=True)
class ResamplerSettings(Common):
    """Settings of a resampler's lessons."""

    batch: int = option(64, "faces per step", lowest=1)
    begin: str = adapter_option("adapter whose resampler is taught, its gates stay")
    encoder: str = encoder_option()
    drawn: str = option("", "folder of draw-people with single people")
    muon: float = option(0.7, "size of Muon's steps in multiples of the rate (AdamW's are 0.2) for the resampler's matrices")
    anchor: float = option(0.1, "weight of staying near the tokens it said before, to which the gates listen")
    tested: int = option(200, "people kept out of the lessons, for the test at every sample sheet; 0: none", lowest=0)


class ResamplerTrainee:
    """A resampler and its lessons."""

    def __init__(self, settings: ResamplerSettings, device: torch.device) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.device = settings, device
        if not settings.drawn:
            raise BadInput("A resampler is taught by drawn people: give --drawn.")
        drawn = open_drawn(Path(settings.drawn))
        self.whose = whose(drawn)
        encoder = read_encoder(given_or_trained(settings.encoder, "encoder", ENCODER)).to(device)
        self.kept = look_ahead(encoder, drawn, autocast=settings.autocast)
        self.learnt = int((self.whose < self.whose.max() + 1 - settings.tested).sum())
        if not self.learnt:
            raise BadInput(f"{settings.drawn} has too few people to keep {settings.tested} for the test: draw more, or test with fewer.")
        self.adapter = read_adapter(given_or_trained(settings.begin, "fact", FINISHED)).to(device)
        self.before = copy.deepcopy(self.adapter.resampler).requires_grad_(False)
        self.resampler = self.adapter.resampler.requires_grad_(True).train()
        width = self.adapter.sizes.resampler.queries * self.adapter.sizes.resampler.out_dim
        self.lessons = Lessons(width, means_of(encoder, self.kept, self.whose)).to(device)
        self.parameters = [*self.resampler.parameters(), *self.lessons.parameters()]
        kinds: dict[bool, list[nn.Parameter]] = {True: [], False: [*self.lessons.parameters()]}
        for one in self.resampler.parameters():
            kinds[one.ndim == 2].append(one)
        groups = {matrices: [{"params": found, "weight_decay": 0.01}] for matrices, found in kinds.items()}
        self.optimiser = MuonAndAdamW(groups[True], groups[False], settings.rate, settings.muon, fused(device), not settings.autocast)
        self.average = Average({"resampler": self.resampler}, settings.decay)
        self.unseen = 0.0

    def _faces(self, rows: np.ndarray) -> Tensor:
        return send(self.kept[rows].astype(np.float32), self.device)

    def step(self, number: int, rng: np.random.Generator) -> Mapping[str, float | Tensor]:
        rows = np.sort(rng.integers(0, self.learnt, self.settings.batch))
        faces = self._faces(rows)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.autocast):
            tokens = self.resampler(faces).float()
            with torch.no_grad():
                before = self.before(faces).float()
        told, right = self.lessons.loss(tokens, self.whose[rows])
        moved = F.mse_loss(tokens, before)
        norm = optimise(told + self.settings.anchor * moved, self.optimiser, self.parameters, rate_at(number, self.settings), clip=5.0)
        self.average.follow(number)
        return {"told": told.detach(), "right": right, "moved": moved.detach(), "gradient": norm, "unseen": self.unseen}

    def state(self) -> dict[str, Any]:
        taught = {"resampler": self.resampler.state_dict(), "lessons": self.lessons.state_dict(), "unseen": self.unseen}
        return {**taught, "optimiser": self.optimiser.state_dict(), "average": self.average.tensors}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.unseen = state["unseen"]
        self.resampler.load_state_dict(state["resampler"])
        self.lessons.load_state_dict(state["lessons"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average.restore(state["average"])

    def weights(self) -> Mapping[str, Tensor]:
        return adapter_tensors(self.taught())

    def taught(self) -> Any:
        """The adapter with the averaged resampler."""
        adapter = copy.deepcopy(self.adapter)
        adapter.resampler.load_state_dict(self.average.of("resampler"))
        return adapter.eval().requires_grad_(False)

    def metadata(self) -> Mapping[str, str]:
        return {"resampler_heads": str(self.adapter.sizes.resampler.heads)}

    @torch.no_grad()
    def sheet(self) -> None:
        """No picture: of people kept out, how many tokens of a face are nearest to their own embedding among everybody's."""
        if not self.settings.tested:
            return
        rows, resampler = np.arange(self.learnt, len(self.kept), 4), self.taught().resampler
        self.unseen = float(self.lessons.loss(resampler(self._faces(rows)), self.whose[rows])[1])


def main(argv: Sequence[str]) -> None:
    """Command line."""
    settings, folder = parse(ResamplerSettings, NAME, SUMMARY, argv)
    trainee = ResamplerTrainee(settings, choose_device(settings))
    train(trainee, folder, identity_of(settings), settings.seed, pace_of(settings))
    write_adapter(trainee.taught(), folder / FINISHED, trainee.metadata())


if __name__ == "__main__":
    speak()
    main(sys.argv[1:])
