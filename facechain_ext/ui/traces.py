"""Files that gradio keeps of the tab, photos of people among them: read and deleted at once, or handed out and deleted soon after.

The page's script signs the name of every file that is dropped, `facechain-<16 hex digits>-NAME`, and what is handed out is signed here.
gradio keeps names (3.41 makes a second copy of an upload, under the same one), so ours are known from everybody else's in the folder
that it shares with the rest of the WebUI and with other programs. Folders that are made here are signed too.
"""

from __future__ import annotations

import atexit
import os
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from facechain_ext.errors import BadPicture
from facechain_ext.log import log
from facechain_ext.ui.gradio_versions import paths, serves_in_place

SIGN = re.compile(r"facechain-[0-9a-f]{16}-")
PATIENCE = 600.0
"""Seconds after which nothing of ours is needed any more: what was handed out is downloaded, what was dropped has been read."""
MOST_BYTES = 512_000_000
"""Of photos in memory, over all pages."""


def folder() -> Path:
    """Where gradio keeps files, in every version."""
    return Path(os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir()) / "gradio")


@contextmanager
def received(files: Any) -> Iterator[list[Path]]:
    """Uploaded files under their own names while the block runs; afterwards they are gone with gradio's copies, also after an error.

    A file that is not signed or lies elsewhere is somebody else's, and stays.
    """
    found: list[Path] = []
    theirs = [Path(path) for path in paths(files)]
    ours = {place for place in (*theirs, *_copies(files)) if _is_ours(place)}
    rooms: list[Path] = []
    try:
        for path in theirs:
            if path in ours and path.is_file():
                rooms.append(_room())
                found.append(path.replace(rooms[-1] / SIGN.sub("", path.name, count=1)))
            else:
                found.append(path)
        yield found
    finally:
        for room in rooms:
            shutil.rmtree(room, ignore_errors=True)
        for path in ours:
            _delete(path)


def handed(name: str, write: Callable[[Path], object]) -> Path:
    """A file to be downloaded as `name`, written where gradio serves it; it is gone after a while, and when the program ends."""
    room = _room()
    target = room / (name if serves_in_place() else f"{_sign()}{name}")
    _handed.extend((room.name, target.name))
    try:
        write(target)
    except BaseException:
        shutil.rmtree(room, ignore_errors=True)
        raise
    later = threading.Timer(PATIENCE, sweep)
    later.daemon = True
    later.start()
    return target


def sweep(age: float = PATIENCE) -> None:
    """Delete what is ours and older than so many seconds, whoever left it: a page that was closed, or a program that was killed."""
    before = time.time() - age
    for path in _all_of_ours():
        try:
            if path.stat().st_mtime <= before:
                _delete(path)
        except OSError:
            continue  # another process was quicker


class Shelf:
    """The photos that pages show, in memory, by the hash of their content; of too many, those not asked for longest go first."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most, self._lock = most, threading.Lock()
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    def put(self, content: bytes) -> str:
        """Keep a photo and return its key."""
        key = sha256(content).hexdigest()
        with self._lock:
            self._kept[key] = content
            self._kept.move_to_end(key)
            while len(self._kept) > 1 and sum(map(len, self._kept.values())) > self._most:
                self._kept.popitem(last=False)
        return key

    def __contains__(self, key: str) -> bool:
        return key in self._kept

    def get(self, key: str) -> bytes:
        """A photo. BadPicture where it is gone."""
        with self._lock:
            if key not in self._kept:
                raise BadPicture("A photo is no longer there (others came since): drop it here again.")
            self._kept.move_to_end(key)
            return self._kept[key]

    def take(self, files: Any) -> dict[str, str]:
        """Put uploaded files on the shelf: their keys, each with its file's name; of the files themselves nothing stays. BadPicture."""
        with received(files) as found:
            try:
                return {self.put(path.read_bytes()): path.name for path in found}
            except OSError as error:
                raise BadPicture(f"A photo is no longer there ({error.strerror}): drop it here again.") from error


_handed: list[str] = []
"""The names of what this process handed out, and of the folders around it."""


@atexit.register
def _at_the_end() -> None:
    for path in _all_of_ours() if _handed else ():
        if path.name in _handed:
            _delete(path)


def _all_of_ours() -> list[Path]:
    return [path for place in ("facechain-*", "*/facechain-*") for path in folder().glob(place) if SIGN.match(path.name)]


def _is_ours(path: Path) -> bool:
    """Whether a file is signed and two levels below gradio's folder, which is where it puts files."""
    return bool(SIGN.match(path.name)) and path.parent.parent.resolve() == folder().resolve()


def _sign() -> str:
    return f"facechain-{secrets.token_hex(8)}-"


def _room() -> Path:
    """A folder for one file under its own name; nobody else on this computer may look into it."""
    room = folder() / f"{_sign()}room"
    folder().mkdir(parents=True, exist_ok=True)
    room.mkdir(mode=0o700)
    return room


def _copies(files: Any) -> list[Path]:
    """gradio 3's uploads, of which it handed over a copy."""
    given = files if isinstance(files, (list, tuple)) else [files]
    return [Path(one.orig_name) for one in given if isinstance(getattr(one, "orig_name", None), str)]


def _delete(path: Path) -> None:
    """A file or folder, and the folder around it where nothing else is in it."""
    try:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        if path.parent != folder():
            path.parent.rmdir()
    except OSError as error:
        if path.exists():
            log.warning("%s cannot be deleted (%s): delete it by hand.", path, error.strerror)
