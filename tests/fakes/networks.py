"""Small real networks for the hosts' tests: LDM's UNet of SD1.5's structure, an adapter of its widths, persons of random tokens."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import nn

from facechain_ext.engine.adapter import Adapter, AdapterSizes
from facechain_ext.engine.identity import Identity
from facechain_ext.engine.resampler import ResamplerSizes

CONTEXT, TOKENS = 48, 4
CHANNELS = (32, 32, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 32, 32, 32)
RESAMPLER = ResamplerSizes(dim=16, depth=1, heads=2, inner=16, queries=TOKENS, in_dim=8, out_dim=CONTEXT, hidden=32)


def ldm_unet() -> nn.Module:
    """LDM's UNetModel, float32."""
    from ldm.modules.diffusionmodules.openaimodel import UNetModel

    unet = UNetModel(
        image_size=16, in_channels=4, out_channels=4, model_channels=32, attention_resolutions=[4, 2, 1], num_res_blocks=2,
        channel_mult=[1, 2, 2, 2], num_heads=4, use_spatial_transformer=True, transformer_depth=1, context_dim=CONTEXT,
        use_checkpoint=False, legacy=False,
    )  # fmt: skip
    fill(unet, 1)
    return unet.eval().requires_grad_(False)


def fill(module: nn.Module, seed: int) -> None:
    """Random weights that keep the size of what passes; LDM's own beginning is zero at every exit."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(generator=generator).div_(math.sqrt(math.prod(parameter.shape[1:])))
            elif parameter.ndim == 1:
                parameter.normal_(generator=generator).mul_(0.02).add_(1.0 if name.endswith("weight") else 0.0)


@cache
def shared_unet() -> nn.Module:
    """One UNet for all tests that give it back as it was."""
    return ldm_unet()


def adapter(seed: int = 2) -> Adapter:
    """An adapter with open gates for `ldm_unet`."""
    made = Adapter(AdapterSizes(resampler=RESAMPLER, channels=CHANNELS))
    fill(made, seed)
    for layer in made.layers:
        nn.init.constant_(layer.alpha_attn, 0.8)
        nn.init.constant_(layer.alpha_dense, 0.5)
    made.name, made.fingerprint = "small", "small"
    return made.eval().requires_grad_(False)


def identity(seed: int = 0, photos: int = 1) -> Identity:
    """A person of random tokens."""
    generator = torch.Generator().manual_seed(100 + seed)
    tokens = torch.randn(TOKENS * photos, CONTEXT, generator=generator)
    null = torch.randn(TOKENS, CONTEXT, generator=torch.Generator().manual_seed(99)).repeat(photos, 1)
    return Identity(tokens=tokens, null=null, embeddings=torch.ones(photos, 1), photos=("a",) * photos, encoder="e", adapter="small")
