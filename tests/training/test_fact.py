"""The FACT trainer on tiny networks: what it penalises and leaves alone, that it restarts exactly, learns, and writes adapters."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from facechain_ext.engine.checkpoints import read_adapter, write_adapter
from facechain_ext.engine.injection import Call, attach
from facechain_ext.errors import BadInput, Interrupted, MissingPackage
from facechain_ext.faces.types import Face, Parsing
from facechain_ext.training import fact, fresh, loop, subjects, team
from facechain_ext.training.batch import Variants, shuffle_at
from facechain_ext.training.checkpoint import save_weights
from facechain_ext.training.dataset import FolderPeople, load
from facechain_ext.training.device import optimise, rate_at
from facechain_ext.training.encoder import head_crop
from facechain_ext.training.fair import EPSILON, Outside
from facechain_ext.training.latents import drawing_of, open_set
from facechain_ext.training.loop import Pace, train
from facechain_ext.training.noise import add_noise
from facechain_ext.training.parallel import attach_parallel, read_parallel
from facechain_ext.training.people import PAINTED, TESTED, anyone, photo, picture
from facechain_ext.training.subjects import DrawnPeople, Example, Seen
from facechain_ext.training.told import Told
from tests.training.fact_cases import encoder, networks, write_latents
from tests.training.test_restart import Counter, Stopping, assert_equal, without_time
from tests.training.test_style_lora import sheetless

CPU = torch.device("cpu")


class OnePicture:
    """A source of a single picture: something that can be learnt by heart in a few steps."""

    def __init__(self, references: int = 1) -> None:
        rng = np.random.default_rng(0)
        self.latents = rng.standard_normal((4, 16, 16)).astype(np.float32) * 5
        self.crop = rng.integers(0, 256, (112, 112, 3), dtype=np.uint8)
        self.asked: list[tuple[int, float]] = []

    def example(self, rng, references, shuffle, paired):
        self.asked.append((references, shuffle))
        head = np.zeros((64, 64), bool)
        head[:32, :32] = True
        people = (Seen(crops=np.repeat(self.crop[None], references, axis=0)),)
        return Example(words=np.zeros(77, np.uint16), head=head, people=people, latents=self.latents)

    def show(self, count):
        return [(self.crop, np.zeros(77, np.uint16))] * 2


def trainee(source=None, **settings):
    given = {"steps": 4, "batch": 2, "warmup": 1, "device": "cpu", **settings}
    return fact.FactTrainee(fact.FactSettings(**given), CPU, networks(), encoder(), source or OnePicture())


@pytest.mark.parametrize(
    ("asked", "weight"),
    [({"coarse": 2.0}, lambda alpha: 1 + 2 * math.sqrt((1 - alpha) / alpha)), ({"velocity": True}, lambda alpha: 1 / alpha)],
    ids=["coarse", "velocity"],
)
def test_noisy_steps_weigh_more_where_asked(monkeypatch, asked, weight):
    """1 + share/√SNR and 1 + 1/SNR by hand, at the time that was drawn."""
    losses, times = [], []
    monkeypatch.setattr(fact, "add_noise", lambda *given: times.append(int(given[2])) or add_noise(*given))
    for given in ({}, asked):
        one = trainee(batch=1, drop=0.0, drop_words=0.0, several=0.0, fair=False, **given)
        monkeypatch.setattr(one, "_update", lambda loss, number: losses.append(loss.item()) or loss.detach())
        torch.manual_seed(4)
        one.step(0, np.random.default_rng(0))
    assert times[0] == times[1]
    alpha = float(np.prod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, where=np.arange(1000) <= times[0]))
    assert losses[1] / losses[0] == pytest.approx(weight(alpha), rel=1e-3)


def test_channels_last_change_nothing_but_the_layout():
    errors = []
    for last in (False, True):
        one = trainee(last=last)
        assert one.networks.unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last) == last
        torch.manual_seed(4)
        errors.append(float(one.step(0, np.random.default_rng(0))["error"]))
    assert errors[0] == pytest.approx(errors[1], rel=1e-5)


def test_fair_by_hand():
    """A 2×2 grid of one channel: half of the picture is head; what lies in it is free, the rest counts in proportion."""
    head = torch.zeros(1, 16, 16)
    head[:, :, :8] = 1  # the left column of cells
    outside = Outside(head, (2, 2))
    outside(0, torch.tensor([[[3.0], [4.0], [0.0], [0.0]]]))  # left 3, right 4
    assert float(outside.mean()) == pytest.approx(math.sqrt(16 + EPSILON) / math.sqrt(25 + EPSILON))
    outside(15, torch.tensor([[[2.0], [0.0], [2.0], [0.0]]]))  # all within the head
    assert float(outside.mean()) == pytest.approx((4 / 5 + math.sqrt(EPSILON / 8)) / 2, rel=1e-4), "the mean of the sites"


def test_fair_counts_cells_that_are_half_head_half():
    head = torch.zeros(1, 4, 4)
    head[:, :, :2] = 1
    outside = Outside(head, (1, 1))
    outside(0, torch.tensor([[[5.0]]]))
    assert float(outside.mean()) == pytest.approx(0.5, rel=1e-4)


def test_fair_has_a_gradient_where_the_gates_are_shut():
    increment = torch.zeros(1, 4, 3, requires_grad=True)
    outside = Outside(torch.zeros(1, 16, 16), (2, 2))
    outside(0, increment)
    outside.mean().backward()
    assert torch.equal(increment.grad, torch.zeros_like(increment))


def test_a_step_asks_fair_of_all_sites_against_a_second_method():
    """With open gates: the logged value equals one computed from increments taken at the blocks themselves."""
    one = trainee(batch=1, drop=0.0, drop_words=0.0, several=0.0)
    with torch.no_grad():
        for layer in one.adapter.gates():
            layer.alpha_attn.fill_(0.5)
            layer.alpha_dense.fill_(0.5)
    loud(one.adapter)
    entered, found = {}, []
    layers = {id(layer): site for site, layer in enumerate(one.adapter.gates())}
    for layer in one.adapter.gates():
        layer.increment = spying(layer, layers[id(layer)], entered)
    logged = one.step(0, np.random.default_rng(0))["fair"]
    for site, delta in entered.items():
        side = math.isqrt(delta.shape[1])
        squares = delta[0].square().sum(dim=1).reshape(side, side).double().numpy()
        free = 1 - block_mean(one.source.example(None, 1, 0, False).head, side)
        found.append(math.sqrt((squares * free**2).sum()) / math.sqrt(squares.sum()))
        assert site in range(16)
    assert len(found) == 16 and logged == pytest.approx(sum(found) / 16, rel=1e-3)


def spying(layer, site, entered):
    own = type(layer).increment

    def increment(x, face, weight, bias):
        found = own(layer, x, face, weight, bias)
        entered[site] = found.detach()
        return found

    return increment


def block_mean(mask, side):
    return mask.reshape(side, 64 // side, side, 64 // side).mean(axis=(1, 3))


def loud(adapter):
    """Fresh gates say nothing: let them say something random."""
    torch.manual_seed(0)
    for layer in adapter.gates():
        torch.nn.init.normal_(layer.to_out.weight, std=0.1)
        torch.nn.init.normal_(layer.ff.out.weight, std=0.1)


def test_an_error_in_heads_counts_more(monkeypatch):
    """Silent gates leave the UNet alone, so the error is the plain UNet's; the mask has the upper left quarter as head."""
    one, told, asked = trainee(batch=2, drop=0.0, drop_words=0.0, fair=False, heads=5.0), [], []
    one._update = lambda loss, number: told.append(float(loss)) or torch.zeros(())
    monkeypatch.setattr(fact, "add_noise", lambda *given: asked.append(given) or add_noise(*given))
    one.step(0, np.random.default_rng(0))
    latents, noise, times = asked[0]
    words = one.networks.text_encoder(one.batches.draw(0, np.random.default_rng(0)).words).last_hidden_state
    found = one.networks.unet(add_noise(latents, noise, times), times, words).sample
    squares = (found - noise).square().mean(dim=1)
    head, rest = squares[:, :8, :8].sum(), squares.sum() - squares[:, :8, :8].sum()
    assert told[0] == pytest.approx(float((5 * head + rest) / (5 * 64 + 192) / 2), rel=1e-3)


