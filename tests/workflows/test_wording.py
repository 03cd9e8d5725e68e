"""Words for the subject (FACTS §1.2.3) and the care for the young."""

from __future__ import annotations

import pytest

from facechain_ext.faces.types import Attributes
from facechain_ext.workflows.lexicon import words_against
from facechain_ext.workflows.wording import SUBJECTS, prompts, subject_of, wording


@pytest.mark.parametrize(
    ("gender", "age", "subject"),
    [
        ("male", (0, 2), "boy"), ("female", (3, 9), "girl"), ("male", (10, 19), "teenager"), ("female", (10, 19), "teenager"),
        ("male", (20, 29), "man"), ("female", (30, 39), "woman"), ("male", (40, 49), "older-man"), ("female", (70, 120), "older-woman"),
        (None, (3, 9), "child"), (None, (20, 29), "person"), ("male", None, "man"), (None, None, "person"),
    ],
)  # fmt: skip
def test_subject_from_attributes(gender, age, subject: str) -> None:
    assert subject_of(Attributes(gender=gender, age=age)) == subject


def test_nothing_known_is_a_person() -> None:
    assert wording("auto").positive == "a person" and not wording("auto").minor


@pytest.mark.parametrize(("gender", "word"), [("male", "a handsome man, 25-year-old"), ("female", "a beautiful woman, 25-year-old")])
def test_both_genders_get_an_age_word(gender, word: str) -> None:
    assert wording("auto", Attributes(gender=gender, age=(20, 29))).positive == word


@pytest.mark.parametrize("asked", ["auto", "woman", "older-man", "person", "none"])
def test_a_face_under_18_never_gets_adult_words(asked: str) -> None:
    words = wording(asked, Attributes(gender="female", age=(10, 19)))
    assert words.minor and words.positive == "a teenager"
    positive, negative = prompts("in a park", "", words, template="photo", lora=False)
    assert not {"beautiful", "handsome", "mature", "woman", "man"} & set(positive.replace(",", " ").split())
    assert words_against() in negative and {"nude", "underwear", "sexualized"} <= set(negative.split(", "))


def test_the_plain_template_names_a_minor_too() -> None:
    positive, _ = prompts("in a park", None, SUBJECTS["girl"], template="plain", lora=False)
    assert positive == "a girl, child, in a park"


def test_full_prompts() -> None:
    positive, negative = prompts("in a garden", None, SUBJECTS["man"], template="photo", lora=True)
    assert positive == (
        "a handsome man, in a garden, upper body, raw photo, masterpiece, solo, medium shot, high detail face, photorealistic, best quality"
    )
    assert negative.endswith(", children") and "lowres" in negative
    assert prompts("in a garden", "blurry", SUBJECTS["none"], template="plain", lora=False) == ("in a garden", "blurry")
    assert ", ," not in prompts("", None, SUBJECTS["none"], template="photo", lora=False)[0]
