"""Low-rank changes of a UNet's transformers, as kohya's LoRA files hold them (FACTS §1.5)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from torch import Tensor, nn

from facechain_ext.engine.checkpoints import read_tensors
from facechain_ext.training.checkpoint import fill


class LowRank(nn.Module):
    """The change of one matrix, or of one convolution of single cells: up(down(x)), nothing at first."""

    def __init__(self, layer: nn.Linear | nn.Conv2d, rank: int) -> None:
        super().__init__()
        outside, inside, *kernel = layer.weight.shape
        self.rank = rank
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
    tensors, _ = read_tensors(path)
    filled = {key: value.float() for key, value in tensors.items() if not key.endswith(".alpha")}
    for name, change in changes.items():
        up, alpha = f"{name}.lora_up.weight", tensors.get(f"{name}.alpha")
        if isinstance(change, LowRank) and alpha is not None and up in filled:
            filled[up] *= float(alpha) / change.rank
    fill(changes, filled, path, "a LoRA of the same layers and rank")
