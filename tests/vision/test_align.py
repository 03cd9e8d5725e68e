"""Faces laid onto the template: against the published pipeline's numbers and a second implementation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.transform import SimilarityTransform

from facechain_ext.errors import NoFace
from facechain_ext.vision.align import TEMPLATE, align, similarity, warp

ROOT = Path(__file__).parents[2]
GOLDEN = np.load(ROOT / "tests" / "golden" / "align.npz")


@pytest.fixture(scope="module")
def astronaut() -> Image.Image:
    return Image.open(ROOT / "examples" / "astronaut.png")


@pytest.mark.parametrize("case", range(len(GOLDEN["landmarks"])))
def test_published_matrices_and_crops(astronaut: Image.Image, case: int) -> None:
    points = GOLDEN["landmarks"][case]
    assert np.abs(similarity(points) - GOLDEN["matrices"][case]).max() <= 1e-4
    crop = align(astronaut, points)
    assert crop.shape == (112, 112, 3) and crop.dtype == np.uint8
    off = np.abs(crop.astype(int) - GOLDEN["crops"][case]).max(-1) > 1
    assert off.mean() <= 0.001


def test_the_example_photo_is_the_published_one(astronaut: Image.Image) -> None:
    from skimage.data import astronaut as published

    assert np.array_equal(np.asarray(astronaut), published())


def test_random_faces_as_umeyama_has_them() -> None:
    random = np.random.default_rng(7)
    for _ in range(50):
        angle, scale = random.uniform(-3, 3), random.uniform(0.2, 9)
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        points = TEMPLATE @ turn.T + random.uniform(-500, 500, 2) + random.normal(0, 2 * scale, (5, 2))
        expected = SimilarityTransform.from_estimate(points, TEMPLATE).params[:2]
        assert np.abs(similarity(points) - expected).max() <= 1e-9


def test_a_mirrored_face_is_not_mirrored_back() -> None:
    mirrored = TEMPLATE * (-1, 1)
    matrix = similarity(mirrored)
    assert np.linalg.det(matrix[:, :2]) > 0
    assert np.abs(matrix - SimilarityTransform.from_estimate(mirrored, TEMPLATE).params[:2]).max() <= 1e-9


def test_a_turned_and_shifted_template_comes_back() -> None:
    """A picture made of the crop itself, doubled and turned by 90°: the crop's corner colours are where they were."""
    crop = np.zeros((112, 112, 3), np.uint8)
    crop[:56, :56], crop[56:, 56:] = (255, 0, 0), (0, 0, 255)
    turned = np.rot90(crop, -1).repeat(2, 0).repeat(2, 1)  # clockwise: (x, y) goes to (111 - y, x), then doubled
    points = np.stack([(111 - TEMPLATE[:, 1]) * 2 + 0.5, TEMPLATE[:, 0] * 2 + 0.5], 1)
    back = align(turned, points)
    assert np.abs(back.astype(int) - crop)[2:54, 2:54].max() == 0 and np.abs(back.astype(int) - crop)[58:110, 58:110].max() == 0


def test_other_sizes_are_the_same_crop() -> None:
    gradient = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, :, None], (256, 256, 3))
    points = TEMPLATE * 1.5 + 30
    small, large = align(gradient, points, 112), align(gradient, points, 224)
    assert large.shape == (224, 224, 3)
    assert np.abs(large[::2, ::2].astype(int) - small).max() <= 1


def test_outside_the_picture_is_black() -> None:
    white = np.full((50, 50, 3), 255, np.uint8)
    assert align(white, TEMPLATE + 1000).max() == 0
    half = warp(white, np.array([[1.0, 0, 10.5], [0, 1, 0]]), 112)
    assert half[0, :13, 0].tolist() == [0] * 10 + [128, 255, 255]


@pytest.mark.parametrize(
    "points",
    [np.full((5, 2), 3.0), np.full((5, 2), np.nan), TEMPLATE[:4], np.stack([TEMPLATE[:, 0], [np.inf] * 5], 1)],
    ids=["one", "nan", "four", "inf"],
)
def test_useless_points_are_refused(points: np.ndarray) -> None:
    with pytest.raises(NoFace, match="photo"):
        similarity(points)
