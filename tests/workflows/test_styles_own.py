"""Styles of one's own: saved whole, given away and taken in with care."""

from __future__ import annotations

import base64
import json

import pytest

from facechain_ext.errors import BadInput, CannotWrite
from facechain_ext.workflows.own_styles import OwnStyles, mapping_of, own_style, styles_of

PORTRAIT = b"\x89PNG a person"


def mine(name: str = "水 Look", **more):
    return own_style(name, "1girl, (sea:1.2)", **{"lora": "sea.safetensors", "weight": 0.7, "hashes": ("AB12CD34EF",), **more})


def test_a_style_is_kept_as_it_was(tmp_path) -> None:
    kept = OwnStyles(tmp_path / "styles")
    assert kept.styles() == ()
    saved = kept.save(mine())
    assert OwnStyles(tmp_path / "styles").styles() == (saved,) and kept.style("水 Look") == saved
    assert (saved.own, saved.prompt, saved.weight, saved.hashes, saved.name("zh")) == (
        True,
        "1girl, (sea:1.2)",
        0.7,
        ("ab12cd34ef",),
        "水 Look",
    )
    assert [path.name for path in (tmp_path / "styles").iterdir()] == ["水 Look.json"]
    kept.delete("水 Look")
    assert kept.styles() == () and not list((tmp_path / "styles").iterdir())


def test_a_taken_name_is_not_overwritten_unless_asked(tmp_path) -> None:
    kept = OwnStyles(tmp_path)
    kept.save(mine(weight=0.1))
    with pytest.raises(BadInput, match="already"):
        kept.save(mine(weight=0.9))
    assert kept.style("水 Look").weight == 0.1
    kept.save(mine(weight=0.9), overwrite=True)
    assert kept.style("水 Look").weight == 0.9 and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["../../x", "a/b", "CON", "x.", "a:b"])
def test_any_name_stays_in_the_folder(tmp_path, name: str) -> None:
    kept = OwnStyles(tmp_path / "styles")
    kept.save(mine(name))
    assert kept.style(name).key == name and [path.parent for path in tmp_path.rglob("*.json")] == [tmp_path / "styles"]


def test_broken_files_are_left_out(tmp_path, caplog) -> None:
    kept = OwnStyles(tmp_path)
    kept.save(mine())
    (tmp_path / "half.json").write_text('{"kind": "facechain-st')
    (tmp_path / "other.json").write_text("[]")
    assert [one.key for one in kept.styles()] == ["水 Look"] and "half.json" in caplog.text
    with pytest.raises(BadInput, match="no style 'half'"):
        kept.delete("half")


def test_every_user_has_styles_of_their_own(tmp_path) -> None:
    """Those saved before anybody could log in, and without it, are where they always were: in the folder itself."""
    OwnStyles(tmp_path).save(mine("old"))
    for user in ("anna", "Anna", "../styles"):
        assert styles_of(user, tmp_path).styles() == ()
        styles_of(user, tmp_path).save(mine(f"of {user[-4:]}"))
    found = [[one.key for one in styles_of(user, tmp_path).styles()] for user in ("local", "anna", "Anna", "../styles")]
    assert found == [["old"], ["of anna"], ["of Anna"], ["of yles"]]
    assert all(path.parent.parent == tmp_path / "users" for path in tmp_path.rglob("of *.json"))
    with pytest.raises(BadInput, match="say whose"):
        styles_of("", tmp_path)


