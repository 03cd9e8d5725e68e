"""The studio without a WebUI, from photo to history, with the small random demo model, real files and a real index."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageChops
from safetensors.torch import load_file, save_file

from facechain_ext.app import App, Choice, completed
from facechain_ext.errors import BadInput, BadWeights, CannotWrite, NoFace, NotAllowed
from facechain_ext.store.names import NOBODY
from facechain_ext.store.records import Wanted
from facechain_ext.ui.door import Door
from facechain_ext.ui.jobs import State
from facechain_ext.ui.studio import Settings
from facechain_ext.ui.studio_alone import StudioAlone
from facechain_ext.workflows.again import again
from facechain_ext.workflows.lora_files import sha256
from facechain_ext.workflows.making import Order
from facechain_ext.workflows.own_styles import own_style
from facechain_ext.workflows.people import Picture
from tests.hosts.standalone_cases import controlnet, demo, host, kohya_lora, ldm_controlnet

ASTRONAUT = Path(__file__).parents[2] / "examples" / "astronaut.png"


@pytest.fixture
def studio(tmp_path, monkeypatch) -> StudioAlone:
    """One with the random demo's files as if given, so that nothing depends on whether a trained one is there."""
    checkpoint, encoder, adapter = demo()
    choice = Choice(
        checkpoint=checkpoint,
        encoder=encoder,
        adapter=adapter,
        analyser="embedded",
        device="cpu",
        models=tmp_path / "models",
        scratch=tmp_path,
    )
    app = App(choice)
    app.__dict__["host"] = _shared_host(app)
    return StudioAlone(app, tmp_path / "data")


def _shared_host(app: App) -> Any:
    """A host of this app's folders with the networks that the tests share."""
    from facechain_ext.hosts.standalone.host import Standalone

    made = Standalone(demo()[0], device="cpu", dtype="fp32", folders=app.folders)
    made.__dict__["networks"] = host().networks
    return made


@pytest.fixture
def photo() -> Picture:
    return Picture(data=ASTRONAUT.read_bytes(), name="astronaut.png")


def order(studio: StudioAlone, *photos: Picture, **changes: Any) -> Order:
    own = {name: changes.pop(name) for name in ("person", "style", "loras", "pose") if name in changes}
    small = {"width": 64, "height": 64, "steps": 2, "sampler": "DDIM", "seed": 7, "prompt": "in a garden"}
    return Order(options=replace(studio.defaults(), **{**small, **changes}), photos=photos, **own)


def done(studio: StudioAlone, what: Order, user: str = "anna") -> State:
    id = studio.jobs.start(user, what)
    state = studio.jobs.state(user, id)
    while not state.over:
        state = studio.jobs.wait(user, id, state.version, 60)
    return state


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_from_photo_to_history_and_once_more(studio, photo) -> None:
    state = done(studio, order(studio, photo, count=2, hires=1.5, hires_strength=0.4))
    assert (state.phase, state.error, state.picture, state.pictures, state.step) == ("done", "", 2, 2, state.steps)
    first, second = sorted(state.results, key=lambda one: one.number)
    assert first.entry is not None and second.entry is not None and pixels(first.entry.path).shape == (96, 96, 3)
    assert "TransFace" in state.judge and state.between is None
    page = studio.history().page(Wanted(user="anna"))
    assert [one.id for one in page.entries] == [second.entry.id, first.entry.id]
    assert studio.history().amount(Wanted(user=studio.user(None))) == 0
    repeated = again(second.entry, studio, "anna")
    assert studio.jobs.photos("anna", repeated.photos) == (photo,)
    assert len(repeated.notes) == 1 and "give the photos again" in repeated.notes[0]
    once_more = done(studio, repeated.order((photo,)))
    assert once_more.results[0].entry is not None
    assert (pixels(once_more.results[0].entry.path) == pixels(second.entry.path)).all(), "the same picture, to the pixel"
    assert studio.history().delete("anna", first.entry.id) == 1 and not first.entry.path.exists()


