"""The tab over strict fakes: only what gradio 3.41, 4.40 and 6 all have is used, and what is pressed becomes the order it stands for."""

from __future__ import annotations

import hashlib
import html
import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from facechain_ext.errors import NoFace
from facechain_ext.store.names import NOBODY
from facechain_ext.store.records import Wanted
from facechain_ext.ui.door import Door
from facechain_ext.workflows.own_styles import own_style
from tests.fakes.page import Page, Request
from tests.fakes.studio import ANNA, BEN, FakeStudio, drawn, photo
from tests.ui.test_api_studio import lora


class Visit:
    """A page with what it shows; events are fired as a browser would."""

    def __init__(self, studio: FakeStudio, language: str = "en") -> None:
        from facechain_ext.ui.tab import Tab

        self.studio, self.request, self.values = studio, Request(language), {}
        self.tab = Tab(studio)
        self.sent = 0

    def __getitem__(self, name: str) -> Any:
        part = self.tab.wires[name]
        return self.values.get(part, part.value)

    def set(self, name: str, value: Any, event: str = "change") -> None:
        """A value that somebody enters."""
        part = self.tab.wires[name]
        self.values[part] = value
        getattr(part, event).fire(self.values, self.request)

    def do(self, channel: str, value: object = "") -> None:
        """Something is pressed that the server wrote."""
        self.sent += 1
        self.set(f"do-{channel}", f"{value}\n{self.sent}")

    def press(self, name: str) -> None:
        self.tab.wires[name].click.fire(self.values, self.request)

    def drop(self, name: str, *files: Path) -> None:
        """Files as gradio 3 hands them over."""
        self.set(name, [SimpleNamespace(name=str(file)) for file in files], "upload")

    def order(self) -> Any:
        return list(self.studio.jobs.made.values())[-1].order


def keys(photos: list[Path]) -> list[str]:
    """What the page keeps of photos: the hash of each."""
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in photos]


