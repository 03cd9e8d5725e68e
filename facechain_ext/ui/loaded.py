"""What the WebUI's process keeps of FaceChain: one adapter, one encoder, one analyser, the last persons met. All of it bounded."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facechain_ext.errors import BadInput, FaceChainError
from facechain_ext.log import log
from facechain_ext.ui.request import AUTO, MASK, WHOLE, Picture, Request, Wanted
from facechain_ext.ui.settings import facexlib_folder, models_folder, people_folder, setting, shared_models
from facechain_ext.weights.locate import adapter_file, encoder_file
from facechain_ext.workflows.people import opened

if TYPE_CHECKING:
    import numpy as np

    from facechain_ext.engine.adapter import Adapter
    from facechain_ext.engine.encoder import FaceEncoder
    from facechain_ext.engine.identity import Identity
    from facechain_ext.faces.types import Attributes, FaceAnalyser
    from facechain_ext.faces.vetting import Report
    from facechain_ext.store.library import Library

MOST_MET = 8
"""Persons kept between generations: under a megabyte each."""


@dataclass(frozen=True, kw_only=True)
class Met:
    """A person met: what the engine needs, and what the panel shows. crops: aligned faces, uint8 RGB [112, 112, 3].

    attributes: age and gender as judged; None where none could be.
    """

    identity: Identity
    reports: tuple[Report, ...]
    crops: tuple[np.ndarray, ...]
    attributes: Attributes | None = None


@dataclass
class _Kept:
    """One loaded thing and what it was loaded from."""

    key: Any = None
    value: Any = None


class Loaded:
    """The loaded models of this process. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._adapter, self._encoder, self._analyser = _Kept(), _Kept(), _Kept()
        self._met: OrderedDict[Any, Met] = OrderedDict()

    def adapter_path(self, name: str = AUTO) -> Path:
        """The file of the adapter of that name (auto: the one of the settings, else the first). BadWeights saying what to put where."""
        chosen = setting("adapter") if name in ("", AUTO) else name
        return adapter_file(models_folder(), "" if chosen == AUTO else chosen)

    def adapter(self, name: str = AUTO) -> Adapter:
        """The adapter of that name. BadWeights saying what to put where."""
        from facechain_ext.engine.checkpoints import read_adapter

        path = self.adapter_path(name)
        return self._once(self._adapter, stamp(path), lambda: read_adapter(path))

    def adapter_here(self, name: str = AUTO) -> Adapter | None:
        """The adapter of that name if it is loaded already; reads headers only."""
        path = self.adapter_path(name)
        with self._lock:
            return self._adapter.value if self._adapter.key == stamp(path) else None

    def encoder(self, adapter: Adapter) -> FaceEncoder:
        """The face encoder that lies beside the adapter, or the first there is. BadWeights saying what to put where."""
        from facechain_ext.engine.checkpoints import read_encoder

        path = encoder_file(models_folder(), adapter.file)
        return self._once(self._encoder, stamp(path), lambda: read_encoder(path))

    def analyser(self, name: str) -> FaceAnalyser:
        """The face analysis of that name, or the best that is here. BadInput, MissingPackage."""
        from facechain_ext.faces.choose import analyser

        folders = model_folders()
        return self._once(self._analyser, (name, folders), lambda: analyser(name, folders))

    def library(self, user: str) -> Library:
        """The persons this user saved."""
        from facechain_ext.store.library import library_of

        return library_of(user, people_folder())

    def meet(self, person: Wanted, adapter: Adapter, analyser: str, user: str) -> Met:
        """The person from photos or from the user's library. NoFace, BadPicture, BadInput."""
        if person.photos:
            return self.look(person.photos, adapter, analyser, person.options.face)
        if not person.options.name:
            raise BadInput(f"Person {person.number} has neither a photo nor a saved name: give one of them.")
        if not user:
            raise BadInput(f"{person.options.name} cannot be looked up, as this request names no user: log in, or give photos instead.")
        return self._saved(person.options.name, adapter, analyser, self.library(user))

    def look(self, photos: Sequence[Picture], adapter: Adapter, analyser: str, face: int) -> Met:
        """Learn a person from photos, or remember them. face: from 1, from the left; 0: the largest."""
        marks = tuple(hashlib.sha256(photo.data).hexdigest() for photo in photos)
        with self._lock:
            encoder = self.encoder(adapter)
            key = (marks, face, analyser, model_folders(), adapter.fingerprint, encoder.fingerprint)
            return self._remembered(key, lambda: self._learn(photos, adapter, encoder, analyser, face))

    def _saved(self, name: str, adapter: Adapter, analyser: str, library: Library) -> Met:
        """A saved person, looked at once for their age."""
        saved = library.person(name)

        def learn() -> Met:
            identity = library.identity(saved.name, adapter.fingerprint)
            return Met(identity=identity, reports=(), crops=(), attributes=self._judged(saved.name, identity, adapter, analyser, library))

        with self._lock:
            return self._remembered((stamp(saved.path), analyser, model_folders(), adapter.fingerprint), learn)

    def _judged(self, name: str, identity: Identity, adapter: Adapter, analyser: str, library: Library) -> Attributes | None:
        """What a saved person is judged to be; None where nothing here can: they are painted without any face analysis, too."""
        import torch

        from facechain_ext.workflows.persons import Eyes, attributes_of_saved

        try:
            eyes = Eyes(analyser=self.analyser(analyser), encoder=self.encoder(adapter), adapter=adapter)
            with torch.inference_mode(False):
                return attributes_of_saved(eyes, library, name, identity)
        except FaceChainError as error:
            log.info("Nothing can be told of the age of a saved person: %s", error)
            return None

    def _learn(self, photos: Sequence[Picture], adapter: Adapter, encoder: FaceEncoder, analyser: str, face: int) -> Met:
        import torch

        from facechain_ext.workflows.people import meet
        from facechain_ext.workflows.persons import attributes_of

        eyes = self.analyser(analyser)
        with torch.inference_mode(False):
            subject = meet(eyes, encoder, adapter, opened(photos), face=face or None)
            attributes = attributes_of(eyes, subject)
        return Met(identity=subject.identity, reports=subject.reports, crops=subject.crops, attributes=attributes)

    def _remembered(self, key: Any, learn: Callable[[], Met]) -> Met:
        """Who was met under a key; the eldest of too many is forgotten. Under the lock."""
        if key not in self._met:
            self._met[key] = learn()
        self._met.move_to_end(key)
        while len(self._met) > MOST_MET:
            self._met.popitem(last=False)
        return self._met[key]

    def forget(self) -> None:
        """Drop everything that is loaded."""
        with self._lock:
            self._adapter, self._encoder, self._analyser = _Kept(), _Kept(), _Kept()
            self._met.clear()

    def _once(self, kept: _Kept, key: Any, make: Callable[[], Any]) -> Any:
        """What is kept under the key; anything else kept there is dropped before it is made anew."""
        import torch

        with self._lock:
            if kept.key != key:
                kept.key, kept.value = None, None
                with torch.inference_mode(False):
                    kept.value = make()
                kept.key = key
            return kept.value


