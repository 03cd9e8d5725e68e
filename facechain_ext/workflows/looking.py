"""Looking at photos before anything is made: what was seen in each, and a small picture of the face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image

from facechain_ext.errors import BadInput
from facechain_ext.workflows.people import Picture, look, opened

if TYPE_CHECKING:
    from facechain_ext.engine.encoder import FaceEncoder
    from facechain_ext.faces.types import Face, FaceAnalyser
    from facechain_ext.faces.vetting import Report

THUMBNAIL = 112


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What was seen in a photo. hash: of its pixels, as in the info text; thumbnail: the aligned face, or the whole photo, a PNG."""

    report: Report
    hash: str
    size: tuple[int, int]
    thumbnail: bytes


def seen_in(photos: Sequence[Picture], analyser: FaceAnalyser, encoder: FaceEncoder | None, *, face: int = 0) -> list[Seen]:
    """Vet photos, one by one and together. Without an encoder persons are compared only where the analyser can. BadPicture, BadInput.

    face: from 1, from the left; 0: the largest.
    """
    from facechain_ext.faces.vetting import vet
    from facechain_ext.vision.pictures import sha256

    if not photos:
        raise BadInput("No photo was given: give at least one photo of the person.")
    pictures = opened(photos)
    if encoder is None:
        reports = tuple(vet(analyser, [one.image for one in pictures], face=face or None, names=[one.name for one in pictures]))
    else:
        reports = look(analyser, encoder, pictures, face=face or None)
    return [
        Seen(report=report, hash=sha256(one.image)[:12], size=one.image.size, thumbnail=thumbnail(one.image, report.face))
        for one, report in zip(pictures, reports, strict=True)
    ]


def thumbnail(image: Image.Image, face: Face | None) -> bytes:
    """The aligned face as a PNG; the whole photo, never cut, where there is no face."""
    from facechain_ext.vision.align import align

    if face is not None:
        return png(Image.fromarray(align(image, face.points)))
    small = image.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    return png(small)


def png(image: Image.Image) -> bytes:
    """A picture as the bytes of a PNG file."""
    out = BytesIO()
    image.save(out, format="PNG")
    return out.getvalue()
