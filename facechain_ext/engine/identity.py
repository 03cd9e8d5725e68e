"""Identity: what a person is for the engine. Tokens and where they came from; no pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from facechain_ext.engine.adapter import Adapter
from facechain_ext.engine.encoder import FaceEncoder
from facechain_ext.engine.looks import looked_at
from facechain_ext.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Face tokens of one person from one adapter, float32 on the CPU.

    tokens, null: [16·n, context] for n photos, conditional and unconditional (FACTS §2.5: the null tokens repeated n times).
    embeddings: [n, E] of length 1, to measure likeness. photos: a hash per photo. encoder, adapter: fingerprints of the
    weights that made the tokens.
    """

    tokens: Tensor
    null: Tensor
    embeddings: Tensor
    photos: tuple[str, ...]
    encoder: str
    adapter: str

    @property
    def stack(self) -> Tensor:
        """Both variants as [2, 16·n, context]: 0 unconditional, 1 conditional."""
        return torch.stack((self.null, self.tokens))

    def likeness(self, embeddings: Tensor) -> Tensor:
        """Mean cosine of each embedding [m, E] with this person's photos → [m], in [-1, 1]."""
        return (F.normalize(embeddings.float(), dim=-1) @ self.embeddings.T).mean(dim=-1)


def to_input(crops: Tensor) -> Tensor:
    """Aligned faces as uint8 RGB [n, 112, 112, 3] → encoder input [n, 3, 112, 112] in [-1, 1]."""
    return crops.permute(0, 3, 1, 2).float().div(255).sub(0.5).div(0.5)


@torch.no_grad()
def embed(encoder: FaceEncoder, crops: Tensor) -> Tensor:
    """Aligned faces uint8 [n, 112, 112, 3] → embeddings [n, E] of length 1."""
    parameter = next(encoder.parameters())
    tokens = encoder(to_input(crops).to(parameter))
    return F.normalize(encoder.embedding(tokens).float(), dim=-1).cpu()


@torch.no_grad()
def identify(encoder: FaceEncoder, adapter: Adapter, crops: Tensor, photos: Sequence[str]) -> Identity:
    """Make a person from aligned, cut-out faces: uint8 RGB [n, 112, 112, 3] and a hash per photo.

    Where the adapter asks for several looks, a photo's tokens are the mean over them; its embedding is that of the plain one.
    BadInput where encoder and adapter do not belong together.
    """
    if len(crops) == 0 or len(crops) != len(photos):
        raise BadInput(f"A person needs at least one photo with a hash each; got {len(crops)} faces and {len(photos)} hashes.")
    sizes = adapter.sizes.resampler
    if encoder.sizes.dim != sizes.in_dim:
        raise BadInput(
            f"The face encoder gives tokens of width {encoder.sizes.dim}, the adapter reads {sizes.in_dim}: "
            "choose the encoder the adapter was trained with."
        )
    tokens, local = face_tokens(encoder, adapter, crops)
    return Identity(
        tokens=tokens.flatten(0, 1).float().cpu(),
        null=null_tokens(adapter, encoder.sizes.tokens).repeat(len(crops), 1),
        embeddings=F.normalize(encoder.embedding(local).float(), dim=-1).cpu(),
        photos=tuple(photos),
        encoder=encoder.fingerprint,
        adapter=adapter.fingerprint,
    )


@torch.no_grad()
def face_tokens(encoder: FaceEncoder, adapter: Adapter, crops: Tensor) -> tuple[Tensor, Tensor]:
    """Aligned faces uint8 [n, 112, 112, 3] → face tokens [n, 16, context], the mean over the adapter's looks, each on its network's device.

    And the encoder's tokens of the plain look [n, 144, dim].
    """
    parameter, reader = next(encoder.parameters()), next(adapter.resampler.parameters())
    seen = [encoder(look) for look in looked_at(to_input(crops).to(parameter), adapter.looks)]
    return torch.stack([adapter.resampler(local.to(reader)) for local in seen]).mean(dim=0), seen[0]


@torch.no_grad()
def null_tokens(adapter: Adapter, count: int = 144) -> Tensor:
    """The unconditional face tokens [16, context]: the resampler of zeros, a constant of the adapter."""
    reader = next(adapter.resampler.parameters())
    return adapter.resampler(reader.new_zeros(1, count, adapter.sizes.resampler.in_dim))[0].float().cpu()


def single_photos(identity: Identity) -> list[Identity]:
    """The same person by each photo alone; `join` puts them together again."""
    count = len(identity.photos)
    parts = zip(*(whole.chunk(count) for whole in (identity.tokens, identity.null, identity.embeddings)), identity.photos, strict=True)
    return [
        Identity(tokens=tokens, null=null, embeddings=own, photos=(photo,), encoder=identity.encoder, adapter=identity.adapter)
        for tokens, null, own, photo in parts
    ]


def join(identities: Sequence[Identity]) -> Identity:
    """Several photos of one person, already encoded one by one, as one identity; all from the same weights."""
    first = identities[0]
    if any((one.encoder, one.adapter) != (first.encoder, first.adapter) for one in identities):
        raise BadInput("These photos were encoded with different face encoders or adapters: encode them again with one of them.")
    return Identity(
        tokens=torch.cat([one.tokens for one in identities]),
        null=torch.cat([one.null for one in identities]),
        embeddings=torch.cat([one.embeddings for one in identities]),
        photos=tuple(photo for one in identities for photo in one.photos),
        encoder=first.encoder,
        adapter=first.adapter,
    )
