"""`random-weights`: an adapter and an encoder of random numbers that fit a given checkpoint, to try the machinery without any download."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from facechain_ext.errors import BadWeights, CannotWrite, UnsupportedModel
from facechain_ext.ui.console import say

if TYPE_CHECKING:
    from torch import Tensor

    from facechain_ext.engine.resampler import ResamplerSizes

Shape = tuple[int, ...]

UNET = "model.diffusion_model."
ADAPTER, ENCODER = "random.safetensors", "encoder.safetensors"


def run(argv: Sequence[str]) -> int:
    """Write both files; BadWeights or UnsupportedModel where the checkpoint gives no sizes, CannotWrite where files are there already."""
    made = argparse.ArgumentParser(prog="run.py random-weights", description=str(__doc__).split("`: ")[1])
    made.add_argument("--like", type=Path, required=True, metavar="CHECKPOINT", help="an SD1.5 checkpoint of any width")
    made.add_argument("--out", type=Path, required=True, metavar="DIR", help=f"folder for {ADAPTER} and {ENCODER}")
    arguments = made.parse_args(argv)
    for name in (ADAPTER, ENCODER):
        if (arguments.out / name).exists():
            raise CannotWrite(f"{arguments.out / name} is there already: delete it or name another folder.")
    channels, context = widths(arguments.like)
    write_random_adapter(channels, context, arguments.out / ADAPTER)
    write_random_encoder(arguments.out / ENCODER)
    say(f"{arguments.out / ADAPTER}\n{arguments.out / ENCODER}")
    return 0


def widths(checkpoint: Path) -> tuple[tuple[int, ...], int]:
    """Channels of the 16 sites and the width of the text, from a checkpoint's tensor shapes alone."""
    from facechain_ext.engine.sites import BLOCK, SITES

    shapes = shapes_of(checkpoint)
    norms = [f"{UNET}{site.ldm}{BLOCK}.norm2.weight" for site in SITES]
    text = {shape[1] for key, shape in shapes.items() if key.startswith(UNET) and key.endswith("attn2.to_k.weight")}
    if not any(key.startswith(UNET) for key in shapes):
        raise BadWeights(f"{checkpoint.name} holds no UNet of a WebUI's checkpoint: choose a file from models/Stable-diffusion.")
    if len(text) != 1 or not all(norm in shapes for norm in norms):
        raise UnsupportedModel(f"{checkpoint.name} is not of SD1.5's structure: choose an SD1.5 checkpoint.")
    return tuple(shapes[norm][0] for norm in norms), text.pop()


def shapes_of(checkpoint: Path) -> dict[str, Shape]:
    """Names and shapes of a file's tensors; of a safetensors file only the header is read."""
    from safetensors import SafetensorError, safe_open

    from facechain_ext.engine.checkpoints import read_tensors

    if checkpoint.suffix != ".safetensors" or not checkpoint.is_file():
        return {key: tuple(tensor.shape) for key, tensor in read_tensors(checkpoint)[0].items()}
    try:
        with safe_open(checkpoint, framework="pt") as file:
            return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118  # no mapping
    except (SafetensorError, OSError) as error:
        raise BadWeights(f"{checkpoint.name} is not a complete safetensors file: download it again.") from error


def write_random_adapter(channels: Sequence[int], context: int, target: Path) -> None:
    """A float16 adapter with open gates under the published names; tensor by tensor, so that memory holds it once."""
    from facechain_ext.demo import architecture
    from facechain_ext.demo.random import random_tensor
    from facechain_ext.engine.checkpoints import PROCESSOR, RESAMPLER, write_tensors
    from facechain_ext.engine.gate import published_shapes
    from facechain_ext.engine.resampler import ResamplerSizes
    from facechain_ext.engine.sites import SITES

    sizes = ResamplerSizes(**(architecture.RESAMPLER | {"in_dim": architecture.ENCODER["dim"], "out_dim": context}))
    shapes = {RESAMPLER + key: shape for key, shape in resampler_shapes(sizes).items()}
    for site, width in zip(SITES, channels, strict=True):
        shapes |= {site.diffusers + PROCESSOR + key: shape for key, shape in published_shapes(width, context).items()}
    tensors: dict[str, Tensor] = {key: random_tensor(key, shape).half() for key, shape in shapes.items()}
    write_tensors(tensors, target, {"format": "pt", "kind": "facechain-fact-adapter", "resampler_heads": str(sizes.heads)})


def resampler_shapes(sizes: ResamplerSizes) -> dict[str, Shape]:
    """Names and shapes of a resampler's tensors."""
    import torch

    from facechain_ext.engine.resampler import Resampler

    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in Resampler(sizes).state_dict().items()}


def write_random_encoder(target: Path) -> None:
    """A small face encoder; its sizes do not depend on the checkpoint."""
    from facechain_ext.demo import architecture
    from facechain_ext.demo.random import random_tensor
    from facechain_ext.engine.checkpoints import write_encoder
    from facechain_ext.engine.encoder import EncoderSizes, FaceEncoder

    encoder = FaceEncoder(EncoderSizes(**architecture.ENCODER))
    encoder.load_state_dict({key: random_tensor(key, tuple(value.shape)) for key, value in encoder.state_dict().items()})
    write_encoder(encoder, target)
