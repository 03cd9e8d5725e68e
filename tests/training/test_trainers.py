"""The parts of the trainers against hand calculation or a second method, and that each of them learns."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from torch.nn import functional as F

from facechain_ext.demo.judge import VIEW, Judge, view
from facechain_ext.demo.world import person
from facechain_ext.engine.checkpoints import read_encoder
from facechain_ext.errors import BadInput, BadWeights
from facechain_ext.training import analyser, base, control, encoder, fact, judge, latents, people, pixels, recognition, style_lora, vae
from facechain_ext.training.arguments import identity_of, parse
from facechain_ext.training.average import Average
from facechain_ext.training.checkpoint import TRAINED, load_weights, save_weights
from facechain_ext.training.commands import COMMANDS
from facechain_ext.training.device import rate_at
from facechain_ext.training.frozen import finish
from facechain_ext.training.likeness import LikenessSettings
from facechain_ext.training.muon import MuonAndAdamW
from facechain_ext.training.noise import ALPHAS, add_noise, coarse_weight, mean_weight, snr_weight, take_noise, velocity_weight
from facechain_ext.training.recognition import HAIR, kinds_of, margin_loss, rank_first, sizes_of
from facechain_ext.training.subjects import source_of
from facechain_ext.training.tokens import tokens_of
from tests.training.fact_cases import write_latents


def test_the_populations_do_not_meet():
    ranges = sorted((people.PAINTED, people.ENCODED, people.JUDGED, people.TESTED), key=lambda r: r.start)
    assert all(a.stop <= b.start for a, b in pairwise(ranges))


def test_the_noise_schedule_is_that_of_sd15():
    theirs = DDPMScheduler(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    assert torch.allclose(theirs.alphas_cumprod, ALPHAS, rtol=1e-4)
    x, noise, times = torch.randn(3, 4, 2, 2), torch.randn(3, 4, 2, 2), torch.tensor([0, 500, 999])
    assert torch.allclose(theirs.add_noise(x, noise, times), add_noise(x, noise, times), atol=1e-4)


def test_the_signal_to_noise_weight():
    times = torch.arange(1000)
    ratio = theirs_snr()
    weight = snr_weight(times, 5.0)
    assert torch.allclose(weight, torch.where(ratio > 5, 5 / ratio, torch.ones(1)), rtol=1e-3)
    assert torch.equal(snr_weight(times, 0.0), torch.ones(1000))


def test_the_weight_of_means_is_what_the_best_linear_guess_explains():
    """Noisy means are √ᾱ·m + √(1−ᾱ)·n with m of variance 0.1 and n of 1/256: how much of n's variance the best linear guess explains."""
    rng = np.random.default_rng(0)
    m, n = rng.standard_normal(200_000) * 0.1**0.5, rng.standard_normal(200_000) / 16
    for time in (100, 700, 950):
        alpha = float(ALPHAS[time])
        explained = np.corrcoef(alpha**0.5 * m + (1 - alpha) ** 0.5 * n, n)[0, 1] ** 2
        assert float(mean_weight(torch.tensor([time]), 256)) == pytest.approx(explained, abs=0.01)


def test_noisy_steps_weigh_more():
    times = torch.arange(1000)
    assert torch.allclose(coarse_weight(times, 2.0), 1 + 2 / theirs_snr().sqrt(), rtol=1e-3)
    assert torch.equal(coarse_weight(times, 0.0), torch.ones(1000))


def test_the_weight_of_velocities():
    """Told the noise wrongly, the velocity of diffusers is wrong by that much more, whatever the step."""
    theirs = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    clean, noise, wrong = torch.randn(3, 6, 4, 2, 2, dtype=torch.float64)
    times = torch.tensor([0, 100, 300, 600, 900, 999])
    noisy = add_noise(clean, noise, times)
    told = take_noise(noisy, wrong, times)
    error = (theirs.get_velocity(told, wrong, times) - theirs.get_velocity(clean, noise, times)).square().mean(dim=(1, 2, 3))
    assert torch.allclose(velocity_weight(times) * (wrong - noise).square().mean(dim=(1, 2, 3)), error, rtol=1e-3)


