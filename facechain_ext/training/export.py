"""Writes the demo model's checkpoint: one file in SD1.5's LDM layout with its .yaml, as every WebUI and the standalone host read it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL

from facechain_ext.demo.architecture import ldm_config, to_ldm
from facechain_ext.demo.random import SIDE
from facechain_ext.engine.checkpoints import write_tensors
from facechain_ext.errors import BadInput
from facechain_ext.training.arguments import Common, option, parse, speak
from facechain_ext.training.base import load_base
from facechain_ext.training.blend import shares_of, take_mean
from facechain_ext.training.checkpoint import CHECKPOINT, WEIGHTS, default_folder, load_weights
from facechain_ext.training.vae import read_vae

NAME, SUMMARY = "export-base", "Write the trained demo model as one checkpoint file."


@dataclass(frozen=True, kw_only=True)
class ExportSettings(Common):
    """What to write; of the common settings none counts."""

    base: str = option("", "the base model's weights, or a checkpoint; empty: those train-base trained")
    vae: str = option(
        "", "the VAE's weights, or a checkpoint, or several whose decoders are blended, as file=share,file=share; "
        "empty: what train-vae finished, else the product's",
    )  # fmt: skip
    text_encoder: str = option("text_encoder", "folder with the text encoder's configuration, as the .yaml shall name it")


def export(settings: ExportSettings, folder: Path) -> Path:
    """Write checkpoint (float16) and .yaml into `folder`. BadInput, BadWeights, UnsupportedModel, CannotWrite."""
    base = Path(settings.base) if settings.base else default_folder("base") / WEIGHTS
    unet, text = load_base(load_weights(base), torch.device("cpu"), base)
    vae = blended(settings.vae) if "=" in settings.vae and not Path(settings.vae).exists() else read_vae(settings.vae)
    tensors = {key: value.half() if value.is_floating_point() else value for key, value in to_ldm(unet, vae, text).items()}
    target = folder / CHECKPOINT
    write_tensors(tensors, target, {"facechain_size": str(SIDE)})
    # JSON is YAML, and needs no library to write.
    target.with_suffix(".yaml").write_text(json.dumps(ldm_config(settings.text_encoder), indent=2) + "\n", encoding="utf-8")
    return target


def blended(given: str) -> AutoencoderKL:
    """The mean, by their shares, of VAEs whose decoders were trained from one another. BadInput where their latents are not the same."""
    shares = shares_of(given, "--vae")
    first, *others = vaes = [read_vae(str(path)) for path, _ in shares]
    for other, (path, _) in zip(others, shares[1:], strict=True):
        for part in ("encoder", "quant_conv"):
            own, same = other.get_submodule(part).state_dict(), first.get_submodule(part).state_dict()
            if any(not torch.equal(value, own[key]) for key, value in same.items()):
                raise BadInput(f"{path} has other latents than {shares[0][0]}: blend what `train-vae --decoder` made of one another.")
    take_mean(vaes, [share for _, share in shares])
    return first


def main(argv: Sequence[str]) -> None:
    """Command line; writes beside the base model's training unless told otherwise."""
    given = list(argv)
    if not any(word == "--folder" or word.startswith("--folder=") for word in given):
        given = ["--folder", str(default_folder("base")), *given]
    export(*parse(ExportSettings, NAME, SUMMARY, given))


if __name__ == "__main__":
    speak()
    main(sys.argv[1:])
