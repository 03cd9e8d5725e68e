"""The style LoRA trainer: what it changes, that it learns and restarts exactly, and that its file works in the standalone host."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from facechain_ext.engine.checkpoints import read_tensors, write_adapter
from facechain_ext.engine.encoder import FaceEncoder
from facechain_ext.engine.identity import face_tokens, null_tokens
from facechain_ext.engine.injection import Call, attach
from facechain_ext.errors import BadInput, BadWeights, Interrupted
from facechain_ext.hosts.standalone.loras import applied
from facechain_ext.training import fact, fresh, style_lora, watch
from facechain_ext.training.batch import Variants
from facechain_ext.training.checkpoint import save_weights
from facechain_ext.training.drawn import DrawnSettings, draw_set, open_drawn
from facechain_ext.training.identity_loss import LatentRecogniser
from facechain_ext.training.loop import Pace, train
from facechain_ext.training.low_rank import kohya_name
from facechain_ext.training.noise import ALPHAS, add_noise
from facechain_ext.training.resampler import look_ahead, means_of, whose
from facechain_ext.training.style_lora import StyleSettings, StyleTrainee
from facechain_ext.training.tokens import tokens_of
from tests.training.fact_cases import SMALL_ENCODER, encoder, networks
from tests.training.test_restart import Stopping, assert_equal

CPU = torch.device("cpu")


def trainee(**settings):
    given = {"steps": 4, "batch": 2, "warmup": 1, "rank": 4, "style": "blueprint", **settings}
    return StyleTrainee(StyleSettings(**given), CPU, networks())


def sheetless(trainee):
    """A sheet takes longer than all steps of a test."""
    trainee.sheet = lambda: None
    return trainee


def test_it_begins_as_the_untouched_model_and_only_the_lora_learns():
    one, plain = trainee(rate=1e-2), networks().unet
    x, text = torch.randn(1, 4, 16, 16), torch.randn(1, 77, 32)
    unet = one.frozen.networks.unet
    before = {key: value.clone() for key, value in unet.state_dict().items()}
    with torch.no_grad():
        assert torch.equal(unet(x, 5, text).sample, plain(x, 5, text).sample)
    one.step(0, np.random.default_rng(0))
    assert any(value.abs().max() > 0 for key, value in one.changes.state_dict().items() if "lora_up" in key)
    assert all(torch.equal(value, before[key]) for key, value in unet.state_dict().items())
    assert len(one.layers) == 16 * (8 + 2 + 2) == 192, "16 blocks: q, k, v and out of both attentions, two of feed-forward, two projections"


def test_the_file_does_in_the_host_what_the_training_did(tmp_path):
    one = trainee(rate=1e-2, decay=0.0)
    for number in range(2):
        one.step(number, np.random.default_rng(number))
    style_lora.finish(one, tmp_path / style_lora.FINISHED)
    tensors, metadata = read_tensors(tmp_path / style_lora.FINISHED)
    name = kohya_name("down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0")
    assert name == "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0"
    assert tensors[f"{name}.lora_down.weight"].shape == (4, 32) and float(tensors[f"{name}.alpha"]) == 4
    assert tensors["lora_unet_mid_block_attentions_0_proj_in.lora_down.weight"].shape == (4, 32, 1, 1), "a convolution stays one"
    assert tensors["lora_unet_mid_block_attentions_0_transformer_blocks_0_ff_net_0_proj.lora_up.weight"].shape == (256, 4)
    assert metadata["ss_network_dim"] == "4"
    assert metadata["modelspec.trigger_phrase"] == {"blueprint": "a blueprint", "woodcut": "a woodcut print"}[one.settings.style]
    other = networks()
    x, text = torch.randn(1, 4, 16, 16), torch.randn(1, 77, 32)
    with torch.no_grad():
        plain = other.unet(x, 5, text).sample
        one.at_work = one._averaged(1.0)
        trained = one.frozen.networks.unet(x, 5, text).sample
        with applied(other, [(tmp_path / style_lora.FINISHED, 1.0)]):
            assert torch.allclose(other.unet(x, 5, text).sample, trained, atol=2e-3)
    assert (trained - plain).abs().max() > 0.02


def test_the_file_is_as_strong_as_it_is_told_to_be(tmp_path):
    """What was learnt at half strength is what the host paints with the LoRA at half its weight."""
    one = trainee(rate=1e-2, decay=0.0, strength=0.5)
    for number in range(2):
        one.step(number, np.random.default_rng(number))
    style_lora.finish(one, tmp_path / "half.safetensors")
    host, x, text = networks(), torch.randn(1, 4, 16, 16), torch.randn(1, 77, 32)
    one.at_work = one._averaged(0.5)
    with torch.no_grad(), applied(host, [(tmp_path / "half.safetensors", 1.0)]):
        found, wanted = (each(x, 5, text).sample for each in (host.unet, one.frozen.networks.unet))
        assert torch.allclose(found, wanted, atol=2e-3)
    one.at_work = one._averaged(1.0)
    with torch.no_grad():
        assert not torch.allclose(one.frozen.networks.unet(x, 5, text).sample, wanted, atol=1e-2)
    assert read_tensors(tmp_path / "half.safetensors")[1]["ss_network_alpha"] == "2"


@pytest.mark.parametrize(("heads", "velocity"), [(1.0, False), (5.0, False), (5.0, True)])
def test_errors_count_as_often_as_they_are_told_to(monkeypatch, heads, velocity):
    """By hand from what the untouched UNet tells: a cell that is half head counts (1 + 5) / 2 times with --heads 5, a step 1/ᾱ times."""
    one = trainee(heads=heads, velocity=velocity, drop=0.0, snr=0.0)
    pictures, tokens, cells, rows = one._batch(np.random.default_rng(0))
    assert cells.shape == (2, 16, 16) and cells.max() == 255
    monkeypatch.setattr(one, "_batch", lambda rng: (pictures, tokens, cells, rows))
    taken = []
    monkeypatch.setattr(style_lora, "optimise", lambda loss, *rest, **more: taken.append(loss.item()) or torch.zeros(()))
    torch.manual_seed(4)
    one.step(0, np.random.default_rng(0))
    latents = one.frozen.encode(pictures) * one.frozen.scale
    torch.manual_seed(4)
    noise, times = torch.randn_like(latents), torch.randint(0, 1000, (2,))
    with torch.no_grad():
        noisy = add_noise(latents, noise, times)
        squares = (one.frozen.networks.unet(noisy, times, one.frozen.read(tokens)).sample - noise).square().mean(dim=1).numpy()
    counts = 1 + (heads - 1) * cells / 255
    steps = 1 / ALPHAS[times].numpy() if velocity else np.ones(2)
    assert taken[0] == pytest.approx((steps[:, None, None] * squares * counts).sum() / counts.sum(), rel=1e-4)


def test_stop_and_go_on_is_bit_equal_to_going_through(tmp_path):
    train(sheetless(trainee()), tmp_path / "through", {}, 7, Pace(steps=4))
    with pytest.raises(Interrupted):
        train(Stopping(sheetless(trainee()), 1), tmp_path / "stopped", {}, 7, Pace(steps=4))
    train(sheetless(trainee()), tmp_path / "stopped", {}, 7, Pace(steps=4))
    one, other = (torch.load(tmp_path / run / "state.pt", weights_only=True) for run in ("through", "stopped"))
    assert_equal(one["trainee"], other["trainee"])


def test_it_learns():
    one = trainee(steps=30, rate=3e-2, rank=8, drop=0.0)
    errors = []
    for number in range(30):
        torch.manual_seed(number % 3)
        errors.append(one.step(number, np.random.default_rng(0))["error"])
    assert np.mean(errors[-3:]) < 0.97 * np.mean(errors[:3])


def test_a_folder_of_captioned_pictures(tmp_path):
    for number in range(3):
        Image.new("RGB", (80, 64), (number * 80, 0, 0)).save(tmp_path / f"{number}.png")
    (tmp_path / "0.txt").write_text("a red hat")
    one = trainee(style="", data=str(tmp_path), trigger="mystyle", size=64)
    pictures, tokens, heads, rows = one._batch(np.random.default_rng(0))
    assert pictures.shape == (2, 64, 64, 3) and tokens.shape == (2, 77) and heads is None and not len(rows)
    assert one.tokens[0].tolist() != one.tokens[1].tolist() == one.tokens[2].tolist()
    assert np.isfinite(float(one.step(0, np.random.default_rng(0))["error"]))
    assert one.sheet().shape == (2 * 64, 3 * 64, 3)
    assert one.metadata()["modelspec.trigger_phrase"] == "mystyle"
    assert "modelspec.trigger_phrase" not in trainee(style="", data=str(tmp_path), size=64).metadata()


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(BadInput, match="either --data"):
        StyleSettings()
    with pytest.raises(BadInput, match="either --data"):
        StyleSettings(data="x", style="woodcut")
    with pytest.raises(BadInput, match="no pictures"):
        trainee(style="", data=str(tmp_path))
    with pytest.raises(BadInput, match="--drawn has pictures of a drawn style"):
        StyleSettings(data="x", drawn="y")
    with pytest.raises(BadInput, match="--trigger goes before the captions of --data"):
        StyleSettings(style="woodcut", trigger="mystyle")
    with pytest.raises(BadInput, match="--heads needs to know where heads are"):
        StyleSettings(data="x", heads=3.0)
    for asked in ("identity", "shown"):
        with pytest.raises(BadInput, match=f"--{asked} needs to know who is who"):
            StyleSettings(style="woodcut", **{asked: 1.0})
    Image.new("RGB", (64, 64)).save(tmp_path / "0.png")
    (tmp_path / "0.txt").write_bytes("café".encode("latin-1"))
    with pytest.raises(BadInput, match=r"0\.txt cannot be read: save it as text in UTF-8"):
        trainee(style="", data=str(tmp_path))


@pytest.mark.parametrize("last", [False, True])
def test_channels_last_where_asked(last):
    weight = trainee(last=last).frozen.networks.unet.conv_in.weight
    assert weight.is_contiguous(memory_format=torch.channels_last) == last


def test_attention_alone_is_changed_where_asked():
    one = trainee(attention=True)
    assert len(one.layers) == 16 * 8 and all("_attn1_" in name or "_attn2_" in name for name in one.layers)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Four people, three pictures of each."""
    folder = tmp_path_factory.mktemp("people") / "drawn"
    draw_set(DrawnSettings(identities=4, each=3, styles="photo,blueprint", workers=1), folder)
    return folder


