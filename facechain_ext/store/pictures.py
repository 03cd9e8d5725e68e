"""Picture files of the history: written whole, measured, and read for what they say of themselves."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facechain_ext.errors import BadPicture, CannotWrite
from facechain_ext.store.names import name_of
from facechain_ext.store.records import Parse, Record

if TYPE_CHECKING:
    from PIL import Image

OURS = "FaceChain"
LORA = re.compile(r"\s*<lora:([^:>]+):([-+.\d]+)[^>]*>")
LIKENESS = re.compile(r"(?:(-?\d+(?:\.\d+)?)|no face found) by (.+)")
UNFINISHED = re.compile(r"~[0-9a-f]{32}\.png|\.[0-9a-f]{32}\.part")
"""Drafts, and what `vision.pictures.save_png` writes beside them; nobody's own files are called so."""
HIDDEN = ("~", ".")
"""How files and folders begin that are no results: unfinished pictures, thumbnails, a file manager's own."""


def draft(folder: Path, suffix: str = ".png") -> Path:
    """An empty file in a folder that is made with it: while it lies there, nobody who tidies up can remove the folder."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"~{uuid.uuid4().hex}{suffix}"
        try:
            path.touch(exist_ok=False)
            return path
        except FileNotFoundError:
            continue  # somebody removed the empty folder between the two lines


def fill(path: Path, picture: Image.Image | Path | Callable[[Path], object], info: str) -> None:
    """Write a picture: an image as PNG with its info text, a file as it is, or whatever a callable writes to the path."""
    if isinstance(picture, Path):
        shutil.copyfile(picture, path)
    elif callable(picture):
        picture(path)
    else:
        from PIL.PngImagePlugin import PngInfo

        text = PngInfo()
        if info:
            text.add_text("parameters", info)
        picture.save(path, format="PNG", pnginfo=text)
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def unfinished(folder: Path) -> list[Path]:
    """The pictures beneath a folder that are being written, or that a crash left so."""
    named = (path for pattern in ("~*.png", ".*.part") for path in folder.rglob(pattern))
    return [path for path in named if UNFINISHED.fullmatch(path.name) and path.is_file()]


def place(whole: Path, target: Path) -> bool:
    """Give a whole file its name; False where another has that name, which is never overwritten."""
    try:
        os.link(whole, target)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        if target.exists():
            return False
        os.replace(whole, target)
    return True


def measured(path: Path, folder: Path) -> dict[str, Any]:
    """What a row says of the file: path beneath the folder, hash, bytes, changed, width, height. BadPicture where it is none."""
    from PIL import Image

    try:
        found = path.stat()
        with Image.open(path) as picture:
            width, height = picture.size
        with open(path, "rb") as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadPicture(f"{path.name} is no picture that can be read: leave it out of the history.") from error
    return {
        "path": path.relative_to(folder).as_posix(), "hash": digest.hexdigest(), "bytes": found.st_size, "changed": found.st_mtime_ns,
        "width": width, "height": height,
    }  # fmt: skip


def results(folder: Path) -> Iterator[Path]:
    """Every PNG in the users' folders, without unfinished ones and thumbnails."""
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(HIDDEN))
        if Path(root) != folder:
            yield from (Path(root, name) for name in sorted(files) if name.lower().endswith(".png") and not name.startswith(HIDDEN))


def place_of(path: Path, folder: Path) -> tuple[str, str | None, str | None, date | None]:
    """User's folder, person, style and day as the path says them; None where it says nothing."""
    first, *between = path.relative_to(folder).parts[:-1]
    if len(between) < 3:
        return first, None, None, None
    try:
        day = date.fromisoformat(between[2])
    except ValueError:
        day = None
    return first, name_of(between[0]), name_of(between[1]), day


def stated(path: Path, folder: Path, parse: Parse) -> Record | None:
    """What a file of ours says of itself, with names and day from where it lies; None where it is not one of ours."""
    info = _info_text(path)
    try:
        prompt, _, settings = parse(info) if info else ("", "", {})
    except ValueError:
        return None
    if not any(key.startswith(OURS) for key in settings) and not settings.get("Version", "").startswith(OURS):
        return None
    first, person, style, day = place_of(path, folder)
    judged = LIKENESS.match(settings.get("FaceChain likeness", ""))
    seed = settings.get("Seed", "")
    return Record(
        user=name_of_owner(first), person=person or "", style=style or "", info=info, prompt=LORA.sub("", prompt).strip(),
        seed=int(seed) if re.fullmatch(r"-?\d{1,18}", seed) else 0, likeness=float(judged[1]) if judged and judged[1] else None,
        judge=judged[2] if judged else "", loras=_loras(prompt), made=_made(path, day),
    )  # fmt: skip


def name_of_owner(folder: str) -> str:
    """The user a folder was made for (^anna is Anna); where the name was cut, the folder's own."""
    return name_of(re.sub(r"\^(.)", lambda found: found[1].upper(), folder))


def delete(path: Path) -> None:
    """Delete a file that may be gone already."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise CannotWrite(f"{path} cannot be deleted ({error.strerror}): check that its folder may be written to.") from error


def _info_text(path: Path) -> str:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            text = picture.info.get("parameters", "")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return ""
    return text if isinstance(text, str) else ""


def _loras(prompt: str) -> tuple[tuple[str, float], ...]:
    found = []
    for name, weight in LORA.findall(prompt):
        try:
            found.append((name, float(weight)))
        except ValueError:
            continue
    return tuple(found)


def _made(path: Path, day: date | None) -> float:
    """When a file was made: its own time where that is of the folder's day, else that day (copies lose their time)."""
    changed = path.stat().st_mtime
    if day is None or date.fromtimestamp(changed) == day:
        return changed
    return datetime.combine(day, datetime.min.time()).timestamp()
