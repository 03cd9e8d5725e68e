"""What the tab shows as HTML: thumbnails, cards, badges, the stage. Values in, text out; holds no component and asks nobody."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image

from facechain_ext.ui.words import ENGLISH, say, translate_all
from facechain_ext.workflows.likeness import ALSO_CONDITIONS

if TYPE_CHECKING:
    from facechain_ext.faces.types import Face
    from facechain_ext.faces.vetting import Report

FRONT = 20  # degrees of yaw up to which a face counts as frontal
PREVIEW = 640
SIGNS = {"": "", "good": "✓", "warn": "⚠", "bad": "✗", "wait": "…"}


def data_url(content: bytes) -> str:
    """A picture file as an address that holds it."""
    kinds = {b"\x89PNG": "png", b"\xff\xd8\xff\xe0": "jpeg", b"\xff\xd8\xff\xe1": "jpeg", b"\xff\xd8\xff\xdb": "jpeg", b"RIFF": "webp"}
    return f"data:image/{kinds.get(content[:4], 'jpeg')};base64,{base64.b64encode(content).decode()}"


def small(image: Image.Image, side: int = PREVIEW) -> bytes:
    """A picture as a JPEG that is at most `side` pixels wide and high."""
    made = image.convert("RGB")
    made.thumbnail((side, side))
    out = BytesIO()
    made.save(out, format="JPEG", quality=82)
    return out.getvalue()


def picture(content: bytes, alt: str, *, size: tuple[int, int] | None = None) -> str:
    """A picture; with its size the page keeps the place before it is there."""
    sides = f' width="{size[0]}" height="{size[1]}"' if size else ""
    return f'<img alt="{escape(alt)}"{sides} src="{data_url(content)}" decoding="sync" draggable="false">' if content else ""


def does(name: str, value: object, **more: str) -> str:
    """What an element sends to the server when it is pressed: channel and value; `more`: further data-… of our script."""
    further = "".join(f' data-{key}="{escape(text)}"' for key, text in more.items())
    return f'data-do="{name}" data-value="{escape(str(value))}"{further}'


def action(text: str, name: str, value: object, *, kind: str = "", **more: str) -> str:
    """A small button."""
    return f'<button type="button" class="facechain-action {kind}" {does(name, value, **more)}>{escape(text)}</button>'


def opener(text: str, drop: str, *, kind: str = "") -> str:
    """A small button that lets files be chosen."""
    return f'<button type="button" class="facechain-action {kind}" data-drop="{drop}">{escape(text)}</button>'


def zone(drop: str, text: str, hint: str, language: str = ENGLISH, *, sign: str = "") -> str:
    """Where files are dropped; a button, so that the keyboard reaches it."""
    mark = f'<span class="facechain-plus" aria-hidden="true">{sign}</span>' if sign else ""
    return (
        f'<button type="button" class="facechain-zone" data-drop="{drop}">{mark}<span>{escape(say(text, language))}</span>'
        f"<small>{escape(say(hint, language))}</small></button>"
    )


def lead(text: str) -> str:
    """A line that explains."""
    return f'<p class="facechain-lead">{escape(text)}</p>'


def person_button(name: str, thumbnail: bytes, chosen: bool, channel: str = "person") -> str:
    """A saved person as a round picture with the name below."""
    shown = picture(thumbnail, "")
    pressed = str(chosen).lower()
    return (
        f'<button type="button" class="facechain-face" id="facechain-{channel}-{escape(name)}" aria-pressed="{pressed}" '
        f"{does(channel, name)}>"
        f"<span>{shown}</span>{escape(name)}</button>"
    )


def faces(buttons: Sequence[str], label: str) -> str:
    """Persons side by side."""
    return f'<div class="facechain-faces" role="group" aria-label="{escape(label)}">{"".join(buttons)}</div>' if buttons else ""


def photo_card(thumbnail: bytes, kind: str, text: str, number: int, language: str, channel: str = "photo") -> str:
    """One photo: the picture, what was seen, and a way to leave it out."""
    name = say("photo", language, number=number)
    label = f"{name}: {say('leave_out', language)}"
    away = (
        f'<button type="button" class="facechain-away" aria-label="{escape(label)}" title="{escape(label)}" '
        f"{does(channel, number)}>×</button>"
    )
    words = f'<span class="facechain-sign">{SIGNS[kind]}</span> {escape(text)}' if text else ""
    shown = picture(thumbnail, name) if thumbnail else '<span class="facechain-blank"></span>'
    return (
        f'<figure class="facechain-photo facechain-{kind or "plain"}"><div>{shown}{away}</div>'
        f'<figcaption title="{escape(text)}">{words}</figcaption></figure>'
    )


def photos(cards: Sequence[str]) -> str:
    """Photos one below the other, each with its words."""
    return f'<div class="facechain-photos">{"".join(cards)}</div>' if cards else ""


def verdict(report: Report, language: str) -> tuple[str, str]:
    """How a photo was judged (good, warn, bad) and in which words."""
    if not report.problems:
        return "good", say("good", language, view=view(report.face, language))
    worst = next((one for one in report.problems if one.severity == "reject"), report.problems[0])
    text = translate_all(f"{worst.sentence} {worst.advice}", language)
    return ("bad", say("left_out", language, reason=text)) if worst.severity == "reject" else ("warn", text)


def view(face: Face | None, language: str) -> str:
    """From where a face is seen."""
    if face is None or face.yaw is None:
        return say("view.unknown", language)
    return say("view.front" if abs(face.yaw) <= FRONT else "view.turned", language)


def monogram(name: str) -> str:
    """What stands for a picture that is not there yet: a letter of each of the first two words, or one Chinese character."""
    words = [word for word in name.replace("(", " ").split() if word[0].isalnum()]
    if words and ord(words[0][0]) > 0x2E80:
        return words[0][:1]
    return "".join(word[0].upper() for word in words[:2]) or "·"


def style_card(key: str, name: str, content: bytes, *, mark: str, kind: str, chosen: bool, favourite: bool, language: str) -> str:
    """A style of the gallery: picture or monogram, name, a mark where something stands against it, and a star."""
    shown = picture(content, "") or f'<span class="facechain-monogram" aria-hidden="true">{escape(monogram(name))}</span>'
    star = (
        f'<button type="button" class="facechain-star" aria-pressed="{str(favourite).lower()}" data-star="{escape(key)}" '
        f'aria-label="{escape(say("tab.favourite", language, name=name))}">★</button>'
    )
    badge = f'<span class="facechain-mark">{escape(mark)}</span>' if mark else ""
    return (
        f'<div class="facechain-cell {kind}"><button type="button" class="facechain-tile" id="facechain-style-{escape(key)}" '
        f'aria-pressed="{str(chosen).lower()}" {does("style", key)}><span class="facechain-cover">{shown}</span>'
        f'<span class="facechain-name">{escape(name)}</span>{badge}</button>{star}</div>'
    )


def gallery(cards: Sequence[str], *, label: str, more: str = "", empty: str = "") -> str:
    """Cards in a box of its own height; `more`: what asks for further ones when it comes into sight."""
    if not cards:
        return f'<div class="facechain-gallery"><p class="facechain-empty">{escape(empty)}</p></div>'
    rest = f'<button type="button" class="facechain-more" {more}>…</button>' if more else ""
    return f'<div class="facechain-gallery" role="group" aria-label="{escape(label)}">{"".join(cards)}{rest}</div>'


def thumb(channel: str, id: int, content: bytes, alt: str, *, badge: str = "", chosen: bool = False, kind: str = "") -> str:
    """A result or an entry of the history: the whole picture, small, with its likeness."""
    mark = f'<span class="facechain-badge">{escape(badge)}</span>' if badge else ""
    return (
        f'<button type="button" class="facechain-thumb {kind}" id="facechain-{channel}-{id}" aria-pressed="{str(chosen).lower()}" '
        f"{does(channel, id)}>{picture(content, alt)}{mark}</button>"
    )


def gap(text: str, sign: str = "⚠") -> str:
    """A picture that is not there, and why."""
    return f'<div class="facechain-gap"><span aria-hidden="true">{sign}</span><p>{escape(text)}</p></div>'


def table(values: Mapping[str, str]) -> str:
    """Parameters by name."""
    rows = "".join(f"<tr><th>{escape(key)}</th><td>{escape(value)}</td></tr>" for key, value in values.items() if value)
    return f'<table class="facechain-table">{rows}</table>'


def bar(part: float) -> str:
    """How much is done, from 0 to 1; a meter, so that no width is written into the page."""
    return f'<progress class="facechain-progress" max="1" value="{min(max(part, 0.0), 1.0):.3f}"></progress>'


def seconds(left: float | None, language: str) -> str:
    """The time that is left, in words; empty while it cannot be told."""
    if left is None:
        return ""
    if left < 90:
        return say("tab.left_seconds", language, seconds=max(1, round(left)))
    return say("tab.left_minutes", language, minutes=round(left / 60))


def number(value: float | None) -> str:
    """A likeness with two decimals."""
    return "–" if value is None else f"{value:.2f}"


def badge(value: float | None) -> str:
    """What a small picture carries: its likeness, or that something stands against it."""
    return "⚠" if value is None else number(value)


def likeness(
    value: float | None, between: tuple[float, float] | None, judge: str, language: str, *, alone: str = "tab.likeness_alone"
) -> str:
    """What a likeness says, by the range that the person's own photos have among each other; `alone`: the words without a range.

    A picture in which nobody is to be seen is not passed off as a good one.
    """
    if value is None:
        return f'<p class="facechain-warning">⚠ {escape(say("tab.no_face", language))}</p>'
    if between is None:
        own = say("tab.also_conditions", language) if judge.endswith(ALSO_CONDITIONS) else ""
        words = say(alone, language, value=number(value), judge=judge.removesuffix(ALSO_CONDITIONS) + own)
    else:
        low, high = between
        key = "tab.likeness_like" if value >= low else "tab.likeness_below"
        span = number(low) if number(low) == number(high) else f"{number(low)}–{number(high)}"
        words = say(key, language, value=number(value), span=span)
    return f'<p class="facechain-likeness">{escape(words)}</p>'
