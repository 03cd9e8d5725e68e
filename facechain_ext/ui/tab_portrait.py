"""The Portrait page: who · style · pictures, and the three steps of a first visit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from typing import Any

import gradio as gr

from facechain_ext.errors import BadInput
from facechain_ext.options import fields_of, from_mapping
from facechain_ext.store.records import Wanted
from facechain_ext.ui import tab_html as html
from facechain_ext.ui.ids import element
from facechain_ext.ui.tab_pictures import BEGUN, Pictures, order_values
from facechain_ext.ui.tab_style import NONE, Styles, usable
from facechain_ext.ui.tab_who import Who, pictures_of
from facechain_ext.ui.tab_wires import TAB, Visitor, Wires, bad, stay
from facechain_ext.ui.traces import Shelf
from facechain_ext.ui.words import meant, say, translate_all
from facechain_ext.workflows.orders import ALL, AUTO, UNTIL, MakingOptions, Order
from facechain_ext.workflows.people import Picture

CHANNELS = ("no-pose",)
DROPS = {"pose-drop": ["image"]}
SIDES = (64, 2048, 8)
PLACED = {
    "likeness": ("choose", "most", "until"),
    "size": ("width", "height", "steps", "sampler", "cfg", "seed", "clip_skip"),
    "hires": ("hires", "hires_strength", "hires_steps", "upscaler"),
    "finish": ("restore", "finish", "finish_upscaler"),
    "weights": ("adapter", "analyser"),
}
"""Options that fold away below the style, by fold."""


HINTS = {
    "until": "tab.until_hint", "hires": "tab.hires_hint", "hires_steps": "tab.hires_steps_hint", "finish": "tab.finish_hint",
    "seed": "tab.seed_hint",
}  # fmt: skip
"""What an option's special value means, in sight; everything else is in the tip."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What the page says beyond options: whom, which style, which LoRAs, which pose."""

    files: Sequence[str]
    person: str
    style: str
    style_weight: float
    filled: tuple[str, str]
    pose: str
    pose_weight: float
    loras: tuple[tuple[str, float], ...]


