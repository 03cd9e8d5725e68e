"""Looking at photos for the panel and the API: what was seen in each, and a small picture of the face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from io import BytesIO
from typing import TYPE_CHECKING, Any

from PIL import Image

from facechain_ext.errors import BadInput, BadWeights, MissingPackage
from facechain_ext.log import log
from facechain_ext.store.library import Addition, Saved
from facechain_ext.ui.loaded import Loaded, opened
from facechain_ext.ui.request import AUTO, Picture

if TYPE_CHECKING:
    from facechain_ext.faces.types import Face
    from facechain_ext.faces.vetting import Report

THUMBNAIL = 112


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What was seen in a photo. hash: of its pixels, as in the info text; thumbnail: the aligned face, or the whole photo, a PNG."""

    report: Report
    hash: str
    size: tuple[int, int]
    thumbnail: bytes


def analyse(loaded: Loaded, photos: Sequence[Picture], *, adapter: str = AUTO, analyser: str = AUTO, face: int = 0) -> list[Seen]:
    """Vet photos, one by one and together. Persons are compared where an encoder is there. BadPicture, BadInput, MissingPackage."""
    from facechain_ext.vision.pictures import sha256

    if not photos:
        raise BadInput("No photo was given: give at least one photo of the person.")
    pictures = opened(photos)
    reports = _reports(loaded, pictures, adapter, loaded.analyser(analyser), face or None)
    return [
        Seen(report=report, hash=sha256(one.image)[:12], size=one.image.size, thumbnail=thumbnail(one.image, report.face))
        for one, report in zip(pictures, reports, strict=True)
    ]


def _reports(loaded: Loaded, photos: Sequence[Any], adapter: str, analyser: Any, face: int | None) -> Sequence[Report]:
    """One report per photo, by the encoder's comparison where weights are there for it."""
    from facechain_ext.faces.vetting import vet
    from facechain_ext.workflows.people import look

    try:
        encoder = loaded.encoder(loaded.adapter(adapter))
    except (BadWeights, MissingPackage) as error:
        log.debug("Photos are looked at without comparing persons: %s", error)
        return vet(analyser, [one.image for one in photos], face=face, names=[one.name for one in photos])
    return look(analyser, encoder, photos, face=face)


def save(
    loaded: Loaded, name: str, photos: Sequence[Picture], *, adapter: str = AUTO, analyser: str = AUTO, face: int = 0,
    consent: bool = False, keep_photos: bool = False, replace: bool = False,
) -> Saved:  # fmt: skip
    """Add a person to the library. Any FaceChainError."""
    if not photos:
        raise BadInput("There is no photo to save a person from: drop one to six photos first.")
    network = loaded.adapter(adapter)
    met = loaded.look(photos, network, analyser, face)
    stated = f"The person who saved this states that the pictured person agreed, {date.today().isoformat()}." if consent else ""
    what = Addition(
        identity=met.identity, adapter=network.name, thumbnail=png(Image.fromarray(met.crops[0])), consent=stated,
        originals=[photo.data for photo in photos] if keep_photos else (),
    )  # fmt: skip
    return loaded.library().add(name, what, replace=replace)


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
