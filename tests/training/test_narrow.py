"""The compiled attention against torch's own in double precision, forwards and back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from facechain_ext.errors import BadInput
from facechain_ext.training import narrow

PLAIN = F.scaled_dot_product_attention


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Compiled anew; torch's attention is put back afterwards."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", PLAIN)
    narrow.compiled.cache_clear()
    yield
    narrow.compiled.cache_clear()


def by_both(shape, keys, dtype=torch.float32):
    """Output and gradients by the kernel, and by torch in double precision."""
    torch.manual_seed(0)
    batch, heads, queries, width = shape
    sizes = ((batch, queries, heads, width), (batch, keys, heads, width), (batch, keys, heads, width))
    given = [torch.randn(size).to(dtype).transpose(1, 2).requires_grad_() for size in sizes]
    precise = [one.detach().double().requires_grad_() for one in given]
    back = torch.randn(shape).to(dtype)
    mine = F.scaled_dot_product_attention(*given)
    theirs = PLAIN(*precise)
    return (mine, *torch.autograd.grad(mine, given, back)), (theirs, *torch.autograd.grad(theirs, precise, back.double()))


def test_the_kernel_computes_what_torch_does(monkeypatch):
    if not narrow.possible():
        with pytest.raises(BadInput, match="AVX2 or AVX-512"):
            narrow.use_narrow_heads()
        return
    narrow.use_narrow_heads()
    used = []
    apply = narrow._Attention.apply
    monkeypatch.setattr(narrow._Attention, "apply", lambda *given: used.append(1) or apply(*given))
    for threads, shape, keys in ((1, (2, 3, 5, 4), 77), (1, (1, 8, 64, 8), 64), (2, (5, 2, 16, 4), 16), (2, (2, 1, 3, 12), 1)):
        torch.set_num_threads(threads)
        for mine, theirs in zip(*by_both(shape, keys), strict=True):
            assert mine.shape == theirs.shape and torch.allclose(mine.double(), theirs, atol=2e-5)
    torch.set_num_threads(1)
    assert len(used) == 4
    for mine, theirs in zip(*by_both((2, 2, 9, 4), 20, torch.bfloat16), strict=True):
        assert mine.dtype == torch.bfloat16 and torch.allclose(mine.double(), theirs, atol=0.05)
    for mine, theirs in zip(*by_both((1, 2, 4, 16), 6), strict=True):
        assert torch.allclose(mine.double(), theirs, atol=2e-5)
    assert len(used) == 5, "wide heads stay with torch"


def test_very_low_scores_leave_no_trace_behind_the_last_key():
    """All scores −91: what fills the last vector up has score 0, 10³⁹ times as much, and must not count, forwards or back."""
    if not narrow.possible():
        return
    narrow.use_narrow_heads()
    torch.manual_seed(1)
    query, value = torch.full((1, 2, 3, 4), 13.0, requires_grad=True), torch.randn(1, 2, 5, 4, requires_grad=True)
    key = torch.full((1, 2, 5, 4), -3.5, requires_grad=True)  # 4 · 13 · −3.5 / 2
    found = narrow.attention(query, key, value)
    assert torch.allclose(found, value.mean(dim=2, keepdim=True).expand_as(found), atol=1e-5), "five equal scores: the mean"
    back = torch.randn_like(found)
    grads = torch.autograd.grad(found, (query, key, value), back)
    given = [one.detach().double().requires_grad_() for one in (query, key, value)]
    theirs = torch.autograd.grad(PLAIN(*given), given, back.double())
    assert all(torch.allclose(mine.double(), other, atol=1e-4) for mine, other in zip(grads, theirs, strict=True))


def test_masks_and_causal_attention_stay_with_torch():
    if not narrow.possible():
        return
    narrow.use_narrow_heads()
    q, k, v = torch.randn(3, 1, 2, 6, 4).unbind(0)
    mask = torch.randn(6, 6)
    assert torch.equal(F.scaled_dot_product_attention(q, k, v, attn_mask=mask), PLAIN(q, k, v, attn_mask=mask))
    assert torch.equal(F.scaled_dot_product_attention(q, k, v, is_causal=True), PLAIN(q, k, v, is_causal=True))


def test_a_machine_without_a_compiler_is_told(monkeypatch):
    monkeypatch.setattr(narrow.shutil, "which", lambda name: None)
    with pytest.raises(BadInput, match="g\\+\\+"):
        narrow.use_narrow_heads()


def test_the_kernel_leaves_the_process_as_it_is():
    """A library linked by -ffast-math would make every number below 1e-38 zero, in everything that runs beside it."""
    if not narrow.possible():
        return
    narrow.use_narrow_heads()
    small = torch.tensor(1e-39) * torch.ones(())
    assert small.item() > 0


def test_another_cpu_compiles_a_kernel_of_its_own(tmp_path, monkeypatch):
    """As where machines share a cache folder; in whatever order a CPU names what it can."""
    built = []
    monkeypatch.setattr(narrow, "possible", lambda: True)
    monkeypatch.setattr(narrow.ctypes, "CDLL", lambda path: built.append(path))
    monkeypatch.setattr(narrow.subprocess, "run", lambda command, **_: Path(command[command.index("-o") + 1]).touch() or Made())
    monkeypatch.setattr(narrow, "CPU", tmp_path / "cpuinfo")
    for told in ("flags : avx2 fma", "flags : avx2 fma avx512f", "flags : fma avx2", None):
        (tmp_path / "cpuinfo").write_text(f"processor : 0\n{told}\nbugs : none\n") if told else (tmp_path / "cpuinfo").unlink()
        narrow.compiled()
        narrow.compiled.cache_clear()
    assert len(set(built)) == 3 and built[0] == built[2] != built[1]


class Made:
    """What g++ says where all went well."""

    returncode = 0