def changes(one):
    """What a step with loud gates says of what they change; beside it told noise and times, as the UNet was asked, call by call."""
    loud(one.adapter)
    asked, whole = [], one.networks.unet.forward

    def forward(latents, times, words, *more):
        answer = whole(latents, times, words, *more)
        asked.append((answer.sample.detach(), times))
        return answer

    one.networks.unet.forward = forward
    one._update = lambda loss, number: loss.backward() or torch.zeros(())
    torch.manual_seed(2)
    return float(one.step(0, np.random.default_rng(0))["changed"]), asked


def test_what_gates_change_outside_heads_by_hand():
    """Three rows of four are told again without the gates; of their squares those in the quarter that is head do not count."""
    said, ((found, times), (without, again)) = changes(trainee(batch=4, held=3, drop=0.0, drop_words=0.0, snr=5.0))
    assert len(without) == 3 and torch.equal(times[:3], again)
    squares = (found[:3] - without).square().mean(dim=1).double()
    rest = squares.sum(dim=(1, 2)) - squares[:, :8, :8].sum(dim=(1, 2))
    alpha = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2, dim=0)[times[:3]]
    capped = torch.clamp(5 * (1 - alpha) / alpha, max=1)
    assert said > 1e-4 and said == pytest.approx(float((capped * rest / 192).mean()), rel=1e-4)


