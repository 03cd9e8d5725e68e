"""The panel in Chromium, on the running WebUI. Needs playwright in this environment and a Chromium on the path."""

from __future__ import annotations

import re
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.live.webui import ASTRONAUT, WebUI

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
OWN = ("127.0.0.1", "localhost")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-first-run"]
LONG = 120_000  # milliseconds that a picture may take on a slow machine


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        pytest.fail("The browser tests need playwright: install it into this environment.")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert path, "The browser tests need Chromium on the path."
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield opened
        opened.close()


PALE = """panel => {
    const numbers = text => (text.match(/[\\d.]+/g) || []).map(Number);
    const colours = text => (text.match(/rgba?\\([^)]*\\)/g) || []).map(numbers).map(([r, g, b, a = 1]) => [r, g, b, a]);
    const over = ([r, g, b, a], under) => [r, g, b].map((value, i) => value * a + under[i] * (1 - a));
    const light = rgb => rgb.map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = element => {  // every colour that may lie behind the words: a gradient has several
        if (!element) return [[255, 255, 255]];
        const style = getComputedStyle(element), fill = colours(style.backgroundColor)[0], stops = colours(style.backgroundImage);
        if (stops.length) return stops.map(one => one.slice(0, 3));
        return fill && fill[3] === 1 ? [fill.slice(0, 3)] : behind(element.parentElement).map(under => fill ? over(fill, under) : under);
    };
    const found = [];
    for (const walker = document.createTreeWalker(panel, NodeFilter.SHOW_TEXT); walker.nextNode();) {
        const words = walker.currentNode.textContent.trim(), element = walker.currentNode.parentElement;
        if (!words || element.closest("[disabled], template, .facechain-hidden")) continue;
        if (!element.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
        const box = element.getBoundingClientRect();
        if (!box.width || !box.height) continue;
        const ink = colours(getComputedStyle(element).color)[0];
        const worst = Math.min(...behind(element).map(under => {
            const [bright, dark] = [light(over(ink, under)), light(under)].sort((a, b) => b - a);
            return (bright + 0.05) / (dark + 0.05);
        }));
        if (worst < 4.5) found.push(`${words.slice(0, 40)}: ${worst.toFixed(2)}`);
    }
    return found;
}"""
"""Words in an element whose contrast to what lies behind them is below 4.5, as WCAG reckons it; what is switched off is left out."""


def come_in(page: Any, webui: WebUI, theme: str = "light") -> None:
    """Open the WebUI's page, past its log-in where it has one, until our panel is there."""
    page.set_default_timeout(LONG)  # on a busy machine a mere click may take a minute
    page.goto(f"{webui.url}/?__theme={theme}")
    if webui.account:
        name, _, password = webui.account.partition(":")
        page.get_by_label("username").fill(name)
        page.get_by_label("password").fill(password)
        page.get_by_role("button", name="Login").click()
    page.wait_for_selector("#facechain-txt2img-panel", timeout=LONG)


class Panel:
    """The page of the WebUI with our panel in txt2img open."""

    def __init__(self, browser: Any, webui: WebUI, locale: str = "en-US", theme: str = "light") -> None:
        self.page = browser.new_context(locale=locale, viewport={"width": 1400, "height": 1400}).new_page()
        self.errors: list[str] = []
        self.events: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.events.append(request.url) if request.method == "POST" else None)
        self.page.route(re.compile(rf"^https?://(?!({'|'.join(map(re.escape, OWN))}))"), lambda route: route.abort())
        come_in(self.page, webui, theme)
        self.wait(3)

    def wait(self, seconds: float) -> None:
        self.page.wait_for_timeout(seconds * 1000)

    def part(self, name: str, person: int | None = None) -> Any:
        return self.page.locator(
            "#" + "-".join(map(str, filter(None, ("facechain-txt2img", name, person))))
        ).first  # gradio 3 repeats some ids

    def open(self) -> None:
        """Open the panel by its head, which also switches it on."""
        self.part("panel").locator(".label-wrap").first.click()
        self.part("photos", 1).wait_for(state="visible")
        self.wait(1)

    def photos(self, *paths: Path, person: int = 1) -> None:
        self.part("photos", person).locator("input[type=file]").set_input_files([str(path) for path in paths])
        self.page.wait_for_function(
            f"document.querySelectorAll('#facechain-txt2img-cards-{person} img').length === {len(paths)}", timeout=LONG
        )

    def analyse(self) -> None:
        self.part("analyse", 1).click()
        self.page.wait_for_selector("#facechain-txt2img-cards-1 :is(.facechain-good, .facechain-bad, .facechain-warn)", timeout=LONG)

    def number(self, selector: str, value: float) -> None:
        field = self.page.locator(f"{selector} input[type=number]").first
        field.fill(str(value))
        field.press("Tab")

    def generate(self) -> None:
        """A small picture, until the line below it changes."""
        for name, value in (("steps", 1), ("width", 64), ("height", 64)):
            self.number(f"#txt2img_{name}", value)
        time = "(document.querySelector('#html_log_txt2img .performance') || {}).textContent || ''"
        before = self.page.evaluate(time)
        self.page.locator("#txt2img_generate").click()
        self.page.wait_for_function(f"before => {{ const now = {time}; return now && now !== before; }}", arg=before, timeout=LONG)
        self.wait(4)

    def line(self) -> str:
        return self.part("line").inner_text()


