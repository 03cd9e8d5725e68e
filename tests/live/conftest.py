"""The WebUI of `--live URL`, asked once whether it is ready."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live.webui import WebUI


@pytest.fixture(scope="session")
def webui(request: pytest.FixtureRequest) -> Iterator[WebUI]:
    """The running WebUI, with this extension and an adapter that fits its checkpoint."""
    found = WebUI(request.config.getoption("--live"))
    version = found.ask("/facechain/v1/version")
    assert version["checkpoint"] == "supported", version
    assert found.ask("/facechain/v1/adapters")["adapters"], "No adapter is there: make one with `random-weights`, or name its folder."
    found.make()  # the first picture loads the checkpoint
    try:
        yield found
    finally:
        found.give_back()
        found.forget_loras()
