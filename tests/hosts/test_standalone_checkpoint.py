"""Loading checkpoints: equal to LDM's own networks, sizes from the tensors, and a sentence for every file that is something else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from facechain_ext.demo.architecture import ldm_config, unet_key, vae_key
from facechain_ext.errors import BadWeights, FaceChainError, UnsupportedModel
from facechain_ext.hosts.standalone.checkpoint import _unet as read_unet
from facechain_ext.hosts.standalone.checkpoint import _vae as read_vae
from facechain_ext.hosts.standalone.checkpoint import load_networks, preset
from tests.hosts.standalone_cases import Tensors, controlnet, demo, host, kohya_lora, ldm_controlnet

CPU = torch.device("cpu")
UNET, VAE = "model.diffusion_model.", "first_stage_model."


def load(path: Path, dtype: torch.dtype = torch.float32) -> object:
    return load_networks(path, CPU, dtype)


def tensors() -> Tensors:
    return load_file(demo()[0])


def part(prefix: str) -> Tensors:
    return {key.removeprefix(prefix): value.float() for key, value in tensors().items() if key.startswith(prefix)}


def test_unet_equals_ldms_own() -> None:
    from ldm.modules.diffusionmodules.openaimodel import UNetModel

    ldm = UNetModel(**ldm_config("")["model"]["params"]["unet_config"]["params"])
    ldm.load_state_dict(part(UNET))
    x, text = torch.randn(2, 4, 16, 16), torch.randn(2, 77, 128)
    t = torch.tensor([10, 900])
    with torch.no_grad():
        expected = ldm.eval()(x, t, context=text)
        assert torch.allclose(host().networks.unet(x, t, text).sample, expected, atol=1e-4)


def test_vae_equals_ldms_own() -> None:
    from ldm.modules.diffusionmodules.model import Decoder, Encoder

    sizes = ldm_config("")["model"]["params"]["first_stage_config"]["params"]["ddconfig"]
    encoder, decoder = Encoder(**sizes), Decoder(**sizes)
    encoder.load_state_dict(part(f"{VAE}encoder."))
    decoder.load_state_dict(part(f"{VAE}decoder."))
    pixels, latents = torch.rand(1, 3, 64, 64), torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        assert torch.allclose(host().networks.vae.encoder(pixels), encoder(pixels), atol=1e-4)
        assert torch.allclose(host().networks.vae.decoder(latents), decoder(latents), atol=1e-4)


def published(part_name: str, rename: object, prefix: str) -> Tensors:
    """A published-size part in LDM layout, without memory behind it."""
    import diffusers

    cls = diffusers.UNet2DConditionModel if part_name == "unet" else diffusers.AutoencoderKL
    with torch.device("meta"):
        state = cls.from_config(preset(part_name)).state_dict()
    return {prefix + rename(key): as_conv(key, value) for key, value in state.items()}  # type: ignore[operator]


def as_conv(key: str, value: Tensor) -> Tensor:
    return (
        value[:, :, None, None]
        if ".attentions.0.to_" in key and key.endswith("weight") and "mid_block" in key and value.dim() == 2
        else value
    )


def test_published_unet_is_read_in_its_size() -> None:
    state = published("unet", unet_key, UNET)
    state |= {k: v.squeeze() for k, v in state.items() if "transformer_blocks" in k and v.dim() == 4}
    unet = read_unet(state, Path("sd15.safetensors"), torch.float16)
    assert sum(p.numel() for p in unet.parameters()) == 859_520_964  # as published for SD1.5
    assert unet.config["block_out_channels"] == (320, 640, 1280, 1280)


def test_published_vae_is_read_in_its_size() -> None:
    vae = read_vae(published("vae", vae_key, VAE), Path("sd15.safetensors"))
    assert sum(p.numel() for p in vae.parameters()) == 83_653_863  # as published for SD1.5


def test_pickle_and_safetensors_give_the_same(tmp_path: Path) -> None:
    torch.save({"state_dict": tensors(), "global_step": 7}, tmp_path / "model.ckpt")
    ours, theirs = host().networks.unet.state_dict(), load(tmp_path / "model.ckpt").unet.state_dict()  # type: ignore[attr-defined]
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_both_spellings_of_clip(tmp_path: Path) -> None:
    save_file(
        {key.replace("transformer.text_model.", "transformer."): value for key, value in tensors().items()}, tmp_path / "m.safetensors"
    )
    ours, theirs = host().networks.text_encoder.state_dict(), load(tmp_path / "m.safetensors").text_encoder.state_dict()  # type: ignore[attr-defined]
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_number_formats(dtype: torch.dtype) -> None:
    networks = load(demo()[0], dtype)
    assert networks.unet.dtype == networks.text_encoder.dtype == dtype  # type: ignore[attr-defined]
    assert networks.vae.dtype == torch.float32  # type: ignore[attr-defined]


def bare(*keys: str) -> Tensors:
    return {key: torch.zeros(1) for key in keys}


def changed(key: str, value: Tensor | None) -> Tensors:
    """The demo checkpoint with one tensor replaced or left out."""
    state = tensors()
    if value is None:
        del state[key]
    else:
        state[key] = value
    return state


def lora() -> Tensors:
    return kohya_lora(host().networks.unet, host().networks.text_encoder)


PROJ = f"{UNET}middle_block.1.proj_in.weight"
OTHERS = {
    "LoRA, not": lora,
    "a ControlNet": lambda: ldm_controlnet(controlnet()),
    "ControlNet, not a checkpoint": lambda: controlnet().state_dict(),
    "face adapter": lambda: load_file(demo()[2]),
    "face encoder": lambda: load_file(demo()[1]),
    "textual inversion": lambda: bare("emb_params"),
    "SDXL": lambda: bare("conditioner.embedders.0.transformer.x", f"{UNET}input_blocks.0.0.weight"),
    "SD2": lambda: bare("cond_stage_model.model.ln_final.bias", f"{UNET}input_blocks.0.0.weight"),
    "an SD2 model": lambda: changed(PROJ, torch.zeros(128, 128)),
    "Flux": lambda: bare("double_blocks.0.img_attn.norm.key_norm.scale"),
    "UNet alone in diffusers' layout": lambda: host().networks.unet.state_dict(),
    "VAE, not": lambda: host().networks.vae.state_dict(),
    "inpainting model": lambda: changed(f"{UNET}input_blocks.0.0.weight", torch.zeros(32, 9, 3, 3)),
    "not a Stable Diffusion checkpoint": lambda: bare("classifier.weight"),
}


@pytest.mark.parametrize("verdict", OTHERS)
def test_files_of_other_kinds_are_named(verdict: str, tmp_path: Path) -> None:
    save_file({key: value.contiguous() for key, value in OTHERS[verdict]().items()}, tmp_path / "other.safetensors")
    with pytest.raises(UnsupportedModel, match=verdict) as caught:
        load(tmp_path / "other.safetensors")
    assert "other.safetensors" in str(caught.value)


CLIP_LAYER = "cond_stage_model.transformer.text_model.encoder.layers.2.mlp.fc2.bias"
INCOMPLETE = {
    "input_blocks.4.0.out_layers.3.weight": lambda: changed(f"{UNET}input_blocks.4.0.out_layers.3.weight", None),
    r"missing mid_block.attentions.0.proj_in.bias\)": lambda: changed(f"{UNET}middle_block.1.proj_in.bias", None),
    r"misshapen conv_out.weight \[3, 32, 3, 3\] instead of \[4, 32, 3, 3\]": lambda: changed(
        f"{UNET}out.2.weight", torch.zeros(3, 32, 3, 3)
    ),
    "VAE .*decoder.conv_out.bias": lambda: changed(f"{VAE}decoder.conv_out.bias", None),
    "text encoder .*layers.2.mlp.fc2.bias": lambda: changed(CLIP_LAYER, None),
    "no VAE inside": lambda: {k: v for k, v in tensors().items() if not k.startswith(VAE)},
    "lacks its text encoder": lambda: {k: v for k, v in tensors().items() if k.startswith(UNET)},
}


@pytest.mark.parametrize("verdict", INCOMPLETE)
def test_incomplete_checkpoints_are_named_with_their_first_keys(verdict: str, tmp_path: Path) -> None:
    save_file(INCOMPLETE[verdict](), tmp_path / "broken.safetensors")
    with pytest.raises(BadWeights, match=verdict) as caught:
        load(tmp_path / "broken.safetensors")
    assert "broken.safetensors" in str(caught.value)


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    whole = demo()[0].read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.safetensors").write_bytes(b"")
    (tmp_path / "page.safetensors").write_bytes(b"<!DOCTYPE html>" * 100)
    (tmp_path / "text.ckpt").write_bytes(b"nothing")
    torch.save({"model": tmp_path}, tmp_path / "unsafe.ckpt")  # a pickled object other than a tensor
    (tmp_path / "folder.safetensors").mkdir()
    for name in (
        "cut.safetensors",
        "empty.safetensors",
        "page.safetensors",
        "text.ckpt",
        "unsafe.ckpt",
        "folder.safetensors",
        "none.safetensors",
    ):
        with pytest.raises(FaceChainError) as caught:
            load(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