@pytest.fixture
def eyes(drawn, tmp_path, monkeypatch):
    """Options of a training that is watched: an adapter whose gates speak, and a recogniser that has learnt nothing."""
    monkeypatch.setattr(style_lora, "read_encoder", lambda path: encoder())
    torch.manual_seed(3)
    adapter = fresh.build_adapter(fact.FactSettings(batch=2), networks().unet, encoder())
    for layer in adapter.gates():
        torch.nn.init.normal_(layer.to_out.weight, std=0.05)
    write_adapter(adapter, tmp_path / "adapter.safetensors", {"resampler_heads": str(adapter.sizes.resampler.heads)})
    opened = open_drawn(drawn)
    seen = look_ahead(encoder(), opened)
    network = LatentRecogniser(means_of(encoder(), seen, whose(opened)))
    save_weights(tmp_path / "recogniser.safetensors", network.state_dict())
    files = {"adapter": str(tmp_path / "adapter.safetensors"), "recogniser": str(tmp_path / "recogniser.safetensors")}
    return {"drawn": str(drawn), "painted": 2, **files}


def test_what_is_watched_is_what_a_host_would_paint(eyes, monkeypatch):
    """Nobody's tokens without words, each face's own with words four times as far from there, the LoRA in both: eight steps of DDIM."""
    grey = np.full((112, 112, 3), 90, np.uint8)
    monkeypatch.setattr(style_lora, "head_crop", lambda drawing, rng, training: grey)
    one = trainee(identity=1.0, rate=1e-2, **eyes)
    one.step(0, np.random.default_rng(0))
    rows = one.rows[:2]
    likeness, met, unet, text = one.likeness, one.faces, one.frozen.networks.unet, one.frozen.read
    crops = torch.full((2, 112, 112, 3), 90, dtype=torch.uint8)
    faces, nobody = face_tokens(encoder(), met.adapter, crops)[0], null_tokens(met.adapter)[None].expand(2, -1, -1)
    words, none = text(met.drawn.tokens[rows]), text(tokens_of(["", ""]))
    call = Call(rows=(0, 1), pictures=(0, 1), progress=0.0, latent=(16, 16))

    def told(shown, said, latents, times):
        with attach(unet, met.adapter, [Variants(stack=shown)], lambda _: call):
            return unet(latents, times, said).sample

    def tell(latents, times):
        return 4 * told(faces, words, latents, times) - 3 * told(nobody, none, latents, times)

    with torch.no_grad():
        torch.manual_seed(6)
        found, _ = likeness.unlike(rows, np.random.default_rng(0))
        torch.manual_seed(6)
        noise, first = torch.randn(2, 4, 16, 16), 999 - int(torch.randint(125, ()))
        wanted, _ = watch.watched(likeness.loss, tell, noise, rows, first)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-3)


