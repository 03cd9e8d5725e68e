"""Looking at photos for the panel and the API: what was seen in each, and a small picture of the face."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from facechain_ext.errors import BadWeights, MissingPackage
from facechain_ext.log import log
from facechain_ext.store.library import Saved
from facechain_ext.ui.loaded import Loaded
from facechain_ext.ui.request import AUTO, Picture
from facechain_ext.workflows.looking import Seen, seen_in
from facechain_ext.workflows.persons import Eyes, keep

if TYPE_CHECKING:
    from facechain_ext.engine.encoder import FaceEncoder


def analyse(loaded: Loaded, photos: Sequence[Picture], *, adapter: str = AUTO, analyser: str = AUTO, face: int = 0) -> list[Seen]:
    """Vet photos, one by one and together. Persons are compared where an encoder is there. BadPicture, BadInput, MissingPackage."""
    return seen_in(photos, loaded.analyser(analyser), _encoder(loaded, adapter), face=face)


def _encoder(loaded: Loaded, adapter: str) -> FaceEncoder | None:
    try:
        return loaded.encoder(loaded.adapter(adapter))
    except (BadWeights, MissingPackage) as error:
        log.debug("Photos are looked at without comparing persons: %s", error)
        return None


def save(
    loaded: Loaded, user: str, name: str, photos: Sequence[Picture], *, adapter: str = AUTO, analyser: str = AUTO, face: int = 0,
    consent: bool = False, keep_photos: bool = False, replace: bool = False,
) -> Saved:  # fmt: skip
    """Add a person to the user's library. BadInput without consent; any FaceChainError."""
    network = loaded.adapter(adapter)
    eyes = Eyes(analyser=loaded.analyser(analyser), encoder=loaded.encoder(network), adapter=network)
    return keep(eyes, loaded.library(user), name, photos, face=face, consent=consent, keep_photos=keep_photos, replace=replace)
