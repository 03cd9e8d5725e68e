"""Prompts as WebUI users write them: (word), (word:1.2), [word], \\( escapes, BREAK, <lora:name:0.8>, and any length.

Own code, because no library on PyPI reads this grammar for diffusers: compel has a grammar of its own ("word++", "(word)1.2"; ":1.2" is
plain text to it), and sd_embed is not published there. Pure text and numbers; the tokenizer is handed in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from facechain_ext.errors import BadInput
from facechain_ext.hosts.types import Lora

ROUND = 1.1  # what one pair of brackets does to the weight inside
SQUARE = 1 / 1.1
START, END, COMMA = 49406, 49407, 267
CHUNK = 75  # tokens between start and end
BACKTRACK = 20  # a chunk that is full is cut after its last comma, if that is not further back than this many tokens

_PIECE = re.compile(
    r"\\(?P<escaped>[()\[\]\\])|(?P<open>[(\[])|:\s*(?P<weight>[+-]?(?:\d+\.?\d*|\.\d+))\s*\)|(?P<close>[)\]])|(?P<text>[^\\()\[\]:]+|[\\:])"
)
_BREAK = re.compile(r"\s*\bBREAK\b\s*")
_LORA = re.compile(r"<lora:([^:>]+)(?::([^:>]*))?[^>]*>")


@dataclass(frozen=True)
class Fragment:
    """Text of one weight; text None is BREAK."""

    text: str | None
    weight: float = 1.0


@dataclass(frozen=True)
class Chunk:
    """What CLIP reads at once: 77 token ids (start, 75, end) and the weight of each."""

    ids: tuple[int, ...]
    weights: tuple[float, ...]


def parse(prompt: str) -> list[Fragment]:
    """Fragments of a prompt with their weights. Brackets nest and multiply; an open one reaches to the end, a stray closing one is text."""
    found: list[Fragment] = []
    brackets: list[tuple[str, int]] = []
    for piece in _PIECE.finditer(prompt):
        if piece["open"]:
            brackets.append((piece["open"], len(found)))
        elif piece["weight"] and brackets and brackets[-1][0] == "(":
            _weigh(found, brackets.pop()[1], float(piece["weight"]))
        elif piece["close"] and brackets and brackets[-1][0] == {")": "(", "]": "["}[piece["close"]]:
            _weigh(found, brackets.pop()[1], ROUND if piece["close"] == ")" else SQUARE)
        else:
            found += _split(piece["escaped"]) if piece["escaped"] else _split(piece[0])
    for kind, first in brackets:
        _weigh(found, first, ROUND if kind == "(" else SQUARE)
    return _joined(found)


def _weigh(found: list[Fragment], first: int, factor: float) -> None:
    found[first:] = [Fragment(f.text, f.weight * factor) for f in found[first:]]


def _split(text: str) -> list[Fragment]:
    """Text as fragments, with one for each BREAK in it."""
    parts = [Fragment(part) for part in _BREAK.split(text)]
    return [x for part in parts for x in (Fragment(None), part)][1:]


def _joined(found: list[Fragment]) -> list[Fragment]:
    """Neighbours of one weight as one fragment, empty ones left out: a word cut by an escape is a word again."""
    joined: list[Fragment] = []
    for fragment in found:
        last = joined[-1] if joined else None
        if fragment.text == "":
            continue
        if fragment.text and last and last.text and last.weight == fragment.weight:
            joined[-1] = Fragment(last.text + fragment.text, fragment.weight)
        else:
            joined.append(fragment)
    return joined


def chunks(fragments: Sequence[Fragment], tokenize: Callable[[str], list[int]]) -> list[Chunk]:
    """Cut a prompt into chunks of 75 tokens, never fewer than one; BREAK ends a chunk early. `tokenize` gives ids without start and end."""
    done: list[Chunk] = []
    open_chunk: list[tuple[int, float]] = []
    for fragment in fragments:
        if fragment.text is None:
            done.append(_closed(open_chunk))
            open_chunk = []
            continue
        for token in tokenize(fragment.text):
            if len(open_chunk) == CHUNK:
                cut = CHUNK if token == COMMA else _cut(open_chunk)
                done.append(_closed(open_chunk[:cut]))
                open_chunk = open_chunk[cut:]
            open_chunk.append((token, fragment.weight))
    return [*done, _closed(open_chunk)] if open_chunk or not done else done


def _cut(tokens: list[tuple[int, float]]) -> int:
    """Where a full chunk is cut: after its last comma, if that is near the end."""
    comma = next((i for i in reversed(range(CHUNK)) if tokens[i][0] == COMMA), None)
    return comma + 1 if comma is not None and CHUNK - comma <= BACKTRACK else CHUNK


def _closed(tokens: list[tuple[int, float]]) -> Chunk:
    padded = [(START, 1.0), *tokens, *[(END, 1.0)] * (CHUNK - len(tokens) + 1)]
    return Chunk(tuple(token for token, _ in padded), tuple(weight for _, weight in padded))


def take_loras(prompt: str) -> tuple[str, tuple[Lora, ...]]:
    """A prompt without its <lora:name:weight> tags, and the LoRAs they ask for."""
    return _LORA.sub("", prompt), tuple(_lora(tag) for tag in _LORA.finditer(prompt))


def _lora(tag: re.Match[str]) -> Lora:
    try:
        return Lora(source=tag[1].strip(), weight=float(tag[2] or 1))
    except ValueError:
        raise BadInput(f"The weight of the LoRA in {tag[0]} is not a number: write it like <lora:{tag[1]}:0.8>.") from None
