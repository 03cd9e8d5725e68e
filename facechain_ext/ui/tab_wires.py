"""How the tab is put together: components by name, answers that know who asks, and errors that appear where they belong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from facechain_ext.errors import FaceChainError
from facechain_ext.log import log
from facechain_ext.options import Field, fields_of
from facechain_ext.ui.controls import arguments
from facechain_ext.ui.gradio_versions import accepted, localization
from facechain_ext.ui.ids import element
from facechain_ext.ui.studio import Studio
from facechain_ext.ui.traces import Shelf, handed
from facechain_ext.ui.words import ENGLISH, languages, say, translate_all
from facechain_ext.workflows.orders import AUTO, MakingOptions

TAB = "tab"


@dataclass(frozen=True, kw_only=True)
class Visitor:
    """Whoever looks at the page: whose history it is, and in which language they read."""

    user: str
    language: str


class Wires:
    """The components of the tab by name, and how events reach the studio."""

    def __init__(self, studio: Studio) -> None:
        self.studio, self.shelf = studio, Shelf()
        self.parts: dict[str, Any] = {}
        self.drops: list[str] = []

    def __getitem__(self, name: str) -> Any:
        return self.parts[name]

    def put(self, name: str, part: Any) -> Any:
        """Keep a component under a name."""
        self.parts[name] = part
        return part

    def html(self, name: str, value: str = "", *, classes: Sequence[str] = ()) -> Any:
        """A place for HTML."""
        return self.put(name, gr.HTML(value, elem_id=element(TAB, name), elem_classes=["facechain-html", *classes]))

    def trouble(self, name: str) -> Any:
        """A place for what went wrong."""
        return self.html(name, classes=["facechain-trouble"])

    def built(self, name: str, value: str) -> Any:
        """A place for HTML that begins with the dictionary's words in English; the page translates them, here and in nothing else."""
        return self.html(name, value, classes=["facechain-built"])


    def open_door(self) -> None:
        """Where strangers may come in and are the same person as everybody else: a line that says so."""
        if self.studio.door.open:
            how = say("tab.open_alone" if self.studio.kind == "standalone" else "tab.open_webui", ENGLISH)
            fixed(f'<p class="facechain-warning">{escape(how)}</p>')

    def channel(self, name: str) -> Any:
        """What `data-do="name"` on the page sends its `data-value` through."""
        return self.put(f"do-{name}", gr.Textbox(value="", show_label=False, elem_id=element(TAB, f"do-{name}")))

    def drop(self, name: str, kinds: list[str]) -> Any:
        """Where the files go that are dropped on `data-drop="name"`; emptied by every answer, so that others can follow.

        kinds: what is offered to choose from. What is dropped may be of any kind: gradio's own refusal would be English, and far away.
        """
        self.drops.append(name)
        amount = "multiple" if kinds == ["image"] and name != "pose-drop" else "single"
        return self.put(name, gr.File(file_count=amount, show_label=False, elem_id=element(TAB, name)))

    def hand(self, name: str, write: Callable[[Path], object]) -> tuple[str, str]:
        """A file for the visitor's browser: what the parts `handed` and `handed-over` show, upon which the page downloads it."""
        path = handed(name, write)
        return str(path), f'<i data-hand="{escape(path.name)}" data-name="{escape(name)}"></i>'

    @property
    def hands(self) -> list[Any]:
        """The parts through which a file is handed over."""
        return [self.parts["handed"], self.parts["handed-over"]]

    def button(self, name: str, text: str, **more: Any) -> Any:
        """A button with words of the dictionary."""
        return self.put(name, gr.Button(say(text), elem_id=element(TAB, name), **more))

    def state(self, name: str, value: Any) -> Any:
        """A value of this page that nobody sees."""
        return self.put(name, gr.State(value))

    def option(self, name: str, make: Callable[..., Any], **more: Any) -> Any:
        """A control from the declaration of an option."""
        known = {**arguments(option_of(name), make), "elem_id": element(TAB, name), **more}
        return self.put(name, make(**known))

    def visitor(self, request: gr.Request | None) -> Visitor:
        """Who sent a request."""
        user = self.studio.user(request)
        chosen = self.studio.settings(user).language
        fixed = localization() if chosen == AUTO else chosen
        return Visitor(user=user, language=languages(fixed, accepted(request)))

    def on(self, event: Any, answer: Callable[..., Any], inputs: Sequence[Any], outputs: Sequence[Any], trouble: Any = None) -> Any:
        """After an event, give `answer` the visitor and the inputs' values; what goes wrong is said in `trouble`."""
        fn = self._asked(answer, outputs, trouble is not None)
        return event(fn=fn, inputs=list(inputs), outputs=[*outputs, *([trouble] if trouble else [])], show_progress="hidden")

    def _asked(self, answer: Callable[..., Any], outputs: Sequence[Any], troubled: bool) -> Callable[..., Any]:
        drops = [self.parts[name] for name in self.drops]
        refused = [gr.update(value=None) if any(one is drop for drop in drops) else gr.update() for one in outputs]

        def respond(request: gr.Request, *values: Any) -> Any:
            visitor = self.visitor(request)
            try:
                found, said = answer(visitor, *values), ""
            except FaceChainError as error:
                log.info("%s", error)
                found, said = tuple(refused), bad(self.studio.told(str(error), visitor.user), visitor.language)
            except Exception:  # noqa: BLE001  # the edge: whatever it is, the page says so and keeps what it holds
                log.exception("The page's request failed.")
                found, said = tuple(refused), bad(say("tab.unexpected", visitor.language), visitor.language)
            results = [*(found if isinstance(found, tuple) else (found,)), *([said] if troubled else [])]
            return results if len(results) > 1 else results[0]

        respond.__annotations__ = {"request": gr.Request}  # as a value: gradio would compile the text anew for each of a hundred
        return respond


def stay(amount: int) -> tuple[Any, ...]:
    """So many components left as they are."""
    return tuple(gr.update() for _ in range(amount))


def good(text: str) -> str:
    """A note that something worked."""
    return f'<p class="facechain-note" role="status">✓ {escape(text)}</p>' if text else ""


def bad(text: str, language: str) -> str:
    """A note that something did not, and what to do."""
    return f'<p class="facechain-warning" role="alert">⚠ {escape(translate_all(text, language))}</p>' if text else ""


def option_of(name: str) -> Field:
    """The declaration of an option of making."""
    return next(one for one in fields_of(MakingOptions) if one.name == name)


def first_line(sent: str | None) -> str:
    """What the page sent through a channel: the value without the number that makes each message a new one."""
    return (sent or "").rpartition("\n")[0]


def title(key: str) -> Any:
    """A heading, in English; the page translates it."""
    return fixed(f'<h3 class="facechain-title">{escape(say(key, ENGLISH))}</h3>')


def fixed(text: str) -> Any:
    """HTML that never changes."""
    return gr.HTML(text, elem_classes=["facechain-html", "facechain-built"])
