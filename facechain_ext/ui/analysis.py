"""Looking at photos for the panel and the API: what was seen in each, and a small picture of the face."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

from PIL import Image

from facechain_ext.errors import BadInput, BadWeights, MissingPackage
from facechain_ext.log import log
from facechain_ext.store.library import Addition, Saved
from facechain_ext.ui.loaded import Loaded
from facechain_ext.ui.request import AUTO, Picture
from facechain_ext.workflows.looking import Seen, png, seen_in

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
    """Add a person to the user's library. Any FaceChainError."""
    if not photos:
        raise BadInput("There is no photo to save a person from: drop one to six photos first.")
    network = loaded.adapter(adapter)
    met = loaded.look(photos, network, analyser, face)
    stated = f"The person who saved this states that the pictured person agreed, {date.today().isoformat()}." if consent else ""
    what = Addition(
        identity=met.identity, adapter=network.name, thumbnail=png(Image.fromarray(met.crops[0])), consent=stated,
        originals=[photo.data for photo in photos] if keep_photos else (),
    )  # fmt: skip
    return loaded.library(user).add(name, what, replace=replace)
