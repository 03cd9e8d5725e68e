"""The tab on a running WebUI, over REST: portraits from order to history, the face as the panel holds it, LoRAs, stopping, the queue.

What is made here is deleted again; the LoRA of random numbers in the WebUI's folder at the end of the session.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facechain_ext.workflows.infotext import parse_info
from tests.live.test_pictures import write_lora
from tests.live.webui import LORA, Refused, WebUI, decode, encode, face, person, photo

V1 = "/facechain/v1"
SMALL = {"width": 64, "height": 64, "steps": 2, "sampler": "Euler", "seed": 7, "weight": 1.0, "prompt": "a portrait of a person"}
GREY = encode(Image.new("RGB", (256, 256), (120, 120, 120)))


class Tab:
    """What the tab can be asked for; every picture that it makes here is remembered."""

    def __init__(self, webui: WebUI) -> None:
        self.webui = webui
        self.made: set[int] = set()

    def ask(self, path: str, body: Any = None, method: str | None = None) -> Any:
        answer = self.webui.ask(V1 + path, body, method)
        if isinstance(answer, dict) and "results" in answer:
            self.made |= {one["id"] for one in answer["results"] if one["id"] is not None}
        return answer

    def begin(self, **changes: Any) -> str:
        """An order of small pictures; the job's id."""
        whom = {} if "person" in changes else {"photos": [photo(0)]}
        return self.ask("/portrait", SMALL | whom | changes)["id"]

    def wait(self, id: str, phases: tuple[str, ...], seconds: float = 300) -> dict[str, Any]:
        """The job once it is in one of these phases, or over."""
        end, than = time.monotonic() + seconds, -1
        while time.monotonic() < end:
            state = self.ask(f"/jobs/{id}?wait=10&than={than}")
            if state["phase"] in phases or state["over"]:
                return state
            than = state["version"]
        raise AssertionError(f"The job is still {state['phase']} after {seconds} s.")

    def make(self, **changes: Any) -> dict[str, Any]:
        """A job that is over, with its pictures."""
        done = self.wait(self.begin(**changes), ("done",))
        assert done["phase"] == "done" and not done["error"], done["error"]
        return self.ask(f"/jobs/{done['id']}?pictures=true")

    def pixels(self, **changes: Any) -> np.ndarray:
        """The pictures of an order, in the order of their seeds."""
        results = sorted(self.make(**changes)["results"], key=lambda one: one["seed"])
        assert not [one["failed"] or one["withheld"] for one in results if one["failed"] or one["withheld"]]
        return np.stack([decode(one["image"]) for one in results])

    def clean(self) -> None:
        """Delete what was made."""
        for id in self.made:
            try:
                self.webui.ask(f"{V1}/history/{id}", method="DELETE")
            except Refused:
                continue


@pytest.fixture(scope="module")
def tab(webui: WebUI) -> Iterator[Tab]:
    made = Tab(webui)
    yield made
    made.clean()


def test_everything_needed_is_there(tab: Tab, webui: WebUI):
    ready = {one["name"]: one for one in tab.ask("/ready")["ready"]}
    assert all(one["there"] for one in ready.values() if one["needed"]), ready
    answer = tab.ask("/ready")
    assert {"Euler", "DPM++ 2M Karras"} <= set(answer["samplers"]) and "Lanczos" in answer["upscalers"] and answer["safety"]
    assert len(tab.ask("/styles")["styles"]) >= 76 and webui.ask("/facechain/v1/version")["host"] == webui.host


def test_a_portrait_from_order_to_history(tab: Tab, webui: WebUI):
    done = tab.make(count=2)
    assert [one["seed"] for one in sorted(done["results"], key=lambda one: one["seed"])] == [7, 8] and done["judge"]
    entry = tab.ask(f"/history/{done['results'][0]['id']}")
    assert entry["width"] == 64 and entry["there"] and entry["person"] == "" and "FaceChain weight: 1" in entry["info"]
    whole = Image.open(BytesIO(webui.fetch(f"{V1}/history/{entry['id']}/picture")))
    assert whole.text["parameters"] == entry["info"] and "AI-generated" in str(whole.text)  # type: ignore[attr-defined]
    assert Image.open(BytesIO(webui.fetch(f"{V1}/history/{entry['id']}/thumbnail"))).size == (64, 64)
    listed = tab.ask("/history?count=2")
    assert {one["id"] for one in listed["entries"]} == {one["id"] for one in done["results"]}


def test_the_picture_is_the_one_the_panel_makes(tab: Tab, webui: WebUI):
    """Bit for bit: the same prompt, seed and person through the WebUI's own route and our panel's argument."""
    done = tab.make()
    prompt, negative, said = parse_info(tab.ask(f"/history/{done['results'][0]['id']}")["info"])
    same = {"prompt": prompt, "negative_prompt": negative, "cfg_scale": float(said["CFG scale"])}
    with_face, without = webui.make(face(person(0)), **same), webui.make(None, **same)
    mine = decode(done["results"][0]["image"])
    assert np.array_equal(mine, with_face.pixels[0]) and not np.array_equal(mine, without.pixels[0])


