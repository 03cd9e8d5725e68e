"""Faces without any download: mediapipe's built-in models where its `solutions` are there, else OpenCV's Haar cascade.

mediapipe carries detection, mesh and segmentation models in its wheel up to 0.10.21; later ones have none. Its mesh
fails under protobuf 7; then the points come from the detector alone.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from facechain_ext.errors import MissingPackage
from facechain_ext.faces.types import Attributes, Box, Capability, Face, Parsing
from facechain_ext.log import log
from facechain_ext.vision.masks import geometric_head
from facechain_ext.vision.pictures import shrink
from facechain_ext.vision.quality import angles

LONGEST = 2048  # larger photos are looked at in this size
SMALLEST_TILE = 320
TILE_OVERLAP = 0.25
MIN_SCORE = 0.5
UNCONFIRMED_SCORE = 0.7  # for a face in which no mesh is found
SAME_FACE = 0.4  # overlap, as a share of the smaller box, above which two boxes are one face
MESH_SIDE = 2.0  # the mesh is sought in a square of this many box sides
# Vertices of the face mesh: irises, nose tip and mouth corners; then what measures angles and lids.
FIVE = (468, 473, 1, 61, 291)
CHEEKS, FOREHEAD_CHIN = (234, 454), (10, 152)
LIDS = ((33, 133, 160, 144, 158, 153), (362, 263, 385, 380, 387, 373))  # outer, inner corner; upper, lower; upper, lower
LID_CLOSED, LID_OPEN = 0.08, 0.25  # height / width of an eye
BODY = (3.5, 2.0, 7.0)  # how far a person reaches around the face, in its sizes: sideways, up, down
# Five points of a frontal face within the square that the cascade draws.
HAAR_POINTS = ((0.285, 0.38), (0.715, 0.38), (0.5, 0.60), (0.32, 0.78), (0.68, 0.78))
HAAR_FILE = "haarcascade_frontalface_alt2.xml"
HAAR_SURE = 12.0  # neighbouring hits at which a face is beyond doubt
MOUTH_SHARE = 0.41  # half the mouth's width in eye distances
BROKEN = (ImportError, AttributeError, TypeError, ValueError, RuntimeError, OSError)
NOISE = re.compile(
    rb"^(W\d{4} |I\d{4} |INFO: Created TensorFlow Lite|WARNING: All log messages before absl|"
    rb"AttributeError: 'MessageFactory' object has no attribute 'GetPrototype')"
)
_STDERR = threading.Lock()


class Embedded:
    """Detection, five points, angles, eyes and head masks with what the installed libraries carry."""

    name = "embedded"

    def __init__(self, mediapipe: bool = True) -> None:
        """mediapipe: use it where it is installed; False: the Haar cascade alone."""
        self._solutions = _solutions() if mediapipe else None
        self._mesh = self._solutions is not None and _mesh_works(self._solutions)
        able: set[Capability] = {"parse"}
        if self._solutions is not None:
            able |= {"detect", "landmarks"}
        elif hasattr(cv2, "CascadeClassifier"):
            able.add("detect")
        if self._mesh:
            able.add("eyes")
        self.capabilities: frozenset[Capability] = frozenset(able)

    def faces(self, image: Image.Image) -> list[Face]:
        """Faces of the picture, largest first."""
        small = shrink(image, LONGEST)
        pixels = np.ascontiguousarray(small)
        if self._solutions is None:
            found = _haar(pixels)
        else:
            with _quiet():
                found = _mediapipe(self._solutions, pixels, self._mesh)
        factor = image.width / small.width, image.height / small.height
        return sorted((_scaled(face, *factor) for face in found), key=lambda face: -face.area)

    def parse(self, image: Image.Image, face: Face) -> Parsing:
        """Face and hair as drawn from mesh or points, kept within the person where segmentation sees one."""
        head = (geometric_head(face.box, face.points, image.size) > 0) & _above_mouth(face, image.size)
        if self._solutions is None:
            front = _front(face, image.size)
            return Parsing(face=front, hair=head & ~front, geometric=True)
        pixels = np.asarray(image)
        with _quiet():
            mesh = _mesh(self._solutions, pixels, face.box) if self._mesh else None
            person = _person(self._solutions, pixels, face)
        front = _front(face, image.size) if mesh is None else _hull(mesh, image.size)
        if not (person & front).any():
            return Parsing(face=front, hair=head & ~front, geometric=True)
        return Parsing(face=front, hair=head & person & ~front, person=person | front)

    def attributes(self, image: Image.Image, face: Face) -> Attributes:
        """Not told by this backend."""
        raise MissingPackage("The embedded face analysis tells neither age nor gender: name the subject, or add insightface or FairFace.")

    def embed(self, image: Image.Image, face: Face) -> np.ndarray:
        """Not told by this backend."""
        raise MissingPackage("The embedded face analysis cannot tell persons apart: use the face encoder, or add insightface models.")


# ---- mediapipe ---------------------------------------------------------------------------------------------------


def _solutions() -> Any | None:
    """`mediapipe.solutions`, or None where mediapipe is missing, too new or does not start."""
    if find_spec("mediapipe") is None:
        return None
    try:
        with _quiet():
            import mediapipe

            return mediapipe.solutions
    except BROKEN as error:
        log.warning("mediapipe is installed but cannot be used here (%s); faces are sought with OpenCV instead.", error)
        return None


def _mesh_works(solutions: Any) -> bool:
    try:
        with _quiet(), _open_mesh(solutions):
            return True
    except BROKEN as error:
        log.warning("mediapipe's face mesh does not start (%s); points and angles are less exact. protobuf below 7 mends it.", error)
        return False


def _open_mesh(solutions: Any) -> Any:
    return solutions.face_mesh.FaceMesh(static_image_mode=True, max_num_faces=1, refine_landmarks=True, min_detection_confidence=MIN_SCORE)


def _mediapipe(solutions: Any, pixels: np.ndarray, mesh: bool) -> list[Face]:
    """Faces seen in the whole picture by both detectors, and small ones seen in tiles if the mesh confirms them."""
    whole: list[Face] = []
    for model in (0, 1):
        whole += _detect(solutions, pixels, [(0, 0, pixels.shape[1], pixels.shape[0])], model)
    tiles = _detect(solutions, pixels, _tiles(pixels.shape[1], pixels.shape[0]), 1)
    kept = _distinct(sorted(whole, key=lambda face: -face.score) + sorted(tiles, key=lambda face: -face.score))
    if not mesh:
        return kept
    meshed = [(face, _mesh(solutions, pixels, face.box)) for face in kept]
    sure = {id(face) for face in whole if face.score >= UNCONFIRMED_SCORE}
    return [_refined(face, points) for face, points in meshed if points is not None or id(face) in sure]


def _tiles(width: int, height: int) -> list[tuple[int, int, int, int]]:
    """Overlapping squares, each level of half the last one's side, in which small faces are large enough to be seen."""
    tiles = []
    side = max(width, height) // 2
    while side >= SMALLEST_TILE:
        step = max(1, int(side * (1 - TILE_OVERLAP)))
        tops = range(0, max(height - int(side * TILE_OVERLAP), 1), step)
        lefts = range(0, max(width - int(side * TILE_OVERLAP), 1), step)
        tiles += [(left, top, min(left + side, width), min(top + side, height)) for top in tops for left in lefts]
        side //= 2
    return tiles


