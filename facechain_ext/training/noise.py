"""The noise schedule of SD1.5, and the plainest sampler for sample sheets."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STEPS = 1000
BETAS = torch.linspace(0.00085**0.5, 0.012**0.5, STEPS, dtype=torch.float64) ** 2
ALPHAS = torch.cumprod(1 - BETAS, dim=0).float()
"""ᾱ_t, the share of the picture's variance left at step t [1000]."""


def add_noise(latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    """x_t = √ᾱ·x + √(1−ᾱ)·ε; latents and noise [B, C, H, W], times [B]."""
    alpha = ALPHAS.to(latents.device)[times][:, None, None, None]
    return alpha.sqrt() * latents + (1 - alpha).sqrt() * noise


def take_noise(noisy: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    """What add_noise began with: (x_t − √(1−ᾱ)·ε)/√ᾱ; noisy and noise [B, C, H, W], times [B]."""
    alpha = ALPHAS.to(noisy.device)[times][:, None, None, None]
    return (noisy - (1 - alpha).sqrt() * noise) / alpha.sqrt()


def weighed(found: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """Mean squared error by rows, [B, C, h, w] to [B], where cells count as they are weighed [B or 1, 1, h, w]."""
    return (F.mse_loss(found, wanted, reduction="none") * weight).mean(dim=(1, 2, 3)) / weight.mean()


def snr_weight(times: Tensor, cap: float) -> Tensor:
    """min(SNR, cap) / SNR for a network that tells the noise (Hang et al., 2023); ones where cap is 0. [B]"""
    if not cap:
        return torch.ones_like(times, dtype=torch.float32)
    alpha = ALPHAS.to(times.device)[times]
    ratio = alpha / (1 - alpha)
    return ratio.clamp(max=cap) / ratio


def coarse_weight(times: Tensor, share: float) -> Tensor:
    """1 + share·√(1/SNR): what is settled while it is noisy (who stands where, in which light) is told by tiny errors there. [B]"""
    alpha = ALPHAS.to(times.device)[times]
    return 1 + share * ((1 - alpha) / alpha).sqrt()


def velocity_weight(times: Tensor) -> Tensor:
    """1 + 1/SNR, which makes the error of the noise that of the velocity v (Salimans and Ho, 2022). [B]

    What is left of that error is nearly the same at all steps, so all of them are heard as clearly.
    """
    return 1 / ALPHAS.to(times.device)[times]


def mean_weight(times: Tensor, cells: int) -> Tensor:
    """How far the mean of a picture's noise can be told from its noisy latents of so many cells: near 0 where hardly noisy, to 0.9. [B]

    The noise's mean has variance 1/cells; beside it stands what a caption leaves open of the picture's own mean, about 0.1.
    """
    alpha = ALPHAS.to(times.device)[times]
    spread = (1 - alpha) / alpha / cells
    return spread / (spread + 0.1)


def way_down(steps: int) -> list[tuple[int, int]]:
    """The steps of DDIM, each with the one after it; -1 after the last."""
    times = torch.linspace(STEPS - 1, 0, steps).round().long().tolist()
    return list(zip(times, [*times[1:], -1], strict=True))


def ddim(latents: Tensor, noise: Tensor, now: int, after: int) -> tuple[Tensor, Tensor]:
    """The picture that noise told at step `now` stands for, and the latents at step `after`; -1: no noise left. [B, 4, h, w]"""
    alpha, ahead = ALPHAS[now], ALPHAS[after] if after >= 0 else torch.tensor(1.0)
    clean = (latents - (1 - alpha).sqrt() * noise) / alpha.sqrt()
    return clean, ahead.sqrt() * clean + (1 - ahead).sqrt() * noise


@torch.no_grad()
def sample(unet: nn.Module, latents: Tensor, words: Tensor, no_words: Tensor, steps: int, guidance: float) -> Tensor:
    """DDIM from noise [B, 4, h, w] with classifier-free guidance; words and no_words [B, 77, C]."""
    both = torch.cat((no_words, words))
    for now, after in way_down(steps):
        plain, guided = unet(torch.cat((latents, latents)), now, both).sample.chunk(2)
        latents = ddim(latents, plain + guidance * (guided - plain), now, after)[1]
    return latents
