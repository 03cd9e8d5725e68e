"""A trainer's command line, derived from its settings: a frozen dataclass whose fields are the options."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from facechain_ext.errors import BadInput
from facechain_ext.training.checkpoint import ADAPTER, CHECKPOINT, ENCODER, default_folder, trained

Settings = TypeVar("Settings")
PACE = {"steps", "log_every", "sheet_every", "save_seconds", "device", "threads", "narrow", "last"}


def option(
    default: Any, label: str, choices: Sequence[str] = (), *, lowest: float | None = None, highest: float | None = None, multiple: int = 1,
    source: tuple[str, str] | None = None,
) -> Any:  # fmt: skip
    """A field of a settings dataclass with the words that explain it; a number may have a lowest and a highest value, and a divisor.

    source: the training, and its file, that an empty value stands for (`checkpoint.trained`). The command line fills it in: a training that
    goes on does so with the file it began with, or is refused.
    """
    limits = {"lowest": lowest, "highest": highest, "multiple": multiple}
    return field(default=default, metadata={"label": label, "choices": tuple(choices), "source": source, **limits})


def checkpoint_option() -> Any:
    """The checkpoint to train on."""
    label = "SD1.5 checkpoint, one file; empty: the demo model's, as export-base wrote it here, else the product's"
    return option("", label, source=("base", CHECKPOINT))


def encoder_option() -> Any:
    """The face encoder that looks."""
    return option("", "face encoder; empty: the one train-encoder trained here, else the product's", source=("encoder", ENCODER))


def adapter_option(words: str) -> Any:
    """An adapter, and what for."""
    return option("", f"{words}; empty: the one train-fact trained here, else the product's", source=("fact", ADAPTER))


@dataclass(frozen=True, kw_only=True)
class Limited:
    """Settings whose numbers are within the limits of their options. BadInput names the first that is not."""

    def __post_init__(self) -> None:
        for one in fields(self):
            _check_limits(f"--{one.name.replace('_', '-')}", getattr(self, one.name), one.metadata)


def _check_limits(flag: str, value: Any, limits: Mapping[str, Any]) -> None:
    lowest, highest, multiple = (limits.get(name) for name in ("lowest", "highest", "multiple"))
    if lowest is not None and not value >= lowest:  # so that what is not a number is refused too
        raise BadInput(f"{flag} is {value}: it must be at least {lowest}.")
    if highest is not None and not value <= highest:
        raise BadInput(f"{flag} is {value}: it must be at most {highest}.")
    if multiple and multiple > 1 and value % multiple:
        raise BadInput(f"{flag} is {value}: it must be a multiple of {multiple}.")


@dataclass(frozen=True, kw_only=True)
class Common(Limited):
    """Options every trainer has."""

    steps: int = option(1000, "how many optimiser steps in all", lowest=1)
    batch: int = option(32, "pictures per step", lowest=1)
    rate: float = option(1e-3, "highest learning rate; cosine to a twentieth of it")
    warmup: int = option(200, "steps until the learning rate is reached", lowest=0)
    decay: float = option(0.999, "decay of the moving average of the weights")
    seed: int = option(0, "all randomness comes from it", lowest=0)
    autocast: bool = option(False, "compute in bfloat16 where torch deems it safe")
    device: str = option("auto", "auto, cpu, cuda, cuda:1, mps")
    threads: int = option(0, "torch threads; 0 leaves torch's choice", lowest=0)
    narrow: bool = option(False, "CPU: attention of narrow heads by a kernel compiled here (AVX2 or AVX-512, g++): faster small UNets")
    last: bool = option(False, "keep the UNet's channels last in memory: faster in float32 on some CPUs, slower in bfloat16 on others")
    log_every: int = option(50, "steps per row of log.csv", lowest=1)
    sheet_every: int = option(500, "steps per sample sheet", lowest=1)
    save_seconds: float = option(180.0, "seconds between checkpoints")


def parse(kind: type[Settings], name: str, summary: str, argv: Sequence[str]) -> tuple[Settings, Path]:
    """Settings and the working folder from the command line."""
    parser = argparse.ArgumentParser(prog=f"run.py {name}", description=summary, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--folder", type=Path, default=default_folder(name.removeprefix("train-")), help="checkpoints, log and samples")
    for one in fields(kind):
        _add(parser, one)
    given = vars(parser.parse_args(argv))
    folder = given.pop("folder")
    empty = {one.name: one.metadata["source"] for one in fields(kind) if one.metadata["source"] and not given[one.name]}
    return kind(**given | {name: str(trained(*source)) for name, source in empty.items()}), folder


def _add(parser: argparse.ArgumentParser, one: Any) -> None:
    flag, words = f"--{one.name.replace('_', '-')}", one.metadata["label"]
    if isinstance(one.default, bool):
        parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=one.default, help=words)
    else:
        choices = one.metadata["choices"] or None
        parser.add_argument(flag, type=type(one.default), default=one.default, choices=choices, help=words)


def identity_of(settings: Any) -> dict[str, Any]:
    """The settings that must stay the same when a training goes on; `steps` shapes the schedule but may be raised."""
    return {key: value for key, value in asdict(settings).items() if key not in PACE}


def speak() -> None:
    """Let the trainers' log lines appear when they run as a program."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
