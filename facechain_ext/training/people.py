"""Whose pictures each network sees: disjoint ranges of person numbers, so that nobody is judged by a network that knew them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from facechain_ext.demo.world import Drawing, Identity, appearance, draw, draw_people, person, scene
from facechain_ext.demo.world.traits import EXTRA_STYLES, STYLES

PAINTED = range(1_000_000)
"""Seen by VAE, base model, FACT adapter, LoRA and ControlNet."""
ENCODED = range(1_000_000, 2_000_000)
"""Seen by the face encoder."""
JUDGED = range(2_000_000, 3_000_000)
"""Seen by the judge."""
TESTED = range(3_000_000, 3_001_000)
"""Seen by no training: the figures are theirs."""

ALL_STYLES = STYLES + EXTRA_STYLES
MOST = 4
"""People for whom there is room in one picture."""


def picture(number: int, rng: np.random.Generator, styles: Sequence[str] = STYLES, **fixed: Any) -> Drawing:
    """A random picture of one person; what is given in `fixed` (fields of Outfit) is kept."""
    return picture_of(person(number), rng, styles, **fixed)


def picture_of(who: Identity, rng: np.random.Generator, styles: Sequence[str] = STYLES, **fixed: Any) -> Drawing:
    """The same of an identity."""
    made = scene(int(rng.integers(1 << 40)), style=str(rng.choice(styles)))
    return draw(who, made, appearance(int(rng.integers(1 << 40)), **fixed))


def photo(number: int, rng: np.random.Generator) -> Drawing:
    """A photo of one person as people give them: without a hat."""
    return photo_of(person(number), rng)


def photo_of(who: Identity, rng: np.random.Generator) -> Drawing:
    """The same of an identity."""
    return picture_of(who, rng, ["photo"], hat="")


def pair_picture(numbers: Sequence[int], rng: np.random.Generator, styles: Sequence[str] = STYLES, height: int = 128) -> Drawing:
    """A random picture of several people side by side, each in a square of it."""
    made = scene(int(rng.integers(1 << 40)), style=str(rng.choice(styles)))
    looks = [appearance(int(rng.integers(1 << 40))) for _ in numbers]
    return draw_people([person(number) for number in numbers], made, looks, height * len(numbers), height)


def anyone(population: range, rng: np.random.Generator) -> int:
    """Somebody of a population."""
    return int(rng.integers(population.start, population.stop))
