"""Who is to be in the pictures: learnt from photos, or taken from the library; with what measures likeness to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from io import BytesIO
from typing import TYPE_CHECKING

from facechain_ext.errors import BadInput, BadPicture, NoFace
from facechain_ext.log import log
from facechain_ext.workflows.likeness import Judge, judge_of, judge_of_saved
from facechain_ext.workflows.looking import png
from facechain_ext.workflows.people import Photo, Picture, Subject, meet, opened

if TYPE_CHECKING:
    from facechain_ext.engine.adapter import Adapter
    from facechain_ext.engine.encoder import FaceEncoder
    from facechain_ext.engine.identity import Identity
    from facechain_ext.faces.types import Attributes, FaceAnalyser
    from facechain_ext.store.library import Library, Saved

MOST_FACES = 6
"""Faces of a kept photo among which the saved one is looked for."""
HEAD, FRAME = 224, 448
"""Pixels of a thumbnail's head and of the frame around it, in which faces are found."""


@dataclass(frozen=True, kw_only=True)
class Who:
    """A person to be painted. name: in the library, or ""; attributes: as judged from a photo, None where none could be."""

    identity: Identity
    judge: Judge
    name: str = ""
    attributes: Attributes | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Eyes:
    """What a person is looked at with."""

    analyser: FaceAnalyser
    encoder: FaceEncoder
    adapter: Adapter


def from_photos(eyes: Eyes, photos: Sequence[Picture], library: Library, *, face: int = 0) -> Who:
    """Learn a person from photos. face: from 1, from the left; 0: the largest. NoFace, BadPicture."""
    subject = meet(eyes.analyser, eyes.encoder, eyes.adapter, opened(photos), face=face or None)
    known = library.known_by(subject.identity.photos)
    return Who(
        identity=subject.identity, judge=judge_of(eyes.analyser, eyes.encoder, subject), name=known.name if known else "",
        attributes=attributes_of(eyes.analyser, subject), notes=_objections(subject),
    )  # fmt: skip


def from_library(eyes: Eyes, library: Library, name: str) -> Who:
    """A saved person. BadInput where there is none of that name, or their tokens are for another adapter."""
    saved = library.person(name)
    identity = library.identity(saved.name, eyes.adapter.fingerprint)
    subject = _from_originals(eyes, library, saved, identity)
    if subject is not None:
        judge = judge_of(eyes.analyser, eyes.encoder, subject)
        return Who(identity=identity, judge=judge, name=saved.name, attributes=attributes_of(eyes.analyser, subject))
    if identity.encoder != eyes.encoder.fingerprint:
        raise BadInput(f"{saved.name} was saved with another face encoder than the one in use: save the photos again with this one.")
    return Who(
        identity=identity, judge=judge_of_saved(eyes.analyser, eyes.encoder, identity), name=saved.name,
        attributes=_of_thumbnail(eyes.analyser, saved),
    )  # fmt: skip


def attributes_of_saved(eyes: Eyes, library: Library, name: str, identity: Identity) -> Attributes | None:
    """What a saved person is judged to be: by the photos that were kept, else by the small picture. BadInput where there is none."""
    if "attributes" not in eyes.analyser.capabilities:
        return None
    saved = library.person(name)
    subject = _from_originals(eyes, library, saved, identity)
    return attributes_of(eyes.analyser, subject) if subject is not None else _of_thumbnail(eyes.analyser, saved)


def keep(
    eyes: Eyes, library: Library, name: str, photos: Sequence[Picture], *, face: int = 0, consent: bool = False, keep_photos: bool = False,
    replace: bool = False,
) -> Saved:  # fmt: skip
    """Add a person to the library. BadInput without consent or photos, NoFace, BadPicture."""
    from PIL import Image

    from facechain_ext.store.library import Addition

    if not photos:
        raise BadInput("There is no photo to save a person from: drop one to six photos first.")
    if not consent:
        raise BadInput("Nobody is saved unasked: confirm that the person in the photos agrees.")
    subject = meet(eyes.analyser, eyes.encoder, eyes.adapter, opened(photos), face=face or None)
    what = Addition(
        identity=subject.identity, adapter=eyes.adapter.name, thumbnail=png(Image.fromarray(subject.crops[0])),
        consent=f"The person who saved this states that the pictured person agreed, {date.today().isoformat()}.",
        originals=[photo.data for photo in photos] if keep_photos else (),
    )  # fmt: skip
    return library.add(name, what, replace=replace)


def _from_originals(eyes: Eyes, library: Library, saved: Saved, identity: Identity) -> Subject | None:
    """The person as seen in the original photos, where those were kept: what they look like tells age and likeness better."""
    if not saved.originals:
        return None
    kept = [Picture(data=data, name=f"photo {at}") for at, data in enumerate(library.originals(saved.name), 1)]
    photos = opened(kept)
    others = max(len(eyes.analyser.faces(photo.image)) for photo in photos)
    if others < 2 or identity.encoder != eyes.encoder.fingerprint:
        return meet(eyes.analyser, eyes.encoder, eyes.adapter, photos)
    met = [_met(eyes, photos, face) for face in (None, *range(1, min(others, MOST_FACES) + 1))]
    return max(filter(None, met), key=lambda one: _nearness(one.identity, identity), default=None)


def _met(eyes: Eyes, photos: Sequence[Photo], face: int | None) -> Subject | None:
    try:
        return meet(eyes.analyser, eyes.encoder, eyes.adapter, photos, face=face)
    except NoFace:
        return None


def _nearness(one: Identity, other: Identity) -> float:
    """Mean cosine of each photo's embedding with the other's nearest."""
    return float((one.embeddings @ other.embeddings.T).max(1).values.mean())


def _of_thumbnail(analyser: FaceAnalyser, saved: Saved) -> Attributes | None:
    """What the small picture tells where there is no photo: who is saved young is not treated as an adult for it."""
    from PIL import Image

    from facechain_ext.vision.pictures import letterbox, read

    if "attributes" not in analyser.capabilities:
        return None
    try:
        head = letterbox(read(BytesIO(saved.thumbnail), name="the thumbnail"), HEAD, HEAD)
    except BadPicture as error:
        log.warning("Nothing can be told of the age of a saved person: %s", error)
        return None
    framed = Image.new("RGB", (FRAME, FRAME))
    framed.paste(head, ((FRAME - HEAD) // 2, (FRAME - HEAD) // 2))
    faces = analyser.faces(framed)
    return analyser.attributes(framed, faces[0]) if faces else None


def attributes_of(analyser: FaceAnalyser, subject: Subject) -> Attributes | None:
    """Of the youngest look among the photos, so that nobody is made older by the better photo."""
    if "attributes" not in analyser.capabilities:
        return None
    seen = [analyser.attributes(photo.image, face) for photo, face in zip(subject.used, subject.faces, strict=True)]
    dated = [one for one in seen if one.age is not None]
    return min(dated, key=lambda one: one.age or (0, 0)) if dated else seen[0]


def _objections(subject: Subject) -> tuple[str, ...]:
    return tuple(f"{problem.sentence} {problem.advice}" for report in subject.reports for problem in report.problems)
