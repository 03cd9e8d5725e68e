"""Says in words what is in a picture, except who."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facechain_ext.demo.world.scene import Appearance, Outfit, Scene
from facechain_ext.demo.world.traits import COLOURLESS

STYLE_WORDS: dict[str, tuple[str, ...]] = {
    "photo": ("a photo", "a photograph", "a studio photo"),
    "pencil": ("a pencil drawing", "a pencil sketch"),
    "watercolour": ("a watercolour painting", "a watercolor painting", "a watercolour"),
    "neon": ("a neon sign", "a neon picture", "neon art"),
    "comic": ("a comic", "a comic book panel", "comic art"),
    "oil": ("an oil painting", "an oil portrait"),
    "blueprint": ("a blueprint",),
    "woodcut": ("a woodcut print", "a woodcut"),
}
BACKGROUND_WORDS: dict[str, tuple[str, ...]] = {
    "wall": ("in front of a plain wall", "plain background", "simple background"),
    "beach": ("at the beach", "on a beach by the sea"),
    "forest": ("in a forest", "in the woods"),
    "city": ("in the city", "in front of a city skyline"),
    "mountains": ("in the mountains", "in front of snowy mountains"),
    "library": ("in a library", "in front of bookshelves"),
}
HAT_WORDS: dict[str, tuple[str, ...]] = {
    "cap": ("a red cap", "a baseball cap"),
    "beanie": ("a beanie", "a knitted beanie"),
    "straw hat": ("a straw hat",),
    "crown": ("a crown", "a golden crown"),
    "top hat": ("a top hat", "a black top hat"),
}
EXPRESSION_WORDS: dict[str, tuple[str, ...]] = {
    "neutral": ("neutral expression", "calm"),
    "smile": ("smiling", "with a smile"),
    "laugh": ("laughing",),
    "sad": ("sad", "looking sad"),
    "surprised": ("surprised", "looking surprised"),
}
BARE_HEAD = ("", "", "no hat", "without a hat")
SUBJECTS = ("a person", "somebody", "one person")


def caption(scene: Scene, people: Sequence[Appearance], rng: np.random.Generator) -> str:
    """One of many ways to say it; every picture's style, clothes, hat and background are always named."""
    picture, place = _one(rng, STYLE_WORDS[scene.style]), _one(rng, BACKGROUND_WORDS[scene.background])
    if len(people) > 1:
        each = ", ".join(_person(rng, scene, one) for one in people)
        return f"{picture} of {('two', 'three', 'four', 'five')[len(people) - 2]} people, {each}, {place}"
    order = rng.permutation(3)
    outfit = people[0].outfit
    parts = [f"wearing {_wear(rng, scene, outfit)}", _one(rng, EXPRESSION_WORDS[outfit.expression]), place]
    if people[0].pose.arms != "down":
        parts.append("waving")
    said = ", ".join([parts[i] for i in order] + parts[3:])
    start = f"{picture} of {_one(rng, SUBJECTS)}" if rng.random() < 0.8 else f"portrait, {picture}"
    return f"{start}, {said}"


def _one(rng: np.random.Generator, words: Sequence[str]) -> str:
    return words[int(rng.integers(len(words)))]


def _wear(rng: np.random.Generator, scene: Scene, outfit: Outfit) -> str:
    clothes = outfit.clothes if scene.style in COLOURLESS else f"{outfit.colour} {outfit.clothes}"
    worn = clothes if outfit.clothes == "dungarees" else f"{'an' if clothes[0] in 'aeio' else 'a'} {clothes}"
    head = _one(rng, HAT_WORDS[outfit.hat]) if outfit.hat else _one(rng, BARE_HEAD)
    if not head:
        return worn
    return f"{worn}, {head}" if head.startswith(("no ", "without")) else f"{worn} and {head}"


def _person(rng: np.random.Generator, scene: Scene, one: Appearance) -> str:
    return f"one {_one(rng, EXPRESSION_WORDS[one.outfit.expression])} wearing {_wear(rng, scene, one.outfit)}"
