"""Trains the face encoder of the demo model: TransFace's structure on aligned heads before black, as the product cuts them out."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from torch import Tensor, nn

from facechain_ext.demo.architecture import ENCODER
from facechain_ext.demo.world import Drawing
from facechain_ext.engine.encoder import EncoderSizes, FaceEncoder
from facechain_ext.engine.int8 import from_int8
from facechain_ext.training.arguments import identity_of, parse, speak
from facechain_ext.training.checkpoint import ENCODER as FINISHED
from facechain_ext.training.device import choose_device, pace_of
from facechain_ext.training.frozen import finish
from facechain_ext.training.likeness import LikenessSettings, LikenessTrainee
from facechain_ext.training.loop import train
from facechain_ext.training.people import ENCODED
from facechain_ext.training.recognition import worn
from facechain_ext.vision.align import SIZE, similarity
from facechain_ext.vision.masks import head_from_parsing

NAME, SUMMARY = "train-encoder", "Train the demo model's face encoder."
LARGE = ("senet.0.weight", "feature.0.weight")
"""Four fifths of the encoder's numbers: kept in int8."""
JITTER = 0.8  # pixels a detector's landmarks are off, one standard deviation


class Recogniser(nn.Module):
    """The encoder with its global embedding; keys as the encoder's own."""

    def __init__(self, sizes: EncoderSizes) -> None:
        super().__init__()
        self.encoder = FaceEncoder(sizes)
        nn.init.trunc_normal_(self.encoder.pos_embed, std=0.02)

    def forward(self, crops: Tensor) -> Tensor:
        return self.encoder.embedding(self.encoder(crops))


class EncoderTrainee(LikenessTrainee):
    """Keeps the encoder's weights under their published names."""

    def weights(self) -> Mapping[str, Tensor]:
        return {key.removeprefix("encoder."): value for key, value in super().weights().items()}

    def begin(self, weights: Mapping[str, Tensor], source: str) -> None:
        super().begin({f"encoder.{key}": value for key, value in from_int8(weights).items()}, source)

    def metadata(self) -> Mapping[str, str]:
        return {**super().metadata(), "heads": str(ENCODER["heads"])}


def head_crop(drawing: Drawing, rng: np.random.Generator, training: bool) -> np.ndarray:
    """The first person's head, aligned to 112×112 before black; in training landmarks and mask are as inexact as a detector's."""
    one = drawing.people[0]
    points, mask = np.array(one.points), head_from_parsing(one.face, one.hair, one.person)
    picture = drawing.picture
    if training:
        picture = worn(picture, rng)
        points = points + rng.normal(0, JITTER, points.shape)
        mask = _inexact(mask, rng)
    cut = (picture * mask[..., None]).astype(np.uint8)
    return cv2.warpAffine(cut, similarity(points), (SIZE, SIZE), flags=cv2.INTER_LINEAR)


def _inexact(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A mask a little too large or too small, and now and then none."""
    chance = rng.random()
    if chance < 0.1:
        return np.ones_like(mask)
    if chance < 0.5:
        side = int(rng.integers(2, 5))
        return (cv2.dilate if rng.random() < 0.6 else cv2.erode)(mask, np.ones((side, side), np.uint8))
    return mask


def trainee(settings: LikenessSettings) -> EncoderTrainee:
    """The encoder in training."""
    sizes = EncoderSizes(**ENCODER)
    return EncoderTrainee(settings, choose_device(settings), lambda: Recogniser(sizes), sizes.embedding, ENCODED, head_crop)


def main(argv: Sequence[str]) -> None:
    """Command line."""
    settings, folder = parse(LikenessSettings, NAME, SUMMARY, argv)
    learner = trainee(settings)
    train(learner, folder, identity_of(settings), settings.seed, pace_of(settings))
    finish(learner, folder / FINISHED, LARGE)


if __name__ == "__main__":
    speak()
    main(sys.argv[1:])
