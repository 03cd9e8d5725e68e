"""The prompt grammar, against results worked out by hand from WebUI's documentation of it."""

from __future__ import annotations

import pytest
import torch

from facechain_ext.errors import BadInput
from facechain_ext.hosts.standalone.prompts import END, START, Fragment, chunks, parse, take_loras
from facechain_ext.hosts.standalone.text import encode
from facechain_ext.hosts.types import Lora
from tests.hosts.standalone_cases import host

PARSED = [
    ("normal text", [("normal text", 1.0)]),
    ("an (important) word", [("an ", 1.0), ("important", 1.1), (" word", 1.0)]),
    ("(unbalanced", [("unbalanced", 1.1)]),
    ("a [b] c", [("a ", 1.0), ("b", 1 / 1.1), (" c", 1.0)]),
    ("((twice))", [("twice", 1.21)]),
    ("(nsfw:2), paintings", [("nsfw", 2.0), (", paintings", 1.0)]),
    ("(a (b:1.5) c:0.5)", [("a ", 0.5), ("b", 0.75), (" c", 0.5)]),
    ("(a:.5)", [("a", 0.5)]),
    ("(a: -1 )", [("a", -1.0)]),
    (r"\(literal\] \\ word", [(r"(literal] \ word", 1.0)]),
    (r"hello \(world\) (again)", [("hello (world) ", 1.0), ("again", 1.1)]),
    ("stray ) and ]", [("stray ) and ]", 1.0)]),
    ("ratio 16:9", [("ratio 16:9", 1.0)]),
    ("no bracket:1.2)", [("no bracket:1.2)", 1.0)]),
    ("[square:1.2)", [("square:1.2)", 1 / 1.1)]),
    ("a BREAK b", [("a", 1.0), (None, 1.0), ("b", 1.0)]),
    ("BREAKFAST", [("BREAKFAST", 1.0)]),
    ("(a BREAK b:1.3)", [("a", 1.3), (None, 1.3), ("b", 1.3)]),
    ("", []),
    ("()", []),
]


@pytest.mark.parametrize(("prompt", "expected"), PARSED)
def test_fragments_and_weights(prompt: str, expected: list[tuple[str | None, float]]) -> None:
    found = parse(prompt)
    assert [fragment.text for fragment in found] == [text for text, _ in expected]
    assert [fragment.weight for fragment in found] == pytest.approx([weight for _, weight in expected])


def tokenize(text: str) -> list[int]:
    return host().networks.tokenizer(text, add_special_tokens=False).input_ids


def test_known_token_ids() -> None:
    assert host().networks.tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]


def test_one_chunk_with_weights() -> None:
    (chunk,) = chunks(parse("a (photo:1.5) of a cat"), tokenize)
    assert chunk.ids == (START, 320, 1125, 539, 320, 2368, *[END] * 71)
    assert chunk.weights == (1.0, 1.0, 1.5, *[1.0] * 74)


def test_empty_prompt_is_one_chunk_of_nothing() -> None:
    (chunk,) = chunks(parse(""), tokenize)
    assert chunk.ids == (START, *[END] * 76)


def numbers(text: str) -> list[int]:
    """A tokenizer for counting: "5" is five tokens 1000…1004, "," is CLIP's comma."""
    return [267] if text == "," else list(range(1000, 1000 + int(text)))


def kept(parts: list[Fragment]) -> list[int]:
    """How many tokens each chunk holds."""
    return [sum(token not in (START, END) for token in chunk.ids) for chunk in chunks(parts, numbers)]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["75"], [75]),
        (["76"], [75, 1]),
        (["150"], [75, 75]),
        (["151"], [75, 75, 1]),
        (["60", ",", "30"], [61, 30]),  # the chunk is cut behind its last comma, if that is near its end
        (["55", ",", "30"], [56, 30]),  # tokens 56 to 75, with the comma 20, move: still
        (["54", ",", "30"], [75, 10]),  # 21: no more
        (["75", ",", "3"], [75, 4]),  # a comma that comes when the chunk is full opens the next one
        (["5", None, "6"], [5, 6]),
        (["5", None, None, "6"], [5, 0, 6]),
        (["5", None], [5]),
    ],
)
def test_cutting_into_chunks(texts: list[str | None], expected: list[int]) -> None:
    assert kept([Fragment(text) for text in texts]) == expected


def test_all_chunks_are_77_long_and_keep_every_token_in_order() -> None:
    parts = chunks(parse("a (photo of a cat:1.2), " * 40), tokenize)
    flat = [(i, w) for chunk in parts for i, w in zip(chunk.ids, chunk.weights, strict=True) if i not in (START, END)]
    assert [len(chunk.ids) for chunk in parts] == [77] * len(parts)
    assert len(parts) == 4  # 240 tokens
    assert flat == [(320, 1.0), (1125, 1.2), (539, 1.2), (320, 1.2), (2368, 1.2), (267, 1.0)] * 40


def test_lora_tags_leave_the_prompt() -> None:
    text, loras = take_loras("a <lora:style:0.8>cat <lora:other> <lora:third:0.5:0.2>")
    assert text == "a cat  "
    assert loras == (Lora(source="style", weight=0.8), Lora(source="other"), Lora(source="third", weight=0.5))


def test_lora_tag_with_a_word_for_a_weight() -> None:
    with pytest.raises(BadInput, match=r"<lora:a:much> is not a number"):
        take_loras("<lora:a:much>")


def read(text: str, clip_skip: int = 1) -> torch.Tensor:
    """CLIP asked directly, as SD1.5 does for a short prompt."""
    networks = host().networks
    ids = networks.tokenizer(text, padding="max_length", max_length=77, return_tensors="pt").input_ids
    with torch.no_grad():
        states = networks.text_encoder(ids, output_hidden_states=True).hidden_states
        norm = dict(networks.text_encoder.named_modules())
        return next(m for k, m in norm.items() if k.endswith("final_layer_norm"))(states[-clip_skip])


@pytest.mark.parametrize("clip_skip", [1, 2, 4])
def test_a_plain_prompt_is_what_clip_says(clip_skip: int) -> None:
    assert torch.equal(encode(host().networks, "a photo of a cat", clip_skip), read("a photo of a cat", clip_skip))


@pytest.mark.parametrize("clip_skip", [0, 5])
def test_clip_skip_out_of_range(clip_skip: int) -> None:
    with pytest.raises(BadInput, match="4 layers"):
        encode(host().networks, "a", clip_skip)


def test_emphasis_scales_its_tokens_and_keeps_the_mean() -> None:
    plain = read("a photo of a cat")
    factors = torch.ones(77)
    factors[2] = 1.5
    expected = plain * factors[None, :, None]
    expected = expected * (plain.mean() / expected.mean())
    assert torch.allclose(encode(host().networks, "a (photo:1.5) of a cat", 1), expected, atol=1e-5)


def test_break_reads_the_parts_on_their_own() -> None:
    both = encode(host().networks, "a photo BREAK of a cat", 1)
    assert both.shape == (1, 154, 128)
    assert torch.allclose(both, torch.cat([read("a photo"), read("of a cat")], dim=1), atol=1e-5)