def test_where_the_face_is_left_out_nothing_is_to_change_anywhere():
    said, ((found, _), (without, _)) = changes(trainee(batch=2, held=2, drop=1.0))
    assert said > 1e-4 and said == pytest.approx(float((found - without).square().mean()), rel=1e-4)


def test_what_gates_change_is_weighed_and_the_answer_without_them_is_no_part_of_the_gradient():
    """The gradient of a gate grows by the weight; the UNet's plain answer is a constant, so a trained UNet is not bent to the gates."""

    def gradients(**settings):
        one = trainee(batch=2, held=2, drop=0.0, drop_words=0.0, several=0.0, **settings)
        one.networks.unet.requires_grad_(True)
        changes(one)
        return one.adapter.layers[3].to_out.weight.grad.double(), one.networks.unet.conv_out.bias.grad.double()

    (none, _), (one, bias), (two, bent) = (gradients(hold=weight) for weight in (0.0, 1.0, 2.0))
    assert not torch.allclose(none, one, atol=1e-7) and torch.allclose(two - none, 2 * (one - none), atol=1e-6)
    assert not torch.allclose(bias, bent, atol=1e-7), "the last bias moves both answers alike: what it feels is the one with gates"


def test_the_gates_begin_silent_and_only_the_adapter_learns():
    one = trainee()
    frozen = [one.networks.unet, one.networks.vae, one.networks.text_encoder, one.encoder]
    before = [{key: value.clone() for key, value in module.state_dict().items()} for module in frozen]
    x, text = torch.randn(2, 4, 8, 8), torch.randn(2, 77, 32)
    plain = one.networks.unet(x, 5, text).sample
    call = Call(rows=(0, 1), pictures=(0, 1), progress=0.0, latent=(8, 8))
    with attach(one.networks.unet, one.adapter, [Variants(stack=torch.randn(2, 16, 32))], lambda _: call):
        assert torch.equal(one.networks.unet(x, 5, text).sample, plain), "silent gates change nothing"
    openings = [float(opening.detach()) for layer in one.adapter.gates() for opening in (layer.alpha_attn, layer.alpha_dense)]
    assert openings == [1.0] * 32, "and yet they are open"
    start = {key: value.clone() for key, value in one.adapter.state_dict().items()}
    for number in range(3):
        one.step(number, np.random.default_rng(number))
    for module, kept in zip(frozen, before, strict=True):
        assert all(torch.equal(value, kept[key]) for key, value in module.state_dict().items())
        assert all(parameter.grad is None for parameter in module.parameters())
    moved = {key.split(".")[0] for key, value in one.adapter.state_dict().items() if not torch.equal(value, start[key])}
    assert moved == {"resampler", "layers"} and all(float(layer.alpha_attn.detach()) for layer in one.adapter.gates())


@pytest.mark.parametrize("muon", [0.0, 0.5])
def test_everything_learns_at_its_own_rate(muon):
    one = trainee(rate=1e-3, gates=7.0, resampler=0.3, muon=muon)
    one.optimiser.step = lambda: None
    one._update(sum(value.sum() for value in one.parameters), 3)
    rates = {id(value): (group["lr"], group["weight_decay"]) for group in one.optimiser.param_groups for value in group["params"]}
    assert rates.keys() == {id(value) for value in one.parameters}
    rate = rate_at(3, one.settings)
    for name, value in one.adapter.named_parameters():
        share, decay = (7.0, 0.0) if ".alpha_" in name else (0.3, 0.01) if name.startswith("resampler.") else (1.0, 0.01)
        assert rates[id(value)] == (pytest.approx(rate * share), decay), name


