"""Reading weight files: strict, pickles only as weights, sizes from tensor shapes, anything that does not fit refused by name."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from facechain_ext.engine.adapter import Adapter, AdapterSizes
from facechain_ext.engine.encoder import EncoderSizes, FaceEncoder
from facechain_ext.engine.gate import published_shapes
from facechain_ext.engine.int8 import from_int8
from facechain_ext.engine.looks import LOOKS
from facechain_ext.engine.resampler import ResamplerSizes
from facechain_ext.engine.sites import BLOCK, SITES
from facechain_ext.errors import BadInput, BadWeights, CannotWrite
from facechain_ext.log import log

PICKLES = (".ckpt", ".pt", ".pth", ".bin")
RESAMPLER = "local_fac_prj."
AS_ONE = "as one"
"""What an adapter's file says of photos (metadata `photos`) where several of a person weigh as one."""
PROCESSOR = f"{BLOCK}.attn2.processor."

Tensors = dict[str, Tensor]


def read_tensors(path: Path) -> tuple[Tensors, dict[str, str]]:
    """Tensors and metadata of a .safetensors file, or of a torch pickle that holds nothing but tensors. BadWeights otherwise."""
    if not path.is_file():
        raise BadWeights(
            f"{path} is {'a folder' if path.is_dir() else 'not there'}: give a weight file (.safetensors, or {', '.join(PICKLES)})."
        )
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in PICKLES:
        return _read_pickle(path), {}
    raise BadWeights(f"{path.name} is no weight file: a name ending in .safetensors, {', '.join(PICKLES)} is expected.")


