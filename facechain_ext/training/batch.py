"""What a step of train-fact learns from: examples on the device, and chance's word on whose face or caption is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from facechain_ext.hosts.standalone.checkpoint import Networks
from facechain_ext.training.device import send
from facechain_ext.training.pixels import to_tensor
from facechain_ext.training.subjects import Example, Source
from facechain_ext.training.tokens import tokens_of

if TYPE_CHECKING:
    from facechain_ext.training.fact import FactSettings


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Examples on the device. latents scaled [B, 4, h, w]; words [B, 77]; head [B, H, W].

    crops: per person [B, n, 112, 112, 3]; rows: per person where the encoder's tokens of them are kept [B, n], or None; places: per
    person [B, H, W] or None; faceless, wordless: whose face, whose caption is left out [B]; looks: the words with looks [B, 77], or None.
    """

    latents: Tensor
    words: Tensor
    head: Tensor
    crops: tuple[Tensor, ...]
    rows: tuple[np.ndarray | None, ...]
    places: tuple[Tensor | None, ...]
    faceless: Tensor
    wordless: Tensor
    looks: Tensor | None


@dataclass(frozen=True, kw_only=True)
class Variants:
    """One person of every row for engine.injection: variant i is row i's tokens [V, T, context]; mask [B, H, W] or None."""

    stack: Tensor
    mask: Tensor | None = None
    weight: float = 1.0

    def active(self, progress: float) -> bool:
        """Always."""
        return True


class Batches:
    """Draws batches from a source."""

    def __init__(self, settings: FactSettings, networks: Networks, source: Source) -> None:
        self.settings, self.vae, self.source, self.device = settings, networks.vae, source, networks.unet.device
        self.no_words = send(tokens_of([""]).astype(np.int64), self.device)

    def draw(self, number: int, rng: np.random.Generator) -> Batch:
        """The batch of a step."""
        settings = self.settings
        paired = bool(settings.pairs) and number % settings.pair_every == settings.pair_every - 1
        count = max(1, settings.batch // 2) if paired else settings.batch
        references = int(rng.integers(2, 5)) if rng.random() < settings.several else 1
        examples = [self.source.example(rng, references, shuffle_at(number, settings), paired) for _ in range(count)]
        chance = rng.random(count)
        wordless = send((chance < settings.drop / 2) | (chance > 1 - settings.drop_words), self.device)
        words = send(np.stack([one.words for one in examples]).astype(np.int64), self.device)
        people = range(len(examples[0].people))
        return Batch(
            latents=self._latents(examples),
            words=torch.where(wordless[:, None], self.no_words, words),
            head=stacked([one.head for one in examples], self.device),
            crops=tuple(send(np.stack([one.people[p].crops for one in examples]), self.device) for p in people),
            rows=tuple(_rows([one.people[p].rows for one in examples]) if settings.ahead else None for p in people),
            places=tuple(_places([one.people[p].place for one in examples], self.device) for p in people),
            faceless=send(chance < settings.drop, self.device),
            wordless=wordless,
            looks=_looks(examples, self.device) if settings.distil else None,
        )

    @torch.no_grad()
    def _latents(self, examples: Sequence[Example]) -> Tensor:
        if examples[0].latents is not None:
            latents = send(np.stack([one.latents for one in examples if one.latents is not None]), self.device)
        else:
            pictures = to_tensor(send(np.stack([one.picture for one in examples if one.picture is not None]), self.device))
            latents = self.vae.encode(pictures).latent_dist.mean
        return latents * self.vae.config["scaling_factor"]


def shuffle_at(number: int, settings: FactSettings) -> float:
    """The chance that a reference is another picture at a step: rises from 0 to 1 over the curriculum."""
    if not settings.shuffle:
        return 0.0
    return min(1.0, (number + 1) / max(1.0, settings.curriculum * settings.steps))


def stacked(masks: Sequence[np.ndarray], device: torch.device) -> Tensor:
    """Masks [H, W] as float [B, H, W]."""
    return send(np.stack(masks).astype(np.float32), device)


def _rows(found: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Where the references of a batch are kept [B, n]; None where one of them is not."""
    known = [one for one in found if one is not None and (one >= 0).all()]
    return np.stack(known) if len(known) == len(found) else None


def _looks(examples: Sequence[Example], device: torch.device) -> Tensor | None:
    """Words with looks [B, 77]; None where pictures show several people."""
    found = [one.looks() for one in examples if one.looks is not None]
    return send(np.stack(found).astype(np.int64), device) if len(found) == len(examples) else None


def _places(masks: Sequence[np.ndarray | None], device: torch.device) -> Tensor | None:
    given = [mask for mask in masks if mask is not None]
    return stacked(given, device) if given else None
