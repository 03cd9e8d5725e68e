"""How recognisers of drawn people learn: batches of people never met before, a margin between them, and their traits by name.

Every step draws new people, so nobody can be learnt by heart. The loss is the additive-margin softmax (Wang et al., 2018) over the
people of the batch, each picture against everybody's mean of the other pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facechain_ext.demo.world import Identity, person, traits
from facechain_ext.demo.world.hair import FRONTS
from facechain_ext.training.pixels import CELL

HAIR = ("bald", *FRONTS)
KINDS: dict[str, tuple[str, ...]] = {
    "hair": HAIR,
    "nose": traits.NOSES,
    "eyes": traits.EYES,
    "glasses": ("", *traits.GLASSES),
    "beard": ("", *traits.BEARDS),
    "earrings": ("", *traits.EARRINGS),
}


def kinds_of(who: Identity) -> list[int]:
    """Index of each trait that is a kind, in the order of KINDS."""
    values = (who.hair.style, who.nose.kind, who.eyes.kind, who.glasses, who.beard, who.earrings)
    return [names.index(value) for names, value in zip(KINDS.values(), values, strict=True)]


def named_sizes(who: Identity) -> dict[str, float]:
    """Every trait that is a number or a colour (its three channels), and the marks as 0 or 1, by name, as "face jaw" or "hair colour g"."""
    found: dict[str, float] = {}
    for part in ("face", "eyes", "brows", "nose", "mouth", "hair"):
        for name, value in asdict(getattr(who, part)).items():
            if isinstance(value, tuple):
                found |= {f"{part} {name} {channel}": number / 128 for channel, number in zip("rgb", value, strict=True)}
            elif not isinstance(value, str):
                found[f"{part} {name}"] = float(value)
    return found | {f"mark {mark}": float(mark in who.marks) for mark in traits.MARKS}


def sizes_of(who: Identity) -> list[float]:
    """The values of `named_sizes`."""
    return list(named_sizes(who).values())


@lru_cache(maxsize=1)
def _spread() -> tuple[np.ndarray, np.ndarray]:
    values = np.array([sizes_of(person(number)) for number in range(2000)])
    return values.mean(axis=0), values.std(axis=0)


class TraitHead(nn.Module):
    """Reads the traits off an embedding: extra lessons for a recogniser, thrown away afterwards."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.kinds = nn.ModuleList(nn.Linear(width, len(names)) for names in KINDS.values())
        self.sizes = nn.Linear(width, len(sizes_of(person(0))))

    def loss(self, embeddings: Tensor, people: Sequence[Identity]) -> Tensor:
        """Mean error over the traits; embeddings [B, width] of the people's pictures."""
        return self.errors(embeddings, people).mean()

    def errors(self, embeddings: Tensor, people: Sequence[Identity]) -> Tensor:
        """The same of every picture [B]."""
        mean, deviation = _spread()
        kinds = torch.tensor([kinds_of(who) for who in people], device=embeddings.device)
        sizes = (np.array([sizes_of(who) for who in people]) - mean) / deviation
        wanted = torch.tensor(sizes, dtype=torch.float32, device=embeddings.device)
        named = [F.cross_entropy(head(embeddings), kinds[:, i], reduction="none") for i, head in enumerate(self.kinds)]
        return torch.stack(named).mean(dim=0) + F.mse_loss(self.sizes(embeddings), wanted, reduction="none").mean(dim=1)


def margin_loss(embeddings: Tensor, scale: float, margin: float) -> tuple[Tensor, Tensor]:
    """embeddings [P, K, D], K pictures of P people each → loss and the share of pictures whose own person is nearest.

    The mean a picture is held against never contains the picture itself.
    """
    people, pictures, _ = embeddings.shape
    unit = F.normalize(embeddings, dim=2)
    total = unit.sum(dim=1)  # [P, D]
    others = F.normalize(total, dim=1)
    own = F.normalize(total[:, None] - unit, dim=2)  # [P, K, D]
    cosines = torch.einsum("pkd,qd->pkq", unit, others)
    mine = torch.eye(people, dtype=torch.bool, device=unit.device)[:, None].expand(people, pictures, people)
    cosines = torch.where(mine, (unit * own).sum(dim=2, keepdim=True), cosines)
    target = torch.arange(people, device=unit.device).repeat_interleave(pictures)
    logits = scale * (cosines - margin * mine).flatten(0, 1)
    right = (cosines.flatten(0, 1).argmax(dim=1) == target).float().mean()
    return F.cross_entropy(logits, target), right


def worn(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The picture with the faults a painted or copied one has: wavering, soft, noisy, too bright or dark; a third of the time as it is."""
    if rng.random() < 1 / 3:
        return picture
    high, wide = picture.shape[:2]
    # A model that paints errs by patches of a latent's size; shifts are in pixels.
    shifts = rng.normal(0, rng.uniform(0, 1.2), (high // CELL, wide // CELL, 2)).astype(np.float32)
    off = cv2.resize(shifts, (wide, high), interpolation=cv2.INTER_CUBIC)
    y, x = np.mgrid[:high, :wide].astype(np.float32)
    moved = cv2.remap(picture, x + off[..., 0], y + off[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    soft = cv2.GaussianBlur(moved, (0, 0), rng.uniform(0.3, 1.7)).astype(np.float32)
    soft += cv2.resize(
        rng.normal(0, rng.uniform(0, 14), (32, 32, 3)).astype(np.float32), picture.shape[1::-1], interpolation=cv2.INTER_CUBIC
    )
    return np.clip((soft - 128) * rng.uniform(0.85, 1.1) + 128 + rng.uniform(-12, 12), 0, 255).astype(np.uint8)


def rank_first(queries: Tensor, gallery: Tensor) -> float:
    """Share of queries whose own person is first; queries [P, Q, D], gallery [P, G, D], unit vectors; a person is their mean."""
    people = F.normalize(gallery.mean(dim=1), dim=1)
    nearest = torch.einsum("pqd,rd->pqr", queries, people).argmax(dim=2)
    return float((nearest == torch.arange(len(people), device=nearest.device)[:, None]).float().mean())
