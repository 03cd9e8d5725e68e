"""The README in two languages says the same: the same chapters, commands, options, files and pictures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENGLISH, CHINESE = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh.md"))


def commands(text: str) -> list[str]:
    """Lines of code blocks without their comments and what is to be filled in."""
    lines = (line.split("#")[0].strip() for line in text.splitlines() if line.startswith("    "))
    return [re.sub(r"<.*?>", "<>", line) for line in lines if re.match(r"(git|cd|python|pip|modelscope|--)\b", line)]


def options(text: str) -> list[str]:
    """The options of the first column of tables."""
    return [one for line in text.splitlines() if line.startswith("| `--") for one in re.findall(r"`--[a-z]+", line.split("|")[1])]


@pytest.mark.parametrize(
    ("what", "least"),
    [
        (lambda text: [len(line.split(" ")[0]) for line in re.findall(r"^#+ .*", text, re.MULTILINE)], 10),
        (commands, 9), (options, 25),
        (lambda text: [line.count("|") for line in text.splitlines() if re.match(r" *\|", line)], 40),
        (lambda text: sorted(re.findall(r"\]\(((?:docs|LICENSE)[^)]*)\)", text)), 8),
        (lambda text: sorted(re.findall(r"\d+\.\d+", text)), 30),
    ],
    ids=["chapters", "commands", "options", "tables", "links", "numbers"],
)  # fmt: skip
def test_both_languages_say_the_same(what, least):
    assert what(ENGLISH) == what(CHINESE) and len(what(ENGLISH)) >= least
