"""The second half of docs/api.md: its examples run against the studio without a WebUI, and its tables are the declarations."""

from __future__ import annotations

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

from facechain_ext.app import App, Choice
from facechain_ext.options import fields_of
from facechain_ext.ui.api_order import OrderOptions
from facechain_ext.ui.api_studio import add_routes
from facechain_ext.ui.studio_alone import StudioAlone
from facechain_ext.workflows.making import MakingOptions
from tests.workflows.test_styles_lora_files import BLOCK, write

ROOT = Path(__file__).parents[2]
WEBUI, STUDIO = (ROOT / "docs" / "api.md").read_text(encoding="utf-8").split("<!-- studio -->")
URL = "http://studio"
USUAL, SMALL = '"width": 512, "height": 512, "steps": 20', '"width": 64, "height": 64, "steps": 2'


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture(scope="module")
def studio(tmp_path_factory) -> StudioAlone:
    folder = tmp_path_factory.mktemp("studio")
    return StudioAlone(
        App(Choice(models=folder / "models", scratch=folder / "scratch", analyser="embedded", device="cpu")), folder / "data"
    )


@pytest.fixture
def client(studio) -> TestClient:
    app = FastAPI()
    add_routes(app, studio, lambda: "")
    return TestClient(app, base_url=URL)


@pytest.fixture
def folder(tmp_path, monkeypatch, studio) -> Path:
    """Where the examples are run: with the example photo, and a LoRA for the demo model."""
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "astronaut.png").symlink_to(ROOT / "examples" / "astronaut.png")
    key, width = f"lora_unet_{BLOCK}_attn2_to_k", studio.app.text_width
    write(
        tmp_path / "velvet.safetensors", {f"{key}.lora_down.weight": (4, width), f"{key}.lora_up.weight": (64, 4)},
        {"modelspec.trigger_phrase": "vlvt"},
    )  # fmt: skip
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_python_examples_run(client, folder, monkeypatch, capsys):
    def urlopen(request: urllib.request.Request):
        answer = client.request(request.get_method(), request.full_url, content=request.data, headers=dict(request.header_items()))
        if answer.status_code != 200:
            raise urllib.error.HTTPError(request.full_url, answer.status_code, answer.text, None, None)  # type: ignore[arg-type]
        return BytesIO(answer.content)

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    text = "\n".join(blocks(STUDIO, "python"))
    assert text.count(USUAL) == 3, "the examples' pictures are made small here"
    start = blocks(WEBUI, "python")[0].split("\nanswer =")[0]
    program = folder / "examples.py"
    program.write_text(f"{start}\n{text.replace(USUAL, SMALL)}", encoding="utf-8")
    runpy.run_path(str(program), {"URL": URL})
    said = capsys.readouterr().out.splitlines()
    assert sorted(line.split()[:2] for line in said[:2]) == [["done", "1"], ["done", "2"]], "the more alike first, and chance seeds"
    finished = next(line for line in said if line.startswith("done 2 of 2 step 2 of 2"))
    assert finished and [(folder / name).stat().st_size > 1000 for name in ("portrait-1.png", "portrait-2.png", "again.png", "people.zip")]
    later = said[said.index(finished) + 1 :]
    assert later[0].startswith("TransFace ") and later[0].endswith(" None [None, None]"), "noise has no face"
    assert later[1].count("(True, ") == 1 and later[1].count("(False, ") == 2
    assert "bound vlvt, portrait in velvet" in "\n".join(later) and "['Velvet']" in later
    *_, history, again, gone, merged, imported, settings = later
    assert history.startswith("7 ") and again.endswith("True") and gone == "{'deleted': 7}"
    assert merged == "['f07f3d10116f']" and imported == "['Ada']" and settings == "30 {}"
    assert client.get("/facechain/v1/persons").json() == {"persons": []}


def test_the_shell_examples_are_real_routes(client):
    paths = re.findall(r'"\$URL(/facechain/[^"]+)"', "\n".join(blocks(STUDIO, "sh")))
    assert len(paths) == 6
    for path in paths:
        assert client.get(path).status_code == 200, path


def number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else f"{value:g}"


def test_the_tables_are_the_declarations():
    rows = re.findall(r"^\| `(\w+)` \| `(.*?)` \| (.*) \|$", STUDIO.split("<!-- order -->")[1].split("<!-- /order -->")[0], re.MULTILINE)
    declared = [one for cls in (OrderOptions, MakingOptions) for one in fields_of(cls)]
    assert [name for name, _, _ in rows] == [one.name for one in declared]
    for (name, default, text), one in zip(rows, declared, strict=True):
        assert default == json.dumps(list(one.default) if isinstance(one.default, tuple) else one.default), name
        choices = ": " + ", ".join(f"`{choice}`" for choice in one.option.choices) if one.option.choices else ""
        low, high = one.option.minimum, one.option.maximum
        limits = f" ({number(low)} to {number(high)})" if low is not None and high is not None else ""
        assert text == f"{one.option.help}{choices}{limits}", name
