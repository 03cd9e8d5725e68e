"""A1111: every row layout with the real LDM UNet, real samplers, hires passes, the refiner, and no trace afterwards."""

from __future__ import annotations

import gc

import pytest
import torch
from PIL import Image

from facechain_ext.engine.injection import Person
from facechain_ext.errors import BadInput, BadWeights, UnsupportedModel
from facechain_ext.hosts import webui
from tests.engine.cases import error
from tests.fakes import networks
from tests.fakes.networks import identity, shared_unet
from tests.fakes.samplers import k_sampling
from tests.fakes.webui import Denoiser, LatentDiffusion, Processing, install, sigmas
from tests.hosts.webui_cases import (
    LATENT,
    SCALE,
    bytes_of_tensors,
    hooks_of,
    negatives,
    noise,
    one_thread,
    plan,
    prompts,
    step_by_hand,
    watch_rows,
)

CLOSE = 2e-5  # float32 of rows in different batches
SIGMA = 5.0


@pytest.fixture(scope="module")
def adapter():
    return networks.adapter()


@pytest.fixture
def modules(monkeypatch):
    with one_thread():
        yield install(monkeypatch, LatentDiffusion(shared_unet()))
    webui.release()
    assert hooks_of(shared_unet()) == 0


def denoiser(p, steps=1, **how):
    return Denoiser(p, webui.denoiser_callback, steps, **how)


def one_step(p, cond, uncond, latent=LATENT, sigma=SIGMA, scale=SCALE, **how):
    batch = len(cond)
    return denoiser(p, **how)(noise(batch, latent), torch.full((batch,), sigma), cond=cond, uncond=uncond, scale=scale)


# What A1111 calls the UNet with in one step: rows of each call, 1 where the row's text is the prompt.
LAYOUTS = {
    "plain": (prompts(), negatives(), {}, [(1, 0)]),
    "batch 3": (prompts(3), negatives(3), {}, [(1, 1, 1, 0, 0, 0)]),
    "AND": (prompts(1, 2), negatives(), {}, [(1, 1, 0)]),
    "AND × batch 2": (prompts(2, 2), negatives(2), {}, [(1, 1, 1, 1, 0, 0)]),
    "AND of three × batch 2": (prompts(2, 3), negatives(2), {}, [(1, 1, 1, 1, 1, 1, 0, 0)]),
    "uneven AND": ([*prompts(1, 2), *prompts(1, 1)], negatives(2), {}, [(1, 1, 1, 0, 0)]),
    "long prompt": (prompts(length=14), negatives(), {}, [(1,), (0,)]),
    "long negative × batch 2": (prompts(2), negatives(2, 14), {}, [(1, 1), (0, 0)]),
    "AND × long × batch 2": (prompts(2, 2, 14), negatives(2), {}, [(1, 1, 1, 1), (0, 0)]),
    "AND of three × long": (prompts(1, 3, 14), negatives(), {}, [(1, 1), (1,), (0,)]),
    "not batched": (prompts(), negatives(), {"batched": False}, [(1,), (0,)]),
    "not batched × batch 2": (prompts(2), negatives(2), {"batched": False}, [(1, 1), (0, 0)]),
    "not batched × AND": (prompts(1, 2), negatives(), {"batched": False}, [(1,), (1,), (0,)]),
    "not batched × AND × long × batch 2": (prompts(2, 2, 14), negatives(2), {"batched": False}, [(1, 1), (1, 1), (0, 0)]),
    "text as dictionary": (prompts(), negatives(), {"as_dict": True}, [(1, 0)]),
    "edit model": (prompts(), negatives(), {"edit": True}, [(1, 0, 0)]),
    "edit model × batch 2": (prompts(2), negatives(2), {"edit": True}, [(1, 1, 0, 0, 0, 0)]),
}


