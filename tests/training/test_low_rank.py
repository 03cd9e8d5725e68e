"""Low-rank changes: a file is taken up as strong as it was written, and refused where it changes others."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from facechain_ext.engine.checkpoints import write_tensors
from facechain_ext.errors import BadWeights
from facechain_ext.training.low_rank import LowRank, kohya_name, take_up, targets
from tests.training.fact_cases import networks

MATRIX = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
CONVOLUTION = "mid_block.attentions.0.proj_in"


def written(folder):
    """A LoRA of random numbers, rank 4 and alpha 2, on a matrix and a convolution."""
    torch.manual_seed(5)
    layers = dict(targets(networks().unet))
    tensors = {}
    for path in (MATRIX, CONVOLUTION):
        outside, inside, *kernel = layers[path].weight.shape
        name = kohya_name(path)
        tensors[f"{name}.lora_down.weight"] = torch.randn(4, inside, *kernel)
        tensors[f"{name}.lora_up.weight"] = torch.randn(outside, 4, *kernel)
        tensors[f"{name}.alpha"] = torch.tensor(2.0)
    file = folder / "lora.safetensors"
    write_tensors(tensors, file, {})
    return file, tensors


def test_taken_up_it_is_as_strong_as_the_file(tmp_path):
    """On random input a layer's change is that of the file's matrices, alpha / rank times."""
    file, tensors = written(tmp_path)
    layers = dict(targets(networks().unet))
    changes = nn.ModuleDict({kohya_name(path): LowRank(layers[path], 4) for path in (MATRIX, CONVOLUTION)})
    take_up(changes, file)
    x, name = torch.randn(3, layers[MATRIX].in_features), kohya_name(MATRIX)
    wanted = 0.5 * x @ tensors[f"{name}.lora_down.weight"].T @ tensors[f"{name}.lora_up.weight"].T
    assert torch.allclose(changes[name](x), wanted, atol=1e-4)
    assert changes[kohya_name(CONVOLUTION)].lora_down.weight.requires_grad


def test_what_does_not_fit_is_named(tmp_path):
    layers = dict(targets(networks().unet))
    file, _ = written(tmp_path)
    for paths, rank in (((MATRIX,), 4), ((MATRIX, CONVOLUTION), 8), ((MATRIX, CONVOLUTION, MATRIX.replace("to_q", "to_k")), 4)):
        with pytest.raises(BadWeights, match="not a LoRA of the same layers and rank"):
            take_up(nn.ModuleDict({kohya_name(path): LowRank(layers[path], rank) for path in paths}), file)
