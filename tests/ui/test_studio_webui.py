"""The studio inside a WebUI: the host's settings, folders and lists, shared with the panel."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from PIL import Image

from facechain_ext.errors import BadInput, BadWeights, MissingPackage, NotAllowed, UnsupportedModel
from facechain_ext.options import fields_of
from facechain_ext.store.names import NOBODY
from facechain_ext.ui.studio import Settings
from facechain_ext.workflows.lora_files import hashes
from facechain_ext.workflows.making import Picture
from facechain_ext.workflows.own_styles import own_style
from tests.fakes import page as fakes
from tests.fakes.networks import CONTEXT, shared_unet
from tests.fakes.webui import LatentDiffusion
from tests.fakes.webui_generation import SAMPLERS, add_modules, add_networks, get_sampler_and_scheduler
from tests.ui.conftest import ASTRONAUT
from tests.workflows.test_styles_lora_files import KOHYA, write

PHOTO = Picture(data=ASTRONAUT.read_bytes(), name="astronaut.png")


@pytest.fixture
def host(monkeypatch, models):
    opts = {"data": {}, "CLIP_stop_at_last_layers": 2}
    made = fakes.install(monkeypatch, models, opts=opts, lora_dir=str(models / "Lora"))
    info = SimpleNamespace(title="base [01]", name_for_extra="base", shorthash="01")
    more = {
        "sd_models": {"model_data": SimpleNamespace(sd_model=None), "checkpoints_list": {"base": info}, "checkpoint_aliases": {}},
        "sd_samplers": {"visible_samplers": lambda: SAMPLERS, "get_sampler_and_scheduler": get_sampler_and_scheduler},
        "sd_unet": {"current_unet": None},
    }
    add_modules(monkeypatch, made, more)
    add_networks(monkeypatch, made, models / "Lora")
    return made


@pytest.fixture
def studio(host):
    from facechain_ext.ui import settings
    from facechain_ext.ui.studio_webui import StudioWebUI

    settings.on_ui_settings()
    return StudioWebUI()


@pytest.mark.parametrize(
    ("flags", "fixed"),
    [
        ({"freeze_settings": True}, "everything"),
        ({"freeze_settings_in_sections": "saving-images, facechain"}, "everything"),
        ({"freeze_settings_in_sections": "saving-images", "freeze_specific_settings": None}, set()),
        ({"freeze_specific_settings": "facechain_check, facechain_outputs"}, {"check", "outputs"}),
        ({"hide_ui_dir_config": True}, {"outputs"}),
        ({}, set()),
    ],
)
def test_what_the_host_has_frozen_stays(studio, host, flags, fixed):
    host.shared.cmd_opts.__dict__.update(flags)
    names = set(studio.fixed("anybody"))
    assert names == ({one.name for one in fields_of(Settings)} if fixed == "everything" else fixed)
    wanted = {"check": False, "outputs": "elsewhere"}
    for name, value in wanted.items():
        if name in names:
            with pytest.raises(NotAllowed, match=r"The WebUI was started with --[a-z-]+: this cannot be changed here"):
                studio.set_settings(replace(studio.settings(), **{name: value}))
        else:
            studio.set_settings(replace(studio.settings(), **{name: value}))
    assert {name for name in wanted if getattr(studio.settings(), name) != getattr(Settings(), name)} == set(wanted) - names


@pytest.mark.parametrize(
    ("flags", "open", "owners"),
    [
        ({}, False, {"local"}),
        ({"listen": True}, True, set()),
        ({"share": True, "gradio_auth": "ada:x,eve:y"}, False, {"ada"}),
        ({"server_name": "localhost"}, False, {"local"}),
        ({"server_name": "0.0.0.0"}, True, set()),
        ({"api_auth": "bob:z", "gradio_auth": "ada:x"}, False, {"ada", "bob"}),
        ({"api_auth": "bob:z"}, False, {"local", "bob"}),
    ],
)
def test_how_the_page_is_reached(host, flags, open, owners):
    from facechain_ext.ui.accounts import door

    host.shared.cmd_opts.__dict__.update(flags)
    assert door().open is open and {one for one in ("local", "ada", "bob", "eve") if door().owner(one)} == owners


def test_it_is_a_studio(studio):
    from facechain_ext.ui.studio import Studio
    from facechain_ext.workflows.making import Room

    wanted = {name for kind in (Studio, Room) for name in vars(kind) if not name.startswith("_")} | {"host", "jobs"}
    assert not [name for name in wanted if not hasattr(studio, name)]


# settings


def test_settings_are_a_section_of_the_hosts(host, studio):
    labels = host.shared.opts.labels
    assert {f"facechain_{name}" for name in vars(Settings())} < set(labels)
    assert labels["facechain_check"].default is True and labels["facechain_weight"].component_args == {
        "minimum": 0,
        "maximum": 2,
        "step": 0.05,
    }
    assert (
        labels["facechain_language"].component_args == {"choices": ["auto", "en", "zh"]} and labels["facechain_outputs"].component is None
    )
    assert all(one.section == ("facechain", "FaceChain") for one in labels.values())


def test_settings_come_and_go(host, studio):
    assert studio.settings() == Settings()
    wanted = Settings(language="zh", check=False, adapter="small", steps=12, weight=0.75)
    studio.set_settings(wanted)
    assert studio.settings() == wanted and not studio.checking() and host.shared.opts.saved == ["config.json"]
    host.shared.opts.facechain_steps, host.shared.opts.facechain_weight, host.shared.opts.facechain_adapter = 900, 1, ""
    assert studio.settings() == Settings(language="zh", check=False, weight=1.0), "what is out of order is left out"


def test_the_page_begins_with_them(host, studio):
    studio.set_settings(Settings(steps=12, sampler="Euler", weight=0.75))
    made = studio.defaults()
    assert (made.steps, made.sampler, made.weight, made.clip_skip, made.width) == (12, "Euler", 0.75, 2, 512)
    studio.set_settings(Settings(sampler="gone"))
    assert studio.defaults().sampler == "DPM++ 2M Karras"


# folders, models, people


def test_results_lie_beside_the_hosts(host, studio, models, tmp_path):
    assert studio.history().folder == models / "outputs" / "FaceChain"
    studio.set_settings(Settings(outputs=str(tmp_path / "elsewhere")))
    assert studio.history().folder == tmp_path / "elsewhere"


def test_networks_are_those_of_the_panel(studio):
    from facechain_ext.ui.loaded import loaded

    assert studio.adapters() == ("small",) and studio.adapter("auto") is loaded.adapter("small")
    assert studio.encoder(studio.adapter("auto")) is loaded.encoder(loaded.adapter())
    with pytest.raises(BadWeights, match="no adapter 'large'"):
        studio.adapter("large")
    studio.set_settings(Settings(adapter="auto", analyser="embedded"))
    assert studio.adapter("auto").name == "small" and studio.analyser("auto").name == "embedded" and studio.analysers()[0] == "auto"


def test_people_are_those_of_the_panel(studio):
    from facechain_ext.ui.loaded import loaded

    (seen,) = studio.look([PHOTO], analyser="embedded")
    assert seen.report.usable
    with pytest.raises(BadInput, match="agrees"):
        studio.save_person(NOBODY, "Anna", [PHOTO], analyser="embedded")
    studio.save_person(NOBODY, "Anna", [PHOTO], analyser="embedded", consent=True)
    assert [one.name for one in loaded.library(NOBODY).people()] == ["Anna"]
    assert studio.library(NOBODY).folder == loaded.library(NOBODY).folder
    (example,) = studio.demo_person()
    assert example == PHOTO


def test_users_and_tabs(studio):
    assert studio.user(SimpleNamespace(username="ada")) == "ada"
    assert studio.user(SimpleNamespace(username=None)) == studio.user(None) == studio.user(object()) == "local"
    assert studio.send_to() == ("txt2img", "img2img", "inpaint", "extras") and studio.kind == "a1111"


# styles and LoRAs


def test_a_dropped_lora_is_the_hosts_at_once(host, studio, models, tmp_path):
    file = write(tmp_path / "velvet.safetensors", KOHYA)
    made = studio.install_lora(file)
    assert made.path == models / "Lora" / "velvet.safetensors" and [one.name for one in studio.loras()] == ["velvet"]
    studio.own_styles(NOBODY).save(own_style("Mine", "velvet", lora="velvet.safetensors", hashes=hashes(file)))
    assert next(one for one in studio.styles(NOBODY) if one.style.key == "Mine").state == "bound" and len(studio.styles(NOBODY)) == 77
    (models / "Lora" / "velvet.safetensors").rename(models / "Lora" / "renamed.safetensors")
    host.networks.available_networks.clear()
    host.networks.list_available_networks()
    again = next(one for one in studio.styles(NOBODY) if one.style.key == "Mine")
    assert (again.state, again.how) == ("bound", "hash") and again.lora is not None and again.lora.name == "renamed"
    with pytest.raises(UnsupportedModel):
        studio.install_lora(write(tmp_path / "xl.safetensors", {"lora_te1_text_model_x.lora_down.weight": (4, 2048),
                                                                "lora_te1_text_model_x.lora_up.weight": (8, 4)}))  # fmt: skip
    assert [path.name for path in (models / "Lora").iterdir()] == ["renamed.safetensors"]


def test_a_lora_must_fit_the_checkpoint_that_is_loaded(host, studio, tmp_path):
    """SD1.5's structure with another width of text, as the demo world's, takes LoRAs of that width and refuses SD1.5's."""
    host.sd_models.model_data.sd_model = LatentDiffusion(shared_unet())
    narrow = {key: (shape[0], CONTEXT) if "lora_down" in key else shape for key, shape in KOHYA.items()}
    assert studio.install_lora(write(tmp_path / "narrow.safetensors", narrow)).text
    with pytest.raises(UnsupportedModel, match=f"is a LoRA for SD1.5: choose one for text of width {CONTEXT}"):
        studio.install_lora(write(tmp_path / "usual.safetensors", KOHYA))
    assert [one.name for one in studio.loras()] == ["narrow"]


