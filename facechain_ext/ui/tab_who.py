"""Who: photos with what is seen in them, or a saved person; how strongly the face is held."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import gradio as gr

from facechain_ext.errors import BadInput, BadPicture, NoFace
from facechain_ext.ui import tab_html as html
from facechain_ext.ui.ids import element
from facechain_ext.ui.tab_wires import TAB, Visitor, Wires, first_line, good, title
from facechain_ext.ui.words import say, translate_all
from facechain_ext.workflows.orders import AUTO, MOST_PHOTOS
from facechain_ext.workflows.people import Picture

DEMO = "demo:"
"""With a number from 0, what stands in the list of photos for one of the demo person's."""
CHANNELS = ("photo", "person", "demo")
DROPS = {"drop": ["image"]}


def pictures_of(wires: Wires, files: Sequence[str]) -> tuple[Picture, ...]:
    """The photos of the page: keys of the shelf, or what stands for those of the demo person. BadPicture."""
    demo = wires.studio.demo_person() if any(path.startswith(DEMO) for path in files) else ()
    contents = [demo[int(path.removeprefix(DEMO))].data if path.startswith(DEMO) else wires.shelf.get(path) for path in files]
    return tuple(Picture(data=content, name=f"photo {at}") for at, content in enumerate(contents, 1))


def more_photos(wires: Wires, new: Any, files: Sequence[str]) -> list[str]:
    """The photos of a page with those that were dropped, each once; the demo person's give way. BadInput where too many, BadPicture."""
    from facechain_ext.vision.pictures import read

    taken = wires.shelf.take(new)
    found = list(dict.fromkeys([*(key for key in files if key in wires.shelf), *taken]))
    if len(found) > MOST_PHOTOS:
        raise BadInput(f"There are {len(found)} photos: {MOST_PHOTOS} are the most.")
    for key, name in taken.items():
        if key not in files:
            read(BytesIO(wires.shelf.get(key)), name=name)  # what is no picture is not taken at all, and so has no number
    return found


def without(wires: Wires, sent: str, files: Sequence[str]) -> list[str]:
    """The photos of a page but for the one whose number was sent."""
    kept = [key for at, key in enumerate(files, 1) if str(at) != first_line(sent)]
    return [key for key in kept if key.startswith(DEMO) or key in wires.shelf]


