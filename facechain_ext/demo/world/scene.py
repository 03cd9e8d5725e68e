"""What changes from picture to picture in the demo world: pose, expression, light, clothes, hat, background, style."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from facechain_ext.demo.world import traits

SEED_SPACE = 0x5C


@dataclass(frozen=True, kw_only=True)
class Pose:
    """x, y: where the head is, in parts of the picture's height from its own middle; scale of the head; roll, yaw and lean in degrees."""

    x: float = 0.0
    y: float = 0.0
    scale: float = 1.0
    roll: float = 0.0
    yaw: float = 0.0
    lean: float = 0.0
    arms: str = "down"


@dataclass(frozen=True, kw_only=True)
class Light:
    """side: −1 from the left … 1 from the right; warmth −1 cool … 1 warm; level around 1."""

    side: float = 0.0
    warmth: float = 0.0
    level: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Outfit:
    """What one person wears and how they look; the words are those of traits."""

    clothes: str = "t-shirt"
    colour: str = "blue"
    hat: str = ""
    expression: str = "neutral"


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One picture without its people: `style`, `background`, `light`, a seed for textures and details."""

    style: str = "photo"
    background: str = "wall"
    light: Light = Light()
    texture: int = 0


@dataclass(frozen=True, kw_only=True)
class Appearance:
    """How somebody is in one picture: outfit and pose."""

    outfit: Outfit = Outfit()
    pose: Pose = Pose()


def scene(seed: int, **fixed: Any) -> Scene:
    """A random scene; what is given in `fixed` (fields of Scene) is kept."""
    rng = np.random.default_rng((SEED_SPACE, 0, seed))
    light = Light(side=float(rng.uniform(-1, 1)), warmth=float(rng.uniform(-1, 1)), level=float(rng.uniform(0.85, 1.1)))
    drawn: dict[str, Any] = {
        "style": str(rng.choice(traits.STYLES)),
        "background": str(rng.choice(traits.BACKGROUNDS)),
        "light": light,
        "texture": int(rng.integers(1 << 31)),
    }
    return Scene(**{**drawn, **fixed})


def appearance(seed: int, **fixed: Any) -> Appearance:
    """A random outfit and pose; what is given in `fixed` (fields of Outfit) is kept."""
    rng = np.random.default_rng((SEED_SPACE, 1, seed))
    outfit: dict[str, Any] = {
        "clothes": str(rng.choice(traits.CLOTHES)),
        "colour": str(rng.choice(list(traits.CLOTHES_COLOURS))),
        "hat": str(rng.choice(traits.HATS)) if rng.random() < 0.25 else "",
        "expression": str(rng.choice(traits.EXPRESSIONS)),
    }
    return Appearance(outfit=Outfit(**{**outfit, **fixed}), pose=_pose(rng))


def _pose(rng: np.random.Generator) -> Pose:
    return Pose(
        x=float(rng.uniform(-0.05, 0.05)),
        y=float(rng.uniform(-0.025, 0.03)),
        scale=float(rng.uniform(0.92, 1.06)),
        roll=float(np.clip(rng.normal(0, 5), -11, 11)),
        yaw=float(rng.uniform(-13, 13)),
        lean=float(rng.uniform(-5, 5)),
        arms=str(rng.choice(traits.ARMS, p=(0.7, 0.12, 0.12, 0.06))),
    )
