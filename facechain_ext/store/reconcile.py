"""The index of the history brought to what lies in the folder: a file that was moved is known by its content."""

from __future__ import annotations

import sqlite3
import time
import unicodedata
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

from facechain_ext.errors import BadPicture
from facechain_ext.store import index, pictures, thumbnails
from facechain_ext.store.records import Changes, Parse

Row = dict[str, Any]
OLD_DRAFT = 24 * 3600
"""Seconds after which an unfinished picture is a crash's remains and no longer somebody's work."""


def reconciled(connection: sqlite3.Connection, folder: Path, parse: Parse) -> Changes:
    """Compare rows and files. Only the writing locks the index; what others add or delete meanwhile is respected."""
    rows = {row["path"]: dict(row) for row in connection.execute("SELECT id, path, hash, bytes, changed, owner FROM pictures")}
    loose = _loose(rows, folder)
    lost = {path: row for path, row in rows.items() if path in loose or not (folder / path).exists()}
    moved, edited, added = _matched(lost, loose)
    with index.writing(connection):
        for row, file in moved:
            _move(connection, row, file, folder)
        for row, file in edited:
            _edit(connection, row, file, folder, parse)
        new = sum(_add(connection, file, folder, parse) for file in added)
        kept = {row["id"] for row, _ in (*moved, *edited)}
        left = [row for row in lost.values() if row["id"] not in kept]
        gone = [row for row in left if row["path"] in loose or not (folder / row["path"]).exists()]
        connection.executemany("DELETE FROM pictures WHERE id = ?", [(row["id"],) for row in gone])
    _sweep(connection, folder, [*gone, *(row for row, _ in (*moved, *edited))])
    return Changes(moved=len(moved), edited=len(edited), added=new, dropped=len(gone))


def _loose(rows: dict[str, Row], folder: Path) -> dict[str, Row]:
    """The files that are not what the index says of their path, measured; unchanged ones are not read."""
    found = {}
    for path in pictures.results(folder):
        known = rows.get(path.relative_to(folder).as_posix())
        try:
            now = path.stat()
            if known is None or (known["bytes"], known["changed"]) != (now.st_size, now.st_mtime_ns):
                file = pictures.measured(path, folder)
                found[file["path"]] = file
        except (BadPicture, FileNotFoundError):
            continue  # no picture, or deleted since it was listed
    return found


def _matched(lost: dict[str, Row], loose: dict[str, Row]) -> tuple[list[tuple[Row, Row]], list[tuple[Row, Row]], list[Row]]:
    """Rows to files: the same place and content, then the same content elsewhere (moved), then the same place (edited); the rest is new."""
    edited = [(row, loose[path]) for path, row in lost.items() if path in loose and loose[path]["hash"] == row["hash"]]
    taken = {file["path"] for _, file in edited}
    by_content: defaultdict[str, list[Row]] = defaultdict(list)
    for file in loose.values():
        if file["path"] not in taken:
            by_content[file["hash"]].append(file)
    left = [row for path, row in lost.items() if path not in taken]
    moved = [(row, by_content[row["hash"]].pop()) for row in left if by_content.get(row["hash"])]
    found = {row["id"] for row, _ in moved}
    taken |= {file["path"] for _, file in moved}
    edited += [(row, loose[row["path"]]) for row in left if row["id"] not in found and row["path"] in loose and row["path"] not in taken]
    taken |= {file["path"] for _, file in edited}
    return moved, edited, [file for path, file in loose.items() if path not in taken]


def _move(connection: sqlite3.Connection, row: Row, file: Row, folder: Path) -> None:
    """A picture belongs to whom its new folder belongs; person and style follow where the folder states them."""
    first, person, style, _ = pictures.place_of(folder / file["path"], folder)
    entry = index.entry_of(connection.execute("SELECT * FROM pictures WHERE id = ?", (row["id"],)).fetchone(), folder)
    user = entry.user if first == row["owner"] else pictures.name_of_owner(first)
    names = {} if person is None or style is None else {"person": person, "style": style}
    connection.execute("UPDATE pictures SET path = ? WHERE path = ? AND id <> ?", (f"~{row['id']}", file["path"], row["id"]))
    _set(connection, row["id"], {**index.row_of(replace(entry, user=user, **names), file), "owner": _composed(first)})


def _edit(connection: sqlite3.Connection, row: Row, file: Row, folder: Path, parse: Parse) -> None:
    """Another picture lies at the place now: what it states is taken over where it states something."""
    _set(connection, row["id"], file)
    record = pictures.stated(folder / file["path"], folder, parse) if file["hash"] != row["hash"] else None
    if record is not None:
        said = index.row_of(record, file)
        _set(connection, row["id"], {name: said[name] for name in ("rank", "seed", "judge", "loras", "prompt", "info", "words")})


def _add(connection: sqlite3.Connection, file: Row, folder: Path, parse: Parse) -> bool:
    path = folder / file["path"]
    try:
        record = pictures.stated(path, folder, parse)
    except FileNotFoundError:
        return False
    if record is None:
        return False
    mine = _composed(path.relative_to(folder).parts[0])
    before = connection.total_changes
    index.insert(connection, {**index.row_of(record, file), "owner": mine}, known="keep")
    return connection.total_changes > before


def _set(connection: sqlite3.Connection, id: int, values: Row) -> None:
    names = ", ".join(f"{name} = :{name}" for name in values)
    connection.execute(f"UPDATE pictures SET {names} WHERE id = :id", {**values, "id": id})


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _sweep(connection: sqlite3.Connection, folder: Path, rows: list[Row]) -> None:
    """Delete the thumbnails that no entry has any more, and what crashes left unfinished."""
    for row in rows:
        has = connection.execute("SELECT 1 FROM pictures WHERE owner = ? AND hash = ?", (row["owner"], row["hash"])).fetchone()
        if not has:
            pictures.delete(thumbnails.file_of(folder / row["owner"], row["hash"]))
    for path in pictures.unfinished(folder):
        if path.exists() and path.stat().st_mtime < time.time() - OLD_DRAFT:
            pictures.delete(path)
