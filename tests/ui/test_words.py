"""The panel's words: the same phrases in every language, everything that can be said has its words, and the page is told them."""

from __future__ import annotations

import re
import string

import pytest

from facechain_ext.faces.vetting import RULES, objection
from facechain_ext.ui import words
from tests.ui.test_page_files import OURS


def holes(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_every_phrase_is_there_in_chinese_with_the_same_holes():
    english, chinese = words.dictionary("en"), words.dictionary("zh")
    missing = {key for key in english if key not in chinese and not key.endswith(".one")}
    assert missing == set()
    for key, text in english.items():
        if key in chinese:
            assert holes(text) == holes(chinese[key]), key


def test_chinese_has_nothing_that_nobody_says():
    known = set(words.dictionary("en")) | set(words.declared())
    assert {key for key in words.dictionary("zh") if not key.startswith("=") and key not in known} == set()


def test_every_option_has_chinese_words():
    chinese = words.dictionary("zh")
    choices = {key.removeprefix("choice.").rpartition(".")[2] for key in chinese if key.startswith("choice.")}
    missing = {key for key, text in words.declared().items() if key not in chinese and text not in choices}
    assert missing == set()


def test_every_phrase_is_said_somewhere():
    source = "\n".join(path.read_text(encoding="utf-8") for path in OURS)
    begun = tuple(re.findall(r"""f["']([a-z_.]+)\{[a-z_.]+\}["']""", source))  # ids of which the rest is a name in the code
    unsaid = set()
    for key in words.dictionary("en"):
        stem = key.removesuffix(".one")
        if f'"{stem}"' not in source and f"'{stem}'" not in source and not stem.startswith(("choice.", "mask_", *begun)):
            unsaid.add(key)
    assert unsaid == set()


@pytest.mark.parametrize("code", sorted(RULES))
def test_every_objection_to_a_photo_is_translated(code):
    problem = objection(code, name="photo 2", value=33, limit=0.25)
    said = words.translate_all(f"{problem.sentence} {problem.advice}", "zh")
    assert not re.search(r"[A-Za-z]{4,}", said), said
    assert "照片 2" in said or code not in ("no_face", "small")


def test_what_varies_is_kept_and_what_is_unknown_stays():
    said = words.translate_all("No FaceChain adapter is in /models/Face Chain: put a.ckpt (or another FACT adapter) there.", "zh")
    assert "/models/Face Chain" in said and "a.ckpt" in said and "适配器" in said
    assert words.translate_all("Something else. And more.", "zh") == "Something else. And more."
    assert words.translate_all("No face found in photo 1.", "en") == "No face found in photo 1."


@pytest.mark.parametrize("key", [key for key in words.dictionary("zh") if key.startswith("=")])
def test_every_sentence_that_is_translated_can_be(key):
    sentence = key.removeprefix("=")
    for number in range(sentence.count("{}")):
        sentence = sentence.replace("{}", f"«{number}»", 1)
    said = words.translate(sentence, "zh")
    assert re.search("[\u4e00-\u9fff]", said) and "{" not in said, said


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        (
            "The prompt asks for “bikini” and “sexy”, which is not made of somebody under 18, and the face looks 10 to 19 years old: "
            "take it out of the prompt.",
            "提示词含有“bikini” and “sexy”，不用于未满 18 岁的人，而面部看起来为 10～19 岁：请从提示词中删除。",
        ),
        (
            "The style Lolita (Lolita fashion) is not made of somebody under 18, and the subject is girl: choose another style.",
            "风格 Lolita 不用于未满 18 岁的人，而所选人物为 girl：请选择其他风格。",
        ),
        (
            "3 of 8 pictures reached a likeness of 0.62: the most alike of them are kept.",
            "8 张图片中有 3 张达到相似度 0.62：已保留最相似的图片。",
        ),
        (
            "The WebUI could not load the upscaler R-ESRGAN 4x+ and enlarged the picture by Lanczos instead: its console says why; "
            "choose another upscaler.",
            "WebUI 无法加载放大算法 R-ESRGAN 4x+，已改用 Lanczos 放大：原因见其控制台；请选择其他放大算法。",
        ),
        (
            "7 of 76 styles can be made. 68 lack their LoRA: put it into Lora. Made for SDXL, and not for this model: 1.",
            "76 种风格中有 7 种可用。68 种缺少 LoRA：请放入 Lora。为 SDXL 制作、不适用于此模型的：1。",
        ),
        (
            "The memory does not suffice for pictures 4 at a time of 1024×1024: choose fewer per batch.",
            "内存不足以同时生成 4 张 1024×1024 的图片：请选择每批更少的图片。",
        ),
    ],
)
def test_sentences_are_said_in_chinese(sentence, said):
    assert words.translate_all(sentence, "zh") == said


@pytest.mark.parametrize("reason", ["is SDXL", "is an SDXL refiner", "has no transformer blocks of Stable Diffusion's kind"])
def test_the_wrong_checkpoint_is_said_in_chinese(reason):
    said = words.translate_all(f"This checkpoint {reason}; FaceChain works with SD1.5 checkpoints only.", "zh")
    assert "SD1.5" in said and "checkpoint" not in said


@pytest.mark.parametrize(
    ("localization", "accepted", "language"),
    [
        (None, "zh-CN,zh;q=0.9", "zh"), ("None", "zh-TW", "zh"), ("", "en-US,zh;q=0.5", "en"), ("None", None, "en"),
        ("None", "de,zh", "en"),
        ("zh_CN", "en-US", "zh"), ("zh-Hans (Stable)", None, "zh"), ("chinese-english", None, "zh"), ("de_DE", "zh-CN", "en"),
    ],
)  # fmt: skip
def test_whose_language_it_is(localization, accepted, language):
    assert words.languages(localization, accepted) == language


def test_one_and_many():
    assert words.say("photos_count", count=1) == "1 photo" and words.say("photos_count", count=3) == "3 photos"
    assert words.say("photos_count", "zh", count=1) == "1 张照片"


def test_the_page_is_told_the_words_of_what_was_built_in_english():
    page = words.labels("zh")
    assert page["Likeness"] == "相似度" and page["Analyse"] == "分析照片" and page["whole picture"] == "整幅画面"
    assert not any("{" in text for text in page)
