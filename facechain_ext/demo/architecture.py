"""The demo model's networks: small, and of the exact structure of what is published.

A Stable Diffusion 1.5 checkpoint (UNet of 16 attention blocks, VAE ×8, CLIP with its real tokenizer), the TransFace encoder, the
resampler and its 16 gated layers (FACTS of the published files: FaceChain-FACT, revision v1.0.0). Random and trained demo weights
share these sizes. The dictionaries are the arguments of diffusers', transformers' and the engine's classes; nothing here imports them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor


ENCODER: dict[str, int] = {"dim": 128, "depth": 6, "heads": 2, "hidden": 512, "patch": 9, "tokens": 144, "embedding": 128}
"""TransFace (engine.encoder.EncoderSizes): 112×112 pixels in patches of 9 are 12×12 = 144 tokens."""

RESAMPLER: dict[str, int] = {
    "dim": 192,
    "depth": 2,
    "heads": 3,
    "inner": 192,
    "queries": 16,
    "in_dim": 128,
    "out_dim": 128,
    "hidden": 768,
}
"""Resampler (engine.resampler.ResamplerSizes): the encoder's tokens in, 16 face tokens as wide as the text out."""

UNET: dict[str, Any] = {
    "sample_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    "block_out_channels": [32, 64, 128, 128],
    "layers_per_block": 2,
    "attention_head_dim": 8,  # the number of heads: diffusers kept the name when SD1.5's configuration was written
    "norm_num_groups": 32,
    "cross_attention_dim": 128,
}
VAE: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    # Three channels to each of the 32 groups: with one or two, a norm takes away the means of its channels, and with them the colours.
    # No residual layers on the encoder's levels (the decoder has one on each): the middle does their work, in half the time.
    "block_out_channels": [96, 96, 96, 96],
    "layers_per_block": 0,
    "norm_num_groups": 32,
    "sample_size": 256,
    "scaling_factor": 0.18215,
}
CLIP: dict[str, Any] = {
    "vocab_size": 49408,
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "projection_dim": 128,
    "bos_token_id": 49406,
    "eos_token_id": 49407,
}

SITES: dict[str, int] = {
    **{f"down_blocks.{b}.attentions.{a}": UNET["block_out_channels"][b] for b in range(3) for a in range(2)},
    "mid_block.attentions.0": UNET["block_out_channels"][3],
    **{f"up_blocks.{b}.attentions.{a}": UNET["block_out_channels"][3 - b] for b in range(1, 4) for a in range(3)},
}
"""diffusers path → channels of the 16 attention blocks, in the order they run."""


class Network(Protocol):
    """Anything with a state dict: a torch module."""

    def state_dict(self) -> Mapping[str, Tensor]: ...


def to_ldm(unet: Network, vae: Network, text_encoder: Network) -> dict[str, Tensor]:
    """The three diffusers/transformers networks as one state dict in SD1.5's LDM layout, the one of a WebUI checkpoint.

    The reverse of diffusers' single-file conversion. A module with a parameter of unknown name raises KeyError.
    """
    import torch

    full: dict[str, Tensor] = {}
    for key, value in unet.state_dict().items():
        full[f"model.diffusion_model.{unet_key(key)}"] = value
    for key, value in vae.state_dict().items():
        full[f"first_stage_model.{vae_key(key)}"] = _as_conv(key, value)
    for key, value in text_encoder.state_dict().items():
        full[f"cond_stage_model.transformer.text_model.{key.removeprefix('text_model.')}"] = value
    positions = text_encoder.state_dict()
    length = next(v.shape[0] for k, v in positions.items() if k.endswith("position_embedding.weight"))
    full["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(length)[None]
    return {key: value.detach().cpu().contiguous().clone() for key, value in full.items()}


_UNET_FIXED = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def unet_key(key: str) -> str:
    """LDM's name of a parameter of diffusers' SD1.5 UNet."""
    module, _, kind = key.rpartition(".")
    if module in _UNET_FIXED:
        return f"{_UNET_FIXED[module]}.{kind}"
    if found := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.+)", key):
        part, index, rest = found.groups()
        return f"middle_block.{2 * int(index) if part == 'resnets' else 1}.{_unet_part(part, rest)}"
    found = re.fullmatch(r"(down|up)_blocks\.(\d)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.+)", key)
    if not found:
        raise KeyError(key)
    way, block, part, index, rest = found.groups()
    return _unet_way(way, int(block), part, int(index), rest)


