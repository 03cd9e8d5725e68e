"""What the tab shows in each state that somebody may meet it in, over a studio whose pictures are there at once. Each leaves a picture."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.browser.page import PHONE, served
from tests.fakes.studio import ANNA, BEN, FakeStudio, photo

MISSING_STYLE, THERE_STYLE = "Bleak_autumn", "Autumn_populus"


@pytest.fixture(scope="module")
def studio(tmp_path_factory) -> FakeStudio:
    return FakeStudio(tmp_path_factory.mktemp("studio"))


@pytest.fixture(scope="module")
def address(studio) -> Iterator[str]:
    with served(studio) as found:
        yield found


@pytest.fixture
def empty(studio, tmp_path) -> FakeStudio:
    """The studio as on the first day."""
    studio.__init__(tmp_path / "studio")
    return studio


@pytest.fixture
def lived_in(empty) -> FakeStudio:
    """The studio of somebody who has saved two people and made three pictures."""
    empty.person("Anna", ANNA)
    empty.person("Ben", BEN)
    empty.fill(3)
    return empty


@pytest.fixture
def photos(tmp_path) -> list[Path]:
    """Two photos of one person, one of another, and one without a face."""
    paths = [tmp_path / f"{name}.png" for name in ("one", "two", "other", "wall")]
    for path, content in zip(paths, (photo(ANNA, 1), photo(ANNA, 2), photo(BEN, 3)), strict=False):
        path.write_bytes(content)
    Image.new("RGB", (256, 256), "grey").save(paths[3])
    return paths


def test_first_visit(empty, visit):
    page = visit()
    said = page.says("first", "in three steps")
    assert "8 of 76 styles can be used now" in said and "The adapter adapter_maj is there." in said and "Try the demo person" in said
    assert not page.part("make").is_visible()
    page.shot("first-visit")
    page.do("demo").click()
    page.see(".facechain-photo.facechain-good")
    assert page.part("make").is_visible() and not page.page.locator(".facechain-steps").count()


def test_what_is_no_picture_is_said_on_the_first_visit_too(empty, visit, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    page = visit()
    page.give("drop", tmp_path / "notes.txt")
    assert "notes.txt is not a picture" in page.see("#facechain-tab-who-trouble .facechain-warning").inner_text()
    assert not page.page.locator(".facechain-steps").is_visible()
    page.shot("no-picture")


def test_photos_are_vetted(empty, visit, photos):
    page = visit()
    page.give("drop", photos[3])
    page.see(".facechain-photo.facechain-bad")
    assert "No face found in photo 1" in page.part("photos").inner_text()
    page.shot("no-face")
    page.do("photo", 1).click()
    page.page.wait_for_function("document.querySelectorAll('#facechain-tab-photos .facechain-photo').length === 0")
    page.give("drop", *photos[:3])
    page.see(".facechain-photo.facechain-bad")
    said = page.part("photos").inner_text()
    assert "front, sharp" in said and "another person" in said and "left out" in said
    page.shot("photos-vetted")
    page.do("photo", 3).click()
    page.page.wait_for_function("document.querySelectorAll('#facechain-tab-photos .facechain-photo').length === 2")
    page.page.wait_for_function("document.querySelectorAll('#facechain-tab-photos .facechain-good').length === 2")
    assert "another person" not in page.part("photos").inner_text()


def test_while_pictures_are_made_and_stopped(lived_in, visit):
    lived_in.jobs.holding = True
    page = visit()
    page.do("person", "Anna").click()
    page.number("count", 4)
    page.part("make").click()
    page.see("[data-running] .facechain-preview img")
    page.says("stage", "s left")
    assert "picture 1 of 4 · step" in page.part("stage").inner_text()
    page.shot("generating")
    page.page.keyboard.press("Escape")
    page.says("stage", "Stopped")
    assert lived_in.jobs.made["job1"].phase == "stopped"


def test_results_with_their_likeness(lived_in, visit):
    """By the keyboard: an arrow from Anna to Ben, Enter, Ctrl+Enter; Delete asks."""
    page = visit()
    page.do("style", THERE_STYLE).click()
    page.says("chosen", "uses the LoRA autumn_populus")
    page.number("count", 4)
    page.do("person", "Anna").focus()
    page.page.keyboard.press("ArrowRight")
    page.page.keyboard.press("Enter")
    page.page.wait_for_selector('#facechain-tab-faces [data-value="Ben"][aria-pressed=true]')
    page.page.keyboard.press("Control+Enter")
    page.says("results", "0.71 — like another photo of the same person: 0.58–0.71")
    badges = page.page.locator("#facechain-tab-results .facechain-badge").all_inner_texts()
    assert badges == ["0.71", "0.68", "0.62", "0.49"]
    page.shot("results")
    order = lived_in.jobs.made["job1"].order
    assert (order.person, order.style, order.options.count, order.style_weight) == ("Ben", THERE_STYLE, 4, 0.55)
    page.page.locator('[data-do="result"]').nth(3).click()
    page.says("results", "0.49 — less than another photo of the same person: 0.58–0.71")
    page.page.locator('[data-star="Cheongsam"]').click(force=True)
    page.part("chip").locator("input").nth(3).check(force=True)
    page.page.wait_for_function("document.querySelectorAll('#facechain-tab-styles .facechain-tile').length === 1")
    assert "Cheongsam" in page.part("styles").inner_text()
    page.page.locator('[data-do="result"]').nth(3).focus()
    page.page.keyboard.press("Delete")
    assert "for good" in page.see("dialog[open]").inner_text()


LATE_CLOSING = """
const asked = window.fetch;
window.fetch = async (...what) => {
    const answer = await asked(...what);
    if (!String(what[0].url || what[0]).includes("/queue/data")) return answer;
    const late = new TransformStream({
        async transform(chunk, out) {
            if (new TextDecoder().decode(chunk).includes("close_stream")) await new Promise((then) => setTimeout(then, 1000));
            out.enqueue(chunk);
        },
    });
    return new Response(answer.body.pipeThrough(late), {status: answer.status, headers: answer.headers});
};
"""
"""The server's news that the stream of answers is closed arrives a second late, as on a busy machine."""


