"""The demo world: same numbers, same pictures; masks, points and captions say what is drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facechain_ext.demo.world import Appearance, Outfit, Pose, Scene, appearance, draw, draw_people, person, scene, traits
from facechain_ext.demo.world.caption import BACKGROUND_WORDS, EXPRESSION_WORDS, HAT_WORDS, STYLE_WORDS

ALL_STYLES = traits.STYLES + traits.EXTRA_STYLES
FEW = range(40)


def drawn(number: int, **fixed):
    return draw(person(number), scene(number, **fixed), appearance(number))


@pytest.mark.parametrize("style", ALL_STYLES)
def test_the_same_numbers_draw_the_same_picture(style):
    first, second = drawn(3, style=style), drawn(3, style=style)
    assert first.picture.shape == (128, 128, 3) and first.picture.dtype == np.uint8
    assert np.array_equal(first.picture, second.picture)
    assert first.caption == second.caption
    assert first.people[0].points == second.people[0].points


def test_every_number_is_somebody_else():
    assert len({person(number) for number in range(1000)}) == 1000


def test_people_differ_in_a_face_on_view_even_without_colour():
    """Pictures of different people under equal conditions differ far more than the pencil's own texture does."""
    plain = Scene(style="pencil", texture=1)
    faces = [draw(person(number), plain, Appearance()).picture.astype(int) for number in range(20)]
    again = draw(person(0), replace(plain, texture=2), Appearance()).picture.astype(int)
    texture = np.abs(faces[0] - again).mean()
    for a in range(20):
        for b in range(a):
            assert np.abs(faces[a] - faces[b])[20:100, 30:98].mean() > 2 * texture


def test_who_somebody_is_does_not_depend_on_the_scene():
    who = person(11)
    one, other = draw(who, scene(1), appearance(1)), draw(who, scene(2), appearance(2))
    assert one.people[0].who == other.people[0].who == who
    assert not np.array_equal(one.picture, other.picture)


@pytest.mark.parametrize("number", FEW)
def test_masks_fit_each_other(number):
    one = drawn(number).people[0]
    assert np.array_equal(one.head, one.face | one.hair)
    for a, b in ((one.face, one.hair), (one.face, one.clothes), (one.hair, one.clothes)):
        assert not (a & b).any()
    for part in (one.face, one.hair, one.clothes):
        assert not (part & ~one.person).any()
    assert one.face.sum() > 300 and one.clothes.sum() > 300


@pytest.mark.parametrize("number", FEW)
def test_the_five_points_lie_in_the_face(number):
    """Without a hat, whose brim may hide an eye; hair may fall over one, so the head counts."""
    one = draw(person(number), scene(number), appearance(number, hat="")).people[0]
    for x, y in one.points:
        assert one.head[int(y), int(x)]
    left, right, nose, mouth_left, mouth_right = np.array(one.points)
    assert left[0] < right[0] and mouth_left[0] < mouth_right[0]
    assert (left[1] + right[1]) / 2 < nose[1] < (mouth_left[1] + mouth_right[1]) / 2


def test_turning_the_head_moves_the_points_as_a_turn_does():
    who, plain = person(5), Scene()
    straight = np.array(draw(who, plain, Appearance()).people[0].points)
    tilted = np.array(draw(who, plain, Appearance(pose=Pose(roll=10.0))).people[0].points)
    before, after = straight[1] - straight[0], tilted[1] - tilted[0]
    assert np.hypot(*before) == pytest.approx(np.hypot(*after), rel=1e-6)
    assert np.degrees(np.arctan2(after[1], after[0]) - np.arctan2(before[1], before[0])) == pytest.approx(10.0, abs=1e-6)


def test_openpose_keypoints_follow_the_arms():
    who, plain = person(5), Scene()
    down = draw(who, plain, Appearance(pose=Pose(arms="down"))).people[0].keypoints
    up = draw(who, plain, Appearance(pose=Pose(arms="left up", scale=0.9))).people[0].keypoints
    assert len(down) == len(up) == 18
    assert all(point is None for point in up[8:14]), "hips and legs are not in a portrait"
    nose, neck, right_shoulder, left_shoulder = up[0], up[1], up[2], up[5]
    assert nose and neck and right_shoulder and left_shoulder
    assert right_shoulder[0] < neck[0] < left_shoulder[0], "the person's right is the picture's left"
    assert nose[1] < neck[1]
    assert down[4] is None and up[4] is not None and up[4][1] < right_shoulder[1], "the raised hand is above the shoulder"
    assert up[7] is None, "the other arm hangs out of the picture"


