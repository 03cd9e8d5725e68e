"""Trains the demo model's face analysis: landmarks and masks of drawn people, alone and side by side, near and far, worn and noisy."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from facechain_ext.demo.parser import HEIGHT, MASKS, POINTS, Parser
from facechain_ext.demo.world import Drawing
from facechain_ext.faces.demo import FILE, Demo
from facechain_ext.faces.types import left_to_right
from facechain_ext.training.arguments import Common, identity_of, option, parse, speak
from facechain_ext.training.average import Average
from facechain_ext.training.device import choose_device, fused, keep_order, optimise, pace_of, rate_at
from facechain_ext.training.frozen import finish
from facechain_ext.training.loop import train
from facechain_ext.training.people import ALL_STYLES, PAINTED, TESTED, anyone, pair_picture, picture
from facechain_ext.training.pixels import to_tensor
from facechain_ext.training.recognition import worn
from facechain_ext.vision.annotate import Mark, annotate

NAME, SUMMARY = "train-analyser", "Train the demo model's face analysis on drawn people."
SPREAD = 1.5  # standard deviation of a landmark's spot, in pixels of the maps, which are half the picture's size


@dataclass(frozen=True, kw_only=True)
class AnalyserSettings(Common):
    """Settings of the face analysis' training."""

    batch: int = option(16, "people per step", lowest=1)
    several: float = option(0.25, "share of steps with two or three people in a picture")
    nobody: float = option(0.04, "share of pictures of nobody")
    masks: float = option(6.0, "weight of the masks against the landmarks, which are learnt much sooner")
    tested: int = option(40, "people in the test of every sample sheet; 0 for none", lowest=0)


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """A picture RGB uint8 [H, W, 3] and what is in it, at half its size: spots [5, H/2, W/2] and masks [4, H/2, W/2], float32."""

    picture: np.ndarray
    spots: np.ndarray
    masks: np.ndarray