def test_no_answer_is_missed_while_the_stream_of_answers_closes(lived_in, visit):
    page = visit(script=LATE_CLOSING)
    page.page.wait_for_timeout(1500)  # what the page asked by itself is answered, and the stream is closed
    page.page.locator('[data-star="Cheongsam"]').click(force=True)
    page.page.wait_for_timeout(600)  # answered, but the page does not know yet that the stream is closed
    page.part("chip").locator("input").nth(3).check(force=True)
    page.page.wait_for_function("document.querySelectorAll('#facechain-tab-styles .facechain-tile').length === 1")
    assert "Cheongsam" in page.part("styles").inner_text()


def joins(page):
    """How many requests to gradio's queue the page has made."""
    return page.page.evaluate("performance.getEntriesByType('resource').filter((one) => /queue.join/.test(one.name)).length")


def test_a_nudge_that_never_began_is_not_waited_for(lived_in, visit):
    """The next thing that is asked is followed by two nudges all the same."""
    page = visit()
    page.page.wait_for_timeout(8000)  # what the page asked by itself, and both nudges, are answered
    page.page.evaluate(
        "document.querySelector('#facechain-tab-nudge').addEventListener('click', (event) => event.stopImmediatePropagation(),"
        " {capture: true, once: true})"
    )
    page.page.locator('[data-star="Cheongsam"]').click(force=True)
    page.page.wait_for_timeout(8000)
    before = joins(page)
    page.page.locator('[data-star="Cheongsam"]').click(force=True)
    page.page.wait_for_timeout(8000)
    assert joins(page) == before + 3, "the click and two nudges"


