"""The standalone host: pictures without a WebUI."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Generator
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from facechain_ext.errors import BadInput, MissingPackage
from facechain_ext.hosts.standalone.folders import listed, listed_loras, locate
from facechain_ext.hosts.standalone.prompts import take_loras
from facechain_ext.hosts.types import Folders, Listed, Lora, Paint, Painted, Progress, Report

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from facechain_ext.hosts.standalone.checkpoint import Networks
    from facechain_ext.hosts.standalone.controlnets import Unit
    from facechain_ext.hosts.standalone.previews import Colours

UPSCALERS = ("Lanczos", "Latent", "Nearest")
FINISHERS = ("Lanczos", "Nearest")  # latents are gone by then
"""How a picture is enlarged before the second pass: its pixels, or its latents."""
LORAS, CONTROLNETS = "Lora", "ControlNet"
"""Sub-folders of what comes with the product, named as WebUI's."""
DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


class Standalone:
    """One SD1.5 checkpoint on one device. Nothing is read before the first picture.

    device: auto, cpu, cuda (cuda:1, …) or mps; dtype: auto (fp16 on cuda and mps, else fp32), fp32, fp16 or bf16.
    """

    name = "standalone"

    def __init__(self, checkpoint: str | Path, *, device: str = "auto", dtype: str = "auto", folders: Folders) -> None:
        self.folders = folders
        self._path = locate(checkpoint, folders.checkpoints, "checkpoint")
        self._device, self._dtype = device, dtype

    def paint(self, request: Paint, report: Report | None = None) -> Generator[Painted, None, None]:
        """Make `request.count` pictures, each handed over when its batch is finished.

        BadInput, BadWeights, UnsupportedModel, OutOfMemory; whatever `report` raises ends the work between two steps.
        """
        check(request)
        prompt, tagged = take_loras(request.prompt)
        networks = self.networks
        from facechain_ext.hosts.standalone.painting import Batch, paint_batch
        from facechain_ext.hosts.standalone.text import encode

        with self._loras((*request.loras, *tagged), networks):
            cond, uncond = encode(networks, prompt, request.clip_skip), encode(networks, request.negative, request.clip_skip)
            units = self._units(request, networks)
            together = 1 if networks.unet.device.type == "cpu" else request.batch  # no faster on a CPU, and alone bit-equal in any batch
            for first in range(0, request.count, together):
                seeds = range(request.seed + first, request.seed + min(first + together, request.count))
                batch = Batch(request=request, cond=cond, uncond=uncond, units=units, first=first, seeds=tuple(seeds))
                told = partial(_tell, report, request, seeds)
                yield from paint_batch(networks, batch, told, self._colours if report else None)

    def checkpoint(self) -> str:
        """Name and short hash of the checkpoint, as WebUI states it."""
        return f"{self._path.stem} [{self._hash}]"

    def checkpoints(self) -> list[str]:
        """Checkpoints in the folder."""
        return list(listed(self.folders.checkpoints))

    def loras(self) -> list[str]:
        """LoRAs in the folder."""
        return list(listed(self.folders.loras, self._shipped(LORAS)))

    def listed_loras(self) -> list[Listed]:
        """The same with what tells them apart."""
        return listed_loras(self.folders.loras, self._shipped(LORAS))

    def upscalers(self) -> list[str]:
        """Ways to enlarge for the second pass."""
        return list(UPSCALERS)

    def finishers(self) -> list[str]:
        """Ways to enlarge a finished picture."""
        return list(FINISHERS)

    def restorers(self) -> list[str]:
        """None: those are the WebUIs'."""
        return []

    def controlnets(self) -> list[str]:
        """ControlNets in the folder."""
        return list(listed(self.folders.controlnets, self._shipped(CONTROLNETS)))

    def samplers(self) -> list[str]:
        """Samplers by the names WebUI gives them."""
        from facechain_ext.hosts.standalone.samplers import SAMPLERS

        return list(SAMPLERS)

    @cached_property
    def networks(self) -> Networks:
        """The checkpoint's networks on the device, read at the first call. MissingPackage without diffusers and transformers."""
        try:
            from facechain_ext.hosts.standalone.checkpoint import load_networks
        except ModuleNotFoundError as error:
            advice = "start by run.py, or pip install the extra [standalone]"
            raise MissingPackage(f"Painting without a WebUI needs the package {error.name}: {advice}.") from error

        device = choose_device(self._device)
        return load_networks(self._path, device, choose_dtype(self._dtype, device))

    @cached_property
    def _colours(self) -> Colours:
        from facechain_ext.hosts.standalone.previews import learn_colours

        return learn_colours(self.networks)

    @cached_property
    def _hash(self) -> str:
        digest = hashlib.sha256()
        with self._path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()[:10]

    def _shipped(self, kind: str) -> Path | None:
        return self.folders.shipped / kind if self.folders.shipped else None

    def _loras(self, loras: tuple[Lora, ...], networks: Networks) -> AbstractContextManager[None]:
        beside = self._shipped(LORAS)
        found = [(locate(lora.source, self.folders.loras, "LoRA", beside), lora.weight) for lora in loras]
        if not found:
            return nullcontext()
        from facechain_ext.hosts.standalone.loras import applied

        return applied(networks, found)

    def _units(self, request: Paint, networks: Networks) -> tuple[Unit, ...]:
        from facechain_ext.hosts.standalone.controlnets import Unit, control_picture, load_controlnet

        beside = self._shipped(CONTROLNETS)
        paths = [locate(control.model, self.folders.controlnets, "ControlNet", beside) for control in request.controls]
        models = {path: load_controlnet(path, networks.unet) for path in dict.fromkeys(paths)}
        return tuple(
            Unit(
                model=models[path],
                picture=control_picture(control.image, request.width, request.height, networks.unet.conv_in.weight),
                weight=control.weight,
                start=control.start,
                end=control.end,
            )
            for path, control in zip(paths, request.controls, strict=True)
        )


