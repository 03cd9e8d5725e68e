"""The FaceChain tab: Portrait · People · History · Setup, over a studio. One page for gradio 3.41, 4 and 6."""

from __future__ import annotations

import json
import threading
from html import escape
from shutil import copyfile
from typing import Any

import gradio as gr

from facechain_ext.ui import tab_history, tab_people, tab_pictures, tab_portrait, tab_style, tab_who
from facechain_ext.ui.gradio_versions import HIDDEN, always, named, page_of, senders, unsaved_all, whole_page
from facechain_ext.ui.ids import element
from facechain_ext.ui.studio import Studio
from facechain_ext.ui.tab_history import HistoryPage
from facechain_ext.ui.tab_people import People
from facechain_ext.ui.tab_portrait import Portrait
from facechain_ext.ui.tab_setup import Setup
from facechain_ext.ui.tab_wires import TAB, Visitor, Wires, first_line, option_of
from facechain_ext.ui.traces import handed, sweep
from facechain_ext.ui.words import ENGLISH, labels, meant, say, tips

PAGES = ("portrait", "people", "history", "setup")
CHANNELLED = (tab_who, tab_style, tab_pictures, tab_portrait, tab_history, tab_people)
KINDS = {"image": "image/*"}
"""What a browser calls a kind of files."""


def build(studio: Studio) -> gr.Blocks:
    """The page of a studio."""
    with whole_page("FaceChain") as page:
        Tab(studio)
    unsaved_all(page)
    return page


