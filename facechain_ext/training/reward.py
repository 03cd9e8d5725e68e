"""Deep reward tuning of a FACT adapter: it paints faces itself, and is pulled to where they look like the people they should show.

The error of the noise counts every number of a picture alike, and who somebody is takes few of them. So pictures are painted in a few
steps as a host would, with guidance; the face encoder looks at the faces it finds in them and must tell whose they are among everybody.
Way back: DRTune (Wu et al., ECCV 2024): what enters the UNet has no gradient, what it answers at some of the steps has, along the
sampler's own sum. The published recipe (FACTS §1.1) has nothing of it; InstantID's and PuLID's identity loss is its kin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from facechain_ext.engine.encoder import FaceEncoder
from facechain_ext.errors import NoFace
from facechain_ext.faces.types import FaceAnalyser
from facechain_ext.training.noise import ALPHAS, STEPS
from facechain_ext.training.pixels import to_pictures
from facechain_ext.vision.align import SIZE, similarity
from facechain_ext.vision.masks import head_from_parsing

MOST = 2.0
"""Cap of √(1/SNR) in the way back: the first steps' answers are divided by nearly nothing, and would drown all others' gradients."""

Answer = Callable[[Tensor, Tensor], Tensor]
"""Noisy latents [R·B, 4, h, w] and their steps of the noise [R·B] → noise, for R turns of the same B pictures."""


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What the critic found. loss: mean over the faces that were found, with gradient; right: share of them nearest to their own."""

    loss: Tensor
    right: Tensor
    found: int


class Critic:
    """Whose a painted face is, by the face encoder, among all people of the training."""

    def __init__(self, encoder: FaceEncoder, eyes: FaceAnalyser, people: Tensor, scale: float = 16.0) -> None:
        """people: everybody's mean embedding, unit vectors [P, E]; scale of the cosines in the softmax."""
        self.encoder, self.eyes, self.people, self.scale = encoder, eyes, people, scale

    def look(self, pictures: Tensor, who: Tensor) -> Looked:
        """pictures [B, 3, H, W] in [-1, 1]; who: rows of `people` [B]. Pictures without a face count for nothing."""
        places = [_place(self.eyes, one) for one in to_pictures(pictures)]
        seen = [number for number, place in enumerate(places) if place is not None]
        if not seen:
            nothing = pictures.sum() * 0
            return Looked(loss=nothing, right=nothing.detach(), found=0)
        matrices = np.stack([place[0] for place in places if place is not None])
        masks = torch.from_numpy(np.stack([place[1] for place in places if place is not None])).to(pictures)
        crops = cut(pictures[seen], masks[:, None], matrices)
        cosines = F.normalize(self.encoder.embedding(self.encoder(crops)).float(), dim=1) @ self.people.T
        wanted = who[seen]
        right = (cosines.argmax(dim=1) == wanted).float().mean()
        return Looked(loss=F.cross_entropy(self.scale * cosines, wanted), right=right, found=len(seen))


def _place(eyes: FaceAnalyser, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Of the largest face: the matrix that aligns it [2, 3], and the head's mask, float32 [H, W]."""
    image = Image.fromarray(picture)
    try:
        face = eyes.faces(image)[0]
        parsing = eyes.parse(image, face)
    except (IndexError, NoFace):
        return None
    return similarity(face.points), head_from_parsing(*map(np.asarray, (parsing.face, parsing.hair, parsing.person))).astype(np.float32)


def cut(pictures: Tensor, masks: Tensor, matrices: np.ndarray) -> Tensor:
    """Heads before black, aligned, as the encoder takes them, differentiable: [B, 3, 112, 112] in [-1, 1].

    pictures [B, 3, H, W] in [-1, 1]; masks [B, 1, H, W]; matrices: from pixels of the picture to those of the crop [B, 2, 3].
    """
    height, width = pictures.shape[2:]
    whole = np.concatenate([matrices, np.tile([[[0.0, 0.0, 1.0]]], (len(matrices), 1, 1))], axis=1)
    back = np.linalg.inv(whole)  # pixels of the crop → pixels of the picture
    # grid_sample counts from -1 to 1 between the outer borders of the first and the last pixel.
    from_crop = np.array([[SIZE / 2, 0, (SIZE - 1) / 2], [0, SIZE / 2, (SIZE - 1) / 2], [0, 0, 1]])
    to_grid = np.array([[2 / width, 0, 1 / width - 1], [0, 2 / height, 1 / height - 1], [0, 0, 1]])
    theta = torch.from_numpy((to_grid @ back @ from_crop)[:, :2]).to(pictures)
    grid = F.affine_grid(theta, [len(pictures), 3, SIZE, SIZE], align_corners=False)
    return F.grid_sample((pictures + 1) * masks, grid, mode="bilinear", padding_mode="zeros", align_corners=False) - 1


def steps_of(count: int) -> list[int]:
    """The steps of the noise that are painted at, from all noise on, evenly."""
    return torch.linspace(STEPS - 1, 0, count + 1)[:-1].round().long().tolist()


def paint(start: Tensor, count: int, graded: Sequence[int], answer: Answer, learnt: Answer) -> Tensor:
    """Latents painted by DDIM in `count` steps from noise `start` [B, 4, h, w]; their gradient goes to what is learnt at the graded steps.

    answer: the guided noise. learnt: the part of it that has a gradient, asked for once more for all graded steps together when the
    picture is done: only then is anything kept for the way back.
    """
    times = steps_of(count)
    latents, kept = start, {}
    with torch.no_grad():
        for number, (now, after) in enumerate(zip(times, [*times[1:], -1], strict=True)):
            noise = answer(latents, torch.full((len(latents),), now, device=latents.device))
            if number in graded:
                kept[number] = latents
            alpha, ahead = ALPHAS[now], ALPHAS[after] if after >= 0 else torch.tensor(1.0)
            clean = (latents - (1 - alpha).sqrt() * noise) / alpha.sqrt()
            latents = ahead.sqrt() * clean + (1 - ahead).sqrt() * noise
    turns = sorted(kept)
    asked = torch.tensor([times[number] for number in turns], device=start.device).repeat_interleave(len(start))
    told = learnt(torch.cat([kept[number] for number in turns]), asked)
    ratio = ((1 - ALPHAS) / ALPHAS).sqrt().clamp(max=MOST).to(start.device)[asked][:, None, None, None]
    moved = ((told.detach() - told) * ratio).unflatten(0, (len(turns), len(start))).sum(dim=0)  # 0, with a gradient
    return latents + moved


def means_of(encoder: FaceEncoder, tokens: np.ndarray, who: np.ndarray, batch: int = 256) -> Tensor:
    """Everybody's mean embedding over their faces' tokens [N, T, dim], unit vectors [P, E]; who: rows of the result [N]."""
    device = encoder.pos_embed.device
    found = []
    with torch.no_grad():
        for first in range(0, len(tokens), batch):
            part = torch.from_numpy(tokens[first : first + batch].astype(np.float32)).to(device)
            found.append(F.normalize(encoder.embedding(part), dim=1))
    total = torch.zeros(int(who.max()) + 1, found[0].shape[1], device=device)
    total.index_add_(0, torch.from_numpy(who.astype(np.int64)).to(device), torch.cat(found))
    return F.normalize(total, dim=1)
