"""Deep reward tuning: heads cut as the product cuts them, the sampler's sum and its way back, the critic, the tiny decoder, whole steps."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from facechain_ext.demo.model import TRAINED
from facechain_ext.engine.checkpoints import read_encoder
from facechain_ext.engine.identity import to_input
from facechain_ext.errors import BadInput, BadWeights
from facechain_ext.faces.demo import Demo
from facechain_ext.training import fact, tiny
from facechain_ext.training.checkpoint import save_weights
from facechain_ext.training.drawn import DrawnSettings, draw_set, open_drawn
from facechain_ext.training.encoder import head_crop
from facechain_ext.training.latents import open_set
from facechain_ext.training.noise import ALPHAS, sample
from facechain_ext.training.people import ENCODED, photo, picture
from facechain_ext.training.pixels import to_tensor
from facechain_ext.training.reward import MOST, Critic, cut, means_of, paint, steps_of
from facechain_ext.training.subjects import StoredPeople
from facechain_ext.vision.align import SIZE, similarity
from tests.training.fact_cases import encoder, networks, write_latents

CPU = torch.device("cpu")


def test_heads_are_cut_as_opencv_cuts_them():
    rng = np.random.default_rng(0)
    drawn = photo(7, rng)
    mask = drawn.people[0].head
    matrix = similarity(drawn.people[0].points)
    theirs = cv2.warpAffine((drawn.picture * mask[..., None]).astype(np.uint8), matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR)
    mine = cut(to_tensor(drawn.picture[None]), torch.from_numpy(mask.astype(np.float32))[None, None], matrix[None])
    difference = (mine - to_tensor(theirs[None])).abs() * 127.5
    assert difference.mean() < 0.5 and difference.max() < 12, "OpenCV rounds places to 1/32 of a pixel"


def test_few_steps_end_where_the_plain_sampler_would(monkeypatch):
    """A UNet that knows the picture: whatever the number of steps, DDIM ends at it; and the steps begin at all noise."""
    clean = torch.randn(2, 4, 8, 8)

    def knows(latents, times):
        alpha = ALPHAS[times][:, None, None, None]
        return (latents - alpha.sqrt() * clean.repeat(len(latents) // 2, 1, 1, 1)) / (1 - alpha).sqrt()

    assert torch.allclose(paint(torch.randn_like(clean), 5, [0, 3], knows, knows), clean, atol=1e-3)
    assert steps_of(4) == [999, 749, 500, 250]


def test_the_way_back_goes_to_the_graded_answers_alone_as_far_as_their_noise_allows():
    """An answer that is one number everywhere: the gradient of the picture's sum is minus the sum of the graded steps' capped ratios."""
    number = torch.zeros((), requires_grad=True)
    seen = []

    def learnt(latents, times):
        seen.append((latents.requires_grad, times.tolist()))
        return number.expand_as(latents)

    found = paint(torch.randn(3, 4, 2, 2), 4, [0, 2], lambda latents, times: number * latents, learnt)
    assert found.shape == (3, 4, 2, 2) and seen == [(False, [999] * 3 + [500] * 3)]
    found.sum().backward()
    ratios = [min(MOST, float(((1 - ALPHAS[step]) / ALPHAS[step]) ** 0.5)) for step in (999, 500)]
    assert number.grad.item() == pytest.approx(-48 * sum(ratios), rel=1e-5)


def test_the_critic_knows_people_and_its_gradient_reaches_the_face_alone():
    eyes, network = Demo(), read_encoder(TRAINED / "encoder.safetensors")
    people = [ENCODED.stop - 1 - number for number in range(6)]
    rngs = [np.random.default_rng(number) for number in people]
    crops = np.stack([head_crop(picture(number, rng), rng, False) for number, rng in zip(people, rngs, strict=True) for _ in range(6)])
    with torch.no_grad():
        tokens = network(to_input(torch.from_numpy(crops))).numpy()
    means = means_of(network, tokens, np.repeat(np.arange(6), 6), batch=10)
    by_hand = F.normalize(F.normalize(network.embedding(torch.from_numpy(tokens)), dim=1).unflatten(0, (6, 6)).mean(dim=1), dim=1)
    assert torch.allclose(means, by_hand, atol=1e-5)

    drawn = [photo(number, rng) for number, rng in zip(people, rngs, strict=True)]
    pictures = to_tensor(np.stack([one.picture for one in drawn])).requires_grad_()
    critic = Critic(network, eyes, means)
    looked = critic.look(pictures, torch.arange(6))
    assert looked.found == 6 and looked.right == 1
    assert looked.loss < critic.look(pictures, torch.arange(6).roll(1)).loss
    looked.loss.backward()
    strength = pictures.grad.abs().sum(dim=1)
    for one, where in zip(drawn, strength, strict=True):
        grown = cv2.dilate(one.people[0].head.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
        assert where[torch.from_numpy(~grown)].sum() < 0.02 * where.sum()


def test_pictures_without_a_face_count_for_nothing():
    network = read_encoder(TRAINED / "encoder.safetensors")
    people = F.normalize(torch.randn(3, network.sizes.embedding), dim=1)
    blank = torch.zeros(2, 3, 128, 128, requires_grad=True)
    looked = Critic(network, Demo(), people).look(blank, torch.tensor([0, 1]))
    looked.loss.backward()
    assert (looked.found, float(looked.loss.detach())) == (0, 0.0) and not blank.grad.any()


def test_the_tiny_decoder_learns_and_restarts(tmp_path):
    drawn, latents = stored(tmp_path)
    cells = to_tensor(np.array(open_drawn(drawn).pictures)).unfold(2, 8, 8).unfold(3, 8, 8).mean(dim=(4, 5)) / 0.18215
    np.save(latents / "latents.npy", F.pad(cells, (0, 0, 0, 0, 0, 1)).numpy().astype(np.float16))  # the cells' mean colours
    settings = tiny.TinySettings(steps=40, batch=4, warmup=5, rate=2e-3, latents=str(latents), drawn=str(drawn), noise=0.0, decay=0.5)
    one = tiny.TinyTrainee(settings, CPU)
    errors = [float(one.step(number, np.random.default_rng(0))["error_of_255"]) for number in range(40)]
    assert errors[-1] < 0.7 * errors[0]
    again = tiny.TinyTrainee(settings, CPU)
    again.restore(one.state())
    assert all(torch.equal(value, again.weights()[key]) for key, value in one.weights().items())
    assert one.sheet().shape == (256, 128 * 8, 3)
    save_weights(tmp_path / "tiny.safetensors", one.weights(), {})
    assert tiny.read_tiny(tmp_path / "tiny.safetensors")(torch.zeros(1, 4, 16, 24)).shape == (1, 3, 128, 192)
    with pytest.raises(BadWeights, match="train-tiny"):
        tiny.read_tiny(TRAINED / "judge.safetensors")


def stored(folder, identities=4):
    """Drawn people and latents that are not theirs, which is enough for a step."""
    draw_set(DrawnSettings(identities=identities, each=8, workers=1), folder / "drawn")
    latents = write_latents(folder / "latents", identities * 8)
    note = latents / "set.json"
    note.write_text(note.read_text().replace('"vae": ""', f'"vae": "", "drawn": "{folder / "drawn"}"'))
    return folder / "drawn", latents


def tuning(tmp_path, **given):
    drawn, latents = stored(tmp_path)
    settings = fact.FactSettings(
        **{"steps": 3, "batch": 2, "painted": 2, "painting": 2, "graded": 1, "warmup": 1, "ahead": True, "likeness": 1.0, **given}
    )
    source = StoredPeople(open_drawn(drawn), open_set(latents))
    return fact.FactTrainee(settings, CPU, networks(), encoder(), source)


class Seeing:
    """Eyes that always see the same face, and a head everywhere: what tiny networks paint shows none."""

    def __init__(self, device="cpu") -> None:
        drawn = photo(3, np.random.default_rng(0))
        self.face, self.found = Demo().faces(pil(drawn.picture))[:1], np.ones((128, 128), bool)

    def faces(self, image):
        return self.face

    def parse(self, image, face):
        from facechain_ext.faces.types import Parsing

        return Parsing(face=self.found, hair=self.found, person=self.found, clothes=~self.found)


def pil(picture):
    from PIL import Image

    return Image.fromarray(picture)


def test_a_step_of_tuning_moves_the_adapter_where_the_error_of_the_noise_is_not_asked(tmp_path, monkeypatch):
    """With the likeness alone in the loss the adapter's gradient is not zero, and the frozen networks have none."""
    monkeypatch.setattr(fact, "Demo", Seeing)
    one = tuning(tmp_path)
    with torch.no_grad():
        for layer in one.adapter.gates():
            torch.nn.init.normal_(layer.to_out.weight, std=0.1)
    batch = one._batch(0, np.random.default_rng(1))
    one._unlike(one.critic, batch, np.random.default_rng(2)).backward()
    assert sum(float(value.grad.abs().sum()) for value in one.adapter.parameters() if value.grad is not None) > 0
    frozen = (one.networks.unet, one.networks.vae, one.encoder)
    assert all(value.grad is None for network in frozen for value in network.parameters())
    assert one.liked["faces"] == 1 and one.liked["unlike"] > 0
    told = one.step(1, np.random.default_rng(3))
    assert {"error", "fair", "unlike", "like", "faces"} <= set(told)