def test_filters_that_are_changed_at_once_are_all_heard(lived_in, visit, monkeypatch):
    page = visit()
    page.page.wait_for_timeout(1500)  # what the page asked by itself is answered
    known = lived_in.styles
    monkeypatch.setattr(lived_in, "styles", lambda user: (time.sleep(0.7), known(user))[1])
    page.page.locator('[data-star="Cheongsam"]').click(force=True)
    page.page.wait_for_timeout(200)
    page.part("chip").locator("input").nth(3).check(force=True)
    page.page.wait_for_function("document.querySelectorAll('#facechain-tab-styles .facechain-tile').length === 1")
    assert "Cheongsam" in page.part("styles").inner_text()


def test_one_failed_of_four_and_out_of_memory(lived_in, visit):
    lived_in.failing[2] = "The picture came out black: try another seed or size."
    page = visit()
    page.do("person", "Anna").click()
    page.number("count", 4)
    page.make()
    assert "Picture 2 failed: The picture came out black" in page.part("results").inner_text()
    assert page.page.locator("#facechain-tab-results .facechain-thumb").count() == 3
    page.shot("one-failed-of-four")
    lived_in.error = "Not enough memory on the graphics card for 1024×1024: choose a smaller size, or one picture at a time."
    page.part("make").click()
    page.says("stage", "Not enough memory on the graphics card")
    page.shot("out-of-memory")
    assert page.part("count").locator("input").input_value() == "4"
    assert page.page.locator("#facechain-tab-faces [aria-pressed=true]").inner_text() == "Anna"


def test_what_stands_against_an_order(lived_in, visit):
    page = visit()
    page.part("make").click()
    page.says("who-trouble", "neither a photo nor a saved person")
    page.do("person", "Anna").click()
    page.do("style", MISSING_STYLE).click()
    said = page.says("chosen", "bleak_autumn.safetensors is not in")
    assert "Nothing else is used in its place" in said
    page.part("make").click()
    page.says("style-trouble", "not made without its LoRA")
    page.shot("missing-lora")
    page.part("without_lora").locator("input").check()
    lived_in.missing = ("checkpoint",)
    page.part("make").click()
    page.says("make-trouble", "This checkpoint is SDXL")
    assert lived_in.jobs.made == {}
    page.shot("wrong-checkpoint")
    lived_in.missing = ()
    page.make()
    assert lived_in.jobs.made["job1"].order.options.without_lora


def test_history(empty, visit):
    page = visit()
    page.turn(2)
    page.says("entries", "Nothing made yet")
    page.shot("history-0")
    empty.fill(3)
    page.turn(0)
    page.turn(2)
    page.says("entries", "1–3 of 3")
    page.do("entry").click()
    said = page.says("entry-shown", "Negative prompt")
    assert "a portrait" in said and "Steps" in said
    page.shot("history-3")
    page.do("delete-entry").click()
    page.see("dialog[open]")
    page.shot("delete-asked")
    page.page.keyboard.press("Escape")
    page.page.wait_for_selector("dialog", state="detached")
    assert len(list((empty.folder / "outputs").rglob("0*.png"))) == 3
    page.do("delete-entry").click()
    page.see("dialog[open] .facechain-danger").click()
    page.says("entries", "1–2 of 2")
    assert len(list((empty.folder / "outputs").rglob("0*.png"))) == 2


def test_a_long_history_is_turned_and_filtered(empty, visit):
    empty.fill(500)
    page = visit()
    page.turn(2)
    page.says("entries", "1–24 of 500")
    page.do("turn", "next").click()
    page.says("entries", "25–48 of 500")
    page.do("turn", "previous").click()
    page.says("entries", "1–24 of 500")
    page.do("entry").click()
    page.see("#facechain-tab-entry-shown .facechain-selected")
    page.shot("history-500")
    page.part("filter-person").locator("input").click()
    page.page.get_by_role("option", name="Ben").click()
    page.says("entries", "1–24 of 250")
    since = page.see("#facechain-tab-filter-since input[type=date]")
    since.fill("2100-01-01")
    page.says("entries", "Nothing")
    since.fill("")
    page.says("entries", "1–24 of 250")
    page.part("filter-until").locator("input[type=date]").fill("2001-12-31")
    page.says("entries", "Nothing")
    page.shot("history-dates")