@pytest.mark.parametrize(("cond", "uncond", "how", "expected"), LAYOUTS.values(), ids=LAYOUTS.keys())
def test_rows_of_every_layout(modules, adapter, monkeypatch, cond, uncond, how, expected):
    p = Processing(modules.sd_models)
    plain = one_step(p, cond, uncond, **how)
    by_hand = step_by_hand(
        shared_unet(), adapter, [Person(identity=identity(), weight=1.0)], noise(len(cond)), torch.full((len(cond),), SIGMA), cond, uncond
    )
    seen = watch_rows(monkeypatch)
    webui.begin(p, plan(adapter), LATENT)
    got = one_step(p, cond, uncond, **how)
    assert seen == expected
    assert error(got, by_hand) < CLOSE
    assert error(got, plain) > 100 * CLOSE
    webui.release(p)
    assert torch.equal(one_step(p, cond, uncond, **how), plain)


def test_skipped_unconditional_rows(modules, adapter, monkeypatch):
    """NGMS and skip early CFG leave the unconditional rows of some steps out; the next step begins anew."""
    p, seen = Processing(modules.sd_models), watch_rows(monkeypatch)
    webui.begin(p, plan(adapter), LATENT)
    step = denoiser(p, 4, skip=(0, 2))
    for _ in range(4):
        step(noise(2), torch.full((2,), SIGMA), cond=prompts(2), uncond=negatives(2), scale=SCALE)
    assert seen == [(1, 1), (1, 1, 0, 0), (1, 1), (1, 1, 0, 0)]


def test_without_guidance_the_unconditional_rows_still_run(modules, adapter, monkeypatch):
    p, seen = Processing(modules.sd_models), watch_rows(monkeypatch)
    webui.begin(p, plan(adapter), LATENT)
    one_step(p, prompts(), negatives(), scale=1.0)
    assert seen == [(1, 0)]


def sample(p, name: str, steps: int = 4, batch: int = 1, latent=LATENT, noises=None, calls=None):
    """A whole pass of a k-diffusion sampler."""
    k = k_sampling()
    schedule = torch.cat([sigmas()[torch.linspace(999, 0, steps).long()], torch.zeros(1)])
    step = denoiser(p, calls or steps)
    args = {"cond": prompts(batch), "uncond": negatives(batch), "scale": SCALE}
    more = {} if noises is None else {"noise_sampler": noises}
    x = noise(batch, latent) * schedule[0]
    return getattr(k, f"sample_{name}")(step, x, schedule, extra_args=args, disable=True, **more)


def still(*_):
    """Noise of ancestral samplers, the same whatever the batch."""
    return torch.zeros(())


SAMPLERS = {  # UNet calls of four steps: one each, or two each but for the last
    "euler": (None, 4),
    "euler_ancestral": (still, 4),
    "heun": (None, 7),
    "dpm_2": (None, 7),
    "dpm_2_ancestral": (still, 7),
    "dpmpp_2s_ancestral": (still, 7),
    "dpmpp_sde": (still, 7),
    "dpmpp_2m": (None, 4),
    "lms": (None, 4),
}


@pytest.mark.parametrize(("name", "noises", "calls"), [(name, *rest) for name, rest in SAMPLERS.items()], ids=SAMPLERS.keys())
def test_samplers_of_first_and_second_order(modules, adapter, monkeypatch, name, noises, calls):
    p = Processing(modules.sd_models)
    plain = sample(p, name, noises=noises, calls=calls)
    seen = watch_rows(monkeypatch)
    webui.begin(p, plan(adapter), LATENT)
    assert not torch.equal(sample(p, name, noises=noises, calls=calls), plain)
    assert seen == [(1, 0)] * calls
    webui.release(p)
    assert torch.equal(sample(p, name, noises=noises, calls=calls), plain)


def test_start_and_end_of_a_second_order_sampler(modules, adapter, monkeypatch):
    """Heun announces two calls per step, eight for four steps, and makes seven: from 0.5 to 0.75 are its calls 5 and 6."""
    p, seen = Processing(modules.sd_models), watch_rows(monkeypatch)
    done = []
    call = webui.Pass.call
    monkeypatch.setattr(webui.Pass, "call", lambda self, *a: done.append(self.progress) or call(self, *a))
    webui.begin(p, plan(adapter, start=0.5, end=0.75), LATENT)
    sample(p, "heun", calls=8)
    assert done == [0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75]
    assert len(seen) == 2


