"""The direction of imports: every file of the package against the table of rooms in docs/architecture.md, by reading its syntax tree."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "facechain_ext"


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


@dataclass(frozen=True)
class Room:
    """A module or package of facechain_ext, its row, and the third parties it may import.

    row: what it imports of the package lies in a row of the same or a smaller number.
    top: at the top of a file. inside: in a function, where nothing is loaded until it is needed.
    """

    name: str
    row: int
    top: frozenset[str] = frozenset()
    inside: frozenset[str] = frozenset()


PICTURES = words("numpy PIL cv2")
NETWORKS = words("torch safetensors")
DIFFUSION = words("diffusers transformers peft accelerate")
HOST = words("modules modules_forge backend ldm ldm_patched k_diffusion lib_controlnet networks")

# The longest name that fits a module is its room.
ROOMS = (
    Room("__init__", 0),
    Room("errors", 0),
    Room("log", 0),
    Room("options", 0),
    Room("engine", 1, NETWORKS),
    Room("vision", 1, PICTURES),
    Room("weights", 1, inside=NETWORKS | words("huggingface_hub modelscope")),
    Room("faces.__init__", 2),
    Room("faces.types", 2),
    Room("faces.vetting", 2, PICTURES),  # looks through any analyser's eyes: knows the protocol, no backend
    Room("hosts.__init__", 2),
    Room("hosts.types", 2),
    Room("store", 2, words("PIL")),
    Room("faces", 3, PICTURES),
    Room("faces.embedded", 3, PICTURES, words("mediapipe")),
    Room("faces.body", 3, PICTURES, words("mediapipe")),
    Room("faces.facexlib", 3, PICTURES, words("facexlib torch")),
    Room("faces.insightface", 3, PICTURES, words("insightface onnxruntime")),
    Room("faces.modelscope", 3, PICTURES, words("modelscope torch safetensors")),
    Room("faces.nudity", 3, PICTURES, words("torch safetensors diffusers huggingface_hub nudenet")),
    Room("faces.demo", 3, PICTURES, NETWORKS),
    Room("hosts", 3),
    Room("hosts.standalone", 3, NETWORKS | DIFFUSION | words("numpy PIL compel")),
    Room("hosts.a1111", 3, HOST | NETWORKS | words("numpy PIL")),
    Room("hosts.forge", 3, HOST | NETWORKS | words("numpy PIL")),
    Room("hosts.webui", 3, HOST | NETWORKS | words("numpy PIL")),  # what a1111 and forge share
    Room("hosts.webui_host", 3, inside=words("modules PIL")),
    Room("hosts.webui_painting", 3, inside=words("modules numpy PIL")),
    Room("hosts.webui_controls", 3, inside=words("modules numpy PIL")),
    Room("training", 3, NETWORKS | PICTURES | DIFFUSION | words("tqdm"), words("tensorboard")),
    Room("demo", 3, NETWORKS | PICTURES | DIFFUSION | words("tqdm")),
    Room("workflows", 4, words("numpy PIL"), words("torch")),
    Room("app", 5, words("PIL"), NETWORKS | PICTURES),
    Room("parity", 5, inside=NETWORKS | PICTURES | DIFFUSION),
    Room("bench", 5, inside=NETWORKS | PICTURES | DIFFUSION | words("psutil")),
    Room("ui", 6, words("gradio fastapi modules PIL"), words("tqdm")),
    Room("ui.page_server", 6, words("gradio fastapi"), words("uvicorn")),
    Room("ui.loaded", 6, words("PIL"), words("torch")),  # learns persons outside the host's inference mode
    Room("ui.command_random_weights", 6, inside=NETWORKS),
    Room("__main__", 6, inside=words("gradio fastapi PIL tqdm torch")),
)

STRANGERS = {("engine", "vision"), ("vision", "engine")}  # of one row, yet they do not know each other


@dataclass(frozen=True)
class Import:
    """One import: line, dotted name, whether it stands in a function, whether only a type checker sees it."""

    line: int
    name: str
    inside: bool
    typing: bool


def imports(tree: ast.Module, module: str) -> Iterator[Import]:
    """Every import of a file, wherever it stands; `from a import b` gives a.b."""

    def walk(node: ast.AST, inside: bool, typing: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, alias.name, inside, typing)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*module.split(".")[: -node.level], *filter(None, [base])])
            for alias in node.names:
                yield Import(node.lineno, f"{base}.{alias.name}", inside, typing)
        elif isinstance(node, ast.Call) and called(node.func) in ("import_module", "__import__") and node.args:
            yield Import(node.lineno, spoken(node.args[0], tree), inside, typing)
        if isinstance(node, ast.If) and called(node.test) == "TYPE_CHECKING":
            for child in node.body:
                yield from walk(child, inside, True)
            for child in node.orelse:
                yield from walk(child, inside, typing)
            return
        inside = inside or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inside, typing)

    yield from walk(tree, False, False)


def spoken(node: ast.expr, tree: ast.Module) -> str:
    """The module an import_module is asked for: a text, the fixed beginning of an f-string, or a constant of the file; else "?"."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
        return f"{node.values[0].value}?"
    if isinstance(node, ast.Name):
        for line in tree.body:
            if isinstance(line, ast.Assign) and any(called(target) == node.id for target in line.targets):
                return spoken(line.value, tree)
    return "?"


