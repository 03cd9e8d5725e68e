"""The panel in txt2img and img2img: builds the controls from the declared options, and says what will happen.

What is written here is the layout; what an option is called, allows and means stands in request.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from facechain_ext.errors import FaceChainError
from facechain_ext.log import log
from facechain_ext.ui import answers, pasting
from facechain_ext.ui.controls import arguments
from facechain_ext.ui.gradio_versions import changed, hidden, paths, photo_drop, switched_accordion, unsaved
from facechain_ext.ui.ids import element
from facechain_ext.ui.loaded import loaded
from facechain_ext.ui.request import AUTO, MASK, MOST_PERSONS, NOBODY, controls
from facechain_ext.ui.settings import ADETAILER, adetailer_runs_us, frozen
from facechain_ext.ui.words import ENGLISH, LANGUAGES, labels, say
from facechain_ext.ui.xyz import adapters

ANALYSERS = ("auto", "embedded", "facexlib", "insightface", "modelscope")


class Panel:
    """The panel of one tab. `controls` are in the order of request.controls()."""

    def __init__(self, tab: str) -> None:
        self.tab = tab
        self._made: dict[tuple[int | None, str], Any] = {}
        self._parts: dict[tuple[str, int | None], Any] = {}
        with switched_accordion("FaceChain", element(tab, "panel")) as (switch, head):
            self._made[None, "enabled"] = switch
            with head():
                self._put("closed", gr.HTML(answers.closed_line("", ENGLISH), elem_id=element(tab, "closed")))
            self._build()
        self.controls = [unsaved(self._made[one.person, one.field.name]) for one in controls()]
        self.infotext_fields = [(self._made[one.person, one.field.name], pasting.pasted(one)) for one in controls()]
        self.infotext_fields += [(self._part("note"), pasting.pasted_note), (self._part("pasted"), pasting.pasted_people)]
        self._connect()

    def _build(self) -> None:
        with gr.Column(elem_classes=["facechain-panel"]):
            said = {"tips": {one: answers.tips(one) for one in LANGUAGES}, "sure": {one: say("delete_sure", one) for one in LANGUAGES}}
            words = json.dumps({"zh": labels("zh"), **said}, ensure_ascii=False)
            gr.HTML(answers.data(words, answers.fixed_language()), elem_id=element(self.tab, "data"))
            with gr.Row(elem_classes=["facechain-tabs"]):
                people = [(say("person", number=number), number) for number in range(1, 2)]
                self._put("person", gr.Radio(people, value=1, show_label=False, container=False, elem_id=element(self.tab, "person")))
                self._put("add", gr.Button("+", size="sm", min_width=0, elem_id=element(self.tab, "add"), elem_classes=["facechain-add"]))
            for number in range(1, MOST_PERSONS + 1):
                with self._put("block", gr.Column(visible=number == 1, elem_classes=["facechain-person"]), number):
                    self._person(number)
            with gr.Accordion(say("more"), open=False, elem_id=element(self.tab, "more")):
                self._more()
            with gr.Column(elem_classes=["facechain-foot"]):
                self._put("line", gr.HTML(answers.empty_line(ENGLISH), elem_id=element(self.tab, "line")))
                self._put("note", gr.HTML("", elem_id=element(self.tab, "note")))
                self._put("pasted", unsaved(hidden(gr.Textbox, value="", show_label=False, elem_id=element(self.tab, "pasted"))))
                for name in ("refresh", "ended"):
                    self._put(name, hidden(gr.Button, value=say("refresh"), elem_id=element(self.tab, name)))

    def _person(self, number: int) -> None:
        """One person, in the order in which one thinks: who, how much, when, where; the rest folded away."""
        with gr.Row(equal_height=False):
            label, place = say("photos"), element(self.tab, "photos", number)
            self._made[number, "photos"] = photo_drop(label=label, elem_id=place, elem_classes=["facechain-drop"], scale=2, min_width=240)
            with gr.Column(scale=1, min_width=180):
                self._made[number, "name"] = self._control(number, "name", gr.Dropdown, choices=answers.at_first(), value=NOBODY)
                self._put("analyse", gr.Button(say("analyse"), size="sm", elem_id=element(self.tab, "analyse", number)), number)
        self._put("cards", gr.HTML("", elem_id=element(self.tab, "cards", number), elem_classes=["facechain-cards"]), number)
        self._put("drop", hidden(gr.Textbox, elem_id=element(self.tab, "drop", number), show_label=False), number)
        with gr.Row():
            self._made[number, "weight"] = self._control(number, "weight", gr.Slider, info=say("weight_hint"), scale=2, min_width=240)
            self._made[number, "start"] = self._control(number, "start", gr.Slider, info=say("start_hint"), min_width=120)
            self._made[number, "end"] = self._control(number, "end", gr.Slider, info=say("end_hint"), min_width=120)
        self._made[number, "region"] = self._control(number, "region", gr.Radio)
        with self._put("mask", gr.Column(visible=False, elem_classes=["facechain-mask"]), number):
            gr.HTML(answers.canvas(self.tab, number))
            self._made[number, "mask"] = hidden(gr.Textbox, value="", show_label=False, elem_id=element(self.tab, "mask", number))
        with gr.Accordion(say("more_person"), open=False, elem_id=element(self.tab, "save", number)):
            self._made[number, "face"] = self._control(number, "face", gr.Slider, info=say("face_hint"))
            self._saving(number)
        self._put("known", gr.State([]), number)
        self._put("doubt", gr.State(""), number)
        self._put("left", gr.State(0), number)

    def _saving(self, number: int) -> None:
        """Keeping a person for another day."""
        with gr.Row():
            name = gr.Textbox(label=say("save_name"), max_lines=1, elem_id=element(self.tab, "save-name", number), scale=2, min_width=200)
            self._put("save_name", name, number)
            with gr.Column(scale=1, min_width=160):
                self._put("save", gr.Button(say("save"), size="sm", elem_id=element(self.tab, "save-button", number)), number)
                delete = gr.Button(say("delete"), size="sm", interactive=False, elem_id=element(self.tab, "delete", number))
                self._put("delete", delete, number)
        self._put("consent", gr.Checkbox(False, label=say("save_consent"), elem_id=element(self.tab, "consent", number)), number)
        self._put("keep", gr.Checkbox(False, label=say("save_keep"), elem_id=element(self.tab, "keep", number)), number)
        self._put("saved", gr.HTML("", elem_id=element(self.tab, "saved", number)), number)

    def _more(self) -> None:
        with gr.Row():
            self._made[None, "passes"] = self._control(None, "passes", gr.Radio)
            self._made[None, "adetailer_pass"] = self._control(None, "adetailer_pass", gr.Checkbox)
        with gr.Row():
            self._made[None, "adapter"] = self._control(None, "adapter", gr.Dropdown, choices=[AUTO, *adapters()])
            self._made[None, "analyser"] = self._control(None, "analyser", gr.Dropdown, choices=list(ANALYSERS))
        self._put("better", gr.HTML("", elem_id=element(self.tab, "better")))
        with gr.Row():
            fetch = gr.Button(say("better_fetch"), size="sm", scale=0, visible=answers.can_fetch(), elem_id=element(self.tab, "fetch"))
            self._put("fetch", fetch)
            wanted = adetailer_runs_us() is False and not frozen(ADETAILER)
            add = gr.Button(say("adetailer_add"), size="sm", scale=0, visible=wanted, elem_id=element(self.tab, "adetailer"))
            self._put("adetailer", add)

    def _control(self, person: int | None, name: str, make: Callable[..., Any], **more: Any) -> Any:
        """A control from its declaration."""
        field = next(one.field for one in controls() if (one.person, one.field.name) == (person, name))
        return make(**{**arguments(field, make), "elem_id": element(self.tab, name, person), **more})

    def _put(self, name: str, part: Any, person: int | None = None) -> Any:
        self._parts[name, person] = part
        return part

    def _part(self, name: str, person: int | None = None) -> Any:
        return self._parts[name, person]

    @property
    def _lines(self) -> list[Any]:
        """Where it is said what will happen: the head's line and the foot's."""
        return [self._part("closed"), self._part("line")]

    @property
    def _told(self) -> list[Any]:
        """What the lines depend on: every control but the photos themselves, and what is known of those."""
        values = [self._made[one.person, one.field.name] for one in controls() if one.field.name != "photos"]
        return values + [self._part(name, number) for name in ("known", "doubt", "left") for number in range(1, MOST_PERSONS + 1)]

    def _tell(self, user: str, language: str, *values: Any) -> tuple[str, str]:
        return answers.since(user, self.tab, told_of(values), language)

    def _ended(self, user: str, language: str, *values: Any) -> tuple[str, str]:
        return answers.ended(user, self.tab, told_of(values), language)

    def _look_again(self, user: str, language: str, *values: Any) -> list[Any]:
        """What may have changed since the page was built: checkpoint, files, saved persons."""
        return [*self._tell(user, language, *values), answers.offer(language), gr.update(choices=[AUTO, *adapters()]), *_names(user)]

    def _connect(self) -> None:
        for control in controls():
            component = self._made[control.person, control.field.name]
            if control.field.name != "photos":
                self._on(changed(component), self._tell, self._told, self._lines, whose=True)
        self._on(self._part("ended").click, self._ended, self._told, self._lines, whose=True)
        lists = [self._made[None, "adapter"], *(self._made[number, "name"] for number in range(1, MOST_PERSONS + 1))]
        self._on(self._part("refresh").click, self._look_again, self._told, [*self._lines, self._part("better"), *lists], whose=True)
        found = [*lists[1:], self._part("note")]
        self._on(self._part("pasted").change, pasting.found_again, [self._part("pasted")], found, whose=True)
        blocks = [self._part("block", number) for number in range(1, MOST_PERSONS + 1)]
        self._on(self._part("person").change, answers.show_person, [self._part("person")], blocks)
        self._on(self._part("add").click, answers.add_person, [self._part("person"), self._state_of_tabs()], [
            self._part("person"), self._state_of_tabs(), self._part("add")
        ])  # fmt: skip
        for number in range(1, MOST_PERSONS + 1):
            self._connect_person(number)
        self._on(self._part("fetch").click, answers.fetch_better, [], [self._part("better"), self._part("fetch")], whose=True)
        self._on(self._part("adetailer").click, answers.let_adetailer, [], [self._part("better"), self._part("adetailer")])

    def _state_of_tabs(self) -> Any:
        if ("tabs", None) not in self._parts:
            self._put("tabs", gr.State(1))
        return self._part("tabs")

    def _connect_person(self, number: int) -> None:
        photos, name, known = self._made[number, "photos"], self._made[number, "name"], self._part("known", number)
        cards, region = self._part("cards", number), self._made[number, "region"]
        seen = [self._part("doubt", number), self._part("left", number)]
        looked = [photos, self._made[None, "adapter"], self._made[None, "analyser"], self._made[number, "face"]]
        lines = self._event(self._tell, self._told, self._lines, whose=True)
        self._on(photos.change, _dropped, [photos, name], [cards, name, known, *seen, self._part("note")], whose=True).then(**lines)
        self._on(name.change, answers.chosen, [name, known], [photos, cards, self._part("delete", number)], whose=True)
        self._on(name.input, answers.unchosen, [name, known], [cards])
        self._on(self._part("analyse", number).click, _analyse, looked, [cards, *seen, self._part("better")], whose=True).then(**lines)
        self._on(self._part("drop", number).change, _leave_out, [self._part("drop", number), photos], [photos, self._part("drop", number)])
        self._on(region.change, lambda _language, where: gr.update(visible=where == MASK), [region], [self._part("mask", number)])
        names = [self._made[n, "name"] for n in range(1, MOST_PERSONS + 1)]
        wanted = [self._part("save_name", number), self._part("consent", number), self._part("keep", number), *looked]
        self._on(self._part("save", number).click, _save, wanted, [self._part("saved", number), *names], whose=True)
        self._on(self._part("delete", number).click, _delete, [name, *names], [self._part("saved", number), *names], whose=True)

    def _on(
        self, event: Any, answer: Callable[..., Any], inputs: Sequence[Any], outputs: Sequence[Any], *, whose: bool = False
    ) -> Any:
        return event(**self._event(answer, inputs, outputs, whose=whose))

    def _event(self, answer: Callable[..., Any], inputs: Sequence[Any], outputs: Sequence[Any], *, whose: bool = False) -> dict[str, Any]:
        return {"fn": spoken(answer, whose=whose), "inputs": list(inputs), "outputs": list(outputs), "show_progress": "hidden"}


def spoken(answer: Callable[..., Any], *, whose: bool) -> Callable[..., Any]:
    """An event's function that is given the language of whoever looks at the page before its inputs; whose: and before that their name."""

    def respond(request: gr.Request, *values: Any) -> Any:
        who = (answers.user_of(request),) if whose else ()
        return answer(*who, answers.language_of(request), *values)

    return respond


