"""The samplers WebUI users know, by the names they know, as diffusers' schedulers."""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import diffusers
import torch
from torch import Tensor

from facechain_ext.errors import BadInput, MissingPackage
from facechain_ext.hosts.standalone.checkpoint import preset


@dataclass(frozen=True)
class Sampler:
    """A scheduler class of diffusers and what differs from SD1.5's configuration.

    seeded: it makes its own noise from seeds given at birth. warm_up: it takes its first step twice, by a doubled second timestep.
    """

    scheduler: str
    options: Mapping[str, Any] = field(default_factory=dict)
    seeded: bool = False
    warm_up: bool = False


# k-diffusion, from which WebUI has these, spreads its steps from the first training step to the last.
K: Mapping[str, Any] = {"timestep_spacing": "linspace"}
KARRAS: Mapping[str, Any] = {**K, "use_karras_sigmas": True}
EXPONENTIAL: Mapping[str, Any] = {**K, "use_exponential_sigmas": True}
SDE: Mapping[str, Any] = {"algorithm_type": "sde-dpmsolver++"}
HEUN: Mapping[str, Any] = {**SDE, "solver_type": "heun"}

SAMPLERS: Mapping[str, Sampler] = {
    "DPM++ 2M Karras": Sampler("DPMSolverMultistepScheduler", KARRAS),
    "DPM++ 2M": Sampler("DPMSolverMultistepScheduler", K),
    "DPM++ SDE Karras": Sampler("DPMSolverSDEScheduler", KARRAS, seeded=True),
    "DPM++ SDE": Sampler("DPMSolverSDEScheduler", K, seeded=True),
    "DPM++ 2M SDE Karras": Sampler("DPMSolverMultistepScheduler", {**KARRAS, **SDE}),
    "DPM++ 2M SDE Exponential": Sampler("DPMSolverMultistepScheduler", {**EXPONENTIAL, **SDE}),
    "DPM++ 2M SDE": Sampler("DPMSolverMultistepScheduler", {**K, **SDE}),
    "DPM++ 2M SDE Heun Karras": Sampler("DPMSolverMultistepScheduler", {**KARRAS, **HEUN}),
    "DPM++ 2M SDE Heun": Sampler("DPMSolverMultistepScheduler", {**K, **HEUN}),
    "Euler a": Sampler("EulerAncestralDiscreteScheduler", K),
    "Euler": Sampler("EulerDiscreteScheduler", K),
    "LMS": Sampler("LMSDiscreteScheduler", K),
    "LMS Karras": Sampler("LMSDiscreteScheduler", KARRAS),
    "Heun": Sampler("HeunDiscreteScheduler", K),
    "DPM2": Sampler("KDPM2DiscreteScheduler", K),
    "DPM2 Karras": Sampler("KDPM2DiscreteScheduler", KARRAS),
    "DPM2 a": Sampler("KDPM2AncestralDiscreteScheduler", K),
    "DPM2 a Karras": Sampler("KDPM2AncestralDiscreteScheduler", KARRAS),
    "DDIM": Sampler("DDIMScheduler"),
    "PLMS": Sampler("PNDMScheduler", warm_up=True),
    # WebUI's default is the variant bh1, which ends in NaN in diffusers where the last sigma is zero.
    "UniPC": Sampler("UniPCMultistepScheduler", {"solver_type": "bh2", "solver_order": 3, **K}),
    "LCM": Sampler("LCMScheduler"),
}

LMS_ORDER = 4


