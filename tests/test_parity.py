"""The parity command: every part of the golden case, and that it notices what is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from facechain_ext.__main__ import main
from facechain_ext.errors import BadInput
from facechain_ext.parity import parity
from tests.engine.cases import GOLDEN

EXACT = {"head_mask": 0.0, "align_crop": 0.001}
PARTS = (
    "transface_tokens", "transface_embedding", "resampler_cond", "resampler_uncond", "layer", "unet_plain", "unet_scale_0", "unet_scale",
    "unet_scale_1", "loop", "align_matrix", "align_crop", "head_mask",
)  # fmt: skip


def test_the_golden_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["parity", str(GOLDEN)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert tuple(found) == PARTS
    assert {name: value for name, value in found.items() if value > EXACT.get(name, 1e-4)} == {}


@pytest.fixture
def case(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN, tmp_path / "case"))


def spoil(case: Path, name: str, key: str, by: float) -> None:
    tensors = load_file(case / f"{name}.safetensors")
    tensors[key] = tensors[key] + by
    save_file(tensors, case / f"{name}.safetensors")


@pytest.mark.parametrize(
    ("file", "key", "part"),
    [
        ("transface_io", "tokens", "transface_tokens"),
        ("resampler_io", "uncond", "resampler_uncond"),
        ("layer_io", "y", "layer"),
        ("loop_io", "result", "loop"),
    ],
)
def test_a_difference_is_reported_in_its_part(case: Path, file: str, key: str, part: str) -> None:
    spoil(case, file, key, 0.5)
    found = parity(case)
    scale = max(1.0, float(load_file(case / f"{file}.safetensors")[key].abs().max()))
    assert found[part] == pytest.approx(0.5 / scale, rel=1e-3)
    assert all(value <= 1e-3 for name, value in found.items() if name != part)


def test_a_pickle_that_differs_from_the_safetensors_file(case: Path) -> None:
    tensors = torch.load(case / "adapter_weights.ckpt", weights_only=True)
    tensors["local_fac_prj.latents"] += 1
    torch.save(tensors, case / "adapter_weights.ckpt")
    with pytest.raises(BadInput, match="differ in 1 tensors"):
        parity(case)


def test_what_is_no_case(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["parity", str(tmp_path)]) == 2
    assert "is no parity case: case.json" in capsys.readouterr().err
