"""Captions as the numbers CLIP's text encoder reads."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

LENGTH = 77
TOKENIZER = Path(__file__).parents[1] / "presets" / "sd15" / "tokenizer"


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(str(TOKENIZER), local_files_only=True)


def tokens_of(captions: Sequence[str]) -> np.ndarray:
    """uint16 [N, 77], padded with the end token as SD1.5 does."""
    found = _tokenizer()(list(captions), padding="max_length", max_length=LENGTH, truncation=True, return_tensors="np")
    return found["input_ids"].astype(np.uint16)


def joined(tokens: np.ndarray, words: str) -> np.ndarray:
    """A caption's tokens [77] with more said at its end, behind a comma; what does not fit is left out."""
    if not words:
        return tokens
    end = int(tokens.argmax())  # CLIP's end token is the largest number
    more = tokens_of([f", {words}"])[0]
    found = np.full_like(tokens, tokens[end])
    both = np.concatenate((tokens[:end], more[1 : int(more.argmax())]))[: LENGTH - 1]
    found[: len(both)] = both
    return found
