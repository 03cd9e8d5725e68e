"""The resampler: face tokens of the encoder → 16 tokens of the UNet's context width (FACTS §2.3; a Perceiver resampler)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facechain_ext.errors import BadWeights

HEAD_DIM = 64


@dataclass(frozen=True, kw_only=True)
class ResamplerSizes:
    """Sizes of a resampler; published: dim 1024, depth 4, heads 12, queries 16, 512 → 768, hidden 4096."""

    dim: int
    depth: int
    heads: int
    inner: int
    queries: int
    in_dim: int
    out_dim: int
    hidden: int

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], heads: int | None = None) -> ResamplerSizes:
        """Read the sizes from tensor shapes. Heads cannot be seen there: given, or one per 64 channels as published."""
        inner = tensors["layers.0.0.to_q.weight"].shape[0]
        if heads is None and inner % HEAD_DIM:
            raise BadWeights(
                f"A resampler of inner width {inner} must state its number of heads in the file's metadata (key 'resampler_heads')."
            )
        return cls(
            dim=tensors["latents"].shape[2],
            depth=sum(key.endswith(".to_q.weight") for key in tensors),
            heads=heads or inner // HEAD_DIM,
            inner=inner,
            queries=tensors["latents"].shape[1],
            in_dim=tensors["proj_in.weight"].shape[1],
            out_dim=tensors["proj_out.weight"].shape[0],
            hidden=tensors["layers.0.1.1.weight"].shape[0],
        )


class PerceiverAttention(nn.Module):
    """Latents attend over [face tokens, latents]."""

    def __init__(self, dim: int, inner: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(dim)  # of the face tokens
        self.norm2 = nn.LayerNorm(dim)  # of the latents
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_kv = nn.Linear(dim, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, dim, bias=False)

    def forward(self, face: Tensor, latents: Tensor) -> Tensor:
        latents = self.norm2(latents)
        q = self.to_q(latents).unflatten(2, (self.heads, -1)).transpose(1, 2)
        both = torch.cat((self.norm1(face), latents), dim=1)
        k, v = self.to_kv(both).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Layer(nn.ModuleList):
    """Attention, then a feed-forward without biases; a list, because the file numbers the two 0 and 1."""

    def __init__(self, sizes: ResamplerSizes) -> None:
        feed_forward = nn.Sequential(
            nn.LayerNorm(sizes.dim),
            nn.Linear(sizes.dim, sizes.hidden, bias=False),
            nn.GELU(),
            nn.Linear(sizes.hidden, sizes.dim, bias=False),
        )
        super().__init__((PerceiverAttention(sizes.dim, sizes.inner, sizes.heads), feed_forward))

    def forward(self, face: Tensor, latents: Tensor) -> Tensor:
        latents = latents + self[0](face, latents)
        return latents + self[1](latents)


class Resampler(nn.Module):
    """tokens [B, T, in_dim] → [B, queries, out_dim]; zeros give the unconditional tokens."""

    def __init__(self, sizes: ResamplerSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.latents = nn.Parameter(torch.zeros(1, sizes.queries, sizes.dim))
        self.proj_in = nn.Linear(sizes.in_dim, sizes.dim)
        self.layers = nn.ModuleList(Layer(sizes) for _ in range(sizes.depth))
        self.proj_out = nn.Linear(sizes.dim, sizes.out_dim)
        self.norm_out = nn.LayerNorm(sizes.out_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        face = self.proj_in(tokens)
        latents = self.latents.expand(tokens.shape[0], -1, -1)
        for layer in self.layers:
            latents = layer(face, latents)
        return self.norm_out(self.proj_out(latents))
