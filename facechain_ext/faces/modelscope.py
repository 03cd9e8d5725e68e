"""Two models of the published system from a local ModelScope folder: FairFace attributes and M2FP human parsing.

Nothing is downloaded and no code of the hub runs. FairFace is a ResNet-34, written out here, so its weight file is enough.
M2FP is a deformable-attention network whose layers only exist in the `modelscope` and `mmcv` packages; it is offered where
both are installed beside its weights, and was not tried here, as mmcv has to be compiled. Its card forbids commercial use.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from facechain_ext.errors import BadWeights, MissingPackage
from facechain_ext.faces.ages import AGES
from facechain_ext.faces.types import Attributes, Capability, Face, Parsing
from facechain_ext.vision.align import align

if TYPE_CHECKING:
    import torch

LICENCE = "FairFace: CC BY 4.0 upstream; M2FP: no commercial use"
FAIRFACE = "cv_resnet34_face-attribute-recognition_fairface"
M2FP = "cv_resnet101_image-multiple-human-parsing"
WEIGHTS, CONFIGURATION = "pytorch_model.pt", "configuration.json"
NAMESPACES = ("damo", "iic")
LAYOUTS = (".", "hub", "models", "hub/models")  # of a cache folder, by the hub's versions
CODE_KEYS = ("allow_remote", "plugins", "trust_remote_code")
RACES, GENDERS = 7, ("male", "female")  # the 18 outputs: races, genders, then AGES
FAIRFACE_SIZE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BLOCKS = (3, 4, 6, 3)  # of ResNet-34, by layer; 64, 128, 256, 512 channels
NORM, EPS = ("running_mean", "running_var", "weight", "bias"), 1e-5
CLOTHES = ("UpperClothes", "Dress", "Coat", "Pants", "Scarf", "Skirt")
MIN_SCORE = 0.8


def find(folder: Path | None, model: str) -> Path | None:
    """Where that model's weights lie in a cache folder of any layout, or None."""
    if folder is None:
        return None
    places = [folder / layout / space / model for layout in LAYOUTS for space in NAMESPACES] + [folder / model]
    return next((place for place in places if (place / WEIGHTS).is_file()), None)


def check(folder: Path | None) -> tuple[frozenset[Capability], str]:
    """What can be done with that folder, and what is missing for the rest (empty: nothing). Imports nothing."""
    able: set[Capability] = set()
    missing: list[str] = []
    if find(folder, FAIRFACE):
        able.add("attributes")
    else:
        missing.append(f"FairFace needs {FAIRFACE}/{WEIGHTS} in {folder or 'a ModelScope folder'}")
    reason = _m2fp_missing(folder)
    if reason:
        missing.append(reason)
    else:
        able.add("parse")
    return frozenset(able), "; ".join(missing) + "." if missing else ""


class Modelscope:
    """FairFace and M2FP, as far as their weights lie in the folder; it finds no faces itself."""

    name = "modelscope"

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self.capabilities, missing = check(folder)
        if not self.capabilities:
            raise MissingPackage(missing)
        self._folder, self._device = folder, device
        self._loaded: dict[str, Any] = {}

    def faces(self, image: Image.Image) -> list[Face]:
        """Not told by this backend."""
        raise MissingPackage("The modelscope backend finds no faces: use it together with another one.")

    def parse(self, image: Image.Image, face: Face) -> Parsing:
        """Masks of the person in the face's box, by M2FP."""
        place = find(self._folder, M2FP)
        if "parse" not in self.capabilities or place is None:
            raise MissingPackage(_m2fp_missing(self._folder) + ".")
        if M2FP not in self._loaded:
            from modelscope.pipelines import pipeline

            self._loaded[M2FP] = pipeline("image-segmentation", model=str(place), device=self._device)
        return of_person(self._loaded[M2FP](image), face)

    def attributes(self, image: Image.Image, face: Face) -> Attributes:
        """Gender and age group by FairFace, from the aligned face (FACTS §1.2.3)."""
        place = find(self._folder, FAIRFACE)
        if place is None:
            raise MissingPackage(check(self._folder)[1])
        if FAIRFACE not in self._loaded:
            self._loaded[FAIRFACE] = read_fairface(place / WEIGHTS, self._device)
        scores = resnet34(self._loaded[FAIRFACE], fairface_input(align(image, face.points)).to(self._device))[0]
        gender = scores[RACES : RACES + len(GENDERS)].argmax()
        age = scores[RACES + len(GENDERS) :].argmax()
        return Attributes(gender="male" if int(gender) == 0 else "female", age=AGES[int(age)])

    def embed(self, image: Image.Image, face: Face) -> np.ndarray:
        """Not told by this backend."""
        raise MissingPackage("The modelscope backend cannot tell persons apart: use the face encoder, or add insightface models.")


# ---- FairFace ----------------------------------------------------------------------------------------------------


def fairface_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights of a ResNet-34 with 18 outputs, under torchvision's names."""
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (64, 3, 7, 7), "fc.weight": (18, 512), "fc.bias": (18,)}
    norms = {"bn1": 64}
    before = 64
    for layer, count in enumerate(BLOCKS):
        width = 64 << layer
        for block in range(count):
            name = f"layer{layer + 1}.{block}"
            shapes |= {f"{name}.conv1.weight": (width, before, 3, 3), f"{name}.conv2.weight": (width, width, 3, 3)}
            norms |= {f"{name}.bn1": width, f"{name}.bn2": width}
            if before != width:
                shapes[f"{name}.downsample.0.weight"] = (width, before, 1, 1)
                norms[f"{name}.downsample.1"] = width
            before = width
    return shapes | {f"{norm}.{part}": (size,) for norm, size in norms.items() for part in NORM}


