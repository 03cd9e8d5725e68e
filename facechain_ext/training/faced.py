"""A frozen adapter that says who is in drawn pictures while something else learns beside it: what it says need not be learnt."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import torch
from torch import nn

from facechain_ext.engine.adapter import Adapter
from facechain_ext.engine.checkpoints import read_adapter, read_encoder
from facechain_ext.engine.encoder import FaceEncoder
from facechain_ext.engine.identity import face_tokens, null_tokens
from facechain_ext.engine.injection import Call, Injector, attach
from facechain_ext.engine.sites import find_sites
from facechain_ext.training.batch import Variants
from facechain_ext.training.checkpoint import given_or_trained
from facechain_ext.training.device import send
from facechain_ext.training.encoder import FINISHED as ENCODER
from facechain_ext.training.encoder import head_crop
from facechain_ext.training.people import photo

NOBODY = 0.1
"""Share of rows that show the null tokens, as in FACT's own training."""


class Faced:
    """Adapter, face encoder and the UNet they stand beside; none of them learns."""

    def __init__(self, encoder: FaceEncoder, adapter: Adapter, unet: nn.Module) -> None:
        """BadWeights where the adapter does not fit the UNet."""
        adapter.check_fits(find_sites(unet))
        parameter = next(unet.parameters())
        adapter.place(parameter.device, parameter.dtype)
        self.encoder, self.adapter, self.unet = encoder, adapter.eval().requires_grad_(False), unet
        self.null = null_tokens(adapter, encoder.sizes.tokens).to(parameter)

    @classmethod
    def of(cls, adapter: str, encoder: str, unet: nn.Module) -> Faced:
        """By their files; an empty encoder is the one trained here, else the product's. BadWeights."""
        return cls(read_encoder(given_or_trained(encoder, "encoder", ENCODER)), read_adapter(Path(adapter)), unet)

    def said(self, people: Sequence[int], rng: np.random.Generator, latent: tuple[int, int]) -> AbstractContextManager[Injector]:
        """While the block runs, a call of the UNet hears the face of each row's person, of a photo drawn by chance; some hear nobody's."""
        crops = send(np.stack([head_crop(photo(number, rng), rng, True) for number in people]), self.null.device)
        tokens = face_tokens(self.encoder, self.adapter, crops)[0].to(self.null)
        nobody = torch.as_tensor(rng.random(len(people)) < NOBODY, device=self.null.device)
        stack = torch.where(nobody[:, None, None], self.null, tokens)
        rows = tuple(range(len(people)))
        call = Call(rows=rows, pictures=rows, progress=0.0, latent=latent)
        return attach(self.unet, self.adapter, [Variants(stack=stack)], lambda _: call)