def _detect(solutions: Any, pixels: np.ndarray, tiles: Sequence[tuple[int, int, int, int]], model: int) -> list[Face]:
    """Faces in each tile by detector `model` (0: near, 1: far), in pixels of the picture; without those a tile cuts."""
    found = []
    with solutions.face_detection.FaceDetection(model_selection=model, min_detection_confidence=MIN_SCORE) as detector:
        for left, top, right, bottom in tiles:
            result = detector.process(np.ascontiguousarray(pixels[top:bottom, left:right]))
            faces = [_from_detection(seen, left, top, right - left, bottom - top) for seen in result.detections or ()]
            found += [face for face in faces if not _cut((left, top, right, bottom), face.box, pixels.shape)]
    return found


def _from_detection(seen: Any, left: int, top: int, width: int, height: int) -> Face:
    box = seen.location_data.relative_bounding_box
    x, y = left + box.xmin * width, top + box.ymin * height
    keys = [(left + point.x * width, top + point.y * height) for point in seen.location_data.relative_keypoints]
    points = _with_mouth_corners(np.array(keys[:4]))
    yaw, pitch, roll = angles(points)
    corners = (x, y, x + box.width * width, y + box.height * height)
    return Face(box=corners, points=_five(points), score=float(seen.score[0]), yaw=yaw, pitch=pitch, roll=roll)


