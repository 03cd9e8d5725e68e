"""Drawn people kept on disk: drawn once by all cores, read by every training that would wait for pencils otherwise.

A set is a folder of arrays, a row per picture: pictures, heads, faces, joints, tokens, who and styles, and set.json (how many are done).
Row i depends on (seed, people, i) alone, so an interrupted set is simply continued. In a set of single people rows go by person.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facechain_ext.demo.world import Drawing
from facechain_ext.demo.world.traits import STYLES
from facechain_ext.errors import BadInput, CannotWrite
from facechain_ext.log import log
from facechain_ext.training.arguments import Limited, option, parse, speak
from facechain_ext.training.checkpoint import open_arrays, prepare, read_note, save_note
from facechain_ext.training.encoder import head_crop
from facechain_ext.training.people import ALL_STYLES, MOST, PAINTED, pair_picture, picture
from facechain_ext.training.pixels import CELL
from facechain_ext.training.tokens import LENGTH, tokens_of
from facechain_ext.vision.align import SIZE
from facechain_ext.vision.skeleton import POINTS

NAME, SUMMARY = "draw-people", "Draw people ahead of the trainings, with all cores."
HEIGHT = 128
CHUNK, NOTED = 128, 40
"""Rows a process draws at once, and after how many such chunks it is noted how far the set is."""
ARRAYS = ("pictures", "heads", "faces", "joints", "tokens", "who", "styles")
NOTE = "set.json"


@dataclass(frozen=True, kw_only=True)
class DrawnSettings(Limited):
    """What is drawn, and by how many processes."""

    identities: int = option(10_000, "how many people", lowest=1, highest=len(PAINTED))
    each: int = option(8, "pictures of each; in pictures of several people: how many times as many pictures as people", lowest=1)
    people: int = option(1, "people in a picture, side by side", lowest=1, highest=MOST)
    styles: str = option("", f"drawing styles, joined by commas, of {' '.join(ALL_STYLES)}; empty: those of the base model")
    seed: int = option(0, "all randomness comes from it", lowest=0)
    workers: int = option(0, "processes; 0: one for each core, 1: none but this", lowest=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.people > self.identities:
            raise BadInput(f"A picture of {self.people} needs as many people, and --identities is {self.identities}: give more.")
        unknown = [name for name in self.named if name not in ALL_STYLES]
        if unknown:
            raise BadInput(f"There is no drawing style {unknown[0]!r}: choose of {', '.join(ALL_STYLES)}.")

    @property
    def named(self) -> tuple[str, ...]:
        """The styles."""
        return tuple(part.strip() for part in self.styles.split(",")) if self.styles else STYLES


@dataclass(frozen=True, kw_only=True)
class DrawnSet:
    """An open set; arrays are memory-mapped, of which the first `done` rows are filled.

    pictures RGB uint8 [N, H, W, 3]; heads: share of head in every latent's cell, uint8 of 255 [N, H/8, W/8]; faces: of everybody, aligned,
    before black, as inexact as a detector's, uint8 [N, P, 112, 112, 3]; joints of everybody, float32 [N, P, 18, 2], not a number where
    unseen; tokens uint16 [N, 77]; who: numbers of people, int32 [N, P]; styles: places in ALL_STYLES, uint8 [N].
    """

    folder: Path
    done: int
    identities: int
    each: int
    people: int
    named: tuple[str, ...]
    pictures: np.ndarray
    heads: np.ndarray
    faces: np.ndarray
    joints: np.ndarray
    tokens: np.ndarray
    who: np.ndarray
    styles: np.ndarray

    def rows_of(self, person: int) -> range:
        """The rows of a person in a set of single people."""
        first = (person - PAINTED.start) * self.each
        return range(first, min(first + self.each, self.done))

    def rows_in(self, style: str) -> np.ndarray:
        """The rows in a drawing style. BadInput where there are none."""
        rows = np.flatnonzero(self.styles[: self.done] == ALL_STYLES.index(style))
        if not len(rows):
            raise BadInput(f"{self.folder} has no pictures in the style {style}: draw them with `draw-people --styles`.")
        return rows

    def bodies(self, row: int) -> list[list[tuple[float, float] | None]]:
        """Everybody's joints in a picture, as vision.skeleton draws them."""
        return [[None if np.isnan(x) else (float(x), float(y)) for x, y in one] for one in self.joints[row]]


def open_drawn(folder: Path) -> DrawnSet:
    """Open a set for reading. BadInput where there is none, or a broken one."""
    note = folder / NOTE
    if not note.is_file():
        raise BadInput(f"There are no drawn people in {folder}: make them with `draw-people` first.")
    facts = ("identities", "each", "people", "styles", "seed")
    said = read_note(note, ("done", *facts))
    arrays = open_arrays(folder, ARRAYS, said["done"])
    kept = DrawnSettings(**{key: said[key] for key in facts})
    return DrawnSet(
        folder=folder, done=said["done"], identities=kept.identities, each=kept.each, people=kept.people, named=kept.named, **arrays
    )


def check_alone(drawn: DrawnSet) -> None:
    """BadInput where a set shows several people in a picture: its rows do not go by person."""
    if drawn.people != 1:
        raise BadInput(f"{drawn.folder} shows {drawn.people} people in every picture: give a folder of `draw-people --people 1`.")