def _tell(report: Report | None, request: Paint, seeds: range, step: int, steps: int, preview: Image.Image | None) -> None:
    if report is not None:
        first = seeds.start - request.seed
        report(Progress(picture=first, pictures=request.count, step=step, steps=steps, preview=preview, together=len(seeds)))


LONGEST = 4096
LIMITS = (
    ("width", 64, LONGEST),
    ("height", 64, LONGEST),
    ("steps", 1, 1000),
    ("count", 1, 10000),
    ("batch", 1, 64),
    ("seed", 0, 2**53),
    ("strength", 0, 1),
)
"""What a request may ask for, both inclusive."""


def check(request: Paint) -> None:
    """Refuse what cannot be painted, naming the value."""
    for name, low, high in LIMITS:
        value = getattr(request, name)
        if not low <= value <= high:
            raise BadInput(f"The {name} is {value}: choose {low} to {high}.")
    for name in ("width", "height"):
        value = getattr(request, name)
        if value % 8:
            raise BadInput(f"The {name} is {value}, which is not a multiple of 8: choose {round(value / 8) * 8}.")
    if request.hires is not None:
        check_hires(request)
    if request.finish is not None:
        check_finish(request)
    if request.mask is not None and request.image is None:
        raise BadInput("There is a mask but no picture to inpaint: give the picture too.")


def check_hires(request: Paint) -> None:
    """Refuse a second pass that cannot be painted."""
    hires = request.hires
    assert hires is not None
    limits = (("scale", hires.scale, 1, 8), ("strength", hires.strength, 0, 1), ("number of steps", hires.steps, 0, 1000))
    for name, value, low, high in limits:
        if not low <= value <= high:
            raise BadInput(f"The {name} of the second pass is {value}: choose {low} to {high}.")
    longer = max(request.width, request.height) * hires.scale
    if longer > LONGEST:
        raise BadInput(f"The enlarged picture would be {longer:.0f} pixels long: choose {LONGEST} at most.")
    if hires.upscaler and hires.upscaler not in UPSCALERS:
        raise BadInput(f"There is no upscaler {hires.upscaler!r}: choose {', '.join(UPSCALERS[:-1])} or {UPSCALERS[-1]}.")


def check_finish(request: Paint) -> None:
    """Refuse what cannot be done to the finished pictures."""
    finish = request.finish
    assert finish is not None
    if finish.restorer:
        raise BadInput(f"There is no face restoration {finish.restorer!r} here: leave it out, or use a WebUI that has it.")
    if not 1 <= finish.scale <= 8:
        raise BadInput(f"The finished picture would be enlarged {finish.scale} times: choose 1 to 8.")
    longer = max(request.width, request.height) * finish.scale * (request.hires.scale if request.hires else 1)
    if longer > 2 * LONGEST:
        raise BadInput(f"The finished picture would be {longer:.0f} pixels long: choose {2 * LONGEST} at most.")
    if finish.upscaler and finish.upscaler not in FINISHERS:
        raise BadInput(f"There is no upscaler {finish.upscaler!r} for finished pictures: choose {' or '.join(FINISHERS)}.")


def choose_device(name: str) -> torch.device:
    """The device of this name, or the fastest there is for auto. BadInput where this machine has no such device."""
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, found in there.items() if found))
    if not re.fullmatch(r"(cpu|mps|cuda)(:\d+)?", name):
        raise BadInput(f"There is no device {name}: choose auto, cpu, cuda or mps.")
    device = torch.device(name)
    if not there[device.type] or (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()):
        raise BadInput(f"This machine has no device {name} that torch can use: choose auto or cpu.")
    return device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The number format of this name (fp32, fp16, bf16, or as torch calls them), or the usual one of the device for auto."""
    import torch

    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.float16
    full = DTYPES.get(name, name)
    if full not in DTYPES.values():
        raise BadInput(f"There is no number format {name}: choose auto, fp32, fp16 or bf16.")
    return getattr(torch, full)
