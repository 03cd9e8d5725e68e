"""Whether a finished picture shows nudity: Stable Diffusion's own safety checker, or NudeNet. Nothing is fetched here.

The safety checker's weights (608 million bytes in half precision, 1.2 billion in full) come with the terms of Stable Diffusion 1.x,
CreativeML OpenRAIL-M. NudeNet's package says MIT in its metadata and carries the text of AGPL-3.0; its 12 MB of weights lie in it. It is
used where a person has installed it, and never installed by us.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from facechain_ext.errors import BadWeights, MissingPackage
from facechain_ext.log import log

if TYPE_CHECKING:
    from facechain_ext.faces.types import PictureCheck

FOLDER = "safety_checker"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
REPOSITORIES = (("CompVis/stable-diffusion-safety-checker", ""), ("stable-diffusion-v1-5/stable-diffusion-v1-5", FOLDER))
"""Where other programs keep the safety checker in Hugging Face's cache: repository and folder within it."""

SIDE = 224
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""CLIP's input."""
STRICTER = 0.02
"""Cosine that is added where one looks strictly; the checker's own step for special care is 0.01."""

EXPOSED: Mapping[str, float] = {
    "FEMALE_BREAST_EXPOSED": 0.45,
    "FEMALE_GENITALIA_EXPOSED": 0.35,
    "MALE_GENITALIA_EXPOSED": 0.35,
    "BUTTOCKS_EXPOSED": 0.45,
    "ANUS_EXPOSED": 0.35,
}
"""What NudeNet may see, and from which score it is objected to."""
EXPOSED_STRICT: Mapping[str, float] = {
    **dict.fromkeys(EXPOSED, 0.25),
    "MALE_BREAST_EXPOSED": 0.35,
    "BELLY_EXPOSED": 0.4,
    "FEMALE_GENITALIA_COVERED": 0.35,
    "BUTTOCKS_COVERED": 0.5,
}


def picture_check(models: Path | None, device: str = "cpu") -> PictureCheck | None:
    """The check that can be used here, loaded at its first picture; None where there is none. models: the folder with `safety_checker`."""
    folder = checker_folder(models)
    if folder is not None:
        return SafetyChecker(folder, device)
    return NudeNet() if find_spec("nudenet") is not None else None


def checker_folder(models: Path | None) -> Path | None:
    """Where the safety checker lies, if it can be used: in the models folder, else in Hugging Face's cache."""
    if find_spec("diffusers") is None or find_spec("transformers") is None:
        return None
    if models is not None and _whole(models / FOLDER):
        return models / FOLDER
    return next((path for name, within in REPOSITORIES if (path := _cached(name, within)) is not None and _whole(path)), None)


def _whole(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any((folder / name).is_file() for name in WEIGHTS)


def _cached(repository: str, within: str) -> Path | None:
    if find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, f"{within}/config.json" if within else "config.json")
    return Path(found).parent if isinstance(found, str) else None


class SafetyChecker:
    """Stable Diffusion's safety checker: how near a picture is, in CLIP's eyes, to concepts that were chosen with it."""

    name = "Stable Diffusion's safety checker"

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self._folder, self._device = folder, device
        self._lock = threading.Lock()
        self._network: Any = None

    def objects(self, picture: Image.Image, *, strict: bool = False) -> bool:
        """Whether the picture, or the square in its middle, is nearer to a concept than that concept's threshold. BadWeights."""
        import torch

        network = self._loaded()
        views = torch.from_numpy(np.stack([clip_input(picture), clip_input(_middle(picture))]))
        with torch.inference_mode():
            seen = network.visual_projection(network.vision_model(views.to(network.device, network.dtype))[1]).float()
            care = _above(seen, network.special_care_embeds, network.special_care_embeds_weights)
            concepts = _above(seen, network.concept_embeds, network.concept_embeds_weights)
        extra = (care > 0).any(-1, keepdim=True) * 0.01 + (STRICTER if strict else 0.0)
        return bool((concepts + extra > 0).any())

    def _loaded(self) -> Any:
        from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
        from safetensors import SafetensorError

        with self._lock:
            if self._network is None:
                try:
                    network: Any = StableDiffusionSafetyChecker.from_pretrained(str(self._folder), local_files_only=True)
                except (OSError, ValueError, RuntimeError, SafetensorError) as error:
                    raise BadWeights(f"The safety checker in {self._folder} cannot be read: put it there again, or remove it.") from error
                self._network = network.float().eval().to(self._device)
            return self._network


def _above(seen: Any, embeds: Any, thresholds: Any) -> Any:
    """Cosine of pictures with each concept, less the concept's threshold: [pictures, concepts]."""
    from torch.nn.functional import normalize

    return normalize(seen) @ normalize(embeds.float()).T - thresholds.float()


def clip_input(picture: Image.Image) -> np.ndarray:
    """A picture as CLIP sees it, float32 [3, 224, 224]."""
    small = picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    pixels = (np.asarray(small, dtype=np.float32) / 255 - np.asarray(MEAN)) / np.asarray(DEVIATION)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)


def _middle(picture: Image.Image) -> Image.Image:
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.crop((left, top, left + side, top + side))


class NudeNet:
    """NudeNet's detector of exposed parts of the body."""

    name = "NudeNet"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._detector: Any = None

    def objects(self, picture: Image.Image, *, strict: bool = False) -> bool:
        """Whether a part is seen that is not to be shown. MissingPackage where NudeNet cannot be loaded."""
        limits = EXPOSED_STRICT if strict else EXPOSED
        bgr = np.ascontiguousarray(np.asarray(picture.convert("RGB"))[:, :, ::-1])
        with self._lock:
            seen = self._loaded().detect(bgr)
        found = [one for one in seen if one["score"] >= limits.get(one["class"], 2.0)]
        if found:
            log.info("NudeNet saw %s.", ", ".join(f"{one['class']} ({one['score']:.2f})" for one in found))
        return bool(found)

    def _loaded(self) -> Any:
        if self._detector is None:
            try:
                from nudenet import NudeDetector
            except ImportError as error:
                raise MissingPackage(f"NudeNet is installed but cannot be loaded ({error}): install it anew, or remove it.") from error
            self._detector = NudeDetector()
        return self._detector
