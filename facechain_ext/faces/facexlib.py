"""RetinaFace-R50 and ParseNet of facexlib, which A1111 and Forge ship for face restoration.

The same five points as the published preprocessing (FACTS §2.7.6). facexlib's own loaders would download a missing file, so
its network classes are filled here from files that must already lie in the host's folder. facexlib needs torchvision.
"""

from __future__ import annotations

import threading
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

from facechain_ext.errors import BadWeights, MissingPackage
from facechain_ext.faces.types import Attributes, Capability, Face, Parsing
from facechain_ext.vision.align import similarity, warp
from facechain_ext.vision.pictures import shrink
from facechain_ext.vision.quality import angles

if TYPE_CHECKING:
    import torch

LICENCE = "MIT"
DETECTOR, PARSER = "detection_Resnet50_Final.pth", "parsing_parsenet.pth"
ABLE: frozenset[Capability] = frozenset({"detect", "landmarks", "parse"})
MIN_SCORE, NMS = 0.9, 0.4
LONGEST = 1500
PARSE_SIZE = 512
# Where the five points lie in the 512×512 crop that ParseNet was trained on (FFHQ's alignment).
PARSE_TEMPLATE = np.array(
    [(192.98138, 239.94708), (318.90277, 240.1936), (256.63416, 314.01935), (201.26117, 371.41043), (313.08905, 371.15118)]
)
# CelebAMask's order of classes: 0 background, 1 skin, 2 nose, 3 glasses, 4–9 eyes, brows, ears, 10–12 mouth and lips,
# 13 hair, 14 hat, 15 earring, 16 necklace, 17 neck, 18 clothes.
FACE_LABELS, HAIR_LABELS, CLOTHES_LABELS = (1, 2, 3, 4, 5, 6, 7, 10, 11, 12), (8, 9, 13, 15), (18,)


def check(weights: Path | None) -> tuple[frozenset[Capability], str]:
    """What can be done with the files in that folder, and what is missing (empty: nothing). Opens and imports nothing."""
    if find_spec("facexlib") is None:
        return frozenset(), "facexlib is not installed: A1111 and Forge bring it."
    absent = [name for name in (DETECTOR, PARSER) if weights is None or not (weights / name).is_file()]
    if absent:
        names, place = " and ".join(absent), weights or "its folder"
        return frozenset(), f"facexlib lacks {names} in {place}: restore one face in the WebUI to get them."
    return ABLE, ""


class Facexlib:
    """Detection and parsing by facexlib's networks, loaded at the first call."""

    name = "facexlib"
    capabilities: frozenset[Capability] = ABLE

    def __init__(self, weights: Path, device: str = "cpu") -> None:
        able, missing = check(weights)
        if not able:
            raise MissingPackage(missing)
        self._weights, self._device = weights, device
        self._networks: dict[str, Any] = {}
        self._lock = threading.Lock()

    def faces(self, image: Image.Image) -> list[Face]:
        """Faces of the picture, largest first."""
        import torch

        small = shrink(image, LONGEST)
        with self._lock, torch.no_grad():  # the detector keeps size and scale of the picture it looks at in itself
            found = self._network(DETECTOR).detect_faces(np.asarray(small)[..., ::-1].copy(), MIN_SCORE, NMS)
        factor = np.array([image.width / small.width, image.height / small.height])
        return sorted((_face(row, factor) for row in np.asarray(found, dtype=np.float64)), key=lambda face: -face.area)

    def parse(self, image: Image.Image, face: Face) -> Parsing:
        """Face, hair (with ears) and clothes as ParseNet labels them in the face's surroundings; the person stays unknown."""
        import torch

        matrix = similarity(face.points, PARSE_TEMPLATE)
        crop = warp(image, matrix, PARSE_SIZE)
        pixels = torch.from_numpy(crop).permute(2, 0, 1)[None].to(self._device, torch.float32) / 127.5 - 1
        with torch.no_grad():
            labels = self._network(PARSER)(pixels)[0][0].argmax(0).to("cpu", torch.uint8).numpy()
        whole = cv2.warpAffine(labels, matrix, image.size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP, borderValue=0)
        return Parsing(face=np.isin(whole, FACE_LABELS), hair=np.isin(whole, HAIR_LABELS), clothes=np.isin(whole, CLOTHES_LABELS))

    def attributes(self, image: Image.Image, face: Face) -> Attributes:
        """Not told by this backend."""
        raise MissingPackage("facexlib tells neither age nor gender: name the subject, or add insightface or FairFace.")

    def embed(self, image: Image.Image, face: Face) -> np.ndarray:
        """Not told by this backend."""
        raise MissingPackage("facexlib cannot tell persons apart: use the face encoder, or add insightface models.")

    def _network(self, name: str) -> Any:
        if name not in self._networks:
            self._networks[name] = _load(name, self._weights / name, self._device)
        return self._networks[name]


def _load(name: str, path: Path, device: str) -> torch.nn.Module:
    """The network of that file with its weights, strictly. BadWeights where they do not fit."""
    from facechain_ext.engine.checkpoints import read_tensors

    if name == DETECTOR:
        from facexlib.detection.retinaface import RetinaFace

        network = RetinaFace(network_name="resnet50", half=False, device=device)
    else:
        from facexlib.parsing.parsenet import ParseNet

        network = ParseNet(in_size=PARSE_SIZE, out_size=PARSE_SIZE, parsing_ch=19)
    tensors = {key.removeprefix("module."): value for key, value in read_tensors(path)[0].items()}
    try:
        network.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise BadWeights(f"{path} does not fit facexlib's network ({str(error).splitlines()[-1].strip()}): get the file again.") from error
    return network.eval().to(device)


def _face(row: np.ndarray, factor: np.ndarray) -> Face:
    """A row of the detector: box, score, five points; factor: from the shrunken picture to the given one."""
    left, top, right, bottom = map(float, row[:4] * np.tile(factor, 2))
    points = row[5:15].reshape(5, 2) * factor
    yaw, pitch, roll = angles(points)
    one, two, three, four, five = ((float(x), float(y)) for x, y in points)
    return Face(box=(left, top, right, bottom), points=(one, two, three, four, five), score=float(row[4]), yaw=yaw, pitch=pitch, roll=roll)
