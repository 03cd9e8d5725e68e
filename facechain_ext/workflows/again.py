"""Make again: an order restored from the info text of a picture."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

from facechain_ext.errors import BadInput
from facechain_ext.options import from_info
from facechain_ext.workflows.infotext import parse_info
from facechain_ext.workflows.orders import Again, MakingOptions, Room
from facechain_ext.workflows.people import Picture
from facechain_ext.workflows.planning import AGAINST, ANALYSER, FACE, OWN_WORDS, PERSON, POSE, STYLE, TAG, WORDING, lacking
from facechain_ext.workflows.styles import Bound
from facechain_ext.workflows.wording import NEGATIVE

if TYPE_CHECKING:
    from facechain_ext.store.library import Library
    from facechain_ext.store.records import Entry

WEBUI: Mapping[str, tuple[str, type]] = {
    "Steps": ("steps", int),
    "Sampler": ("sampler", str),
    "CFG scale": ("cfg", float),
    "Seed": ("seed", int),
    "Clip skip": ("clip_skip", int),
    "Hires upscale": ("hires", float),
    "Denoising strength": ("hires_strength", float),
    "Hires steps": ("hires_steps", int),
    "Hires upscaler": ("upscaler", str),
    "Face restoration": ("restore", str),
    "Postprocess upscale by": ("finish", float),
    "Postprocess upscaler": ("finish_upscaler", str),
    OWN_WORDS: ("prompt", str),
    AGAINST: ("negative", str),
    WORDING: ("template", str),
    ANALYSER: ("analyser", str),
    FACE: ("face", int),
}
"""Keys of the info text and the options they state."""
NOBODY_SAVED = "Whoever this was made of is not among the saved persons: give the photos again."
SIZE = re.compile(r"(\d+)x(\d+)")

Loras = dict[str, float]


def again(picture: Entry | str, room: Room, user: str) -> Again:
    """The order that a picture of the history (or an info text alone) states, for one picture of that seed, asked for by a user.

    BadInput where it has none.
    """
    prompt, negative, said = parse_info(picture if isinstance(picture, str) else picture.info)
    if "FaceChain weight" not in said or "FaceChain photos" not in said:
        raise BadInput("This picture does not say how FaceChain made it: choose one from the history.")
    notes: list[str] = []
    options = _options(prompt, negative, said)
    adapter = said.get("FaceChain adapter", "").rpartition(" [")[0]
    if adapter in room.adapters():
        options = replace(options, adapter=adapter)
    elif adapter:
        notes.append(f"It was made with the adapter {adapter}, which is not there: another is taken, and the picture will differ.")
    loras = _tags(prompt, but=_tags(options.prompt))
    style, weight, bare = _style(said.get(STYLE, ""), loras, room.styles(user), notes)
    options = replace(options, without_lora=bare)
    person = _person(said, room.library(user), notes)
    pose = None if isinstance(picture, str) else _pose(picture.path)
    if POSE in said and pose is None:
        notes.append("The pose picture is not kept: give it again.")
    notes += _notes(said, loras, room)
    return Again(
        options=options, person=person, photos=tuple(said["FaceChain photos"].split()), style=style, style_weight=weight,
        loras=tuple(loras.items()), pose=pose, pose_weight=_pose_weight(said), notes=tuple(notes),
    )  # fmt: skip


def _options(prompt: str, negative: str, said: Mapping[str, str]) -> MakingOptions:
    """The options stated. Where the wording is not (the command line), the whole prompt is taken as it is."""
    values: dict[str, Any] = {**from_info(MakingOptions, said), "count": 1}
    for key, (name, kind) in WEBUI.items():
        if key in said:
            values[name] = _value(key, said[key], kind)
    size = SIZE.fullmatch(said.get("Size", ""))
    if size:
        values["width"], values["height"] = int(size[1]), int(size[2])
    if WORDING not in said:
        values |= {"prompt": TAG.sub("", prompt).strip(), "template": "plain", "negative": negative}
    elif AGAINST not in said and NEGATIVE not in negative and STYLE not in said:
        values["negative"] = ""
    return MakingOptions(**values)


def _value(key: str, text: str, kind: type) -> Any:
    try:
        return kind(text)
    except ValueError as error:
        raise BadInput(f"The picture states {key}: {text}, which is no {kind.__name__}: set it by hand.") from error


def _tags(prompt: str, but: Loras | None = None) -> Loras:
    """The LoRAs a prompt asks for by tags, without those in `but`."""
    found = {tag[1].strip(): _weight(tag[2]) for tag in TAG.finditer(prompt)}
    return {name: weight for name, weight in found.items() if name not in (but or {})}


def _weight(text: str | None) -> float:
    try:
        return float(text) if text else 1.0
    except ValueError:
        return 1.0


def _style(key: str, loras: Loras, styles: tuple[Bound, ...], notes: list[str]) -> tuple[str, float | None, bool]:
    """The style, its LoRA's weight, which is taken out of `loras`, and whether it was made of its words alone."""
    if not key:
        return "", None, False
    bound = next((one for one in styles if one.style.key == key), None)
    if bound is None:
        notes.append(f"The style {key} is no longer there: its words and LoRAs are kept as they were.")
        return "", None, False
    if bound.lora is None:
        asked = PureWindowsPath(bound.style.lora).stem in loras  # a tag of it stands in the prompt
        if bound.state != "none" and asked:
            notes.append(lacking(bound))
        return key, None, bound.state != "none" and not asked
    return key, loras.pop(bound.lora.name, None), False


def _pose(path: Path) -> Picture | None:
    """The control picture that lies in the PNG file."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            text = picture.info.get(POSE, "")
        return Picture(data=base64.b64decode(text, validate=True), name="the pose") if text else None
    except (OSError, SyntaxError, ValueError, TypeError, Image.DecompressionBombError):
        return None


def _pose_weight(said: Mapping[str, str]) -> float:
    found = re.search(r"Weight: ([\d.]+)", said.get("ControlNet 0", ""))
    return _weight(found[1] if found else None)


def _person(said: Mapping[str, str], library: Library, notes: list[str]) -> str:
    """The saved person: known by the photos, else of the same name."""
    name = said.get(PERSON, "")
    known = library.known_by(said["FaceChain photos"].split())
    if known is not None:
        return known.name
    if name and any(one.name == name for one in library.people()):
        notes.append(f"{name} was saved again from other photos since: the picture will differ.")
        return name
    notes.append(NOBODY_SAVED)
    return ""


def _notes(said: Mapping[str, str], loras: Loras, room: Room) -> list[str]:
    known = {one.name for one in room.loras()}
    found = [f"The LoRA {name} is no longer there: put it back, or leave it out." for name in loras if name not in known]
    loaded, made_with = room.host.checkpoint(), f"{said.get('Model', '')} [{said.get('Model hash', '')}]"
    if said.get("Model") and loaded != made_with:
        found.append(f"It was made with the checkpoint {made_with}, and {loaded} is loaded: the picture will differ.")
    return found
