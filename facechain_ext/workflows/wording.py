"""What a prompt says about the person: words from age and gender (FACTS §1.2.3), with care for the young (FACTS §6.21)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from facechain_ext.workflows.lexicon import words_against

if TYPE_CHECKING:
    from facechain_ext.faces.types import Attributes

ADULT = 18


@dataclass(frozen=True, kw_only=True)
class Wording:
    """Words for a kind of subject, at the front of the prompt and at the end of the negative; minor: looks or is said to be under 18."""

    positive: str
    negative: str = ""
    minor: bool = False


SUBJECTS: dict[str, Wording] = {
    "person": Wording(positive="a person"),
    "man": Wording(positive="a handsome man", negative="children"),
    "woman": Wording(positive="a beautiful woman"),
    "older-man": Wording(positive="a mature man", negative="children"),
    "older-woman": Wording(positive="a mature woman"),
    "child": Wording(positive="a child", minor=True),
    "boy": Wording(positive="a boy, child", minor=True),
    "girl": Wording(positive="a girl, child", minor=True),
    "teenager": Wording(positive="a teenager", minor=True),
    "none": Wording(positive=""),
}
AGES = (("25-year-old", 20, 29), ("35-year-old", 30, 39))
WITH_LORA = "{prompt}, upper body, raw photo, masterpiece, solo, medium shot, high detail face, photorealistic, best quality"
WITHOUT_LORA = (
    "raw photo, masterpiece, {prompt}, solo, medium shot, high detail face, looking straight into the camera "
    "with shoulders parallel to the frame, photorealistic, best quality"
)
NEGATIVE = (
    "nsfw, paintings, sketches, (worst quality:1.4), (low quality:1.4), lowres, normal quality, monochrome, grayscale, "
    "logo, text, watermark, signature, username, bad anatomy, bad hands, extra fingers, fewer fingers, extra legs, extra hands, "
    "skin spots, acnes, skin blemishes, age spot"
)


def subject_of(attributes: Attributes | None) -> str:
    """The kind of subject that a face was judged to be; a face that may be under 18 is taken to be."""
    if attributes is None or attributes.gender is None:
        return "child" if attributes is not None and _minor(attributes) else "person"
    male = attributes.gender == "male"
    if attributes.age is None:
        return "man" if male else "woman"
    if attributes.age[1] < 10:
        return "boy" if male else "girl"
    if _minor(attributes):
        return "teenager"
    older = attributes.age[0] >= 40
    return ("older-man" if older else "man") if male else ("older-woman" if older else "woman")


def wording(subject: str, attributes: Attributes | None = None) -> Wording:
    """The words for a subject: one of SUBJECTS, or "auto" for what the face was judged to be. A face that looks under 18 stays a minor."""
    judged = subject_of(attributes)
    chosen = SUBJECTS[judged if subject == "auto" else subject]
    if SUBJECTS[judged].minor and not chosen.minor:
        return Wording(positive=SUBJECTS[judged].positive, minor=True)
    age = next(
        (
            words
            for words, low, high in AGES
            if attributes is not None and attributes.age and low <= attributes.age[0] and attributes.age[1] <= high
        ),
        None,
    )
    if age and subject == "auto" and not chosen.minor:
        return Wording(positive=f"{chosen.positive}, {age}", negative=chosen.negative)
    return chosen


def prompts(prompt: str, negative: str | None, words: Wording, *, template: str, lora: bool) -> tuple[str, str]:
    """The full positive and negative prompt. template: "photo" wraps the prompt as FaceChain does, "plain" leaves it."""
    body = (WITH_LORA if lora else WITHOUT_LORA).format(prompt=prompt) if template == "photo" else prompt
    against = [NEGATIVE if negative is None else negative, words.negative, words_against() if words.minor else ""]
    return _joined([words.positive if template == "photo" or words.minor else "", body]), _joined(against)


def _minor(attributes: Attributes) -> bool:
    return attributes.age is not None and attributes.age[0] < ADULT


def _joined(parts: list[str]) -> str:
    return re.sub(r"(,\s*)+", ", ", ", ".join(part for part in parts if part)).strip(", ")
