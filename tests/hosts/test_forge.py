"""Forge: every chunk layout through a patcher with Forge's habits around the real LDM UNet, and no trace afterwards."""

from __future__ import annotations

import gc
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from PIL import Image

from facechain_ext.engine.injection import Person
from facechain_ext.hosts import webui
from tests.engine.cases import error
from tests.fakes import networks
from tests.fakes.forge import Denoiser, PatchedUNet, engine
from tests.fakes.networks import identity, shared_unet
from tests.fakes.samplers import k_sampling
from tests.fakes.webui import Processing, install, sigmas
from tests.hosts.webui_cases import (
    LATENT,
    SCALE,
    bytes_of_tensors,
    negatives,
    noise,
    one_thread,
    plan,
    prompts,
    step_by_hand,
    watch_rows,
)

CLOSE = 2e-5
SIGMA = 5.0


@pytest.fixture(scope="module")
def adapter():
    return networks.adapter()


@pytest.fixture(scope="module")
def unet():
    return PatchedUNet(networks.ldm_unet())


@pytest.fixture
def modules(monkeypatch, unet):
    with one_thread():
        yield install(monkeypatch, engine(unet))
    webui.release()


def patches(modules) -> list:
    unet = modules.sd_models.model_data.sd_model.forge_objects.unet
    return unet.model_options["transformer_options"].get("patches", {}).get("middle_patch", [])


def one_step(p, cond, uncond, scale=SCALE, steps=1, **how):
    batch = len(cond)
    step = Denoiser(p, webui.denoiser_callback, steps, **how)
    return step(noise(batch), torch.full((batch,), SIGMA), cond=cond, uncond=uncond, scale=scale)


def even(cond):
    """Forge weighs the parts of a prompt by their share."""
    return [[(text, weight / sum(w for _, w in parts)) for text, weight in parts] for parts in cond]


# What Forge calls the UNet with in one step: the last chunk first, 1 where the row's text is the prompt.
LAYOUTS = {
    "plain": (prompts(), negatives(), {}, [(0, 1)]),
    "batch 2": (prompts(2), negatives(2), {}, [(0, 0, 1, 1)]),
    "batch 3": (prompts(3), negatives(3), {}, [(0, 0, 0, 1, 1, 1)]),
    "AND": (prompts(1, 2), negatives(), {}, [(0, 1, 1)]),
    "AND × batch 2": (prompts(2, 2), negatives(2), {}, [(0, 0, 1, 1, 1, 1)]),
    "long prompt": (prompts(length=14), negatives(), {}, [(1,), (0,)]),
    "long negative × batch 2": (prompts(2), negatives(2, 14), {}, [(1, 1), (0, 0)]),
    "AND × long": (prompts(1, 2, 14), negatives(), {}, [(1, 1), (0,)]),
    "little memory": (prompts(), negatives(), {"most": 1}, [(1,), (0,)]),
    "little memory × batch 2": (prompts(2), negatives(2), {"most": 1}, [(1, 1), (0, 0)]),
    "a host without marks": (prompts(2), negatives(2), {"marks": False}, [(0, 0, 1, 1)]),
    "tiles": (prompts(2), negatives(2), {"tiles": 2}, [(0, 0, 1, 1, 0, 0, 1, 1)]),
}


@pytest.mark.parametrize(("cond", "uncond", "how", "expected"), LAYOUTS.values(), ids=LAYOUTS.keys())
def test_rows_of_every_layout(modules, adapter, monkeypatch, cond, uncond, how, expected):
    p, x = Processing(modules.sd_models), noise(len(cond))
    sigma = torch.full((len(cond),), SIGMA)
    plain = one_step(p, cond, uncond, **how)
    bands = x.chunk(how.get("tiles", 1), dim=2)
    parts = [step_by_hand(shared_unet(), adapter, [Person(identity=identity(), weight=1.0)], b, sigma, even(cond), uncond) for b in bands]
    seen = watch_rows(monkeypatch)
    webui.begin(p, plan(adapter), LATENT)
    got = one_step(p, cond, uncond, **how)
    assert seen == expected
    assert error(got, torch.cat(parts, dim=2)) < CLOSE
    assert error(got, plain) > 100 * CLOSE
    webui.release(p)
    assert torch.equal(one_step(p, cond, uncond, **how), plain)


def test_without_guidance_only_the_prompt_runs(modules, adapter, monkeypatch):
    p, seen = Processing(modules.sd_models), watch_rows(monkeypatch)
    webui.begin(p, plan(adapter), LATENT)
    one_step(p, prompts(), negatives(), scale=1)
    assert seen == [(1,)]


