"""Prompts made to fit the person, and brackets repaired: expected by hand."""

from __future__ import annotations

import pytest

from facechain_ext.errors import BadInput
from facechain_ext.workflows.adapting import adapted, cleaned


@pytest.mark.parametrize(
    ("prompt", "repaired"),
    [
        ("a, (b, c", "a, b, c"),
        ("a), b", "a, b"),
        ("(a:1.2, b", "(a:1.2), b"),
        ("x:1.3), b", "x, b"),
        ("((a), b", "(a), b"),
        ("(a]", "a"),
        (")(", ""),
        ("(), a, , b,", "a, b"),
        ("a (red:1.2) dress", "a (red:1.2) dress"),
        ("(a, ((b)), [c]:0.90)", "(a, ((b)), [c]:0.9)"),
        (r"smile \(wide\), (a", r"smile \(wide\), a"),
        ("[cat:dog:0.5], 16:9", "[cat:dog:0.5], 16:9"),
        ("portrait:1.3, b", "(portrait:1.3), b"),
        ("(a:1.8), (b:.5)", "(a:1.4), (b:0.5)"),
        ("(a, \n b:1.1)", "(a, b:1.1)"),
    ],
)
def test_brackets_and_weights(prompt: str, repaired: str) -> None:
    assert cleaned(prompt) == repaired


@pytest.mark.parametrize(
    ("prompt", "kept"),
    [
        ("asia, a", "a"),
        ("(asian:1.2), a", "a"),
        ("Chinese girl, a", "girl, a"),
        ("from asia, korean woman in a cafe", "woman in a cafe"),
        ("miao nationality, miao village", "miao village"),
        ("Chinese embroidery, indian palace, mongolian clothes", "Chinese embroidery, indian palace, mongolian clothes"),
        ("beautiful japanese model", "beautiful model"),
        ("a<lora:thing v1:0.6>, b", "a, b"),
    ],
)
def test_ethnicity_goes_and_a_peoples_style_stays(prompt: str, kept: str) -> None:
    assert cleaned(prompt) == kept


@pytest.mark.parametrize(
    ("prompt", "subject", "expected"),
    [
        ("1girl, a", "man", "a"), ("1 Girl, a", "woman", "a"), ("(1girl:1.2), a", "man", "a"), ("(a, 1girl:1.2)", "man", "(a:1.2)"),
        ("extremely delicate and beautiful girls, a", "boy", "a"), ("1male, a", "woman", "a"), ("adult, a", "man", "a"),
        ("woman looking out", "man", "man looking out"), ("woman looking out", "older-man", "man looking out"),
        ("a girl on a swing", "woman", "a woman on a swing"), ("a girl on a swing", "teenager", "a teenager on a swing"),
        ("men in suits", "none", "person in suits"), ("she holds her hat", "man", "he holds his hat"), ("his hat", "person", "their hat"),
        ("girlish, boyish", "man", "boyish"), ("girlish, boyish", "girl", "girlish"), ("medium breast, a", "person", "a"),
        ("medium breast", "woman", "medium breast"), ("see-through_dress, a", "woman", "see-through_dress, a"),
        ("see-through_dress, a", "girl", "a"),
        ("zhuangzunv, Manhuanan, businessman-AIX", "woman", "zhuangzunv, Manhuanan, businessman-AIX"),
        ("office_man", "woman", "office_woman"), ("(tree, sexy girl), wet clothes, b", "child", "(tree), b"),
    ],
)  # fmt: skip
def test_words_give_way_to_the_subject(prompt: str, subject: str, expected: str) -> None:
    assert adapted(prompt, subject) == expected


def test_a_face_that_looks_young_is_not_made_older() -> None:
    assert adapted("cleavage, a woman in a park", "woman", minor=True) == "a teenager in a park"


def test_an_unknown_subject_is_named() -> None:
    with pytest.raises(BadInput, match=r"'dragon'.*person"):
        adapted("a", "dragon")
