"""The gated layer that brings a face into one transformer block of the UNet (FACTS §2.5; GLIGEN's gated self-attention, serial).

    y = x + s·tanh(α_attn)·Attention(norm1[x, f])        f = linear(face tokens), only the rows of x kept
    y = y + s·tanh(α_dense)·FeedForward(norm2 y)

Nothing in f, its keys or its values depends on x, so they are computed once per generation (`face_keys_values`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CPU_SLICE = 512  # tokens


class KeysValues(NamedTuple):
    """Keys and values of face tokens, each [V, heads, T, C/heads]: V variants (0 unconditional, 1 conditional; in training one per row)."""

    keys: Tensor
    values: Tensor

    def rows(self, index: Tensor) -> KeysValues:
        """The variant of each batch row; index [B]."""
        return KeysValues(self.keys.index_select(0, index), self.values.index_select(0, index))


class GeGlu(nn.Module):
    """Gated feed-forward: [a|g] = proj(x); net2(a·gelu(g)), the exact erf form."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Linear(dim, 8 * dim)
        self.out = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return self.out(value * F.gelu(gate))


PUBLISHED_NAMES = {
    "alpha_attn": "alpha_attn",
    "alpha_dense": "alpha_dense",
    "linear.weight": "linear.weight",
    "linear.bias": "linear.bias",
    "to_out.weight": "attn.to_out.0.weight",
    "to_out.bias": "attn.to_out.0.bias",
    "ff.proj.weight": "ff.net.0.proj.weight",
    "ff.proj.bias": "ff.net.0.proj.bias",
    "ff.out.weight": "ff.net.2.weight",
    "ff.out.bias": "ff.net.2.bias",
    "norm1.weight": "norm1.weight",
    "norm1.bias": "norm1.bias",
    "norm2.weight": "norm2.weight",
    "norm2.bias": "norm2.bias",
}
PUBLISHED_QKV = ("attn.to_q.weight", "attn.to_k.weight", "attn.to_v.weight")


def published_shapes(channels: int, context: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of one site's 17 tensors in an adapter file (FACTS §2.4)."""
    c = channels
    return {
        "alpha_attn": (),
        "alpha_dense": (),
        "linear.weight": (c, context),
        "linear.bias": (c,),
        **dict.fromkeys(PUBLISHED_QKV, (c, c)),
        "attn.to_out.0.weight": (c, c),
        "attn.to_out.0.bias": (c,),
        "ff.net.0.proj.weight": (8 * c, c),
        "ff.net.0.proj.bias": (8 * c,),
        "ff.net.2.weight": (c, 4 * c),
        "ff.net.2.bias": (c,),
        "norm1.weight": (c,),
        "norm1.bias": (c,),
        "norm2.weight": (c,),
        "norm2.bias": (c,),
    }


class GatedLayer(nn.Module):
    """One of the 16 gated layers. q, k and v are one matrix; `load_published` and `published` translate from and to the file's names."""

    def __init__(self, channels: int, context: int) -> None:
        super().__init__()
        self.channels, self.context = channels, context
        self.alpha_attn = nn.Parameter(torch.zeros(()))
        self.alpha_dense = nn.Parameter(torch.zeros(()))
        self.linear = nn.Linear(context, channels)
        self.norm1 = nn.LayerNorm(channels)
        self.to_qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.to_out = nn.Linear(channels, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.ff = GeGlu(channels)

    def load_published(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the 17 tensors of a site (strict; shapes checked by the caller)."""
        state = {ours: tensors[theirs] for ours, theirs in PUBLISHED_NAMES.items()}
        state["to_qkv.weight"] = torch.cat([tensors[name] for name in PUBLISHED_QKV])
        self.load_state_dict(state, assign=True)

    def published(self) -> dict[str, Tensor]:
        """The 17 tensors of the site under the file's names."""
        state = self.state_dict()
        qkv = dict(zip(PUBLISHED_QKV, state["to_qkv.weight"].chunk(3), strict=True))
        return qkv | {theirs: state[ours] for ours, theirs in PUBLISHED_NAMES.items()}

    def face_keys_values(self, tokens: Tensor, heads: int) -> KeysValues:
        """Face tokens [V, T, context] → their keys and values in this layer."""
        face = self.norm1(self.linear(tokens))
        kv = F.linear(face, self.to_qkv.weight[self.channels :])
        return KeysValues(*kv.unflatten(2, (2, heads, -1)).permute(2, 0, 3, 1, 4).contiguous())

    def increment(self, x: Tensor, face: KeysValues, weight: float, bias: float = 0.0) -> Tensor:
        """y − x for activations x [B, N, C] and the face of each row; only the N visual tokens ask. bias: added to the scores of faces."""
        heads = face.keys.shape[1]
        q, k, v = self.to_qkv(self.norm1(x)).unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        k = torch.cat((k, face.keys.to(k.dtype)), dim=2)
        v = torch.cat((v, face.values.to(v.dtype)), dim=2)
        scores = _scores(x, face, bias) if bias else None
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=scores).transpose(1, 2).flatten(2)
        step = self.to_out(attended) * (weight * self.alpha_attn.tanh())
        return step + self._feed_forward(x + step) * (weight * self.alpha_dense.tanh())

    def _feed_forward(self, y: Tensor) -> Tensor:
        """FeedForward(norm2 y); on a CPU slice by slice, so that the inner width of 8C stays in the cache."""
        if y.device.type != "cpu" or torch.is_grad_enabled():
            return self.ff(self.norm2(y))
        rows, out = y.flatten(0, 1), torch.empty_like(y)
        for source, target in zip(rows.split(CPU_SLICE), out.flatten(0, 1).split(CPU_SLICE), strict=True):
            target.copy_(self.ff(self.norm2(source)))
        return out

    def forward(self, x: Tensor, tokens: Tensor, heads: int, weight: float) -> Tensor:
        """x [B, N, C], face tokens [B, T, context] → y [B, N, C]."""
        return x + self.increment(x, self.face_keys_values(tokens, heads), weight)


def _scores(x: Tensor, face: KeysValues, bias: float) -> Tensor:
    """What is added to the scores of visual tokens, 0, and of face tokens [1, 1, 1, N + T]."""
    added = x.new_zeros(1, 1, 1, x.shape[1] + face.keys.shape[2])
    added[..., x.shape[1] :] = bias
    return added
