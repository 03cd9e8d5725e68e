"""A LoRA file that somebody brings: is it one, for SD1.5, and which words call it. Read off the header; no tensor is loaded."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import struct
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from facechain_ext.errors import BadWeights, CannotWrite, UnsupportedModel
from facechain_ext.store.pictures import place

Kind = Literal["kohya", "diffusers", "lycoris"]
Shapes = dict[str, tuple[int, ...]]

LONGEST_HEADER = 100_000_000
SD15_TEXT = 768
MODELS = {768: "SD1.5", 1024: "SD2", 2048: "SDXL"}
"""Width of the text that a model's cross-attention reads."""

DOWN = re.compile(r".*[._](?:lora_down|lora_A|lora\.down|lora_linear_layer\.down)(?:\.default)?\.weight")
UP = {"lora_down": "lora_up", "lora_A": "lora_B", "lora.down": "lora.up", "layer.down": "layer.up"}
TEXT_KEYS = re.compile(r"attn2.*to_[kv]|^(?:lora_te_|text_encoder\.).*self_attn[._][qkv]_proj")
"""Layers that read text: from the encoder's states, or within the encoder."""
TEXT_ENCODER = re.compile(r"^(?:base_model\.model\.)?(?:lora_te_|text_encoder\.)")
UNET = re.compile(r"^(?:base_model\.model\.)?(?:lora_unet_|unet\.|(?:down_blocks|mid_block|up_blocks)\.)")
LYCORIS = re.compile(r"\.(?:hada_w[12]|lokr_w[12]|oft_blocks|diff$|a1\.weight$|on_input$)")
FOREIGN = (
    (re.compile(r"double_blocks|single_transformer_blocks|single_blocks"), "Flux"),
    (re.compile(r"joint_blocks|^transformer\."), "SD3 or Flux"),
    (re.compile(r"^(?:lora_te[12]_|text_encoder_2\.|lora_unet_(?:input|output)_blocks_)"), "SDXL"),
)
OTHERS = (
    ("model.diffusion_model.", "a whole checkpoint: put it into the folder of checkpoints"),
    ("emb_params", "a textual-inversion embedding: put it into the folder of embeddings"),
    ("string_to_param", "a textual-inversion embedding: put it into the folder of embeddings"),
    ("input_blocks.0.0.", "a ControlNet: put it into its folder"),
    ("controlnet_cond_embedding.", "a ControlNet: put it into its folder"),
    ("local_fac_prj.", "a FaceChain adapter: put it into the folder of adapters"),
    ("first_stage_model.", "a VAE: put it into the folder of VAEs"),
    ("decoder.conv_in.", "a VAE: put it into the folder of VAEs"),
    ("tokens.", "a saved person: import it on the page People"),
)
GENERAL = frozenset(
    {"1girl", "1boy", "solo", "girl", "woman", "boy", "man", "person", "realistic", "looking at viewer", "best quality", "masterpiece"}
)
"""Tags of nearly every training set, which call nothing."""
STATED_HASHES = ("sshs_model_hash", "sshs_legacy_hash")
"""Where kohya's trainer writes a LoRA's hashes."""
HEX = re.compile("[0-9a-f]{8,64}")
MOST_TRIGGERS = 5
OFTEN = 0.9
"""A tag on this part of the pictures or more is what the LoRA was taught to be called by."""


@dataclass(frozen=True, kw_only=True)
class LoraFile:
    """A LoRA for SD1.5. kind: kohya's and diffusers' work everywhere, lycoris only where the host knows it.

    rank: the largest; unet, text: what it changes; alias: the name it was trained under, or empty;
    triggers: the words to call it by, surest first.
    """

    path: Path
    kind: Kind
    layers: int
    rank: int
    unet: bool
    text: bool
    alias: str = ""
    triggers: tuple[str, ...] = ()


