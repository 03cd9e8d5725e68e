"""Chromium for the browser tests. It is not skipped where there is none: it says so and fails."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.browser.page import Page

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


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Callable[..., Page]]:
    """Opens pages of a test's `address`; they must have raised nothing when they are closed."""
    pages: list[Page] = []

    def opened(**more: Any) -> Page:
        pages.append(Page(browser, address, **more))
        return pages[-1]

    yield opened
    for page in pages:
        page.close()