@pytest.fixture
def panel(browser, webui) -> Iterator[Panel]:
    made = Panel(browser, webui)
    yield made
    made.page.context.close()


@pytest.fixture
def noise(tmp_path) -> Path:
    Image.effect_noise((300, 240), 60).convert("RGB").save(tmp_path / "noise.png")
    return tmp_path / "noise.png"


def test_the_panel_is_in_both_tabs_and_loading_it_raises_nothing(panel):
    assert panel.page.locator("#facechain-txt2img-panel").count() == panel.page.locator("#facechain-img2img-panel").count() == 1
    assert panel.errors == []


def test_a_page_that_nobody_touches_asks_the_server_nothing(panel):
    panel.open()
    panel.wait(10)
    panel.events.clear()
    panel.wait(5)
    assert [url for url in panel.events if "progress" not in url] == []


def test_photos_are_shown_and_vetted(panel, noise):
    panel.open()
    panel.photos(ASTRONAUT, noise)
    panel.analyse()
    cards = panel.part("cards", 1).locator(".facechain-card")
    assert "facechain-good" in cards.nth(0).get_attribute("class") and "✓" in cards.nth(0).inner_text()
    assert "facechain-bad" in cards.nth(1).get_attribute("class") and "No face found" in cards.nth(1).inner_text()
    panel.wait(3)
    assert re.search(r"1 person · 1 photo · adapter \d+ MB · about \+\d+ % per step", panel.line()), panel.line()  # noise is left out


def test_a_photo_is_left_out_by_its_button(panel, noise):
    panel.open()
    panel.photos(ASTRONAUT, noise)
    panel.part("cards", 1).locator(".facechain-leave").nth(1).click()
    panel.page.wait_for_function("document.querySelectorAll('#facechain-txt2img-cards-1 img').length === 1", timeout=LONG)
    panel.wait(2)
    assert "1 photo" in panel.line()


def test_a_picture_without_the_face_says_why_beside_the_panel(panel, noise):
    panel.open()
    panel.photos(noise)
    panel.generate()
    assert "without the face" in panel.line() and "No face found in photo 1" in panel.line()
    assert "No face found in photo 1" in panel.page.locator("#html_log_txt2img").first.inner_text()


def test_a_mask_is_painted(panel):
    panel.open()
    panel.photos(ASTRONAUT)
    panel.part("region", 1).locator("input").nth(2).check()
    canvas = panel.page.locator("#facechain-txt2img-panel .facechain-canvas canvas").first
    canvas.wait_for(state="visible")
    panel.wait(2)
    assert "nothing of it is" in panel.line()
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    panel.page.mouse.move(box["x"] + 30, box["y"] + 30)
    panel.page.mouse.down()
    panel.page.mouse.move(box["x"] + 90, box["y"] + 120, steps=5)
    panel.page.mouse.up()
    panel.wait(3)
    assert panel.part("mask", 1).locator("textarea").input_value().startswith("data:image/png;base64,")
    assert "⚠" not in panel.line()


