"""Orders and jobs as JSON: what POST /portrait takes, and what is told of a job and its pictures. The fields are the options' own."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, fields
from io import BytesIO
from typing import TYPE_CHECKING, Any

from facechain_ext.errors import BadInput
from facechain_ext.options import check, fields_of, format_value, from_mapping, json_schema, option, to_mapping
from facechain_ext.ui.regions import decode
from facechain_ext.workflows.making import MOST_PHOTOS, MakingOptions, Order
from facechain_ext.workflows.people import Picture

if TYPE_CHECKING:
    from facechain_ext.store.records import Entry
    from facechain_ext.ui.jobs import State
    from facechain_ext.workflows.making import Again, Result

MOST_LORAS = 20
LONGEST_WAIT = 600
FILES = ("photos", "pose")
"""Fields whose texts are picture files in base64."""


@dataclass(frozen=True, kw_only=True)
class OrderOptions:
    """What an order holds beside the options of the pictures."""

    photos: tuple[str, ...] = option((), label="Photos", help="one to six photos of the same person, as base64", maximum=MOST_PHOTOS)
    person: str = option("", label="Saved person", help="the name of a person saved in the library; photos count before it")
    style: str = option("", label="Style", help="the key of a style, as in /styles; an empty prompt then means the style's")
    style_weight: float | None = option(
        None, label="Weight of the style's LoRA", help="default: the style's own", minimum=-4, maximum=4
    )  # fmt: skip
    loras: tuple[str, ...] = option(
        (), label="Further LoRAs", help="names as in /loras, each with its weight after a colon: name:0.8", maximum=MOST_LORAS
    )
    pose: str = option("", label="Pose", help="a photo of somebody in that pose, or a skeleton, as base64")
    pose_weight: float = option(1.0, label="Weight of the pose", help="how strictly the pose is kept", minimum=0, maximum=2)
    wait: float = option(
        0.0, label="Wait", help="seconds to wait for the end before answering; 0 answers at once", minimum=0, maximum=LONGEST_WAIT
    )

    def __post_init__(self) -> None:
        check(self)


def schema() -> dict[str, Any]:
    """JSON Schema of POST /portrait."""
    made = json_schema(MakingOptions)
    made["properties"] |= json_schema(OrderOptions, base64=FILES)["properties"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "FaceChain portrait", **made}


def order_of(body: Mapping[str, Any]) -> tuple[Order, float]:
    """The order of a body, and how long to wait for its end. BadInput names the field."""
    own = {one.name for one in fields(OrderOptions)}
    beside = from_mapping(OrderOptions, {name: value for name, value in body.items() if name in own})
    options = from_mapping(MakingOptions, {name: value for name, value in body.items() if name not in own})
    order = Order(
        options=options,
        photos=tuple(Picture(data=decode(text, f"photo {at}"), name=f"photo {at}") for at, text in enumerate(beside.photos, 1)),
        person=beside.person.strip(),
        style=beside.style,
        style_weight=beside.style_weight,
        loras=tuple(_lora(text) for text in beside.loras),
        pose=Picture(data=decode(beside.pose, "the pose"), name="the pose") if beside.pose else None,
        pose_weight=beside.pose_weight,
    )
    return order, beside.wait


def _lora(text: str) -> tuple[str, float]:
    name, colon, weight = text.rpartition(":")
    if not colon:
        return text, 1.0
    try:
        number = float(weight)
    except ValueError as error:
        raise BadInput(f"The LoRA {text!r} must be a name and a weight, as in name:0.8.") from error
    if not name or not -4 <= number <= 4:
        raise BadInput(f"The LoRA {text!r} must have a name, and a weight from -4 to 4.")
    return name, number


def order_json(order: Order | Again) -> dict[str, Any]:
    """An order as a body of POST /portrait, without its pictures: what is not the default."""
    beside = OrderOptions(
        person=order.person, style=order.style, style_weight=order.style_weight,
        loras=tuple(f"{name}:{format_value(weight)}" for name, weight in order.loras), pose_weight=getattr(order, "pose_weight", 1.0),
    )  # fmt: skip
    return _changed(order.options) | _changed(beside)


def _changed(options: Any) -> dict[str, Any]:
    default = {one.name: one.default for one in fields_of(type(options))}
    return {name: value for name, value in to_mapping(options).items() if getattr(options, name) != default[name]}


def again_json(made: Again) -> dict[str, Any]:
    """An order as a picture states it, to be posted; without a `person` the photos of these hashes are to be given with it."""
    return {"order": order_json(made), "photos": list(made.photos), "notes": list(made.notes)}


def state_json(state: State, *, preview: bool = False, pictures: bool = False) -> dict[str, Any]:
    """A job as JSON; preview and finished pictures as base64 where they are asked for."""
    told = {
        name: getattr(state, name)
        for name in ("id", "version", "phase", "ahead", "picture", "pictures", "step", "steps", "seconds_left", "judge", "minor", "error")
    }
    more = {"preview": None if state.preview is None else picture_base64(state.preview)} if preview else {}
    return {
        **told,
        "over": state.over,
        "between": None if state.between is None else list(state.between),
        "notes": list(state.notes),
        "results": [result_json(one, pictures=pictures) for one in state.results],
        "order": order_json(state.order),
        **more,
    }


def result_json(result: Result, *, pictures: bool) -> dict[str, Any]:
    """One picture's outcome; id: of its entry in the history."""
    told = {name: getattr(result, name) for name in ("number", "seed", "likeness", "kept", "withheld", "failed", "note")}
    entry = result.entry
    made = {**told, "id": None if entry is None else entry.id}
    if pictures:
        made["image"] = None if entry is None or not entry.there else base64.b64encode(entry.path.read_bytes()).decode()
    return made


def entry_json(entry: Entry) -> dict[str, Any]:
    """A picture of the history; the file's place on this machine is nobody's business."""
    told = {
        name: getattr(entry, name)
        for name in ("id", "person", "style", "seed", "likeness", "judge", "made", "width", "height", "bytes", "hash", "prompt", "info")
    }
    return {**told, "loras": [[name, weight] for name, weight in entry.loras], "there": entry.there}


def picture_base64(image: Any) -> str:
    """A picture as a PNG in base64."""
    out = BytesIO()
    image.save(out, format="PNG")
    return base64.b64encode(out.getvalue()).decode()


def pictures_of(texts: Any, most: int = MOST_PHOTOS) -> list[Picture]:
    """Photos from base64. BadInput names the one that is not."""
    if len(texts) > most:
        raise BadInput(f"There are {len(texts)} photos: {most} are the most.")
    return [Picture(data=decode(str(text), f"photo {at}"), name=f"photo {at}") for at, text in enumerate(texts, 1)]
