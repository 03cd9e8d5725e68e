"""People: the saved persons; add from vetted photos, rename, merge, give away and take in, delete for good."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from facechain_ext.errors import BadInput
from facechain_ext.store.library import Saved
from facechain_ext.ui import tab_html as html
from facechain_ext.ui.ids import element
from facechain_ext.ui.tab_who import Who, more_photos, pictures_of, without
from facechain_ext.ui.tab_wires import TAB, Visitor, Wires, first_line, fixed, good, title
from facechain_ext.ui.traces import received
from facechain_ext.ui.words import say, translate_all

CHANNELS = ("someone", "delete-person", "export-people", "new-photo")
BOX = ("people", "shown", "person-box", "person-shown", "new-name", "merge-row", "merge-with")
"""What `People.box` fills."""
DROPS = {"people-drop": [".zip", ".safetensors"], "new-drop": ["image"]}
ALIKE = 0.25
"""Mean cosine below which two saved persons are hardly one; as in vetting."""


class People:
    """The page of that name. Its state: `shown` (a person's name, or empty) and `new-files` (photos of somebody to be added)."""

    def __init__(self, wires: Wires, who: Who) -> None:
        self.wires, self.who = wires, who
        wires.state("shown", "")
        wires.state("new-files", [])
        wires.open_door()
        with gr.Row(elem_classes=["facechain-split", "facechain-people"], equal_height=False):
            with gr.Column(min_width=0, elem_classes=["facechain-list"]):
                wires.html("people")
                wires.trouble("people-trouble")
                self._one()
                self._exchange()
            with gr.Column(min_width=0, elem_classes=["facechain-detail"]):
                self._add()

    def _one(self) -> None:
        """What can be done with the person that was pressed."""
        wires = self.wires
        with wires.put("person-box", gr.Column(visible=False, elem_classes=["facechain-box"])):
            wires.html("person-shown")
            with gr.Row(elem_classes=["facechain-beside"]):
                name = gr.Textbox(label=say("tab.rename"), max_lines=1, elem_id=element(TAB, "new-name"), scale=2, min_width=120)
                wires.put("new-name", name)
                wires.button("rename", "tab.rename_do", size="sm", scale=1, min_width=80)
            with wires.put("merge-row", gr.Row(visible=False, elem_classes=["facechain-beside"])):
                other = gr.Dropdown(
                    [], label=say("tab.merge"), info=say("tab.merge_hint"), elem_id=element(TAB, "merge-with"), scale=2, min_width=120
                )
                wires.put("merge-with", other)
                wires.button("merge", "tab.merge_do", size="sm", scale=1, min_width=80)

    def _exchange(self) -> None:
        fixed(
            '<div class="facechain-actions">'
            f"{html.action(say('tab.people_export'), 'export-people', '')}"
            f'<button type="button" class="facechain-action" data-drop="people-drop">{escape(say("tab.people_import"))}</button></div>'
        )

    def _add(self) -> None:
        """A new person: photos with what is seen in them, a name, consent."""
        wires = self.wires
        title("tab.add_person")
        fixed(html.zone("new-drop", "tab.drop", "tab.drop_hint", sign="+"))
        wires.html("new-photos")
        wires.put("add-name", gr.Textbox(label=say("save_name"), max_lines=1, elem_id=element(TAB, "add-name")))
        wires.put("add-consent", gr.Checkbox(False, label=say("save_consent"), elem_id=element(TAB, "add-consent")))
        wires.put("add-keep", gr.Checkbox(False, label=say("save_keep"), elem_id=element(TAB, "add-keep")))
        wires.button("add", "save", size="sm", variant="primary")
        wires.html("added")
        for name in ("new-look-trouble", "add-trouble"):
            wires.trouble(name)

    def connect(self) -> None:
        """Its events."""
        wires, trouble = self.wires, self.wires["people-trouble"]
        box = [wires[name] for name in BOX]
        wires.on(wires["do-someone"].change, self.picked, [wires["do-someone"]], box, trouble)
        wires.on(wires["rename"].click, self.renamed, [wires["shown"], wires["new-name"]], box, trouble)
        wires.on(wires["merge"].click, self.merged, [wires["shown"], wires["merge-with"]], box, trouble)
        wires.on(wires["do-delete-person"].change, self.deleted, [wires["do-delete-person"]], box, trouble)
        wires.on(wires["do-export-people"].change, self.exported, [wires["do-export-people"]], wires.hands, trouble)
        wires.on(wires["people-drop"].upload, self.imported, [wires["people-drop"]], [wires["people-drop"], *box], trouble)
        self._connect_new(box)

    def _connect_new(self, box: Sequence[Any]) -> None:
        wires, trouble = self.wires, self.wires["add-trouble"]
        shown = [wires["new-files"], wires["new-photos"]]
        looked = [wires["new-files"], wires["face"], wires["adapter"], wires["analyser"]]
        dropped = wires.on(
            wires["new-drop"].upload, self.dropped, [wires["new-drop"], wires["new-files"]], [wires["new-drop"], *shown], trouble
        )
        wires.on(dropped.then, self.look, looked, [wires["new-photos"]], wires["new-look-trouble"])
        left = wires.on(wires["do-new-photo"].change, self.left_out, [wires["do-new-photo"], wires["new-files"]], shown, trouble)
        wires.on(left.then, self.look, looked, [wires["new-photos"]], wires["new-look-trouble"])
        wanted = [wires["add-name"], wires["add-consent"], wires["add-keep"], *looked]
        emptied = [wires["added"], *shown, wires["add-name"], wires["add-consent"], *box]
        wires.on(wires["add"].click, self.added, wanted, emptied, trouble)

    def box(self, visitor: Visitor, name: str = "", said: str = "") -> tuple[Any, ...]:
        """Everybody, and what can be done with the one of that name."""
        people = self.wires.studio.library(visitor.user).people()
        one = next((person for person in people if person.name == name), None)
        others = [person.name for person in people if person.name != name]
        return (
            said + self.everybody(visitor, people, name), one.name if one else "", gr.update(visible=one is not None),
            self.card(visitor, one) if one else "", gr.update(value=""), gr.update(visible=bool(others)),
            gr.update(choices=others, value=None),
        )  # fmt: skip

    def everybody(self, visitor: Visitor, people: Sequence[Saved], chosen: str) -> str:
        """The saved persons as round pictures."""
        if not people:
            return f'<p class="facechain-empty">{escape(say("tab.people_none", visitor.language))}</p>'
        buttons = [html.person_button(one.name, one.thumbnail, one.name == chosen, "someone") for one in people]
        return html.faces(buttons, say("tab.saved_people", visitor.language))

    def card(self, visitor: Visitor, one: Saved) -> str:
        """What is kept of a person, and what can be done."""
        language = visitor.language
        originals = say("photos_count" if one.originals else "tab.person_no_originals", language, count=one.originals)
        facts = {
            say("tab.person_photos", language): str(len(one.photos)),
            say("tab.person_saved", language): one.saved,
            say("tab.person_adapters", language): ", ".join(one.adapters.values()),
            say("tab.person_originals", language): originals,
            say("tab.person_consent", language): translate_all(one.consent, language) or say("tab.person_no_consent", language),
        }  # fmt: skip
        actions = html.action(say("tab.person_use", language), "person", one.name, kind="facechain-primary", page="0")
        actions += html.action(say("tab.person_export", language), "export-people", one.name)
        sure = say("tab.person_delete_sure", language, name=one.name)
        actions += html.action(say("tab.person_delete", language), "delete-person", one.name, kind="facechain-danger", ask=sure)
        return (
            f'<div class="facechain-large"><span class="facechain-portraitlet">{html.picture(one.thumbnail, one.name)}</span>'
            f'<div><h4>{escape(one.name)}</h4>{html.table(facts)}<div class="facechain-actions">{actions}</div></div></div>'
        )

    def picked(self, visitor: Visitor, sent: str) -> tuple[Any, ...]:
        """A person was pressed."""
        return self.box(visitor, self.wires.studio.library(visitor.user).person(first_line(sent)).name)

    def renamed(self, visitor: Visitor, name: str, new: str) -> tuple[Any, ...]:
        """A person has another name now."""
        return self.box(visitor, self.wires.studio.library(visitor.user).rename(name, new or "").name)

    def merged(self, visitor: Visitor, name: str, other: str | None) -> tuple[Any, ...]:
        """Two entries of one person become one, under the name of the one that is shown."""
        if not other:
            raise BadInput("Choose who is the same person first.")
        library = self.wires.studio.library(visitor.user)
        alike = library.alike([name, other])
        one = library.merge([name, other], name)
        doubtful = alike is not None and alike < ALIKE
        said = say("tab.merged_doubt" if doubtful else "tab.merged", visitor.language, name=one.name, other=other, alike=html.number(alike))
        return self.box(visitor, one.name, good(said))

    def deleted(self, visitor: Visitor, sent: str) -> tuple[Any, ...]:
        """A person is deleted for good, after the page asked."""
        name = first_line(sent)
        self.wires.studio.library(visitor.user).delete(name)
        return self.box(visitor, "", good(say("deleted", visitor.language, name=name)))

    def exported(self, visitor: Visitor, sent: str) -> tuple[str, str]:
        """One person, or everybody, as a file to download."""
        name, library = first_line(sent), self.wires.studio.library(visitor.user)
        return self.wires.hand("people.zip", lambda target: library.exported([name] if name else None, target))

    def imported(self, visitor: Visitor, file: Any) -> tuple[Any, ...]:
        """People of an exported file are taken in."""
        with received(file) as found:
            new = self.wires.studio.library(visitor.user).imported(next(iter(found), Path()))
        said = say("tab.people_imported", visitor.language, names=", ".join(one.name for one in new))
        return gr.update(value=None), *self.box(visitor, new[0].name if new else "", good(said))

    def dropped(self, visitor: Visitor, new: Any, files: Sequence[str]) -> tuple[Any, ...]:
        """Photos of somebody to be added."""
        files = more_photos(self.wires, new, files)
        return gr.update(value=None), files, self.who.plain(visitor, files, channel="new-photo")

    def left_out(self, visitor: Visitor, sent: str, files: Sequence[str]) -> tuple[Any, ...]:
        """The photo of that number is left out."""
        kept = without(self.wires, sent, files)
        return kept, self.who.plain(visitor, kept, channel="new-photo")

    def look(self, visitor: Visitor, files: Sequence[str], face: float, adapter: str, analyser: str) -> str:
        """The photos with what was seen in each."""
        return self.who.look(visitor, files, face, adapter, analyser, channel="new-photo")

    def added(
        self, visitor: Visitor, name: str, consent: bool, keep: bool, files: Sequence[str], face: float, adapter: str, analyser: str
    ) -> tuple[Any, ...]:
        """The person is in the library."""
        one = self.wires.studio.save_person(
            visitor.user,
            name or "",
            pictures_of(self.wires, files),
            adapter=adapter,
            analyser=analyser,
            face=int(face),
            consent=bool(consent),
            keep_photos=bool(keep),
        )
        said = good(say("saved", visitor.language, name=one.name))
        return said, [], "", gr.update(value=""), gr.update(value=False), *self.box(visitor, one.name)