def test_what_the_tab_did_leaves_nothing_behind(tab: Tab, webui: WebUI):
    before = webui.make(None)
    tab.make(clip_skip=2)
    assert np.array_equal(webui.make(None).pixels, before.pixels)


def test_make_again_makes_the_same_picture(tab: Tab):
    first = tab.pixels(seed=11, cfg=5.0, weight=0.8, start=0.2)
    id = max(tab.made)
    again = tab.ask(f"/history/{id}/again")
    assert again["order"]["seed"] == 11 and "person" not in again["order"] and again["photos"]
    done = tab.wait(tab.ask("/portrait", again["order"] | {"photos": [photo(0)]})["id"], ("done",))
    (one,) = tab.ask(f"/jobs/{done['id']}?pictures=true")["results"]
    assert np.array_equal(decode(one["image"]), first[0])


def test_a_saved_person(tab: Tab):
    plain = tab.pixels()
    saved = tab.ask("/persons", {"name": "Live Test", "photos": [photo(0)], "consent": True, "replace": True})
    try:
        assert "agreed" in saved["consent"]
        assert np.array_equal(tab.pixels(person="Live Test"), plain)
        assert tab.ask("/history?person=Live%20Test")["amount"] == 1
    finally:
        tab.ask("/persons/Live%20Test", method="DELETE")
    with pytest.raises(Refused, match="No saved person"):
        tab.ask("/persons/Live%20Test", method="DELETE")


def test_a_lora_is_taken_in_and_used(tab: Tab, webui: WebUI, tmp_path: Path):
    checkpoint = webui.checkpoint()
    assert checkpoint.is_file(), "The checkpoint cannot be reached from here, and a LoRA needs its shapes."
    file = tmp_path / f"{LORA}.safetensors"
    write_lora(checkpoint, file)
    answer = webui.fetch(f"{V1}/loras?name={LORA}.safetensors", file.read_bytes())
    assert f'"{LORA}' in answer.decode() and LORA in [one["name"] for one in tab.ask("/loras")["loras"]]
    bare = tab.pixels(prompt="a portrait")
    strong = tab.pixels(prompt="a portrait", loras=[f"{LORA}:1"])
    assert not np.array_equal(strong, bare) and np.array_equal(tab.pixels(prompt="a portrait"), bare)
    style = tab.ask("/styles", {"name": "Live Test", "prompt": "a portrait", "lora": f"{LORA}.safetensors", "weight": 1, "replace": True})
    try:
        assert style["state"] == "bound" and style["lora"] == LORA
        styled = tab.make(style="Live Test", prompt="")
        entry = tab.ask(f"/history/{styled['results'][0]['id']}")
        assert entry["style"] == "Live Test" and f"<lora:{LORA}:1>" in entry["info"]
    finally:
        tab.ask("/styles/Live%20Test", method="DELETE")
    with pytest.raises(Refused, match="safetensors file"):
        webui.fetch(f"{V1}/loras?name=x.safetensors", b"not a LoRA")


def test_hires(tab: Tab):
    enlarged = tab.make(width=64, height=128, hires=1.5, hires_strength=0.6, upscaler="Latent", steps=2)
    (one,) = enlarged["results"]
    assert decode(one["image"]).shape == (192, 96, 3)
    assert enlarged["steps"] == 4 and "Hires upscale: 1.5" in tab.ask(f"/history/{one['id']}")["info"]


def test_the_finished_picture_is_enlarged(tab: Tab):
    """By the WebUI's own Lanczos, which is Pillow's, of the same picture; and "" leaves faces alone, whatever the WebUI's setting says."""
    plain = tab.pixels()[0]
    (one,) = tab.make(finish=1.5, finish_upscaler="Lanczos")["results"]
    by_hand = Image.fromarray(plain).resize((96, 96), Image.Resampling.LANCZOS)
    assert np.array_equal(decode(one["image"]), np.asarray(by_hand))
    entry = tab.ask(f"/history/{one['id']}")
    assert (entry["width"], entry["height"]) == (96, 96)
    again = tab.ask(f"/history/{one['id']}/again")["order"]
    assert (again["finish"], again["finish_upscaler"]) == (1.5, "Lanczos") and "restore" not in again


def test_a_face_restorer_restores_or_says_what_is_missing(tab: Tab):
    """Every one that the WebUI lists. Where its file is neither here nor to be fetched, a sentence names it and the folder."""
    size = tab.pixels()[0].shape
    for name in tab.ask("/ready")["restorers"]:
        (one,) = tab.make(restore=name)["results"]
        if one["failed"]:
            assert f"could not load {name}" in one["failed"] and f"models/{name}".lower() in one["failed"].lower()
        else:
            assert decode(one["image"]).shape == size
    state = tab.wait(tab.begin(restore="Nonesuch"), ("failed",))
    assert state["phase"] == "failed" and "no face restoration 'Nonesuch'" in state["error"]


