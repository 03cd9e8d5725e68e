"""Saved persons: one safetensors file each, with the face tokens, a thumbnail and the record of where they came from.

No original photo unless asked for. A file appears whole or not at all, so that two processes may share the folder.
"""

from __future__ import annotations

import base64
import difflib
import json
import os
import re
import unicodedata
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from facechain_ext.errors import BadInput, CannotWrite
from facechain_ext.log import log
from facechain_ext.store import exchange
from facechain_ext.store.exchange import KIND, SUFFIX
from facechain_ext.store.merging import merged
from facechain_ext.store.names import place_of

if TYPE_CHECKING:
    from torch import Tensor

    from facechain_ext.engine.identity import Identity

LONGEST_NAME = 60
ILLEGAL = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]+')
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
LONGEST_HEADER = 100_000_000


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A saved person. photos: a hash per photo; adapters: fingerprint → name of each adapter there are tokens for.

    thumbnail: a PNG; consent: what the person who saved it stated, or empty; saved: the date; originals: how many original
    photos the file holds.
    """

    name: str
    path: Path
    photos: tuple[str, ...]
    encoder: str
    adapters: Mapping[str, str]
    thumbnail: bytes
    consent: str
    saved: str
    originals: int


@dataclass(frozen=True, kw_only=True)
class Addition:
    """What is to be saved of a person. originals: whole photo files, only where the person asked to keep them."""

    identity: Identity
    adapter: str
    thumbnail: bytes
    consent: str = ""
    originals: Sequence[bytes] = ()


class Library:
    """The persons saved in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def people(self) -> list[Saved]:
        """Everyone, by name; files that are not whole are left out and logged."""
        found = (self._read(path) for path in self._files())
        return sorted((person for person in found if person is not None), key=lambda person: person.name.casefold())

    def person(self, name: str) -> Saved:
        """The person of that name, whatever its capitals. BadInput where there is none."""
        people = self.people()
        for one in people:
            if one.name.casefold() == clean(name).casefold():
                return one
        close = difflib.get_close_matches(name, [one.name for one in people], 1)
        raise BadInput(
            f"No saved person is called {name!r}" + (f", did you mean {close[0]!r}?" if close else ": choose one from the list.")
        )

    def known_by(self, photos: Iterable[str]) -> Saved | None:
        """The person saved from these photos (by hash): from all of them, else from some of them and no other."""
        wanted = set(photos)
        fits = [one for one in self.people() if wanted and set(one.photos) <= wanted]
        return max(fits, key=lambda one: len(one.photos), default=None)

    def identity(self, name: str, adapter: str) -> Identity:
        """The tokens of a person for the adapter of that fingerprint. BadInput where they were made for others."""
        from facechain_ext.engine.checkpoints import read_tensors
        from facechain_ext.engine.identity import Identity

        one = self.person(name)
        if adapter not in one.adapters:
            raise BadInput(
                f"{one.name} was saved for the adapter {' and '.join(one.adapters.values())}, not for the one in use: "
                "choose that adapter, or save the photos again with this one."
            )
        tensors, _ = read_tensors(one.path)
        return Identity(
            tokens=tensors[f"tokens.{adapter}"], null=tensors[f"null.{adapter}"], embeddings=tensors["embeddings"],
            photos=one.photos, encoder=one.encoder, adapter=adapter,
        )  # fmt: skip

    def add(self, name: str, what: Addition, *, replace: bool = False) -> Saved:
        """Save a person; a name that is taken is a BadInput, unless it is the same photos for a further adapter, or `replace`."""
        target = self._path(name)
        taken = target.is_file()  # asked once: whoever takes the name from now on is not overwritten
        old = self._read(target) if taken else None
        same = old is not None and (old.photos, old.encoder) == (what.identity.photos, what.identity.encoder)
        if old is not None and not same and not replace:
            raise BadInput(f"There is a person called {old.name} already: choose another name, or delete that person first.")
        tensors, adapters = self._tensors(old) if old is not None and same else ({}, {})
        tensors |= {f"tokens.{what.identity.adapter}": what.identity.tokens, f"null.{what.identity.adapter}": what.identity.null}
        tensors["embeddings"] = what.identity.embeddings
        adapters[what.identity.adapter] = what.adapter
        self._write(target, tensors, _metadata(what, adapters), exclusive=not (replace or taken))
        return self.person(name)

    def rename(self, name: str, new: str) -> Saved:
        """Give a person another name. BadInput where that is taken."""
        old, target = self.person(name).path, self._path(new)
        try:
            if target.exists() and old.samefile(target):
                os.replace(old, self.folder / f"{clean(new)}{SUFFIX}")
            else:
                _link(old, target)
                old.unlink(missing_ok=True)
        except FileExistsError as error:
            raise BadInput(f"There is a person called {target.stem} already: choose another name.") from error
        except OSError as error:
            raise CannotWrite(f"{old} cannot be renamed ({error.strerror}): check that its folder may be written to.") from error
        return self.person(new)

    def delete(self, name: str) -> None:
        """Delete everything there is of a person. BadInput where there is nobody of that name."""
        path = self.person(name).path
        try:
            for part in [path, *self.folder.glob(f"{_escaped(path.name)}.*.partial")]:
                part.unlink(missing_ok=True)
        except OSError as error:
            raise CannotWrite(f"{path} cannot be deleted ({error.strerror}): check that its folder may be written to.") from error

    def merge(self, names: Sequence[str], into: str) -> Saved:
        """Make one person of several, under a free name or that of one of them, and delete the others.

        Exact: face tokens belong to one photo each, so those of all photos side by side are what all photos together give. Kept are
        the adapters that everyone has tokens for; a photo that several have counts once; consent remains where everyone has it.
        """
        people = list({one.path: one for one in map(self.person, names)}.values())
        if len(people) < 2:
            raise BadInput("Choose at least two different people to merge.")
        target = self._path(into)
        taken = target.exists()
        if taken and not any(target.samefile(one.path) for one in people):
            raise BadInput(f"There is a person called {target.stem} already: choose another name, or one of those that are merged.")
        tensors, metadata = merged(people, self.identity, self.originals)
        self._write(target, tensors, metadata, exclusive=not taken)
        for one in people:
            if not target.samefile(one.path):
                self.delete(one.name)
        return self.person(target.stem)

    def alike(self, names: Sequence[str]) -> float | None:
        """The least mean cosine between the photos of any two of these people, to warn before different people are merged."""
        people = [self.person(name) for name in names]
        if len({one.encoder for one in people}) > 1:
            return None
        vectors = [self._tensors(one)[0]["embeddings"] for one in people]
        return min((float((a @ b.T).mean()) for n, a in enumerate(vectors) for b in vectors[n + 1 :]), default=None)

    def exported(self, names: Iterable[str] | None, target: Path) -> Path:
        """Write some people, or all (None), into one zip file, with their consent and, where they were kept, their photos."""
        people = self.people() if names is None else [self.person(name) for name in names]
        if not people:
            raise BadInput("There is nobody to export: save a person first.")
        whole = target.with_name(f"{target.name}.{uuid.uuid4().hex}.partial")
        try:
            try:
                exchange.pack({one.name: one.path for one in people}, whole)
                os.replace(whole, target)
            finally:
                whole.unlink(missing_ok=True)
        except OSError as error:
            raise CannotWrite(f"{target} cannot be written ({error.strerror}): free some space or check the folder.") from error
        return target

    def imported(self, file: Path) -> tuple[Saved, ...]:
        """Take in people from an exported zip or a single person's file; nobody of it where one is not in order. BadInput.

        A name that is taken gets a number; somebody who is here already, the same in everything, is not kept twice.
        """
        with exchange.unpacked(file) as found:
            for name, path in found.items():
                exchange.checked(name, path)
            return tuple(self._taken_in(name, path) for name, path in found.items())

    def _taken_in(self, name: str, path: Path) -> Saved:
        tensors, metadata = exchange.checked(name, path)
        number, called = 1, clean(name)
        while True:
            target = self._path(called if number == 1 else f"{called[: LONGEST_NAME - 6].strip()} ({number})")
            if target.is_file() and self._holds(target, tensors, metadata):
                return self.person(target.stem)
            if not target.exists():
                try:
                    self._write(target, tensors, metadata, exclusive=True)
                    return self.person(target.stem)
                except BadInput:
                    log.debug("%s was taken by another process meanwhile.", target)
            number += 1

    def _holds(self, path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> bool:
        """Whether a file is this very person: photos, encoder and tokens, whatever was stated and kept beside them."""
        one = self._read(path)
        if one is None or (one.photos, one.encoder, dict(one.adapters)) != (
            tuple(json.loads(metadata["photos"])), metadata["encoder"], json.loads(metadata["adapters"]),
        ):  # fmt: skip
            return False
        mine = self._tensors(one)[0]
        return set(mine) == set(tensors) and all(mine[key].equal(tensors[key]) for key in mine)

    def originals(self, name: str) -> list[bytes]:
        """The original photos that were kept by request, as the files they were."""
        return [base64.b64decode(text) for text in json.loads(header(self.person(name).path).get("originals", "[]"))]

    def _files(self) -> list[Path]:
        return [path for path in self.folder.glob(f"*{SUFFIX}") if path.is_file()] if self.folder.is_dir() else []

    def _path(self, name: str) -> Path:
        """Where a person of that name lies, or would; a file whose name differs only in capitals is the same person's."""
        called = clean(name)
        twin = next((path for path in self._files() if path.stem.casefold() == called.casefold()), None)
        return self.folder / f"{called}{SUFFIX}" if twin is None else twin

    def _read(self, path: Path) -> Saved | None:
        try:
            found = header(path)
            if found.get("kind") != KIND:
                return None
            return Saved(
                name=path.stem, path=path, photos=tuple(json.loads(found["photos"])), encoder=found["encoder"],
                adapters=json.loads(found["adapters"]), thumbnail=base64.b64decode(found["thumbnail"]), consent=found["consent"],
                saved=found["saved"], originals=len(json.loads(found["originals"])),
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s is no saved person that can be read and is left out: %s", path, error)
            return None

    def _tensors(self, old: Saved) -> tuple[dict[str, Tensor], dict[str, str]]:
        from facechain_ext.engine.checkpoints import read_tensors

        return read_tensors(old.path)[0], dict(old.adapters)

    def _write(self, target: Path, tensors: dict[str, Tensor], metadata: dict[str, str], *, exclusive: bool) -> None:
        """Write beside the target and move it there; where it must be new, another process that was faster is not overwritten."""
        from facechain_ext.engine.checkpoints import write_tensors

        whole = target.with_name(f"{target.name}.{uuid.uuid4().hex}.partial")
        write_tensors({key: value.clone().contiguous() for key, value in tensors.items()}, whole, metadata)
        try:
            if exclusive:
                _link(whole, target)
            else:
                os.replace(whole, target)
        except FileExistsError as error:
            raise BadInput(f"There is a person called {target.stem} already: choose another name, or delete that person first.") from error
        except OSError as error:
            raise CannotWrite(f"{target} cannot be written ({error.strerror}): free some space or check the folder.") from error
        finally:
            whole.unlink(missing_ok=True)


def library_of(user: str, folder: Path) -> Library:
    """The persons of a user alone. BadInput where it is not said whose."""
    if not user:
        raise BadInput("People are kept per user: say whose they are.")
    return Library(place_of(user, folder))


def _link(whole: Path, target: Path) -> None:
    """Give a file a second name that must be free; on a file system without hard links, the last of two at the same time wins."""
    try:
        os.link(whole, target)
    except FileExistsError:
        raise
    except OSError:
        os.replace(whole, target)


def clean(name: str) -> str:
    """A name that every file system takes. BadInput where nothing of it is left."""
    called = unicodedata.normalize("NFC", ILLEGAL.sub("_", name)).strip(" ._")[:LONGEST_NAME].strip(" .")
    if not called:
        raise BadInput("A person needs a name with at least one letter or number.")
    return f"{called}_" if RESERVED.fullmatch(called) else called


def header(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file, without reading its tensors. ValueError where it is none."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= LONGEST_HEADER:
            raise ValueError("it has no safetensors header")
        return json.loads(file.read(length)).get("__metadata__", {})


def _metadata(what: Addition, adapters: Mapping[str, str]) -> dict[str, str]:
    return {
        "format": "pt",
        "kind": KIND,
        "photos": json.dumps(what.identity.photos),
        "encoder": what.identity.encoder,
        "adapters": json.dumps(adapters, ensure_ascii=False),
        "thumbnail": base64.b64encode(what.thumbnail).decode(),
        "consent": what.consent,
        "saved": date.today().isoformat(),
        "originals": json.dumps([base64.b64encode(photo).decode() for photo in what.originals]),
    }


def _escaped(name: str) -> str:
    """A name whose brackets mean themselves in a glob pattern."""
    return re.sub(r"([\[*?])", r"[\1]", name)
