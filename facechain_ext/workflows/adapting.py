"""A style's prompt made to fit the person: words that say who is in the picture give way to the subject's own (`wording.SUBJECTS`).

Published prompts say girl, woman or 1boy to everyone, put an ethnicity to some, and carry words that are not for the young.
"""

from __future__ import annotations

import re

from facechain_ext.errors import BadInput
from facechain_ext.workflows.emphasis import rewritten
from facechain_ext.workflows.lexicon import spoken
from facechain_ext.workflows.wording import SUBJECTS

STRONGEST = 1.4
"""Weights were plain text to the reference (FACTS §1.2); as weights, those of up to 2 burn a picture."""

NOUNS = {
    "person": "person", "none": "person", "man": "man", "woman": "woman", "older-man": "man", "older-woman": "woman",
    "child": "child", "boy": "boy", "girl": "girl", "teenager": "teenager",
}  # fmt: skip
PRONOUNS = {"man": ("his", "he", "him"), "boy": ("his", "he", "him"), "woman": ("her", "she", "her"), "girl": ("her", "she", "her")}
NEUTRAL = ("their", "they", "them")
GENDERED = r"(?:girls?|wom[ae]n|lad(?:y|ies)|females?|boys?|m[ae]n|males?|guys?|gentlem[ae]n)"
GENDER = re.compile(rf"(?<![A-Za-z])(?:\d+\s*)?{GENDERED}(?![A-Za-z])", re.IGNORECASE)
OWN, SUBJECT, OBJECT = (re.compile(rf"(?<![A-Za-z])(?:{words})(?![A-Za-z])", re.IGNORECASE) for words in ("her|his", "she|he", "him"))
FEMININE = re.compile(r"girlish|girly|feminine|womanly|ladylike", re.IGNORECASE)
MASCULINE = re.compile(r"boyish|masculine|manly|virile", re.IGNORECASE)
FLATTERY = frozenset(
    {"a", "an", "the", "one", "and", "or", "very", "extremely", "so", "delicate", "beautiful", "pretty", "cute", "lovely", "handsome"}
    | {"gorgeous", "attractive", "elegant", "young", "old", "adult", "mature", "sexy"}
)
"""With a noun and nothing else, a tag of these only says who is there."""

BODY = re.compile(r"\b(?:breasts?|cleavage|flat chest|bosoms?|busty|curvy|sideboob)\b", re.IGNORECASE)
PEOPLES = (
    r"(?:asian?s?|chinese|japanese|korean|indian|thai|vietnamese|mongolian|tibetan|caucasian|european|western|african|american|latin[oax]?|hispanic|"
    r"arab(?:ian|ic)?|russian|ukrainian)"
)
SOMEBODY = rf"(?:{GENDERED}|persons?|people|models?|faces?|beaut(?:y|ies)|child(?:ren)?|teenagers?)"
ETHNICITY = re.compile(r"(?:\S+ )*(?:nationality|ethnicity|descent)|(?:from )?asia|asians?|caucasian", re.IGNORECASE)
"""Tags that say nothing but where a person's forebears came from."""
OF_A_PEOPLE = re.compile(rf"(?<![\w-]){PEOPLES}\s+(?=(?:[\w-]+\s+)??{SOMEBODY}(?![\w-]))", re.IGNORECASE)
TAG = re.compile(r"<(?:lora|lyco|hypernet):[^>]*>", re.IGNORECASE)


def cleaned(prompt: str) -> str:
    """A published prompt as the WebUI reads it well: brackets balanced, weights sane, no LoRA tags, no word on a person's ethnicity.

    A people's dress, embroidery or palace stays: that is the style.
    """
    untagged = TAG.sub("", prompt)
    return rewritten(untagged, keep=lambda tag: not _ethnic(tag), text=lambda text: OF_A_PEOPLE.sub("", text), strongest=STRONGEST)


def adapted(prompt: str, subject: str, *, minor: bool = False) -> str:
    """The prompt for a subject of SUBJECTS. minor: the face looks under 18, whatever was chosen; then it is cleaned of what is for adults.

    A tag that only says who is there goes, because the subject's own words stand first in the full prompt; elsewhere the noun is changed.
    """
    if subject not in NOUNS:
        raise BadInput(f"There is no subject {subject!r}: choose one of {', '.join(NOUNS)}.")
    young = minor or SUBJECTS[subject].minor
    noun = NOUNS["teenager" if young and not SUBJECTS[subject].minor else subject]
    return rewritten(prompt, keep=lambda tag: _fits(_spaced(tag), noun, young), text=lambda text: _renamed(text, noun))


def _fits(tag: str, noun: str, young: bool) -> bool:
    if _only_says_who(tag) or (young and _unsuitable(tag)):
        return False
    if BODY.search(tag) and noun != "woman":
        return False
    return not (FEMININE.search(tag) and noun not in ("woman", "girl")) and not (MASCULINE.search(tag) and noun not in ("man", "boy"))


def _unsuitable(tag: str) -> bool:
    """What a prompt for somebody under 18 does not say: the tag goes as a whole."""
    return bool(BODY.search(tag) or spoken(tag, "explicit") or spoken(tag, "adult") or spoken(tag, "unsuitable"))


def _only_says_who(tag: str) -> bool:
    rest, found = GENDER.subn("", tag)
    words = re.findall(r"[\w-]+", rest.lower())
    return all(word in FLATTERY for word in words) and (bool(found) or words in (["adult"], ["mature"]))


def _renamed(text: str, noun: str) -> str:
    own, they, them = PRONOUNS.get(noun, NEUTRAL)
    text = GENDER.sub(noun, text)
    for pattern, word in ((OWN, own), (SUBJECT, they), (OBJECT, them)):
        text = pattern.sub(word, text)
    return text


def _ethnic(tag: str) -> bool:
    if ETHNICITY.fullmatch(_spaced(tag)):
        return True
    rest, found = OF_A_PEOPLE.subn("", tag)
    return bool(found) and _only_says_who(rest) and not GENDER.search(rest)


def _spaced(tag: str) -> str:
    return re.sub(r"[_\-\s]+", " ", tag).strip()