def test_with_log_ins_the_first_account_sets_up_and_the_others_have_their_taste(studio):
    shared = StudioAlone(studio.app, studio.data, Door(login=True, owners=("ada",), exposed=True))
    studio.set_settings(Settings(steps=11))  # before there were log-ins
    assert shared.fixed("ada") == {} and set(shared.fixed("eve")) == {"check", "adapter", "analyser", "outputs"}
    shared.set_settings(Settings(steps=12, check=False), "ada")
    assert shared.settings("eve") == shared.settings() == Settings(steps=12, check=False), "what the others begin with"
    shared.set_settings(Settings(steps=13, check=False, language="zh"), "eve")
    with pytest.raises(NotAllowed, match="Only ada, the first account"):
        shared.set_settings(Settings(steps=14, check=True), "eve")
    assert shared.settings("eve") == Settings(steps=13, check=False, language="zh") and shared.defaults("eve").steps == 13
    shared.set_settings(Settings(steps=15, outputs="there"), "ada")
    assert shared.settings("eve") == Settings(steps=13, language="zh", outputs="there") and shared.settings("ada").steps == 15
    assert shared.settings("Eve").steps == 15 and shared.checking()


def test_a_sentence_for_others_names_no_place_of_the_machine(studio):
    shared = StudioAlone(studio.app, studio.data, Door(login=True, owners=("ada",)))
    sentence = f"{studio.data / 'people' / 'Anna.safetensors'} cannot be written; look into {studio.app.choice.models.absolute()}."
    assert shared.told(sentence, "ada") == sentence == studio.told(sentence, "local")
    said = shared.told(sentence, "eve")
    assert str(studio.data.parent.parent) not in said
    assert "data/people/Anna.safetensors cannot be written; look into " in said and said.endswith(f"{studio.app.choice.models.name}.")


def test_a_person_is_saved_with_consent_made_and_known_again(studio, photo) -> None:
    with pytest.raises(BadInput, match="confirm that the person"):
        studio.save_person("anna", "Eileen", [photo])
    saved = studio.save_person("anna", "Eileen", [photo], consent=True)
    assert saved.thumbnail.startswith(b"\x89PNG") and [one.name for one in studio.library("anna").people()] == ["Eileen"]
    by_name, by_photo = done(studio, order(studio, person="Eileen")), done(studio, order(studio, photo))
    entries = [state.results[0].entry for state in (by_name, by_photo)]
    assert [entry.person for entry in entries if entry] == ["Eileen", "Eileen"]
    assert entries[0] and entries[1] and (pixels(entries[0].path) == pixels(entries[1].path)).all()
    assert again(entries[1].info, studio, "anna").order().person == "Eileen"


def test_the_face_is_in_the_picture(studio, photo) -> None:
    with_face, without = (done(studio, order(studio, photo, weight=weight)).results[0].entry for weight in (1.0, 0.0))
    assert with_face and without and (pixels(with_face.path) != pixels(without.path)).any()


def test_photos_are_vetted_before(studio, photo) -> None:
    nobody = Picture(data=_png(Image.new("RGB", (200, 200), (90, 120, 90))), name="wall.png")
    good, bad = studio.look([photo, nobody])
    assert good.report.usable and not bad.report.usable and "No face found in wall.png." in [p.sentence for p in bad.report.problems]
    state = done(studio, order(studio, nobody))
    assert state.phase == "failed" and state.error.startswith("No face found in wall.png.") and state.results == ()


def test_a_lora_is_dropped_in_bound_and_used(studio, photo, tmp_path) -> None:
    networks = host().networks
    file = tmp_path / "upload" / "my look.safetensors"
    file.parent.mkdir()
    save_file(
        kohya_lora(networks.unet, networks.text_encoder),
        str(file),
        {"ss_output_name": "look_of_mine", "ss_tag_frequency": json.dumps({"a": {"glow": 9}})},
    )
    made = studio.install_lora(file)
    assert (
        made.path == tmp_path / "models" / "Lora" / "my look.safetensors" and made.triggers == ("glow",) and made.alias == "look_of_mine"
    )
    (listed,) = studio.loras()
    assert (listed.name, listed.alias) == ("my look", "look_of_mine")
    studio.own_styles(NOBODY).save(own_style("Glow", "glow, neon", lora="my look.safetensors", weight=0.9, hashes=(sha256(made.path),)))
    assert next(one for one in studio.styles(NOBODY) if one.style.key == "Glow").state == "bound"
    state = done(studio, order(studio, photo, prompt="", style="Glow"), studio.user(None))
    entry = state.results[0].entry
    assert entry is not None and entry.style == "Glow" and entry.loras == (("my look", 0.9),)
    assert studio.own_styles(NOBODY).style("Glow").thumbnail == b"", "nobody's portrait stays in it"
    made.path.rename(made.path.with_name("renamed.safetensors"))
    bound = next(one for one in studio.styles(NOBODY) if one.style.key == "Glow")
    assert bound.lora is not None and (bound.lora.name, bound.how) == ("renamed", "hash")
    Path(bound.lora.file).unlink()
    state = done(studio, order(studio, photo, prompt="", style="Glow"), NOBODY)
    assert "needs the LoRA my look.safetensors, which is not there" in state.error


