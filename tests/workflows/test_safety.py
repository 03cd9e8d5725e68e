"""What is made of whom: hand-written tables of what is refused, what is treated as of somebody young, and what must not be."""

from __future__ import annotations

import json

import pytest

from facechain_ext.faces.types import Attributes
from facechain_ext.workflows.lexicon import DATA, spoken
from facechain_ext.workflows.safety import ages_under_18, minor_because, rules
from facechain_ext.workflows.styles import presets
from facechain_ext.workflows.wording import NEGATIVE

GROWN, TEEN, AGELESS = Attributes(gender="female", age=(30, 39)), Attributes(age=(10, 19)), Attributes(gender="female")

EXPLICIT = (
    "a nude woman", "NUDE", "(nude:1.3)", "((naked))", "n u d e", "n.u.d.e portrait", "ｎｕｄｅ", "nu\u200bde", "núde", "topless_woman",
    "full-frontal", "beautiful, sex, bed", "nsfw", "masterpiece, nipples", "she is not wearing anything", "xxx", "r-18", "裸体女人",
    "一丝不挂", "她没穿衣服", "色情图片", "no clothing", "without any clothes", "clothes off", "taking off her clothes",
    "in her birthday suit",
    "desnuda", "eine nackte Frau", "boobs out", "breasts exposed", "horny", "fucking", "裸", "裸着上身", "脱光", "光着身子", "没有穿衣服",
)  # fmt: skip
HARMLESS = (
    "nude lipstick and a red dress", "nude-coloured heels", "visible to the naked eye", "naked trees in winter", "Sussex", "Essex coast",
    "unisex clothing", "sextant on a ship", "sexagenarian", "Middlesex County", "analog photo", "analogue film", "canal in Venice",
    "cucumber", "document", "cum laude graduate", "same-sex couple at their wedding", "Sex and the City style", "pussy willow branches",
    "classic portrait, glass, grass, assassin's cloak", "scunthorpe", "cockatoo", "peacock feathers", "therapist", "grape harvest",
    "Titian painting", "grand prix", "xx century", "no nudity", "裸色口红", "裸妆", "裸眼可见的星空", "沐浴在阳光下的花园",
    "性格开朗的女性", "男性肖像", "理性", "裸粉色高跟鞋", "裸感妆容", "裸露的砖墙", "fashionable clothes", "cockpit", "cocktail dress",
    "hardcore punk concert",
)  # fmt: skip
SEXUALISED = (
    "in a bikini", "sexy dress", "wearing lingerie", "deep cleavage", "medium breast", "see-through dress", "wet clothes", "fishnets",
    "mini-skirt", "shirtless on the beach", "seductive look", "in the shower", "性感", "比基尼", "黑色丝袜", "内衣", "泳装",
)  # fmt: skip
FOR_EVERYONE = (
    "in a winter coat", "red hanfu, snow", "school bag and books", "birthday cake", "playing football", "chicken breast on a plate",
    "double-breasted suit", "jacket with a breast pocket", "comic strip", "strip lights of a garage",
    "christmas stockings on the fireplace", "brass band", "grass", "embrace", "library", "a cabra", "buttons", "butterfly", "corsage",
    "生日蛋糕", "红色汉服",
)  # fmt: skip
YOUNG = (
    "a child", "two kids playing", "little girl", "young_boy", "schoolgirl", "Teenager", "teen", "pre-teen", "high school student",
    "toddler", "12 year old", "12-year-old girl", "a girl of 7 years of age", "15yo", "16 y.o.", "aged 14", "age: 9",
    "seventeen years old", "age=12", "girl, 12 years", "a 9 years girl", "girl of 9 years", "aged between 9 and 11", "9 years young", "7歳",
    "underaged", "barely legal", "prepubescent", "third grader",
    "younger than 18", "childlike body", "girl scout",
    "初中女生", "童颜", "未满十八岁", "loli", "小孩", "少女", "少年", "十二岁", "17岁", "两岁", "高中生", "萝莉",
)  # fmt: skip
NOT_YOUNG = (
    "1girl, solo", "girl", "woman", "1boy", "cowboy", "boyish haircut", "young woman", "young man", "baby blue dress",
    "baby's breath flowers", "kid leather gloves", "18 years old", "25-year-old", "a 45 years old man", "twenty seven years old",
    "aged 70", "117 years old house", "in the 1920s", "5 old men", "7 o'clock", "age of Aquarius", "stage 3", "page 12", "image 5",
    "4k, 8k, hdr", "Lolita fashion", "minor scale", "teen titans poster", "childish humour", "女孩", "十八岁", "二十五岁", "18岁",
    "a 10 years old whisky", "10 year old car", "married for 10 years", "12 years a slave", "teenage mutant ninja turtles",
    "the karate kid",
    "a pregnant woman, baby bump", "children’s book illustration", "boy band",
    "少女感", "美少女战士", "孩子气的笑容", "三十二岁", "岁月", "零下五度",
)  # fmt: skip