def test_unseen_people_are_told_apart_at_a_sheet():
    """Real renders in place of paintings: the judge knows whom they show, and that they were mixed up."""
    told = Told(4)
    renders = np.stack([picture(number, np.random.default_rng((8, number)), ["photo"]).picture for number in TESTED[:4]])
    assert told.crops.shape == (4, 112, 112, 3) and told.tokens.shape == (4, 77)
    assert told.share(renders) == 1.0
    for number, crop in zip(TESTED, Told(12).crops, strict=False):
        rng = np.random.default_rng((11, number))
        assert np.array_equal(crop, head_crop(photo(number, rng), rng, False)), "as people give them: no hats"
    assert told.share(renders[[1, 0, 2, 3]]) == 0.5


@pytest.mark.parametrize("kind", ["gates", "gates with Muon", "parallel"])
def test_stop_and_go_on_is_bit_equal_to_going_through(kind, tmp_path):
    singles = write_latents(tmp_path / "set", 6)
    extra = {"pairs": str(write_latents(tmp_path / "pairs", 3, people=2)), "pair_every": 2} if kind == "gates" else {}

    def make():
        settings = fact.FactSettings(steps=4, batch=2, warmup=1, latents=str(singles), several=0.5, parallel=kind == "parallel", **extra)
        settings = replace(settings, muon=0.5) if kind == "gates with Muon" else settings
        return sheetless(fact.FactTrainee(settings, CPU, networks(), encoder(), subjects.source_of(settings, tmp_path)))

    pace = {"log_every": 1}
    train(make(), tmp_path / "through", {}, 7, Pace(steps=4, **pace))
    with pytest.raises(Interrupted):
        train(Stopping(make(), 1), tmp_path / "stopped", {}, 7, Pace(steps=4, **pace))
    train(make(), tmp_path / "stopped", {}, 7, Pace(steps=4, **pace))
    states = [torch.load(tmp_path / run / "state.pt", weights_only=True) for run in ("through", "stopped")]
    assert states[0]["step"] == states[1]["step"] == 4
    assert_equal(states[0]["trainee"], states[1]["trainee"])
    assert without_time(tmp_path / "through" / "log.csv") == without_time(tmp_path / "stopped" / "log.csv")
    read = read_parallel if kind == "parallel" else read_adapter
    written = read(tmp_path / "through" / "weights.safetensors")
    assert_equal(dict(written.state_dict()), {**make_average(make(), states[0])})


def make_average(one, state):
    one.restore(state["trainee"])
    return one.averaged().state_dict()


@pytest.mark.parametrize(("parallel", "share"), [(False, 0.8), (True, 0.96)])
def test_it_learns_a_picture(parallel, share):
    """The gates learn it; what is parallel has only the frozen block's way out, which on random networks is a narrow one."""
    never = {"drop": 0.0, "drop_words": 0.0, "several": 0.0}
    one = trainee(steps=40, batch=2, rate=2e-2 if parallel else 5e-3, warmup=2, gates=4.0, parallel=parallel, **never)
    errors = []
    for number in range(40):
        torch.manual_seed(number % 4)
        errors.append(one.step(number, np.random.default_rng(0))["error"])
    assert np.mean(errors[-4:]) < share * np.mean(errors[:4])


def test_fair_is_weighed_and_can_be_left_out():
    """One step from open gates: with FAIR the gradient of a gate is another than without, by λ times FAIR's own."""

    def gradient(**settings):
        one = trainee(batch=1, drop=0.0, drop_words=0.0, several=0.0, decay=0.5, **settings)
        loud(one.adapter)
        one._update = lambda loss, number: loss.backward() or torch.zeros(())
        torch.manual_seed(0)
        one.step(0, np.random.default_rng(0))
        return one.adapter.layers[3].to_out.weight.grad.double()

    without, one, two = gradient(fair=False), gradient(fair_weight=1.0), gradient(fair_weight=2.0)
    assert torch.equal(without, gradient(fair_weight=0.0)) and not torch.allclose(without, one)
    assert torch.allclose(two - without, 2 * (one - without), atol=1e-5)


