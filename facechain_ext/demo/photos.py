"""The demo's photos: drawn people nobody was trained on, as they lie in examples/demo."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from facechain_ext.demo import world
from facechain_ext.vision.skeleton import draw_skeletons

PEOPLE = {"ann": 3_000_901, "ben": 3_000_906, "cleo": 3_000_917, "dan": 3_000_930}
"""Numbers of training.people.TESTED."""
SCENES = ({"background": "wall", "expression": "neutral"}, {"background": "beach", "expression": "smile"})
SIZE = 512


def photo(name: str, place: int) -> Image.Image:
    """A photo-like drawing of somebody, RGB 512×512; place: which of the two."""
    number, given = PEOPLE[name], SCENES[place]
    scene = world.scene(number * 2 + place, style="photo", background=given["background"])
    look = world.appearance(number * 2 + place, hat="", expression=given["expression"])
    picture = world.draw(world.person(number), scene, look).picture
    return Image.fromarray(picture).resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def in_style(style: str) -> Image.Image:
    """One of them drawn in a style of the world, RGB 256×256."""
    number = PEOPLE["ben"]
    shown = world.draw(world.person(number), world.scene(number, style=style), world.appearance(number, hat="", expression="smile"))
    return Image.fromarray(shown.picture).resize((256, 256), Image.Resampling.LANCZOS)


def couple(first: str, second: str) -> Image.Image:
    """Two of them side by side, RGB 1024×512."""
    numbers = [PEOPLE[first], PEOPLE[second]]
    looks = [world.appearance(number, hat="", expression="smile") for number in numbers]
    shown = world.draw_people(
        [world.person(number) for number in numbers], world.scene(numbers[0], style="photo", background="forest"), looks, 256, 128
    )
    return Image.fromarray(shown.picture).resize((2 * SIZE, SIZE), Image.Resampling.LANCZOS)


def waving() -> Image.Image:
    """The skeleton of somebody who stands a little to the right and waves, RGB 512×512, for the demo's ControlNet."""
    look = world.appearance(5)
    pose = replace(look.pose, x=0.1, yaw=0.0, roll=0.0, lean=0.0, arms="left up")
    shown = world.draw(world.person(5), world.scene(5), replace(look, pose=pose))
    points = [point and (point[0] * SIZE / 128, point[1] * SIZE / 128) for point in shown.people[0].keypoints]
    return draw_skeletons((SIZE, SIZE), [points])


def pictures() -> dict[str, Image.Image]:
    """All of them by file name."""
    found = {f"{name}-{place + 1}.png": photo(name, place) for name in PEOPLE for place in range(len(SCENES))}
    return {**found, "ann-and-ben.png": couple("ann", "ben"), "pose.png": waving()}


def main(argv: Sequence[str]) -> None:
    """Write them into a folder: `python -m facechain_ext.demo.photos examples/demo`."""
    folder = Path(argv[0])
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in pictures().items():
        image.save(folder / name, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
