"""Saved persons given away and taken in: one zip file of person files. What comes in may be anybody's work, so all of it is checked.

Nothing of a foreign file is copied: what is kept is written anew from the parts that were checked, under a name that was cleaned.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import re
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from facechain_ext.errors import BadInput, BadWeights, FaceChainError

if TYPE_CHECKING:
    from torch import Tensor

KIND = "facechain-person"
SUFFIX = ".safetensors"
MOST_PEOPLE, MOST_PHOTOS, MOST_ADAPTERS, MOST_ORIGINALS = 1000, 64, 16, 64
LARGEST_PERSON, LARGEST_FILE = 300_000_000, 2_000_000_000
"""Bytes unpacked: an adapter's tokens are half a megabyte per ten photos, the rest are original photos where somebody kept them."""
LONGEST_CONSENT, LARGEST_THUMBNAIL, LARGEST_ORIGINAL = 2000, 1_000_000, 50_000_000
WIDEST, TOKENS = 4096, 256
MARK = re.compile(r"[0-9a-z_.-]{1,64}")
"""A photo's hash, or a fingerprint of weights."""
FIELDS = ("photos", "encoder", "adapters", "thumbnail", "consent", "saved", "originals")


def pack(people: Mapping[str, Path], target: Path) -> None:
    """Write person files into one zip under their names; they are not made smaller, for tokens do not shrink."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as packed:
        for name, path in people.items():
            packed.write(path, f"{name}{SUFFIX}")


@contextmanager
def unpacked(file: Path) -> Iterator[dict[str, Path]]:
    """The person files of a zip, or a single one, by the name each carries; gone afterwards. BadInput where it is neither, or too much."""
    if not zipfile.is_zipfile(file):
        yield {file.name.removesuffix(SUFFIX): file}
        return
    with tempfile.TemporaryDirectory(prefix="facechain-") as folder:
        try:
            with zipfile.ZipFile(file) as packed:
                yield {name: _extracted(packed, one, Path(folder) / f"{n}{SUFFIX}") for n, (name, one) in enumerate(_members(packed))}
        except (zipfile.BadZipFile, RuntimeError, EOFError, ValueError, OSError) as error:
            raise BadInput(f"{file.name} is broken or locked and cannot be unpacked: export the people again.") from error


def _members(packed: zipfile.ZipFile) -> list[tuple[str, zipfile.ZipInfo]]:
    """The people in a zip, by the last part of their path; anything else in it is refused, for it was not made here."""
    members = [one for one in packed.infolist() if not one.is_dir()]
    strange = [one.filename for one in members if not one.filename.endswith(SUFFIX)]
    if strange or not members:
        what = f"{strange[0][:80]!r}" if strange else "nobody"
        raise _Foreign(f"This file holds {what}, which is no saved person: choose one that was exported from FaceChain.")
    if len(members) > MOST_PEOPLE:
        raise _Foreign(f"This file holds {len(members)} people: {MOST_PEOPLE} are the most at a time.")
    if sum(one.file_size for one in members) > LARGEST_FILE:
        raise _Foreign(f"This file unpacks to more than {LARGEST_FILE // 10**9} GB: export fewer people at a time.")
    named = [(PurePosixPath(one.filename.replace("\\", "/")).name.removesuffix(SUFFIX), one) for one in members]
    if len({name for name, _ in named}) < len(named):
        raise _Foreign("Two people in this file have the same name: export them again.")
    return named


class _Foreign(BadInput):
    """Raised while a zip is open, where ValueError stands for a broken one."""


def _extracted(packed: zipfile.ZipFile, one: zipfile.ZipInfo, target: Path) -> Path:
    """Unpack one person. The size is counted while reading, for what a zip says of it need not be true."""
    size = 0
    with packed.open(one) as source, open(target, "wb") as out:
        while block := source.read(1 << 20):
            size += len(block)
            if size > LARGEST_PERSON:
                raise _Foreign(f"{one.filename[:80]!r} is larger than {LARGEST_PERSON // 10**6} MB, which no saved person is.")
            out.write(block)
    return target


def checked(name: str, path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a person file, reduced to what belongs there. BadInput says what is not in order."""
    from facechain_ext.engine.checkpoints import read_tensors

    try:
        if path.stat().st_size > LARGEST_PERSON:
            raise BadInput(f"{name!r} is larger than {LARGEST_PERSON // 10**6} MB, which no saved person is.")
        with as_safetensors(path) as whole:
            tensors, metadata = read_tensors(whole)
    except (BadWeights, OSError) as error:
        raise BadInput(f"{name!r} is no saved person that can be read: choose a file that was exported from FaceChain.") from error
    try:
        fields = _fields(metadata)
        return _tensors(tensors, fields), {"format": "pt", "kind": KIND, **{key: _text(fields[key]) for key in FIELDS}}
    except FaceChainError as error:
        raise BadInput(f"{name!r} cannot be taken in: {error}") from error
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error) as error:
        raise BadInput(f"{name!r} is no saved person, or a damaged one: choose a file that was exported from FaceChain.") from error


