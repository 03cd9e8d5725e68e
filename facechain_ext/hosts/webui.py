"""What A1111 and Forge share: a plan of persons is attached to the running generation, and taken away again.

The order of a generation: `release()` before it begins, `begin(p, plan, latent)` before each pass of sampling, `release(p)` after it.
Nothing depends on the last: an exception skips it, and then the next `release()`, or the end of `p`, does the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from PIL import Image

    from facechain_ext.engine.adapter import Adapter
    from facechain_ext.engine.identity import Identity

Kind = Literal["a1111", "forge"]
Passes = Literal["both", "first", "second"]


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
    """What one generation is to do: persons by an adapter, in which passes of a hires generation."""

    adapter: Adapter
    persons: tuple[Placed, ...]
    passes: Passes = "both"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What an adapter costs beside the checkpoint: megabytes on its device, per cent more work in each step that it takes part in."""

    megabytes: int
    percent: int


def kind() -> Kind | None:
    """Which WebUI this process is, by what is there and not by name; None outside of one."""
    raise RuntimeError


def supports(what: Any = None) -> str | None:
    """Why the checkpoint of a processing object, or a model, or (None) the loaded one cannot be used; None where it can.

    Loads nothing: where no checkpoint is loaded yet the answer is None.
    """
    raise RuntimeError


def begin(p: Any, plan: Plan, latent: tuple[int, int]) -> None:
    """Attach the plan for the pass that is about to be sampled; latent is (height, width) of x.

    Call from process_before_every_sampling, in every pass and batch. UnsupportedModel or BadWeights where it cannot work.
    """
    raise RuntimeError


def release(p: Any = None) -> None:
    """Take away what is attached (for `p`, or whatever it is for); nothing where nothing is."""
    raise RuntimeError


def trouble(p: Any) -> str | None:
    """What went wrong with the identity while `p` was being sampled, as a sentence; ask before `release`."""
    raise RuntimeError


def denoiser_callback(params: Any) -> None:
    """For script_callbacks.on_cfg_denoiser: tells A1111's attachment which rows of the step carry the face."""
    raise RuntimeError


def cost(adapter: Adapter, latent: tuple[int, int] = (64, 64), persons: int = 1) -> Cost:
    """Memory and time of this many persons without regions on a latent of this size, reckoned from the sizes of the layers."""
    raise RuntimeError