def test_what_tuning_paints_is_what_the_sample_sheet_paints(tmp_path, monkeypatch):
    """The same tokens, words and noise by both: the guided noise of the first step of DDIM."""
    monkeypatch.setattr(fact, "Demo", Seeing)
    one = tuning(tmp_path, painting=1)
    seen = []
    monkeypatch.setattr(fact, "paint", lambda start, count, graded, *answers: seen.append((start, answers)) or start)
    batch = one._batch(0, np.random.default_rng(1))
    one._unlike(one.critic, batch, np.random.default_rng(2))
    start, (answer, learnt) = seen[0]
    with torch.no_grad():
        mine, faced = (ask(start, torch.full((2,), 999)) for ask in (answer, learnt))
    steps = []

    def unet(latents, now, words):
        steps.append(one.networks.unet(latents, now, words).sample)
        return type("Out", (), {"sample": steps[-1]})

    with torch.no_grad():
        tokens = one._tokens(one.adapter, batch.crops[0].flatten(0, 1), batch.rows[0])
        null = one.adapter.resampler(torch.zeros(1, 144, one.encoder.sizes.dim))
        words, none = (one.networks.text_encoder(each).last_hidden_state for each in (batch.words, one.no_words))
        rows = (0, 0, 1, 2)
        call = fact.Call(rows=rows, pictures=rows, progress=0.0, latent=(16, 16))
        with one._attach(one.adapter, [fact.Variants(stack=torch.cat((null, tokens)))], lambda _: call):
            sample(unet, start, words, none.expand(2, -1, -1), steps=1, guidance=4.0)
    plain, guided = steps[0].chunk(2)
    assert torch.allclose(mine, plain + 4 * (guided - plain), atol=1e-5)
    assert torch.allclose(faced, 4 * guided, atol=1e-5)


@pytest.mark.parametrize("given", [{"ahead": False}, {"painted": 3}, {"graded": 3}, {"parallel": True}])
def test_settings_that_do_not_go_together(given):
    with pytest.raises(BadInput, match="--likeness needs"):
        fact.FactSettings(**{"batch": 2, "painted": 2, "painting": 2, "graded": 1, "ahead": True, "likeness": 1.0, **given})
