"""Pictures: the Make button, what is being made, and the results, the most alike first."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from html import escape
from shutil import copyfile
from typing import TYPE_CHECKING, Any

import gradio as gr

from facechain_ext.errors import BadInput, FaceChainError
from facechain_ext.log import log
from facechain_ext.ui import tab_html as html
from facechain_ext.ui.ids import element
from facechain_ext.ui.jobs import State
from facechain_ext.ui.tab_wires import TAB, Visitor, Wires, bad, first_line, title
from facechain_ext.ui.words import say, translate_all
from facechain_ext.workflows.infotext import parse_info
from facechain_ext.workflows.orders import ALL, Order, Result

if TYPE_CHECKING:
    from facechain_ext.store.records import Entry

CHANNELS = ("result", "stop", "skip", "again", "vary", "delete-result", "original-result", "original-entry")
TROUBLE = {"result": "results-trouble", "entry": "history-trouble"}
"""Where it is said what went wrong with a result of the Portrait page, and with an entry of the History page."""
BEGUN = ("job", "stage", "results", "version", "picked", "pulse")
"""The parts of the page that an order which begins fills, in order."""
VARIATIONS = 4
LOOK = 1.0
"""Seconds that an answer about a running job waits for something to have changed."""
WHOLE = 12_000_000
"""Bytes of a picture file up to which the page is given the file itself, with its info text, and not a smaller copy to look at."""


class Pictures:
    """The column of that name. Its state: `job` (id), `version`, `picked` (id of the selected entry, or 0)."""

    def __init__(self, wires: Wires) -> None:
        self.wires = wires
        with gr.Column(elem_classes=["facechain-pictures", "facechain-column"], min_width=0):
            title("tab.pictures")
            for name, value in (("job", ""), ("version", -1), ("picked", 0)):
                wires.state(name, value)
            with gr.Row(elem_classes=["facechain-make"], elem_id=element(TAB, "makebar")):
                wires.button("make", "tab.make", variant="primary", min_width=120, scale=3)
                wires.option("count", gr.Number, precision=0, scale=1, min_width=80, minimum=1, maximum=16)
            wires.trouble("make-trouble")
            wires.html("make-note")
            wires.html("stage", classes=["facechain-stage"])
            wires.html("results")
            wires.trouble("results-trouble")

    def connect(self) -> None:
        """Its events, but for Make, which needs the values of all columns."""
        wires = self.wires
        seen = [wires["job"], wires["version"], wires["picked"]]
        shown = [wires["stage"], wires["results"], wires["version"], wires["picked"], wires["pulse"]]
        self.watched = wires.on(wires["tick"].click, self.watch, seen, shown, wires["results-trouble"])
        for name, answer in (("stop", self.stop), ("skip", self.skip)):
            wires.on(wires[f"do-{name}"].change, answer, [wires["job"]], [wires["version"]], wires["make-trouble"])
        wires.on(
            wires["do-result"].change,
            self.select,
            [wires["do-result"], wires["job"]],
            [wires["results"], wires["picked"]],
            wires["results-trouble"],
        )
        gone = [wires["do-delete-result"], wires["job"], wires["picked"]]
        wires.on(wires["do-delete-result"].change, self.delete, gone, [wires["results"], wires["picked"]], wires["results-trouble"])

    def start(self, visitor: Visitor, order: Order) -> tuple[Any, ...]:
        """An order begins: the job's id, and what the page shows of it."""
        id = self.wires.studio.jobs.start(visitor.user, order)
        return id, *self.shown(visitor, self.wires.studio.jobs.state(visitor.user, id), 0)

    def again(self, visitor: Visitor, sent: str, *, seed: int | None = None) -> tuple[Any, ...]:
        """A picture of the history is made once more; `seed` -1: some like it, with other numbers."""
        from facechain_ext.workflows.again import NOBODY_SAVED, again

        studio = self.wires.studio
        entry = studio.history().get(visitor.user, int(first_line(sent) or 0))
        found = again(entry, studio, visitor.user)
        photos = studio.jobs.photos(visitor.user, found.photos)
        order = found.order(photos)
        options = replace(order.options, count=VARIATIONS if seed == -1 else 1, choose=ALL, seed=entry.seed if seed is None else seed)
        notes = [note for note in found.notes if not (photos and note == NOBODY_SAVED)]
        said = "".join(html.lead(translate_all(note, visitor.language)) for note in notes)
        return *self.start(visitor, replace(order, options=options)), said

    def vary(self, visitor: Visitor, sent: str) -> tuple[Any, ...]:
        """Some pictures like one of the history."""
        return self.again(visitor, sent, seed=-1)

    def current(self, visitor: Visitor) -> tuple[Any, ...]:
        """What a page that is opened shows: the user's job, whether it runs or is over."""
        id = self.wires.studio.jobs.current(visitor.user)
        if id is None:
            return "", idle(visitor.language), "", -1, 0, ""
        return id, *self.shown(visitor, self.wires.studio.jobs.state(visitor.user, id), 0)

    def watch(self, visitor: Visitor, id: str, version: int, picked: int) -> tuple[Any, ...]:
        """What has changed of the job since the version that the page shows."""
        if not id:
            return (*stay_shown(), pulse())
        state = self.wires.studio.jobs.wait(visitor.user, id, version, LOOK)
        if state.version == version and not state.over:
            return (*stay_shown(), pulse())
        return self.shown(visitor, state, picked)

    def shown(self, visitor: Visitor, state: State, picked: int) -> tuple[Any, ...]:
        """Stage, results, version, selected entry, and a sign that the answer came."""
        state = replace(state, error=self.wires.studio.told(state.error, visitor.user))
        return stage(state, visitor.language), *self._results(visitor, state, picked, settled=True), pulse()

    def _results(self, visitor: Visitor, state: State, picked: int, *, settled: bool) -> tuple[str, int, int]:
        results = there(state)
        ids = [one.entry.id for one in results if one.entry is not None and not one.withheld]
        picked = picked if picked in ids else (ids[0] if ids and state.over else 0)
        return self.results(visitor, state, results, picked), state.version, picked

    def results(self, visitor: Visitor, state: State, results: Sequence[Result], picked: int) -> str:
        """The selected picture large, and all results by likeness."""
        chosen = next((one for one in results if one.entry is not None and one.entry.id == picked), None)
        large = self.large(visitor, chosen, chosen.entry, state) if chosen is not None and chosen.entry is not None else ""
        cells = [self._cell(visitor, one, picked) for one in results]
        notes = "".join(
            f'<p class="facechain-lead">{escape(translate_all(note, visitor.language))}</p>' for note in (*state.notes, state.minor) if note
        )
        grid = (
            f'<div class="facechain-grid" role="group" aria-label="{escape(say("tab.results", visitor.language))}">{"".join(cells)}</div>'
            if cells
            else ""
        )
        emptied = idle(visitor.language) if state.phase == "done" and not cells and not notes else ""
        return f'<section data-job="{escape(state.id)}">{large}{grid}{notes}{emptied}</section>'

    def _cell(self, visitor: Visitor, result: Result, picked: int) -> str:
        language = visitor.language
        if result.failed:
            return html.gap(say("tab.failed", language, number=result.number, reason=translate_all(result.failed, language)))
        entry = result.entry
        if result.withheld or entry is None:
            return html.gap(translate_all(result.withheld, language), "▧")
        key = "tab.result" if result.likeness is not None else "tab.result_faceless"
        alt = say(key, language, number=result.number, likeness=html.number(result.likeness))
        kind = "" if result.kept else "facechain-aside"
        content = thumbnail(self.wires, visitor, entry)
        return html.thumb("result", entry.id, content, alt, badge=html.badge(result.likeness), chosen=entry.id == picked, kind=kind)

    def large(self, visitor: Visitor, result: Result, entry: Entry, state: State) -> str:
        """The selected picture with what its likeness means, what is to be known of it and what can be done with it."""
        language = visitor.language
        words = html.likeness(entry.likeness, state.between, state.judge or entry.judge, language)
        note = f'<p class="facechain-warning">⚠ {escape(translate_all(result.note, language))}</p>' if result.note else ""
        return (
            f'<div class="facechain-selected">{whole(entry, language)}{words}{note}{self.actions(visitor, entry, "result")}</div>'
        )

    def actions(self, visitor: Visitor, entry: Entry, page: str) -> str:
        """Keep · make again · variations · send to … · delete; without a file there is nothing to keep or send. page: of TROUBLE."""
        language, id = visitor.language, entry.id
        there, sure = entry.there, say("tab.delete_sure", language)
        keep = self._keep(entry, page, language) if there else ""
        send = "".join(
            html.action(say("tab.send", language, tab=tab), f"send-{page}", f"{tab} {id}", kind="facechain-send")
            for tab in (self.wires.studio.send_to() if there else ())
        )
        return (
            '<div class="facechain-actions">'
            f"{keep}"
            f"{html.action(say('tab.again', language), 'again', id)}{html.action(say('tab.vary', language), 'vary', id)}{send}"
            f"{html.action(say('tab.delete', language), f'delete-{page}', id, kind='facechain-danger', ask=sure)}</div>"
        )

    def _keep(self, entry: Entry, page: str, language: str) -> str:
        """Save a copy: of the picture that is shown, which is the file itself, or of the file where that is too large to be shown."""
        if entry.bytes > WHOLE:
            return html.action(say("tab.keep", language), f"original-{page}", entry.id)
        return (
            f'<button type="button" class="facechain-action" data-save="{escape(entry.path.name)}">'
            f"{escape(say('tab.keep', language))}</button>"
        )

    def original(self, visitor: Visitor, sent: str) -> tuple[str, str]:
        """A picture's own file, with its info text, to be downloaded."""
        entry = self.wires.studio.history().get(visitor.user, int(first_line(sent) or 0))
        with readable():
            return self.wires.hand(entry.path.name, lambda target: copyfile(entry.path, target))

    def select(self, visitor: Visitor, sent: str, id: str) -> tuple[str, int]:
        """A result was pressed."""
        state = self.wires.studio.jobs.state(visitor.user, id)
        picked = int(first_line(sent) or 0)
        return self.results(visitor, state, there(state), picked), picked

    def delete(self, visitor: Visitor, sent: str, id: str, picked: int) -> tuple[str, int]:
        """A result was deleted for good, after the page asked."""
        self.wires.studio.history().delete(visitor.user, int(first_line(sent) or 0))
        state = self.wires.studio.jobs.state(visitor.user, id)
        found, _, picked = self._results(visitor, state, picked, settled=True)
        return found, picked

    def stop(self, visitor: Visitor, id: str) -> int:
        """The job ends after the step that is being done; what is finished stays."""
        return self.wires.studio.jobs.stop(visitor.user, id).version - 1 if id else -1

    def skip(self, visitor: Visitor, id: str) -> int:
        """The picture that is being made is left out."""
        return self.wires.studio.jobs.skip(visitor.user, id).version - 1 if id else -1


