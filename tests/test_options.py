"""Options declared once: checks, command line, JSON and info text all follow from the declaration."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import pytest

from facechain_ext.errors import BadInput
from facechain_ext.options import (
    add_arguments,
    check,
    fields_of,
    from_arguments,
    from_info,
    from_mapping,
    json_schema,
    option,
    to_info,
    to_mapping,
)


@dataclass(frozen=True, kw_only=True)
class Example:
    weight: float = option(0.5, label="Likeness", help="how strongly, in %", minimum=0, maximum=2, info="Example weight")
    count: int = option(1, label="Pictures", help="how many", minimum=1)
    kind: str = option("plain", label="Kind", help="which", choices=("plain", "photo"), info="Example kind")
    note: str | None = option(None, label="Note", help="anything", info="Example note")
    loud: bool = option(False, label="Loud", help="say more", info="Example loud")
    untold: int = 7  # no declaration: not an option


def test_fields_are_read_from_the_declaration() -> None:
    assert [(f.name, f.kind, f.optional) for f in fields_of(Example)] == [
        ("weight", float, False), ("count", int, False), ("kind", str, False), ("note", str, True), ("loud", bool, False)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weight": 2.5}, r"Likeness \(weight\) must be from 0 to 2; got 2.5"),
        ({"weight": float("nan")}, "must be from 0 to 2"),
        ({"weight": "much"}, "must be a number; got 'much'"),
        ({"weight": True}, "must be a number"),
        ({"count": 0}, "must be at least 1"),
        ({"count": 1.5}, "must be a whole number"),
        ({"kind": "phto"}, "must be one of plain, photo; got 'phto', did you mean 'photo'"),
        ({"loud": 1}, "must be true or false"),
        ({"wieght": 1.0}, "There is no option 'wieght', did you mean 'weight'"),
        ({"count": None}, "must be a whole number; got None"),
    ],
)
def test_bad_values_are_named(values: dict, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        from_mapping(Example, values)


def test_json_round_trip() -> None:
    values = {"weight": 1, "count": 3, "kind": "photo", "note": "a, b: c", "loud": True}
    assert to_mapping(from_mapping(Example, values)) == values


def test_info_round_trip() -> None:
    made = Example(weight=0.70, kind="photo", note="x", loud=True)
    info = to_info(made)
    assert info == {"Example weight": "0.7", "Example kind": "photo", "Example note": "x", "Example loud": "True"}
    assert Example(**from_info(Example, info)) == made
    assert "Example note" not in to_info(Example())


def test_info_with_a_bad_value_is_refused() -> None:
    with pytest.raises(BadInput, match="must be from 0 to 2"):
        from_info(Example, {"Example weight": "9"})
    with pytest.raises(BadInput, match="must be a number; got 'x'"):
        from_info(Example, {"Example weight": "x"})


def test_command_line() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser, Example, skip=("count",))
    made = from_arguments(Example, parser.parse_args(["--weight", "1.5", "--loud", "--kind", "photo"]), count=4)
    assert made == Example(weight=1.5, count=4, kind="photo", loud=True)
    assert "in %" in parser.format_help() and "(default 0.5)" in parser.format_help()
    check(made)


def test_the_schema_states_kinds_limits_and_what_may_be_left_out() -> None:
    made = json_schema(Example, base64=("note",))
    assert made["additionalProperties"] is False and set(made["properties"]) == {one.name for one in fields_of(Example)}
    weight, note, kind, loud = (made["properties"][name] for name in ("weight", "note", "kind", "loud"))
    assert (weight["type"], weight["minimum"], weight["maximum"], weight["default"]) == ("number", 0, 2, 0.5)
    assert (note["type"], note["contentEncoding"], note["default"]) == (["string", "null"], "base64", None)
    assert "photo" in kind["enum"] and loud["type"] == "boolean" and "minimum" not in loud
