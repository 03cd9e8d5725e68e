"""What the panel answers: lines, cards and notes as HTML, in the language of whoever looks. Holds no component."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from facechain_ext.errors import BadPicture, FaceChainError
from facechain_ext.log import log
from facechain_ext.options import fields_of, format_value
from facechain_ext.store.names import NOBODY as LOCAL
from facechain_ext.ui import analysis, request
from facechain_ext.ui.accounts import page_accounts
from facechain_ext.ui.gradio_versions import accepted, localization
from facechain_ext.ui.ids import element
from facechain_ext.ui.loaded import loaded
from facechain_ext.ui.request import MOST_PERSONS, NOBODY, PanelOptions, PersonOptions, Picture, Request, Wanted
from facechain_ext.ui.settings import facexlib_folder, let_adetailer_run_us, models_folder, offline, shared_models
from facechain_ext.ui.tab_html import SIGNS, verdict
from facechain_ext.ui.words import declared_in, languages, say, translate_all
from facechain_ext.workflows.looking import png

THUMBNAIL = 112
FETCHED = ("retinaface", "parsenet")


def language_of(asked: gr.Request | None) -> str:
    """The language of whoever sent a request."""
    return languages(localization(), accepted(asked))


def user_of(asked: gr.Request | None) -> str:
    """Who sent a request; nobody in particular where the page has no log-in."""
    return str(getattr(asked, "username", None) or LOCAL)


def fixed_language() -> str:
    """The language that the host's settings fix; empty where the browser decides."""
    chosen = localization()
    return "" if chosen in (None, "", "None") else languages(chosen, None)


def data(words: str, fixed: str) -> str:
    """The page's dictionary, for our script to read."""
    return f'<template class="facechain-data" data-words="{escape(words)}" data-language="{fixed}"></template>'


def tips(language: str) -> dict[str, str]:
    """What a control shows when pointed at: its technical name and what it does, by the control's name."""
    known = declared_in(language)
    found = (*fields_of(PanelOptions), *fields_of(PersonOptions))
    said = {one.name: known[f"option.{one.name}.help"] for one in found}
    named = {one.name: f"{one.option.technical}: {said[one.name]}" if one.option.technical else said[one.name] for one in found}
    return named | {"add": say("add_person", language)}


def at_first() -> list[str]:
    """The list of saved persons before anybody looks at the page: whose they are is known then only, where there are log-ins."""
    return [NOBODY] if page_accounts() else people(LOCAL)


def people(user: str) -> list[str]:
    """A user's saved persons for a list to choose from, nobody first."""
    try:
        return [NOBODY, *(one.name for one in loaded.library(user).people())]
    except OSError as error:
        log.warning("The saved persons cannot be listed: %s", error)
        return [NOBODY]


def somebody(name: str | None) -> bool:
    """Whether a saved person is chosen."""
    return name not in (None, "", NOBODY)


def closed_line(text: str, language: str) -> str:
    """The line in the panel's head."""
    return f'<span class="facechain-closed" lang="{language}">{escape(text)}</span>'


def empty_line(language: str) -> str:
    """What the foot says before anybody is there."""
    return line([say("line.empty", language)], [], language)


def line(parts: Sequence[str], warnings: Sequence[str], language: str) -> str:
    """The foot's line: what will happen, and what stands against it."""
    found = [f'<span class="facechain-will">{escape(" · ".join(parts))}</span>'] if parts else []
    found += [f'<span class="facechain-warning">⚠ {escape(text)}</span>' for text in warnings]
    return f'<div class="facechain-line" lang="{language}">{"".join(found)}</div>'


def good(text: str) -> str:
    """A note that something worked."""
    return f'<span class="facechain-note">✓ {escape(text)}</span>'


def bad(text: str, user: str, language: str) -> str:
    """A note that something did not."""
    return f'<span class="facechain-warning">⚠ {escape(readable(text, user, language))}</span>'


