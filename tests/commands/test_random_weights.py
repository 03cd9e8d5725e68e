"""`random-weights`: files that fit the checkpoint, and a sentence for every file that has no sizes to give."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from facechain_ext.__main__ import main
from facechain_ext.engine.checkpoints import read_adapter, read_encoder
from facechain_ext.engine.identity import identify
from facechain_ext.engine.sites import find_sites
from tests.fakes.networks import CHANNELS, CONTEXT, shared_unet


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "small.safetensors"
    save_file({f"model.diffusion_model.{key}": value.half() for key, value in shared_unet().state_dict().items()}, path)
    return path


def test_the_files_fit_the_checkpoint_and_each_other(checkpoint, tmp_path, capsys):
    assert main(["random-weights", "--like", str(checkpoint), "--out", str(tmp_path / "new" / "folder")]) == 0
    written = [tmp_path / "new" / "folder" / name for name in ("random.safetensors", "encoder.safetensors")]
    assert capsys.readouterr().out.split() == [str(path) for path in written]
    adapter, encoder = read_adapter(written[0]), read_encoder(written[1])
    assert adapter.sizes.channels == CHANNELS and adapter.sizes.resampler.out_dim == CONTEXT
    adapter.check_fits(find_sites(shared_unet()))
    assert all(layer.alpha_attn != 0 and layer.alpha_dense != 0 for layer in adapter.layers)
    one, other = (identify(encoder, adapter, torch.full((1, 112, 112, 3), grey, dtype=torch.uint8), ["a"]) for grey in (40, 200))
    assert torch.isfinite(one.tokens).all() and not torch.allclose(one.tokens, other.tokens)


def test_a_pickled_checkpoint_serves_as_well(checkpoint, tmp_path):
    torch.save({"state_dict": {f"model.diffusion_model.{k}": v for k, v in shared_unet().state_dict().items()}}, tmp_path / "small.ckpt")
    assert main(["random-weights", "--like", str(tmp_path / "small.ckpt"), "--out", str(tmp_path)]) == 0


def test_nothing_is_overwritten(checkpoint, tmp_path, capsys):
    (tmp_path / "encoder.safetensors").write_text("mine")
    assert main(["random-weights", "--like", str(checkpoint), "--out", str(tmp_path)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "encoder.safetensors").read_text() == "mine" and not (tmp_path / "random.safetensors").exists()


@pytest.mark.parametrize(
    ("name", "keys", "reason"),
    [
        ("lora.safetensors", ["lora_unet_x.lora_up.weight"], "holds no UNet"),
        ("sdxl.safetensors", ["model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"], "not of SD1.5's structure"),
        ("absent.safetensors", None, "is not there"),
    ],
)
def test_other_files_are_refused_with_the_reason(tmp_path, capsys, name, keys, reason):
    if keys:
        save_file({key: torch.zeros(2, 2) for key in keys}, tmp_path / name)
    assert main(["random-weights", "--like", str(tmp_path / name), "--out", str(tmp_path / "out")]) == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_broken_file_is_refused(tmp_path, capsys):
    (tmp_path / "half.safetensors").write_bytes(b"\x20\0\0\0\0\0\0\0{}")
    assert main(["random-weights", "--like", str(tmp_path / "half.safetensors"), "--out", str(tmp_path)]) == 2
    assert "not a complete safetensors file" in capsys.readouterr().err