def theirs_snr():
    alpha = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear").alphas_cumprod
    return alpha / (1 - alpha)


def test_the_sampler_recovers_a_picture_the_network_knows():
    """With a network that knows the clean picture, DDIM must arrive at it."""
    clean = torch.randn(1, 4, 4, 4)

    class Knowing(torch.nn.Module):
        def forward(self, x, time, words):
            alpha = ALPHAS[time]
            return type("Out", (), {"sample": (x - alpha.sqrt() * clean) / (1 - alpha).sqrt()})

    from facechain_ext.training.noise import sample

    words = torch.zeros(1, 77, 8)
    found = sample(Knowing(), torch.randn(1, 4, 4, 4), words, words, steps=10, guidance=3.0)
    assert torch.allclose(found, clean, atol=1e-3)


def test_centred_latents_have_mean_0_and_variance_1_and_decode_as_before():
    torch.manual_seed(0)
    model = vae.build_vae("16,16,16,16").eval()
    pictures = torch.randn(6, 3, 64, 64).clamp(-1, 1)
    with torch.no_grad():
        before = model.decode(model.encode(pictures).latent_dist.mean).sample
        spread = model.encode(pictures).latent_dist.std / model.encode(pictures).latent_dist.mean.std(dim=(0, 2, 3))[None, :, None, None]
        vae.centre_latents(model, pictures)
        found = model.encode(pictures).latent_dist
        after = model.decode(found.mean).sample
    scaled = found.mean * 0.18215
    assert torch.allclose(scaled.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-4)
    assert torch.allclose(scaled.std(dim=(0, 2, 3)), torch.ones(4), atol=1e-4)
    assert torch.allclose(before, after, atol=1e-4)
    assert torch.allclose(found.std * 0.18215, spread, rtol=1e-3), "the noise shrinks with the latents"


def test_pictures_survive_the_way_to_tensors_and_back():
    pictures = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    tensor = pixels.to_tensor(pictures)
    assert tensor.shape == (2, 3, 5, 7) and tensor.min() >= -1 and tensor.max() <= 1
    assert np.array_equal(pixels.to_pictures(tensor), pictures)


def test_margin_loss_by_hand():
    """Two people with two pictures each along the axes: every picture's own mean is its twin, the other person is at right angles."""
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    together = torch.stack((torch.stack((a, a)), torch.stack((b, b))))
    loss, right = margin_loss(together, scale=10.0, margin=0.2)
    assert right == 1
    assert float(loss) == pytest.approx(float(np.log1p(np.exp(-8.0))), rel=1e-4)
    mixed = torch.stack((torch.stack((a, b)), torch.stack((b, a))))
    assert margin_loss(mixed, 10.0, 0.2)[1] == 0, "a picture must not vote for itself"


def test_rank_first_by_hand():
    gallery = torch.eye(3)[:, None]
    queries = torch.stack((torch.eye(3)[[0, 1]], torch.eye(3)[[1, 1]], torch.eye(3)[[2, 0]]))
    assert rank_first(queries, gallery) == pytest.approx(4 / 6)


def test_traits_cover_everybody():
    lengths = {len(sizes_of(person(number))) for number in range(50)}
    assert len(lengths) == 1
    for number in range(300):
        assert HAIR[kinds_of(person(number))[0]] == person(number).hair.style


def test_the_average_follows():
    layer = torch.nn.Linear(1, 1, bias=False)
    average = Average({"layer": layer}, 0.5)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        start = float(average.of("layer")["weight"])
        average.follow(1000)
    assert float(average.of("layer")["weight"]) == pytest.approx((start + 1) / 2)


def test_the_learning_rate_rises_and_falls():
    settings = LikenessSettings(steps=1000, warmup=100, rate=1.0)
    assert rate_at(0, settings) == pytest.approx(0.01)
    assert rate_at(100, settings) == pytest.approx(1.0)
    assert rate_at(1000, settings) == pytest.approx(0.05)


