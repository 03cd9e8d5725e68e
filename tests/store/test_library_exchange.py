"""People merged, given away as one file and taken in again; files made to harm."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from facechain_ext.engine.identity import join
from facechain_ext.errors import BadInput, CannotWrite
from facechain_ext.store import exchange
from facechain_ext.store.library import Addition, Library, header
from tests.store.test_library import identity


def png(colour: str = "red") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (12, 9), colour).save(out, format="PNG")
    return out.getvalue()


def addition(**more) -> Addition:
    return Addition(**{"identity": identity(), "adapter": "maj", "thumbnail": png(), **more})


@pytest.fixture
def library(tmp_path) -> Library:
    return Library(tmp_path / "people")


@pytest.fixture
def elsewhere(tmp_path) -> Library:
    return Library(tmp_path / "elsewhere")


def same(one: Library, name: str, other: Library, called: str, adapter: str = "maj0") -> bool:
    a, b = one.identity(name, adapter), other.identity(called, adapter)
    tensors = all(torch.equal(getattr(a, part), getattr(b, part)) for part in ("tokens", "null", "embeddings"))
    return tensors and (a.photos, a.encoder) == (b.photos, b.encoder)


# merging


def test_merged_people_are_what_all_their_photos_give(library):
    one, two = identity(photos=("aa", "bb")), identity(photos=("cc",), seed=5)
    library.add("Anna", addition(identity=one, consent="agreed A", originals=[png("red")]))
    library.add("Ann", addition(identity=two, consent="agreed B", originals=[png("blue"), png("red")], thumbnail=png("blue")))
    merged = library.merge(["Anna", "Ann"], "anna")
    assert [person.name for person in library.people()] == ["Anna"] and merged.photos == ("aa", "bb", "cc")
    assert (merged.consent, merged.thumbnail, merged.originals) == ("agreed A agreed B", png(), 2)
    whole, mine = join([one, two]), library.identity("Anna", "maj0")
    assert all(torch.equal(getattr(whole, part), getattr(mine, part)) for part in ("tokens", "null", "embeddings"))


def test_merged_tokens_are_those_of_the_networks_for_all_photos_together(library):
    """The claim that nothing has to be computed anew, by the real networks at small sizes."""
    from facechain_ext.engine.identity import identify
    from tests.engine.cases import golden

    encoder, adapter = golden().encoder(), golden().adapter()
    crops = torch.randint(0, 256, (3, 112, 112, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    marks = ("aa", "bb", "cc")
    for name, of in (("One", slice(0, 2)), ("Two", slice(2, 3))):
        library.add(name, addition(identity=identify(encoder, adapter, crops[of], marks[of])))
    library.merge(["One", "Two"], "Both")
    together, merged = identify(encoder, adapter, crops, marks), library.identity("Both", adapter.fingerprint)
    assert merged.photos == marks and torch.equal(merged.null, together.null)
    assert (merged.tokens - together.tokens).abs().max() <= 1e-5 * together.tokens.abs().max()
    assert (merged.embeddings - together.embeddings).abs().max() <= 1e-5


def test_a_photo_of_both_counts_once(library):
    one, two = identity(photos=("aa", "bb")), identity(photos=("bb", "cc"), seed=5)
    library.add("One", addition(identity=one))
    library.add("Two", addition(identity=two))
    library.merge(["One", "Two"], "One")
    merged = library.identity("One", "maj0")
    assert merged.photos == ("aa", "bb", "cc")
    assert torch.equal(merged.tokens, torch.cat([one.tokens, two.tokens[16:]]))
    assert torch.equal(merged.embeddings, torch.cat([one.embeddings, two.embeddings[1:]]))


def test_only_adapters_of_everyone_remain_and_consent_only_where_all_have_it(library):
    library.add("One", addition(consent="agreed"))
    library.add("One", addition(identity=identity(adapter="film1", seed=3), adapter="film", consent="agreed"))
    library.add("Two", addition(identity=identity(photos=("cc",), adapter="film1", seed=4), adapter="film"))
    merged = library.merge(["One", "Two"], "Both")
    assert merged.adapters == {"film1": "film"} and merged.consent == ""


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (identity(photos=("cc",), encoder="another"), "different face encoders"),
        (identity(photos=("cc",), adapter="film1"), "different adapters"),
        (identity(photos=tuple(f"p{n}" for n in range(63))), "Together they have 65 photos: 64 are the most"),
    ],
)
def test_what_cannot_be_merged_stays(library, other, says):
    library.add("One", addition())
    library.add("Two", addition(identity=other))
    with pytest.raises(BadInput, match=says):
        library.merge(["One", "Two"], "Both")
    assert [one.name for one in library.people()] == ["One", "Two"]


def test_merging_takes_two_and_no_name_of_a_third(library):
    for name, photos in (("One", ("aa",)), ("Two", ("bb",)), ("Eva", ("cc",))):
        library.add(name, addition(identity=identity(photos=photos)))
    for names, into, says in ((["One", "one"], "One", "at least two"), (["One", "Two"], "EVA", "called Eva already")):
        with pytest.raises(BadInput, match=says):
            library.merge(names, into)
    assert len(library.people()) == 3 and library.person("Eva").photos == ("cc",)


def test_how_alike_people_are_before_they_are_merged(library):
    from dataclasses import replace

    for name, vectors in (("One", [[1.0, 0.0], [0.6, 0.8]]), ("Two", [[1.0, 0.0]]), ("Far", [[-1.0, 0.0]])):
        known = replace(identity(photos=tuple(f"{name}{n}".lower() for n in range(len(vectors)))), embeddings=torch.tensor(vectors))
        library.add(name, addition(identity=known))
    assert library.alike(["One", "Two"]) == pytest.approx(0.8)  # (1 + 0.6) / 2
    assert library.alike(["One", "Two", "Far"]) == pytest.approx(-1.0) and library.alike(["One"]) is None


# giving away and taking in


def test_people_travel_whole_in_one_file(library, elsewhere, tmp_path):
    library.add("Anna", addition(consent="agreed, 2024-05-01", originals=[png("green")]))
    library.add("周 ☂", addition(identity=identity(photos=("cc",), seed=7)))
    file = library.exported(None, tmp_path / "people.zip")
    assert [one.name for one in elsewhere.imported(file)] == ["Anna", "周 ☂"]
    assert same(library, "Anna", elsewhere, "Anna") and same(library, "周 ☂", elsewhere, "周 ☂")
    anna = elsewhere.person("Anna")
    assert (anna.consent, anna.saved) == ("agreed, 2024-05-01", library.person("Anna").saved) and anna.thumbnail == png()
    assert elsewhere.originals("Anna") == [png("green")] and elsewhere.person("周 ☂").consent == ""
    assert not list(tmp_path.glob("*.partial"))


def test_a_single_persons_file_is_taken_in_under_any_name(library, elsewhere, tmp_path):
    library.add("Anna", addition())
    upload = tmp_path / "upload.bin"
    upload.write_bytes(library.person("Anna").path.read_bytes())
    assert [one.name for one in elsewhere.imported(upload)] == ["upload.bin"] and same(library, "Anna", elsewhere, "upload.bin")
    assert [one.name for one in elsewhere.imported(library.person("Anna").path)] == ["Anna"]


def test_a_taken_name_gets_a_number_and_nobody_is_kept_twice(library, elsewhere, tmp_path):
    library.add("Anna", addition())
    file = library.exported(["anna"], tmp_path / "people.zip")
    elsewhere.add("anna", addition(identity=identity(photos=("zz",))))
    for _ in range(2):
        assert [one.name for one in elsewhere.imported(file)] == ["Anna (2)"]
    assert [one.photos for one in elsewhere.people()] == [("zz",), ("aa", "bb")]
    assert [one.name for one in library.imported(file)] == ["Anna"] and len(library.people()) == 1


def test_a_long_name_with_a_number_still_fits(library, elsewhere, tmp_path):
    library.add("x" * 60, addition())
    elsewhere.add("x" * 60, addition(identity=identity(photos=("zz",))))
    (one,) = elsewhere.imported(library.exported(None, tmp_path / "people.zip"))
    assert one.name == "x" * 54 + " (2)"


def test_nobody_and_nowhere(library, tmp_path):
    with pytest.raises(BadInput, match="nobody to export"):
        library.exported(None, tmp_path / "people.zip")
    library.add("Anna", addition())
    with pytest.raises(BadInput, match="No saved person is called 'Eva'"):
        library.exported(["Anna", "Eva"], tmp_path / "people.zip")
    with pytest.raises(CannotWrite, match="cannot be written"):
        library.exported(None, tmp_path / "no such folder" / "people.zip")
    assert not list(tmp_path.glob("people.zip*"))


# files made to harm


def person_file(path: Path, tensors: dict | None = None, **fields) -> Path:
    """A person's file as it ought to be, but for what is given."""
    good = identity()
    made = {"tokens.maj0": good.tokens, "null.maj0": good.null, "embeddings": good.embeddings} | (tensors or {})
    metadata = {
        "format": "pt", "kind": "facechain-person", "photos": '["aa", "bb"]', "encoder": "enc", "adapters": '{"maj0": "maj"}',
        "thumbnail": base64.b64encode(png()).decode(), "consent": "", "saved": "2024-05-01", "originals": "[]",
    } | fields  # fmt: skip
    save_file(
        {key: value for key, value in made.items() if value is not None}, str(path), {k: v for k, v in metadata.items() if v is not None}
    )
    return path


