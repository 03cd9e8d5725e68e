"""Options are declared once: a frozen dataclass whose fields carry label, help, limits and choices.

The command line, the web controls, checks, the PNG info text and its parsing back, REST fields and X/Y/Z axes are derived from the
declaration. No pydantic: A1111 ships version 1, Forge version 2.
"""

from __future__ import annotations

import argparse
import difflib
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from facechain_ext.errors import BadInput

KEY = "facechain"
T = TypeVar("T")
NUMBERS = (int, float)


@dataclass(frozen=True, kw_only=True)
class Option:
    """What is declared about one field.

    label: a photographer's word; technical: the field's term; info: the key in the info text (None: left out).
    minimum and maximum of a list count its members.
    """

    label: str
    help: str
    technical: str = ""
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    info: str | None = None
    flag: str | None = None


@dataclass(frozen=True, kw_only=True)
class Field:
    """An option with the name, type and default of its field. optional: None is allowed."""

    name: str
    kind: type
    optional: bool
    default: Any
    option: Option


def option(default: T, *, label: str, help: str, **more: Any) -> T:
    """Declare a field: `weight: float = option(0.5, label="Likeness", help="…", minimum=0, maximum=2)`."""
    return field(default=default, metadata={KEY: Option(label=label, help=help, **more)})


@cache
def fields_of(cls: type) -> tuple[Field, ...]:
    """The declared options of a class in order; fields without a declaration are not options."""
    hints = get_type_hints(cls)
    return tuple(_field(f.name, hints[f.name], f.default, f.metadata[KEY]) for f in fields(cls) if KEY in f.metadata)


def _field(name: str, hint: Any, default: Any, declared: Option) -> Field:
    optional = get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint)
    kind = next(arg for arg in get_args(hint) if arg is not type(None)) if optional else hint
    return Field(name=name, kind=get_origin(kind) or kind, optional=optional, default=default, option=declared)


def check(values: Any) -> None:
    """BadInput for the first field whose value is of the wrong kind, outside its limits or not among its choices."""
    for declared in fields_of(type(values)):
        check_value(declared, getattr(values, declared.name))


def check_value(declared: Field, value: Any) -> None:
    """BadInput with the label, what was given and what is allowed."""
    if value is None and declared.optional:
        return
    if value is None or not _fits(declared, value):
        raise BadInput(f"{declared.option.label} ({declared.name}) must be {_kind(declared)}; got {_short(value)}.")
    low, high = declared.option.minimum, declared.option.maximum
    amount, of = (len(value), " in number") if declared.kind is tuple else (value, "")
    if (low is not None and amount < low) or (high is not None and amount > high) or amount != amount:
        raise BadInput(f"{declared.option.label} ({declared.name}) must be {_limits(low, high)}{of}; got {amount}.")
    if declared.option.choices and value not in declared.option.choices:
        raise BadInput(
            f"{declared.option.label} ({declared.name}) must be one of {', '.join(declared.option.choices)}; "
            f"got {value!r}{_close(value, declared.option.choices)}"
        )


def _fits(declared: Field, value: object) -> bool:
    """Whether a value is of the declared kind: whole numbers are numbers too, truth values are not, a list is one of texts."""
    if declared.kind is tuple:
        return isinstance(value, tuple) and all(isinstance(one, str) for one in value)
    kinds = NUMBERS if declared.kind is float else (declared.kind,)
    return isinstance(value, kinds) and not (isinstance(value, bool) and declared.kind is not bool)


def from_mapping(cls: type[T], values: Mapping[str, Any]) -> T:
    """Build and check options from JSON; an unknown name or a bad value is a BadInput that names it."""
    known = {declared.name: declared for declared in fields_of(cls)}
    for name in values:
        if name not in known:
            raise BadInput(f"There is no option {name!r}{_close(name, tuple(known))}")
    made = cls(**{name: tuple(value) if known[name].kind is tuple and isinstance(value, list) else value for name, value in values.items()})
    check(made)
    return made


def to_mapping(values: Any) -> dict[str, Any]:
    """The options as JSON values."""
    found = {declared.name: getattr(values, declared.name) for declared in fields_of(type(values))}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


