"""The identity loss: what a recogniser is shown, who is kept out, exact restarts, and what it says to a gate."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from facechain_ext.engine.checkpoints import write_adapter
from facechain_ext.engine.injection import Call, Injector, attach
from facechain_ext.engine.sites import LEVELS
from facechain_ext.errors import BadInput, BadWeights
from facechain_ext.training import fact, fresh, identity_loss, watch
from facechain_ext.training.batch import Variants
from facechain_ext.training.checkpoint import save_weights
from facechain_ext.training.drawn import DrawnSettings, draw_set, open_drawn
from facechain_ext.training.latents import open_set
from facechain_ext.training.low_rank import kohya_name, targets
from facechain_ext.training.noise import ALPHAS, add_noise, take_noise
from facechain_ext.training.people import ALL_STYLES
from facechain_ext.training.subjects import StoredPeople
from tests.training.fact_cases import encoder, networks, write_latents

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people") / "drawn"
    draw_set(DrawnSettings(identities=6, each=4, workers=1), folder)
    return folder


@pytest.fixture(scope="module")
def latents(drawn):
    """Latents of 24 pictures in which every person has a pattern of their own."""
    folder = write_latents(drawn.parent / "latents", 24)
    found = np.load(folder / "latents.npy").astype(np.float32) * 0.3
    found += np.random.default_rng(5).standard_normal((6, 4, 16, 16)).repeat(4, axis=0) * 5
    np.save(folder / "latents.npy", found.astype(np.float16))
    note = folder / "set.json"
    note.write_text(note.read_text().replace('"vae": ""', f'"vae": "", "drawn": "{drawn}"'))
    return folder


@pytest.fixture
def trainee(drawn, latents, monkeypatch):
    return recogniser_on(drawn, latents, monkeypatch)


def recogniser_on(drawn, latents, monkeypatch):
    """Settings → a small recogniser's trainee."""
    monkeypatch.setattr(identity_loss, "read_encoder", lambda path: encoder())
    monkeypatch.setattr(identity_loss, "networks_of", lambda path, device: networks())
    settings = identity_loss.RecogniserSettings(
        steps=30, batch=8, warmup=1, rate=1e-3, decay=0.5, drawn=str(drawn), latents=str(latents), tested=2
    )
    return lambda **given: identity_loss.RecogniserTrainee(replace(settings, **given), CPU)


def test_a_recogniser_learns(trainee):
    one = trainee()
    told = [float(one.step(number, np.random.default_rng(number))["told"]) for number in range(25)]
    assert np.mean(told[-5:]) < 0.8 * np.mean(told[:5])


def test_it_learns_where_heads_are(trainee, latents):
    """Of latents that are loud where heads are, better than by where heads are in the mean; asked alone it says the same."""
    one = trainee(noise=0.0, rate=3e-3)
    heads = np.load(latents / "heads.npy").astype(np.float32) / 255
    loud = np.load(latents / "latents.npy") * np.float32(0.2) + 20 * heads[:, None]
    one._latents = lambda rows: torch.from_numpy(loud[rows]) * 0.18215
    one._told = lambda found, rows: found
    misplaced = [float(one.step(number, np.random.default_rng(number))["heads"]) for number in range(60)]
    by_the_mean = np.abs(heads - heads[:16].mean(axis=0)).mean()
    assert misplaced[-1] < 0.5 * by_the_mean < misplaced[0]
    loss = identity_loss.IdentityLoss(one.network, one.whose)
    found = loss.heads(one._latents(np.arange(16, 24)))
    assert found.shape == (8, 1, 16, 16) and not found.requires_grad
    assert np.abs(found[:, 0].numpy() - heads[16:]).mean() < 0.5 * by_the_mean, "of people it has not seen too"


