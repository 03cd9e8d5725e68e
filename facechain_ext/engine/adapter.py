"""A FACT adapter: one resampler and 16 gated layers, with the record of the file they came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from facechain_ext.engine.gate import GatedLayer
from facechain_ext.engine.resampler import Resampler, ResamplerSizes
from facechain_ext.engine.sites import Sites
from facechain_ext.errors import BadWeights


@dataclass(frozen=True, kw_only=True)
class AdapterSizes:
    """Widths of an adapter: the resampler's sizes, and the channels of the 16 layers in order of execution."""

    resampler: ResamplerSizes
    channels: tuple[int, ...]


class Adapter(nn.Module):
    """What one adapter file holds.

    fingerprint: names what face tokens depend on, the resampler's content and the looks. looks: how often each photo is looked at
    (`engine.looks`); published adapters: once. as_one: whether a person's photos weigh together what one would; published adapters: each
    weighs as much as one by itself (FACTS §2.5), so that with more of them the face is louder and the prompt less heard.
    """

    def __init__(self, sizes: AdapterSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.name = ""
        self.file: Path | None = None
        self.fingerprint = ""
        self.looks = 1
        self.as_one = False
        self.resampler = Resampler(sizes.resampler)
        self.layers = nn.ModuleList(GatedLayer(channels, sizes.resampler.out_dim) for channels in sizes.channels)

    def gates(self) -> Iterator[GatedLayer]:
        """The layers in order of execution, typed."""
        return (layer for layer in self.layers if isinstance(layer, GatedLayer))

    def gate(self, site: int) -> GatedLayer:
        """The layer of a site (0–15), typed."""
        layer = self.layers[site]
        assert isinstance(layer, GatedLayer)
        return layer

    @property
    def bytes(self) -> int:
        """Memory of the gated layers, which is what a UNet's device must hold."""
        return sum(p.numel() * p.element_size() for p in self.layers.parameters())

    def place(self, device: torch.device | str, dtype: torch.dtype) -> None:
        """Move the gated layers to where the UNet computes; the resampler stays in float32, as published."""
        self.layers.to(device=device, dtype=dtype)

    def check_fits(self, sites: Sites) -> None:
        """BadWeights with the reason where the adapter was made for a UNet of another width."""
        if self.sizes.resampler.out_dim != sites.context:
            raise BadWeights(
                f"The adapter {self.name or 'given'} works with text of width {self.sizes.resampler.out_dim}, "
                f"this checkpoint's is {sites.context}: choose the adapter made for this checkpoint."
            )
        if self.sizes.channels != sites.channels:
            theirs, ours = max(sites.channels), max(self.sizes.channels)
            raise BadWeights(
                f"The adapter {self.name or 'given'} was made for a UNet {ours} channels wide, this checkpoint's is {theirs}: "
                "choose the adapter made for this checkpoint."
            )
