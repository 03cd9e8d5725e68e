"""Which rows of a UNet call carry the face: 1 for a conditional row, 0 for an unconditional one. No tensors here.

A1111 announces a denoiser step (all conditional rows, picture by picture and part by part, then the unconditional ones) and then calls
the UNet once or several times with consecutive rows of it, sometimes without the last ones. Forge marks the rows of every call.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Rows = tuple[int, ...]

ALMOST_DONE = math.nextafter(1.0, 0.0)


class Cursor:
    """Hands out the rows of one step to the UNet calls of that step, in order."""

    def __init__(self, step: Rows = ()) -> None:
        self.step = step
        self._taken = 0

    def take(self, count: int) -> Rows | None:
        """The next `count` rows; None where that many are not left, and then nothing is taken."""
        if count > len(self.step) - self._taken:
            return None
        self._taken += count
        return self.step[self._taken - count : self._taken]


def announced(conditional: int, total: int) -> Rows:
    """Rows of an A1111 step of `total` rows, the first of them conditional; what follows them is unconditional (edit models: two parts)."""
    if not 0 < conditional <= total:
        return ()
    return (1,) * conditional + (0,) * (total - conditional)


def marked(marks: Sequence[float]) -> Rows:
    """Rows by Forge's cond_mark, where 1 means unconditional."""
    return tuple(int(mark == 0) for mark in marks)


def chunked(chunks: Sequence[int], count: int) -> Rows | None:
    """Rows by Forge's cond_or_uncond, one entry (1: unconditional) per chunk of equally many rows; None where they do not divide."""
    if not chunks or count % len(chunks):
        return None
    return tuple(int(chunk == 0) for chunk in chunks for _ in range(count // len(chunks)))


def tiled(layout: Rows, count: int) -> Rows | None:
    """Rows of a call in which several tiles of the picture follow each other, each with the whole layout; None where it is no such call."""
    if not layout or count % len(layout):
        return None
    return layout * (count // len(layout))


def progress(step: int, steps: int | None) -> float:
    """Fraction of the steps already done, in [0, 1) also for samplers that take more calls than they announce."""
    return min(max(step, 0) / max(steps or 1, 1), ALMOST_DONE)
