"""The library of saved persons: what is kept, what is not, names, two processes at once, and that delete deletes."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from facechain_ext.engine.identity import Identity
from facechain_ext.errors import BadInput, BadWeights, CannotWrite
from facechain_ext.store import library as library_module
from facechain_ext.store.library import Addition, Library, clean, header, library_of

ROOT = Path(__file__).parents[2]
PNG = b"\x89PNG thumbnail"


def identity(adapter="maj0", photos=("aa", "bb"), encoder="enc", seed=0) -> Identity:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(16 * len(photos), 8, generator=generator)
    return Identity(
        tokens=tokens, null=torch.zeros_like(tokens), embeddings=torch.randn(len(photos), 4, generator=generator), photos=photos,
        encoder=encoder, adapter=adapter,
    )  # fmt: skip


def addition(**more) -> Addition:
    return Addition(**{"identity": identity(), "adapter": "maj", "thumbnail": PNG, **more})


@pytest.fixture
def library(tmp_path) -> Library:
    return Library(tmp_path / "people")


def test_what_is_saved_comes_back_bit_for_bit(library):
    library.add("Anna", addition(consent="agreed, 2024-05-01"))
    one = library.person("anna")
    assert (one.name, one.photos, one.encoder, one.adapters) == ("Anna", ("aa", "bb"), "enc", {"maj0": "maj"})
    assert (one.thumbnail, one.consent, one.originals) == (PNG, "agreed, 2024-05-01", 0)
    back, given = library.identity("Anna", "maj0"), identity()
    assert (back.photos, back.encoder, back.adapter) == (given.photos, given.encoder, given.adapter)
    for name in ("tokens", "null", "embeddings"):
        assert torch.equal(getattr(back, name), getattr(given, name))


def test_it_is_one_safetensors_file_with_metadata(library):
    from safetensors import safe_open

    library.add("Anna", addition())
    assert [path.name for path in library.folder.iterdir()] == ["Anna.safetensors"]
    with safe_open(str(library.folder / "Anna.safetensors"), framework="pt") as file:
        assert sorted(file.keys()) == ["embeddings", "null.maj0", "tokens.maj0"] and file.metadata()["kind"] == "facechain-person"


def test_original_photos_are_kept_only_when_given(library):
    library.add("Anna", addition(originals=[b"jpeg one", b"jpeg two"]))
    assert library.person("Anna").originals == 2 and library.originals("Anna") == [b"jpeg one", b"jpeg two"]


def test_the_same_photos_for_another_adapter_join_the_person(library):
    library.add("Anna", addition())
    library.add("Anna", addition(identity=identity(adapter="film1", seed=3), adapter="film"))
    assert library.person("Anna").adapters == {"maj0": "maj", "film1": "film"}
    assert torch.equal(library.identity("Anna", "maj0").tokens, identity().tokens)
    assert torch.equal(library.identity("Anna", "film1").tokens, identity(adapter="film1", seed=3).tokens)


def test_a_person_of_another_adapter_says_so(library):
    library.add("Anna", addition())
    with pytest.raises(BadInput, match="Anna was saved for the adapter maj, not for the one in use"):
        library.identity("Anna", "film1")


def test_a_taken_name_is_refused_and_the_person_stays(library):
    library.add("Anna", addition())
    with pytest.raises(BadInput, match="a person called Anna already"):
        library.add("ANNA", addition(identity=identity(photos=("cc",))))
    with pytest.raises(BadInput, match="a person called Anna already"):
        library.add("Anna", addition(identity=identity(encoder="other")))
    assert library.person("Anna").photos == ("aa", "bb")
    library.add("Anna", addition(identity=identity(photos=("cc",))), replace=True)
    assert library.person("Anna").photos == ("cc",) and len(library.people()) == 1


def test_rename(library):
    library.add("Anna", addition())
    library.add("Eva", addition(identity=identity(photos=("ee",))))
    with pytest.raises(BadInput, match="called Eva already"):
        library.rename("Anna", "eva")
    assert library.rename("Anna", "anna").name in ("anna", "Anna") and len(library.people()) == 2
    library.rename("anna", "Zoë 周")
    assert [one.name for one in library.people()] == ["Eva", "Zoë 周"] and library.person("Zoë 周").photos == ("aa", "bb")


def test_delete_leaves_nothing(library):
    library.add("A[1]", addition(originals=[b"secret photo"]))
    (library.folder / "A[1].safetensors.123.partial").write_bytes(b"half of it")
    library.add("A1", addition())
    library.delete("a[1]")
    assert [path.name for path in library.folder.iterdir()] == ["A1.safetensors"]
    with pytest.raises(BadInput, match="No saved person is called 'A\\[1\\]'"):
        library.delete("A[1]")


def test_found_by_photos(library):
    library.add("One", addition(identity=identity(photos=("aa",))))
    library.add("Both", addition())
    library.add("Other", addition(identity=identity(photos=("aa", "zz"))))
    assert library.known_by(("bb", "aa")).name == "Both"  # type: ignore[union-attr]
    assert library.known_by(("aa",)).name == "One"  # type: ignore[union-attr]
    assert library.known_by(("bb",)) is None and library.known_by(()) is None


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("Anna", "Anna"), ("  Anna. ", "Anna"), ("../../etc/passwd", "etc_passwd"), ("a/b\\c:d", "a_b_c_d"), ("CON", "CON_"),
        ("lpt1.x", "lpt1.x_"),
        ("周杰", "周杰"), ("e\u0301", "é"), ("a\x00b\n", "a_b"), ("x" * 200, "x" * 60), (".hidden", "hidden"),
    ],
)  # fmt: skip
def test_names_fit_every_file_system(name, cleaned):
    assert clean(name) == cleaned


@pytest.mark.parametrize("name", ["", "   ", "...", "/", "\x00"])
def test_a_name_of_nothing_is_refused(name):
    with pytest.raises(BadInput, match="needs a name"):
        clean(name)


def test_nothing_is_written_outside_of_the_folder(library, tmp_path):
    library.add("../../../escaped", addition())
    assert [path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*.safetensors")] == ["people"]


def test_broken_and_foreign_files_are_left_out(library, caplog):
    from safetensors.torch import save_file

    library.add("Anna", addition())
    (library.folder / "broken.safetensors").write_bytes(b"\x10\x00")
    (library.folder / "huge.safetensors").write_bytes((2**60).to_bytes(8, "little") + b"{}")
    save_file({"x": torch.zeros(1)}, str(library.folder / "lora.safetensors"))
    assert [one.name for one in library.people()] == ["Anna"] and "broken.safetensors" in caplog.text
    with pytest.raises(ValueError, match="no safetensors header"):
        header(library.folder / "huge.safetensors")


def test_a_cut_off_file_is_named(library):
    library.add("Anna", addition())
    path = library.folder / "Anna.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(BadWeights, match="Anna"):
        library.identity("Anna", "maj0")


def test_an_empty_or_missing_folder_holds_nobody(library):
    assert library.people() == [] and library.known_by(("aa",)) is None


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "people").write_text("a file, not a folder")
    with pytest.raises(CannotWrite, match="cannot be written"):
        Library(tmp_path / "people").add("Anna", addition())


def test_of_many_who_take_one_name_at_once_one_has_it(library):
    outcomes: list[str] = []

    def add(number: int) -> None:
        try:
            library.add("Anna", addition(identity=identity(photos=(f"p{number}",), seed=number)))
            outcomes.append(f"p{number}")
        except BadInput:
            outcomes.append("refused")

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    saved = [one for one in outcomes if one != "refused"]
    assert len(saved) == 1 and library.person("Anna").photos == (saved[0],)
    assert [path.name for path in library.folder.iterdir()] == ["Anna.safetensors"]


WRITER = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from tests.store.test_library import addition, identity
from facechain_ext.store.library import Library
library = Library(Path(sys.argv[2]))
for number in range(10):
    library.add("Anna", addition(identity=identity(photos=(sys.argv[3], str(number)))), replace=True)
    library.add(f"{sys.argv[3]} {number}", addition())
"""


