"""The SQLite file of the history: its schema with the path from every older one, its rows, and the questions put to it.

No WAL: output folders lie on network drives too. Writers take turns by immediate transactions and wait for each other.
"""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from facechain_ext.errors import BadInput, CannotWrite
from facechain_ext.log import log
from facechain_ext.store.names import owner
from facechain_ext.store.records import OTHERS, Entry, Record, Wanted

PATIENCE = 30
"""Seconds that a process waits for another one's writing."""

COLUMNS = (
    "id", "path", "hash", "bytes", "changed", "width", "height", "owner", "user", "person", "style", "made", "rank", "words",
    "seed", "judge", "loras", "prompt", "info",
)  # fmt: skip
FILLED = 0x46436869
"""The application_id of an index that has taken in the pictures that lay in the folder before it."""

ASIDE = f"*/????-??-??/{OTHERS}/*"
"""Where pictures lie that were not chosen."""

IDS = range(2**63)
"""What SQLite can number."""

FACELESS = -2.0
"""The rank of pictures without a likeness: below every cosine."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE pictures (
            id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL UNIQUE, hash TEXT NOT NULL,
            bytes INTEGER NOT NULL, changed INTEGER NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL,
            owner TEXT NOT NULL, user TEXT NOT NULL, person TEXT NOT NULL, style TEXT NOT NULL,
            made REAL NOT NULL, rank REAL NOT NULL, words TEXT NOT NULL,
            seed INTEGER NOT NULL, judge TEXT NOT NULL, loras TEXT NOT NULL, prompt TEXT NOT NULL, info TEXT NOT NULL)""",
        "CREATE INDEX newest ON pictures (owner, made, id, words)",
        "CREATE INDEX newest_of_person ON pictures (owner, person, made, id)",
        "CREATE INDEX newest_of_style ON pictures (owner, style, made, id)",
        "CREATE INDEX likest ON pictures (owner, rank, id, words)",
        "CREATE INDEX likest_of_person ON pictures (owner, person, rank, id)",
        "CREATE INDEX likest_of_style ON pictures (owner, style, rank, id)",
        "CREATE INDEX content ON pictures (owner, hash)",
        "CREATE TABLE numbers (owner TEXT PRIMARY KEY, last INTEGER NOT NULL)",
    ),
)
"""What leads from each version of the schema to the next; the version is the file's user_version."""

Row = dict[str, Any]


@contextmanager
def opened(file: Path) -> Iterator[sqlite3.Connection]:
    """A connection for one piece of work, with the schema of today; deleted rows are overwritten, not only unlinked."""
    connection = sqlite3.connect(file, timeout=PATIENCE, isolation_level=None)
    try:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA cache_size = -65536")  # KiB: a search through all texts reads each page once
        _migrate(connection, file)
        yield connection
    finally:
        connection.close()


