"""Skeleton pictures as the OpenPose ControlNet reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from facechain_ext.vision.skeleton import POINTS, colour, draw_skeletons, is_skeleton

BODY = [None] * POINTS
BODY[1], BODY[2], BODY[3] = (60.0, 20.0), (20.0, 20.0), (20.0, 80.0)


def test_joints_and_limbs_lie_where_they_should() -> None:
    picture = np.asarray(draw_skeletons((100, 120), [BODY])).astype(int)
    assert picture.shape == (120, 100, 3)
    assert tuple(picture[20, 60]) == colour(1) and tuple(picture[80, 20]) == colour(3)
    assert tuple(picture[50, 20]) == tuple(
        int(v * 0.6) for v in colour(2)
    )  # the limb from 2 to 3 is the third: dimmed, so joints stand out
    assert tuple(picture[20, 40]) == tuple(int(v * 0.6) for v in colour(0))
    assert not picture[100:].any() and not picture[:, 70:].any()


def test_colours_are_those_of_openpose() -> None:
    # the 18 colours that OpenPose's own drawing uses, as published in its documentation's keypoint picture: red, orange … by 20 degrees
    assert [colour(i) for i in (0, 6, 12)] == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    assert colour(1) == (255, 85, 0) and colour(3) == (255, 255, 0) and colour(15) == (255, 0, 255)


def test_skeletons_are_told_from_photos() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    assert is_skeleton(draw_skeletons((200, 200), [[(x * 2, y * 2) if joint else None for joint in BODY for x, y in [joint or (0, 0)]]]))
    assert not is_skeleton(Image.fromarray(noise))
    assert not is_skeleton(Image.new("RGB", (64, 64)))
    assert not is_skeleton(Image.open(Path(__file__).parents[2] / "examples" / "astronaut.png"))
