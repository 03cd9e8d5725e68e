"""The demo world: drawn people with identities, whose likeness can be measured."""

from __future__ import annotations

from facechain_ext.demo.world.drawing import Drawing, Person, draw, draw_people
from facechain_ext.demo.world.identity import Identity, person
from facechain_ext.demo.world.scene import Appearance, Light, Outfit, Pose, Scene, appearance, scene

__all__ = [
    "Appearance", "Drawing", "Identity", "Light", "Outfit", "Person", "Pose", "Scene", "appearance", "draw", "draw_people",
    "person", "scene",
]  # fmt: skip
