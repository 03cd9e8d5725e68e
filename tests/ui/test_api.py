"""The REST routes in a real FastAPI app, by the examples of docs/api.md; login, refusals, and the library behind them."""

from __future__ import annotations

import base64
import json
import re
import runpy
import urllib.error
import urllib.request
from io import BytesIO
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from facechain_ext import __version__
from facechain_ext.errors import BadWeights
from tests.ui.conftest import ASTRONAUT

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "api.md").read_text(encoding="utf-8").split("<!-- studio -->")[0]
"""What is for a WebUI; the rest runs in test_api_examples."""
PHOTO = base64.b64encode(ASTRONAUT.read_bytes()).decode()
URL = "http://webui"


def generation(body: dict) -> dict:
    """The host's own route, as far as the document's examples see it: what it is sent must be what our script accepts."""
    from facechain_ext.ui.request import from_args

    asked = from_args(body["alwayson_scripts"]["FaceChain"]["args"], api=True)
    assert asked.active
    return {"images": [PHOTO], "info": json.dumps({"extra_generation_params": {}})}


@pytest.fixture
def app(host) -> FastAPI:
    from facechain_ext.ui import api

    made = FastAPI()
    api.on_app_started(None, made)
    made.add_api_route("/sdapi/v1/txt2img", generation, methods=["POST"])
    return made


@pytest.fixture
def client(app) -> TestClient:
    return TestClient(app, base_url=URL)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)


def test_the_python_examples_run(client, monkeypatch, capsys, tmp_path):
    def urlopen(request: urllib.request.Request):
        headers = {"content-type": "application/json"} if request.data else {}
        answer = client.request(request.get_method(), request.full_url, content=request.data, headers=headers)
        if answer.status_code != 200:
            raise urllib.error.HTTPError(request.full_url, answer.status_code, answer.text, None, None)  # type: ignore[arg-type]
        return BytesIO(answer.content)

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    monkeypatch.chdir(ROOT)
    program = tmp_path / "examples.py"
    program.write_text("\n".join(blocks("python")), encoding="utf-8")
    runpy.run_path(str(program), {"URL": URL})
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "the face is held" and said[1].startswith("f07f3d10116f True [")
    assert re.fullmatch(r"Anna \['f07f3d10116f'\] \{'\w{12}': 'small'\}", said[2])
    assert said[3] == "['Anna B']" and client.get("/facechain/v1/persons").json() == {"persons": []}


def test_the_shell_examples_name_real_routes_and_valid_bodies(client):
    text = "\n".join(blocks("sh"))
    for path in re.findall(r'"\$URL(/facechain/[^"]+)"', text):
        assert client.get(path).status_code == 200, path
    (body,) = re.findall(r"<<END\n(.*?)\nEND", text, re.DOTALL)
    assert client.post("/sdapi/v1/txt2img", json=json.loads(body.replace("$photo", PHOTO))).status_code == 200


def test_the_documents_tables_are_the_declarations():
    from facechain_ext.options import fields_of
    from facechain_ext.ui.request import PanelOptions, PersonOptions

    tables = DOCUMENT.split("<!-- fields -->")[1].split("<!-- /fields -->")[0]
    rows = re.findall(r"^\| `(\w+)` \| `(.*?)` \| (.*) \|$", tables, re.MULTILINE)
    written = {name: (default, text) for name, default, text in rows if name != "persons"}
    declared = {one.name: one for cls in (PanelOptions, PersonOptions) for one in fields_of(cls)}
    assert set(written) == set(declared)
    for name, one in declared.items():
        default = json.dumps(list(one.default) if isinstance(one.default, tuple) else one.default)
        assert written[name][0] == default and written[name][1].startswith(one.option.help), name
        assert all(f"`{choice}`" in written[name][1] for choice in one.option.choices), name
        if one.option.minimum is not None:
            assert f"({one.option.minimum:g} to {one.option.maximum:g})" in written[name][1], name


def test_version_and_adapters(client, models):
    answer = client.get("/facechain/v1/version").json()
    assert answer == {"version": __version__, "api": 1, "host": None, "checkpoint": "supported"}
    answer = client.get("/facechain/v1/adapters").json()
    assert [one["name"] for one in answer["adapters"]] == ["small"] and answer["encoder"] == "encoder.safetensors"
    assert answer["folder"] == str(models / "FaceChain")


def test_no_encoder_is_said(client, models):
    (models / "FaceChain" / "encoder.safetensors").unlink()
    assert client.get("/facechain/v1/adapters").json()["encoder"] is None


def test_schema_is_json(client):
    assert client.get("/facechain/v1/schema").json()["properties"]["persons"]["maxItems"] == 4