def _with_mouth_corners(keys: np.ndarray) -> np.ndarray:
    """Five points of the detector's eyes, nose tip and mouth middle [4, 2]."""
    half = (keys[1] - keys[0]) * MOUTH_SHARE
    return np.vstack([keys[:3], keys[3] - half, keys[3] + half])


def _cut(tile: tuple[int, int, int, int], box: Box, shape: tuple[int, ...]) -> bool:
    """Whether the box reaches over an edge of the tile within the picture: a neighbouring tile sees that face whole."""
    left, top, right, bottom = tile
    height, width = shape[:2]
    over_left, over_top = left > 0 and box[0] < left, top > 0 and box[1] < top
    return over_left or over_top or (right < width and box[2] > right) or (bottom < height and box[3] > bottom)


def _distinct(faces: Sequence[Face]) -> list[Face]:
    """Each face once: of overlapping boxes the first."""
    kept: list[Face] = []
    for face in faces:
        if all(_overlap(face.box, other.box) < SAME_FACE for other in kept):
            kept.append(face)
    return kept


def _overlap(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return max(width, 0) * max(height, 0) / max(smaller, 1e-6)


def _mesh(solutions: Any, pixels: np.ndarray, box: Box) -> np.ndarray | None:
    """The mesh of the face in the box, [478, 3] in pixels of the picture (z < 0 nearer), or None."""
    half = max(box[2] - box[0], box[3] - box[1]) * MESH_SIDE / 2
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    left, top = max(int(x - half), 0), max(int(y - half), 0)
    crop = np.ascontiguousarray(pixels[top : int(y + half) + 1, left : int(x + half) + 1])
    if min(crop.shape[:2]) < 2:
        return None
    with _open_mesh(solutions) as mesher:
        found = mesher.process(crop).multi_face_landmarks
    if not found:
        return None
    height, width = crop.shape[:2]
    mesh = np.array([(left + p.x * width, top + p.y * height, p.z * width) for p in found[0].landmark])
    nose = mesh[FIVE[2]]
    return mesh if box[0] <= nose[0] <= box[2] and box[1] <= nose[1] <= box[3] else None


def _refined(face: Face, mesh: np.ndarray | None) -> Face:
    """The face with points, angles and eyes as the mesh has them."""
    if mesh is None:
        return face
    across, down = np.diff(mesh[list(CHEEKS)], axis=0)[0], np.diff(mesh[list(FOREHEAD_CHIN)], axis=0)[0]
    points = mesh[list(FIVE), :2]
    return Face(
        box=face.box,
        points=_five(points),
        score=face.score,
        yaw=float(np.degrees(np.arctan2(across[2], np.linalg.norm(across[:2])))),
        pitch=float(np.degrees(np.arctan2(down[2], np.linalg.norm(down[:2])))),
        roll=angles(points)[2],
        eyes_open=_eyes_open(mesh),
    )


def _eyes_open(mesh: np.ndarray) -> float:
    """0 (both shut) to 1, of the lids' height over the eye's width, the mean of both eyes."""
    shares = []
    for outer, inner, *lids in LIDS:
        height = sum(float(np.linalg.norm(mesh[lids[i]] - mesh[lids[i + 1]])) for i in (0, 2)) / 2
        shares.append(height / max(float(np.linalg.norm(mesh[outer] - mesh[inner])), 1e-6))
    return float(np.clip((np.mean(shares) - LID_CLOSED) / (LID_OPEN - LID_CLOSED), 0, 1))


def _person(solutions: Any, pixels: np.ndarray, face: Face) -> np.ndarray:
    """Where a person is seen around the face, bool [H, W]."""
    side, up, down = BODY
    x, y = (face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2
    left, top = max(int(x - side * face.width), 0), max(int(y - up * face.height), 0)
    crop = np.ascontiguousarray(pixels[top : int(y + down * face.height) + 1, left : int(x + side * face.width) + 1])
    person = np.zeros(pixels.shape[:2], bool)
    if min(crop.shape[:2]) < 2:
        return person
    with solutions.selfie_segmentation.SelfieSegmentation(model_selection=0) as segmenter:
        seen = segmenter.process(crop).segmentation_mask > 0.5
    person[top : top + crop.shape[0], left : left + crop.shape[1]] = seen
    return person


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep mediapipe's native chatter off the person's screen; whatever else came to stderr meanwhile is passed on after."""
    with _STDERR, tempfile.TemporaryFile() as kept:
        try:
            screen = os.dup(2)
        except OSError:  # a program without a console has no stderr to keep quiet
            yield
            return
        try:
            os.dup2(kept.fileno(), 2)
            yield
        finally:
            os.dup2(screen, 2)
            os.close(screen)
            kept.seek(0)
            rest = b"".join(line for line in kept if not NOISE.match(line))
            if rest.strip() and sys.__stderr__ is not None:
                sys.__stderr__.buffer.write(rest)
                sys.__stderr__.flush()


# ---- OpenCV, and what is drawn rather than seen ------------------------------------------------------------------


def _haar(pixels: np.ndarray) -> list[Face]:
    """Faces by the cascade in OpenCV's wheel; it sees frontal ones only, and the five points are a mean face's."""
    if not hasattr(cv2, "CascadeClassifier"):
        raise MissingPackage("OpenCV 5 has no face finder of its own: install mediapipe 0.10.21, or point to insightface models.")
    cascade = cv2.CascadeClassifier(str(Path(cv2.__file__).parent / "data" / HAAR_FILE))
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    smallest = max(24, min(grey.shape) // 48)
    for seen in (grey, cv2.equalizeHist(grey)):  # dark and flat photos need the second
        boxes, hits = cascade.detectMultiScale2(seen, scaleFactor=1.1, minNeighbors=4, minSize=(smallest, smallest))
        if len(boxes):
            return [_guessed(box, hit) for box, hit in zip(boxes, hits, strict=True)]
    return []


def _guessed(box: Sequence[float], hits: float) -> Face:
    x, y, width, height = map(float, box)
    points = np.array(HAAR_POINTS) * (width, height) + (x, y)
    score = min(1.0, float(hits) / HAAR_SURE)
    return Face(box=(x, y, x + width, y + height), points=_five(points), score=score, estimated=True)


def _front(face: Face, size: tuple[int, int]) -> np.ndarray:
    """The face without hair as an ellipse from brow to chin, bool [H, W]. size: (width, height)."""
    p = np.array(face.points)
    eyes, mouth = (p[0] + p[1]) / 2, (p[3] + p[4]) / 2
    unit = max(float(np.linalg.norm(p[1] - p[0])), float(np.linalg.norm(mouth - eyes)))
    middle = eyes + (mouth - eyes) * 0.6
    angle = float(np.degrees(np.arctan2(p[1][1] - p[0][1], p[1][0] - p[0][0])))
    canvas = np.zeros((size[1], size[0]), np.uint8)
    cv2.ellipse(canvas, ((float(middle[0]), float(middle[1])), (2.1 * unit, 2.6 * unit), angle), 1, -1)
    return canvas > 0


def _above_mouth(face: Face, size: tuple[int, int]) -> np.ndarray:
    """Where hair may be told from the neck, bool [H, W]: the side of the mouth's line on which the eyes are."""
    p = np.array(face.points)
    mouth = (p[3] + p[4]) / 2
    up = (p[0] + p[1]) / 2 - mouth
    rows, columns = np.ogrid[: size[1], : size[0]]
    return (columns - mouth[0]) * up[0] + (rows - mouth[1]) * up[1] > 0


def _hull(mesh: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The outline of a mesh, filled, bool [H, W]. size: (width, height)."""
    canvas = np.zeros((size[1], size[0]), np.uint8)
    cv2.fillConvexPoly(canvas, cv2.convexHull(np.rint(mesh[:, :2]).astype(np.int32)), 1)
    return canvas > 0


def _five(points: np.ndarray) -> Any:
    return tuple((float(x), float(y)) for x, y in points)


def _scaled(face: Face, x: float, y: float) -> Face:
    """The face in a picture x times as wide and y times as high."""
    left, top, right, bottom = face.box
    return Face(
        box=(left * x, top * y, right * x, bottom * y),
        points=_five(np.array(face.points) * (x, y)),
        score=face.score,
        yaw=face.yaw,
        pitch=face.pitch,
        roll=face.roll,
        eyes_open=face.eyes_open,
        estimated=face.estimated,
    )