def test_two_processes_share_a_folder(library):
    command = [sys.executable, "-c", WRITER, str(ROOT), str(library.folder)]
    running = [subprocess.Popen([*command, name]) for name in ("one", "two")]
    while any(process.poll() is None for process in running):
        for person in library.people():  # whoever reads meanwhile sees whole files
            assert person.thumbnail == PNG
    assert [process.returncode for process in running] == [0, 0]
    assert len(library.people()) == 21 and not list(library.folder.glob("*.partial"))


@pytest.mark.parametrize("replace", [True, False])
def test_who_replaces_is_not_refused_for_somebody_who_was_quicker(library, monkeypatch, replace):
    write = Library._write

    def late(self, target, *what, **how):
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(b"of another process, since this one looked")
        write(self, target, *what, **how)

    monkeypatch.setattr(Library, "_write", late)
    if replace:
        assert library.add("Anna", addition(), replace=True).photos == ("aa", "bb")
    else:
        with pytest.raises(BadInput, match="called Anna already"):
            library.add("Anna", addition())


def test_without_hard_links_it_is_saved_too(library, monkeypatch):
    import os

    def refuse(*_args):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    library.add("Anna", addition())
    assert library.person("Anna").photos == ("aa", "bb")


def test_every_user_has_persons_of_their_own(tmp_path):
    """Those saved before anybody could log in, and without it, are where they always were: in the folder itself."""
    Library(tmp_path).add("Anna", addition())
    users = ("anna", "Anna", "../people", "users", "con", "a" * 100, "a" * 99 + "b", "陈晨")
    folders = {library_of(user, tmp_path).folder for user in users}
    assert len(folders) == len(users) and all(one.parent == tmp_path / "users" for one in folders)
    for at, user in enumerate(users):
        assert library_of(user, tmp_path).people() == []
        library_of(user, tmp_path).add(f"Person {at}", addition())
    assert [[one.name for one in library_of(user, tmp_path).people()] for user in users] == [[f"Person {at}"] for at in range(len(users))]
    assert [one.name for one in library_of("local", tmp_path).people()] == ["Anna"]
    with pytest.raises(BadInput, match="say whose"):
        library_of("", tmp_path)