def stamp(path: Path) -> tuple[str, int, int]:
    """What changes when a file does."""
    stat = path.stat()
    return str(path), stat.st_size, stat.st_mtime_ns


def model_folders() -> Any:
    """Where the host keeps what face analysis needs, as faces.choose wants it."""
    from facechain_ext.faces.choose import ModelFolders

    insightface = shared_models() / "insightface" / "models" / "buffalo_l"
    return ModelFolders(facexlib=facexlib_folder(), insightface=insightface if insightface.is_dir() else None)


def plan_of(request: Request, loaded: Loaded, user: str) -> tuple[Any, dict[int, Met]]:
    """The plan for the hosts, and who was met by number. user: whose saved persons are meant. Any FaceChainError."""
    from facechain_ext.hosts.webui import Placed, Plan

    adapter = loaded.adapter(request.panel.adapter)
    met = {person.number: loaded.meet(person, adapter, request.panel.analyser, user) for person in request.persons}
    masks = regions(request)
    placed = tuple(
        Placed(
            identity=met[one.number].identity, weight=one.options.weight, start=one.options.start, end=one.options.end,
            mask=masks[one.number],
        )
        for one in request.persons
    )  # fmt: skip
    return Plan(adapter=adapter, persons=placed, passes=request.panel.passes), met  # type: ignore[arg-type]


def regions(request: Request) -> dict[int, Any]:
    """The mask of every person by number; None: the whole picture."""
    from facechain_ext.ui.regions import bands, picture

    side_by_side = [one.number for one in request.persons if one.options.region not in (WHOLE, MASK)]
    shared = dict(zip(side_by_side, bands(len(side_by_side)), strict=True)) if len(side_by_side) > 1 else {}
    drawn = {one.number: picture(one.options.mask) for one in request.persons if one.options.region == MASK}
    return {one.number: drawn.get(one.number, shared.get(one.number)) for one in request.persons}


loaded = Loaded()
