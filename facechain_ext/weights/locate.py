"""Which weight files lie in the host's folders, told apart by what is in them and not by their names. Opens headers only."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from facechain_ext.errors import BadWeights
from facechain_ext.log import log

Kind = Literal["adapter", "encoder"]
SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
MARKS: tuple[tuple[Kind, bytes], ...] = (("adapter", b"local_fac_prj."), ("encoder", b"patch_embed.proj.weight"))
"""A key that a file of that kind has and no other: the resampler's, the vision transformer's."""
LONGEST_HEADER = 100_000_000


@dataclass(frozen=True, kw_only=True)
class Found:
    """A weight file of ours. name: as the person sees it, the path beneath the folder without its suffix."""

    name: str
    kind: Kind
    path: Path
    bytes: int


def found(folder: Path) -> list[Found]:
    """The adapters and encoders in a folder and its sub-folders, by name; an empty list where the folder is not there."""
    return sorted(_look(folder), key=lambda one: one.name.lower())


def adapter_file(folder: Path, name: str = "") -> Path:
    """The adapter of that name, or the first one. BadWeights saying which file to put where."""
    adapters = [one for one in found(folder) if one.kind == "adapter"]
    if not adapters:
        raise BadWeights(
            f"No FaceChain adapter is in {folder}: put adapter_maj_mask_large_new_reg001_faceshuffle_00290001.ckpt "
            "(or another FACT adapter) there."
        )
    chosen = adapters[0] if not name else named(adapters, name)
    if chosen is None:
        raise BadWeights(f"There is no adapter {name!r} in {folder}: choose {_or([one.name for one in adapters])}.")
    return chosen.path


def named(files: Sequence[Found], name: str) -> Found | None:
    """The file of that name: with its folder, or without, as an info text states it."""
    exact = next((one for one in files if one.name == name), None)
    return exact or next((one for one in files if name in (one.path.name, one.path.stem)), None)


def encoder_file(folder: Path, beside: Path | None = None) -> Path:
    """The face encoder: the one in the adapter's own folder before any other. BadWeights saying which file to put where."""
    encoders = [one.path for one in found(folder) if one.kind == "encoder"]
    if not encoders:
        raise BadWeights(f"No face encoder is in {folder}: put ms1mv2_model_TransFace_S.pt there.")
    near = [path for path in encoders if beside is not None and path.parent == beside.parent]
    return (near or encoders)[0]


def kind_of(path: Path) -> Kind | None:
    """What kind of ours a weight file is; None where it is something else or cannot be read."""
    stat = path.stat()
    return _kind_of(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _kind_of(path: Path, _size: int, _changed: int) -> Kind | None:
    try:
        head = _safetensors_head(path) if path.suffix == ".safetensors" else _pickle_head(path)
    except (OSError, ValueError, zipfile.BadZipFile, KeyError) as error:
        log.debug("%s is no weight file that can be read: %s", path, error)
        return None
    return next((kind for kind, mark in MARKS if mark in head), None)


def _look(folder: Path) -> Iterator[Found]:
    if not folder.is_dir():
        return
    for path in folder.rglob("*"):
        if path.suffix in SUFFIXES and path.is_file():
            kind = kind_of(path)
            if kind is not None:
                name = path.relative_to(folder).with_suffix("").as_posix()
                yield Found(name=name, kind=kind, path=path, bytes=path.stat().st_size)


def _safetensors_head(path: Path) -> bytes:
    """The names of the tensors in a safetensors file, as they stand in its header."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > LONGEST_HEADER:
            raise ValueError(f"a header of {length} bytes")
        return "\n".join(json.loads(file.read(length))).encode()


def _pickle_head(path: Path) -> bytes:
    """The pickle inside a torch file, as bytes that are searched and never executed."""
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        return archive.read(name)


def _or(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