def readable(text: str, user: str, language: str) -> str:
    """A sentence as this user may read it, in their language."""
    from facechain_ext.ui.studio_webui import studio

    return translate_all(studio().told(text, user), language)


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the lines are told of the panel: values by person and field, each person's photos by path, and what a look at them said.

    doubts: why none of a person's photos is of use; left: how many of them are left out.
    """

    values: Mapping[tuple[int | None, str], Any]
    known: Mapping[int, Sequence[str]]
    doubts: Mapping[int, str]
    left: Mapping[int, int] = field(default_factory=dict)


def lines(told: Told, user: str, language: str, trouble: str = "") -> tuple[str, str]:
    """The head's and the foot's line for what the panel holds. trouble: why the picture that was just made lacks the face."""
    counted = {(number, "photos"): list(files) for number, files in told.known.items()}
    try:
        asked = request.from_values({**told.values, **counted}, api=False)
    except FaceChainError as error:
        return closed_line("⚠", language), line([], [readable(str(error), user, language)], language)
    if not asked.persons:
        return closed_line(say("nobody", language) if asked.panel.enabled else "", language), empty_line(language)
    warnings = against(asked, user, language) + [doubt(one, told.doubts, language) for one in asked.persons if told.doubts.get(one.number)]
    if trouble and not warnings:
        warnings = [say("last", language, reason=readable(trouble, user, language))]
    head = f"⚠ {summary(asked, language)}" if warnings else summary(asked, language)
    return closed_line(head, language), line(plan(asked, language, told.left), warnings, language)


def doubt(person: Wanted, doubts: Mapping[int, str], language: str) -> str:
    """Why a person cannot be learnt from the photos that were looked at."""
    name = person.options.name or say("person", language, number=person.number)
    reason = say("doubt", language, name=name, reason=translate_all(doubts[person.number], language))
    return say("warn", language, reason=reason)


_told_when_ended: dict[tuple[str, str], Told] = {}
"""What a user's panel held when its last picture was made: what went wrong then is of interest until that is changed."""


def ended(user: str, tab: str, told: Told, language: str) -> tuple[str, str]:
    """The lines after a generation: also why it lacks the face."""
    _told_when_ended[user, tab] = told
    return since(user, tab, told, language)


def since(user: str, tab: str, told: Told, language: str) -> tuple[str, str]:
    """The lines at any time: with what went wrong with the user's last picture, as long as nothing in the panel is changed."""
    from facechain_ext.ui.script import last_trouble

    mine = (user, tab)
    return lines(told, user, language, last_trouble.get(mine, "") if told == _told_when_ended.get(mine) else "")


def summary(asked: Request, language: str) -> str:
    """Who, in a few words."""
    names = [one.options.name or say("person", language, number=one.number) for one in asked.persons]
    if len(names) == 1:
        return say("closed.person", language, name=names[0], weight=format_value(float(asked.persons[0].options.weight)))
    return say("closed.many", language, names=", ".join(names))


def plan(asked: Request, language: str, left: Mapping[int, int]) -> list[str]:
    """What a generation will take: persons, photos but for those that are left out, memory, time."""
    if not asked.panel.enabled:
        return [say("line.off", language)]
    if not asked.active:
        return [say("line.zero", language)]
    photos = sum(max(len(one.photos) - left.get(one.number, 0), 0) for one in asked.persons)
    parts = [say("persons_count", language, count=len(asked.persons))]
    return parts + ([say("photos_count", language, count=photos)] if photos else []) + cost(asked, language)


def cost(asked: Request, language: str) -> list[str]:
    """What the adapter costs, where it is loaded already; its name where it is only there."""
    from facechain_ext.hosts import webui

    try:
        here = loaded.adapter_here(asked.panel.adapter)
        if here is None:
            return [say("line.adapter_name", language, name=loaded.adapter_path(asked.panel.adapter).stem)]
    except (FaceChainError, OSError):
        return []  # the warning beside it says why
    price = webui.cost(here, persons=len(asked.persons))
    return [say("line.adapter", language, megabytes=price.megabytes), say("line.slower", language, percent=price.percent)]


