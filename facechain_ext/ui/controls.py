"""Controls made from declared options, for the panel and the tab."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from facechain_ext.options import Field
from facechain_ext.ui.gradio_versions import named
from facechain_ext.ui.words import choice_label


def arguments(field: Field, make: Callable[..., Any]) -> dict[str, Any]:
    """What gradio's component needs to know of an option."""
    option = field.option
    found: dict[str, Any] = {"label": option.label, "value": field.default}
    if make is gr.Slider:
        found |= {"minimum": option.minimum, "maximum": option.maximum, "step": option.step or 1}
    if option.choices:
        pairs = [(choice_label(field.name, one), one) for one in option.choices]
        found |= named(pairs, field.default) if make is gr.Dropdown else {"choices": pairs}
    return found
