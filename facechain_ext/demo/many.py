"""Paints many requests at once, each with its own words, noise, people and poses: what the standalone host paints one by one.

A report is thousands of small pictures, and on a CPU a call of a UNet this small costs more than what it computes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from facechain_ext.engine.adapter import Adapter
from facechain_ext.engine.injection import Call, Person
from facechain_ext.hosts.standalone.checkpoint import Networks
from facechain_ext.hosts.standalone.controlnets import Unit, control_picture, load_controlnet
from facechain_ext.hosts.standalone.host import Standalone
from facechain_ext.hosts.standalone.loras import applied
from facechain_ext.hosts.standalone.painting import Batch, paint_batch
from facechain_ext.hosts.standalone.text import encode
from facechain_ext.hosts.types import Folders, Paint
from facechain_ext.log import log
from facechain_ext.training.narrow import use_narrow_heads
from facechain_ext.training.parallel import ParallelAdapter, attach_parallel

AnyAdapter = Adapter | ParallelAdapter
TOGETHER = 20
"""Pictures painted at once."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where and how a report paints. narrow: by the kernel of training.narrow."""

    checkpoint: Path
    device: str
    scratch: Path
    narrow: bool = False

    def host(self) -> Standalone:
        """A standalone host there."""
        if self.narrow:
            use_narrow_heads()
        return Standalone(self.checkpoint, device=self.device, folders=Folders(models=self.scratch))


class Painters:
    """Paints any number of requests, some at once, by one process or several; every picture is the same whoever paints it."""

    def __init__(self, place: Place, workers: int) -> None:
        self.host, self.pool = place.host(), None
        if workers > 1:
            self.pool = ProcessPoolExecutor(workers, get_context("spawn"), _begin, (place, max(1, (os.cpu_count() or 1) // workers)))

    def paint(
        self, requests: Sequence[Paint], persons: Sequence[Sequence[Person]] = (), adapter: AnyAdapter | None = None
    ) -> Iterator[np.ndarray]:
        """As `paint_many`, with a line of progress now and then."""
        parts = [slice(first, first + TOGETHER) for first in range(0, len(requests), TOGETHER)]
        work = [(requests[part], persons[part], adapter) for part in parts]
        found = (paint_many(self.host, *one) for one in work) if self.pool is None else self.pool.map(_part, work)
        for number, made in enumerate(found, 1):
            log.info("%d of %d pictures", min(number * TOGETHER, len(requests)), len(requests))
            yield from made

    def close(self) -> None:
        """End the other processes."""
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)


_working: list[Standalone] = []
"""The host of a process that paints for another."""


def _begin(place: Place, threads: int) -> None:
    torch.set_num_threads(threads)
    _working.append(place.host())


def _part(work: tuple[Sequence[Paint], Sequence[Sequence[Person]], AnyAdapter | None]) -> list[np.ndarray]:
    return paint_many(_working[0], *work)


@dataclass(frozen=True, kw_only=True)
class Column:
    """One person of every picture: variants 2·picture and 2·picture + 1 are the null tokens and the face of its own.

    stack [2 · pictures, T, context]; mask [pictures, H, W] or None.
    """

    stack: Tensor
    mask: Tensor | None
    weight: float

    def active(self, progress: float) -> bool:
        """Always."""
        return True


def paint_many(
    host: Standalone, requests: Sequence[Paint], persons: Sequence[Sequence[Person]] = (), adapter: AnyAdapter | None = None
) -> list[np.ndarray]:
    """Pictures RGB uint8 [H, W, 3] of requests that differ in prompt, seed and control pictures alone. ValueError where in more.

    persons: those of every picture, as many in each and of one weight throughout; an adapter for them.
    """
    first, networks = requests[0], host.networks
    if any(replace(one, prompt="", seed=0, controls=()) != replace(first, prompt="", seed=0, controls=()) for one in requests):
        raise ValueError("Only requests that differ in prompt, seed and control pictures are painted at once.")
    columns = tuple(column(each) for each in zip(*persons, strict=True)) if adapter is not None else ()
    gated = adapter if isinstance(adapter, Adapter) else None
    request = replace(first, adapter=gated, persons=columns if gated else (), controls=())
    with applied(networks, [(Path(lora.source), lora.weight) for lora in first.loras]), _beside(networks, adapter, columns, request):
        batch = Batch(
            request=request,
            cond=torch.cat([encode(networks, one.prompt, one.clip_skip) for one in requests]),
            uncond=encode(networks, first.negative, first.clip_skip).expand(len(requests), -1, -1),
            units=_units(networks, requests),
            first=0,
            seeds=tuple(one.seed for one in requests),
            own=True,
        )
        return [np.asarray(one.image) for one in paint_batch(networks, batch, lambda *_: None)]


def column(persons: Sequence[Person]) -> Column:
    """The persons of many pictures in one place, each [2, T, context]; all with a mask [H, W] or none. ValueError."""
    masks = [one.mask for one in persons if one.mask is not None]
    if len({one.weight for one in persons}) > 1 or len(masks) not in (0, len(persons)):
        raise ValueError("People of many pictures need one weight, and all of them a mask or none.")
    return Column(stack=torch.cat([one.stack for one in persons]), mask=torch.stack(masks) if masks else None, weight=persons[0].weight)


def _units(networks: Networks, requests: Sequence[Paint]) -> tuple[Unit, ...]:
    """The ControlNets with every row's own picture: rows of one kind after those of the other."""
    kinds = 1 if requests[0].cfg == 1 else 2
    made = []
    for each in zip(*(one.controls for one in requests), strict=True):
        like, size = networks.unet.conv_in.weight, (requests[0].width, requests[0].height)
        pictures = torch.cat([control_picture(one.image, *size, like) for one in each])
        model = load_controlnet(Path(each[0].model), networks.unet)
        given = {"weight": each[0].weight, "start": each[0].start, "end": each[0].end}
        made.append(Unit(model=model, picture=pictures.repeat(kinds, 1, 1, 1), **given))
    return tuple(made)


def _beside(networks: Networks, adapter: AnyAdapter | None, columns: Sequence[Column], request: Paint) -> AbstractContextManager[object]:
    """A parallel adapter is no part of the product, so it is hung onto the host's UNet from outside."""
    if not isinstance(adapter, ParallelAdapter):
        return nullcontext()
    size = (request.height // 8, request.width // 8)
    adapter.layers.to(networks.unet.device, networks.unet.dtype)
    return attach_parallel(networks.unet, adapter, columns, lambda rows: call_of(rows, guided=request.cfg != 1, latent=size))


def call_of(rows: int, *, guided: bool, latent: tuple[int, int]) -> Call:
    """A call of the standalone host on many pictures: all unconditional, where there is guidance, then all conditional."""
    kinds = (0, 1) if guided else (1,)
    pictures = tuple(range(rows // len(kinds)))
    return Call(
        rows=tuple(2 * one + kind for kind in kinds for one in pictures), pictures=pictures * len(kinds), progress=0.0, latent=latent
    )