def test_the_adapter_says_who_is_in_the_pictures_as_often_as_it_is_told_to(eyes, monkeypatch):
    """By a second way: the error of a UNet to which the adapter was attached by hand, in steps that are shown, or the plain one's."""
    grey, errors = np.full((112, 112, 3), 90, np.uint8), {}
    monkeypatch.setattr(style_lora, "head_crop", lambda drawing, rng, training: grey)
    for shown in (0.0, 0.5, 1.0):
        one = trainee(shown=shown, drop=0.0, **eyes)
        monkeypatch.setattr(style_lora, "optimise", lambda *rest, **more: torch.zeros(()))
        errors[shown] = []
        for number in range(6):
            torch.manual_seed(4)
            errors[shown].append(float(one.step(number, np.random.default_rng(number))["error"]))
    first = one._batch(np.random.default_rng(0))
    latents, words = one.frozen.encode(first[0]) * one.frozen.scale, one.frozen.read(first[1])
    faces = face_tokens(encoder(), one.faces.adapter, torch.full((2, 112, 112, 3), 90, dtype=torch.uint8))[0]
    call = Call(rows=(0, 1), pictures=(0, 1), progress=0.0, latent=(16, 16))
    torch.manual_seed(4)
    noise, times = torch.randn_like(latents), torch.randint(0, 1000, (2,))
    with torch.no_grad(), attach(one.frozen.networks.unet, one.faces.adapter, [Variants(stack=faces)], lambda _: call):
        told = one.frozen.networks.unet(add_noise(latents, noise, times), times, words).sample
    assert errors[1.0][0] == pytest.approx(float((told - noise).square().mean()), rel=1e-4)
    told_of = [half == always for half, always in zip(errors[0.5], errors[1.0], strict=True)]
    plain = [half == never for half, never in zip(errors[0.5], errors[0.0], strict=True)]
    assert 0 < sum(told_of) < 6 and told_of == [not one for one in plain]


