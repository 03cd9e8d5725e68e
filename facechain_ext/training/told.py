"""A glance at likeness during a training: unseen drawn people, painted from a photo each and told apart by the judge."""

from __future__ import annotations

import numpy as np
import torch

from facechain_ext.demo.judge import read_judge, view
from facechain_ext.training.encoder import head_crop
from facechain_ext.training.judge import seen
from facechain_ext.training.likeness import embed, gallery_of
from facechain_ext.training.people import TESTED, photo, picture
from facechain_ext.training.tokens import tokens_of


class Told:
    """Unseen people: of each a face from a photo, uint8 [N, 112, 112, 3], and a caption's tokens [N, 77]; and the judge's gallery."""

    def __init__(self, count: int) -> None:
        people = TESTED[:count]
        self.judge = read_judge()
        self.gallery = gallery_of(self.judge, seen, people)
        rngs = [np.random.default_rng((11, number)) for number in people]
        drawn = [photo(number, rng) for number, rng in zip(people, rngs, strict=True)]
        self.crops = np.stack([head_crop(one, rng, False) for one, rng in zip(drawn, rngs, strict=True)])
        self.tokens = tokens_of([picture(number, rng).caption for number, rng in zip(people, rngs, strict=True)])

    def share(self, pictures: np.ndarray) -> float:
        """Of the pictures RGB uint8 [N, H, W, 3], in the order of people, how many show the right one by the judge."""
        found = embed(self.judge, np.stack([view(one) for one in pictures]))
        return float((found @ self.gallery.T).argmax(dim=1).eq(torch.arange(len(found))).float().mean())
