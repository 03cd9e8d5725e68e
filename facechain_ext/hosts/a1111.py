"""A1111: hooks on the loaded UNet, fed by a cursor over the rows of each denoiser step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from facechain_ext.engine.injection import Call
from facechain_ext.engine.injection import attach as inject
from facechain_ext.errors import UnsupportedModel
from facechain_ext.hosts import rows, webui

if TYPE_CHECKING:
    from torch import nn


def unet_of(model: Any) -> nn.Module:
    """The UNet that the host will run. UnsupportedModel where another program runs in its place."""
    from modules import sd_unet

    if sd_unet.current_unet is not None:
        raise UnsupportedModel('An accelerated UNet is in use, which has no place for a face: set "SD Unet" to None in the settings.')
    return model.model.diffusion_model


def computing_in(model: Any) -> torch.dtype:
    """The type of the UNet's weights where they compute; fp8 is for storage only."""
    from modules import devices

    dtype = next(unet_of(model).parameters()).dtype
    return devices.dtype if torch.finfo(dtype).bits < 16 else dtype


def attach(current: webui.Pass, model: Any) -> None:
    """Hook the UNet of `model` for this pass; `current.closing` takes the hooks away."""
    from modules import devices, shared

    unet, adapter = unet_of(model), current.adapter
    assert adapter is not None
    webui.place(adapter, devices.device, computing_in(model))
    if shared.cmd_opts.lowvram or shared.cmd_opts.medvram:
        current.closing.callback(webui.rest, adapter)
    seen: list[tuple[int, int]] = []
    watching = unet.register_forward_pre_hook(lambda _unet, args, kwargs: _watch(seen, args, kwargs), with_kwargs=True)
    current.closing.callback(watching.remove)
    injector = current.closing.enter_context(inject(unet, adapter, current.persons, lambda count: _call(current, seen[0], count)))
    injector.increment = current.increment
    current.injector = injector


def _watch(seen: list[tuple[int, int]], args: tuple, kwargs: dict) -> None:
    """Keep the latent's size of the call that begins."""
    height, width = (args[0] if args else kwargs["x"]).shape[2:]
    seen[:] = [(height, width)]


def _call(current: webui.Pass, latent: tuple[int, int], count: int) -> Call | None:
    """What the engine needs of a UNet call with `count` rows; None outside of the steps of the generation that asked."""
    step = current.cursor.step
    if not step:
        return None
    carrying = current.cursor.take(count) if latent == current.latent else rows.tiled(step, count)
    return current.call(carrying, latent)