@pytest.mark.parametrize("changes", [{"weight": 0.0}, {"start": 1.0}, {"start": 0.3, "end": 0.3}, {"mask": Image.new("L", (8, 8))}])
def test_persons_without_part_leave_the_picture_bit_equal(modules, adapter, changes):
    p = Processing(modules.sd_models)
    plain = sample(p, "euler")
    webui.begin(p, plan(adapter, **changes), LATENT)
    assert hooks_of(shared_unet()) == 0
    assert torch.equal(sample(p, "euler"), plain)


def test_steps_outside_the_range_are_bit_equal(modules, adapter):
    p = Processing(modules.sd_models)
    plain = one_step(p, prompts(), negatives())
    webui.begin(p, plan(adapter, start=0.5), LATENT)
    assert torch.equal(one_step(p, prompts(), negatives(), steps=2), plain)


def test_a_batch_of_three_equals_its_three_singles(modules, adapter):
    p = Processing(modules.sd_models)
    webui.begin(p, plan(adapter), LATENT)
    together = sample(p, "euler", batch=3)
    conds, negs, x = prompts(3), negatives(3), noise(3)
    schedule = torch.cat([sigmas()[torch.linspace(999, 0, 4).long()], torch.zeros(1)])
    for i in range(3):
        webui.begin(p, plan(adapter), LATENT)
        args = {"cond": conds[i : i + 1], "uncond": negs[i : i + 1], "scale": SCALE}
        single = k_sampling().sample_euler(denoiser(p, 4), x[i : i + 1] * schedule[0], schedule, extra_args=args, disable=True)
        assert error(together[i : i + 1], single) < 10 * CLOSE


@pytest.mark.parametrize(("passes", "faces"), [("both", [True, True]), ("first", [True, False]), ("second", [False, True])])
def test_hires_passes(modules, adapter, monkeypatch, passes, faces):
    p, seen = Processing(modules.sd_models, enable_hr=True), watch_rows(monkeypatch)
    found = []
    for second, latent in ((False, LATENT), (True, (24, 16))):
        p.is_hr_pass = second
        webui.begin(p, plan(adapter, passes=passes), latent)
        sample(p, "euler", 2, latent=latent)
        found.append(bool(seen))
        seen.clear()
    assert found == faces


@pytest.mark.parametrize("passes", ["first", "second"])
def test_without_hires_fix_the_only_pass_counts(modules, adapter, monkeypatch, passes):
    p, seen = Processing(modules.sd_models), watch_rows(monkeypatch)
    webui.begin(p, plan(adapter, passes=passes), LATENT)
    one_step(p, prompts(), negatives())
    assert seen


def test_beginning_again_does_not_pile_up(modules, adapter):
    p = Processing(modules.sd_models)
    webui.begin(p, plan(adapter), LATENT)
    once, hooks = one_step(p, prompts(), negatives()), hooks_of(shared_unet())
    for _ in range(3):
        webui.begin(p, plan(adapter), LATENT)
    assert hooks_of(shared_unet()) == hooks
    assert torch.equal(one_step(p, prompts(), negatives()), once)


def test_only_the_asking_generation_carries_the_face(modules, adapter):
    """Another processing object samples while ours is attached (ADetailer's inner pass that our script does not see)."""
    ours, other = Processing(modules.sd_models), Processing(modules.sd_models)
    plain = one_step(ours, prompts(), negatives())
    webui.begin(ours, plan(adapter), LATENT)
    assert torch.equal(one_step(other, prompts(), negatives()), plain)
    webui.release(other)
    assert not torch.equal(one_step(ours, prompts(), negatives()), plain)


def test_calls_between_steps_carry_nothing(modules, adapter):
    """What runs the UNet without a step of ours, before the first or after the last, sees the plain UNet."""
    p = Processing(modules.sd_models)
    quiet = Denoiser(p, lambda params: None, 1)
    x, sigma = noise(), torch.full((1,), SIGMA)
    plain = quiet(x, sigma, cond=prompts(), uncond=negatives(), scale=SCALE)
    webui.begin(p, plan(adapter), LATENT)
    assert torch.equal(quiet(x, sigma, cond=prompts(), uncond=negatives(), scale=SCALE), plain)
    assert webui.trouble(p) is None
    one_step(p, prompts(), negatives())
    assert torch.equal(quiet(x, sigma, cond=prompts(), uncond=negatives(), scale=SCALE), plain)
    assert "had not announced" in str(webui.trouble(p))