def test_nobodys_name_is_translated(lived_in, visit):
    """Words of the dictionary that somebody has chosen as a name stay in every place; the page's own change with the language."""
    lived_in.person("Save", ANNA)
    lived_in.person("Style", BEN)
    page = visit(locale="zh-CN")
    page.page.wait_for_function("document.querySelector('#facechain-tab-make').textContent.includes('生成')")
    page.turn(1)
    page.page.wait_for_function("document.querySelector('#facechain-tab-add').textContent.trim() === '保存'")
    page.do("someone", "Save").click()
    page.says("person-shown", "Save")
    page.part("merge-with").locator("input").click()
    page.page.get_by_role("option", name="Style").wait_for()
    page.page.wait_for_timeout(900)  # three rounds of the page's script
    assert page.page.get_by_role("option", name="Style").count() == 1
    names = page.page.locator('#facechain-tab-people [data-do="someone"]').all_inner_texts()
    assert [name.strip() for name in names] == ["Anna", "Ben", "Save", "Style"]
    assert page.page.locator("#facechain-tab-person-shown h4").inner_text() == "Save"
    page.shot("chinese-person-called-save")


CONTRAST = """
() => {
    const pen = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    const rgba = (text) => {
        pen.clearRect(0, 0, 1, 1);
        pen.fillStyle = text;
        pen.fillRect(0, 0, 1, 1);
        return [...pen.getImageData(0, 0, 1, 1).data];
    };
    const linear = (value) => (value <= 10 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
    const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    const behind = (one) => {
        for (; one; one = one.parentElement) {
            const colour = rgba(getComputedStyle(one).backgroundColor);
            if (colour[3] > 250) return colour;
        }
        return [255, 255, 255, 255];
    };
    const found = [], walker = document.createTreeWalker(document.querySelector("#facechain-tab-root"), NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        const one = node.parentElement, seen = one.checkVisibility({opacityProperty: true, visibilityProperty: true});
        if (!seen || !node.textContent.trim() || one.getBoundingClientRect().width < 3) continue;
        if (one.closest(".facechain-hidden, [data-testid=status-tracker], .facechain-star")) continue;
        const a = light(rgba(getComputedStyle(one).color)), b = light(behind(one));
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) found.push(`${node.textContent.trim().slice(0, 30)}: ${ratio.toFixed(2)}`);
    }
    return found;
}
"""
"""Texts that are to be seen, and their contrast with what is behind them where it is less than 4.5 (WCAG's formula)."""


@pytest.mark.parametrize("dark", [False, True])
def test_everything_can_be_read(lived_in, visit, dark, photos):
    page = visit(dark=dark)
    page.do("person", "Anna").click()
    page.do("style", MISSING_STYLE).click()
    page.says("chosen", "bleak_autumn")
    for fold in ("words", "fold-size", "face-more"):
        page.open(fold)
    page.part("make").click()
    page.says("style-trouble", "not made without")
    page.page.wait_for_timeout(300)
    assert page.page.evaluate(CONTRAST) == []
    page.part("without_lora").locator("input").check()
    page.number("count", 2)
    page.make()
    page.page.wait_for_timeout(300)
    assert page.page.evaluate(CONTRAST) == []
    page.shot("dark" if dark else "light")
    for number, selector in ((1, "#facechain-tab-people button"), (2, "#facechain-tab-entries button"), (3, "#facechain-tab-there li")):
        page.turn(number)
        page.see(selector)
        page.page.wait_for_timeout(300)
        assert page.page.evaluate(CONTRAST) == []
    assert "cannot be switched off" not in page.says("safety", "no checker's weights")
    page.shot("setup-dark" if dark else "setup")


