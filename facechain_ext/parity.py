"""Our numbers held against a case of the published networks (tests/golden/README.md describes the format)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facechain_ext.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from facechain_ext.engine.adapter import Adapter
    from facechain_ext.engine.injection import Call, Person

ASTRONAUT = Path(__file__).parents[1] / "examples" / "astronaut.png"
FILES = (
    "case.json",
    "transface_weights.safetensors",
    "transface_io.safetensors",
    "adapter_weights.safetensors",
    "adapter_weights.ckpt",
    "resampler_io.safetensors",
    "layer_io.safetensors",
    "unet_weights.safetensors",
    "unet_config.json",
    "unet_io.safetensors",
    "loop_io.safetensors",
    "align.npz",
    "head_mask.npz",
)


@dataclass(frozen=True)
class Case:
    """One folder of golden numbers."""

    folder: Path

    def __post_init__(self) -> None:
        missing = [name for name in FILES if not (self.folder / name).is_file()]
        if missing:
            raise BadInput(f"{self.folder} is no parity case: {', '.join(missing[:3])} missing there.")

    @cached_property
    def sizes(self) -> dict[str, Any]:
        return json.loads((self.folder / "case.json").read_text(encoding="utf-8"))

    def io(self, name: str) -> dict[str, Tensor]:
        from facechain_ext.engine.checkpoints import read_tensors

        return read_tensors(self.folder / f"{name}_io.safetensors")[0]

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        import numpy as np

        with np.load(self.folder / f"{name}.npz", allow_pickle=False) as file:
            return {key: file[key] for key in file.files}

    @cached_property
    def adapter(self) -> Adapter:
        """The adapter of the safetensors file, once it is known that the .ckpt holds the same."""
        import torch

        from facechain_ext.engine.checkpoints import read_adapter

        one, other = (
            read_adapter(self.folder / f"adapter_weights.{kind}", heads=self.sizes["resampler"]["heads"])
            for kind in ("safetensors", "ckpt")
        )
        differing = [key for key, value in one.state_dict().items() if not torch.equal(value, other.state_dict()[key])]
        if differing:
            raise BadInput(f"adapter_weights.ckpt and .safetensors differ in {len(differing)} tensors, first {differing[0]}.")
        return one

    @cached_property
    def unet(self) -> Any:
        from diffusers import UNet2DConditionModel

        from facechain_ext.engine.checkpoints import read_tensors

        unet: Any = UNet2DConditionModel.from_config(json.loads((self.folder / "unet_config.json").read_text(encoding="utf-8")))
        unet.load_state_dict(read_tensors(self.folder / "unet_weights.safetensors")[0])
        return unet.eval().requires_grad_(False)


def parity(folder: Path) -> dict[str, float]:
    """The error of every part, in the measures of the format: networks relative to max(1, max|expected|), pictures as shares of pixels."""
    import torch

    case = Case(folder)
    found: dict[str, float] = {}
    with torch.inference_mode():
        for part in (transface, resampler, layer, unet, loop, alignment, head):
            found |= part(case)
    return found


def relative(got: Tensor, expected: Tensor) -> float:
    """Largest difference relative to max(1, max|expected|)."""
    if got.shape != expected.shape:
        raise BadInput(f"The case expects a result of shape {list(expected.shape)}; ours is {list(got.shape)}.")
    return float((got.double() - expected.double()).abs().max() / max(1.0, float(expected.abs().max())))


def transface(case: Case) -> dict[str, float]:
    """Face encoder: local tokens and global embedding."""
    from facechain_ext.engine.checkpoints import read_encoder

    io = case.io("transface")
    encoder = read_encoder(case.folder / "transface_weights.safetensors", heads=case.sizes["vit"]["heads"])
    tokens = encoder(io["images"])
    return {"transface_tokens": relative(tokens, io["tokens"]), "transface_embedding": relative(encoder.embedding(tokens), io["embedding"])}


def resampler(case: Case) -> dict[str, float]:
    """Resampler: photos joined along the tokens, and the constant of the null condition repeated for each photo."""
    from facechain_ext.engine.identity import null_tokens

    io = case.io("resampler")
    photos, count = io["tokens"].shape[:2]
    cond = case.adapter.resampler(io["tokens"]).flatten(0, 1)[None]
    uncond = null_tokens(case.adapter, count).repeat(photos, 1)[None]
    return {"resampler_cond": relative(cond, io["cond"]), "resampler_uncond": relative(uncond, io["uncond"])}


def layer(case: Case) -> dict[str, float]:
    """The gated layer of the mid block."""
    io = case.io("layer")
    return {"layer": relative(case.adapter.layers[6](io["x"], io["face"], case.sizes["heads"], case.sizes["scale"]), io["y"])}


def unet(case: Case) -> dict[str, float]:
    """The whole UNet with hooks: plain and at three weights."""
    io = case.io("unet")
    scale = float(case.sizes["scale"])
    names = {"unet_plain": ("eps_plain", None), "unet_scale_0": ("eps_scale_0.0", 0.0), "unet_scale": (f"eps_scale_{scale}", scale)}
    names["unet_scale_1"] = ("eps_scale_1.0", 1.0)
    return {name: relative(predict(case, io, io["x"], io["t"], weight), io[key]) for name, (key, weight) in names.items()}


def predict(case: Case, io: dict[str, Tensor], x: Tensor, t: Tensor, weight: float | None) -> Tensor:
    """One UNet forward of [unconditional, conditional] rows; weight None: nothing attached."""
    from facechain_ext.engine.injection import Call, attach

    persons = [] if weight is None else [_person(io, weight)]
    call = Call(rows=(0, 1), pictures=(0, 0), progress=0.0, latent=(x.shape[2], x.shape[3]))
    with attach(case.unet, case.adapter, persons, _always(call)):
        return case.unet(x, t, encoder_hidden_states=io["text"]).sample


def loop(case: Case) -> dict[str, float]:
    """A whole DDIM sampling with guidance."""
    import torch
    from diffusers import DDIMScheduler

    io, made = case.io("loop"), case.io("unet")
    scheduler: Any = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, set_alpha_to_one=False, clip_sample=False
    )
    scheduler.set_timesteps(case.sizes["steps"])
    if scheduler.timesteps.tolist() != io["timesteps"].tolist():
        raise BadInput(f"The case's timesteps are {io['timesteps'].tolist()}; ours are {scheduler.timesteps.tolist()}.")
    rows = made | io  # text and face tokens are those of the single step
    latents = io["latents"]
    for t in scheduler.timesteps:
        uncond, cond = predict(case, rows, torch.cat((latents, latents)), t, case.sizes["scale"]).chunk(2)
        latents = scheduler.step(uncond + case.sizes["cfg"] * (cond - uncond), t, latents).prev_sample
    return {"loop": relative(latents, io["result"])}


def alignment(case: Case) -> dict[str, float]:
    """Similarity fits, and crops of the astronaut photo (share of pixels off by more than one grey level)."""
    import numpy as np
    import torch

    from facechain_ext.vision.align import align, similarity
    from facechain_ext.vision.pictures import read

    arrays = case.arrays("align")
    image = arrays["image"] if "image" in arrays else np.asarray(read(ASTRONAUT))
    matrices = np.stack([similarity(points) for points in arrays["landmarks"]])
    crops = np.stack([align(image, points) for points in arrays["landmarks"]])
    off = np.abs(crops.astype(int) - arrays["crops"].astype(int)).max(-1) > 1
    return {"align_matrix": relative(torch.from_numpy(matrices), torch.from_numpy(arrays["matrices"])), "align_crop": float(off.mean())}


def head(case: Case) -> dict[str, float]:
    """The head mask (share of differing pixels)."""
    from facechain_ext.vision.masks import head_mask

    arrays = case.arrays("head_mask")
    ours = head_mask(arrays["masks"], [str(label) for label in arrays["labels"]], arrays["scores"].tolist())
    return {"head_mask": float(((ours > 0) != (arrays["head"] > 0)).mean())}


def main(argv: Sequence[str]) -> dict[str, float]:
    """`parity DIR`."""
    import argparse

    parser = argparse.ArgumentParser(prog="run.py parity", description=parity.__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR", help="a folder in the format of tests/golden")
    return parity(parser.parse_args(argv).folder)


def _always(call: Call) -> Callable[[int], Call]:
    return lambda _rows: call


def _person(io: dict[str, Tensor], weight: float) -> Person:
    import torch

    from facechain_ext.engine.identity import Identity
    from facechain_ext.engine.injection import Person

    identity = Identity(
        tokens=io["face_cond"][0], null=io["face_uncond"][0], embeddings=torch.ones(1, 1), photos=(), encoder="", adapter=""
    )
    return Person(identity=identity, weight=weight)
