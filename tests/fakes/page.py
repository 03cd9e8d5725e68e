"""The part of a WebUI that the panel and the script see: `modules.*` and gradio, with the names and arguments that all versions have.

A component takes the arguments that gradio 3.41, 4.40 and 6 share, and no other; an event that a component does not have is an
AttributeError. Everything that was built is kept, and events can be fired as the page would.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

HOST_BOUND = (
    "settings", "script", "api", "xyz", "loaded", "analysis", "answers", "panel", "pasting", "gradio_versions", "inner", "accounts",
    "studio_webui", "controls",
    "tab", "tab_wires", "tab_who", "tab_style", "tab_pictures", "tab_portrait", "tab_history", "tab_people", "tab_setup", "traces",
)  # fmt: skip
"""Our modules that hold on to the host's from the moment they are imported."""
CALLBACKS = ("on_cfg_denoiser", "on_ui_settings", "on_ui_tabs", "on_app_started", "on_before_ui")

COMMON = {"elem_id", "elem_classes", "visible"}
FIELD = COMMON | {"label", "value", "show_label", "interactive", "scale", "min_width", "info", "container"}
ARGUMENTS = {
    "HTML": {"value", *COMMON},
    "Row": {"equal_height", *COMMON},
    "Column": {"scale", "min_width", *COMMON},
    "Accordion": {"label", "open", *COMMON},
    "Radio": FIELD | {"choices"},
    "Dropdown": FIELD | {"choices"},
    "Slider": FIELD | {"minimum", "maximum", "step"},
    "Checkbox": FIELD,
    "Number": FIELD | {"precision", "minimum", "maximum", "step"},
    "Textbox": FIELD | {"max_lines", "lines", "placeholder"},
    "File": (FIELD - {"info"}) | {"file_count", "file_types", "height"},
    "Image": (FIELD - {"info"}) | {"type"},
    "Button": {"value", "size", "variant", "scale", "min_width", "interactive", *COMMON},
    "State": {"value"},
    "Blocks": {"title", "analytics_enabled"},
    "Tabs": {"elem_id", "selected", "visible"},
    "Tab": {"label", "id", "elem_id"},
}
EVENTS = {
    "Radio": ("change",), "Dropdown": ("change", "input"), "Slider": ("change", "release"), "Checkbox": ("change",),
    "Textbox": ("change", "submit"), "Number": ("change",), "File": ("change", "upload", "clear"), "Button": ("click",), "Tab": ("select",),
}  # fmt: skip
LAYOUT = ("Row", "Column", "Accordion", "Blocks", "Tabs", "Tab")
FIRST = {"Accordion": ("label",), "Tab": ("label",), "Slider": ("minimum", "maximum"), "Radio": ("choices",), "Dropdown": ("choices",)}
"""What the arguments without a name are; of everything else, the value."""


class Event:
    """What happens after one thing on the page."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(self, *, fn: Callable[..., Any], inputs: list, outputs: list, show_progress: str) -> Event:
        assert show_progress in ("full", "minimal", "hidden")
        assert all(isinstance(one, Component) for one in (*inputs, *outputs))
        then = Event()
        self.calls.append({"fn": fn, "inputs": inputs, "outputs": outputs, "then": then})
        return _Then(then)

    def fire(self, values: dict[Component, Any], request: Any) -> None:
        """Run the functions as the page would: values in, updates out; `values` holds what the page shows."""
        for call in self.calls:
            result = call["fn"](request, *(values.get(one, one.value) for one in call["inputs"]))
            results = [result] if len(call["outputs"]) == 1 and not isinstance(result, list) else list(result)
            assert len(results) == len(call["outputs"]), (call["fn"], len(results), len(call["outputs"]))
            for component, update in zip(call["outputs"], results, strict=True):
                component.take(values, update)
            call["then"].fire(values, request)


class _Then:
    def __init__(self, event: Event) -> None:
        self.then = event


class Component:
    """A component of the page. `shown` is what updates made of it beyond its value."""

    kind = ""

    def __init__(self, *args: Any, **given: Any) -> None:
        unknown = set(given) - ARGUMENTS[self.kind]
        assert not unknown, f"gr.{self.kind} has no {unknown}"
        given |= dict(zip(FIRST.get(self.kind, ("value",)), args, strict=True)) if args else {}
        self.given, self.value, self.label = given, given.get("value"), given.get("label")
        self.elem_id, self.choices = given.get("elem_id"), given.get("choices")
        self.visible, self.interactive = given.get("visible", True), given.get("interactive", True)
        self._check_choices()
        for name in EVENTS.get(self.kind, ()):
            setattr(self, name, Event())
        Page.made.append(self)

    def take(self, values: dict[Component, Any], update: Any) -> None:
        if not (isinstance(update, dict) and update.get("__type__") == "update"):
            update = {"value": update}
        if "value" in update:
            values[self] = update["value"]
        for name in ("choices", "visible", "interactive"):
            if name in update:
                setattr(self, name, update[name])
        self._check_choices()

    def _check_choices(self) -> None:
        """gradio 3.41's Dropdown takes texts alone, and shows none that is empty."""
        if self.kind == "Dropdown":
            assert all(isinstance(one, str) and one for one in self.choices), self.choices

    def __enter__(self) -> Component:
        assert self.kind in LAYOUT, f"gr.{self.kind} holds nothing"
        return self

    def __exit__(self, *error: object) -> None:
        return None


