"""What the tests of the standalone host share: the random demo model, and small LoRAs, ControlNets and identities for it."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from facechain_ext.demo.architecture import unet_key
from facechain_ext.demo.random import write_random
from facechain_ext.engine.checkpoints import read_adapter
from facechain_ext.engine.identity import Identity
from facechain_ext.engine.injection import Person
from facechain_ext.hosts.standalone.host import Standalone
from facechain_ext.hosts.types import Folders, Paint, Painted

Tensors = dict[str, Tensor]


@cache
def folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="facechain-tests-")


@cache
def demo() -> tuple[Path, Path, Path]:
    """Checkpoint, encoder and adapter of random numbers, made once for all tests."""
    here = Path(folder().name)
    paths = (here / "checkpoint.safetensors", here / "encoder.safetensors", here / "adapter.safetensors")
    write_random(*paths)
    return paths


@cache
def host() -> Standalone:
    return Standalone(demo()[0], device="cpu", dtype="fp32", folders=Folders(models=Path(folder().name)))


def ask(**changes: Any) -> Paint:
    """A small request, with changes."""
    usual: dict[str, Any] = {"prompt": "a cat", "negative": "a dog", "width": 64, "height": 64, "steps": 2, "sampler": "DDIM", "seed": 7}
    return Paint(**(usual | changes))


def paint(**changes: Any) -> list[Painted]:
    return list(host().paint(ask(**changes)))


def pixels(painted: Painted) -> np.ndarray:
    return np.asarray(painted.image).astype(int)


def same(a: Painted, b: Painted) -> bool:
    return bool((pixels(a) == pixels(b)).all())


def photo(width: int = 64, height: int = 64) -> Image.Image:
    """A picture with structure of every size."""
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([x * 255 // width, y * 255 // height, (x * y) % 256], axis=-1)
    return Image.fromarray(rgb.astype(np.uint8))


@cache
def adapter() -> Any:
    return read_adapter(demo()[2])


def person(seed: int = 3, null: int = 4, **changes: Any) -> Person:
    """A person of random tokens; `null` seeds the unconditional ones."""
    tokens, zero = (torch.randn(16, 128, generator=torch.Generator().manual_seed(s)) for s in (seed, null))
    identity = Identity(tokens=tokens, null=zero, embeddings=torch.ones(1, 1), photos=("x",), encoder="e", adapter="a")
    return Person(identity=identity, **changes)


def kohya_lora(unet: nn.Module, text_encoder: nn.Module, rank: int = 4, seed: int = 0) -> Tensors:
    """A LoRA of random numbers in kohya's naming for every matrix it usually covers."""
    generator, lora = torch.Generator().manual_seed(seed), {}
    for layer, weight in [*unet_matrices(unet), *text_matrices(text_encoder)]:
        rows, columns = weight.shape[:2]
        tail = (1, 1) if weight.dim() == 4 else ()
        lora[f"{layer}.lora_down.weight"] = torch.randn(rank, columns, *tail, generator=generator) * 0.2
        lora[f"{layer}.lora_up.weight"] = torch.randn(rows, rank, *tail, generator=generator) * 0.2
        lora[f"{layer}.alpha"] = torch.tensor(rank / 2)
    return lora


def unet_matrices(unet: nn.Module) -> list[tuple[str, Tensor]]:
    """kohya's names and the weights of a UNet's attention layers."""
    wanted = [(k, m) for k, m in unet.named_modules() if "transformer_blocks" in k or k.endswith(("proj_in", "proj_out"))]
    return [(f"lora_unet_{k.replace('.', '_')}", m.weight) for k, m in wanted if isinstance(m, (nn.Linear, nn.Conv2d))]


def text_matrices(text_encoder: nn.Module) -> list[tuple[str, Tensor]]:
    """kohya's names and the weights of CLIP's layers."""
    layers = [(k.removeprefix("text_model."), m) for k, m in text_encoder.named_modules() if "layers" in k]
    return [(f"lora_te_text_model_{k.replace('.', '_')}", m.weight) for k, m in layers if isinstance(m, nn.Linear)]


@cache
def controlnet() -> Any:
    """diffusers' ControlNet of the demo's width, its outputs not zero as they are before training."""
    from diffusers import ControlNetModel

    torch.manual_seed(5)
    model = ControlNetModel.from_unet(host().networks.unet, conditioning_embedding_out_channels=(16, 32, 96, 256))
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.05)
    return model.eval().requires_grad_(False)


def ldm_controlnet(model: nn.Module) -> Tensors:
    """A ControlNet under the names of lllyasviel's files, written down from them."""
    hint = {"conv_in": 0, "conv_out": 14} | {f"blocks.{i}": 2 * (i + 1) for i in range(6)}
    renamed = {}
    for key, value in model.state_dict().items():
        name, _, kind = key.rpartition(".")
        if name.startswith("controlnet_cond_embedding."):
            renamed[f"input_hint_block.{hint[name.removeprefix('controlnet_cond_embedding.')]}.{kind}"] = value
        elif name.startswith("controlnet_down_blocks."):
            renamed[f"zero_convs.{name.rpartition('.')[2]}.0.{kind}"] = value
        elif name == "controlnet_mid_block":
            renamed[f"middle_block_out.0.{kind}"] = value
        else:
            renamed[unet_key(key)] = value
    return {f"control_model.{key}": value.clone() for key, value in renamed.items()}
