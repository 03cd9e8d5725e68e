"""Muon's steps: against torch's own for matrices, and by singular values."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from facechain_ext.training.muon import Muon, muon_and_adamw, orthogonal


def test_steps_are_those_of_torch() -> None:
    torch.manual_seed(1)
    ours = [nn.Parameter(torch.randn(shape)) for shape in ((8, 24), (24, 8), (8, 24), (16, 16))]
    theirs = [nn.Parameter(weight.detach().clone()) for weight in ours]
    mine = Muon(ours, lr=1e-2, size=0.2, momentum=0.9, weight_decay=0.1)
    reference = torch.optim.Muon(theirs, lr=1e-2, momentum=0.9, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        mine.step()
        reference.step()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=2e-4, rtol=0)  # a step is about 2e-3; bfloat16 has three digits


def test_kernels_are_outputs_by_all_that_comes_in() -> None:
    torch.manual_seed(2)
    kernel = nn.Parameter(torch.randn(6, 5, 3, 3))
    matrix = nn.Parameter(kernel.detach().reshape(6, 45).clone())
    kernel.grad = torch.randn_like(kernel)
    matrix.grad = kernel.grad.reshape(6, 45).clone()
    Muon([kernel], lr=0.1).step()
    Muon([matrix], lr=0.1).step()
    assert torch.equal(kernel.reshape(6, 45), matrix)


@pytest.mark.parametrize("exact", [False, True])
def test_a_step_is_as_exact_as_asked_for(exact: bool) -> None:
    torch.manual_seed(4)
    weight = nn.Parameter(torch.zeros(6, 9))
    weight.grad = torch.randn(6, 9)
    Muon([weight], lr=1.0, size=1.0, momentum=0.0, exact=exact).step()
    assert torch.equal(weight, -3 * orthogonal(weight.grad[None], exact)[0])
    assert not torch.equal(weight, -3 * orthogonal(weight.grad[None], not exact)[0])


@pytest.mark.parametrize(("exact", "skew"), [(False, 0.06), (True, 1e-5)])
def test_directions_stay_and_lengths_become_one(exact: bool, skew: float) -> None:
    torch.manual_seed(3)
    given = torch.randn(2, 20, 12)
    left, _, right = torch.linalg.svd(given, full_matrices=False)
    along = left.mT @ orthogonal(given, exact) @ right.mT
    lengths = along.diagonal(dim1=1, dim2=2)
    assert lengths.min() > 0.6 and lengths.max() < 1.25
    assert (along - torch.diag_embed(lengths)).abs().max() < skew


def test_norms_words_and_outer_layers_are_left_to_adamw() -> None:
    network = nn.ModuleDict(
        {"conv_in": nn.Conv2d(4, 8, 3), "block": nn.ModuleDict({"conv": nn.Conv2d(8, 8, 3), "norm": nn.GroupNorm(2, 8)})}
    )
    both = muon_and_adamw((network,), ("conv_in",), 1e-3, 0.2, fused=False)
    assert [weight.shape for weight in both.parts[0].param_groups[0]["params"]] == [(8, 8, 3, 3)]
    assert len(both.parts[1].param_groups[0]["params"]) == 5  # conv_in's two, conv's bias, the norm's two


def test_where_matrices_alone_learn_muon_has_them_all() -> None:
    """As many steps by one that took up the other's state halfway are the same."""
    torch.manual_seed(1)
    first, second = nn.Linear(6, 4, bias=False), nn.Linear(6, 4, bias=False)
    one, other = (muon_and_adamw((network,), (), 1e-2, 0.2, fused=False, exact=True) for network in (first, second))
    assert len(one.parts) == 1
    for step in range(4):
        if step == 2:
            other.load_state_dict(copy.deepcopy(one.state_dict()))
            second.load_state_dict(first.state_dict())
        for network, optimiser in ((first, one), *([(second, other)] if step >= 2 else [])):
            optimiser.zero_grad()
            network(torch.arange(6.0)[None] + step).square().sum().backward()
            optimiser.step()
    assert torch.equal(first.weight, second.weight)
