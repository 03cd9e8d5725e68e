"""From photos of a person to an Identity: look at each photo, cut the head out, align it, read it (FACTS §2.7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING

from facechain_ext.errors import BadInput, NoFace

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from facechain_ext.engine.adapter import Adapter
    from facechain_ext.engine.encoder import FaceEncoder
    from facechain_ext.engine.identity import Identity
    from facechain_ext.faces.types import Face, FaceAnalyser
    from facechain_ext.faces.vetting import Report

LONGEST_SIDE = 2000
"""Photos are read at most this large: more pixels cost time and tell no more about a face of 112."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture file's bytes and what to call it. file: its name, where somebody is told that it cannot be read; kept nowhere."""

    data: bytes = field(repr=False)
    name: str
    file: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A photo of a person: RGB, and what to call it."""

    image: Image.Image
    name: str


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A person known from photos.

    used: the photos that were fit; reports: one per given photo; crops: the aligned faces, RGB [112, 112, 3].
    """

    identity: Identity
    used: tuple[Photo, ...]
    faces: tuple[Face, ...]
    crops: tuple[np.ndarray, ...]
    reports: tuple[Report, ...]


def opened(photos: Sequence[Picture]) -> list[Photo]:
    """Photos as RGB, upright, at most as large as is of use. BadPicture."""
    from facechain_ext.vision.pictures import read, shrink

    called = [f"{photo.name} ({photo.file})" if photo.file else photo.name for photo in photos]
    return [
        Photo(image=shrink(read(BytesIO(photo.data), name=name), LONGEST_SIDE), name=photo.name)
        for photo, name in zip(photos, called, strict=True)
    ]


def head_crop(analyser: FaceAnalyser, image: Image.Image, face: Face) -> np.ndarray:
    """The face as the encoder wants it: everything but the head black, aligned to 112×112, uint8 RGB."""
    from facechain_ext.vision.align import align
    from facechain_ext.vision.masks import cut_out, geometric_head, head_from_parsing

    parsing = analyser.parse(image, face)
    if parsing.face is None:
        mask = geometric_head(face.box, face.points, image.size)
    else:
        mask = head_from_parsing(parsing.face, parsing.hair, parsing.person)
    return align(cut_out(image, mask), face.points)


def look(analyser: FaceAnalyser, encoder: FaceEncoder, photos: Sequence[Photo], *, face: int | None = None) -> tuple[Report, ...]:
    """Vet every photo and all of them together; persons are compared by the analyser where it can, else by the encoder."""
    from facechain_ext.faces.vetting import vet

    embed = None if "embed" in analyser.capabilities else lambda crop: embed_crop(encoder, crop)
    return tuple(vet(analyser, [photo.image for photo in photos], face=face, names=[photo.name for photo in photos], embed=embed))


def meet(analyser: FaceAnalyser, encoder: FaceEncoder, adapter: Adapter, photos: Sequence[Photo], *, face: int | None = None) -> Subject:
    """Learn a person from photos; unfit ones are left out, NoFace with their reasons where none is left."""
    import numpy as np
    import torch

    from facechain_ext.engine.identity import identify
    from facechain_ext.vision.pictures import sha256

    if not photos:
        raise BadInput("No photo was given: give at least one photo of the person.")
    reports = look(analyser, encoder, photos, face=face)
    fit = [(photo, report.face) for photo, report in zip(photos, reports, strict=True) if report.usable and report.face is not None]
    if not fit:
        raise NoFace(
            " ".join(
                f"{problem.sentence} {problem.advice}" for report in reports for problem in report.problems if problem.severity == "reject"
            )
        )
    crops = [head_crop(analyser, photo.image, face) for photo, face in fit]
    identity = identify(encoder, adapter, torch.from_numpy(np.stack(crops)), [sha256(photo.image)[:12] for photo, _ in fit])
    used, faces = zip(*fit, strict=True)
    return Subject(identity=identity, used=used, faces=faces, crops=tuple(crops), reports=reports)


def embed_crop(encoder: FaceEncoder, crop: np.ndarray) -> np.ndarray:
    """The encoder's global embedding of an aligned face, float32 of length 1."""
    import torch

    from facechain_ext.engine.identity import embed

    return embed(encoder, torch.from_numpy(crop[None].copy()))[0].numpy()
