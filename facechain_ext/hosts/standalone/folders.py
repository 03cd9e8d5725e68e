"""Finding model files by path, or by name in a folder, as a WebUI lists them."""

from __future__ import annotations

import difflib
from pathlib import Path

from facechain_ext.errors import BadInput

SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")


def listed(folder: Path | None) -> dict[str, Path]:
    """Weight files in a folder and below it, and diffusers' model folders, by name without ending."""
    if folder is None or not folder.is_dir():
        return {}
    models = [path.parent for path in folder.rglob("config.json")]
    files = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.parent not in models]
    return {(path.stem if path.is_file() else path.name): path for path in sorted(files + models)}


def locate(source: str | Path, folder: Path | None, kind: str) -> Path:
    """The file a source means: an existing path, or a name in the folder with or without ending. BadInput with the closest names."""
    if Path(source).exists():
        return Path(source)
    known = listed(folder)
    name = str(source)
    for key, path in known.items():
        if name in (key, path.name):
            return path
    close = difflib.get_close_matches(name, known, cutoff=0.4)
    where = f"in {folder}" if folder else "here"
    advice = f"perhaps {' or '.join(close)}" if close else "give the path of its file"
    raise BadInput(f"There is no {kind} {name} {where}: {advice}.")
