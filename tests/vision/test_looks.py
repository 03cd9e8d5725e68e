"""Colour, sharpness, light, angles, and drawing what was seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter
from skimage.color import rgb2lab

from facechain_ext.vision.align import TEMPLATE
from facechain_ext.vision.annotate import COLOURS, Mark, annotate
from facechain_ext.vision.colour import match_colour
from facechain_ext.vision.quality import angles, brightness, sharpness

BOX = (178.0, 83.0, 273.0, 178.0)


@pytest.fixture(scope="module")
def astronaut() -> Image.Image:
    return Image.open(Path(__file__).parents[2] / "examples" / "astronaut.png")


def head() -> np.ndarray:
    """Eyes, nose tip, mouth corners of a face from the front, in eye distances: x right, y down, z away from the camera."""
    return np.array([(-0.5, 0, 0), (0.5, 0, 0), (0, 0.6, -0.5), (-0.4, 1.15, 0), (0.4, 1.15, 0)])


def seen(yaw: float = 0, pitch: float = 0, roll: float = 0) -> np.ndarray:
    """The head's points [5, 2] as a far camera sees it after turning right, down and clockwise by those degrees."""
    y, p, r = np.radians([yaw, pitch, roll])
    sideways = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    nod = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    tilt = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return (head() @ (tilt @ nod @ sideways).T)[:, :2] * 80 + 300


@pytest.mark.parametrize("angle", [-50, -30, -10, 0, 15, 40])
def test_angles_of_a_turned_head(angle: float) -> None:
    assert angles(seen(yaw=angle))[0] == pytest.approx(angle, abs=3)
    assert angles(seen(roll=angle))[2] == pytest.approx(angle, abs=0.01)
    assert np.sign(angles(seen(pitch=angle))[1] - angles(seen())[1]) == np.sign(angle)
    yaw, pitch, roll = angles(seen(yaw=25, roll=angle))
    assert yaw == pytest.approx(25, abs=3) and roll == pytest.approx(angle, abs=0.01) and abs(pitch) < 10


def test_the_template_looks_straight_ahead() -> None:
    assert np.abs(angles(TEMPLATE)).max() < 5


def test_sharpness_falls_with_blur_and_ignores_size_and_light(astronaut: Image.Image) -> None:
    crisp = sharpness(astronaut, BOX)
    blurred = [sharpness(astronaut.filter(ImageFilter.GaussianBlur(radius)), BOX) for radius in (1, 2, 4)]
    assert crisp > 0.2 > blurred[0] > 0.05 > blurred[1] > blurred[2]
    double = sharpness(astronaut.resize((1024, 1024), Image.Resampling.LANCZOS), tuple(2 * edge for edge in BOX))
    assert double == pytest.approx(crisp, rel=0.5)
    assert sharpness(ImageEnhance.Brightness(astronaut).enhance(0.4), BOX) == pytest.approx(crisp, rel=0.2)


def test_brightness_is_the_mean_grey() -> None:
    image = Image.new("RGB", (100, 100), (60, 60, 60))
    image.paste((120, 120, 120), (0, 0, 100, 50))
    assert brightness(image, (10, 0, 90, 100)) == pytest.approx(90, abs=1)
    assert brightness(image, (-50, -50, 50, 50)) == pytest.approx(120, abs=1)
    assert brightness(image, (200, 200, 300, 300)) == sharpness(image, (200, 200, 300, 300)) == 0
    assert sharpness(image, (0, 60, 50, 100)) == 0


def test_colours_take_the_references_mean_and_spread() -> None:
    random = np.random.default_rng(3)
    image = Image.fromarray(random.normal((150, 110, 100), 12, (80, 90, 3)).clip(0, 255).astype(np.uint8))
    reference = Image.fromarray(random.normal((110, 130, 150), 20, (50, 60, 3)).clip(0, 255).astype(np.uint8))
    moved, goal = rgb2lab(np.asarray(match_colour(image, reference))), rgb2lab(np.asarray(reference))
    assert np.abs(moved.mean((0, 1)) - goal.mean((0, 1))).max() < 0.3
    assert np.abs(moved.std((0, 1)) - goal.std((0, 1))).max() < 0.5
    assert np.abs(np.asarray(match_colour(image, image)).astype(int) - np.asarray(image)).max() <= 1


def test_colours_change_under_the_mask_only() -> None:
    image, reference = Image.new("RGB", (200, 100), (150, 90, 90)), Image.new("RGB", (50, 50), (90, 90, 150))
    mask = np.zeros((100, 200), bool)
    mask[:, :100] = True
    changed = np.asarray(match_colour(image, reference, mask, blur=20)).astype(int)
    assert np.abs(changed[:, :85] - (90, 90, 150)).max() <= 1
    assert (changed[:, 115:] == (150, 90, 90)).all()
    assert (np.diff(changed[50, 80:120, 0]) >= 0).all() and 110 < changed[50, 100, 0] < 130
    empty = match_colour(image, reference, np.zeros((100, 200), bool))
    assert np.array_equal(np.asarray(empty), np.asarray(image)) and empty is not image


@pytest.mark.parametrize(("size", "times"), [((90, 60), 6), ((512, 512), 1), ((3000, 2000), 1)])
def test_annotation_is_drawn_on_a_copy_and_stays_inside(size: tuple[int, int], times: int) -> None:
    image = Image.new("RGB", size, "black")
    width, height = size
    box = (width * 0.6, height * 0.6, width * 0.95, height * 0.98)
    drawn = annotate(image, [Mark(box=box, points=[(width * 0.7, height * 0.7)], words="1 · blurred\nuse a sharper photo", kind="reject")])
    assert drawn.size == (width * times, height * times) and not np.asarray(image).any()
    red = np.all(np.asarray(drawn) == tuple(int(COLOURS["reject"][i : i + 2], 16) for i in (1, 3, 5)), axis=-1)
    assert red[round(drawn.height * 0.6), round(drawn.width * 0.9)] and red[round(drawn.height * 0.7), round(drawn.width * 0.7)]
    above = red[: int(drawn.height * 0.6) - 2]  # no room below: the words stand above the box
    assert above.sum() > 20
    assert np.ptp(np.flatnonzero(above.any(1))) >= max(12, max(drawn.size) / 60)