def zipped(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return path


BAD = base64.b64encode(b"no picture").decode()
WIDE = torch.zeros(32, 5000)
HARMFUL = {
    "of another kind": {"kind": "lora"},
    "without a kind": {"kind": None},
    "photos no list": {"photos": '{"aa": 1}'},
    "photos no hashes": {"photos": '["../../x", "bb"]'},
    "a photo twice": {"photos": '["aa", "aa"]'},
    "no photos": {"photos": "[]"},
    "more photos than embeddings": {"photos": '["aa", "bb", "cc"]'},
    "photos deep": {"photos": "[" * 100_000},
    "adapters a list": {"adapters": '["maj0"]'},
    "an adapter with a path": {"adapters": '{"../maj0": "maj"}'},
    "an adapter without tokens": {"adapters": '{"maj0": "maj", "film1": "film"}'},
    "an adapter named by a number": {"adapters": '{"maj0": 7}'},
    "an encoder with tags": {"encoder": "<script>"},
    "a thumbnail that is none": {"thumbnail": BAD},
    "a thumbnail not base64": {"thumbnail": "!!"},
    "an original that is none": {"originals": f'["{BAD}"]'},
    "originals no texts": {"originals": "[1]"},
    "saved no date": {"saved": "yesterday; rm"},
    "consent a novel": {"consent": "x" * 2001},
    "consent missing": {"consent": None},
    "a tensor too many": {"tensors": {"extra": torch.zeros(1)}},
    "tokens missing": {"tensors": {"tokens.maj0": None}},
    "tokens not numbers": {"tensors": {"tokens.maj0": torch.full((32, 8), float("nan"))}},
    "tokens of another type": {"tensors": {"tokens.maj0": torch.zeros(32, 8, dtype=torch.float64)}},
    "tokens flat": {"tensors": {"tokens.maj0": torch.zeros(256)}},
    "tokens too wide": {"tensors": {"tokens.maj0": WIDE, "null.maj0": WIDE.clone()}},
    "tokens not per photo": {"tensors": {"tokens.maj0": torch.zeros(31, 8), "null.maj0": torch.zeros(31, 8)}},
    "null of another shape": {"tensors": {"null.maj0": torch.zeros(16, 8)}},
    "embeddings infinite": {"tensors": {"embeddings": torch.full((2, 4), float("inf"))}},
}


def test_the_good_file_of_these_tests_is_taken_in(library, tmp_path):
    assert library.imported(person_file(tmp_path / "Anna.safetensors"))[0].photos == ("aa", "bb")


@pytest.mark.parametrize("what", HARMFUL.values(), ids=HARMFUL.keys())
def test_a_file_that_is_not_in_order_is_refused_with_everyone_beside_it(library, tmp_path, what):
    bad = person_file(tmp_path / "bad.safetensors", **what)
    with pytest.raises(BadInput, match=r"'bad' (cannot be taken in|is no saved person)"):
        library.imported(bad)
    good = person_file(tmp_path / "good.safetensors")
    both = zipped(tmp_path / "both.zip", **{"good.safetensors": good.read_bytes(), "bad.safetensors": bad.read_bytes()})
    with pytest.raises(BadInput):
        library.imported(both)
    assert library.people() == [] and not library.folder.exists()


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"\x02\0\0\0\0\0\0\0{}", (2**62).to_bytes(8, "little") + b"{}", b"\x80\x04.", b"<html>"]
)
def test_what_is_no_such_file_is_refused(library, tmp_path, content):
    for name in ("x.safetensors", "x.zip", "x"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadInput):
            library.imported(tmp_path / name)


