"""The info text's form: what the WebUI writes and reads."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from facechain_ext.workflows.infotext import parse_info, quote, weigh_pair
from facechain_ext.workflows.likeness import ranked


def test_a_webui_info_text_is_read() -> None:
    text = 'a cat, (red:1.2)\non a mat\nNegative prompt: dog\n'
    text += 'Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Note: "a: b, \\"c\\"", Size: 512x768'
    prompt, negative, settings = parse_info(text)
    assert (prompt, negative) == ("a cat, (red:1.2)\non a mat", "dog")
    assert settings == {"Steps": "20", "Sampler": "Euler a", "CFG scale": "7", "Seed": "1", "Note": 'a: b, "c"', "Size": "512x768"}


@pytest.mark.parametrize(
    "value",
    ["plain", "a, b", "x: y", 'say "hi", now', "两\n行", 'say "hi"', '"a"', '"a"b"', '"', '\\"', " a ", "a\r\nb"],
)
def test_values_survive_quoting(value: str) -> None:
    settings = parse_info(f"p\nNegative prompt: n\nA b: {quote(value)}, Steps: 1, Seed: 2")[2]
    assert settings["A b"] == value and settings["Steps"] == "1"


def test_quotes_that_nobody_escaped_are_left_as_they_are() -> None:
    assert parse_info('p\nNegative prompt: n\nA b: "x" y "z", Steps: 1, Seed: 2')[2]["A b"] == '"x" y "z"'


@pytest.mark.parametrize(("as_one", "photos", "said"), [(True, 2, True), (True, 1, False), (False, 2, False)])
def test_it_says_where_several_photos_weigh_as_one(as_one: bool, photos: int, said: bool) -> None:
    adapter = SimpleNamespace(as_one=as_one)
    assert weigh_pair(adapter, photos) == ({"FaceChain photos weigh": "as one"} if said else {})  # type: ignore[arg-type]
    assert weigh_pair(None, photos) == {}


def test_ranking_puts_faceless_pictures_last() -> None:
    assert ranked([0.2, None, 0.9, -0.5, 0.9]) == [2, 4, 0, 3, 1]
