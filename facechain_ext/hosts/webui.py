"""What A1111 and Forge share: a plan of persons is attached to the running generation, and taken away again.

The order of a generation: `release()` before it begins, `begin(p, plan, latent)` before each pass of sampling, `release(p)` after it.
Nothing depends on the last: an exception skips it, and then the next `release()`, or the end of `p`, does the same.
"""

from __future__ import annotations

import importlib.util
import sys
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from facechain_ext.errors import BadInput, FaceChainError, UnsupportedModel
from facechain_ext.hosts import rows
from facechain_ext.log import log

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from facechain_ext.engine.adapter import Adapter
    from facechain_ext.engine.identity import Identity
    from facechain_ext.engine.injection import Call, Injector, Person
    from facechain_ext.engine.sites import Sites

Kind = Literal["a1111", "forge"]
Passes = Literal["both", "first", "second"]

TROUBLE = "facechain_trouble"
"""The attribute of a processing object that says what went wrong while it was sampled."""

ERRAND = "facechain_errand"
"""The attribute of a processing object that the tab made."""

PIXELS = 8
"""Side of a latent's pixel in the picture."""


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A person in the picture: identity, weight, the part of the steps [start, end), and where.

    mask: "L", white = here, in the coordinates of the whole generated picture at any resolution; None: everywhere.
    """

    identity: Identity
    weight: float = 0.5
    start: float = 0.0
    end: float = 1.0
    mask: Image.Image | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one generation is to do: persons by an adapter, in which passes of a hires generation (without hires fix: always)."""

    adapter: Adapter
    persons: tuple[Placed, ...]
    passes: Passes = "both"


@dataclass(frozen=True, kw_only=True)
class Errand:
    """What the tab sends along with a generation of its own: the plan, and who hears of each step (p, step, steps)."""

    plan: Plan | None
    step: Callable[[Any, int, int | None], None]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What an adapter costs beside the checkpoint: megabytes on its device, per cent more work in each step that it takes part in."""

    megabytes: int
    percent: int


class Pass:
    """One pass of sampling with persons. Hooks and patches reach everything through it, so `end` empties them all."""

    def __init__(self, p: Any, adapter: Adapter, persons: tuple[Person, ...], latent: tuple[int, int]) -> None:
        self.p = weakref.ref(p)
        self.checkpoint = checkpoint_of(p.sd_model)
        self.adapter: Adapter | None = adapter
        self.persons = persons
        self.latent = latent
        self.injector: Injector | None = None
        self.cursor = rows.Cursor()
        self.progress: float | None = None
        self.closing = ExitStack()
        self.closing.callback(self._empty)

    def call(self, carrying: rows.Rows | None, latent: tuple[int, int]) -> Call | None:
        """The engine's record of one UNet call; None (and a note) where it is not known which rows carry the face, or where regions lie."""
        from facechain_ext.engine.injection import Call

        if self.injector is None:
            return None
        if carrying is None:
            self.note(
                "The UNet was called in a way the WebUI had not announced (another extension does this); such calls carried no identity."
            )
            return None
        if latent != self.latent and any(person.mask is not None for person in self.persons):
            self.note(
                "The picture was painted in tiles, where regions cannot be placed, so without the identity: use whole-picture persons."
            )
            return None
        done = rows.progress(*sampling_state()) if self.progress is None else self.progress
        return Call(rows=carrying, pictures=(0,) * len(carrying), progress=done, latent=latent)  # every picture has the same regions

    def increment(self, site: int, x: Tensor, call: Call) -> Tensor | None:
        """The injector's increment; a failure costs the identity of the rest of the picture, never the picture."""
        from facechain_ext.engine.injection import Injector

        if self.injector is None:
            return None
        try:
            return Injector.increment(self.injector, site, x, call)
        except (FaceChainError, RuntimeError) as error:  # torch's out-of-memory is a RuntimeError
            log.error("The identity failed in the middle of a picture.", exc_info=True)
            self.injector = None
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            self.note(f"The identity was given up in the middle of the picture ({reason}); the rest was painted without it.")
            return None

    def note(self, trouble: str) -> None:
        """Remember the first trouble of a generation, where `trouble` finds it, and log it."""
        p = self.p()
        if p is not None and not getattr(p, TROUBLE, None):
            setattr(p, TROUBLE, trouble)
            log.warning(trouble)

    def _empty(self) -> None:
        self.injector = self.adapter = None
        self.persons, self.cursor = (), rows.Cursor()


class _Slot:
    """The pass that is attached, if any; there is one at most, for a WebUI makes one picture at a time."""

    def __init__(self) -> None:
        self.current: Pass | None = None
        self.farewell: weakref.finalize | None = None

    def put(self, current: Pass, p: Any) -> None:
        self.current = current
        self.farewell = weakref.finalize(p, current.closing.close)
        self.farewell.atexit = False

    def clear(self) -> None:
        current, farewell = self.current, self.farewell
        self.current = self.farewell = None
        if farewell is not None:
            farewell.detach()
        if current is not None:
            current.closing.close()


