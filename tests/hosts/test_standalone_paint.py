"""Painting with the random demo model: against diffusers' pipelines, and everything that must be equal bit for bit."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from facechain_ext.engine.injection import Call, attach
from facechain_ext.errors import BadInput, BadWeights, FaceChainError, Interrupted, MissingPackage, OutOfMemory
from facechain_ext.hosts.standalone import painting
from facechain_ext.hosts.standalone.host import Standalone, choose_device, choose_dtype
from facechain_ext.hosts.standalone.samplers import SAMPLERS
from facechain_ext.hosts.standalone.text import encode
from facechain_ext.hosts.types import Folders, Progress
from tests.hosts.standalone_cases import adapter, ask, demo, folder, host, paint, person, photo, pixels, same

pytestmark = pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # diffusers rounds torch tensors by numpy


def pipeline(cls: str = "StableDiffusionPipeline") -> Any:
    """diffusers' own pipeline on the same networks, with SD1.5's DDIM."""
    import diffusers

    networks = host().networks
    scheduler = diffusers.DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False, steps_offset=1
    )
    pipe = getattr(diffusers, cls)(
        vae=networks.vae, text_encoder=networks.text_encoder, tokenizer=networks.tokenizer, unet=networks.unet, scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


def near(ours: Any, theirs: Image.Image, levels: int = 1) -> bool:
    return bool(np.abs(pixels(ours) - np.asarray(theirs)).max() <= levels)


@pytest.mark.parametrize(("width", "height", "cfg"), [(64, 64, 7.0), (104, 72, 3.0), (64, 64, 1.0)])
def test_txt2img_equals_diffusers(width: int, height: int, cfg: float) -> None:
    (ours,) = paint(width=width, height=height, cfg=cfg, steps=3)
    theirs = pipeline()(
        "a cat", negative_prompt="a dog", width=width, height=height, num_inference_steps=3, guidance_scale=cfg,
        generator=torch.Generator().manual_seed(7),
    )  # fmt: skip
    assert ours.image.size == (width, height)
    assert near(ours, theirs.images[0])


def test_plms_equals_diffusers() -> None:
    import diffusers

    pipe = pipeline()
    pipe.scheduler = diffusers.PNDMScheduler.from_config(pipe.scheduler.config, skip_prk_steps=True)
    theirs = pipe("a cat", negative_prompt="a dog", width=64, height=64, num_inference_steps=6, generator=torch.Generator().manual_seed(7))
    assert near(*paint(steps=6, cfg=7.5, sampler="PLMS"), theirs.images[0])


def test_pictures_and_seeds_do_not_depend_on_count_and_batch() -> None:
    one_by_one = paint(count=3, batch=1)
    assert [picture.seed for picture in one_by_one] == [7, 8, 9]
    assert all(same(a, b) for a, b in zip(one_by_one, paint(count=3, batch=2), strict=True))
    assert same(one_by_one[2], *paint(seed=9))
    assert not same(one_by_one[0], one_by_one[1])


def batch_of(**changes: Any) -> painting.Batch:
    request = ask(**changes)
    cond, uncond = (encode(host().networks, text, 1) for text in (request.prompt, request.negative))
    seeds = tuple(request.seed + i for i in range(request.batch))
    return painting.Batch(request=request, cond=cond, uncond=uncond, units=(), first=0, seeds=seeds)


@pytest.mark.parametrize("name", ["DDIM", "Euler a", "DPM++ 2M SDE Karras", "DPM++ SDE Karras", "DPM2 a", "LCM"])
def test_a_picture_in_a_batch_is_the_picture_alone(name: str) -> None:
    together = painting.paint_batch(host().networks, batch_of(batch=3, sampler=name), lambda *_: None)
    alone = painting.paint_batch(host().networks, batch_of(seed=8, sampler=name), lambda *_: None)
    assert together[1].seed == 8
    assert near(together[1], alone[0].image)  # a matrix product of other height rounds otherwise in float32


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_paints(name: str) -> None:
    (picture,) = paint(sampler=name, steps=3)
    assert pixels(picture).std() > 5
    assert same(picture, *paint(sampler=name, steps=3))


def test_prompts_of_any_length_and_different_lengths() -> None:
    long = "a very long story of a cat, " * 20
    plain = paint(cfg=5.0)
    assert not same(*plain, *paint(prompt=long, cfg=5.0))
    assert not same(*paint(negative=long, cfg=5.0), *plain)
    (guided,), (unguided,) = paint(prompt=long, negative=long, cfg=5.0), paint(prompt=long, negative=long, cfg=1.0)
    apart = np.asarray(guided.image).astype(int) - np.asarray(unguided.image)
    assert np.abs(apart).max() <= 1, "nothing to guide away from; two rows at once may be rounded otherwise than one"


def test_two_calls_guide_as_one() -> None:
    """cond and uncond asked separately (other lengths) combine as they do together: uncond + cfg·(cond − uncond)."""
    batch = batch_of(negative="a dog BREAK more", cfg=4.0)
    x, t = torch.randn(1, 4, 8, 8), torch.tensor(400)
    with torch.no_grad():
        found = painting.predict(host().networks, batch, x, t, painting.Place(batch))
        uncond, cond = (host().networks.unet(x, t, text).sample for text in (batch.uncond, batch.cond))
    assert batch.uncond.shape != batch.cond.shape
    assert torch.allclose(found, uncond + 4 * (cond - uncond), atol=1e-5)


def test_the_injector_is_told_which_rows_are_conditional() -> None:
    batch = replace(batch_of(width=104, height=64), first=4, seeds=(11, 12))
    place = painting.Place(batch)
    place.kinds, place.progress = (0, 1), 0.25
    assert place(4) == Call(rows=(0, 0, 1, 1), pictures=(4, 5, 4, 5), progress=0.25, latent=(8, 13))
    place.kinds = (1,)
    assert place(2).rows == (1, 1)


def injected(**changes: Any) -> Any:
    who = {key: changes.pop(key) for key in ("seed_of", "null", "weight", "start", "end") if key in changes}
    who["seed"] = who.pop("seed_of", 3)
    return paint(adapter=adapter(), persons=(person(**who),), **changes)[0]


def test_identity_changes_the_picture_and_leaves_the_model_untouched() -> None:
    plain = paint()[0]
    with_face = injected(weight=1.0)
    assert not same(plain, with_face)
    assert not same(with_face, injected(weight=1.0, seed_of=5))
    assert same(plain, paint()[0])


def test_weight_zero_and_an_empty_part_of_the_steps_change_nothing() -> None:
    plain = paint()[0]
    assert same(plain, injected(weight=0.0))
    assert same(plain, injected(weight=1.0, start=0.75))  # two steps begin at 0 and 0.5
    assert same(plain, paint(adapter=adapter(), persons=())[0])


def test_start_and_end_choose_steps() -> None:
    whole, first, second = injected(weight=1.0), injected(weight=1.0, end=0.5), injected(weight=1.0, start=0.5)
    assert not same(first, second)
    assert not same(whole, first)
    assert not same(whole, second)
    assert same(first, injected(weight=1.0, end=0.3))


def test_null_tokens_go_to_the_unconditional_rows_alone() -> None:
    assert same(injected(weight=1.0, cfg=1.0, null=4), injected(weight=1.0, cfg=1.0, null=8))
    assert not same(injected(weight=1.0, null=4), injected(weight=1.0, null=8))
    assert not same(injected(weight=1.0, cfg=1.0, seed_of=3), injected(weight=1.0, cfg=1.0, seed_of=5))


@pytest.mark.parametrize("negative", ["a dog", "a dog BREAK more"])
def test_guidance_is_between_the_face_and_the_null_tokens(negative: str) -> None:
    """One call for both kinds of rows, or two where the prompts differ in length: uncond with null tokens, cond with the face."""
    batch = batch_of(negative=negative, cfg=4.0, batch=2)
    x, t, place = torch.randn(2, 4, 8, 8), torch.tensor(400), painting.Place(batch)
    unet, persons = host().networks.unet, (person(weight=1.0),)

    def seen(text: torch.Tensor, row: int) -> torch.Tensor:
        with attach(unet, adapter(), persons, lambda _: Call(rows=(row, row), pictures=(0, 1), progress=0.0, latent=(8, 8))):
            return unet(x, t, text.expand(2, -1, -1)).sample

    with torch.no_grad():
        uncond, cond = seen(batch.uncond, 0), seen(batch.cond, 1)
        with attach(unet, adapter(), persons, place):
            found = painting.predict(host().networks, batch, x, t, place)
    assert torch.allclose(found, uncond + 4 * (cond - uncond), atol=1e-4)


def test_img2img_strength() -> None:
    image = photo(96, 64)
    kept, changed = [paint(image=image, width=96, height=64, strength=s, steps=4)[0] for s in (0.0, 0.8)]
    vae = host().networks.vae
    with torch.no_grad():  # strength 0 is what the VAE makes of the picture
        pixels_in = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 127.5 - 1
        seen = vae.decode(vae.encode(pixels_in).latent_dist.mean).sample[0]
    expected = (seen * 127.5 + 127.5).clamp(0, 255).permute(1, 2, 0).round().numpy()
    assert np.abs(pixels(kept) - expected).max() <= 1
    assert not same(kept, changed)
    weak = paint(image=image, width=96, height=64, strength=0.3, steps=4)[0]
    away = [np.abs(pixels(picture) - pixels(kept)).mean() for picture in (weak, changed)]
    assert 0 < away[0] < away[1]


def test_img2img_of_other_size_and_mode() -> None:
    (picture,) = paint(image=photo(50, 90).convert("RGBA"), width=64, height=72)
    assert picture.image.size == (64, 72)
    assert picture.image.mode == "RGB"


@pytest.mark.parametrize("name", ["DDIM", "PLMS", "Euler a", "Heun", "DPM++ 2M Karras", "LMS"])
def test_inpaint_keeps_every_pixel_outside_the_mask(name: str) -> None:
    image, mask = photo(96, 64), Image.new("L", (96, 64))
    mask.paste(255, (20, 10, 53, 41))
    (picture,) = paint(image=image, mask=mask, width=96, height=64, strength=1.0, steps=3, sampler=name)
    inside = np.asarray(mask) > 0
    difference = np.abs(pixels(picture) - np.asarray(image))
    assert (difference[~inside] == 0).all()
    assert difference[inside].mean() > 5


def test_inpaint_holds_the_latents_outside_the_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    image, mask, seen = photo(), Image.new("L", (64, 64)), []
    mask.paste(255, (0, 0, 9, 64))  # reaches into the second column of latents
    real = painting.decode
    monkeypatch.setattr(painting, "decode", lambda networks, latents: seen.append(latents) or real(networks, latents))
    request = {"image": image, "strength": 1.0, "steps": 3}
    paint(mask=mask, **request)
    with torch.no_grad():
        pixels_in = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 127.5 - 1
        original = host().networks.vae.encode(pixels_in).latent_dist.mean * 0.18215
    assert torch.allclose(seen[0][..., 2:], original[..., 2:], atol=1e-5)
    assert not torch.allclose(seen[0][..., :2], original[..., :2], atol=1e-1)


def test_a_white_mask_is_img2img() -> None:
    request = {"image": photo(), "strength": 0.6, "steps": 4}
    assert same(*paint(mask=Image.new("L", (64, 64), 255), **request), *paint(**request))


def test_progress_is_reported_after_each_step() -> None:
    seen: list[Progress] = []
    list(host().paint(ask(count=2, steps=2), seen.append))
    assert [(p.picture, p.pictures, p.step, p.steps) for p in seen] == [(0, 2, 1, 2), (0, 2, 2, 2), (1, 2, 1, 2), (1, 2, 2, 2)]


def test_interruption_keeps_what_is_finished_and_leaves_the_model_clean() -> None:
    plain = paint()[0]

    def stop(progress: Progress) -> None:
        if progress.picture == 1:
            raise Interrupted("Stopped.")

    pictures = host().paint(ask(count=3, adapter=adapter(), persons=(person(weight=1.0),)), stop)
    assert same(next(pictures), injected(weight=1.0))
    with pytest.raises(Interrupted):
        next(pictures)
    assert same(plain, paint()[0])


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("[enforce] not enough memory: you tried to")])
def test_out_of_memory_comes_with_advice(error: RuntimeError, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(host().networks.unet, "forward", fail)
    with pytest.raises(OutOfMemory, match="64×64: choose a smaller size"):
        paint()


def test_other_errors_are_not_called_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(host().networks.unet, "forward", fail)
    with pytest.raises(RuntimeError, match="shapes differ"):
        paint()


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_half_precision_paints_nearly_the_same(dtype: str) -> None:
    half = Standalone(demo()[0], device="cpu", dtype=dtype, folders=Folders(models=Path(folder().name)))
    (picture,) = half.paint(ask(adapter=adapter(), persons=(person(weight=0.5),)))
    assert np.abs(pixels(picture) - pixels(injected(weight=0.5))).mean() < 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 100}, "width is 100, which is not a multiple of 8: choose 96"),
        ({"height": 8}, "height is 8: choose 64 to 4096"),
        ({"steps": 0}, "steps is 0"),
        ({"count": 0}, "count is 0"),
        ({"batch": 0}, "batch is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"strength": 1.5}, "strength is 1.5"),
        ({"sampler": "Oiler"}, "no sampler Oiler: choose Euler"),
        ({"clip_skip": 9}, "4 layers"),
        ({"mask": Image.new("L", (64, 64))}, "no picture to inpaint"),
        ({"prompt": "a <lora:nothing:1>"}, "no LoRA nothing"),
    ],
)
def test_requests_that_cannot_be_painted(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        paint(**changes)


def test_an_adapter_of_another_width_is_refused(tmp_path: Path) -> None:
    other = adapter()
    sizes = replace(other.sizes, channels=tuple(2 * c for c in other.sizes.channels))
    with pytest.raises(FaceChainError, match="adapter"):
        paint(adapter=type(other)(sizes).eval(), persons=(person(weight=1.0),))


def test_devices_and_number_formats() -> None:
    assert choose_device("cpu").type == "cpu"
    assert choose_dtype("auto", torch.device("cpu")) == torch.float32
    assert choose_dtype("auto", torch.device("cuda")) == torch.float16
    assert choose_dtype("bf16", torch.device("cpu")) == torch.bfloat16
    with pytest.raises(BadInput, match="no device tpu"):
        choose_device("tpu")
    with pytest.raises(BadInput, match="cuda:99"):
        choose_device("cuda:99")
    with pytest.raises(BadInput, match="no number format int8"):
        choose_dtype("int8", torch.device("cpu"))


def test_a_missing_checkpoint_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no checkpoint nowhere\.safetensors"):
        Standalone("nowhere.safetensors", folders=Folders(models=tmp_path))


def test_a_checkpoint_is_found_by_name_and_read_late(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "mine.safetensors").write_bytes(b"")
    found = Standalone("mine", folders=Folders(models=tmp_path, checkpoints=tmp_path))
    assert found.checkpoints() == ["mine"]
    with pytest.raises(BadWeights, match="mine"):
        next(found.paint(ask()))
    with pytest.raises(BadInput, match="perhaps mine"):
        Standalone("mime", folders=Folders(models=tmp_path, checkpoints=tmp_path))


def test_without_diffusers_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    monkeypatch.delitem(sys.modules, "facechain_ext.hosts.standalone.checkpoint")
    with pytest.raises(MissingPackage, match="needs the package diffusers"):
        next(Standalone(demo()[0], folders=Folders(models=Path(folder().name))).paint(ask()))


def test_the_checkpoint_is_stated_with_webuis_hash() -> None:
    import hashlib

    assert host().checkpoint() == f"checkpoint [{hashlib.sha256(demo()[0].read_bytes()).hexdigest()[:10]}]"