def test_the_judge_looks_at_squares():
    wide = np.arange(128 * 256 * 3).reshape(128, 256, 3)
    assert view(wide[:, :128]).shape == (VIEW, VIEW, 3)
    assert np.array_equal(view(wide, middle=192.0), view(wide[:, 128:]))
    assert Judge()(torch.zeros(2, 3, VIEW, VIEW)).shape == (2, 128)


def test_the_head_crop_holds_the_head_before_black():
    drawing = people.picture(3, np.random.default_rng(0), ["photo"])
    crop = encoder.head_crop(drawing, np.random.default_rng(0), False)
    assert crop.shape == (112, 112, 3)
    from facechain_ext.vision.align import align

    mask = drawing.people[0].head
    theirs = align(drawing.picture * mask[..., None], drawing.people[0].points)
    assert np.abs(crop.astype(int) - theirs).mean() < 4, "the product's own alignment; its mask is a little larger"


def test_the_encoder_is_kept_in_the_published_form(tmp_path):
    trainee = encoder.trainee(LikenessSettings(steps=1, batch=2, pictures=2, tested=0, device="cpu"))
    loss = trainee.step(0, np.random.default_rng(0))
    assert np.isfinite(float(loss["likeness"]))
    save_weights(tmp_path / "encoder.safetensors", trainee.weights(), trainee.metadata())
    loaded = read_encoder(tmp_path / "encoder.safetensors").eval()
    crops = torch.rand(2, 3, 112, 112) * 2 - 1
    network = trainee.build().eval()
    network.load_state_dict(trainee.average.of("network"))
    with torch.no_grad():
        assert torch.allclose(loaded(crops), network.encoder(crops))
        finish(trainee, tmp_path / "half.safetensors")
        halved = read_encoder(tmp_path / "half.safetensors").eval()
        assert all(value.dtype == network.encoder.state_dict()[key].dtype for key, value in halved.state_dict().items())
        assert torch.allclose(halved(crops), network.encoder(crops), atol=2e-2)
    assert 2 * (tmp_path / "half.safetensors").stat().st_size < 1.02 * (tmp_path / "encoder.safetensors").stat().st_size


@pytest.mark.parametrize("what", [encoder, judge])
def test_a_recogniser_begins_with_the_weights_of_another(tmp_path, what):
    """Those a training keeps; the encoder's also with matrices in eight bits, as they come with the product."""
    small = {"steps": 1, "batch": 2, "pictures": 2, "tested": 0, "device": "cpu"}
    first = what.trainee(LikenessSettings(**small))
    save_weights(tmp_path / "kept.safetensors", first.weights(), first.metadata())
    again = what.trainee(LikenessSettings(**small, seed=1, begin=str(tmp_path / "kept.safetensors")))
    begun, kept = again.network.state_dict(), first.average.of("network")
    assert begun.keys() == kept.keys() and all(torch.equal(begun[key], kept[key]) for key in kept)
    assert all(torch.equal(again.average.of("network")[key], kept[key]) for key in kept)
    if what is encoder:
        finish(first, tmp_path / "small.safetensors", encoder.LARGE)
        again = what.trainee(LikenessSettings(**small, seed=1, begin=str(tmp_path / "small.safetensors")))
        assert all(torch.allclose(value, kept[key], atol=2e-3) for key, value in again.network.state_dict().items())


def test_worn_pictures_waver_and_are_soft():
    """A line one pixel wide bends by up to a few pixels, never jumps, stripes are soft; a third of pictures stay as they are."""
    line = np.full((128, 128, 3), 200, np.uint8)
    line[:, 64] = 0
    rng = np.random.default_rng(0)
    made = [recognition.worn(line, rng) for _ in range(300)]
    same = np.mean([np.array_equal(one, line) for one in made])
    assert same == pytest.approx(1 / 3, abs=0.09)
    bent = []
    for one in made:
        dark = np.clip(150.0 - cv2.GaussianBlur(one, (0, 0), 1.0).mean(axis=2), 0, None)
        if (dark.sum(axis=1) > 0).all():
            places = (dark * np.arange(128)).sum(axis=1) / dark.sum(axis=1)
            assert np.abs(np.diff(places)).max() < 3
            bent.append(np.abs(places - 64).max())
    assert len(bent) > 100 and 0.5 < np.max(bent) < 8
    stripes = np.tile(np.array([200, 200, 0, 0], np.uint8)[None, :, None], (128, 32, 3))
    fine = [recognition.worn(stripes, rng) for _ in range(150)]
    left = [one[32:96, 32:96].std() / stripes.std() for one in fine if not np.array_equal(one, stripes)]
    assert np.mean(left) < 0.55, "two pixels wide, softness takes about half of them, wavering alone much less"