def test_what_is_no_lora_is_refused_and_not_kept(studio, tmp_path) -> None:
    with pytest.raises(BadWeights, match="a whole checkpoint"):
        studio.install_lora(demo()[0])
    assert studio.loras() == () and not (tmp_path / "models" / "Lora").exists()


def test_a_pose_is_followed_where_there_is_a_controlnet(studio, photo, tmp_path) -> None:
    assert "openpose ControlNet" in studio.poses_possible() and not _ready(studio)["pose"].there
    assert studio.poses_possible() in done(studio, order(studio, photo, pose=photo)).error
    folder = tmp_path / "models" / "ControlNet"
    folder.mkdir(parents=True)
    save_file(
        {k: v.contiguous() for k, v in ldm_controlnet(controlnet()).items()}, str(folder / "control_v11p_sd15_openpose.safetensors")
    )
    assert studio.poses_possible() == "" and _ready(studio)["pose"].there
    from facechain_ext.vision.skeleton import draw_skeletons

    joints = [(64 + 8 * (n % 3), 10 + 6 * n) for n in range(18)]
    posed = Picture(data=_png(draw_skeletons((128, 128), [joints])), name="pose.png")
    free, held = (done(studio, order(studio, photo, **more)).results[0].entry for more in ({}, {"pose": posed}))
    assert free and held and (pixels(free.path) != pixels(held.path)).any() and "FaceChain pose" in held.info
    assert "ControlNet 0" in held.info and studio.skeleton(Image.open(ASTRONAUT), (64, 64)).size == (64, 64)


def _ready(studio: StudioAlone) -> dict[str, Any]:
    return {one.name: one for one in studio.readiness("local")}


def test_the_first_visit_says_what_is_there(studio) -> None:
    ready = _ready(studio)
    assert list(ready) == ["checkpoint", "adapter", "encoder", "analyser", "styles", "check", "pose"]
    assert all(ready[name].there and ready[name].needed for name in ("checkpoint", "adapter", "encoder", "analyser"))
    assert ready["styles"].sentence.startswith("7 of 76 styles") and "68 lack their LoRA" in ready["styles"].advice
    assert ready["styles"].advice.endswith("not for this model: 1."), "so that the numbers come to 76"
    demo_visit = StudioAlone(App(Choice(models=Path("nowhere"), scratch=Path(demo()[0]).parent)), Path("nowhere"))
    said = _ready(demo_visit)
    assert said["checkpoint"].sentence.startswith("Demo model") and "nowhere" in said["checkpoint"].advice
    assert (said["adapter"].advice, said["encoder"].advice) == ("", ""), "the three go together: said once"


def _demo_studio(folder: Path, *, drawn: bool) -> StudioAlone:
    """The page as somebody starts it who gives no weights. drawn: the demo model has learnt to draw; else its numbers are random."""
    app = App(Choice(models=folder / "models", scratch=Path(demo()[0]).parent))
    app.drawn = drawn
    return StudioAlone(app, folder / "data")


@pytest.mark.parametrize("drawn", [True, False])
def test_networks_that_paint_noise_are_not_called_there(tmp_path, drawn) -> None:
    found = [_ready(_demo_studio(tmp_path, drawn=drawn))[name] for name in ("checkpoint", "adapter", "encoder")]
    assert [(one.there, one.needed) for one in found] == [(drawn, drawn)] * 3, "and nothing that is missing keeps them from painting"


def test_random_networks_look_at_photographs(tmp_path, photo) -> None:
    studio = _demo_studio(tmp_path, drawn=False)
    assert studio.look([photo])[0].report.usable
    assert [one.name for one in studio.demo_person()] == ["astronaut.png"]
    assert _ready(studio)["analyser"].sentence == "Faces are found by embedded."


