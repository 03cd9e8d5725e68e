"""What a person asks of FaceChain in one generation: the options, declared once, and how they travel.

From these declarations come the panel's controls, the checks, the info text and its parsing back, the REST fields and their
schema, and the X/Y/Z axes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from facechain_ext.errors import BadInput, BadPicture
from facechain_ext.options import Field, check, fields_of, from_info, from_mapping, json_schema, option, to_info, to_mapping
from facechain_ext.ui.regions import decode, mask_code
from facechain_ext.workflows.infotext import PAIR, quote
from facechain_ext.workflows.people import Picture

MOST_PERSONS, MOST_PHOTOS = 4, 6
WHOLE, LEFT_TO_RIGHT, MASK = "whole", "left to right", "mask"
BOTH, FIRST, SECOND = "both", "first", "second"
AUTO = "auto"
NOBODY = "—"
"""In the panel's list of saved persons: none of them. gradio 3.41 cannot show an empty choice, nor one with another name."""
PERSON_KEY = "FaceChain person {}"
ERROR_KEY = "FaceChain error"


@dataclass(frozen=True, kw_only=True)
class PersonOptions:
    """One person. Photos count before a name; with neither, the person is not there."""

    photos: tuple[str, ...] = option(
        (), label="Photos", help="one to six photos of the same person, as base64", technical="reference photos", maximum=MOST_PHOTOS
    )
    name: str = option("", label="Saved person", help="the name of a person saved in the library", info="name")
    weight: float = option(
        0.5,
        label="Likeness",
        technical="adapter weight",
        help="how strongly the face is held: more is more alike, and leaves prompt, style and light less freedom",
        minimum=0,
        maximum=2,
        step=0.05,
        info="weight",
    )
    start: float = option(
        0.0,
        label="From",
        technical="start",
        help="part of the steps after which the face enters: later keeps more of the composition",
        minimum=0,
        maximum=1,
        step=0.05,
        info="start",
    )
    end: float = option(
        1.0,
        label="To",
        technical="end",
        help="part of the steps at which the face leaves: earlier keeps more of the style's detail",
        minimum=0,
        maximum=1,
        step=0.05,
        info="end",
    )
    face: int = option(
        0, label="Which face", technical="face", help="of the photos, counted from the left; 0 takes the largest", minimum=0, maximum=20,
        step=1, info="face",
    )  # fmt: skip
    region: str = option(
        WHOLE,
        label="Where",
        technical="region",
        help="whole picture; left to right, side by side with the others; or where a mask is white",
        choices=(WHOLE, LEFT_TO_RIGHT, MASK),
        info="region",
    )
    mask: str = option("", label="Mask", help="a picture as base64, white where this person goes", info="mask")

    def __post_init__(self) -> None:
        check(self)
        if self.start > self.end:
            raise BadInput(f"From ({self.start:g}) must not be after To ({self.end:g}).")


