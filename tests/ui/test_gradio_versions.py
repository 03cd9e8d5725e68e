"""The page that a WebUI renders into its own, in the gradio that is installed."""

from __future__ import annotations

import gradio as gr
import pytest
from gradio import blocks
from gradio.context import Context

from facechain_ext.ui import gradio_versions
from facechain_ext.ui.gradio_versions import whole_page


@pytest.fixture
def hosted(monkeypatch):
    """As in a WebUI, whose own components are of no matter here."""
    monkeypatch.setattr(gradio_versions, "host_components", object)


def small(make):
    """A page with what pages have: a row, two fields, an event, and something outside of any layout."""
    with make() as page:
        with gr.Row():
            given, seen = gr.Textbox(label="given"), gr.Textbox(label="seen")
        gr.Button("go").click(fn=lambda text: text, inputs=[given], outputs=[seen])
    return page


def rendered(page):
    """What a host's page holds after it has rendered another: kinds in order, labels, and events by the places of their ends."""
    with gr.Blocks() as outer, gr.Tab("FaceChain"):
        page.render()
    config = outer.get_config_file()
    order = [one["id"] for one in config["components"]]
    parts = [(one["type"], one["props"].get("label")) for one in config["components"]]
    events = [
        ([order.index(one) for one in event["inputs"]], [order.index(one) for one in event["outputs"]]) for event in config["dependencies"]
    ]
    return parts, events


@pytest.mark.usefixtures("hosted")
def test_a_host_renders_it_as_any_other():
    ours, plain = rendered(small(lambda: whole_page("FaceChain"))), rendered(small(gr.Blocks))
    assert ours == plain
    assert [kind for kind, _ in ours[0]].count("textbox") == 2 and len(ours[1]) == 1


@pytest.mark.usefixtures("hosted")
def test_nothing_is_open_afterwards():
    small(lambda: whole_page("FaceChain"))
    assert Context.root_block is None and Context.block is None


@pytest.mark.usefixtures("hosted")
def test_what_goes_wrong_inside_comes_out():
    with pytest.raises(ZeroDivisionError), whole_page("FaceChain"):
        1 / 0  # noqa: B018
    assert Context.root_block is None and Context.block is None


@pytest.mark.usefixtures("hosted")
def test_no_application_is_built_for_it(monkeypatch):
    built = []
    real = blocks.App.create_app
    monkeypatch.setattr(blocks.App, "create_app", lambda *given, **more: built.append(1) or real(*given, **more))
    small(lambda: whole_page("FaceChain"))
    assert built == []
    small(gr.Blocks)
    assert built, "gradio builds one for Blocks of its own"


def test_alone_it_is_served_and_so_has_its_application():
    assert small(lambda: whole_page("FaceChain")).app is not None