@pytest.mark.parametrize(("drawn", "cfg", "template"), [(True, 4.0, "plain"), (False, 7.0, "photo")])
def test_pages_begin_with_what_suits_the_model(tmp_path, drawn, cfg, template) -> None:
    begun = _demo_studio(tmp_path, drawn=drawn).defaults()
    assert (begun.cfg, begun.template, begun.weight) == (cfg, template, 1.0 if drawn else 0.5)


def test_the_demo_model_has_styles_it_can_draw(tmp_path) -> None:
    """Its own stand before the published ones, in words it learnt, with a picture, and with the LoRAs that come with it."""
    from facechain_ext.demo.world.caption import STYLE_WORDS

    studio = StudioAlone(App(Choice(device="cpu", models=tmp_path / "models", scratch=tmp_path)), tmp_path / "data")
    found = [one for one in studio.styles(NOBODY) if one.style.key.startswith("Drawn_")]
    assert tuple(found) == studio.styles(NOBODY)[:8]
    assert [one.style.name_en for one in found][5:] == ["Oil painting", "Blueprint", "Woodcut"]
    for one in found:
        assert any(one.style.prompt_for("woman").startswith(start) for start in STYLE_WORDS[one.style.key.removeprefix("Drawn_")])
        assert Image.open(io.BytesIO(one.style.thumbnail)).size == (256, 256)
    assert [(one.state, one.lora.name) for one in found if one.lora] == [("bound", "blueprint"), ("bound", "woodcut")]
    assert not any(one.style.key.startswith("Drawn_") for one in _demo_studio(tmp_path, drawn=False).styles(NOBODY))


def test_the_demo_model_that_draws_looks_at_drawings(tmp_path, photo) -> None:
    studio = _demo_studio(tmp_path, drawn=True)
    assert all(one.report.usable for one in studio.look(studio.demo_person()))
    with pytest.raises(NoFace, match="This is a photograph"):
        studio.look([photo])
    assert _ready(studio)["analyser"].sentence == "Faces are found by demo."
    studio.set_settings(Settings(analyser="embedded"))
    assert studio.look([photo])[0].report.usable and _ready(studio)["analyser"].sentence == "Faces are found by embedded."


def test_the_first_visit_says_what_is_missing(studio, tmp_path) -> None:
    studio.app.files = (tmp_path / "gone.safetensors", *studio.app.files[1:])
    ready = _ready(studio)["checkpoint"]
    assert not ready.there and ready.sentence == f"There is no {tmp_path / 'gone.safetensors'}." and ready.advice


def test_settings_are_kept_and_a_broken_file_is_not_the_end(studio, tmp_path) -> None:
    assert studio.settings() == Settings()
    studio.set_settings(Settings(check=False, steps=12, weight=0.8, language="zh"))
    assert studio.settings() == Settings(check=False, steps=12, weight=0.8, language="zh") and not studio.checking()
    assert (studio.defaults().steps, studio.defaults().weight) == (12, 0.8)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["settings.json"]
    for broken in ("{", "[]", '{"steps": 0}', '{"unknown": 1}'):
        (tmp_path / "data" / "settings.json").write_text(broken)
        assert studio.settings() == Settings()
    shutil.rmtree(tmp_path / "data")
    (tmp_path / "data").write_text("a file where the folder should be")
    with pytest.raises(CannotWrite, match=r"settings\.json cannot be written"):
        studio.set_settings(Settings())


def test_results_may_go_elsewhere(studio, photo, tmp_path) -> None:
    studio.set_settings(Settings(outputs=str(tmp_path / "elsewhere")))
    entry = done(studio, order(studio, photo)).results[0].entry
    assert entry is not None and (tmp_path / "elsewhere") in entry.path.parents


def test_the_page_begins_in_the_size_the_checkpoint_was_made_for(studio) -> None:
    assert (studio.defaults().width, studio.defaults().height) == (studio.app.native_size,) * 2


