"""The judge that comes with the product tells drawn people apart whom no training has shown it."""

from __future__ import annotations

import torch

from facechain_ext.demo.judge import Judge, read_judge
from facechain_ext.training.judge import seen
from facechain_ext.training.likeness import ceiling
from facechain_ext.training.people import TESTED


def test_real_renders_of_unseen_people_are_ranked_first() -> None:
    trained = ceiling(read_judge().eval(), seen, TESTED[500:516])
    torch.manual_seed(0)
    assert trained >= 0.95
    assert ceiling(Judge().eval(), seen, TESTED[500:516]) < 0.6, "a judge of random numbers does not manage it"
