"""Bodies checked by hand, and photos, people and styles as JSON."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from facechain_ext.errors import BadInput

if TYPE_CHECKING:
    from facechain_ext.store.library import Saved
    from facechain_ext.workflows.looking import Seen
    from facechain_ext.workflows.styles import Bound

KINDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", list: "a list"}


def checked(body: Mapping[str, Any], **kinds: type) -> dict[str, Any]:
    """The body's fields if all are known and of their kinds. BadInput names the first that is not."""
    for name, value in body.items():
        if name not in kinds:
            raise BadInput(f"There is no field {name!r}: known are {', '.join(kinds)}.")
        fits = isinstance(value, (int, float)) if kinds[name] is float else isinstance(value, kinds[name])
        if not fits or (isinstance(value, bool) and kinds[name] is not bool):
            raise BadInput(f"{name} must be {KINDS[kinds[name]]}.")
    return dict(body)


def seen_json(seen: Seen) -> dict[str, Any]:
    """A photo's report as JSON."""
    report = seen.report
    return {
        "hash": seen.hash,
        "size": list(seen.size),
        "usable": report.usable,
        "faces": [list(face.box) for face in report.faces],
        "face": list(report.face.box) if report.face else None,
        "likeness": report.likeness,
        "problems": [
            {"code": one.code, "severity": one.severity, "sentence": one.sentence, "advice": one.advice} for one in report.problems
        ],
        "thumbnail": base64.b64encode(seen.thumbnail).decode(),
    }


def person_json(saved: Saved) -> dict[str, Any]:
    """A saved person as JSON."""
    return {
        "name": saved.name,
        "photos": list(saved.photos),
        "adapters": dict(saved.adapters),
        "encoder": saved.encoder,
        "consent": saved.consent,
        "saved": saved.saved,
        "originals": saved.originals,
        "thumbnail": base64.b64encode(saved.thumbnail).decode(),
    }


def style_json(bound: Bound, *, thumbnail: bool = False) -> dict[str, Any]:
    """A style as JSON. state: bound, missing, other file, none (words alone), other model; lora: the host's name of what it is bound to."""
    style = bound.style
    told = {name: getattr(style, name) for name in ("key", "name_en", "name_zh", "prompt", "negative", "base", "weight", "source", "own")}
    more = {"thumbnail": base64.b64encode(style.thumbnail).decode()} if thumbnail else {}
    return {**told, "file": style.lora, "state": bound.state, "how": bound.how, "lora": bound.lora.name if bound.lora else None, **more}