def test_people_give_photos_without_hats():
    given = [people.photo(number, np.random.default_rng(number)) for number in range(40)]
    assert {one.scene.style for one in given} == {"photo"} and {one.people[0].appearance.outfit.hat for one in given} == {""}
    assert len({one.people[0].appearance.outfit.clothes for one in given}) > 3
    assert all(one.people[0].who == person(number) for number, one in enumerate(given))


@pytest.mark.parametrize("widths", ["16,16,32,32", "16,16,16", "18,18,18,18", "a,a,a,a", "0,0,0,0", "48,48,48,48"])
def test_widths_that_no_vae_has_are_refused(widths):
    with pytest.raises(BadInput, match="the same multiple of 4 four times"):
        vae.VaeSettings(widths=widths)


def test_the_vae_learns():
    settings = vae.VaeSettings(steps=40, batch=1, crop=32, widths="16,16,16,16", warmup=1, rate=5e-3)
    trainee = vae.VaeTrainee(settings, torch.device("cpu"))
    errors = [trainee.step(number, np.random.default_rng(0))["error_of_255"] for number in range(40)]
    assert np.mean(errors[-3:]) < 0.7 * errors[0]


def test_an_untrained_vae_gives_flat_colours_back_through_latents_that_tell_them():
    """Away from the rim, and whatever else is in the picture: norms must not take a colour away."""
    torch.manual_seed(0)
    model = vae.build_vae("96,96,96,96").eval()
    vae.begin_with_colours(model)
    colours = np.random.default_rng(0).integers(20, 235, (4, 3))
    pictures = np.zeros((4, 96, 96, 3), np.uint8)
    pictures[:, :, :48], pictures[:, :, 48:] = colours[:, None, None], colours[::-1][:, None, None]
    seen = vae.through(model, pictures).astype(int)
    assert np.abs(seen[:, 24:72, 16:32] - colours[:, None, None]).max() < 16
    assert np.abs(seen[:, 24:72, 64:80] - colours[::-1][:, None, None]).max() < 16
    with torch.no_grad():
        found = model.encode(pixels.to_tensor(pictures)).latent_dist
    wanted = torch.from_numpy(colours / 127.5 - 1).float()
    assert torch.allclose(found.mean[:, :3, 4:8, 2:4], wanted[:, :, None, None].expand(-1, -1, 4, 2), atol=0.12)
    assert found.std.max() < 0.05


def test_small_pictures_can_come_first(tmp_path):
    small = {"batch": 1, "widths": "8,8,8,8", "steps": 1}
    first = vae.VaeTrainee(vae.VaeSettings(**small, shrink=4), torch.device("cpu"))
    assert first.step(0, np.random.default_rng(0))["error_of_255"] > 0
    save_weights(tmp_path / "first.safetensors", first.weights())
    second = vae.VaeTrainee(vae.VaeSettings(**small, begin=str(tmp_path / "first.safetensors"), seed=5), torch.device("cpu"))
    assert all(torch.equal(value, second.vae.state_dict()[key]) for key, value in first.weights().items())


def test_the_decoder_alone_leaves_latents_as_they_are(tmp_path):
    small = {"batch": 1, "widths": "8,8,8,8", "steps": 3, "warmup": 1, "rate": 1e-3, "crop": 32}
    save_weights(tmp_path / "first.safetensors", vae.VaeTrainee(vae.VaeSettings(**small), torch.device("cpu")).weights())
    trainee = vae.VaeTrainee(vae.VaeSettings(**small, begin=str(tmp_path / "first.safetensors"), decoder=True), torch.device("cpu"))
    before, pictures = vae.load_weights(tmp_path / "first.safetensors"), torch.randn(1, 3, 32, 32)
    latents = trainee.vae.encode(pictures).latent_dist.mean
    for number in range(3):
        trainee.step(number, np.random.default_rng(number))
    assert torch.equal(trainee.vae.encode(pictures).latent_dist.mean, latents)
    assert not torch.equal(trainee.vae.state_dict()["decoder.conv_out.weight"], before["decoder.conv_out.weight"])
    vae.finish(trainee, tmp_path)
    kept = vae.load_weights(tmp_path / vae.FINISHED)
    assert all(torch.equal(kept[key], before[key]) for key in before if key.startswith(("encoder.", "quant_conv.")))


