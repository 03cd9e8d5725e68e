"""Off means off and on means on, in everything an ordinary generation may be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from tests.live.webui import LORA, Pictures, WebUI, encode, face, mask, person, photo

TEXTURE = encode(
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (12, 12, 3), np.uint8)).resize((192, 192), Image.Resampling.BICUBIC)
)
LONG = ", ".join(["a very detailed portrait of a person in a garden"] * 12)

CASES = {
    "plain": {},
    "batch of three": {"batch_size": 3},
    "two batches": {"n_iter": 2, "batch_size": 2},
    "AND": {"prompt": "a portrait AND a garden :0.6"},
    "AND × batch of two": {"prompt": "a portrait AND a garden AND rain", "batch_size": 2},
    "prompt longer than negative": {"prompt": LONG},
    "negative longer than prompt × batch of two": {"negative_prompt": LONG, "batch_size": 2},
    "AND × long": {"prompt": LONG + " AND a garden"},
    "prompt editing": {"prompt": "[a portrait:a garden:0.5]", "steps": 4},
    "CFG 1": {"cfg_scale": 1},
    "no negative": {"negative_prompt": ""},
    "odd size": {"width": 72, "height": 88},
    "hires, latent": {"enable_hr": True, "hr_scale": 2, "hr_upscaler": "Latent", "denoising_strength": 0.7},
    "hires × AND × batch": {
        "enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.7, "prompt": "a AND b", "batch_size": 2,
    },
    "hires cut to another shape": {
        "enable_hr": True, "hr_resize_x": 128, "hr_resize_y": 64, "hr_upscaler": "Latent", "denoising_strength": 0.7,
    },
    "NGMS": {"s_min_uncond": 4.0, "steps": 6},
    "skip early CFG": {"override_settings": {"skip_early_cond": 0.4}, "steps": 4},
    "cond and uncond apart": {"override_settings": {"batch_cond_uncond": False}},
    "pads the shorter prompt": {"override_settings": {"pad_cond_uncond": True}, "prompt": LONG},
    "token merging": {"override_settings": {"token_merging_ratio": 0.5}, "width": 128, "height": 128},
}  # fmt: skip
UNCLIPPED = {"cfg_scale": 2}
"""For parts of a picture: of what random weights paint at CFG 7, up to 96 % is black or white already, where no change shows."""
SAMPLERS = ("Euler a", "Heun", "DPM2", "DPM++ 2M", "DPM++ SDE", "DPM++ 2S a", "DDIM", "PLMS", "UniPC", "LCM", "Restart")


def largest(one: Pictures, other: Pictures) -> int:
    return int(np.abs(one.pixels.astype(int) - other.pixels).max())


def off_on_off(make: Callable[..., Pictures], what: dict | None = None, **request: object) -> tuple[Pictures, Pictures]:
    """A picture without us, one with the face, and proof that without us it is as before."""
    off = make(None, **request)
    on = make(what or face(), **request)
    assert on.trouble is None
    assert largest(on, off) > 2, "the face changes nothing"
    assert largest(make(None, **request), off) == 0, "the face left something behind"
    return off, on


@pytest.mark.parametrize("request_", CASES.values(), ids=CASES.keys())
def test_off_on_off(webui: WebUI, request_):
    off_on_off(webui.make, **request_)


OFF = {"switched off": face(enabled=False), "weight 0": face(person(weight=0)), "nobody": face() | {"persons": []}}


@pytest.mark.parametrize("case", ["plain", "AND × batch of two", "hires, latent"])
def test_every_way_of_being_off(webui: WebUI, case):
    off = webui.make(None, **CASES[case])
    for how, what in OFF.items():
        assert largest(webui.make(what, **CASES[case]), off) == 0, how


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_off_on_off_with_every_kind_of_sampler(webui: WebUI, sampler):
    off_on_off(webui.make, sampler_name=sampler, steps=4)


def test_on_twice_is_the_same_picture(webui: WebUI):
    assert largest(webui.make(face()), webui.make(face())) == 0


def test_a_batch_of_three_is_its_three_singles(webui: WebUI):
    """As exactly as without us: on some machines a batch rounds otherwise than a single picture."""
    by_host, with_face = differences_to_singles(webui, None), differences_to_singles(webui, face())
    assert with_face <= max(1, 2 * by_host)


def differences_to_singles(webui: WebUI, what: dict | None) -> int:
    together = webui.make(what, batch_size=3).pixels.astype(int)
    return int(max(np.abs(together[number] - webui.make(what, seed=7 + number).pixels[0]).max() for number in range(3)))


def test_img2img(webui: WebUI):
    off_on_off(webui.seeded, init_images=[TEXTURE], denoising_strength=0.7)


def test_inpainting_the_whole_picture_leaves_the_outside(webui: WebUI):
    request = {"init_images": [TEXTURE], "mask": mask(192, 192, 64, 64, 128, 128), "denoising_strength": 0.8, "width": 128, "height": 128}
    off, on = off_on_off(webui.seeded, **request, **UNCLIPPED, inpaint_full_res=False, mask_blur=0, inpainting_fill=1)
    outside = np.ones((128, 128), bool)
    outside[22:106, 22:106] = False  # the mask is at 43 to 85 of these pixels
    assert np.array_equal(on.pixels[0][outside], off.pixels[0][outside])


def test_inpainting_only_masked_changes_nothing_outside(webui: WebUI):
    request = {"init_images": [TEXTURE], "mask": mask(192, 192, 64, 64, 128, 128), "denoising_strength": 0.8} | UNCLIPPED
    off, on = off_on_off(webui.seeded, **request, inpaint_full_res=True, inpaint_full_res_padding=16, mask_blur=2, inpainting_fill=1)
    outside = np.ones((192, 192), bool)
    outside[44:148, 44:148] = False  # 20 pixels around the mask
    assert np.array_equal(on.pixels[0][outside], off.pixels[0][outside])


def test_a_region_in_only_masked_inpainting_is_that_of_the_whole_picture(webui: WebUI):
    """A person in the left half of the picture has no part in inpainting its right half, and all of one in its left half."""
    left = {"region": "mask", "mask": mask(192, 192, 0, 0, 96, 192)}
    request = {"init_images": [TEXTURE], "denoising_strength": 0.8, "inpaint_full_res": True, "inpaint_full_res_padding": 0, "mask_blur": 0}
    request |= {"inpainting_fill": 1} | UNCLIPPED
    at_right, at_left = ({"mask": mask(192, 192, *box)} for box in ((128, 64, 176, 112), (16, 64, 64, 112)))
    assert largest(webui.seeded(face(person(**left)), **request, **at_right), webui.seeded(None, **request, **at_right)) == 0
    assert largest(webui.seeded(face(person(**left)), **request, **at_left), webui.seeded(face(), **request, **at_left)) == 0
    assert largest(webui.seeded(face(), **request, **at_left), webui.seeded(None, **request, **at_left)) > 2


def test_a_region_changes_its_side_more(webui: WebUI):
    """The UNet mixes the whole picture, so the other side changes too; but every side changes more by its own region than by the other.

    The same pixels are compared, as some checkpoints of random weights answer more on one side than on the other.
    """
    request = {"width": 128, "height": 128} | UNCLIPPED
    off = webui.make(None, **request).pixels[0].astype(float)
    sides = {(0, 0, 64, 128): slice(0, 44), (64, 0, 128, 128): slice(84, 128)}
    pictures = {box: webui.make(face(person(region="mask", mask=mask(128, 128, *box))), **request) for box in sides}
    change = {box: np.abs(made.pixels[0] - off).mean((0, 2)) for box, made in pictures.items()}
    for box, own in sides.items():
        (other,) = (one for one in sides if one != box)
        assert change[box][own].mean() > 1.3 * change[other][own].mean(), box


def test_two_persons_side_by_side(webui: WebUI):
    off_on_off(webui.make, face(person(0, region="left to right"), person(25, region="left to right")), width=128)
    one = face(person(0, region="left to right"), person(25, region="left to right"))
    other = face(person(25, region="left to right"), person(0, region="left to right"))
    assert largest(webui.make(one, width=128), webui.make(other, width=128)) > 0


def test_start_and_end(webui: WebUI):
    whole = webui.make(face(), steps=4)
    for span in ({"start": 0.5}, {"end": 0.5}):
        part = webui.make(face(person(**span)), steps=4)
        assert largest(part, whole) > 0
    assert largest(webui.make(face(person(start=0.9, end=0.95)), steps=4), webui.make(None, steps=4)) == 0


def test_passes_of_hires_fix(webui: WebUI):
    request = {"enable_hr": True, "hr_scale": 2, "hr_upscaler": "Latent", "denoising_strength": 0.7}
    made = [webui.make(None, **request)] + [webui.make(face(passes=passes), **request) for passes in ("first", "second", "both")]
    assert all(one.trouble is None for one in made)
    assert all(largest(made[i], made[j]) > 0 for i in range(4) for j in range(i))


def test_passes_without_hires_fix_mean_the_only_pass(webui: WebUI):
    assert largest(webui.make(face(passes="second")), webui.make(face())) == 0


def test_a_lora_in_the_prompt(webui: WebUI):
    name = a_lora(webui)
    bare = webui.make(None)
    off, _ = off_on_off(webui.make, prompt=f"a portrait of a person <lora:{name}:1>")
    assert largest(off, bare) > 0, "the LoRA itself changes nothing"
    assert largest(webui.make(None), bare) == 0


def a_lora(webui: WebUI) -> str:
    """A LoRA of random numbers for the running checkpoint, put into the host's folder where it can be reached; else one that is there."""
    checkpoint, folder = webui.checkpoint(), webui.lora_folder()
    if not (checkpoint.is_file() and folder.is_dir()):
        found = [lora["name"] for lora in webui.ask("/sdapi/v1/loras")]
        assert found, "Put an SD1.5 LoRA into the WebUI's folder: it cannot be reached from here."
        return found[0]
    write_lora(checkpoint, folder / f"{LORA}.safetensors")
    webui.ask("/sdapi/v1/refresh-loras", {})
    return LORA