class Page:
    """What was built since the last test began."""

    made: list[Component] = []  # noqa: RUF012  # the page's own list, emptied by install()


class Request:
    """Who looks at the page."""

    def __init__(self, language: str = "en-US,en;q=0.9") -> None:
        self.headers = {"accept-language": language}


def gradio() -> ModuleType:
    """The module `gradio`."""
    made = ModuleType("gradio")
    made.__version__ = "3.41.2"
    for kind in ARGUMENTS:
        setattr(made, kind, type(kind, (Component,), {"kind": kind}))
    made.Blocks.parent, made.Blocks.exited = None, False
    made.context = ModuleType("gradio.context")
    made.context.Context = type("Context", (), {"root_block": object(), "block": object()})
    made.Blocks.blocks = property(lambda _self: dict(enumerate(Page.made)))
    made.Request = Request
    made.update = lambda **changes: {"__type__": "update", **changes}
    return made


class OptionInfo:
    """A setting."""

    def __init__(
        self, default: Any = None, label: str = "", component: Any = None, component_args: dict[str, Any] | None = None, *,
        section: tuple[str, str], onchange: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        self.default, self.label, self.section, self.onchange = default, label, section, onchange
        self.component, self.component_args = component, component_args
        assert component is None or not set(component_args or {}) - ARGUMENTS[component.kind]


class Opts:
    """The host's settings: an unknown one is an AttributeError."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values, labels={}, saved=[])

    def add_option(self, key: str, info: OptionInfo) -> None:
        self.labels[key] = info
        self.__dict__.setdefault(key, info.default)

    def set(self, key: str, value: Any) -> None:
        assert hasattr(self, key)
        setattr(self, key, value)

    def save(self, filename: str) -> None:
        self.saved.append(filename)


class Script:
    """The base class of scripts."""

    infotext_fields: Any = None
    paste_field_names: Any = None
    args_from, args_to = 0, 0
    alwayson = True


def input_accordion(gr: ModuleType) -> Any:
    """A1111's accordion with a switch."""

    class InputAccordion(gr.Checkbox):
        @contextmanager
        def _extra(self) -> Iterator[None]:
            yield

        def __init__(self, value: bool, *, label: str, elem_id: str) -> None:
            super().__init__(value, label=label, elem_id=elem_id)
            self.extra = self._extra

        def __enter__(self) -> Any:
            return self

    return InputAccordion


def install(monkeypatch: Any, models: Path, *, opts: dict[str, Any] | None = None, **flags: Any) -> SimpleNamespace:
    """Put gradio and `modules.*` into sys.modules, and forget what of ours held on to others; gives the modules by their last name."""
    Page.made.clear()
    gr = gradio()
    names = ("paths", "script_callbacks", "scripts", "shared", "ui_components")
    made = {name: ModuleType(f"modules.{name}") for name in names}
    made["paths"].models_path, made["paths"].data_path = str(models), str(models)
    results = {"outdir_samples": "", "outdir_txt2img_samples": "outputs/txt2img-images"}
    made["shared"].opts = Opts(localization="None", **results | (opts or {}))
    made["shared"].cmd_opts = SimpleNamespace(api_auth=None, gradio_auth=None, gradio_auth_path=None, **flags)
    made["shared"].OptionInfo, made["shared"].config_filename = OptionInfo, "config.json"
    made["scripts"].Script, made["scripts"].AlwaysVisible, made["scripts"].scripts_data = Script, object(), []
    made["ui_components"].InputAccordion = input_accordion(gr)
    registered: dict[str, list] = {name: [] for name in CALLBACKS}
    for name in CALLBACKS:
        setattr(made["script_callbacks"], name, registered[name].append)
    made["script_callbacks"].remove_callbacks_for_function = lambda function: [
        callbacks.remove(function) for callbacks in registered.values() if function in callbacks
    ]
    package = ModuleType("modules")
    monkeypatch.setitem(sys.modules, "modules", package)
    monkeypatch.setitem(sys.modules, "gradio", gr)
    monkeypatch.setitem(sys.modules, "gradio.context", gr.context)
    for name, module in made.items():
        setattr(package, name, module)
        monkeypatch.setitem(sys.modules, f"modules.{name}", module)
    import facechain_ext.ui

    for name in HOST_BOUND:
        # Set and deleted, so that what is imported over the fakes is gone again after the test, whether it was there before or not.
        for place, key in ((sys.modules, f"facechain_ext.ui.{name}"), (vars(facechain_ext.ui), name)):
            monkeypatch.setitem(place, key, None)
            del place[key]
    return SimpleNamespace(**made, gradio=gr, callbacks=registered)


class Sampler:
    """A sampler of one generation."""

    def sample(self) -> str:
        return "sampled"


class Processing:
    """`p`: a generation that runs its scripts as the host does, whose hooks never raise."""

    def __init__(self, script: Any, args: tuple, *, is_api: bool = False, **more: Any) -> None:
        script.args_from, script.args_to = 1, 1 + len(args)
        self.scripts = SimpleNamespace(alwayson_scripts=[script])
        self.script_args = (0, *args)
        self.extra_generation_params: dict[str, Any] = {}
        self.comments: list[str] = []
        self.is_api, self.sampler = is_api, None
        self.prompt = self.negative_prompt = self.hr_prompt = self.hr_negative_prompt = ""
        self.enable_hr = False
        self.__dict__.update(more)

    def comment(self, text: str) -> None:
        self.comments.append(text)

    def setup_prompts(self) -> None:
        """The host's last step before process(): a prompt per picture, styles filled in."""
        self.all_prompts, self.all_negative_prompts = [self.prompt], [self.negative_prompt]
        if self.enable_hr:
            self.all_hr_prompts = [self.hr_prompt or self.prompt]
            self.all_hr_negative_prompts = [self.hr_negative_prompt or self.negative_prompt]

    def init(self) -> None:
        """The host's first step after process()."""

    def get_token_merging_ratio(self) -> float:
        """Something that goes into the info text."""
        return 0.0

    def run(self, x: Any, passes: int = 1, *, fails: bool = False) -> str:
        """Make a picture. fails: the sampling raises, after which the host calls no script."""
        script = self.scripts.alwayson_scripts[0]
        args = self.script_args[script.args_from : script.args_to]
        self.setup_prompts()
        script.process(self, *args)
        self.init()
        for _ in range(passes):
            self.sampler = Sampler()
            script.process_before_every_sampling(self, *args, x=x, noise=x, c=None, uc=None)
            self.sampler.sample()
            if fails:
                raise RuntimeError("out of memory")
        script.postprocess_batch(self, *args, images=None, batch_number=0)
        self.get_token_merging_ratio()
        script.postprocess_image(self, None, *args)
        script.postprocess(self, None, *args)
        return "a picture"


def parameters(cls: type) -> set[str]:
    """The arguments of a real component, to hold ARGUMENTS against where a real gradio is."""
    return set(inspect.signature(cls.__init__).parameters) - {"self"}