def test_stopping_keeps_what_is_finished(tab: Tab, webui: WebUI):
    id = tab.begin(count=16, steps=4)
    tab.wait(id, ("painting",))
    while not tab.ask(f"/jobs/{id}")["results"]:
        time.sleep(0.2)
    tab.ask(f"/jobs/{id}/stop", {})
    state = tab.wait(id, ("stopped",), 60)
    assert state["phase"] == "stopped" and 1 <= len(state["results"]) < 16
    assert all(tab.ask(f"/history/{one['id']}")["there"] for one in state["results"] if one["id"])
    assert webui.make(None).pixels.shape == (1, 64, 64, 3)


def test_the_webuis_own_interrupt(tab: Tab, webui: WebUI):
    id = tab.begin(count=4, steps=100)
    while not tab.ask(f"/jobs/{id}")["step"]:
        time.sleep(0.2)
    webui.ask("/sdapi/v1/interrupt", {})
    state = tab.wait(id, ("stopped",), 60)
    assert state["phase"] == "stopped" and not [one for one in state["results"] if one["id"]]
    assert tab.pixels().shape == (1, 64, 64, 3)


def test_a_picture_is_skipped(tab: Tab):
    id = tab.begin(count=2, steps=20)
    while not tab.ask(f"/jobs/{id}")["step"]:
        time.sleep(0.2)
    tab.ask(f"/jobs/{id}/skip", {})
    state = tab.wait(id, ("done",))
    assert state["phase"] == "done" and [one["seed"] for one in state["results"] if one["id"] is not None] == [8]


def test_progress_and_preview(tab: Tab, webui: WebUI):
    """Previews come as the WebUI's settings want them: switched on for this test, and put back."""
    names = ("live_previews_enable", "show_progress_every_n_steps")
    before = {name: webui.ask("/sdapi/v1/options")[name] for name in names}
    webui.ask("/sdapi/v1/options", dict(zip(names, (True, 5), strict=True)))
    try:
        id, seen, previews = tab.begin(steps=20), set(), 0
        state = tab.ask(f"/jobs/{id}")
        while not state["over"]:
            state = tab.ask(f"/jobs/{id}?wait=5&than={state['version']}&preview=true")
            seen.add(state["step"])
            previews += state["preview"] is not None
    finally:
        webui.ask("/sdapi/v1/options", before)
    assert len(seen) > 8 and max(seen) <= 20 and state["phase"] == "done" and previews > 0


def test_the_queue_is_shared(tab: Tab, webui: WebUI):
    """The WebUI's pictures and ours wait for each other, and each is what it is alone."""
    alone, mine = webui.make(None), tab.pixels(count=3)
    found: list[np.ndarray] = []
    id = tab.begin(count=3)
    others = [threading.Thread(target=lambda: found.append(webui.make(None).pixels)) for _ in range(3)]
    for one in others:
        one.start()
    state = tab.wait(id, ("done",))
    for one in others:
        one.join()
    assert all(np.array_equal(one, alone.pixels) for one in found) and len(found) == 3
    results = sorted(tab.ask(f"/jobs/{state['id']}?pictures=true")["results"], key=lambda one: one["seed"])
    assert np.array_equal(np.stack([decode(one["image"]) for one in results]), mine)


def test_what_goes_wrong_is_a_sentence(tab: Tab):
    state = tab.wait(tab.begin(photos=[GREY]), ("failed",))
    assert state["phase"] == "failed" and "No face found" in state["error"]
    for body, says in (
        ({"sampler": "Nonesuch"}, "no sampler"),
        ({"loras": ["nonesuch:1"]}, "nonesuch"),
        ({"adapter": "nonesuch"}, "nonesuch"),
    ):
        try:
            state = tab.wait(tab.begin(**body), ("failed",))
            assert state["phase"] == "failed" and says in state["error"], body
        except Refused as refused:
            assert says in str(refused), body


def test_a_pose_by_controlnet_or_why_not(tab: Tab):
    """With an openpose ControlNet in the WebUI the skeleton changes the picture; without one, it is said what is missing."""
    from facechain_ext.vision.skeleton import draw_skeletons

    joints = [(60.0 + 4 * n, 30.0 + 10 * n) for n in range(18)]
    drawn = BytesIO()
    draw_skeletons((192, 256), [joints]).save(drawn, "PNG")
    pose = base64.b64encode(drawn.getvalue()).decode()
    if tab.ask("/ready")["poses"] is True:
        assert not np.array_equal(tab.pixels(pose=pose), tab.pixels())
    else:
        state = tab.wait(tab.begin(pose=pose), ("failed",))
        assert "controlnet" in state["error"].lower()
