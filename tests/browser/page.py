"""The tab in Chromium: a server in this process, a page of it, and screenshots under build/screens."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SCREENS = Path(__file__).parents[2] / "build" / "screens"
OWN = ("127.0.0.1", "localhost")
PATIENCE = 60_000  # milliseconds until something counts as never coming; nothing is measured by it
DESK, PHONE = (1280, 900), (390, 844)


@contextmanager
def served(studio: Any) -> Iterator[str]:
    """The address of a page of this studio, as `run.py ui` serves it."""
    import uvicorn

    from facechain_ext.ui.page_server import application

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(application(studio, {}), host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "The server did not start."
        thread.join(0.05)
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.should_exit = True
        thread.join(20)


class Page:
    """One visitor's page, filled by the server. `errors`: what the page's scripts raised."""

    def __init__(
        self, browser: Any, address: str, *, locale: str = "en-US", size: tuple[int, int] = DESK, dark: bool = False, script: str = ""
    ) -> None:
        self.context = browser.new_context(
            locale=locale, viewport={"width": size[0], "height": size[1]}, color_scheme="dark" if dark else "light", accept_downloads=True
        )
        self.context.set_default_timeout(PATIENCE)
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.strangers: list[str] = []
        self.page.add_init_script(script)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.route(re.compile(rf"^https?://(?!({'|'.join(map(re.escape, OWN))})[:/])"), self._stranger)
        self.page.goto(address)
        self.page.wait_for_selector("#facechain-tab-styles .facechain-gallery", state="attached")
        self.page.wait_for_selector("template.facechain-hello", state="attached")

    def _stranger(self, route: Any) -> None:
        self.strangers.append(route.request.url)
        route.abort()

    def part(self, name: str) -> Any:
        """A part of the page by its name."""
        return self.page.locator(f"#facechain-tab-{name}").first

    def do(self, channel: str, value: object = None) -> Any:
        """What sends something through a channel, of what is to be seen."""
        return self.page.locator(f'[data-do="{channel}"]' + (f'[data-value="{value}"]' if value is not None else "") + ":visible").first

    def see(self, selector: str) -> Any:
        """Wait until something is to be seen."""
        found = self.page.locator(selector).first
        found.wait_for(state="visible")
        return found

    def says(self, name: str, text: str) -> str:
        """Wait until a part of the page says something; all that it says."""
        self.page.wait_for_function(
            "([id, text]) => (document.getElementById(id)?.innerText || '').includes(text)", arg=[f"facechain-tab-{name}", text]
        )
        return self.part(name).inner_text()

    def open(self, name: str) -> None:
        """Unfold something, and wait as long as a hand takes: gradio 6 mounts what is inside only now, its values later."""
        self.part(name).locator(".label-wrap").first.click()
        self.page.wait_for_timeout(700)

    def turn(self, number: int) -> None:
        """Another page: 0 Portrait, 1 People, 2 History, 3 Setup."""
        self.page.locator("#facechain-tab-pages [role=tab]").nth(number).click()

    def give(self, drop: str, *files: Path) -> None:
        """Files on a place to drop them."""
        self.part(drop).locator("input[type=file]").set_input_files([str(file) for file in files])

    def number(self, name: str, value: object) -> None:
        """A number typed into a control."""
        field = self.part(name).locator("input[type=number]").first
        field.fill(str(value))
        field.press("Tab")

    def make(self) -> None:
        """Press Make and wait until a new picture is there."""
        before = self.job()
        self.part("make").click()
        self.made(before)

    def job(self) -> str:
        """Whose results are shown."""
        return self.page.evaluate("(document.querySelector('[data-job]') || {dataset: {}}).dataset.job || ''")

    def made(self, before: str) -> None:
        """Wait until the results of another job are there, and one of them is large."""
        script = "(before) => { const shown = document.querySelector('[data-job]'); return shown && shown.dataset.job !== before; }"
        self.page.wait_for_function(script, arg=before)
        self.see("#facechain-tab-results .facechain-selected")

    def shot(self, name: str) -> Path:
        """A picture of the whole page, to be looked at."""
        SCREENS.mkdir(parents=True, exist_ok=True)
        self.page.wait_for_timeout(250)  # what moves comes to rest
        self.page.screenshot(path=str(SCREENS / f"{name}.png"), full_page=True)
        return SCREENS / f"{name}.png"

    def close(self) -> None:
        """The page goes; it must have raised nothing and asked nobody else for anything."""
        self.context.close()
        assert self.errors == []
        assert self.strangers == []
