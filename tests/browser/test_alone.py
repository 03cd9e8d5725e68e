"""The tab on the studio without a WebUI: real files, a real index, the small random demo model. Each test leaves a picture."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import save_file

from facechain_ext.app import App, Choice
from facechain_ext.ui.studio_alone import StudioAlone
from tests.browser.page import served
from tests.hosts.standalone_cases import demo, host, kohya_lora

ASTRONAUT = Path(__file__).parents[2] / "examples" / "astronaut.png"
STEPS = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("alone")


@pytest.fixture(scope="module")
def address(folder) -> Iterator[str]:
    """The page of a studio with the random demo's files as if given, so that nothing depends on whether a trained one is there."""
    checkpoint, encoder, adapter = demo()
    choice = Choice(
        checkpoint=checkpoint, encoder=encoder, adapter=adapter, analyser="embedded", device="cpu", dtype="fp32", models=folder / "models",
        scratch=folder,
    )  # fmt: skip
    with served(StudioAlone(App(choice), folder / "data")) as found:
        yield found


def results(folder: Path) -> list[Path]:
    return sorted((folder / "data" / "outputs").rglob("0*.png"))


def test_photo_style_portrait_history_again_delete(visit, folder):
    page = visit()
    assert "three steps" in page.says("first", "three steps")
    page.give("drop", ASTRONAUT)
    page.see(".facechain-photo.facechain-good")
    page.part("search").locator("input, textarea").fill("hanfu winter")
    page.page.wait_for_function("document.querySelectorAll('#facechain-tab-styles .facechain-tile').length === 1")
    page.do("style").click()
    page.says("chosen", "is not in")
    page.part("without_lora").locator("input").check()
    page.open("fold-size")
    page.part("fold-size").locator("#facechain-tab-steps input[type=number]").fill(str(STEPS))
    page.page.keyboard.press("Tab")
    page.number("count", 2)
    page.make()
    made = results(folder)
    assert len(made) == 2
    texts = Image.open(made[0]).text
    info = texts["parameters"]
    assert f"Steps: {STEPS}," in info and "winter hanfu" in info and "FaceChain weight: 0.5" in info
    assert "AI-generated" in " ".join(texts.values())
    page.shot("alone-results")
    with page.page.expect_download() as given:
        page.page.locator("[data-save]:visible").click()
    assert given.value.suggested_filename in {one.name for one in made}
    assert Path(given.value.path()).read_bytes() in {one.read_bytes() for one in made}

    page.turn(2)
    page.says("entries", "1–2 of 2")
    page.do("entry").click()
    assert f"{STEPS}" in page.says("entry-shown", "winter hanfu")
    page.shot("alone-history")
    before = page.job()
    page.do("again").click()
    page.made(before)
    assert page.part("make").is_visible()
    first, _, third = results(folder)
    assert len(results(folder)) == 3
    twin = next(one for one in made if one.stem.rpartition("-")[2] == third.stem.rpartition("-")[2])
    assert Image.open(twin).tobytes() == Image.open(third).tobytes() and first.exists()

    page.see("#facechain-tab-results .facechain-selected")
    page.do("delete-result").click()
    page.see("dialog[open] .facechain-danger").click()
    page.page.wait_for_function("document.querySelectorAll('#facechain-tab-results .facechain-thumb').length === 0")
    assert results(folder) == made


