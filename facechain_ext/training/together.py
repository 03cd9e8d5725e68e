"""Trains base model and adapter beside one another: part of every batch is learnt with the face of who is in it, part as ever.

Real checkpoints have seen thousands of people whose names their captions gave, and have learnt how one face is told from another; the
demo model's captions name nobody. Here it is shown faces by the adapter itself, so that it learns to paint whoever it is told. Afterwards
it is a checkpoint like any other (export-base), and train-fact goes on with the adapter while it is frozen, as published.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facechain_ext.engine.checkpoints import read_encoder
from facechain_ext.engine.encoder import FaceEncoder
from facechain_ext.errors import BadInput, Interrupted
from facechain_ext.training.arguments import identity_of, option, parse, speak
from facechain_ext.training.base import BaseSettings, BaseTrainee
from facechain_ext.training.checkpoint import CHECKPOINT, given_or_trained
from facechain_ext.training.device import choose_device, optimise, pace_of, rate_at
from facechain_ext.training.encoder import FINISHED as ENCODER
from facechain_ext.training.fact import MAY_CHANGE, FactSettings, FactTrainee, finish
from facechain_ext.training.frozen import networks_of
from facechain_ext.training.latents import open_set
from facechain_ext.training.loop import train
from facechain_ext.training.muon import Several
from facechain_ext.training.subjects import source_of
from facechain_ext.training.team import ALONE, Team, assemble

NAME, SUMMARY = "train-together", "Train the demo model's base and adapter together, faces beside the captions."


@dataclass(frozen=True, kw_only=True)
class TogetherSettings(FactSettings):
    """Settings of both; `batch` counts the pictures that come with a face."""

    rate: float = option(8e-4, "highest learning rate; cosine to a twentieth of it")
    alone: int = option(8, "pictures per step and process that are learnt without the adapter", lowest=1)
    base_rate: float = option(1.0, "rate of UNet and text encoder in multiples of the gates'")
    broad: float = option(50.0, "pictures without the adapter: extra weight of the error of a picture's mean")
    drop_alone: float = option(0.1, "pictures without the adapter: share of captions left out")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data or not self.latents:
            raise BadInput("train-together learns drawn people from latents: give --latents, and leave out --data.")
        if self.distil or self.parallel:
            raise BadInput("--distil and --parallel ask for a base model that stays as it is: leave them to train-fact.")


class TogetherTrainee:
    """A base model's trainee and an adapter's that share one UNet and one text encoder."""

    def __init__(self, settings: TogetherSettings, device: torch.device, encoder: FaceEncoder, folder: Path, team: Team = ALONE) -> None:
        self.settings, self.team = settings, team
        self.base = BaseTrainee(base_settings(settings), device, team)
        networks = replace(networks_of(settings.checkpoint, device), unet=self.base.unet, text_encoder=self.base.text)
        self.fact = FactTrainee(settings, device, networks, encoder, source_of(settings, folder), team)
        for group in self.base.optimiser.param_groups:
            group["share"] = settings.base_rate
        self.optimiser = Several(self.base.optimiser, self.fact.optimiser)
        self.parameters = [*self.base.parameters, *self.fact.parameters]

    def step(self, number: int, rng: np.random.Generator) -> Mapping[str, float | Tensor]:
        settings = self.settings
        alone, said = self.base.loss(number, rng)
        with_faces, told = self.fact.loss(number, rng)
        share = settings.alone / (settings.alone + settings.batch)
        loss = share * alone + (1 - share) * with_faces
        norm = optimise(loss, self.optimiser, self.parameters, rate_at(number, settings), team=self.team)
        self.base.average.follow(number)
        self.fact.average.follow(number)
        return {"alone": said["error"], "means": said["means"], **told, "gradient": norm}

    def state(self) -> dict[str, Any]:
        return {"base": self.base.state(), "fact": self.fact.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.base.restore(state["base"])
        self.fact.restore(state["fact"])

    def weights(self) -> Mapping[str, Tensor]:
        """The base model's, as export-base reads them; the adapter is written when the training ends."""
        return self.base.weights()

    def metadata(self) -> Mapping[str, str]:
        return {}

    def sheet(self) -> np.ndarray:
        """The adapter's sheet, by the averages of both."""
        live = {"unet": self.base.unet, "text": self.base.text}
        kept = {name: {key: value.clone() for key, value in module.state_dict().items()} for name, module in live.items()}
        try:
            for name, module in live.items():
                module.load_state_dict(self.base.average.of(name))
            return self.fact.sheet()
        finally:
            for name, module in live.items():
                module.load_state_dict(kept[name])


def base_settings(settings: TogetherSettings) -> BaseSettings:
    """What the base model's trainee is told. BadInput where the latents cannot be read.

    `coarse` and `drop` are about pictures with a face: train-base has reasons of its own for its.
    """
    names = {one.name for one in fields(BaseSettings)} & {one.name for one in fields(TogetherSettings)}
    same = {name: getattr(settings, name) for name in names - {"begin", "batch", "pictures", "drop", "coarse", "data"}}
    own = {"batch": settings.alone, "drop": settings.drop_alone, "data": settings.latents}
    own["begin"] = str(given_or_trained(settings.checkpoint, "base", CHECKPOINT))
    own["pictures"] = settings.pictures or open_set(Path(settings.latents)).done
    return BaseSettings(**same, **own)


def main(argv: Sequence[str]) -> None:
    """Command line."""
    settings, folder = parse(TogetherSettings, NAME, SUMMARY, argv)
    team = assemble(settings.device)
    device = team.device(choose_device(settings))
    encoder = read_encoder(given_or_trained(settings.encoder, "encoder", ENCODER))
    trainee = TogetherTrainee(settings, device, encoder, folder, team)
    fixed = {key: value for key, value in identity_of(settings).items() if key not in MAY_CHANGE}
    try:
        train(trainee, folder, fixed | team.stated, settings.seed, pace_of(settings), team)
    except Interrupted:
        _finish(trainee, folder, team)
        raise
    _finish(trainee, folder, team)


def _finish(trainee: TogetherTrainee, folder: Path, team: Team) -> None:
    """Write the averaged adapter beside the base model's weights. CannotWrite."""
    if team.first:
        finish(trainee.fact, folder)


if __name__ == "__main__":
    speak()
    main(sys.argv[1:])