def test_what_is_seen(client):
    plain = BytesIO()
    Image.new("RGB", (300, 200), "grey").save(plain, format="PNG")
    body = {"photos": [PHOTO, base64.b64encode(plain.getvalue()).decode()], "analyser": "embedded"}
    good, bad = client.post("/facechain/v1/analyse", json=body).json()["photos"]
    assert good["usable"] and good["size"] == [512, 512] and good["problems"] == []
    left, top, right, bottom = good["face"]
    assert 150 < left < 200 and 240 < right < 300 and top < 110 < bottom  # where the astronaut's face is
    assert Image.open(BytesIO(base64.b64decode(good["thumbnail"]))).size == (112, 112)
    assert not bad["usable"] and bad["face"] is None and bad["problems"][0]["code"] == "no_face"
    assert Image.open(BytesIO(base64.b64decode(bad["thumbnail"]))).size == (112, 75)  # whole, not cut


def test_photos_are_looked_at_without_an_encoder_too(client, models):
    (models / "FaceChain" / "encoder.safetensors").unlink()
    answer = client.post("/facechain/v1/analyse", json={"photos": [PHOTO], "analyser": "embedded"}).json()
    assert answer["photos"][0]["usable"] and answer["photos"][0]["likeness"] is None


@pytest.mark.parametrize(
    ("method", "path", "body", "says"),
    [
        ("POST", "/analyse", {}, "No photo was given"),
        ("POST", "/analyse", {"photos": []}, "No photo was given"),
        ("POST", "/analyse", {"photos": "x"}, "photos must be a list"),
        ("POST", "/analyse", {"photos": ["!"]}, "photo 1 is not base64"),
        ("POST", "/analyse", {"photos": [PHOTO] * 7}, "7 photos: 6 are the most"),
        ("POST", "/analyse", {"foto": []}, "There is no field 'foto'"),
        ("POST", "/analyse", {"photos": [PHOTO], "face": True}, "face must be a whole number"),
        ("POST", "/persons", {"name": "", "photos": [PHOTO], "analyser": "embedded", "consent": True}, "needs a name"),
        ("POST", "/persons", {"name": "Anna"}, "no photo to save a person from"),
        ("PATCH", "/persons/Nobody", {"name": "B"}, "No saved person is called 'Nobody'"),
        ("DELETE", "/persons/Nobody", None, "No saved person is called 'Nobody'"),
        ("DELETE", "/persons/..%2f..%2fsecret", None, "No saved person|Not Found"),
    ],
)
def test_refusals_are_sentences(client, method, path, body, says):
    answer = client.request(method, f"/facechain/v1{path}", json=body)
    assert answer.status_code in (404, 422) and re.search(says, answer.json()["detail"]), answer.text


def test_a_body_that_is_no_object_is_refused(client):
    assert client.post("/facechain/v1/analyse", json=[1]).status_code == 422
    assert client.post("/facechain/v1/persons", content=b"{", headers={"content-type": "application/json"}).status_code == 422


ROUTES = [("GET", "/version"), ("GET", "/schema"), ("GET", "/adapters"), ("POST", "/analyse"), ("GET", "/persons"), ("POST", "/persons"),
          ("PATCH", "/persons/A"), ("DELETE", "/persons/A")]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("given", [None, ("ada", "wrong"), ("bob", "secret"), ("", "")])
def test_with_api_auth_every_route_asks(client, host, method, path, given):
    host.shared.cmd_opts.api_auth = "ada:secret,eve:pass:word"
    answer = client.request(method, f"/facechain/v1{path}", json={}, auth=given)
    assert answer.status_code == 401 and "Basic" in answer.headers["www-authenticate"]


@pytest.mark.parametrize("given", [("ada", "secret"), ("eve", "pass:word"), ("安娜", "pässwörd")])
def test_with_the_right_name_and_password_it_answers(client, host, given):
    host.shared.cmd_opts.api_auth = "ada:secret,eve:pass:word,安娜:pässwörd"
    assert client.get("/facechain/v1/version", auth=given).status_code == 200


def test_a_page_with_a_login_has_no_open_back_door(client, host, tmp_path):
    (tmp_path / "users").write_text("ida:one,\nida2:two\n")
    host.shared.cmd_opts.gradio_auth, host.shared.cmd_opts.gradio_auth_path = "ada:secret", str(tmp_path / "users")
    assert client.get("/facechain/v1/persons").status_code == 401
    for user in (("ada", "secret"), ("ida", "one"), ("ida2", "two")):
        assert client.get("/facechain/v1/persons", auth=user).status_code == 200


@pytest.mark.parametrize(("given", "owner"), [(("ada", "secret"), True), (("eve", "word"), False)])
def test_where_things_lie_is_told_to_the_first_account_alone(client, host, models, monkeypatch, given, owner):
    from facechain_ext.ui import api, studio_webui

    def refuses(folder):
        raise BadWeights(f"{folder / 'small.safetensors'} cannot be read: get it again.")

    monkeypatch.setattr(api, "found", refuses)
    host.shared.cmd_opts.api_auth = "ada:secret,eve:word"
    studio_webui.studio.cache_clear()  # log-ins are the command line's: they are there before it
    answer = client.get("/facechain/v1/adapters", auth=given)
    place = f"{models}/FaceChain" if owner else f"{models.name}/FaceChain"
    assert answer.status_code == 422 and answer.json()["detail"] == f"{place}/small.safetensors cannot be read: get it again."


