"""Reading weight files: safetensors, or pickles of bare tensors; whatever is wrong is one sentence naming the file."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from facechain_ext.errors import BadWeights

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

PICKLES = (".ckpt", ".pt", ".pth", ".bin")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a weight file, on the CPU in its stored dtype; a pickle's "state_dict" wrapper is taken off."""
    check_file(path)
    return _read_pickle(path) if path.suffix.lower() in PICKLES else _read_safetensors(path)


def check_file(path: Path) -> None:
    """Refuse what cannot be a weight file without reading it: missing, a folder, empty, another kind of file."""
    if not path.exists():
        raise BadWeights(f"There is no file {path}: check its name and folder.")
    if path.is_dir():
        raise BadWeights(f"{path} is a folder where a weight file is needed: name the .safetensors file inside it.")
    if path.stat().st_size == 0:
        raise BadWeights(f"{path} is empty (0 bytes): download it again.")
    if path.suffix.lower() not in (".safetensors", *PICKLES):
        raise BadWeights(f"{path} is not a weight file by its name: use a .safetensors file.")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise BadWeights(f"{path} is damaged or only partly downloaded ({error}): download it again.") from error
    except OSError as error:
        raise BadWeights(f"{path} cannot be read ({error.strerror or error}): check its permissions.") from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BadWeights(f"{path} holds more than tensors, which is not safe to open: convert it to .safetensors.") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise BadWeights(f"{path} is damaged or not a weight file: download it again, best as .safetensors.") from error
    content = content.get("state_dict", content) if isinstance(content, dict) else content
    tensors = {k: v for k, v in content.items() if isinstance(v, torch.Tensor)} if isinstance(content, dict) else {}
    if not tensors:
        raise BadWeights(f"{path} holds no named tensors: use a .safetensors file of the model.")
    return tensors


def fill(module: nn.Module, state: Mapping[str, Tensor], path: Path, part: str, dtype: torch.dtype) -> None:
    """Load `state` as `dtype` into `module`, every tensor of it; what is missing or of another shape is named by its first keys."""
    wanted = module.state_dict()
    missing = [key for key in wanted if key not in state]
    misshapen = [
        f"{key} {list(state[key].shape)} instead of {list(value.shape)}"
        for key, value in wanted.items()
        if key in state and state[key].shape != value.shape
    ]
    if missing or misshapen:
        found = [f"{len(missing)} tensors missing ({_first(missing)})"] if missing else []
        found += [f"{len(misshapen)} misshapen ({_first(misshapen)})"] if misshapen else []
        raise BadWeights(f"The {part} in {path} does not fit Stable Diffusion 1.5: {', '.join(found)}; use a complete SD1.5 model.")
    cast = {key: state[key].to(dtype) if state[key].is_floating_point() else state[key] for key in wanted}
    module.load_state_dict(cast, strict=True, assign=True)


def _first(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
