"""Training states on disk: written whole or not at all, and only taken up again by a run with the same settings."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from facechain_ext.demo.model import TRAINED
from facechain_ext.engine.checkpoints import read_tensors
from facechain_ext.errors import BadInput, BadWeights, CannotWrite

STATE = "state.pt"
WEIGHTS = "weights.safetensors"
CHECKPOINT, ENCODER, ADAPTER = "checkpoint.safetensors", "encoder.safetensors", "adapter.safetensors"
"""Of export-base, of train-encoder and of train-fact."""


def default_folder(name: str) -> Path:
    """Where a training lives unless told otherwise: facechain/training/<name> in the user's cache folder (XDG)."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "facechain" / "training" / name


def given_or_trained(path: str, name: str, file: str) -> Path:
    """The file that was named; where none was, what `trained` says."""
    return Path(path) if path else trained(name, file)


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
    state, begun = _read_state(path)
    asked = {key: value for key, value in settings.items() if key in begun or value}
    changed = sorted(key for key in begun.keys() | asked.keys() if begun.get(key) != asked.get(key))
    if changed:
        named = ", ".join(f"{key} {begun.get(key)!r} → {asked.get(key)!r}" for key in changed)
        raise BadInput(f"The training in {folder} was begun with other settings ({named}): keep those, or choose another --folder.")
    return int(state["step"]), state["trainee"]


def _read_state(path: Path) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """A state and the settings it was begun with. BadWeights where it is something else."""
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("no state has another form")
        state = torch.load(path, map_location="cpu", weights_only=True)
        begun = json.loads(state["settings"])
        if not isinstance(begun, dict) or not isinstance(state["step"], int) or "trainee" not in state:
            raise ValueError("another file's content")
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise BadWeights(f"The training state {path} cannot be read: move it away to start afresh.") from error
    return state, begun


def save_weights(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write weights as safetensors."""
    from safetensors.torch import save_file

    flat = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    _replace(path, lambda partial: save_file(flat, partial, dict(metadata or {})))


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file another training wrote. BadWeights where there is none, or one that is not whole."""
    if not path.exists():
        raise BadWeights(f"There are no weights at {path}: run the training that makes them first.")
    return read_tensors(path)[0]


def fill(network: nn.Module, tensors: Mapping[str, Tensor], source: str | Path, wanted: str) -> None:
    """Take a network's weights from those of a file. BadWeights says what was wanted of it, and names the first that do not fit."""
    try:
        network.load_state_dict(dict(tensors))
    except RuntimeError as error:
        own = network.state_dict()
        odd = sorted(own.keys() ^ tensors.keys()) + [key for key in own if key in tensors and own[key].shape != tensors[key].shape]
        named = ", ".join(odd[:3]) + (f" and {len(odd) - 3} more" if len(odd) > 3 else "")
        raise BadWeights(f"{source} is not {wanted} ({named}: missing, foreign, or of another size): give a file that is.") from error


def save_note(path: Path, said: Mapping[str, Any]) -> None:
    """Write what is noted beside a training's arrays or stages as JSON. CannotWrite."""
    _replace(path, lambda partial: partial.write_text(json.dumps(dict(said))))


def read_note(path: Path, needed: Sequence[str]) -> dict[str, Any]:
    """What is noted beside a training's arrays. BadInput where that cannot be read, or something needed is not in it."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        missing = [key for key in needed if key not in said] if isinstance(said, dict) else ["a table"]
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read: make what is in that folder anew.") from error
    if missing:
        raise BadInput(f"{path} lacks {', '.join(missing)}: make what is in that folder anew.")
    return said


def open_arrays(folder: Path, names: Sequence[str], done: int) -> dict[str, np.ndarray]:
    """Arrays of a folder by name, memory-mapped for reading. BadInput where one is missing, broken, or has no `done` rows."""
    found: dict[str, np.ndarray] = {}
    for name in names:
        path = folder / f"{name}.npy"
        try:
            found[name] = np.load(path, mmap_mode="r")
            if len(found[name]) < done:
                raise ValueError(f"{len(found[name])} rows of {done}")
        except (OSError, ValueError, EOFError, TypeError) as error:
            raise BadInput(f"{path} is missing or not whole: make what is in that folder anew.") from error
    return found


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
