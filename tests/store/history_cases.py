"""Small pictures with true info texts, and a history of a few of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from facechain_ext.store.history import History
from facechain_ext.store.records import Record
from facechain_ext.workflows.infotext import parse_info

INFO = (
    "a handsome man, in a garden <lora:film grain:0.6>\nNegative prompt: lowres\nSteps: 20, Sampler: Euler a, CFG scale: 7, "
    "Seed: {seed}, Size: 16x24, Model: some, FaceChain likeness: {likeness}, Version: FaceChain 0.1 standalone"
)
NOON = 1_700_049_600.0
"""15 November 2023, 12:00 UTC: one day in most time zones."""


def history(folder: Path) -> History:
    return History(folder, parse_info)


def image(seed: int) -> Image.Image:
    return Image.new("RGB", (16, 24), (seed % 256, seed // 256 % 256, 7))


def record(user: str = "anna", seed: int = 1, likeness: float | None = 0.5, **more: Any) -> Record:
    said = f"{likeness:.3f} by arcface" if likeness is not None else "no face found by arcface"
    values = {
        "person": "Max", "style": "Film", "info": INFO.format(seed=seed, likeness=said), "prompt": "a handsome man, in a garden",
        "judge": "arcface", "loras": (("film grain", 0.6),), "made": NOON,
    }  # fmt: skip
    return Record(user=user, seed=seed, likeness=likeness, **{**values, **more})


def write(path: Path, seed: int, info: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = PngInfo()
    if info:
        text.add_text("parameters", info)
    image(seed).save(path, pnginfo=text)
    return path