def test_half_is_told_from_noise_and_half_is_noisy(trainee, monkeypatch):
    """The first half is what the UNet makes of them, the second the latents with noise of at most the share asked for."""
    one, shown, kind = trainee(noise=0.5), [], identity_loss.LatentRecogniser
    look = kind.errors_and_heads
    monkeypatch.setattr(kind, "errors_and_heads", lambda self, x, who: shown.append((x.detach(), who)) or look(self, x, who))
    one.step(0, np.random.default_rng(0))
    found, who = shown[0]
    everybody = one._latents(np.arange(16))
    nearest = [(everybody[4 * person : 4 * person + 4] - row).flatten(1).std(dim=1).min() for row, person in zip(found, who, strict=True)]
    assert max(nearest[4:]) < 0.52, "4,096 numbers of noise with a deviation of 0.5 at most"
    torch.manual_seed(4)
    told = one._told(everybody[:3], np.arange(3))
    torch.manual_seed(4)
    times = torch.randint(0, 1000, (3,))
    noisy = add_noise(everybody[:3], torch.randn(3, 4, 16, 16), times)
    words = one.networks.text_encoder(torch.from_numpy(one.set.tokens[:3].astype(np.int64))).last_hidden_state
    assert torch.equal(told, take_noise(noisy, one.networks.unet(noisy, times, words).sample, times))


def test_the_unet_tells_them_with_a_lora_where_one_is_given(trainee, tmp_path):
    """As a UNet into whose matrix the file's two are multiplied."""
    layer = dict(targets(networks().unet))["mid_block.attentions.0.transformer_blocks.0.attn2.to_v"]
    name = kohya_name("mid_block.attentions.0.transformer_blocks.0.attn2.to_v")
    torch.manual_seed(2)
    down, up = torch.randn(4, layer.in_features), torch.randn(layer.out_features, 4)
    save_weights(tmp_path / "lora.safetensors", {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up})
    one, plain, other = trainee(lora=str(tmp_path / "lora.safetensors")), trainee(), networks()
    x, text = torch.randn(1, 4, 16, 16), torch.randn(1, 77, 32)
    with torch.no_grad():
        dict(targets(other.unet))["mid_block.attentions.0.transformer_blocks.0.attn2.to_v"].weight += up @ down
        found, without, wanted = (each(x, 5, text).sample for each in (one.networks.unet, plain.networks.unet, other.unet))
    assert torch.allclose(found, wanted, atol=1e-4) and not torch.allclose(found, without, atol=1e-3)


def test_who_is_tested_is_in_no_lesson(trainee, monkeypatch):
    one, asked = trainee(tested=2), []
    kind = identity_loss.LatentRecogniser
    look = kind.errors_and_heads
    monkeypatch.setattr(kind, "errors_and_heads", lambda self, shown, who: asked.append(set(who.tolist())) or look(self, shown, who))
    for number in range(8):
        one.step(number, np.random.default_rng(number))
    assert set().union(*asked) == {0, 1, 2, 3}
    one.sheet()
    assert asked[-1] == {4, 5} and 0 <= one.unseen <= 1


def test_one_style_may_be_all_that_is_looked_at(trainee, drawn, monkeypatch):
    """In lessons and in the test; everybody's mean is still that of all their pictures."""
    styles = open_drawn(drawn).styles
    style, count = ALL_STYLES[styles[0]], int((styles[:16] == styles[0]).sum())
    assert 0 < count < 16, "other styles are there to be left out"
    one, asked, latents = trainee(style=style), [], identity_loss.RecogniserTrainee._latents
    monkeypatch.setattr(
        identity_loss.RecogniserTrainee, "_latents", lambda self, rows: asked.append(set(rows.tolist())) or latents(self, rows)
    )
    for number in range(8):
        one.step(number, np.random.default_rng(number))
    assert set().union(*asked) == set(np.flatnonzero(styles[:16] == styles[0]).tolist())
    one.sheet()
    kept_out = 16 + np.flatnonzero(styles[16:24] == styles[0])
    assert asked[-1] == set(kept_out[::2].tolist()) and 0 < len(kept_out) < 8
    assert torch.equal(one.network.lessons.people, trainee().network.lessons.people)
    with pytest.raises(BadInput, match="no pictures in the style woodcut"):
        trainee(style="woodcut")


def test_all_may_be_taught_and_nobody_tested(trainee):
    one = trainee(tested=0)
    assert len(one.learnt) == 24
    one.sheet()
    assert one.unseen == 0.0


def test_restored_it_goes_on_bit_by_bit(trainee):
    one, other = trainee(), trainee()
    one.step(0, np.random.default_rng(0))
    other.restore(copy.deepcopy(one.state()))
    for each in (one, other):
        torch.manual_seed(1)
        each.step(1, np.random.default_rng(1))
    assert all(torch.equal(value, other.weights()[key]) for key, value in one.weights().items())


