"""A history of very many made-up entries, to measure how long a person waits for the first page."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from facechain_ext.store import index
from facechain_ext.store.history import INDEX, History
from facechain_ext.store.records import Record, Wanted

PEOPLE, STYLES = ("Anna", "Boris", "陈晨", "Dora", ""), tuple(f"Style {number}" for number in range(76))
INFO = (
    "a portrait of a person in a field of flowers, upper body, raw photo, masterpiece, solo, medium shot, high detail face, best quality\n"
    f"Negative prompt: {', '.join(['lowres', 'watermark', 'bad hands'] * 20)}\n"
    "Steps: 30, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: {}, Size: 512x768, Model hash: 7c819b6d13, Model: a_checkpoint"
)
"""As long as a real one."""


def first_page_seconds(entries: int = 50_000, wanted: Wanted | None = None) -> float:
    """Seconds from opening a history of so many entries of one user to its first page of 50, thumbnails not counted."""
    with tempfile.TemporaryDirectory() as folder:
        history = History(Path(folder), _unread)
        fill(history, entries)
        started = time.perf_counter()
        history.page(wanted or Wanted(user="one"))
        return time.perf_counter() - started


def fill(history: History, entries: int) -> None:
    """Put rows without pictures into the index, a minute apart, by people, styles and likeness in turn."""
    history.amount(Wanted(user="one"))  # makes the index
    with index.opened(history.folder / INDEX) as connection, index.writing(connection):
        names = [name for name in index.COLUMNS if name != "id"]
        places = ", ".join(f":{name}" for name in names)
        connection.executemany(f"INSERT INTO pictures ({', '.join(names)}) VALUES ({places})", _rows(entries))


def _rows(entries: int) -> Iterator[index.Row]:
    for number in range(entries):
        record = Record(
            user="one", person=PEOPLE[number % len(PEOPLE)], style=STYLES[number % len(STYLES)], info=INFO.format(number),
            prompt=INFO.partition("\n")[0], seed=number, likeness=(number * 37 % 1000) / 1000, judge="none", made=1.7e9 + 60.0 * number,
        )  # fmt: skip
        file = {"path": f"{number}.png", "hash": f"{number:064x}", "bytes": 400_000, "changed": 0, "width": 512, "height": 512}
        yield index.row_of(record, file)


def _unread(info: str) -> tuple[str, str, dict[str, str]]:
    return info, "", {}