def sample(p, name="euler", batch=1, calls=4, x=None, cond=None, uncond=None):
    schedule = torch.cat([sigmas()[torch.linspace(999, 0, 4).long()], torch.zeros(1)])
    args = {"cond": cond or prompts(batch), "uncond": uncond or negatives(batch), "scale": SCALE}
    step = Denoiser(p, webui.denoiser_callback, calls)
    x = noise(batch) if x is None else x
    return getattr(k_sampling(), f"sample_{name}")(step, x * schedule[0], schedule, extra_args=args, disable=True)


@pytest.mark.parametrize(("name", "calls"), [("euler", 4), ("heun", 7), ("dpmpp_2m", 4), ("lms", 4)])
def test_samplers(modules, adapter, monkeypatch, name, calls):
    p = Processing(modules.sd_models)
    plain = sample(p, name)
    seen = watch_rows(monkeypatch)
    webui.begin(p, plan(adapter), LATENT)
    assert not torch.equal(sample(p, name), plain)
    assert seen == [(0, 1)] * calls
    webui.release(p)
    assert torch.equal(sample(p, name), plain)


def test_a_batch_of_three_equals_its_three_singles(modules, adapter):
    p = Processing(modules.sd_models)
    webui.begin(p, plan(adapter), LATENT)
    together = sample(p, batch=3)
    for i in range(3):
        single = sample(p, x=noise(3)[i : i + 1], cond=prompts(3)[i : i + 1], uncond=negatives(3)[i : i + 1])
        assert error(together[i : i + 1], single) < 10 * CLOSE


@pytest.mark.parametrize(("start", "end", "active"), [(0.5, 1.0, 2), (0.0, 0.25, 1), (0.25, 0.75, 2), (0.0, 1.0, 4)])
def test_start_and_end(modules, adapter, monkeypatch, start, end, active):
    p, seen = Processing(modules.sd_models), watch_rows(monkeypatch)
    webui.begin(p, plan(adapter, start=start, end=end), LATENT)
    sample(p)
    assert len(seen) == active


def test_progress_without_the_callback_comes_from_the_progress_bar(modules, adapter, monkeypatch):
    p, seen = Processing(modules.sd_models), watch_rows(monkeypatch)
    webui.begin(p, plan(adapter, start=0.5), LATENT)
    step = Denoiser(p, lambda params: None, 4)
    for number in range(4):
        modules.shared.state.sampling_step, modules.shared.state.sampling_steps = number, 4
        step(noise(), torch.full((1,), SIGMA), cond=prompts(), uncond=negatives(), scale=SCALE)
    assert len(seen) == 2


@pytest.mark.parametrize("changes", [{"weight": 0.0}, {"start": 1.0}, {"mask": Image.new("L", (8, 8))}])
def test_persons_without_part_put_no_patch(modules, adapter, changes):
    p = Processing(modules.sd_models)
    webui.begin(p, plan(adapter, **changes), LATENT)
    assert patches(modules) == []


def test_outside_the_range_is_bit_equal(modules, adapter):
    p = Processing(modules.sd_models)
    plain = one_step(p, prompts(), negatives())
    webui.begin(p, plan(adapter, start=0.5), LATENT)
    assert len(patches(modules)) == 1
    assert torch.equal(one_step(p, prompts(), negatives(), steps=2), plain)


def test_the_hires_pass_begins_twice_and_the_first_is_thrown_away(modules, adapter):
    p, objects = Processing(modules.sd_models), modules.sd_models.model_data.sd_model.forge_objects
    before = objects.unet
    webui.begin(p, plan(adapter), LATENT)
    objects.unet = before  # the host takes the objects anew between its two calls
    webui.begin(p, plan(adapter), LATENT)
    assert len(patches(modules)) == 1
    webui.begin(p, plan(adapter), LATENT)
    assert len(patches(modules)) == 1
    webui.release(p)
    assert objects.unet is before


def test_another_extension_clones_after_us(modules, adapter):
    """Its clone keeps our patch until the host forgets it: it works while we sample, holds no tensor, and is empty afterwards."""
    p, objects = Processing(modules.sd_models), modules.sd_models.model_data.sd_model.forge_objects
    before = objects.unet
    plain = sample(p)
    webui.begin(p, plan(adapter), LATENT)
    expected = sample(p)
    webui.begin(p, plan(adapter), LATENT)
    used = bytes_of_tensors()
    objects.unet = objects.unet.clone()
    assert bytes_of_tensors() == used
    assert torch.equal(sample(p), expected)
    webui.release(p)
    assert len(patches(modules)) == 1
    assert torch.equal(sample(p), plain)
    objects.unet = before


