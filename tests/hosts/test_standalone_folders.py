"""What a name means: a file of the folder, or a path."""

from __future__ import annotations

from pathlib import Path

import pytest

from facechain_ext.errors import BadInput
from facechain_ext.hosts.standalone.folders import locate


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    made = tmp_path / "Lora"
    made.mkdir()
    for path in (made / "glow.safetensors", tmp_path / "film.safetensors"):
        path.write_bytes(b"")
    (tmp_path / "glow").mkdir()
    monkeypatch.chdir(tmp_path)
    return made


def test_a_name_means_the_file_of_the_folder_whatever_lies_in_the_working_directory(folder) -> None:
    assert locate("glow", folder, "LoRA") == locate("glow.safetensors", folder, "LoRA") == folder / "glow.safetensors"


def test_a_path_means_itself(folder) -> None:
    assert locate("film.safetensors", folder, "LoRA") == Path("film.safetensors") and locate(Path("glow"), folder, "LoRA") == Path("glow")
    assert locate(Path("glow.safetensors"), folder, "LoRA") == folder / "glow.safetensors"


def test_what_is_neither_is_refused_with_the_name_that_is_close(folder) -> None:
    with pytest.raises(BadInput, match=r"There is no LoRA glos in .*: perhaps glow"):
        locate("glos", folder, "LoRA")
