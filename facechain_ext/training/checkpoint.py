"""Training states on disk: written whole or not at all, and only taken up again by a run with the same settings."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facechain_ext.demo.model import TRAINED
from facechain_ext.errors import BadInput, BadWeights, CannotWrite

STATE = "state.pt"
WEIGHTS = "weights.safetensors"
CHECKPOINT = "checkpoint.safetensors"
"""Of export-base."""


def default_folder(name: str) -> Path:
    """Where a training lives unless told otherwise: facechain/training/<name> in the user's cache folder (XDG)."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "facechain" / "training" / name


def trained(name: str, file: str) -> Path:
    """What a training finished here in its own folder; where there is nothing, the file that comes with the product, if it does."""
    own, shipped = default_folder(name) / file, TRAINED / file
    return shipped if shipped.is_file() and not own.is_file() else own


def prepare(folder: Path) -> None:
    """Make the folder; one sentence where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(f"The training folder {folder} cannot be made ({error.strerror}): choose another with --folder.") from error


def save_state(folder: Path, step: int, settings: Mapping[str, Any], trainee: Mapping[str, Any]) -> None:
    """Write everything a run needs to go on after `step` steps."""
    state = {"step": step, "settings": json.dumps(settings, sort_keys=True), "trainee": trainee}
    _replace(folder / STATE, lambda path: torch.save(state, path))


def load_state(folder: Path, settings: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]] | None:
    """Steps done and the trainee's state, or None at a fresh start. Other settings than those it was begun with are refused by name;
    an option that came with a later version may be there where it is off.
    """
    path = folder / STATE
    if not path.exists():
        return None
    if not zipfile.is_zipfile(path):
        raise BadWeights(f"The training state {path} cannot be read: move it away to start afresh.")
    state = torch.load(path, map_location="cpu", weights_only=True)
    begun = json.loads(state["settings"])
    asked = {key: value for key, value in settings.items() if key in begun or value}
    changed = sorted(key for key in begun.keys() | asked.keys() if begun.get(key) != asked.get(key))
    if changed:
        named = ", ".join(f"{key} {begun.get(key)!r} → {asked.get(key)!r}" for key in changed)
        raise BadInput(f"The training in {folder} was begun with other settings ({named}): keep those, or choose another --folder.")
    return int(state["step"]), state["trainee"]


def save_weights(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write weights as safetensors."""
    from safetensors.torch import save_file

    flat = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    _replace(path, lambda partial: save_file(flat, partial, dict(metadata or {})))


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file another training wrote."""
    from safetensors.torch import load_file

    if not path.exists():
        raise BadWeights(f"There are no weights at {path}: run the training that makes them first.")
    return load_file(path)


def save_note(path: Path, said: Mapping[str, Any]) -> None:
    """Write what is noted beside a training's arrays or stages as JSON. CannotWrite."""
    _replace(path, lambda partial: partial.write_text(json.dumps(dict(said))))


def save_array(path: Path, array: np.ndarray) -> None:
    """Write an array as .npy. CannotWrite."""

    def write(partial: Path) -> None:
        with partial.open("wb") as file:
            np.save(file, array)

    _replace(path, write)


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")  # several processes may find that the same is missing
    try:
        write(partial)
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise CannotWrite(f"{path} cannot be written ({error.strerror}): free some space or choose another --folder.") from error
