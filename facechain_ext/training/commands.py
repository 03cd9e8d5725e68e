"""The trainers by the name they have on the command line. Nothing heavy is imported before one is called."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NamedTuple

from facechain_ext.log import log


class Command(NamedTuple):
    """One line about it, and the function that takes the arguments after its name."""

    summary: str
    run: Callable[[Sequence[str]], int]


def _from(module: str, package: str = "training") -> Callable[[Sequence[str]], int]:
    def run(argv: Sequence[str]) -> int:
        log.setLevel(logging.INFO)  # how far they are is what people watch
        import_module(f"facechain_ext.{package}.{module}").main(argv)
        return 0

    return run


COMMANDS: dict[str, Command] = {
    "draw-people": Command("Draw people ahead of the trainings, with all cores.", _from("drawn")),
    "train-vae": Command("Train the demo model's VAE on drawn pictures.", _from("vae")),
    "encode-pictures": Command("Draw pictures and keep them as latents for the base model's training.", _from("latents")),
    "train-base": Command("Train the demo model's text encoder and UNet on encoded pictures.", _from("base")),
    "train-judge": Command("Train the judge that tells drawn people apart.", _from("judge")),
    "train-encoder": Command("Train the demo model's face encoder.", _from("encoder")),
    "train-analyser": Command("Train the demo model's face analysis on drawn people.", _from("analyser")),
    "export-base": Command("Write the trained demo model as one checkpoint file.", _from("export")),
    "train-resampler": Command("Teach an adapter's resampler to tell drawn people apart, before train-fact.", _from("resampler")),
    "train-recogniser": Command("Teach a small network whose face latents show, for an identity loss.", _from("identity_loss")),
    "train-fact": Command("Train a FACT adapter on a dataset of faces, or on drawn people.", _from("fact")),
    "train-together": Command("Train the demo model's base and adapter together, faces beside the captions.", _from("together")),
    "blend-adapters": Command("Blend adapters that were trained from one another, weight by weight.", _from("blend")),
    "train-style-lora": Command("Train a style LoRA on a folder of pictures, or on a drawn style.", _from("style_lora")),
    "train-control": Command("Train an openpose ControlNet on pictures with skeletons, or on drawn people.", _from("control")),
    "train-reader": Command("Train the reader that tells what a drawn picture shows.", _from("reader")),
    "train-demo": Command("Train the demo world's models one after another, as a recipe says.", _from("recipe")),
    "demo-report": Command("Measure the demo model: a table and a picture sheet.", _from("report", "demo")),
}
