"""The adapter a FACT training begins with, and what optimises it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from facechain_ext.demo.architecture import RESAMPLER
from facechain_ext.engine.adapter import Adapter, AdapterSizes
from facechain_ext.engine.checkpoints import read_adapter
from facechain_ext.engine.encoder import FaceEncoder
from facechain_ext.engine.resampler import ResamplerSizes
from facechain_ext.engine.sites import find_sites
from facechain_ext.errors import BadInput
from facechain_ext.training.muon import MuonAndAdamW
from facechain_ext.training.parallel import ParallelAdapter

if TYPE_CHECKING:
    from facechain_ext.training.fact import FactSettings

PUBLISHED = {"dim": 1024, "depth": 4, "heads": 12, "inner": 768, "queries": 16, "hidden": 4096}


def build_adapter(settings: FactSettings, unet: nn.Module, encoder: FaceEncoder) -> Adapter | ParallelAdapter:
    """The adapter to train, sized for checkpoint and encoder. BadWeights, BadInput, UnsupportedModel where they do not fit."""
    sites = find_sites(unet)
    if settings.begin and settings.parallel:
        raise BadInput("--begin gives an adapter with gates, --parallel asks for one without: leave one of the two out.")
    if settings.begin:
        adapter = read_fitting(Path(settings.begin), encoder).requires_grad_(True)
        adapter.check_fits(sites)
        adapter.looks, adapter.as_one = settings.looks or adapter.looks, settings.as_one or adapter.as_one
        return adapter
    taught = read_fitting(Path(settings.resampler_from), encoder) if settings.resampler_from else None
    shape = PUBLISHED if sites.context == 768 else {key: RESAMPLER[key] for key in PUBLISHED}
    sizes = taught.sizes.resampler if taught else ResamplerSizes(**shape, in_dim=encoder.sizes.dim, out_dim=sites.context)
    made = (ParallelAdapter if settings.parallel else Adapter)(AdapterSizes(resampler=sizes, channels=sites.channels))
    nn.init.normal_(made.resampler.latents, std=sizes.dim**-0.5)
    if taught:
        taught.check_fits(sites)
        made.resampler.load_state_dict(taught.resampler.state_dict())
    if isinstance(made, Adapter):
        open_silent(made)
        made.looks = settings.looks or (taught.looks if taught else 1)
        made.as_one = settings.as_one or bool(taught and taught.as_one)
    return made


def read_fitting(path: Path, encoder: FaceEncoder) -> Adapter:
    """An adapter that was trained with a face encoder of this width. BadWeights, BadInput."""
    adapter = read_adapter(path)
    if adapter.sizes.resampler.in_dim != encoder.sizes.dim:
        raise BadInput(f"The adapter {path} was trained with another face encoder: give that one with --encoder.")
    return adapter


@torch.no_grad()
def open_silent(adapter: Adapter) -> None:
    """Open the gates of a fresh adapter and let them say nothing: so the UNet is untouched, and yet they learn from the first step.

    Shut gates (α = 0) that say random things learn nothing until α has wandered off, and to the resampler all faces are noise until then.
    """
    for layer in adapter.gates():
        for opening, last in ((layer.alpha_attn, layer.to_out), (layer.alpha_dense, layer.ff.out)):
            opening.fill_(1.0)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)


def optimiser_of(adapter: nn.Module, settings: FactSettings, fused: bool) -> torch.optim.AdamW | MuonAndAdamW:
    """The gates' openings have a rate of their own and no decay: a scalar has far to go in small steps."""
    kinds: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    for key, value in adapter.named_parameters():
        if not value.requires_grad:
            continue
        opening = ".alpha_" in key
        share = settings.gates if opening else settings.resampler if key.startswith("resampler.") else 1.0
        kinds.setdefault((share, 0.0 if opening else 0.01, bool(settings.muon) and value.ndim == 2), []).append(value)
    groups = {by: [_group(kind, found) for kind, found in kinds.items() if kind[2] == by] for by in (True, False)}
    if groups[True]:
        return MuonAndAdamW(groups[True], groups[False], settings.rate, settings.muon, fused, not settings.autocast)
    return torch.optim.AdamW(groups[False], lr=settings.rate, betas=(0.9, 0.99), weight_decay=0.01, fused=fused)


def _group(kind: tuple[float, float, bool], found: list[nn.Parameter]) -> dict[str, Any]:
    return {"params": found, "share": kind[0], "weight_decay": kind[1]}