class Schedule:
    """One run of a sampler: its timesteps and its memory of the steps before.

    seeds: one per row, the only source of the sampler's own noise, so that a row does not depend on its neighbours.
    strength: part of the schedule that is run, counted as WebUI counts for img2img; None: all of it.
    """

    def __init__(self, name: str, steps: int, seeds: Sequence[int], device: torch.device, strength: float | None = None) -> None:
        sampler = find(name)
        self.scheduler = _scheduler(sampler, seeds)
        try:
            self.scheduler.set_timesteps(steps, device=device)
        except ValueError as error:
            raise BadInput(f"The sampler {name} cannot do {steps} steps ({error}): choose another number or sampler.") from error
        first = 0 if strength is None else first_step(steps, strength)
        self.timesteps: Tensor = _from(self.scheduler.timesteps, first, self.scheduler.order, sampler.warm_up)
        self.steps = steps - first
        if hasattr(self.scheduler, "set_begin_index"):
            self.scheduler.set_begin_index(first * self.scheduler.order)
        self._accepted = inspect.signature(self.scheduler.step).parameters
        self._evaluations = 0

    def begin(self, noise: Tensor, image: Tensor | None) -> Tensor:
        """Latents to start from: pure noise, or the image's latents with as much noise as the first step expects."""
        if image is None:
            return noise * self.scheduler.init_noise_sigma
        return self.noised(image, noise, 0)

    def noised(self, image: Tensor, noise: Tensor, index: int) -> Tensor:
        """An image's latents as they would be before the step of this index; after the last step they are the image's own."""
        if index >= len(self.timesteps):
            return image
        return self.scheduler.add_noise(image, noise, self.timesteps[index : index + 1].expand(len(image)))

    def scaled(self, latents: Tensor, t: Tensor) -> Tensor:
        """Latents as the UNet expects them at t."""
        return self.scheduler.scale_model_input(latents, t)

    def step(self, noise: Tensor, t: Tensor, latents: Tensor, generators: list[torch.Generator]) -> Tensor:
        """Latents one step further, from the noise the UNet saw in them."""
        self._evaluations += 1
        own: dict[str, Any] = {"generator": generators, "order": min(self._evaluations, LMS_ORDER)}  # LMS: no more past than there is
        own = {key: value for key, value in own.items() if key in self._accepted}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Should have t", UserWarning)  # torchsde, of a rounding in the seventh digit
            return self.scheduler.step(noise, t, latents, return_dict=False, **own)[0]

    def clean(self, scaled: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the latents, as scaled for the UNet at t, would be without the noise it saw in them."""
        alpha = self.scheduler.alphas_cumprod[int(t.round())].to(scaled)
        return (scaled - (1 - alpha).sqrt() * noise) / alpha.sqrt()

    def whole(self, evaluations: int) -> bool:
        """Whether so many evaluations end a step, not the half of one."""
        return evaluations % self.scheduler.order == 0 or evaluations == len(self.timesteps)

    def done(self, evaluations: int) -> int:
        """Steps finished after so many evaluations; some samplers take two for a step."""
        return self.steps * evaluations // len(self.timesteps)


def _from(timesteps: Tensor, first: int, order: int, warm_up: bool) -> Tensor:
    """The timesteps from the step of this index on."""
    if warm_up and first > 0:  # [t0, t1, t1, t2, …]: the doubling belongs to the first step that runs
        return torch.cat((timesteps[first + 1 : first + 3], timesteps[first + 2 :]))
    return timesteps[first * order :]


def first_step(steps: int, strength: float) -> int:
    """Index of the first step img2img runs: at strength 1 all run, at 0 none."""
    return steps if strength == 0 else max(steps - int(strength * steps) - 1, 0)


def find(name: str) -> Sampler:
    """The sampler of this name, in any case; BadInput with the closest names."""
    known = {key.casefold(): key for key in SAMPLERS}
    if name.casefold() in known:
        return SAMPLERS[known[name.casefold()]]
    close = [known[key] for key in difflib.get_close_matches(name.casefold(), known, cutoff=0.4)] or list(SAMPLERS)
    raise BadInput(f"There is no sampler {name}: choose {' or '.join(close[:3])}.")


def _scheduler(sampler: Sampler, seeds: Sequence[int]) -> Any:
    cls = getattr(diffusers, sampler.scheduler)
    own = {"noise_sampler_seed": list(seeds)} if sampler.seeded else {}
    accepted = inspect.signature(cls.__init__).parameters
    config = {key: value for key, value in {**preset("scheduler"), **sampler.options, **own}.items() if key in accepted}
    try:
        return cls(**config)
    except ImportError as error:
        needed = "torchsde" if sampler.seeded else "scipy"
        raise MissingPackage(f"This sampler needs the package {needed}: install it, or choose DPM++ 2M Karras.") from error