def lora_file(path: Path, *, text_width: int = SD15_TEXT) -> LoraFile:
    """Look at a file. BadWeights where it is no whole LoRA, UnsupportedModel where it is for another model than SD1.5.

    text_width: of the text the checkpoint in use reads, where that is another of SD1.5's structure (the demo world's is 128).
    """
    shapes, metadata = read_header(path)
    kind = _kind(path, shapes)
    _refuse_other_models(path, shapes, metadata, text_width)
    ranks = [] if kind == "lycoris" else _ranks(path, shapes)
    layers = len({key.split(".")[0] if key.startswith("lora_") else key.rsplit(".", 2)[0] for key in shapes if not key.endswith("alpha")})
    return LoraFile(
        path=path, kind=kind, layers=len(ranks) or layers, rank=max(ranks, default=0), unet=any(map(UNET.match, shapes)),
        text=any(map(TEXT_ENCODER.match, shapes)), alias=_said(metadata, "ss_output_name"), triggers=triggers(metadata),
    )  # fmt: skip


def read_header(path: Path) -> tuple[Shapes, dict[str, str]]:
    """Shapes and metadata of a safetensors file that is whole; BadWeights otherwise."""
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length)) if 2 <= length <= LONGEST_HEADER else {}
        metadata = header.pop("__metadata__", {})
        end = max((int(one["data_offsets"][1]) for one in header.values()), default=0)
        shapes = {key: tuple(int(side) for side in one["shape"]) for key, one in header.items()}
        whole = bool(shapes) and path.stat().st_size == 8 + length + end
    except OSError as error:
        raise BadWeights(f"{path.name} cannot be read ({error.strerror}): choose the file again.") from error
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise BadWeights(f"{path.name} is no safetensors file: choose a LoRA that ends in .safetensors.") from error
    if not whole:
        raise BadWeights(f"{path.name} is no complete safetensors file: download it again.")
    return shapes, {str(key): value for key, value in metadata.items() if isinstance(value, str)} if isinstance(metadata, dict) else {}


