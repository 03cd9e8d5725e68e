"""Forge, Classic and reForge: a patch between self-attention and text, on a clone of the UNet's patcher.

Only functions go into the patcher: it copies every other object deeply, with all tensors it holds, each time it is cloned.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from facechain_ext.engine.injection import Call, Injector
from facechain_ext.engine.sites import SITES, find_sites
from facechain_ext.hosts import rows, webui

if TYPE_CHECKING:
    from torch import Tensor, nn

    from facechain_ext.engine.adapter import Adapter

INDEX = {site.forge: number for number, site in enumerate(SITES)}


def unet_of(model: Any) -> nn.Module:
    """The UNet inside the patcher."""
    return model.forge_objects.unet.model.diffusion_model


def computing_in(model: Any) -> torch.dtype:
    """The type of the UNet's activations, which may differ from that of its stored weights."""
    inner = model.forge_objects.unet.model
    dtype = getattr(inner, "computation_dtype", None) or next(inner.diffusion_model.parameters()).dtype
    return dtype if torch.finfo(dtype).bits >= 16 else torch.float16


def attach(current: webui.Pass, model: Any) -> None:
    """Put a patched clone of the UNet's patcher in its place for this pass; `current.closing` puts the other back and empties the patch."""
    adapter = current.adapter
    assert adapter is not None
    original = model.forge_objects.unet
    patched = original.clone()
    _make_room(adapter, original.load_device)
    webui.place(adapter, original.load_device, computing_in(model))
    if _little_memory():
        current.closing.callback(webui.rest, adapter)
    current.injector = Injector(adapter, current.persons, heads=find_sites(unet_of(model)).heads)
    patched.set_model_patch(_patch(current), "middle_patch")
    model.forge_objects.unet = patched
    current.closing.callback(_put_back, model, patched, original)


def _put_back(model: Any, patched: Any, original: Any) -> None:
    if model.forge_objects is not None and model.forge_objects.unet is patched:
        model.forge_objects.unet = original


def _patch(current: webui.Pass) -> Callable[[Tensor, dict], Tensor]:
    """The patch of a pass. It holds nothing that `current` does not, and returns either x or a tensor nobody keeps."""
    running: list[Call | None] = []
    current.closing.callback(running.clear)

    def middle_patch(x: Tensor, options: dict) -> Tensor:
        site = INDEX.get(tuple(options["block"]))
        if current.injector is None or current.adapter is None or site is None:
            return x
        if site == 0 or not running:
            running[:] = [_call(current, x, options)]
        call = running[0]
        if call is None or not current.injector.active(call.progress):
            return x
        weight = current.adapter.gate(site).linear.weight
        if (weight.device, weight.dtype) != (x.device, x.dtype):
            webui.place(current.adapter, x.device, x.dtype)
        increment = current.increment(site, x, call)
        return x if increment is None else x + increment

    return middle_patch


def _call(current: webui.Pass, x: Tensor, options: dict) -> Call | None:
    """What the engine needs of a UNet call; asked at its first site, for reading marks waits for the device."""
    shape = options["original_shape"]
    marks = options.get("cond_mark")
    layout = rows.marked(marks.tolist()) if marks is not None else rows.chunked(options["cond_or_uncond"], x.shape[0])
    return current.call(None if layout is None else rows.tiled(layout, x.shape[0]), (shape[2], shape[3]))


def _memory() -> Any:
    """The host's memory management, under the name it has in Forge or in the older forks; None where there is neither."""
    return sys.modules.get("backend.memory_management") or sys.modules.get("ldm_patched.modules.model_management")


def _make_room(adapter: Adapter, device: Any) -> None:
    """Let the host move what it can spare out of the way before the layers come to its device."""
    memory, resting = _memory(), next(adapter.layers.parameters()).device
    if memory is not None and torch.device(device).type != "cpu" and resting.type != torch.device(device).type:
        memory.free_memory(adapter.bytes, device)


def _little_memory() -> bool:
    """Whether the host was started for a device with little memory."""
    return getattr(getattr(_memory(), "vram_state", None), "name", "") in ("LOW_VRAM", "NO_VRAM")