def write_lora(checkpoint: Path, target: Path) -> None:
    """Kohya's format, rank 2, on the first text attention of the UNet."""
    with safe_open(checkpoint, framework="pt") as file:
        base = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2"
        shapes = {part: file.get_slice(f"{base}.{part}.weight").get_shape() for part in ("to_q", "to_k", "to_v")}
    generator, tensors = torch.Generator().manual_seed(3), {}
    for part, (out, into) in shapes.items():
        key = f"lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_{part}"
        tensors[f"{key}.lora_down.weight"] = torch.randn(2, into, generator=generator)
        tensors[f"{key}.lora_up.weight"] = torch.randn(out, 2, generator=generator) * 0.3
        tensors[f"{key}.alpha"] = torch.tensor(2.0)
    save_file(tensors, target, {"ss_base_model_version": "sd_v1", "ss_network_module": "networks.lora"})


def test_the_refiner_takes_over_and_gives_back(webui: WebUI):
    """With a second checkpoint the adapter leaves with its model; without one the WebUI ignores the request."""
    now = webui.ask("/sdapi/v1/options")["sd_model_checkpoint"]
    titles = [model["title"] for model in webui.ask("/sdapi/v1/sd-models")]
    request = {"refiner_checkpoint": next((title for title in titles if title != now), now), "refiner_switch_at": 0.5, "steps": 4}
    off_on_off(webui.make, **request, n_iter=2)
    assert webui.make(face()).trouble is None


def test_beside_controlnet(webui: WebUI):
    """With a ControlNet model in the WebUI, and otherwise with its script named but idle, or without it."""
    names = webui.ask("/sdapi/v1/scripts")["txt2img"]
    if "controlnet" not in [name.lower() for name in names]:
        off_on_off(webui.make)
        return
    models = [model for model in webui.ask("/controlnet/model_list")["model_list"] if "openpose" in model]
    unit = {"enabled": bool(models), "module": "None" if webui.host == "forge" else "none", "model": models[0] if models else "None"}
    off_on_off(webui.make, alwayson_scripts={"ControlNet": {"args": [unit | {"image": TEXTURE, "weight": 1.0}]}})


def test_several_photos_of_one_person(webui: WebUI):
    two = webui.make(face(person(photos=[photo(0), photo(9)])))
    assert two.trouble is None
    assert largest(two, webui.make(face())) > 0