def test_the_refiner_runs_plain_and_the_face_returns_with_its_model(modules, adapter):
    p, model = Processing(modules.sd_models), modules.sd_models.model_data.sd_model
    plain = one_step(p, prompts(), negatives())
    webui.begin(p, plan(adapter), LATENT)
    face = one_step(p, prompts(), negatives())
    base, model.sd_checkpoint_info = model.sd_checkpoint_info, object()  # the host loads the refiner into the same networks
    assert torch.equal(one_step(p, prompts(), negatives()), plain)
    model.sd_checkpoint_info = base
    assert torch.equal(one_step(p, prompts(), negatives()), face)
    modules.sd_models.model_data.sd_model = LatentDiffusion(networks.ldm_unet(), "refiner")  # or keeps both in memory
    assert torch.equal(one_step(p, prompts(), negatives()), plain)
    modules.sd_models.model_data.sd_model = model
    assert torch.equal(one_step(p, prompts(), negatives()), face)


class Stopped(Exception):
    pass


def test_an_exception_in_the_middle_leaves_no_trace(modules, adapter):
    """No callback runs after an exception: the next generation's `release` cleans up."""
    p = Processing(modules.sd_models)
    plain = sample(p, "euler")
    webui.begin(p, plan(adapter), LATENT)
    trap = shared_unet().middle_block.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(Stopped()))
    with pytest.raises(Stopped):
        sample(p, "euler")
    trap.remove()
    webui.release()
    assert hooks_of(shared_unet()) == 0
    assert torch.equal(sample(Processing(modules.sd_models), "euler"), plain)


def test_a_forgotten_generation_takes_everything_with_it(modules, adapter):
    p = Processing(modules.sd_models)
    webui.begin(p, plan(adapter), LATENT)
    assert hooks_of(shared_unet()) > 0
    del p
    gc.collect()
    assert hooks_of(shared_unet()) == 0


def test_a_failure_of_ours_costs_the_identity_and_not_the_picture(modules, monkeypatch):
    adapter = networks.adapter()
    p = Processing(modules.sd_models)
    plain = one_step(p, prompts(), negatives())
    webui.begin(p, plan(adapter), LATENT)
    monkeypatch.setattr(type(adapter.layers[0]), "increment", lambda *_: (_ for _ in ()).throw(RuntimeError("out of memory")))
    assert torch.equal(one_step(p, prompts(), negatives()), plain)
    monkeypatch.undo()
    assert "out of memory" in str(webui.trouble(p))


def test_tiles_of_the_picture(modules, adapter, monkeypatch):
    """A tiled extension calls the UNet with several smaller latents that follow each other."""
    p, seen = Processing(modules.sd_models), watch_rows(monkeypatch)
    model = modules.sd_models.model_data.sd_model
    unet = model.model.diffusion_model

    def tiled(x, t, context):
        return torch.cat(unet(torch.cat(x.chunk(2, dim=2)), t.repeat(2), context=context.repeat(2, 1, 1)).chunk(2), dim=2)

    monkeypatch.setattr("tests.fakes.webui.Denoiser._denoise", lambda self, x, s, c: tiled(x, torch.full((len(x),), 500), c))
    webui.begin(p, plan(adapter), LATENT)
    one_step(p, prompts(), negatives())
    assert seen == [(1, 0, 1, 0)] and webui.trouble(p) is None
    seen.clear()
    webui.begin(p, plan(adapter, mask=Image.linear_gradient("L")), LATENT)
    one_step(p, prompts(), negatives())
    assert seen == [] and "tiles" in str(webui.trouble(p))


