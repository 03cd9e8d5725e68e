"""Cropping a face's surroundings and putting them back."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from facechain_ext.errors import BadInput
from facechain_ext.vision.paste import Square, crop_square, paste_back, paste_mask, square_around


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def test_the_square_of_the_reference() -> None:
    # L = int(max(95, 95) / 0.7 / 2) = 67 around (225, 130)
    assert square_around((178, 83, 273, 178), (512, 512)) == Square(left=158, top=63, side=134)
    assert square_around((0, 0, 60, 90), (512, 512), 0.45) == Square(left=-70, top=-55, side=200)


def test_crop_is_black_beyond_the_border() -> None:
    piece, square = crop_square(Image.new("RGB", (100, 100), "white"), (0, 0, 70, 70), size=100)
    assert square == Square(left=-15, top=-15, side=100)
    pixels = np.asarray(piece)
    assert (pixels[:15] == 0).all() and (pixels[:, :15] == 0).all() and (pixels[15:, 15:] == 255).all()
    assert square.inside((100, 100)) == (0, 0, 85, 85)


def test_an_unchanged_piece_changes_nothing() -> None:
    image = noise(300, 200)
    for box in ((100, 60, 170, 130), (-20, -10, 90, 80), (250, 150, 330, 240)):
        square = square_around(box, image.size)
        piece, _ = crop_square(image, box, size=square.side)
        assert np.array_equal(np.asarray(paste_back(image, piece, square, box)), np.asarray(image))


def test_resized_and_back_stays_close() -> None:
    rows, columns = np.mgrid[:200, :300]
    smooth = Image.fromarray(np.stack([rows, columns * 0.8, 100 + 50 * np.sin(columns / 20)], -1).astype(np.uint8))
    piece, square = crop_square(smooth, (100, 60, 170, 130))
    assert piece.size == (512, 512)
    back = np.asarray(paste_back(smooth, piece, square, (100, 60, 170, 130))).astype(int)
    assert np.abs(back - np.asarray(smooth)).max() <= 2


def test_a_new_piece_shows_in_the_middle_and_fades_out() -> None:
    image, square, box = Image.new("RGB", (600, 600)), Square(left=44, top=44, side=512), (200, 200, 400, 400)
    white = Image.new("RGB", (64, 64), "white")
    pasted = np.asarray(paste_back(image, white, square, box))[..., 0]
    assert (pasted[200:400, 200:400] == 255).all() and pasted[300, 300] == 255
    assert (pasted[:44] == 0).all() and (pasted[556:] == 0).all()
    row = pasted[300, 44:200].astype(int)
    assert (np.diff(row) >= 0).all() and row[0] < 20 and row[-1] == 255 and 100 < row[10] < 160
    assert np.asarray(image).max() == 0


def test_mask_as_written_down_in_the_reference() -> None:
    """Erosion by 2k and blur of 2·int(1.8k)+1 with k = 10 of a square with L = 256, along one row, by hand."""
    mask = paste_mask((600, 600), Square(left=44, top=44, side=512))
    width = 2 * int(1.8 * 10) + 1
    sigma = 0.3 * ((width - 1) * 0.5 - 1) + 0.8
    weights = np.exp(-((np.arange(width) - width // 2) ** 2) / (2 * sigma**2))
    edge = np.zeros(600)
    edge[44 + 10 : 556 - 9] = 1  # a square of side 20 takes 10 pixels before and 9 behind
    expected = np.convolve(edge, weights / weights.sum(), "same")
    expected[:44] = expected[556:] = 0
    assert np.abs(mask[300] - expected).max() < 1e-5


def test_no_seam_at_the_pictures_own_border() -> None:
    mask = paste_mask((300, 300), Square(left=-100, top=-100, side=300))
    assert (mask[:150, :150] == 1).all() and mask[250, 100] == 0


def test_other_faces_stay() -> None:
    image = noise(300, 200)
    box, other = (100, 60, 170, 130), (160, 50, 220, 120)
    changed = np.asarray(paste_back(image, noise(100, 100, 1), square_around(box, image.size), box, [other, (-50, -50, 2, 2)]))
    before = np.asarray(image)
    assert np.array_equal(changed[50:120, 160:220], before[50:120, 160:220])
    assert not np.array_equal(changed[60:130, 100:160], before[60:130, 100:160])


def test_tiny_faces_and_boxes_elsewhere() -> None:
    assert (paste_mask((50, 50), Square(left=10, top=10, side=8))[10:18, 10:18] == 1).all()
    with pytest.raises(BadInput, match="choose the face again"):
        square_around((900, 900, 950, 950), (100, 100))
    with pytest.raises(BadInput):
        square_around((10, 10, 10, 10), (100, 100))
