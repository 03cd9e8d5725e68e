"""One page for gradio 3.41, 4 and 6: what differs between them, and what A1111 and Forge add."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Any

import gradio as gr
from gradio.context import Context

HIDDEN = "facechain-hidden"


def host_components() -> Any:
    """The host's own components; None outside of a WebUI."""
    try:
        from modules import ui_components
    except ImportError:
        return None
    return ui_components


@contextmanager
def switched_accordion(label: str, elem_id: str) -> Any:
    """An accordion with a switch in its head: yields the switch and what to put into the head's line (a context)."""
    host = host_components()
    if host is not None:
        with host.InputAccordion(False, label=label, elem_id=elem_id) as switch:
            yield switch, switch.extra
    else:
        with gr.Accordion(label, open=False, elem_id=elem_id):
            yield gr.Checkbox(False, label=label, elem_id=f"{elem_id}-checkbox"), gr.Row


def photo_drop(**more: Any) -> Any:
    """A zone to drop several picture files on; its value is a list of paths (of file objects in gradio 3)."""
    return gr.File(file_count="multiple", file_types=["image"], interactive=True, height=140, **more)


def hidden(component: Callable[..., Any], **more: Any) -> Any:
    """A component that is on the page for our script and for nobody's eyes; `visible=False` would leave it out of the page."""
    return component(elem_classes=[HIDDEN], **more)


def paths(files: Any) -> list[str]:
    """The paths of uploaded files, whatever gradio hands over."""
    if files is None:
        return []
    found: Sequence[Any] = files if isinstance(files, (list, tuple)) else [files]
    return [str(getattr(one, "name", one)) for one in found]


def always(event: Any) -> Callable[..., Any]:
    """An event that is sent whenever it happens, also while an answer to the last one is awaited; gradio 3 sends every one."""
    return functools.partial(event, trigger_mode="multiple") if gr.__version__ >= "4" else event


def in_turn(event: Any, name: str) -> Callable[..., Any]:
    """An event that waits until those of the same name before it are answered; gradio 3 knows no such order."""
    return functools.partial(event, concurrency_id=name, concurrency_limit=1) if gr.__version__ >= "4" else event


def serves_in_place() -> bool:
    """Whether a file in gradio's own folder is served from where it lies, under its name; gradio 3 serves a copy, and the page names it."""
    return gr.__version__ >= "4"


def changed(component: Any) -> Any:
    """The event of a value that was set, by hand or by an update; a slider's once it is let go, and when it is updated."""
    return component.change


def unsaved(component: Any) -> Any:
    """Keep a component's value out of the host's ui-config.json: persons are nobody's default."""
    component.do_not_save_to_config = True
    return component


def unsaved_all(page: Any) -> None:
    """Keep the values of a whole page out of the host's ui-config.json: photos and persons are nobody's default."""
    for component in page.blocks.values():
        component.do_not_save_to_config = True


def named(pairs: Sequence[tuple[str, str]], value: str) -> dict[str, Any]:
    """A dropdown's choices and value, from (name, value) pairs; gradio 3's takes the names alone, which `words.meant` reads."""
    if gr.__version__ >= "4":
        return {"choices": list(pairs), "value": value}
    return {"choices": [name for name, _ in pairs], "value": next((name for name, one in pairs if one == value), value)}


def localization() -> str | None:
    """The language that the host's settings fix, by its own name; None outside of a WebUI."""
    try:
        from modules import shared
    except ImportError:
        return None
    return getattr(shared.opts, "localization", None)


def accepted(request: Any) -> str | None:
    """The languages a browser asks for; gradio 3's headers are no mapping, but know `in` and []."""
    headers = getattr(request, "headers", None)
    return headers["accept-language"] if headers is not None and "accept-language" in headers else None


class _Rendered(gr.Blocks):
    """Blocks that a WebUI renders into its own, without the application that gradio builds for them and nobody serves.

    gradio 4 and newer build it when Blocks are made, for their queue; every version builds it when they are left.
    """

    def queue(self, *_args: Any, **_kwargs: Any) -> _Rendered:
        """The host's page has the queue."""
        return self

    def __exit__(self, exc_type: type[BaseException] | None = None, *args: Any) -> None:
        if exc_type is not None or self.parent is not None:
            super().__exit__(exc_type, *args)
            return
        super(gr.Blocks, self).__exit__(exc_type, *args)
        Context.root_block = None
        self.exited = True


def whole_page(title: str) -> gr.Blocks:
    """What a tab is built in: in a WebUI half as long as plain gr.Blocks."""
    make = _Rendered if host_components() is not None else gr.Blocks
    return make(title=title, analytics_enabled=False)


def nowhere() -> bool:
    """Whether what is built now lies in no layout of a page: so the host's API asks for default values."""
    return Context.block is Context.root_block


def page_of(label: str, elem_id: str) -> Any:
    """A page of several, in the document also while another one is shown: from gradio 6 on that must be said."""
    more: dict[str, Any] = {"render_children": True} if "render_children" in inspect.signature(gr.Tab.__init__).parameters else {}
    return gr.Tab(label, elem_id=elem_id, **more)


def senders(tabs: Sequence[str], text: Any, image: Any, elem_id: Callable[[str], str]) -> None:
    """A button for each of the host's tabs that takes a picture and its info text, bound by the host's own means."""
    if not tabs:
        return
    try:
        from modules import infotext_utils as pasting
    except ImportError:  # A1111 before 1.8
        from modules import generation_parameters_copypaste as pasting
    for tab in tabs:
        button = gr.Button(tab, elem_id=elem_id(tab))
        pasting.register_paste_params_button(
            pasting.ParamBinding(paste_button=button, tabname=tab, source_text_component=text, source_image_component=image)
        )
