"""FairFace's age groups, in which every backend states ages (FACTS §1.2.3)."""

from __future__ import annotations

AGES: tuple[tuple[int, int], ...] = ((0, 2), (3, 9), (10, 19), (20, 29), (30, 39), (40, 49), (50, 59), (60, 69), (70, 120))
"""Years from and to, both inclusive, by the index of the network's output."""


def group_of(years: float) -> tuple[int, int]:
    """The group an age in years falls into."""
    return next((group for group in AGES if years <= group[1]), AGES[-1])
