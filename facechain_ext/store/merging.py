"""Several saved persons as one: face tokens belong to one photo each, so nothing has to be computed anew."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from datetime import date
from typing import TYPE_CHECKING

from facechain_ext.errors import BadInput
from facechain_ext.store.exchange import KIND, MOST_PHOTOS

if TYPE_CHECKING:
    from torch import Tensor

    from facechain_ext.engine.identity import Identity
    from facechain_ext.store.library import Saved


def merged(
    people: Sequence[Saved], identity: Callable[[str, str], Identity], originals: Callable[[str], list[bytes]]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of several people as one. BadInput where they have no encoder or adapter in common, or too many photos."""
    first = people[0]
    if len({one.encoder for one in people}) > 1:
        raise BadInput("These people were saved with different face encoders: save one of them again from photos.")
    adapters = {mark: name for mark, name in first.adapters.items() if all(mark in one.adapters for one in people)}
    if not adapters:
        raise BadInput("These people were saved for different adapters: save one of them again from photos.")
    tensors: dict[str, Tensor] = {}
    for mark in adapters:
        whole = _together([identity(one.name, mark) for one in people])
        tensors |= {f"tokens.{mark}": whole.tokens, f"null.{mark}": whole.null, "embeddings": whole.embeddings}
    photos = list(dict.fromkeys(photo for one in people for photo in one.photos))
    if len(photos) > MOST_PHOTOS:
        raise BadInput(f"Together they have {len(photos)} photos: {MOST_PHOTOS} are the most of one person.")
    stated = list(dict.fromkeys(one.consent for one in people))
    kept = list(dict.fromkeys(photo for one in people if one.originals for photo in originals(one.name)))
    return tensors, {
        "format": "pt", "kind": KIND, "photos": json.dumps(photos), "encoder": first.encoder,
        "adapters": json.dumps(adapters, ensure_ascii=False), "thumbnail": base64.b64encode(first.thumbnail).decode(),
        "consent": "" if "" in stated else " ".join(stated), "saved": date.today().isoformat(),
        "originals": json.dumps([base64.b64encode(photo).decode() for photo in kept]),
    }  # fmt: skip


def _together(identities: Sequence[Identity]) -> Identity:
    """One identity of every photo once, in order."""
    from facechain_ext.engine.identity import join, single_photos

    by_photo: dict[str, Identity] = {}
    for one in identities:
        for single in single_photos(one):
            by_photo.setdefault(single.photos[0], single)
    return join(list(by_photo.values()))