@pytest.mark.parametrize(
    "name", ["../../escaped.safetensors", "/etc/escaped.safetensors", "..\\..\\escaped.safetensors", "C:\\escaped.safetensors"]
)
def test_paths_in_a_zip_lead_nowhere(tmp_path, name):
    good = person_file(tmp_path / "good.safetensors")
    library = Library(tmp_path / "deep" / "down" / "people")
    (one,) = library.imported(zipped(tmp_path / "tricky.zip", **{name: good.read_bytes()}))
    assert one.path.parent == library.folder and "escaped" in one.name
    assert list(tmp_path.rglob("*escaped*")) == [one.path]


def test_a_link_in_a_zip_is_no_person(library, tmp_path):
    link = zipfile.ZipInfo("link.safetensors")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as packed:
        packed.writestr(link, "/etc/passwd")
    with pytest.raises(BadInput, match="'link' is no saved person"):
        library.imported(tmp_path / "link.zip")


def test_strangers_and_twins_in_a_zip_are_refused(library, tmp_path):
    good = person_file(tmp_path / "good.safetensors").read_bytes()
    for members, says in (
        ({"readme.txt": b"hello"}, "'readme.txt', which is no saved person"),
        ({"a/Anna.safetensors": good, "b/Anna.safetensors": good}, "same name"),
        ({}, "nobody"),
    ):
        with pytest.raises(BadInput, match=says):
            library.imported(zipped(tmp_path / "strange.zip", **members))