def test_persons_are_added_and_chosen(panel):
    panel.open()
    for number in (2, 3, 4):
        panel.part("add").click()
        panel.part("photos", number).wait_for(state="visible")
    panel.wait(1)
    assert not panel.part("add").is_visible() and not panel.part("photos", 1).is_visible()
    panel.part("person").locator("input").nth(0).check()
    panel.part("photos", 1).wait_for(state="visible")


def test_a_picture_pasted_back_restores_the_panel(panel, webui):
    panel.open()
    panel.photos(ASTRONAUT)
    panel.analyse()
    panel.part("save", 1).locator(".label-wrap").first.click()
    panel.part("save-name", 1).locator("textarea, input").first.fill("Browser Test")
    panel.part("consent", 1).locator("input[type=checkbox]").first.check()
    panel.part("save-button", 1).click()
    panel.page.wait_for_function("document.querySelector('#facechain-txt2img-saved-1').innerText.includes('Browser Test')", timeout=LONG)
    try:
        panel.number("#facechain-txt2img-weight-1", 0.85)
        panel.generate()
        info = panel.page.locator("#html_info_txt2img").first.inner_text()
        assert "FaceChain person 1" in info and "0.85" in info
        fresh = Panel(panel.page.context.browser, webui)
        fresh.page.locator("#txt2img_prompt textarea").fill(info)
        fresh.page.locator("#paste").first.click()
        fresh.wait(5)
        assert fresh.page.locator("#facechain-txt2img-weight-1 input[type=number]").input_value() == "0.85"
        assert "Browser Test" in fresh.part("name", 1).locator("input").input_value()
        assert "Browser Test · weight 0.85" in fresh.part("closed").inner_text() and fresh.part("note").inner_text().strip() == ""
        fresh.page.context.close()
    finally:
        gone = urllib.request.Request(f"{webui.url}/facechain/v1/persons/Browser%20Test", method="DELETE")
        assert urllib.request.urlopen(gone, timeout=60).status == 200


def test_deleting_a_saved_person_asks_first(panel, webui):
    panel.open()
    panel.photos(ASTRONAUT)
    panel.part("save", 1).locator(".label-wrap").first.click()
    panel.part("save-name", 1).locator("textarea, input").first.fill("Browser Gone")
    panel.part("consent", 1).locator("input[type=checkbox]").first.check()
    panel.part("save-button", 1).click()
    panel.page.wait_for_function("document.querySelector('#facechain-txt2img-saved-1').innerText.includes('Browser Gone')", timeout=LONG)
    panel.part("name", 1).locator("input").first.click()
    panel.part("name", 1).locator('[data-testid=dropdown-option][aria-label="Browser Gone"]').first.click()
    panel.wait(3)
    asked: list[str] = []
    for accept in (False, True):
        panel.page.once(
            "dialog", lambda dialog, accept=accept: (asked.append(dialog.message), dialog.accept() if accept else dialog.dismiss())
        )
        panel.part("delete", 1).click()
        panel.wait(3)
        names = [one["name"] for one in webui.ask("/facechain/v1/persons")["persons"]]
        assert ("Browser Gone" in names) is not accept
    assert len(asked) == 2 and "Delete this saved person" in asked[0]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_word_can_be_read(browser, webui, noise, theme):
    panel = Panel(browser, webui, theme=theme)
    panel.open()
    panel.photos(ASTRONAUT, noise)
    panel.analyse()
    panel.part("region", 1).locator("input").nth(2).check()
    for folded in (panel.part("more"), panel.part("save", 1)):
        folded.locator(".label-wrap").first.click()
    panel.wait(3)
    assert panel.part("panel").evaluate(PALE) == []
    panel.page.context.close()


def test_chinese_for_a_chinese_browser(browser, webui, noise):
    panel = Panel(browser, webui, "zh-CN")
    panel.open()
    panel.wait(2)
    text = panel.part("panel").inner_text()
    assert "相似度" in text and "分析照片" in text and "整幅画面" in text and "拖入一张人物照片" in text
    assert not re.search(r"Likeness|Analyse|Saved person|Where|whole picture", text)
    panel.photos(noise)
    panel.analyse()
    assert "没有找到人脸" in panel.part("cards", 1).inner_text()
    panel.page.context.close()
