"""Trains the demo world's models one after another, as a recipe says: `train-demo`.

A recipe is a list of stages, each a command of `training.commands` with its options; `{name}` in an option is the folder of an earlier
stage, `{weights}` that of the files which come with the product. A stage with minutes is as many steps as fit into them: its first steps
are taken on trial to see how fast this machine is. What is finished is not done again, and what was interrupted goes on.
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from facechain_ext.demo.model import TRAINED
from facechain_ext.errors import BadInput
from facechain_ext.log import log
from facechain_ext.training.arguments import Limited, option, parse, speak
from facechain_ext.training.checkpoint import prepare, save_note
from facechain_ext.training.loop import LOG

NAME, SUMMARY = "train-demo", "Train the demo world's models one after another, as a recipe says."
RECIPES = Path(__file__).parents[1] / "demo" / "recipes"
NOTE = "recipe.json"
"""Beside the stages' folders: which stages are done, and how many steps the others have."""
TRIAL = 12
"""Steps taken to see how fast a training is; the second half of them counts."""

Value = str | int | float | bool


@dataclass(frozen=True, kw_only=True)
class DemoSettings(Limited):
    """What is trained, and for how long."""

    recipe: str = option("auto", "cpu, gpu, or a recipe's file; auto: gpu where there is CUDA")
    minutes: float = option(0.0, "what the timed stages take together; 0: as the recipe says", lowest=0)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A command with its options. minutes: how long its training may take; 0 where its options say how much it does."""

    name: str
    command: str
    options: Mapping[str, Value] = field(default_factory=dict)
    minutes: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a run of a recipe has behind it. done: names of stages; steps: of the timed stages that were begun."""

    done: tuple[str, ...] = ()
    steps: Mapping[str, int] = field(default_factory=dict)


def read_recipe(path: Path) -> list[Stage]:
    """The stages of a recipe. BadInput where it is none, or names what does not exist."""
    from facechain_ext.training.commands import COMMANDS

    try:
        stages = [Stage(**one) for one in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise BadInput(f"{path} is no recipe ({error}): give a list of stages with name, command, options and minutes.") from error
    before: dict[str, Path] = {"weights": TRAINED}
    for stage in stages:
        if not _can_be_a_folder(stage.name) or not isinstance(stage.options, dict):
            raise BadInput(f"The stage {stage.name!r} of {path} needs a name that can be a folder's, and options by name.")
        if isinstance(stage.minutes, bool) or not isinstance(stage.minutes, (int, float)) or not 0 <= stage.minutes < float("inf"):
            raise BadInput(f"The stage {stage.name!r} of {path} has {stage.minutes!r} minutes: give a number, 0 or more.")
        if not isinstance(stage.command, str) or stage.command not in COMMANDS or stage.command == NAME:
            raise BadInput(f"The stage {stage.name!r} of {path} asks for {stage.command!r}: that is no training.")
        if stage.name in before:
            raise BadInput(f"Two stages of {path} are called {stage.name!r}: give one of them another name.")
        arguments(stage, before)
        before[stage.name] = path.parent / stage.name
    return stages


def _can_be_a_folder(name: object) -> bool:
    """Whether a stage can have a folder of this name, beside the recipe's note."""
    return isinstance(name, str) and name not in ("", ".", "..", NOTE) and "/" not in name and Path(name).name == name


def arguments(stage: Stage, folders: Mapping[str, Path]) -> list[str]:
    """The stage's options as on a command line. BadInput where one names a folder of no earlier stage."""
    found = []
    for key, value in stage.options.items():
        flag = key.replace("_", "-")
        if isinstance(value, bool):
            found.append(f"--{flag}" if value else f"--no-{flag}")
            continue
        try:
            found += [f"--{flag}", str(value).format_map(folders)]
        except (KeyError, ValueError) as error:
            raise BadInput(f"The stage {stage.name!r} has {key} {value!r}: {{name}} must name a stage before it, or weights.") from error
    return found


def cook(stages: Sequence[Stage], folder: Path, minutes: float) -> None:
    """Do every stage in a folder of its own below `folder`. BadInput, Interrupted and whatever a training may raise."""
    prepare(folder)
    done, whole = read_progress(folder), sum(stage.minutes for stage in stages)
    scale = minutes / whole if minutes and whole else 1.0
    folders: dict[str, Path] = {"weights": TRAINED}
    for place, stage in enumerate(stages, 1):
        given, own = arguments(stage, folders), folder / stage.name
        folders[stage.name] = own
        if stage.name in done.done:
            continue
        log.info("Stage %d of %d, %s: %s %s", place, len(stages), stage.name, stage.command, " ".join(given))
        begun = time.monotonic()
        if stage.minutes:
            if stage.name not in done.steps:
                done = Progress(done=done.done, steps={**done.steps, stage.name: steps_within(stage, given, own, stage.minutes * scale)})
                save_note(folder / NOTE, asdict(done))
            given += ["--steps", str(done.steps[stage.name])]
        run(stage.command, [*given, "--folder", str(own)])
        done = Progress(done=(*done.done, stage.name), steps=done.steps)
        save_note(folder / NOTE, asdict(done))
        log.info("Stage %s took %.1f minutes", stage.name, (time.monotonic() - begun) / 60)


def run(command: str, argv: Sequence[str]) -> None:
    """Run a command in this process."""
    from facechain_ext.training.commands import COMMANDS

    COMMANDS[command].run(argv)


def steps_within(stage: Stage, given: Sequence[str], own: Path, minutes: float) -> int:
    """How many steps of a training fit into so many minutes on this machine, by taking a few of them on trial."""
    trial = own.with_name(f"{own.name}.trial")
    shutil.rmtree(trial, ignore_errors=True)
    quiet = ["--log-every", str(TRIAL // 2), "--sheet-every", str(10**9), "--save-seconds", "1e9"]
    run(stage.command, [*given, "--steps", str(TRIAL), *quiet, "--folder", str(trial)])
    with (trial / LOG).open(newline="") as file:
        seconds = float(list(csv.DictReader(file))[-1]["seconds_per_step"])
    shutil.rmtree(trial)
    steps = max(1, int(60 * minutes / max(seconds, 1e-4)))
    log.info("A step of %s takes %.3f seconds: %d of them in %.1f minutes", stage.name, seconds, steps, minutes)
    return steps


def read_progress(folder: Path) -> Progress:
    """How far the recipe is in that folder. BadInput where its note cannot be read."""
    note = folder / NOTE
    if not note.is_file():
        return Progress()
    try:
        said = json.loads(note.read_text())
        return Progress(done=tuple(said["done"]), steps=dict(said["steps"]))
    except (ValueError, TypeError, KeyError) as error:
        raise BadInput(f"{note} cannot be read: move it away to train everything again, or choose another --folder.") from error


def path_of(recipe: str) -> Path:
    """The file of a recipe: one that comes with the product, or any other."""
    if recipe == "auto":
        import torch

        recipe = "gpu" if torch.cuda.is_available() else "cpu"
    return RECIPES / f"{recipe}.json" if recipe in ("cpu", "gpu") else Path(recipe)


def main(argv: Sequence[str]) -> None:
    """Command line."""
    settings, folder = parse(DemoSettings, NAME, SUMMARY, argv)
    cook(read_recipe(path_of(settings.recipe)), folder, settings.minutes)


if __name__ == "__main__":
    speak()
    main(sys.argv[1:])
