"""Styles of one's own: a JSON file each, whole or not at all; given away and taken in as one JSON text.

They hold no picture: whoever is on a picture that was made with a style goes with that picture, not with the style.
"""

from __future__ import annotations

import json
import math
import os
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from facechain_ext.errors import BadInput, CannotWrite
from facechain_ext.log import log
from facechain_ext.store.names import part, place_of
from facechain_ext.store.pictures import delete, place
from facechain_ext.workflows.styles import Style

KIND, KINDS, VERSION = "facechain-style", "facechain-styles", 1
LONGEST = {"name": 80, "base": 200, "lora": 200, "prompt": 4000, "negative": 4000}
HEAVIEST = 4.0
MOST = 1000
HASH = re.compile("[0-9a-fA-F]{8,64}")
PORTRAIT = "thumbnail"
"""What older versions kept the first picture made with a style in; it is never taken in, and taken out of files that have it."""
FIELDS = {"kind", "version", "name", "base", "lora", "hashes", "weight", "prompt", "negative", PORTRAIT}


class OwnStyles:
    """The styles saved in one folder; a name is one style's."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def styles(self) -> tuple[Style, ...]:
        """All of them, by name; files that are not whole are left out and logged."""
        return tuple(sorted(self._files(), key=lambda one: one.key.casefold()))

    def style(self, name: str) -> Style:
        """The style of that name. BadInput where there is none."""
        found = next((one for one in self._files() if one.key == name), None)
        if found is None:
            raise BadInput(f"There is no style {name!r} of your own: choose one from the list.")
        return found

    def save(self, style: Style, *, overwrite: bool = False) -> Style:
        """Save a style under its name. BadInput where the name is taken, unless it is to be replaced."""
        checked = style_from(mapping_of(style))
        self._write(self._path(checked.key), checked, overwrite=overwrite)
        return checked

    def _write(self, target: Path, style: Style, *, overwrite: bool) -> None:
        text = json.dumps(mapping_of(style), ensure_ascii=False, indent=1)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            whole = self.folder / f".{uuid.uuid4().hex}.partial"
            try:
                whole.write_text(text, encoding="utf-8")
                if overwrite:
                    os.replace(whole, target)
                elif not place(whole, target):
                    raise BadInput(f"There is a style called {style.key!r} already: choose another name, or replace it.")
            finally:
                whole.unlink(missing_ok=True)
        except OSError as error:
            raise CannotWrite(f"{target} cannot be written ({error.strerror}): free some space or check the folder.") from error

    def delete(self, name: str) -> None:
        """Delete a style. BadInput where there is none of that name."""
        self.style(name)
        for path in [path for style, path in self._files().items() if style.key == name]:
            delete(path)

    def exported(self, names: Iterable[str] | None = None) -> str:
        """Some styles, or all, as one JSON text; LoRA files are named in it, not held. BadInput where there are none."""
        chosen = self.styles() if names is None else [self.style(name) for name in names]
        if not chosen:
            raise BadInput("There is no style of your own to give away: save one first.")
        return json.dumps({"kind": KINDS, "version": VERSION, "styles": [mapping_of(one) for one in chosen]}, ensure_ascii=False, indent=1)

    def imported(self, text: str) -> tuple[Style, ...]:
        """Take in exported styles; none where one is not in order. A name that is taken gets a number; the same style is not kept twice."""
        new = styles_from(text)
        return tuple(self._taken_in(style) for style in new)

    def _taken_in(self, style: Style) -> Style:
        name, number = style.key, 1
        while True:
            called = _named(style, name if number == 1 else f"{name[: LONGEST['name'] - 5]} ({number})")
            if self._path(called.key).is_file() and self._read(self._path(called.key)) == called:
                return called
            if not self._path(called.key).exists():
                return self.save(called)
            number += 1

    def _path(self, name: str) -> Path:
        return self.folder / f"{part(name.strip())}.json"

    def _files(self) -> dict[Style, Path]:
        paths = sorted(self.folder.glob("*.json")) if self.folder.is_dir() else []
        return {style: path for path in paths if (style := self._read(path)) is not None}

    def _read(self, path: Path) -> Style | None:
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            style = style_from(values)
        except (OSError, ValueError, RecursionError, BadInput) as error:
            log.warning("%s is no style that can be read and is left out: %s", path, error)
            return None
        if values.get(PORTRAIT):
            self._without_portrait(path, style)
        return style

    def _without_portrait(self, path: Path, style: Style) -> None:
        try:
            self._write(path, style, overwrite=True)
        except CannotWrite as error:
            log.warning("The picture of a person stays in the style %s: %s", style.key, error)


def styles_of(user: str, folder: Path) -> OwnStyles:
    """The styles of a user alone; the LoRAs they mean are everybody's. BadInput where it is not said whose."""
    if not user:
        raise BadInput("Styles are kept per user: say whose they are.")
    return OwnStyles(place_of(user, folder))