@dataclass(frozen=True, kw_only=True)
class PanelOptions:
    """What holds for all persons."""

    enabled: bool = option(False, label="FaceChain", help="put the persons below into the picture")
    adapter: str = option(AUTO, label="Adapter", help="adapter file in the FaceChain folder; auto takes the first", technical="adapter")
    analyser: str = option(
        AUTO,
        label="Face analysis",
        technical="analyser",
        help="what looks at the photos: auto takes the best that is installed; several can be joined by +",
        info="FaceChain analyser",
    )
    passes: str = option(
        BOTH,
        label="Hires fix",
        technical="passes",
        help="in which passes of a generation with hires fix the face is held",
        choices=(BOTH, FIRST, SECOND),
        info="FaceChain passes",
    )
    strict: bool = option(
        False, label="Strict", help="over the API: refuse the request (422) instead of making the picture without the face"
    )
    adetailer_pass: bool = option(
        True,
        label="Hold the face in ADetailer's pass",
        technical="ADetailer",
        help="the person is chosen for each face that ADetailer repaints",
        info="FaceChain ADetailer",
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A person who is asked for: number from 1, options (photos taken out, mask as its code), and the photos."""

    number: int
    options: PersonOptions
    photos: tuple[Picture, ...]


@dataclass(frozen=True, kw_only=True)
class Request:
    """Everything asked for in one generation; persons without photo and name are left out."""

    panel: PanelOptions
    persons: tuple[Wanted, ...]

    @property
    def active(self) -> bool:
        """Whether anything is to be done: on, and somebody of any weight."""
        return self.panel.enabled and any(person.options.weight > 0 for person in self.persons)


@dataclass(frozen=True, kw_only=True)
class Control:
    """A control of the panel: its option, and the person it belongs to (from 1; None: the whole panel)."""

    field: Field
    person: int | None


API_ONLY = ("strict",)


def controls() -> tuple[Control, ...]:
    """The panel's controls in the order in which the WebUI hands their values over."""
    panel = [Control(field=one, person=None) for one in fields_of(PanelOptions) if one.name not in API_ONLY]
    return (*panel, *(Control(field=one, person=n) for n in range(1, MOST_PERSONS + 1) for one in fields_of(PersonOptions)))


def from_args(args: Sequence[Any], *, api: bool) -> Request:
    """The request from a script's arguments: one mapping (REST), or the values of `controls`.

    api: the arguments came over the network, so no text in them is taken for a file's path. BadInput.
    """
    if args and isinstance(args[0], Mapping):
        return from_json(args[0])
    return from_values(dict(zip(((one.person, one.field.name) for one in controls()), args, strict=False)), api=api)


def from_json(body: Mapping[str, Any]) -> Request:
    """The request from its REST form. BadInput names the field."""
    panel = dict(body)
    persons = panel.pop("persons", [])
    if not isinstance(persons, list) or not all(isinstance(one, Mapping) for one in persons):
        raise BadInput("persons must be a list of objects.")
    if len(persons) > MOST_PERSONS:
        raise BadInput(f"There may be {MOST_PERSONS} persons at most; got {len(persons)}.")
    wanted = [_wanted(number, from_mapping(PersonOptions, one), None) for number, one in enumerate(persons, 1)]
    return Request(panel=from_mapping(PanelOptions, panel), persons=tuple(one for one in wanted if one is not None))


def from_values(values: Mapping[tuple[int | None, str], Any], *, api: bool) -> Request:
    """The request from the panel's values by (person, field); fields that are not given keep their defaults. BadInput, BadPicture."""

    def of(cls: type, person: int | None) -> dict[str, Any]:
        found = {one.name: values.get((person, one.name)) for one in fields_of(cls)}
        return {one.name: _cast(one, found[one.name]) for one in fields_of(cls) if found[one.name] is not None}

    persons = []
    for number in range(1, MOST_PERSONS + 1):
        given = of(PersonOptions, number)
        photos = given.pop("photos", ())
        if api:
            persons.append(_wanted(number, from_mapping(PersonOptions, {**given, "photos": list(photos)}), None))
        else:
            persons.append(_wanted(number, from_mapping(PersonOptions, given), uploaded(photos)))
    return Request(panel=from_mapping(PanelOptions, of(PanelOptions, None)), persons=tuple(one for one in persons if one is not None))


def _cast(declared: Field, value: Any) -> Any:
    """A control's value in the option's kind: sliders give whole floats for numbers, uploads a single file or a list."""
    if declared.name == "name" and value == NOBODY:
        return ""
    if declared.kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if declared.kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if declared.kind is tuple:
        return tuple(value) if isinstance(value, (list, tuple)) else (value,)
    return value


def _wanted(number: int, options: PersonOptions, files: tuple[Picture, ...] | None) -> Wanted | None:
    """The person, or None where there is neither photo nor name."""
    photos = files
    if photos is None:
        photos = tuple(
            Picture(data=decode(text, f"photo {at} of person {number}"), name=f"photo {at}") for at, text in enumerate(options.photos, 1)
        )
    if not photos and not options.name.strip():
        return None
    if len(photos) > MOST_PHOTOS:
        raise BadInput(f"Person {number} has {len(photos)} photos: {MOST_PHOTOS} are the most.")
    mask = mask_code(options.mask, f"the mask of person {number}") if options.region == MASK else ""
    if options.region == MASK and not mask:
        raise BadInput(
            f"Person {number} is to be where the mask is white, but nothing of it is: draw or upload one, or choose another place."
        )
    return Wanted(number=number, options=replace(options, photos=(), name=options.name.strip(), mask=mask), photos=photos)


def uploaded(paths: Sequence[Any]) -> tuple[Picture, ...]:
    """Photos that the page uploaded: file objects of gradio 3, paths of gradio 4 and later. BadPicture.

    They go without their files' names: what is said of them while a picture is made stands in its info text.
    """
    named = [Path(str(getattr(one, "name", one))) for one in paths]
    try:
        return tuple(Picture(data=path.read_bytes(), name=f"photo {at}") for at, path in enumerate(named, 1))
    except OSError as error:
        raise BadPicture(f"A photo is no longer there ({error.strerror}): drop it into the panel again.") from error


def schema() -> dict[str, Any]:
    """JSON Schema of the REST form."""
    panel = json_schema(PanelOptions)
    panel["properties"]["persons"] = {"type": "array", "maxItems": MOST_PERSONS, "items": json_schema(PersonOptions, ("photos", "mask"))}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "FaceChain", **panel}


