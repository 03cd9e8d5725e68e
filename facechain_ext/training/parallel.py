"""For the ablation: the face in parallel to the text, as IP-Adapter does it (Ye et al., 2023), instead of FACT's gate before it.

    attn2(h) + s·W_out·Attention(W_q h, K f, V f)

W_q and W_out are the frozen block's own; K and V are learnt, V from zero, so that training begins with the untouched model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facechain_ext.engine.adapter import AdapterSizes
from facechain_ext.engine.checkpoints import RESAMPLER, read_tensors
from facechain_ext.engine.injection import Call, Calls, Conditioned, Observe, grid_of
from facechain_ext.engine.resampler import Resampler, ResamplerSizes
from facechain_ext.engine.sites import LEVELS, Sites, find_sites
from facechain_ext.errors import BadWeights, UnsupportedModel
from facechain_ext.training.checkpoint import fill

LAYERS = "parallel."


class ParallelLayer(nn.Module):
    """Keys and values of face tokens for one block's text attention."""

    def __init__(self, channels: int, context: int) -> None:
        super().__init__()
        self.to_k = nn.Linear(context, channels, bias=False)
        self.to_v = nn.Linear(context, channels, bias=False)
        nn.init.zeros_(self.to_v.weight)

    def increment(self, attention: Any, hidden: Tensor, tokens: Tensor) -> Tensor:
        """What the face adds to the text attention's output; hidden [B, N, C], tokens [B, T, context]."""
        parts = (attention.to_q(hidden), self.to_k(tokens), self.to_v(tokens))
        q, k, v = (part.unflatten(2, (attention.heads, -1)).transpose(1, 2) for part in parts)
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return F.linear(seen, attention.to_out[0].weight)


class ParallelAdapter(nn.Module):
    """A resampler and 16 parallel layers; `sizes` as engine.adapter's."""

    def __init__(self, sizes: AdapterSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.fingerprint = ""
        self.looks = 1
        self.resampler = Resampler(sizes.resampler)
        self.layers = nn.ModuleList(ParallelLayer(channels, sizes.resampler.out_dim) for channels in sizes.channels)

    def check_fits(self, sites: Sites) -> None:
        """UnsupportedModel where the UNet's widths are others."""
        found = (sites.channels, sites.context)
        if found != (self.sizes.channels, self.sizes.resampler.out_dim):
            raise UnsupportedModel("The parallel adapter was trained on a checkpoint of other widths: give one of this checkpoint's.")

    def each(self) -> Iterator[ParallelLayer]:
        """The layers in order of execution, typed."""
        return (layer for layer in self.layers if isinstance(layer, ParallelLayer))


@contextmanager
def attach_parallel(
    unet: nn.Module, adapter: ParallelAdapter, persons: Sequence[Conditioned], calls: Calls, *, observe: Observe | None = None
) -> Iterator[None]:
    """As engine.injection.attach, with parallel layers; afterwards the UNet is as it was."""
    sites = find_sites(unet)
    running: list[Call | None] = [None]

    def begin(_unet: nn.Module, args: tuple, kwargs: dict) -> None:
        running[0] = calls((args[0] if args else kwargs["sample"]).shape[0])

    with ExitStack() as hooks:
        hooks.callback(unet.register_forward_pre_hook(begin, with_kwargs=True).remove)
        for site, (block, layer) in enumerate(zip(sites.blocks, adapter.each(), strict=True)):
            hooks.callback(block.attn2.register_forward_hook(_leave(site, layer, persons, running, observe)).remove)
        yield


def _leave(
    site: int, layer: ParallelLayer, persons: Sequence[Conditioned], running: list[Call | None], observe: Observe | None
) -> Callable:
    def hook(attention: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        call = running[0]
        active = [one for one in persons if call is not None and one.active(call.progress)]
        if call is None or not active:
            return None
        total = torch.zeros_like(output)
        for one in active:
            tokens = one.stack.to(args[0])[torch.tensor(call.rows, device=args[0].device)]
            increment = layer.increment(attention, args[0], tokens) * one.weight
            total = total + (increment if one.mask is None else increment * _mask(one.mask, call, site, increment))
        if observe is not None:
            observe(site, total)
        return output + total

    return hook


def _mask(mask: Tensor, call: Call, site: int, like: Tensor) -> Tensor:
    chosen = mask[None] if mask.ndim == 2 else mask[torch.tensor(call.pictures, device=mask.device)]
    grid = grid_of(call.latent, LEVELS[site])
    shrunk = F.interpolate(chosen[:, None].float(), grid, mode="bilinear", antialias=True, align_corners=False)
    return shrunk.flatten(1)[:, :, None].to(like)


def parallel_tensors(adapter: ParallelAdapter) -> dict[str, Tensor]:
    """An adapter's tensors, by name."""
    named = {RESAMPLER + key: value for key, value in adapter.resampler.state_dict().items()}
    return named | {LAYERS + key: value for key, value in adapter.layers.state_dict().items()}


def read_parallel(path: Path) -> ParallelAdapter:
    """Read what a training with --parallel wrote. BadWeights where it is something else."""
    tensors, metadata = read_tensors(path)
    needed = [f"{LAYERS}{site}.to_k.weight" for site in range(len(LEVELS))]
    needed += [RESAMPLER + key for key in ("latents", "proj_in.weight", "proj_out.weight", "layers.0.0.to_q.weight", "layers.0.1.1.weight")]
    if any(key not in tensors for key in needed):
        raise BadWeights(f"{path.name} is no parallel adapter: give a file that train-fact --parallel wrote.")
    resampler, layers = _part(tensors, RESAMPLER), _part(tensors, LAYERS)
    heads = metadata.get("resampler_heads", "")
    sizes = ResamplerSizes.of(resampler, int(heads) if heads.isdigit() else None)
    channels = tuple(layers[f"{site}.to_k.weight"].shape[0] for site in range(len(LEVELS)))
    adapter = ParallelAdapter(AdapterSizes(resampler=sizes, channels=channels))
    fill(adapter.resampler, resampler, path, "a whole parallel adapter")
    fill(adapter.layers, layers, path, "a whole parallel adapter")
    return adapter.eval().requires_grad_(False)


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