def _read_safetensors(path: Path) -> tuple[Tensors, dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118  # no mapping
    except (SafetensorError, OSError) as error:
        raise BadWeights(f"{path.name} is not a complete safetensors file ({_first_line(error)}): download it again.") from error


def _read_pickle(path: Path) -> Tensors:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise BadWeights(
            f"{path.name} is broken or holds more than tensors ({_first_line(error)}), so it is not opened: "
            "download it again or use a safetensors file."
        ) from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not any(isinstance(value, Tensor) for value in content.values()):
        raise BadWeights(f"{path.name} holds no named tensors: it is not an adapter or encoder file.")
    return {str(key): value for key, value in content.items() if isinstance(value, Tensor)}


def read_encoder(path: Path, *, heads: int | None = None) -> FaceEncoder:
    """Read a TransFace encoder (published .pt, or safetensors, also with matrices in int8), float32 on the CPU.

    BadWeights names what does not fit.
    """
    tensors, metadata = read_tensors(path)
    tensors = from_int8(tensors)
    _refuse_foreign(path, tensors, wanted="a face encoder", needed=("pos_embed", "patch_embed.proj.weight", "feature.0.weight"))
    stated = int(metadata["heads"]) if metadata.get("heads", "").isdigit() else None
    encoder = FaceEncoder(EncoderSizes.of(tensors, heads or stated))
    shapes = {key: tuple(value.shape) for key, value in encoder.state_dict().items()}
    optional = {"mask_token", *(key for key in shapes if key.endswith("num_batches_tracked"))}
    _check_shapes(path, {key: shape for key, shape in shapes.items() if key not in optional or key in tensors}, tensors)
    _log_extra(path, set(tensors) - set(shapes))
    encoder.load_state_dict({key: tensors.get(key, value) for key, value in encoder.state_dict().items()})
    encoder.fingerprint = fingerprint(tensors[key] for key in sorted(shapes) if key in tensors)
    return encoder.eval().requires_grad_(False)


def read_adapter(path: Path, *, heads: int | None = None, dtype: torch.dtype = torch.float32) -> Adapter:
    """Read a FACT adapter (published .ckpt, or safetensors) onto the CPU: resampler in float32, gated layers in `dtype`.

    All 51 + 16×17 tensors must be there in fitting shapes (BadWeights names what is not); others are ignored and logged.
    """
    tensors, metadata = read_tensors(path)
    if RESAMPLER + "net.weight" in tensors:
        raise BadWeights(
            f"{path.name} is the preview adapter of January 2024 with 196 face tokens, which works differently: use one of the "
            "published adapters with 16 tokens (adapter_maj_… or adapter_film_…_00290001.ckpt)."
        )
    _refuse_foreign(path, tensors, wanted="a FACT adapter", needed=(RESAMPLER + "latents", RESAMPLER + "layers.0.0.to_q.weight"))
    stated = int(metadata["resampler_heads"]) if metadata.get("resampler_heads", "").isdigit() else None
    adapter = build_adapter(path, tensors, heads or stated, _looks(path, metadata))
    adapter.name, adapter.file, adapter.as_one = path.stem, path, _as_one(path, metadata)
    adapter.layers.to(dtype)
    return adapter.eval().requires_grad_(False)


def _looks(path: Path, metadata: Mapping[str, str]) -> int:
    """How many looks at a photo an adapter's file asks for. BadWeights where there are not so many."""
    stated = metadata.get("looks", "1")
    if not stated.isdigit() or not 1 <= int(stated) <= len(LOOKS):
        raise BadWeights(f"{path.name} asks for {stated} looks at every photo: write a number from 1 to {len(LOOKS)} into its metadata.")
    return int(stated)


def _as_one(path: Path, metadata: Mapping[str, str]) -> bool:
    """Whether an adapter's file asks that several photos of a person weigh as one. BadWeights where it asks for something else."""
    stated = metadata.get("photos", "")
    if stated not in ("", AS_ONE):
        raise BadWeights(f'{path.name} asks that photos weigh {stated!r}: let its metadata say "{AS_ONE}" of photos, or nothing.')
    return stated == AS_ONE


def build_adapter(path: Path, tensors: Tensors, heads: int | None, looks: int = 1) -> Adapter:
    """An adapter from the tensors of a file, its widths read from their shapes."""
    resampler = {key[len(RESAMPLER) :]: value for key, value in tensors.items() if key.startswith(RESAMPLER)}
    _check_named(path, (RESAMPLER + key for key in ("proj_in.weight", "proj_out.weight", "layers.0.1.1.weight")), tensors)
    sizes = ResamplerSizes.of(resampler, heads)
    sites = [_site(path, tensors, site.diffusers + PROCESSOR, sizes.out_dim) for site in SITES]
    adapter = Adapter(AdapterSizes(resampler=sizes, channels=tuple(site["norm1.weight"].shape[0] for site in sites)))
    shapes = {key: tuple(value.shape) for key, value in adapter.resampler.state_dict().items()}
    _check_shapes(path, {RESAMPLER + key: shape for key, shape in shapes.items()}, tensors)
    known = {RESAMPLER + key for key in shapes} | {name.diffusers + PROCESSOR + key for name in SITES for key in published_shapes(1, 1)}
    _log_extra(path, set(tensors) - known)
    adapter.resampler.load_state_dict({key: resampler[key].float() for key in shapes})
    for layer, site in zip(adapter.gates(), sites, strict=True):
        layer.load_published({key: value.float() for key, value in site.items()})
    made_of = [resampler[key] for key in sorted(shapes)]
    adapter.looks, adapter.fingerprint = looks, fingerprint(made_of if looks == 1 else [*made_of, torch.tensor(looks)])
    return adapter


def _site(path: Path, tensors: Tensors, prefix: str, context: int) -> Tensors:
    """The 17 tensors of one site, checked."""
    _check_named(path, (prefix + "norm1.weight",), tensors)
    shapes = published_shapes(tensors[prefix + "norm1.weight"].shape[0], context)
    _check_shapes(path, {prefix + key: shape for key, shape in shapes.items()}, tensors)
    return {key: tensors[prefix + key] for key in shapes}


def adapter_tensors(adapter: Adapter) -> Tensors:
    """An adapter's tensors under the published names, contiguous, each with memory of its own."""
    tensors = {RESAMPLER + key: value for key, value in adapter.resampler.state_dict().items()}
    for site, layer in zip(SITES, adapter.gates(), strict=True):
        tensors |= {site.diffusers + PROCESSOR + key: value for key, value in layer.published().items()}
    return {key: value.detach().cpu().clone().contiguous() for key, value in tensors.items()}


def write_adapter(adapter: Adapter, target: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write an adapter as one safetensors file in the published naming; nothing half-written stays. CannotWrite."""
    record = {"format": "pt", "kind": "facechain-fact-adapter", "resampler_heads": str(adapter.sizes.resampler.heads)}
    record |= {"looks": str(adapter.looks)} if adapter.looks > 1 else {}
    record |= {"photos": AS_ONE} if adapter.as_one else {}
    write_tensors(adapter_tensors(adapter), target, record | dict(metadata or {}))


def write_encoder(encoder: FaceEncoder, target: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write an encoder as one safetensors file in the published naming; nothing half-written stays. CannotWrite."""
    record = {"format": "pt", "kind": "facechain-face-encoder", "heads": str(encoder.sizes.heads)}
    state = {key: value.detach().cpu().clone().contiguous() for key, value in encoder.state_dict().items()}
    write_tensors(state, target, record | dict(metadata or {}))


def convert(source: Path, target: Path, looks: int = 0, as_one: bool | None = None) -> None:
    """Turn an adapter or encoder file of any container into one safetensors file with metadata. BadInput, BadWeights, CannotWrite.

    looks: how often the adapter shall look at every photo; 0: as its file says. as_one: whether several photos of a person shall weigh as
    one; None: as its file says.
    """
    tensors, metadata = read_tensors(source)
    record = metadata | {"source": source.name}
    if looks and ("pos_embed" in tensors or not 1 <= looks <= len(LOOKS)):
        raise BadInput(f"--looks {looks} does not fit {source.name}: give an adapter, and looks at a photo from 1 to {len(LOOKS)}.")
    if as_one is not None and "pos_embed" in tensors:
        raise BadInput(f"--as-one is about adapters, and {source.name} is a face encoder: leave it out.")
    if "pos_embed" in tensors:
        write_encoder(read_encoder(source), target, record)
    else:
        adapter = read_adapter(source)
        adapter.looks = looks or adapter.looks
        adapter.as_one = adapter.as_one if as_one is None else as_one
        record.pop("photos", None)
        if all(tensor.dtype == torch.float16 for tensor in tensors.values()):
            adapter.half()  # as it was: in float32 the file would be twice as large and say no more
        write_adapter(adapter, target, record | {"looks": str(adapter.looks)})


def write_tensors(tensors: Tensors, target: Path, metadata: Mapping[str, str]) -> None:
    """Write a safetensors file so that it appears whole or not at all. CannotWrite where the folder or disk refuses."""
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            save_file(tensors, partial, dict(metadata))
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        raise CannotWrite(f"{target} cannot be written ({_first_line(error)}): choose another folder or free some space.") from error


def fingerprint(tensors: Iterable[Tensor]) -> str:
    """The first 12 hex digits of SHA-256 over the tensors' values in float32, the same for every container of the same numbers."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().float().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:12]


def _check_named(path: Path, keys: Iterable[str], tensors: Tensors) -> None:
    missing = [key for key in keys if key not in tensors]
    if missing:
        raise BadWeights(f"{path.name} is incomplete: {_some(missing)} missing; download it again.")


def _check_shapes(path: Path, shapes: Mapping[str, tuple[int, ...]], tensors: Tensors) -> None:
    _check_named(path, shapes, tensors)
    wrong = [
        f"{key} is {list(tensors[key].shape)}, expected {list(shape)}"
        for key, shape in shapes.items()
        if tuple(tensors[key].shape) != shape
    ]
    if wrong:
        raise BadWeights(f"{path.name} does not fit: {_some(wrong)}.")


FOREIGN = (
    ("lora_", "a LoRA"),
    ("model.diffusion_model.", "a Stable Diffusion checkpoint"),
    ("first_stage_model.", "a Stable Diffusion checkpoint"),
    ("control_model.", "a ControlNet"),
    ("input_hint_block.", "a ControlNet"),
    ("controlnet_cond_embedding.", "a ControlNet"),
    ("image_proj.", "an IP-Adapter"),
    (RESAMPLER, "a FACT adapter"),
    ("patch_embed.", "a face encoder"),
)


def _refuse_foreign(path: Path, tensors: Tensors, *, wanted: str, needed: tuple[str, ...]) -> None:
    """BadWeights saying what the file is instead, where it lacks what every file of the wanted kind has."""
    missing = [key for key in needed if key not in tensors]
    if not missing:
        return
    kind = next((name for prefix, name in FOREIGN if any(key.startswith(prefix) for key in tensors)), None)
    if kind is not None and kind != wanted:
        raise BadWeights(f"{path.name} is {kind}, not {wanted}: choose {wanted} file.")
    raise BadWeights(f"{path.name} is not a whole {wanted.split(' ', 1)[1]}: {_some(missing)} missing.")


def _log_extra(path: Path, extra: set[str]) -> None:
    norms = {key for key in extra if ".processor.ln." in key}
    if norms:
        log.info("%s carries %d copies of the base model's norm2 (processor.ln.*); they are ignored.", path.name, len(norms))
    if extra - norms:
        log.warning("%s carries %d tensors that are not used: %s.", path.name, len(extra - norms), _some(sorted(extra - norms)))


def _some(items: list[str], most: int = 3) -> str:
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]
