"""Names of users, persons and styles as folders: safe on every file system, and read back again."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from pathlib import Path

NOBODY = "local"
"""The user of a page without log-in."""
USERS = "users"
"""The folder, beneath that of what was kept without a log-in, with one folder for each user who logs in."""
NOTHING = "_"
LONGEST = 48
UNSAFE = re.compile(r'[<>:"/\\|?*#%=^~\x00-\x1f\x7f]|^[ .]|[ .]$')
RESERVED = re.compile(r"(con|prn|aux|nul|com[\d¹²³]|lpt[\d¹²³])(\..*)?", re.IGNORECASE)
ESCAPED = re.compile("(?:=[0-9A-F]{2})+")


def part(name: str) -> str:
    """A name as a folder's: letters of every script stay, =2F stands for what some file system or address refuses, long ones are cut."""
    whole = unicodedata.normalize("NFC", name)
    return _kept_short(_safe(whole), whole)


def owner(user: str) -> str:
    """A user's folder, shared with no other user, also where a file system takes capitals for small letters (Anna is ^anna)."""
    whole = unicodedata.normalize("NFC", user)
    small = re.sub("=[0-9A-F]{2}|.", lambda found: _small(found[0]), _safe(whole))
    return _kept_short(small, whole)


def place_of(user: str, folder: Path) -> Path:
    """Where what belongs to a user alone lies: in the folder itself without a log-in, else in one beneath it."""
    return folder if user == NOBODY else folder / USERS / owner(user)


def name_of(folder: str) -> str:
    """The name that `part` made a folder from; where that was cut, the folder's own."""
    text = unicodedata.normalize("NFC", folder)
    if text == NOTHING:
        return ""
    return ESCAPED.sub(lambda found: bytes.fromhex(found[0].replace("=", "")).decode("utf-8", "replace"), text)


def _safe(name: str) -> str:
    safe = UNSAFE.sub(lambda found: _escaped(found[0]), name)
    if not safe:
        return NOTHING
    return _escaped(safe[0]) + safe[1:] if safe == NOTHING or RESERVED.fullmatch(safe) else safe


def _small(letter: str) -> str:
    if len(letter) > 1 or letter == letter.lower():
        return letter
    return f"^{letter.lower()}" if letter.lower().upper() == letter else _escaped(letter)


def _kept_short(safe: str, name: str) -> str:
    """Cut where it is too long for a path, and told apart from others of the same beginning by a hash."""
    if len(safe) <= LONGEST:
        return safe
    return f"{safe[: LONGEST - 9].rstrip(' .')}~{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _escaped(text: str) -> str:
    return "".join(f"={byte:02X}" for byte in text.encode())
