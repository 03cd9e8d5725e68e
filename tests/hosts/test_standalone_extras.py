"""LoRAs and ControlNets on the standalone host."""

from __future__ import annotations

import copy
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from facechain_ext.errors import BadWeights, FaceChainError, Interrupted, UnsupportedModel
from facechain_ext.hosts.standalone import painting
from facechain_ext.hosts.standalone.controlnets import Unit, control_picture, load_controlnet, residuals
from facechain_ext.hosts.standalone.host import Standalone
from facechain_ext.hosts.standalone.loras import applied
from facechain_ext.hosts.types import Control, Folders, Lora, Progress
from tests.hosts.standalone_cases import (
    Tensors,
    adapter,
    ask,
    controlnet,
    demo,
    host,
    kohya_lora,
    ldm_controlnet,
    paint,
    person,
    photo,
    pixels,
    same,
    text_matrices,
    unet_matrices,
)
from tests.hosts.test_standalone_paint import batch_of, near, pipeline


def lora(path: Path, seed: int = 0, **only: str) -> Path:
    tensors = kohya_lora(host().networks.unet, host().networks.text_encoder, seed=seed)
    save_file({key: value for key, value in tensors.items() if key.startswith(only.get("prefix", "lora_"))}, path)
    return path


def answers() -> tuple[torch.Tensor, torch.Tensor]:
    """What text encoder and UNet say at the moment."""
    networks = host().networks
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        text = networks.text_encoder(torch.tensor([networks.tokenizer("a cat", padding="max_length").input_ids])).last_hidden_state
        return text, networks.unet(x, torch.tensor(300), text).sample


