"""Finding model files by path, or by name in a folder, as a WebUI lists them."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from functools import lru_cache
from pathlib import Path

from facechain_ext.errors import BadInput
from facechain_ext.hosts.types import Listed

SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")


def listed(folder: Path | None, beside: Path | None = None) -> dict[str, Path]:
    """Weight files in a folder and below it, and diffusers' model folders, by name without ending; then those of a folder beside it.

    Where several have the same name, each is called by its place in the folder: people/anna and styles/anna. The first folder's come
    first, and hide those beside of the same name.
    """
    own = _beneath(folder)
    return own | {name: path for name, path in _beneath(beside).items() if name not in own}


def _beneath(folder: Path | None) -> dict[str, Path]:
    if folder is None or not folder.is_dir():
        return {}
    models = [path.parent for path in folder.rglob("config.json")]
    files = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.parent not in models]
    plain = {path: path.with_suffix("") if path in files else path for path in sorted(files + models)}
    names = Counter(short.name for short in plain.values())
    places = Counter(plain.values())
    return {
        short.name if names[short.name] == 1 else (short if places[short] == 1 else path).relative_to(folder).as_posix(): path
        for path, short in plain.items()
    }


def locate(source: str | Path, folder: Path | None, kind: str, beside: Path | None = None) -> Path:
    """The file a source means: a name in the folder with or without ending, or an existing path. BadInput with the closest names, or
    with those to choose from where several files are called so.

    A name comes first: what happens to lie in the working directory under the same one is not meant.
    """
    known, name = listed(folder, beside), str(source)
    called = [key for key, path in known.items() if name in (path.name, path.stem)]
    if name not in known and len(called) > 1 and not isinstance(source, Path):
        raise BadInput(f"There are {len(called)} files called {name} in {folder}: choose {' or '.join(called)}.")
    found = known.get(name) or (known[called[0]] if len(called) == 1 else None)
    if Path(source).exists() and (found is None or isinstance(source, Path)):
        return Path(source)
    if found is not None:
        return found
    close = difflib.get_close_matches(name, known, cutoff=0.4)
    where = f"in {folder}" if folder else "here"
    advice = f"perhaps {' or '.join(close)}" if close else "give the path of its file"
    raise BadInput(f"There is no {kind} {name} {where}: {advice}.")


HASHES = ("sshs_model_hash", "sshs_legacy_hash")
"""Where kohya's trainer writes a LoRA's hashes."""
LONGEST_HEADER = 100_000_000


def listed_loras(folder: Path | None, beside: Path | None = None) -> list[Listed]:
    """The LoRAs of one or two folders with what their heads say; a head is read once as long as its file stays as it is."""
    found = []
    for name, path in listed(folder, beside).items():
        stat = path.stat()
        alias, hashes = _stated(path, stat.st_size, stat.st_mtime_ns)
        found.append(Listed(name=name, file=str(path), alias=alias, hashes=hashes))
    return found


@lru_cache(maxsize=4096)
def _stated(path: Path, _size: int, _changed: int) -> tuple[str, tuple[str, ...]]:
    """The name a LoRA was trained under, and its hashes; nothing where the file does not say."""
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            said = json.loads(file.read(length)).get("__metadata__") if 2 <= length <= LONGEST_HEADER else None
    except (OSError, ValueError, AttributeError, RecursionError):
        return "", ()  # a pickle, or no whole file; painting with it says what is wrong
    metadata = said if isinstance(said, dict) else {}
    alias = str(metadata.get("ss_output_name") or "")
    return "" if alias == "None" else alias, tuple(str(metadata[key]) for key in HASHES if metadata.get(key))
