"""Painting one batch: noise to latents to pictures, with CFG, ControlNets, inpainting, and identity where it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facechain_ext.engine.injection import Call, attach
from facechain_ext.errors import OutOfMemory, PictureFailed
from facechain_ext.hosts.standalone.checkpoint import Networks
from facechain_ext.hosts.standalone.controlnets import Unit, residuals
from facechain_ext.hosts.standalone.previews import Colours, Glances
from facechain_ext.hosts.standalone.samplers import Schedule
from facechain_ext.hosts.types import Finish, Paint, Painted

FACTOR = 8  # pixels per latent
LATENT, NEAREST = "Latent", "Nearest"
"""Ways to enlarge; any other is Lanczos, of pixels."""
TILED = 1024 * 1024  # pixels from which the VAE works in tiles, to spare memory


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one batch is painted from: text embeddings [1 or pictures, 77·n, width], pictures numbered from `first`, and their seeds.

    own: every picture has people of its own: their variants are 2·picture and, with the face, 2·picture + 1.
    """

    request: Paint
    cond: Tensor
    uncond: Tensor
    units: tuple[Unit, ...]
    first: int
    seeds: tuple[int, ...]
    own: bool = False

    @property
    def latent(self) -> tuple[int, int]:
        """Height and width of the latents."""
        return self.request.height // FACTOR, self.request.width // FACTOR


class Place:
    """Where the loop is; the injector asks it at every forward of the UNet. The only thing that changes while a batch is painted."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self.progress = 0.0
        self.kinds: tuple[int, ...] = ()  # one per group of rows: 0 unconditional, 1 conditional

    def __call__(self, _rows: int) -> Call:
        pictures = range(self._batch.first, self._batch.first + len(self._batch.seeds))
        return Call(
            rows=tuple(kind + 2 * picture * self._batch.own for kind in self.kinds for picture in pictures),
            pictures=tuple(pictures) * len(self.kinds),
            progress=self.progress,
            latent=self._batch.latent,
        )


Tell = Callable[[int, int, "Image.Image | None"], None]
"""Hears the finished steps of all there are after each, with a preview now and then; what it raises ends the work."""


@torch.inference_mode()
def paint_batch(networks: Networks, batch: Batch, tell: Tell, colours: Colours | None = None) -> list[Painted]:
    """Pictures of one batch. colours: to make previews with; without, there are none."""
    request, device = batch.request, networks.unet.device
    image = encode_image(networks, request.image, request) if request.image else None
    schedule = Schedule(request.sampler, request.steps, batch.seeds, device, request.strength if request.image else None)
    larger = enlarged(batch) if request.hires else None
    second = _second_schedule(request, larger, device) if larger else None
    total = schedule.steps + (second.steps if second else 0)
    with out_of_memory(request):
        latents = _pass(networks, batch, schedule, image, _steps(tell, 0, total), colours)
    if larger is None or second is None:
        return _painted(networks, batch, latents)
    with out_of_memory(larger.request):
        begun = enlarge(networks, latents, request.hires.upscaler if request.hires else "", larger)
        latents = _pass(networks, larger, second, begun, _steps(tell, schedule.steps, total), colours)
    return _painted(networks, larger, latents)


def _painted(networks: Networks, batch: Batch, latents: Tensor) -> list[Painted]:
    """Latents as pictures. PictureFailed where they hold no numbers."""
    if not latents.isfinite().all():
        kind = str(networks.unet.dtype).removeprefix("torch.")
        raise PictureFailed(f"The picture came out empty, because its numbers overflowed in {kind}: start with --dtype fp32.")
    with out_of_memory(batch.request):
        pictures = [_larger(_finished(decode(networks, row[None]), batch.request), batch.request.finish) for row in latents]
    return [Painted(image=picture, seed=seed) for picture, seed in zip(pictures, batch.seeds, strict=True)]


def _steps(tell: Tell, before: int, total: int) -> Callable[[int, Image.Image | None], None]:
    return lambda step, preview: tell(before + step, total, preview)


def enlarged(batch: Batch) -> Batch:
    """The batch of the second pass: the request in its size and with its steps, the ControlNets' pictures in that size."""
    request, hires = batch.request, batch.request.hires
    assert hires is not None
    width, height = (max(round(side * hires.scale / FACTOR), 1) * FACTOR for side in (request.width, request.height))
    larger = replace(request, width=width, height=height, steps=hires.steps or request.steps, strength=hires.strength)
    units = tuple(replace(unit, picture=_resized(unit.picture, (height, width))) for unit in batch.units)
    return replace(batch, request=larger, units=units)


