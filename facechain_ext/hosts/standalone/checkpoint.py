"""An ordinary SD1.5 checkpoint, one file in LDM layout as every WebUI has it, as diffusers and transformers networks.

Nothing is downloaded: configurations come from presets/sd15, and every size in them is replaced by what the file's tensors have, so
the demo's small networks and the published ones load by the same code.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from facechain_ext.engine.checkpoints import read_tensors
from facechain_ext.errors import BadWeights, UnsupportedModel

PRESET = Path(__file__).parents[2] / "presets" / "sd15"
UNET, VAE, CLIP = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer."
CLIP_HEAD = 64  # channels of one attention head, in CLIP ViT-L/14 and in the demo


@dataclass(frozen=True, kw_only=True)
class Networks:
    """What a checkpoint holds, on one device; the VAE always in float32, whose half-precision overflows on some checkpoints."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer


def load_networks(path: Path, device: torch.device, dtype: torch.dtype) -> Networks:
    """The networks of a checkpoint file; UnsupportedModel where it is another kind of model, BadWeights where it is broken."""
    tensors, _ = read_tensors(path)
    refuse_others(tensors, path)
    return Networks(
        unet=_frozen(_unet(tensors, path, dtype).to(device)),
        vae=_frozen(_vae(tensors, path).to(device)),
        text_encoder=_frozen(_text_encoder(tensors, path, dtype).to(device)),
        tokenizer=CLIPTokenizer.from_pretrained(PRESET / "tokenizer", local_files_only=True),
    )


def build(unet: dict[str, Any], vae: dict[str, Any], clip: dict[str, Any]) -> tuple[UNet2DConditionModel, AutoencoderKL, CLIPTextModel]:
    """Fresh networks of the given sizes, for training or to be filled."""
    return UNet2DConditionModel(**unet), AutoencoderKL(**vae), CLIPTextModel(CLIPTextConfig(**clip))


def _frozen(module: Any) -> Any:
    return module.eval().requires_grad_(False)


def preset(name: str) -> dict[str, Any]:
    """SD1.5's configuration of one part: unet, vae, text_encoder, scheduler."""
    file = "scheduler_config.json" if name == "scheduler" else "config.json"
    return json.loads((PRESET / name / file).read_text(encoding="utf-8"))


def _starts(*prefixes: str) -> Callable[[str], bool]:
    return lambda key: key.startswith(prefixes)


def _holds(*parts: str) -> Callable[[str], bool]:
    return lambda key: any(part in key for part in parts)


SD15_ONLY = "the face adapter works with SD1.5 checkpoints only"
LORA = "is a LoRA, not a checkpoint: give it as LoRA beside an SD1.5 checkpoint"
CONTROLNET = "is a ControlNet, not a checkpoint: give it as ControlNet beside an SD1.5 checkpoint"

OTHERS: tuple[tuple[Callable[[str], bool], str], ...] = (
    (_starts("lora_unet_", "lora_te"), LORA),
    (_holds(".lora_A.", ".lora_B.", ".lora.up.", ".lora.down.", ".lora_up.", ".lora_down."), LORA),
    (_starts("control_model.", "zero_convs.", "controlnet_"), CONTROLNET),
    (_holds("local_fac_prj.", ".attn2.processor."), "is a face adapter, not a checkpoint: give it as adapter beside an SD1.5 checkpoint"),
    (_starts("patch_embed.", "senet."), "is a face encoder, not a checkpoint: give it as encoder beside an SD1.5 checkpoint"),
    (_starts("string_to_param", "emb_params"), "is a textual inversion, not a checkpoint: use an SD1.5 checkpoint"),
    (_starts("conditioner."), f"is an SDXL model: {SD15_ONLY}"),
    (_starts("cond_stage_model.model."), f"is an SD2 model: {SD15_ONLY}"),
    (_holds("double_blocks.", "joint_blocks."), f"is a Flux or SD3 model: {SD15_ONLY}"),
    (_starts("down_blocks."), "is the UNet alone in diffusers' layout: use the full SD1.5 checkpoint in one .safetensors file"),
    (_starts("encoder.conv_in.", "decoder.conv_in."), "is a VAE, not a checkpoint: use a full SD1.5 checkpoint"),
)
"""How files of other kinds are told by their keys, and what to say of them; asked in this order, of files that are no SD1.5 checkpoint."""


def refuse_others(tensors: dict[str, Tensor], path: Path) -> None:
    """Raise UnsupportedModel for every file that is not an SD1.5 checkpoint with its three parts."""
    first, mid = f"{UNET}input_blocks.0.0.weight", f"{UNET}middle_block.1.transformer_blocks.0.attn2.to_k.weight"
    if first in tensors and mid in tensors and any(key.startswith(CLIP) for key in tensors):
        return _refuse_variants(tensors, path)
    for match, verdict in OTHERS:
        if any(match(key) for key in tensors):
            raise UnsupportedModel(f"{path} {verdict}.")
    if first in tensors:
        missing = "middle block" if mid not in tensors else "text encoder"
        raise BadWeights(f"{path} lacks its {missing}: use the full SD1.5 checkpoint, not a part of it.")
    named = min(tensors, default="none")
    raise UnsupportedModel(f"{path} is not a Stable Diffusion checkpoint (its first tensor is {named}): use an SD1.5 one.")


