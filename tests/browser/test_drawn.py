"""The page of the trained demo model: whom it is shown it paints, and a photograph gets a word."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facechain_ext.app import SUITED, App, Choice
from facechain_ext.demo import photos
from facechain_ext.demo.judge import Judge, view
from facechain_ext.demo.model import TRAINED
from facechain_ext.training.checkpoint import load_weights
from facechain_ext.training.judge import seen
from facechain_ext.training.likeness import embed, gallery_of
from facechain_ext.ui.studio_alone import StudioAlone
from tests.browser.page import served

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("drawn")


@pytest.fixture(scope="module")
def address(folder) -> Iterator[str]:
    """The page as `run.py ui` shows it to somebody who has nothing yet."""
    choice = Choice(device="cpu", dtype="fp32", models=folder / "models", scratch=folder)
    with served(StudioAlone(App(choice), folder / "data")) as found:
        yield found


def test_a_drawn_person_is_painted_and_a_photograph_is_refused(visit, folder):
    page = visit()
    page.give("drop", EXAMPLES / "astronaut.png")
    page.says("photos", "knows drawn people only")
    page = visit()
    page.give("drop", EXAMPLES / "demo" / "cleo-1.png")
    page.see(".facechain-photo.facechain-good")
    page.open("words")
    assert page.part("prompt").locator("textarea").input_value() == SUITED["prompt"], "words that suit the model stand there"
    assert page.part("negative").locator("textarea").input_value() == ""
    page.number("count", 2)
    page.open("fold-size")
    page.part("fold-size").locator("#facechain-tab-steps input[type=number]").fill("12")
    page.page.keyboard.press("Tab")
    page.make()
    page.shot("drawn-results")
    made = sorted((folder / "data" / "outputs").rglob("0*.png"))
    assert len(made) == 2 and all("FaceChain likeness" in Image.open(one).text["parameters"] for one in made)
    judge = Judge()
    judge.load_state_dict(load_weights(TRAINED / "judge.safetensors"))
    painted = np.stack([view(np.asarray(Image.open(one).convert("RGB").resize((128, 128)))) for one in made])
    likeness = (embed(judge, painted) @ gallery_of(judge, seen, list(photos.PEOPLE.values())).T).mean(dim=0)
    assert list(photos.PEOPLE)[int(likeness.argmax())] == "cleo", likeness