def test_captions_name_what_is_drawn():
    for number in range(200):
        made, look = scene(number), appearance(number)
        said = draw_caption(made, look)
        outfit = look.outfit
        assert any(words in said for words in STYLE_WORDS[made.style])
        assert any(words in said for words in BACKGROUND_WORDS[made.background])
        assert any(words in said for words in EXPRESSION_WORDS[outfit.expression])
        assert outfit.clothes in said
        assert (outfit.colour in said.replace("red cap", "").replace("black top hat", "").replace("golden", "")) == (
            made.style not in traits.COLOURLESS
        )
        for hat, words in HAT_WORDS.items():
            assert any(word in said for word in words) == (hat == outfit.hat)


def draw_caption(made: Scene, look: Appearance) -> str:
    return draw(person(0), made, look).caption


def test_captions_say_nothing_of_who():
    look, made = appearance(4), scene(4)
    assert len({draw(person(number), made, look).caption for number in range(20)}) == 1


def test_the_hat_hides_the_hair_under_it():
    who = next(person(n) for n in range(200) if person(n).hair.style == "mohawk")
    bare = draw(who, Scene(), Appearance()).people[0].hair
    hidden = draw(who, Scene(), Appearance(outfit=Outfit(hat="beanie"))).people[0].hair
    assert bare.sum() > 50 > hidden.sum()


def test_clothes_have_the_colour_asked_for():
    for colour, rgb in traits.CLOTHES_COLOURS.items():
        made = draw(person(1), Scene(style="comic"), Appearance(outfit=Outfit(clothes="t-shirt", colour=colour)))
        seen = np.median(made.picture[made.people[0].clothes], axis=0)
        nearest = min(traits.CLOTHES_COLOURS, key=lambda name: np.abs(seen - traits.CLOTHES_COLOURS[name]).sum())
        assert nearest == colour, (colour, rgb, seen)


def test_two_people_share_a_wide_picture():
    made = draw_people([person(1), person(2)], scene(1, style="photo"), [appearance(1), appearance(2)], 256, 128)
    left, right = made.people
    assert made.picture.shape == (128, 256, 3)
    assert not (left.person & right.person).any()
    assert np.mean(np.nonzero(left.head)[1]) < 128 < np.mean(np.nonzero(right.head)[1])
    assert (left.who, right.who) == (person(1), person(2))
    assert "two people" in made.caption


def test_every_kind_of_everything_can_be_drawn():
    """Each hair, beard, pair of glasses, mark, hat, garment and background turns up among few hundred people and changes the picture."""
    people = [person(number) for number in range(600)]
    assert {who.hair.style for who in people} == {*traits.SHORT_HAIR, *traits.LONG_HAIR}
    assert {who.beard for who in people} == {"", *traits.BEARDS}
    assert {who.glasses for who in people} == {"", *traits.GLASSES}
    assert {mark for who in people for mark in who.marks} == set(traits.MARKS)
    who = people[0]
    for hat in traits.HATS:
        assert changed(who, Outfit(), Outfit(hat=hat))
    for clothes in set(traits.CLOTHES) - {"t-shirt"}:
        assert changed(who, Outfit(), Outfit(clothes=clothes))
    for name in traits.GLASSES:
        assert differs(replace(who, glasses=""), replace(who, glasses=name))
    for name in traits.BEARDS:
        assert differs(replace(who, beard=""), replace(who, beard=name))
    for name in traits.MARKS:
        assert differs(replace(who, marks=()), replace(who, marks=(name,)))
    for name in (*traits.SHORT_HAIR, *traits.LONG_HAIR):
        assert name == "bald" or differs(
            replace(who, hair=replace(who.hair, style="bald")), replace(who, hair=replace(who.hair, style=name))
        )


def changed(who, one: Outfit, other: Outfit) -> bool:
    a, b = (draw(who, Scene(), Appearance(outfit=outfit)).picture for outfit in (one, other))
    return not np.array_equal(a, b)


def differs(one, other) -> bool:
    a, b = (draw(who, Scene(), Appearance()).picture for who in (one, other))
    return not np.array_equal(a, b)