def test_an_addition_is_not_changed(library):
    what = addition()
    library.add("Anna", what)
    assert what == replace(what)


@pytest.mark.parametrize(("pause", "act"), [
    ("_metadata", lambda library: library.add("Anna", addition(identity=identity(photos=("mine",), seed=1)))),
    ("merged", lambda library: library.merge(["Eva", "Ida"], "Anna")),
    ("_link", lambda library: library.rename("Eva", "Anna")),
], ids=["add", "merge", "rename"])  # fmt: skip
def test_a_name_taken_while_it_is_being_taken_is_not_overwritten(library, monkeypatch, pause, act):
    for name, photo in (("Eva", "e"), ("Ida", "i")):
        library.add(name, addition(identity=identity(photos=(photo,), seed=2)))
    real, rivals = getattr(library_module, pause), [addition(identity=identity(photos=("rival",), seed=3))]

    def meanwhile(*given):
        if rivals:
            Library(library.folder).add("Anna", rivals.pop())
        return real(*given)

    monkeypatch.setattr(library_module, pause, meanwhile)
    with pytest.raises(BadInput, match="called Anna already"):
        act(library)
    assert {one.name: one.photos for one in library.people()} == {"Anna": ("rival",), "Eva": ("e",), "Ida": ("i",)}


def test_a_name_may_change_its_capitals(library):
    library.add("Anna", addition())
    library.rename("Anna", "ANNA")
    assert [path.name for path in library.folder.iterdir()] == ["ANNA.safetensors"]
