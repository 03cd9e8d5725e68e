"""The training loop every trainer shares: logs, sample sheets, checkpoints with exact restart.

All randomness of step n comes from (seed, n), so a run that was stopped and taken up again is bit-equal to one that never stopped;
the step is also the data's cursor.
"""

from __future__ import annotations

import csv
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from facechain_ext.errors import Interrupted
from facechain_ext.log import log
from facechain_ext.training.checkpoint import WEIGHTS, load_state, prepare, save_state, save_weights
from facechain_ext.training.team import ALONE, Team

LOG = "log.csv"


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long a run is and how often it says and keeps something; none of this changes the result of a step but `steps` (the schedule)."""

    steps: int
    log_every: int = 50
    sheet_every: int = 500
    save_seconds: float = 180.0


class Trainee(Protocol):
    """What is trained."""

    def step(self, number: int, rng: np.random.Generator) -> Mapping[str, float | Tensor]:
        """One optimiser step; returns what to log, numbers or tensors [] (nobody waits for a GPU to tell them before a row is written).

        rng: the step's own randomness; torch's is seeded too.
        """
        ...

    def state(self) -> dict[str, Any]:
        """Everything that changes: networks, average, optimiser."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state."""
        ...

    def weights(self) -> Mapping[str, Tensor]:
        """What the training is for: the averaged weights."""
        ...

    def metadata(self) -> Mapping[str, str]:
        """Sizes that cannot be read off the weights, for the weight file."""
        ...

    def sheet(self) -> np.ndarray | None:
        """A picture (RGB uint8) that shows how good it is by now."""
        ...


def train(trainee: Trainee, folder: Path, settings: Mapping[str, Any], seed: int, pace: Pace, team: Team = ALONE) -> None:
    """Train until `pace.steps` are done, going on where an earlier run in `folder` stopped. SIGTERM and Ctrl-C save first.

    In a team every process takes the same steps with randomness of its own; the first one alone writes.
    """
    prepare(folder)
    kept = load_state(folder, settings)
    done = 0
    if kept:
        done, state = kept
        trainee.restore(state)
        log.info("Going on in %s after step %d of %d.", folder, done, pace.steps)
    team.wait()  # nobody writes before everybody has read
    with _stoppable() as stop, _Curve(folder, done) if team.first else nullcontext() as curve:
        done = _steps(trainee, folder, settings, seed, pace, done, curve, stop, team)
    if team.first:
        _keep(trainee, folder, settings, done)
    if done < pace.steps:
        raise Interrupted(f"Stopped after step {done} of {pace.steps}; the same command goes on from there.")


def _steps(
    trainee: Trainee, folder: Path, settings: Mapping[str, Any], seed: int, pace: Pace, done: int, curve: _Curve | None, stop: list[int],
    team: Team,
) -> int:  # fmt: skip
    saved = time.monotonic()
    while done < pace.steps and not team.any(bool(stop)):
        rng = np.random.default_rng((seed, done, *team.own))
        torch.manual_seed(int(rng.integers(1 << 62)))
        values = trainee.step(done, rng)
        done += 1
        if curve is None:
            continue
        curve.add(values)
        if done % pace.log_every == 0 or done == pace.steps:
            curve.write(done)
        shown = done % pace.sheet_every == 0 or done == pace.steps
        if shown:
            _keep(trainee, folder, settings, done)  # whatever becomes of the sheet, what was learnt is there
            _write_sheet(trainee, folder, done)
        # What a sheet measures is part of the state too; the last step's is kept by whoever called.
        if done < pace.steps and (shown or time.monotonic() - saved > pace.save_seconds):
            _keep(trainee, folder, settings, done)
            saved = time.monotonic()
    return done


def _keep(trainee: Trainee, folder: Path, settings: Mapping[str, Any], done: int) -> None:
    save_state(folder, done, settings, trainee.state())
    save_weights(folder / WEIGHTS, trainee.weights(), {**trainee.metadata(), "step": str(done)})


def _write_sheet(trainee: Trainee, folder: Path, done: int) -> None:
    sheet = trainee.sheet()
    if sheet is None:
        return
    from PIL import Image

    (folder / "samples").mkdir(exist_ok=True)
    Image.fromarray(sheet).save(folder / "samples" / f"{done:07d}.png")


@contextmanager
def _stoppable() -> Iterator[list[int]]:
    """SIGTERM and SIGINT fill the list instead of ending the process; the handlers before are put back."""
    stop: list[int] = []
    before = {number: signal.signal(number, lambda n, _: stop.append(n)) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Board(Protocol):
    """What is used of TensorBoard's SummaryWriter."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None: ...
    def close(self) -> None: ...


def open_board(folder: Path, done: int) -> Board | None:
    """TensorBoard's writer for folder/tensorboard where the package is installed, else None; its points after step `done` are dropped."""
    if find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder / "tensorboard"), purge_step=done + 1)


class _Curve:
    """The CSV log, and TensorBoard's where that is installed: means since the last row. What is after the step a run goes on from goes.

    A training that goes on with a later version may log more than it began with: then the file gets those columns too.
    """

    def __init__(self, folder: Path, done: int) -> None:
        path, self.board = folder / LOG, open_board(folder, done)
        self.path, self.count, self.since = path, 0, time.monotonic()
        self.sums: dict[str, float | Tensor] = {}
        kept = [row for row in _read_rows(path) if int(row["step"]) <= done]
        self.columns = list(kept[0]) if kept else []
        _write_rows(path, self.columns, kept)

    def __enter__(self) -> _Curve:
        self.file = self.path.open("a", newline="")
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        if self.board is not None:
            self.board.close()

    def add(self, values: Mapping[str, float | Tensor]) -> None:
        """Values of one step."""
        self.count += 1
        for key, value in values.items():
            self.sums[key] = self.sums.get(key, 0.0) + (value if isinstance(value, Tensor) and value.is_cuda else float(value))

    def write(self, step: int) -> None:
        """A row: means and the seconds a step took."""
        now = time.monotonic()
        row = {"step": step, **{key: round(float(value) / self.count, 6) for key, value in self.sums.items()}}
        row["seconds_per_step"] = round((now - self.since) / self.count, 4)
        self._widen(row)
        csv.DictWriter(self.file, self.columns).writerow(row)
        self.file.flush()
        if self.board is not None:
            for key in row.keys() - {"step"}:
                self.board.add_scalar(key, row[key], step)
        log.info("%s", "  ".join(f"{key} {value}" for key, value in row.items()))
        self.sums, self.count, self.since = {}, 0, now

    def _widen(self, row: Mapping[str, Any]) -> None:
        """Give the file the columns of a row that it lacks."""
        more = [key for key in row if key not in self.columns]
        if not more:
            return
        self.columns += more
        self.file.close()
        _write_rows(self.path, self.columns, _read_rows(self.path))
        self.file = self.path.open("a", newline="")


def _read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a log; without what is behind the last column, and without rows that do not tell their step."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        rows = [{key: value or "" for key, value in row.items() if key is not None} for row in csv.DictReader(file)]
    return [row for row in rows if row.get("step", "").isdecimal()]


def _write_rows(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> None:
    """Write a log anew, whole or not at all; where there are no columns it is empty."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", newline="") as file:
        if columns:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
    os.replace(partial, path)
