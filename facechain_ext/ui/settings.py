"""The host's settings and folders, as far as FaceChain needs them, and its own section on the settings page."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from modules import paths, script_callbacks, shared

from facechain_ext.options import Field, fields_of
from facechain_ext.ui.ids import PREFIX

STEM = "facechain"
"""The name of our file in scripts/, by which ADetailer knows us."""
ADETAILER = "ad_script_names"
FROZEN = "The WebUI was started with {}: this cannot be changed here."
FOLDERS = (f"{PREFIX}_outputs",)
FACEXLIB_FILES = ("detection_Resnet50_Final.pth", "parsing_parsenet.pth")


def setting(name: str, default: Any = "") -> Any:
    """A value of our section on the settings page; the default where it is not there yet."""
    return getattr(shared.opts, f"{PREFIX}_{name}", default)


def flag(name: str) -> Any:
    """A flag of the command line; None where the host was started without our preload."""
    return getattr(shared.cmd_opts, f"{PREFIX}_{name}", None)


def shared_models() -> Path:
    """The host's models folder."""
    return Path(paths.models_path)


def models_folder() -> Path:
    """Where adapters, the face encoder and saved persons lie."""
    given = flag("models_dir")
    return Path(given) if given else shared_models() / "FaceChain"


def people_folder() -> Path:
    """Where persons are saved."""
    return models_folder() / "people"


def offline() -> bool:
    """Whether fetching is forbidden."""
    return bool(flag("offline"))


def facexlib_folder() -> Path | None:
    """Where face restoration keeps its networks, if both are there: the folders of GFPGAN and CodeFormer, or facexlib's own."""
    places = [shared_models() / name for name in ("GFPGAN", "Codeformer", "CodeFormer")]
    spec = find_spec("facexlib")
    if spec is not None and spec.submodule_search_locations:
        places.append(Path(next(iter(spec.submodule_search_locations))) / "weights")
    return next((place for place in places if all((place / name).is_file() for name in FACEXLIB_FILES)), None)


def adetailer_runs_us() -> bool | None:
    """Whether ADetailer's list names our script; None where ADetailer is not installed."""
    names = getattr(shared.opts, ADETAILER, None)
    return None if names is None else STEM in [name.strip() for name in str(names).split(",")]


def let_adetailer_run_us(on: bool = True) -> None:
    """Add our name to ADetailer's list, or take it off, and save the settings."""
    names = [name.strip() for name in str(getattr(shared.opts, ADETAILER, "")).split(",") if name.strip() not in ("", STEM)]
    shared.opts.set(ADETAILER, ",".join([*names, STEM] if on else names))
    shared.opts.save(shared.config_filename)


def frozen(name: str, section: str = "") -> str:
    """Why a setting of the host's cannot be changed, by its command line; "" where it can. section: where the host does not know it yet."""
    flags, label = shared.cmd_opts, getattr(shared.opts, "data_labels", {}).get(name)
    place = section or (getattr(label, "section", None) or ("",))[0]
    if getattr(flags, "freeze_settings", False):
        return FROZEN.format("--freeze-settings")
    if place and place in _listed(flags, "freeze_settings_in_sections"):
        return FROZEN.format("--freeze-settings-in-sections")
    if name in _listed(flags, "freeze_specific_settings"):
        return FROZEN.format("--freeze-specific-settings")
    return FROZEN.format("--hide-ui-dir-config") if name in FOLDERS and getattr(flags, "hide_ui_dir_config", False) else ""


def _listed(flags: Any, name: str) -> list[str]:
    return [one.strip() for one in str(getattr(flags, name, None) or "").split(",")]


def keep(values: Mapping[str, Any]) -> None:
    """Set some of our section's settings, and save the host's file."""
    for name, value in values.items():
        shared.opts.set(f"{PREFIX}_{name}", value)
    shared.opts.save(shared.config_filename)


def on_ui_settings() -> None:
    """Our section on the settings page: the tab's settings, then the panel's."""
    from facechain_ext.ui.studio import Settings

    section = (PREFIX, "FaceChain")
    info = shared.OptionInfo
    for declared in fields_of(Settings):
        shared.opts.add_option(f"{PREFIX}_{declared.name}", info(*_control(declared), section=section))
    shared.opts.add_option(
        f"{PREFIX}_note",
        info(True, "Show below the picture why it was made without the face", section=section),
    )
    if adetailer_runs_us() is not None:
        shared.opts.add_option(
            f"{PREFIX}_in_adetailer",
            info(bool(adetailer_runs_us()), "Run FaceChain inside ADetailer's pass (adds facechain to ADetailer's list of scripts)",
                 section=section, onchange=lambda: let_adetailer_run_us(bool(setting("in_adetailer", False)))),
        )  # fmt: skip


def _control(declared: Field) -> tuple[Any, ...]:
    """Default, label, component and its arguments of a declared setting; the host chooses the component where none is said."""
    import gradio as gr

    what, text = declared.option, f"{declared.option.label}: {declared.option.help}"
    if what.choices:
        return declared.default, text, gr.Dropdown, {"choices": list(what.choices)}
    if what.minimum is not None:
        step = what.step or (1 if declared.kind is int else 0.01)
        return declared.default, text, gr.Slider, {"minimum": what.minimum, "maximum": what.maximum, "step": step}
    return declared.default, text


def register(on: Any, callback: Any) -> None:
    """Register a callback once, however often our script is loaded."""
    script_callbacks.remove_callbacks_for_function(callback)
    on(callback)
