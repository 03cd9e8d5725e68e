"""What is made of whom: who is treated as under 18, which prompts and styles are refused, what becomes of a picture the check objects to.

* The check of results can be switched off for adults only. Where nothing looks at pictures, the prompt is what is checked.
* A person is treated as under 18 when the face looks so, when they were said to be, or when the prompt speaks of somebody young; then
  nothing sexual is made, whatever the settings, and a picture that is objected to is not kept at all.
* Where no backend can tell an age, the prompt is always looked at, unless an adult was named as the subject.
* Of an adult's picture that is objected to a coarse blur stays, so that its seed and settings are not lost.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from facechain_ext.workflows.wording import ADULT, SUBJECTS

if TYPE_CHECKING:
    from PIL import Image

    from facechain_ext.faces.types import Attributes

DATA = Path(__file__).parents[1] / "presets" / "safety.json"
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
WEIGHT = re.compile(r":\s*[\d.]+\s*$")
DIGITS = {"零": 0, "〇": 0, "一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9}
Kind = Literal["explicit", "adult", "young", "harmless"]


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
    minor = minor_because(text, subject, attributes)
    if minor:
        refusal = _refused_to_minors(text, against, style, minor)
        return Rules(minor=minor, refusal=refusal, preview=False, negative=_data()["negative"])
    grown = subject in GROWN or (attributes is not None and attributes.age is not None)
    found = spoken(text, "explicit") + undressing(against)
    refusal = _refused(found, grown=grown) if found and ((switched_on and not eyes) or not grown) else ""
    return Rules(refusal=refusal, look=switched_on, preview=not (found and switched_on))


def minor_because(text: str, subject: str, attributes: Attributes | None) -> str:
    """Why somebody is treated as under 18, as the end of a sentence; "" where nothing says so."""
    if attributes is not None and attributes.age is not None and attributes.age[0] < ADULT:
        return f"the face looks {attributes.age[0]} to {attributes.age[1]} years old"
    if subject in SUBJECTS and SUBJECTS[subject].minor:
        return f"the subject is {subject}"
    found = spoken(text, "young") or ages_under_18(text)
    return f"the prompt speaks of {_quoted(found[:2])}" if found else ""


def spoken(text: str, kind: Kind) -> list[str]:
    """The words of a kind that a prompt says, in their order; harmless phrases are passed over."""
    plain = _plain(text)
    for pattern in _patterns("harmless"):
        plain = pattern.sub(" · ", plain)
    found = sorted((match.start(), match[0].strip()) for pattern in _patterns(kind) for match in pattern.finditer(plain))
    return list(dict.fromkeys(word for _, word in found))


def ages_under_18(text: str) -> list[str]:
    """What a prompt says of years under 18."""
    plain = _plain(text)
    found = [match[0].strip() for match in YEARS.finditer(plain) if _years(next(filter(None, match.groups()))) < ADULT]
    return found + [match[0] for match in CHINESE.finditer(plain) if _years(match[1]) < ADULT]


def undressing(negative: str) -> list[str]:
    """What a negative prompt leaves out so that somebody is undressed: a tag of it that is clothes and nothing else."""
    tags = (WEIGHT.sub("", tag).strip() for tag in re.split("[,，、]", _plain(negative)))
    words = {*_data()["dressed"]["en"], *_data()["dressed"]["zh"]}
    return [f"no {tag}" for tag in dict.fromkeys(tags) if tag.removeprefix("any ").removeprefix("all ") in words]


def coarse(picture: Image.Image) -> Image.Image:
    """What is kept of a picture that is withheld: a few blurred patches of colour in its size."""
    from PIL import Image, ImageFilter

    scale = COARSE / max(picture.size)
    small = picture.convert("RGB").resize([max(round(side * scale), 1) for side in picture.size], Image.Resampling.BOX)
    wide = small.resize(picture.size, Image.Resampling.BICUBIC)
    return wide.filter(ImageFilter.GaussianBlur(max(picture.size) / COARSE / 2))


def _refused_to_minors(text: str, against: str, style: str, minor: str) -> str:
    if style in _data()["styles_not_for_minors"]:
        why = _data()["styles_not_for_minors"][style]
        return f"The style {style} ({why}) is not made of somebody under 18, and {minor}: choose another style."
    found = spoken(text, "explicit") + spoken(text, "adult") + undressing(against)
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


def _plain(text: str) -> str:
    """A prompt as it is looked at: small letters without accents, brackets, weights and invisible signs; spelt-out words joined."""
    composed = unicodedata.normalize("NFKC", text).casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    bare = "".join(c for c in unicodedata.normalize("NFKD", composed) if not unicodedata.combining(c) and unicodedata.category(c) != "Cf")
    spaced = re.sub(r"[\s_\-()\[\]{}<>\\/|*~+]+", " ", bare)
    return re.sub(r"\b(?:[a-z][ .]){2,}[a-z]\b", lambda found: re.sub("[ .]", "", found[0]), spaced)


@lru_cache(maxsize=4)
def _patterns(kind: Kind) -> tuple[re.Pattern[str], ...]:
    words: Mapping[str, list[str]] = _data()[kind]
    english = "|".join(re.escape(word) for word in sorted(words["en"], key=len, reverse=True))
    chinese = "|".join(sorted(words["zh"], key=len, reverse=True))
    return (re.compile(rf"(?<![a-z])(?:{english})(?![a-z])"), re.compile(chinese))


@lru_cache(maxsize=1)
def _data() -> Mapping[str, Any]:
    return json.loads(DATA.read_text(encoding="utf-8"))