def test_how_far_a_told_picture_is_trusted():
    """By hand: ᾱ is 0.9991 at step 0, far more signal than noise; at 999 it is 0.0047, √(0.0047 / 0.9953)."""
    found = identity_loss.trust(torch.tensor([0, 999]))
    assert found[0] == 1 and found[1] == pytest.approx((0.00466 / 0.99534) ** 0.5, rel=2e-3)


def test_the_loss_asks_of_those_with_a_face_alone(trainee):
    """Against the recogniser's own errors: the mean over all, those without a face 0, the noisy one weighed."""
    network = trainee().network
    loss = identity_loss.IdentityLoss(network, np.array([0, 0, 1, 1, 2, 2]))
    shown, times = torch.randn(3, 4, 16, 16), torch.tensor([0, 999, 0])
    found, right = loss(shown, times, np.array([5, 1, 2]), torch.tensor([True, True, False]))
    errors, known = network.errors(shown, np.array([2, 0, 1]))
    weighed = errors[0] + errors[1] * identity_loss.trust(times)[1]
    assert found.item() == pytest.approx(weighed.item() / 3, rel=1e-5)
    assert float(right) == known[:2].float().mean()
    assert all(not value.requires_grad for value in network.parameters())


@pytest.mark.parametrize("autocast", [False, True])
def test_the_trunk_in_bfloat16_where_asked_and_lessons_never(trainee, autocast):
    one, kinds = trainee(autocast=autocast), []
    for part in (one.network.trunk[0], one.network.lessons.embedding):
        part.register_forward_hook(lambda *given: kinds.append(given[2].dtype))
    one.step(0, np.random.default_rng(0))
    assert kinds == [torch.bfloat16 if autocast else torch.float32, torch.float32]


def knowing(clean):
    """A network that knows the clean picture."""

    def tell(latents, times):
        alpha = ALPHAS[times][:, None, None, None]
        return (latents - alpha.sqrt() * clean) / (1 - alpha).sqrt()

    return tell


@pytest.mark.parametrize(
    ("first", "times"),
    [
        (999, (999, 874, 749, 624, 499, 374, 249, 124)),
        (930, (930, 805, 680, 555, 430, 305, 180, 55)),
        (875, (875, 750, 625, 500, 375, 250, 125, 0)),
    ],
)
def test_a_watched_way_is_judged_at_every_step(trainee, first, times):
    """Of a network that knows the picture every step says the same, and is trusted as its noise allows."""
    loss = identity_loss.IdentityLoss(trainee().network, np.array([0, 1, 2]))
    clean = torch.randn(2, 4, 16, 16)
    found, right = watch.watched(loss, knowing(clean), torch.randn(2, 4, 16, 16), np.array([2, 0]), first)
    errors, nearest = loss.recogniser.errors(clean, np.array([2, 0]))
    trusted = [float(identity_loss.trust(torch.tensor([time]))) for time in times]
    assert found.item() == pytest.approx(errors.mean().item() * np.mean(trusted), rel=1e-3)
    assert float(right) == nearest.float().mean()


def test_every_step_of_a_watched_way_is_learnt_from_by_itself(trainee):
    """The gradient is the mean of the steps' own, each taken where the way leads without learning.

    Of a network that takes a share of every latent for noise, so that a step's picture depends on the share by the steps before too.
    """
    loss = identity_loss.IdentityLoss(trainee().network, np.array([0, 1, 2]))
    noise, rows = torch.randn(2, 4, 16, 16), np.array([2, 0])
    share = torch.full((1, 4, 1, 1), 0.9, requires_grad=True)
    (found,) = torch.autograd.grad(watch.watched(loss, lambda latents, _: share * latents, noise, rows)[0], share)
    latents, grads = noise, []
    times = (999, 874, 749, 624, 499, 374, 249, 124)
    for now, after in zip(times, (*times[1:], -1), strict=True):
        steps = torch.full((2,), now)
        told = share * latents
        picture = take_noise(latents, told, steps)
        grads.append(torch.autograd.grad(loss(picture, steps, rows, torch.ones(2, dtype=torch.bool))[0], share)[0])
        picture, told = take_noise(latents, told.detach(), steps), told.detach()
        latents = add_noise(picture, told, torch.full((2,), after))
    assert torch.allclose(found, torch.stack(grads).mean(dim=0), rtol=1e-3, atol=1e-6)