class AnalyserTrainee:
    """The network, its optimiser and its average."""

    def __init__(self, settings: AnalyserSettings, device: torch.device) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.device = settings, device
        self.network = Parser().to(device).train()
        keep_order(self.network)
        torch.nn.init.constant_(self.network.end.bias[:POINTS], -4.0)  # nearly nowhere is a landmark
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=settings.rate, weight_decay=0.01, fused=fused(device))
        self.average = Average({"network": self.network}, settings.decay)
        self.measured = {"points_error": 0.0, "head_overlap": 0.0, "missed": 0.0}

    def step(self, number: int, rng: np.random.Generator) -> Mapping[str, float | Tensor]:
        settings = self.settings
        people = int(rng.integers(2, 4)) if rng.random() < settings.several else 1
        lessons = [self._lesson(people, rng) for _ in range(max(1, settings.batch // people))]
        wanted = torch.from_numpy(np.stack([np.concatenate((one.spots, one.masks)) for one in lessons])).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=settings.autocast):
            found = self.network(to_tensor(np.stack([one.picture for one in lessons])).to(self.device))
        points, masks = losses(found.float(), wanted)
        norm = optimise(points + settings.masks * masks, self.optimiser, [*self.network.parameters()], rate_at(number, settings))
        self.average.follow(number)
        return {"points": points.detach(), "masks": masks.detach(), "gradient": norm, **self.measured}

    def _lesson(self, people: int, rng: np.random.Generator) -> Lesson:
        if rng.random() < self.settings.nobody:
            return nobody(people, rng)
        if people == 1:
            drawing = picture(anyone(PAINTED, rng), rng, ALL_STYLES)
        else:
            drawing = pair_picture([anyone(PAINTED, rng) for _ in range(people)], rng, ALL_STYLES)
        return lesson(drawing, placing(rng, drawing.picture.shape[1]), rng)

    def state(self) -> dict[str, Any]:
        trained = {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict(), "average": self.average.tensors}
        return {**trained, "measured": self.measured}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average.restore(state["average"])
        self.measured = state["measured"]

    def weights(self) -> Mapping[str, Tensor]:
        return self.average.of("network")

    def metadata(self) -> Mapping[str, str]:
        return {"measured": json.dumps(self.measured)}

    def eyes(self) -> Demo:
        """The face analysis with the averaged weights."""
        network = Parser().to(self.device).eval().requires_grad_(False)
        network.load_state_dict(self.average.of("network"))
        return Demo(device=str(self.device), network=network)

    def sheet(self) -> np.ndarray:
        """Unseen people with what was seen of them; the measures go into the log and the weight file."""
        eyes = self.eyes()
        if self.settings.tested:
            self.measured = measure(eyes, TESTED[: self.settings.tested])
        rng = np.random.default_rng(11)
        shown = [picture(number, rng, [style]) for number, style in zip(TESTED, ALL_STYLES, strict=False)]
        return np.vstack([np.hstack([annotated(eyes, one) for one in shown[row : row + 4]]) for row in range(0, len(shown), 4)])


def losses(found: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Error of landmarks and of masks; logits and what they should be [B, 9, H, W]."""
    spots = wanted[:, :POINTS]
    points = F.binary_cross_entropy_with_logits(found[:, :POINTS], spots, weight=1 + 30 * spots)
    masks, truth = found[:, POINTS:], wanted[:, POINTS:]
    return points * 10, F.binary_cross_entropy_with_logits(masks, truth) + missing_overlap(masks.sigmoid(), truth).mean()


def missing_overlap(found: Tensor, truth: Tensor) -> Tensor:
    """1 − Dice of soft masks [B, K, H, W], by kind over the whole batch [K]: small parts count as much as large ones."""
    both, each = (found * truth).sum(dim=(0, 2, 3)), (found + truth).sum(dim=(0, 2, 3))
    return 1 - (2 * both + 1) / (each + 1)


def placing(rng: np.random.Generator, width: int) -> np.ndarray:
    """A random scale and shift of a picture, [2, 3]; half the time none."""
    scale = rng.uniform(0.55, 1.25) if rng.random() < 0.5 else 1.0
    shift = rng.uniform(-12, 12, 2) if scale != 1.0 else np.zeros(2)
    middle = np.array((width / 2, HEIGHT / 2))
    return np.hstack([np.eye(2) * scale, (middle * (1 - scale) + shift)[:, None]])


def lesson(drawing: Drawing, matrix: np.ndarray, rng: np.random.Generator) -> Lesson:
    """A drawing placed by `matrix`, worn as painted pictures are, with its landmarks' spots and its masks."""
    height, width = drawing.picture.shape[:2]
    replicate = rng.random() < 0.5
    around: dict[str, Any] = {"borderMode": cv2.BORDER_REPLICATE} if replicate else {"borderValue": rng.integers(0, 256, 3).tolist()}
    moved = drawing.picture if matrix[0, 0] == 1 else cv2.warpAffine(drawing.picture, matrix, (width, height), **around)
    points = [[(matrix @ (x, y, 1)) / 2 for x, y in one.points] for one in drawing.people]
    spots = np.stack([spot((height // 2, width // 2), [one[p] for one in points]) for p in range(POINTS)])
    masks = [np.logical_or.reduce([getattr(one, name) for one in drawing.people]).astype(np.float32) for name in MASKS]
    placed = [cv2.warpAffine(mask, matrix, (width, height), flags=cv2.INTER_LINEAR) for mask in masks]
    small = np.stack([cv2.resize(mask, (width // 2, height // 2), interpolation=cv2.INTER_AREA) for mask in placed])
    return Lesson(picture=worn(moved, rng), spots=spots, masks=small)


def spot(size: tuple[int, int], places: Sequence[np.ndarray]) -> np.ndarray:
    """Gaussian spots of height 1 at places (x, y, in pixels from the corner), float32 [H, W]; the highest where they meet."""
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    spots = [np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * SPREAD**2)) for x, y in places]
    return np.maximum.reduce(spots).astype(np.float32)


def nobody(people: int, rng: np.random.Generator) -> Lesson:
    """Clouds of colour with nobody in them."""
    width, cells = HEIGHT * people, int(rng.integers(3, 40))
    clouds = rng.integers(0, 256, (cells, cells * people, 3), dtype=np.uint8)
    size = (HEIGHT // 2, width // 2)
    return Lesson(
        picture=cv2.resize(clouds, (width, HEIGHT), interpolation=int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_NEAREST]))),
        spots=np.zeros((POINTS, *size), np.float32),
        masks=np.zeros((len(MASKS), *size), np.float32),
    )


def measure(eyes: Demo, people: Sequence[int], seed: int = 6) -> dict[str, float]:
    """On pictures of these people in every style in turn, every fourth with a neighbour.

    points_error: median distance in pixels; head_overlap: mean intersection over union; missed: share of people not seen.
    """
    errors, overlaps, missed, total = [], [], 0, 0
    for place, number in enumerate(people):
        rng = np.random.default_rng((seed, number))
        style = [ALL_STYLES[place % len(ALL_STYLES)]]
        drawing = pair_picture([number, people[place - 1]], rng, style) if place % 4 == 3 else picture(number, rng, style)
        image = Image.fromarray(drawing.picture)
        found = left_to_right(eyes.faces(image))
        total += len(drawing.people)
        if len(found) != len(drawing.people):
            missed += abs(len(drawing.people) - len(found))
            continue
        for one, face in zip(drawing.people, found, strict=True):
            errors += np.linalg.norm(np.array(one.points) - face.points, axis=1).tolist()
            parsing = eyes.parse(image, face)
            overlaps.append(overlap(one.head, np.asarray(parsing.face) | np.asarray(parsing.hair)))
    if not errors:
        return {"points_error": 999.0, "head_overlap": 0.0, "missed": missed / total}
    return {"points_error": float(np.median(errors)), "head_overlap": float(np.mean(overlaps)), "missed": missed / total}


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two masks."""
    return float((a & b).sum() / max(1, (a | b).sum()))


def annotated(eyes: Demo, drawing: Drawing) -> np.ndarray:
    """The picture with boxes, points and the outline of the head, four times as large, RGB uint8."""
    image = Image.fromarray(drawing.picture)
    faces = eyes.faces(image)
    picture_shown = np.array(drawing.picture)
    for face in faces:
        parsing = eyes.parse(image, face)
        head = (np.asarray(parsing.face) | np.asarray(parsing.hair)).astype(np.uint8)
        picture_shown[(head > 0) & (cv2.erode(head, np.ones((3, 3), np.uint8)) == 0)] = (255, 0, 255)
    marks = [Mark(box=face.box, points=face.points, words=f"{face.score:.2f}") for face in faces]
    return np.asarray(annotate(Image.fromarray(picture_shown), marks).resize((384, 384)))


def main(argv: Sequence[str]) -> None:
    """Command line."""
    settings, folder = parse(AnalyserSettings, NAME, SUMMARY, argv)
    trainee = AnalyserTrainee(settings, choose_device(settings))
    train(trainee, folder, identity_of(settings), settings.seed, pace_of(settings))
    finish(trainee, folder / FILE)


if __name__ == "__main__":
    speak()
    main(sys.argv[1:])