@contextmanager
def readable() -> Iterator[None]:
    """A picture's file is read: BadInput where it cannot be."""
    try:
        yield
    except OSError as error:
        raise BadInput(f"The picture cannot be read ({error.strerror}): look through the history's folder again.") from error


def stay_shown() -> tuple[Any, ...]:
    """Stage, results, version and selection as they are."""
    return tuple(gr.update() for _ in range(4))


def pulse() -> str:
    """A sign that an answer came, which is never the same twice."""
    return f'<i data-pulse="{random.random()}"></i>'


def there(state: State) -> list[Result]:
    """The results that are still there, the most alike first; those without a picture last."""
    found = [one for one in state.results if one.entry is None or one.entry.there]
    return sorted(
        found, key=lambda one: (one.entry is None, bool(one.withheld), not one.kept, one.likeness is None, -(one.likeness or 0.0))
    )


def thumbnail(wires: Wires, visitor: Visitor, entry: Entry) -> bytes:
    """The small picture of an entry; nothing where it cannot be had."""
    try:
        return wires.studio.history().thumbnail(visitor.user, entry.id).read_bytes()
    except (FaceChainError, OSError) as error:
        log.info("%s", error)
        return b""


def whole(entry: Entry, language: str) -> str:
    """A picture as large as it is: the file itself, so that what is saved or dragged elsewhere has its info text."""
    try:
        content = entry.path.read_bytes()
    except OSError:
        return html.gap(say("tab.file_gone", language))
    if len(content) > WHOLE:
        from facechain_ext.vision.pictures import read

        content = html.small(read(entry.path), max(entry.width, entry.height))
    return f'<div class="facechain-view">{html.picture(content, entry.prompt or entry.path.name, size=(entry.width, entry.height))}</div>'


