"""What is there and what is missing, for the first visit and the Setup page; the same sentences whichever host is below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from facechain_ext.faces.choose import ModelFolders
    from facechain_ext.faces.types import PictureCheck
    from facechain_ext.workflows.making import Room


WEIGHTS = ("checkpoint", "adapter", "encoder")


@dataclass(frozen=True, kw_only=True)
class Ready:
    """One of the things that are needed. name: checkpoint, adapter, encoder, analyser, styles, check, pose, …; there: whether it is.

    needed: nothing can be made without it; sentence: what is there or missing; advice: what to do where it is missing.
    """

    name: str
    there: bool
    needed: bool
    sentence: str
    advice: str = ""


def readiness(
    room: Room, user: str, *, note: str, files: Sequence[Path], models: Path, folders: ModelFolders, eyes: str = "auto", noise: bool = False
) -> tuple[Ready, ...]:
    """Everything in the order in which it is needed.

    note: of the demo model, "" where another is used; files: the three weights; eyes: the face analysis that is chosen; noise: the
    demo model is not trained: it paints, but nothing that is worth being called there.
    """
    return (*_weights(note, files, models, noise), _eyes(folders, eyes), _styles(room, user, models), _check(room), _pose(room))


def _weights(note: str, files: Sequence[Path], models: Path, noise: bool) -> tuple[Ready, ...]:
    if not note:
        return tuple(map(_file, WEIGHTS, files))
    places = f"Put an SD1.5 checkpoint into {models / 'Stable-diffusion'}, adapter and encoder into {models / 'FaceChain'}."
    sentences = (note, *(f"The demo model's {name}." for name in WEIGHTS[1:]))
    advice = (places, "", "")  # said once: all three go together
    return tuple(
        Ready(name=name, there=not noise, needed=not noise, sentence=sentence, advice=what)
        for name, sentence, what in zip(WEIGHTS, sentences, advice, strict=True)
    )


def _file(name: str, path: Path) -> Ready:
    if path.is_file():
        return Ready(name=name, there=True, needed=True, sentence=path.name)
    return Ready(name=name, there=False, needed=True, sentence=f"There is no {path}.", advice="Give another file, or put it there.")


def _eyes(folders: ModelFolders, eyes: str) -> Ready:
    """eyes: a backend's name, several joined by +, or auto for the first of each kind that is here."""
    from facechain_ext.faces.choose import ORDER, available_backends

    able = {one.name: one.capabilities for one in available_backends(folders)}
    named = [] if eyes == "auto" else [part.strip() for part in eyes.split("+")]
    finder = next((name for name in named or ORDER["detect"] if "detect" in able.get(name, ())), "")
    aged = any("attributes" in able.get(name, ()) for name in named or ORDER["attributes"])
    return Ready(
        name="analyser", there=bool(finder), needed=True,
        sentence=f"Faces are found by {finder}." if finder else "There is no face analysis.",
        advice="" if aged else "Ages cannot be told by these: name the subject yourself, or add insightface or FairFace.",
    )  # fmt: skip


def _styles(room: Room, user: str, models: Path) -> Ready:
    styles = room.styles(user)
    able = [one for one in styles if one.state in ("bound", "none")]
    missing = len([one for one in styles if one.state in ("missing", "other file")])
    foreign = len(styles) - len(able) - missing
    advice = [f"{missing} lack their LoRA: put it into {models / 'Lora'}."] if missing else []
    if foreign:
        advice.append(f"Made for SDXL, and not for this model: {foreign}.")
    return Ready(
        name="styles", there=bool(able), needed=False, sentence=f"{len(able)} of {len(styles)} styles can be made.", advice=" ".join(advice)
    )


def _check(room: Room) -> Ready:
    check = room.checker()
    return Ready(
        name="check", there=check is not None, needed=False, sentence=safety_sentence(check, switched_on=room.checking()),
        advice="" if check else "Add the safety checker's weights or the package NudeNet, and pictures are looked at too.",
    )  # fmt: skip


def _pose(room: Room) -> Ready:
    why_not = room.poses_possible()
    return Ready(name="pose", there=not why_not, needed=False, sentence=why_not or "Poses can be taken from a picture.", advice="")


def safety_sentence(check: PictureCheck | None, *, switched_on: bool) -> str:
    """Which check is at work."""
    young = "pictures of people who look under 18 are always checked, more strictly"
    if check is None:
        return "Only prompts are checked, because nothing here can look at pictures for nudity; nothing sexual is made of people under 18."
    if not switched_on:
        return f"Results are not checked, by your settings; {young}, by {check.name}."
    return f"Every result is checked by {check.name}; {young}."
