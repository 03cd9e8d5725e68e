"""Looking at photos, and saving whom they show: the same for the panel, the tab and the API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from facechain_ext.errors import BadWeights, MissingPackage
from facechain_ext.log import log
from facechain_ext.workflows.looking import Seen, seen_in
from facechain_ext.workflows.orders import AUTO
from facechain_ext.workflows.persons import Eyes, keep

if TYPE_CHECKING:
    from facechain_ext.engine.adapter import Adapter
    from facechain_ext.engine.encoder import FaceEncoder
    from facechain_ext.faces.types import FaceAnalyser
    from facechain_ext.store.library import Library, Saved
    from facechain_ext.workflows.people import Picture


class Networks(Protocol):
    """What has the networks, and each user's saved persons: ui.loaded in a WebUI, and every studio."""

    def adapter(self, name: str) -> Adapter: ...
    def encoder(self, adapter: Adapter) -> FaceEncoder: ...
    def analyser(self, name: str) -> FaceAnalyser: ...
    def library(self, user: str) -> Library: ...


def analyse(here: Networks, photos: Sequence[Picture], *, adapter: str = AUTO, analyser: str = AUTO, face: int = 0) -> list[Seen]:
    """Vet photos, one by one and together. Persons are compared where an encoder is there. BadPicture, BadInput, MissingPackage."""
    return seen_in(photos, here.analyser(analyser), _encoder(here, adapter), face=face)


def _encoder(here: Networks, adapter: str) -> FaceEncoder | None:
    try:
        return here.encoder(here.adapter(adapter))
    except (BadWeights, MissingPackage) as error:
        log.debug("Photos are looked at without comparing persons: %s", error)
        return None


def save(
    here: Networks, user: str, name: str, photos: Sequence[Picture], *, adapter: str = AUTO, analyser: str = AUTO, face: int = 0,
    consent: bool = False, keep_photos: bool = False, replace: bool = False,
) -> Saved:  # fmt: skip
    """Add a person to the user's library. BadInput without consent; any FaceChainError."""
    network = here.adapter(adapter)
    eyes = Eyes(analyser=here.analyser(analyser), encoder=here.encoder(network), adapter=network)
    return keep(eyes, here.library(user), name, photos, face=face, consent=consent, keep_photos=keep_photos, replace=replace)
