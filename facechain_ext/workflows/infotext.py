"""The info text of a picture, in the WebUI's form, complete enough to make the picture again."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

from facechain_ext import __version__
from facechain_ext.options import format_value

if TYPE_CHECKING:
    from facechain_ext.engine.adapter import Adapter
    from facechain_ext.engine.identity import Identity
    from facechain_ext.hosts.types import Finish, Hires, Host, Lora, Paint

PAIR = re.compile(r'\s*([\w][\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
NOTE = "AI-generated picture made with FaceChain for WebUI; it shows no real event."


def info_text(
    host: Host, request: Paint, pairs: Mapping[str, str], identity: Identity, *, seed: int, likeness: float | None, judge: str
) -> str:
    """Prompts, then the settings line: WebUI's names first, ours with the prefix FaceChain (`pairs`: what the workflow states)."""
    tags = "".join(f" <lora:{lora_name(lora)}:{format_value(lora.weight)}>" for lora in request.loras)
    name, _, short_hash = host.checkpoint().partition(" [")
    adapter, hires = request.adapter, request.hires
    settings: dict[str, str] = {
        "Steps": str(request.steps),
        "Sampler": request.sampler,
        "CFG scale": format_value(request.cfg),
        "Seed": str(seed),
        "Size": f"{request.width}x{request.height}",
        "Model hash": short_hash.rstrip("]"),
        "Model": name,
        "Clip skip": str(request.clip_skip) if request.clip_skip > 1 else "",
        **(hires_pairs(hires) if hires else {}),
        **(finish_pairs(request.finish) if request.finish else {}),
        **{f"ControlNet {i}": control_text(control) for i, control in enumerate(request.controls)},
        **pairs,
        "FaceChain adapter": f"{adapter.name} [{adapter.fingerprint}]" if adapter else "",
        "FaceChain encoder": identity.encoder,
        "FaceChain photos": " ".join(identity.photos),
        **weigh_pair(adapter, len(identity.photos)),
        "FaceChain likeness": f"{likeness:.3f} by {judge}" if likeness is not None else f"no face found by {judge}",
        "Version": f"FaceChain {__version__} {host.name}",
    }
    line = ", ".join(f"{key}: {quote(value)}" for key, value in settings.items() if value)
    return f"{request.prompt}{tags}\nNegative prompt: {request.negative}\n{line}"


def weigh_pair(adapter: Adapter | None, photos: int) -> dict[str, str]:
    """How several photos of a person weigh, where that is not as published."""
    return {"FaceChain photos weigh": "as one"} if adapter is not None and adapter.as_one and photos > 1 else {}


def hires_pairs(hires: Hires) -> dict[str, str]:
    """The second pass in the WebUI's words."""
    return {
        "Denoising strength": format_value(hires.strength),
        "Hires upscale": format_value(hires.scale),
        "Hires steps": str(hires.steps) if hires.steps else "",
        "Hires upscaler": hires.upscaler,
    }


def finish_pairs(finish: Finish) -> dict[str, str]:
    """What was done to the finished picture, in the words of the WebUI and its Extras tab."""
    enlarged = finish.scale > 1
    return {
        "Face restoration": finish.restorer,
        "Postprocess upscale by": format_value(finish.scale) if enlarged else "",
        "Postprocess upscaler": finish.upscaler if enlarged else "",
    }


def lora_name(lora: Lora) -> str:
    """A LoRA as a prompt calls it: the host's name, which may tell its place in the folder (people/anna), or the name of its file."""
    if isinstance(lora.source, Path):
        return lora.source.stem
    if lora.source.endswith(".safetensors"):
        return PureWindowsPath(lora.source).name.removesuffix(".safetensors")
    return lora.source


def control_text(control: Any) -> str:
    """A ControlNet unit in one value."""
    weight, start, end = map(format_value, (control.weight, control.start, control.end))
    return f"Model: {Path(str(control.model)).stem}, Weight: {weight}, From: {start}, To: {end}"


def quote(value: str) -> str:
    """A value as the settings line can hold it: in quotes where it has a comma, colon or line break (the WebUI's rule), or quotes or
    space at its ends, which would be lost."""
    return json.dumps(value, ensure_ascii=False) if re.search(r'[,:\n\r"]', value) or value != value.strip() else value


def parse_info(text: str) -> tuple[str, str, dict[str, str]]:
    """An info text → prompt, negative prompt and settings, as the WebUI reads it."""
    *lines, last = text.strip().split("\n")
    settings = {key.strip(): _unquoted(value) for key, value in PAIR.findall(last)}
    if len(settings) < 3:
        lines, settings = [*lines, last], {}
    prompt, _, negative = "\n".join(lines).partition("Negative prompt:")
    return prompt.strip(), negative.strip(), settings


def _unquoted(value: str) -> str:
    try:
        return str(json.loads(value)) if value.startswith('"') and value.endswith('"') and len(value) > 1 else value.strip()
    except ValueError:  # written by a program that does not escape quotes
        return value.strip()
