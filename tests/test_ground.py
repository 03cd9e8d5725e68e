"""The rules of the house that hold for every file: importing is free, nothing prints, no word and no call that has no place here."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tomllib
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "facechain_ext"
FILES = sorted(PACKAGE.rglob("*.py"))
OURS = [*FILES, *sorted(ROOT.glob("*.py")), *sorted(ROOT.glob("scripts/*.py"))]

PICTURES = {"numpy", "PIL", "cv2"}
HEAVY = {"torch", "diffusers", "transformers", "gradio", "mediapipe", "onnxruntime", "insightface", "modelscope", "matplotlib"}
HOST_BRINGS = {"modules", "modules_forge", "backend", "gradio", "fastapi"}  # a module that needs these is for inside a WebUI

# Imports the modules named in argv[4:] and writes, as JSON to the file argv[1]: what was loaded, and each thing an import must not do.
PROBE = """
import json, os, sys
out, root, absent, *names = sys.argv[1:]
deeds = []
def watch(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system"):
        deeds.append(f"{event} {args[1:]!r}")
    if event == "open" and isinstance(args[0], str) and os.path.abspath(args[0]).startswith(root):
        if not args[0].endswith((".py", ".pyc")) and ".pyc." not in args[0]:
            deeds.append(f"open {args[0]}")
before = set(sys.modules)
sys.addaudithook(watch)
for name in names:
    try:
        __import__(name)
    except ModuleNotFoundError as problem:
        if problem.name.split(".")[0] not in absent.split():
            raise
found = {"loaded": sorted({name.split(".")[0] for name in set(sys.modules) - before}), "deeds": list(deeds)}
torch = sys.modules.get("torch")
found["gpu"] = bool(torch and torch.cuda.is_initialized())
json.dump(found, open(out, "w"))
"""


def module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def import_them(tmp_path: Path, *names: str) -> tuple[dict, str]:
    """What importing these modules in a fresh Python did, and everything it wrote to stdout and stderr."""
    out = tmp_path / "found.json"
    command = [sys.executable, "-W", "ignore", "-c", PROBE, str(out), str(PACKAGE), " ".join(HOST_BRINGS), *names]
    environment = {**os.environ, "TRANSFORMERS_VERBOSITY": "error"}  # it warns at import that torchvision is missing, which is meant
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
    return json.loads(out.read_text()), done.stdout


def test_importing_the_package_loads_nothing_heavy(tmp_path):
    found, said = import_them(tmp_path, "facechain_ext", "facechain_ext.errors", "facechain_ext.log")
    assert (HEAVY | PICTURES) & set(found["loaded"]) == set()
    assert found["deeds"] == [] and said == ""


def test_the_command_line_starts_without_heavy_libraries(tmp_path):
    names = [module(path) for path in FILES if path.parent == PACKAGE]
    found, said = import_them(tmp_path, *names, "facechain_ext.faces.types", "facechain_ext.hosts.types")
    assert HEAVY & set(found["loaded"]) == set()
    assert found["deeds"] == [] and said == ""


def test_no_import_touches_a_file_the_network_or_the_gpu_or_prints(tmp_path):
    found, said = import_them(tmp_path, *map(module, FILES))
    assert found["deeds"] == [] and said == "" and not found["gpu"]


def test_the_probe_sees_what_an_import_does(tmp_path, monkeypatch):
    data = PACKAGE / "presets" / "sd15" / "model_index.json"
    (tmp_path / "bad.py").write_text(f"import socket, torch\nprint('hello')\nopen({str(data)!r})\nsocket.getaddrinfo('localhost', 1)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found, said = import_them(tmp_path, "bad")
    assert [deed.split()[0] for deed in found["deeds"]] == ["open", "socket.getaddrinfo"]
    assert said == "hello\n" and "torch" in found["loaded"]


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_keeps_the_rules(path):
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text, feature_version=(3, 10))
    assert broken_rules(path.name, text, tree) == []


FORBIDDEN_CALLS = {"eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads"}
FORBIDDEN_NAMES = {"utils", "util", "helper", "helpers", "common", "manager", "misc", "new", "v1"}
FORBIDDEN_WORDS = ("TODO", "FIXME", "XXX", "HACK")


def broken_rules(name: str, text: str, tree: ast.AST) -> list[str]:
    """What a file does that no file of the product may. The command line may print: it is where the person reads."""
    forbidden = FORBIDDEN_CALLS | ({"print"} if name != "__main__.py" else set())
    broken = [f"called {word}" for word in name.removesuffix(".py").split("_") if word in FORBIDDEN_NAMES]
    broken += [f"the word {word}" for word in FORBIDDEN_WORDS if word in text]
    return broken + [f"{line}: {why}" for node in ast.walk(tree) for line, why in broken_by(node, forbidden)]


def broken_by(node: ast.AST, forbidden: set[str]) -> list[tuple[int, str]]:
    """Line and rule, for one piece of a syntax tree."""
    broken = []
    if isinstance(node, ast.Call):
        call, keywords = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
        broken += [(node.lineno, f"{call}()")] * (call in forbidden)
        broken += [(node.lineno, "shell=")] * ("shell" in keywords)
        broken += [(node.lineno, "torch.load without weights_only")] * (call == "torch.load" and keywords.get("weights_only") != "True")
    if isinstance(node, ast.Name) and node.id == "NotImplementedError":
        broken.append((node.lineno, node.id))
    if isinstance(node, (ast.Import, ast.ImportFrom)) and "torchvision" in ast.unparse(node):
        broken.append((node.lineno, "torchvision"))
    return broken


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("paint.py", "print('x')"),
        ("paint.py", "eval('1')"),
        ("paint.py", "import os\nos.system('ls')"),
        ("paint.py", "import subprocess\nsubprocess.run('ls', shell=True)"),
        ("paint.py", "import torch\ntorch.load('x')"),
        ("paint.py", "import torch\ntorch.load('x', weights_only=False)"),
        ("paint.py", "def f():\n    raise NotImplementedError"),
        ("paint.py", "import torchvision.transforms"),
        ("paint.py", "x = 1  # TODO: more"),
        ("image_utils.py", "x = 1"),
    ],
)
def test_a_broken_rule_is_found(name, source):
    assert len(broken_rules(name, source, ast.parse(source))) == 1


TEXTS = ("*.py", "*.md", "*.txt", "*.toml", "*.json", "*.yaml", "*.js", "*.css", "*.svg", "run", ".gitignore")


def kept_files() -> list[Path]:
    """The files that belong to the project: what git tracks, or would."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [ROOT / name for name in listed if (ROOT / name).is_file()]


def test_no_file_names_a_registry_or_a_folder_of_one_machine():
    # in two halves, so that this file does not name them
    halves = (("--index-", "url"), ("pypi.", "org"), ("pythonhosted.", "org"), ("/ro", "ot/"), ("/ho", "me/"), ("C:\\Us", "ers"))
    forbidden = [first + second for first, second in halves]
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in kept_files()
        if any(path.match(pattern) for pattern in TEXTS)
        for word in forbidden
        if word in path.read_text(encoding="utf-8", errors="replace")
    ]
    assert found == []


def test_locks_pin_exactly_and_without_what_belongs_to_one_platform():
    for path in (ROOT / "requirements").glob("*.lock.txt"):
        pins = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
        assert pins == sorted(set(pins), key=str.lower)
        for pin in pins:
            name, _, version = pin.partition(" ;")[0].partition("==")
            assert version and not set(version) & set("*<>,+"), pin
            assert not name.startswith(("nvidia", "triton", "torchvision")), pin


def test_the_ranges_of_pyproject_hold_the_locked_versions():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    locked = {}
    for path in (ROOT / "requirements").glob("*.lock.txt"):
        for line in path.read_text().splitlines():
            if line and not line.startswith("#"):
                pin = Requirement(line)
                locked[pin.name.lower()] = str(pin.specifier).removeprefix("==")
    for extra in ("standalone", "insightface", "test"):
        for text in extras[extra]:
            wanted = Requirement(text)
            assert wanted.specifier.contains(locked[wanted.name.lower()]), text
