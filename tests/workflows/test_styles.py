"""Styles: the presets as published, bound to the LoRAs that are really there."""

from __future__ import annotations

import re

import pytest

from facechain_ext.workflows.lexicon import spoken, unfit_styles
from facechain_ext.workflows.styles import Listed, Style, bind, presets
from facechain_ext.workflows.wording import SUBJECTS

HASH = "ab12cd34ef" + "0" * 54


def style(lora: str = "fairy.safetensors", **more) -> Style:
    return Style(**{"key": "x", "name_en": "X", "name_zh": "某", "prompt": "petals", "lora": lora, "weight": 0.3, **more})


def preset(key: str) -> Style:
    return next(one for one in presets() if one.key == key)


def test_the_presets_are_all_there() -> None:
    """The counts of FACTS §4."""
    found = presets()
    assert len(found) == 76 == len({one.key for one in found})
    bases = [one.base for one in found]
    assert [bases.count(base) for base in ("MajicmixRealistic_v6", "leosamsMoonfilm_filmGrain20", "sdxl_1.0")] == [62, 13, 1]
    assert sum(not one.lora for one in found) == 7
    assert sum(one.lora == "InstantPhotoX3.safetensors" for one in found) == 6
    assert sorted(one.weight for one in found if one.lora)[0] == 0.15 and max(one.weight for one in found) == 0.8
    assert sum(bool(re.search("girl|wom[ae]n", one.prompt, re.IGNORECASE)) for one in found) == 35
    assert sum(":" in one.prompt for one in found) == 13
    assert [one.key for one in found if one.sdxl] == ["Fields"]
    fairy = preset("Fairy_style")
    assert (fairy.lora, fairy.weight, fairy.name("en-GB"), fairy.own) == ("fairy.safetensors", 0.25, "Fairy style", False)
    assert preset("Cheongsam").name("zh_CN") == "旗袍风" and preset("Cheongsam").source == "PaperCloud/zju19_minguo_style_lora v1.0.0"


@pytest.mark.parametrize(
    ("listed", "state", "how"),
    [
        (Listed(name="fairy", file="/models/Lora/styles/Fairy.safetensors"), "bound", "file"),
        (Listed(name="fairy", file=r"C:\Lora\fairy.safetensors"), "bound", "file"),
        (Listed(name="fairy", file=""), "bound", "file"),
        (Listed(name="my look", file="my look.safetensors", alias="fairy"), "bound", "alias"),
        (Listed(name="fairy2", file="fairy2.safetensors"), "missing", ""),
        (Listed(name="a fairy", file="a_fairy.safetensors", alias="a fairy"), "missing", ""),
    ],
)
def test_a_preset_is_bound_by_name_alone_and_never_to_another(listed, state, how) -> None:
    (bound,) = bind([style()], [Listed(name="other", file="other.safetensors"), listed])
    assert (bound.state, bound.how, bound.lora) == (state, how, listed if state == "bound" else None)


def test_a_hash_says_more_than_a_name() -> None:
    ours, renamed = style(hashes=(HASH,)), Listed(name="zzz", file="zzz.safetensors", hashes=(HASH[:10].upper(),))
    namesake = Listed(name="fairy", file="fairy.safetensors", hashes=("ff" * 32,))
    unhashed = Listed(name="fairy", file="fairy.safetensors")
    assert (bind([ours], [namesake, renamed])[0].lora, bind([ours], [namesake, renamed])[0].how) == (renamed, "hash")
    assert bind([ours], [namesake])[0].state == "other file" and bind([ours], [namesake])[0].lora is None
    assert bind([ours], [namesake, unhashed])[0].lora == unhashed
    assert bind([ours], [Listed(name="zzz", file="zzz.safetensors", hashes=("ab12",))])[0].state == "missing"