def test_a_watched_lora_learns_whom_to_paint_and_nobody_else_does(eyes, monkeypatch):
    """Of one batch, in two steps here, the recogniser's error falls where it is heard; adapter, encoder and recogniser stay."""
    monkeypatch.setattr(watch, "WATCHED", 2)
    said = {}
    for weight in (1e-6, 30.0):
        one = trainee(identity=weight, rate=1e-2, drop=0.0, **eyes)
        frozen = [*one.faces.adapter.parameters(), *one.faces.encoder.parameters(), *one.likeness.loss.recogniser.parameters()]
        before = [value.clone() for value in frozen]
        said[weight] = []
        for _ in range(5):
            torch.manual_seed(0)
            values = one.step(0, np.random.default_rng(0))
            said[weight].append(float(values["unlike"]))
            assert 0 <= float(values["seen"]) <= 1
        assert all(torch.equal(value, kept) for value, kept in zip(frozen, before, strict=True))
    weak, strong = said.values()
    assert strong[0] == pytest.approx(weak[0], rel=1e-5)
    assert strong[-1] < weak[-1] - 0.02 * strong[0]


def test_the_loss_is_the_noise_s_and_so_many_times_the_watched_one(eyes, monkeypatch):
    monkeypatch.setattr(watch, "WATCHED", 2)
    losses, said = [], []
    monkeypatch.setattr(style_lora, "optimise", lambda loss, *rest, **more: losses.append(loss.item()) or torch.zeros(()))
    for weight in (1e-6, 3.0):
        one = trainee(identity=weight, **eyes)
        torch.manual_seed(0)
        said.append(float(one.step(0, np.random.default_rng(0))["unlike"]))
    assert said[0] == said[1]
    assert losses[1] - losses[0] == pytest.approx(3 * said[0], rel=1e-3)