def refused(text: str, subject: str = "auto", attributes: Attributes | None = GROWN, **more) -> str:
    return rules([text], subject, attributes, **more).refusal


@pytest.mark.parametrize("text", EXPLICIT)
def test_what_is_explicit_is_refused_where_nothing_can_look_at_pictures(text) -> None:
    assert spoken(text, "explicit") and "checks" not in refused(text) and "take it out of the prompt" in refused(text)
    assert refused(text, attributes=TEEN, eyes=True, switched_on=False)


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_sounds_explicit_is_not(text) -> None:
    assert refused(text) == "" and refused(text, attributes=TEEN) == "" and refused(text, attributes=None) == ""


@pytest.mark.parametrize("text", SEXUALISED)
def test_what_is_sexualised_is_refused_for_the_young_alone(text) -> None:
    assert refused(text) == "" and refused(text, attributes=None) == ""
    assert "under 18" in refused(text, attributes=TEEN) and "under 18" in refused(text, subject="girl", attributes=None)
    assert "under 18" in refused(f"a schoolgirl, {text}", attributes=GROWN), "the prompt makes the person young"


@pytest.mark.parametrize("text", FOR_EVERYONE)
def test_what_is_for_everyone_is_refused_to_nobody(text) -> None:
    assert refused(text, attributes=TEEN) == "" and refused(text, subject="child", attributes=None) == ""


@pytest.mark.parametrize("text", YOUNG)
def test_a_prompt_that_speaks_of_somebody_young_is_treated_so(text) -> None:
    assert minor_because(text, "auto", None).startswith("the prompt speaks of") and rules([text], "woman", GROWN).minor


@pytest.mark.parametrize("text", NOT_YOUNG)
def test_a_prompt_that_does_not_is_not(text) -> None:
    assert minor_because(text, "auto", None) == "", (spoken(text, "young"), ages_under_18(text))


ADULTS_LEFT_OUT = (
    "adult", "Adults", "lowres, (adult:1.3), text", "blurry, [grown-up]", "an adult", "any adult", "adult_woman", "adult man, old",
    "grown woman", "adult body, bad hands", "18+", "over 18", "older than 18", "fully grown", "成年人", "模糊，成人", "大人", "满18岁",
)  # fmt: skip
"""Asks for somebody young, whatever the face looks like."""
MATURE_LEFT_OUT = (
    "mature", "(mature:1.2), wrinkles", "old, mature", "mature female", "milf", "matured, ugly", "成熟", "模糊, 熟女", "25 years old",
)  # fmt: skip
"""Asks for it where nothing has told an age."""
NOBODY_LEFT_OUT = (
    "", "old", "old, wrinkles, age spots", "elderly, old man, old woman", "(old:1.2)", "aged", "worst quality, lowres, bad anatomy",
    "nsfw, adult content", "adult themes, gore", "mature content", "child, young adult", "children, teenager, underage", "woman, man",
    "1girl", "adultery", "premature, immature", "adult swim logo", "text, over 1800 pixels", "middle-aged", "over-aged film", "senior",
    "grown flowers", "overgrown garden", "maturity rating logo", "120 years old", "老人, 皱纹", "成人用品", "成就", "大人物海报",
    "big head, oversized adult coat", "beard, moustache", "old clothes, mature trees",
)  # fmt: skip
"""What people leave out for other reasons."""


@pytest.mark.parametrize("against", ADULTS_LEFT_OUT)
@pytest.mark.parametrize(("subject", "attributes"), [("woman", None), ("auto", AGELESS), ("man", GROWN)])
def test_who_leaves_adults_out_asks_for_somebody_young(against, subject, attributes) -> None:
    assert minor_because("in a garden", subject, attributes, against=against).startswith("the negative prompt leaves out “")
    assert "under 18" in refused("in a bikini", subject, attributes, against=against, eyes=True)
    assert refused("in a winter coat", subject, attributes, against=against) == ""


@pytest.mark.parametrize("against", MATURE_LEFT_OUT)
def test_not_to_look_mature_counts_where_no_age_is_known(against) -> None:
    assert minor_because("in a garden", "woman", None, against=against) and minor_because("x", "auto", AGELESS, against=against)
    assert minor_because("in a garden", "woman", GROWN, against=against) == ""


@pytest.mark.parametrize("against", NOBODY_LEFT_OUT)
def test_what_is_left_out_for_other_reasons_makes_nobody_young(against) -> None:
    assert minor_because("in a garden", "woman", None, against=against) == "", against


def test_neither_the_usual_negative_prompt_nor_that_of_any_preset_makes_somebody_young() -> None:
    usual = {NEGATIVE, *(one.negative for one in presets())}
    assert [text for text in usual if minor_because("", "auto", None, against=text)] == []