def test_another_adapter_is_chosen_by_name_with_the_encoder_beside_it(studio, tmp_path) -> None:
    folder = tmp_path / "models" / "FaceChain" / "other"
    folder.mkdir(parents=True)
    for source, name in ((demo()[1], "face"), (demo()[2], "second")):
        tensors = {key: value * 1.25 for key, value in load_file(source).items()}
        save_file(tensors, str(folder / f"{name}.safetensors"), {"format": "pt"})
    assert studio.adapters() == ("adapter", "other/second")
    mine, other = studio.adapter("auto"), studio.adapter("second")
    assert mine.fingerprint != other.fingerprint and studio.encoder(other).fingerprint != studio.encoder(mine).fingerprint
    assert studio.adapter("other/second").fingerprint == other.fingerprint
    with pytest.raises(BadWeights, match="no adapter 'third': choose adapter or other/second"):
        studio.adapter("third")
    studio.set_settings(Settings(adapter="other/second"))
    assert studio.adapter("auto").fingerprint == other.fingerprint


def test_each_thing_is_loaded_once(studio) -> None:
    assert studio.adapter("auto") is studio.adapter("auto") and studio.analyser("auto") is studio.analyser("auto")
    assert studio.encoder(studio.adapter("auto")) is studio.encoder(studio.adapter("auto"))
    assert studio.styles(NOBODY) is studio.styles(NOBODY)


def test_who_is_logged_in_has_a_history_of_their_own(studio) -> None:
    assert studio.user(None) == "local" and studio.user(SimpleNamespace(username="anna")) == "anna"
    assert studio.user(SimpleNamespace(username=None)) == "local" and studio.send_to() == () and studio.kind == "standalone"


def test_which_check_is_at_work_is_said(studio, monkeypatch) -> None:
    from facechain_ext.faces import nudity

    monkeypatch.setattr(nudity, "checker_folder", lambda models: None)
    monkeypatch.setattr(nudity, "find_spec", lambda name: None)
    assert studio.checker() is None and studio.safety().startswith("Only prompts are checked")
    monkeypatch.setattr(nudity, "find_spec", lambda name: object())
    fresh = StudioAlone(studio.app, studio.data)
    assert fresh.safety().startswith("Every result is checked by NudeNet")
    fresh.set_settings(Settings(check=False))
    assert fresh.safety().startswith("Results are not checked, by your settings; pictures of people who look under 18")


def test_a_check_that_is_added_is_at_work_without_a_new_start(studio, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(studio.data))
    before = studio.checker()
    folder = studio.app.choice.models / "FaceChain" / "safety_checker"
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_text("{}")
    assert studio.checker() is not before and studio.safety().startswith("Every result is checked by Stable Diffusion's")


def test_there_is_somebody_to_try_it_with(studio) -> None:
    (somebody,) = studio.demo_person()
    assert studio.look([somebody])[0].report.usable


def test_the_drawn_person_is_one_of_the_examples() -> None:
    from facechain_ext.ui.studio_alone import drawn_person

    pictures = drawn_person()
    assert [one.name for one in pictures] == ["ann-1.png", "ann-2.png"]
    for one in pictures:
        shipped = Image.open(Path(__file__).parents[2] / "examples" / "demo" / one.name).convert("RGB")
        assert ImageChops.difference(Image.open(io.BytesIO(one.data)).convert("RGB"), shipped).getbbox() is None


def test_what_lies_in_the_models_folder_is_used_where_nothing_is_named(tmp_path) -> None:
    checkpoint, encoder, adapter = demo()
    empty = completed(Choice(models=tmp_path))
    assert (empty.checkpoint, empty.adapter, empty.encoder) == (None, None, None)
    for source, target in (
        (adapter, "FaceChain/a.safetensors"),
        (encoder, "FaceChain/e.safetensors"),
        (checkpoint, "Stable-diffusion/m.safetensors"),
    ):
        (tmp_path / target).parent.mkdir(exist_ok=True)
        shutil.copyfile(source, tmp_path / target)
        made = completed(Choice(models=tmp_path))
    assert [made.checkpoint, made.adapter, made.encoder] == [
        tmp_path / p for p in ("Stable-diffusion/m.safetensors", "FaceChain/a.safetensors", "FaceChain/e.safetensors")
    ]
    named = Choice(models=tmp_path, checkpoint=checkpoint)
    assert completed(named) == named


def _png(image: Image.Image) -> bytes:
    from facechain_ext.workflows.looking import png

    return png(image)
