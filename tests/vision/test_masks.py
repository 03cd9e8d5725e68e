"""The head cut out, exactly as the published preprocessing does, and where that has nothing to go by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from facechain_ext.errors import NoFace
from facechain_ext.vision.masks import cut_out, geometric_head, head_from_parsing, head_mask

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "head_mask.npz")


def disc(x: float, y: float, radius: float, shape: tuple[int, int] = (160, 160)) -> np.ndarray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return ((columns - x) ** 2 + (rows - y) ** 2 <= radius**2).astype(np.float32)


def second_opinion(face: np.ndarray, hair: np.ndarray, human: np.ndarray) -> np.ndarray:
    """The same steps with scipy: grow by a square, cut to the person, fill, keep the largest piece, add the face."""
    side = max(int(np.sqrt(face.sum()) / 20), 1)
    grown = ndimage.maximum_filter(np.clip(face + hair, 0, 1), size=side, mode="constant")
    pieces, count = ndimage.label(grown * human > 0.5, np.ones((3, 3)))
    filled = [ndimage.binary_fill_holes(pieces == index + 1) for index in range(count)]
    return np.clip(max(filled, key=np.sum) + face, 0, 1)


def test_published_head() -> None:
    head = head_mask(GOLDEN["masks"], GOLDEN["labels"], GOLDEN["scores"])
    assert head.dtype == np.float32 and np.array_equal(head, GOLDEN["head"])


def test_order_of_entries_does_not_matter() -> None:
    order = [3, 2, 4, 1, 0]
    head = head_mask(GOLDEN["masks"][order], [str(GOLDEN["labels"][i]) for i in order], GOLDEN["scores"][order])
    assert np.array_equal(head, GOLDEN["head"])


@pytest.mark.parametrize("radius", [4.0, 12.0, 20.4, 44.0])
def test_as_a_second_formulation_has_it(radius: float) -> None:
    face, hair, human = disc(80, 80, radius), disc(80, 80 - radius, radius * 1.1), disc(80 + radius / 10, 80 + radius / 5, radius * 1.8)
    hair = hair * (1 - disc(80, 80 - radius * 1.5, radius / 3))  # a hole, to be filled
    hair = np.clip(hair + disc(20, 130, 4), 0, 1)  # a stray piece, to be dropped
    head = head_mask(np.stack([face, hair, human]), ["Face", "Hair", "Human"], [0.9, 0.9, 0.9])
    assert np.array_equal(head, second_opinion(face, hair, human))
    assert head[130, 20] == 0 or radius == 44.0


def test_largest_of_each_above_the_score() -> None:
    face, small, person, passer_by, hair = disc(60, 60, 20), disc(130, 60, 8), disc(60, 70, 50), disc(130, 60, 18), disc(60, 45, 22)
    masks, labels = np.stack([small, face, passer_by, person, hair]), ["Face", "Face", "Human", "Human", "Hair"]
    head = head_mask(masks, labels, [0.99, 0.9, 0.99, 0.9, 0.9])
    assert np.array_equal(head, second_opinion(face, hair, person))
    other = head_mask(masks, labels, [0.99, 0.8, 0.99, 0.79, 0.9])  # 0.8 itself does not count
    assert other[60, 130] == 1 and other[60, 60] == 0


def test_no_hair_no_person_tiny_face() -> None:
    face = disc(80, 80, 15)
    assert np.array_equal(head_mask(face[None], ["Face"], [0.9]), face)
    dot = np.zeros((40, 40), np.float32)
    dot[7, 9] = 1
    assert np.array_equal(head_from_parsing(dot), dot)
    assert np.array_equal(head_from_parsing(face, None, disc(20, 20, 5)), face)  # a person elsewhere leaves the face


def test_bool_masks_do_as_well() -> None:
    parts = [GOLDEN["masks"][list(GOLDEN["labels"]).index(name)] > 0 for name in ("Face", "Hair", "Human")]
    assert np.array_equal(head_from_parsing(*parts), GOLDEN["head"])


@pytest.mark.parametrize(
    ("masks", "labels", "scores"),
    [
        (np.zeros((0, 10, 10)), [], []),
        (np.ones((1, 10, 10)), ["Hair"], [0.99]),
        (np.ones((1, 10, 10)), ["Face"], [0.8]),
        (np.zeros((1, 10, 10)), ["Face"], [0.99]),
    ],
    ids=["nothing", "hair alone", "unsure", "empty"],
)
def test_no_face_is_said(masks: np.ndarray, labels: list[str], scores: list[float]) -> None:
    with pytest.raises(NoFace, match="whole face"):
        head_mask(masks, labels, scores)


def test_the_drawn_head_follows_the_face() -> None:
    points = np.array([(203.5, 101.1), (246.6, 103.5), (223.4, 130.0), (201.8, 139.2), (245.0, 141.0)])
    box = (178, 83, 273, 178)
    head = geometric_head(box, points, (512, 512))
    assert set(np.unique(head)) == {0, 1}
    rows, columns = np.flatnonzero(head.any(1)), np.flatnonzero(head.any(0))
    # In the photo hair begins at y 15, the chin ends at 178, hair reaches from x 155 to 300 (read off by eye).
    assert 5 <= rows[0] <= 25 and 176 <= rows[-1] <= 196
    assert 145 <= columns[0] <= 170 and 280 <= columns[-1] <= 305
    centre = np.array([225.0, 100.0])
    turned = (points - centre) @ np.array([[0, 1], [-1, 0]]) + centre  # a quarter turn
    across = geometric_head((*(np.array([np.min(turned[:, 0]), 60])), np.max(turned[:, 0]), 140), turned, (512, 512))
    assert np.ptp(np.flatnonzero(across.any(0))) > np.ptp(np.flatnonzero(across.any(1)))
    with pytest.raises(NoFace):
        geometric_head(box, np.zeros((5, 2)), (512, 512))


def test_cut_out_is_black_elsewhere() -> None:
    image = Image.new("RGB", (4, 2), (100, 150, 201))
    mask = np.array([[1, 0.5, 0, 0], [1, 1, 0, 0]], np.float32)
    cut = np.asarray(cut_out(image, mask))
    assert cut[0].tolist() == [[100, 150, 201], [50, 75, 100], [0, 0, 0], [0, 0, 0]]
    assert image.getpixel((3, 0)) == (100, 150, 201)
