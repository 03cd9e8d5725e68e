"""The WebUI as the tab's host: what it is asked for, in whose turn, with whose face, and how it is stopped and fails."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

from facechain_ext.engine.injection import Person
from facechain_ext.errors import BadInput, Interrupted, MissingPackage, OutOfMemory, PictureFailed, Skipped, UnsupportedModel
from facechain_ext.hosts import webui, webui_painting
from facechain_ext.hosts.types import Control, Finish, Hires, Listed, Lora, Paint
from facechain_ext.hosts.webui_host import WebUIHost
from tests.fakes import networks
from tests.fakes import webui_generation as fakes
from tests.fakes.networks import identity, shared_unet
from tests.hosts.webui_cases import hooks_of, one_thread

SMALL = {"prompt": "a portrait", "width": 64, "height": 128, "steps": 3, "sampler": "Euler", "seed": 5}


@pytest.fixture(scope="module")
def adapter():
    return networks.adapter()


@pytest.fixture
def modules(monkeypatch, tmp_path):
    with one_thread():
        yield fakes.install(monkeypatch, tmp_path, shared_unet())
    webui.release()
    assert hooks_of(shared_unet()) == 0


@pytest.fixture
def host(modules) -> WebUIHost:
    return WebUIHost()


def request(**changes) -> Paint:
    return Paint(**SMALL | changes)


def face(adapter, **changes) -> dict:
    return {"adapter": adapter, "persons": (Person(identity=identity(), **({"weight": 1.0} | changes)),)}


def pixels(painted) -> np.ndarray:
    return np.stack([np.asarray(one.image) for one in painted])


# what is asked of the WebUI


def test_a_picture_with_the_hosts_own_objects(host, modules):
    (one,) = host.paint(request(negative="bad", cfg=5, sampler="Euler a Karras"))
    (p,) = fakes.MADE
    assert (p.prompt, p.negative_prompt, p.seed, p.steps, p.cfg_scale, p.width, p.height) == ("a portrait", "bad", 5, 3, 5, 64, 128)
    assert (p.sampler_name, p.scheduler, p.script_args, p.closed) == ("Euler a", "Karras", (0, 7, False, "auto"), True)
    assert (one.image.mode, one.image.size, one.seed) == ("RGB", (64, 128), 5)
    assert modules.shared.state.jobs == ["facechain"] and not modules.call_queue.queue_lock.lock.locked()


def test_pictures_have_their_seed_in_any_batch(host, modules):
    alone = list(host.paint(request(count=3)))
    assert [one.seed for one in alone] == [5, 6, 7] and [p.seed for p in fakes.MADE] == [5, 6, 7]
    assert modules.call_queue.queue_lock.taken == 3, "others get their turn between two batches"
    modules.sampling.grids = 1
    together = list(host.paint(request(count=3, batch=2)))
    assert [p.batch_size for p in fakes.MADE[3:]] == [2, 1] and [one.seed for one in together] == [5, 6, 7]
    assert np.abs(pixels(alone).astype(int) - pixels(together)).max() <= 1


def test_the_person_goes_the_way_of_the_panel(host, modules, adapter):
    off, on, again = (list(host.paint(request(**more))) for more in ({}, face(adapter), {}))
    assert np.array_equal(pixels(off), pixels(again)) and np.abs(pixels(off).astype(int) - pixels(on)).max() > 8
    assert not modules.sampling.swallowed
    webui.release()
    assert hooks_of(shared_unet()) == 0
    half = torch.zeros(16, 8)
    half[:8] = 1
    top = list(host.paint(request(**face(adapter, mask=half))))
    change = np.abs(pixels(top).astype(float) - pixels(off)).mean((0, 2, 3))
    assert change[:64].mean() > change[64:].mean() > 0


def test_a_mask_arrives_as_it_was(adapter):
    ramp = torch.linspace(0, 1, 6).reshape(2, 3)
    plan = webui_painting.plan_of(request(**face(adapter, mask=ramp, weight=0.7, start=0.1, end=0.9)))
    assert plan is not None and (plan.persons[0].weight, plan.persons[0].start, plan.persons[0].end) == (0.7, 0.1, 0.9)
    assert np.asarray(plan.persons[0].mask).tolist() == [[0, 51, 102], [153, 204, 255]]
    assert webui_painting.plan_of(request()) is None


def test_hires(host, modules, tmp_path):
    list(host.paint(request(hires=Hires(scale=1.5, strength=0.3, steps=4, upscaler="Latent"))))
    p = fakes.MADE[0]
    assert (p.enable_hr, p.hr_scale, p.denoising_strength, p.hr_second_pass_steps, p.hr_upscaler) == (True, 1.5, 0.3, 4, "Latent")
    list(host.paint(request(hires=Hires())))
    assert fakes.MADE[1].hr_upscaler == "Lanczos" and not hasattr(p, "hr_cfg")
    with pytest.raises(BadInput, match="no upscaler 'Lanczo': did you mean 'Lanczos'"):
        list(host.paint(request(hires=Hires(upscaler="Lanczo"))))


def test_a_finished_picture_is_restored_and_enlarged_by_the_hosts_own(host, modules):
    assert host.restorers() == ["CodeFormer", "GFPGAN"] and host.finishers() == ["Lanczos", "Nearest", "R-ESRGAN 4x+"]
    (plain,) = host.paint(request())
    finish = Finish(restorer="CodeFormer", scale=1.5, upscaler="R-ESRGAN 4x+")
    (one,) = host.paint(request(finish=finish))
    assert one.image.size == (96, 192) and modules.shared.sd_upscalers[3].scaler.asked == [(1.5, "https://elsewhere/x.pth")]
    made = np.asarray(one.image.resize((64, 128), Image.Resampling.NEAREST))
    assert np.array_equal(made[..., 0], np.asarray(plain.image)[..., 0]) and not made[..., 1:].any(), "restored is red"
    assert [p.restore_faces for p in fakes.MADE] == [False, False], "the host's own setting does not restore once more, or unasked"
    (larger,) = host.paint(request(finish=Finish(scale=2)))
    assert larger.image.size == (128, 256) and modules.shared.sd_upscalers[1].scaler.asked == [(2, None)]


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("kind", ["finish", "hires", "both"])
def test_an_upscaler_that_does_nothing_is_noted_beside_the_picture(host, modules, kind, there):
    """The host says so in its console alone, and enlarges by Lanczos."""
    scaler, named = modules.shared.sd_upscalers[3].scaler, {"scale": 2, "upscaler": "R-ESRGAN 4x+"}
    scaler.there = there
    asked = {"finish": Finish(**named), "hires": Hires(**named)}
    pictures = list(host.paint(request(count=2, batch=2, **(asked if kind == "both" else {kind: asked[kind]}))))
    assert len(pictures) == 2 and len(scaler.asked) == {"finish": 2, "hires": 1, "both": 3}[kind]
    said = "" if there else webui_painting.NOT_LOADED.format(name="R-ESRGAN 4x+")
    assert [one.note for one in pictures] == [said, said], "once, also where both passes wanted it"
    assert "do_upscale" not in vars(scaler), "the host's object is as it was"


def test_the_hosts_upscaler_is_as_it_was_after_an_error_too(modules):
    scaler = modules.shared.sd_upscalers[3].scaler
    scaler.do_upscale = another = lambda picture, path: picture  # an extension's, say
    with pytest.raises(ZeroDivisionError), webui_painting.upscaling("R-ESRGAN 4x+") as idle:
        scaler.do_upscale(Image.new("RGB", (8, 8)), None)
        raise ZeroDivisionError
    assert scaler.do_upscale is another and idle == ["R-ESRGAN 4x+"]
    with webui_painting.upscaling("Latent") as idle:
        assert idle == []


def test_a_finish_that_cannot_be_is_said(host, modules):
    with pytest.raises(BadInput, match="no face restoration 'GFPGANs': did you mean 'GFPGAN'"):
        list(host.paint(request(finish=Finish(restorer="GFPGANs"))))
    with pytest.raises(BadInput, match="no upscaler 'Latent': choose Lanczos"):
        list(host.paint(request(finish=Finish(scale=2, upscaler="Latent"))))
    with pytest.raises(PictureFailed, match=r"could not load GFPGAN.*models/GFPGAN"):
        list(host.paint(request(finish=Finish(restorer="GFPGAN"))))
    modules.shared.face_restorers[:] = [fakes.Restorer("CodeFormer", there=False)]
    with pytest.raises(PictureFailed, match=r"could not load CodeFormer.*models/Codeformer,"):
        list(host.paint(request(finish=Finish(restorer="CodeFormer"))))
    modules.shared.face_restorers.clear()
    with pytest.raises(BadInput, match="no face restoration 'CodeFormer': leave it out"):
        list(host.paint(request(finish=Finish(restorer="CodeFormer"))))


def test_hires_on_forge_states_what_forge_would_change(monkeypatch, tmp_path):
    fakes.install(monkeypatch, tmp_path, shared_unet(), forge=True)
    list(WebUIHost().paint(request(cfg=6, hires=Hires())))
    assert (fakes.MADE[0].hr_cfg, fakes.MADE[0].hr_additional_modules) == (6, ["Use same choices"])


def test_a_picture_to_start_from(host):
    image, mask = Image.new("RGB", (32, 32), "red"), Image.new("L", (64, 128), 255)
    list(host.paint(request(image=image, mask=mask, strength=0.4)))
    p = fakes.MADE[0]
    assert p.init_images[0].size == p.mask.size == (64, 128) and (p.denoising_strength, p.inpaint_full_res, p.mask_blur) == (0.4, False, 0)
    assert p.script_args == (0, False, "auto")
    with pytest.raises(BadInput, match="no picture to inpaint"):
        list(host.paint(request(mask=mask)))


@pytest.mark.parametrize("saved", [None, 2])
def test_clip_skip_is_put_back(host, modules, saved):
    data = modules.shared.opts.data
    data |= {} if saved is None else {"CLIP_stop_at_last_layers": saved}
    before = dict(data)
    list(host.paint(request(clip_skip=3)))
    modules.sampling.fails = RuntimeError("broken")
    with pytest.raises(RuntimeError, match="broken"):
        list(host.paint(request(clip_skip=4)))
    assert modules.sampling.clip_skips == [3, 4] and data == before


# LoRAs, samplers, upscalers, checkpoints


def test_loras_by_the_hosts_list(host, modules, tmp_path):
    file = str(tmp_path / "Lora" / "velvet.safetensors")
    modules.networks.available_networks |= {
        "velvet": fakes.network("velvet", file, "velvet-v2", "ab" * 32), "Snow": fakes.network("Snow", "/x/Snow.safetensors")
    }  # fmt: skip
    assert host.listed_loras() == [
        Listed(name="Snow", file="/x/Snow.safetensors", alias="Snow"),
        Listed(name="velvet", file=file, alias="velvet-v2", hashes=("ab" * 32,)),
    ]
    given = (Lora(source="velvet-v2", weight=0.8), Lora(source=file), Lora(source="Snow.safetensors", weight=-0.25))
    list(host.paint(request(loras=given)))
    assert fakes.MADE[0].prompt == "a portrait <lora:velvet:0.8> <lora:velvet:1> <lora:Snow:-0.25>"
    with pytest.raises(BadInput, match="no LoRA 'velvt': did you mean 'velvet'"):
        list(host.paint(request(loras=(Lora(source="velvt"),))))
    with pytest.raises(BadInput, match="must be a number"):
        list(host.paint(request(loras=(Lora(source="Snow", weight=float("nan")),))))
    assert len(fakes.MADE) == 1


def test_a_lora_that_the_host_hides_behind_another_of_its_name_is_there_by_its_own(host, modules):
    """The host keeps the last file of a name in its list, and all of them under the names they were trained under."""
    people, styles = fakes.network("anna", "/l/people/anna.safetensors", "anna_p"), fakes.network("anna", "/l/styles/anna.safetensors", "w")
    lost = fakes.network("anna", "/l/lost/anna.safetensors", "same")
    modules.networks.available_networks["anna"] = styles
    modules.networks.available_network_aliases = {"anna": styles, "anna_p": people, "w": styles, "same": lost}
    modules.networks.forbidden_network_aliases = {"same": 1}
    assert [(one.name, one.file) for one in host.listed_loras()] == [("anna", styles.filename), ("anna_p", people.filename)]
    given = tuple(Lora(source=name) for name in ("anna", "anna_p", "w"))
    list(host.paint(request(loras=given)))
    assert fakes.MADE[0].prompt == "a portrait <lora:anna:1> <lora:anna_p:1> <lora:anna:1>"


def test_a_new_lora_is_seen_after_the_host_looked_again(host, modules, tmp_path, monkeypatch):
    (tmp_path / "Lora").mkdir()
    (tmp_path / "Lora" / "new.safetensors").write_bytes(b"")
    assert host.loras() == []
    host.refresh_loras()
    assert host.loras() == ["new"] and host.folders.loras == tmp_path / "Lora"
    monkeypatch.delitem(__import__("sys").modules, "networks")
    host.refresh_loras()
    assert host.loras() == []


def test_samplers(host):
    assert host.samplers() == ["DPM++ 2M Karras", "DPM++ 2M", "Euler a", "Euler a Karras", "Euler", "Euler Karras", "DDIM"]
    for name in ("Eulr", "DPM++ 2Mx", "Euler x Karras"):
        with pytest.raises(BadInput, match="no sampler"):
            list(host.paint(request(sampler=name)))
    list(host.paint(request(sampler="Euler Exponential")))
    assert (fakes.MADE[0].sampler_name, fakes.MADE[0].scheduler) == ("Euler", "Exponential")


def test_upscalers_that_would_be_fetched_come_last(host, modules, tmp_path):
    (tmp_path / "4x.pth").write_bytes(b"")
    assert host.upscalers() == ["Lanczos", "Nearest", "Latent", "Latent (nearest)", "R-ESRGAN 4x+"]
    modules.shared.sd_upscalers.append(fakes.upscaler("4x", str(tmp_path / "4x.pth")))
    assert host.upscalers()[0] == "4x"


def test_checkpoint_and_folders(host, modules, tmp_path):
    assert host.checkpoint() == "base [0123456789]" and host.checkpoints() == ["base.safetensors [0123456789]"] and host.name == "a1111"
    modules.sd_models.model_data.sd_model = None
    assert host.checkpoint() == "base [0123456789]"
    next(iter(modules.sd_models.checkpoints_list.values())).shorthash = None
    assert host.checkpoint() == "base", "a hash that was not reckoned yet"
    assert host.folders.outputs == tmp_path / "outputs" and host.folders.checkpoints == tmp_path / "models" / "Stable-diffusion"
    modules.shared.opts.data["outdir_samples"] = "/elsewhere/pictures"
    assert str(host.folders.outputs) == "/elsewhere"


# steps, stopping, the queue


def heard(host, asked: Paint, raising=None, at: int = 99):
    """The steps that a listener hears, who raises something at one of them."""
    steps: list = []

    def report(progress) -> None:
        steps.append(progress)
        if raising is not None and len(steps) > at:
            raise raising

    painted = list(host.paint(asked, report))
    return painted, steps


def test_steps_of_every_picture_are_told(host, modules):
    _, steps = heard(host, request(count=2))
    assert [(one.picture, one.step, one.steps, one.pictures) for one in steps] == [
        (n, step, 3, 2) for n in (0, 1) for step in (0, 0, 1, 2)
    ]  # fmt: skip  # once while it waits, then before each step


def test_steps_of_both_passes_are_counted(host):
    _, steps = heard(host, request(hires=Hires(steps=4)))
    assert [(one.step, one.steps) for one in steps] == [(0, 7), *((step, 7) for step in range(7))]


def test_previews_are_small_and_once_a_second(host, modules, monkeypatch):
    now = iter(range(1000))
    monkeypatch.setattr(webui_painting.time, "monotonic", lambda: 0.4 * next(now) + 5)
    _, steps = heard(host, request(steps=8))
    shown = [one.preview for one in steps if one.preview is not None]
    assert 2 <= len(shown) < 8 and all(one.size == (512, 256) and one.mode == "RGB" for one in shown)


@pytest.mark.parametrize("kind", [Interrupted, Skipped])
def test_a_listener_stops_the_work_between_steps(host, modules, kind):
    done: list = []
    with pytest.raises(kind, match="enough"):
        for one in host.paint(request(count=3), listener_at(6, kind("enough"))):
            done.append(one.seed)
    assert done == [5], "the first picture was finished and handed over"
    assert modules.shared.state.interrupted and modules.shared.state.jobs == ["facechain"] * 2 and not modules.sampling.swallowed
    assert not modules.call_queue.queue_lock.lock.locked() and len(list(host.paint(request()))) == 1


def listener_at(number: int, error: Exception):
    """A listener that raises at its call of that number, from 1."""
    calls: list = []

    def report(progress) -> None:
        calls.append(progress)
        if len(calls) == number:
            raise error

    return report


@pytest.mark.parametrize(("button", "error"), [("interrupted", Interrupted), ("skipped", Skipped)])
def test_the_webuis_own_buttons(host, modules, button, error):
    modules.sampling.during = lambda p, step: setattr(modules.shared.state, button, step == 1 and p.seed == 6)
    done: list = []
    with pytest.raises(error, match="in the WebUI"):
        for one in host.paint(request(count=3)):
            done.append(one.seed)
    assert done == [5]


def test_stop_after_this_picture(host, modules):
    modules.sampling.during = lambda p, step: setattr(modules.shared.state, "stopping_generation", True)
    done: list = []
    with pytest.raises(Interrupted):
        for one in host.paint(request(count=2)):
            done.append(one.seed)
    assert done == [5] and len(list(host.paint(request()))) == 1, "the last picture of a job ends it anyway"


def test_waiting_for_the_queue_can_be_given_up(host, modules, monkeypatch):
    monkeypatch.setattr(webui_painting, "PATIENCE", 0.01)
    lock = modules.call_queue.queue_lock
    lock.acquire()
    with pytest.raises(Interrupted, match="enough"):
        list(host.paint(request(), listener_at(4, Interrupted("enough"))))
    assert not fakes.MADE
    lock.release()
    until(lambda: not [one for one in threading.enumerate() if one.name == "facechain-queue"])
    assert not lock.lock.locked() and len(list(host.paint(request()))) == 1, "the place that was given up holds nobody back"


def test_a_turn_that_comes_while_it_is_given_up_is_passed_on(modules):
    lock = modules.call_queue.queue_lock
    place = webui_painting._Place(lock)
    until(place.reached.is_set)
    place.give_up()
    assert not lock.lock.locked()


def test_the_queue_is_waited_for(host, modules, monkeypatch):
    monkeypatch.setattr(webui_painting, "PATIENCE", 0.01)
    lock = modules.call_queue.queue_lock
    lock.acquire()
    asked: list = []

    def report(progress) -> None:
        asked.append(progress)
        if len(asked) == 3:
            lock.release()

    assert len(list(host.paint(request(), report))) == 1 and all(one.step == 0 for one in asked[:3])


def until(true) -> None:
    """Wait for something another thread does."""
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


# what goes wrong


def test_failures_are_sentences(host, modules):
    for error, kind, says in (
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), OutOfMemory, "64×128: choose a smaller size"),
        (RuntimeError("DefaultCPUAllocator: not enough memory"), OutOfMemory, "does not suffice"),
        (fakes.NansException("A tensor with NaNs"), PictureFailed, "--no-half-vae"),
        (RuntimeError("something else"), RuntimeError, "something else"),
    ):
        modules.sampling.fails = error
        with pytest.raises(kind, match=says):
            list(host.paint(request()))
        assert not modules.call_queue.queue_lock.lock.locked() and "running" not in modules.shared.state.jobs and fakes.MADE[-1].closed


def test_a_face_that_is_lost_on_the_way_fails_the_picture(host, modules, adapter, monkeypatch):
    from facechain_ext.engine.injection import Injector

    def broken(*_args):
        raise RuntimeError("no more memory")

    monkeypatch.setattr(Injector, "increment", broken)
    with pytest.raises(PictureFailed, match="given up in the middle of the picture \\(no more memory\\)"):
        list(host.paint(request(**face(adapter))))


def test_a_checkpoint_that_does_not_fit_is_refused_before_anything_is_made(host, modules, adapter):
    modules.sd_unet.current_unet = object()
    with pytest.raises(UnsupportedModel, match="accelerated UNet"):
        list(host.paint(request(**face(adapter))))
    assert not fakes.MADE and len(list(host.paint(request()))) == 1


# ControlNet


@pytest.mark.parametrize("forge", [False, True])
def test_a_pose_through_controlnet(monkeypatch, tmp_path, forge):
    modules = fakes.install(monkeypatch, tmp_path, shared_unet(), forge=forge, controlnet=True)
    fakes.install_controlnet(monkeypatch, tmp_path, "canny [1]", "control_openpose [2]", forge=forge)
    host = WebUIHost()
    assert host.controlnets() == ["canny [1]", "control_openpose [2]"] and host.poses_possible() == ""
    pose = Image.new("RGB", (64, 128), "blue")
    for model in ("control_openpose [2]", "control_openpose", "/models/control_openpose.safetensors"):
        list(host.paint(request(controls=(Control(model=model, image=pose, weight=0.6, start=0.1, end=0.8),))))
        p = fakes.MADE[-1]
        unit, second = p.script_args[4:6]
        assert (unit.model, unit.module, unit.enabled) == ("control_openpose [2]", "None" if forge else "none", True)
        assert (unit.weight, unit.guidance_start, unit.guidance_end) == (0.6, 0.1, 0.8) and unit.image[0, 0].tolist() == [0, 0, 255]
        assert second == "unit two" and modules.scripts.scripts_txt2img.inputs[4].value == "unit one"
    with pytest.raises(BadInput, match="no model 'depth'"):
        list(host.paint(request(controls=(Control(model="depth", image=pose),))))
    with pytest.raises(BadInput, match="has 2 units"):
        list(host.paint(request(controls=(Control(model="canny", image=pose),) * 3)))


def test_without_controlnet_it_is_said(host, monkeypatch, tmp_path):
    assert "not installed" in host.poses_possible() and host.controlnets() == []
    with pytest.raises(BadInput, match="sd-webui-controlnet, which is not installed"):
        list(host.paint(request(controls=(Control(model="x", image=Image.new("RGB", (8, 8))),))))
    fakes.install_controlnet(monkeypatch, tmp_path, "canny [1]", forge=False)
    assert "no openpose model" in host.poses_possible()


@pytest.mark.parametrize("forge", [False, True])
def test_the_hosts_own_skeleton(monkeypatch, tmp_path, host, forge):
    asked = fakes.install_controlnet(monkeypatch, tmp_path, "control_openpose [2]", forge=forge)
    with pytest.raises(MissingPackage, match="has not fetched its files"):
        host.skeleton(Image.new("RGB", (50, 70)), (64, 128))
    (tmp_path / "annotators" / "openpose").mkdir(parents=True)
    (tmp_path / "annotators" / "openpose" / "body_pose_model.pth").write_bytes(b"")
    drawn = host.skeleton(Image.new("RGB", (50, 70)), (64, 128))
    assert drawn.size == (64, 128) and drawn.mode == "RGB" and asked == [((70, 50, 3), 64)]
