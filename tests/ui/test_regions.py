"""Regions: bands that share the picture, masks that fit an info text."""

from __future__ import annotations

import pytest
from PIL import Image

from facechain_ext.errors import BadInput
from facechain_ext.ui import regions


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_bands_share_every_column(count):
    rows = [list(band.tobytes()) for band in regions.bands(count)]
    assert all(abs(sum(column) - 255) <= count for column in zip(*rows, strict=True))
    for index, row in enumerate(rows):
        middle = int((index + 0.5) / count * len(row))
        assert row[middle] == 255
        others = [int((other + 0.5) / count * len(row)) for other in range(count) if other != index]
        assert all(row[at] == 0 for at in others)


def test_a_mask_code_gives_the_mask_back():
    mask = Image.new("L", (64, 32))
    mask.paste(255, (0, 0, 32, 32))
    mask.paste(136, (32, 0, 64, 16))  # 8 of 15 levels
    assert regions.picture(regions.encode(mask)).tobytes() == mask.tobytes()


def test_a_large_mask_becomes_small_and_short():
    mask = Image.radial_gradient("L").resize((1024, 512))
    code = regions.encode(mask)
    assert regions.picture(code).size == (128, 64) and len(code) < 4000
    assert regions.encode(regions.picture(code)) == code


def test_a_code_needs_no_quotes_in_an_info_text():
    from facechain_ext.workflows.infotext import quote

    code = regions.encode(Image.radial_gradient("L"))
    assert quote(code) == code


def test_a_black_mask_is_none():
    assert regions.encode(Image.new("L", (8, 8))) == ""


@pytest.mark.parametrize("code", ["", "nonsense", "8*8*AAAA", "999*999*eJw", "0*0*eJw", "8*8*eJxjYGBg"])
def test_a_damaged_code_is_refused(code):
    with pytest.raises(BadInput, match="damaged"):
        regions.picture(code)


def test_whose_face_it_is():
    left, right = regions.bands(2)
    assert regions.fullest([left, right], (0.1, 0.2, 0.3, 0.4)) == 0
    assert regions.fullest([left, right], (0.7, 0.2, 0.9, 0.4)) == 1
    assert regions.fullest([None, right], (0.1, 0.2, 0.2, 0.4)) is None
    assert regions.fullest([], (0, 0, 1, 1)) is None


def test_share_is_the_mean_of_the_box():
    mask = Image.new("L", (4, 1))
    mask.putdata([0, 255, 255, 0])
    assert regions.share(mask, (0, 0, 1, 1)) == 0.5
    assert regions.share(mask, (0.25, 0, 0.75, 1)) == 1
    assert regions.share(mask, (1, 1, 1, 1)) == 0
