"""TransFace: the vision transformer that reads an aligned face (FACTS §2.2; Dan et al., ICCV 2023).

FACT conditions on its local tokens; its global embedding, made by the recognition head, serves as a likeness measure.
Parameter names are those of the published file, so a state dict loads as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facechain_ext.errors import BadWeights

HEAD_DIM = 64


@dataclass(frozen=True, kw_only=True)
class EncoderSizes:
    """Sizes of a face encoder; the published TransFace-S is dim 512, depth 12, heads 8, embedding 512."""

    dim: int
    depth: int
    heads: int
    hidden: int
    patch: int
    tokens: int
    embedding: int

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], heads: int | None = None) -> EncoderSizes:
        """Read the sizes from tensor shapes. Heads cannot be seen there: given, or one per 64 channels as published."""
        dim = tensors["pos_embed"].shape[2]
        if heads is None and dim % HEAD_DIM:
            raise BadWeights(f"A face encoder of width {dim} must state its number of heads in the file's metadata (key 'heads').")
        return cls(
            dim=dim,
            depth=sum(key.endswith(".norm1.weight") for key in tensors),
            heads=heads or dim // HEAD_DIM,
            hidden=tensors["blocks.0.mlp.fc1.weight"].shape[0],
            patch=tensors["patch_embed.proj.weight"].shape[2],
            tokens=tensors["pos_embed"].shape[1],
            embedding=tensors["feature.0.weight"].shape[0],
        )


class SelfAttention(nn.Module):
    """Multi-head self-attention, qkv without bias."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:  # [B, T, C]
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each [B, H, T, C/H]
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear layers with ReLU6 between."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.relu6(self.fc1(x)))


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = SelfAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    """Patches by a convolution without padding: 112 px at patch 9 give 12×12 tokens; the last 4 rows and columns stay unseen."""

    def __init__(self, dim: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, stride=patch)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images).flatten(2).transpose(1, 2)  # [B, T, C], row-major


class FaceEncoder(nn.Module):
    """The face encoder. `forward` gives the local tokens, `embedding` turns them into the identity vector."""

    def __init__(self, sizes: EncoderSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.fingerprint = ""
        self.patch_embed = PatchEmbed(sizes.dim, sizes.patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, sizes.tokens, sizes.dim))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, sizes.dim))  # used by upstream's training only
        self.blocks = nn.ModuleList(Block(sizes.dim, sizes.heads, sizes.hidden) for _ in range(sizes.depth))
        self.norm = nn.LayerNorm(sizes.dim)
        flat = sizes.tokens * sizes.dim
        self.senet = nn.Sequential(
            nn.Linear(flat, sizes.tokens, bias=False), nn.ReLU(), nn.Linear(sizes.tokens, sizes.tokens, bias=False), nn.Sigmoid()
        )
        self.feature = nn.Sequential(
            nn.Linear(flat, sizes.embedding, bias=False),
            nn.BatchNorm1d(sizes.embedding, eps=2e-5),
            nn.Linear(sizes.embedding, sizes.embedding, bias=False),
            nn.BatchNorm1d(sizes.embedding, eps=2e-5),
        )

    def forward(self, images: Tensor) -> Tensor:
        """images [B, 3, 112, 112] in [-1, 1] → local tokens [B, 144, dim]."""
        x = self.patch_embed(images) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def embedding(self, tokens: Tensor) -> Tensor:
        """tokens [B, 144, dim] → global embedding [B, embedding], not normalised."""
        weights = self.senet(tokens.flatten(1))  # [B, T]
        return self.feature((tokens * weights[:, :, None]).flatten(1))