def test_what_is_added_in_place_does_not_reach_us(modules, adapter):
    """The same step twice: nothing that the blocks add to came from us and is used again."""
    p = Processing(modules.sd_models)
    webui.begin(p, plan(adapter), LATENT)
    assert torch.equal(one_step(p, prompts(), negatives()), one_step(p, prompts(), negatives()))


def test_a_failure_of_ours_costs_the_identity_and_not_the_picture(modules, monkeypatch):
    adapter, p = networks.adapter(), Processing(modules.sd_models)
    plain = one_step(p, prompts(), negatives())
    webui.begin(p, plan(adapter), LATENT)
    with monkeypatch.context() as broken:
        broken.setattr(type(adapter.layers[0]), "increment", lambda *_: (_ for _ in ()).throw(RuntimeError("out of memory")))
        assert torch.equal(one_step(p, prompts(), negatives()), plain)
    assert "out of memory" in str(webui.trouble(p))
    assert torch.equal(one_step(p, prompts(), negatives()), plain)


def test_regions_in_tiles_are_refused_and_said(modules, adapter):
    p = Processing(modules.sd_models)
    plain = one_step(p, prompts(), negatives(), tiles=2)
    webui.begin(p, plan(adapter, mask=Image.linear_gradient("L")), LATENT)
    assert torch.equal(one_step(p, prompts(), negatives(), tiles=2), plain)
    assert "tiles" in str(webui.trouble(p))


class Stopped(Exception):
    pass


def test_an_exception_in_the_middle_leaves_no_trace(modules, adapter, unet):
    p = Processing(modules.sd_models)
    plain = sample(p)
    webui.begin(p, plan(adapter), LATENT)
    trap = unet.middle_block.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(Stopped()))
    with pytest.raises(Stopped):
        sample(p)
    trap.remove()
    webui.release()
    assert patches(modules) == []
    assert torch.equal(sample(Processing(modules.sd_models)), plain)


def test_a_forgotten_generation_takes_everything_with_it(modules, adapter):
    p = Processing(modules.sd_models)
    webui.begin(p, plan(adapter), LATENT)
    assert len(patches(modules)) == 1
    del p
    gc.collect()
    assert patches(modules) == []


def test_memory_after_thirty_persons_is_that_after_one(modules, adapter):
    p, sizes = Processing(modules.sd_models), []
    for number in range(30):
        placed = webui.Placed(identity=identity(number, photos=2), mask=Image.new("L", (64, 64), 200))
        webui.begin(p, webui.Plan(adapter=adapter, persons=(placed,)), LATENT)
        one_step(p, prompts(), negatives())
        modules.sd_models.model_data.sd_model.forge_objects.unet = modules.sd_models.model_data.sd_model.forge_objects.unet.clone()
        webui.release(p)
        del placed
        if number in (0, 29):
            sizes.append(bytes_of_tensors())
    assert sizes[0] == sizes[1]


def test_the_layers_follow_the_activations(modules):
    """Where the host computes in another type than it said, the layers are moved there at the first call."""
    adapter, p = networks.adapter(), Processing(modules.sd_models)
    modules.sd_models.model_data.sd_model.forge_objects.unet.model.computation_dtype = torch.bfloat16
    webui.begin(p, plan(adapter), LATENT)
    assert adapter.layers[0].linear.weight.dtype == torch.bfloat16
    one_step(p, prompts(), negatives())
    assert adapter.layers[0].linear.weight.dtype == torch.float32 and webui.trouble(p) is None
    assert not any(parameter.is_inference() for parameter in adapter.parameters())


def test_room_is_made_on_the_device_and_given_back(modules, adapter, monkeypatch):
    asked, moves = [], []
    memory = ModuleType("backend.memory_management")
    memory.free_memory = lambda size, device: asked.append((size, device))
    memory.vram_state = SimpleNamespace(name="LOW_VRAM")
    monkeypatch.setitem(sys.modules, "backend.memory_management", memory)
    monkeypatch.setattr(type(adapter), "place", lambda self, device, dtype: moves.append(str(device)))
    modules.sd_models.model_data.sd_model.forge_objects.unet.load_device = torch.device("cuda:0")
    p = Processing(modules.sd_models)
    webui.begin(p, plan(adapter), LATENT)
    webui.release(p)
    assert asked == [(adapter.bytes, torch.device("cuda:0"))]
    assert moves == ["cuda:0", "cpu"]


def test_layers_of_unknown_storage_are_refused(modules, adapter):
    class Quantised(torch.nn.Module):
        pass

    unet = networks.ldm_unet()
    unet.middle_block[1].transformer_blocks[0].attn2.to_k = Quantised()
    modules.sd_models.model_data.sd_model.forge_objects.unet.model.diffusion_model = unet
    assert "GGUF" in str(webui.supports())
