"""What the face encoder sees otherwise in a picture that came back from its latents: who somebody is, where pixels would not miss it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from facechain_ext.engine.checkpoints import read_encoder
from facechain_ext.engine.encoder import FaceEncoder
from facechain_ext.training.checkpoint import given_or_trained
from facechain_ext.training.encoder import FINISHED as ENCODER
from facechain_ext.vision.align import SIZE


class FaceLoss:
    """A frozen face encoder beside a decoder that learns."""

    def __init__(self, encoder: FaceEncoder) -> None:
        self.encoder = encoder.eval().requires_grad_(False)

    @classmethod
    def of(cls, path: str, device: torch.device) -> FaceLoss:
        """By a face encoder's file; empty: the one trained here, else the product's. BadWeights."""
        return cls(read_encoder(given_or_trained(path, "encoder", ENCODER)).to(device))

    def __call__(self, told: Tensor, drawn: Tensor, matrices: Tensor, heads: Tensor) -> Tensor:
        """1 − cosine of the embeddings, plus that of every token, mean over pictures.

        told, drawn: [B, 3, H, W] in [-1, 1]; matrices: picture → crop, float32 [B, 2, 3]; heads: what is not blackened [B, 1, H, W].
        """
        with torch.no_grad():
            wanted = self.encoder(_crops(drawn, matrices, heads))
        seen = self.encoder(_crops(told, matrices, heads))
        whole = 1 - F.cosine_similarity(self.encoder.embedding(seen), self.encoder.embedding(wanted), dim=1)
        return whole.mean() + (1 - F.cosine_similarity(seen, wanted, dim=2)).mean()


def _crops(pictures: Tensor, matrices: Tensor, heads: Tensor) -> Tensor:
    """Aligned heads before black [B, 3, 112, 112] in [-1, 1], bilinear."""
    height, width = pictures.shape[2:]
    down, across = torch.meshgrid(torch.arange(SIZE, device=pictures.device), torch.arange(SIZE, device=pictures.device), indexing="ij")
    places = torch.stack((across, down)).float().flatten(1)
    back = torch.linalg.inv(matrices[:, :, :2]) @ (places - matrices[:, :, 2:])
    scale = torch.tensor([width - 1, height - 1], device=pictures.device)[:, None] / 2
    grid = (back / scale - 1).unflatten(2, (SIZE, SIZE)).permute(0, 2, 3, 1)
    return F.grid_sample((pictures + 1) * heads, grid, mode="bilinear", padding_mode="zeros", align_corners=True) - 1