def idle(language: str) -> str:
    """The stage before anything was made."""
    return f'<div class="facechain-idle"><p>{escape(say("tab.idle", language))}</p></div>'


def stage(state: State, language: str) -> str:
    """What is being made: preview, step, time left, Stop and Skip; after the end, what went wrong if anything did."""
    if state.over:
        error = bad(state.error, language) if state.error else ""
        said = {"stopped": say("tab.stopped", language), "failed": "" if error else say("tab.unexpected", language)}.get(state.phase, "")
        return error + (f'<p class="facechain-note" role="status">{escape(said)}</p>' if said else "")
    shown = (
        html.picture(html.small(state.preview), say("tab.preview", language))
        if state.preview is not None
        else '<span class="facechain-blank"></span>'
    )
    size = state.order.options.width, state.order.options.height
    return (
        f'<div class="facechain-running" data-running="{escape(state.id)}">'
        f'<div class="facechain-view facechain-preview"><svg viewBox="0 0 {size[0]} {size[1]}" aria-hidden="true"></svg>{shown}</div>'
        f'{html.bar(done(state))}<div class="facechain-status"><span role="status">{escape(where(state, language))}</span>'
        f"{html.action(say('tab.skip', language), 'skip', state.id) if state.phase == 'painting' else ''}"
        f"{html.action(say('tab.stop', language), 'stop', state.id)}</div></div>"
    )


