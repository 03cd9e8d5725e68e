"""A room without networks that paint: a host of flat pictures, eyes that know people by colour; history, library and styles are real."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from facechain_ext.engine.checkpoints import read_encoder
from facechain_ext.faces.types import Attributes, Face, Parsing
from facechain_ext.hosts.types import Folders, Listed, Paint, Painted, Progress, Report
from facechain_ext.workflows.people import Picture
from facechain_ext.workflows.planning import openpose
from facechain_ext.workflows.styles import bind, presets
from tests.fakes.kept import Kept
from tests.hosts.standalone_cases import adapter, demo

RED, ORANGE, GREEN, BLUE, BLACK = (220, 40, 40), (220, 120, 40), (40, 220, 40), (40, 40, 220), (0, 0, 0)
SIDE = 128


@cache
def encoder():
    return read_encoder(demo()[1])


def flat(colour: tuple[int, int, int], side: int = SIDE) -> Image.Image:
    return Image.new("RGB", (side, side), colour)


def photo(colour: tuple[int, int, int] = RED, name: str = "photo 1") -> Picture:
    out = BytesIO()
    flat(colour).save(out, format="PNG")
    return Picture(data=out.getvalue(), name=name)


def cosine(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    """What ColourEyes' likeness of two flat pictures must be."""
    a, b = np.array(one, float), np.array(other, float)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


class ColourEyes:
    """A face in the middle of every picture that is not black; the person is the colour, the age is given."""

    name = "colour-eyes"

    def __init__(
        self,
        age: tuple[int, int] | None = (30, 39),
        gender: str | None = "male",
        ages: Mapping[tuple[int, ...], tuple[int, int]] | None = None,
    ):
        self.age, self.gender, self.ages = age, gender, ages or {}
        self.capabilities = frozenset({"detect", "landmarks", "parse", "embed"} | ({"attributes"} if age or gender else set()))

    def faces(self, image: Image.Image) -> list[Face]:
        if not np.asarray(image).any():
            return []
        w, h = image.size
        points = tuple((x * w, y * h) for x, y in ((0.38, 0.42), (0.62, 0.42), (0.5, 0.55), (0.42, 0.68), (0.58, 0.68)))
        return [Face(box=(0.15 * w, 0.15 * h, 0.85 * w, 0.9 * h), points=points, score=0.9)]  # type: ignore[arg-type]

    def parse(self, image: Image.Image, face: Face) -> Parsing:
        return Parsing()

    def attributes(self, image: Image.Image, face: Face) -> Attributes:
        return Attributes(gender=self.gender, age=self.ages.get(image.getpixel((0, 0)), self.age))  # type: ignore[arg-type]

    def embed(self, image: Image.Image, face: Face) -> np.ndarray:
        mean = np.asarray(image, dtype=np.float64).reshape(-1, 3).mean(0)
        return (mean / np.linalg.norm(mean)).astype(np.float32)


class FlatHost:
    """Paints flat pictures: seed s has the colour of `colours[s - start]`. trouble: raised instead of that seed's picture, one by one."""

    name = "flat"

    def __init__(
        self, colours: list[tuple[int, int, int]], *, start: int = 100, trouble: Mapping[int, list[Exception]] | None = None
    ) -> None:
        self.colours, self.start = colours, start
        self.trouble = {seed: list(errors) for seed, errors in (trouble or {}).items()}
        self.folders = Folders(models=Path("models"))
        self.asked: list[Paint] = []
        self.noted: dict[int, str] = {}
        self.closed = 0

    def paint(self, request: Paint, report: Report | None = None) -> Generator[Painted, None, None]:
        self.asked.append(request)
        try:
            for first in range(0, request.count, request.batch):
                seeds = range(request.seed + first, request.seed + min(first + request.batch, request.count))
                for step in range(1, request.steps + 1):
                    if report is not None:
                        at = Progress(picture=first, pictures=request.count, step=step, steps=request.steps, preview=flat(BLUE, 8))
                        report(replace(at, together=len(seeds)))
                for seed in seeds:
                    if self.trouble.get(seed):
                        raise self.trouble[seed].pop(0)
                for seed in seeds:
                    yield Painted(image=flat(self.colours[seed - self.start]), seed=seed, note=self.noted.get(seed, ""))
        finally:
            self.closed += 1

    def checkpoint(self) -> str:
        return "flat-model [0123456789]"

    def checkpoints(self) -> list[str]:
        return ["flat-model"]

    def loras(self) -> list[str]:
        return [one.name for one in self.listed_loras()]

    def listed_loras(self) -> list[Listed]:
        return [
            Listed(name="Winter_Hanfu", file="/loras/Winter_Hanfu.safetensors"),
            Listed(name="trkshgntlmn10", file="/loras/trkshgntlmn10.safetensors", alias="gentleman"),
            Listed(name="film v1.1", file="/loras/film v1.1.safetensors"),
            Listed(name="people/anna", file="/loras/people/anna.safetensors"),
            Listed(name="styles/anna", file="/loras/styles/anna.safetensors"),
        ]

    def upscalers(self) -> list[str]:
        return ["Lanczos", "ESRGAN"]

    def finishers(self) -> list[str]:
        return ["Lanczos", "ESRGAN"]

    def restorers(self) -> list[str]:
        return ["CodeFormer"]

    def controlnets(self) -> list[str]:
        return ["canny", "control_v11p_sd15_openpose"]

    def samplers(self) -> list[str]:
        return ["DDIM"]


class ColourCheck:
    """Objects to green; when strict also to orange."""

    name = "colour-check"

    def __init__(self) -> None:
        self.asked: list[bool] = []

    def objects(self, picture: Image.Image, *, strict: bool = False) -> bool:
        self.asked.append(strict)
        seen = picture.getpixel((0, 0))
        return seen == GREEN or (strict and seen == ORANGE)


class FakeRoom(Kept):
    """workflows.making.Room."""

    def __init__(
        self, folder: Path, host: FlatHost, *, eyes: ColourEyes | None = None, check: ColourCheck | None = None, on: bool = True
    ) -> None:
        self.folder, self._host, self.eyes, self.check, self.on = folder, host, eyes or ColourEyes(), check, on
        self.skeletons: list[tuple[int, int]] = []

    @property
    def host(self) -> FlatHost:
        return self._host

    def adapters(self) -> tuple[str, ...]:
        return ("adapter",)

    def adapter(self, name: str):
        assert name in ("auto", "adapter"), name
        return adapter()

    def encoder(self, adapter):
        return encoder()

    def analyser(self, name: str) -> ColourEyes:
        assert name in ("auto", "colour-eyes"), name
        return self.eyes

    def loras(self) -> tuple[Listed, ...]:
        return tuple(self.host.listed_loras())

    def styles(self, user: str):
        return bind((*self.own_styles(user).styles(), *presets()), self.loras())

    def checker(self) -> ColourCheck | None:
        return self.check

    def checking(self) -> bool:
        return self.on

    def skeleton(self, image: Image.Image, size: tuple[int, int]) -> Image.Image:
        self.skeletons.append(size)
        return image.resize(size)

    def poses_possible(self) -> str:
        return "" if openpose(self.host.controlnets()) else "There is no openpose ControlNet."


def raising(error: Exception, *, picture: int, step: int) -> Callable[[Progress], None]:
    """A report that raises once, at that step of that picture."""
    left = [error]

    def report(at: Progress) -> None:
        if (at.picture, at.step) == (picture, step) and left:
            raise left.pop()

    return report