def triggers(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """The words that call a LoRA: as its maker states them, else the tags that stood on nearly all pictures it was trained on."""
    stated = [word.strip() for word in _said(metadata, "modelspec.trigger_phrase").split(",")]
    if any(stated):
        return tuple(dict.fromkeys(word for word in stated if word))[:MOST_TRIGGERS]
    frequency, folders = _mapping(metadata, "ss_tag_frequency"), _mapping(metadata, "ss_dataset_dirs")
    counted: Counter[str] = Counter()
    for tags in frequency.values():
        counted.update({str(tag).strip(): n for tag, n in tags.items() if isinstance(n, int) and n > 0} if isinstance(tags, dict) else {})
    counts = [one.get("img_count") for one in folders.values() if isinstance(one, dict)]
    pictures = sum(n for n in counts if isinstance(n, int)) or max(counted.values(), default=0)
    often = [tag for tag, n in counted.most_common() if n >= OFTEN * pictures and tag and tag.replace("_", " ") not in GENERAL]
    return tuple(often[:MOST_TRIGGERS]) or _folder_words(folders or frequency)


def install(path: Path, folder: Path, name: str = "") -> Path:
    """Copy a LoRA that was looked at into the host's folder and return where it is; the same file is not kept twice, no other replaced.

    name: what to call it, where that is not the file's own name.
    """
    stem = re.sub(r'[<>:"/\\|?*,()\[\]\x00-\x1f]+', "_", (name or path.name).removesuffix(".safetensors")).strip(" ._") or "lora"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        whole = folder / f".{uuid.uuid4().hex}.partial"
        try:
            shutil.copyfile(path, whole)
            number = 1
            while True:
                target = folder / (f"{stem}.safetensors" if number == 1 else f"{stem}-{number}.safetensors")
                if place(whole, target) or sha256(target) == sha256(path):
                    return target
                number += 1
        finally:
            whole.unlink(missing_ok=True)
    except OSError as error:
        raise CannotWrite(f"{path.name} cannot be copied to {folder} ({error.strerror}): free some space or check the folder.") from error


def _kind(path: Path, shapes: Shapes) -> Kind:
    downs = [key for key in shapes if DOWN.fullmatch(key)]
    if downs:
        return "kohya" if any(key.startswith("lora_") for key in downs) else "diffusers"
    if any(LYCORIS.search(key) for key in shapes):
        return "lycoris"
    what = next((what for mark, what in OTHERS if any(key.startswith(mark) for key in shapes)), None)
    if what:
        raise BadWeights(f"{path.name} is no LoRA but {what}.")
    raise BadWeights(f"{path.name} is no LoRA (its first tensor is {min(shapes)}): choose a LoRA for SD1.5.")


def _refuse_other_models(path: Path, shapes: Shapes, metadata: Mapping[str, str], text_width: int) -> None:
    foreign = next((model for pattern, model in FOREIGN if any(map(pattern.search, shapes))), None)
    width = next((shape[1] for key, shape in shapes.items() if TEXT_KEYS.search(key) and _inner(key) and len(shape) > 1), None)
    if width is None and _said(metadata, "ss_base_model_version").startswith(("sd_v2", "sdxl")):
        width = 1024 if _said(metadata, "ss_base_model_version").startswith("sd_v2") else 2048
    if foreign is None and width not in (None, text_width):
        foreign = MODELS.get(int(width or 0), f"another model (text of width {width})")
    if foreign:
        wanted = "for SD1.5" if text_width == SD15_TEXT else f"for text of width {text_width}, as the checkpoint in use"
        raise UnsupportedModel(f"{path.name} is a LoRA for {foreign}: choose one {wanted}.")
    if not any(UNET.match(key) or TEXT_ENCODER.match(key) for key in shapes):
        found = f"its first tensor is {min(shapes)}"
        raise UnsupportedModel(f"{path.name} is a LoRA for a model that is not known here ({found}): choose one for SD1.5.")


def _inner(key: str) -> bool:
    """Whether a tensor's second side is the width of what the layer reads."""
    return bool(DOWN.fullmatch(key)) or key.endswith(("hada_w1_b", "hada_w2_b"))


def _ranks(path: Path, shapes: Shapes) -> list[int]:
    """The rank of each layer. BadWeights where a half is missing or does not fit the other."""
    found = []
    for key, shape in shapes.items():
        if not DOWN.fullmatch(key):
            continue
        up = shapes.get(_counterpart(key))
        if up is None or len(up) < 2 or not shape or up[1] != shape[0] or math.prod(shape) == 0:
            raise BadWeights(f"{path.name} is a broken LoRA: {key} {list(shape)} has no fitting other half; download it again.")
        found.append(shape[0])
    return found


def _counterpart(key: str) -> str:
    down, up = next(pair for pair in UP.items() if pair[0] in key)
    return up.join(key.rsplit(down, 1))


def _folder_words(folders: Mapping[str, Any]) -> tuple[str, ...]:
    """kohya's folders are called "10_trigger class": the trigger without the repeats."""
    words = [re.sub(r"^\d+_", "", name).strip() for name in folders if re.match(r"^\d+_\S", name)]
    return tuple(dict.fromkeys(word for word in words if word.replace("_", " ") not in GENERAL))[:MOST_TRIGGERS]


def _mapping(metadata: Mapping[str, str], key: str) -> dict[str, Any]:
    try:
        found = json.loads(metadata.get(key, "{}"))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _said(metadata: Mapping[str, str], key: str) -> str:
    text = metadata.get(key, "").strip()
    return "" if text == "None" else text[:500]


def sha256(path: Path) -> str:
    """The hash of a file, by which a style finds its LoRA again under another name."""
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def hashes(path: Path) -> tuple[str, ...]:
    """Every hash under which a host may know a LoRA: of the whole file, of its tensors alone, and those its trainer wrote into it."""
    _, metadata = read_header(path)
    with open(path, "rb") as file:
        head = file.read(8)
        head += file.read(struct.unpack("<Q", head)[0])
        whole, tensors = hashlib.sha256(head), hashlib.sha256()
        while block := file.read(1 << 20):
            whole.update(block)
            tensors.update(block)
    stated = (_said(metadata, key).lower() for key in STATED_HASHES)
    return tuple(dict.fromkeys([whole.hexdigest(), tensors.hexdigest(), *(one for one in stated if HEX.fullmatch(one))]))
