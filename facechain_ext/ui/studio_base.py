"""What the two studios do alike: photos looked at, each user's persons, styles bound, one thing of a kind kept at a time."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from facechain_ext.errors import NotAllowed
from facechain_ext.options import to_mapping
from facechain_ext.store.library import library_of
from facechain_ext.store.names import NOBODY
from facechain_ext.ui import analysis
from facechain_ext.ui.binding import bound
from facechain_ext.ui.door import Door, without_places
from facechain_ext.ui.jobs import Jobs
from facechain_ext.ui.readiness import Ready, safety_sentence
from facechain_ext.ui.studio import Settings
from facechain_ext.workflows.orders import AUTO
from facechain_ext.workflows.own_styles import OwnStyles, styles_of
from facechain_ext.workflows.styles import Style

if TYPE_CHECKING:
    from facechain_ext.engine.adapter import Adapter
    from facechain_ext.engine.encoder import FaceEncoder
    from facechain_ext.faces.types import FaceAnalyser, PictureCheck
    from facechain_ext.hosts.types import Listed
    from facechain_ext.store.library import Library, Saved
    from facechain_ext.workflows.looking import Seen
    from facechain_ext.workflows.people import Picture
    from facechain_ext.workflows.styles import Bound

T = TypeVar("T")


class StudioBase(ABC):
    """The part of ui.studio.Studio that is the same above every host."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self._locks: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)
        self._loaded: dict[str, tuple[Any, Any]] = {}
        self.jobs = Jobs(self)  # pyright: ignore[reportArgumentType]  # together with its other half it is a Room

    @abstractmethod
    def adapter(self, name: str) -> Adapter:
        """The adapter of that name."""

    @abstractmethod
    def encoder(self, adapter: Adapter) -> FaceEncoder:
        """The face encoder that belongs to an adapter."""

    @abstractmethod
    def analyser(self, name: str) -> FaceAnalyser:
        """The face analysis of that name."""

    @abstractmethod
    def checker(self) -> PictureCheck | None:
        """What looks for nudity in results."""

    @abstractmethod
    def loras(self) -> tuple[Listed, ...]:
        """The LoRAs of the host's folder."""

    @abstractmethod
    def settings(self, user: str = NOBODY) -> Settings:
        """The settings as they are for this user."""

    @abstractmethod
    def fixed(self, user: str) -> Mapping[str, str]:
        """The settings that this user cannot change, each with the sentence why."""

    @abstractmethod
    def places(self) -> Sequence[Path]:
        """Folders of this machine that sentences may name."""

    @abstractmethod
    def everything_ready(self, user: str) -> Sequence[Ready]:
        """What is there and what is missing, with this user's styles, in sentences for the machine's owner."""

    @abstractmethod
    def people_folder(self) -> Path:
        """Where persons are saved: those of a page without log-in, and beneath it those of each user."""

    @abstractmethod
    def styles_folder(self) -> Path:
        """Where styles of one's own are saved, likewise."""

    def library(self, user: str) -> Library:
        """The persons this user saved."""
        return library_of(user, self.people_folder())

    def user(self, request: Any) -> str:
        """Who is logged in; nobody in particular where the page has no log-in."""
        return str(getattr(request, "username", None) or NOBODY)

    def own_styles(self, user: str) -> OwnStyles:
        """The styles this user saved."""
        return styles_of(user, self.styles_folder())

    def styles(self, user: str) -> tuple[Bound, ...]:
        """Presets and the user's own styles, each with the LoRA it means; bound anew only where a file has changed."""
        own, listed = self.own_styles(user).styles(), self.loras()
        return self._once(f"styles of {user}", (own, listed), lambda: bound(own, listed, self.suited_styles()))

    def suited_styles(self) -> tuple[Style, ...]:
        """Styles made for the model in use alone."""
        return ()

    def told(self, text: str, user: str) -> str:
        """A sentence as this user may read it: where things lie on the machine is for whom it belongs to."""
        return text if self.door.owner(user) else without_places(text, self.places())

    def readiness(self, user: str) -> tuple[Ready, ...]:
        """What is there and what is missing."""
        found = self.everything_ready(user)
        return tuple(replace(one, sentence=self.told(one.sentence, user), advice=self.told(one.advice, user)) for one in found)

    def changed(self, settings: Settings, user: str) -> dict[str, Any]:
        """The settings that are other than before. NotAllowed where one of them is fixed for this user."""
        before, fixed = to_mapping(self.settings(user)), self.fixed(user)
        changes = {name: value for name, value in to_mapping(settings).items() if value != before[name]}
        for name in changes:
            if name in fixed:
                raise NotAllowed(fixed[name])
        return changes

    def checking(self) -> bool:
        """Whether results are checked."""
        return self.settings().check

    def safety(self) -> str:
        """Which check is at work."""
        return safety_sentence(self.checker(), switched_on=self.checking())

    def look(self, photos: Sequence[Picture], *, adapter: str = AUTO, analyser: str = AUTO, face: int = 0) -> list[Seen]:
        """Vet photos: one report and thumbnail each."""
        return analysis.analyse(self, photos, adapter=adapter, analyser=analyser, face=face)

    def save_person(
        self, user: str, name: str, photos: Sequence[Picture], *, adapter: str = AUTO, analyser: str = AUTO, face: int = 0,
        consent: bool = False, keep_photos: bool = False, replace: bool = False,
    ) -> Saved:  # fmt: skip
        """Add a person to the user's library. BadInput without consent."""
        return analysis.save(
            self, user, name, photos, adapter=adapter, analyser=analyser, face=face, consent=consent, keep_photos=keep_photos,
            replace=replace,
        )  # fmt: skip

    def _once(self, kind: str, key: Any, make: Callable[[], T]) -> T:
        """What was made for the key; the one before it of the same kind is let go first. Who waits for one kind holds up no other."""
        with self._locks[kind]:
            if kind not in self._loaded or self._loaded[kind][0] != key:
                self._loaded.pop(kind, None)
                self._loaded[kind] = (key, make())
            return self._loaded[kind][1]