def test_a_bomb_is_stopped(library, tmp_path, monkeypatch):
    monkeypatch.setattr(exchange, "LARGEST_PERSON", 1_000_000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("bomb.safetensors", bytes(5_000_000))
    with pytest.raises(BadInput, match="larger than 1 MB"):
        library.imported(tmp_path / "bomb.zip")
    monkeypatch.setattr(exchange, "LARGEST_FILE", 1_000_000)
    with pytest.raises(BadInput, match="unpacks to more"):
        library.imported(tmp_path / "bomb.zip")


def test_too_many_people_are_refused(library, tmp_path, monkeypatch):
    monkeypatch.setattr(exchange, "MOST_PEOPLE", 2)
    with pytest.raises(BadInput, match="holds 3 people: 2 are the most"):
        library.imported(zipped(tmp_path / "many.zip", **{f"{n}.safetensors": b"x" for n in range(3)}))


def test_only_what_was_checked_is_written(library, tmp_path):
    """What else a file says of itself does not travel, and control characters do not reach a page or a log."""
    (one,) = library.imported(person_file(tmp_path / "Anna.safetensors", secret="payload", consent="agreed\x1b[2J\nyes"))
    assert set(header(one.path)) == {"format", "kind", *exchange.FIELDS} and one.consent == "agreed[2Jyes"
    assert json.loads(header(one.path)["adapters"]) == {"maj0": "maj"} and len(load_file(one.path)) == 3
