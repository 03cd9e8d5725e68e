"""Which files are ours, by what is in them; where none is, which to put where."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from facechain_ext.errors import BadWeights
from facechain_ext.weights.locate import adapter_file, encoder_file, found, kind_of

GOLDEN = Path(__file__).parents[1] / "golden"


class Trap:
    """Unpickling this would be noticed."""

    opened = False

    def __reduce__(self):
        return (_spring, ())


def _spring():
    Trap.opened = True


@pytest.fixture
def folder(tmp_path) -> Path:
    shutil.copy(GOLDEN / "adapter_weights.safetensors", tmp_path / "b.safetensors")
    (tmp_path / "sub").mkdir()
    shutil.copy(GOLDEN / "adapter_weights.ckpt", tmp_path / "sub" / "A.ckpt")
    shutil.copy(GOLDEN / "transface_weights.safetensors", tmp_path / "zz.safetensors")
    shutil.copy(GOLDEN / "unet_weights.safetensors", tmp_path / "unet.safetensors")
    (tmp_path / "notes.txt").write_text("local_fac_prj.")
    (tmp_path / "broken.safetensors").write_bytes(b"local_fac_prj.")
    (tmp_path / "broken.ckpt").write_bytes(b"local_fac_prj.")
    return tmp_path


def test_files_are_told_apart_by_content(folder):
    assert [(one.name, one.kind) for one in found(folder)] == [("b", "adapter"), ("sub/A", "adapter"), ("zz", "encoder")]


def test_a_pickle_is_searched_and_never_run(tmp_path):
    torch.save({"local_fac_prj.latents": torch.zeros(1), "trap": Trap()}, tmp_path / "evil.ckpt")
    assert kind_of(tmp_path / "evil.ckpt") == "adapter" and not Trap.opened


def test_a_file_that_changes_is_looked_at_again(folder):
    path = folder / "b.safetensors"
    assert kind_of(path) == "adapter"
    shutil.copy(GOLDEN / "transface_weights.safetensors", path)
    assert kind_of(path) == "encoder"


def test_an_adapter_by_name_by_file_or_the_first(folder):
    assert adapter_file(folder).name == "b.safetensors"
    assert adapter_file(folder, "sub/A") == folder / "sub" / "A.ckpt" == adapter_file(folder, "A.ckpt") == adapter_file(folder, "A")


def test_a_wrong_name_is_answered_with_the_right_ones(folder):
    with pytest.raises(BadWeights, match=r"There is no adapter 'c' in .*: choose b or sub/A"):
        adapter_file(folder, "c")


def test_the_encoder_beside_the_adapter_goes_first(folder):
    assert encoder_file(folder).name == "zz.safetensors"
    shutil.copy(GOLDEN / "transface_weights.safetensors", folder / "sub" / "own.safetensors")
    assert encoder_file(folder, folder / "sub" / "A.ckpt").name == "own.safetensors"
    assert encoder_file(folder, folder / "b.safetensors").name == "zz.safetensors"


@pytest.mark.parametrize(("find", "file"), [(adapter_file, "adapter_maj_mask_large_new"), (encoder_file, "ms1mv2_model_TransFace_S.pt")])
def test_an_empty_or_missing_folder_says_what_to_put_there(find, file, tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(BadWeights, match=file) as error:
            find(folder)
        assert str(folder) in str(error.value)
