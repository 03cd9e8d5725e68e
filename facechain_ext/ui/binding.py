"""Which LoRA of the folder each style means, also where its file was given another name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from facechain_ext.hosts.types import Listed
from facechain_ext.workflows.lora_files import sha256
from facechain_ext.workflows.styles import Bound, Style, bind, presets


def bound(own: Sequence[Style], listed: Sequence[Listed], suited: Sequence[Style] = ()) -> tuple[Bound, ...]:
    """Own styles, those that suit the model in use, and presets, with their LoRAs.

    Whole files are read only where a style of one's own is not found by any name.
    """
    unbound = [one for one in bind(own, listed) if one.state == "missing" and one.style.hashes]
    return bind((*own, *suited, *presets()), [_hashed(one) for one in listed] if unbound else listed)


def _hashed(one: Listed) -> Listed:
    try:
        stat = os.stat(one.file)
        return replace(one, hashes=(*one.hashes, _sha256(one.file, stat.st_size, stat.st_mtime_ns)))
    except OSError:
        return one


@lru_cache(maxsize=4096)
def _sha256(file: str, _size: int, _changed: int) -> str:
    return sha256(Path(file))
