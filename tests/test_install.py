"""install.py and preload.py, which the WebUI runs before anything else: nothing but the standard library, nothing installed needlessly."""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def installer(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    import install

    return install


@pytest.mark.parametrize("file", ["install.py", "preload.py"])
def test_nothing_but_the_standard_library(file):
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"), feature_version=(3, 10))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= set(sys.stdlib_module_names) | {"__future__"}


def test_on_a_complete_host_it_installs_and_says_nothing():
    watch = (
        "import runpy, sys\n"
        "def stop(event, args):\n"
        "    if event in ('subprocess.Popen', 'socket.connect', 'os.system'): raise SystemExit(f'it did {event}')\n"
        "sys.addaudithook(stop)\n"
        f"runpy.run_path({str(ROOT / 'install.py')!r}, run_name='__main__')\n"
        "assert not {'torch', 'numpy', 'cv2', 'PIL'} & set(sys.modules), 'it imported what it looked for'\n"
    )
    done = subprocess.run([sys.executable, "-c", watch], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_only_opencv_is_ever_asked_for_and_once(installer, monkeypatch):
    asked = []
    monkeypatch.setattr(installer, "find_spec", lambda name: None if name == "cv2" else object())
    monkeypatch.setattr(installer.subprocess, "run", lambda command: asked.append(command) or argparse.Namespace(returncode=0))
    installer.main()
    (command,) = asked
    assert command[:4] == [sys.executable, "-m", "pip", "install"] and command[-1] == "opencv-python-headless>=4.8,<5" and "-c" in command


def test_the_constraints_hold_everything_that_is_installed(installer):
    from importlib.metadata import version

    lines = installer.constraints().splitlines()
    assert f"numpy=={version('numpy')}" in lines and all(line.count("==") == 1 and "+" not in line for line in lines)


def test_a_failure_is_told_and_does_not_stop_the_webui(installer, monkeypatch, capsys):
    monkeypatch.setattr(installer, "find_spec", lambda name: None if name in ("cv2", "torch") else object())
    monkeypatch.setattr(installer, "install", lambda wanted: 1)
    installer.main()
    said = capsys.readouterr().err
    assert "lacks torch" in said and "opencv-python-headless" in said


def test_the_flags_of_the_command_line(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from preload import preload

    parser = argparse.ArgumentParser()
    preload(parser)
    assert vars(parser.parse_args([])) == {"facechain_models_dir": None, "facechain_offline": False}
    given = parser.parse_args(["--facechain-models-dir", "x", "--facechain-offline"])
    assert (given.facechain_models_dir, given.facechain_offline) == ("x", True)