def read_fairface(path: Path, device: str = "cpu") -> dict[str, torch.Tensor]:
    """FairFace's weights, read as weights only. BadWeights names the first that are missing or of another shape."""
    from facechain_ext.engine.checkpoints import read_tensors

    tensors = {key.removeprefix("module."): value for key, value in read_tensors(path)[0].items()}
    wrong = [key for key, shape in fairface_shapes().items() if key not in tensors or tuple(tensors[key].shape) != shape]
    if wrong:
        raise BadWeights(f"{path} is not FairFace's ResNet-34 (missing or misshapen: {', '.join(wrong[:3])}): get the file again.")
    return {key: tensors[key].to(device).float() for key in fairface_shapes()}


def fairface_input(crop: np.ndarray) -> torch.Tensor:
    """An aligned face, uint8 RGB [112, 112, 3], as the network takes it: [1, 3, 224, 224]."""
    import torch

    resized = Image.fromarray(crop).resize((FAIRFACE_SIZE, FAIRFACE_SIZE), Image.Resampling.BILINEAR)
    pixels = (np.asarray(resized, np.float32) / 255 - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def resnet34(weights: Mapping[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Scores [b, classes] of pictures [b, 3, H, W] (He et al. 2015, with the projection in the first block of layers 2–4)."""
    import torch
    import torch.nn.functional as F

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        mean, var, gain, bias = (weights[f"{name}.{part}"] for part in NORM)
        return F.batch_norm(x, mean, var, gain, bias, eps=EPS)

    def convolve(x: torch.Tensor, name: str, stride: int = 1) -> torch.Tensor:
        kernel = weights[f"{name}.weight"]
        return F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)

    with torch.no_grad():
        x = F.max_pool2d(F.relu(norm(convolve(x, "conv1", 2), "bn1")), 3, stride=2, padding=1)
        for layer, count in enumerate(BLOCKS):
            for block in range(count):
                name, stride = f"layer{layer + 1}.{block}", 2 if layer and not block else 1
                y = F.relu(norm(convolve(x, f"{name}.conv1", stride), f"{name}.bn1"))
                y = norm(convolve(y, f"{name}.conv2"), f"{name}.bn2")
                if stride == 2:
                    x = norm(convolve(x, f"{name}.downsample.0", stride), f"{name}.downsample.1")
                x = F.relu(x + y)
        return F.linear(x.mean((2, 3)), weights["fc.weight"], weights["fc.bias"])


# ---- M2FP --------------------------------------------------------------------------------------------------------


def _m2fp_missing(folder: Path | None) -> str:
    """Why M2FP cannot be used, or nothing."""
    place = find(folder, M2FP)
    if place is None:
        return f"M2FP needs {M2FP}/{WEIGHTS} in {folder or 'a ModelScope folder'}"
    absent = [name for name in ("modelscope", "mmcv") if find_spec(name) is None]
    if absent:
        return f"M2FP needs the packages {' and '.join(absent)}"
    if _brings_code(place):
        return f"M2FP is not used, as {place} brings program code of its own"
    return ""


def _brings_code(place: Path) -> bool:
    """Whether the `modelscope` package would run code out of that folder."""
    if any(place.rglob("*.py")):
        return True
    try:
        settings = json.loads((place / CONFIGURATION).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True  # what cannot be read cannot be cleared
    return not isinstance(settings, dict) or any(settings.get(key) for key in CODE_KEYS)


def of_person(result: Mapping[str, Any], face: Face) -> Parsing:
    """Masks of the person to whom the face belongs out of M2FP's lists: masks [H, W] 0/1, labels, scores.

    Of each kind the mask that covers the face's box most counts, so that in a group the chosen person is cut out.
    """
    entries = zip(result["masks"], result["labels"], result["scores"], strict=True)
    sure = [(np.asarray(mask) > 0, str(label)) for mask, label, score in entries if score > MIN_SCORE]
    clothes = [mask for mask, label in sure if label in CLOTHES]
    person = _nearest([mask for mask, label in sure if label == "Human"], face)
    inside = [mask & person for mask in clothes] if person is not None else clothes
    return Parsing(
        face=_nearest([mask for mask, label in sure if label == "Face"], face),
        hair=_nearest([mask for mask, label in sure if label == "Hair"], face, grow=0.5),
        person=person,
        clothes=np.logical_or.reduce(inside) if inside else None,
    )


def _nearest(masks: list[np.ndarray], face: Face, grow: float = 0.0) -> np.ndarray | None:
    """The mask with most pixels in the face's box, the box grown by that share on every side; None where none has any."""
    x, y = grow * face.width, grow * face.height
    left, top, right, bottom = (max(int(edge), 0) for edge in (face.box[0] - x, face.box[1] - y, face.box[2] + x, face.box[3] + y))
    covers = [int(mask[top:bottom, left:right].sum()) for mask in masks]
    return masks[int(np.argmax(covers))] if covers and max(covers) else None