def person_info(options: PersonOptions, photos: Sequence[str]) -> str:
    """A person in one value of the info text: what is set, the hashes of the photos last."""
    default = PersonOptions()
    stated = {key: text for key, text in to_info(options).items() if text and (key == "weight" or text != to_info(default)[key])}
    return ", ".join(f"{key}: {quote(text)}" for key, text in {**stated, "photos": " ".join(photos)}.items())


def panel_info(options: PanelOptions) -> dict[str, str]:
    """The panel's settings that are not the default, under their keys in the info text."""
    default = to_info(PanelOptions())
    return {key: text for key, text in to_info(options).items() if text != default[key]}


@dataclass(frozen=True, kw_only=True)
class Pasted:
    """What an info text says. persons: options and photo hashes by number, from 1."""

    panel: PanelOptions
    persons: Mapping[int, tuple[PersonOptions, tuple[str, ...]]]


def from_infotext(params: Mapping[str, Any]) -> Pasted | None:
    """The request that an info text states, or None where it states none. BadInput where it is not ours to read."""
    texts = {number: str(params[key]) for number in range(1, MOST_PERSONS + 1) if (key := PERSON_KEY.format(number)) in params}
    if not texts and "FaceChain weight" in params:  # a portrait made by the command line or the tab
        keys = ("weight", "start", "end", "photos")
        texts = {1: ", ".join(f"{key}: {params[f'FaceChain {key}']}" for key in keys if f"FaceChain {key}" in params)}
    if not texts:
        return None
    adapter = str(params.get("FaceChain adapter", "")).rpartition(" [")[0] or AUTO
    panel = from_info(PanelOptions, {key: str(value) for key, value in params.items()})
    return Pasted(
        panel=PanelOptions(**{**panel, "enabled": True, "adapter": adapter}),
        persons={number: _person_from(text) for number, text in texts.items()},
    )


def _person_from(text: str) -> tuple[PersonOptions, tuple[str, ...]]:
    stated = {key.strip(): _unquoted(value) for key, value in PAIR.findall(text)}
    return PersonOptions(**from_info(PersonOptions, stated)), tuple(stated.get("photos", "").split())


def _unquoted(value: str) -> str:
    return json.loads(value) if len(value) > 1 and value[0] == value[-1] == '"' else value.strip()


def with_axes(request: Request, axes: Mapping[str, Any]) -> Request:
    """The request with the values that X/Y/Z sets: the panel's fields, a person's name for the first, other fields for everyone."""
    panel = {name: value for name, value in axes.items() if name in {one.name for one in fields(PanelOptions)}}
    each = {name: value for name, value in axes.items() if name not in panel and name != "name"}
    persons = [replace(one, options=replace(one.options, **each)) for one in request.persons]
    if axes.get("name"):
        first = persons[0].options if persons else PersonOptions(**each)
        persons[:1] = [Wanted(number=1, options=replace(first, name=axes["name"]), photos=())]
    return Request(panel=replace(request.panel, **panel), persons=tuple(persons))


def as_json(request: Request) -> dict[str, Any]:
    """The request in its REST form, photos left out."""
    return {**to_mapping(request.panel), "persons": [to_mapping(one.options) for one in request.persons]}
