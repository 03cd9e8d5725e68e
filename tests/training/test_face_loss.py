"""What a VAE's decoder is told beside its pixels: the face encoder's view of heads, and errors of thin lines."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from facechain_ext.demo.world import appearance, draw, person, scene
from facechain_ext.errors import BadInput
from facechain_ext.training import vae
from facechain_ext.training.encoder import ENCODER, EncoderSizes, FaceEncoder
from facechain_ext.training.face_loss import FaceLoss
from facechain_ext.training.pixels import to_tensor
from facechain_ext.vision.align import align, similarity


def shown(*numbers):
    """Drawings of these people, their pictures, heads, and how their faces are laid, as a training has them."""
    drawings = [draw(person(number), scene(number), appearance(number)) for number in numbers]
    pictures = to_tensor(torch.from_numpy(np.stack([one.picture for one in drawings])))
    heads = torch.from_numpy(np.stack([one.people[0].head for one in drawings])).float()[:, None]
    matrices = torch.from_numpy(np.stack([similarity(np.array(one.people[0].points)) for one in drawings])).float()
    return drawings, pictures, heads, matrices


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    made = FaceEncoder(EncoderSizes(**ENCODER))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2)
    return made


def test_loss_is_what_the_encoder_says_of_two_crops_made_the_products_way(encoder):
    """Second method: both heads cut out and aligned by vision.align as uint8, the cosines one by one."""
    drawings, pictures, heads, matrices = shown(1, 2)
    _, others, _, _ = shown(3, 4)
    found = float(FaceLoss(encoder)(others, pictures, matrices, heads))
    expected = []
    for drawing, picture, other, head in zip(drawings, pictures, others, heads, strict=True):
        seen = []
        for one in (picture, other):
            cut = (((one + 1) * 127.5).round().permute(1, 2, 0).numpy() * head[0, :, :, None].numpy()).astype(np.uint8)
            crop = torch.from_numpy(align(cut, np.array(drawing.people[0].points)))
            tokens = encoder(crop.permute(2, 0, 1)[None].float() / 127.5 - 1)
            seen.append((encoder.embedding(tokens)[0], tokens[0]))
        whole = 1 - F.cosine_similarity(seen[0][0], seen[1][0], dim=0)
        tokens = [1 - F.cosine_similarity(a, b, dim=0) for a, b in zip(seen[0][1], seen[1][1], strict=True)]
        expected.append(whole + torch.stack(tokens).mean())
    assert found == pytest.approx(float(torch.stack(expected).mean()), rel=0.02)
    assert found > 0.05


def test_what_is_the_same_costs_nothing_and_only_heads_are_asked(encoder):
    _, pictures, heads, matrices = shown(1, 2)
    told = pictures.clone().requires_grad_()
    other = torch.where(heads > 0, told, -told)
    loss = FaceLoss(encoder)(other, pictures, matrices, heads)
    assert float(loss.detach()) == pytest.approx(0, abs=1e-5)
    worse = FaceLoss(encoder)(told * 0.5, pictures, matrices, heads)
    worse.backward()
    moved = told.grad.abs().amax(dim=1, keepdim=True)
    assert float(worse.detach()) > float(loss.detach()) + 1e-4
    assert float(moved[heads == 0].max()) == 0 and float(moved[heads > 0].max()) > 0


def test_lines_are_what_differs_from_its_surroundings():
    """A white line a pixel wide on black, by hand: the mean of 9×9 around it is -1 + 2·9/81."""
    picture = torch.full((1, 3, 32, 32), -1.0)
    picture[..., 16] = 1
    found = vae.distinct(picture)[0, 0, 16]
    assert float(found[16]) == 1
    assert float(found[15]) == pytest.approx(2 / 9 / 0.5)
    assert float(found[12]) == pytest.approx(2 / 9 / 0.5) and float(found[11]) == 0 and float(found[0]) == 0


def test_how_much_an_error_counts():
    """Half of a flat picture is head, by hand: heads three times; a line in it four times as much again."""
    pictures, heads = torch.full((1, 3, 32, 32), -1.0), torch.zeros(1, 1, 32, 32)
    heads[..., 16:] = 1
    flat = vae.shares_of_error(pictures, heads, vae.VaeSettings(heads=3, lines=4))
    assert float(flat[0, 0, 0, 0]) == pytest.approx(0.5) and float(flat[0, 0, 0, 31]) == pytest.approx(1.5)
    pictures[..., 24] = 1
    lined = vae.shares_of_error(pictures, heads, vae.VaeSettings(heads=3, lines=4))
    assert float(lined[0, 0, 8, 24] / lined[0, 0, 8, 0]) == pytest.approx(12)
    assert float(lined.mean()) == pytest.approx(1)
    plain = vae.shares_of_error(pictures, heads, vae.VaeSettings(heads=3))
    assert float(plain[0, 0, 8, 24] / plain[0, 0, 8, 0]) == pytest.approx(3)


def test_a_decoder_hears_the_encoder():
    """The same step with and without --faces: the loss is told, and the decoder is changed otherwise."""
    changed = {}
    for faces in (0.0, 5.0):
        settings = vae.VaeSettings(batch=1, widths="8,8,8,8", steps=1, warmup=0, faces=faces)
        trainee = vae.VaeTrainee(settings, torch.device("cpu"))
        told = trainee.step(0, np.random.default_rng(3))
        changed[faces] = trainee.vae.decoder.conv_out.weight.detach().clone()
        assert (float(told["faces"]) > 0) == (faces > 0)
    assert not torch.equal(changed[0.0], changed[5.0])


@pytest.mark.parametrize("beside", [{"drawn": "somewhere"}, {"shrink": 2}, {"crop": 64}])
def test_faces_are_seen_in_whole_pictures_drawn_on_the_fly(beside):
    with pytest.raises(BadInput, match="--faces looks at whole pictures"):
        vae.VaeSettings(faces=0.1, **beside)