def own_style(name: str, prompt: str, *, lora: str = "", weight: float = 0.8, negative: str = "", hashes: tuple[str, ...] = ()) -> Style:
    """A style of one's own, checked."""
    return style_from(mapping_of(Style(
        key=name, name_en=name, name_zh=name, prompt=prompt, lora=lora, weight=weight, negative=negative, hashes=hashes, own=True,
    )))  # fmt: skip


def mapping_of(style: Style) -> dict[str, Any]:
    """A style as JSON values."""
    return {
        "kind": KIND, "version": VERSION, "name": style.key, "base": style.base, "lora": style.lora, "hashes": list(style.hashes),
        "weight": style.weight, "prompt": style.prompt, "negative": style.negative,
    }  # fmt: skip


def styles_from(text: str) -> tuple[Style, ...]:
    """The styles of an exported text; a single style's file is one too. BadInput names what is not in order."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput("This is no exported style (it is not JSON): choose a file that was exported from FaceChain.") from error
    if isinstance(found, dict) and found.get("kind") == KIND:
        return (style_from(found),)
    styles = found.get("styles") if isinstance(found, dict) and found.get("kind") == KINDS else None
    if not isinstance(styles, list) or not 1 <= len(styles) <= MOST:
        raise BadInput("This file holds no exported styles: choose one that was exported from FaceChain.")
    return tuple(style_from(one) for one in styles)


def style_from(values: Any) -> Style:
    """A style from JSON values that may come from anywhere. BadInput names the field that is not in order."""
    if not isinstance(values, Mapping) or values.get("kind") != KIND:
        raise BadInput("This is no style of FaceChain: choose a file that was exported from it.")
    if values.get("version") != VERSION:
        raise BadInput(f"This style is of version {values.get('version')!r}, and {VERSION} is known here: update FaceChain.")
    if strange := sorted(map(str, set(values) - FIELDS)):
        raise BadInput(f"This style has the unknown field {strange[0]!r}: remove it, or export the style again.")
    words = {name: _words(values, name) for name in LONGEST}
    if not words["name"]:
        raise BadInput("A style needs a name: type one.")
    if set(words["lora"]) & set("/\\<>") or words["lora"].startswith("."):
        raise BadInput(f"The style {words['name']!r} names the LoRA {words['lora']!r}: only a file name without folders can be used.")
    style = Style(
        key="", name_en="", name_zh="", prompt=words["prompt"], negative=words["negative"], base=words["base"], lora=words["lora"],
        weight=_weight(values.get("weight", 0.0)), hashes=_hashes(values.get("hashes", [])), own=True,
    )  # fmt: skip
    return _named(style, words["name"])


def _named(style: Style, name: str) -> Style:
    return replace(style, key=name, name_en=name, name_zh=name)


def _words(values: Mapping[str, Any], name: str) -> str:
    text = values.get(name, "")
    if not isinstance(text, str) or len(text) > LONGEST[name] or "\x00" in text:
        raise BadInput(f"The style's {name} must be a text of at most {LONGEST[name]} letters.")
    return text.strip()


def _weight(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or abs(value) > HEAVIEST:
        raise BadInput(f"The style's weight must be a number from -{HEAVIEST:g} to {HEAVIEST:g}; got {str(value)[:40]}.")
    return float(value)


def _hashes(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or len(values) > 8 or not all(isinstance(one, str) and HASH.fullmatch(one) for one in values):
        raise BadInput("The style's hashes must be a list of at most 8 hex numbers of 8 to 64 digits.")
    return tuple(one.lower() for one in values)
