"""What is made of whom: who is treated as under 18, which prompts and styles are refused, what becomes of a picture the check objects to.

* The check of results can be switched off for adults only. Where nothing looks at pictures, the prompt is what is checked.
* A person is treated as under 18 when the face looks so, when they were said to be, or when the prompt speaks of somebody young; then
  nothing sexual is made, whatever the settings, and a picture that is objected to is not kept at all.
* A negative prompt that leaves adults out is read as one that asks for somebody young.
* Where no backend can tell an age, the prompt is always looked at, unless an adult was named as the subject.
* Of an adult's picture that is objected to a coarse blur stays, so that its seed and settings are not lost.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from facechain_ext.workflows.lexicon import left_out, plain, spoken, unfit_styles, words_against
from facechain_ext.workflows.wording import ADULT, SUBJECTS

if TYPE_CHECKING:
    from PIL import Image

    from facechain_ext.faces.types import Attributes

GROWN = frozenset({"man", "woman", "older-man", "older-woman"})
"""Subjects that say an adult was meant."""
COARSE = 12
"""Pixels along the longer side of what is left of a picture that is withheld."""

NUMBERS = (
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen",
    "sixteen", "seventeen",
)  # fmt: skip
NUMBER = rf"(?:twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety) \w+|\d{{1,3}}|{'|'.join(NUMBERS)}"
PEOPLE = r"(?:girls?|boys?|wom[ae]n|m[ae]n|ladies|lady|females?|males?|persons?|daughters?|sons?|sisters?|brothers?|students?)"
THINGS = "wines?|whiske?y|cars?|trucks?|houses?|buildings?|trees?|oaks?|bonsais?|leather|cameras?"
"""What is named with its years as people are."""
YEARS = re.compile(
    rf"(?<![\w.])({NUMBER})\s*(?:(?:years?|yrs?|y)[\s.]*(?:old|o|young)|(?:years?|yrs?) of age)\b(?!\s+(?:{THINGS})\b)"
    rf"|\bage[ds]?\s*[:=]?\s*(?:of\s+|between\s+|from\s+)?({NUMBER})(?!\w)"
    rf"|(?:^|,)\s*(?:an?\s+)?(?:{PEOPLE}\s+)?({NUMBER})\s*(?:years?|yrs?)\s*(?:{PEOPLE}\s*)?(?=,|$)"
    rf"|\b{PEOPLE}\s+of\s+({NUMBER})\s*(?:years?|yrs?)\b"
)
CHINESE = re.compile("(\\d{1,3}|[〇零一二两三四五六七八九十]+)\\s*[岁歲歳]")
DIGITS = {"零": 0, "〇": 0, "一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9}


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How one order is treated.

    minor: why the person is treated as under 18, or "". refusal: the sentence with which the order is refused, or "".
    look: whether results are checked; preview: whether one may watch, which shows what the check has not seen yet; negative: words
    for the negative prompt.
    """

    minor: str = ""
    refusal: str = ""
    look: bool = True
    preview: bool = True
    negative: str = ""


def rules(
    texts: Sequence[str], subject: str, attributes: Attributes | None, *, against: str = "", style: str = "", switched_on: bool = True,
    eyes: bool = False,
) -> Rules:  # fmt: skip
    """How to treat an order. texts: everything that says what is to be seen (prompt, LoRAs' and own styles' names).

    against: the negative prompt; eyes: something checks pictures.
    """
    text = ", ".join(texts)
    minor = minor_because(text, subject, attributes, against=against)
    if minor:
        refusal = _refused_to_minors(text, against, style, minor)
        return Rules(minor=minor, refusal=refusal, preview=False, negative=words_against())
    grown = subject in GROWN or (attributes is not None and attributes.age is not None)
    found = spoken(text, "explicit") + _undressing(against)
    refusal = _refused(found, grown=grown) if found and ((switched_on and not eyes) or not grown) else ""
    return Rules(refusal=refusal, look=switched_on, preview=not (found and switched_on))


def minor_because(text: str, subject: str, attributes: Attributes | None, *, against: str = "") -> str:
    """Why somebody is treated as under 18, as the end of a sentence; "" where nothing says so. against: the negative prompt.

    Who leaves adults out, asks for somebody young, whatever the face looks like. To leave out what is mature may only mean not so old: it
    counts where nothing has told an age, for then the subject that was named is all there is to go by.
    """
    if attributes is not None and attributes.age is not None and attributes.age[0] < ADULT:
        return f"the face looks {attributes.age[0]} to {attributes.age[1]} years old"
    if subject in SUBJECTS and SUBJECTS[subject].minor:
        return f"the subject is {subject}"
    found = spoken(text, "young") or ages_under_18(text)
    if found:
        return f"the prompt speaks of {_quoted(found[:2])}"
    known = attributes is not None and attributes.age is not None
    missing = left_out(against, "grown") + ([] if known else left_out(against, "mature"))
    return f"the negative prompt leaves out {_quoted(missing[:2])}" if missing else ""


def ages_under_18(text: str) -> list[str]:
    """What a prompt says of years under 18."""
    said = plain(text)
    found = [match[0].strip() for match in YEARS.finditer(said) if _years(next(filter(None, match.groups()))) < ADULT]
    return found + [match[0] for match in CHINESE.finditer(said) if _years(match[1]) < ADULT]


def _undressing(negative: str) -> list[str]:
    """What a negative prompt leaves out so that somebody is undressed."""
    return [f"no {tag}" for tag in left_out(negative, "dressed")]


def coarse(picture: Image.Image) -> Image.Image:
    """What is kept of a picture that is withheld: a few blurred patches of colour in its size."""
    from PIL import Image, ImageFilter

    scale = COARSE / max(picture.size)
    small = picture.convert("RGB").resize([max(round(side * scale), 1) for side in picture.size], Image.Resampling.BOX)
    wide = small.resize(picture.size, Image.Resampling.BICUBIC)
    return wide.filter(ImageFilter.GaussianBlur(max(picture.size) / COARSE / 2))


def _refused_to_minors(text: str, against: str, style: str, minor: str) -> str:
    why = unfit_styles().get(style)
    if why is not None:
        return f"The style {style} ({why}) is not made of somebody under 18, and {minor}: choose another style."
    found = spoken(text, "explicit") + spoken(text, "adult") + _undressing(against)
    if found:
        return f"The prompt asks for {_quoted(found)}, which is not made of somebody under 18, and {minor}: take it out of the prompt."
    return ""


def _refused(found: Sequence[str], *, grown: bool) -> str:
    why = "nothing here can check the picture for nudity" if grown else "nothing here can tell whether this person is an adult"
    advice = "take it out of the prompt" if grown else "take it out of the prompt, or name the subject, man or woman"
    return f"The prompt asks for {_quoted(found)}, and {why}: {advice}."


def _quoted(words: Sequence[str]) -> str:
    return " and ".join(f"“{word}”" for word in words)


def _years(text: str) -> int:
    if text.isdigit():
        return int(text)
    if text.isascii():
        return NUMBERS.index(text) + 1 if text in NUMBERS else ADULT
    tens, ten, ones = text.rpartition("十")
    return (DIGITS.get(tens[-1:], 1) * 10 if ten else 0) + (DIGITS.get(ones[-1:], 0) if ones else 0)
