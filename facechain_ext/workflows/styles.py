"""Styles: the published presets as data, and which LoRA of the host each of them means. A LoRA that is not there is never replaced."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PureWindowsPath
from typing import Literal

from facechain_ext.hosts.types import Listed
from facechain_ext.workflows.adapting import adapted, cleaned

PRESETS = Path(__file__).parents[1] / "presets" / "styles.json"
DRAWN = PRESETS.with_name("styles_drawn.json")
"""What the trained demo model can draw, in words it knows."""
SHORTEST_HASH = 8
"""Hex digits of a shortened hash that tell files apart; kohya's and the WebUI's short ones have 8 to 12."""

State = Literal["bound", "missing", "other file", "none", "other model"]


@dataclass(frozen=True, kw_only=True)
class Style:
    """A look: a prompt, and a LoRA with its weight where it has one.

    base: the checkpoint it was made for; lora: file name, "" for a style of words alone; hashes: of the LoRA file, where known;
    source: where the published LoRA lies; thumbnail: a picture file's bytes; own: saved by a person, not a preset.
    """

    key: str
    name_en: str
    name_zh: str
    prompt: str
    negative: str = ""
    base: str = ""
    lora: str = ""
    weight: float = 0.0
    hashes: tuple[str, ...] = ()
    source: str = ""
    thumbnail: bytes = b""
    own: bool = False

    @property
    def sdxl(self) -> bool:
        """Made for another kind of model than the face adapters."""
        return "sdxl" in self.base.lower()

    def name(self, language: str) -> str:
        """The name in a language, "zh…" or any other."""
        return self.name_zh if language.lower().startswith("zh") else self.name_en

    def prompt_for(self, subject: str, *, minor: bool = False) -> str:
        """The prompt to fill in for a subject; of one's own style only the words that say who is there are changed."""
        return adapted(self.prompt if self.own else cleaned(self.prompt), subject, minor=minor)


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A style and the LoRA it means.

    state: "bound", by `how`; "missing"; "other file": one of that name is there whose hash is another's; "none": a style of words
    alone; "other model": made for SDXL. lora is None in all but the first.
    """

    style: Style
    state: State
    lora: Listed | None = None
    how: Literal["", "hash", "file", "alias"] = ""


@lru_cache(maxsize=2)
def presets(path: Path = PRESETS) -> tuple[Style, ...]:
    """The published styles in their order, or those of another file of the same kind."""
    return tuple(
        Style(
            key=one["key"], name_en=one["name_en"], name_zh=one["name_zh"], prompt=one["prompt"], base=one["base_model"],
            lora=one["bin_file"] or "", weight=one["multiplier_style"] if one["bin_file"] else 0.0,
            source=f"{one['model_id']} {one['revision']}" if one["model_id"] else "",
        )
        for one in json.loads(path.read_text(encoding="utf-8"))
    )  # fmt: skip


def bind(styles: Sequence[Style], listed: Sequence[Listed]) -> tuple[Bound, ...]:
    """Each style with the LoRA it means, by hash, else by file name, else by the name it was trained under."""
    return tuple(_bound(style, listed) for style in styles)


def _bound(style: Style, listed: Sequence[Listed]) -> Bound:
    if not style.lora:
        return Bound(style=style, state="none")
    if style.sdxl:
        return Bound(style=style, state="other model")
    by_hash = [one for one in listed if _same(style.hashes, one.hashes)]
    if by_hash:
        return Bound(style=style, state="bound", lora=by_hash[0], how="hash")
    stem = _stem(style.lora)
    by_file = [one for one in listed if _stem(one.file or one.name) == stem]
    by_alias = [one for one in listed if one.alias and _stem(one.alias) == stem]
    by_file.sort(key=lambda one: _stem(one.name) != one.name.casefold())  # of several in sub-folders, the one that lies in none
    fits = [one for one in (*by_file, *by_alias) if not _differ(style.hashes, one.hashes)]
    if not fits:
        return Bound(style=style, state="other file" if by_file or by_alias else "missing")
    return Bound(style=style, state="bound", lora=fits[0], how="file" if fits[0] in by_file else "alias")


def _same(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    pairs = [(a.lower(), b.lower()) for a in ours for b in theirs if min(len(a), len(b)) >= SHORTEST_HASH]
    return any(a.startswith(b) or b.startswith(a) for a, b in pairs)


def _differ(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    """Hashes of both are known, and they did not agree."""
    return any(len(one) >= SHORTEST_HASH for one in ours) and any(len(one) >= SHORTEST_HASH for one in theirs)


def _stem(file: str) -> str:
    """A file's name without folders and suffix, whichever way its folders are written."""
    name = PureWindowsPath(file).name
    return name.removesuffix(".safetensors").casefold()