def draw_set(settings: DrawnSettings, folder: Path) -> None:
    """Fill the set in `folder`, from where it stands. BadInput, CannotWrite."""
    prepare(folder)
    count, done = settings.identities * settings.each, _begin(settings, folder)
    begun, first, workers = time.monotonic(), done, settings.workers or os.cpu_count() or 1
    chunks = [(start, min(start + CHUNK, count)) for start in range(done, count, CHUNK)]
    tokens = np.lib.format.open_memmap(folder / "tokens.npy", "r+")
    with _spread(workers) as spread:
        for (start, stop), said in zip(chunks, spread(partial(_fill, settings, folder), chunks), strict=True):
            tokens[start:stop] = tokens_of(said)
            done = stop
            if stop % (CHUNK * NOTED) == 0 or stop == count:
                tokens.flush()
                _note(folder, settings, done)
                log.info("%d of %d pictures, %.0f a second", done, count, (done - first) / (time.monotonic() - begun))


@contextmanager
def _spread(workers: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """`map`, by several processes where there are to be several."""
    if workers == 1:
        yield map
        return
    # Started afresh, not forked: torch's threads do not survive a fork.
    with ProcessPoolExecutor(workers, get_context("spawn"), cv2.setNumThreads, (1,)) as pool:
        yield pool.map


def _fill(settings: DrawnSettings, folder: Path, chunk: tuple[int, int]) -> list[str]:
    """Draw the rows of a chunk into the arrays; their captions."""
    arrays = {name: np.lib.format.open_memmap(folder / f"{name}.npy", "r+") for name in ARRAYS if name != "tokens"}
    said = []
    for row in range(*chunk):
        drawing, numbers, rng = _draw(settings, row)
        found = _row(drawing, numbers, rng)
        for name, array in arrays.items():
            array[row] = found[name]
        said.append(drawing.caption)
    return said


def _draw(settings: DrawnSettings, row: int) -> tuple[Drawing, list[int], np.random.Generator]:
    rng = np.random.default_rng((settings.seed, settings.people, row))
    if settings.people == 1:
        number = PAINTED.start + row // settings.each
        return picture(number, rng, settings.named), [number], rng
    numbers = [PAINTED.start + int(one) for one in rng.choice(settings.identities, settings.people, replace=False)]
    return pair_picture(numbers, rng, settings.named), numbers, rng


def _row(drawing: Drawing, numbers: Sequence[int], rng: np.random.Generator) -> dict[str, Any]:
    joints = [[(np.nan, np.nan) if point is None else point for point in one.keypoints] for one in drawing.people]
    return {
        "pictures": drawing.picture,
        "heads": head_cells(drawing),
        "faces": [head_crop(alone(drawing, place), rng, True) for place in range(len(numbers))],
        "joints": joints,
        "who": numbers,
        "styles": ALL_STYLES.index(drawing.scene.style),
    }


def head_cells(drawing: Drawing) -> np.ndarray:
    """How much of every latent's cell is somebody's head, in parts of 255, uint8 [H/8, W/8]."""
    head = np.logical_or.reduce([one.head for one in drawing.people])
    height, width = head.shape
    return np.round(head.reshape(height // CELL, CELL, width // CELL, CELL).mean(axis=(1, 3)) * 255).astype(np.uint8)


def alone(drawing: Drawing, place: int) -> Drawing:
    """The drawing as that of one of its people."""
    return Drawing(picture=drawing.picture, caption=drawing.caption, scene=drawing.scene, people=(drawing.people[place],))


def _begin(settings: DrawnSettings, folder: Path) -> int:
    """Make the arrays, or see how far they are filled."""
    note = folder / NOTE
    if note.is_file():
        kept = read_note(note, ("done", *_facts(settings)))
        if {key: kept[key] for key in _facts(settings)} != _facts(settings):
            raise BadInput(f"The people in {folder} were drawn with other settings: choose another --folder.")
        return kept["done"]
    count, people = settings.identities * settings.each, settings.people
    height, width = HEIGHT, HEIGHT * people
    shapes: dict[str, tuple[type, tuple[int, ...]]] = {
        "pictures": (np.uint8, (height, width, 3)),
        "heads": (np.uint8, (height // CELL, width // CELL)),
        "faces": (np.uint8, (people, SIZE, SIZE, 3)),
        "joints": (np.float32, (people, POINTS, 2)),
        "tokens": (np.uint16, (LENGTH,)),
        "who": (np.int32, (people,)),
        "styles": (np.uint8, ()),
    }
    try:
        for name, (kind, shape) in shapes.items():
            np.lib.format.open_memmap(folder / f"{name}.npy", "w+", kind, (count, *shape))
    except OSError as error:
        raise CannotWrite(f"The drawn people cannot be kept in {folder} ({error.strerror}): choose another --folder.") from error
    _note(folder, settings, 0)
    return 0


def _facts(settings: DrawnSettings) -> dict[str, Any]:
    return {key: value for key, value in asdict(settings).items() if key != "workers"}


def _note(folder: Path, settings: DrawnSettings, done: int) -> None:
    save_note(folder / NOTE, {**_facts(settings), "done": done})


def main(argv: Sequence[str]) -> None:
    """Command line."""
    draw_set(*parse(DrawnSettings, NAME, SUMMARY, argv))


if __name__ == "__main__":
    speak()
    main(sys.argv[1:])