@contextmanager
def as_safetensors(path: Path) -> Iterator[Path]:
    """The file under a name that ends as its kind does; uploads come under any."""
    if path.suffix == SUFFIX:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="facechain-") as folder:
        copy = Path(folder) / f"person{SUFFIX}"
        copy.write_bytes(path.read_bytes())
        yield copy


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _fields(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The metadata's fields, each of its kind and within its limits. BadInput; ValueError, KeyError, TypeError where it is none of ours."""
    if metadata.get("kind") != KIND:
        raise BadInput("it is no person of FaceChain.")
    photos, adapters, originals = (json.loads(metadata[key]) for key in ("photos", "adapters", "originals"))
    _need(_marks(photos, MOST_PHOTOS) and len(set(photos)) == len(photos), "the list of its photos is not in order.")
    _need(isinstance(adapters, dict) and _marks(list(adapters), MOST_ADAPTERS), "the list of its adapters is not in order.")
    _need(all(isinstance(one, str) and 0 < len(one) <= 200 for one in adapters.values()), "the name of an adapter is not in order.")
    _need(MARK.fullmatch(metadata["encoder"]) is not None, "the name of its encoder is not in order.")
    _need(len(metadata["consent"]) <= LONGEST_CONSENT, f"its consent is longer than {LONGEST_CONSENT} letters.")
    _need(len(originals) <= MOST_ORIGINALS, f"it holds more than {MOST_ORIGINALS} photos.")
    _picture(metadata["thumbnail"], LARGEST_THUMBNAIL)
    for one in originals:
        _picture(one, LARGEST_ORIGINAL)
    date.fromisoformat(metadata["saved"])
    plain = {key: metadata[key] for key in ("encoder", "thumbnail", "saved")}
    consent = "".join(letter for letter in metadata["consent"] if letter.isprintable())
    return {**plain, "photos": photos, "adapters": adapters, "originals": originals, "consent": consent}


def _need(holds: bool, otherwise: str) -> None:
    if not holds:
        raise BadInput(otherwise)


def _marks(found: Any, most: int) -> bool:
    return isinstance(found, list) and 1 <= len(found) <= most and all(isinstance(one, str) and MARK.fullmatch(one) for one in found)


def _picture(text: str, largest: int) -> None:
    """A whole picture of a kind that people have, or BadInput."""
    from PIL import Image

    content = base64.b64decode(text, validate=True)
    try:
        _need(len(content) <= largest, f"a picture in it is larger than {largest / 10**6:g} MB.")
        with Image.open(io.BytesIO(content)) as picture:
            picture.verify()
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadInput("a picture in it cannot be read.") from error


def _tensors(tensors: Mapping[str, Tensor], fields: Mapping[str, Any]) -> dict[str, Tensor]:
    """Tokens of every adapter, and the embeddings, in float32, finite, and as many as there are photos."""
    count = len(fields["photos"])
    wanted = {"embeddings", *(f"{kind}.{mark}" for mark in fields["adapters"] for kind in ("tokens", "null"))}
    _need(set(tensors) == wanted, "its face tokens are not those of its adapters.")
    _need(tensors["embeddings"].ndim == 2 and len(tensors["embeddings"]) == count, "its embeddings are not one per photo.")
    for key, tensor in tensors.items():
        fits = tensor.ndim == 2 and str(tensor.dtype) == "torch.float32" and 0 < tensor.shape[1] <= WIDEST
        _need(fits and 0 < len(tensor) <= TOKENS * count and len(tensor) % count == 0, "its face tokens have no shape that can be.")
        _need(bool(tensor.isfinite().all()), "its face tokens hold numbers that are none.")
        _need(not key.startswith("null.") or tensor.shape == tensors[f"tokens.{key[5:]}"].shape, "its face tokens do not belong together.")
    return dict(tensors)
