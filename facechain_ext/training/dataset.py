"""A dataset of photographs for FACT: one folder per identity, looked at once, kept ready in the training's own folder.

<folder>/<identity>/*.png|jpg|jpeg|webp, with an optional caption in a .txt of the same name beside each picture.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from facechain_ext.errors import BadInput, BadPicture
from facechain_ext.faces.types import Face, FaceAnalyser
from facechain_ext.log import log
from facechain_ext.training.captioned import caption_of, pictures_in
from facechain_ext.training.subjects import Example, Seen
from facechain_ext.training.tokens import tokens_of
from facechain_ext.vision.align import align
from facechain_ext.vision.masks import cut_out, geometric_head, head_from_parsing
from facechain_ext.vision.pictures import read

SHOWN_CAPTION = "a portrait of a person"


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A picture made ready: its square RGB uint8 [S, S, 3], the head in it, bool [S, S], the aligned face, the caption's tokens [77]."""

    picture: np.ndarray
    head: np.ndarray
    crop: np.ndarray
    words: np.ndarray


class FolderPeople:
    """Identities of a dataset folder as a source of examples."""

    def __init__(self, folder: Path, ready: Path, size: int, analyser: FaceAnalyser, shuffle: bool = True) -> None:
        """ready: where prepared pictures are kept; shuffle: references are to be other pictures. BadInput where none can be."""
        self.people = [kept for paths in identities(folder) if (kept := _ready(paths, ready, size, analyser))]
        if not self.people:
            raise BadInput(f"No face was found in any picture of {folder}: use photos with faces, or another --analyser.")
        alone = sum(len(one) == 1 for one in self.people)
        log.info("%d identities with %d pictures.", len(self.people), sum(map(len, self.people)))
        if shuffle and alone == len(self.people):
            raise BadInput(f"Every identity in {folder} has one picture only: add a second of each, or give --no-shuffle.")
        if shuffle and alone:
            log.warning("%d identities have one usable picture only: their reference is the picture itself.", alone)

    def example(self, rng: np.random.Generator, references: int, shuffle: float, paired: bool) -> Example:
        files = self.people[int(rng.integers(len(self.people)))]
        own = int(rng.integers(len(files)))
        target = load(files[own])
        others = [index for index in range(len(files)) if index != own] or [own]
        chosen = [int(rng.choice(others)) if rng.random() < shuffle else own for _ in range(references)]
        crops = np.stack([target.crop if index == own else load(files[index]).crop for index in chosen])
        return Example(words=target.words, head=target.head, people=(Seen(crops=crops),), picture=target.picture)

    def show(self, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(load(files[0]).crop, tokens_of([SHOWN_CAPTION])[0]) for files in self.people[:count]]


def identities(folder: Path) -> Iterator[list[Path]]:
    """The pictures of each identity, in a fixed order. BadInput for a folder of another shape."""
    if not folder.is_dir():
        raise BadInput(f"There is no dataset folder {folder}: give one with a sub-folder of pictures per person.")
    found = [paths for one in sorted(folder.iterdir()) if one.is_dir() and (paths := pictures_in(one))]
    if not found:
        raise BadInput(f"{folder} has no sub-folders with pictures: put each person's pictures into a folder of their own.")
    yield from found


def _ready(paths: list[Path], ready: Path, size: int, analyser: FaceAnalyser) -> list[Path]:
    """The prepared files of one identity, made where they are not there yet; pictures without a face are left out and named."""
    return [kept for path in paths if (kept := _prepared(path, ready / path.parent.name, size, analyser)) is not None]


def _prepared(path: Path, ready: Path, size: int, analyser: FaceAnalyser) -> Path | None:
    words, state = caption_of(path), path.stat()
    facts = f"{path}|{state.st_size}|{state.st_mtime_ns}|{size}|{analyser.name}|{words}"
    target = ready / f"{path.stem}-{hashlib.sha256(facts.encode()).hexdigest()[:12]}.npz"
    if not target.exists():
        try:
            made = prepare(read(path), size, analyser)
        except BadPicture as error:
            log.warning("%s", error)
            return None
        if made is None:
            log.warning("No face was found in %s: it is left out.", path)
            return None
        ready.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(f".{os.getpid()}.partial.npz")
        np.savez_compressed(partial, **made, words=tokens_of([words])[0])
        os.replace(partial, target)
    return target


def prepare(image: Image.Image, size: int, analyser: FaceAnalyser) -> dict[str, np.ndarray] | None:
    """The square of a picture around its largest face, the head in it, and the aligned face before black; None without a face."""
    found = analyser.faces(image)
    if not found:
        return None
    head = _head(image, found[0], analyser)
    crop = align(cut_out(image, head), found[0].points)
    box = _square(image.size, found[0])
    picture = image.crop(box).resize((size, size), Image.Resampling.LANCZOS)
    mask = Image.fromarray((head * 255).astype(np.uint8)).crop(box).resize((size, size), Image.Resampling.BILINEAR)
    return {"picture": np.asarray(picture), "head": np.asarray(mask) > 127, "crop": crop}


def load(path: Path) -> Prepared:
    """A prepared picture."""
    with np.load(path) as kept:
        return Prepared(picture=kept["picture"], head=kept["head"], crop=kept["crop"], words=kept["words"])


def _head(image: Image.Image, face: Face, analyser: FaceAnalyser) -> np.ndarray:
    parsing = analyser.parse(image, face)
    if parsing.face is None:
        return geometric_head(face.box, face.points, image.size)
    return head_from_parsing(parsing.face, parsing.hair, parsing.person)


def _square(size: tuple[int, int], face: Face) -> tuple[int, int, int, int]:
    """The largest square of a picture, as near the face's middle as it fits."""
    side = min(size)
    left, top = (
        round(min(max((face.box[i] + face.box[i + 2]) / 2 - side / 2, 0), size[i] - side)) for i in (0, 1)
    )  # fmt: skip
    return left, top, left + side, top + side
