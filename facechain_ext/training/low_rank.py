"""Low-rank changes of a UNet's transformers, as kohya's LoRA files hold them (FACTS §1.5)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from facechain_ext.engine.checkpoints import read_tensors
from facechain_ext.errors import BadWeights
from facechain_ext.training.checkpoint import fill


class LowRank(nn.Module):
    """The change of one matrix, or of one convolution of single cells: up(down(x)), nothing at first."""

    def __init__(self, layer: nn.Linear | nn.Conv2d, rank: int) -> None:
        super().__init__()
        outside, inside, *kernel = layer.weight.shape
        self.sizes = tuple(layer.weight.shape)
        made = partial(nn.Conv2d, kernel_size=1, bias=False) if kernel else partial(nn.Linear, bias=False)
        self.lora_down, self.lora_up = made(inside, rank), made(rank, outside)
        nn.init.normal_(self.lora_down.weight, std=1 / rank)
        nn.init.zeros_(self.lora_up.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.lora_up(self.lora_down(x))


def targets(unet: nn.Module, attention: bool = False) -> list[tuple[str, nn.Linear | nn.Conv2d]]:
    """What is changed: every matrix and 1 × 1 convolution of the transformers, which is what kohya's trainer takes too.

    attention: those of both attentions alone.
    """
    parts = (".attn1.", ".attn2.") if attention else (".attentions.",)
    found = [(path, module) for path, module in unet.named_modules() if any(part in path for part in parts)]
    return [(path, module) for path, module in found if isinstance(module, nn.Linear | nn.Conv2d)]


def kohya_name(path: str) -> str:
    """kohya's name of a layer of diffusers' UNet."""
    return f"lora_unet_{path.replace('.', '_')}"


def take_up(changes: nn.ModuleDict, path: Path) -> None:
    """Fill changes by kohya's names with those of a file, at its full strength. BadWeights where it changes others, or by another rank."""
    found = _read(path, {name: change.sizes for name, change in changes.items() if isinstance(change, LowRank)})
    filled = {}
    for name, (up, down) in found.items():
        filled |= {f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down}
    fill(changes, filled, path, "a LoRA of the same layers and rank")


def merge(unet: nn.Module, path: Path) -> None:
    """Lay a LoRA's changes into the weights of a UNet for good. BadWeights where it changes anything but the UNet's transformers."""
    layers = {kohya_name(name): layer for name, layer in targets(unet)}
    found = _read(path, {name: tuple(layer.weight.shape) for name, layer in layers.items()})
    with torch.no_grad():
        for name, (up, down) in found.items():
            weight = layers[name].weight
            weight += (up.flatten(1) @ down.flatten(1)).view_as(weight).to(weight)


def _read(path: Path, sizes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[Tensor, Tensor]]:
    """Both halves of every layer's change, the upper one at the file's full strength; sizes of the layers by kohya's names. BadWeights."""
    tensors, _ = read_tensors(path)
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for name in sorted({key.partition(".")[0] for key in tensors}):
        own = {key.partition(".")[2]: value for key, value in tensors.items() if key.partition(".")[0] == name}
        if name not in sizes or own.keys() - {"alpha"} != {"lora_up.weight", "lora_down.weight"}:
            raise _foreign(path, name)
        up, down = own["lora_up.weight"].float(), own["lora_down.weight"].float()
        outside, inside, *kernel = sizes[name]
        if (tuple(up.shape), tuple(down.shape)) != ((outside, len(down), *kernel), (len(down), inside, *kernel)):
            raise _foreign(path, name)
        found[name] = up * (float(own["alpha"]) / len(down) if "alpha" in own else 1.0), down
    return found


def _foreign(path: Path, what: str) -> BadWeights:
    return BadWeights(f"{path} is no LoRA of these layers alone ({what}): give one that `train-style-lora` made of this checkpoint.")