def merged(tensors: Tensors, weight: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The same with W + weight·(alpha/rank)·up·down written into the matrices of a copy."""
    networks = copy.copy(host().networks)
    unet, encoder = copy.deepcopy(networks.unet), copy.deepcopy(networks.text_encoder)
    for layer, matrix in [*unet_matrices(unet), *text_matrices(encoder)]:
        down, up = tensors[f"{layer}.lora_down.weight"], tensors[f"{layer}.lora_up.weight"]
        scale = float(tensors[f"{layer}.alpha"]) / len(down)
        matrix.data += weight * scale * (up.flatten(1) @ down.flatten(1)).reshape(matrix.shape)
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        text = encoder(torch.tensor([networks.tokenizer("a cat", padding="max_length").input_ids])).last_hidden_state
        return text, unet(x, torch.tensor(300), text).sample


def test_a_lora_is_what_it_is_when_merged(tmp_path: Path) -> None:
    path = lora(tmp_path / "style.safetensors")
    tensors = kohya_lora(host().networks.unet, host().networks.text_encoder)
    with applied(host().networks, [(path, 0.7)]):
        found = answers()
    for ours, expected in zip(found, merged(tensors, 0.7), strict=True):
        assert torch.allclose(ours, expected, atol=1e-4)


def test_loras_add_up_and_leave_without_a_trace(tmp_path: Path) -> None:
    first, second = lora(tmp_path / "one.safetensors"), lora(tmp_path / "two.safetensors", seed=1)
    before, keys = answers(), list(host().networks.unet.state_dict())
    plain = paint()[0]
    pictures = [
        paint(loras=loras)[0] for loras in ((Lora(source=first),), (Lora(source=second),), (Lora(source=first), Lora(source=second)))
    ]
    assert len({picture.image.tobytes() for picture in (plain, *pictures)}) == 4
    assert same(plain, paint()[0])
    assert all(torch.equal(a, b) for a, b in zip(before, answers(), strict=True))
    assert list(host().networks.unet.state_dict()) == keys


def test_a_lora_leaves_when_the_work_is_stopped(tmp_path: Path) -> None:
    path, plain = lora(tmp_path / "one.safetensors"), paint()[0]

    def stop(_: Progress) -> None:
        raise Interrupted("Stopped.")

    with pytest.raises(Interrupted):
        next(host().paint(ask(loras=(Lora(source=path),)), stop))
    assert same(plain, paint()[0])
    pictures = host().paint(ask(loras=(Lora(source=path),), count=2))
    next(pictures)
    pictures.close()
    assert same(plain, paint()[0])


def test_weight_zero_is_no_lora(tmp_path: Path) -> None:
    assert same(*paint(loras=(Lora(source=lora(tmp_path / "a.safetensors"), weight=0.0),)), *paint())


@pytest.mark.parametrize(("prefix", "changed"), [("lora_unet_", (False, True)), ("lora_te_", (True, True))])
def test_loras_of_one_network_alone(prefix: str, changed: tuple[bool, bool], tmp_path: Path) -> None:
    plain, path = answers(), lora(tmp_path / "part.safetensors", prefix=prefix)
    heard = logging.Handler(logging.WARNING)
    said: list[str] = []
    heard.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("diffusers").addHandler(heard)
    try:
        with applied(host().networks, [(path, 1.0)]):
            found = answers()
    finally:
        logging.getLogger("diffusers").removeHandler(heard)
    assert tuple(not torch.equal(a, b) for a, b in zip(plain, found, strict=True)) == changed
    assert said == [], "that the other network stays as it is, is no fault"


def test_a_lora_by_name_or_in_the_prompt(tmp_path: Path) -> None:
    path = lora(tmp_path / "my style.safetensors")
    named = Standalone(demo()[0], device="cpu", folders=Folders(models=tmp_path, loras=tmp_path))
    assert named.loras() == ["my style"]
    by_file = paint(loras=(Lora(source=path, weight=0.6),))[0]
    assert same(by_file, next(named.paint(ask(loras=(Lora(source="my style", weight=0.6),)))))
    assert same(by_file, next(named.paint(ask(prompt="a cat<lora:my style:0.6>"))))


def test_a_lora_works_beside_identity_and_in_half_precision(tmp_path: Path) -> None:
    path = lora(tmp_path / "a.safetensors")
    request = {"adapter": adapter(), "persons": (person(weight=0.5),), "loras": (Lora(source=path, weight=0.5),)}
    (full,) = paint(**request)
    half = Standalone(demo()[0], device="cpu", dtype="bf16", folders=Folders(models=tmp_path))
    assert np.abs(pixels(next(half.paint(ask(**request)))) - pixels(full)).mean() < 8


def wide(factor: int) -> Tensors:
    tensors = kohya_lora(host().networks.unet, host().networks.text_encoder)
    return {k: v.repeat(1, factor) if "attn2_to_k" in k and "down" in k else v for k, v in tensors.items()}


def narrow() -> Tensors:
    tensors = kohya_lora(host().networks.unet, host().networks.text_encoder)
    return {k: v[:, :8].contiguous() if "attn1_to_q.lora_down" in k else v for k, v in tensors.items()}


def elsewhere() -> Tensors:
    return {"lora_unet_nothing_here.lora_down.weight": torch.zeros(4, 8), "lora_unet_nothing_here.lora_up.weight": torch.zeros(8, 4)}


LORAS = {
    "SD1.5 .text of width 768": lambda: wide(6),
    "SDXL .text of width 2048": lambda: wide(16),
    "is for SDXL": lambda: {"lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": torch.zeros(4, 768)},
    "not a LoRA": lambda: {"model.diffusion_model.x": torch.zeros(1)},
    "cannot be used": narrow,
    "LoRA .*other": elsewhere,
}


@pytest.mark.parametrize("verdict", LORAS)
def test_loras_that_do_not_fit_are_named_and_leave_no_trace(verdict: str, tmp_path: Path) -> None:
    plain = answers()
    save_file(LORAS[verdict](), tmp_path / "other.safetensors")
    with pytest.raises((BadWeights, UnsupportedModel), match=verdict) as caught:
        paint(loras=(Lora(source=tmp_path / "other.safetensors"),))
    assert "other.safetensors" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(a, b) for a, b in zip(plain, answers(), strict=True))


def saved(kind: str, folder: Path) -> Path:
    """The demo's ControlNet in one of the forms it may come in."""
    model = controlnet()
    if kind == "folder":
        model.save_pretrained(folder / "control")
        return folder / "control"
    path = folder / f"control.{'pth' if kind == 'pth' else 'safetensors'}"
    tensors = model.state_dict() if kind == "diffusers" else ldm_controlnet(model)
    if kind == "bare":
        tensors = {key.removeprefix("control_model."): value for key, value in tensors.items()}
    if kind == "pth":
        torch.save(tensors, path)
    else:
        save_file({key: value.contiguous() for key, value in tensors.items()}, path)
    return path


@pytest.mark.parametrize("kind", ["folder", "diffusers", "ldm", "bare", "pth"])
def test_controlnets_of_every_form_are_the_same(kind: str, tmp_path: Path) -> None:
    found = load_controlnet(saved(kind, tmp_path), host().networks.unet).state_dict()
    expected = controlnet().state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_a_controlled_picture_equals_diffusers(tmp_path: Path) -> None:
    import diffusers

    plain, picture = pipeline(), photo()
    parts = {key: value for key, value in plain.components.items() if key != "image_encoder"}
    pipe = diffusers.StableDiffusionControlNetPipeline(**parts, controlnet=controlnet(), requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    theirs = pipe(
        "a cat", negative_prompt="a dog", image=picture, num_inference_steps=3, guidance_scale=7.0, controlnet_conditioning_scale=0.8,
        generator=torch.Generator().manual_seed(7),
    )  # fmt: skip
    (ours,) = paint(steps=3, controls=(Control(model=saved("ldm", tmp_path), image=picture, weight=0.8),))
    assert near(ours, theirs.images[0])
    assert not same(ours, *paint(steps=3))


def test_weight_and_steps_of_a_controlnet(tmp_path: Path) -> None:
    path, picture = saved("ldm", tmp_path), photo()

    def controlled(**changes: Any) -> Any:
        return paint(controls=(Control(model=path, image=picture, **changes),))[0]

    whole, plain = controlled(), paint()[0]
    assert same(plain, controlled(weight=0.0))
    assert same(plain, controlled(start=0.6))  # two steps begin at 0 and 0.5
    assert not same(whole, controlled(end=0.5))
    assert not same(whole, controlled(weight=0.5))
    assert same(plain, paint()[0])


def test_several_controlnets_add_up() -> None:
    like = host().networks.unet.conv_in.weight
    units = [
        Unit(model=controlnet(), picture=control_picture(photo(), 64, 64, like), weight=w, start=0.0, end=1.0) for w in (0.3, 0.9, 1.2)
    ]
    x, text = torch.randn(2, 4, 8, 8), torch.randn(2, 77, 128)
    with torch.no_grad():
        both, one = (residuals(some, x, torch.tensor(300), text, 0.0) for some in (units[:2], units[2:]))
    assert both is not None
    assert one is not None
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(both[0], one[0], strict=True))
    assert torch.allclose(both[1], one[1], atol=1e-5)


def test_a_controlnet_does_not_see_the_face() -> None:
    like, seen = host().networks.unet.conv_in.weight, []
    unit = Unit(model=controlnet(), picture=control_picture(photo(), 64, 64, like), weight=1.0, start=0.0, end=1.0)
    hook = controlnet().register_forward_hook(lambda _m, _a, output: seen.append(output[1]))
    try:
        for persons in ((), (person(weight=1.0),)):
            batch = batch_of(steps=1, adapter=adapter(), persons=persons)
            painting.paint_batch(host().networks, replace(batch, units=(unit,)), lambda *_: None)
    finally:
        hook.remove()
    assert torch.equal(seen[0], seen[1])


def test_controlnets_that_do_not_fit(tmp_path: Path) -> None:
    broken = ldm_controlnet(controlnet())
    del broken["control_model.zero_convs.3.0.weight"]
    save_file(broken, tmp_path / "broken.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    wider = {
        k: torch.zeros(v.shape[0], 768) if "attn2.to_k" in k or "attn2.to_v" in k else v for k, v in ldm_controlnet(controlnet()).items()
    }
    save_file(wider, tmp_path / "wider.safetensors")
    save_file({"lora_controlnet": torch.zeros(1)}, tmp_path / "lora.safetensors")
    (tmp_path / "nothing").mkdir()
    for name, message in (
        ("broken.safetensors", "controlnet_down_blocks.3.weight"),
        ("other.safetensors", "not a ControlNet"),
        ("wider.safetensors", "text of width 768, not 128"),
        ("lora.safetensors", "Control-LoRA"),
        ("nothing", "no usable ControlNet"),
    ):
        with pytest.raises(FaceChainError, match=message) as caught:
            paint(controls=(Control(model=tmp_path / name, image=photo()),))
        assert name in str(caught.value)
