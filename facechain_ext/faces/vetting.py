"""Are these photos fit to learn a face from? What stands against each, in a sentence with advice.

The face looked at is the largest of a photo, or number N counted from the left beginning with 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from facechain_ext.faces.types import Face, FaceAnalyser, pick
from facechain_ext.vision.align import align
from facechain_ext.vision.pictures import sha256
from facechain_ext.vision.quality import angles, brightness, sharpness

Severity = Literal["warn", "reject"]
Embed = Callable[[np.ndarray], np.ndarray]
"""From an aligned crop, uint8 RGB [112, 112, 3], to a vector of any length that tells persons apart by cosine."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """When to object: the measure's limit, how grave it is, what to say ({value}, {limit}, {name}) and what to advise."""

    limit: float = 0.0
    severity: Severity
    sentence: str
    advice: str


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One objection to a photo."""

    code: str
    sentence: str
    advice: str
    severity: Severity


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was seen in one photo. number: its place, from 1; face: the one looked at, None where there is none; faces: all of them.

    likeness: cosine with the photo most like the others, where persons could be compared.
    """

    number: int
    face: Face | None
    faces: tuple[Face, ...]
    problems: tuple[Problem, ...]
    likeness: float | None = None

    @property
    def usable(self) -> bool:
        """Nothing grave stands against the photo."""
        return all(problem.severity != "reject" for problem in self.problems)


CLOSER = "Use one in which the face is larger, at least 64 pixels wide."
FACING = "Use one in which the face is turned to the camera."
LIGHT = "Use one with even light on the face."
RULES: Mapping[str, Rule] = {
    "no_face": Rule(
        severity="reject",
        sentence="No face found in {name}.",
        advice="Use an upright photo in which the face is at least 64 pixels wide and turned to the camera.",
    ),
    "no_such_face": Rule(
        severity="reject", sentence="There is no face {limit:.0f} in {name}, only {value:.0f}.", advice="Count from the left, from 1."
    ),
    "tiny": Rule(limit=32, severity="reject", sentence="The face in {name} is only {value:.0f} pixels wide.", advice=CLOSER),
    "small": Rule(limit=64, severity="warn", sentence="The face in {name} is only {value:.0f} pixels wide.", advice=CLOSER),
    "cut_off": Rule(
        limit=0.1,
        severity="warn",
        sentence="The face in {name} is cut off by the edge of the picture.",
        advice="Use one that shows the whole head.",
    ),
    "blurred": Rule(limit=0.03, severity="warn", sentence="The face in {name} is blurred.", advice="Use a sharper one."),
    "profile": Rule(limit=60, severity="reject", sentence="The face in {name} is turned away by about {value:.0f}°.", advice=FACING),
    "turned": Rule(limit=40, severity="warn", sentence="The face in {name} is turned sideways by about {value:.0f}°.", advice=FACING),
    "nodding": Rule(limit=30, severity="warn", sentence="The face in {name} looks up or down by about {value:.0f}°.", advice=FACING),
    "eyes_closed": Rule(
        limit=0.2,
        severity="warn",
        sentence="The eyes in {name} seem closed or covered.",
        advice="Use one with open eyes and without dark glasses.",
    ),
    "dark": Rule(limit=45, severity="warn", sentence="The face in {name} is very dark.", advice=LIGHT),
    "bright": Rule(limit=225, severity="warn", sentence="The face in {name} is overexposed.", advice=LIGHT),
    "several_faces": Rule(
        limit=0.25,
        severity="warn",
        sentence="{name} shows {value:.0f} faces, and the largest is used.",
        advice="Choose the face by its number from the left, or use a photo of one person.",
    ),
    "duplicate": Rule(
        severity="warn", sentence="{name} is the same picture as photo {value:.0f}.", advice="Leave it out: it adds nothing."
    ),
    "other_person": Rule(
        severity="reject",
        sentence="{name} seems to show another person (likeness {value:.2f}, expected at least {limit:.2f}).",
        advice="Leave it out, or choose the right face by its number from the left.",
    ),
    "two_persons": Rule(
        severity="warn",
        sentence="{name} and photo 1 seem to show two persons (likeness {value:.2f}, expected at least {limit:.2f}).",
        advice="Use photos of one person, or choose the right face by its number from the left.",
    ),
}
SAME_PERSON: Mapping[str, float] = {"insightface": 0.28, "transface": 0.25}
"""Cosine from which two photos are taken for one person, by the encoder that measured it."""


def vet(
    analyser: FaceAnalyser,
    photos: Sequence[Image.Image],
    *,
    face: int | None = None,
    names: Sequence[str] | None = None,
    embed: Embed | None = None,
    same_person: float | None = None,
) -> list[Report]:
    """Look at every photo (RGB) and at all of them together; one report each, in their order.

    face: which one, counted from the left beginning with 1 (default: the largest). names: what to call the photos (default
    "photo N"). Persons are compared by `embed`, or by the analyser where it can, and `same_person` is the least cosine.
    """
    called = list(names) if names is not None else [f"photo {number}" for number in range(1, len(photos) + 1)]
    seen = [analyser.faces(photo) for photo in photos]
    chosen = [pick(faces, face) if faces and (face is None or 1 <= face <= len(faces)) else None for faces in seen]
    problems = [_of_photo(photo, faces, one, face, name) for photo, faces, one, name in zip(photos, seen, chosen, called, strict=True)]
    for at, first in duplicates(photos).items():
        problems[at].append(objection("duplicate", name=called[at], value=first + 1))
    likeness = _compare(analyser, photos, chosen, embed)
    least = same_person if same_person is not None else SAME_PERSON.get(analyser.name if embed is None else "transface", 0.25)
    code = "other_person" if len(likeness) > 2 else "two_persons"
    for at, value in likeness.items():
        if value < least:
            problems[at].append(objection(code, name=called[at], value=value, limit=least))
    return [
        Report(number=at + 1, face=chosen[at], faces=tuple(seen[at]), problems=tuple(problems[at]), likeness=likeness.get(at))
        for at in range(len(photos))
    ]


