"""Puts a picture together: background, people, style; and says what is where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from facechain_ext.demo.world.backgrounds import draw_background
from facechain_ext.demo.world.body import draw_body, joints
from facechain_ext.demo.world.canvas import SUPERSAMPLING, Canvas, Frame, Region
from facechain_ext.demo.world.caption import caption
from facechain_ext.demo.world.geometry import landmarks
from facechain_ext.demo.world.hair import draw_back_hair, draw_hair, hat_line
from facechain_ext.demo.world.hats import COVERING, draw_hat
from facechain_ext.demo.world.head import draw_head
from facechain_ext.demo.world.identity import Identity
from facechain_ext.demo.world.marks import draw_earrings, draw_glasses
from facechain_ext.demo.world.scene import Appearance, Pose, Scene
from facechain_ext.demo.world.styles import render

SIZE = 128
FACE_UNIT = 0.295  # half a mean face's height in parts of the picture's height
HEAD_HEIGHT = 0.48  # where the middle of the face is
NECK = 1.1  # root of the neck below the middle of the face
BODY = 0.77  # size of the body beside the head: a large head in a small picture, and clothes in it still
POINTS = ("eye left", "eye right", "nose", "mouth left", "mouth right")
KEYPOINTS = (  # openpose's 18; its left and right are the person's, ours the picture's
    "nose", "neck", "shoulder left", "elbow left", "wrist left", "shoulder right", "elbow right", "wrist right",
    "", "", "", "", "", "", "eye left", "eye right", "ear left", "ear right",
)  # fmt: skip

Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Person:
    """One person of a drawing, in its pixels.

    points: eye left, eye right, nose tip, mouth corner left, right (left and right of the picture). keypoints: openpose's 18, None
    where not in the picture. face (with ears, glasses, beard), hair, clothes, person: masks, bool [H, W].
    """

    who: Identity
    appearance: Appearance
    points: tuple[Point, ...]
    keypoints: tuple[Point | None, ...]
    face: np.ndarray
    hair: np.ndarray
    clothes: np.ndarray
    person: np.ndarray

    @property
    def head(self) -> np.ndarray:
        """Face and hair, bool [H, W]."""
        return self.face | self.hair


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """picture: RGB uint8 [H, W, 3]; caption: what it shows, except who; people from left to right."""

    picture: np.ndarray
    caption: str
    scene: Scene
    people: tuple[Person, ...]


def draw(who: Identity, scene: Scene, appearance: Appearance, size: int = SIZE) -> Drawing:
    """A portrait, size×size pixels."""
    return draw_people([who], scene, [appearance], size, size)


def draw_people(people: Sequence[Identity], scene: Scene, appearances: Sequence[Appearance], width: int, height: int) -> Drawing:
    """Several people side by side, the picture's width shared evenly."""
    rng = np.random.default_rng(scene.texture)
    canvas = Canvas(width, height)
    draw_background(canvas, scene.background, rng)
    frames = [_frames(one.pose, (i + 0.5) * width / len(people), height) for i, one in enumerate(appearances)]
    for number, (who, one, (head, body)) in enumerate(zip(people, appearances, frames, strict=True), start=1):
        canvas.owner = number
        _draw_person(canvas, head, body, who, one)
    picture = render(canvas, scene, [head.origin / SUPERSAMPLING for head, _ in frames], height * FACE_UNIT, rng)
    small = canvas.labels[1::SUPERSAMPLING, 1::SUPERSAMPLING]
    regions, owners = np.array(canvas.regions, np.uint8)[small], np.array(canvas.owners, np.uint8)[small]
    drawn = tuple(
        _person(who, one, head, body, np.where(owners == number, regions, 0), (width, height))
        for number, (who, one, (head, body)) in enumerate(zip(people, appearances, frames, strict=True), start=1)
    )
    return Drawing(picture=picture, caption=caption(scene, appearances, rng), scene=scene, people=drawn)


def _frames(pose: Pose, middle: float, height: int) -> tuple[Frame, Frame]:
    """The head's frame and the body's, whose origin is the root of the neck."""
    unit = FACE_UNIT * height * pose.scale
    centre = (middle + pose.x * height, (HEAD_HEIGHT + pose.y) * height)
    roll = np.deg2rad(pose.roll)
    neck = (centre[0] - NECK * unit * np.sin(roll), centre[1] + NECK * unit * np.cos(roll))
    return Frame(centre, unit, pose.roll, pose.yaw), Frame(neck, BODY * unit, pose.lean)


def _draw_person(canvas: Canvas, head: Frame, body: Frame, who: Identity, one: Appearance) -> None:
    covered = one.outfit.hat in COVERING
    _covered(canvas, head, who, covered, draw_back_hair)
    draw_body(canvas, body, who, one.outfit, one.pose.arms)
    draw_head(canvas, head, who, one.outfit.expression)
    _covered(canvas, head, who, covered, draw_hair)
    draw_glasses(canvas, head, who)
    draw_earrings(canvas, head, who)
    draw_hat(canvas, head, who, one.outfit.hat)


def _covered(canvas: Canvas, head: Frame, who: Identity, covered: bool, draw_part: Callable[[Canvas, Frame, Identity], None]) -> None:
    """Draw hair; under a hat only what is below the brim stays."""
    if not covered:
        draw_part(canvas, head, who)
        return
    before = canvas.labels.copy()
    draw_part(canvas, head, who)
    left, right = head.at([(-1.0, hat_line(who)), (1.0, hat_line(who))])
    slope = (right[1] - left[1]) / (right[0] - left[0])
    edge = left[1] + slope * (np.arange(canvas.labels.shape[1]) - left[0])
    np.copyto(canvas.labels, before, where=np.arange(canvas.labels.shape[0])[:, None] < edge)


def _person(who: Identity, one: Appearance, head: Frame, body: Frame, regions: np.ndarray, size: tuple[int, int]) -> Person:
    places = {name: head.at([(x, y)], z)[0] for name, (x, y, z) in landmarks(who, one.outfit.expression).items()}
    places |= {name: body.at([place])[0] for name, place in joints(one.pose.arms).items()}
    pixels = {name: (float(x) / SUPERSAMPLING, float(y) / SUPERSAMPLING) for name, (x, y) in places.items()}
    return Person(
        who=who,
        appearance=one,
        points=tuple(pixels[name] for name in POINTS),
        keypoints=tuple(_inside(pixels.get(name), size) for name in KEYPOINTS),
        face=regions == Region.FACE,
        hair=regions == Region.HAIR,
        clothes=regions == Region.CLOTHES,
        person=regions > 0,
    )


def _inside(point: Point | None, size: tuple[int, int]) -> Point | None:
    return point if point and 0 <= point[0] < size[0] and 0 <= point[1] < size[1] else None
