"""models.json as frozen records: what each weight file is for, how large, under which licence, and where it may come from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from facechain_ext.errors import BadInput

MODELS = Path(__file__).parents[2] / "models.json"


@dataclass(frozen=True, kw_only=True)
class Record:
    """One weight file. bytes, sha256, licence: None where unknown; folder: beneath the host's models folder; sources: mirrors in order."""

    id: str
    purpose: str
    file: str
    folder: str
    bytes: int | None
    sha256: str | None
    licence: str | None
    sources: tuple[str, ...]
    note: str = ""

    def target(self, models: Path) -> Path:
        """Where the file belongs beneath this models folder."""
        return models / self.folder / self.file


@lru_cache(maxsize=1)
def records() -> tuple[Record, ...]:
    """Every record of models.json, in its order."""
    entries = json.loads(MODELS.read_text(encoding="utf-8"))["models"]
    return tuple(Record(**{**entry, "sources": tuple(entry["sources"])}) for entry in entries)


def record(name: str) -> Record:
    """The record of that id. BadInput where there is none."""
    for one in records():
        if one.id == name:
            return one
    raise BadInput(f"There is no model {name!r}: choose one of {', '.join(one.id for one in records())}.")