def test_styles_are_bound_anew_only_after_a_change(studio, tmp_path):
    assert studio.styles(NOBODY) is studio.styles(NOBODY)
    studio.install_lora(write(tmp_path / "mengwa.safetensors", KOHYA))
    assert studio.styles(NOBODY) is studio.styles(NOBODY)


# what is missing


def test_what_is_there_and_what_is_missing(host, studio, models, monkeypatch):
    from facechain_ext.hosts import webui

    found = {one.name: one for one in studio.readiness("local")}
    assert list(found)[:3] == ["checkpoint", "adapter", "encoder"] and {"analyser", "styles", "check", "pose"} < set(found)
    assert found["checkpoint"].sentence == "base [01]" and found["adapter"].sentence.startswith("small") and found["encoder"].there
    assert not found["pose"].there and "sd-webui-controlnet" in found["pose"].sentence and studio.poses_possible() == found["pose"].sentence
    monkeypatch.setattr(webui, "supports", lambda *_: "This checkpoint is SDXL.")
    for name in ("small.safetensors", "encoder.safetensors"):
        (models / "FaceChain" / name).unlink()
    found = {one.name: one for one in studio.readiness("local")}
    assert not any(found[name].there for name in ("checkpoint", "adapter", "encoder"))
    assert found["checkpoint"].sentence == "This checkpoint is SDXL." and "No FaceChain adapter" in found["adapter"].sentence


def test_a_skeleton_stays_one_and_photos_need_somebody_to_draw_it(studio, monkeypatch):
    from facechain_ext.vision.skeleton import draw_skeletons

    joints = [(10.0 + n, 20.0 + 5 * n) for n in range(18)]
    drawn = draw_skeletons((64, 128), [joints])
    assert studio.skeleton(drawn, (64, 128)).size == (64, 128)
    monkeypatch.setitem(sys.modules, "mediapipe.python.solutions.pose", None)
    with pytest.raises(MissingPackage, match="ControlNet's openpose"):
        studio.skeleton(Image.open(ASTRONAUT).convert("RGB"), (64, 128))
    monkeypatch.setattr(studio.host.__class__, "skeleton", lambda self, image, size: Image.new("RGB", size, "blue"))
    assert studio.skeleton(Image.open(ASTRONAUT).convert("RGB"), (64, 128)).getpixel((5, 5)) == (0, 0, 255)
