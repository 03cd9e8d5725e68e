"""The panel on a page of strict fakes: every control from its declaration, and what each touch does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from facechain_ext.ui import request
from facechain_ext.ui.ids import element
from tests.fakes.page import Page, Request
from tests.ui.conftest import ASTRONAUT

ROOT = Path(__file__).parents[2]
CHINESE = "zh-CN,zh;q=0.9,en;q=0.8"


class Shown:
    """The panel as somebody sees it: what stands in each component, and what can be done."""

    def __init__(self, panel, language: str = "en") -> None:
        self.panel, self.visitor = panel, Request(language)
        self.values: dict = {}
        self.by_id = {one.elem_id: one for one in Page.made if one.elem_id}

    def component(self, name: str, person: int | None = None, tab: str = "txt2img"):
        return self.by_id[element(tab, name, person)]

    def text(self, name: str, person: int | None = None) -> str:
        component = self.component(name, person)
        return re.sub(r"<[^>]+>", "", self.values.get(component, component.value) or "")

    def html(self, name: str, person: int | None = None) -> str:
        component = self.component(name, person)
        return self.values.get(component, component.value) or ""

    def value(self, name: str, person: int | None = None):
        component = self.component(name, person)
        return self.values.get(component, component.value)

    def set(self, name: str, person: int | None, value) -> None:
        """Set a control by hand, and let happen what follows, as often as something changes."""
        component = self.component(name, person)
        before = dict(self.values)
        self.values[component] = value
        component.change.fire(self.values, self.visitor)
        if hasattr(component, "input"):
            component.input.fire(self.values, self.visitor)
        for _ in range(5):
            changed = [one for one, now in self.values.items() if before.get(one, one.value) != now and one is not component]
            before = dict(self.values)
            for one in changed:
                if hasattr(one, "change"):
                    one.change.fire(self.values, self.visitor)

    def press(self, name: str, person: int | None = None) -> None:
        self.component(name, person).click.fire(self.values, self.visitor)

    def args(self) -> list:
        """What Generate would hand to the script."""
        return [self.values.get(one, one.value) for one in self.panel.controls]


@pytest.fixture
def built(host):
    from facechain_ext.ui.panel import Panel

    return Panel("txt2img")


@pytest.fixture
def shown(built) -> Shown:
    return Shown(built)


@pytest.fixture
def noise(tmp_path) -> str:
    path = tmp_path / "noise.png"
    Image.effect_noise((200, 160), 60).convert("RGB").save(path)
    return str(path)


def test_every_option_has_its_control_with_its_limits(built):
    wanted = request.controls()
    assert len(built.controls) == len(wanted)
    for component, control in zip(built.controls, wanted, strict=True):
        option = control.field.option
        assert component.elem_id.startswith("facechain-txt2img-")
        if component.kind == "Slider":
            assert (component.given["minimum"], component.given["maximum"]) == (option.minimum, option.maximum)
            assert component.value == control.field.default
        if component.kind == "Radio":
            assert [value for _, value in component.choices] == list(option.choices)


def test_what_an_untouched_panel_hands_over_does_nothing(shown):
    asked = request.from_args(shown.args(), api=False)
    assert asked == request.from_json({}) and not asked.active


def test_ids_are_our_own_and_one_each_in_both_tabs(host):
    from facechain_ext.ui.panel import Panel

    Panel("txt2img"), Panel("img2img")
    ids = [one.elem_id for one in Page.made if one.elem_id]
    assert len(ids) == len(set(ids)) and all(one.startswith("facechain-") for one in ids)


def test_no_control_becomes_a_default_of_the_host(built):
    assert all(one.do_not_save_to_config for one in built.controls)


def test_nothing_carries_a_style_of_its_own(shown, noise):
    shown.set("photos", 1, [str(ASTRONAUT), noise])
    shown.press("analyse", 1)
    html = [shown.values.get(one, one.value) for one in Page.made if one.kind == "HTML"]
    assert not any(re.search(r"\sstyle\s*=", text or "") for text in html)
    classes = [name for text in html for names in re.findall(r'class="([^"]*)"', text or "") for name in names.split()]
    assert classes and all(name.startswith("facechain-") for name in classes)


def test_photos_are_dropped_looked_at_and_vetted(shown, noise):
    shown.set("photos", 1, [str(ASTRONAUT), noise])
    assert shown.html("cards", 1).count("<img") == 2
    shown.press("analyse", 1)
    cards = shown.html("cards", 1).split("<figure")[1:]
    assert "facechain-good" in cards[0] and "✓" in cards[0]
    assert "facechain-bad" in cards[1] and "No face found in photo 2." in cards[1] and "left out" in cards[1]
    enable(shown)
    assert shown.text("line").startswith("1 person · 1 photo · "), "the one that is left out does not count"
    shown.set("photos", 1, [str(ASTRONAUT), noise, str(ASTRONAUT)])
    assert shown.text("line").startswith("1 person · 3 photos · "), "nobody has looked at these yet"


def test_photos_that_are_of_no_use_are_told_before_a_picture_is_made(shown, noise):
    enable(shown)
    shown.set("photos", 1, [noise])
    shown.press("analyse", 1)
    assert "⚠ Person 1: No face found in photo 1. Pictures will be made without the face." in shown.text("line")
    shown.set("photos", 1, [noise, str(ASTRONAUT)])
    assert "⚠" not in shown.text("line")
    shown.press("analyse", 1)
    assert "⚠" not in shown.text("line")


@pytest.mark.parametrize(
    ("language", "said"), [("en", "photo 2 (notes.txt) is not a picture"), (CHINESE, "照片 2 (notes.txt) 不是可读取的图片")]
)
def test_what_is_no_picture_is_called_by_its_name(built, tmp_path, language, said):
    (tmp_path / "notes.txt").write_text("hello")
    shown = Shown(built, language)
    shown.set("photos", 1, [str(ASTRONAUT), str(tmp_path / "notes.txt")])
    shown.press("analyse", 1)
    assert said in shown.text("cards", 1)


def enable(shown: Shown) -> None:
    switch = next(one for one in Page.made if one.kind == "Checkbox" and one.label == "FaceChain")
    shown.values[switch] = True
    switch.change.fire(shown.values, shown.visitor)


def test_the_lines_say_what_will_happen(shown):
    assert "Drop a photo" in shown.text("line") and shown.text("closed") == ""
    enable(shown)
    assert shown.text("closed") == "nobody yet"
    shown.set("photos", 1, [str(ASTRONAUT)])
    assert shown.text("closed") == "Person 1 · weight 0.5" and shown.text("line") == "1 person · 1 photo · adapter small"
    shown.press("analyse", 1)  # loads the adapter, so that its cost is known
    assert re.fullmatch(r"1 person · 1 photo · adapter \d+ MB · about \+\d+ % per step", shown.text("line"))
    shown.set("weight", 1, 0)
    assert "without the face" in shown.text("line")


def test_the_lines_warn_before_anything_is_made(shown, models):
    enable(shown)
    shown.set("photos", 1, [str(ASTRONAUT)])
    (models / "FaceChain" / "encoder.safetensors").unlink()
    shown.press("refresh")
    assert "⚠ No face encoder is in" in shown.text("line") and "ms1mv2_model_TransFace_S.pt" in shown.text("line")


def test_the_wrong_checkpoint_is_told_before(shown, monkeypatch):
    from facechain_ext.hosts import webui

    monkeypatch.setattr(webui, "supports", lambda *_: "This checkpoint is SDXL; FaceChain works with SD1.5 checkpoints only.")
    enable(shown)
    shown.set("photos", 1, [str(ASTRONAUT)])
    assert shown.text("closed") == "⚠ Person 1 · weight 0.5"
    assert "⚠ This checkpoint is SDXL" in shown.text("line") and "without the face" in shown.text("line")


def test_why_the_last_picture_lacks_the_face_is_told(shown):
    from facechain_ext.ui.script import last_trouble

    enable(shown)
    shown.set("photos", 1, [str(ASTRONAUT)])
    last_trouble["local", "txt2img"] = "No face found in photo 1."
    shown.press("ended")
    shown.press("refresh")  # the page does this by itself, for instance when the checkpoint's name changes
    assert "The last picture was made without the face: No face found in photo 1." in shown.text("line")
    shown.set("weight", 1, 0.7)
    shown.press("refresh")
    assert "last picture" not in shown.text("line")


def test_why_a_picture_lacks_the_face_is_told_to_nobody_else(shown):
    from facechain_ext.ui.script import last_trouble

    enable(shown)
    shown.set("photos", 1, [str(ASTRONAUT)])
    last_trouble["ada", "txt2img"] = "No face found in photo 1."
    for user, told in (("eve", False), ("ada", True)):
        shown.visitor.username = user
        shown.press("ended")
        assert ("No face found" in shown.text("line")) is told, user
        shown.press("refresh")
        assert ("No face found" in shown.text("line")) is told, user


def test_with_log_ins_where_things_lie_is_told_to_the_first_account_alone(host, models):
    host.shared.cmd_opts.gradio_auth = "ada:secret,eve:word"
    from facechain_ext.ui.panel import Panel

    panel = Panel("txt2img")
    (models / "FaceChain" / "small.safetensors").unlink()
    for user, owner in (("ada", True), ("eve", False)):
        shown = Shown(panel)
        shown.visitor.username = user
        enable(shown)
        shown.set("photos", 1, [str(ASTRONAUT)])
        shown.values[shown.component("save-name", 1)] = "Anna"
        shown.values[shown.component("consent", 1)] = True
        shown.press("save-button", 1)
        for said in (shown.text("line"), shown.text("saved", 1)):
            assert f"{models.name}/FaceChain" in said and (f"{models}/FaceChain" in said) is owner, user


def test_values_that_cannot_be_are_told_and_kept(shown):
    enable(shown)
    shown.set("photos", 1, [str(ASTRONAUT)])
    shown.set("start", 1, 0.9)
    shown.set("end", 1, 0.2)
    assert "⚠ From (0.9) must not be after To (0.2)." in shown.text("line") and shown.value("end", 1) == 0.2


def test_up_to_four_persons(shown):
    people = shown.component("person")
    for count in (2, 3, 4):
        shown.press("add")
        assert [label for label, _ in people.choices] == [f"Person {n}" for n in range(1, count + 1)]
        assert shown.value("person") == count
    assert shown.component("add").visible is False
    blocks = [shown.panel._part("block", number) for number in range(1, 5)]
    shown.set("person", None, 3)
    assert [block.visible for block in blocks] == [False, False, True, False]


def test_a_mask_is_painted_where_it_is_asked_for(shown):
    column = shown.panel._part("mask", 1)
    assert column.visible is False
    shown.set("region", 1, "mask")
    assert column.visible is True
    assert f'data-target="{shown.component("mask", 1).elem_id}"' in "".join(str(one.value) for one in Page.made if one.kind == "HTML")


def test_one_photo_is_left_out(shown, noise):
    shown.set("photos", 1, [str(ASTRONAUT), noise])
    shown.set("drop", 1, "2")
    assert shown.value("photos", 1) == [str(ASTRONAUT)] and shown.value("drop", 1) == ""
    assert shown.html("cards", 1).count("<img") == 1


def test_nobody_is_saved_unasked(shown):
    shown.set("photos", 1, [str(ASTRONAUT)])
    shown.values[shown.component("save-name", 1)] = "Anna"
    shown.press("save-button", 1)
    assert "⚠ Nobody is saved unasked" in shown.text("saved", 1) and shown.component("name", 1).choices == ["—"]


def test_a_person_is_saved_chosen_and_deleted(shown):
    shown.set("photos", 1, [str(ASTRONAUT)])
    shown.values[shown.component("save-name", 1)] = "Anna"
    shown.values[shown.component("consent", 1)] = True
    shown.press("save-button", 1)
    assert shown.text("saved", 1) == "✓ Saved as Anna."
    assert all("Anna" in shown.component("name", number).choices for number in (1, 2, 3, 4))
    shown.set("name", 1, "Anna")
    assert shown.value("photos", 1) is None and "Anna · 1 photo" in shown.text("cards", 1)
    enable(shown)
    assert shown.text("closed") == "Anna · weight 0.5"
    assert request.from_args(shown.args(), api=False).persons[0].options.name == "Anna"
    assert shown.component("delete", 1).interactive is True
    shown.set("photos", 1, [str(ASTRONAUT)])
    assert shown.value("name", 1) == "—" and shown.component("delete", 1).interactive is False
    shown.set("name", 1, "Anna")
    shown.press("delete", 1)
    assert shown.text("saved", 1) == "✓ Anna is deleted." and shown.component("name", 2).choices == ["—"]


def test_a_list_that_is_updated_late_wipes_no_photos(shown):
    before = dict(shown.values)
    shown.set("photos", 1, [str(ASTRONAUT)])
    late = {**before, shown.component("cards", 1): shown.html("cards", 1)}  # as the page was when the list of persons came
    shown.component("name", 1).change.fire(late, shown.visitor)
    assert late[shown.component("cards", 1)].count("<img") == 1


def test_choosing_nobody_takes_the_picture_away(shown):
    shown.values[shown.component("cards", 1)] = "<img>"
    shown.set("name", 1, "—")
    assert shown.html("cards", 1) == ""


def test_saving_tells_what_is_missing(shown):
    shown.values[shown.component("consent", 1)] = True
    shown.press("save-button", 1)
    assert "⚠ There is no photo to save a person from" in shown.text("saved", 1)


def paste(panel, params) -> dict:
    """What the host does with an info text: every function of infotext_fields, its value into its component."""
    found = {component: function(params) for component, function in panel.infotext_fields}
    return {one: value.get("value") if isinstance(value, dict) else value for one, value in found.items() if value is not None}


def params(**more) -> dict:
    return {
        "Steps": "20", "FaceChain adapter": "small [abc]", "FaceChain passes": "second", "FaceChain ADetailer": "False",
        "FaceChain person 1": "name: Anna, weight: 0.8, start: 0.1, end: 0.9, face: 2, region: left to right, photos: f07f3d10116f",
        "FaceChain person 2": "weight: 0.4, photos: 0000aaaa1111", **more,
    }  # fmt: skip


def test_pasting_restores_every_field_and_finds_the_person_by_photo(shown):
    shown.set("photos", 3, [str(ASTRONAUT)])
    shown.values[shown.component("save-name", 3)] = "Eva"
    shown.values[shown.component("consent", 3)] = True
    shown.press("save-button", 3)
    shown.values.update(paste(shown.panel, params()))
    asked = request.from_args(shown.args(), api=False)
    assert (asked.panel.enabled, asked.panel.adapter, asked.panel.passes, asked.panel.adetailer_pass) == (True, "small", "second", False)
    (one,) = asked.persons  # the second is not in the library, the third was in the panel and not in the picture
    assert one.options == request.PersonOptions(name="Eva", weight=0.8, start=0.1, end=0.9, face=2, region="left to right")
    assert shown.text("note") == "⚠ Person 2: these photos (0000aaaa1111) are not in the library: drop them here again."


def test_who_is_deleted_is_chosen_nowhere_and_the_others_stay(shown, monkeypatch):
    from facechain_ext.errors import CannotWrite
    from facechain_ext.ui.loaded import loaded

    for name in ("Anna", "Eva"):
        shown.set("photos", 1, [str(ASTRONAUT)])
        shown.values[shown.component("save-name", 1)] = name
        shown.values[shown.component("consent", 1)] = True
        shown.press("save-button", 1)
    for number, name in ((1, "Anna"), (2, "Eva"), (3, "Anna")):
        shown.values[shown.component("name", number)] = name

    def chosen() -> list:
        return [shown.value("name", number) for number in (1, 2, 3, 4)]

    def refuse(_self, name: str) -> None:
        raise CannotWrite(f"{name} cannot be deleted: close what holds the file.")

    with monkeypatch.context() as patch:
        patch.setattr(type(loaded.library("local")), "delete", refuse)
        shown.press("delete", 1)
    assert "cannot be deleted" in shown.text("saved", 1) and chosen() == ["Anna", "Eva", "Anna", "—"]
    shown.press("delete", 1)
    assert "Anna is deleted" in shown.text("saved", 1) and chosen() == ["—", "Eva", "—", "—"]
    assert shown.component("name", 4).choices == ["—", "Eva"]


def test_with_a_login_everybody_sees_and_pastes_their_own_persons(host):
    host.shared.cmd_opts.gradio_auth = "ada:secret,eve:word"
    from facechain_ext.ui.panel import Panel

    panel = Panel("txt2img")
    ada, eve = Shown(panel), Shown(panel)
    ada.visitor.username, eve.visitor.username = "ada", "eve"
    ada.set("photos", 1, [str(ASTRONAUT)])
    ada.values[ada.component("save-name", 1)] = "Anna"
    ada.values[ada.component("consent", 1)] = True
    ada.press("save-button", 1)
    assert ada.component("name", 1).choices == ["—", "Anna"]
    eve.press("refresh")
    assert eve.component("name", 1).choices == ["—"]
    eve.set("name", 1, "Anna")
    assert "No saved person" in eve.text("cards", 1)
    eve.press("delete", 1)
    for visitor, name, note in ((ada, "Anna", "0000aaaa1111"), (eve, "—", "f07f3d10116f")):
        pasted = paste(panel, params())
        visitor.values.update(pasted)
        visitor.set("pasted", None, pasted[visitor.component("pasted")])
        assert visitor.value("name", 1) == name and visitor.value("weight", 1) == 0.8 and note in visitor.text("note")


def test_of_two_persons_with_the_same_photo_the_named_one_is_pasted(shown):
    shown.set("photos", 3, [str(ASTRONAUT)])
    for name in ("Anna", "Eva"):
        shown.values[shown.component("save-name", 3)] = name
        shown.values[shown.component("consent", 3)] = True
        shown.press("save-button", 3)
    for name in ("Anna", "Eva"):
        shown.values.update(paste(shown.panel, params(**{"FaceChain person 1": f"name: {name}, photos: f07f3d10116f"})))
        assert shown.value("name", 1) == name


def test_pasting_a_picture_without_us_switches_off(shown):
    switch = next(one for one in Page.made if one.kind == "Checkbox" and one.label == "FaceChain")
    pasted = paste(shown.panel, {"Steps": "20"})
    assert {one: value for one, value in pasted.items() if value not in ("", "—")} == {switch: False}


def test_pasting_a_mask_and_an_adapter_that_is_not_here(shown):
    mask = Image.new("L", (32, 16))
    mask.paste(255, (0, 0, 16, 16))
    from facechain_ext.ui.regions import encode

    code = encode(mask)
    pasted = params(**{"FaceChain adapter": "film [abc]", "FaceChain person 1": f"region: mask, mask: {code}, photos: aa"})
    shown.values.update(paste(shown.panel, pasted))
    assert shown.value("mask", 1).startswith("data:image/png;base64,") and shown.value("adapter") == "auto"
    assert request.mask_code(shown.value("mask", 1), "mask") == code and "The adapter film is not here" in shown.text("note")


def test_an_adapter_in_a_folder_is_found_by_the_name_in_the_info_text(shown, models):
    (models / "FaceChain" / "sub").mkdir()
    (models / "FaceChain" / "small.safetensors").rename(models / "FaceChain" / "sub" / "small.safetensors")
    shown.values.update(paste(shown.panel, params()))
    assert shown.value("adapter") == "sub/small"


def test_damaged_parameters_are_left_alone(shown):
    pasted = paste(shown.panel, {"FaceChain person 1": "weight: much"})
    assert set(pasted.values()) <= {False, ""}


def test_chinese_by_the_browser_and_by_the_host(host, noise):
    from facechain_ext.ui import answers
    from facechain_ext.ui.panel import Panel

    shown = Shown(Panel("txt2img"), CHINESE)
    enable(shown)
    shown.set("photos", 1, [str(ASTRONAUT), noise])
    assert shown.text("line").startswith("1 个人物 · 2 张照片")
    shown.press("analyse", 1)
    assert "照片 2 中没有找到人脸" in shown.text("cards", 1)
    assert answers.language_of(Request("de-DE")) == "en" and answers.fixed_language() == ""
    host.shared.opts.localization = "zh_CN"
    assert answers.language_of(Request("de-DE")) == "zh" == answers.fixed_language()


def test_better_analysis_is_offered_with_size_licence_and_source_and_fetched_only_when_asked(shown, monkeypatch, models):
    from facechain_ext.weights import fetch

    fetched = []
    monkeypatch.setattr(fetch, "fetch", lambda record, folder, offline: fetched.append((record.id, folder, offline)))
    shown.set("photos", 1, [str(ASTRONAUT)])
    shown.press("analyse", 1)
    said = shown.text("better")
    assert "195 MB" in said and "MIT" in said and "github.com" in said and f" {models.name}/GFPGAN" in said
    assert fetched == []
    shown.press("fetch")
    assert fetched == [("retinaface", models, False), ("parsenet", models, False)] and "✓" in shown.text("better")


def test_offline_nothing_is_offered(monkeypatch, models):
    from tests.fakes import page

    page.install(monkeypatch, models, facechain_offline=True)
    from facechain_ext.ui import answers

    assert not answers.can_fetch() and answers.offer("en") == ""


def test_the_hosts_own_files_are_used_where_they_are(host, models):
    from facechain_ext.ui import settings

    assert settings.facexlib_folder() is None
    (models / "GFPGAN").mkdir()
    for name in settings.FACEXLIB_FILES:
        (models / "GFPGAN" / name).touch()
    assert settings.facexlib_folder() == models / "GFPGAN"


def test_the_models_folder_of_the_command_line(monkeypatch, models, tmp_path):
    from tests.fakes import page

    page.install(monkeypatch, models, facechain_models_dir=str(tmp_path / "elsewhere"))
    from facechain_ext.ui import settings

    assert settings.models_folder() == tmp_path / "elsewhere"
