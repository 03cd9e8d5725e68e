"""Many pictures at once are those that the host paints one by one: words, noise, people, masks, poses and LoRAs are each one's own."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from facechain_ext.demo import many
from facechain_ext.demo.many import Painters, Place, call_of, column, paint_many
from facechain_ext.hosts.types import Control, Lora, Paint
from facechain_ext.training.control import open_hint
from tests.hosts.standalone_cases import adapter, ask, controlnet, demo, host, kohya_lora, ldm_controlnet, person, photo

WORDS = ("a photo of a person", "a comic of somebody wearing a crown", "a pencil drawing, at the beach")


def requests(**more: Any) -> list[Paint]:
    return [ask(prompt=words, seed=20 + number, steps=3, **more) for number, words in enumerate(WORDS)]


def one_by_one(asked: list[Paint], persons: list[list[Any]]) -> list[np.ndarray]:
    each = [replace(one, adapter=adapter(), persons=tuple(who)) for one, who in zip(asked, persons, strict=True)] if persons else asked
    return [np.asarray(next(iter(host().paint(one))).image) for one in each]


def assert_same(asked: list[Paint], persons: list[list[Any]]) -> list[np.ndarray]:
    """Grey levels differ by rounding alone, which is otherwise in a batch; returns the pictures painted one by one."""
    single = one_by_one(asked, persons)
    together = paint_many(host(), asked, persons, adapter() if persons else None)
    assert len(together) == len(single) == 3
    for a, b in zip(together, single, strict=True):
        assert np.abs(a.astype(int) - b).max() <= 2
    assert np.abs(single[0].astype(int) - single[1]).mean() > 10, "the three are different pictures"
    return single


def test_words_and_noise_are_each_ones_own():
    assert_same(requests(), [])


def test_everybody_has_their_own_picture():
    plain = one_by_one(requests(), [])
    faces = assert_same(requests(), [[person(seed=number, weight=1.0)] for number in (3, 5, 8)])
    assert all(np.abs(a.astype(int) - b).mean() > 1 for a, b in zip(faces, plain, strict=True)), "a face changes a picture"


def test_without_guidance_there_are_faces_alone():
    assert_same(requests(cfg=1.0), [[person(seed=number, weight=1.0)] for number in (3, 5, 8)])


def test_a_call_by_hand():
    """Three pictures; the variant is twice the picture, and one more for its face."""
    call = call_of(6, guided=True, latent=(8, 8))
    assert call.rows == (0, 2, 4, 1, 3, 5) and call.pictures == (0, 1, 2, 0, 1, 2)
    call = call_of(3, guided=False, latent=(8, 8))
    assert call.rows == (1, 3, 5) and call.pictures == (0, 1, 2)


def test_two_people_keep_to_their_masks():
    left = torch.zeros(8, 8)
    left[:, :4] = 1
    pairs = [[person(seed=n, weight=0.8, mask=left), person(seed=n + 20, weight=0.8, mask=1 - left)] for n in range(3)]
    assert_same(requests(), pairs)


def test_a_pose_and_a_lora_beside_the_face(tmp_path: Path):
    save_file(kohya_lora(host().networks.unet, host().networks.text_encoder), tmp_path / "lora.safetensors")
    model = copy.deepcopy(controlnet())
    open_hint(model)
    save_file(ldm_controlnet(model), tmp_path / "control.safetensors")
    asked = []
    poses = (Image.new("RGB", (64, 64)), Image.new("RGB", (64, 64), "white"), photo())
    for one, image in zip(requests(loras=(Lora(source=tmp_path / "lora.safetensors", weight=0.7),)), poses, strict=True):
        asked.append(with_pose(one, tmp_path / "control.safetensors", image))
    single = assert_same(asked, [[person(seed=number, weight=0.5)] for number in (3, 5, 8)])
    others = [replace(one, controls=asked[0].controls) for one in asked]
    swapped = one_by_one(others[1:], [[person(seed=number, weight=0.5)] for number in (5, 8)])
    assert all(np.abs(a.astype(int) - b).max() > 5 for a, b in zip(swapped, single[1:], strict=True)), "whose pose it is can be seen"


def with_pose(one: Paint, model: Path, image: Image.Image) -> Paint:
    return replace(one, controls=(Control(model=model, image=image),))


def test_several_processes_paint_the_same(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(many, "TOGETHER", 1)
    asked, persons = requests(), [[person(seed=number, weight=1.0)] for number in (3, 5, 8)]
    place = Place(checkpoint=demo()[0], device="cpu", scratch=tmp_path)
    alone, pair = Painters(place, 1), Painters(place, 2)
    try:
        for a, b in zip(alone.paint(asked, persons, adapter()), pair.paint(asked, persons, adapter()), strict=True):
            assert np.abs(a.astype(int) - b).max() <= 2
    finally:
        pair.close()


def test_a_parallel_adapter_has_the_unets_numbers(monkeypatch):
    """On a GPU they are of half precision; what people are known by stays as it is."""
    from facechain_ext.demo.many import _beside
    from facechain_ext.engine.adapter import AdapterSizes
    from facechain_ext.engine.resampler import ResamplerSizes
    from facechain_ext.engine.sites import find_sites
    from facechain_ext.training.parallel import ParallelAdapter

    networks = copy.deepcopy(host().networks)
    networks.unet.half()
    sites = find_sites(networks.unet)
    sizes = ResamplerSizes(dim=16, depth=1, heads=1, inner=16, queries=2, hidden=16, in_dim=8, out_dim=sites.context)
    other = ParallelAdapter(AdapterSizes(resampler=sizes, channels=sites.channels))
    with _beside(networks, other, (), requests()[0]):
        assert {one.dtype for one in other.layers.parameters()} == {torch.float16}
        assert {one.dtype for one in other.resampler.parameters()} == {torch.float32}


def test_requests_that_differ_in_more_are_refused():
    with pytest.raises(ValueError, match="prompt, seed and control"):
        paint_many(host(), [ask(steps=2), ask(steps=3)])
    with pytest.raises(ValueError, match="one weight"):
        column([person(weight=1.0), person(weight=0.5)])
    with pytest.raises(ValueError, match="a mask or none"):
        column([person(), person(mask=torch.ones(8, 8))])
