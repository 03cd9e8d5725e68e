"""Small previews of a picture that is being painted: latents as colours by a linear map, which is learnt from the VAE at hand.

An SD VAE's latents are nearly linear in colour, so least squares over one picture of colour patches suffice, whichever VAE it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facechain_ext.hosts.standalone.checkpoint import Networks

EVERY = 1.0
"""Seconds between two previews at least."""
PATCHES, PATCH = 16, 16
"""Colour patches along each side of the picture that is learnt from, and pixels of each."""
SIDE = 256
"""Pixels along the longer side of a preview."""


class Colours:
    """The map from a latent [4] to a colour [3] in [0, 1]."""

    def __init__(self, weights: Tensor) -> None:
        """weights: [5, 3], the last row the offset."""
        self.weights = weights

    def picture(self, latents: Tensor) -> Image.Image:
        """Latents [4, h, w] as a small picture."""
        flat = latents.float().cpu().permute(1, 2, 0)
        rgb = flat @ self.weights[:4] + self.weights[4]
        pixels = (rgb.nan_to_num(0).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        scale = SIDE / max(pixels.shape[:2])
        size = (max(round(pixels.shape[1] * scale), 1), max(round(pixels.shape[0] * scale), 1))
        return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


@torch.inference_mode()
def learn_colours(networks: Networks) -> Colours:
    """Learn the map from one picture of random colour patches."""
    vae = networks.vae
    patches = np.random.default_rng(0).random((PATCHES, PATCHES, 3), dtype=np.float32)
    pixels = torch.from_numpy(patches.repeat(PATCH, 0).repeat(PATCH, 1)).permute(2, 0, 1)[None]
    latents = vae.encode((pixels * 2 - 1).to(vae.device, vae.dtype)).latent_dist.mean[0].float().cpu() * vae.config["scaling_factor"]
    side = latents.shape[-1] // PATCHES
    inner = latents.reshape(4, PATCHES, side, PATCHES, side).mean((2, 4)).reshape(4, -1).T
    known = torch.cat((inner, torch.ones(len(inner), 1)), dim=1)
    return Colours(torch.linalg.lstsq(known, torch.from_numpy(patches).reshape(-1, 3)).solution)


class Glances:
    """Previews, one a second at most."""

    def __init__(self, colours: Colours | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._colours, self._clock, self._last = colours, clock, -EVERY

    def at(self, latents: Callable[[], Tensor]) -> Image.Image | None:
        """A preview of latents [4, h, w] if it is time for one; they are asked for only then."""
        if self._colours is None or (now := self._clock()) < self._last + EVERY:
            return None
        self._last = now
        return self._colours.picture(latents())
