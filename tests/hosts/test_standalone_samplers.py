"""The samplers on a problem whose solution is known: data from a normal distribution, for which the best noise prediction is linear."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from facechain_ext.errors import BadInput
from facechain_ext.hosts.standalone.samplers import SAMPLERS, Schedule, find, first_step

pytestmark = pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # diffusers rounds torch tensors by numpy
SPREAD = 0.5  # standard deviation of the data
CPU = torch.device("cpu")
STOCHASTIC = [name for name in SAMPLERS if "SDE" in name or name.endswith((" a", " a Karras")) or name == "LCM"]
EXACT = [name for name in SAMPLERS if name not in STOCHASTIC]


def log_sigmas() -> Tensor:
    """SD1.5's noise levels: scaled-linear betas from 0.00085 to 0.012 in 1000 steps."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    kept = (1 - betas).cumprod(0)
    return ((1 - kept) / kept).sqrt().log()


def best_noise(x: Tensor, t: float) -> Tensor:
    """The expected noise in x (scaled to variance-preserving form) at a whole or broken timestep."""
    levels, low = log_sigmas(), int(t)
    sigma2 = float((levels[low] * (1 - t + low) + levels[min(low + 1, 999)] * (t - low)).exp() ** 2)
    kept = 1 / (1 + sigma2)
    return x * (1 - kept) ** 0.5 / (kept * SPREAD**2 + 1 - kept)


def run(name: str, steps: int, seeds: list[int], strength: float | None = None, image: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """What the sampler arrives at, and the noise it began with."""
    schedule = Schedule(name, steps, seeds, CPU, strength)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    noise = torch.stack([torch.randn(4, 16, 16, generator=g) for g in generators])
    x = schedule.begin(noise, image)
    for t in schedule.timesteps:
        x = schedule.step(best_noise(schedule.scaled(x, t), float(t)), t, x, generators)
    return x, noise


@pytest.mark.parametrize("name", EXACT)
def test_deterministic_samplers_solve_the_equation(name: str) -> None:
    # The exact solution keeps every value's rank: it ends at noise × SPREAD (times σ₀/√(σ₀²+SPREAD²) ≈ 0.9994 at the start).
    found, noise = run(name, 60, [0, 1])
    assert (found - noise * SPREAD).std() < 0.03


@pytest.mark.parametrize("name", [name for name in STOCHASTIC if name != "LCM"])
def test_stochastic_samplers_arrive_at_the_data(name: str) -> None:
    found, noise = run(name, 60, list(range(8)))
    assert found.std() == pytest.approx(SPREAD, rel=0.15)  # Euler a is of first order
    assert (found - noise * SPREAD).std() > 0.3  # not the deterministic path


def test_lcm_runs_to_a_finite_end() -> None:
    found, _ = run("LCM", 4, [0, 1])
    assert found.isfinite().all()


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_picture_does_not_depend_on_its_neighbours(name: str) -> None:
    together, _ = run(name, 5, [3, 4, 5])
    alone, _ = run(name, 5, [4])
    assert torch.allclose(together[1], alone[0], atol=1e-6)
    assert not torch.allclose(together[0], alone[0], atol=1e-2)


@pytest.mark.parametrize("name", [name for name in EXACT if name not in ("DPM++ 2M", "UniPC")])
@pytest.mark.parametrize("strength", [0.1, 0.6])
def test_img2img_arrives_at_the_data_from_the_middle(name: str, strength: float) -> None:
    image = torch.randn(8, 4, 16, 16, generator=torch.Generator().manual_seed(99)) * SPREAD
    found, _ = run(name, 60, list(range(8)), strength, image)
    assert found.std() == pytest.approx(SPREAD, rel=0.06)


@pytest.mark.parametrize("name", ["LMS", "LMS Karras", "PLMS", "Heun", "DPM2 Karras", "DPM++ 2M Karras"])
def test_img2img_follows_the_exact_path_from_the_middle(name: str) -> None:
    # Samplers that remember earlier steps must not use more of them than were run.
    image = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(99)) * SPREAD
    found, noise = run(name, 20, [0, 1], 0.6, image)
    schedule = Schedule(name, 20, [0, 1], CPU, 0.6)
    t = schedule.timesteps[0]
    begin = schedule.scaled(schedule.begin(noise, image), t)
    kept = 1 / (1 + float(log_sigmas()[round(float(t))].exp()) ** 2)
    exact = begin * SPREAD / (kept * SPREAD**2 + 1 - kept) ** 0.5
    assert (found - exact).std() < 0.015


@pytest.mark.parametrize("name", SAMPLERS)
def test_img2img_without_strength_is_the_picture(name: str) -> None:
    image = torch.randn(2, 4, 16, 16)
    found, _ = run(name, 10, [0, 1], 0.0, image)
    assert torch.equal(found, image)


@pytest.mark.parametrize(
    ("steps", "strength", "ran"), [(20, 0.75, 16), (20, 0.5, 11), (20, 1.0, 20), (20, 0.01, 1), (20, 0.0, 0), (1, 0.3, 1)]
)
def test_steps_of_img2img_are_counted_as_webui_counts(steps: int, strength: float, ran: int) -> None:
    assert steps - first_step(steps, strength) == ran
    assert len(Schedule("Euler", steps, [0], CPU, strength).timesteps) == ran


@pytest.mark.parametrize("name", SAMPLERS)
def test_progress_counts_the_steps_asked_for(name: str) -> None:
    schedule = Schedule(name, 6, [0], CPU)
    done = [schedule.done(index + 1) for index in range(len(schedule.timesteps))]
    assert done == sorted(done)
    assert set(done) - {0} == {1, 2, 3, 4, 5, 6}


def test_the_webuis_noise_levels() -> None:
    # WebUI's Karras schedule for SD1.5 runs from 14.6146 to 0.0292 with rho 7: second of 10 levels by hand.
    sigmas = Schedule("DPM++ 2M Karras", 10, [0], CPU).scheduler.sigmas
    high, low = 14.6146 ** (1 / 7), 0.0292 ** (1 / 7)
    assert sigmas[0] == pytest.approx(14.6146, rel=1e-4)
    assert sigmas[1] == pytest.approx((high + (low - high) / 9) ** 7, rel=1e-3)
    assert sigmas[-1] == 0


def test_names_are_found_in_any_case() -> None:
    assert find("euler A") is SAMPLERS["Euler a"]


def test_an_unknown_name_is_answered_with_the_closest() -> None:
    with pytest.raises(BadInput, match=r"no sampler DPM\+\+ 2M Caras: choose DPM\+\+ 2M Karras"):
        find("DPM++ 2M Caras")


def test_too_many_steps_for_a_sampler() -> None:
    with pytest.raises(BadInput, match="LCM cannot do 60 steps"):
        Schedule("LCM", 60, [0], CPU)
