"""What goes wrong is told, and the picture is made without the face; nothing of it stays."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.live.webui import Refused, WebUI, encode, face, person, photo

GREY = encode(Image.new("RGB", (256, 256), (120, 120, 120)))
TROUBLES = {
    "no face in the photo": face(person(photos=[GREY])),
    "no such adapter": face(adapter="there-is-none-of-this-name"),
    "a photo that is no picture": face(person(photos=["bm90IGEgcGljdHVyZQ=="])),
    "no such saved person": face({"name": "nobody of this name", "weight": 1.0}),
    "start after end": face(person(start=0.8, end=0.2)),
}


@pytest.mark.parametrize("asked", TROUBLES.values(), ids=TROUBLES.keys())
def test_the_picture_is_made_and_the_reason_told(webui: WebUI, asked):
    off = webui.make(None)
    made = webui.make(asked | {"strict": False})
    assert made.trouble
    assert np.array_equal(made.pixels, off.pixels)


@pytest.mark.parametrize("asked", TROUBLES.values(), ids=TROUBLES.keys())
def test_strict_refuses_the_request(webui: WebUI, asked):
    off = webui.make(None)
    with pytest.raises(Refused) as refused:
        webui.make(asked)
    assert refused.value.status == 422
    assert np.array_equal(webui.make(None).pixels, off.pixels)


def test_a_refused_request_does_not_break_the_next(webui: WebUI):
    on = webui.make(face())
    with pytest.raises(Refused):
        webui.make(TROUBLES["no face in the photo"])
    assert np.array_equal(webui.make(face()).pixels, on.pixels)


def test_memory_after_thirty_photos_is_that_after_one(webui: WebUI):
    """Warm first: allocators and caches of the libraries fill with the first pictures, whoever is in them."""
    for number in range(30, 40):
        webui.make(face(person(photos=[photo(number)])), steps=1)
    before = webui.memory()
    for number in range(30):
        webui.make(face(person(photos=[photo(number)])), steps=1)
    assert abs(webui.memory() - before) <= 8
