"""The demo model's files with random numbers from a fixed seed: the exact structure of what is published, and nothing learnt.

Made on this machine in seconds, equal byte for byte wherever they are made. Every tensor has its own generator, seeded by its name.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from facechain_ext.demo import architecture as sizes

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

SEED = 20240501
METADATA = {"facechain": f"facechain demo random, seed {SEED}"}
"""One entry alone: the order in which safetensors writes several is not fixed, and the files must not differ."""

SIDE = 128  # pixels: what the drawn world is drawn at

Shape = tuple[int, ...]
ALPHA = 0.8  # tanh(0.8) = 0.66: the gates are open, so that the adapter shows


def write_random(checkpoint: Path, encoder: Path, adapter: Path) -> None:
    """Write the three files. CannotWrite where the folder refuses; nothing half-written stays."""
    from facechain_ext.engine.checkpoints import write_tensors

    write_tensors(random_checkpoint(), checkpoint, {"facechain_size": str(SIDE)})
    write_tensors({name: random_tensor(name, shape) for name, shape in encoder_shapes()}, encoder, METADATA)
    write_tensors({name: random_tensor(name, shape) for name, shape in adapter_shapes()}, adapter, METADATA)


def random_checkpoint() -> dict[str, Tensor]:
    """UNet, VAE and CLIP in LDM layout, float16."""
    from facechain_ext.hosts.standalone.checkpoint import build

    shapes = sizes.to_ldm(*build(sizes.UNET, sizes.VAE, sizes.CLIP))
    return {name: random_tensor(name, tuple(like.shape)).half() if like.is_floating_point() else like for name, like in shapes.items()}


def random_tensor(name: str, shape: Shape) -> Tensor:
    """One tensor, float32 (batch counters int64): unit gain for matrices and kernels, open gates, norms that pass their input on."""
    import numpy as np
    import torch

    noise = np.random.Generator(np.random.PCG64([SEED, zlib.crc32(name.encode())]))
    return torch.from_numpy(np.asarray(_values(name, shape, noise)))


def _values(name: str, shape: Shape, noise: np.random.Generator) -> np.ndarray:
    import numpy as np

    normal = noise.standard_normal(shape, dtype=np.float32)
    if name.endswith("num_batches_tracked"):
        return np.asarray(1, dtype=np.int64)
    if not shape:
        return np.asarray(ALPHA, dtype=np.float32)
    if name.endswith("running_var"):
        return 1 + 0.1 * np.abs(normal)
    if len(shape) == 1:
        return 0.02 * normal + (1 if name.endswith("weight") else 0)  # norms; biases and running means
    if "embedding" in name or "pos_embed" in name or "token" in name or "latents" in name:
        return 0.5 * normal
    return normal / np.float32(math.sqrt(math.prod(shape[1:])))


def encoder_shapes() -> Iterator[tuple[str, Shape]]:
    """Names and shapes of TransFace's tensors."""
    e = sizes.ENCODER
    d, tokens, patch, wide = e["dim"], e["tokens"], e["patch"], e["embedding"]
    flat = tokens * d
    yield from (("pos_embed", (1, tokens, d)), ("mask_token", (1, 1, d)))
    yield from (("patch_embed.proj.weight", (d, 3, patch, patch)), ("patch_embed.proj.bias", (d,)))
    for i in range(e["depth"]):
        block = f"blocks.{i}."
        yield from _norm(f"{block}norm1", d)
        yield f"{block}attn.qkv.weight", (3 * d, d)
        yield from _linear(f"{block}attn.proj", d, d)
        yield from _norm(f"{block}norm2", d)
        yield from _linear(f"{block}mlp.fc1", e["hidden"], d)
        yield from _linear(f"{block}mlp.fc2", d, e["hidden"])
    yield from _norm("norm", d)
    yield from (("senet.0.weight", (tokens, flat)), ("senet.2.weight", (tokens, tokens)))
    yield "feature.0.weight", (wide, flat)
    yield from _batch_norm("feature.1", wide)
    yield "feature.2.weight", (wide, wide)
    yield from _batch_norm("feature.3", wide)


def adapter_shapes() -> Iterator[tuple[str, Shape]]:
    """Names and shapes of the adapter's tensors: the resampler's and 17 at each of the 16 sites."""
    for name, shape in _resampler_shapes():
        yield f"local_fac_prj.{name}", shape
    for path, channels in sizes.SITES.items():
        for name, shape in _site_shapes(channels):
            yield f"{path}.transformer_blocks.0.attn2.processor.{name}", shape


def _resampler_shapes() -> Iterator[tuple[str, Shape]]:
    r = sizes.RESAMPLER
    dim, inner, hidden, out = r["dim"], r["inner"], r["hidden"], r["out_dim"]
    yield "latents", (1, r["queries"], dim)
    yield from _linear("proj_in", dim, r["in_dim"])
    for i in range(r["depth"]):
        yield from _norm(f"layers.{i}.0.norm1", dim)
        yield from _norm(f"layers.{i}.0.norm2", dim)
        yield f"layers.{i}.0.to_q.weight", (inner, dim)
        yield f"layers.{i}.0.to_kv.weight", (2 * inner, dim)
        yield f"layers.{i}.0.to_out.weight", (dim, inner)
        yield from _norm(f"layers.{i}.1.0", dim)
        yield f"layers.{i}.1.1.weight", (hidden, dim)
        yield f"layers.{i}.1.3.weight", (dim, hidden)
    yield from _linear("proj_out", out, dim)
    yield from _norm("norm_out", out)


def _site_shapes(c: int) -> Iterator[tuple[str, Shape]]:
    yield from (("alpha_attn", ()), ("alpha_dense", ()))
    yield from _linear("linear", c, sizes.RESAMPLER["out_dim"])
    for name in ("attn.to_q", "attn.to_k", "attn.to_v"):
        yield f"{name}.weight", (c, c)
    yield from _linear("attn.to_out.0", c, c)
    yield from _linear("ff.net.0.proj", 8 * c, c)
    yield from _linear("ff.net.2", c, 4 * c)
    yield from _norm("norm1", c)
    yield from _norm("norm2", c)


def _linear(name: str, rows: int, columns: int) -> Iterator[tuple[str, Shape]]:
    yield from ((f"{name}.weight", (rows, columns)), (f"{name}.bias", (rows,)))


def _norm(name: str, width: int) -> Iterator[tuple[str, Shape]]:
    yield from ((f"{name}.weight", (width,)), (f"{name}.bias", (width,)))


def _batch_norm(name: str, width: int) -> Iterator[tuple[str, Shape]]:
    yield from _norm(name, width)
    yield from ((f"{name}.running_mean", (width,)), (f"{name}.running_var", (width,)), (f"{name}.num_batches_tracked", ()))
