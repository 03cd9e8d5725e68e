"""Axes for the X/Y/Z plot, added to the host's own script where that is loaded."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from facechain_ext.options import fields_of
from facechain_ext.store.names import NOBODY
from facechain_ext.ui.accounts import page_accounts
from facechain_ext.ui.loaded import loaded
from facechain_ext.ui.request import PanelOptions, PersonOptions
from facechain_ext.ui.settings import models_folder
from facechain_ext.weights.locate import found

AXES = "facechain_axes"
"""The attribute of a processing object that holds what the plot changes."""
PREFIX = "[FaceChain] "
OF_PERSON, OF_PANEL = ("weight", "start", "end", "name"), ("adapter",)


def axes_of(p: Any) -> dict[str, Any]:
    """What the plot changes in this generation, by option."""
    return dict(getattr(p, AXES, None) or {})


def add_axes() -> None:
    """Add our axes to every loaded X/Y/Z script that has none of ours."""
    for plot in plots():
        have = {option.label for option in plot.axis_options}
        plot.axis_options.extend(axis for axis in axes(plot) if axis.label not in have)


def plots() -> list[Any]:
    """The loaded modules of the host's xyz_grid.py, by their file's name: the host gives script modules no name of their own."""
    from modules import scripts

    modules = [data.module for data in scripts.scripts_data] + list(sys.modules.values())
    named = [one for one in modules if str(getattr(one, "__file__", "") or "").endswith(("/xyz_grid.py", "\\xyz_grid.py"))]
    unique = {id(one): one for one in named if hasattr(one, "axis_options") and hasattr(one, "AxisOption")}
    return list(unique.values())


def axes(plot: Any) -> list[Any]:
    """One axis per option that is worth a plot. With log-ins names are typed: the plot does not tell whose list it asks for."""
    choices: dict[str, Callable[[], list[str]]] = {"adapter": adapters} | ({} if page_accounts() else {"name": names})
    declared = [
        one for cls, wanted in ((PersonOptions, OF_PERSON), (PanelOptions, OF_PANEL)) for one in fields_of(cls) if one.name in wanted
    ]
    return [
        plot.AxisOption(
            PREFIX + one.option.label, one.kind, setter(one.name), **({"choices": choices[one.name]} if one.name in choices else {})
        )
        for one in declared
    ]


def setter(name: str) -> Callable[[Any, Any, Any], None]:
    """What the plot calls for each value of an axis."""

    def apply(p: Any, value: Any, _values: Any) -> None:
        setattr(p, AXES, {**axes_of(p), name: value})

    return apply


def adapters() -> list[str]:
    """Names of the adapters that are there."""
    return [one.name for one in found(models_folder()) if one.kind == "adapter"]


def names() -> list[str]:
    """Names of the persons saved on a page without log-in."""
    return [one.name for one in loaded.library(NOBODY).people()]