@contextmanager
def writing(connection: sqlite3.Connection) -> Iterator[None]:
    """All of the block or nothing of it, and no other writer meanwhile."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _migrate(connection: sqlite3.Connection, file: Path) -> None:
    if _version(connection) == len(MIGRATIONS):
        return
    with writing(connection):
        version = _version(connection)  # another process may have been faster
        if version > len(MIGRATIONS):
            raise CannotWrite(f"{file} was written by a newer version of FaceChain: update this one, or move the file away to rebuild it.")
        for statement in (line for step in MIGRATIONS[version:] for line in step):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _version(connection: sqlite3.Connection) -> int:
    return connection.execute("PRAGMA user_version").fetchone()[0]


def filled(connection: sqlite3.Connection) -> bool:
    """Whether the pictures that were there before the index are in it; not after a crash while they were taken in."""
    return connection.execute("PRAGMA application_id").fetchone()[0] == FILLED


def mark_filled(connection: sqlite3.Connection) -> None:
    """Say that they are."""
    connection.execute(f"PRAGMA application_id = {FILLED}")


def broken(error: sqlite3.Error) -> bool:
    """Whether the error says that the file itself is no sound database (and not that it is busy, or the disk full)."""
    return type(error) is sqlite3.DatabaseError


def set_aside(file: Path, identity: tuple[int, int]) -> None:
    """Give a broken index another name, unless another process has put a new one in its place already."""
    if not file.exists() or identity_of(file) != identity:
        return
    aside = file.with_name(f"{file.stem}-broken-{time.strftime('%Y%m%d-%H%M%S')}-{time.monotonic_ns()}{file.suffix}")
    try:
        file.replace(aside)
        file.with_name(f"{file.name}-journal").unlink(missing_ok=True)
    except OSError as error:
        raise CannotWrite(f"The history's index {file} is broken and cannot be moved ({error.strerror}): move it away by hand.") from error
    log.warning("The history's index was broken; it is kept as %s, and a new one is made from the pictures.", aside.name)


def identity_of(file: Path) -> tuple[int, int]:
    """What tells this file from one that later has its name."""
    found = file.stat()
    return found.st_dev, found.st_ino


def row_of(record: Record, file: Mapping[str, Any]) -> Row:
    """A row for a picture. file: its path, hash, bytes, changed (time in ns), width, height."""
    loras = json.dumps(record.loras, ensure_ascii=False)
    text = "\n".join((record.prompt, record.person, record.style, *(name for name, _ in record.loras), str(record.seed)))
    return {
        **file, "owner": owner(record.user), "user": record.user, "person": record.person, "style": record.style,
        "made": record.made, "rank": FACELESS if record.likeness is None else record.likeness, "seed": record.seed,
        "judge": record.judge, "loras": loras, "prompt": record.prompt, "info": record.info, "words": text.casefold(),
    }  # fmt: skip


def insert(connection: sqlite3.Connection, row: Row, *, known: str) -> int:
    """Put a row in and return its id; `known` says what happens where the path has one: "replace" or "keep"."""
    names = [name for name in COLUMNS if name != "id"]
    then = "NOTHING" if known == "keep" else f"UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in names if name != 'path')}"
    connection.execute(
        f"INSERT INTO pictures ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)}) ON CONFLICT (path) DO {then}", row
    )
    return connection.execute("SELECT id FROM pictures WHERE path = ?", (row["path"],)).fetchone()[0]


def entry_of(row: Mapping[str, Any], folder: Path) -> Entry:
    """The entry that a row is."""
    loras = tuple((name, weight) for name, weight in json.loads(row["loras"]))
    return Entry(
        id=row["id"], path=folder / row["path"], hash=row["hash"], bytes=row["bytes"], width=row["width"], height=row["height"],
        user=row["user"], person=row["person"], style=row["style"], info=row["info"], prompt=row["prompt"], seed=row["seed"],
        likeness=None if row["rank"] == FACELESS else row["rank"], judge=row["judge"], loras=loras, made=row["made"],
    )  # fmt: skip


def question(wanted: Wanted, *, after: str = "", count: int) -> tuple[str, list[Any]]:
    """The statement that selects a page, with its values; every page starts where the last one ended, however deep."""
    key = "rank" if wanted.sort == "likeness" else "made"
    where, values = conditions(wanted)
    if after:
        where, values = f"{where} AND ({key}, id) < (?, ?)", [*values, *_cursor(after)]
    return f"SELECT * FROM pictures WHERE {where} ORDER BY {key} DESC, id DESC LIMIT ?", [*values, count]


def conditions(wanted: Wanted) -> tuple[str, list[Any]]:
    """What must hold of a row, always of one user's."""
    words = wanted.text.casefold().split()
    found: list[tuple[str, Any]] = [("owner = ?", owner(wanted.user))]
    found += [("person = ?", wanted.person)] if wanted.person is not None else []
    found += [("style = ?", wanted.style)] if wanted.style is not None else []
    found += [("made >= ?", _begin(wanted.since))] if wanted.since else []
    found += [("made < ?", _end(wanted.until))] if wanted.until else []
    found += [("rank >= ?", max(wanted.least, -1.0))] if wanted.least is not None else []
    found += [(f"(path GLOB '{ASIDE}') = ?", int(wanted.aside))] if wanted.aside is not None else []
    found += [("instr(words, ?) > 0", word) for word in words]
    return " AND ".join(condition for condition, _ in found), [value for _, value in found]


def _begin(day: date) -> float:
    """When a day begins where this machine is, in seconds since 1970; before or after everything where the machine cannot tell."""
    try:
        return datetime.combine(day, datetime.min.time()).timestamp()
    except (ValueError, OverflowError, OSError):
        return -math.inf if day.year <= 1970 else math.inf


def _end(day: date) -> float:
    """When a day is over."""
    return math.inf if day == date.max else _begin(day + timedelta(days=1))


def cursor_of(row: Mapping[str, Any], wanted: Wanted) -> str:
    """Where a page ended."""
    return f"{row['rank' if wanted.sort == 'likeness' else 'made']!r}:{row['id']}"


def _cursor(text: str) -> tuple[float, int]:
    key, _, number = text.partition(":")
    with suppress(ValueError):
        if int(number) in IDS:
            return float(key), int(number)
    raise BadInput(f"{text[:40]!r} is no place in the history: use the one that the page before gave.")
