"""Pictures in a folder, and the caption beside each: a .txt of the same name."""

from __future__ import annotations

from pathlib import Path

from facechain_ext.errors import BadInput

ENDINGS = (".png", ".jpg", ".jpeg", ".webp")


def pictures_in(folder: Path) -> list[Path]:
    """The picture files of a folder, in a fixed order."""
    return [path for path in sorted(folder.iterdir()) if path.suffix.lower() in ENDINGS]


def caption_of(picture: Path) -> str:
    """What is written beside a picture; empty where nothing is. BadInput where that is no text."""
    beside = picture.with_suffix(".txt")
    if not beside.is_file():
        return ""
    try:
        return beside.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"The caption {beside} cannot be read: save it as text in UTF-8.") from error