class Painter:
    """A UNet that tells what it is set to, and words nobody looks at."""

    scale = 0.5

    def __init__(self, tells) -> None:
        self.networks = SimpleNamespace(unet=lambda noisy, times, words: SimpleNamespace(sample=tells(noisy, times)))

    def read(self, tokens):
        return torch.zeros(1, 77, 32)


@pytest.mark.parametrize("count", [1, 5])
def test_the_decoder_sees_some_latents_as_a_unet_finishes_them(tmp_path, count):
    """The first half; as they were where the UNet knows the noise exactly, else what the formula leaves of it."""
    small = {"batch": 1, "widths": "8,8,8,8", "steps": 3, "crop": 32}
    trainee = vae.VaeTrainee(vae.VaeSettings(**small), torch.device("cpu"))
    latents, half = torch.randn(count, 4, 4, 4), max(1, count // 2)
    assert trainee._vague(latents) is latents, "nobody asked for it"
    seen = []

    def exactly(noisy, times):
        seen.append(times)
        alpha = ALPHAS[times][:, None, None, None]
        return (noisy - alpha.sqrt() * latents[:half] * 0.5) / (1 - alpha).sqrt()

    trainee.painter = Painter(exactly)
    assert torch.allclose(trainee._vague(latents), latents, atol=1e-3) and len(seen[0]) == half and int(seen[0].max()) < 300
    trainee.painter = Painter(lambda noisy, times: torch.zeros_like(noisy))
    vague = trainee._vague(latents)
    assert torch.equal(vague[half:], latents[half:])
    assert all((a - b).abs().max() > 1e-3 for a, b in zip(vague[:half], latents[:half], strict=True))
    with pytest.raises(BadInput, match="give --decoder beside it"):
        vae.VaeSettings(vague="checkpoint.safetensors")


def test_noise_on_latents_is_measured_in_their_own_deviations():
    """Half of them get none; the others, by how far each is off in deviations of its channel, from none to as many as were asked for."""
    trainee = vae.VaeTrainee(vae.VaeSettings(batch=1, widths="8,8,8,8", steps=3, crop=32), torch.device("cpu"))
    latents = torch.randn(400, 4, 8, 8) * torch.tensor([0.5, 1.0, 5.0, 20.0])[:, None, None] + 3
    assert trainee._noisy(latents) is latents, "nobody asked for it"
    errors = {}
    for noise in (0.0, 5.0):
        one = vae.VaeTrainee(vae.VaeSettings(batch=4, widths="8,8,8,8", steps=3, crop=32, noise=noise), torch.device("cpu"))
        torch.manual_seed(2)
        errors[noise] = float(one.step(0, np.random.default_rng(1))["error_of_255"])
    assert errors[5.0] != errors[0.0], "a step decodes what the noise left"
    trainee.settings = replace(trainee.settings, noise=0.6)
    off = (trainee._noisy(latents) - latents).std(dim=(2, 3)) / torch.tensor([0.5, 1.0, 5.0, 20.0])
    assert float((off.max(dim=1).values == 0).float().mean()) == pytest.approx(0.5, abs=0.08)
    levels = off[off.min(dim=1).values > 0]
    assert torch.allclose(levels.mean(dim=0), torch.full((4,), 0.3), atol=0.04) and 0.55 < float(levels.mean(dim=1).max()) < 0.75


def test_the_judge_is_asked_about_what_comes_back():
    """A VAE that gives pictures back nearly as they are is told apart nearly always; one of random numbers hardly ever."""
    torch.manual_seed(0)
    assert vae.told_apart(vae.build_vae("8,8,8,8").eval(), people.TESTED[:8]) < 0.5

    class Same(torch.nn.Module):
        device, dtype = torch.device("cpu"), torch.float32

        def encode(self, x):
            return type("Found", (), {"latent_dist": type("Latents", (), {"mean": x})})

        def decode(self, x):
            return type("Shown", (), {"sample": x})

    assert vae.told_apart(Same(), people.TESTED[:8]) > 0.9


def test_encoded_pictures_are_continued_and_depend_on_their_number_alone(tmp_path, monkeypatch):
    build = vae.build_vae
    monkeypatch.setattr(vae, "build_vae", lambda: build("8,8,8,8"))
    torch.manual_seed(1)
    save_weights(tmp_path / "vae.safetensors", build("8,8,8,8").state_dict())
    common = {"pictures": 6, "batch": 2, "vae": str(tmp_path / "vae.safetensors"), "device": "cpu"}
    latents.encode(latents.LatentSettings(**common, until=2), tmp_path / "a")
    assert latents.open_set(tmp_path / "a").done == 2
    latents.encode(latents.LatentSettings(**common), tmp_path / "a")
    latents.encode(latents.LatentSettings(**common), tmp_path / "b")
    one, other = latents.open_set(tmp_path / "a"), latents.open_set(tmp_path / "b")
    assert one.done == other.done == 6 and one.latents.shape == (6, 4, 16, 16)
    assert np.array_equal(one.latents, other.latents) and np.array_equal(one.tokens, other.tokens)
    assert len({row.tobytes() for row in one.latents}) == 6
    head = latents.drawing_of(0, 1, 2).people[0].head
    assert one.heads.shape == (6, 16, 16) and one.heads[2, 6, 8] == round(head[48:56, 64:72].mean() * 255)
    with pytest.raises(BadInput, match="other settings"):
        latents.encode(latents.LatentSettings(**{**common, "seed": 9}), tmp_path / "a")


def test_some_captions_say_how_people_look():
    """Of one person, as often as asked for, the same words whenever the picture is made; of two people nothing more is said."""
    settings = latents.LatentSettings(looks=0.5)
    tokens, who = tokens_of(["a photo of a person"] * 400), [[person(number)] for number in range(400)]
    found = latents._captions(settings, range(400), tokens, who, ["photo"] * 400)
    said = (found != tokens).any(axis=1)
    assert said.mean() == pytest.approx(0.5, abs=0.08)
    assert np.array_equal(found[7:9], latents._captions(settings, range(7, 9), tokens[7:9], who[7:9], ["photo"] * 2))
    assert np.array_equal(latents._captions(latents.LatentSettings(), range(400), tokens, who, ["photo"] * 400), tokens)
    assert np.array_equal(latents._captions(settings, range(400), tokens, [one * 2 for one in who], ["photo"] * 400), tokens)
    grey = latents._captions(latents.LatentSettings(looks=1.0), range(400), tokens, who, ["pencil"] * 400)
    skin = tokens_of(["skin"])[0, 1]
    assert (found == skin).any() and not (grey == skin).any(), "in pencil nobody's skin has a colour"


def test_base_refuses_more_pictures_than_there_are(tmp_path):
    np.save(tmp_path / "latents.npy", np.zeros((4, 4, 16, 16), np.float16))
    np.save(tmp_path / "heads.npy", np.zeros((4, 16, 16), np.uint8))
    np.save(tmp_path / "tokens.npy", np.zeros((4, 77), np.uint16))
    (tmp_path / "set.json").write_text(json.dumps({"done": 3}))
    with pytest.raises(BadInput, match="Only 3 pictures"):
        base.BaseTrainee(base.BaseSettings(pictures=4, data=str(tmp_path)), torch.device("cpu"))
    with pytest.raises(BadInput, match="no encoded pictures"):
        base.BaseTrainee(base.BaseSettings(data=str(tmp_path / "none")), torch.device("cpu"))


def test_base_lets_errors_in_heads_count_more(tmp_path, monkeypatch):
    """A UNet that always answers 0 is wrong by the noise itself; the left half of the cells is head."""
    np.save(tmp_path / "latents.npy", np.ones((4, 4, 16, 16), np.float16))
    np.save(tmp_path / "heads.npy", np.repeat([[[255] * 8 + [0] * 8]], 16, axis=1).repeat(4, axis=0).astype(np.uint8))
    np.save(tmp_path / "tokens.npy", np.zeros((4, 77), np.uint16))
    (tmp_path / "set.json").write_text(json.dumps({"done": 4}))
    settings = base.BaseSettings(pictures=4, batch=2, data=str(tmp_path), snr=0.0, broad=0.0, coarse=0.0, heads=3.0)
    one, asked = base.BaseTrainee(settings, torch.device("cpu")), []
    assert one.unet.conv_in.weight.is_contiguous() and not one.unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    last = base.BaseTrainee(replace(settings, last=True), torch.device("cpu"))
    for autocast in (False, True):
        muon = base.BaseTrainee(replace(settings, muon=0.7, autocast=autocast), torch.device("cpu")).optimiser
        assert isinstance(muon, MuonAndAdamW) and muon.parts[0].exact is not autocast
    assert last.unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    monkeypatch.setattr(base, "add_noise", lambda *given: asked.append(given) or add_noise(*given))
    one.unet.forward = lambda noisy, times, words: SimpleNamespace(sample=0 * one.unet.conv_in(noisy)[:, :4])
    found = one.step(0, np.random.default_rng(0))
    squares = asked[0][1].square()
    left, right = squares[..., :8].mean(), squares[..., 8:].mean()
    assert float(found["loss"]) == pytest.approx(float((3 * left + right) / 4), rel=1e-4)
    assert float(found["error"]) == pytest.approx(float(squares.mean()), rel=1e-4), "what is logged is the plain error"


def test_captions_become_sd15_tokens():
    rows = tokens_of(["a photo", ""])
    assert rows.shape == (2, 77)
    assert rows[0, :5].tolist() == [49406, 320, 1125, 49407, 49407], "start, a, photo, end, padded with end"
    assert rows[1, :2].tolist() == [49406, 49407]


def test_settings_come_from_the_command_line(tmp_path):
    settings, folder = parse(base.BaseSettings, "train-base", "", ["--folder", str(tmp_path), "--batch", "8", "--autocast", "--snr", "0"])
    assert (settings.batch, settings.autocast, settings.snr, folder) == (8, True, 0.0, tmp_path)
    assert "device" not in identity_of(settings) and identity_of(settings)["batch"] == 8
    with pytest.raises(BadInput, match="--batch is 0"):
        parse(base.BaseSettings, "train-base", "", ["--batch", "0"])


@pytest.mark.parametrize(("name", "training"), [("checkpoint", "base"), ("encoder", "encoder")])
def test_a_training_goes_on_with_the_file_it_took_by_default(tmp_path, monkeypatch, name, training):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    begun = parse(fact.FactSettings, "train-fact", "", [])[0]
    assert Path(getattr(begun, name)) == TRAINED / f"{name}.safetensors"
    assert getattr(parse(fact.FactSettings, "train-fact", "", [f"--{name}", "mine"])[0], name) == "mine"
    newer = tmp_path / "facechain" / "training" / training / f"{name}.safetensors"
    newer.parent.mkdir(parents=True)
    newer.touch()
    later = parse(fact.FactSettings, "train-fact", "", [])[0]
    assert Path(getattr(later, name)) == newer
    changed = {key for key, value in identity_of(later).items() if identity_of(begun)[key] != value}
    assert changed == {name}, "and so it is refused to go on"


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        COMMANDS[name].run(["--help"])
    assert stopped.value.code == 0
    said = capsys.readouterr().out
    assert name in said and "--folder" in said
    assert ("--seed" in said) != (name in ("train-demo", "blend-adapters")), "a recipe leaves seeds to its stages, and a mean needs none"


def test_what_the_loss_sees_is_normalised():
    """A margin loss on scaled embeddings is the same: only directions count."""
    torch.manual_seed(0)
    x = torch.randn(3, 4, 8)
    assert torch.allclose(margin_loss(x, 20.0, 0.1)[0], margin_loss(7 * F.normalize(x, dim=2), 20.0, 0.1)[0], atol=1e-5)


def test_weights_of_something_else_are_named(tmp_path):
    """By what was wanted, and the first of what does not fit."""
    path, cpu = tmp_path / "other.safetensors", torch.device("cpu")
    save_weights(path, {"a": torch.zeros(1), "stem.0.weight": torch.zeros(2)})
    begin = LikenessSettings(tested=0, device="cpu", begin=str(path))
    for what in (encoder, judge):
        with pytest.raises(BadWeights, match=r"other\.safetensors is not what this training wrote \(.+ and \d+ more: missing, foreign"):
            what.trainee(begin)
    with pytest.raises(BadWeights, match="is not a VAE of the demo model's widths"):
        vae.read_vae(str(path))
    with pytest.raises(BadWeights, match="is not a VAE of the widths 8,8,8,8"):
        vae.VaeTrainee(vae.VaeSettings(widths="8,8,8,8", begin=str(path)), cpu)
    with pytest.raises(BadWeights, match="is not a base model that train-base trained"):
        base.load_base(load_weights(path), cpu, path)


def test_a_vae_of_half_precision_gives_pictures_back():
    torch.manual_seed(0)
    network = vae.build_vae("8,8,8,8").eval()
    pictures = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    whole = vae.through(network, pictures)
    assert np.abs(vae.through(network.bfloat16(), pictures).astype(int) - whole).max() < 12


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        (base.BaseSettings, {"pair_every": 0}, "--pair-every is 0: it must be at least 1"),
        (base.BaseSettings, {"seed": -1}, "--seed is -1: it must be at least 0"),
        (fact.FactSettings, {"pair_every": 0}, "--pair-every is 0"),
        (fact.FactSettings, {"size": 0}, "--size is 0: it must be at least 8"),
        (fact.FactSettings, {"size": 65}, "--size is 65: it must be a multiple of 8"),
        (fact.FactSettings, {"painted": -1}, "--painted is -1"),
        (control.ControlSettings, {"size": 72}, "--size is 72: it must be a multiple of 64"),
        (style_lora.StyleSettings, {"style": "woodcut", "size": 20}, "--size is 20: it must be a multiple of 8"),
        (style_lora.StyleSettings, {"style": "woodcut", "rank": 0}, "--rank is 0"),
        (latents.LatentSettings, {"pictures": -1}, "--pictures is -1"),
        (LikenessSettings, {"pictures": 1}, "--pictures is 1: it must be at least 2"),
        (vae.VaeSettings, {"crop": 20}, "--crop is 20"),
        (analyser.AnalyserSettings, {"tested": -1}, "--tested is -1"),
    ],
)
def test_numbers_out_of_their_limits_are_refused(kind, given, said):
    with pytest.raises(BadInput, match=said):
        kind(**given)


def test_nobody_is_tested_where_nobody_is_asked_for():
    one = analyser.AnalyserTrainee(analyser.AnalyserSettings(tested=0), torch.device("cpu"))
    before = dict(one.measured)
    one.sheet()
    assert one.measured == before


def test_pairs_are_pictures_of_several_people(tmp_path):
    alone = str(write_latents(tmp_path / "singles", 4, 1))
    with pytest.raises(BadInput, match="one person each"):
        base.BaseTrainee(base.BaseSettings(data=alone, pairs=alone, pictures=4), torch.device("cpu"))
    with pytest.raises(BadInput, match="one person each"):
        source_of(fact.FactSettings(latents=alone, pairs=alone, pictures=4), tmp_path)


def test_base_learns_from_couples_one_at_a_time(tmp_path):
    for name, count in (("singles", 1), ("pairs", 2)):
        write_latents(tmp_path / name, 4, count)
    given = {"data": str(tmp_path / "singles"), "pairs": str(tmp_path / "pairs"), "pictures": 4, "batch": 1, "pair_every": 1}
    one = base.BaseTrainee(base.BaseSettings(**given), torch.device("cpu"))
    assert np.isfinite(float(one.step(0, np.random.default_rng(0))["loss"]))
