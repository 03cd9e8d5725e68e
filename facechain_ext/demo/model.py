"""Which files the demo model consists of: the trained ones that come with the product, or random ones made here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from facechain_ext.log import log

TRAINED = Path(__file__).parent / "weights"
NAMES = ("checkpoint.safetensors", "encoder.safetensors", "adapter.safetensors")
RANDOM = "demo-random-2"
"""Folder of the random files; the number changes with their sizes or seed, so that older files are not taken for these."""

TRAINED_NOTE = (
    "Demo model: small networks trained on drawn people, not on photographs; for real portraits give a checkpoint and an adapter."
)
RANDOM_NOTE = (
    "Demo model: the networks hold random numbers, so the pictures are noise; for portraits give a checkpoint, an encoder and an adapter."
)


@dataclass(frozen=True, kw_only=True)
class DemoFiles:
    """The demo model's three files; trained: they have learnt something; note: one sentence about them for the person."""

    checkpoint: Path
    encoder: Path
    adapter: Path
    trained: bool
    note: str


def demo_files(folder: Path) -> DemoFiles:
    """The demo model: the trained files where the product has them, else random ones, made in `folder` on first use.

    CannotWrite where they cannot be made.
    """
    trained = [TRAINED / name for name in NAMES]
    if all(path.is_file() for path in trained):
        return DemoFiles(checkpoint=trained[0], encoder=trained[1], adapter=trained[2], trained=True, note=TRAINED_NOTE)
    paths = [folder / RANDOM / name for name in NAMES]
    if not all(path.is_file() for path in paths):
        from facechain_ext.demo.random import write_random

        log.info("Making the demo model of random numbers in %s", folder / RANDOM)
        write_random(*paths)
    return DemoFiles(checkpoint=paths[0], encoder=paths[1], adapter=paths[2], trained=False, note=RANDOM_NOTE)
