"""Chromium for the browser tests. It is not skipped where there is none: it says so and fails."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-first-run"]
LACKING = "The browser tests need Chromium: install it (Debian: apt-get install chromium), or leave them out (--ignore=tests/browser)."


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """A headless Chromium of this machine's; gone after these tests, for its event loop would be in the way of others."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.fail(LACKING)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield opened
        opened.close()
