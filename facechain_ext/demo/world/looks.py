"""Says in words how somebody looks, as captions of real pictures often do; who it is they do not tell."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from facechain_ext.demo.world import traits
from facechain_ext.demo.world.identity import Eyes, Face, Identity
from facechain_ext.demo.world.traits import RGB

SAID = 0.75
"""How often each of the looks is named; nobody describes everything."""

SKIN_WORDS = ("very fair", "fair", "light", "tanned", "brown", "dark brown", "deep brown", "ebony")
HAIR_COLOUR_WORDS = (
    "black", "dark brown", "brown", "auburn", "blond", "platinum blond", "red", "grey", "white", "blue", "pink", "green", "purple",
)  # fmt: skip
EYE_COLOUR_WORDS = ("brown", "amber", "green", "blue", "grey", "black")
FRAME_COLOUR_WORDS = ("black", "brown", "red", "blue", "gold")
HAIR_WORDS: dict[str, str] = {
    "bald": "a bald head",
    "buzz": "a {}buzz cut",
    "crop": "short {}hair",
    "side part": "side-parted {}hair",
    "bowl": "a {}bowl cut",
    "curly": "curly {}hair",
    "mohawk": "a {}mohawk",
    "spiky": "spiky {}hair",
    "pompadour": "a {}pompadour",
    "receding": "receding {}hair",
    "afro": "a {}afro",
    "bob": "a {}bob",
    "long straight": "long straight {}hair",
    "long wavy": "long wavy {}hair",
    "bun": "{}hair in a bun",
    "pigtails": "{}pigtails",
    "side tail": "a {}side ponytail",
    "plaits": "{}plaits",
    "two buns": "{}hair in two buns",
}
BEARD_WORDS: dict[str, str] = {
    "stubble": "stubble",
    "goatee": "a goatee",
    "full": "a full beard",
    "moustache": "a moustache",
    "handlebar": "a handlebar moustache",
    "long": "a long beard",
    "chin strap": "a chin strap beard",
}
MARK_WORDS: dict[str, str] = {
    "freckles": "freckles",
    "mole": "a mole",
    "scar": "a scar",
    "rosy cheeks": "rosy cheeks",
    "wrinkles": "wrinkles",
    "plaster": "a plaster on the cheek",
    "eye patch": "an eye patch",
}
EARRING_WORDS: dict[str, str] = {"studs": "stud earrings", "hoops": "hoop earrings"}


def looks(who: Identity, rng: np.random.Generator, colours: bool = True) -> str:
    """Some of somebody's looks, as "with short red hair, a goatee"; empty where chance names none. colours: whether they can be seen."""
    said = [words for words in _all(who, colours) if rng.random() < SAID]
    return f"with {', '.join(said)}" if said else ""


def everything(who: Identity, colours: bool = True) -> str:
    """All of somebody's looks that have a word."""
    return f"with {', '.join(_all(who, colours))}"


def _all(who: Identity, colours: bool) -> Iterator[str]:
    """Everything that has a word, from the most visible on."""
    hair = f"{HAIR_COLOUR_WORDS[traits.HAIR_COLOURS.index(who.hair.colour)]} " if colours else ""
    yield HAIR_WORDS[who.hair.style].format(hair)
    if who.glasses:
        frame = f"{FRAME_COLOUR_WORDS[traits.FRAME_COLOURS.index(who.glasses_colour)]} " if colours else ""
        yield f"{who.glasses} {frame}glasses"
    if who.beard:
        yield BEARD_WORDS[who.beard]
    if colours:
        yield f"{SKIN_WORDS[_nearest(who.face.skin, traits.SKINS)]} skin"
    shape = _shape(who.face)
    yield f"{'an' if shape[0] in 'aeiou' else 'a'} {shape} face"
    yield f"{_eyes(who.eyes, colours)} eyes"
    if who.brows.thickness < 0.06 or who.brows.thickness > 0.11:
        yield "thin brows" if who.brows.thickness < 0.06 else "thick brows"
    yield f"a {who.nose.kind} nose"
    if who.mouth.width < 0.26 or who.mouth.width > 0.36:
        yield "a small mouth" if who.mouth.width < 0.26 else "a wide mouth"
    yield from (MARK_WORDS[mark] for mark in who.marks)
    if who.earrings:
        yield EARRING_WORDS[who.earrings]


def _nearest(colour: RGB, scale: tuple[RGB, ...]) -> int:
    """The place of the most similar colour."""
    return int(np.abs(np.array(scale) - colour).sum(axis=1).argmin())


def _shape(face: Face) -> str:
    """The name of the outline this one was made from."""
    own = np.array((face.forehead, face.cheek, face.jaw, face.chin, face.length))
    return min(traits.FACES, key=lambda name: float(np.abs(np.array(traits.FACES[name]) - own).sum()))


def _eyes(eyes: Eyes, colours: bool) -> str:
    size = "small " if eyes.size < 0.9 else "large " if eyes.size > 1.1 else ""
    return f"{size}{eyes.kind}{' ' + EYE_COLOUR_WORDS[traits.EYE_COLOURS.index(eyes.colour)] if colours else ''}"
