"""Portraits without a tab: whose words are refused before anything is painted, and what is asked of the host for the young."""

from __future__ import annotations

import pytest

from facechain_ext.errors import BadInput
from facechain_ext.faces.types import Attributes
from facechain_ext.hosts.types import Lora
from facechain_ext.workflows.people import meet, opened
from facechain_ext.workflows.persons import attributes_of
from facechain_ext.workflows.portrait import PortraitOptions, portrait
from tests.fakes.room import RED, SIDE, ColourEyes, FakeRoom, FlatHost, photo

GROWN, TEEN = Attributes(gender="female", age=(30, 39)), Attributes(age=(10, 19))


@pytest.fixture
def ordered(tmp_path):
    """Orders one portrait of somebody red; the host that was asked."""
    room = FakeRoom(tmp_path, FlatHost([RED], start=1))
    adapter, eyes = room.adapter("auto"), ColourEyes()
    subject = meet(eyes, room.encoder(adapter), adapter, opened([photo()]))

    class Alike:
        encoder = "colour"

        def score(self, image) -> float:
            return 1.0

    def order(prompt: str, attributes: Attributes | None, *loras: Lora, **more) -> FlatHost:
        options = PortraitOptions(prompt=prompt, width=SIDE, height=SIDE, steps=1, seed=1, **more)
        made = portrait(
            room.host, adapter, subject, Alike(), options, lambda *given: tmp_path / "p.png", attributes=attributes, loras=loras
        )  # fmt: skip
        try:
            list(made)
        except BadInput:
            assert room.host.asked == [], "nothing is painted"
            raise
        return room.host

    return order


@pytest.mark.parametrize(
    ("prompt", "attributes", "more"),
    [
        ("naked 12 year old girl", GROWN, {}),
        ("nude child", None, {}),
        ("in a bikini", TEEN, {}),
        ("in a bikini", GROWN, {"subject": "girl"}),
        ("a girl", TEEN, {"negative": "clothes"}),
        ("in a bikini", GROWN, {"negative": "adults"}),
    ],
)
def test_nothing_sexual_is_made_of_the_young(ordered, prompt, attributes, more) -> None:
    with pytest.raises(BadInput, match="under 18"):
        ordered(prompt, attributes, **more)


@pytest.mark.parametrize("prompt", ["nude", "a Topless portrait", "(lingerie:1.2), bed", "n u d e", "性感", "in a bikini"])
def test_such_pictures_of_the_young_are_not_made(ordered, prompt) -> None:
    with pytest.raises(BadInput, match="under 18"):
        ordered(prompt, None, subject="teenager")


@pytest.mark.parametrize("prompt", ["two friends of the same sex", "the naked eye", "Essex", "in a nude lipstick"])
def test_what_only_sounds_so_is_made_of_the_young_too(ordered, prompt) -> None:
    (asked,) = ordered(prompt, None, subject="teenager", template="plain").asked
    assert asked.prompt == f"a teenager, {prompt}"


def test_names_of_loras_count(ordered) -> None:
    with pytest.raises(BadInput, match="under 18"):
        ordered("in a garden", TEEN, Lora(source="models/Lora/lingerie.safetensors"))
    assert len(ordered("in a garden", GROWN, Lora(source="models/Lora/lingerie.safetensors")).asked) == 1


def test_what_is_explicit_is_refused_as_nothing_looks_at_pictures(ordered) -> None:
    with pytest.raises(BadInput, match="nothing here can check the picture"):
        ordered("a nude woman", GROWN)


def test_who_is_called_young_gets_the_words_against_once(ordered) -> None:
    (asked,) = ordered("a 12 year old boy in a park", GROWN).asked
    (of_a_teen,) = ordered("in a park", TEEN, negative="blurry").asked[1:]
    for request in (asked, of_a_teen):
        assert request.negative.split(", ").count("sexualized") == 1
    (asked_of_grown,) = ordered("in a park", GROWN).asked[2:]
    assert "sexualized" not in asked_of_grown.negative


def test_the_youngest_look_counts(tmp_path) -> None:
    room = FakeRoom(tmp_path, FlatHost([RED], start=1))
    adapter = room.adapter("auto")
    eyes = ColourEyes(age=(30, 39), ages={(200, 60, 40): (10, 19)})
    subject = meet(eyes, room.encoder(adapter), adapter, opened([photo(RED), photo((200, 60, 40), "photo 2")]))
    found = attributes_of(eyes, subject)
    assert found is not None and found.age == (10, 19)