class Portrait:
    """The page of that name."""

    def __init__(self, wires: Wires) -> None:
        self.wires = wires
        self.starts: dict[str, Any] = {}  # what the page was built with
        wires.state("covered", "")
        with gr.Column(elem_classes=["facechain-portrait"]):
            wires.html("first")
            wires.trouble("first-trouble")
            with gr.Row(elem_classes=["facechain-columns"], equal_height=False):
                self.who = Who(wires)
                self.styles = Styles(wires)
                self._folds()
                self.pictures = Pictures(wires)

    def _folds(self) -> None:
        """How the pictures are made; nothing of it is needed."""
        with gr.Column(elem_classes=["facechain-how", "facechain-column"], min_width=0):
            self._fold("likeness", {"choose": gr.Radio, "most": gr.Slider, "until": gr.Number})
            self._pose()
            self._fold(
                "size",
                {"width": gr.Slider, "height": gr.Slider, "steps": gr.Slider, "cfg": gr.Slider, "clip_skip": gr.Slider, "seed": gr.Number},
            )
            self._fold("hires", {"hires": gr.Slider, "hires_strength": gr.Slider, "hires_steps": gr.Slider})
            self._fold("finish", {"finish": gr.Slider})
            self._fold("weights", {})

    def _fold(self, name: str, makes: Mapping[str, Any]) -> None:
        with (
            gr.Accordion(say(f"tab.fold_{name}"), open=False, elem_id=element(TAB, f"fold-{name}")),
            gr.Column(elem_classes=["facechain-fold"]),
        ):
            for option in PLACED[name]:
                self._control(option, makes.get(option, gr.Dropdown))

    def _control(self, name: str, make: Any) -> None:
        start = self.starts[name] = getattr(self.wires.studio.defaults(), name)
        more: dict[str, Any] = {"value": start}
        if name in ("width", "height"):
            more |= dict(zip(("minimum", "maximum", "step"), SIDES, strict=True))
        if make is gr.Number:
            more |= {"precision": 0} if name == "seed" else {}
        if make is gr.Dropdown:
            more |= {"choices": self.choices(name), "value": start or next(iter(self.choices(name)), None)}
        if name == "restore":
            none = not self.wires.studio.host.restorers()
            more |= {"interactive": not none, "info": say("tab.restore_none" if none else "tab.restore_hint")}
        if name in HINTS:
            more |= {"info": say(HINTS[name])}
        if name in ("most", "until"):
            more |= {"visible": False}
        self.wires.option(name, make, **more)

    def choices(self, name: str) -> list[str]:
        """What a list offers here."""
        studio = self.wires.studio
        found = {
            "sampler": studio.host.samplers, "upscaler": studio.host.upscalers, "finish_upscaler": studio.host.finishers,
            "restore": lambda: [NONE, *studio.host.restorers()], "adapter": lambda: ["auto", *studio.adapters()],
            "analyser": lambda: list(studio.analysers()),
        }  # fmt: skip
        return list(found[name]())

    def _pose(self) -> None:
        wires = self.wires
        with gr.Accordion(say("tab.fold_pose"), open=False, elem_id=element(TAB, "fold-pose")):
            wires.state("pose", "")
            wires.html("pose-zone")
            wires.html("pose-seen")
            wires.trouble("pose-trouble")
            weight = gr.Slider(0, 2, value=1, step=0.05, label=say("tab.pose_weight"), elem_id=element(TAB, "pose-weight"))
            wires.put("pose-weight", weight)

    def connect(self) -> None:
        """Its events."""
        wires = self.wires
        self.who.connect(wires["first"])
        self.styles.connect()
        self.pictures.connect()
        begun = [wires[name] for name in BEGUN]
        beside = [wires[name] for name in ("first", "make-note", "who-trouble", "style-trouble")]
        wires.on(wires["make"].click, self.make, self.inputs, [*begun, *beside], wires["make-trouble"])
        for name, answer in (("again", self.pictures.again), ("vary", self.pictures.vary)):
            wires.on(wires[f"do-{name}"].change, answer, [wires[f"do-{name}"]], [*begun, wires["make-note"]], wires["make-trouble"])
        covers = [wires[name] for name in ("job", "covered", "style", "choice")]
        wires.on(self.pictures.watched.then, self.covers, covers, [wires[name] for name in ("covered", "styles", "chosen")])
        wires.on(wires["choose"].change, self.choosing, [wires["choose"]], [wires["most"], wires["until"]])
        posed = [wires["pose"], wires["pose-seen"], wires["pose-drop"]]
        dropped = [wires["pose-drop"], wires["width"], wires["height"]]
        wires.on(wires["pose-drop"].upload, self.pose_dropped, dropped, posed, wires["pose-trouble"])
        wires.on(wires["do-no-pose"].change, lambda _visitor: ("", "", gr.update(value=None)), [], posed, wires["pose-trouble"])

    @property
    def fields(self) -> list[str]:
        """The options that the page holds, by name."""
        return [one.name for one in fields_of(MakingOptions) if one.name in self.wires.parts]

    @property
    def inputs(self) -> list[Any]:
        """What Make needs: everything chosen, the LoRAs, and the options."""
        wires = self.wires
        chosen = [wires[name] for name in ("files", "person", "style", "style-weight", "filled", "pose", "pose-weight")]
        return [*chosen, *self.styles.lora_values, *(wires[name] for name in self.fields)]

    def make(self, visitor: Visitor, *values: Any) -> tuple[Any, ...]:
        """The order of the page begins; what stands against it is said beside what it is about."""
        who, style = self.against(visitor, values)
        if who or style:
            return *stay(len(BEGUN) + 2), bad(who, visitor.language), bad(style, visitor.language)
        lacking = next((one for one in self.wires.studio.readiness(visitor.user) if one.needed and not one.there), None)
        if lacking is not None:
            raise BadInput(f"{lacking.sentence} {lacking.advice}".strip())
        return *self.pictures.start(visitor, self.order(visitor, values)), "", "", "", ""

    def against(self, visitor: Visitor, values: Sequence[Any]) -> tuple[str, str]:
        """What stands against the people and against the style of the page, each in a sentence or empty."""
        files, person, style = values[:3]
        without = dict(zip(self.fields, values[len(values) - len(self.fields) :], strict=True))["without_lora"]
        bound = self.styles.found(visitor, style) if style else None
        who = "" if files or person else "There is neither a photo nor a saved person: drop one to six photos, or choose somebody."
        if bound is None or usable(bound) or without:
            return who, ""
        return who, say("tab.style_refused", visitor.language, name=bound.style.name(visitor.language))

    def order(self, visitor: Visitor, values: Sequence[Any]) -> Order:
        """The values of `inputs` as an order. BadInput."""
        rows = len(self.styles.lora_values)
        pairs = zip(values[7 : 7 + rows : 2], values[8 : 8 + rows : 2], strict=True)
        loras = tuple((name, float(weight)) for name, weight in pairs if name and name != NONE)
        files, person, style, style_weight, filled, pose, pose_weight = values[:7]
        chosen = Chosen(
            files=files,
            person=person,
            style=style,
            style_weight=style_weight,
            filled=filled,
            pose=pose,
            pose_weight=pose_weight,
            loras=loras,
        )
        return self._ordered(visitor, chosen, dict(zip(self.fields, values[7 + rows :], strict=True)))

    def _ordered(self, visitor: Visitor, chosen: Chosen, values: Mapping[str, Any]) -> Order:
        options = order_values({name: "" if value == NONE else value for name, value in values.items()})
        options["subject"] = meant("subject", options.get("subject", AUTO))
        options.setdefault("negative", "")  # an emptied field asks for no words, not for the usual ones
        for name, filled in zip(("prompt", "negative"), chosen.filled, strict=True):
            if chosen.style and filled.strip() and options.get(name, "").strip() == filled.strip():
                options.pop(name, None)  # the style's own words, which the work fits to the person it sees
        bound = self.styles.found(visitor, chosen.style) if chosen.style else None
        return Order(
            options=from_mapping(MakingOptions, options), photos=pictures_of(self.wires, chosen.files), person=chosen.person,
            style=chosen.style, style_weight=float(chosen.style_weight) if bound and bound.state == "bound" else None,
            loras=chosen.loras, pose=_pose_picture(self.wires.shelf, chosen.pose), pose_weight=float(chosen.pose_weight),
        )  # fmt: skip

    def covers(self, visitor: Visitor, job: str, covered: str, key: str, choice: Any) -> tuple[Any, ...]:
        """Once a job is over whose style had no picture before: the gallery and the chosen style with the new one."""
        studio = self.wires.studio
        if not job or job == covered:
            return stay(3)
        state = studio.jobs.state(visitor.user, job)
        if not state.over:
            return stay(3)
        made, style = sum(one.entry is not None for one in state.results), state.order.style
        if not style or not made or studio.history().amount(Wanted(user=visitor.user, style=style)) > made:
            return job, *stay(2)
        return job, self.styles.gallery(visitor, choice), self.styles.chosen(visitor, key)

    def choosing(self, _visitor: Visitor, choose: str) -> tuple[Any, Any]:
        """Only what the chosen way of choosing asks for is shown."""
        return gr.update(visible=choose != ALL), gr.update(visible=choose == UNTIL)

    def pose_zone(self, visitor: Visitor) -> str:
        """Where a pose picture is dropped, or why none can be taken here."""
        why = self.wires.studio.poses_possible()
        return (
            html.lead(translate_all(why, visitor.language))
            if why
            else html.zone("pose-drop", "tab.pose_drop", "tab.pose_hint", visitor.language)
        )

    def pose_dropped(self, visitor: Visitor, file: Any, width: float, height: float) -> tuple[Any, ...]:
        """A picture whose pose is to be taken: itself and the skeleton that was seen in it."""
        from facechain_ext.vision.pictures import read

        why = self.wires.studio.poses_possible()
        if why:
            raise BadInput(why)
        key, name = next(iter(self.wires.shelf.take(file).items()), ("", ""))
        image = read(BytesIO(self.wires.shelf.get(key)), name=name)
        seen = self.wires.studio.skeleton(image, (int(width), int(height)))
        language = visitor.language
        pair = [
            html.picture(html.small(image, 320), say("tab.pose_picture", language)),
            html.picture(html.small(seen, 320), say("tab.pose_skeleton", language)),
        ]
        away = html.action(say("leave_out", language), "no-pose", "1")
        return key, f'<div class="facechain-pair">{"".join(pair)}</div>{away}', gr.update(value=None)

    def first(self, visitor: Visitor, files: Sequence[str], person: str) -> str:
        """The steps of a first visit; empty for somebody who has made pictures, or begun."""
        studio = self.wires.studio
        if files or person or studio.jobs.current(visitor.user) is not None or studio.history().amount(Wanted(user=visitor.user)):
            return ""
        return self.steps(visitor)

    def steps(self, visitor: Visitor) -> str:
        """Three steps with what is there and what is missing."""
        language, studio = visitor.language, self.wires.studio
        bound = studio.styles(visitor.user)
        here = sum(map(usable, bound))
        people = self.who.faces(visitor, "")
        demo = html.action(say("tab.step_demo", language), "demo", "1", kind="facechain-secondary") if studio.demo_person() else ""
        first = html.opener(say("tab.step_photo", language), "drop", kind="facechain-primary") + demo + people
        count = say("tab.step_style_count", language, here=here, count=len(bound))
        second = f"<p>{escape(count)}</p>{html.lead(say('tab.step_style_hint', language))}"
        third = "".join(readiness(one.there, one.needed, one.sentence, one.advice, language) for one in studio.readiness(visitor.user))
        cells = [step(1, say("tab.step_who", language), first), step(2, say("tab.step_style", language), second)]
        cells.append(step(3, say("tab.step_make", language), f'<ul class="facechain-ready">{third}</ul>'))
        return f'<section class="facechain-steps"><h2>{escape(say("tab.welcome", language))}</h2><div>{"".join(cells)}</div></section>'


def readiness(there: bool, needed: bool, sentence: str, advice: str, language: str) -> str:
    """One thing that is there or missing, and what to do."""
    sign, kind = ("✓", "facechain-good") if there else (("✗", "facechain-bad") if needed else ("○", "facechain-warn"))
    text = translate_all(f"{sentence} {advice}".strip(), language)
    return f'<li class="{kind}"><span class="facechain-sign">{sign}</span> {escape(text)}</li>'


def step(number: int, name: str, inside: str) -> str:
    """One of the first visit's steps."""
    return f'<div class="facechain-step"><h3><span aria-hidden="true">{number}</span>{escape(name)}</h3>{inside}</div>'


def _pose_picture(shelf: Shelf, key: str) -> Picture | None:
    return Picture(data=shelf.get(key), name="the pose picture") if key else None
