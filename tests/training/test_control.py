"""The ControlNet trainer: it begins by adding nothing, learns alone, restarts exactly, and the standalone host reads its file."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from facechain_ext.errors import BadInput, Interrupted
from facechain_ext.hosts.standalone.controlnets import load_controlnet
from facechain_ext.training import control
from facechain_ext.training.control import ControlSettings, ControlTrainee
from facechain_ext.training.latents import drawing_of
from facechain_ext.training.loop import Pace, train
from facechain_ext.vision.skeleton import is_skeleton
from tests.training.fact_cases import networks, write_latents
from tests.training.test_restart import Stopping, assert_equal
from tests.training.test_style_lora import sheetless

CPU = torch.device("cpu")


@pytest.fixture
def trainee_of(tmp_path):
    latents = str(write_latents(tmp_path / "set", 5))

    def make(**settings):
        given = {"steps": 4, "batch": 2, "warmup": 1, "latents": latents, **settings}
        return ControlTrainee(ControlSettings(**given), CPU, networks())

    return make


def test_it_begins_by_adding_nothing_and_learns_alone(trainee_of):
    one = trainee_of(rate=1e-3)
    unet = one.frozen.networks.unet
    before = {key: value.clone() for key, value in unet.state_dict().items()}
    x, text, picture = torch.randn(2, 4, 16, 16), torch.randn(2, 77, 32), torch.rand(2, 3, 128, 128)
    times = torch.tensor([5, 5])
    with torch.no_grad():
        assert torch.equal(one._tell(one.network, x, times, text, picture), unet(x, times, text).sample)
    for number in range(3):
        one.step(number, np.random.default_rng(number))
    assert all(torch.equal(value, before[key]) for key, value in unet.state_dict().items())
    assert float(one.network.controlnet_down_blocks[0].weight.detach().abs().max()) > 0
    assert all(parameter.grad is None for parameter in unet.parameters())


def test_the_skeleton_is_heard_from_the_first_step(trainee_of):
    """After one step another skeleton gives another answer; behind the published zero convolution none would."""
    one = trainee_of(rate=1e-2, warmup=1)
    hint = one.network.controlnet_cond_embedding
    poses = one._batch(np.random.default_rng(3)).skeletons
    with torch.no_grad():
        assert 0.05 < float(hint(poses).std()) < 2, "about as loud as the latents"
    one.step(0, np.random.default_rng(0))
    x, text = torch.randn(1, 4, 16, 16).expand(2, -1, -1, -1), torch.randn(1, 77, 32).expand(2, -1, -1)
    with torch.no_grad():
        told = one._tell(one.network, x, torch.tensor([500, 500]), text, torch.stack((poses[0], poses[0].flip(2))))
    assert (told[0] - told[1]).abs().max() > 1e-3


def test_the_host_reads_the_file(trainee_of, tmp_path):
    one = trainee_of(rate=1e-2, decay=0.0)
    for number in range(2):
        one.step(number, np.random.default_rng(number))
    control.finish(one, tmp_path / control.FINISHED)
    read = load_controlnet(tmp_path / control.FINISHED, networks().unet)
    kept = one.network.eval()
    x, text, picture = torch.randn(1, 4, 16, 16), torch.randn(1, 77, 32), torch.rand(1, 3, 128, 128)
    with torch.no_grad():
        theirs = read(x, 5, text, controlnet_cond=picture, return_dict=False)
        ours = kept(x, 5, text, controlnet_cond=picture, return_dict=False)
    assert torch.allclose(theirs[1], ours[1], atol=1e-2) and ours[1].abs().max() > 0


def test_stop_and_go_on_is_bit_equal_to_going_through(trainee_of, tmp_path):
    train(sheetless(trainee_of()), tmp_path / "through", {}, 7, Pace(steps=3))
    with pytest.raises(Interrupted):
        train(Stopping(sheetless(trainee_of()), 0), tmp_path / "stopped", {}, 7, Pace(steps=3))
    train(sheetless(trainee_of()), tmp_path / "stopped", {}, 7, Pace(steps=3))
    one, other = (torch.load(tmp_path / run / "state.pt", weights_only=True) for run in ("through", "stopped"))
    assert_equal(one["trainee"], other["trainee"])


def test_it_learns(trainee_of):
    one = trainee_of(steps=16, rate=3e-3, drop=0.0)
    errors = []
    for number in range(16):
        torch.manual_seed(number % 2)
        errors.append(one.step(number, np.random.default_rng(0))["error"])
    assert np.mean(errors[-2:]) < 0.95 * np.mean(errors[:2])


def test_skeletons_belong_to_their_pictures(trainee_of):
    one = trainee_of(batch=1)
    batch = one._batch(np.random.default_rng(2))
    number = int(np.random.default_rng(2).integers(0, 5, 1)[0])
    drawing = drawing_of(0, 1, number)
    found = (batch.skeletons[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    assert is_skeleton(Image.fromarray(found))
    for point in drawing.people[0].keypoints:
        if point is not None:
            x, y = (round(value) for value in point)
            assert found[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3].any()
    assert torch.allclose(batch.latents[0], torch.from_numpy(one.set.latents[number].astype(np.float32)) * 0.18215)


def test_the_sheet_and_a_folder(trainee_of, tmp_path):
    folder = tmp_path / "data"
    (folder / "skeletons").mkdir(parents=True)
    for number in range(2):
        Image.new("RGB", (64, 64), (number * 80, 0, 0)).save(folder / f"{number}.png")
    with pytest.raises(BadInput, match=r"lacks the skeleton of 0\.png \(2 in all\)"):
        trainee_of(latents="", data=str(folder), size=64)
    for number in range(2):
        Image.new("RGB", (64, 64)).save(folder / "skeletons" / f"{number}.png")
    one = trainee_of(latents="", data=str(folder), size=64)
    assert np.isfinite(one.step(0, np.random.default_rng(0))["error"])
    assert one.sheet().shape == (2 * 64, 2 * 64, 3)


def test_a_folder_beside_drawn_people_is_refused(trainee_of):
    with pytest.raises(BadInput, match="--latents is about drawn people"):
        trainee_of(data="x")
    with pytest.raises(BadInput, match="give --latents beside it"):
        trainee_of(latents="", drawn="x")


@pytest.mark.parametrize("last", [False, True])
def test_channels_last_where_asked(trainee_of, last):
    one = trainee_of(last=last)
    for network in (one.frozen.networks.unet, one.network):
        assert network.conv_in.weight.is_contiguous(memory_format=torch.channels_last) == last


def test_more_pictures_than_there_are(trainee_of):
    with pytest.raises(BadInput, match="Only 5 pictures"):
        trainee_of(pictures=6)
