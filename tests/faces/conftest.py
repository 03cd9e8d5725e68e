"""Photos for the tests of face analysis, and whether mediapipe can be tested here at all."""

from __future__ import annotations

import platform
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

ASTRONAUT = Path(__file__).parents[2] / "examples" / "astronaut.png"
NO_WHEEL = sys.version_info >= (3, 13) or (sys.platform == "linux" and platform.machine() != "x86_64")
LEFT_OUT = NO_WHEEL and find_spec("mediapipe") is None
collect_ignore = ["test_mediapipe.py"] if LEFT_OUT else []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if LEFT_OUT:
        terminalreporter.write_line("Not tested: mediapipe has no wheel for this Python and machine (tests/faces/test_mediapipe.py).")


@pytest.fixture(scope="session")
def astronaut() -> Image.Image:
    return Image.open(ASTRONAUT).convert("RGB")


@pytest.fixture(scope="session")
def crowd(astronaut: Image.Image) -> Image.Image:
    """Two small faces, 28 and 53 pixels wide, in a picture of three megapixels."""
    canvas = Image.new("RGB", (2000, 1500), (90, 120, 90))
    canvas.paste(astronaut.resize((160, 160)), (1500, 1100))
    canvas.paste(astronaut.resize((300, 300)), (100, 80))
    return canvas


@pytest.fixture(params=["rocket", "grey", "one pixel", "a line"])
def faceless(request: pytest.FixtureRequest, astronaut: Image.Image) -> Image.Image:
    return {
        "rocket": astronaut.crop((330, 0, 512, 300)),
        "grey": Image.new("RGB", (640, 480), "grey"),
        "one pixel": Image.new("RGB", (1, 1)),
        "a line": Image.new("RGB", (3000, 2)),
    }[request.param]
