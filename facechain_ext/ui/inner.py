"""ADetailer's inner pass: which person a repainted face belongs to.

ADetailer repaints one face at a time in a generation of its own, marked `_ad_inner`, with the face as its mask.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from facechain_ext.ui.regions import fullest
from facechain_ext.ui.request import WHOLE, Request

_seen = {"faces": 0}
"""Faces repainted since the last finished picture."""


def is_inner(p: Any) -> bool:
    """Whether this generation is ADetailer's own."""
    return bool(getattr(p, "_ad_inner", False))


def picture_done(p: Any) -> None:
    """An outer picture is finished, or begins: its faces are counted from the first."""
    if not is_inner(p):
        _seen["faces"] = 0


def only_one(p: Any, request: Request, plan: Any) -> Any:
    """The plan for this face: the person in whose region it lies; else the one whose turn it is; everywhere within the face's mask."""
    turn = _seen["faces"]
    _seen["faces"] += 1
    regions = [placed.mask for placed in plan.persons]
    box = mask_box(p)
    index = fullest(regions, box) if box is not None and any(one.options.region != WHOLE for one in request.persons) else None
    if index is None:
        index = turn % len(plan.persons)
    return replace(plan, persons=(replace(plan.persons[index], mask=None),))


def mask_box(p: Any) -> tuple[float, float, float, float] | None:
    """Where the face lies, in fractions of the picture; None without a mask."""
    mask = getattr(p, "image_mask", None)
    if mask is None:
        return None
    box = mask.convert("L").getbbox()
    return None if box is None else (box[0] / mask.width, box[1] / mask.height, box[2] / mask.width, box[3] / mask.height)
