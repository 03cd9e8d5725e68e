"""The style LoRA trainer: what it changes, that it learns and restarts exactly, and that its file works in the standalone host."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from facechain_ext.engine.checkpoints import read_tensors
from facechain_ext.errors import BadInput, Interrupted
from facechain_ext.hosts.standalone.loras import applied
from facechain_ext.training import style_lora
from facechain_ext.training.loop import Pace, train
from facechain_ext.training.noise import ALPHAS, add_noise
from facechain_ext.training.style_lora import StyleSettings, StyleTrainee, kohya_name
from tests.training.fact_cases import networks
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


@pytest.mark.parametrize(("heads", "velocity"), [(1.0, False), (5.0, False), (5.0, True)])
def test_errors_count_as_often_as_they_are_told_to(monkeypatch, heads, velocity):
    """By hand from what the untouched UNet tells: a cell that is half head counts (1 + 5) / 2 times with --heads 5, a step 1/ᾱ times."""
    one = trainee(heads=heads, velocity=velocity, drop=0.0, snr=0.0)
    pictures, tokens, cells = one._batch(np.random.default_rng(0))
    assert cells.shape == (2, 16, 16) and cells.max() == 255
    monkeypatch.setattr(one, "_batch", lambda rng: (pictures, tokens, cells))
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
    pictures, tokens, heads = one._batch(np.random.default_rng(0))
    assert pictures.shape == (2, 64, 64, 3) and tokens.shape == (2, 77) and heads is None
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