def _refuse_variants(tensors: dict[str, Tensor], path: Path) -> None:
    channels = tensors[f"{UNET}input_blocks.0.0.weight"].shape[1]
    if channels != 4:
        kind = "an inpainting" if channels == 9 else "an instruct-pix2pix" if channels == 8 else "a special"
        raise UnsupportedModel(f"{path} is {kind} model ({channels} input channels): use an ordinary SD1.5 one, it inpaints too.")
    if tensors[f"{UNET}middle_block.1.proj_in.weight"].dim() == 2:
        raise UnsupportedModel(f"{path} is an SD2 model: {SD15_ONLY}.")
    if not any(key.startswith(f"{VAE}decoder.") for key in tensors):
        raise BadWeights(f"{path} has no VAE inside: use a checkpoint with its VAE baked in.")


def _need(tensors: dict[str, Tensor], key: str, path: Path) -> Tensor:
    if key not in tensors:
        raise BadWeights(f"{path} lacks {key}: use a complete SD1.5 model.")
    return tensors[key]


def _count(keys: Iterable[str], prefix: str) -> int:
    """How many numbered children the prefix has."""
    return len({key[len(prefix) :].split(".", 1)[0] for key in keys if key.startswith(prefix)})


def unet_sizes(tensors: dict[str, Tensor], prefix: str, path: Path) -> dict[str, Any]:
    """Widths of a UNet (or ControlNet) in LDM layout."""
    blocks = [_need(tensors, f"{prefix}input_blocks.{i}.0.out_layers.3.weight", path).shape[0] for i in (1, 4, 7, 10)]
    text = _need(tensors, f"{prefix}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", path).shape[1]
    return {"block_out_channels": tuple(blocks), "cross_attention_dim": text}


def _unet(tensors: dict[str, Tensor], path: Path, dtype: torch.dtype) -> UNet2DConditionModel:
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(preset("unet") | unet_sizes(tensors, UNET, path))
    part = {key: value for key, value in tensors.items() if key.startswith(UNET)}
    fill(unet, convert_ldm_unet_checkpoint(part, unet.config), path, "UNet", dtype)
    return unet


def _vae(tensors: dict[str, Tensor], path: Path) -> AutoencoderKL:
    levels = _count(tensors, f"{VAE}decoder.up.")  # the encoder's may have no residual layers, the decoder's have one more
    blocks = [_need(tensors, f"{VAE}decoder.up.{i}.block.0.conv2.weight", path).shape[0] for i in range(levels)]
    if levels != 4:
        raise UnsupportedModel(f"The VAE in {path} has {levels} levels instead of 4: use an SD1.5 checkpoint with an ordinary VAE.")
    sizes = {"block_out_channels": tuple(blocks), "layers_per_block": _count(tensors, f"{VAE}decoder.up.0.block.") - 1}
    with torch.device("meta"):
        vae = AutoencoderKL.from_config(preset("vae") | sizes)
    part = {key: value for key, value in tensors.items() if key.startswith(VAE)}
    fill(vae, convert_ldm_vae_checkpoint(part, vae.config), path, "VAE", torch.float32)
    return vae


def _text_encoder(tensors: dict[str, Tensor], path: Path, dtype: torch.dtype) -> CLIPTextModel:
    # Both spellings are about, with and without text_model.; transformers 5 dropped it from its own keys.
    part = {key.removeprefix(CLIP).removeprefix("text_model."): value for key, value in tensors.items() if key.startswith(CLIP)}
    words, positions = (_need(part, f"embeddings.{kind}_embedding.weight", path) for kind in ("token", "position"))
    width = words.shape[1]
    sizes = {
        "vocab_size": words.shape[0],
        "hidden_size": width,
        "intermediate_size": _need(part, "encoder.layers.0.mlp.fc1.weight", path).shape[0],
        "num_hidden_layers": _count(part, "encoder.layers."),
        "num_attention_heads": width // CLIP_HEAD,
        "max_position_embeddings": positions.shape[0],
        "projection_dim": width,
    }
    encoder = CLIPTextModel(CLIPTextConfig(**preset("text_encoder") | sizes))
    own = {key: key.removeprefix("text_model.") for key in encoder.state_dict()}
    fill(encoder, {key: part[plain] for key, plain in own.items() if plain in part}, path, "text encoder", dtype)
    return encoder


def same_width(module: nn.Module, other: nn.Module) -> bool:
    """Whether two networks agree in block widths and width of the text."""
    keys = ("block_out_channels", "cross_attention_dim")
    return all(tuple_of(module.config[key]) == tuple_of(other.config[key]) for key in keys)


def tuple_of(value: Any) -> tuple[Any, ...]:
    """A configuration value as a tuple, whether it was written as list, tuple or number."""
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def fill(module: nn.Module, state: Mapping[str, Tensor | None], path: Path, part: str, dtype: torch.dtype) -> None:
    """Load `state` as `dtype` into `module`, every tensor of it; what is missing or of another shape is named by its first keys."""
    wanted = module.state_dict()
    state = {key: value for key, value in state.items() if value is not None}  # diffusers' converters put None for what is missing
    missing = [key for key in wanted if key not in state]
    misshapen = [
        f"{key} {list(state[key].shape)} instead of {list(value.shape)}"
        for key, value in wanted.items()
        if key in state and state[key].shape != value.shape
    ]
    if missing or misshapen:
        found = "; ".join(f"{what} {_some(names)}" for what, names in (("missing", missing), ("misshapen", misshapen)) if names)
        raise BadWeights(f"The {part} in {path} does not fit Stable Diffusion 1.5 ({found}): use a complete SD1.5 model.")
    cast = {key: state[key].to(dtype) if state[key].is_floating_point() else state[key] for key in wanted}
    module.load_state_dict(cast, strict=True, assign=True)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
