"""Trains the judge. What it reaches on real renders is the ceiling of every likeness figure."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from facechain_ext.demo.judge import EMBEDDING, Judge, view
from facechain_ext.demo.world import Drawing
from facechain_ext.training.arguments import identity_of, parse, speak
from facechain_ext.training.device import choose_device, pace_of
from facechain_ext.training.likeness import LikenessSettings, LikenessTrainee
from facechain_ext.training.loop import train
from facechain_ext.training.people import JUDGED
from facechain_ext.training.recognition import worn

NAME, SUMMARY = "train-judge", "Train the judge that tells drawn people apart."


def seen(drawing: Drawing, rng: np.random.Generator, training: bool) -> np.ndarray:
    """The square of the picture the judge looks at."""
    square = view(drawing.picture)
    return worn(square, rng) if training else square


def trainee(settings: LikenessSettings) -> LikenessTrainee:
    """The judge in training."""
    return LikenessTrainee(settings, choose_device(settings), Judge, EMBEDDING, JUDGED, seen)


def main(argv: Sequence[str]) -> None:
    """Command line."""
    settings, folder = parse(LikenessSettings, NAME, SUMMARY, argv)
    train(trainee(settings), folder, identity_of(settings), settings.seed, pace_of(settings))


if __name__ == "__main__":
    speak()
    main(sys.argv[1:])