def against(asked: Request, user: str, language: str) -> list[str]:
    """Why pictures will be made without the face, as far as it can be told before: checkpoint, files, whether the adapter fits."""
    from facechain_ext.hosts import webui
    from facechain_ext.weights.locate import encoder_file

    try:
        encoder_file(models_folder(), loaded.adapter_path(asked.panel.adapter))
        reasons = [webui.supports(None, loaded.adapter_here(asked.panel.adapter))]
    except (FaceChainError, OSError) as error:
        reasons = [webui.supports(), str(error)]
    return [say("warn", language, reason=readable(reason, user, language)) for reason in reasons if reason]


def plain_cards(user: str, files: Sequence[str], name: str, language: str) -> str:
    """The photos as they are, whole; the saved person where there are none."""
    if not files and somebody(name):
        return person_card(user, name, language)
    return cards([card(_small(path, at), "", "", at, language) for at, path in enumerate(files, 1)])


def _small(path: str, at: int) -> bytes:
    from facechain_ext.vision.pictures import read

    try:
        image = read(path, name=f"photo {at}")
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        return png(image)
    except BadPicture as error:
        log.info("%s", error)
        return b""


def analysed(user: str, files: Sequence[str], adapter: str, analyser: str, face: int, language: str) -> tuple[str, str, int, str]:
    """The aligned faces with what was seen; why no photo is of use, or empty; how many are left out; an offer of better analysis."""
    try:
        seen = analysis.analyse(loaded, pictures_of(files), adapter=adapter, analyser=analyser, face=face)
    except FaceChainError as error:
        return bad(str(error), user, language), "", 0, offer(language)
    found = [card(one.thumbnail, *verdict(one.report, language), one.report.number, language) for one in seen]
    useless = "" if any(one.report.usable for one in seen) else seen[0].report.problems[0].sentence
    return cards(found), useless, sum(not one.report.usable for one in seen), offer(language)


def pictures_of(files: Sequence[str]) -> list[Picture]:
    """Uploaded files as photos, with their names for whoever dropped them. BadPicture."""
    return [replace(one, file=Path(path).name) for one, path in zip(request.uploaded(files), files, strict=True)]


def card(thumbnail: bytes, kind: str, text: str, number: int, language: str) -> str:
    """One photo: the picture, what was seen, and a way to leave it out."""
    title = say("photo", language, number=number)
    picture = f'<img alt="{escape(title)}" src="data:image/png;base64,{base64.b64encode(thumbnail).decode()}">' if thumbnail else ""
    words = f"{SIGNS[kind]} {text}".strip()
    away = f'<button type="button" class="facechain-leave" data-photo="{number}">{escape(say("leave_out", language))}</button>'
    return f'<figure class="facechain-card facechain-{kind or "plain"}">{picture}<figcaption>{escape(words)}{away}</figcaption></figure>'


def cards(found: Sequence[str]) -> str:
    """All photos side by side."""
    return f'<div class="facechain-row">{"".join(found)}</div>' if found else ""


def chosen(user: str, language: str, name: str, files: Sequence[str]) -> tuple[Any, Any, Any]:
    """A saved person is there now: photos give way to the person's small picture, and they can be deleted.

    Nobody changes nothing of the photos, as lists are updated often.
    """
    deletable = gr.update(interactive=somebody(name))
    if not somebody(name):
        return gr.update(), gr.update(), deletable
    return gr.update(value=None) if files else gr.update(), person_card(user, name, language), deletable


def unchosen(_language: str, name: str, files: Sequence[str]) -> Any:
    """Somebody chose nobody: the saved person's picture goes."""
    return gr.update() if somebody(name) or files else ""


