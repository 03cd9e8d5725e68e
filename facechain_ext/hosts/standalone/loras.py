"""LoRAs in kohya's format on the UNet and the text encoder, by peft, for as long as a picture is painted."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import diffusers
import torch
import transformers
from diffusers.loaders import StableDiffusionLoraLoaderMixin
from torch import Tensor

from facechain_ext.engine.checkpoints import read_tensors
from facechain_ext.errors import BadWeights, UnsupportedModel
from facechain_ext.hosts.standalone.checkpoint import Networks


class Loader(StableDiffusionLoraLoaderMixin):
    """diffusers' LoRA loader, without the pipeline it usually sits in."""

    hf_device_map = None

    def __init__(self, networks: Networks) -> None:
        self.unet, self.text_encoder = networks.unet, networks.text_encoder
        self.components = {"unet": self.unet, "text_encoder": self.text_encoder}


@contextmanager
def applied(networks: Networks, loras: Sequence[tuple[Path, float]]) -> Iterator[None]:
    """The networks with these LoRAs (file, weight) while the block runs; afterwards bit for bit as before, also after an error."""
    chosen = [(path, weight) for path, weight in loras if weight != 0]
    if not chosen:
        yield
        return
    loader = Loader(networks)
    try:
        for index, (path, _) in enumerate(chosen):
            _load(loader, path, f"lora{index}")
        names = [f"lora{index}" for index in range(len(chosen))]
        loader.set_adapters(names, [weight for _, weight in chosen])
        yield
    finally:
        loader.unload_lora_weights()


def _load(loader: Loader, path: Path, name: str) -> None:
    tensors, _ = read_tensors(path)
    _refuse_others(loader, tensors, path)
    try:
        with _quiet():
            loader.load_lora_weights(tensors, adapter_name=name)
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        reason = (str(error).strip().splitlines() or ["unknown layers"])[0][:160]
        raise BadWeights(f"The LoRA {path} cannot be used with this checkpoint ({reason}): use one made for SD1.5.") from error
    if not any(name in names for names in loader.get_list_adapters().values()):
        raise BadWeights(f"The LoRA {path} has no layer that this checkpoint has: use one made for SD1.5.")


def _refuse_others(loader: Loader, tensors: dict[str, Tensor], path: Path) -> None:
    """Name the file that is no LoRA, or one for a model of other widths."""
    if not any("lora" in key for key in tensors):
        raise UnsupportedModel(f"{path} is not a LoRA (its first tensor is {min(tensors)}): use a LoRA for SD1.5.")
    if any(key.startswith(("lora_te1_", "lora_te2_")) for key in tensors):
        raise UnsupportedModel(f"The LoRA {path} is for SDXL: use one made for SD1.5.")
    wanted = loader.unet.config["cross_attention_dim"]
    for key, value in tensors.items():
        if "attn2" in key and "to_k" in key and key.endswith(("lora_down.weight", "lora_A.weight")) and value.shape[1] != wanted:
            kind = {768: "SD1.5", 1024: "SD2", 2048: "SDXL"}.get(value.shape[1], "another model")
            found = f"{kind} (text of width {value.shape[1]}, this checkpoint's is {wanted})"
            raise UnsupportedModel(f"The LoRA {path} is for {found}: use one made for this kind of checkpoint.")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the reports of weights that the LoRA, being one, or one of the UNet alone, does not hold, and peft's of a second LoRA."""
    levels = [(one, one.get_verbosity()) for one in (transformers.logging, diffusers.utils.logging)]
    for one, _ in levels:
        one.set_verbosity_error()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.filterwarnings("ignore", "Already found a `peft_config`", UserWarning)
            yield
    finally:
        for one, level in levels:
            one.set_verbosity(level)