def called(node: ast.expr) -> str:
    """The last part of a name."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def room_of(module: str) -> Room | None:
    """The room of a module (its name without the package); None where the table has none."""
    fits = [room for room in ROOMS if f"{module}.".startswith(f"{room.name}.")]
    return max(fits, key=lambda room: len(room.name), default=None)


def violations(package: Path) -> list[str]:
    """Everything in the package that the table does not allow, as file:line and why."""
    found = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        room = room_of(".".join(parts))
        if room is None:
            found.append(f"{path.relative_to(package)}: has no room in the table")
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for used in imports(tree, ".".join(["facechain_ext", *parts])):
            why = objection(room, used)
            if why:
                found.append(f"{path.relative_to(package)}:{used.line}: {why}")
    return found


def objection(room: Room, used: Import) -> str | None:
    """Why a room may not have an import, or None where it may."""
    first, _, rest = used.name.partition(".")
    if first == "facechain_ext":
        return inner_objection(room, rest)
    if first in sys.stdlib_module_names or used.typing:
        return None
    if first in room.top or (used.inside and first in room.inside):
        return None
    if first in room.inside:
        return f"{first} at the top of a file, where it costs every import: move it into the function that needs it"
    return f"{room.name} may not import {first}"


def inner_objection(room: Room, rest: str) -> str | None:
    """The same for an import from the package itself; `rest` may end in the name of a thing inside a module."""
    target = room_of(rest) or ROOMS[0]  # a name of the package's own __init__, as __version__
    if target.row > room.row:
        return f"{room.name} (row {room.row}) imports {target.name} (row {target.row}), which lies below it"
    if (room.name, target.name) in STRANGERS:
        return f"{room.name} and {target.name} do not know each other"
    if room.name == "workflows" and target.row == 3:
        return f"workflows know only the types of {target.name.split('.')[0]}"
    return None


def test_the_package_keeps_the_table():
    assert violations(PACKAGE) == []


FORBIDDEN = [
    ("engine/gate.py", "from facechain_ext.vision.masks import head", "do not know each other"),
    ("vision/masks.py", "import facechain_ext.engine.gate", "do not know each other"),
    ("engine/gate.py", "import numpy", "engine may not import numpy"),
    ("vision/masks.py", "def f():\n    import torch", "vision may not import torch"),
    ("errors.py", "from facechain_ext.engine import gate", "lies below"),
    ("errors.py", "import attrs", "may not import attrs"),
    ("engine/sites.py", "from ..faces import types", "lies below"),
    ("engine/sites.py", "def f():\n    from ..hosts.types import Host", "lies below"),
    ("faces/types.py", "import numpy", "may not import numpy"),
    ("faces/__init__.py", "from facechain_ext.faces.embedded import Embedded", "lies below"),
    ("hosts/types.py", "if typing.TYPE_CHECKING:\n    from facechain_ext.workflows import portrait", "lies below"),
    ("faces/embedded.py", "import mediapipe", "at the top of a file"),
    ("faces/embedded.py", "try:\n    import mediapipe\nexcept ImportError:\n    pass", "at the top of a file"),
    ("faces/vetting.py", "def f():\n    import mediapipe", "may not import mediapipe"),
    ("hosts/standalone/paint.py", "def f():\n    from modules import shared", "may not import modules"),
    ("hosts/a1111.py", "from diffusers import DiffusionPipeline", "may not import diffusers"),
    ("workflows/portrait.py", "from facechain_ext.faces.embedded import Embedded", "only the types of faces"),
    ("workflows/portrait.py", "from facechain_ext.faces import embedded", "only the types of faces"),
    ("workflows/portrait.py", "import importlib\nimportlib.import_module('diffusers')", "may not import diffusers"),
    ("app.py", "import importlib\nWHERE = 'facechain_ext.ui.tab'\nimportlib.import_module(WHERE)", "lies below"),
    ("engine/gate.py", "import importlib\nimportlib.import_module(f'facechain_ext.hosts.{typing}')", "lies below"),
    ("engine/gate.py", "import importlib\nimportlib.import_module(typing.name)", "may not import ?"),
    ("workflows/portrait.py", "import gradio", "may not import gradio"),
    ("workflows/portrait.py", "from modules.shared import opts", "may not import modules"),
    ("app.py", "from facechain_ext.ui import tab", "lies below"),
    ("app.py", "import torch", "at the top of a file"),
    ("__main__.py", "import gradio", "at the top of a file"),
    ("weights/fetch.py", "import huggingface_hub", "at the top of a file"),
    ("tricks.py", "import os", "has no room"),
]

ALLOWED = [
    ("engine/gate.py", "import torch\nfrom facechain_ext.errors import BadInput\nfrom facechain_ext.engine.sites import SITES"),
    ("weights/fetch.py", "def f():\n    import huggingface_hub"),
    ("weights/convert.py", "from facechain_ext.engine import checkpoints"),
    ("faces/types.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import numpy\n    from PIL import Image"),
    ("faces/embedded.py", "import cv2\ndef f():\n    import mediapipe"),
    ("faces/embedded.py", "from facechain_ext.vision.masks import head\nfrom .types import Face"),
    ("hosts/a1111.py", "from modules import shared\nfrom facechain_ext.hosts.webui import rows"),
    ("hosts/standalone/paint.py", "from diffusers import UNet2DConditionModel"),
    ("demo/random.py", "from facechain_ext.hosts.standalone.checkpoint import build"),
    ("workflows/portrait.py", "from facechain_ext.faces.types import Face\nfrom facechain_ext.hosts import types"),
    ("app.py", "from facechain_ext.faces import embedded\nfrom facechain_ext.workflows.portrait import portrait"),
    ("training/commands.py", "import importlib\ndef f(x):\n    importlib.import_module(f'facechain_ext.training.{x}')"),
    ("ui/tab.py", "import gradio\nfrom facechain_ext import app, __version__"),
    ("__main__.py", "from facechain_ext.app import App\ndef f():\n    import gradio"),
]


def planted(tmp_path: Path, file: str, source: str) -> list[str]:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("import typing\n" + source + "\n")
    return violations(tmp_path)


@pytest.mark.parametrize(("file", "source", "why"), FORBIDDEN)
def test_a_forbidden_import_is_found(tmp_path, file, source, why):
    found = planted(tmp_path, file, source)
    assert len(found) == 1 and found[0].startswith(file) and why in found[0]


@pytest.mark.parametrize(("file", "source"), ALLOWED)
def test_an_allowed_import_is_left_alone(tmp_path, file, source):
    assert planted(tmp_path, file, source) == []