def test_any_of_a_step_s_captions_may_be_watched(eyes, monkeypatch):
    """One of four a step: not always the first."""
    one, watched_of = trainee(identity=1.0, batch=4, **{**eyes, "painted": 1}), []
    quiet = torch.zeros((), requires_grad=True)
    monkeypatch.setattr(one.likeness, "unlike", lambda rows, rng: watched_of.append(rows.tolist()) or (quiet, quiet.detach()))
    for number in range(8):
        one.step(number, np.random.default_rng(number))
    first = [sorted(np.random.default_rng(number).choice(one.rows, 4))[0] for number in range(8)]
    assert {len(rows) for rows in watched_of} == {1} and [rows[0] for rows in watched_of] != first


def test_who_watches_need_not_stay_the_same_where_nobody_does():
    settings = StyleSettings(style="woodcut", adapter="a", encoder="b")
    assert not {"adapter", "encoder", "recogniser", "painted", "strength"} & style_lora.stated(settings).keys()
    watched_by = StyleSettings(style="woodcut", drawn="d", identity=1.0, adapter="a", encoder="b")
    assert style_lora.stated(watched_by)["adapter"] == "a" and style_lora.stated(watched_by)["encoder"] == "b"
    shown_by = style_lora.stated(replace(watched_by, identity=0.0, shown=0.5))
    assert {"adapter", "encoder"} <= shown_by.keys() and not {"recogniser", "painted"} & shown_by.keys()


def test_who_watches_is_looked_at_before_anything_slow(eyes, tmp_path, monkeypatch):
    monkeypatch.setattr(style_lora, "look_ahead", lambda *given, **more: pytest.fail("faces were looked at already"))
    with pytest.raises(BadWeights, match="no recogniser at"):
        trainee(identity=1.0, **{**eyes, "recogniser": str(tmp_path / "none.safetensors")})
    monkeypatch.setattr(style_lora, "read_encoder", lambda path: FaceEncoder(replace(SMALL_ENCODER, dim=32)))
    with pytest.raises(BadInput, match="trained with another face encoder"):
        trainee(identity=1.0, **eyes)
    draw_set(DrawnSettings(identities=2, each=1, people=2, styles="blueprint", workers=1), tmp_path / "pairs")
    with pytest.raises(BadInput, match="shows 2 people in every picture"):
        trainee(identity=1.0, **{**eyes, "drawn": str(tmp_path / "pairs")})


def test_it_goes_on_from_a_lora(tmp_path):
    """What is painted at first is what the file's own training painted at last, but for rounding to float16."""
    one = trainee(rate=1e-2, decay=0.0)
    for number in range(2):
        one.step(number, np.random.default_rng(number))
    style_lora.finish(one, tmp_path / "lora.safetensors")
    other = trainee(begin=str(tmp_path / "lora.safetensors"))
    x, text = torch.randn(1, 4, 16, 16), torch.randn(1, 77, 32)
    with torch.no_grad():
        found, wanted = (each.frozen.networks.unet(x, 5, text).sample for each in (other, one))
    assert torch.allclose(found, wanted, atol=2e-3)