def test_what_strays_on_the_way_is_weighed_too(gates):
    """FAIR of everybody's increments at every step, by hand; where heads are how often comes from all the pictures."""
    one = gates(identity=1.0, painted=2)
    for layer in one.adapter.gates():
        torch.nn.init.normal_(layer.to_out.weight)
    batch = one.batches.draw(0, np.random.default_rng(0))
    words = one.networks.text_encoder(batch.words).last_hidden_state
    heads = open_drawn(Path(one.settings.drawn)).heads.astype(np.float64).mean(axis=0) / 255
    shares, attach_plainly = [], one._attach

    def attached(adapter, persons, call, observe):
        def see(site, increment):
            side = 16 >> LEVELS[site]
            inside = heads.reshape(side, 16 // side, side, 16 // side).mean(axis=(1, 3)).reshape(1, -1, 1)
            found = increment.detach().double().numpy()
            if call(0).rows != (0, 0):
                shares.append(np.linalg.norm((1 - inside) * found, axis=(1, 2)) / np.linalg.norm(found, axis=(1, 2)))
            observe(site, increment)

        return attach_plainly(adapter, persons, call, see)

    one._attach = attached
    with torch.no_grad():
        strayed = one._watched(batch, words, None, batch.rows[0]).strayed
    assert len(shares) == 8 * 16
    assert strayed.item() == pytest.approx(np.mean(shares), rel=1e-3)


def test_what_strays_counts_as_fair_does(gates):
    """Of one batch the loss with λ = 2 is that with λ = 0 and twice both shares."""
    (without, _), (with_it, said) = (lost(gates(identity=1.0, painted=2, fair_weight=weight)) for weight in (0.0, 2.0))
    assert said["strayed"] > 0.1
    assert with_it - without == pytest.approx(2 * (said["fair"] + said["strayed"]), rel=1e-3)


def lost(one):
    """Loss of a first step by gates that say a little, and what is logged of it."""
    for layer in one.adapter.gates():
        torch.nn.init.constant_(layer.to_out.weight, 0.01)
    torch.manual_seed(0)
    loss, said = one.loss(0, np.random.default_rng(0))
    return loss.item(), {name: float(value) for name, value in said.items()}


def test_what_is_painted_is_held_beside_the_same_without_the_adapter(gates):
    """By hand: two ways from the same noise, with faces and without the adapter, eight steps of DDIM with guidance each; squares of how far
    the pictures told on the way are apart where neither has a head.
    """
    one = gates(identity=1.0, painted=2, beside=1.0)
    one.identity.recogniser.heads = lambda latents: 5 * latents[:, :1]  # here and there, and elsewhere on either way
    for layer in one.adapter.gates():
        torch.nn.init.normal_(layer.to_out.weight, std=0.3)
    batch = one.batches.draw(0, np.random.default_rng(0))
    unet, text = one.networks.unet, one.networks.text_encoder
    words, none = (text(tokens).last_hidden_state for tokens in (batch.words[:2], one.batches.no_words.expand(2, -1)))
    stack = torch.cat([one._null(one.adapter), one.adapter.resampler(torch.from_numpy(one.kept[batch.rows[0][:2, 0]].astype(np.float32)))])

    def told(shown, said, latents, now):
        call = Call(rows=shown, pictures=(0, 1), progress=0.0, latent=(16, 16)) if shown else None
        with attach(unet, one.adapter, [Variants(stack=stack)], lambda _: call):
            return unet(latents, now, said).sample

    with torch.no_grad():
        torch.manual_seed(6)
        found = one._watched(batch, words, None, batch.rows[0]).apart
        torch.manual_seed(6)
        first = 999 - int(torch.randint(125, ()))
        noise = torch.randn(2, 4, 16, 16)
        ways = {"with": ((0, 0), (1, 2)), "without": ((), ())}
        pictures = {}
        for name, (nobody, faces) in ways.items():
            latents, pictures[name] = noise, []
            for now in range(first, first - 1000, -125):
                guided = 4 * told(faces, words, latents, now) - 3 * told(nobody, none, latents, now)
                steps = torch.full((2,), now)
                pictures[name].append(take_noise(latents, guided, steps))
                latents = add_noise(pictures[name][-1], guided, steps - 125) if now >= 125 else None
        by_hand = []
        for there, here in zip(pictures["with"], pictures["without"], strict=True):
            square = (there - here).double().square().mean(dim=1).numpy()
            free = [1 / (1 + np.exp(5 * each[:, 0].double().numpy())) for each in (there, here)]
            by_hand.append((square * np.minimum(*free)).mean() / np.minimum(*free).mean())
    assert len(by_hand) == 8 and min(by_hand) > 0
    assert float(found) == pytest.approx(np.mean(by_hand), rel=1e-3)


def test_what_is_changed_beside_is_heard_as_loudly_as_asked(gates):
    """Of one batch the loss with weight 3 is that with weight 1 and twice what is logged; and by itself it makes gates change less."""
    (quiet, said), (loud, again) = (lost(gates(identity=1.0, painted=2, beside=weight)) for weight in (1.0, 3.0))
    assert said["apart"] == again["apart"] > 0
    assert loud - quiet == pytest.approx(2 * said["apart"], rel=1e-3)
    apart = {}
    for weight in (1e-6, 100.0):
        one = gates(identity=1e-6, painted=2, beside=weight)
        torch.manual_seed(1)
        for layer in one.adapter.gates():
            torch.nn.init.normal_(layer.to_out.weight, std=0.1)
        for number in range(5):
            torch.manual_seed(0)
            apart[weight] = float(one.step(number, np.random.default_rng(0))["apart"])
    assert apart[100.0] < 0.7 * apart[1e-6]


def test_bad_input(trainee, drawn, tmp_path):
    with pytest.raises(BadInput, match="give --drawn and --latents"):
        trainee(latents="")
    with pytest.raises(BadInput, match="too few people"):
        trainee(tested=6)
    with pytest.raises(BadInput, match="not those of"):
        trainee(latents=str(write_latents(tmp_path / "others", 24)))
    with pytest.raises(BadInput, match="who is who"):
        fact.FactSettings(identity=0.1)
    with pytest.raises(BadInput, match="give --identity or --distil"):
        fact.FactSettings(painted=2)
    with pytest.raises(BadInput, match="--beside is about pictures that are painted and watched"):
        fact.FactSettings(beside=1.0, identity=1.0, ahead=True, drawn="people")
    seen = np.zeros((24, 144, 64), np.float16)
    with pytest.raises(BadWeights, match="no recogniser at"):
        identity_loss.IdentityLoss.of(str(tmp_path / "none"), encoder(), open_drawn(drawn), seen)
    save_weights(tmp_path / "other.safetensors", {"trunk": torch.zeros(2)})
    with pytest.raises(BadWeights, match="not a recogniser for this face encoder"):
        identity_loss.IdentityLoss.of(str(tmp_path / "other.safetensors"), encoder(), open_drawn(drawn), seen)


@pytest.fixture(scope="module")
def begun(drawn, latents, tmp_path_factory):
    """Settings of a training that begins with an adapter which says nothing, and a recogniser that has learnt a little."""
    folder = tmp_path_factory.mktemp("begun")
    with pytest.MonkeyPatch.context() as patch:
        taught = recogniser_on(drawn, latents, patch)()
    for number in range(40):
        torch.manual_seed(number)
        taught.step(number, np.random.default_rng(number))
    save_weights(folder / "recogniser.safetensors", taught.weights())
    torch.manual_seed(3)
    made = fresh.build_adapter(fact.FactSettings(batch=2), networks().unet, encoder())
    write_adapter(made, folder / "adapter.safetensors", {"resampler_heads": str(made.sizes.resampler.heads)})
    return fact.FactSettings(
        steps=12, batch=8, warmup=1, rate=3e-3, ahead=True, resampler=0.0, begin=str(folder / "adapter.safetensors"), muon=0.7, decay=0.5,
        latents=str(latents), drawn=str(drawn), recogniser=str(folder / "recogniser.safetensors"), drop=0.0, drop_words=0.0, several=0.0,
    )  # fmt: skip


@pytest.fixture
def gates(begun, drawn, latents):
    source = StoredPeople(open_drawn(drawn), open_set(latents))
    return lambda **given: fact.FactTrainee(replace(begun, **given), CPU, networks(), encoder(), source)


def heard(one, steps):
    """What the identity loss said at every step of a training on one batch, one list per way of asking."""
    loss, said = one.identity, []

    def ask(*given):
        found = loss(*given)
        said.append(found[0].item())
        return found

    one.identity = ask
    for number in range(steps):
        torch.manual_seed(0)
        values = one.step(number, np.random.default_rng(0))
        assert all(0 <= float(values[name]) <= 1 for name in ("known", "seen", "strayed") if name in values)
    return np.array(said).reshape(steps, -1)


def test_gates_hear_it(gates):
    """Told of the same batch with the loss alone, gates learn to paint pictures in which the recogniser sees who it is."""
    weak, strong = (heard(gates(identity=weight), 7)[:, 0] for weight in (1e-6, 30.0))
    assert strong[0] == pytest.approx(weak[0], rel=1e-5), "the same batch, the same adapter"
    assert strong[-1] < weak[-1] - 0.02 * strong[0]


def test_gates_hear_it_along_their_own_way(gates, monkeypatch):
    """Watched while they paint, in three steps here, they learn to paint whom they are shown: from the same noise, by the steps' mean."""
    monkeypatch.setattr(watch, "WATCHED", 3)
    weak, strong = (heard(gates(identity=weight, painted=3), 3)[:, 1:].mean(axis=1) for weight in (1e-6, 30.0))
    assert strong[0] == pytest.approx(weak[0], rel=1e-5)
    assert strong[-1] < weak[-1] - 0.02 * strong[0]


def test_what_is_watched_teaches_how_faces_are_read(gates, monkeypatch):
    """Every part of a gate has a gradient of it, the maps from face tokens to keys and values too: as by a second way, where each face is
    read anew for every answer.
    """
    monkeypatch.setattr(watch, "WATCHED", 2)
    one = gates(identity=1.0, painted=2)
    for layer in one.adapter.gates():
        torch.nn.init.normal_(layer.to_out.weight, std=0.1)
    batch = one.batches.draw(0, np.random.default_rng(0))
    words = one.networks.text_encoder(batch.words).last_hidden_state

    def gradients():
        one.adapter.zero_grad()
        torch.manual_seed(6)
        one._watched(batch, words, None, batch.rows[0]).unlike.backward()
        return [(layer.linear.weight.grad.clone(), layer.to_qkv.weight.grad.clone()) for layer in one.adapter.gates()]

    found = gradients()
    monkeypatch.setattr(Injector, "_face", read_anew)
    for (linear, to_qkv), (linear_anew, to_qkv_anew) in zip(found, gradients(), strict=True):
        assert linear.abs().max() > 0
        assert torch.allclose(linear, linear_anew, rtol=1e-3, atol=1e-6) and torch.allclose(to_qkv, to_qkv_anew, rtol=1e-3, atol=1e-6)


def read_anew(injector, number, site, call, x):
    """Keys and values of the faces of this call's rows, by their tokens."""
    return injector.layers[site].face_keys_values(injector.persons[number].stack[list(call.rows)], injector.heads)


def test_what_is_watched_is_what_a_host_would_paint(gates):
    """Nobody's tokens without words, and each face's own with words, four times as far from there: in eight steps of DDIM, from anywhere in
    the highest eighth.
    """
    one = gates(identity=1.0, painted=2)
    for layer in one.adapter.gates():
        torch.nn.init.normal_(layer.to_out.weight)
    batch = one.batches.draw(0, np.random.default_rng(0))
    rows, unet, text = batch.rows[0], one.networks.unet, one.networks.text_encoder
    words, none = (text(tokens).last_hidden_state for tokens in (batch.words, one.batches.no_words.expand(2, -1)))
    faces = one.adapter.resampler(torch.from_numpy(one.kept[rows[:2, 0]].astype(np.float32)))
    nobody = one.adapter.resampler(torch.zeros(1, 144, 64)).expand(2, -1, -1)
    call = Call(rows=(0, 1), pictures=(0, 1), progress=0.0, latent=(16, 16))

    def told(shown, said, latents, times):
        with attach(unet, one.adapter, [Variants(stack=shown)], lambda _: call):
            return unet(latents, times, said).sample

    def tell(latents, times):
        return 4 * told(faces, words[:2], latents, times) - 3 * told(nobody, none, latents, times)

    with torch.no_grad():
        torch.manual_seed(6)
        found = one._watched(batch, words, None, rows).unlike
        torch.manual_seed(6)
        first = 999 - int(torch.randint(125, ()))
        wanted, _ = watch.watched(one.identity, tell, torch.randn(2, 4, 16, 16), rows[:2, 0], first)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-3)