def test_a_folder_that_cannot_be_written_is_said(tmp_path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(CannotWrite):
        OwnStyles(tmp_path / "file").save(mine())


def test_styles_travel_as_one_text(tmp_path) -> None:
    here, there = OwnStyles(tmp_path / "here"), OwnStyles(tmp_path / "there")
    with pytest.raises(BadInput, match="to give away"):
        here.exported()  # what nobody could take in again
    for name in ("a", "b"):
        here.save(mine(name, weight=0.5))
    there.save(mine("a", weight=0.1))
    text = here.exported()
    assert [one.key for one in there.imported(text)] == ["a (2)", "b"]
    assert there.style("a").weight == 0.1 and there.style("a (2)").weight == 0.5
    assert [one.key for one in there.imported(text)] == ["a (2)", "b"], "the same styles once more"
    assert [one.key for one in there.styles()] == ["a", "a (2)", "b"]
    assert [one["name"] for one in json.loads(here.exported(["b"]))["styles"]] == ["b"]
    single = next((tmp_path / "here").glob("b.json")).read_text(encoding="utf-8")
    assert [one.key for one in OwnStyles(tmp_path / "third").imported(single)] == ["b"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": " "}, "needs a name"), ({"name": 5}, "name must be a text"), ({"prompt": "x" * 5000}, "prompt must be"),
        ({"lora": "../../etc/passwd"}, "without folders"), ({"lora": "a\\b.safetensors"}, "without folders"),
        ({"lora": "x:1><lora:y"}, "without folders"), ({"weight": "1"}, "weight must be"), ({"weight": float("nan")}, "weight must be"),
        ({"weight": True}, "weight must be"), ({"weight": 99}, "weight must be"),
        ({"hashes": ["xyz"]}, "hashes"), ({"hashes": "ab12cd34"}, "hashes"),
        ({"version": 2}, "version 2"), ({"kind": "x"}, "no style"), ({"script": "x"}, "unknown field 'script'"),
    ],
)  # fmt: skip
def test_what_is_not_in_order_is_named_and_nothing_is_taken_in(tmp_path, change, said) -> None:
    good, bad = mapping_of(mine("good")), {**mapping_of(mine("bad")), **change}
    text = json.dumps({"kind": "facechain-styles", "version": 1, "styles": [good, bad]})
    with pytest.raises(BadInput, match=said):
        OwnStyles(tmp_path).imported(text)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"kind": "facechain-styles", "styles": []}', '{"kind": "facechain-styles"}', "[" * 5000]
)
def test_other_files_are_no_styles(tmp_path, text: str) -> None:
    with pytest.raises(BadInput, match="exported from FaceChain"):
        OwnStyles(tmp_path).imported(text)


def as_older_versions_kept_it(name: str) -> str:
    """A style's file with a person's portrait in it."""
    return json.dumps({**mapping_of(mine(name)), "thumbnail": base64.b64encode(PORTRAIT).decode()})


def test_a_portrait_that_lies_in_a_style_is_gone_once_styles_are_looked_at(tmp_path) -> None:
    (tmp_path / "by hand.json").write_text(as_older_versions_kept_it("a"), encoding="utf-8")
    found = OwnStyles(tmp_path).styles()
    assert [(one.key, one.prompt, one.lora, one.thumbnail) for one in found] == [("a", "1girl, (sea:1.2)", "sea.safetensors", b"")]
    assert [path.name for path in tmp_path.iterdir()] == ["by hand.json"]
    assert "thumbnail" not in json.loads((tmp_path / "by hand.json").read_text(encoding="utf-8"))


def test_a_portrait_is_neither_given_away_nor_taken_in(tmp_path) -> None:
    here, there = OwnStyles(tmp_path / "here"), OwnStyles(tmp_path / "there")
    here.folder.mkdir()
    (here.folder / "a.json").write_text(as_older_versions_kept_it("a"), encoding="utf-8")
    assert "thumbnail" not in json.loads(here.exported())["styles"][0]
    assert [one.thumbnail for one in there.imported(as_older_versions_kept_it("b"))] == [b""]
    assert base64.b64encode(PORTRAIT).decode() not in (there.folder / "b.json").read_text(encoding="utf-8")


def test_a_style_that_cannot_be_written_anew_is_still_shown_and_given_away_without_its_portrait(tmp_path, monkeypatch, caplog) -> None:
    (tmp_path / "a.json").write_text(as_older_versions_kept_it("a"), encoding="utf-8")

    def refuse(*_places) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.replace", refuse)
    assert "thumbnail" not in json.loads(OwnStyles(tmp_path).exported())["styles"][0]
    assert "stays in the style a" in caplog.text and [path.name for path in tmp_path.iterdir()] == ["a.json"]
