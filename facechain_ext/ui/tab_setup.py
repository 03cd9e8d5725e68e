"""Setup: the tab's own settings by what they are about, and what is there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gradio as gr

from facechain_ext.options import Field, fields_of, from_mapping
from facechain_ext.ui import tab_html as html
from facechain_ext.ui.ids import element
from facechain_ext.ui.studio import PERSONAL, Settings
from facechain_ext.ui.tab_portrait import readiness
from facechain_ext.ui.tab_wires import TAB, Visitor, Wires, good, title
from facechain_ext.ui.words import choice_label, say, translate_all
from facechain_ext.workflows.orders import AUTO

GROUPS = {
    "language": ("language",),
    "defaults": ("steps", "sampler", "weight"),
    "backends": ("adapter", "analyser"),
    "saving": ("outputs",),
    "safety": ("check",),
}
"""The settings in the order of the page, by the heading they stand under."""


class Setup:
    """The page of that name."""

    def __init__(self, wires: Wires) -> None:
        self.wires = wires
        self.fields = {one.name: one for one in fields_of(Settings)}
        now = self.starts = wires.studio.settings()
        wires.open_door()
        wires.html("settings-frozen")
        with gr.Row(elem_classes=["facechain-split", "facechain-setup"], equal_height=False):
            with gr.Column(min_width=0, elem_classes=["facechain-list"]):
                for group, names in GROUPS.items():
                    if group == "backends":  # from here on they are the installation's
                        wires.html("settings-fixed")
                    with gr.Column(elem_classes=["facechain-group"]):
                        title(f"tab.setup_{group}")
                        for name in names:
                            self._control(self.fields[name], getattr(now, name))
                        if group == "safety":
                            wires.html("safety")
                wires.button("settings-save", "tab.settings_save", variant="primary", size="sm")
                wires.html("settings-said")
                wires.trouble("settings-trouble")
            with gr.Column(min_width=0, elem_classes=["facechain-detail"]):
                title("tab.setup_there")
                wires.html("there")
                wires.trouble("there-trouble")

    def _control(self, field: Field, value: Any) -> None:
        name, option, studio = field.name, field.option, self.wires.studio
        lists = {
            "sampler": studio.host.samplers, "adapter": lambda: ["auto", *studio.adapters()], "analyser": lambda: list(studio.analysers()),
        }  # fmt: skip
        same: dict[str, Any] = {"value": value, "label": option.label, "elem_id": element(TAB, f"setting-{name}")}
        info = None if name in GROUPS["defaults"] else option.help  # which the heading says
        if name == "language":
            made = gr.Radio([(choice_label(name, one), one) for one in option.choices], **same, show_label=False, container=False)
        elif name in lists:
            names = list(lists[name]())
            made = gr.Dropdown(names if value in names else [value, *names], **same, info=info)
        elif field.kind is bool:
            made = gr.Checkbox(**same, info=info)
        elif field.kind is str:
            made = gr.Textbox(**same, info=info, max_lines=1)
        else:
            made = gr.Slider(option.minimum or 0, option.maximum or 1, step=option.step or 1, **same, info=info)
        self.wires.put(f"setting-{name}", made)

    @property
    def controls(self) -> list[Any]:
        """The settings' controls, in the order they are declared."""
        return [self.wires[f"setting-{name}"] for name in self.fields]

    def connect(self, fill: Callable[[Any], None]) -> None:
        """Its events. `fill`: fills the page anew once the settings are kept, as another language asks for."""
        wires = self.wires
        outputs = [wires["settings-said"], wires["there"], wires["safety"]]
        fill(wires.on(wires["settings-save"].click, self.saved, self.controls, outputs, wires["settings-trouble"]).then)

    def saved(self, visitor: Visitor, *values: Any) -> tuple[str, str, str]:
        """The settings are kept."""
        known = dict(zip(self.fields, values, strict=True))
        ints = {name: int(value) if self.fields[name].kind is int else value for name, value in known.items()}
        floats = {name: float(value) if self.fields[name].kind is float else value for name, value in ints.items()}
        studio, user = self.wires.studio, visitor.user
        fixed = {name: getattr(studio.settings(user), name) for name in studio.fixed(user)}  # a page may show how they were
        settings = from_mapping(Settings, {**floats, **fixed})
        studio.set_settings(settings, user)
        visitor = visitor if settings.language == AUTO else replace(visitor, language=settings.language)
        return good(say("tab.settings_saved", visitor.language)), *self.opened(visitor)

    def arrived(self, visitor: Visitor) -> tuple[Any, ...]:
        """The settings as they are for this visitor, those fixed that are not for them to change, and why: above what it is said of."""
        now, fixed = self.wires.studio.settings(visitor.user), self.wires.studio.fixed(visitor.user)
        updates = []
        for name in self.fields:
            value = getattr(now, name)
            new = {} if value == getattr(self.starts, name) else {"value": value}
            updates.append(gr.update(**new, interactive=name not in fixed))
        why = "".join(html.lead(translate_all(one, visitor.language)) for one in dict.fromkeys(fixed.values()))
        above, below = (why, "") if any(name in fixed for name in PERSONAL) else ("", why)
        return *updates, gr.update(interactive=len(fixed) < len(self.fields)), above, below

    def opened(self, visitor: Visitor) -> tuple[str, str]:
        """What is there and missing, the folders, and which check is at work."""
        return self.there(visitor), self.safety(visitor)

    def there(self, visitor: Visitor) -> str:
        """What is there and missing, and the folders."""
        language, studio = visitor.language, self.wires.studio
        rows = [readiness(one.there, one.needed, one.sentence, one.advice, language) for one in studio.readiness(visitor.user)]
        folders = studio.host.folders
        known = {
            say("tab.folder_models", language): folders.models, say("tab.folder_loras", language): folders.loras,
            say("tab.folder_results", language): studio.history().folder,
            say("tab.folder_people", language): studio.library(visitor.user).folder,
            say("tab.folder_styles", language): studio.own_styles(visitor.user).folder,
        }  # fmt: skip
        shown = {key: studio.told(str(value.absolute()), visitor.user) for key, value in known.items() if value}
        return f'<ul class="facechain-ready">{"".join(rows)}</ul>{html.table(shown)}'

    def safety(self, visitor: Visitor) -> str:
        """Which check is at work, and what of it cannot be switched off; without a check nothing is promised of it."""
        said = [translate_all(self.wires.studio.safety(), visitor.language)]
        if self.wires.studio.checker() is not None:
            said.append(say("tab.safety_minors", visitor.language))
        return "".join(html.lead(one) for one in said)