def person_card(user: str, name: str, language: str) -> str:
    """A saved person: the small picture, of how many photos, and for which adapters."""
    try:
        one = loaded.library(user).person(name)
    except FaceChainError as error:
        return bad(str(error), user, language)
    picture = base64.b64encode(one.thumbnail).decode()
    shown = f'<img alt="{escape(one.name)}" src="data:image/png;base64,{picture}">'
    text = f"{one.name} · {say('photos_count', language, count=len(one.photos))}"
    words = f"{text} · {say('other_adapter', language, adapters=', '.join(one.adapters.values()))}"
    return cards([f'<figure class="facechain-card facechain-plain">{shown}<figcaption>{escape(words)}</figcaption></figure>'])


def saved(
    user: str, name: str, files: Sequence[str], adapter: str, analyser: str, face: int, consent: bool, keep: bool, language: str
) -> str:
    """Save a person, and say how it went."""
    try:
        one = analysis.save(
            loaded, user, name or "", pictures_of(files), adapter=adapter, analyser=analyser, face=face, consent=consent, keep_photos=keep
        )
    except FaceChainError as error:
        return bad(str(error), user, language)
    return good(say("saved", language, name=one.name))


def show_person(_language: str, number: int) -> list[Any]:
    """The block of the chosen person, the others hidden."""
    return [gr.update(visible=n == number) for n in range(1, MOST_PERSONS + 1)]


def add_person(language: str, _current: int, count: int) -> tuple[Any, int, Any]:
    """One person more in the row of persons, and chosen."""
    more = min(count + 1, MOST_PERSONS)
    choices = [(say("person", language, number=n), n) for n in range(1, more + 1)]
    return gr.update(choices=choices, value=more), more, gr.update(visible=more < MOST_PERSONS)


def can_fetch() -> bool:
    """Whether better face analysis is not there and may be fetched."""
    return facexlib_folder() is None and not offline()


def offer(language: str) -> str:
    """The offer of better face analysis: size, licence, source; empty where it is there."""
    from facechain_ext.weights.records import record

    if not can_fetch():
        return ""
    files = [record(name) for name in FETCHED]
    megabytes = round(sum(one.bytes or 0 for one in files) / 1e6)
    source = files[0].sources[0].split("/")[2]
    folder = files[0].target(shared_models()).parent
    text = say(
        "better", language, megabytes=megabytes, licence=files[0].licence, source=source, folder=f"{folder.parent.name}/{folder.name}"
    )
    return f'<p class="facechain-offer">{escape(say("basic", language))} {escape(text)}</p>'


def fetch_better(user: str, language: str) -> tuple[str, Any]:
    """Fetch what was offered, because somebody pressed the button."""
    from facechain_ext.weights.fetch import fetch
    from facechain_ext.weights.records import record

    try:
        for name in FETCHED:
            fetch(record(name), shared_models(), offline=offline())
    except FaceChainError as error:
        return bad(str(error), user, language), gr.update()
    loaded.forget()
    return good(say("fetched", language)), gr.update(visible=False)


def let_adetailer(language: str) -> tuple[str, Any]:
    """Add our name to ADetailer's list."""
    let_adetailer_run_us()
    return good(say("adetailer_added", language)), gr.update(visible=False)


def canvas(tab: str, number: int) -> str:
    """Where a mask is painted; our script puts it to work."""
    buttons = "".join(
        f'<button type="button" class="facechain-tool" data-tool="{tool}">{escape(say(f"mask_{tool}"))}</button>'
        for tool in ("clear", "upload")
    )
    brush = f'<label>{escape(say("mask_brush"))} <input type="range" min="4" max="64" value="24" data-tool="brush"></label>'
    return (
        f'<div class="facechain-canvas" data-target="{element(tab, "mask", number)}" data-tab="{tab}">'
        f"<p>{escape(say('mask_hint'))}</p><canvas></canvas><div>{brush}{buttons}</div></div>"
    )