def told_of(values: Sequence[Any]) -> answers.Told:
    """The values of `Panel._told`, sorted."""
    names = [(one.person, one.field.name) for one in controls() if one.field.name != "photos"]
    states = values[len(names) :]
    known, doubts, left = (dict(enumerate(states[at * MOST_PERSONS : (at + 1) * MOST_PERSONS], 1)) for at in range(3))
    return answers.Told(values=dict(zip(names, values, strict=False)), known=known, doubts=doubts, left=left)


def _dropped(user: str, language: str, files: Any, name: str) -> tuple[str, Any, list[str], str, int, Any]:
    """Photos came or went: small pictures of them; where there are some, nobody from the library, and no note that they are missing."""
    found = paths(files)
    other, note = (gr.update(value=NOBODY), "") if found else (gr.update(), gr.update())
    return answers.plain_cards(user, found, name, language), other, found, "", 0, note


def _analyse(user: str, language: str, files: Any, adapter: str, analyser: str, face: float) -> tuple[str, str, int, str]:
    return answers.analysed(user, paths(files), adapter, analyser, int(face), language)


def _leave_out(_language: str, which: str, files: Any) -> tuple[Any, Any]:
    """The photo whose number the page sent is left out."""
    found = paths(files)
    if not which or not which.isdigit():
        return gr.update(), gr.update()
    kept = [path for at, path in enumerate(found, 1) if at != int(which)]
    return gr.update(value=kept or None), gr.update(value="")


def _save(
    user: str, language: str, name: str, consent: bool, keep: bool, files: Any, adapter: str, analyser: str, face: float
) -> list[Any]:
    text = answers.saved(user, name, paths(files), adapter, analyser, int(face), consent, keep, language)
    return [text, *_names(user)]


def _delete(user: str, language: str, name: str, *chosen: str) -> list[Any]:
    """A saved person goes, and is chosen nowhere any more; whom the other lists name stays."""
    try:
        loaded.library(user).delete(name)
    except FaceChainError as error:
        log.info("%s", error)
        return [answers.bad(str(error), user, language), *_names(user)]
    people = answers.people(user)
    lists = [gr.update(choices=people, value=NOBODY) if one == name else gr.update(choices=people) for one in chosen]
    return [answers.good(say("deleted", language, name=name)), *lists]


def _names(user: str) -> list[Any]:
    """Updates for every list of a user's saved persons."""
    return [gr.update(choices=answers.people(user)) for _ in range(MOST_PERSONS)]
