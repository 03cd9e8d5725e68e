"""Networks of SD1.5's structure so small that a training step takes a moment."""

from __future__ import annotations

import numpy as np
import torch

from facechain_ext.demo.architecture import CLIP, UNET, VAE
from facechain_ext.engine.encoder import EncoderSizes, FaceEncoder
from facechain_ext.hosts.standalone.checkpoint import Networks, build
from facechain_ext.training.tokens import _tokenizer

SMALL_UNET = {**UNET, "block_out_channels": [32, 32, 32, 32], "cross_attention_dim": 32}
SMALL_VAE = {**VAE, "block_out_channels": [8, 8, 8, 8], "norm_num_groups": 8}
SMALL_CLIP = {**CLIP, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1, "projection_dim": 32}
SMALL_ENCODER = EncoderSizes(dim=64, depth=1, heads=1, hidden=32, patch=9, tokens=144, embedding=16)


def networks(seed: int = 0) -> Networks:
    torch.manual_seed(seed)
    unet, vae, text = build(SMALL_UNET, SMALL_VAE, SMALL_CLIP)
    for module in (unet, vae, text):
        module.eval().requires_grad_(False)
    return Networks(unet=unet, vae=vae, text_encoder=text, tokenizer=_tokenizer())


def encoder(seed: int = 1) -> FaceEncoder:
    torch.manual_seed(seed)
    made = FaceEncoder(SMALL_ENCODER)
    torch.nn.init.normal_(made.pos_embed)
    return made.eval().requires_grad_(False)


def write_latents(folder, count, people=1):
    """A set as encode-pictures writes it, with noise for latents."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    np.save(folder / "latents.npy", rng.standard_normal((count, 4, 16, 16 * people)).astype(np.float16))
    np.save(folder / "heads.npy", rng.integers(0, 256, (count, 16, 16 * people)).astype(np.uint8))
    np.save(folder / "tokens.npy", rng.integers(0, 49408, (count, 77)).astype(np.uint16))
    (folder / "set.json").write_text(f'{{"done": {count}, "seed": 0, "people": {people}, "vae": ""}}')
    return folder