@pytest.fixture
def serving(host, models, monkeypatch):
    """A host whose page serves every file below its folder by its path, as gradio does for A1111 and Forge; with log-ins or without."""
    from facechain_ext.ui import api, studio_webui

    monkeypatch.chdir(models)
    host.shared.opts.facechain_outputs = str(models / "results")
    owned = ("FaceChain/people/users/ada/Ann.safetensors", "FaceChain/styles/users/ada/Oil.json")
    for path in (*owned, "results/ada/one.png", "outputs/hosts.png", "elsewhere/Eve.safetensors"):
        (models / path).parent.mkdir(parents=True, exist_ok=True)
        (models / path).write_text(path)
    (models / "FaceChain" / "people" / "linked.safetensors").symlink_to(models / "elsewhere" / "Eve.safetensors")
    (models / "shortcut").symlink_to(models / "FaceChain" / "people" / "users" / "ada")

    def started(**flags: str) -> TestClient:
        host.shared.cmd_opts.__dict__.update(flags)
        studio_webui.studio.cache_clear()
        app = FastAPI()
        for route in ("/file={path_or_url:path}", "/file/{path_or_url:path}"):
            app.add_api_route(route, lambda path_or_url: Path(path_or_url).read_text(), methods=["GET", "HEAD"])
        for _ in range(2):
            api.on_app_started(None, app)
        return TestClient(app, base_url=URL)

    return started


PEOPLE = "FaceChain/people"
STYLE = "FaceChain/styles/users/ada/Oil.json"
OWN = (f"{PEOPLE}/users/ada/Ann.safetensors", f"{PEOPLE}/linked.safetensors", STYLE, "results/ada/one.png", "shortcut/Ann.safetensors")


@pytest.mark.parametrize("flags", [{"gradio_auth": "ada:a,eve:b"}, {"api_auth": "ada:a,eve:b"}])
def test_with_log_ins_the_page_serves_nobodys_files_by_their_path(serving, models, flags):
    client = serving(**flags)
    for path in (*OWN, f"{models}/{OWN[0]}", f"{models}/outputs/%2e%2e/{OWN[0]}", f"{PEOPLE}/%00"):
        for route in ("/file=", "/file/"):
            answer = client.get(route + path)
            assert answer.status_code == 403 and "somebody's own" in answer.json()["detail"], path
    assert client.head(f"/file={OWN[0]}").status_code == 403
    for path in ("outputs/hosts.png", "elsewhere/Eve.safetensors"):
        assert client.get(f"/file={path}").json() == path


def test_without_log_ins_the_page_serves_what_it_served(serving):
    client = serving()
    assert client.get(f"/file={OWN[0]}").json() == OWN[0] and client.get("/file=results/ada/one.png").status_code == 200


@pytest.mark.parametrize("moved", [True, False])
def test_everybodys_results_are_closed_where_the_settings_say_and_the_hosts_pictures_are_not(serving, host, models, moved):
    from facechain_ext.hosts.webui_host import output_folder

    client = serving(gradio_auth="ada:a,Eve:b")
    folder = models / "outputs" if moved else output_folder() / "FaceChain"
    host.shared.opts.facechain_outputs = str(folder) if moved else ""
    for name in ("ada/one.png", "^eve/one.png", "local/one.png", "gone/one.png", "history.sqlite3", "history.sqlite3-wal"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("somebody's")
        served = 200 if moved and name.startswith("gone") else 403  # who has an account no more is known by our own folder alone
        assert client.get(f"/file={folder}/{name}").status_code == served, name
    assert client.get("/file=outputs/hosts.png").status_code == 200


def test_a_second_start_adds_nothing(app, host):
    from facechain_ext.ui import api

    before = len(app.routes)
    api.on_app_started(None, app)
    assert len(app.routes) == before


def test_a_person_keeps_photos_only_when_asked(client, models):
    body = {"photos": [PHOTO], "analyser": "embedded"}
    assert "that the person in the photos agrees" in client.post("/facechain/v1/persons", json={"name": "A", **body}).json()["detail"]
    body["consent"] = True
    plain = client.post("/facechain/v1/persons", json={"name": "A", **body}).json()
    kept = client.post("/facechain/v1/persons", json={"name": "B", "keep_photos": True, **body}).json()
    assert (plain["originals"], kept["originals"]) == (0, 1) and "agreed" in plain["consent"]
    files = {path.stem: path.read_bytes() for path in (models / "FaceChain" / "people").iterdir()}
    original = base64.b64encode(ASTRONAUT.read_bytes())
    assert original not in files["A"] and original in files["B"]


def test_a_name_that_is_taken_is_refused_unless_replaced(client):
    flipped = BytesIO()
    Image.open(ASTRONAUT).convert("RGB").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(flipped, format="PNG")
    other = {"name": "A", "photos": [base64.b64encode(flipped.getvalue()).decode()], "analyser": "embedded", "consent": True}
    assert client.post("/facechain/v1/persons", json={**other, "photos": [PHOTO]}).status_code == 200
    assert "called A already" in client.post("/facechain/v1/persons", json=other).json()["detail"]
    assert client.post("/facechain/v1/persons", json={**other, "replace": True}).status_code == 200
