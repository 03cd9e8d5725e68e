"""The second pass at a larger size, and previews while painting."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from facechain_ext.errors import BadInput, Interrupted, PictureFailed
from facechain_ext.hosts.standalone import painting
from facechain_ext.hosts.standalone.previews import Colours, Glances, learn_colours
from facechain_ext.hosts.standalone.samplers import Schedule
from facechain_ext.hosts.types import Finish, Hires
from tests.hosts.standalone_cases import adapter, ask, host, paint, person, photo, same


def by_hand(larger: tuple[int, int], how: Image.Resampling, **changes):
    """What a person would do: paint, enlarge the picture, paint over it."""
    first = paint(**{**changes, "steps": 2})[0].image
    return paint(**{**changes, "width": larger[0], "height": larger[1], "image": first.resize(larger, how)})[0]


@pytest.mark.parametrize(
    ("upscaler", "how"),
    [("", Image.Resampling.LANCZOS), ("Lanczos", Image.Resampling.LANCZOS), ("Nearest", Image.Resampling.NEAREST)],
)
def test_it_is_the_picture_enlarged_and_painted_over(upscaler, how) -> None:
    (made,) = paint(width=80, height=64, hires=Hires(scale=1.5, strength=0.6, upscaler=upscaler))
    assert made.image.size == (120, 96)
    assert same(made, by_hand((120, 96), how, width=80, height=64, strength=0.6))


def test_the_second_pass_may_have_its_own_steps() -> None:
    (made,) = paint(hires=Hires(scale=1.5, strength=0.5, steps=4))
    assert same(made, by_hand((96, 96), Image.Resampling.LANCZOS, strength=0.5, steps=4))


def test_the_face_is_held_in_both_passes() -> None:
    who = {"adapter": adapter(), "persons": (person(weight=1.0),)}
    (made,) = paint(hires=Hires(scale=1.5, strength=0.6), **who)
    assert same(made, by_hand((96, 96), Image.Resampling.LANCZOS, strength=0.6, **who))
    first = paint(**who)[0].image.resize((96, 96), Image.Resampling.LANCZOS)
    assert not same(made, paint(width=96, height=96, image=first, strength=0.6)[0]), "the second pass without the face is another picture"


def test_stretched_latents_at_the_same_size_are_the_picture_itself() -> None:
    assert same(paint(hires=Hires(scale=1.0, strength=0.0, upscaler="Latent"))[0], paint()[0])
    (latent,), (lanczos,) = (paint(hires=Hires(scale=1.5, strength=0.3, upscaler=name)) for name in ("Latent", "Lanczos"))
    assert latent.image.size == (96, 96) and not same(latent, lanczos)


def test_a_picture_of_two_passes_is_the_same_alone_and_in_a_series() -> None:
    two = paint(count=2, hires=Hires(scale=1.5))
    assert same(two[1], paint(seed=8, hires=Hires(scale=1.5))[0])


def test_steps_of_both_passes_are_counted_together_and_each_can_be_stopped() -> None:
    told = []
    list(host().paint(ask(steps=2, hires=Hires(scale=1.5, strength=0.5, steps=4)), lambda at: told.append((at.step, at.steps))))
    assert told == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)], "of four steps at strength 0.5 WebUI runs three"

    def stop(at) -> None:
        if at.step == 3:
            raise Interrupted("enough")

    with pytest.raises(Interrupted):
        list(host().paint(ask(hires=Hires(scale=1.5, steps=4)), stop))
    assert same(paint()[0], paint()[0])


def test_the_steps_of_a_picture_painted_over_are_those_that_run() -> None:
    told = []
    list(host().paint(ask(steps=4, image=photo(), strength=0.5), lambda at: told.append((at.step, at.steps))))
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("hires", "why"),
    [
        (Hires(scale=0.5), "scale of the second pass is 0.5"),
        (Hires(strength=1.5), "strength of the second pass is 1.5"),
        (Hires(upscaler="ESRGAN"), "no upscaler 'ESRGAN': choose Lanczos, Latent or Nearest"),
    ],
)
def test_what_cannot_be_painted_is_refused(hires, why) -> None:
    with pytest.raises(BadInput, match=why):
        paint(hires=hires)


def test_a_picture_too_large_to_be_painted_is_refused() -> None:
    with pytest.raises(BadInput, match="would be 8192 pixels long: choose 4096"):
        paint(width=2048, height=64, hires=Hires(scale=4))


def test_numbers_that_overflow_are_said_and_not_shown(monkeypatch) -> None:
    monkeypatch.setattr(painting, "predict", lambda networks, batch, x, t, place: torch.full_like(x, torch.nan))
    with pytest.raises(PictureFailed, match="overflowed in float32"):
        paint()


def test_a_preview_comes_with_the_first_step_and_then_once_a_second() -> None:
    told = []
    list(host().paint(ask(width=128, height=64, steps=3), told.append))
    first = told[0].preview
    assert first is not None and first.mode == "RGB" and first.size == (256, 128)
    now = iter((10.0, 10.5, 10.99, 11.0, 11.5))
    glances = Glances(Colours(torch.zeros(5, 3)), clock=lambda: next(now))
    seen = [glances.at(lambda: torch.zeros(4, 8, 8)) is not None for _ in range(5)]
    assert seen == [True, False, False, True, False]
    assert Glances(None).at(lambda: torch.zeros(4, 8, 8)) is None


def test_watching_changes_nothing() -> None:
    (watched,) = host().paint(ask(), lambda at: None)
    assert same(watched, paint()[0])


def test_the_map_to_colours_is_learnt_from_the_vae() -> None:
    """A VAE whose latents are known mixtures of the colours: what comes back are the colours."""
    mix = torch.tensor([[1.0, 0.5, 0.0], [0.0, -2.0, 1.0], [0.3, 0.3, 0.3], [2.0, 0.0, -1.0]])

    def encode(x):
        small = torch.nn.functional.avg_pool2d(x, 8)
        return SimpleNamespace(latent_dist=SimpleNamespace(mean=torch.einsum("kc,nchw->nkhw", mix, small) + 0.7))

    vae = SimpleNamespace(encode=encode, device="cpu", dtype=torch.float32, config={"scaling_factor": 0.18215})
    colours = learn_colours(SimpleNamespace(vae=vae))
    wanted = np.array([200, 30, 90])
    latent = (mix @ (torch.tensor(wanted, dtype=torch.float32) / 127.5 - 1) + 0.7) * 0.18215
    shown = np.asarray(colours.picture(latent[:, None, None].expand(4, 8, 8)))
    assert np.abs(shown.astype(int) - wanted).max() <= 1


@pytest.mark.parametrize("sampler", ["DDIM", "Euler a", "DPM++ 2M Karras", "Heun", "LCM"])
def test_the_clean_picture_is_told_from_the_noise_in_it(sampler) -> None:
    schedule = Schedule(sampler, 6, (1,), torch.device("cpu"), 0.8)
    image, noise = (torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    t = schedule.timesteps[0]
    scaled = schedule.scaled(schedule.noised(image, noise, 0), t)
    assert torch.allclose(schedule.clean(scaled, noise, t), image, atol=0.05)


# the finished picture


def test_a_finished_picture_is_enlarged_and_nothing_else() -> None:
    (plain,), (made,) = paint(width=72), paint(width=72, finish=Finish(scale=1.25, upscaler="Nearest"))
    assert made.image.size == (88, 80), "72 and 64 times 1.25 are 90 and 80, down to multiples of 8"
    assert np.array_equal(np.asarray(made.image), np.asarray(plain.image.resize((88, 80), Image.Resampling.NEAREST)))
    (smooth,) = paint(width=72, finish=Finish(scale=2))
    assert np.array_equal(np.asarray(smooth.image), np.asarray(plain.image.resize((144, 128), Image.Resampling.LANCZOS)))


def test_without_a_webui_there_is_no_face_restorer() -> None:
    assert host().restorers() == [] and host().finishers() == ["Lanczos", "Nearest"]


@pytest.mark.parametrize(
    ("finish", "why"),
    [
        (Finish(restorer="CodeFormer"), "no face restoration 'CodeFormer' here"),
        (Finish(scale=0.5), "enlarged 0.5 times"),
        (Finish(scale=2, upscaler="Latent"), "no upscaler 'Latent' for finished pictures: choose Lanczos or Nearest"),
    ],
)
def test_what_cannot_be_finished_is_refused(finish, why) -> None:
    with pytest.raises(BadInput, match=why):
        paint(finish=finish)


def test_a_finished_picture_has_a_largest_size() -> None:
    with pytest.raises(BadInput, match="16384 pixels long: choose 8192"):
        paint(width=2048, height=64, finish=Finish(scale=8))