def test_memory_after_thirty_persons_is_that_after_one(modules, adapter):
    p, sizes = Processing(modules.sd_models), []
    for number in range(30):
        placed = webui.Placed(identity=identity(number, photos=2), mask=Image.new("L", (64, 64), 200))
        webui.begin(p, webui.Plan(adapter=adapter, persons=(placed,)), LATENT)
        one_step(p, prompts(), negatives())
        webui.release(p)
        del placed
        if number in (0, 29):
            sizes.append(bytes_of_tensors())
    assert sizes[0] == sizes[1]


def test_layers_rest_on_the_cpu_where_memory_is_short(monkeypatch, adapter):
    modules = install(monkeypatch, LatentDiffusion(shared_unet()), medvram=True)
    moves = []
    monkeypatch.setattr(type(adapter), "place", lambda self, device, dtype: moves.append((str(device), dtype)))
    p = Processing(modules.sd_models)
    modules.devices.device = torch.device("cuda:1")
    webui.begin(p, plan(adapter), LATENT)
    webui.release(p)
    assert moves == [("cuda:1", torch.float32), ("cpu", torch.float32)]


def test_fp8_weights_are_only_stored(monkeypatch, adapter):
    unet = networks.ldm_unet()
    unet.time_embed.to(torch.float8_e4m3fn)
    modules = install(monkeypatch, LatentDiffusion(unet))
    modules.devices.dtype = torch.float16
    moves = []
    monkeypatch.setattr(type(adapter), "place", lambda self, device, dtype: moves.append(dtype))
    webui.begin(Processing(modules.sd_models), plan(adapter), LATENT)
    webui.release()
    assert moves == [torch.float16]


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_under_the_hosts_autocast(monkeypatch, stored):
    """Half-precision hosts sample under autocast, where norms are float32 and products are not."""
    p, adapter = Processing(install(monkeypatch, LatentDiffusion(shared_unet())).sd_models), networks.adapter()
    webui.begin(p, plan(adapter), LATENT)
    exact = one_step(p, prompts(), negatives())
    webui.release(p)
    unet = networks.ldm_unet().to(stored)
    unet.dtype = stored
    for module in unet.modules():
        if isinstance(module, torch.nn.GroupNorm):
            module.float()  # on a CPU, unlike a GPU, autocast does not reach them
    p = Processing(install(monkeypatch, LatentDiffusion(unet)).sd_models)
    with torch.autocast("cpu", torch.bfloat16):
        plain = one_step(p, prompts(), negatives()).float()
        webui.begin(p, plan(adapter), LATENT)
        assert adapter.layers[0].linear.weight.dtype == stored
        got = one_step(p, prompts(), negatives()).float()
        webui.release(p)
    assert webui.trouble(p) is None
    assert error(got, exact) < 0.2 * error(plain, exact)


def test_other_checkpoints_are_refused_with_the_reason(monkeypatch, adapter):
    modules = install(monkeypatch, LatentDiffusion(torch.nn.Linear(2, 2)))
    p = Processing(modules.sd_models)
    with pytest.raises(UnsupportedModel, match=r"SD1\.5"):
        webui.begin(p, plan(adapter), LATENT)
    assert "SD1.5" in str(webui.supports()) and webui.supports(p) == webui.supports(p.sd_model) == webui.supports()


def test_an_accelerated_unet_is_refused(modules, adapter):
    modules.sd_unet.current_unet = object()
    with pytest.raises(UnsupportedModel, match="SD Unet"):
        webui.begin(Processing(modules.sd_models), plan(adapter), LATENT)


def test_an_adapter_of_another_width_is_refused(modules):
    from tests.engine.cases import golden

    wide = golden().adapter()
    wide.fingerprint = "small"
    assert webui.supports() is None
    assert "channels wide" in str(webui.supports(adapter=wide))
    with pytest.raises(BadWeights, match="channels wide"):
        webui.begin(Processing(modules.sd_models), plan(wide), LATENT)


def test_a_person_of_another_adapter_is_refused(modules, adapter):
    other = networks.adapter()
    other.fingerprint = "other"
    with pytest.raises(BadInput, match="another adapter"):
        webui.begin(Processing(modules.sd_models), plan(other), LATENT)