def objection(code: str, *, name: str, value: float = 0.0, limit: float | None = None) -> Problem:
    """The problem of that code, put into words."""
    rule = RULES[code]
    sentence = rule.sentence.format(name=name, value=value, limit=rule.limit if limit is None else limit)
    if sentence.startswith("photo "):  # our own name for it; a file's name keeps its letters
        sentence = "P" + sentence[1:]
    return Problem(code=code, sentence=sentence, advice=rule.advice, severity=rule.severity)


def of_face(photo: Image.Image, face: Face, name: str = "the photo") -> list[Problem]:
    """What stands against this face of the photo, the photo by itself."""
    found = {code: value for code, value, holds in _measures(photo, face) if holds}
    if "tiny" in found:
        found.pop("small", None)
    if "profile" in found:
        found.pop("turned", None)
    return [objection(code, name=name, value=value) for code, value in found.items()]


def duplicates(photos: Sequence[Image.Image]) -> dict[int, int]:
    """Photos whose pixels equal an earlier one's: place → place of the first, both from 0."""
    first: dict[str, int] = {}
    marks = [sha256(photo) for photo in photos]
    return {at: first[mark] for at, mark in enumerate(marks) if first.setdefault(mark, at) != at}


def likeness_to_medoid(vectors: np.ndarray) -> np.ndarray:
    """Cosine [n] of each vector [n, d] with the one most like all the others (the first of equals).

    The medoid, unlike a mean, is one photo, and a stranger among several does not pull it away.
    """
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    cosines = units @ units.T
    return cosines[int(np.argmax(np.round(cosines.sum(1), 6)))]


def _of_photo(photo: Image.Image, faces: Sequence[Face], chosen: Face | None, number: int | None, name: str) -> list[Problem]:
    if not faces:
        return [objection("no_face", name=name)]
    if chosen is None:
        return [objection("no_such_face", name=name, value=len(faces), limit=number)]
    problems = of_face(photo, chosen, name)
    rivals = [face for face in faces if face.area >= RULES["several_faces"].limit * chosen.area]
    if number is None and len(rivals) > 1:
        problems.append(objection("several_faces", name=name, value=len(faces)))
    return problems


def _measures(photo: Image.Image, face: Face) -> list[tuple[str, float, bool]]:
    """Every rule about a single face: its code, what was measured, and whether it objects."""
    limit = {code: rule.limit for code, rule in RULES.items()}
    yaw, pitch = _turning(face)
    crisp, light, outside = sharpness(photo, face.box), brightness(photo, face.box), _outside(photo, face)
    eyes = 1.0 if face.eyes_open is None else face.eyes_open
    return [
        ("tiny", face.width, face.width < limit["tiny"]),
        ("small", face.width, face.width < limit["small"]),
        ("cut_off", outside, outside > limit["cut_off"]),
        ("blurred", crisp, crisp < limit["blurred"]),
        ("profile", yaw, yaw > limit["profile"]),
        ("turned", yaw, yaw > limit["turned"]),
        ("nodding", pitch, pitch > limit["nodding"]),
        ("eyes_closed", eyes, eyes < limit["eyes_closed"]),
        ("dark", light, light < limit["dark"]),
        ("bright", light, light > limit["bright"]),
    ]


def _turning(face: Face) -> tuple[float, float]:
    """Yaw and pitch without their sign; of the five points where the backend does not tell, 0 where those were guessed."""
    guess = (0.0, 0.0) if face.estimated else angles(face.points)[:2]
    yaw = guess[0] if face.yaw is None else face.yaw
    pitch = guess[1] if face.pitch is None else face.pitch
    return abs(yaw), abs(pitch)


def _outside(photo: Image.Image, face: Face) -> float:
    """Share of the face's box that lies beyond the picture."""
    left, top, right, bottom = face.box
    width = max(min(right, photo.width) - max(left, 0), 0)
    height = max(min(bottom, photo.height) - max(top, 0), 0)
    return 1 - width * height / max(face.area, 1e-6)


def _compare(
    analyser: FaceAnalyser, photos: Sequence[Image.Image], chosen: Sequence[Face | None], embed: Embed | None
) -> dict[int, float]:
    """Likeness of every photo with a face to the medoid, by place; nothing where there are not two or no way to compare."""
    pairs = [(at, photo, face) for at, (photo, face) in enumerate(zip(photos, chosen, strict=True)) if face is not None]
    if len(pairs) < 2 or (embed is None and "embed" not in analyser.capabilities):
        return {}
    vectors = [analyser.embed(photo, face) if embed is None else embed(align(photo, face.points)) for _, photo, face in pairs]
    cosines = likeness_to_medoid(np.stack([np.asarray(vector, dtype=np.float64).ravel() for vector in vectors]))
    return {at: float(cosine) for (at, _, _), cosine in zip(pairs, cosines, strict=True)}
