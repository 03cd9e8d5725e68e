"""The trainers by the name they have on the command line. Nothing heavy is imported before one is called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NamedTuple


class Command(NamedTuple):
    """One line about it, and the function that takes the arguments after its name."""

    summary: str
    run: Callable[[Sequence[str]], int]


def _from(module: str) -> Callable[[Sequence[str]], int]:
    def run(argv: Sequence[str]) -> int:
        import_module(f"facechain_ext.training.{module}").main(argv)
        return 0

    return run


COMMANDS: dict[str, Command] = {
    "train-vae": Command("Train the demo model's VAE on drawn pictures.", _from("vae")),
    "encode-pictures": Command("Draw pictures and keep them as latents for the base model's training.", _from("latents")),
    "train-base": Command("Train the demo model's text encoder and UNet on encoded pictures.", _from("base")),
    "train-judge": Command("Train the judge that tells drawn people apart.", _from("judge")),
    "train-encoder": Command("Train the demo model's face encoder.", _from("encoder")),
    "train-analyser": Command("Train the demo model's face analysis on drawn people.", _from("analyser")),
    "export-base": Command("Write the trained demo model as one checkpoint file.", _from("export")),
    "train-fact": Command("Train a FACT adapter on a dataset of faces, or on drawn people.", _from("fact")),
}