def test_dropped_rows_carry_the_null_tokens():
    one = trainee(batch=3, drop=1.0)
    batch = one.batches.draw(0, np.random.default_rng(0))
    assert batch.faceless.all()
    null = one.adapter.resampler(torch.zeros(1, 144, 64))[0]
    stack = one._persons(batch, one.adapter)[0].stack
    assert all(torch.allclose(row, null.repeat(len(row) // 16, 1), atol=1e-6) for row in stack)
    kept = trainee(batch=3, drop=0.0, several=0.0)
    batch = kept.batches.draw(0, np.random.default_rng(0))
    assert not batch.faceless.any()
    assert not torch.allclose(kept._persons(batch, kept.adapter)[0].stack[0], null, atol=1e-3)


def test_what_is_dropped_how_often():
    one = trainee(batch=64, drop=0.2, drop_words=0.1, several=0.0)
    faceless, wordless, both = 0, 0, 0
    for number in range(40):
        batch = one.batches.draw(number, np.random.default_rng(number))
        empty = (batch.words == one.batches.no_words).all(dim=1)
        faceless, wordless, both = faceless + batch.faceless.sum(), wordless + empty.sum(), both + (empty & batch.faceless).sum()
    count = 64 * 40
    assert faceless / count == pytest.approx(0.2, abs=0.03)
    assert wordless / count == pytest.approx(0.2, abs=0.03)
    assert both / count == pytest.approx(0.1, abs=0.02)


def test_several_references_some_of_the_time():
    one = trainee(batch=1, several=0.5)
    for number in range(60):
        one.batches.draw(number, np.random.default_rng(number))
    counts = [references for references, _ in one.source.asked]
    assert set(counts) == {1, 2, 3, 4} and 15 < counts.count(1) < 45


def test_other_pictures_become_the_rule():
    settings = fact.FactSettings(steps=100, curriculum=0.5)
    assert shuffle_at(24, settings) == pytest.approx(0.5)
    assert shuffle_at(49, settings) == shuffle_at(99, settings) == 1.0
    assert shuffle_at(99, fact.FactSettings(steps=100, shuffle=False)) == 0.0


def test_a_drawn_reference_is_another_picture_of_the_same_person(tmp_path):
    source = DrawnPeople(open_set(write_latents(tmp_path / "set", 5)))
    rng = np.random.default_rng(3)
    same, other = (source.example(np.random.default_rng(3), 2, share, False) for share in (0.0, 1.0))
    number = int(rng.integers(5))
    drawing = drawing_of(0, 1, number)
    assert np.array_equal(same.latents, source.singles.latents[number].astype(np.float32))
    assert np.array_equal(same.head, drawing.people[0].head) and same.people[0].crops.shape == (2, 112, 112, 3)
    near = [np.abs(crops[0].astype(int) - crops[1]).mean() for crops in (same.people[0].crops, other.people[0].crops)]
    assert near[0] < near[1], "the picture's own head twice is more alike than two other pictures'"


def test_a_drawing_is_found_again_by_its_number():
    rng = np.random.default_rng((4, 1, 9))
    assert np.array_equal(drawing_of(4, 1, 9).picture, picture(anyone(PAINTED, rng), rng).picture)


def test_without_a_set_pictures_are_drawn_and_encoded():
    one = trainee(DrawnPeople(), batch=2, several=0.0)
    batch = one.batches.draw(0, np.random.default_rng(0))
    assert batch.latents.shape == (2, 4, 16, 16) and batch.head.shape == (2, 128, 128)


def test_two_people_each_in_their_place(tmp_path):
    source = DrawnPeople(open_set(write_latents(tmp_path / "set", 4)), open_set(write_latents(tmp_path / "pairs", 4, people=2)))
    found = source.example(np.random.default_rng(0), 1, 1.0, True)
    left, right = (one.place for one in found.people)
    assert found.latents.shape == (4, 16, 32) and left[:, :128].all() and right[:, 128:].all() and not (left & right).any()


def test_the_sheet_shows_reference_without_and_with():
    one = trainee()
    sheet = one.sheet()
    assert sheet.shape == (3 * 128, 2 * 128, 3) and sheet.dtype == np.uint8
    assert np.array_equal(sheet[128:256], sheet[256:]), "shut gates: the same picture"


def test_a_finished_adapter_can_be_begun_with(tmp_path):
    one = trainee(rate=1e-2)
    one.step(0, np.random.default_rng(0))
    one.adapter.looks, one.adapter.as_one = 5, True
    write_adapter(one.averaged(), tmp_path / "a.safetensors")
    again = trainee(begin=str(tmp_path / "a.safetensors"))
    assert again.averaged().looks == 5, "what goes on looks at photos as often as what it began with"
    assert again.averaged().as_one, "and lets several weigh the same"
    assert_equal(dict(again.adapter.state_dict()), dict(one.averaged().state_dict()))
    assert all(parameter.requires_grad for parameter in again.adapter.parameters())
    with pytest.raises(BadInput, match="leave one of the two out"):
        trainee(begin=str(tmp_path / "a.safetensors"), parallel=True)
    assert trainee(looks=3).averaged().looks == trainee(begin=str(tmp_path / "a.safetensors"), looks=3).averaged().looks == 3
    assert trainee(as_one=True).averaged().as_one and not trainee().averaged().as_one
    for asked, flag in (({"looks": 3}, "--looks"), ({"as_one": True}, "--as-one")):
        with pytest.raises(BadInput, match=f"{flag} is about adapters with gates"):
            fact.FactSettings(**asked, parallel=True)


@pytest.mark.parametrize("parallel", [False, True])
def test_a_fresh_adapter_may_take_a_resampler_that_has_learnt(tmp_path, parallel):
    """Whose layers begin silent: the model is untouched, and only they learn; parallel ones are matrices alone, which are all Muon's."""
    other = trainee(rate=1e-2)
    other.step(0, np.random.default_rng(0))
    other.adapter.looks, other.adapter.as_one = 1 if parallel else 5, not parallel
    write_adapter(other.averaged(), tmp_path / "a.safetensors")
    one = trainee(resampler_from=str(tmp_path / "a.safetensors"), resampler=0.0, parallel=parallel, rate=1e-2, muon=0.5)
    kept = {key: value.clone() for key, value in one.adapter.resampler.state_dict().items()}
    assert_equal(kept, dict(other.averaged().resampler.state_dict()))
    assert one.adapter.looks == other.adapter.looks and (parallel or one.adapter.as_one)
    sheet = one.sheet()
    assert np.array_equal(sheet[128:256], sheet[256:])
    one.step(0, np.random.default_rng(0))
    assert_equal(dict(one.adapter.resampler.state_dict()), kept)
    assert not np.array_equal(one.sheet()[256:], sheet[256:])
    with pytest.raises(BadInput, match="leave one of the two out"):
        fact.FactSettings(begin="x", resampler_from="y")


def test_a_finished_adapter_may_be_half_as_large(tmp_path):
    for half in (False, True):
        (tmp_path / str(half)).mkdir()
        fact.finish(trainee(half=half), tmp_path / str(half))
    whole, small = (tmp_path / str(half) / fact.FINISHED for half in (False, True))
    assert small.stat().st_size < 0.6 * whole.stat().st_size
    rounded = {key: value.half().float() for key, value in read_adapter(whole).state_dict().items()}
    assert_equal(dict(read_adapter(small).state_dict()), rounded)
    (tmp_path / "parallel").mkdir()
    fact.finish(trainee(parallel=True), tmp_path / "parallel")
    assert not any((tmp_path / "parallel").iterdir())


def test_parallel_begins_as_the_untouched_model_and_leaves_no_trace():
    one = trainee(parallel=True)
    unet, x, text = one.networks.unet, torch.randn(2, 4, 8, 8), torch.randn(2, 77, 32)
    call = Call(rows=(0, 1), pictures=(0, 1), progress=0.0, latent=(8, 8))
    person = Variants(stack=torch.randn(2, 16, 32))
    plain = unet(x, 5, text).sample
    with attach_parallel(unet, one.adapter, [person], lambda _: call):
        assert torch.equal(unet(x, 5, text).sample, plain)
        torch.nn.init.normal_(one.adapter.layers[0].to_v.weight)
        assert not torch.allclose(unet(x, 5, text).sample, plain)
    assert torch.equal(unet(x, 5, text).sample, plain)


def test_a_parallel_layer_by_hand():
    """One query, one face token: attention is the token's value whatever the query, then the block's own output matrix."""
    one = trainee(parallel=True)
    layer, attention = one.adapter.layers[0], one.networks.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2
    torch.nn.init.normal_(layer.to_v.weight)
    token = torch.randn(1, 1, 32)
    expected = attention.to_out[0].weight @ (layer.to_v.weight @ token[0, 0])
    assert torch.allclose(layer.increment(attention, torch.randn(1, 3, 32), token)[0, 1], expected, atol=1e-5)


class Finder:
    """Sees a face in every picture that is not all black; its head is the middle."""

    name = "finder"
    capabilities = frozenset({"detect", "landmarks", "parse"})

    def faces(self, image):
        if not np.asarray(image).any():
            return []
        w, h = image.size
        points = tuple((w * x, h * y) for x, y in ((0.4, 0.4), (0.6, 0.4), (0.5, 0.5), (0.42, 0.6), (0.58, 0.6)))
        return [Face(box=(w * 0.3, h * 0.3, w * 0.7, h * 0.7), points=points, score=1.0)]

    def parse(self, image, face):
        mask = np.zeros(image.size[::-1], bool)
        mask[mask.shape[0] // 4 : -mask.shape[0] // 4, mask.shape[1] // 4 : -mask.shape[1] // 4] = True
        return Parsing(face=mask)


@pytest.fixture
def dataset(tmp_path):
    for name, count in (("ann", 3), ("bob", 2), ("cat", 1)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(count):
            rng = np.random.default_rng((count, number))
            Image.fromarray(rng.integers(1, 256, (96, 128, 3), dtype=np.uint8)).save(tmp_path / "data" / name / f"{number}.png")
    (tmp_path / "data" / "ann" / "0.txt").write_text("a red hat\n")
    Image.new("RGB", (64, 64)).save(tmp_path / "data" / "bob" / "black.png")
    (tmp_path / "data" / "bob" / "broken.jpg").write_bytes(b"no picture")
    return tmp_path / "data"


def test_a_folder_of_people_becomes_examples(dataset, tmp_path, caplog):
    source = FolderPeople(dataset, tmp_path / "ready", 64, Finder())
    assert [len(one) for one in source.people] == [3, 2, 1]
    assert "black.png" in caplog.text and "broken.jpg" in caplog.text
    example = source.example(np.random.default_rng(0), 3, 1.0, False)
    assert example.picture.shape == (64, 64, 3) and example.head.shape == (64, 64) and example.people[0].crops.shape == (3, 112, 112, 3)
    assert 0.2 < example.head.mean() < 0.5
    kept = load(source.people[0][0])
    assert kept.words.tolist() != load(source.people[0][1]).words.tolist(), "a caption, and none"
    before = source.people[0][0].stat().st_mtime_ns
    assert FolderPeople(dataset, tmp_path / "ready", 64, Finder()).people[0][0].stat().st_mtime_ns == before, "looked at once"
    one = trainee(source, batch=2, several=0.0)
    assert np.isfinite(one.step(0, np.random.default_rng(0))["error"])


def test_references_come_from_other_pictures(dataset, tmp_path):
    source = FolderPeople(dataset, tmp_path / "ready", 64, Finder())
    own = [load(path) for files in source.people for path in files]
    theirs = [number for number, files in enumerate(source.people) for _ in files]
    shown = set()
    for seed in range(40):
        shuffled = source.example(np.random.default_rng(seed), 1, 1.0, False)
        (mine,) = [place for place, one in enumerate(own) if np.array_equal(one.picture, shuffled.picture)]
        (given,) = [place for place, one in enumerate(own) if np.array_equal(one.crop, shuffled.people[0].crops[0])]
        assert theirs[given] == theirs[mine]
        assert (given == mine) == (theirs[mine] == 2), "only somebody with one picture is their own reference"
        shown.add(mine)
        plain = source.example(np.random.default_rng(seed), 1, 0.0, False)
        assert any(np.array_equal(plain.people[0].crops[0], one.crop) and np.array_equal(plain.picture, one.picture) for one in own)
    assert shown == set(range(6)), "everybody's pictures had their turn"


@pytest.mark.parametrize("beside", [{"latents": "x"}, {"drawn": "x"}, {"drawn_pairs": "x"}, {"pairs": "x"}, {"pictures": 1}, {"tested": 1}])
def test_a_dataset_beside_drawn_people_is_refused(dataset, tmp_path, beside):
    flag = next(iter(beside)).replace("_", "-")
    with pytest.raises(BadInput, match=f"--{flag} is about drawn people"):
        subjects.source_of(fact.FactSettings(data=str(dataset), **beside), tmp_path)


def test_a_caption_that_is_no_text_is_named(dataset, tmp_path):
    (dataset / "bob" / "0.txt").write_bytes(b"caf\xe9")
    with pytest.raises(BadInput, match=r"0\.txt cannot be read"):
        FolderPeople(dataset, tmp_path / "ready", 64, Finder())


def test_folders_that_cannot_be_learnt_from_are_named(tmp_path):
    with pytest.raises(BadInput, match="no dataset folder"):
        FolderPeople(tmp_path / "none", tmp_path, 64, Finder())
    with pytest.raises(BadInput, match="no sub-folders with pictures"):
        FolderPeople(tmp_path, tmp_path / "ready", 64, Finder())
    (tmp_path / "a").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "a" / "black.png")
    with pytest.raises(BadInput, match="No face was found in any picture"):
        FolderPeople(tmp_path, tmp_path / "ready", 64, Finder())
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a" / "red.png")
    with pytest.raises(BadInput, match="one picture only"):
        FolderPeople(tmp_path, tmp_path / "ready", 64, Finder())
    assert len(FolderPeople(tmp_path, tmp_path / "ready", 64, Finder(), shuffle=False).people) == 1


class Accelerator:
    """Two processes, of which the other always has gradient 3 and never stops."""

    process_index, num_processes, device = 1, 2, CPU

    def wait_for_everyone(self):
        self.waited = True

    def reduce(self, value, how):
        return {"mean": (value + 3) / 2, "sum": value}[how]


def test_a_team_averages_gradients_and_only_the_first_writes(tmp_path):
    two = team.Team(Accelerator())
    assert not two.first and two.own == (1,) and two.any(True) and not two.any(False)
    weight = torch.nn.Parameter(torch.ones(2))
    weight.grad = torch.ones(2)
    two.average([weight])
    assert torch.equal(weight.grad, torch.full((2,), 2.0))
    one = sheetless(trainee())
    one.team = two
    train(one, tmp_path / "run", {}, 0, Pace(steps=1), two)
    assert not list((tmp_path / "run").iterdir())


def test_an_optimiser_goes_by_the_teams_gradient():
    """The own gradient is 1, the other's 3: a step of 0.1 by their mean, 2; two parameters travel together and come back apart."""
    one, other = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(1, 3))
    norm = optimise(one.sum() + other.sum(), torch.optim.SGD([one, other]), [one, other], 0.1, clip=100.0, team=team.Team(Accelerator()))
    assert torch.allclose(one, torch.full((2,), 0.8)) and torch.allclose(other, torch.full((1, 3), 0.8))
    assert float(norm) == pytest.approx((5 * 2**2) ** 0.5)


def test_a_team_without_accelerate_is_refused(monkeypatch):
    assert team.assemble() is team.ALONE
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(__import__("sys").modules, "accelerate", None)
    with pytest.raises(MissingPackage, match="accelerate"):
        team.assemble()


@pytest.mark.parametrize(
    ("device", "gpus", "off"), [("auto", True, False), ("cuda", True, False), ("cpu", True, True), ("auto", False, True)]
)
def test_a_team_stays_off_gpus_where_asked(monkeypatch, device, gpus, off):
    asked = []
    accelerate = SimpleNamespace(Accelerator=lambda cpu: asked.append(cpu) or Accelerator())
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(__import__("sys").modules, "accelerate", accelerate)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus)
    team.assemble(device)
    assert asked == [off]


def test_the_encoder_must_be_the_adapters(tmp_path):
    one = trainee()
    write_adapter(one.averaged(), tmp_path / "a.safetensors")
    settings = fact.FactSettings(begin=str(tmp_path / "a.safetensors"))
    other = encoder()
    other.sizes = type(other.sizes)(**{**other.sizes.__dict__, "dim": 128})
    with pytest.raises(BadInput, match="another face encoder"):
        fresh.build_adapter(settings, one.networks.unet, other)


def test_a_parallel_file_is_told_from_others(tmp_path):
    from facechain_ext.errors import BadWeights

    save_weights(tmp_path / "x.safetensors", {"a": torch.zeros(1)})
    with pytest.raises(BadWeights, match="no parallel adapter"):
        read_parallel(tmp_path / "x.safetensors")


def test_tensorboard_hears_what_the_log_does(tmp_path, monkeypatch):
    heard, opened = [], []

    class Board:
        def add_scalar(self, tag, scalar_value, global_step):
            heard.append((tag, scalar_value, global_step))

        def close(self):
            opened.append("closed")

    monkeypatch.setattr(loop, "open_board", lambda folder, done: opened.append((folder, done)) or Board())
    train(Counter(), tmp_path, {}, 1, Pace(steps=2, log_every=1))
    assert opened == [(tmp_path, 0), "closed"]
    rows = without_time(tmp_path / "log.csv")
    assert [(float(row["value"]), int(row["step"])) for row in rows] == [(value, step) for tag, value, step in heard if tag == "value"]
    assert {tag for tag, *_ in heard} == {"value", "seconds_per_step"}