class Who:
    """The column of that name. Its values: `files` (keys of the shelf), `person` (a saved one's name, or empty), and the face's options."""

    def __init__(self, wires: Wires) -> None:
        self.wires = wires
        with gr.Column(elem_classes=["facechain-who", "facechain-column"], min_width=0):
            title("tab.who")
            wires.state("files", [])
            wires.state("person", "")
            wires.html("faces")
            wires.built("zone", html.zone("drop", "tab.drop", "tab.drop_hint", sign="+"))
            wires.html("photos")
            for name in ("who-trouble", "look-trouble"):
                wires.trouble(name)
            self._face()
            self._save()

    def _face(self) -> None:
        wires = self.wires
        wires.option("weight", gr.Slider, info=say("tab.weight_hint"))
        with gr.Accordion(say("tab.face_more"), open=False, elem_id=element(TAB, "face-more")):
            wires.option("subject", gr.Dropdown)
            wires.option("start", gr.Slider, step=0.05, info=say("start_hint"))
            wires.option("end", gr.Slider, step=0.05, info=say("end_hint"))
            wires.option("face", gr.Slider, info=say("face_hint"))

    def _save(self) -> None:
        wires = self.wires
        with gr.Accordion(say("tab.save_person"), open=False, elem_id=element(TAB, "save-person")):
            wires.put("save-name", gr.Textbox(label=say("save_name"), max_lines=1, elem_id=element(TAB, "save-name")))
            wires.put("consent", gr.Checkbox(False, label=say("save_consent"), elem_id=element(TAB, "consent")))
            wires.put("keep-photos", gr.Checkbox(False, label=say("save_keep"), elem_id=element(TAB, "keep-photos")))
            wires.button("save", "save", size="sm")
            wires.html("saved")
            wires.trouble("save-trouble")

    def connect(self, first: Any) -> None:
        """Its events. `first`: the steps of the first visit, which give way to the form once somebody is there."""
        wires = self.wires
        shown = [wires["files"], wires["person"], wires["photos"], wires["faces"], first]
        looked, trouble = [wires["files"], wires["face"], wires["adapter"], wires["analyser"]], wires["who-trouble"]

        def then_look(event: Any) -> None:
            wires.on(event.then, self.look, looked, [wires["photos"]], wires["look-trouble"])

        dropped = [wires["drop"], wires["files"]]
        then_look(wires.on(wires["drop"].upload, self.dropped, dropped, [wires["drop"], *shown], trouble))
        then_look(wires.on(wires["do-photo"].change, self.left_out, [wires["do-photo"], wires["files"]], shown, trouble))
        then_look(wires.on(wires["do-demo"].change, self.demo, [wires["do-demo"]], shown, trouble))
        wires.on(wires["do-person"].change, self.chosen, [wires["do-person"], wires["person"]], shown, trouble)
        then_look(wires.on(wires["face"].change, lambda visitor, files: self.plain(visitor, files), [wires["files"]], [wires["photos"]]))
        wanted = [wires["save-name"], wires["consent"], wires["keep-photos"], *looked]
        wires.on(wires["save"].click, self.save, wanted, [wires["saved"], wires["faces"]], wires["save-trouble"])

    def faces(self, visitor: Visitor, chosen: str) -> str:
        """The saved persons."""
        people = self.wires.studio.library(visitor.user).people()
        return html.faces(
            [html.person_button(one.name, one.thumbnail, one.name == chosen) for one in people], say("tab.saved_people", visitor.language)
        )

    def plain(self, visitor: Visitor, files: Sequence[str], channel: str = "photo") -> str:
        """The photos as they are, while they are looked at."""
        text, found = say("tab.looking", visitor.language), pictures_of(self.wires, files)
        return html.photos(
            [html.photo_card(_small(photo), "wait", text, at, visitor.language, channel) for at, photo in enumerate(found, 1)]
        )

    def _now(self, visitor: Visitor, files: Sequence[str], person: str) -> tuple[Any, ...]:
        """Files, person, the photos' cards, the saved persons, and no steps."""
        return list(files), person, self.plain(visitor, files), self.faces(visitor, person), "" if files or person else gr.update()

    def dropped(self, visitor: Visitor, new: Any, files: Sequence[str]) -> tuple[Any, ...]:
        """Photos were added to those that are there."""
        return gr.update(value=None), *self._now(visitor, more_photos(self.wires, new, files), "")

    def left_out(self, visitor: Visitor, sent: str, files: Sequence[str]) -> tuple[Any, ...]:
        """The photo of that number is left out."""
        return self._now(visitor, without(self.wires, sent, files), "")

    def demo(self, visitor: Visitor, _sent: str) -> tuple[Any, ...]:
        """The demo person's photos."""
        return self._now(visitor, [f"{DEMO}{at}" for at in range(len(self.wires.studio.demo_person()))], "")

    def chosen(self, visitor: Visitor, sent: str, before: str) -> tuple[Any, ...]:
        """A saved person was chosen; pressed once more, nobody is."""
        name = first_line(sent)
        return self._now(visitor, [], "" if name == before else self.wires.studio.library(visitor.user).person(name).name)

    def look(self, visitor: Visitor, files: Sequence[str], face: float, adapter: str, analyser: str, channel: str = "photo") -> str:
        """The photos with what was seen in each."""
        if not files:
            return ""
        language, photos = visitor.language, pictures_of(self.wires, files)
        try:
            seen = self.wires.studio.look(photos, adapter=adapter or AUTO, analyser=analyser or AUTO, face=int(face))
        except NoFace as error:  # the demo model's eyes, given a photograph
            said = translate_all(str(error), language)
            return html.photos([html.photo_card(_small(one), "bad", said, at, language, channel) for at, one in enumerate(photos, 1)])
        return html.photos([
            html.photo_card(one.thumbnail, *html.verdict(one.report, language), one.report.number, language, channel) for one in seen
        ])  # fmt: skip

    def save(
        self, visitor: Visitor, name: str, consent: bool, keep: bool, files: Sequence[str], face: float, adapter: str, analyser: str
    ) -> tuple[str, str]:
        """The person of the photos is kept in the library."""
        one = self.wires.studio.save_person(
            visitor.user, name or "", pictures_of(self.wires, files), adapter=adapter or AUTO, analyser=analyser or AUTO, face=int(face),
            consent=bool(consent), keep_photos=bool(keep),
        )  # fmt: skip
        return good(say("saved", visitor.language, name=one.name)), self.faces(visitor, "")


def _small(photo: Picture) -> bytes:
    from facechain_ext.vision.pictures import read

    try:
        return html.small(read(BytesIO(photo.data), name=photo.name), 240)
    except BadPicture:
        return b""  # what is wrong with it is said when the photos are looked at
