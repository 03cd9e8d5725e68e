"""Low-rank changes: a file is taken up as it was written, or laid into the weights, and does what the host does with it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from facechain_ext.engine.checkpoints import write_tensors
from facechain_ext.errors import BadWeights
from facechain_ext.hosts.standalone.loras import applied
from facechain_ext.training.low_rank import LowRank, kohya_name, merge, take_up, targets
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


def test_laid_into_the_weights_it_does_what_the_host_does(tmp_path):
    file, _ = written(tmp_path)
    x, text = torch.randn(1, 4, 16, 16), torch.randn(1, 77, 32)
    one, other = networks(), networks()
    merge(one.unet, file)
    with torch.no_grad(), applied(other, [(file, 1.0)]):
        found, wanted = one.unet(x, 5, text).sample, other.unet(x, 5, text).sample
        assert torch.allclose(found, wanted, atol=1e-4)
    with torch.no_grad():
        assert (found - other.unet(x, 5, text).sample).abs().max() > 0.01, "the LoRA does something"


def test_the_change_by_hand(tmp_path):
    """alpha 2 of rank 4 halves up × down."""
    file, tensors = written(tmp_path)
    unet, name = networks().unet, kohya_name(MATRIX)
    before = dict(targets(unet))[MATRIX].weight.clone()
    merge(unet, file)
    change = 0.5 * tensors[f"{name}.lora_up.weight"] @ tensors[f"{name}.lora_down.weight"]
    assert torch.allclose(dict(targets(unet))[MATRIX].weight, before + change, atol=1e-5)


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
    with pytest.raises(BadWeights, match=f"no LoRA of these layers alone .{kohya_name(CONVOLUTION)}"):
        take_up(nn.ModuleDict({kohya_name(MATRIX): LowRank(layers[MATRIX], 4)}), file)
    for paths, rank in (((MATRIX, CONVOLUTION), 8), ((MATRIX, CONVOLUTION, MATRIX.replace("to_q", "to_k")), 4)):
        with pytest.raises(BadWeights, match="not a LoRA of the same layers and rank"):
            take_up(nn.ModuleDict({kohya_name(path): LowRank(layers[path], rank) for path in paths}), file)


BROKEN = {
    "half of it missing": {"lora_up.weight": None},
    "wider layers": {"lora_down.weight": torch.zeros(4, 64)},
    "turned round": {"lora_up.weight": torch.zeros(4, 32)},
    "two ranks": {"lora_up.weight": torch.zeros(32, 8)},
    "more than a LoRA": {"dora_scale": torch.ones(32, 1)},
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_lora_of_this_unet_is_named_and_changes_nothing(tmp_path, kind):
    """The layer that is whole comes first."""
    name = kohya_name("up_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q")
    _, tensors = written(tmp_path)
    whole = {f"{name}.lora_down.weight": torch.randn(4, 32), f"{name}.lora_up.weight": torch.randn(32, 4)}
    more = {f"{name}.{half}": value for half, value in BROKEN[kind].items()}
    given = {key: value for key, value in (tensors | whole | more).items() if value is not None}
    write_tensors(given, tmp_path / "broken.safetensors", {})
    unet = networks().unet
    before = {key: value.clone() for key, value in unet.state_dict().items()}
    with pytest.raises(BadWeights, match=f"no LoRA of these layers alone .{name}"):
        merge(unet, tmp_path / "broken.safetensors")
    assert all(torch.equal(value, before[key]) for key, value in unet.state_dict().items())


def test_a_lora_of_the_text_encoder_is_refused(tmp_path):
    write_tensors({"lora_te_text_model_encoder_layers_0_mlp_fc1.alpha": torch.ones(())}, tmp_path / "text.safetensors", {})
    with pytest.raises(BadWeights, match=r"no LoRA of these layers alone \(lora_te"):
        merge(networks().unet, tmp_path / "text.safetensors")
