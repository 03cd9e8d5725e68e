"""The panel's words: one dictionary per language in presets/words, chosen by the host's localization, else by the browser's language.

en.json holds what only the page says. Options, vetting and errors are worded where they are declared, in English; the other
dictionaries hold their translations, an error's by its pattern with {} for what varies.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from facechain_ext.options import fields_of
from facechain_ext.ui.request import MOST_PERSONS, PanelOptions, PersonOptions
from facechain_ext.ui.studio import Settings
from facechain_ext.workflows.orders import MakingOptions

DECLARED = {"option": (PanelOptions, PersonOptions), "making": (MakingOptions,), "setting": (Settings,)}
"""The options whose words are said on the page, by the prefix of their ids."""

FOLDER = Path(__file__).parents[1] / "presets" / "words"
ENGLISH = "en"
LANGUAGES = (ENGLISH, "zh")


@lru_cache(maxsize=len(LANGUAGES))
def dictionary(language: str) -> Mapping[str, str]:
    """The phrases of a language by id."""
    return json.loads((FOLDER / f"{language}.json").read_text(encoding="utf-8"))


def say(name: str, language: str = ENGLISH, /, **values: Any) -> str:
    """A phrase in a language with its values filled in. `name.one` is taken where `count` is 1 and the language has it."""
    phrases = dictionary(language)
    key = f"{name}.one" if values.get("count") == 1 and f"{name}.one" in phrases else name
    return phrases[key].format(**values)


def languages(localization: str | None, accepted: str | None) -> str:
    """The page's language: the host's localization where one is set (`zh_CN`, `zh-Hans`), else the browser's first choice."""
    chosen = localization if localization not in (None, "", "None") else (accepted or "").split(",")[0]
    return "zh" if re.match(r"zh|chinese|简体|繁體|中文", str(chosen).strip(), re.IGNORECASE) else ENGLISH


def translate(sentence: str, language: str) -> str:
    """A sentence of an error or a vetting in a language, part by part; what has no translation stays as it is."""
    for pattern, phrase in _patterns(language):
        match = pattern.fullmatch(sentence)
        if match:
            return phrase.format(*(translate(part, language) for part in match.groups()))
    return sentence


def translate_all(text: str, language: str) -> str:
    """Several sentences, one after the other."""
    if language == ENGLISH:
        return text
    sentences = re.split(r"(?<=[.!?])\s+(?=[A-Z0-9])", text)
    said = [translate(sentence, language) for sentence in sentences]
    return "".join(one if one != sentence else f"{one} " for one, sentence in zip(said, sentences, strict=True)).strip()


@lru_cache(maxsize=len(LANGUAGES))
def _patterns(language: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    """English sentence → translation, longest first; {} stands for anything. So is what an option is called."""
    known = dictionary(language)
    called = {text: known[key] for key, text in declared().items() if key in known and key.count(".") == 1}
    pairs = called | {key.removeprefix("="): text for key, text in known.items() if key.startswith("=")}
    parts = {key: "(.+?)".join(re.escape(part) for part in key.split("{}")) for key in sorted(pairs, key=len, reverse=True)}
    return tuple((re.compile(pattern, re.DOTALL), pairs[key]) for key, pattern in parts.items())


def labels(language: str) -> dict[str, str]:
    """English text on the page → the language's, for the script that translates what was built before the language was known."""
    known = dictionary(language)
    page = {text: known[key] for key, text in dictionary(ENGLISH).items() if "{" not in text and key in known}
    people = {say("person", number=n): say("person", language, number=n) for n in range(1, MOST_PERSONS + 1)}
    return page | people | {text: known[key] for key, text in declared().items() if key in known}


def declared() -> dict[str, str]:
    """Ids and English words of everything the options declare."""
    found = {}
    for prefix, declaring in DECLARED.items():
        for one in (field for cls in declaring for field in fields_of(cls)):
            found[f"{prefix}.{one.name}"] = one.option.label
            found[f"{prefix}.{one.name}.help"] = one.option.help
            found |= {f"{prefix}.{one.name}.{choice}": choice for choice in one.option.choices}
    return found


def choice_label(name: str, choice: str) -> str:
    """What a choice of an option is called on the page, in English."""
    return dictionary(ENGLISH).get(f"choice.{name}.{choice}", choice)


def meant(name: str, said: str) -> str:
    """The choice of an option that its words on the page stand for, in whichever language they are; what are no such words stays."""
    begin = f"choice.{name}."
    pairs = ((key, text) for language in LANGUAGES for key, text in dictionary(language).items() if key.startswith(begin))
    return next((key.removeprefix(begin) for key, text in pairs if text == said), said)


def tips(language: str) -> dict[str, str]:
    """What a control of the tab shows when pointed at: its technical name and what it does, by the control's name."""
    known = declared_in(language)
    said = {one.name: (one.option.technical, known[f"making.{one.name}.help"]) for one in fields_of(MakingOptions)}
    return {name: f"{technical}: {text}" if technical else text for name, (technical, text) in said.items()}


def declared_in(language: str) -> dict[str, str]:
    """The same in a language."""
    return {key: dictionary(language).get(key, text) for key, text in declared().items()}
