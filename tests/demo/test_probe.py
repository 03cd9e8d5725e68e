"""The probe: what agreement means, by hand, and that of real renders it sees looks whose they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from facechain_ext.demo.judge import read_judge, view
from facechain_ext.demo.probe import GROUPS, agreement, fit
from facechain_ext.demo.world import person
from facechain_ext.training.people import TESTED, picture
from facechain_ext.training.recognition import KINDS, kinds_of, named_sizes, sizes_of


def test_names_of_numbers():
    """By hand of a person whose jaw, hair and marks are given."""
    who = person(3)
    who = replace(who, face=replace(who.face, jaw=0.25), hair=replace(who.hair, colour=(64, 128, 0)), marks=("scar",))
    found = named_sizes(who)
    assert (found["face jaw"], found["hair colour r"], found["hair colour g"], found["hair colour b"]) == (0.25, 0.5, 1.0, 0.0)
    assert (found["mark scar"], found["mark mole"]) == (1.0, 0.0) and list(found.values()) == sizes_of(who)
    assert {name for members in GROUPS.values() for name in members} <= set(found)


def test_agreement_by_hand():
    """Of four people a kind is right in three; a number that is read the wrong way round has −1, the same for all 0."""
    people = [replace(who := person(number), mouth=replace(who.mouth, width=0.1 * (number + 1))) for number in range(4)]
    kinds, sizes = np.array([kinds_of(one) for one in people]), np.array([sizes_of(one) for one in people])
    assert all(agreement(kinds, sizes, people)[name] == 1.0 for name in KINDS)
    assert all(agreement(kinds, sizes, people)[group] == pytest.approx(1.0) for group in GROUPS)
    wrong, other = kinds.copy(), sizes.copy()
    nose, names = list(KINDS).index("nose"), list(named_sizes(people[0]))
    wrong[2, nose] += 1
    for name in GROUPS["mouth"]:
        other[:, names.index(name)] *= -1
    other[:, names.index("mouth height")] = 0.5
    found = agreement(wrong, other, people)
    assert found["nose"] == 0.75 and found["eyes"] == 1.0
    assert found["mouth"] == pytest.approx(-0.75) and found["skin"] == pytest.approx(1.0)


def test_of_real_renders_a_probe_sees_looks_and_whose():
    """Of people nobody was trained with: far more of their own looks than of the next person's."""
    judge = read_judge()
    before = {key: value.clone() for key, value in judge.state_dict().items()}
    probe = fit(judge, 600)
    assert all(torch.equal(value, before[key]) for key, value in judge.state_dict().items())
    numbers = list(TESTED[:80])
    views = np.stack([view(picture(number, np.random.default_rng((8, number))).picture) for number in numbers])
    own = probe.agreement(views, [person(number) for number in numbers])
    others = probe.agreement(views, [person(number) for number in [*numbers[1:], numbers[0]]])
    assert min(own["skin"], own["hair colour"], own["outline of the face"]) > 0.5
    assert max(others["skin"], others["hair colour"], others["outline of the face"]) < 0.3
    assert own["hair"] > 0.3 > others["hair"] and own["glasses"] > others["glasses"] + 0.15