def _second_schedule(request: Paint, larger: Batch, device: torch.device) -> Schedule:
    return Schedule(request.sampler, larger.request.steps, larger.seeds, device, larger.request.strength)


def enlarge(networks: Networks, latents: Tensor, upscaler: str, larger: Batch) -> Tensor:
    """Latents [n, 4, h, w] in the size of the second pass: stretched as they are, or decoded, enlarged as pictures and encoded again."""
    if upscaler == LATENT:
        return _resized(latents, larger.latent)
    how = Image.Resampling.NEAREST if upscaler == NEAREST else Image.Resampling.LANCZOS
    size = (larger.request.width, larger.request.height)
    pictures = [decode(networks, row[None]).resize(size, how) for row in latents]
    return torch.cat([encode_image(networks, picture, larger.request) for picture in pictures])


def _resized(tensor: Tensor, size: tuple[int, int]) -> Tensor:
    return torch.nn.functional.interpolate(tensor, size=size, mode="bilinear", antialias=True)


def _identity(networks: Networks, request: Paint, place: Place) -> AbstractContextManager[object]:
    if request.adapter is None or not request.persons:
        return nullcontext()
    request.adapter.place(networks.unet.device, networks.unet.dtype)
    return attach(networks.unet, request.adapter, request.persons, place)


def _pass(
    networks: Networks, batch: Batch, schedule: Schedule, image: Tensor | None, tell: Callable[[int, Image.Image | None], None],
    colours: Colours | None,
) -> Tensor:  # fmt: skip
    """One run through a schedule, the identity held. Latents stay float32.

    Every picture has its own generator, so its neighbours do not matter. image: latents to begin from, one or one per picture.
    """
    place, glances = Place(batch), Glances(colours)
    generators = [torch.Generator().manual_seed(seed) for seed in batch.seeds]
    noise = torch.stack([torch.randn(4, *batch.latent, generator=g) for g in generators]).to(networks.unet.device)
    kept = None if image is None else image.expand_as(noise)
    repaint = latent_mask(batch.request, noise.device)
    latents = schedule.begin(noise, kept)
    with _identity(networks, batch.request, place):
        for index, t in enumerate(schedule.timesteps):
            place.progress = index / len(schedule.timesteps)
            scaled = schedule.scaled(latents, t)
            seen = predict(networks, batch, scaled, t, place)
            latents = schedule.step(seen, t, latents, generators)
            if repaint is not None and kept is not None and schedule.whole(index + 1):
                latents = repaint * latents + (1 - repaint) * schedule.noised(kept, noise, index + 1)
            tell(schedule.done(index + 1), glances.at(lambda x=scaled, eps=seen, t=t: schedule.clean(x, eps, t)[0]))
    return latents


def predict(networks: Networks, batch: Batch, x: Tensor, t: Tensor, place: Place) -> Tensor:
    """The noise the UNet sees in x at t, guided by CFG. Prompts of different lengths are asked one after the other, never padded."""
    cfg = batch.request.cfg
    if cfg == 1:
        return _forward(networks, batch, x, t, (batch.cond,), (1,), place)
    if batch.cond.shape == batch.uncond.shape:
        uncond, cond = _forward(networks, batch, x, t, (batch.uncond, batch.cond), (0, 1), place).chunk(2)
    else:
        uncond, cond = (_forward(networks, batch, x, t, (text,), (k,), place) for k, text in ((0, batch.uncond), (1, batch.cond)))
    return uncond + cfg * (cond - uncond)