@pytest.mark.parametrize(
    ("subject", "attributes", "why"),
    [
        ("auto", TEEN, "the face looks 10 to 19 years old"),
        ("woman", TEEN, "the face looks 10 to 19 years old"),
        ("none", Attributes(age=(3, 9)), "the face looks 3 to 9 years old"),
        ("teenager", GROWN, "the subject is teenager"),
        ("boy", None, "the subject is boy"),
        ("auto", GROWN, ""),
        ("auto", None, ""),
        ("auto", AGELESS, ""),
        ("older-man", None, ""),
    ],
)
def test_who_is_treated_as_under_18(subject, attributes, why) -> None:
    assert minor_because("in a garden", subject, attributes) == why


@pytest.mark.parametrize(
    ("attributes", "subject", "on", "eyes", "made"),
    [
        (GROWN, "auto", True, True, True),  # the picture is looked at
        (GROWN, "auto", True, False, False),  # nothing looks at the picture, so the prompt is what is checked
        (GROWN, "auto", False, False, True),  # an adult, switched off
        (AGELESS, "auto", False, False, False),  # switched off, but nothing says that it is an adult
        (AGELESS, "woman", False, False, True),  # … but for the person's word
        (None, "auto", True, True, False),
        (None, "man", True, True, True),
        (None, "person", False, True, False),
        (TEEN, "woman", False, True, False),
    ],
)
def test_what_is_made_of_an_explicit_prompt(attributes, subject, on, eyes, made) -> None:
    assert (refused("a nude", subject, attributes, switched_on=on, eyes=eyes) == "") == made


def test_the_check_of_pictures_cannot_be_switched_off_for_the_young() -> None:
    assert rules(["x"], "auto", TEEN, switched_on=False).look and not rules(["x"], "auto", GROWN, switched_on=False).look
    assert "nude" in rules(["x"], "auto", TEEN).negative and rules(["x"], "auto", GROWN).negative == ""


@pytest.mark.parametrize(
    ("text", "attributes", "on", "watched"),
    [
        ("x", GROWN, True, True),
        ("a nude", GROWN, True, False),
        ("a nude", GROWN, False, True),
        ("x", TEEN, True, False),
        ("x", TEEN, False, False),
    ],
)
def test_one_may_watch_only_what_the_check_would_not_keep_back(text, attributes, on, watched) -> None:
    assert rules([text], "auto", attributes, switched_on=on, eyes=True).preview == watched


@pytest.mark.parametrize("negative", ["clothes", "blurry, (Clothing:1.5)", "[any clothes], text", "衣服，模糊"])
def test_leaving_clothes_out_is_undressing(negative) -> None:
    assert "“no " in refused("at home", attributes=TEEN, against=negative, eyes=True)
    assert "“no " in refused("at home", against=negative), "nothing looks at the picture"
    assert refused("at home", against=negative, eyes=True) == ""


@pytest.mark.parametrize("negative", ["", "ugly clothes", "torn clothing, dress", "clothes hanger", "nsfw, nude", "旧衣服"])
def test_what_else_a_negative_prompt_says_is_left_alone(negative) -> None:
    assert refused("at home", against=negative) == "" and refused("at home", attributes=TEEN, against=negative) == ""


@pytest.mark.parametrize("style", ["Lolita", "Li", "Luolita", "Maid", "Dunhuang", "Pixy_Girl", "Wedding_dress"])
def test_some_styles_are_not_for_the_young(style) -> None:
    assert f"The style {style}" in refused("in a garden", attributes=TEEN, style=style) and refused("in a garden", style=style) == ""


@pytest.mark.parametrize("style", ["Chinese_winter_hanfu", "Roaming_Astronaut", "Cowboy", "Soccer", "Disneyland", "T-shirt"])
def test_most_styles_are_for_everyone(style) -> None:
    words = next(one for one in presets() if one.key == style).prompt_for("girl")
    assert refused(words, subject="girl", attributes=None, style=style) == ""


def test_every_preset_is_either_refused_by_name_or_made_fit_for_the_young() -> None:
    listed = set(json.loads(DATA.read_text(encoding="utf-8"))["styles_not_for_minors"])
    assert listed <= {one.key for one in presets()}
    unfit = {one.key for one in presets() if refused(one.prompt_for("teenager"), subject="teenager", attributes=None)}
    assert unfit - listed == set()


def test_no_preset_is_refused_for_an_adult() -> None:
    assert [one.key for one in presets() if refused(one.prompt_for("woman"), attributes=None)] == []


def test_a_refusal_is_one_sentence_that_names_what_and_why() -> None:
    assert refused("a sexy (bikini:1.2)", attributes=TEEN) == (
        "The prompt asks for “sexy” and “bikini”, which is not made of somebody under 18, and the face looks 10 to 19 years old: "
        "take it out of the prompt."
    )
    assert refused("a nude", attributes=None, eyes=True) == (
        "The prompt asks for “nude”, and nothing here can tell whether this person is an adult: "
        "take it out of the prompt, or name the subject, man or woman."
    )
