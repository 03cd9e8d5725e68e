"""How identity enters a UNet, and leaves it again without a trace.

`Injector` holds the persons of one generation and everything about them that does not change from step to step.
`attach` connects it to an LDM or diffusers UNet by two removable hooks per site: norm2 receives y instead of x, and the
increment y − x is added to attn2's output, so the block's own residual (x + attn2) becomes y + attn2. Forge offers
the very place as a patch and calls `Injector.increment` itself (hosts/forge).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facechain_ext.engine.adapter import Adapter
from facechain_ext.engine.gate import KeysValues
from facechain_ext.engine.identity import Identity
from facechain_ext.engine.sites import LEVELS, find_sites
from facechain_ext.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Call:
    """One forward of the UNet, as the host knows it.

    rows: per batch row, whether it carries the face (True or 1) or the null tokens (False or 0). pictures: per row, the index
    of its picture. progress: fraction of the steps already done, in [0, 1). latent: height and width of the latents.
    """

    rows: tuple[int, ...]
    pictures: tuple[int, ...]
    progress: float
    latent: tuple[int, int]


class Conditioned(Protocol):
    """What the injector needs to know of a person."""

    @property
    def stack(self) -> Tensor: ...  # [V, T, context]: variants, chosen by Call.rows
    @property
    def mask(self) -> Tensor | None: ...
    @property
    def weight(self) -> float: ...
    def active(self, progress: float) -> bool: ...


@dataclass(frozen=True, kw_only=True)
class Person:
    """A person in a picture: identity, weight, the part of the steps [start, end) and where.

    mask: [H, W] for every picture, or [pictures, H, W], in [0, 1], at any resolution of the whole picture; None: everywhere.
    """

    identity: Identity
    weight: float = 0.5
    start: float = 0.0
    end: float = 1.0
    mask: Tensor | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end <= 1:
            raise BadInput(f"Start and end must be fractions of the steps with 0 ≤ start ≤ end ≤ 1; got {self.start} and {self.end}.")
        if self.mask is not None and self.mask.ndim not in (2, 3):
            raise BadInput(f"A person's mask must be one grey picture or one per picture; got {self.mask.ndim} dimensions.")

    @property
    def stack(self) -> Tensor:
        """The identity's tokens, unconditional and conditional."""
        return self.identity.stack

    def active(self, progress: float) -> bool:
        """Whether this person changes anything at a step that begins after this fraction of all steps."""
        return self.weight != 0 and self.start <= progress < self.end


class Injector:
    """Persons on an adapter: gives the increment of any site, computing what is constant once.

    Holds nothing of the host; dropping it frees everything.
    """

    def __init__(self, adapter: Adapter, persons: Sequence[Conditioned], *, heads: int) -> None:
        self.layers = tuple(adapter.gates())
        self.persons = tuple(persons)
        self.heads = heads
        self.as_one, self.queries = adapter.as_one, adapter.sizes.resampler.queries
        self._faces: dict[tuple[int, int], KeysValues] = {}
        self._rows: dict[tuple[int, int], tuple[tuple[int, ...], KeysValues]] = {}
        self._masks: dict[tuple[int, int, tuple[int, ...], tuple[int, int]], Tensor] = {}

    def active(self, progress: float) -> bool:
        """Whether any person changes anything at this step."""
        return any(person.active(progress) for person in self.persons)

    def increment(self, site: int, x: Tensor, call: Call) -> Tensor | None:
        """y − x at a site (0–15) for activations x [rows, N, C]; None where nothing is to be done."""
        if len(call.rows) != x.shape[0]:
            raise BadInput(f"The UNet was called with {x.shape[0]} rows, the host announced {len(call.rows)}.")
        total: Tensor | None = None
        for number, person in enumerate(self.persons):
            if not person.active(call.progress):
                continue
            layer = self.layers[site]
            face = self._face(number, site, call, x)
            increment = layer.increment(x, face, person.weight, self._bias(face))
            if person.mask is not None:
                increment = increment * self._mask(number, site, call, x)
            total = increment if total is None else total + increment
        return total

    def _bias(self, face: KeysValues) -> float:
        """−log n for n photos of somebody that weigh as one: then the same photo given n times is that photo. Published: 0."""
        return -math.log(face.keys.shape[2] / self.queries) if self.as_one else 0.0

    def _face(self, number: int, site: int, call: Call, x: Tensor) -> KeysValues:
        """Keys and values of a person's face for the rows of this call; the last row layout is kept, the steps repeat it."""
        cached = self._rows.get((number, site))
        if cached is not None and cached[0] == call.rows:
            return cached[1]
        layer = self.layers[site]
        if (number, site) not in self._faces:
            tokens = self.persons[number].stack.to(device=x.device, dtype=layer.linear.weight.dtype)
            # Where a gate learns: whoever asks first may do so without a gradient, and those after would have none.
            with torch.set_grad_enabled(torch.is_grad_enabled() or layer.linear.weight.requires_grad):
                self._faces[number, site] = layer.face_keys_values(tokens, self.heads)
        index = torch.tensor([int(row) for row in call.rows], device=x.device)
        face = self._faces[number, site].rows(index)
        self._rows[number, site] = (call.rows, face)
        return face

    def _mask(self, number: int, site: int, call: Call, x: Tensor) -> Tensor:
        """The person's mask on the site's grid, [rows or 1, N, 1]."""
        grid = grid_of(call.latent, LEVELS[site])
        if grid[0] * grid[1] != x.shape[1]:
            raise BadInput(f"A mask cannot be placed: the UNet works on {x.shape[1]} tokens, the picture has {grid[0]}×{grid[1]}.")
        key = (number, LEVELS[site], call.pictures, call.latent)
        if key not in self._masks:
            mask = self.persons[number].mask
            assert mask is not None
            mask = mask.to(device=x.device, dtype=torch.float32)
            chosen = mask[None] if mask.ndim == 2 else mask[torch.tensor(call.pictures, device=x.device)]
            resized = F.interpolate(chosen[:, None], grid, mode="bilinear", antialias=True, align_corners=False)
            self._masks[key] = resized.flatten(1)[:, :, None].to(x.dtype)
        return self._masks[key]