class Tab:
    """The four pages, and what fills them when somebody comes."""

    def __init__(self, studio: Studio) -> None:
        self.wires = Wires(studio)
        threading.Thread(target=sweep, name="facechain-sweep", daemon=True).start()
        with gr.Column(elem_id=element(TAB, "root"), elem_classes=["facechain-tab"]):
            self._unseen()
            with gr.Tabs(elem_id=element(TAB, "pages")):
                pages = [self._page(name) for name in PAGES]
        self._connect(pages)

    def _unseen(self) -> None:
        """What the page's script speaks through; nobody sees it."""
        wires = self.wires
        with gr.Column(elem_id=element(TAB, "unseen"), elem_classes=[HIDDEN]):
            wires.html("dictionary", words())
            for name in ("hello", "pulse", "nudged"):
                wires.html(name)
            for module in CHANNELLED:
                for name in module.CHANNELS:
                    wires.channel(name)
                for name, kinds in drops(module).items():
                    wires.drop(name, kinds)
            for name in ("tick", "nudge", "arrive"):
                wires.put(name, gr.Button(say("refresh"), elem_id=element(TAB, name)))
            wires.put("handed", gr.File(interactive=False, show_label=False, elem_id=element(TAB, "handed")))
            wires.html("handed-over")
            self._sending()

    def _page(self, name: str) -> Any:
        with page_of(say(f"tab.{name}"), element(TAB, f"page-{name}")) as page:
            if name == "portrait":
                self.portrait = Portrait(self.wires)
            elif name == "people":
                self.people = People(self.wires, self.portrait.who)
            elif name == "history":
                self.history = HistoryPage(self.wires, self.portrait.pictures)
            else:
                self.setup = Setup(self.wires)
        return page

    def _sending(self) -> None:
        """Into the host's own tabs: a picture and its info text, and a button of the host's for each tab."""
        wires = self.wires
        for name in tab_pictures.TROUBLE:
            wires.channel(f"send-{name}")
        wires.put("sent-picture", gr.Image(type="pil", show_label=False, elem_id=element(TAB, "sent-picture")))
        wires.put("sent-info", gr.Textbox(value="", show_label=False, elem_id=element(TAB, "sent-info")))
        wires.html("sent-to")
        senders(wires.studio.send_to(), wires["sent-info"], wires["sent-picture"], lambda tab: element(TAB, f"to-{tab}"))

    def _connect(self, pages: list[Any]) -> None:
        self._connect_pictures()
        self.portrait.connect()
        self.people.connect()
        self.history.connect()
        self.setup.connect(self._fill_anew)
        self.wires.on(always(self.wires["nudge"].click), self.nudged, [], [self.wires["nudged"]])
        arrives = self.wires["arrive"].click
        self.wires.on(arrives, self.defaults, [], [self.wires[name] for name in DEFAULTS], self.wires["first-trouble"])
        fixed = [self.wires[name] for name in ("settings-save", "settings-frozen", "settings-fixed")]
        self.wires.on(arrives, self.setup.arrived, [], [*self.setup.controls, *fixed])
        self._fill(arrives)
        self._fill_people(pages[1].select)
        self._fill_history(pages[2].select)
        self._fill_setup(pages[3].select)

    def _connect_pictures(self) -> None:
        """What is done with a picture on either page; trouble is said on that page."""
        wires, sent = self.wires, [self.wires[name] for name in ("sent-picture", "sent-info", "sent-to")]
        for name, trouble in tab_pictures.TROUBLE.items():
            send, original = wires[f"do-send-{name}"], wires[f"do-original-{name}"]
            wires.on(send.change, self.send, [send], sent, wires[trouble])
            wires.on(original.change, self.portrait.pictures.original, [original], wires.hands, wires[trouble])

    def _fill(self, event: Any) -> None:
        """Fill the page; each part for itself, so that trouble in one leaves the others."""
        wires, portrait = self.wires, self.portrait
        wires.on(event, self.hello, [], [wires["hello"]])
        wires.on(event, portrait.pictures.current, [], [wires[name] for name in tab_pictures.BEGUN], wires["results-trouble"])
        wires.on(event, portrait.first, [wires["files"], wires["person"]], [wires["first"]], wires["first-trouble"])
        wires.on(event, portrait.who.faces, [wires["person"]], [wires["faces"]], wires["who-trouble"])
        loras = [wires[f"lora-{number}"] for number in range(1, 5)]
        wires.on(event, portrait.styles.fresh, [wires["choice"]], [wires["styles"], *loras], wires["style-trouble"])
        wires.on(event, self.lists, [wires["subject"]], [wires[name] for name in ("subject", *LISTS)], wires["make-trouble"])
        wires.on(event, portrait.pose_zone, [], [wires["pose-zone"]], wires["pose-trouble"])
        self._fill_people(event)
        self._fill_setup(event)

    def _fill_anew(self, event: Any) -> None:
        """After the settings were kept: what has been chosen is said in their language too, and what was said before is gone."""
        wires, portrait = self.wires, self.portrait
        self._fill(event)
        wires.on(event, portrait.styles.chosen, [wires["style"]], [wires["chosen"]], wires["style-trouble"])
        looked = [wires[name] for name in ("files", "face", "adapter", "analyser")]
        wires.on(event, portrait.who.look, looked, [wires["photos"]], wires["look-trouble"])
        notes = [wires[name] for name in ("own-said", "styles-moved", "added", "saved")]
        wires.on(event, lambda _visitor: ("", "", "", ""), [], notes)

    def _fill_people(self, event: Any) -> None:
        wires = self.wires
        wires.on(event, self.people.box, [wires["shown"]], [wires[name] for name in tab_people.BOX], wires["people-trouble"])

    def _fill_history(self, event: Any) -> None:
        wires = self.wires
        known = [wires["place"], *(wires[name] for name in HistoryPage.FILTERS)]
        outputs = [wires["filter-person"], wires["filter-style"], wires["entries"], wires["place"]]
        wires.on(event, self.history.opened, known, outputs, wires["history-trouble"])

    def _fill_setup(self, event: Any) -> None:
        wires = self.wires
        wires.on(event, self.setup.opened, [], [wires["there"], wires["safety"]], wires["there-trouble"])

    def hello(self, visitor: Visitor) -> str:
        """Tells the page's script in which language it is read."""
        return f'<template class="facechain-hello" data-language="{visitor.language}"></template>'

    def nudged(self, _visitor: Visitor) -> str:
        """An answer about nothing, after which those that gradio's page had missed come in.

        From version 4 on all answers come through one stream, which the server closes when it owes none. Who asks while that news is on its
        way is told nothing, until something else is asked and the stream is opened anew.
        """
        return ""

    def defaults(self, visitor: Visitor) -> tuple[Any, ...]:
        """What the Portrait page begins with, where the settings have changed since it was built: a late answer undoes nobody's typing."""
        found = self.wires.studio.defaults(visitor.user)
        built = {name: option_of(name).default for name in DEFAULTS} | self.portrait.starts
        new = {name: getattr(found, name) for name in DEFAULTS}
        return tuple(gr.update() if value == built[name] else gr.update(value=value) for name, value in new.items())

    def lists(self, visitor: Visitor, subject: str) -> tuple[Any, ...]:
        """The subjects in the visitor's language, and what the lists offer now."""
        pairs = [(say(f"choice.subject.{one}", visitor.language), one) for one in option_of("subject").option.choices]
        return gr.update(**named(pairs, meant("subject", subject))), *(gr.update(choices=self.portrait.choices(name)) for name in LISTS)

    def send(self, visitor: Visitor, sent: str) -> tuple[Any, str, str]:
        """A picture for another tab of the host; the page presses the host's button when it is there."""
        tab, _, id = first_line(sent).partition(" ")
        entry = self.wires.studio.history().get(visitor.user, int(id or 0))
        with tab_pictures.readable():
            path = handed(entry.path.name, lambda target: copyfile(entry.path, target))
        return str(path), entry.info, f'<i data-press="{escape(element(TAB, f"to-{tab}"))}" data-once="{escape(sent)}"></i>'


DEFAULTS = ("weight", "steps", "sampler", "width", "height")
LISTS = ("sampler", "upscaler", "restore", "finish_upscaler", "adapter", "analyser")


def drops(module: Any) -> dict[str, list[str]]:
    """Where files are dropped in a module's part of the page, and of which kinds they are."""
    return getattr(module, "DROPS", {})


def words() -> str:
    """The page's dictionary and tips, for our script."""
    said = {"zh": labels("zh"), "tips": {language: tips(language) for language in (ENGLISH, "zh")}}
    known = {name: kinds for module in CHANNELLED for name, kinds in drops(module).items()}
    said |= {"kinds": {name: ",".join(KINDS.get(one, one) for one in kinds) for name, kinds in known.items()}}
    said |= {"ask": {language: {key: say(f"tab.{key}", language) for key in ("yes", "cancel")} for language in (ENGLISH, "zh")}}
    return f'<template class="facechain-words" data-words="{escape(json.dumps(said, ensure_ascii=False))}"></template>'
