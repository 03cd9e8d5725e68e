"""The 16 places of an SD1.5 UNet where a face enters, found by structure in LDM's and diffusers' naming (FACTS §2.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from facechain_ext.errors import UnsupportedModel

if TYPE_CHECKING:
    from torch import nn

BLOCK = ".transformer_blocks.0"
PARTS = ("norm1", "attn1", "norm2", "attn2", "norm3", "ff")


@dataclass(frozen=True)
class SiteName:
    """One site's paths (without BLOCK), and Forge's `transformer_options["block"]`."""

    diffusers: str
    ldm: str
    forge: tuple[str, int]


def _names() -> tuple[SiteName, ...]:
    down = [
        SiteName(f"down_blocks.{b}.attentions.{a}", f"input_blocks.{n}.1", ("input", n))
        for b in range(3)
        for a in range(2)
        for n in [1 + 3 * b + a]
    ]
    middle = [SiteName("mid_block.attentions.0", "middle_block.1", ("middle", 0))]
    up = [
        SiteName(f"up_blocks.{b}.attentions.{a}", f"output_blocks.{n}.1", ("output", n))
        for b in range(1, 4)
        for a in range(3)
        for n in [3 * b + a]
    ]
    return (*down, *middle, *up)


SITES: tuple[SiteName, ...] = _names()
"""In order of execution, which is Forge's `transformer_index`."""

LEVELS = (0, 0, 1, 1, 2, 2, 3, 2, 2, 2, 1, 1, 1, 0, 0, 0)
"""How often the latent grid has been halved at each site."""


@dataclass(frozen=True, kw_only=True)
class Sites:
    """The transformer blocks of a UNet in order of execution, with what an adapter must fit."""

    blocks: tuple[Any, ...]  # modules of LDM or diffusers, whose parts are known by name only
    channels: tuple[int, ...]
    context: int
    heads: int


def find_sites(unet: nn.Module) -> Sites:
    """Find the 16 sites; UnsupportedModel with the reason where the UNet is not of SD1.5's structure."""
    found: dict[str, Any] = {name: module for name, module in unet.named_modules() if all(hasattr(module, part) for part in PARTS)}
    layouts = ([site.ldm + BLOCK for site in SITES], [site.diffusers + BLOCK for site in SITES])
    paths = next((paths for paths in layouts if set(paths) == set(found)), None)
    if paths is None:
        raise UnsupportedModel(_reason(found))
    blocks = tuple(found[path] for path in paths)
    heads = {block.attn2.heads for block in blocks}
    contexts = {block.attn2.to_k.in_features for block in blocks}
    if len(heads) > 1 or len(contexts) > 1 or contexts == {1024}:
        raise UnsupportedModel("This checkpoint is Stable Diffusion 2; FaceChain works with SD1.5 checkpoints only.")
    return Sites(
        blocks=blocks, channels=tuple(block.norm2.normalized_shape[0] for block in blocks), context=contexts.pop(), heads=heads.pop()
    )


def _reason(found: dict[str, Any]) -> str:
    contexts = {getattr(module.attn2.to_k, "in_features", None) for module in found.values()}
    if not found:
        kind = "has no transformer blocks of Stable Diffusion's kind"
    elif 2048 in contexts:
        kind = "is SDXL"
    elif 1280 in contexts:
        kind = "is an SDXL refiner"
    else:
        kind = f"has {len(found)} transformer blocks, or others than SD1.5's 16"
    return f"This checkpoint {kind}; FaceChain works with SD1.5 checkpoints only."
