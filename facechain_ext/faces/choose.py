"""Which face analysis there is, and the best of it put together: one backend finds, another parses, another judges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from facechain_ext.errors import BadInput, MissingPackage
from facechain_ext.faces import demo, embedded, facexlib, insightface, modelscope
from facechain_ext.faces.types import Attributes, Capability, Face, FaceAnalyser, Parsing


@dataclass(frozen=True, kw_only=True)
class ModelFolders:
    """Where models may lie; None where there is no such folder. The demo model's lie in the package."""

    facexlib: Path | None = None
    insightface: Path | None = None
    modelscope: Path | None = None
    demo: Path | None = demo.FOLDER


@dataclass(frozen=True, kw_only=True)
class State:
    """One backend: what it can do here, what is missing for more (a sentence, or empty), and the licence of its models."""

    name: str
    capabilities: frozenset[Capability]
    missing: str
    licence: str


@dataclass(frozen=True, kw_only=True)
class Backend:
    """A backend that needs model files. check: what a folder lets it do, and what is missing; make: it, from folder and device."""

    check: Callable[[Path | None], tuple[frozenset[Capability], str]]
    make: Callable[[Path, str], FaceAnalyser]
    licence: str


EMBEDDED = "embedded"
BACKENDS: Mapping[str, Backend] = {
    "facexlib": Backend(check=facexlib.check, make=facexlib.Facexlib, licence=facexlib.LICENCE),
    "insightface": Backend(check=insightface.check, make=insightface.Insightface, licence=insightface.LICENCE),
    "modelscope": Backend(check=modelscope.check, make=modelscope.Modelscope, licence=modelscope.LICENCE),
    "demo": Backend(check=demo.check, make=demo.Demo, licence=demo.LICENCE),
}
"""By name, which is also the field of ModelFolders."""
ORDER: Mapping[Capability, tuple[str, ...]] = {
    "detect": ("facexlib", "insightface", EMBEDDED),
    "parse": ("modelscope", "facexlib", EMBEDDED),
    "attributes": ("modelscope", "insightface"),
    "embed": ("insightface",),
}
"""Who does what when several can: first those of the published preprocessing. "demo" knows drawings only, so it is taken by name alone."""
OF_DETECTION: frozenset[Capability] = frozenset({"detect", "landmarks", "eyes"})


def available_backends(folders: ModelFolders | None = None) -> list[State]:
    """Every backend there is a file for in this package, whether it can be used here or not. Loads no model."""
    folders = folders or ModelFolders()
    states = []
    for name, backend in BACKENDS.items():
        able, missing = backend.check(getattr(folders, name))
        states.append(State(name=name, capabilities=able, missing=missing, licence=backend.licence))
    able = embedded.Embedded().capabilities
    return [*states, State(name=EMBEDDED, capabilities=able, missing="", licence="Apache-2.0 (mediapipe, OpenCV)")]


def analyser(name: str = "auto", folders: ModelFolders | None = None, device: str = "cpu") -> FaceAnalyser:
    """The backend of that name; "auto": the best that is here; "a+b": these together, the first that can do something does it.

    BadInput for an unknown name, MissingPackage or BadWeights where a backend that was named cannot be used.
    """
    folders = folders or ModelFolders()
    if name == "auto":
        return _best(folders, device)
    parts = [part.strip() for part in name.split("+")]
    unknown = [part for part in parts if part != EMBEDDED and part not in BACKENDS]
    if unknown:
        known = ", ".join((*BACKENDS, EMBEDDED))
        raise BadInput(f"There is no face analysis {unknown[0]!r}: choose auto, {known}, or several joined by +.")
    opened = [_open(part, folders, device) for part in parts]
    return opened[0] if len(opened) == 1 else chain(dict.fromkeys(ORDER, opened))


class Chain:
    """Several backends as one; for each capability one of them answers."""

    def __init__(self, who: Mapping[Capability, FaceAnalyser]) -> None:
        """who: the backend for each of "detect", "parse", "attributes", "embed" that there is one for."""
        self._who = dict(who)
        self.name = "+".join(dict.fromkeys(backend.name for backend in self._who.values()))
        found = who["detect"].capabilities & OF_DETECTION if "detect" in who else frozenset()
        self.capabilities: frozenset[Capability] = frozenset(found | (set(who) - {"detect"}))

    def faces(self, image: Image.Image) -> list[Face]:
        """Faces of the picture, largest first."""
        return self._of("detect").faces(image)

    def parse(self, image: Image.Image, face: Face) -> Parsing:
        """Masks of the person to whom `face` belongs."""
        return self._of("parse").parse(image, face)

    def attributes(self, image: Image.Image, face: Face) -> Attributes:
        """Gender and age range of the face."""
        return self._of("attributes").attributes(image, face)

    def embed(self, image: Image.Image, face: Face) -> np.ndarray:
        """A float32 vector of length 1 that tells persons apart by cosine."""
        return self._of("embed").embed(image, face)

    def _of(self, able: Capability) -> FaceAnalyser:
        if able not in self._who:
            raise MissingPackage(f"The face analysis in use ({self.name}) cannot do this ({able}): add a backend that can.")
        return self._who[able]


def chain(offers: Mapping[Capability, list[FaceAnalyser]]) -> Chain:
    """For each capability the first backend offered that has it."""
    who: dict[Capability, FaceAnalyser] = {}
    for able, backends in offers.items():
        first = next((backend for backend in backends if able in backend.capabilities), None)
        if first is not None:
            who[able] = first
    return Chain(who)


def _best(folders: ModelFolders, device: str) -> FaceAnalyser:
    """The backends of ORDER that are here, each opened once; the embedded one always is."""
    names = [state.name for state in available_backends(folders) if state.capabilities]
    needed = [name for name in names if any(name in order for order in ORDER.values())]
    opened = {name: _open(name, folders, device) for name in needed}
    return chain({able: [opened[name] for name in order if name in opened] for able, order in ORDER.items()})


def _open(name: str, folders: ModelFolders, device: str) -> FaceAnalyser:
    if name == EMBEDDED:
        return embedded.Embedded()
    backend, folder = BACKENDS[name], getattr(folders, name)
    if folder is None:
        raise MissingPackage(backend.check(None)[1])
    return backend.make(folder, device)
