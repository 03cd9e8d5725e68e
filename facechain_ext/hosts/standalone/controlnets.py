"""ControlNets for SD1.5: a diffusers folder, or one file in the layout of lllyasviel's or of diffusers; sizes from the tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from PIL import Image
from torch import Tensor

from facechain_ext.engine.checkpoints import read_tensors
from facechain_ext.errors import BadWeights, UnsupportedModel
from facechain_ext.hosts.standalone.checkpoint import fill, same_width, unet_sizes

PREFIX = "control_model."


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A ControlNet at work: its picture as [1, 3, H, W] in [0, 1], its weight, and the part [start, end) of the steps."""

    model: ControlNetModel
    picture: Tensor
    weight: float
    start: float
    end: float

    def active(self, progress: float) -> bool:
        """Whether the unit acts at a step that begins after this fraction of all."""
        return self.weight != 0 and self.start <= progress < self.end


Residuals = tuple[list[Tensor], Tensor]
"""What ControlNets add to the UNet: to its 12 skip connections, and to its middle."""


def residuals(units: Sequence[Unit], x: Tensor, t: Tensor, text: Tensor, progress: float) -> Residuals | None:
    """The sum of what the active units add, or None where none is."""
    total: Residuals | None = None
    for unit in units:
        if not unit.active(progress):
            continue
        picture = unit.picture.expand(len(x), -1, -1, -1)
        down, mid = unit.model(x, t, text, controlnet_cond=picture, conditioning_scale=unit.weight, return_dict=False)
        total = (list(down), mid) if total is None else ([a + b for a, b in zip(total[0], down, strict=True)], total[1] + mid)
    return total


def load_controlnet(path: Path, unet: UNet2DConditionModel) -> ControlNetModel:
    """A ControlNet where the UNet is, in its dtype; UnsupportedModel where it was made for another width."""
    model = _from_folder(path, unet.dtype) if path.is_dir() else _from_file(path, unet.dtype)
    if not same_width(model, unet):
        theirs, ours = model.config["cross_attention_dim"], unet.config["cross_attention_dim"]
        raise UnsupportedModel(f"The ControlNet {path} is for another model (text of width {theirs}, not {ours}): use one for SD1.5.")
    return model.to(unet.device).eval().requires_grad_(False)


def _from_folder(path: Path, dtype: torch.dtype) -> ControlNetModel:
    try:
        return ControlNetModel.from_pretrained(path, local_files_only=True, torch_dtype=dtype)
    except (OSError, ValueError, RuntimeError) as error:
        needed = "config.json and diffusion_pytorch_model.safetensors"
        raise BadWeights(f"The folder {path} holds no usable ControlNet: it needs {needed}.") from error


def _from_file(path: Path, dtype: torch.dtype) -> ControlNetModel:
    tensors, _ = read_tensors(path)
    if any(key.startswith("lora_controlnet") for key in tensors):
        raise UnsupportedModel(f"{path} is a Control-LoRA: use a full ControlNet for SD1.5.")
    plain = {key.removeprefix(PREFIX): value for key, value in tensors.items()}
    if "controlnet_cond_embedding.conv_in.weight" in plain:
        sizes = _diffusers_sizes(plain, path)
    elif "input_hint_block.0.weight" in plain:
        sizes = unet_sizes(plain, "", path) | {"conditioning_embedding_out_channels": _hint(plain, "input_hint_block", (0, 4, 8, 12), path)}
    else:
        raise UnsupportedModel(f"{path} is not a ControlNet (its first tensor is {min(plain)}): use a ControlNet for SD1.5.")
    with torch.device("meta"):
        model = ControlNetModel(**sizes, attention_head_dim=8, norm_num_groups=32)
    fill(model, convert_controlnet_checkpoint(plain, model.config), path, "ControlNet", dtype)
    return model


def _diffusers_sizes(tensors: dict[str, Tensor], path: Path) -> dict[str, Any]:
    blocks = [tensors.get(f"down_blocks.{b}.resnets.0.conv2.weight") for b in range(4)]
    text = tensors.get("down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight")
    if text is None or any(block is None for block in blocks):
        raise UnsupportedModel(f"{path} is not a ControlNet for SD1.5: its blocks are others.")
    hint = tuple(tensors[f"controlnet_cond_embedding.{k}.weight"].shape[0] for k in ("conv_in", "blocks.1", "blocks.3", "blocks.5"))
    return {
        "block_out_channels": tuple(block.shape[0] for block in blocks if block is not None),
        "cross_attention_dim": text.shape[1],
        "conditioning_embedding_out_channels": hint,
    }


def _hint(tensors: dict[str, Tensor], prefix: str, layers: Sequence[int], path: Path) -> tuple[int, ...]:
    missing = [f"{prefix}.{i}.weight" for i in layers if f"{prefix}.{i}.weight" not in tensors]
    if missing:
        raise BadWeights(f"The ControlNet {path} lacks {missing[0]}: download it again.")
    return tuple(tensors[f"{prefix}.{i}.weight"].shape[0] for i in layers)


def control_picture(image: Image.Image, width: int, height: int, like: Tensor) -> Tensor:
    """A control picture as the network reads it, [1, 3, H, W] in [0, 1]."""
    import numpy as np

    sized = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(sized, dtype=np.float32) / 255).permute(2, 0, 1)[None].to(like)
