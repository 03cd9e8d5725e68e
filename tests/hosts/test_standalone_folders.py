"""What a name means: a file of the folder, or a path."""

from __future__ import annotations

from pathlib import Path

import pytest

from facechain_ext.errors import BadInput
from facechain_ext.hosts.standalone.folders import listed, listed_loras, locate


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


def test_files_of_one_name_are_told_apart_by_their_place(folder) -> None:
    for place in ("people/anna.safetensors", "styles/anna.safetensors", "styles/v1.5.safetensors", "styles/glow.safetensors", "x/y.pt"):
        (folder / place).parent.mkdir(exist_ok=True)
        (folder / place).write_bytes(b"")
    (folder / "x" / "y.safetensors").write_bytes(b"")
    assert {name: path.relative_to(folder).as_posix() for name, path in listed(folder).items()} == {
        "glow": "glow.safetensors", "people/anna": "people/anna.safetensors", "styles/anna": "styles/anna.safetensors",
        "styles/glow": "styles/glow.safetensors", "v1.5": "styles/v1.5.safetensors", "x/y.pt": "x/y.pt",
        "x/y.safetensors": "x/y.safetensors",
    }  # fmt: skip
    assert [one.name for one in listed_loras(folder)] == list(listed(folder))
    assert locate("styles/anna", folder, "LoRA") == folder / "styles" / "anna.safetensors"
    assert locate("glow", folder, "LoRA") == folder / "glow.safetensors", "the one that lies in no sub-folder"
    assert locate(folder / "people" / "anna.safetensors", folder, "LoRA") == folder / "people" / "anna.safetensors"
    for name in ("anna", "anna.safetensors"):
        with pytest.raises(BadInput, match=r"2 files called anna\S* in .*: choose people/anna or styles/anna\."):
            locate(name, folder, "LoRA")


def test_what_comes_with_the_product_stands_beside_the_persons_own(folder, tmp_path) -> None:
    shipped = tmp_path / "shipped" / "Lora"
    shipped.mkdir(parents=True)
    for name in ("glow", "woodcut"):
        (shipped / f"{name}.safetensors").write_bytes(b"")
    assert listed(folder, shipped) == {"glow": folder / "glow.safetensors", "woodcut": shipped / "woodcut.safetensors"}
    assert listed(None, shipped)["glow"] == shipped / "glow.safetensors" and listed(folder, tmp_path / "nowhere") == listed(folder)
    assert locate("woodcut", folder, "LoRA", shipped) == shipped / "woodcut.safetensors"
    assert locate("glow", folder, "LoRA", shipped) == folder / "glow.safetensors"
    assert [one.name for one in listed_loras(folder, shipped)] == ["glow", "woodcut"]
