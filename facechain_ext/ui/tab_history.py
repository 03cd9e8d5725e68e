"""History: everything one has made, to be filtered, looked at, made again, sent elsewhere and deleted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from html import escape
from typing import Any

import gradio as gr

from facechain_ext.errors import BadInput
from facechain_ext.store.records import Entry, Wanted
from facechain_ext.ui import tab_html as html
from facechain_ext.ui.ids import element
from facechain_ext.ui.tab_pictures import Pictures, parameters, thumbnail, whole
from facechain_ext.ui.tab_wires import TAB, Visitor, Wires, bad, first_line, good
from facechain_ext.ui.words import say
from facechain_ext.workflows.infotext import parse_info
from facechain_ext.workflows.making import NOT_SHOWN
from facechain_ext.workflows.planning import WITHHELD

CHANNELS = ("entry", "turn", "delete-entry", "delete-all", "reindex")
PAGE = 24
ANY = "—"
"""Whichever person or style: gradio 3.41 cannot show an empty choice."""
SORTS = ("newest", "likeness")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where in the history the page is: where each page before began ("" the first), and where the next one does."""

    before: tuple[str, ...] = ()
    here: str = ""
    next: str = ""


class HistoryPage:
    """The page of that name."""

    def __init__(self, wires: Wires, pictures: Pictures) -> None:
        self.wires, self.pictures = wires, pictures
        wires.state("place", Place())
        wires.state("entry", 0)
        with gr.Column(elem_classes=["facechain-history"]):
            wires.open_door()
            self._filters()
            wires.trouble("history-trouble")
            with gr.Row(elem_classes=["facechain-split"], equal_height=False):
                with gr.Column(min_width=0, elem_classes=["facechain-list"]):
                    wires.html("entries")
                with gr.Column(min_width=0, elem_classes=["facechain-detail"]):
                    wires.html("entry-shown")

    def _filters(self) -> None:
        wires = self.wires
        with gr.Row(elem_classes=["facechain-filters"]):
            for name in ("person", "style"):
                box = gr.Dropdown([ANY], value=ANY, label=say(f"tab.filter_{name}"), elem_id=element(TAB, f"filter-{name}"), min_width=120)
                wires.put(f"filter-{name}", box)
            wires.put(
                "filter-text", gr.Textbox(label=say("tab.filter_text"), max_lines=1, elem_id=element(TAB, "filter-text"), min_width=140)
            )
            for name in ("since", "until"):
                label = say(f"tab.filter_{name}")
                box = gr.Textbox(
                    label=label, placeholder=say("tab.date_form"), max_lines=1, elem_id=element(TAB, f"filter-{name}"), min_width=110
                )
                wires.put(f"filter-{name}", box)
            wires.put(
                "filter-least", gr.Number(label=say("tab.filter_least"), value=None, elem_id=element(TAB, "filter-least"), min_width=110)
            )
            sorts = [(say(f"tab.sort_{one}"), one) for one in SORTS]
            wires.put(
                "filter-sort",
                gr.Radio(sorts, value=SORTS[0], label=say("tab.filter_sort"), elem_id=element(TAB, "filter-sort"), min_width=220, scale=2),
            )

    FILTERS = ("filter-person", "filter-style", "filter-text", "filter-since", "filter-until", "filter-least", "filter-sort")

    def connect(self) -> None:
        """Its events."""
        wires = self.wires
        filters = [wires[name] for name in self.FILTERS]
        shown, trouble = [wires["entries"], wires["place"]], wires["history-trouble"]
        for name in self.FILTERS:
            event = wires[name].submit if name == "filter-text" else wires[name].change
            wires.on(event, self.filtered, filters, shown, trouble)
        wires.on(wires["do-turn"].change, self.turned, [wires["do-turn"], wires["place"], *filters], shown, trouble)
        wires.on(wires["do-entry"].change, self.picked, [wires["do-entry"]], [wires["entry-shown"], wires["entry"]], trouble)
        fresh = [*shown, wires["entry-shown"]]
        for name, answer in (("delete-entry", self.deleted), ("delete-all", self.emptied), ("reindex", self.reindexed)):
            wires.on(wires[f"do-{name}"].change, answer, [wires[f"do-{name}"], wires["place"], *filters], fresh, trouble)

    def opened(self, visitor: Visitor, place: Place, *filters: Any) -> tuple[Any, ...]:
        """What the page shows when it is opened: lists of persons and styles, and the entries."""
        history = self.wires.studio.history()
        lists = [gr.update(choices=[ANY, *filter(None, history.names(visitor.user, of))]) for of in ("person", "style")]
        return *lists, *self._entries(visitor, place, filters)

    def wanted(self, visitor: Visitor, filters: tuple[Any, ...]) -> Wanted:
        """The filters as a question. BadInput for a date that is none."""
        person, style, text, since, until, least, sort = (None if value in (ANY, "", 0) else value for value in filters)
        return Wanted(
            user=visitor.user, person=person, style=style, text=text or "", since=day(since), until=day(until),
            least=None if least is None else float(least), sort=sort or "newest",
        )  # fmt: skip

    def filtered(self, visitor: Visitor, *filters: Any) -> tuple[str, Place]:
        """The first page of what is wanted."""
        return self._entries(visitor, Place(), filters)

    def turned(self, visitor: Visitor, sent: str, place: Place, *filters: Any) -> tuple[str, Place]:
        """The next page, or the one before."""
        if first_line(sent) == "next" and place.next:
            place = Place(before=(*place.before, place.here), here=place.next)
        elif place.before:
            place = Place(before=place.before[:-1], here=place.before[-1])
        return self._entries(visitor, place, filters)

    def _entries(self, visitor: Visitor, place: Place, filters: tuple[Any, ...]) -> tuple[str, Place]:
        history, wanted = self.wires.studio.history(), self.wanted(visitor, filters)
        page = history.page(wanted, after=place.here, count=PAGE)
        place = replace(place, next=page.next)
        amount = history.amount(wanted)
        everything = amount if wanted == Wanted(user=visitor.user) else history.amount(Wanted(user=visitor.user))
        return self.entries(visitor, page.entries, place, amount, everything), place

    def entries(self, visitor: Visitor, entries: tuple[Entry, ...], place: Place, amount: int, everything: int) -> str:
        """The thumbnails with the line above and the ways onward."""
        language = visitor.language
        if not entries:
            said = say("tab.history_none" if everything else "tab.history_empty", language)
            return f'<p class="facechain-empty">{escape(said)}</p>{self._foot(language) if everything else ""}'
        cells = [self._cell(visitor, entry) for entry in entries]
        begin = len(place.before) * PAGE + 1
        count = escape(say("tab.history_count", language, begin=begin, end=begin + len(entries) - 1, count=amount))
        turns = [
            html.action(say(f"tab.{key}", language), "turn", key)
            for key, on in (("previous", bool(place.before)), ("next", bool(place.next)))
            if on
        ]
        head = (
            f'<div class="facechain-head"><span role="status">{count}</span><span class="facechain-actions">{"".join(turns)}</span></div>'
        )
        label = escape(say("tab.history", language))
        return f'{head}<div class="facechain-grid" role="group" aria-label="{label}">{"".join(cells)}</div>{self._foot(language)}'

    def _cell(self, visitor: Visitor, entry: Entry) -> str:
        alt = say("tab.entry", visitor.language, day=entry.day.isoformat(), person=entry.person or "–", style=entry.style or "–")
        return html.thumb("entry", entry.id, thumbnail(self.wires, visitor, entry), alt, badge=html.badge(entry.likeness))

    def _foot(self, language: str) -> str:
        again = html.action(say("tab.reindex", language), "reindex", "1", tip=say("tab.reindex_hint", language))
        gone = html.action(
            say("tab.delete_all", language), "delete-all", "1", kind="facechain-danger", ask=say("tab.delete_all_sure", language)
        )
        return f'<div class="facechain-actions facechain-foot">{again}{gone}</div>'

    def picked(self, visitor: Visitor, sent: str) -> tuple[str, int]:
        """An entry was pressed: large, with everything it was made by."""
        entry = self.wires.studio.history().get(visitor.user, int(first_line(sent) or 0))
        return self.detail(visitor, entry), entry.id

    def detail(self, visitor: Visitor, entry: Entry) -> str:
        """An entry large, with all its parameters."""
        language = visitor.language
        styles = self.wires.studio.styles(visitor.user)
        style = next((one.style.name(language) for one in styles if one.style.key == entry.style), entry.style)
        made = datetime.fromtimestamp(entry.made).strftime("%Y-%m-%d %H:%M")
        known = {
            say("tab.filter_person", language): entry.person,
            say("tab.filter_style", language): style,
            say("tab.param_made", language): made,
            say("tab.param_size", language): f"{entry.width}×{entry.height}",
            say("tab.param_file", language): self.wires.studio.told(str(entry.path), visitor.user),
        }  # fmt: skip
        check = parse_info(entry.info)[2].get(WITHHELD)
        words = (
            bad(NOT_SHOWN.format(name=check), language) if check
            else html.likeness(entry.likeness, None, entry.judge, language, alone="tab.likeness_by")
        )  # fmt: skip
        return (
            f'<div class="facechain-selected">{whole(entry, language)}{words}'
            f"{self.pictures.actions(visitor, entry, 'entry')}{html.table(known | parameters(entry, language))}</div>"
        )

    def deleted(self, visitor: Visitor, sent: str, place: Place, *filters: Any) -> tuple[str, Place, str]:
        """One entry is deleted for good, after the page asked."""
        self.wires.studio.history().delete(visitor.user, int(first_line(sent) or 0))
        return *self._entries(visitor, place, filters), ""

    def emptied(self, visitor: Visitor, _sent: str, _place: Place, *filters: Any) -> tuple[str, Place, str]:
        """Everything of the user is deleted for good, after the page asked."""
        amount = self.wires.studio.history().delete_all(visitor.user)
        return *self._entries(visitor, Place(), filters), good(say("tab.deleted_all", visitor.language, count=amount))

    def reindexed(self, visitor: Visitor, _sent: str, _place: Place, *filters: Any) -> tuple[str, Place, str]:
        """The index follows what lies in the folder."""
        changes = self.wires.studio.history().reindex()
        said = say(
            "tab.reindexed", visitor.language, added=changes.added, moved=changes.moved, edited=changes.edited, dropped=changes.dropped
        )
        return *self._entries(visitor, Place(), filters), good(said)


def day(text: str | None) -> date | None:
    """A date as it is typed. BadInput where it is none."""
    if not (text or "").strip():
        return None
    try:
        return date.fromisoformat(str(text).strip())
    except ValueError as error:
        raise BadInput(f"{text!r} is no date: type it as year-month-day, like 2026-01-31.") from error
