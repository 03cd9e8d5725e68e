"""What prompts say of bodies and ages: the lists of `presets/safety.json`, the one place where such words stand, and how they are found."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

DATA = Path(__file__).parents[1] / "presets" / "safety.json"
WEIGHT = re.compile(r":\s*[\d.]+\s*$")
ARTICLE = re.compile(r"(?:any|all|an?|the) ")
Kind = Literal["explicit", "adult", "young", "harmless", "unsuitable"]
Missing = Literal["dressed", "grown", "mature"]


def spoken(text: str, kind: Kind) -> list[str]:
    """The words of a kind that a prompt says, in their order; harmless phrases are passed over."""
    said = plain(text)
    for pattern in _patterns("harmless"):
        said = pattern.sub(" · ", said)
    found = sorted((match.start(), match[0].strip()) for pattern in _patterns(kind) for match in pattern.finditer(said))
    return list(dict.fromkeys(word for _, word in found))


def left_out(negative: str, kind: Missing) -> list[str]:
    """The tags of a negative prompt that are words of a kind and nothing else."""
    tags = (WEIGHT.sub("", tag).strip() for tag in re.split("[,，、;\\n]", plain(negative)))
    words = {*_data()[kind]["en"], *_data()[kind]["zh"]}
    return [tag for tag in dict.fromkeys(tags) if ARTICLE.sub("", tag, count=1) in words or tag in words]


def words_against() -> str:
    """Words for the negative prompt of somebody under 18."""
    return _data()["negative"]


def unfit_styles() -> Mapping[str, str]:
    """Presets that are not made of somebody under 18, each with the reason."""
    return _data()["styles_not_for_minors"]


def plain(text: str) -> str:
    """A prompt as it is looked at: small letters without accents, brackets, weights and invisible signs; spelt-out words joined."""
    composed = unicodedata.normalize("NFKC", text).casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    bare = "".join(c for c in unicodedata.normalize("NFKD", composed) if not unicodedata.combining(c) and unicodedata.category(c) != "Cf")
    spaced = re.sub(r"[\s_\-()\[\]{}<>\\/|*~+]+", " ", bare)
    return re.sub(r"\b(?:[a-z][ .]){2,}[a-z]\b", lambda found: re.sub("[ .]", "", found[0]), spaced)


@lru_cache(maxsize=5)
def _patterns(kind: Kind) -> tuple[re.Pattern[str], ...]:
    words: Mapping[str, list[str]] = _data()[kind]
    english = "|".join(re.escape(word) for word in sorted(words["en"], key=len, reverse=True))
    chinese = "|".join(sorted(words["zh"], key=len, reverse=True))
    return (re.compile(rf"(?<![a-z])(?:{english})(?![a-z])"), re.compile(chinese))


@lru_cache(maxsize=1)
def _data() -> Mapping[str, Any]:
    return json.loads(DATA.read_text(encoding="utf-8"))
