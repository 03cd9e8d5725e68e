"""A trained base model as one checkpoint file: the standalone host reads the very networks back."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from facechain_ext.demo.architecture import CLIP, UNET, VAE
from facechain_ext.errors import BadInput, BadWeights
from facechain_ext.hosts.standalone.checkpoint import build, load_networks
from facechain_ext.training import checkpoint
from facechain_ext.training.base import BaseSettings, BaseTrainee
from facechain_ext.training.checkpoint import save_weights
from facechain_ext.training.export import ExportSettings, export
from facechain_ext.training.vae import read_vae
from tests.training.test_restart import write_set


def trained_in(folder):
    """Random networks as two trainings leave them in a folder, and the settings that export them."""
    torch.manual_seed(0)
    unet, vae, text = build(UNET, VAE, CLIP)
    parts = {"unet": unet, "text": text}
    save_weights(folder / "base.safetensors", {f"{name}.{k}": v for name, part in parts.items() for k, v in part.state_dict().items()})
    save_weights(folder / "vae.safetensors", vae.state_dict())
    return unet, vae, text, ExportSettings(base=str(folder / "base.safetensors"), vae=str(folder / "vae.safetensors"))


def test_the_exported_checkpoint_holds_what_was_trained(tmp_path):
    unet, vae, text, settings = trained_in(tmp_path)
    read = load_networks(export(settings, tmp_path / "out"), torch.device("cpu"), torch.float32)
    for ours, theirs in ((unet, read.unet), (vae, read.vae), (text, read.text_encoder)):
        assert all(torch.equal(value.half().float(), theirs.state_dict()[key]) for key, value in ours.state_dict().items())
    model = json.loads((tmp_path / "out" / "checkpoint.yaml").read_text())["model"]
    assert model["params"]["unet_config"]["params"]["model_channels"] == 32


def test_a_checkpoint_takes_another_decoder_and_stays_what_it_was(tmp_path):
    """Bit for bit: exported from a checkpoint, with the VAE of a training that changed it."""
    _, vae, _, settings = trained_in(tmp_path)
    made = export(settings, tmp_path / "out")
    with torch.no_grad():
        vae.decoder.conv_out.bias.add_(1)
    save_weights(tmp_path / "newer.safetensors", vae.state_dict())
    again = export(ExportSettings(base=str(made), vae=str(tmp_path / "newer.safetensors")), tmp_path / "again")
    one, other = (load_file(path) for path in (made, again))
    assert one.keys() == other.keys()
    assert [key for key in one if not torch.equal(one[key], other[key])] == ["first_stage_model.decoder.conv_out.bias"]
    assert torch.equal(other["first_stage_model.decoder.conv_out.bias"], vae.decoder.conv_out.bias.detach().half())


def test_decoders_that_were_trained_from_one_another_are_blended(tmp_path):
    """By hand: 0.25 of one bias and 0.75 of the other; what the latents come from must be the same."""
    _, vae, _, settings = trained_in(tmp_path)
    with torch.no_grad():
        vae.decoder.conv_out.bias.copy_(torch.tensor([1.0, 2.0, 4.0]))
        save_weights(tmp_path / "one.safetensors", vae.state_dict())
        vae.decoder.conv_out.bias.copy_(torch.tensor([5.0, 2.0, 0.0]))
        save_weights(tmp_path / "two.safetensors", vae.state_dict())
        vae.encoder.conv_in.bias.add_(1)
        save_weights(tmp_path / "other.safetensors", vae.state_dict())
    given = f"{tmp_path / 'one.safetensors'}=0.25, {tmp_path / 'two.safetensors'}=0.75"
    made = load_file(export(replace(settings, vae=given), tmp_path / "out"))
    assert made["first_stage_model.decoder.conv_out.bias"].tolist() == [4.0, 2.0, 1.0]
    assert torch.equal(made["first_stage_model.encoder.conv_in.weight"], vae.encoder.conv_in.weight.detach().half())
    with pytest.raises(BadInput, match=r"other\.safetensors has other latents than .*one\.safetensors: blend what"):
        export(replace(settings, vae=given.replace("two", "other")), tmp_path / "out")
    with pytest.raises(BadInput, match=r"--vae has 2 whose shares add up to 1\.5"):
        export(replace(settings, vae=given.replace("0.25", "0.75")), tmp_path / "out")


def test_a_training_begins_with_an_exported_checkpoint(tmp_path):
    unet, _, text, settings = trained_in(tmp_path)
    write_set(tmp_path / "set", 2, (16, 16))
    begun = BaseTrainee(
        BaseSettings(begin=str(export(settings, tmp_path / "out")), data=str(tmp_path / "set"), pictures=2), torch.device("cpu")
    )
    for ours, theirs in ((unet, begun.unet), (text, begun.text)):
        assert all(torch.equal(value.half().float(), theirs.state_dict()[key]) for key, value in ours.state_dict().items())
    assert all(weight.requires_grad for weight in begun.parameters)
    begun.step(0, np.random.default_rng(0))
    assert not torch.equal(begun.unet.conv_in.weight, unet.conv_in.weight.half().float())


def test_a_vae_is_read_from_its_training_or_from_a_checkpoint(tmp_path, monkeypatch):
    _, vae, _, settings = trained_in(tmp_path)
    made = export(settings, tmp_path / "out")
    of_training, of_checkpoint = read_vae(str(tmp_path / "vae.safetensors")), read_vae(str(made))
    for key, value in vae.state_dict().items():
        assert torch.equal(of_training.state_dict()[key], value)
        assert torch.equal(of_checkpoint.state_dict()[key], value.half().float())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(checkpoint, "TRAINED", tmp_path / "out")
    assert torch.equal(read_vae("").decoder.conv_in.weight, of_checkpoint.decoder.conv_in.weight), "the product's where none was trained"
    (tmp_path / "cache" / "facechain" / "training" / "vae").mkdir(parents=True)
    save_weights(tmp_path / "cache" / "facechain" / "training" / "vae" / "vae.safetensors", vae.state_dict())
    assert torch.equal(read_vae("").decoder.conv_in.weight, vae.decoder.conv_in.weight), "one's own comes first"


def test_what_is_not_trained_yet_is_named(tmp_path):
    with pytest.raises(BadWeights, match="run the training that makes them first"):
        export(ExportSettings(base=str(tmp_path / "none.safetensors")), tmp_path)
