"""What LoRA and ControlNet trainings share: a frozen checkpoint, captioned pictures as latents, and the error of the noise it tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from facechain_ext.engine.checkpoints import write_tensors
from facechain_ext.engine.int8 import to_int8
from facechain_ext.errors import BadInput
from facechain_ext.hosts.standalone.checkpoint import Networks, load_networks
from facechain_ext.training.captioned import caption_of, pictures_in
from facechain_ext.training.checkpoint import CHECKPOINT, given_or_trained
from facechain_ext.training.device import send
from facechain_ext.training.loop import Trainee
from facechain_ext.training.noise import add_noise, sample, snr_weight, velocity_weight, weighed
from facechain_ext.training.pixels import to_pictures, to_tensor
from facechain_ext.training.tokens import tokens_of
from facechain_ext.vision.pictures import read


class Frozen:
    """A checkpoint's networks on their device; none of them learns."""

    def __init__(self, networks: Networks) -> None:
        self.networks, self.device = networks, networks.unet.device

    @torch.no_grad()
    def encode(self, pictures: np.ndarray) -> Tensor:
        """RGB uint8 [B, H, W, 3] → latents, not scaled."""
        return self.networks.vae.encode(to_tensor(send(pictures, self.device))).latent_dist.mean

    @torch.no_grad()
    def decode(self, latents: Tensor) -> np.ndarray:
        """Scaled latents → RGB uint8 [B, H, W, 3]."""
        return to_pictures(self.networks.vae.decode(latents / self.scale).sample)

    @property
    def scale(self) -> float:
        """What latents are multiplied by for the UNet."""
        return float(self.networks.vae.config["scaling_factor"])

    @torch.no_grad()
    def read(self, tokens: np.ndarray) -> Tensor:
        """Tokens [B, 77] → text embeddings."""
        return self.networks.text_encoder(send(tokens.astype(np.int64), self.device)).last_hidden_state

    @torch.no_grad()
    def paint(self, words: Tensor, side: int, unet: torch.nn.Module | None = None) -> np.ndarray:
        """A picture per text by the plainest sampler, always from the same noise."""
        start = torch.randn((len(words), 4, side // 8, side // 8), generator=torch.Generator().manual_seed(3)).to(self.device)
        none = self.read(tokens_of([""])).expand(len(words), -1, -1)
        return self.decode(sample(unet or self.networks.unet, start, words, none, steps=20, guidance=4.0))


def networks_of(checkpoint: str, device: torch.device) -> Networks:
    """The networks to train on; empty: the demo model's, as export-base wrote them here, else the product's.

    UnsupportedModel, BadWeights.
    """
    return load_networks(given_or_trained(checkpoint, "base", CHECKPOINT), device, torch.float32)


def finish(trainee: Trainee, target: Path, small: Sequence[str] = ()) -> None:
    """Write what was trained in float16, the matrices named in `small` in int8. CannotWrite."""
    weights = trainee.weights()
    halves = {key: value.half() if value.is_floating_point() else value for key, value in weights.items() if key not in small}
    matrices = to_int8({key: weights[key] for key in small}, small)
    write_tensors({key: value.contiguous() for key, value in (halves | matrices).items()}, target, trainee.metadata())


def noise_error(
    latents: Tensor, snr: float, tell: Callable[[Tensor, Tensor], Tensor], weight: Tensor | None = None, *, velocity: bool = False
) -> tuple[Tensor, Tensor]:
    """Loss and plain error of the noise told at random times; scaled latents [B, 4, h, w]; tell: from noisy latents and times.

    weight: how much cells count in the loss [B, 1, h, w]; None: all the same. velocity: the loss is the velocity's.
    """
    noise = torch.randn_like(latents)
    times = torch.randint(0, 1000, (len(latents),), device=latents.device)
    told = tell(add_noise(latents, noise, times), times).float()
    error = weighed(told, noise, torch.ones_like(noise[:, :1]) if weight is None else weight)
    loss = error * snr_weight(times, snr)
    return (loss * velocity_weight(times) if velocity else loss).mean(), F.mse_loss(told, noise)


def listed(folder: Path) -> list[Path]:
    """Pictures of a folder. BadInput where there are none."""
    found = pictures_in(folder) if folder.is_dir() else []
    if not found:
        raise BadInput(f"There are no pictures in {folder}: give a folder with .png or .jpg files.")
    return found


def squared(path: Path, size: int) -> np.ndarray:
    """The middle square of a picture, RGB uint8 [size, size, 3]."""
    image = read(path)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return np.asarray(image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.LANCZOS))


def captions_of(paths: Sequence[Path], trigger: str = "") -> list[str]:
    """The caption beside each picture, after the trigger word. BadInput."""
    return [", ".join(part for part in (trigger, caption_of(path)) if part) for path in paths]


def without_words(tokens: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """The same tokens [B, 77] with that share of captions left out."""
    dropped = tokens.copy()
    dropped[rng.random(len(tokens)) < share] = tokens_of([""])
    return dropped