def test_phone(lived_in, visit):
    page = visit(size=PHONE)
    page.do("person", "Anna").click()
    page.see("#facechain-tab-faces [aria-pressed=true]")
    bar = page.part("makebar").bounding_box()
    assert bar and bar["y"] + bar["height"] <= PHONE[1] + 1 and bar["y"] > PHONE[1] - 140
    wide = page.page.evaluate("document.documentElement.scrollWidth")
    assert wide <= PHONE[0]
    page.page.screenshot(path=str(page.shot("phone").with_name("phone-window.png")))
    page.turn(2)
    page.do("entry").click()
    page.see("#facechain-tab-entry-shown .facechain-selected")
    page.shot("phone-history")


def test_chinese(lived_in, visit):
    page = visit(locale="zh-CN")
    page.page.wait_for_function("document.querySelector('#facechain-tab-make').textContent.includes('生成')")
    page.do("person", "Anna").click()
    page.do("style", MISSING_STYLE).click()
    page.says("chosen", "没有此风格的 LoRA")
    page.open("words")
    page.number("count", 2)
    page.do("style", THERE_STYLE).click()
    page.says("chosen", "使用 LoRA")
    page.make()
    page.says("results", "与本人的另一张照片相当")
    page.shot("chinese")
    text = page.page.inner_text("#facechain-tab-root")
    assert not any(word in text for word in ("Likeness", "Results", "Style", "Pictures", "Prompt", "Make", "Drop"))
    for number, name in ((1, "people"), (2, "history"), (3, "setup")):
        page.turn(number)
        page.page.wait_for_timeout(500)
        page.shot(f"chinese-{name}")


def test_people_travel_as_a_file(lived_in, visit, photos):
    page = visit()
    page.turn(1)
    page.do("someone", "Anna").click()
    page.says("person-shown", "states that the pictured person agreed")
    page.give("new-drop", *photos[:3])
    page.see("#facechain-tab-new-photos .facechain-bad")
    with page.page.expect_download() as given:
        page.do("export-people", "").click()
    assert given.value.suggested_filename == "people.zip"
    file = photos[0].with_name("people.zip")
    given.value.save_as(file)
    page.shot("people")
    lived_in.library("local").delete("Ben")
    page.give("people-drop", file)
    page.says("people", "Taken in: Anna, Ben")
    assert [one.name for one in lived_in.library("local").people()] == ["Anna", "Ben"]


def test_settings_that_are_somebody_elses_cannot_be_touched(lived_in, visit):
    why = "Only anna, the first account, can change this."
    lived_in.frozen = dict.fromkeys(("check", "adapter", "analyser", "outputs"), why)
    page = visit()
    page.turn(3)
    page.says("settings-fixed", why)
    assert page.part("setting-outputs").locator("input, textarea").first.is_disabled()
    assert page.part("setting-check").locator("input").is_disabled()
    assert styled(page, "#facechain-tab-setting-outputs :is(input, textarea)", "borderTopStyle") == "dashed"
    assert styled(page, "#facechain-tab-setting-adapter .wrap:has(> .wrap-inner)", "borderTopStyle") == "dashed"
    assert styled(page, "#facechain-tab-setting-adapter input", "borderTopWidth") == "0px", "a list has one line around it"
    page.number("setting-steps", 12)
    page.part("settings-save").click()
    page.says("settings-said", "The settings are kept")
    assert lived_in.settings().steps == 12
    page.shot("settings-fixed")


def test_what_is_chosen_is_seen_where_nothing_can_be_changed(lived_in, visit):
    lived_in.frozen = dict.fromkeys(("language", "steps", "sampler", "weight", "check", "adapter", "analyser", "outputs"), "Frozen.")
    page = visit()
    page.turn(3)
    page.says("settings-frozen", "Frozen.")
    chosen, other = (f"#facechain-tab-setting-language input{which}" for which in (":checked", ":not(:checked)"))
    assert styled(page, chosen, "backgroundColor") != styled(page, other, "backgroundColor")
    assert page.part("settings-save").is_disabled()
    page.shot("settings-frozen")


def styled(page, selector: str, name: str) -> str:
    """How something is drawn."""
    return page.page.evaluate("([selector, name]) => getComputedStyle(document.querySelector(selector))[name]", [selector, name])