@pytest.fixture
def studio(host, tmp_path, monkeypatch) -> FakeStudio:
    """host: gradio and the WebUI's modules."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    made = FakeStudio(tmp_path / "studio")
    made.person("Anna", ANNA)
    made.person("Ben", BEN)
    return made


@pytest.fixture
def visit(studio) -> Visit:
    return Visit(studio)


@pytest.fixture
def photos(tmp_path) -> list[Path]:
    paths = [tmp_path / f"{look}.png" for look in range(8)]
    for look, path in enumerate(paths):
        path.write_bytes(photo(ANNA, look, 120))
    return paths


def test_the_page_is_built_and_nothing_of_it_is_saved_as_a_default(studio):
    from facechain_ext.ui.tab import build

    build(studio)
    named = [one.elem_id for one in Page.made if one.elem_id]
    assert len(named) == len(set(named))
    assert all(one.do_not_save_to_config for one in Page.made)


def test_what_is_typed_before_the_page_is_filled_stays(visit):
    """The answer to the arrival may come late; it writes only what the settings changed since the page was built."""
    visit.set("steps", 3)
    visit.press("arrive")
    assert visit.values[visit.tab.wires["steps"]] == 3
    visit.studio.set_settings(replace(visit.studio.settings(), steps=17))
    visit.press("arrive")
    assert visit.values[visit.tab.wires["steps"]] == 17


def test_a_page_that_arrives_is_filled(visit):
    visit.press("arrive")
    assert "three steps" in visit["first"] and "Anna" in visit["faces"] and visit["styles"].count("facechain-tile") == 24
    assert 'data-language="en"' in visit["hello"] and visit["job"] == "" and "No openpose" in visit["pose-zone"]
    assert visit["steps"] == 30 and visit["width"] == 256


def test_setup_promises_a_check_of_pictures_only_where_there_is_one(visit, monkeypatch):
    visit.press("arrive")
    assert "no checker" in visit["safety"] and "always checked" not in visit["safety"]
    monkeypatch.setattr(visit.studio, "checker", lambda: SimpleNamespace(name="eyes"))
    visit.press("arrive")
    assert "always checked" in visit["safety"]


def test_photos_come_and_go(visit, photos):
    visit.drop("drop", *photos[:2])
    assert visit["files"] == keys(photos[:2]) and visit["drop"] is None and visit["first"] == ""
    assert visit["photos"].count("facechain-good") == 2
    visit.drop("drop", *photos[2:7])
    assert "7 photos: 6 are the most" in visit["who-trouble"] and len(visit["files"]) == 2 and visit["drop"] is None
    visit.do("photo", 1)
    assert visit["files"] == keys(photos[1:2]) and visit["who-trouble"] == ""
    visit.drop("drop", photos[1], photos[2], photos[2])
    assert visit["files"] == keys(photos[1:3]), "each once"
    visit.do("person", "Anna")
    assert visit["files"] == [] and visit["person"] == "Anna" and visit["photos"] == ""
    visit.do("person", "Anna")
    assert visit["person"] == ""
    visit.do("demo", 1)
    assert visit["files"] == ["demo:0", "demo:1"]


def test_a_style_fills_the_words_and_keeps_what_was_written(visit):
    visit.do("style", "Autumn_populus")
    assert "autumn populus" in visit["prompt"] and "girl" not in visit["prompt"]
    assert visit["style-weight"] == 0.55 and visit.tab.wires["style-weight"].visible
    assert not visit.tab.wires["without_lora"].visible
    visit.do("style", "Deer_girl")
    before = visit["prompt"]
    visit.set("subject", "man")
    assert visit["prompt"] != before and "man" in visit["prompt"] and visit.tab.wires["without_lora"].visible
    visit.set("prompt", "my own words")
    visit.set("subject", "woman")
    assert visit["prompt"] == "my own words"
    visit.do("style", "Deer_girl")
    assert visit["style"] == "" and visit["prompt"] == "my own words"


def test_words_that_suit_the_model_give_way_to_a_style_and_come_back(studio):
    begin = replace(studio.defaults(), prompt="a photo of a person, smiling", negative="", template="plain")
    studio.defaults = lambda user="": begin
    visit = Visit(studio)
    assert (visit["prompt"], visit["negative"], visit["template"]) == ("a photo of a person, smiling", "", "plain")
    visit.do("style", "Autumn_populus")
    assert "autumn populus" in visit["prompt"]
    visit.do("person", "Ben")
    visit.press("make")
    options = visit.order().options
    assert (options.prompt, options.negative) == ("", ""), "the style's words, and none against"
    visit = Visit(studio)
    visit.do("style", "Autumn_populus")
    visit.do("style", "Autumn_populus")
    assert (visit["style"], visit["prompt"], visit["negative"]) == ("", "a photo of a person, smiling", "")
    visit.do("person", "Ben")
    visit.press("make")
    options = visit.order().options
    assert (options.prompt, options.negative, options.template) == ("a photo of a person, smiling", "", "plain")


def test_styles_that_can_be_made_stand_first(visit):
    """One has its LoRA, seven are words alone; each of the others carries a mark."""
    visit.press("arrive")
    cells = visit["styles"].split("facechain-cell")[1:]
    assert ["facechain-off" in one for one in cells] == [False] * 8 + [True] * 16


@pytest.mark.parametrize(
    ("filters", "amount"),
    [
        ({"search": "hanfu winter"}, 1), ({"search": "秋日"}, 1), ({"search": "nothing of that kind"}, 0), ({"chip": "installed"}, 1),
        ({"chip": "mine"}, 0), ({"do-favourites": "Deer_girl\tCartoon\n1"}, 24), ({"do-more-styles": "24\n1"}, 48),
        ({"do-favourites": "Deer_girl\tCartoon\n1", "chip": "favourites"}, 2),
    ],
)  # fmt: skip
def test_the_gallery_is_filtered(visit, filters, amount):
    visit.press("arrive")
    for name, value in filters.items():
        visit.set(name, value)
    assert visit["styles"].count("facechain-tile") == amount


def test_what_is_chosen_becomes_the_order(visit):
    visit.do("person", "Ben")
    visit.do("style", "Autumn_populus")
    visit.set("style-weight", 0.7)
    visit.set("lora-1", "film")
    visit.set("lora-weight-1", 0.4)
    assert visit.tab.wires["lora-row-2"].visible
    for name, value in {"count": 2, "steps": 12.0, "seed": 7, "until": 0, "hires": 1.5, "choose": "best", "most": 4.0, "cfg": 5}.items():
        visit.set(name, value)
    visit.press("make")
    order = visit.order()
    assert (order.person, order.photos, order.style, order.style_weight, order.loras) == (
        "Ben",
        (),
        "Autumn_populus",
        0.7,
        (("film", 0.4),),
    )
    options = order.options
    assert (options.count, options.steps, options.seed, options.until, options.hires) == (2, 12, 7, None, 1.5)
    assert (options.choose, options.most) == ("best", 4)
    assert options.prompt == "" and options.negative is None and options.cfg == 5.0  # the style's own words are fitted to the person
    assert "data-running" in visit["stage"] and visit["job"] == "job1"


def test_the_finish_is_the_hosts_to_offer(visit, studio):
    """Without a WebUI there is no face restorer, and the control says so; where there are some, none is chosen."""
    assert visit.tab.wires["restore"].interactive is False and "None is here" in visit.tab.wires["restore"].given["info"]
    studio.host.restorers = lambda: ["CodeFormer", "GFPGAN"]
    page = Visit(studio)
    restore = page.tab.wires["restore"]
    assert restore.interactive is True and restore.choices == ["—", "CodeFormer", "GFPGAN"] and page["restore"] == "—"
    page.do("person", "Anna")
    page.press("make")
    assert (page.order().options.restore, page.order().options.finish) == ("", 1.0)
    for name, value in {"restore": "GFPGAN", "finish": 2, "finish_upscaler": "Lanczos"}.items():
        page.set(name, value)
    page.press("make")
    options = page.studio.jobs.made["job2"].order.options
    assert (options.restore, options.finish, options.finish_upscaler) == ("GFPGAN", 2.0, "Lanczos")


def test_words_of_ones_own_go_with_the_order(visit):
    visit.do("person", "Ben")
    visit.do("style", "Autumn_populus")
    visit.set("prompt", "in a garden")
    visit.press("make")
    assert visit.order().options.prompt == "in a garden"


def test_what_was_done_other_than_ordered_stands_beside_the_picture(visit):
    visit.studio.noted = "The WebUI could not load the upscaler <x> and enlarged the picture by Lanczos instead: look."
    visit.do("person", "Anna")
    visit.set("count", 1)
    visit.press("make")
    for _ in range(9):
        visit.press("tick")
    assert '<p class="facechain-warning">⚠ The WebUI could not load the upscaler &lt;x&gt; and enlarged' in visit["results"]


def test_a_picture_without_a_face_is_not_passed_off_as_a_good_one(visit, monkeypatch):
    monkeypatch.setattr("tests.fakes.studio.LIKENESS", (None, 0.62))
    visit.do("person", "Anna")
    visit.set("count", 1)
    visit.press("make")
    for _ in range(9):
        visit.press("tick")
    faceless = '<p class="facechain-warning">⚠ No face was found in this picture.</p>'
    assert faceless in visit["results"] and 'alt="Picture 1: no face was found in it"' in visit["results"]
    assert '<span class="facechain-badge">⚠</span>' in visit["results"]
    visit.do("entry", 1)
    assert faceless in visit["entry-shown"] and "facechain-likeness" not in visit["entry-shown"]


def test_why_a_picture_of_the_history_is_blurred_is_said(visit, studio):
    """It has no likeness either, but not for want of a face."""
    from facechain_ext.store.records import Record

    info = "a portrait\nSteps: 20, Seed: 1, FaceChain withheld: the eyes, Version: FaceChain"
    studio.history().add(drawn(BEN, 1), Record(user=NOBODY, info=info, prompt="a portrait", seed=1, person="", style="", likeness=None))
    visit.do("entry", 1)
    assert "the check for nudity (the eyes) objected to it" in visit["entry-shown"] and "No face" not in visit["entry-shown"]


def test_a_job_is_watched_to_its_end(visit):
    visit.do("person", "Anna")
    visit.set("count", 3)
    visit.press("make")
    for _ in range(20):
        visit.press("tick")
    assert "data-running" not in visit["stage"] and visit["results"].count("facechain-thumb") == 3
    assert "0.68 — like another photo of the same person: 0.58–0.71" in visit["results"]
    picked = visit["picked"]
    visit.do("delete-result", picked)
    assert visit["results"].count("facechain-thumb") == 2 and visit["picked"] != picked
    fresh = Visit(visit.studio)
    fresh.press("arrive")
    assert fresh["job"] == "job1" and fresh["results"].count("facechain-thumb") == 2
    for _ in range(2):
        assert "Your pictures appear here" not in visit["results"]
        visit.do("delete-result", visit["picked"])
    assert "Your pictures appear here" in visit["results"], "no bare page once the last one is gone"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"phase": "waiting"}, "beginning …"), ({"phase": "waiting", "ahead": 2}, "waiting: 2 before this one"),
        ({"phase": "painting", "pictures": 2}, "beginning …"),
        ({"phase": "painting", "pictures": 2, "picture": 1, "step": 3, "steps": 30}, "picture 1 of 2 · step 3 of 30"),
        ({"phase": "painting", "pictures": 1, "picture": 1, "step": 3, "steps": 30}, "step 3 of 30"),
    ],
)  # fmt: skip
def test_where_the_work_is_is_said(changes, said):
    from facechain_ext.ui.jobs import State
    from facechain_ext.ui.tab_pictures import where
    from facechain_ext.workflows.orders import MakingOptions, Order

    assert where(State(id="1", user="local", order=Order(options=MakingOptions(), person="Anna"), **changes), "en") == said


def test_a_page_that_comes_back_shows_the_first_job_and_no_steps(visit, studio):
    visit.do("person", "Anna")
    visit.press("make")
    fresh = Visit(studio)
    assert studio.history().amount(Wanted(user="local")) == 0, "nothing is finished yet"
    fresh.press("arrive")
    assert fresh["first"] == "" and "facechain-running" in fresh["stage"]


def test_a_picture_is_skipped_and_a_job_stopped(visit):
    visit.do("person", "Anna")
    visit.set("count", 3)
    visit.press("make")
    for _ in range(3):
        visit.press("tick")
    assert "Skip this one" in visit["stage"] and "picture 1 of 3 · step 15 of 30" in visit["stage"]
    visit.do("skip", "job1")
    visit.press("tick")
    assert "picture 2 of 3" in visit["stage"] and visit["results"].count("facechain-thumb") == 0
    visit.do("stop", "job1")
    visit.press("tick")
    assert "Stopped" in visit["stage"] and "data-running" not in visit["stage"]


def test_a_pose_is_shown_with_its_skeleton_and_goes_with_the_order(visit, photos):
    visit.drop("pose-drop", photos[0])
    assert "No openpose ControlNet" in visit["pose-trouble"] and visit["pose"] == ""
    visit.studio.poses_possible = lambda: ""
    visit.press("arrive")
    assert 'data-drop="pose-drop"' in visit["pose-zone"]
    visit.drop("pose-drop", photos[0])
    assert visit["pose-seen"].count("<img") == 2 and visit["pose-trouble"] == ""
    visit.set("pose-weight", 0.6)
    visit.do("person", "Anna")
    visit.press("make")
    assert visit.order().pose.data == photos[0].read_bytes() and visit.order().pose_weight == 0.6
    visit.do("no-pose", 1)
    assert visit["pose"] == "" and visit["pose-seen"] == ""


def test_what_stands_against_an_order_is_said_beside_it(visit):
    visit.press("make")
    assert "neither a photo nor a saved person" in visit["who-trouble"]
    visit.do("person", "Anna")
    visit.do("style", "Cartoon")
    visit.press("make")
    assert "not made without its LoRA" in visit["style-trouble"] and visit["who-trouble"] == "" and visit.studio.jobs.made == {}
    visit.set("without_lora", True)
    visit.studio.missing = ("adapter",)
    visit.press("make")
    assert "No FaceChain adapter" in visit["make-trouble"] and visit.studio.jobs.made == {}
    visit.studio.missing = ()
    visit.press("make")
    assert visit["make-trouble"] == "" and visit.order().options.without_lora


def test_whatever_goes_wrong_is_said_and_leaves_the_page(visit, monkeypatch):
    visit.do("person", "Anna")
    monkeypatch.setattr(visit.studio.jobs, "start", lambda user, order: 1 / 0)
    visit.press("make")
    assert "should not have" in visit["make-trouble"] and visit["person"] == "Anna" and visit["job"] == ""


def test_the_history_is_asked_as_filtered(visit, monkeypatch):
    asked: list[Wanted] = []
    history = visit.studio.history()
    monkeypatch.setattr(history, "amount", lambda wanted: asked.append(wanted) or 0)
    visit.set("filter-person", "Anna")
    visit.set("filter-least", 0.5)
    visit.set("filter-since", "2026-01-31")
    visit.set("filter-text", "garden", "submit")
    visit.set("filter-sort", "likeness")
    last = asked[-2]
    assert (last.user, last.person, last.style, last.least, last.text, last.sort) == ("local", "Anna", None, 0.5, "garden", "likeness")
    assert last.since is not None and last.since.isoformat() == "2026-01-31" and last.until is None


def test_the_calendars_first_and_last_days_can_be_typed(visit):
    from facechain_ext.store.records import Record

    visit.studio.history().add(drawn(ANNA, 1), Record(user=NOBODY))
    visit.set("filter-since", "0001-01-01")
    visit.set("filter-until", "9999-12-31")
    assert visit["history-trouble"] == "" and "facechain-grid" in visit["entries"]


def test_people_are_renamed_merged_and_deleted(visit):
    visit.do("someone", "Anna")
    assert visit["shown"] == "Anna" and visit.tab.wires["person-box"].visible and "2026" in visit["person-shown"]
    visit.set("new-name", "Annie")
    visit.press("rename")
    assert visit["shown"] == "Annie" and [one.name for one in visit.studio.library(NOBODY).people()] == ["Annie", "Ben"]
    assert visit.tab.wires["merge-row"].visible
    visit.press("merge")
    assert "Choose who" in visit["people-trouble"]
    visit.set("merge-with", "Ben")
    visit.press("merge")
    (one,) = visit.studio.library(NOBODY).people()
    assert one.name == "Annie" and len(one.photos) == 2 and "Ben is part of Annie now" in visit["people"]
    assert visit.tab.wires["person-box"].visible and not visit.tab.wires["merge-row"].visible, "there is nobody to be the same person as"
    visit.do("delete-person", "Annie")
    assert visit.studio.library(NOBODY).people() == [] and not visit.tab.wires["person-box"].visible


def test_people_and_styles_travel_as_files(visit):
    visit.do("export-people", "")
    visit.studio.library(NOBODY).delete("Anna")
    visit.drop("people-drop", Path(visit["handed"]))
    assert visit["people-trouble"] == ""
    assert [one.name for one in visit.studio.library(NOBODY).people()] == ["Anna", "Ben"] and "Taken in: Anna" in visit["people"]
    visit.do("export-styles")
    assert "no style of your own to give away" in visit["own-trouble"]
    visit.set("own-name", "Mine")
    visit.set("own-prompt", "in fog")
    visit.press("own-save")
    assert "Mine is among your styles" in visit["own-said"] and visit["chip"] == "mine" and visit["styles"].count("facechain-tile") == 1
    visit.do("export-styles")
    visit.do("delete-style", "Mine")
    assert visit.studio.own_styles(NOBODY).styles() == ()
    visit.drop("styles-drop", Path(visit["handed"]))
    assert [one.key for one in visit.studio.own_styles(NOBODY).styles()] == ["Mine"]


def test_a_large_picture_is_shown_smaller_and_saved_as_it_is(visit, studio, monkeypatch):
    """The page gets a JPEG to look at, which has no info text; the copy that is saved is the file itself."""
    from facechain_ext.ui import tab_pictures

    studio.fill(1)
    visit.do("entry", 1)
    assert "data:image/png" in visit["entry-shown"] and "data-save=" in visit["entry-shown"]
    monkeypatch.setattr(tab_pictures, "WHOLE", 1000)
    visit.do("entry", 1)
    assert "data:image/jpeg" in visit["entry-shown"] and "data-save=" not in visit["entry-shown"]
    visit.do("original-entry", 1)
    path = studio.history().get("local", 1).path
    assert Path(visit["handed"]).read_bytes() == path.read_bytes() and f'data-name="{path.name}"' in visit["handed-over"]
    path.unlink()
    for page, trouble in (("entry", "history-trouble"), ("result", "results-trouble")):
        assert visit[trouble] == ""
        visit.do(f"original-{page}", 1)
        assert "look through the history" in visit[trouble]


def test_of_a_picture_whose_file_is_gone_nothing_is_offered_that_needs_it(studio):
    studio.fill(1)
    page = Visit(studio)
    studio.send_to = lambda: ("img2img",)
    page.do("entry", 1)
    assert 'data-do="send-entry"' in page["entry-shown"] and "data-save=" in page["entry-shown"]
    studio.history().get("local", 1).path.unlink()
    page.do("send-entry", "img2img 1")  # pressed on a page that was open before
    assert "look through the history" in page["history-trouble"] and page["results-trouble"] == "" and page["sent-to"] == ""
    page.do("entry", 1)
    offered = set(re.findall(r'data-(?:do="([a-z-]+)"|save=)', page["entry-shown"]))
    assert offered == {"again", "vary", "delete-entry"}


def test_settings_are_kept_and_what_is_refused_is_said(visit):
    visit.set("setting-steps", 12.0)
    visit.set("setting-language", "zh")
    visit.press("settings-save")
    assert visit.studio.settings().steps == 12 and "设置已保存" in visit["settings-said"]
    assert visit["steps"] == 30  # what is being prepared stays; a page that comes begins with it
    fresh = Visit(visit.studio)
    fresh.press("arrive")
    assert fresh["steps"] == 12
    assert 'data-language="zh"' in visit["hello"]
    visit.set("setting-outputs", "/nowhere")
    visit.press("settings-save")
    assert "cannot be written" in visit["settings-trouble"] or "无法" in visit["settings-trouble"]


@pytest.mark.parametrize(
    ("language", "first", "words", "subject"),
    [("en", "as the photo shows", "an older man", "older-man"), ("zh-CN", "根据照片判断", "年长男士", "older-man")],
)
def test_a_list_shows_words_in_gradio_3_too(studio, language, first, words, subject):
    """It cannot hold values beside them, so the order is read from the words."""
    page = Visit(studio, language)
    page.press("arrive")
    choices = page.tab.wires["subject"].choices
    assert page["subject"] == first == choices[0] and words in choices and subject not in choices
    page.do("person", "Anna")
    page.set("subject", words)
    page.do("style", "Deer_girl")
    assert "man" in page["prompt"] and "girl" not in page["prompt"]
    page.press("arrive")
    assert page["subject"] == words, "what was chosen stays"
    page.set("without_lora", True)
    page.press("make")
    assert page.order().options.subject == subject


def test_another_language_takes_the_chosen_word_along(visit):
    visit.set("subject", "a woman")
    visit.request = Request("zh-CN")
    visit.press("arrive")
    assert visit["subject"] == "女士"


def test_settings_that_are_not_ones_own_are_shown_and_cannot_be_changed(visit):
    visit.studio.set_settings(replace(visit.studio.settings(), check=False, sampler="Euler"))
    why = "Only anna, the first account, can change this."
    visit.studio.frozen = {"check": why, "outputs": why}
    visit.press("arrive")
    parts = {name: visit.tab.wires[f"setting-{name}"] for name in ("check", "outputs", "steps", "sampler")}
    assert [parts[name].interactive for name in parts] == [False, False, True, True] and visit["settings-fixed"].count(why) == 1
    assert (visit["setting-check"], visit["setting-sampler"]) == (False, "Euler"), "a page that comes shows them as they are"
    visit.set("setting-check", True)  # however it got there
    visit.set("setting-steps", 12)
    visit.press("settings-save")
    assert (visit.studio.settings().check, visit.studio.settings().steps, visit["settings-trouble"]) == (False, 12, "")
    visit.request.headers["accept-language"] = "zh"
    visit.press("arrive")
    assert "只有第一个账户 anna 可以更改此项" in visit["settings-fixed"] and visit["settings-frozen"] == ""
    visit.studio.frozen = {"language": "All is frozen.", "check": "All is frozen."}
    visit.press("arrive")
    assert "All is frozen." in visit["settings-frozen"] and visit["settings-fixed"] == "", "above the first thing it is said of"


@pytest.mark.parametrize(("door", "lines"), [(Door(), 0), (Door(exposed=True), 3), (Door(exposed=True, login=True, owners=("a",)), 0)])
def test_where_strangers_may_come_in_the_pages_say_so(studio, door, lines):
    studio.door = door
    Visit(studio)
    said = [one.value for one in Page.made if one.kind == "HTML" and "facechain-warning" in str(one.value)]
    assert len(said) == lines and all("shares these people" in one and "--auth" in one for one in said)


def test_everybody_sees_their_own_people(studio):
    eve, lou = Visit(studio), Visit(studio)
    eve.request.username = "eve"
    studio.person("Emil", BEN, user="eve")
    for page, there, others in ((eve, ["Emil"], ["Anna", "Ben"]), (lou, ["Anna", "Ben"], ["Emil"])):
        page.press("arrive")
        for part in ("people", "faces"):
            said = re.sub(r"base64,[^\"']*", "", str(page[part]))  # a picture's letters may spell a name too
            assert all(name in said for name in there) and not any(name in said for name in others)
    eve.do("delete-person", "Anna")
    assert "No saved person" in eve["people-trouble"] and len(studio.library(NOBODY).people()) == 2
    eve.do("person", "Ben")
    assert "No saved person" in eve["who-trouble"] and eve["person"] == ""


def test_everybody_sees_their_own_styles(studio):
    eve, lou = Visit(studio), Visit(studio)
    eve.request.username = "eve"
    studio.own_styles("eve").save(own_style("Eves look", "in fog"))
    for page, there in ((eve, True), (lou, False)):
        page.press("arrive")
        page.set("chip", "mine")
        assert ("Eves look" in page["styles"]) is there
    lou.do("style", "Eves look")
    assert lou["style"] == "" and lou["prompt"] == ""
    lou.do("delete-style", "Eves look")
    assert "no style" in lou["style-trouble"] and len(studio.own_styles("eve").styles()) == 1


@pytest.mark.parametrize("login", [True, False])
def test_where_people_log_in_it_is_said_that_loras_are_everybodys(studio, login):
    studio.door = Door(login=login)
    Visit(studio)
    leads = [one.value for one in Page.made if "facechain-lead" in str(one.value)]
    assert any("folder that everybody here uses" in one for one in leads) is login


def test_where_things_lie_is_told_to_the_machines_owner_alone(studio):
    page = Visit(studio)
    page.press("arrive")
    assert str(studio.folder) in page["there"]
    studio.door = Door(login=True, owners=("ada",))
    page.press("arrive")
    assert str(studio.folder) not in page["there"] and f"{studio.folder.name}/people" in page["there"]


@pytest.mark.parametrize("owners", [("ada",), (NOBODY,)])
def test_nor_are_the_folders_of_pictures_and_loras(studio, tmp_path, owners):
    page, whole = Visit(studio), str(studio.folder)
    studio.door = Door(login=True, owners=owners)
    studio.fill(1)
    page.do("entry", 1)
    page.do("style", "Cartoon")
    (tmp_path / "velvet.safetensors").write_bytes(lora())
    page.drop("lora-drop", tmp_path / "velvet.safetensors")
    for part in ("entry-shown", "chosen", "lora-seen"):
        assert (whole in page[part]) is (owners == (NOBODY,)) and f"{studio.folder.name}/" in page[part], part


@pytest.mark.parametrize(("language", "said"), [("en", "Nothing made yet"), ("zh-CN,zh;q=0.9", "还没有作品")])
def test_the_server_speaks_the_visitors_language(studio, language, said):
    page = Visit(studio, language)
    page.set("filter-sort", "likeness")
    assert said in page["entries"]


def test_a_result_goes_to_a_tab_of_the_host(studio, monkeypatch):
    import sys
    from types import ModuleType

    bound: list[Any] = []
    pasting = ModuleType("modules.infotext_utils")
    pasting.ParamBinding = SimpleNamespace
    pasting.register_paste_params_button = bound.append
    monkeypatch.setitem(sys.modules, "modules.infotext_utils", pasting)
    monkeypatch.setattr(sys.modules["modules"], "infotext_utils", pasting, raising=False)
    studio.send_to = lambda: ("txt2img", "img2img")
    studio.fill(1)
    page = Visit(studio)
    assert [one.tabname for one in bound] == ["txt2img", "img2img"] and bound[0].paste_button.elem_id == "facechain-tab-to-txt2img"
    assert bound[0].source_image_component is page.tab.wires["sent-picture"]
    page.do("entry", 1)
    assert 'data-value="img2img 1"' in page["entry-shown"]
    page.do("send-entry", "img2img 1")
    assert (
        Path(page["sent-picture"]).read_bytes() == studio.history().get("local", 1).path.read_bytes()
        and page["sent-info"].startswith("a portrait")
        and "facechain-tab-to-img2img" in page["sent-to"]
    )


def test_what_is_no_picture_is_said_and_not_taken(visit, photos, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    visit.drop("drop", photos[0])
    visit.drop("drop", tmp_path / "notes.txt")
    assert "⚠ notes.txt is not a picture of a kind that can be read" in visit["who-trouble"] and visit["files"] == keys(photos[:1])
    assert visit["photos"].count("facechain-good") == 1 and visit["drop"] is None
    visit.drop("new-drop", tmp_path / "notes.txt")
    assert "⚠ notes.txt is not a picture" in visit["add-trouble"] and visit["new-files"] == []
    visit.studio.poses_possible = lambda: ""
    visit.drop("pose-drop", tmp_path / "notes.txt")
    assert "⚠ notes.txt is not a picture" in visit["pose-trouble"] and visit["pose"] == ""
    visit.drop("styles-drop", photos[0])
    assert "This is no exported style" in visit["own-trouble"]


def test_what_is_no_picture_is_said_in_chinese_too(studio, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    visit = Visit(studio, "zh-CN")
    visit.drop("drop", tmp_path / "notes.txt")
    assert "⚠ notes.txt 不是可读取的图片" in visit["who-trouble"]


def test_a_photograph_for_eyes_that_know_drawings_is_called_one(visit, photos, monkeypatch):
    def look(*_photos, **_more):
        raise NoFace("This is a photograph.")

    monkeypatch.setattr(visit.studio, "look", look)
    visit.drop("drop", photos[0])
    assert "This is a photograph." in visit["photos"] and "looking" not in visit["photos"]


def test_another_language_holds_for_what_is_chosen_too(visit, photos):
    visit.drop("drop", photos[0])
    visit.do("style", "Hanfu")
    assert "No style" in visit["chosen"] and "sharp" in visit["photos"]
    visit.set("setting-language", "zh")
    visit.press("settings-save")
    assert "不用风格" in visit["chosen"] and "No style" not in visit["chosen"] and "sharp" not in visit["photos"]


def test_a_style_has_the_first_picture_made_with_it_at_once(visit):
    visit.press("arrive")
    visit.do("person", "Anna")
    visit.do("style", "Hanfu")
    assert "<img" not in visit["chosen"]
    visit.press("make")
    for _ in range(20):
        visit.press("tick")
    assert "<img" in visit["chosen"] and "<img" in visit["styles"]


def test_the_page_knows_which_files_to_offer():
    from facechain_ext.ui.tab import words

    said = json.loads(html.unescape(words().partition('data-words="')[2].partition('"></template>')[0]))
    assert said["kinds"] == {
        "drop": "image/*", "new-drop": "image/*", "pose-drop": "image/*", "lora-drop": ".safetensors", "styles-drop": ".json",
        "people-drop": ".zip,.safetensors",
    }  # fmt: skip


def test_who_judges_its_own_work_is_said_in_the_visitors_language():
    from facechain_ext.ui.tab_html import likeness
    from facechain_ext.workflows.likeness import conditioning_name

    judge = conditioning_name(SimpleNamespace(fingerprint="ab12"))
    assert judge == "TransFace ab12 (also the conditioning encoder)", "as it stands in info texts"
    assert "0.61, measured by TransFace ab12 (also the conditioning encoder)" in likeness(0.61, None, judge, "en")
    chinese = likeness(0.61, None, judge, "zh")
    assert "TransFace ab12" in chinese and "conditioning" not in chinese and "编码器" in chinese
    assert "MobileFaceNet" in likeness(0.61, None, "MobileFaceNet", "zh") and "编码器" not in likeness(0.61, None, "MobileFaceNet", "zh")
