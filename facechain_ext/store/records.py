"""What the history knows of a picture, and what can be asked of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Literal

Parse = Callable[[str], tuple[str, str, dict[str, str]]]
"""An info text → prompt, negative prompt and settings."""


OTHERS = "others"
"""The folder, within a day's, of pictures that were made to choose from and not chosen."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """How a picture came about.

    user: whose it is; person, style: their names, or empty; info: the whole info text, from which it can be made again;
    likeness: a cosine by `judge`, None where no face was found; loras: names and weights; made: seconds since 1970.
    """

    user: str
    person: str = ""
    style: str = ""
    info: str = ""
    prompt: str = ""
    seed: int = 0
    likeness: float | None = None
    judge: str = ""
    loras: tuple[tuple[str, float], ...] = ()
    made: float = field(default_factory=time.time)

    @property
    def day(self) -> date:
        """The day it was made, where this machine is."""
        return date.fromtimestamp(self.made)


@dataclass(frozen=True, kw_only=True)
class Entry(Record):
    """A picture of the history. id: never given twice; path, hash, bytes: its file, the SHA-256 and size of that; width, height: pixels."""

    id: int
    path: Path
    hash: str
    bytes: int
    width: int
    height: int

    @property
    def there(self) -> bool:
        """Whether the file still lies where it was; where not, a re-index finds it or drops the entry."""
        return self.path.is_file()

    @property
    def aside(self) -> bool:
        """Whether it was made to choose from and not chosen."""
        return self.path.parent.name == OTHERS


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which pictures of one user. None: whichever; person or style "": those without one; since, until: both days included.

    text: words that all occur in prompt, names, LoRAs or seed; least: the least likeness; aside: only those not chosen, or only the
    others; sort: newest or most alike first.
    """

    user: str
    person: str | None = None
    style: str | None = None
    since: date | None = None
    until: date | None = None
    text: str = ""
    least: float | None = None
    aside: bool | None = None
    sort: Literal["newest", "likeness"] = "newest"


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some of the wanted pictures in order. next: give it back as `after` for the following page; empty on the last one."""

    entries: tuple[Entry, ...]
    next: str = ""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What a re-index found: files moved, edited in place, new to the index, and entries whose file is gone."""

    moved: int = 0
    edited: int = 0
    added: int = 0
    dropped: int = 0
