"""How much a picture looks like the person: the cosine of face embeddings, by an encoder that is named.

An encoder other than the conditioning one is the fairer judge, so the analyser's own is used where it has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from facechain_ext.errors import NoFace
from facechain_ext.workflows.people import embed_crop, head_crop

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from facechain_ext.engine.encoder import FaceEncoder
    from facechain_ext.engine.identity import Identity
    from facechain_ext.faces.types import Face, FaceAnalyser
    from facechain_ext.workflows.people import Subject


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Measures likeness to one person.

    encoder: the name of what measures; own: the embeddings of the person's photos; conditioning: they are the conditioning encoder's,
    which is measured with then even where the analyser has an encoder of its own.
    """

    encoder: str
    analyser: FaceAnalyser
    network: FaceEncoder
    own: tuple[np.ndarray, ...]
    conditioning: bool = False

    @property
    def between(self) -> tuple[float, float] | None:
        """The range of cosines among the person's own photos, a scale to read scores by; None with one photo."""
        pairs = [float(a @ b) for i, a in enumerate(self.own) for b in self.own[i + 1 :]]
        return (min(pairs), max(pairs)) if pairs else None

    def score(self, picture: Image.Image) -> float | None:
        """Mean cosine of the picture's largest face with the person's photos, -1 to 1; None where no face is found."""
        try:
            faces = self.analyser.faces(picture)
            if not faces:
                return None
            vector = _vector(self.analyser, self.network, picture, faces[0], conditioning=self.conditioning)
        except NoFace:  # there is none for these eyes, or a second look does not confirm it; a finished picture is not lost for that
            return None
        return sum(float(vector @ mine) for mine in self.own) / len(self.own)


def judge_of(analyser: FaceAnalyser, encoder: FaceEncoder, subject: Subject) -> Judge:
    """The judge for a person, from the photos they are known by."""
    own = [_vector(analyser, encoder, photo.image, face) for photo, face in zip(subject.used, subject.faces, strict=True)]
    name = analyser.name if "embed" in analyser.capabilities else conditioning_name(encoder)
    return Judge(encoder=name, analyser=analyser, network=encoder, own=tuple(own))


def judge_of_saved(analyser: FaceAnalyser, encoder: FaceEncoder, identity: Identity) -> Judge:
    """The judge for a saved person, from the embeddings that were kept of the photos."""
    own = tuple(vector.numpy() for vector in identity.embeddings)
    return Judge(encoder=conditioning_name(encoder), analyser=analyser, network=encoder, own=own, conditioning=True)


ALSO_CONDITIONS = " (also the conditioning encoder)"
"""Behind the name of a judge that judges its own work; stays English in info texts, pages say it in the visitor's language."""


def conditioning_name(encoder: FaceEncoder) -> str:
    """What to call the encoder that conditions, as a judge."""
    return f"TransFace {encoder.fingerprint}{ALSO_CONDITIONS}"


def ranked(scores: Sequence[float | None]) -> list[int]:
    """Indices from most to least alike; pictures without a face come last, ties keep their order."""
    return sorted(range(len(scores)), key=lambda i: -2.0 if scores[i] is None else scores[i], reverse=True)  # type: ignore[arg-type, return-value]


def _vector(
    analyser: FaceAnalyser, encoder: FaceEncoder, picture: Image.Image, face: Face, *, conditioning: bool = False
) -> np.ndarray:
    if "embed" in analyser.capabilities and not conditioning:
        return analyser.embed(picture, face)
    return embed_crop(encoder, head_crop(analyser, picture, face))