def _forward(
    networks: Networks, batch: Batch, x: Tensor, t: Tensor, texts: Sequence[Tensor], kinds: tuple[int, ...], place: Place
) -> Tensor:
    """One call of ControlNets and UNet on the rows [kind 0 of every picture, kind 1 of every picture]."""
    unet = networks.unet
    rows = torch.cat([x] * len(kinds)).to(unet.dtype)
    text = torch.cat([text.expand(len(x), -1, -1) for text in texts])
    added = residuals(batch.units, rows, t, text, place.progress)
    down, mid = added if added is not None else (None, None)
    place.kinds = kinds
    seen = unet(rows, t, text, down_block_additional_residuals=down, mid_block_additional_residual=mid, return_dict=False)[0]
    return seen.float()


def encode_image(networks: Networks, image: Image.Image, request: Paint) -> Tensor:
    """An image at the request's size as latents [1, 4, h, w]: the mean of what the VAE sees, so nothing is left to chance."""
    vae = networks.vae
    pixels = torch.from_numpy(np.asarray(fitted(image, request), dtype=np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
    with _tiles(networks, request.width * request.height), out_of_memory(request):
        return vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mean * vae.config["scaling_factor"]


def decode(networks: Networks, latents: Tensor) -> Image.Image:
    """One picture from latents [1, 4, h, w]."""
    vae = networks.vae
    with _tiles(networks, latents.shape[-1] * latents.shape[-2] * FACTOR**2):
        pixels = vae.decode(latents.to(vae.dtype) / vae.config["scaling_factor"], return_dict=False)[0][0]
    levels = (pixels.float() * 127.5 + 127.5).nan_to_num(0).round().clamp(0, 255)
    return Image.fromarray(levels.permute(1, 2, 0).to(torch.uint8).cpu().numpy())


@contextmanager
def _tiles(networks: Networks, pixels: int) -> Iterator[None]:
    """The VAE in tiles where the picture is large."""
    networks.vae.use_tiling = pixels > TILED
    try:
        yield
    finally:
        networks.vae.use_tiling = False


def fitted(image: Image.Image, request: Paint) -> Image.Image:
    """An image as RGB in the request's size."""
    size = (request.width, request.height)
    return image.convert("RGB") if image.size == size else image.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def fitted_mask(request: Paint) -> Image.Image | None:
    """The request's mask, grey, in the request's size; None where there is none."""
    if request.mask is None or request.image is None:
        return None
    size = (request.width, request.height)
    mask = request.mask.convert("L")
    return mask if mask.size == size else mask.resize(size, Image.Resampling.BILINEAR)


def latent_mask(request: Paint, device: torch.device) -> Tensor | None:
    """Where latents are repainted, [1, 1, h, w] of 0 and 1: wherever a pixel below is to be, so that no repainted pixel is half old."""
    mask = fitted_mask(request)
    if mask is None:
        return None
    pixels = torch.from_numpy(np.asarray(mask, dtype=np.float32))[None, None]
    return (torch.nn.functional.max_pool2d(pixels, FACTOR) > 0).float().to(device)


def _finished(picture: Image.Image, request: Paint) -> Image.Image:
    """The picture; when inpainting, with the original's own pixels wherever the mask is black."""
    mask = fitted_mask(request)
    return picture if mask is None or request.image is None else Image.composite(picture, fitted(request.image, request), mask)


def _larger(picture: Image.Image, finish: Finish | None) -> Image.Image:
    """The picture enlarged, where that was asked for; the sides are multiples of 8, as the WebUI's are."""
    if finish is None or finish.scale == 1:
        return picture
    how = Image.Resampling.NEAREST if finish.upscaler == NEAREST else Image.Resampling.LANCZOS
    return picture.resize([int(side * finish.scale // FACTOR) * FACTOR for side in picture.size], how)


@contextmanager
def out_of_memory(request: Paint) -> Iterator[None]:
    """Turn torch's out-of-memory errors, on any device, into advice."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "not enough memory" not in str(error) and "out of memory" not in str(error):
            raise
        asked = f"{request.batch} at a time of {request.width}×{request.height}"
        smaller = "fewer per batch" if request.batch > 1 else "a smaller size, or fp16"
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise OutOfMemory(f"The memory does not suffice for pictures {asked}: choose {smaller}.") from error
