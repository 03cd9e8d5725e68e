"""Attention for heads 4, 8 or 12 numbers wide on a CPU, compiled where it is used: with it a small UNet trains about twice as fast.

torch's own kernel takes six times as long at these widths, and its way back in bfloat16 is slow at every width; both are avoided.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from facechain_ext.errors import BadInput
from facechain_ext.training.checkpoint import default_folder, prepare

SOURCE = Path(__file__).with_name("narrow.cpp")
CPU = Path("/proc/cpuinfo")
WIDTHS = (4, 8, 12)
# Not -ffast-math as a whole: with it g++ links what switches denormal numbers off in the whole process that loads the kernel.
FAST = ("-fassociative-math", "-freciprocal-math", "-ffinite-math-only", "-fno-signed-zeros", "-fno-trapping-math", "-fno-math-errno")
FLAGS = ("-O3", "-march=native", *FAST, "-std=c++17", "-shared", "-fPIC", "-fopenmp")

_plain = F.scaled_dot_product_attention


class Rows(ctypes.Structure):
    """A tensor [batch, rows, heads, width] as the kernel sees it."""

    _fields_ = (("data", ctypes.c_void_p), ("picture", ctypes.c_int64), ("row", ctypes.c_int64))


def possible() -> bool:
    """Whether this machine can compile and run the kernel."""
    return torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512") and shutil.which("g++") is not None


def use_narrow_heads() -> None:
    """From now on every attention of this process takes the kernel where it fits. BadInput where it cannot be had."""
    compiled()
    torch.nn.functional.scaled_dot_product_attention = attention


def cpu() -> str:
    """What this CPU can do: a cache folder that several machines share must not hand one the kernel of another."""
    told = CPU.read_text(errors="replace").splitlines() if CPU.is_file() else []
    flags = next((line for line in told if line.startswith(("flags", "Features"))), "")
    return " ".join((torch.backends.cpu.get_cpu_capability(), *sorted(flags.split())))


@lru_cache(maxsize=1)
def compiled() -> ctypes.CDLL:
    """The kernel, compiled once and kept in the user's cache folder. BadInput."""
    if not possible():
        raise BadInput("--narrow needs a CPU with AVX2 or AVX-512 and the compiler g++: leave it out here.")
    recipe = SOURCE.read_bytes() + " ".join((*FLAGS, torch.__version__, cpu())).encode()
    target = default_folder("kernels") / f"narrow-{hashlib.sha256(recipe).hexdigest()[:12]}.so"
    if not target.exists():
        prepare(target.parent)
        partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
        made = subprocess.run(["g++", *FLAGS, "-o", str(partial), str(SOURCE)], capture_output=True, text=True, check=False)
        if made.returncode:
            raise BadInput(f"The kernel for --narrow does not compile here ({made.stderr.strip()[:120]}): leave --narrow out.")
        os.replace(partial, target)
    return ctypes.CDLL(str(target))


def attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0, is_causal: bool = False,
    scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """torch's scaled_dot_product_attention, by the kernel where heads are narrow; in bfloat16 it computes in float32."""
    rest: dict[str, Any] = {"dropout_p": dropout_p, "is_causal": is_causal, "scale": scale, "enable_gqa": enable_gqa}
    if query.device.type != "cpu":
        return _plain(query, key, value, attn_mask=attn_mask, **rest)
    if query.dtype == torch.bfloat16:
        mask = attn_mask.float() if attn_mask is not None and attn_mask.is_floating_point() else attn_mask
        with torch.autocast("cpu", enabled=False):
            return attention(query.float(), key.float(), value.float(), mask, **rest).to(query.dtype)
    if attn_mask is not None or is_causal or dropout_p or not _fits(query, key, value):
        return _plain(query, key, value, attn_mask=attn_mask, **rest)
    return _Attention.apply(query, key, value, scale if scale is not None else query.shape[-1] ** -0.5)


def _fits(query: Tensor, key: Tensor, value: Tensor) -> bool:
    alike = query.ndim == key.ndim == 4 and query.shape[:2] == key.shape[:2] and query.shape[3] == key.shape[3]
    return alike and key.shape == value.shape and query.shape[3] in WIDTHS and {query.dtype, key.dtype, value.dtype} == {torch.float32}


class _Attention(torch.autograd.Function):
    """query, key, value [B, heads, N, width] → [B, heads, N, width]."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        q, k, v = _packed(query), _packed(key), _packed(value)
        pictures, queries, heads, width = q.shape
        out, logs = torch.empty_like(q, memory_format=torch.contiguous_format), torch.empty(pictures, heads, queries)
        sizes = (width, pictures, heads, queries, k.shape[1])
        compiled().narrow_forward(
            torch.get_num_threads(),
            *map(ctypes.c_int64, sizes),
            ctypes.c_float(scale),
            *map(_rows, (q, k, v, out)),
            ctypes.c_void_p(logs.data_ptr()),
        )
        ctx.save_for_backward(q, k, v, out, logs)
        ctx.sizes, ctx.scale = sizes, scale
        return out.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        q, k, v, out, logs = ctx.saved_tensors
        back = _packed(grads[0])
        found = tuple(torch.empty_like(one, memory_format=torch.contiguous_format) for one in (q, k, v))
        compiled().narrow_backward(
            torch.get_num_threads(), *map(ctypes.c_int64, ctx.sizes), ctypes.c_float(ctx.scale), *map(_rows, (q, k, v, out, back, *found)),
            ctypes.c_void_p(logs.data_ptr()),
        )  # fmt: skip
        return (*(one.transpose(1, 2) for one in found), None)


def _packed(x: Tensor) -> Tensor:
    """[B, heads, N, width] → [B, N, heads, width], its last two dimensions packed."""
    turned = x.transpose(1, 2)
    return turned if turned.stride(3) == 1 and turned.stride(2) == turned.shape[3] else turned.contiguous()


def _rows(x: Tensor) -> Rows:
    return Rows(x.data_ptr(), x.stride(0), x.stride(1))
