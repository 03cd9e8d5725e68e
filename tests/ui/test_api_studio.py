"""The tab's REST routes in a real FastAPI app, over a studio of real folders: orders, jobs, people, styles, history, and whose is what."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from typing import Any

import pytest
import torch
from fastapi import FastAPI, Header, HTTPException
from fastapi.testclient import TestClient
from PIL import Image
from safetensors.torch import save

from facechain_ext.errors import CannotWrite
from facechain_ext.options import fields_of
from facechain_ext.ui.api_studio import PREFIX, ROUTES, add_routes
from facechain_ext.ui.door import Door
from facechain_ext.workflows.making import MakingOptions
from tests.fakes.plain_studio import FakeStudio

FILE = {"Content-Type": "application/octet-stream"}


def png(colour: str = "red") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(out, format="PNG")
    return out.getvalue()


PHOTO = base64.b64encode(png()).decode()


def allowed(who: str = Header("")) -> str:
    """The login of these tests: a header says who it is."""
    if who == "stranger":
        raise HTTPException(status_code=401, detail="Incorrect username or password")
    return who


@pytest.fixture
def studio(tmp_path) -> FakeStudio:
    return FakeStudio(tmp_path)


@pytest.fixture
def client(studio) -> TestClient:
    app = FastAPI()
    add_routes(app, studio, allowed)
    return TestClient(app, base_url=f"http://studio{PREFIX}/")


def told(answer) -> dict:
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(answer) -> str:
    assert answer.status_code == 422, answer.text
    return answer.json()["detail"]


def made(client, **body) -> dict:
    return told(client.post("portrait", json={"photos": [PHOTO], "width": 64, "height": 64, "steps": 2, "wait": 5} | body))


# orders and jobs


def test_an_order_with_all_its_fields_arrives(client, studio):
    studio.jobs.at_once = False
    body = {
        "photos": [PHOTO, PHOTO], "person": "Anna", "style": "Jacket in Snow Mountain", "style_weight": 0.5, "loras": ["a:b:0.8", "plain"],
        "pose": PHOTO, "pose_weight": 0.7, "count": 3, "choose": "best", "most": 5, "seed": 7, "cfg": 6, "prompt": "x",
    }  # fmt: skip
    answer = told(client.post("portrait", json=body))
    order = studio.jobs.states[answer["id"]].order
    assert [one.data for one in order.photos] == [png(), png()] and order.pose is not None and order.pose.data == png()
    assert (order.person, order.style, order.style_weight, order.pose_weight) == ("Anna", "Jacket in Snow Mountain", 0.5, 0.7)
    assert order.loras == (("a:b", 0.8), ("plain", 1.0))
    assert order.options == MakingOptions(count=3, choose="best", most=5, seed=7, cfg=6, prompt="x")
    assert answer["phase"] == "waiting" and not answer["over"] and "image" not in str(answer["results"])
    assert answer["order"] == {
        "person": "Anna", "style": "Jacket in Snow Mountain", "style_weight": 0.5, "loras": ["a:b:0.8", "plain:1"], "pose_weight": 0.7,
        "count": 3, "choose": "best", "most": 5, "seed": 7, "cfg": 6, "prompt": "x",
    }  # fmt: skip


def test_waiting_gives_the_pictures(client, studio):
    studio.jobs.at_once, studio.jobs.looks = False, 3
    answer = made(client, count=2, seed=40)
    assert answer["over"] and answer["phase"] == "done" and answer["between"] == [0.5, 0.75] and answer["judge"] == "colours"
    assert [one["seed"] for one in answer["results"]] == [41, 42] and [one["likeness"] for one in answer["results"]] == [0.1, 0.2]
    picture = Image.open(io.BytesIO(base64.b64decode(answer["results"][0]["image"])))
    assert picture.getpixel((0, 0)) == (41, 0, 0) and "FaceChain weight" in picture.text["parameters"]  # type: ignore[attr-defined]


def test_a_job_is_looked_at_and_led(client, studio):
    studio.jobs.at_once = False
    id = told(client.post("portrait", json={"photos": [PHOTO]}))["id"]
    state = told(client.get(f"jobs/{id}"))
    assert "preview" not in state and told(client.get("jobs"))["job"]["id"] == id
    studio.jobs.states[id] = type(studio.jobs.states[id])(**{**vars(studio.jobs.states[id]), "preview": Image.new("RGB", (8, 8), "blue")})
    shown = told(client.get(f"jobs/{id}", params={"preview": True}))["preview"]
    assert Image.open(io.BytesIO(base64.b64decode(shown))).getpixel((0, 0)) == (0, 0, 255)
    assert told(client.post(f"jobs/{id}/skip"))["picture"] == 1
    assert told(client.post(f"jobs/{id}/stop"))["phase"] == "stopped"
    assert "no job nonsense" in refused(client.get("jobs/nonsense"))


def test_without_a_job_there_is_none(client):
    assert told(client.get("jobs")) == {"job": None}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "neither a photo nor a saved person"),
        ({"photos": [PHOTO] * 7}, "Photos (photos) must be at most 6 in number; got 7"),
        ({"photos": ["!"]}, "photo 1 is not base64"),
        ({"photos": PHOTO}, "must be a list of texts"),
        ({"photos": [1]}, "must be a list of texts"),
        ({"person": "A", "count": 17}, "must be from 1 to 16; got 17"),
        ({"person": "A", "steps": "30"}, "must be a whole number"),
        ({"person": "A", "weigth": 1}, "no option 'weigth', did you mean 'weight'"),
        ({"person": "A", "width": 65}, "multiples of 8"),
        ({"person": "A", "start": 0.8, "end": 0.2}, "must not be after"),
        ({"person": "A", "loras": ["x:heavy"]}, "must be a name and a weight"),
        ({"person": "A", "loras": ["x:9"]}, "weight from -4 to 4"),
        ({"person": "A", "loras": [":1"]}, "must have a name"),
        ({"person": "A", "loras": [["x", 1]]}, "must be a list of texts"),
        ({"person": "A", "pose": "?"}, "the pose is not base64"),
        ({"person": "A", "wait": 601}, "from 0 to 600"),
        ({"person": "A", "wait": True}, "must be a number"),
    ],
)
def test_orders_that_cannot_be_are_refused(client, studio, body, says):
    assert says in refused(client.post("portrait", json=body)) and not studio.jobs.states


def test_the_schema_is_of_all_fields(client):
    schema = told(client.get("portrait/schema"))
    names = {one.name for one in fields_of(MakingOptions)}
    own = {"photos", "person", "style", "style_weight", "loras", "pose", "pose_weight", "wait"}
    assert set(schema["properties"]) == names | own and schema["properties"]["photos"]["items"]["contentEncoding"] == "base64"
    assert schema["properties"]["until"]["type"] == ["number", "null"] and schema["properties"]["count"]["maximum"] == 16
    assert schema["properties"]["choose"]["enum"] == ["all", "best", "until"]


def test_what_is_there(client):
    answer = told(client.get("ready"))
    assert answer["ready"][0] == {"name": "adapter", "there": True, "needed": True, "sentence": "The adapter small is there.", "advice": ""}
    assert answer["samplers"] == ["Euler", "DPM++ 2M Karras"] and answer["poses"].startswith("No ControlNet")
    assert told(client.get("version"))["host"] == "standalone"


# history


def test_the_history_by_page_and_filter(client, studio):
    for name, count in (("Anna", 2), ("Eva", 3)):
        made(client, person=name, count=count)
    page = told(client.get("history", params={"count": 2}))
    assert [one["seed"] for one in page["entries"]] == [3, 2] and page["amount"] == 5 and page["persons"] == {"Anna": 2, "Eva": 3}
    rest = told(client.get("history", params={"count": 50, "after": page["next"]}))
    assert len(rest["entries"]) == 3 and rest["next"] == ""
    assert told(client.get("history", params={"person": "Anna"}))["amount"] == 2 and told(client.get("history?person="))["amount"] == 0
    alike = told(client.get("history", params={"sort": "likeness", "least": 0.15}))
    assert [round(one["likeness"], 1) for one in alike["entries"]] == [0.3, 0.2, 0.2]
    assert told(client.get("history", params={"until": "2001-01-01"}))["amount"] == 0
    assert "2024-05-31" in refused(client.get("history?since=tomorrow")) and "newest or likeness" in refused(client.get("history?sort=x"))
    assert told(client.get("history?since=0001-01-01&until=9999-12-31"))["amount"] == 5, "days at the calendar's ends are days"
    assert told(client.get("history?since=9999-12-31"))["amount"] == told(client.get("history?until=0001-01-01"))["amount"] == 0
    assert "no place" in refused(client.get("history?after=1:99999999999999999999"))
    assert "path" not in page["entries"][0] and str(studio.folder) not in json.dumps(page)


def test_a_picture_its_thumbnail_and_its_end(client, studio):
    id = made(client, seed=9)["results"][0]["id"]
    entry = told(client.get(f"history/{id}"))
    assert (entry["seed"], entry["width"], entry["there"]) == (10, 64, True) and "Steps: 2" in entry["info"]
    whole, small = client.get(f"history/{id}/picture"), client.get(f"history/{id}/thumbnail")
    assert whole.headers["content-type"] == "image/png" and Image.open(io.BytesIO(whole.content)).getpixel((0, 0)) == (10, 0, 0)
    assert small.headers["content-type"] == "image/jpeg" and Image.open(io.BytesIO(small.content)).size == (64, 64)
    path = studio.history().get("local", id).path
    assert told(client.delete(f"history/{id}")) == {"deleted": 1} and not path.exists()
    for gone in (id, 9223372036854775808, -9223372036854775809):
        assert "no picture" in refused(client.get(f"history/{gone}")) and "no picture" in refused(client.delete(f"history/{gone}"))


def test_a_file_that_is_gone_is_said(client, studio):
    id = made(client)["results"][0]["id"]
    studio.history().get("local", id).path.unlink()
    assert "is gone" in refused(client.get(f"history/{id}/picture"))
    assert told(client.get(f"history/{id}"))["there"] is False
    assert told(client.post("history/reindex")) == {"moved": 0, "edited": 0, "added": 0, "dropped": 1}


def test_all_is_deleted_only_when_it_is_said(client):
    made(client, count=3)
    assert "all=true" in refused(client.delete("history")) and told(client.get("history"))["amount"] == 3
    assert told(client.delete("history?all=true")) == {"deleted": 3} and told(client.get("history"))["amount"] == 0


def test_nothing_of_another_user(client):
    id = made(client, count=1)["results"][0]["id"]
    job = told(client.get("jobs"))["job"]["id"]
    eve = {"who": "eve"}
    assert told(client.get("history", headers=eve))["entries"] == [] and told(client.get("jobs", headers=eve)) == {"job": None}
    for method, path in (
        ("GET", f"history/{id}"), ("GET", f"history/{id}/picture"), ("GET", f"history/{id}/thumbnail"), ("GET", f"history/{id}/again"),
        ("DELETE", f"history/{id}"), ("GET", f"jobs/{job}"), ("POST", f"jobs/{job}/stop"), ("POST", f"jobs/{job}/skip"),
    ):  # fmt: skip
        assert "There is no" in refused(client.request(method, path, headers=eve)), path
    assert told(client.delete("history?all=true", headers=eve)) == {"deleted": 0} and told(client.get("history"))["amount"] == 1
    assert told(client.post("portrait", json={"photos": [PHOTO], "wait": 1}, headers=eve))["results"][0]["id"] != id
    assert told(client.get("history", headers=eve))["amount"] == 1 and told(client.get("history"))["amount"] == 1


@pytest.mark.parametrize(("method", "path"), [(method, path) for method, path, _ in ROUTES])
def test_strangers_are_refused_everywhere(client, method, path):
    answer = client.request(method, path.strip("/").replace("{id}", "1").replace("{name}", "A"), headers={"who": "stranger"})
    assert answer.status_code == 401


# people


def test_people_are_their_users_own(client, studio):
    eve = {"who": "eve"}
    told(client.post("persons", json={"name": "Anna", "photos": [PHOTO], "consent": True}))
    told(client.post("persons", json={"name": "Emil", "photos": [PHOTO], "consent": True}, headers=eve))
    names = [[one["name"] for one in told(client.get("persons", headers=who))["persons"]] for who in ({}, eve)]
    assert names == [["Anna"], ["Emil"]]
    for method, path, body in (
        ("DELETE", "persons/Anna", None), ("PATCH", "persons/Anna", {"name": "Mine"}), ("GET", "persons/export?name=Anna", None),
        ("POST", "persons/merge", {"names": ["Anna", "Emil"], "into": "Emil"}),
    ):  # fmt: skip
        assert "No saved person is called 'Anna'" in refused(client.request(method, path, json=body, headers=eve)), path
    told(client.post("persons", json={"name": "Anna", "photos": [PHOTO] * 2, "consent": True}, headers=eve))
    assert len(told(client.get("persons"))["persons"]) == 1 and (studio.folder / "people" / "Anna.safetensors").is_file()
    exported = client.get("persons/export", headers=eve)
    told(client.delete("persons/Anna", headers=eve))
    assert [one["name"] for one in told(client.post("persons/import", content=exported.content, headers=FILE))["persons"]] == [
        "Anna (2)", "Emil",
    ]  # fmt: skip


def test_people_are_saved_merged_exported_and_taken_in(client, tmp_path):
    assert "consent only" in refused(client.post("persons", json={"name": "Anna", "photos": [PHOTO]}))
    for name, count in (("Anna", 2), ("Ann", 3)):
        told(client.post("persons", json={"name": name, "photos": [PHOTO] * count, "consent": True}))
    exported = client.get("persons/export", params={"name": ["Ann"]})
    assert exported.status_code == 200 and 'filename="people.zip"' in exported.headers["content-disposition"]
    merged = told(client.post("persons/merge", json={"names": ["Anna", "Ann"], "into": "Anna"}))
    assert len(merged["photos"]) == 3 and merged["consent"] == "agreed"  # two of the three photos are the same by their hash
    again = told(client.post("persons/import", content=exported.content, headers=FILE))
    assert [one["name"] for one in again["persons"]] == ["Ann"]
    assert told(client.patch("persons/Ann", json={"name": "Eva"}))["name"] == "Eva"
    everyone = client.get("persons/export")
    assert told(client.delete("persons/Eva")) == {"deleted": "Eva"} and [one["name"] for one in told(client.get("persons"))["persons"]] == [
        "Anna"
    ]
    assert [one["name"] for one in told(client.post("persons/import", content=everyone.content, headers=FILE))["persons"]] == [
        "Anna",
        "Eva",
    ]


@pytest.mark.parametrize(
    ("method", "path", "body", "says"),
    [
        ("POST", "persons/merge", {"names": ["A"], "into": "A"}, "No saved person"),
        ("POST", "persons/merge", {"names": "A"}, "names must be a list"),
        ("POST", "persons/merge", {}, "at least two"),
        ("POST", "persons", {"foto": []}, "no field 'foto'"),
        ("POST", "analyse", {"photos": [PHOTO], "face": True}, "face must be a whole number"),
        ("POST", "analyse", {"photos": [PHOTO] * 7}, "7 photos: 6 are the most"),
        ("PATCH", "persons/Nobody", {"name": "B"}, "No saved person is called 'Nobody'"),
    ],
)
def test_refusals_about_people_are_sentences(client, method, path, body, says):
    assert says in refused(client.request(method, path, json=body))


@pytest.mark.parametrize("path", ["persons/import", "styles/import", "loras?name=x.safetensors"])
def test_files_come_as_files_only(client, path):
    """Another page in the same browser may send simple requests anywhere, but not of this type without being asked for leave."""
    for headers in ({"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}, {}):
        assert "Content-Type: application/octet-stream" in refused(client.post(path, content=b"x", headers=headers))
    assert "saved person" in refused(client.post("persons/import", content=b"x", headers=FILE))


def test_json_comes_as_json_only(client):
    for headers in ({"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}, {}, FILE):
        assert "Content-Type: application/json" in refused(client.post("persons", content=b"{}", headers=headers))
    said = {"Content-Type": "application/json"}
    for content in (b"{", b"\xff", b"", b"[" * 100_000):
        assert "The body is no JSON" in refused(client.post("persons", content=content, headers=said))
    for content in (b"[1]", b'"x"', b"null"):
        assert "must be a JSON object" in refused(client.post("persons", content=content, headers=said))


@pytest.mark.parametrize("path", ["portrait", "persons", "styles", "persons/import"])
def test_nothing_of_a_body_is_read_before_the_log_in(client, path):
    kind = "application/octet-stream" if path.endswith("import") else "application/json"
    read = []
    for who, status in (("stranger", 401), ("ada", 422)):
        answered, before = [], len(read)

        async def receive():
            read.append(1)
            return {"type": "http.request", "body": b"{}", "more_body": False}

        async def send(message, answered=answered):
            answered.append(message)

        headers = [(b"content-type", kind.encode()), (b"who", who.encode())]
        scope = {
            "type": "http", "method": "POST", "path": f"{PREFIX}/{path}", "raw_path": b"", "query_string": b"", "headers": headers,
            "http_version": "1.1", "scheme": "http", "server": ("studio", 80), "client": ("visitor", 1), "root_path": "",
        }  # fmt: skip
        asyncio.run(client.app(scope, receive, send))
        assert answered[0]["status"] == status
        assert (len(read) == before) == (who == "stranger")


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize(
    ("limit", "path", "headers"),
    [
        ("LARGEST_UPLOAD", "persons/import", FILE),
        ("LARGEST_BODY", "portrait", {"Content-Type": "application/json"}),
        ("LARGEST_BODY", "persons", {"Content-Type": "application/json; charset=utf-8"}),
    ],
)
def test_a_body_that_is_too_large_is_refused(client, monkeypatch, limit, path, headers, announced):
    from facechain_ext.ui import api_studio

    monkeypatch.setattr(api_studio, limit, 1_000_000)
    content = b'{"photos": ["' + b"A" * 1_000_000 + b'"]}'
    answer = client.post(path, content=content if announced else iter([content[:600_000], content[600_000:]]), headers=headers)
    assert answer.status_code == 413 and "larger than 1 MB: send fewer" in answer.json()["detail"]


def test_a_file_may_be_larger_than_a_json_body(client, monkeypatch):
    from facechain_ext.ui import api_studio

    monkeypatch.setattr(api_studio, "LARGEST_BODY", 1_000)
    assert "saved person" in refused(client.post("persons/import", content=b"x" * 2_000, headers=FILE))


def test_those_who_wait_hold_no_thread(studio):
    """As many as wait here are more than there are threads; meanwhile everybody else is answered."""
    import anyio
    import httpx

    studio.jobs.at_once = False
    app = FastAPI()
    add_routes(app, studio, allowed)

    async def everybody() -> list[Any]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://studio{PREFIX}/", timeout=60) as client:
            id = (await client.post("portrait", json={"photos": [PHOTO]})).json()["id"]
            answers: list[Any] = []

            async def wait() -> None:
                answers.append((await client.get(f"jobs/{id}?wait=50")).json()["phase"])

            async with anyio.create_task_group() as group:
                for _ in range(60):
                    group.start_soon(wait)
                await anyio.sleep(0.1)
                assert (await client.get("version")).status_code == 200 and answers == []
                studio.jobs.finish(id)
            return answers

    assert anyio.run(everybody) == ["done"] * 60


# settings, and what is nobody's business


def test_settings_are_read_and_changed_by_whom_they_are_for(client):
    eve = {"who": "eve"}
    assert told(client.get("settings"))["fixed"] == {}
    changed = told(client.patch("settings", json={"steps": 12, "check": False}))["settings"]
    assert (changed["steps"], changed["check"], changed["sampler"]) == (12, False, "DPM++ 2M Karras")
    assert told(client.get("settings", headers=eve))["fixed"] == {"check": "Only the first account can change this."}
    answer = client.patch("settings", json={"check": True}, headers=eve)
    assert (answer.status_code, answer.json()["detail"]) == (403, "Only the first account can change this.")
    assert told(client.patch("settings", json={"steps": 20}, headers=eve))["settings"]["steps"] == 20
    assert "steps" in refused(client.patch("settings", json={"steps": 0}))
    assert "stepz" in refused(client.patch("settings", json={"stepz": 1}))


def test_where_things_lie_is_for_the_machines_owner_to_read(client, studio, monkeypatch):
    place = studio.folder / "people"
    sentence = f"{place} cannot be written: free some space."

    def refuse(self, user):
        raise CannotWrite(sentence)

    monkeypatch.setattr(type(studio), "library", refuse)
    assert refused(client.get("persons")) == sentence
    studio.door = Door(login=True, owners=("ada",))
    assert refused(client.get("persons", headers={"who": "ada"})) == sentence
    eves = refused(client.get("persons", headers={"who": "eve"}))
    assert eves == f"{studio.folder.name}/people cannot be written: free some space."


# styles and LoRAs


def lora(width: int = 768) -> bytes:
    key = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    tensors = {
        f"{key}.lora_down.weight": torch.zeros(4, width),
        f"{key}.lora_up.weight": torch.zeros(320, 4),
        f"{key}.alpha": torch.tensor(4.0),
    }
    return save(tensors, {"modelspec.trigger_phrase": "velvet", "ss_output_name": "velvet-v2"})


def test_a_lora_becomes_a_style_of_ones_own(client, studio):
    answer = told(client.post("loras", params={"name": "../velvet.safetensors"}, content=lora(), headers=FILE))
    assert (answer["file"], answer["kind"], answer["rank"], answer["triggers"], answer["alias"]) == (
        "velvet.safetensors",
        "kohya",
        4,
        ["velvet"],
        "velvet-v2",
    )
    assert [path.name for path in studio.host.folders.loras.iterdir()] == ["velvet.safetensors"]
    assert [one["name"] for one in told(client.get("loras"))["loras"]] == ["velvet"]
    style = told(
        client.post(
            "styles",
            json={"name": "Velvet", "prompt": "velvet, a portrait", "lora": "velvet.safetensors", "hashes": answer["hashes"], "weight": 1},
        )
    )
    assert (style["key"], style["state"], style["lora"], style["own"], style["weight"]) == ("Velvet", "bound", "velvet", True, 1.0)
    assert "called 'Velvet' already" in refused(client.post("styles", json={"name": "Velvet", "prompt": "y"}))
    assert told(client.post("styles", json={"name": "Velvet", "prompt": "y", "replace": True}))["prompt"] == "y"
    exported = client.get("styles/export", params={"name": ["Velvet"]})
    assert told(client.delete("styles/Velvet")) == {"deleted": "Velvet"}
    back = told(client.post("styles/import", content=exported.content, headers=FILE))
    assert [one["key"] for one in back["styles"]] == ["Velvet"]


def test_styles_are_their_users_own_and_loras_everybodys(client):
    eve = {"who": "eve"}
    told(client.post("loras", params={"name": "velvet.safetensors"}, content=lora(), headers=FILE))
    told(client.post("styles", json={"name": "Velvet", "prompt": "velvet", "lora": "velvet.safetensors"}))
    own = [[one["key"] for one in told(client.get("styles", headers=who))["styles"] if one["own"]] for who in ({}, eve)]
    assert own == [["Velvet"], []]
    assert [one["name"] for one in told(client.get("loras", headers=eve))["loras"]] == ["velvet"]
    for method, path in (("DELETE", "styles/Velvet"), ("GET", "styles/export?name=Velvet")):
        assert "no style 'Velvet' of your own" in refused(client.request(method, path, headers=eve)), path
    made = told(client.post("styles", json={"name": "Velvet", "prompt": "mine", "lora": "velvet.safetensors"}, headers=eve))
    assert (made["prompt"], made["state"]) == ("mine", "bound")
    exported = client.get("styles/export", headers=eve)
    told(client.delete("styles/Velvet", headers=eve))
    assert [one["key"] for one in told(client.post("styles/import", content=exported.content, headers=FILE))["styles"]] == ["Velvet (2)"]


def test_the_presets_are_listed_with_what_is_missing(client):
    found = told(client.get("styles"))["styles"]
    assert len(found) == 76 and {one["state"] for one in found} >= {"missing", "none"} and all(one["lora"] is None for one in found)
    assert "thumbnail" not in found[0] and "thumbnail" in told(client.get("styles?thumbnails=true"))["styles"][0]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x.safetensors", b"x", "no safetensors file"),
        ("x.safetensors", lora(2048), "a LoRA for SDXL"),
        ("x.ckpt", b"x", "only safetensors"),
    ],
)
def test_what_is_no_lora_is_refused(client, studio, name, content, says):
    assert says in refused(client.post("loras", params={"name": name}, content=content, headers=FILE))
    assert not list(studio.host.folders.loras.iterdir())


def test_a_style_that_is_none_is_refused(client):
    assert "no exported style" in refused(client.post("styles/import", content=b"\xff", headers=FILE))
    assert "at most 8 hex numbers" in refused(client.post("styles", json={"name": "A", "prompt": "x", "hashes": ["../x"]}))
    assert "weight must be a number" in refused(client.post("styles", json={"name": "A", "prompt": "x", "weight": "1"}))


def test_routes_that_are_there_stay(studio):
    app = FastAPI()
    app.add_api_route(f"{PREFIX}/version", lambda: "mine", methods=["GET"])
    for _ in range(2):
        add_routes(app, studio, allowed)
    paths = [(method, route.path) for route in app.routes for method in getattr(route, "methods", ()) if route.path.startswith(PREFIX)]
    assert len(paths) == len(set(paths)) == len(ROUTES) and TestClient(app).get(f"{PREFIX}/version").json() == "mine"
