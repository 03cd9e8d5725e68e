"""CLIP's reading of a prompt, of any length and with weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from facechain_ext.errors import BadInput
from facechain_ext.hosts.standalone.checkpoint import Networks
from facechain_ext.hosts.standalone.prompts import Chunk, chunks, parse


@torch.inference_mode()
def encode(networks: Networks, prompt: str, clip_skip: int) -> Tensor:
    """Text embedding of a prompt, [1, 77·chunks, width]."""

    def tokenize(text: str) -> list[int]:
        return networks.tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids

    parts = chunks(parse(prompt), tokenize)
    return torch.cat([_weighted(states, chunk) for states, chunk in zip(_read(networks, parts, clip_skip), parts, strict=True)])[None]


def _read(networks: Networks, parts: Sequence[Chunk], clip_skip: int) -> Tensor:
    """Hidden states [chunks, 77, width] of the last layer but clip_skip − 1, through the last norm, as WebUI counts."""
    encoder = networks.text_encoder
    layers = encoder.config.num_hidden_layers
    if not 1 <= clip_skip <= layers:
        raise BadInput(f"Clip skip {clip_skip} is not possible: this checkpoint's text encoder has {layers} layers, so 1 to {layers}.")
    ids = torch.tensor([part.ids for part in parts], device=encoder.device)
    read = encoder(ids, output_hidden_states=clip_skip > 1)
    if clip_skip == 1:
        return read.last_hidden_state
    return getattr(encoder, "text_model", encoder).final_layer_norm(read.hidden_states[-clip_skip])


def _weighted(states: Tensor, chunk: Chunk) -> Tensor:
    """States [77, width] times the tokens' weights, then scaled back to their mean, as WebUI's emphasis does."""
    if set(chunk.weights) == {1.0}:
        return states
    weights = torch.tensor(chunk.weights, device=states.device, dtype=states.dtype)
    weighted = states * weights[:, None]
    mean, after = states.float().mean(), weighted.float().mean()
    return weighted * (mean / after).to(states.dtype) if after != 0 else weighted