def grid_of(latent: tuple[int, int], level: int) -> tuple[int, int]:
    """Height and width of a site's grid: each halving rounds up."""
    height, width = latent
    for _ in range(level):
        height, width = (height + 1) // 2, (width + 1) // 2
    return height, width


Calls = Callable[[int], "Call | None"]
"""Asked once at the beginning of each UNet forward with its number of rows; None: this forward carries no face."""

Observe = Callable[[int, Tensor], None]
"""Told each site's increment (training's FAIR and diagnostics)."""


@contextmanager
def attach(
    unet: nn.Module, adapter: Adapter, persons: Sequence[Conditioned], calls: Calls, *, observe: Observe | None = None
) -> Iterator[Injector]:
    """Inject persons into an LDM or diffusers UNet while the block runs; afterwards the UNet is as it was, also after an error.

    The adapter must lie where the UNet computes (`Adapter.place`). UnsupportedModel or BadWeights where they do not fit.
    """
    sites = find_sites(unet)
    adapter.check_fits(sites)
    injector = Injector(adapter, persons, heads=sites.heads)
    state = _State(injector, calls, observe)
    with ExitStack() as hooks:
        hooks.callback(unet.register_forward_pre_hook(state.begin, with_kwargs=True).remove)
        for index, block in enumerate(sites.blocks):
            hooks.callback(block.norm2.register_forward_pre_hook(state.enter(index)).remove)
            hooks.callback(block.attn2.register_forward_hook(state.leave(index)).remove)
        yield injector


class _State:
    """What the hooks of one attachment share: the running call, and increments between norm2 and attn2."""

    def __init__(self, injector: Injector, calls: Calls, observe: Observe | None) -> None:
        self.injector, self.calls, self.observe = injector, calls, observe
        self.call: Call | None = None
        self.pending: dict[int, Tensor] = {}

    def begin(self, _unet: nn.Module, args: tuple, kwargs: dict) -> None:
        self.pending.clear()
        sample: Tensor = args[0] if args else kwargs["sample" if "sample" in kwargs else "x"]
        call = self.calls(sample.shape[0])
        self.call = call if call is not None and self.injector.active(call.progress) else None

    def enter(self, site: int) -> Callable:
        def hook(_norm: nn.Module, args: tuple[Tensor]) -> Tensor | None:
            if self.call is None:
                return None
            increment = self.injector.increment(site, args[0], self.call)
            if increment is None:
                return None
            if self.observe is not None:
                self.observe(site, increment)
            self.pending[site] = increment
            return args[0] + increment

        return hook

    def leave(self, site: int) -> Callable:
        def hook(_attn: nn.Module, _args: tuple, output: Tensor) -> Tensor | None:
            increment = self.pending.pop(site, None)
            return None if increment is None else output + increment

        return hook
