"""The script in a generation: what reaches the host, what the info text says, and that the picture survives whatever fails."""

from __future__ import annotations

import base64
import importlib.util
import inspect
import logging
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi import HTTPException
from PIL import Image

from tests.fakes import page
from tests.fakes.page import Processing, Script
from tests.fakes.room import ColourEyes
from tests.ui.conftest import ASTRONAUT

ENTRY = Path(__file__).parents[2] / "scripts" / "facechain.py"
PHOTO = base64.b64encode(ASTRONAUT.read_bytes()).decode()
X = SimpleNamespace(shape=(1, 4, 12, 8))


def load_entry():
    """scripts/facechain.py as the host loads it: a module without a name of its own."""
    spec = importlib.util.spec_from_file_location("facechain.py", ENTRY)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Host:
    """What the script hands to the host, in order."""

    def __init__(self, monkeypatch) -> None:
        from facechain_ext.hosts import webui

        self.calls: list[tuple] = []
        self.plans: list = []
        self.unsupported: str | None = None
        self.troubled: str | None = None
        self.begin_fails: Exception | None = None
        monkeypatch.setattr(webui, "begin", self.begin)
        monkeypatch.setattr(webui, "release", lambda p=None: self.calls.append(("release", p)))
        monkeypatch.setattr(webui, "supports", lambda what=None, adapter=None: self.unsupported)
        monkeypatch.setattr(webui, "trouble", lambda p: self.troubled)

    def begin(self, p, plan, latent) -> None:
        if self.begin_fails is not None:
            raise self.begin_fails
        self.calls.append(("begin", p, latent))
        self.plans.append(plan)


@pytest.fixture
def attached(host, monkeypatch) -> Host:
    return Host(monkeypatch)


@pytest.fixture
def script(host, attached):
    return load_entry().FaceChain()


def asked(*persons, **panel):
    people = persons or ({"photos": [PHOTO]},)
    return ({"enabled": True, "analyser": "embedded", **panel, "persons": list(people)},)


def run(script, args, passes=1, **more):
    p = Processing(script, args, is_api=True, **more)
    p.run(X, passes)
    return p


def test_the_entry_shows_one_script_and_not_its_base(host):
    module = load_entry()
    found = [thing for thing in vars(module).values() if isinstance(thing, type) and issubclass(thing, Script)]
    assert [one.__name__ for one in found] == ["FaceChain"]


@pytest.mark.parametrize(("photos", "as_one", "said"), [(2, True, {"FaceChain photos weigh": "as one"}), (1, True, {}), (2, False, {})])
def test_the_info_text_says_where_several_photos_weigh_as_one(host, photos, as_one, said):
    """Where any of the persons has several."""
    from facechain_ext.ui.request import PanelOptions
    from facechain_ext.ui.script import info_of

    met = {
        number: SimpleNamespace(identity=SimpleNamespace(photos=("ab12",) * count, encoder="E")) for number, count in ((1, 1), (2, photos))
    }
    request = SimpleNamespace(persons=(), panel=PanelOptions())
    adapter = SimpleNamespace(name="fact", fingerprint="1234", as_one=as_one)
    assert info_of(request, adapter, met) == {"FaceChain adapter": "fact [1234]", "FaceChain encoder": "E", **said}


START = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from types import SimpleNamespace
from tests.fakes import page
nothing = lambda *a, **k: None
page.install(SimpleNamespace(setitem=lambda d, k, v: d.__setitem__(k, v), delitem=nothing, delattr=nothing), Path())
import fastapi, PIL.Image
before = set(sys.modules)
import runpy
runpy.run_path(sys.argv[1] + "/scripts/facechain.py")
print(sorted({name.partition(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)))
"""


def test_loading_the_script_loads_nothing_but_our_own_files():
    done = subprocess.run([sys.executable, "-c", START, str(ENTRY.parents[1])], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "['facechain_ext']", done.stdout + done.stderr


def test_callbacks_are_registered_once_however_often_the_scripts_load(host):
    load_entry()
    load_entry()
    assert {name: len(found) for name, found in host.callbacks.items()} == dict.fromkeys(host.callbacks, 1)


def test_the_host_finds_no_import_in_the_stack_it_walks_for_a_callback(host, monkeypatch):
    seen = []
    monkeypatch.setattr(host.script_callbacks, "on_before_ui", lambda _callback: seen.extend(one.filename for one in inspect.stack(0)))
    load_entry()
    assert str(ENTRY.parents[1] / "facechain_ext" / "ui" / "settings.py") in seen
    assert not [name for name in seen if "importlib" in name or "runpy" in name or name == str(ENTRY)]


def test_a_callback_that_cannot_be_registered_is_no_secret(host, monkeypatch):
    def refuse(_callback):
        raise RuntimeError("no more callbacks")

    monkeypatch.setattr(host.script_callbacks, "on_ui_tabs", refuse)
    with pytest.raises(RuntimeError, match="no more callbacks"):
        load_entry()


def test_the_api_asks_for_values_and_gets_them_without_another_panel(script, host):
    first = script.ui(False)
    made = len(page.Page.made)
    host.gradio.context.Context.block = host.gradio.context.Context.root_block
    assert script.ui(False) is first and len(page.Page.made) == made
    host.gradio.context.Context.block = object()
    assert script.ui(False) is not first and len(page.Page.made) > made


def test_title_and_place(script, host):
    assert script.title() == "FaceChain" and script.show(False) is host.scripts.AlwaysVisible is script.show(True)


def test_a_person_reaches_the_host_in_every_pass_and_leaves_afterwards(script, attached):
    p = run(script, asked({"photos": [PHOTO], "weight": 0.8, "start": 0.1, "end": 0.9}, passes="second"), passes=2)
    assert [call[0] for call in attached.calls] == ["release", "begin", "begin", "release"]
    assert attached.calls[1][2] == (12, 8)
    (placed,) = attached.plans[0].persons
    assert (placed.weight, placed.start, placed.end, placed.mask) == (0.8, 0.1, 0.9, None)
    assert attached.plans[0].passes == "second" and attached.plans[0].adapter.name == "small"
    assert placed.identity.photos == ("f07f3d10116f",)
    assert p.facechain_run is None


def test_the_info_text_states_everything_that_is_needed_to_do_it_again(script, attached):
    from facechain_ext.ui.request import from_infotext

    p = run(script, asked({"photos": [PHOTO], "weight": 0.8, "face": 1}, adapter="small", passes="first"))
    pasted = from_infotext(p.extra_generation_params)
    assert pasted is not None and (pasted.panel.adapter, pasted.panel.passes, pasted.panel.analyser) == ("small", "first", "embedded")
    options, photos = pasted.persons[1]
    assert (options.weight, options.face, photos) == (0.8, 1, ("f07f3d10116f",))
    assert "FaceChain error" not in p.extra_generation_params


@pytest.mark.parametrize(
    "args",
    [
        (),
        ({},),
        ({"enabled": False, "persons": [{"photos": [PHOTO]}]},),
        ({"enabled": True, "persons": [{"photos": [PHOTO], "weight": 0}]},),
    ],
)
def test_off_is_off(script, attached, args):
    p = run(script, args)
    assert attached.plans == [] and p.extra_generation_params == {} and p.comments == []


def noise(tmp_path):
    path = tmp_path / "noise.png"
    Image.effect_noise((200, 200), 60).convert("RGB").save(path)
    return base64.b64encode(path.read_bytes()).decode()


def troubles(tmp_path, models):
    folder = models / "FaceChain"
    junk = base64.b64encode(b"no picture").decode()
    return {
        "no face": (asked({"photos": [noise(tmp_path)]}), "No face found in photo 1"),
        "no picture": (asked({"photos": [junk]}), "photo 1 is not a picture"),
        "unknown field": (asked({"foto": []}), "There is no option 'foto'"),
        "unknown adapter": (asked(adapter="maj"), "There is no adapter 'maj'"),
        "unknown person": (asked({"name": "Anna"}), "No saved person is called 'Anna'"),
        "unknown analysis": (asked(analyser="magic"), "no face analysis 'magic'"),
        "no adapter file": (asked(), f"No FaceChain adapter is in {folder}"),
        "no encoder file": (asked(), f"No face encoder is in {folder}"),
        "wrong file": (asked(), "is not a complete safetensors file"),
        "wrong checkpoint": (asked(), "This checkpoint is SDXL"),
        "while attaching": (asked(), "does not fit"),
        "while sampling": (asked(), "lost its rows"),
        "a bug of ours": (asked(), "FaceChain failed in this picture (ZeroDivisionError: division by zero)"),
    }


TROUBLES = [
    "no face", "no picture", "unknown field", "unknown adapter", "unknown person", "unknown analysis", "no adapter file", "no encoder file",
    "wrong file", "wrong checkpoint", "while attaching", "while sampling", "a bug of ours",
]  # fmt: skip


def prepare(kind, attached, models, monkeypatch):
    """Bring about the trouble of that name, where the request alone does not."""
    from facechain_ext.errors import BadWeights
    from facechain_ext.ui import script

    folder = models / "FaceChain"
    if kind == "no adapter file":
        (folder / "small.safetensors").unlink()
    if kind == "no encoder file":
        (folder / "encoder.safetensors").unlink()
    if kind == "wrong file":
        whole = (folder / "encoder.safetensors").read_bytes()
        (folder / "encoder.safetensors").unlink()
        (folder / "encoder.safetensors").write_bytes(whole[:-100])
    attached.unsupported = "This checkpoint is SDXL." if kind == "wrong checkpoint" else None
    attached.begin_fails = BadWeights("The adapter does not fit.") if kind == "while attaching" else None
    attached.troubled = "The face lost its rows." if kind == "while sampling" else None
    if kind == "a bug of ours":
        monkeypatch.setattr(script, "plan_of", lambda request, loaded, user: 1 / 0)


@pytest.mark.parametrize("kind", TROUBLES)
def test_the_picture_is_made_and_the_reason_told_everywhere(kind, script, attached, models, tmp_path, monkeypatch, caplog):
    args, says = troubles(tmp_path, models)[kind]
    prepare(kind, attached, models, monkeypatch)
    p = Processing(script, args)
    with caplog.at_level(logging.WARNING, "facechain"):
        assert p.run(X) == "a picture"
    from facechain_ext.ui.script import last_trouble

    reason = p.extra_generation_params["FaceChain error"]
    assert says.replace(f"{models.parent}/", "") in reason and says in caplog.text
    assert says in last_trouble["local", "txt2img"] and says in p.comments[0]
    assert attached.calls[-1] == ("release", p)
    if kind != "while sampling":
        assert attached.plans == []


@pytest.mark.parametrize(("user", "owner"), [("ada", True), ("eve", False)])
def test_with_log_ins_where_things_lie_is_told_to_the_first_account_alone(script, attached, models, host, user, owner):
    """And the info text, which goes with the picture wherever that goes, never says it."""
    from facechain_ext.ui.script import last_trouble

    host.shared.cmd_opts.gradio_auth = "ada:secret,eve:word"
    (models / "FaceChain" / "small.safetensors").unlink()
    p = Processing(script, asked(), user=user)
    p.run(X)
    reason = p.extra_generation_params["FaceChain error"]
    assert f" {models.name}/FaceChain" in reason and str(models.parent) not in reason
    for said in (p.comments[0], last_trouble[user, "txt2img"]):
        assert (f"{models}/FaceChain" in said) is owner and f"{models.name}/FaceChain" in said


def test_with_log_ins_a_refused_request_is_not_told_where_things_lie(script, attached, models, host):
    host.shared.cmd_opts.api_auth = "ada:secret"
    (models / "FaceChain" / "small.safetensors").unlink()
    args = asked(strict=True)
    with pytest.raises(HTTPException) as refused:
        Processing(script, args, is_api=True).run(X)  # nobody whom the host's route could name
    assert str(models.parent) not in refused.value.detail and f"{models.name}/FaceChain" in refused.value.detail


@pytest.mark.parametrize("kind", TROUBLES)
def test_strict_refuses_the_request_with_the_sentence(kind, script, attached, models, tmp_path, monkeypatch):
    args, says = troubles(tmp_path, models)[kind]
    prepare(kind, attached, models, monkeypatch)
    p = Processing(script, ({**args[0], "strict": True},), is_api=True)
    with pytest.raises(HTTPException) as refused:
        p.run(X)
    assert refused.value.status_code == 422 and says in refused.value.detail


def test_strict_is_the_apis_alone(script, attached):
    attached.unsupported = "This checkpoint is SDXL."
    p = Processing(script, asked(strict=True), is_api=False)
    assert p.run(X) == "a picture"


def test_trouble_is_forgotten_with_the_next_picture(script, attached):
    from facechain_ext.ui.script import last_trouble

    attached.unsupported = "This checkpoint is SDXL."
    Processing(script, asked()).run(X)
    assert last_trouble == {("local", "txt2img"): "This checkpoint is SDXL."}
    run(script, asked())  # over the API: nobody looks at the panel
    attached.unsupported = None
    p = Processing(script, asked())
    p.run(X)
    assert last_trouble == {} and "FaceChain error" not in p.extra_generation_params and len(attached.plans) == 1


def test_trouble_is_its_users_alone(script, attached, host):
    from facechain_ext.ui.script import last_trouble

    host.shared.cmd_opts.gradio_auth = "ada:secret,eve:word"
    attached.unsupported = "This checkpoint is SDXL."
    Processing(script, asked(), user="ada").run(X)
    attached.unsupported = None
    Processing(script, asked(), user="eve").run(X)
    assert last_trouble == {("ada", "txt2img"): "This checkpoint is SDXL."}


def test_after_a_crash_the_next_generation_begins_clean(script, attached):
    p = Processing(script, asked(), is_api=True)
    with pytest.raises(RuntimeError, match="out of memory"):
        p.run(X, fails=True)
    attached.calls.clear()
    run(script, ())
    assert attached.calls[0] == ("release", None)


def test_two_persons_side_by_side_share_the_picture(script, attached):
    side = {"photos": [PHOTO], "region": "left to right"}
    run(script, asked(side, {"photos": [PHOTO]}, {**side, "weight": 0.7}))
    first, whole, second = (placed.mask for placed in attached.plans[0].persons)
    assert whole is None and first.getpixel((0, 0)) == 255 == second.getpixel((first.width - 1, 0))
    assert first.getpixel((first.width - 1, 0)) == 0 == second.getpixel((0, 0))


def test_one_person_from_left_to_right_has_the_whole_picture(script, attached):
    run(script, asked({"photos": [PHOTO], "region": "left to right"}))
    assert attached.plans[0].persons[0].mask is None


def test_a_person_is_met_once_and_not_for_ever(script, attached, monkeypatch):
    from facechain_ext.ui.loaded import MOST_MET, loaded

    run(script, asked())
    run(script, asked({"photos": [PHOTO], "weight": 0.9}))
    assert attached.plans[0].persons[0].identity is attached.plans[1].persons[0].identity
    for number in range(MOST_MET + 3):
        image = Image.open(ASTRONAUT).convert("RGB")
        image.putpixel((0, 0), (number, 0, 0))
        path = Path(loaded.library("local").folder.parent) / "photo.png"
        image.save(path)
        run(script, asked({"photos": [base64.b64encode(path.read_bytes()).decode()]}))
    assert len(loaded._met) == MOST_MET


def inner_pass(script, box, args, **more):
    mask = Image.new("L", (100, 100))
    mask.paste(255, box)
    p = Processing(script, args, is_api=True, _ad_inner=True, image_mask=mask, init_images=[], **more)
    p.run(X)
    return p


PAIR = ({"photos": [PHOTO], "region": "left to right", "weight": 0.1}, {"photos": [PHOTO], "region": "left to right", "weight": 0.2})


@pytest.mark.parametrize(("box", "weight"), [((5, 20, 30, 50), 0.1), ((70, 20, 95, 50), 0.2)])
def test_adetailers_face_is_the_person_of_its_place(script, attached, box, weight):
    inner_pass(script, box, asked(*PAIR))
    assert [(placed.weight, placed.mask) for placed in attached.plans[0].persons] == [(weight, None)]


def test_adetailers_faces_go_round_where_nobody_has_a_place(script, attached):
    persons = ({"photos": [PHOTO], "weight": 0.1}, {"photos": [PHOTO], "weight": 0.2})
    for _ in range(2):
        script.process(Processing(script, (), is_api=True), {})
        for box in ((5, 5, 20, 20), (70, 5, 90, 20), (40, 5, 60, 20)):
            inner_pass(script, box, asked(*persons))
        script.postprocess_image(Processing(script, (), is_api=True), None)
    assert [plan.persons[0].weight for plan in attached.plans] == [0.1, 0.2, 0.1] * 2


def test_adetailers_pass_can_be_left_alone(script, attached):
    inner_pass(script, (5, 5, 20, 20), asked(adetailer_pass=False))
    assert attached.plans == []


def test_axes_of_the_plot(script, attached, host):
    from facechain_ext.ui import xyz

    class AxisOption:
        def __init__(self, label, type, apply, choices=None) -> None:
            self.label, self.type, self.apply, self.choices = label, type, apply, choices

    plot = SimpleNamespace(__file__="/webui/scripts/xyz_grid.py", AxisOption=AxisOption, axis_options=[AxisOption("Seed", int, None)])
    host.scripts.scripts_data.append(SimpleNamespace(module=plot))
    xyz.add_axes()
    xyz.add_axes()
    axes = {one.label: one for one in plot.axis_options}
    assert len(axes) == len(plot.axis_options) == 6
    p = Processing(script, asked({"photos": [PHOTO], "weight": 0.5}), is_api=True)
    axes["[FaceChain] Likeness"].apply(p, 1.25, [1.25])
    axes["[FaceChain] From"].apply(p, 0.5, [0.5])
    p.run(X)
    assert (attached.plans[0].persons[0].weight, attached.plans[0].persons[0].start) == (1.25, 0.5)
    assert axes["[FaceChain] Adapter"].choices() == ["small"] and axes["[FaceChain] Saved person"].choices() == []


def test_with_a_login_the_plots_names_are_typed(host):
    host.shared.cmd_opts.gradio_auth = "ada:secret"
    from facechain_ext.ui import xyz

    plot = SimpleNamespace(AxisOption=lambda label, kind, apply, **more: (label, set(more)))
    assert dict(xyz.axes(plot)) == {
        "[FaceChain] Likeness": set(), "[FaceChain] From": set(), "[FaceChain] To": set(), "[FaceChain] Saved person": set(),
        "[FaceChain] Adapter": {"choices"},
    }  # fmt: skip


def test_a_saved_person_is_found_by_name(script, attached):
    from facechain_ext.ui import analysis
    from facechain_ext.ui.loaded import loaded
    from facechain_ext.ui.request import Picture

    analysis.save(loaded, "local", "Anna", [Picture(data=ASTRONAUT.read_bytes(), name="photo 1")], analyser="embedded", consent=True)
    run(script, asked({"photos": [PHOTO]}))
    p = run(script, asked({"name": "anna"}))
    one, other = (plan.persons[0].identity for plan in attached.plans)
    assert (one.tokens - other.tokens).abs().max() == 0 and one.photos == other.photos
    assert "name: anna" in p.extra_generation_params["FaceChain person 1"]


@pytest.mark.parametrize(
    ("age", "words", "refused"),
    [
        ((10, 19), {"prompt": "in a garden"}, False),
        ((10, 19), {"prompt": "in a bikini"}, True),
        ((10, 19), {"negative_prompt": "clothes"}, True),
        ((10, 19), {"prompt": "in a garden", "enable_hr": True, "hr_prompt": "in a bikini"}, True),
        ((10, 19), {"prompt": "in a garden <lora:lingerie:1>"}, True),
        ((30, 39), {"prompt": "in a bikini"}, False),
        ((30, 39), {"prompt": "a naked 12 year old girl"}, True),
        (None, {"prompt": "a naked 12 year old girl"}, True),
        (None, {"prompt": "nude"}, False),
    ],
)
@pytest.mark.parametrize("saved", [False, True])
def test_what_is_not_made_of_the_young_is_made_without_the_face(script, attached, monkeypatch, age, words, refused, saved):
    """By the face in a photo or in a saved person's small picture, or by what the prompt says; the WebUI looks after adults itself."""
    from facechain_ext.ui.loaded import loaded

    photographed("local", "Anna")
    monkeypatch.setattr(loaded, "analyser", lambda name: ColourEyes(age=age, gender=None))
    p = run(script, asked({"name": "Anna"} if saved else {"photos": [PHOTO]}), **words)
    said = p.extra_generation_params.get("FaceChain error", "")
    assert (len(attached.plans), "under 18" in said) == ((0, True) if refused else (1, False))


def test_a_saved_person_needs_no_face_analysis(script, attached, monkeypatch):
    from facechain_ext.errors import MissingPackage
    from facechain_ext.ui.loaded import loaded

    def none(name):
        raise MissingPackage("No face analysis is here: install one.")

    photographed("local", "Anna")
    monkeypatch.setattr(loaded, "analyser", none)
    p = run(script, asked({"name": "Anna"}), prompt="in a bikini")
    assert len(attached.plans) == 1 and "FaceChain error" not in p.extra_generation_params


def test_a_saved_person_whose_age_cannot_be_looked_at_is_painted(script, attached, monkeypatch):
    from facechain_ext.errors import BadPicture
    from facechain_ext.ui.loaded import loaded

    def broken(image, face):
        raise BadPicture("This photo cannot be read: give another one.")

    eyes = ColourEyes(age=(10, 19))
    monkeypatch.setattr(eyes, "attributes", broken)
    photographed("local", "Anna")
    monkeypatch.setattr(loaded, "analyser", lambda name: eyes)
    p = run(script, asked({"name": "Anna"}), prompt="in a bikini")
    assert len(attached.plans) == 1 and "FaceChain error" not in p.extra_generation_params


def photographed(user: str, name: str) -> None:
    """Somebody saved by a user."""
    from facechain_ext.ui import analysis
    from facechain_ext.ui.loaded import loaded
    from facechain_ext.ui.request import Picture

    analysis.save(loaded, user, name, [Picture(data=ASTRONAUT.read_bytes(), name="photo 1")], analyser="embedded", consent=True)


def test_with_a_login_a_name_means_ones_own_person(script, attached, host):
    host.shared.cmd_opts.gradio_auth = "ada:secret,eve:word"
    photographed("ada", "Anna")
    photographed("local", "Lou")
    mine = Processing(script, asked({"name": "Anna"}), user="ada")
    mine.run(X)
    within = Processing(script, asked({"name": "Anna"}), user=None, _ad_inner=True, init_images=[], image_mask=None)
    within.run(X)  # ADetailer's pass does not know whose picture it repaints
    assert len(attached.plans) == 2 and "FaceChain error" not in within.extra_generation_params
    for user, name in (("eve", "Anna"), ("ada", "Lou"), ("eve", "Lou")):
        other = Processing(script, asked({"name": name}), user=user)
        other.run(X)
        assert "No saved person is called" in other.extra_generation_params["FaceChain error"]
    nobody = Processing(script, asked({"name": "Lou"}), user=None)
    nobody.run(X)
    assert "names no user" in nobody.extra_generation_params["FaceChain error"] and len(attached.plans) == 2


def test_over_the_api_a_name_means_a_person_of_whoever_asks(script, attached, host):
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    from facechain_ext.ui import api

    def generation() -> dict:
        p = Processing(script, asked({"name": "Anna"}), is_api=True, user=None)
        p.run(X)
        return p.extra_generation_params

    app = FastAPI()
    app.add_api_route("/sdapi/v1/txt2img", generation, methods=["POST"])
    for _ in range(2):
        api.on_app_started(None, app)
    client = TestClient(app)
    assert "No saved person" in client.post("/sdapi/v1/txt2img").json()["FaceChain error"]
    photographed("local", "Anna")
    assert "FaceChain error" not in client.post("/sdapi/v1/txt2img").json()
    host.shared.cmd_opts.api_auth = "ada:secret,eve:pass:word"
    assert "No saved person" in client.post("/sdapi/v1/txt2img", auth=("eve", "pass:word")).json()["FaceChain error"]
    photographed("eve", "Anna")
    assert "FaceChain error" not in client.post("/sdapi/v1/txt2img", auth=("eve", "pass:word")).json()
    assert "No saved person" in client.post("/sdapi/v1/txt2img", auth=("ada", "secret")).json()["FaceChain error"]
    for wrong in (("eve", "secret"), None):  # the host itself refuses them; whoever gets past it has nobody's persons
        assert "names no user" in client.post("/sdapi/v1/txt2img", auth=wrong).json()["FaceChain error"]
    assert "names no user" in client.post("/sdapi/v1/txt2img", headers={"Authorization": "Basic %%%"}).json()["FaceChain error"]


def test_our_name_in_adetailers_list(monkeypatch, models):
    from tests.fakes import page

    host = page.install(monkeypatch, models, opts={"ad_script_names": "dynamic_prompting, wildcards"})
    from facechain_ext.ui import settings

    assert settings.adetailer_runs_us() is False
    settings.let_adetailer_run_us()
    settings.let_adetailer_run_us()
    assert host.shared.opts.ad_script_names == "dynamic_prompting,wildcards,facechain" and settings.adetailer_runs_us()
    settings.on_ui_settings()
    host.shared.opts.facechain_in_adetailer = False
    host.shared.opts.labels["facechain_in_adetailer"].onchange()
    assert host.shared.opts.ad_script_names == "dynamic_prompting,wildcards" and host.shared.opts.saved


def test_without_adetailer_there_is_no_button_for_it(host):
    from facechain_ext.ui import settings

    settings.on_ui_settings()
    assert settings.adetailer_runs_us() is None and "facechain_in_adetailer" not in host.shared.opts.labels


# generations of the tab


def errand(plan):
    from facechain_ext.hosts.webui import ERRAND, Errand

    return {ERRAND: Errand(plan=plan, step=lambda p, step, steps: None)}


def test_a_plan_that_the_tab_sent_is_attached_whatever_the_panel_says(script, attached):
    plan = SimpleNamespace(adapter="an adapter")
    p = run(script, asked({"photos": ["not base64"]}), passes=2, **errand(plan))
    assert attached.plans == [plan, plan] and p.extra_generation_params == {} and p.comments == []
    p = run(script, asked(), **errand(None))
    assert len(attached.plans) == 2 and p.extra_generation_params == {}


def test_a_face_that_cannot_be_held_ends_the_tabs_generation(script, attached):
    from facechain_ext.errors import PictureFailed, UnsupportedModel

    plan = SimpleNamespace(adapter="an adapter")
    attached.unsupported = "This checkpoint is SDXL."
    with pytest.raises(UnsupportedModel, match="is SDXL"):
        run(script, (), **errand(plan))
    attached.unsupported, attached.begin_fails = None, UnsupportedModel("Something else.")
    with pytest.raises(UnsupportedModel, match="Something else"):
        run(script, (), **errand(plan))
    attached.begin_fails = ZeroDivisionError("unforeseen")
    with pytest.raises(PictureFailed, match="ZeroDivisionError: unforeseen"):
        run(script, (), **errand(plan))