def _unet_way(way: str, block: int, part: str, index: int, rest: str) -> str:
    if part == "downsamplers":
        return f"input_blocks.{3 * block + 3}.0.{rest.replace('conv.', 'op.', 1)}"
    if part == "upsamplers":
        return f"output_blocks.{3 * block + 2}.{1 if block == 0 else 2}.{rest}"  # the lowest block has no attention before it
    place = f"input_blocks.{3 * block + index + 1}" if way == "down" else f"output_blocks.{3 * block + index}"
    return f"{place}.{0 if part == 'resnets' else 1}.{_unet_part(part, rest)}"


def _unet_part(part: str, rest: str) -> str:
    if part == "attentions":
        return rest
    layer, _, kind = rest.rpartition(".")
    return f"{_RESNET[layer]}.{kind}"


_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def vae_key(key: str) -> str:
    """LDM's name of a parameter of diffusers' AutoencoderKL with four levels."""
    key = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    if found := re.fullmatch(r"(encoder|decoder)\.mid_block\.attentions\.0\.(.+)\.(weight|bias)", key):
        side, layer, kind = found.groups()
        return f"{side}.mid.attn_1.{_VAE_ATTENTION[layer]}.{kind}"
    if found := re.fullmatch(r"(encoder|decoder)\.mid_block\.resnets\.(\d)\.(.+)", key):
        return f"{found[1]}.mid.block_{int(found[2]) + 1}.{found[3]}"
    if found := re.fullmatch(r"encoder\.down_blocks\.(\d)\.(.+)", key):
        return f"encoder.down.{found[1]}.{_vae_level(found[2])}"
    if found := re.fullmatch(r"decoder\.up_blocks\.(\d)\.(.+)", key):
        return f"decoder.up.{3 - int(found[1])}.{_vae_level(found[2])}"
    if re.fullmatch(r"((encoder|decoder)\.(conv_in|conv_out|norm_out)|quant_conv|post_quant_conv)\.(weight|bias)", key):
        return key
    raise KeyError(key)


def _vae_level(rest: str) -> str:
    return rest.replace("resnets.", "block.", 1).replace("downsamplers.0.", "downsample.", 1).replace("upsamplers.0.", "upsample.", 1)


def _as_conv(key: str, value: Tensor) -> Tensor:
    """LDM keeps the VAE's attention projections as 1×1 convolutions, diffusers as matrices."""
    attention = ".attentions.0." in key and "group_norm" not in key and key.endswith(".weight")
    return value[:, :, None, None] if attention else value


def ldm_config(text_encoder: str) -> dict[str, Any]:
    """What A1111 reads from the .yaml beside the checkpoint.

    text_encoder: a folder with the demo CLIP's config.json and tokenizer; A1111 builds the network from the configuration found there.
    """
    width, latent = UNET["block_out_channels"][0], VAE["latent_channels"]
    unet = {
        "image_size": UNET["sample_size"], "in_channels": latent, "out_channels": latent, "model_channels": width,
        "attention_resolutions": [4, 2, 1], "num_res_blocks": UNET["layers_per_block"],
        "channel_mult": [c // width for c in UNET["block_out_channels"]], "num_heads": UNET["attention_head_dim"],
        "use_spatial_transformer": True, "transformer_depth": 1, "context_dim": UNET["cross_attention_dim"],
        "use_checkpoint": False, "legacy": False,
    }  # fmt: skip
    base = VAE["block_out_channels"][0]
    vae = {
        "double_z": True, "z_channels": latent, "resolution": VAE["sample_size"], "in_channels": 3, "out_ch": 3, "ch": base,
        "ch_mult": [c // base for c in VAE["block_out_channels"]], "num_res_blocks": VAE["layers_per_block"],
        "attn_resolutions": [], "dropout": 0.0,
    }  # fmt: skip
    ae = {"embed_dim": latent, "monitor": "val/rec_loss", "ddconfig": vae, "lossconfig": {"target": "torch.nn.Identity"}}
    clip = {"target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder", "params": {"version": text_encoder}}
    params = {
        "linear_start": 0.00085, "linear_end": 0.0120, "num_timesteps_cond": 1, "log_every_t": 200, "timesteps": 1000,
        "first_stage_key": "jpg", "cond_stage_key": "txt", "image_size": UNET["sample_size"], "channels": latent,
        "cond_stage_trainable": False, "conditioning_key": "crossattn", "monitor": "val/loss_simple_ema",
        "scale_factor": VAE["scaling_factor"], "use_ema": False,
        "unet_config": {"target": "ldm.modules.diffusionmodules.openaimodel.UNetModel", "params": unet},
        "first_stage_config": {"target": "ldm.models.autoencoder.AutoencoderKL", "params": ae},
        "cond_stage_config": clip,
    }  # fmt: skip
    model = {"base_learning_rate": 1e-4, "target": "ldm.models.diffusion.ddpm.LatentDiffusion", "params": params}
    return {"model": model}
