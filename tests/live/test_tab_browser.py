"""The tab in Chromium, on the running WebUI: photo → portrait → history → img2img, stopping, a dropped LoRA, Chinese."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.test_browser import OWN, PALE, browser, come_in  # noqa: F401  # the fixture of that name
from tests.live.test_pictures import write_lora
from tests.live.test_tab import V1
from tests.live.webui import ASTRONAUT, LORA, WebUI

RGB_ALONE = "(text.match(/rgba?\\([^)]*\\)/g) || []).map(numbers).map(([r, g, b, a = 1]) => [r, g, b, a])"
ANY = """(text.match(/[a-z]+\\([^()]*\\)/g) || []).filter(one => CSS.supports("color", one)).map(one => {
        const brush = new OffscreenCanvas(1, 1).getContext("2d");
        brush.fillStyle = one;
        brush.fillRect(0, 0, 1, 1);
        const [r, g, b, a] = brush.getImageData(0, 0, 1, 1).data;
        return [r, g, b, a / 255];
    })"""
"""Colours of every notation: those that are mixed in the stylesheet are no rgb()."""
PALE_IN_ANY = PALE.replace(RGB_ALONE, ANY)
assert PALE_IN_ANY != PALE
LONG = 120_000  # milliseconds that a small picture may take on a busy machine


class Tab:
    """The page of the WebUI with our tab open."""

    def __init__(self, browser: Any, webui: WebUI, locale: str = "en-US", theme: str = "light", width: int = 1500) -> None:  # noqa: F811
        self.page = browser.new_context(locale=locale, viewport={"width": width, "height": 1300}).new_page()
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.route(re.compile(rf"^https?://(?!({'|'.join(map(re.escape, OWN))}))"), lambda route: route.abort())
        come_in(self.page, webui, theme)
        self.page.wait_for_timeout(3000)
        self.page.locator("#tabs button", has_text=re.compile(r"^\s*FaceChain\s*$")).first.click()
        self.part("root").wait_for(state="visible", timeout=LONG)
        self.page.wait_for_selector("#facechain-tab-styles .facechain-cell", state="attached", timeout=LONG)

    def part(self, name: str) -> Any:
        return self.page.locator(f"#facechain-tab-{name}").first

    def drop(self, name: str, path: Path) -> None:
        self.part(name).locator("input[type=file]").first.set_input_files(str(path))

    def photo(self) -> None:
        self.drop("drop", ASTRONAUT)
        self.page.wait_for_selector("#facechain-tab-photos .facechain-good", timeout=LONG)

    def small(self, steps: int = 2) -> None:
        """Small pictures of few steps."""
        if not self.part("steps").is_visible():
            self.part("fold-size").locator(".label-wrap").first.click()
        for name, value in (("width", 64), ("height", 64), ("steps", steps)):
            field = self.part(name).locator("input[type=number]").first
            field.fill(str(value))
            field.press("Tab")

    def make(self) -> None:
        self.part("make").click()
        self.page.wait_for_selector("#facechain-tab-results .facechain-selected img", timeout=LONG)

    def button(self, text: str) -> Any:
        return self.part("results").locator("button", has_text=text).first


@pytest.fixture
def tab(browser, webui) -> Iterator[Tab]:  # noqa: F811
    before = {one["id"] for one in webui.ask(f"{V1}/history?count=500")["entries"]}
    made = Tab(browser, webui)
    yield made
    made.page.context.close()
    for one in webui.ask(f"{V1}/history?count=500")["entries"]:
        if one["id"] not in before:
            webui.ask(f"{V1}/history/{one['id']}", method="DELETE")


def test_the_tab_is_there_and_opening_it_raises_nothing(tab):
    assert tab.part("first").is_visible() or tab.part("make").is_visible()
    assert tab.page.locator("#facechain-tab-styles .facechain-cell").count() >= 20
    assert tab.errors == []


def test_from_a_photo_to_a_portrait_to_img2img(tab, webui):
    tab.photo()
    tab.small()
    tab.make()
    newest = webui.ask(f"{V1}/history?count=1")["entries"][0]
    assert (newest["width"], newest["height"]) == (64, 64) and "Steps: 2," in newest["info"]
    tab.part("results").locator(".facechain-send", has_text="img2img").first.click()
    tab.page.wait_for_function("!document.querySelector('#facechain-tab-root').offsetParent", timeout=LONG)
    tab.page.wait_for_selector("#tab_img2img", state="visible", timeout=LONG)
    tab.page.wait_for_function(
        "text => document.querySelector('#img2img_prompt textarea').value.includes(text)", arg=newest["prompt"][:40], timeout=LONG
    )
    tab.page.wait_for_function(
        "[...document.querySelectorAll('#img2img_img2img_tab img, #img2img_image img, #img2img_image canvas')]"
        ".some(one => one.naturalWidth === 64 || one.width === 64)",
        timeout=LONG,
    )


def test_the_history_page_shows_it_and_delete_asks(tab, webui):
    tab.photo()
    tab.small()
    tab.make()
    id = webui.ask(f"{V1}/history?count=1")["entries"][0]["id"]
    tab.page.locator("#facechain-tab-pages button", has_text="History").first.click()
    entry = tab.page.locator(f"#facechain-tab-entries [data-do=entry][data-value='{id}']").first
    entry.wait_for(timeout=LONG)
    entry.click()
    delete = tab.page.locator("#facechain-tab-root [data-do=delete-entry]").first
    delete.wait_for(timeout=LONG)
    delete.click()
    asked = tab.page.locator("#facechain-tab-root dialog[open]")
    assert asked.inner_text().strip()
    asked.locator("button").first.click()  # cancel
    assert webui.ask(f"{V1}/history/{id}")["there"]
    delete.click()
    tab.page.locator("#facechain-tab-root dialog[open] .facechain-danger").click()
    tab.page.wait_for_selector(f"#facechain-tab-entries [data-do=entry][data-value='{id}']", state="detached", timeout=LONG)
    assert not [one for one in webui.ask(f"{V1}/history?count=20")["entries"] if one["id"] == id]


def test_escape_stops(tab, webui):
    tab.photo()
    tab.small(150)
    tab.part("make").click()
    tab.page.wait_for_selector("#facechain-tab-stage [data-running] .facechain-status", timeout=LONG)
    tab.page.wait_for_function("/step|\\d/.test(document.querySelector('#facechain-tab-stage .facechain-status').innerText)", timeout=LONG)
    tab.page.keyboard.press("Escape")
    tab.page.wait_for_selector("#facechain-tab-stage .facechain-note", timeout=LONG)
    assert webui.ask(f"{V1}/jobs")["job"]["phase"] == "stopped"


def test_a_reload_finds_the_job_again(tab, browser, webui):  # noqa: F811
    tab.photo()
    tab.small(12)
    tab.part("make").click()
    tab.page.wait_for_selector("#facechain-tab-stage [data-running]", timeout=LONG)
    fresh = Tab(browser, webui)
    fresh.page.wait_for_selector("#facechain-tab-stage [data-running], #facechain-tab-results .facechain-selected img", timeout=LONG)
    fresh.page.wait_for_selector("#facechain-tab-results .facechain-selected img", timeout=LONG)
    fresh.page.context.close()


def test_a_lora_is_dropped_and_becomes_a_style(tab, webui, tmp_path):
    checkpoint = webui.checkpoint()
    file = tmp_path / f"{LORA}.safetensors"
    write_lora(checkpoint, file)
    tab.photo()
    tab.part("own-style").locator(".label-wrap").first.click()
    tab.drop("lora-drop", file)
    tab.page.wait_for_selector("#facechain-tab-lora-seen .facechain-note", timeout=LONG)
    tab.part("own-name").locator("input, textarea").first.fill("Browser Style")
    tab.part("own-prompt").locator("textarea").first.fill("a portrait")
    tab.part("own-save").click()
    try:
        tab.page.wait_for_selector("#facechain-tab-own-said .facechain-note", timeout=LONG)
        made = next(one for one in webui.ask(f"{V1}/styles")["styles"] if one["key"] == "Browser Style")
        assert made["state"] == "bound" and made["lora"].startswith(LORA)
    finally:
        webui.ask(f"{V1}/styles/Browser%20Style", method="DELETE")


def test_chinese_for_a_chinese_browser(browser, webui):  # noqa: F811
    tab = Tab(browser, webui, "zh-CN")
    tab.page.wait_for_function("/生成|制作|历史/.test(document.querySelector('#facechain-tab-root').innerText)", timeout=LONG)
    text = tab.part("root").inner_text()
    assert not re.search(r"\bLikeness\b|\bSteps\b|\bHistory\b|\bMake\b", text), text
    tab.page.context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_word_can_be_read(browser, webui, theme):  # noqa: F811
    tab = Tab(browser, webui, theme=theme)
    tab.photo()
    tab.page.wait_for_timeout(2000)
    assert tab.part("root").evaluate(PALE_IN_ANY) == []
    tab.page.context.close()
