"""The demo model of random numbers: the published structure, and the same bytes wherever it is made."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from facechain_ext.demo import architecture, model
from facechain_ext.demo.architecture import ENCODER, RESAMPLER, SITES, ldm_config, to_ldm
from facechain_ext.demo.random import write_random
from facechain_ext.engine.checkpoints import read_adapter, read_encoder
from facechain_ext.engine.encoder import EncoderSizes
from facechain_ext.engine.resampler import ResamplerSizes
from facechain_ext.errors import CannotWrite

NAMES = ("checkpoint.safetensors", "encoder.safetensors", "adapter.safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("demo")
    write_random(*(made / name for name in NAMES))
    return made


def test_another_process_makes_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    code = "import sys, pathlib; from facechain_ext.demo.random import write_random; write_random(*map(pathlib.Path, sys.argv[1:]))"
    subprocess.run([sys.executable, "-c", code, *(str(tmp_path / name) for name in NAMES)], check=True)
    assert all((tmp_path / name).read_bytes() == (folder / name).read_bytes() for name in NAMES)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES)  # nothing half-written lies about


def test_encoder_is_transface_in_small(folder: Path) -> None:
    tensors = load_file(folder / "encoder.safetensors")
    assert len(tensors) == 152 - 6 * 11  # published: 152 tensors at depth 12, 11 in each block
    assert read_encoder(folder / "encoder.safetensors").sizes == EncoderSizes(**ENCODER)


def test_adapter_is_the_published_one_in_small(folder: Path) -> None:
    tensors = load_file(folder / "adapter.safetensors")
    assert sum(key.startswith("local_fac_prj.") for key in tensors) == 51 - 2 * 11  # published: 51 at depth 4, 11 in each layer
    assert sum(".attn2.processor." in key for key in tensors) == 16 * 17
    adapter = read_adapter(folder / "adapter.safetensors")
    assert adapter.sizes.resampler == ResamplerSizes(**RESAMPLER)
    assert adapter.sizes.channels == tuple(SITES.values()) == (32, 32, 64, 64, *[128] * 6, 64, 64, 64, 32, 32, 32)
    assert all(value.abs() > 0.1 for key, value in tensors.items() if "alpha" in key)  # open gates


def test_the_numbers_are_sane(folder: Path) -> None:
    for name in NAMES:
        for key, value in load_file(folder / name).items():
            assert value.isfinite().all(), key
            assert value.unique().numel() > 1 or value.numel() == 1, key


def fresh() -> tuple[torch.nn.Module, ...]:
    from facechain_ext.hosts.standalone.checkpoint import build

    torch.manual_seed(1)
    return build(architecture.UNET, architecture.VAE, architecture.CLIP)


def test_ldm_layout_goes_back_to_diffusers() -> None:
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint

    unet, vae, clip = fresh()
    state = to_ldm(unet, vae, clip)
    for network, back in ((unet, convert_ldm_unet_checkpoint), (vae, convert_ldm_vae_checkpoint)):
        found, expected = back(dict(state), network.config), network.state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_ldms_own_classes_take_the_layout_by_the_yaml() -> None:
    from ldm.modules.diffusionmodules.model import Decoder, Encoder
    from ldm.modules.diffusionmodules.openaimodel import UNetModel

    state = to_ldm(*fresh())
    params = ldm_config("clip")["model"]["params"]
    vae = params["first_stage_config"]["params"]["ddconfig"]
    parts = {
        "model.diffusion_model.": UNetModel(**params["unet_config"]["params"]),
        "first_stage_model.encoder.": Encoder(**vae),
        "first_stage_model.decoder.": Decoder(**vae),
    }
    for prefix, network in parts.items():
        network.load_state_dict({key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}, strict=True)
    assert params["cond_stage_config"]["params"]["version"] == "clip"


def test_unknown_parameters_are_not_guessed() -> None:
    for rename in (architecture.unet_key, architecture.vae_key):
        with pytest.raises(KeyError, match="add_embedding"):
            rename("add_embedding.linear_1.weight")


def no_trained_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(model, "TRAINED", tmp_path / "no weights here")


def test_random_files_are_made_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    no_trained_files(monkeypatch, tmp_path)
    first = model.demo_files(tmp_path)
    times = [path.stat().st_mtime_ns for path in (first.checkpoint, first.encoder, first.adapter)]
    again = model.demo_files(tmp_path)
    assert again == first
    assert [path.stat().st_mtime_ns for path in (again.checkpoint, again.encoder, again.adapter)] == times
    assert not first.trained
    assert "noise" in first.note


def test_trained_files_take_their_place_by_being_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    monkeypatch.setattr(model, "TRAINED", weights)
    for name in NAMES:
        (weights / name).write_bytes(b"x")
    files = model.demo_files(tmp_path / "cache")
    assert files.trained
    assert (files.checkpoint, files.encoder, files.adapter) == tuple(weights / name for name in NAMES)
    assert not (tmp_path / "cache").exists()


def test_a_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    no_trained_files(monkeypatch, tmp_path)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CannotWrite):
        model.demo_files(tmp_path / "file")