def test_styles_of_words_alone_and_of_other_models_are_said_to_be() -> None:
    everything = [Listed(name=one.lora, file=one.lora) for one in presets() if one.lora]
    bound = {one.style.key: one for one in bind(presets(), everything)}
    assert bound["T-shirt"].state == "none" and bound["Fields"].state == "other model" and bound["Fields"].lora is None
    assert sum(one.state == "bound" for one in bound.values()) == 68
    assert all(one.lora and one.lora.file == one.style.lora for one in bound.values() if one.state == "bound")
    assert sum(one.state == "missing" for one in bind(presets(), [])) == 68


@pytest.mark.parametrize("subject", SUBJECTS)
def test_no_preset_fights_the_subject(subject: str) -> None:
    allowed = {"man": "man", "older-man": "man", "woman": "woman", "older-woman": "woman", "boy": "boy", "girl": "girl"}.get(subject, "")
    for one in presets():
        words = set(re.findall(r"[a-z]+", one.prompt_for(subject).lower()))
        assert not words & ({"girl", "girls", "woman", "boy", "man", "male", "female", "asian", "asia"} - {allowed}), one.key
        assert one.prompt_for(subject).count("(") == one.prompt_for(subject).count(")") and "<lora" not in one.prompt_for(subject)
        assert all(0 < float(weight) <= 1.4 for weight in re.findall(r":([\d.]+)\)", one.prompt_for(subject)))


def test_no_preset_says_to_the_young_what_is_for_adults() -> None:
    for one in presets():
        for text in (one.prompt_for("girl"), one.prompt_for("woman", minor=True)):
            words = set(re.findall(r"[a-z]+", text.lower()))
            assert not words & {"breast", "chest", "lolita", "see", "slip", "camisole", "wet", "adult", "woman"}, one.key
            assert not spoken(text, "explicit") and (one.key in unfit_styles() or not spoken(text, "adult")), one.key


@pytest.mark.parametrize(
    ("key", "subject", "prompt"),
    [
        ("Deer_girl", "man", "bust shot, an elk man in pink forest"),
        ("Autumn_populus", "person", "(autumn populus euphratica scenary)"),
        ("Bleak_autumn", "woman", "(bleak autumn scenary), brown hair, close-up"),
        ("Men_suit", "older-woman", "portrait, (office woman, black hair, suit, hand in pocket, close-up)"),
        ("Kimono", "boy", "outdoor, (linen:1.4), cute model boy, kimono"),
        ("Cheongsam", "man", "Chinese classical indoor scene"),
        ("Miaozu", "woman", "Miao Village background, flat chest, realistic"),
        ("Street_style", "man", "(naturally blurred background, shabby street:1.4)"),
        (
            "Wizard_of_Oz",
            "child",
            "their long, braided red hair cascades like flames, entwining with vines and flowers that form their ornate",
        ),
    ],
)
def test_presets_by_hand(key: str, subject: str, prompt: str) -> None:
    assert prompt in preset(key).prompt_for(subject)


def test_ones_own_words_are_left_as_they_are() -> None:
    mine = style(prompt="asian garden <lora:x:1>, (red:1.9), 1girl", own=True)
    assert mine.prompt_for("man") == "asian garden <lora:x:1>, (red:1.9)"
    assert style(prompt="asian garden, (red:1.9)").prompt_for("man") == "asian garden, (red:1.4)"


def test_of_several_files_of_its_name_a_style_means_the_one_of_its_hash_else_the_one_in_no_sub_folder() -> None:
    deep = Listed(name="people/fairy", file="/loras/people/fairy.safetensors", hashes=("cc" * 32,))
    right = Listed(name="styles/fairy", file="/loras/styles/fairy.safetensors", hashes=(HASH,))
    plain = Listed(name="fairy", file="/loras/fairy.safetensors")
    assert bind([style(hashes=(HASH,))], [deep, right])[0].lora == right
    assert bind([style()], [deep, plain])[0].lora == bind([style()], [plain, deep])[0].lora == plain
