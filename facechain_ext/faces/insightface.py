"""insightface on a folder of .onnx files that the person has put there; nothing is ever downloaded.

Its published models (buffalo_l, antelopev2) are for non-commercial research only. The files are told apart by the shapes of
their tensors, as insightface itself does, not by their names.
"""

from __future__ import annotations

import contextlib
import io
import threading
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from facechain_ext.errors import BadWeights, MissingPackage
from facechain_ext.faces.ages import group_of
from facechain_ext.faces.types import Attributes, Capability, Face, Parsing
from facechain_ext.log import log
from facechain_ext.vision.quality import angles

LICENCE = "non-commercial research only (insightface models)"
WHAT_GOES_WHERE = "put det_10g.onnx, w600k_r50.onnx and genderage.onnx of insightface's buffalo_l there"
UNUSED = ("1k3d68", "2d106det", "inswapper")  # large, and of no use here
TASKS: dict[str, tuple[Capability, ...]] = {"detection": ("detect", "landmarks"), "recognition": ("embed",), "genderage": ("attributes",)}
MIN_SCORE = 0.5
DETECT_SIZE, CLOSE_UP_SIZE = (640, 640), (128, 128)
_STDOUT = threading.Lock()


def check(folder: Path | None) -> tuple[frozenset[Capability], str]:
    """What a folder promises by its file names, and what is missing (empty: nothing). Opens and imports nothing."""
    if folder is None or not folder.is_dir():
        return frozenset(), f"There is no insightface folder {folder or ''}".rstrip() + f": make it and {WHAT_GOES_WHERE}."
    if not files(folder):
        return frozenset(), f"{folder} has no .onnx files: {WHAT_GOES_WHERE}."
    absent = [name for name in ("insightface", "onnxruntime") if find_spec(name) is None]
    if absent:
        return frozenset(), f"{' and '.join(absent)} is not installed: pip install insightface onnxruntime."
    return frozenset({"detect", "landmarks", "embed", "attributes"}), ""


def files(folder: Path) -> list[Path]:
    """The model files of a folder that are of use here."""
    return sorted(path for path in folder.glob("*.onnx") if path.is_file() and not path.stem.startswith(UNUSED))


class Insightface:
    """Detection, recognition and attributes, as far as the folder has models for them."""

    name = "insightface"

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        """device: "cuda" asks onnxruntime for the GPU first. BadWeights for a folder without a usable detector."""
        able, missing = check(folder)
        if not able:
            raise (MissingPackage if "installed" in missing else BadWeights)(missing)
        self._models = _load(folder.absolute(), device)
        self.capabilities: frozenset[Capability] = frozenset(able for task in self._models for able in TASKS[task])

    def faces(self, image: Image.Image) -> list[Face]:
        """Faces of the picture, largest first."""
        bgr = _bgr(image)
        detector = self._models["detection"]
        boxes, points = detector.detect(bgr)
        if not len(boxes) and not _fixed_size(detector):
            boxes, points = detector.detect(bgr, input_size=CLOSE_UP_SIZE)  # a face that fills the picture
        return sorted((_face(box, five) for box, five in zip(boxes, points, strict=True)), key=lambda face: -face.area)

    def parse(self, image: Image.Image, face: Face) -> Parsing:
        """Not told by this backend."""
        raise MissingPackage("insightface makes no masks: use the embedded face analysis or facexlib for them.")

    def attributes(self, image: Image.Image, face: Face) -> Attributes:
        """Gender, and the age group that the judged age falls into."""
        from insightface.app.common import Face as Seen

        seen = Seen(bbox=np.array(face.box, np.float32), kps=np.array(face.points, np.float32))
        gender, years = self._model("genderage").get(_bgr(image), seen)
        return Attributes(gender="male" if int(gender) == 1 else "female", age=group_of(years))

    def embed(self, image: Image.Image, face: Face) -> np.ndarray:
        """ArcFace's vector, float32 of length 1."""
        from insightface.app.common import Face as Seen

        vector = self._model("recognition").get(_bgr(image), Seen(kps=np.array(face.points, np.float32)))
        return (vector / max(float(np.linalg.norm(vector)), 1e-12)).astype(np.float32)

    def _model(self, task: str) -> Any:
        if task not in self._models:
            raise MissingPackage(f"The insightface folder has no model for {task}: {WHAT_GOES_WHERE}.")
        return self._models[task]


def _load(folder: Path, device: str) -> dict[str, Any]:
    """One model per task, the first file by name wins."""
    providers = ["CPUExecutionProvider"] if device == "cpu" else ["CUDAExecutionProvider", "CPUExecutionProvider"]
    models: dict[str, Any] = {}
    for path in files(folder):
        model = _open(path, providers)
        task = getattr(model, "taskname", None)
        if task not in TASKS or task in models:
            log.info("%s is not used: it is of another kind than needed, or a second one.", path.name)
            continue
        model.prepare(-1 if device == "cpu" else 0, input_size=DETECT_SIZE, det_thresh=MIN_SCORE)
        models[task] = model
    if "detection" not in models or not models["detection"].use_kps:
        raise BadWeights(f"{folder} has no face detector with five points: {WHAT_GOES_WHERE}.")
    return models


def _open(path: Path, providers: list[str]) -> Any:
    """insightface's model of one file; its remarks go to the log instead of the screen."""
    from insightface.model_zoo import get_model

    runtime = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    broken = tuple(kind for kind in vars(runtime).values() if isinstance(kind, type) and issubclass(kind, Exception))
    with _STDOUT, contextlib.redirect_stdout(io.StringIO()) as remarks:
        try:
            model = get_model(str(path), providers=providers)
        except (*broken, AssertionError, IndexError, TypeError, OSError) as error:
            raise BadWeights(f"{path} is not a whole insightface model: get the file again or take it out of the folder.") from error
    log.debug("%s", remarks.getvalue().strip())
    return model


def _fixed_size(detector: Any) -> bool:
    return not isinstance(detector.session.get_inputs()[0].shape[2], str)


def _bgr(image: Image.Image) -> np.ndarray:
    return np.asarray(image)[..., ::-1].copy()


def _face(box: np.ndarray, points: np.ndarray) -> Face:
    yaw, pitch, roll = angles(points)
    left, top, right, bottom, score = map(float, box)
    one, two, three, four, five = ((float(x), float(y)) for x, y in points)
    return Face(box=(left, top, right, bottom), points=(one, two, three, four, five), score=score, yaw=yaw, pitch=pitch, roll=roll)
