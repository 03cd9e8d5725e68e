"""A WebUI as small as the hosts' code can see it: `modules.*` with exactly the names it has there, processing objects, a denoiser.

Every name that is not here is an AttributeError or ImportError, as a name that the host does not have would be.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

Condition = list[list[tuple[Tensor, float]]]
"""Per picture its AND parts: text [tokens, C] and weight."""


def install(monkeypatch: Any, model: Any, **flags: bool) -> SimpleNamespace:
    """Put `modules.*` of a host with this loaded model into sys.modules; gives the modules by their last name."""
    made = {name: ModuleType(f"modules.{name}") for name in ("shared", "devices", "sd_models", "sd_unet")}
    made["shared"].cmd_opts = SimpleNamespace(**({"lowvram": False, "medvram": False} | flags))
    made["shared"].state = SimpleNamespace(sampling_step=0, sampling_steps=0)
    made["devices"].device, made["devices"].dtype = torch.device("cpu"), torch.float32
    made["sd_models"].model_data = SimpleNamespace(sd_model=model)
    made["sd_unet"].current_unet = None
    package = ModuleType("modules")
    for name, module in made.items():
        setattr(package, name, module)
        monkeypatch.setitem(sys.modules, f"modules.{name}", module)
    monkeypatch.setitem(sys.modules, "modules", package)
    return SimpleNamespace(**made)


class LatentDiffusion(nn.Module):
    """A1111's `sd_model`: the UNet at model.diffusion_model, and which checkpoint it holds."""

    def __init__(self, unet: nn.Module, checkpoint: str = "base") -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.diffusion_model = unet
        self.sd_checkpoint_info = SimpleNamespace(name=checkpoint)


@dataclass
class Processing:
    """`p`. Compared by value and therefore without a hash, as the host's is. The model is whatever is loaded now."""

    models: ModuleType
    batch_size: int = 1
    enable_hr: bool = False
    is_hr_pass: bool = False
    truncate_x: int = 0
    truncate_y: int = 0
    hr_upscale_to_x: int = 0
    hr_upscale_to_y: int = 0
    paste_to: tuple[int, int, int, int] | None = None
    init_images: list = field(default_factory=list)

    @property
    def sd_model(self) -> Any:
        return self.models.model_data.sd_model


@dataclass
class DenoiserParams:
    """What the callback is given."""

    x: Tensor
    sigma: Tensor
    text_cond: Any
    text_uncond: Any
    denoiser: Any


def alphas() -> Tensor:
    """SD1.5's cumulative alphas."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float32) ** 2
    return (1 - betas).cumprod(0)


def sigmas() -> Tensor:
    return ((1 - alphas()) / alphas()) ** 0.5


class Denoiser:
    """A1111's way from one denoiser step to UNet calls, in its orders and splittings; steps count every call of it.

    batched: the setting batch_cond_uncond. skip: of the call with this number the unconditional part is left out.
    edit: a model with a third, unconditional part.
    """

    def __init__(
        self,
        p: Any,
        callback: Any,
        steps: int,
        *,
        batched: bool = True,
        skip: tuple[int, ...] = (),
        edit: bool = False,
        as_dict: bool = False,
    ) -> None:
        self.p, self.callback = p, callback
        self.step, self.total_steps = 0, steps
        self.batched, self.skip, self.edit, self.as_dict = batched, skip, edit, as_dict
        self.inner_model = SimpleNamespace(sigmas=sigmas())

    def __call__(self, x: Tensor, sigma: Tensor, *, cond: Condition, uncond: list[Tensor], scale: float) -> Tensor:
        counts = [len(parts) for parts in cond]
        text = torch.stack([part for parts in cond for part, _ in parts])
        negative = torch.stack(uncond)
        picture = [i for i, count in enumerate(counts) for _ in range(count)] + list(range(len(x))) * (2 if self.edit else 1)
        params = DenoiserParams(x[picture], sigma[picture], self._wrap(text), self._wrap(negative), self)
        self.callback(params)
        rows, keep = len(picture), self.step not in self.skip
        split = len(x) if not self.batched else rows
        if not keep:
            rows = len(text)
        texts = [*text, *uncond, *(uncond if self.edit else [])][:rows]
        if text.shape[1] == negative.shape[1]:
            calls = [range(a, min(a + split, rows)) for a in range(0, rows, split)]
        else:
            part = len(x) * (2 if self.batched else 1)
            calls = [range(a, min(a + part, len(text))) for a in range(0, len(text), part)]
            calls += [range(len(text), rows)] if keep else []
        out = torch.cat([self._denoise(params.x[list(c)], params.sigma[list(c)], torch.stack([texts[i] for i in c])) for c in calls])
        self.step += 1
        return self._combine(out, cond, len(x), scale if keep else 1.0, keep)

    def _wrap(self, text: Tensor) -> Any:
        return {"crossattn": text, "vector": text.mean(1)} if self.as_dict else text

    def _denoise(self, x: Tensor, sigma: Tensor, text: Tensor) -> Tensor:
        return denoise(self.p.sd_model.model.diffusion_model, x, sigma, text)

    def _combine(self, out: Tensor, cond: Condition, batch: int, scale: float, keep: bool) -> Tensor:
        first = [sum(len(parts) for parts in cond[:i]) for i in range(batch)]
        base = out[len(out) - batch :] if keep else out[first]
        return torch.stack(
            [
                base[i] + sum(scale * weight * (out[first[i] + n] - base[i]) for n, (_, weight) in enumerate(parts))
                for i, parts in enumerate(cond)
            ]
        )


def denoise(unet: nn.Module, x: Tensor, sigma: Tensor, text: Tensor) -> Tensor:
    """The picture that noise-predicting `unet` sees in x."""
    t = (sigmas()[None] - sigma[:, None]).abs().argmin(1)
    scale = sigma[:, None, None, None]
    with torch.no_grad():
        return x - scale * unet(x / (scale**2 + 1) ** 0.5, t, context=text)
