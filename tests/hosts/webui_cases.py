"""What the tests of both WebUI hosts share: prompts, plans, a step by hand, and records of what the UNet was called with."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from facechain_ext.engine.adapter import Adapter
from facechain_ext.engine.injection import Call, Injector, Person, attach
from facechain_ext.hosts.webui import Placed, Plan
from tests.fakes.networks import CONTEXT, identity
from tests.fakes.webui import Condition, denoise

LATENT = (16, 8)
SCALE = 7.0


def text(seed: int, length: int = 7) -> Tensor:
    return torch.randn(length, CONTEXT, generator=torch.Generator().manual_seed(seed))


def prompts(batch: int = 1, parts: int = 1, length: int = 7) -> Condition:
    """A prompt of AND parts per picture."""
    return [[(text(10 * picture + part, length), 1.0 - 0.4 * part) for part in range(parts)] for picture in range(batch)]


def negatives(batch: int = 1, length: int = 7) -> list[Tensor]:
    return [text(1000 + picture, length) for picture in range(batch)]


def noise(batch: int = 1, latent: tuple[int, int] = LATENT) -> Tensor:
    return torch.cat([torch.randn(1, 4, *latent, generator=torch.Generator().manual_seed(500 + i)) for i in range(batch)])


def plan(adapter: Adapter, **changes: object) -> Plan:
    passes = changes.pop("passes", "both")
    placed = Placed(identity=identity(), **({"weight": 1.0} | changes))  # type: ignore[arg-type]
    return Plan(adapter=adapter, persons=(placed,), passes=passes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Row:
    """One row of a UNet call as it should be: text, and whether it carries the face."""

    text: Tensor
    face: int


def by_hand(unet: nn.Module, adapter: Adapter, persons: list[Person], x: Tensor, sigma: Tensor, rows: list[Row]) -> list[Tensor]:
    """Each row denoised alone by the engine, x and sigma of one picture."""
    out = []
    for row in rows:
        call = Call(rows=(row.face,), pictures=(0,), progress=0.0, latent=(x.shape[2], x.shape[3]))
        with attach(unet, adapter, persons, lambda _, call=call: call):
            out.append(denoise(unet, x, sigma, row.text[None]))
    return out


def step_by_hand(unet, adapter, persons, x, sigma, cond: Condition, uncond: list[Tensor], scale: float = SCALE) -> Tensor:
    """A denoiser step with classifier-free guidance, picture by picture and row by row: the text rows carry the face."""
    pictures = []
    for i, parts in enumerate(cond):
        rows = [Row(part, 1) for part, _ in parts] + [Row(uncond[i], 0)]
        *positive, base = by_hand(unet, adapter, persons, x[i : i + 1], sigma[i : i + 1], rows)
        pictures.append(base + sum(scale * weight * (one - base) for one, (_, weight) in zip(positive, parts, strict=True)))
    return torch.cat(pictures)


def watch_rows(monkeypatch) -> list[tuple[int, ...]]:
    """Records, at the first site, the rows of each UNet call that carries a face."""
    seen: list[tuple[int, ...]] = []
    increment = Injector.increment

    def recording(self, site, x, call):
        if site == 0:
            seen.append(call.rows)
        return increment(self, site, x, call)

    monkeypatch.setattr(Injector, "increment", recording)
    return seen


@contextmanager
def one_thread() -> Iterator[None]:
    """Networks this small only lose by sharing their work, above all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def hooks_of(unet: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in unet.modules())


def bytes_of_tensors() -> int:
    """Memory of all tensors that are alive."""
    gc.collect()
    storages = {}
    for thing in gc.get_objects():
        if issubclass(type(thing), Tensor):  # isinstance would ask the thing itself, which wakes lazy modules
            storage = thing.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())