def test_a_person_is_added_and_used(visit, folder):
    page = visit()
    page.turn(1)
    page.says("people", "Nobody is saved yet")
    page.give("new-drop", ASTRONAUT)
    page.see("#facechain-tab-new-photos .facechain-good")
    page.part("add-name").locator("input, textarea").fill("Eileen")
    page.part("add").click()
    page.says("add-trouble", "agree")
    assert not (folder / "data" / "people").exists()
    page.part("add-consent").locator("input").check()
    page.part("add").click()
    page.says("person-shown", "Eileen")
    assert [one.name for one in (folder / "data" / "people").iterdir()] == ["Eileen.safetensors"]
    page.shot("alone-person-added")
    page.page.locator("#facechain-tab-person-shown [data-do=person]").click()
    page.see('#facechain-tab-faces [data-value="Eileen"][aria-pressed=true]')
    before = len(results(folder))
    page.open("fold-size")
    page.part("fold-size").locator("#facechain-tab-steps input[type=number]").fill(str(STEPS))
    page.page.keyboard.press("Tab")
    page.make()
    assert len(results(folder)) == before + 1 and list((folder / "data" / "outputs").rglob("Eileen"))
    page.shot("alone-person-used")

    page.turn(1)
    page.do("someone", "Eileen").click()
    page.do("delete-person").click()
    page.see("dialog[open] .facechain-danger").click()
    page.says("people", "Eileen is deleted")
    assert not any((folder / "data" / "people").iterdir())


def test_a_lora_is_dropped_in_and_becomes_a_style(visit, folder, tmp_path):
    networks, file = host().networks, tmp_path / "glow.safetensors"
    tags = {"ss_output_name": "glow_v1", "ss_tag_frequency": json.dumps({"a": {"glowing light": 9}})}
    save_file(kohya_lora(networks.unet, networks.text_encoder), str(file), tags)
    page = visit()
    page.open("own-style")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    page.give("lora-drop", tmp_path / "broken.safetensors")
    page.says("own-trouble", "no safetensors file")
    page.give("lora-drop", file)
    assert "glowing light" in page.says("lora-seen", "a LoRA that fits")
    assert (folder / "models" / "Lora" / "glow.safetensors").is_file()
    assert page.part("own-prompt").locator("textarea").input_value() == "glowing light"
    page.part("own-name").locator("input, textarea").fill("Glow")
    page.part("own-save").click()
    page.says("own-said", "Glow is among your styles")
    page.do("style", "Glow").click()
    page.says("chosen", "uses the LoRA glow")
    page.shot("alone-own-style")
    page.give("drop", ASTRONAUT)
    page.see(".facechain-photo.facechain-good")
    page.open("fold-size")
    page.part("fold-size").locator("#facechain-tab-steps input[type=number]").fill(str(STEPS))
    page.page.keyboard.press("Tab")
    page.make()
    info = Image.open(results(folder)[-1]).text["parameters"]
    assert "glowing light" in info and "<lora:glow:0.8>" in info
    saved = json.loads((folder / "data" / "styles" / "Glow.json").read_text(encoding="utf-8"))
    assert "thumbnail" not in saved


def test_the_language_is_switched(visit):
    page = visit()
    page.turn(3)
    page.see("#facechain-tab-setting-language")
    try:
        page.part("setting-language").locator("input").nth(2).check()
        page.part("settings-save").click()
        page.page.wait_for_function("document.querySelector('#facechain-tab-settings-save').innerText === '保存设置'")
        page.shot("alone-chinese")
        fresh = visit()
        fresh.page.wait_for_function("document.querySelector('#facechain-tab-make').textContent.includes('生成')")
    finally:
        page.part("setting-language").locator("input").nth(0).check()
        page.part("settings-save").click()
        page.page.wait_for_function("document.querySelector('#facechain-tab-settings-save').innerText === 'Save the settings'")


def test_an_error_is_shown_where_it_belongs(visit, tmp_path):
    page = visit()
    Image.new("RGB", (200, 200), "grey").save(tmp_path / "wall.png")
    page.give("drop", tmp_path / "wall.png")
    page.see(".facechain-photo.facechain-bad")
    page.part("make").click()
    page.says("stage", "No face found in photo 1")
    page.shot("alone-error")
    (tmp_path / "text.png").write_text("no picture")
    page.give("drop", tmp_path / "text.png")
    page.says("who-trouble", "text.png is not a picture")
    assert page.page.locator(".facechain-photo").count() == 1, "what is no picture is not taken"
