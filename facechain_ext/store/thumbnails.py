"""Small pictures for a gallery: made when first asked for, kept in the user's folder, deleted with their picture."""

from __future__ import annotations

import os
from pathlib import Path

from facechain_ext.errors import BadPicture, CannotWrite
from facechain_ext.store import pictures
from facechain_ext.store.records import Entry

FOLDER = "~thumbnails"
"""Not a name that a person's folder can have, and not one with a dot, which web pages are not given files from."""
SIDE = 256


def made(mine: Path, entry: Entry) -> Path:
    """The thumbnail of an entry, at most 256 pixels a side, not cropped. BadPicture where the picture is gone or broken."""
    target = file_of(mine, entry.hash)
    if target.is_file():
        return target
    from PIL import Image

    try:
        with Image.open(entry.path) as picture:
            small = picture.convert("RGB")
            small.thumbnail((SIDE, SIDE))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadPicture(f"{entry.path.name} is gone or cannot be read: re-index the history.") from error
    try:
        whole = pictures.draft(target.parent)
        try:
            small.save(whole, format="JPEG", quality=85)
            os.replace(whole, target)
        finally:
            whole.unlink(missing_ok=True)
    except OSError as error:
        raise CannotWrite(f"No thumbnail can be saved in {target.parent} ({error.strerror}): check that it may be written to.") from error
    return target


def file_of(mine: Path, content: str) -> Path:
    """Where the thumbnail of a picture of that content lies."""
    return mine / FOLDER / f"{content[:32]}.jpg"


def forget(mine: Path, entry: Entry) -> None:
    """Delete an entry's thumbnail, and the folder after the last one."""
    pictures.delete(file_of(mine, entry.hash))
    _close(mine)


def forget_all(mine: Path) -> None:
    """Delete a user's thumbnails, whatever they are of."""
    for path in (mine / FOLDER).glob("*"):
        pictures.delete(path)
    _close(mine)


def _close(mine: Path) -> None:
    try:
        (mine / FOLDER).rmdir()
    except OSError:
        return  # others are in it, or it was never there