_slot = _Slot()


def kind() -> Kind | None:
    """Which WebUI this process is, by what is there and not by name; None outside of one."""
    if "modules.sd_models" not in sys.modules:
        return None
    model = loaded_model()
    if model is not None:
        return "forge" if hasattr(model, "forge_objects") else "a1111"
    return "forge" if "modules_forge" in sys.modules or importlib.util.find_spec("modules_forge") else "a1111"


def loaded_model() -> Any:
    """The checkpoint that is loaded; None where none is yet (asking the host's own way would load one)."""
    data = getattr(sys.modules.get("modules.sd_models"), "model_data", None)
    model = getattr(data, "sd_model", None)
    return model if hasattr(model, "forge_objects") or hasattr(model, "model") else None


def checkpoint_of(model: Any) -> Any:
    """What tells one checkpoint from another: the host may load a second one into the same networks (refiner)."""
    return getattr(model, "sd_checkpoint_info", None)


def supports(what: Any = None, adapter: Adapter | None = None) -> str | None:
    """Why the checkpoint of a processing object, or a model, or (None) the loaded one cannot be used; None where it can.

    With an adapter: also why that does not fit it. Loads nothing: where no checkpoint is loaded yet the answer is None.
    """
    model = loaded_model() if what is None else getattr(what, "sd_model", what)
    if model is None:
        return None
    try:
        _check(model, adapter)
    except BadInput as reason:
        return str(reason)
    return None


def text_width() -> int | None:
    """The width of the text that the loaded checkpoint reads, by which LoRAs made for it are known; None where no SD1.5 one is loaded."""
    model = loaded_model()
    try:
        return None if model is None else _sites(model).context
    except UnsupportedModel:
        return None


def _check(model: Any, adapter: Adapter | None) -> None:
    """UnsupportedModel or BadWeights where model and adapter cannot work together."""
    sites = _sites(model)
    if adapter is not None:
        adapter.check_fits(sites)


def _sites(model: Any) -> Sites:
    """Where a face enters the model's UNet. UnsupportedModel where it is not of SD1.5's structure."""
    from facechain_ext.engine.sites import find_sites

    try:
        return find_sites(_host(model).unet_of(model))
    except AttributeError as error:
        raise UnsupportedModel(
            "This checkpoint's layers are not of Stable Diffusion 1.5's kind, or stored in a form like GGUF; "
            "FaceChain works with SD1.5 checkpoints as safetensors or ckpt files."
        ) from error


def _host(model: Any) -> Any:
    """The module for this model's host."""
    from facechain_ext.hosts import a1111, forge

    return forge if hasattr(model, "forge_objects") else a1111


def begin(p: Any, plan: Plan, latent: tuple[int, int]) -> None:
    """Attach the plan for the pass that is about to be sampled; latent is (height, width) of x.

    Call from process_before_every_sampling, in every pass and batch. UnsupportedModel or BadWeights where it cannot work.
    """
    release()
    if not _wanted(p, plan.passes):
        return
    persons = tuple(person for placed in plan.persons if (person := _person(p, placed, plan.adapter)) is not None)
    if not persons:
        return
    _check(p.sd_model, plan.adapter)
    current = Pass(p, plan.adapter, persons, latent)
    with ExitStack() as undo:
        undo.callback(current.closing.close)
        _host(p.sd_model).attach(current, p.sd_model)
        undo.pop_all()
    _slot.put(current, p)


def release(p: Any = None) -> None:
    """Take away what is attached (for `p`, or whatever it is for); nothing where nothing is."""
    if p is None or _slot.current is None or _slot.current.p() is p:
        _slot.clear()


def trouble(p: Any) -> str | None:
    """What went wrong with the identity while `p` was being sampled, as a sentence."""
    return getattr(p, TROUBLE, None)


def send(p: Any, errand: Errand) -> None:
    """Give a generation its errand; the script finds it there."""
    setattr(p, ERRAND, errand)


def errand(p: Any) -> Errand | None:
    """What the tab sent along with this generation; None for everybody else's."""
    return getattr(p, ERRAND, None)


def denoiser_callback(params: Any) -> None:
    """For script_callbacks.on_cfg_denoiser: where in the steps we are, and on A1111 which rows of the step carry the face."""
    denoiser = getattr(params, "denoiser", None)
    sent = errand(getattr(denoiser, "p", None))
    if sent is not None and denoiser is not None:
        sent.step(denoiser.p, denoiser.step, denoiser.total_steps)
    current = _slot.current
    if current is None:
        return
    p = current.p()
    if p is None or params.denoiser.p is not p or checkpoint_of(p.sd_model) is not current.checkpoint:
        current.cursor = rows.Cursor()
        return
    current.progress = rows.progress(params.denoiser.step, params.denoiser.total_steps)
    current.cursor = rows.Cursor(rows.announced(_length(params.text_cond), params.x.shape[0]))


