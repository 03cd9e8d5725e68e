"""An info text pasted into the panel: what it sets, whom it means, and what could not be restored."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Any

import gradio as gr

from facechain_ext.errors import FaceChainError
from facechain_ext.log import log
from facechain_ext.store.names import NOBODY as LOCAL
from facechain_ext.ui import request
from facechain_ext.ui.accounts import page_accounts
from facechain_ext.ui.answers import at_first, fixed_language, line, people
from facechain_ext.ui.loaded import loaded
from facechain_ext.ui.request import AUTO, MOST_PERSONS, NOBODY, Control, PanelOptions, Pasted
from facechain_ext.ui.settings import models_folder
from facechain_ext.ui.words import ENGLISH, say


def pasted(control: Control) -> Callable[[Mapping[str, Any]], Any]:
    """What an info text sets a control to; None leaves it."""

    def value(params: Mapping[str, Any]) -> Any:
        stated = _read(params)
        if stated is None:
            return False if control.field.name == "enabled" and control.person is None else None
        if control.person is None:
            return _panel_value(stated.panel, control.field.name)
        if control.person not in stated.persons:
            return {"photos": gr.update(value=None), "name": NOBODY}.get(control.field.name)
        options, photos = stated.persons[control.person]
        if control.field.name == "photos":
            return gr.update(value=None)
        if control.field.name == "name":
            known = "" if page_accounts() else library_name(LOCAL, options.name, photos)
            return gr.update(value=known or NOBODY, choices=at_first())
        if control.field.name == "mask":
            return mask_url(options.mask)
        return getattr(options, control.field.name)

    return value


def pasted_note(params: Mapping[str, Any]) -> Any:
    """What an info text could not restore, as a note at the foot; empty where all of it was, or where `found_again` will say so."""
    stated = _read(params)
    if stated is None or page_accounts():
        return ""
    language = fixed_language() or ENGLISH
    notes = _lacking(stated.panel, LOCAL, _who(stated), language)
    return line([], notes, language) if notes else ""


def pasted_people(params: Mapping[str, Any]) -> Any:
    """Where there are log-ins: who stands in an info text, for `found_again`; the host does not tell who pastes it."""
    stated = _read(params)
    if stated is None or not page_accounts():
        return ""
    return json.dumps({"adapter": stated.panel.adapter, "who": _who(stated), "pasted": time.time()})


def found_again(user: str, language: str, sent: str) -> tuple[Any, ...]:
    """The names of those in an info text among a user's saved persons, person by person, and a note on who is not."""
    if not sent:
        return (*[gr.update()] * MOST_PERSONS, gr.update())
    stated = json.loads(sent)
    who = [(number, name, photos) for number, name, photos in stated["who"]]
    names = {number: library_name(user, name, photos) for number, name, photos in who}
    updates = [gr.update(value=names.get(number) or NOBODY, choices=people(user)) for number in range(1, MOST_PERSONS + 1)]
    notes = _lacking(PanelOptions(adapter=stated["adapter"]), user, who, language)
    return (*updates, line([], notes, language) if notes else "")


Stated = Sequence[tuple[int, str, Sequence[str]]]
"""Of each person of an info text the number, the name, and the hashes of the photos."""


def _who(stated: Pasted) -> Stated:
    return [(number, options.name, list(photos)) for number, (options, photos) in stated.persons.items()]


def _lacking(panel: PanelOptions, user: str, who: Stated, language: str) -> list[str]:
    """What of an info text is not here, in sentences."""
    notes = [] if _panel_value(panel, "adapter") is not None else [say("unknown_adapter", language, name=panel.adapter)]
    for number, name, photos in who:
        if library_name(user, name, photos):
            continue
        if photos:
            notes.append(say("unknown_photos", language, number=number, hashes=", ".join(photos)))
        else:
            notes.append(say("unknown_name", language, number=number, name=name))
    return notes


def _panel_value(panel: PanelOptions, name: str) -> Any:
    """The value of a pasted option; None for an adapter that is not here."""
    from facechain_ext.weights.locate import found, named

    value = getattr(panel, name)
    if name != "adapter" or value == AUTO:
        return value
    here = named([one for one in found(models_folder()) if one.kind == "adapter"], value)
    return None if here is None else here.name


def _read(params: Mapping[str, Any]) -> Any:
    try:
        return request.from_infotext(params)
    except FaceChainError as error:
        log.warning("These parameters are not restored: %s", error)
        return None


def library_name(user: str, name: str, photos: Sequence[str]) -> str:
    """A user's saved person that an info text means: of that name and with those photos, else with the photos; "" where there is none."""
    library = loaded.library(user)
    of_name = [one for one in library.people() if name and one.name == name and (not photos or set(photos) <= set(one.photos))]
    known = of_name[0] if of_name else library.known_by(photos)
    return known.name if known is not None else ""


def mask_url(code: str) -> str:
    """A mask's code as the picture that the page paints on."""
    from facechain_ext.ui.regions import picture

    if not code:
        return ""
    out = BytesIO()
    picture(code).save(out, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
