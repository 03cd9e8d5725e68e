"""ControlNet as the WebUI has it: the extension on A1111, built in on Forge. Looked up among what is loaded, for neither is a package."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facechain_ext.errors import BadInput, MissingPackage
from facechain_ext.hosts.types import Control

if TYPE_CHECKING:
    from PIL import Image

UNITS = ("internal_controlnet.external_code", "lib_controlnet.external_code", "scripts.external_code")
"""Where the class of a unit is: sd-webui-controlnet since 1.1.4, Forge, sd-webui-controlnet before."""
FORGE_LISTS = "lib_controlnet.global_state"
NONE = "None"
OPENPOSE = "openpose"
BODY_FILE = "body_pose_model.pth"


def code() -> Any:
    """The module that makes units; None where there is no ControlNet."""
    return next((sys.modules[name] for name in UNITS if name in sys.modules), None)


def models() -> list[str]:
    """Models by the host's names."""
    forge, own = sys.modules.get(FORGE_LISTS), code()
    if own is None:
        return []
    return [name for name in (forge.get_all_controlnet_names() if forge is not None else own.get_models()) if name != NONE]


def hindrance() -> str:
    """Empty, or why no pose can be followed and what to do."""
    if code() is None:
        return "Poses need the extension sd-webui-controlnet, which is not installed or switched off: install it on the page Extensions."
    if not any(OPENPOSE in name.lower() for name in models()):
        return "ControlNet has no openpose model: put control_v11p_sd15_openpose into its folder of models, and restart the WebUI."
    return ""


def add(p: Any, controls: Sequence[Control]) -> None:
    """Put the units of a request into the arguments of ControlNet's script, in place of what is set there. BadInput."""
    if not controls:
        return
    own = code()
    script = next((one for one in p.scripts.alwayson_scripts if one.title().lower() == "controlnet"), None)
    if own is None or script is None:
        raise BadInput(hindrance() or "ControlNet is not at work in this tab: restart the WebUI.")
    slots = script.args_to - script.args_from
    if len(controls) > slots:
        raise BadInput(f"{len(controls)} pictures are to control this one, and ControlNet has {slots} units: raise that in its settings.")
    arguments = list(p.script_args)
    arguments[script.args_from : script.args_from + len(controls)] = [_unit(own, one) for one in controls]
    p.script_args = tuple(arguments)


def _unit(own: Any, control: Control) -> Any:
    import numpy as np

    name = str(control.model)
    found = name if name in models() else next((one for one in models() if one.partition(" [")[0] == Path(name).stem), None)
    if found is None:
        raise BadInput(f"ControlNet has no model {name!r}: {hindrance() or 'choose one from its list.'}")
    return own.ControlNetUnit(
        enabled=True, module=NONE if FORGE_LISTS in sys.modules else "none", model=found, image=np.asarray(control.image.convert("RGB")),
        weight=control.weight, guidance_start=control.start, guidance_end=control.end,
    )  # fmt: skip


def skeleton(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The pose of a photo as ControlNet's own openpose draws it, from files that are here already. MissingPackage where they are not."""
    import numpy as np
    from PIL import Image

    draw = _openpose()
    if draw is None:
        raise MissingPackage(
            "ControlNet's openpose has not fetched its files yet: use its preprocessor openpose once, or give a skeleton picture."
        )
    drawn = draw(input_image=np.asarray(image.convert("RGB")), resolution=min(size))
    pixels = getattr(drawn, "value", drawn)
    return Image.fromarray(np.asarray(pixels, dtype=np.uint8)).convert("RGB").resize(size)


def _openpose() -> Any:
    """The preprocessor, where the network it needs lies on this machine; it would fetch it without asking."""
    place = getattr(sys.modules.get("annotator.annotator_path"), "models_path", None)
    if place is None or not (Path(place) / OPENPOSE / BODY_FILE).is_file():
        return None
    extension, forge = sys.modules.get("scripts.supported_preprocessor"), sys.modules.get(FORGE_LISTS)
    if forge is not None:
        return forge.get_preprocessor(OPENPOSE)
    return None if extension is None else extension.Preprocessor.get_preprocessor(OPENPOSE)