def _length(condition: Any) -> int:
    """Rows of a text condition, a tensor or a dictionary of them."""
    return (condition["crossattn"] if isinstance(condition, dict) else condition).shape[0]


def sampling_state() -> tuple[int, int]:
    """Step and steps as the host's progress bar has them."""
    from modules import shared

    return shared.state.sampling_step, shared.state.sampling_steps


def _wanted(p: Any, passes: Passes) -> bool:
    """Whether this pass is one of the asked-for; without hires fix there is but one, and it is."""
    if passes == "both" or not getattr(p, "enable_hr", False):
        return True
    return passes == ("second" if p.is_hr_pass else "first")


def _person(p: Any, placed: Placed, adapter: Adapter) -> Person | None:
    """The engine's person of this pass; None where they have no part in it."""
    from facechain_ext.engine.injection import Person

    if placed.identity.adapter != adapter.fingerprint:
        raise BadInput("This person was learnt with another adapter: give the photos again, or choose the adapter they were learnt with.")
    if placed.weight == 0 or placed.start >= placed.end:
        return None
    mask = None if placed.mask is None else _painted_part(p, placed.mask.convert("L"))
    if mask is not None and not mask.getbbox():
        return None
    return Person(
        identity=placed.identity,
        weight=placed.weight,
        start=placed.start,
        end=placed.end,
        mask=None if mask is None else _to_tensor(mask),
    )


def _painted_part(p: Any, mask: Image.Image) -> Image.Image:
    """The mask of a whole picture → of the part that this pass paints: the inpainted region, or what hires fix will cut to size later."""
    from PIL import Image

    if getattr(p, "paste_to", None):
        x, y, width, height = p.paste_to
        return mask.resize(p.init_images[0].size, Image.Resampling.BILINEAR).crop((x, y, x + width, y + height))
    cut_x, cut_y = (PIXELS * int(getattr(p, name, 0) or 0) for name in ("truncate_x", "truncate_y"))
    if not getattr(p, "enable_hr", False) or p.is_hr_pass or not (cut_x or cut_y):
        return mask
    whole = Image.new("L", (p.hr_upscale_to_x, p.hr_upscale_to_y))
    kept = mask.resize((whole.width - cut_x, whole.height - cut_y), Image.Resampling.BILINEAR)
    whole.paste(kept, (cut_x // PIXELS // 2 * PIXELS, cut_y // PIXELS // 2 * PIXELS))
    return whole


def _to_tensor(mask: Image.Image) -> Tensor:
    """A grey picture → [H, W] in [0, 1]."""
    import numpy as np
    import torch

    return torch.from_numpy(np.asarray(mask, dtype=np.float32) / 255)


def place(adapter: Adapter, device: Any, dtype: Any) -> None:
    """Move the gated layers to where the UNet computes, as ordinary tensors also where the host samples in inference mode."""
    import torch

    with torch.inference_mode(False):
        adapter.place(device, dtype)


def rest(adapter: Adapter) -> None:
    """Give the device's memory back between pictures, for hosts that run with little of it."""
    place(adapter, "cpu", adapter.gate(0).linear.weight.dtype)


UNET_PER_TOKEN = 0.0828e9
"""Multiplications of SD1.5's UNet per latent pixel and row, without self-attention (counted: 402e9 at 64×64 with it)."""


def cost(adapter: Adapter, latent: tuple[int, int] = (64, 64), persons: int = 1) -> Cost:
    """Memory and time of this many persons without regions on a latent of this size, reckoned from the sizes of the layers."""
    from facechain_ext.engine.injection import grid_of
    from facechain_ext.engine.sites import LEVELS

    widths = adapter.sizes.channels
    grids = [grid_of(latent, level) for level in LEVELS]
    attention = sum(2 * (h * w) ** 2 * width for (h, w), width in zip(grids, widths, strict=True))
    linear = sum(16 * h * w * width**2 for (h, w), width in zip(grids, widths, strict=True))
    unet = UNET_PER_TOKEN * latent[0] * latent[1] * (widths[0] / 320) ** 2 + attention
    return Cost(megabytes=round(_bytes_when_placed(adapter) / 1e6), percent=round(100 * persons * (linear + attention) / unet))


def _bytes_when_placed(adapter: Adapter) -> int:
    """Memory of the layers in the type of the loaded checkpoint, in which they will compute."""
    import torch

    model = loaded_model()
    if model is None or supports(model):
        return adapter.bytes
    return sum(parameter.numel() for parameter in adapter.layers.parameters()) * torch.finfo(_host(model).computing_in(model)).bits // 8