def json_schema(cls: type, base64: Sequence[str] = ()) -> dict[str, Any]:
    """JSON Schema of the options as an object. base64: the fields whose texts are files."""
    return {"type": "object", "additionalProperties": False, "properties": {one.name: _property(one, base64) for one in fields_of(cls)}}


def _property(declared: Field, base64: Sequence[str]) -> dict[str, Any]:
    text = {"type": "string", **({"contentEncoding": "base64"} if declared.name in base64 else {})}
    made: dict[str, Any] = {"title": declared.option.label, "description": declared.option.help}
    made["default"] = list(declared.default) if declared.kind is tuple else declared.default
    if declared.kind is tuple:
        return made | {"type": "array", "items": text, "maxItems": int(declared.option.maximum or 0)}
    made |= {int: {"type": "integer"}, float: {"type": "number"}, str: text, bool: {"type": "boolean"}}[declared.kind]
    made["type"] = [made["type"], "null"] if declared.optional else made["type"]
    limits = {"minimum": declared.option.minimum, "maximum": declared.option.maximum, "enum": list(declared.option.choices) or None}
    return made | {key: value for key, value in limits.items() if value is not None}


def to_info(values: Any) -> dict[str, str]:
    """The fields that belong into a picture's info text, by their key there; unset optional ones are left out."""
    found = ((declared, getattr(values, declared.name)) for declared in fields_of(type(values)) if declared.option.info)
    return {str(declared.option.info): format_value(value) for declared, value in found if value is not None}


def from_info(cls: type[T], info: Mapping[str, str]) -> dict[str, Any]:
    """The options that an info text states, as keyword arguments of `cls`; what it does not state keeps its default. BadInput."""
    stated = {declared: info.get(declared.option.info or "") for declared in fields_of(cls)}
    return {declared.name: parse_value(declared, text) for declared, text in stated.items() if text is not None}


def format_value(value: Any) -> str:
    """A value as the info text shows it: no needless zeros, a list with spaces between its members."""
    return f"{value:g}" if isinstance(value, float) else " ".join(value) if isinstance(value, tuple) else str(value)


def parse_value(declared: Field, text: str) -> Any:
    """A value from words; BadInput where they are not one."""
    try:
        value = text == "True" if declared.kind is bool else tuple(text.split()) if declared.kind is tuple else declared.kind(text)
    except ValueError as error:
        raise BadInput(f"{declared.option.label} ({declared.name}) must be {_kind(declared)}; got {text!r}.") from error
    check_value(declared, value)
    return value


def add_arguments(parser: argparse.ArgumentParser, cls: type, skip: Sequence[str] = ()) -> None:
    """Give a command line one `--name` per option, with help and default; those in `skip` are left to the caller."""
    for declared in (one for one in fields_of(cls) if one.name not in skip):
        default = "" if declared.default is None or declared.default == "" else f" (default {format_value(declared.default)})"
        flag = declared.option.flag or "--" + declared.name.replace("_", "-")
        text = (declared.option.help + default).replace("%", "%%")
        if declared.kind is bool:
            parser.add_argument(flag, dest=declared.name, action=argparse.BooleanOptionalAction, default=declared.default, help=text)
        else:
            metavar = "{" + ",".join(declared.option.choices) + "}" if declared.option.choices else declared.name.upper()
            parser.add_argument(flag, dest=declared.name, default=None, metavar=metavar, help=text)


def from_arguments(cls: type[T], arguments: argparse.Namespace, **more: Any) -> T:
    """Build and check options from parsed arguments; `more` overrides."""
    values = dict(more)
    for declared in fields_of(cls):
        given = getattr(arguments, declared.name, None)
        if declared.name not in more and given is not None:
            values[declared.name] = parse_value(declared, given) if isinstance(given, str) else given
    return from_mapping(cls, values)


def _kind(declared: Field) -> str:
    return {int: "a whole number", float: "a number", str: "a text", bool: "true or false", tuple: "a list of texts"}[declared.kind]


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) < 80 else f"{shown[:77]}…"


def _limits(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f"from {low:g} to {high:g}"
    return f"at least {low:g}" if low is not None else f"at most {high:g}"


def _close(value: object, choices: tuple[str, ...]) -> str:
    match = difflib.get_close_matches(str(value), choices, 1)
    return f", did you mean {match[0]!r}?" if match else "."
