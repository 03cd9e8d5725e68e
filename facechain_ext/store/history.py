"""Every result: user/person/style/date/number-seed.png under one folder, with an index beside the pictures.

The pictures are what counts: the index is made again from them where it is lost or broken. Everything asked for names a user, and
nothing of another one is given. Several processes and threads may work on one folder.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from facechain_ext.errors import BadInput, CannotWrite
from facechain_ext.log import log
from facechain_ext.store import index, pictures, reconcile, thumbnails
from facechain_ext.store.names import owner, part
from facechain_ext.store.records import OTHERS, Changes, Entry, Page, Parse, Record, Wanted

if TYPE_CHECKING:
    from PIL import Image

INDEX = "history.sqlite3"
NUMBER = re.compile(r"(\d{5,18})-")
AT_ONCE = 500
"""Ids in one statement: older SQLites take 999 values."""

T = TypeVar("T")


class History:
    """The results in one folder. parse: reads an info text (`workflows.infotext.parse_info`)."""

    def __init__(self, folder: Path, parse: Parse) -> None:
        self.folder = Path(folder)
        self.index = self.folder / INDEX
        self.parse = parse

    def add(self, picture: Image.Image | Path | Callable[[Path], object], record: Record) -> Entry:
        """Keep a result: an image, a file (copied), or a callable that saves a PNG to the path it is given.

        The file is there whole before the index knows of it. CannotWrite; a picture that is written already stays.
        """
        _of_somebody(record.user)
        day = self.folder / owner(record.user) / part(record.person) / part(record.style) / record.day.isoformat()
        try:
            whole = pictures.draft(day)
            try:
                pictures.fill(whole, picture, record.info)
                file = pictures.measured(whole, self.folder)
                path = self._named(whole, record)
            finally:
                whole.unlink(missing_ok=True)
        except OSError as error:
            reason = error.strerror or error
            raise CannotWrite(f"No picture can be saved in {day} ({reason}): free some space or check the folder.") from error
        row = index.row_of(record, {**file, "path": path.relative_to(self.folder).as_posix()})
        number = self._written(lambda connection: index.insert(connection, row, known="replace"))
        return index.entry_of({**row, "id": number}, self.folder)

    def page(self, wanted: Wanted, *, after: str = "", count: int = 50) -> Page:
        """Some of a user's pictures; `after`: the `next` of the page before."""
        _of_somebody(wanted.user)
        statement, values = index.question(wanted, after=after, count=count + 1)
        rows = self._run(lambda connection: connection.execute(statement, values).fetchall())
        more = len(rows) > count
        entries = tuple(index.entry_of(row, self.folder) for row in rows[:count])
        return Page(entries=entries, next=index.cursor_of(rows[count - 1], wanted) if more else "")

    def amount(self, wanted: Wanted) -> int:
        """How many pictures a user has of what is wanted."""
        _of_somebody(wanted.user)
        where, values = index.conditions(wanted)
        return self._run(lambda connection: connection.execute(f"SELECT count(*) FROM pictures WHERE {where}", values).fetchone()[0])

    def names(self, user: str, of: Literal["person", "style"]) -> dict[str, int]:
        """The persons or styles a user has pictures of, and of each how many."""
        _of_somebody(user)
        statement = f"SELECT {'style' if of == 'style' else 'person'}, count(*) FROM pictures WHERE owner = ? GROUP BY 1 ORDER BY 1"
        return dict(map(tuple, self._run(lambda connection: connection.execute(statement, (owner(user),)).fetchall())))

    def get(self, user: str, id: int) -> Entry:
        """One picture of the user. BadInput where there is none of that id."""
        found = self._entries(user, [id])
        if not found:
            raise BadInput(f"There is no picture {id} in your history: refresh the page.")
        return found[0]

    def thumbnail(self, user: str, id: int) -> Path:
        """The small picture of an entry, made when first asked for. BadInput where the picture is gone."""
        entry = self.get(user, id)
        return thumbnails.made(self.folder / owner(user), entry)

    def delete(self, user: str, ids: int | Iterable[int]) -> int:
        """Delete pictures of the user for good (file, thumbnail, entry) and return how many; ids of others are left alone."""
        entries = self._entries(user, [ids] if isinstance(ids, int) else list(ids))
        gone: list[int] = []
        try:
            for entry in entries:
                pictures.delete(entry.path)
                thumbnails.forget(self.folder / owner(user), entry)
                gone.append(entry.id)
        finally:
            self._forget(gone)
            self._tidy({entry.path.parent for entry in entries})
        return len(gone)

    def delete_all(self, user: str) -> int:
        """Delete everything of a user for good, also pictures the index did not know yet."""
        _of_somebody(user)
        self.reindex()
        rows = self._run(lambda connection: connection.execute("SELECT id FROM pictures WHERE owner = ?", (owner(user),)).fetchall())
        amount = self.delete(user, [row["id"] for row in rows])
        mine = self.folder / owner(user)
        thumbnails.forget_all(mine)
        for draft in pictures.unfinished(mine):
            pictures.delete(draft)
        self._tidy({path for path in mine.rglob("*") if path.is_dir()} | {mine})
        return amount

    def set_aside(self, user: str, ids: Iterable[int]) -> list[Entry]:
        """Move pictures that were not chosen into the folder `others` beside them, and return them as they are then."""
        entries = [entry for entry in self._entries(user, list(ids)) if not entry.aside and entry.there]
        for entry in entries:
            target = entry.path.parent / OTHERS / entry.path.name
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                entry.path.replace(target)
            except OSError as error:
                raise CannotWrite(f"{entry.path} cannot be moved ({error.strerror}): check that its folder may be written to.") from error
            values = (target.relative_to(self.folder).as_posix(), entry.id)
            self._written(
                lambda connection, values=values: connection.execute("UPDATE OR REPLACE pictures SET path = ? WHERE id = ?", values)
            )
        return self._entries(user, [entry.id for entry in entries])

    def reindex(self) -> Changes:
        """Bring the index to what lies in the folder, after files were moved, deleted, edited or put there by hand."""
        return self._run(self._reconciled)

    def _reconciled(self, connection: sqlite3.Connection) -> Changes:
        changes = reconcile.reconciled(connection, self.folder, self.parse)
        log.info("History: %d added, %d moved, %d edited, %d gone.", changes.added, changes.moved, changes.edited, changes.dropped)
        return changes

    def _entries(self, user: str, ids: Sequence[int]) -> list[Entry]:
        _of_somebody(user)
        rows: list[Any] = []
        asked = [int(one) for one in ids if int(one) in index.IDS]
        for start in range(0, len(asked), AT_ONCE):
            some = asked[start : start + AT_ONCE]
            statement = f"SELECT * FROM pictures WHERE owner = ? AND id IN ({', '.join('?' * len(some))})"
            values = (owner(user), *some)
            rows += self._run(lambda connection, statement=statement, values=values: connection.execute(statement, values).fetchall())
        return [index.entry_of(row, self.folder) for row in rows]

    def _forget(self, ids: Sequence[int]) -> None:
        if ids:
            self._written(lambda connection: connection.executemany("DELETE FROM pictures WHERE id = ?", [(one,) for one in ids]))

    def _tidy(self, folders: set[Path]) -> None:
        """Remove folders that became empty, upwards; one that somebody writes to is not empty."""
        for folder in sorted(folders, key=lambda path: len(path.parts), reverse=True):
            while folder != self.folder and self.folder in folder.parents:
                try:
                    folder.rmdir()
                except OSError:
                    break
                folder = folder.parent

    def _named(self, whole: Path, record: Record) -> Path:
        """Give a finished picture the user's next number."""
        while True:
            number = self._written(lambda connection: self._next_number(connection, owner(record.user)))
            target = whole.with_name(f"{number:05d}-{record.seed}.png")
            if pictures.place(whole, target):
                return target

    def _next_number(self, connection: sqlite3.Connection, mine: str) -> int:
        """Numbers count up per user and are not used again after a deletion; without an index, from the highest that lies there."""
        last = connection.execute("SELECT last FROM numbers WHERE owner = ?", (mine,)).fetchone()
        number = (last["last"] if last else self._highest(mine)) + 1
        connection.execute("INSERT INTO numbers VALUES (?, ?) ON CONFLICT (owner) DO UPDATE SET last = excluded.last", (mine, number))
        return number

    def _highest(self, mine: str) -> int:
        numbers = (NUMBER.match(path.name) for path in (self.folder / mine).rglob("*.png"))
        return max((int(found[1]) for found in numbers if found), default=0)

    def _written(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def whole(connection: sqlite3.Connection) -> T:
            with index.writing(connection):
                return work(connection)

        return self._run(whole)

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do something with the index; where it is missing or broken, it is first made from the pictures."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            return self._tried(work)
        except (sqlite3.Error, OSError) as error:
            raise CannotWrite(f"The history's index {self.index} cannot be used ({error}): check that it may be written to.") from error

    def _tried(self, work: Callable[[sqlite3.Connection], T]) -> T:
        identity = index.identity_of(self.index) if self.index.exists() else None
        try:
            return self._done(work)
        except sqlite3.DatabaseError as error:
            if not index.broken(error) or identity is None:
                raise
        index.set_aside(self.index, identity)
        return self._done(work)

    def _done(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with index.opened(self.index) as connection:
            if not index.filled(connection):
                if any(True for _ in pictures.results(self.folder)):
                    self._reconciled(connection)
                index.mark_filled(connection)
            return work(connection)


def _of_somebody(user: str) -> None:
    if not user:
        raise BadInput("The history is kept per user: say whose it is.")
