"""How much of a person must be right for the judge: real renders of people who are partly somebody else.

What a photo does not show, an adapter cannot tell (an aligned head hardly shows a hairstyle), and what a small model paints roughly is not
right. The share of such renders that is still ranked first is what can be had at most where just that much is got right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from facechain_ext.demo.judge import Judge, view
from facechain_ext.demo.world import Identity, appearance, draw, person, scene
from facechain_ext.training.likeness import embed

STRANGERS = 4_000_000
"""First of the numbers of those who lend their traits; nobody else in the demo world has one so high."""

Mix = Callable[[Identity, Identity], Identity]


def _coarse(who: Identity, other: Identity) -> Identity:
    """The other with what is seen of somebody from afar."""
    skin = replace(other.face, skin=who.face.skin)
    return replace(other, hair=who.hair, glasses=who.glasses, glasses_colour=who.glasses_colour, beard=who.beard, face=skin)


def _shorn(who: Identity, other: Identity) -> Identity:
    """The same with the other's hairstyle in somebody's colour."""
    return replace(_coarse(who, other), hair=replace(other.hair, colour=who.hair.colour))


def _outlined(who: Identity, other: Identity) -> Identity:
    """The same with the outline of the face and its marks."""
    return replace(_shorn(who, other), face=who.face, marks=who.marks, mark_side=who.mark_side)


MIXES: Mapping[str, Mix] = {
    "everything but the hairstyle": lambda who, other: replace(who, hair=replace(other.hair, colour=who.hair.colour)),
    "everything but the hair": lambda who, other: replace(who, hair=other.hair),
    "skin, hair colour, glasses, beard": _shorn,
    "these and the hairstyle": _coarse,
    "these, face outline and marks, not the hairstyle": _outlined,
    "the hair alone": lambda who, other: replace(other, hair=who.hair),
}
"""What of a person is right, and how such a person is made of two."""


def mixed(people: Sequence[int], mix: Mix, each: int) -> tuple[np.ndarray, np.ndarray]:
    """Renders of mixed people as the judge sees them, RGB uint8 [N, 96, 96, 3], and the place of whose each should be [N]."""
    views, wanted = [], []
    for place, number in enumerate(people):
        for code in range(place * each, (place + 1) * each):
            who = mix(person(number), person(STRANGERS + code))
            views.append(view(draw(who, scene(code), appearance(code)).picture))
            wanted.append(place)
    return np.stack(views), np.array(wanted)


def shares(judge: Judge, gallery: Tensor, people: Sequence[int], each: int = 4) -> dict[str, float]:
    """By what is right: the share of renders whose person is ranked first among all, gallery [people, width]."""
    found = {}
    for name, mix in MIXES.items():
        views, wanted = mixed(people, mix, each)
        nearest = (embed(judge, views).cpu() @ gallery.cpu().T).argmax(dim=1).numpy()
        found[name] = float((nearest == wanted).mean())
    return found