def done(state: State) -> float:
    """The part of all steps that is done."""
    if not state.pictures or not state.steps:
        return 0.0
    return (max(state.picture - 1, 0) + state.step / state.steps) / state.pictures


def where(state: State, language: str) -> str:
    """Picture, step and time left, in words."""
    if state.phase == "waiting" and state.ahead:
        return say("tab.waiting", language, count=state.ahead)
    if state.phase in ("looking", "choosing"):
        return say(f"tab.{state.phase}_now", language)
    if not state.steps:  # nobody painted a step yet: the checkpoint is being read
        return say("tab.beginning", language)
    parts = [say("tab.picture_of", language, number=state.picture, count=state.pictures)] if state.pictures > 1 else []
    parts.append(say("tab.step_of", language, step=state.step, steps=state.steps))
    left = html.seconds(state.seconds_left, language)
    return " · ".join([*parts, *([left] if left else [])])


def order_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """A page's values in the kinds that the options are declared in; what is empty keeps its default."""
    from facechain_ext.options import fields_of
    from facechain_ext.workflows.orders import MakingOptions

    found = {}
    for field in fields_of(MakingOptions):
        value = values.get(field.name)
        if value is None or (value == "" and field.kind is not str) or (field.optional and value in ("", 0)):
            continue
        if field.kind is int and isinstance(value, float) and value.is_integer():
            value = int(value)
        found[field.name] = float(value) if field.kind is float and isinstance(value, int) else value
    return found


def parameters(entry: Entry, language: str) -> dict[str, str]:
    """Everything an entry's info text states, prompts first."""
    prompt, negative, settings = parse_info(entry.info)
    settings = {key: value for key, value in settings.items() if key != "Size"}  # said before, in the visitor's language
    return {say("tab.param_prompt", language): prompt or entry.prompt, say("tab.param_negative", language): negative, **settings}
