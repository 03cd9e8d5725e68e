"""Forge's habits around the UNet: a patcher that copies its options deeply, blocks that add in place, chunks of rows with marks."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from facechain_ext.engine.sites import SITES
from tests.fakes.webui import Condition, DenoiserParams, sigmas

SUBJECT, NEGATIVE = 0, 1


class Patcher:
    """Forge's UnetPatcher, as far as a patch can notice it."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.load_device = torch.device("cpu")
        self.model_options: dict[str, Any] = {"transformer_options": {}}

    def clone(self) -> Patcher:
        made = Patcher(self.model)
        made.model_options = copy.deepcopy(self.model_options)
        return made

    def set_model_patch(self, patch: Any, name: str) -> None:
        self.model_options["transformer_options"].setdefault("patches", {}).setdefault(name, []).append(patch)


class PatchedUNet(nn.Module):
    """A real LDM UNet whose blocks run as Forge's: options travel along, additions happen in place, patches are called in between."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet
        self.options: dict[str, Any] = {}
        modules = dict(unet.named_modules())
        for site in SITES:
            modules[f"{site.ldm}.transformer_blocks.0"].forward = self._block(modules[f"{site.ldm}.transformer_blocks.0"], site.forge)
        self.input_blocks, self.middle_block, self.output_blocks = unet.input_blocks, unet.middle_block, unet.output_blocks

    def _block(self, block: nn.Module, name: tuple[str, int]) -> Any:
        def forward(x: Tensor, context: Tensor | None = None) -> Tensor:
            options = {key: value for key, value in self.options.items() if key != "patches"} | {"block": name}
            x += block.attn1(block.norm1(x))
            for patch in self.options.get("patches", {}).get("middle_patch", []):
                x = patch(x, options)
            n = block.attn2(block.norm2(x), context=context)
            x += n
            return block.ff(block.norm3(x)) + x

        return forward

    def forward(self, x: Tensor, t: Tensor, context: Tensor, transformer_options: dict[str, Any]) -> Tensor:
        self.options = transformer_options | {"original_shape": list(x.shape)}
        try:
            return self.unet(x, t, context=context)
        finally:
            self.options = {}

    def named_modules(self, *args: Any, **kwargs: Any) -> Any:
        """Forge's UNet has no wrapper around it."""
        return self.unet.named_modules(*args, **kwargs)


def engine(unet: nn.Module, checkpoint: str = "base") -> SimpleNamespace:
    """Forge's `sd_model`: no `.model`, the UNet inside forge_objects."""
    k_model = SimpleNamespace(diffusion_model=unet, computation_dtype=torch.float32)
    return SimpleNamespace(forge_objects=SimpleNamespace(unet=Patcher(k_model)), sd_checkpoint_info=SimpleNamespace(name=checkpoint))


class Denoiser:
    """Forge's way from one denoiser step to UNet calls: chunks of the whole batch, the last first, as many at once as fit.

    most: how many chunks fit the memory. marks: whether the host is new enough to mark rows.
    """

    def __init__(self, p: Any, callback: Any, steps: int, *, most: int = 9, marks: bool = True, tiles: int = 1) -> None:
        self.p, self.callback = p, callback
        self.step, self.total_steps = 0, steps
        self.most, self.marks, self.tiles = most, marks, tiles

    def __call__(self, x: Tensor, sigma: Tensor, *, cond: Condition, uncond: list[Tensor], scale: float) -> Tensor:
        self.callback(DenoiserParams(x, sigma, torch.stack([part for parts in cond for part, _ in parts]), torch.stack(uncond), self))
        parts = [(torch.stack([parts[n][0] for parts in cond]), SUBJECT) for n in range(len(cond[0]))]
        parts += [(torch.stack(uncond), NEGATIVE)] if scale != 1 else []
        out = self._run(x, sigma, parts)
        self.step += 1
        weights = [weight for _, weight in cond[0]]
        positive = sum(weight * value for weight, value in zip(weights, out, strict=False)) / sum(weights)
        return positive if scale == 1 else out[-1] + (positive - out[-1]) * scale

    def _run(self, x: Tensor, sigma: Tensor, parts: list[tuple[Tensor, int]]) -> list[Tensor]:
        out: dict[int, Tensor] = {}
        waiting = list(range(len(parts)))
        while waiting:
            like = [i for i in waiting if parts[i][0].shape == parts[waiting[0]][0].shape][::-1][-self.most :]
            waiting = [i for i in waiting if i not in like]
            denoised = self._call(torch.cat([x] * len(like)), sigma, torch.cat([parts[i][0] for i in like]), [parts[i][1] for i in like])
            out |= dict(zip(like, denoised.chunk(len(like)), strict=True))
        return [out[i] for i in range(len(parts))]

    def _call(self, x: Tensor, sigma: Tensor, text: Tensor, chunks: list[int]) -> Tensor:
        patcher = self.p.sd_model.forge_objects.unet
        options = dict(patcher.model_options["transformer_options"]) | {"cond_or_uncond": chunks, "sigmas": sigma}
        if self.marks:
            options["cond_mark"] = torch.tensor([float(chunk) for chunk in chunks for _ in sigma])
        scale = sigma.repeat(len(chunks))[:, None, None, None]
        t = (sigmas()[None] - scale.flatten()[:, None]).abs().argmin(1)
        with torch.inference_mode():
            scaled = x / (scale**2 + 1) ** 0.5
            bands = scaled.chunk(self.tiles, dim=2)
            n = self.tiles
            noise = patcher.model.diffusion_model(torch.cat(bands), t.repeat(n), text.repeat(n, 1, 1), options)
            return (x - scale * torch.cat(noise.chunk(n), dim=2)).clone()
