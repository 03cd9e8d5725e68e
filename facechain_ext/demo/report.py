"""What the demo model can do, measured: likeness by the judge, prompts by the reader, pixels by themselves; a table and a picture sheet.

Everybody in it is unseen by every training. First comes the ceiling: what judge and reader make of real renders.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facechain_ext.demo.judge import JUDGE, read_judge, view
from facechain_ext.demo.many import AnyAdapter, Painters, Place
from facechain_ext.demo.mixed import shares
from facechain_ext.demo.model import TRAINED, demo_files
from facechain_ext.demo.probe import fit
from facechain_ext.demo.random import SIDE
from facechain_ext.demo.reader import ATTRIBUTES, Reader, labels_of
from facechain_ext.demo.world import appearance, draw, person, scene
from facechain_ext.demo.world.caption import caption
from facechain_ext.demo.world.traits import EXTRA_STYLES
from facechain_ext.engine.adapter import Adapter
from facechain_ext.engine.checkpoints import read_adapter, read_encoder
from facechain_ext.engine.encoder import FaceEncoder
from facechain_ext.engine.identity import Identity, identify
from facechain_ext.engine.injection import Person
from facechain_ext.engine.sites import find_sites
from facechain_ext.errors import BadInput
from facechain_ext.faces.demo import Demo, check
from facechain_ext.hosts.standalone.controlnets import load_controlnet
from facechain_ext.hosts.standalone.loras import applied
from facechain_ext.hosts.types import Control, Lora, Paint
from facechain_ext.log import log
from facechain_ext.training.arguments import Limited, option, parse, speak
from facechain_ext.training.checkpoint import fill, load_weights, prepare, trained
from facechain_ext.training.control import skeleton
from facechain_ext.training.encoder import head_crop
from facechain_ext.training.judge import seen
from facechain_ext.training.likeness import ceiling, embed, gallery_of
from facechain_ext.training.parallel import read_parallel
from facechain_ext.training.people import TESTED, photo, picture
from facechain_ext.training.reader import FINISHED as READER
from facechain_ext.training.reader import read, right, unseen
from facechain_ext.training.vae import told_apart

NAME, SUMMARY = "demo-report", "Measure the demo model: a table and a picture sheet."
SHOWN = 8
CELL = 8
"""Pixels that share a cell of the latents: what is that near a head may be part of one with it."""


@dataclass(frozen=True, kw_only=True)
class ReportSettings(Limited):
    """What is measured, and with which files."""

    people: int = option(100, "how many unseen people", lowest=2, highest=len(TESTED))
    prompts: int = option(4, "prompts per person", lowest=1)
    sampling: int = option(20, "sampling steps", lowest=1)
    guidance: float = option(4.0, "prompt strength (CFG scale)")
    weight: float = option(1.0, "weight of the adapter")
    seed: int = option(0, "number of the prompts and noises", lowest=0)
    checkpoint: str = option("", "checkpoint; empty: the demo model's")
    encoder: str = option("", "face encoder; empty: the demo model's")
    adapter: str = option("", "adapter; empty: the demo model's")
    judge: str = option("", "the judge's weights; empty: those that come with the product")
    reader: str = option("", "the reader's weights; empty: those train-reader trained here, else the product's")
    loras: str = option("", "style LoRAs as blueprint=file,woodcut=file; empty: the demo model's, none with another checkpoint")
    control: str = option("", "openpose ControlNet; empty: the demo model's, none with another checkpoint")
    pairs: bool = option(True, "measure pictures of two people")
    probed: int = option(6_000, "real renders by which a probe learns to see which looks are right; 0: they are left out", lowest=0)
    ablation: str = option("", "adapters trained otherwise, as name=file,name=file, for the ablation table")
    device: str = option("auto", "auto, cpu, cuda, mps")
    workers: int = option(1, "processes that paint", lowest=1)
    narrow: bool = option(False, "CPU: attention of narrow heads by a kernel compiled here (AVX2 or AVX-512, g++): half the time a picture")


def beside(settings: ReportSettings) -> tuple[dict[str, Path], Path | None]:
    """Style LoRAs by style, and the ControlNet: those that were given, else what comes with the demo model where that paints. BadInput."""
    own, given = not settings.checkpoint, named_files(settings.loras)
    unknown = [style for style in given if style not in EXTRA_STYLES]
    if unknown:
        raise BadInput(f"There is no LoRA style {unknown[0]!r} in the drawn world: name those of {' and '.join(EXTRA_STYLES)}.")
    if settings.control and not Path(settings.control).exists():
        raise BadInput(f"There is no ControlNet at {settings.control}: give a file or folder with --control.")
    shipped = {style: path for style in EXTRA_STYLES if own and (path := TRAINED / "Lora" / f"{style}.safetensors").is_file()}
    control = Path(settings.control) if settings.control else TRAINED / "ControlNet" / "demo_openpose.safetensors"
    return given or shipped, control if settings.control or (own and control.is_file()) else None


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A row of the table. value and ceiling: shares, or a ratio; None: could not be measured. held: whether the bar is."""

    name: str
    value: float | None
    bar: str
    held: bool | None
    ceiling: float | None = None


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a picture is asked for: prompt, right answers, noise."""

    prompt: str
    answers: tuple[int, ...]
    seed: int


@dataclass(frozen=True, kw_only=True)
class Run:
    """Pictures of one way to paint, [people][prompts], RGB uint8 [H, W, 3], with the people who should be in them."""

    pictures: list[list[np.ndarray]]
    people: list[int] = field(default_factory=list)


class Bench:
    """The files of a report, loaded once, and the ways to paint with them."""

    def __init__(self, settings: ReportSettings, scratch: Path) -> None:
        # What a person gave wrongly is found now, not after hours of painting.
        self.loras, self.control = beside(settings)
        others = named_files(settings.ablation)
        files = demo_files(scratch)
        self.settings, self.note = settings, files.note
        self.people = list(TESTED[: settings.people])
        place = Place(
            checkpoint=Path(settings.checkpoint or files.checkpoint), device=settings.device, scratch=scratch, narrow=settings.narrow
        )
        self.painters = Painters(place, settings.workers)
        self.encoder: FaceEncoder = read_encoder(Path(settings.encoder or files.encoder))
        self.adapter = read_adapter(Path(settings.adapter or files.adapter))
        self.others = {name: any_adapter(path) for name, path in others.items()}
        self.judge, self.reader = read_judge(Path(settings.judge or JUDGE)), Reader()
        reader = Path(settings.reader) if settings.reader else trained("reader", READER)
        fill(self.reader, load_weights(reader), reader, "a reader")
        self.eyes = Demo() if check(None)[0] else None
        self._try()

    def _try(self) -> None:
        """BadWeights, UnsupportedModel where an adapter, a LoRA or the ControlNet does not fit the checkpoint."""
        networks = self.painters.host.networks
        sites = find_sites(networks.unet)
        for adapter in (self.adapter, *self.others.values()):
            adapter.check_fits(sites)
        for lora in self.loras.values():
            with applied(networks, [(lora, 1.0)]):
                pass
        if self.control is not None:
            load_controlnet(self.control, networks.unet)

    @cached_property
    def gallery(self) -> Tensor:
        """Everybody's mean embedding over real renders, [people, width]."""
        return gallery_of(self.judge, seen, self.people)

    def crops(self, number: int, count: int) -> np.ndarray:
        """Aligned heads of that many photos of somebody, uint8 [count, 112, 112, 3]; the first is always the same."""
        found = []
        for place in range(count):
            rng = np.random.default_rng((31, number, place))
            found.append(head_crop(photo(number, rng), rng, False))
        return np.stack(found)

    def identity(self, number: int, adapter: AnyAdapter, photos: int = 1) -> Identity:
        """Somebody as the engine knows them."""
        crops = torch.from_numpy(self.crops(number, photos))
        reader = cast("Adapter", adapter)  # only the resampler is read, which both kinds have
        return identify(self.encoder, reader, crops, [f"{number}-{place}" for place in range(photos)])

    def request(self, wish: Wish, **more: Any) -> Paint:
        """What the host is asked for; more: further fields."""
        settings = self.settings
        size = {"width": SIDE, "height": SIDE, **more}
        return Paint(prompt=wish.prompt, steps=settings.sampling, cfg=settings.guidance, seed=wish.seed, **size)

    def run(self, photos: int = 0, adapter: AnyAdapter | None = None, style: str = "", **more: Any) -> Run:
        """Everybody with every prompt; photos: 0 leaves the adapter off."""
        chosen = adapter or self.adapter
        requests = [self.request(wish, **more) for place in range(len(self.people)) for wish in wishes_of(place, self.settings, style)]
        return self._rows(requests, self._alone(photos, chosen) if photos else (), chosen if photos else None)

    def posed(self, model: Path) -> Run:
        """Everybody in a pose given by a skeleton to that ControlNet."""
        requests = []
        for place, number in enumerate(self.people):
            image = Image.fromarray(skeleton(picture(number, np.random.default_rng((37, number)))))
            controls = (Control(model=model, image=image),)
            requests += [self.request(wish, controls=controls) for wish in wishes_of(place, self.settings)]
        return self._rows(requests, self._alone(1, self.adapter), self.adapter)

    def pairs(self) -> Run:
        """Everybody beside the next one, each with a mask for a half of the picture."""
        known = [self.identity(number, self.adapter) for number in self.people]
        requests = [self.request(pair_wish(place, self.settings), width=2 * SIDE) for place in range(len(known))]
        persons = [
            [Person(identity=one, weight=self.settings.weight, mask=mask) for one, mask in zip(both, half_masks(), strict=True)]
            for both in zip(known, known[1:] + known[:1], strict=True)
        ]
        return self._rows(requests, persons, self.adapter)

    def _alone(self, photos: int, adapter: AnyAdapter) -> list[list[Person]]:
        """Everybody by themselves, for every prompt."""
        known = [self.identity(number, adapter, photos) for number in self.people]
        return [[Person(identity=one, weight=self.settings.weight)] for one in known for _ in range(self.settings.prompts)]

    def _rows(self, requests: Sequence[Paint], persons: Sequence[Sequence[Person]], adapter: AnyAdapter | None) -> Run:
        pictures, each = list(self.painters.paint(requests, persons, adapter)), len(requests) // len(self.people)
        return Run(pictures=[pictures[first : first + each] for first in range(0, len(pictures), each)], people=self.people)

    def places(self, run: Run, middle: float | None = None, shift: int = 0) -> np.ndarray:
        """The place of each picture's person among all, 1 is first.

        middle: x of the head; shift: who it is, in places after the row's own.
        """
        views = np.stack([view(one, middle) for row in run.pictures for one in row])
        wanted = np.repeat((np.arange(len(run.pictures)) + shift) % len(self.people), len(run.pictures[0]))
        return places(embed(self.judge, views), self.gallery, wanted)

    def likeness(self, run: Run, middle: float | None = None, shift: int = 0) -> float:
        """Share of pictures whose person is ranked first; as `places`."""
        return float((self.places(run, middle, shift) == 1).mean())

    def kept(self, run: Run, style: str = "") -> dict[str, float]:
        """Share of right answers by attribute, and of all."""
        wanted = np.array([wish.answers for place in range(len(run.pictures)) for wish in wishes_of(place, self.settings, style)])
        return answer_shares(read(self.reader, [one for row in run.pictures for one in row]), wanted)

    def head(self, picture_shown: np.ndarray) -> np.ndarray:
        """The head in a painted picture, bool [H, W]: seen by the demo's face analysis, or where heads usually are."""
        image = Image.fromarray(picture_shown)
        faces = self.eyes.faces(image) if self.eyes else []
        if not self.eyes or not faces:
            return usual_head()
        parsing = self.eyes.parse(image, faces[0])
        return np.asarray(parsing.face) | np.asarray(parsing.hair)

    def outside(self, on: Run, off: Run, gap: int = 0) -> float:
        """Mean absolute pixel change outside the head, and farther from it than `gap` pixels, by that inside."""
        pairs = [(a, b) for row, other in zip(on.pictures, off.pictures, strict=True) for a, b in zip(row, other, strict=True)]
        return change_ratio([(a, b, self.head(a) | self.head(b)) for a, b in pairs], gap)


def half_masks() -> tuple[Tensor, Tensor]:
    """Masks [H, W] of the left and the right person of a picture of two."""
    left = torch.zeros(SIDE, 2 * SIDE)
    left[:, :SIDE] = 1
    return left, 1 - left


def places(vectors: Tensor, gallery: Tensor, wanted: np.ndarray) -> np.ndarray:
    """At which place, from 1, unit vectors [n, D] have the wanted one [n] of the gallery [P, D]; whoever is as near comes before."""
    cosines = vectors.cpu() @ gallery.cpu().T
    own = cosines.gather(1, torch.from_numpy(wanted)[:, None])
    return (cosines >= own).sum(dim=1).numpy()


def answer_shares(found: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    """Share of right answers [n, attributes], by attribute and of all."""
    same = found == wanted
    return {**{name: float(same[:, place].mean()) for place, name in enumerate(ATTRIBUTES)}, "all": float(same.mean())}


def change_ratio(changes: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]], gap: int = 0) -> float:
    """Mean change outside by mean change inside, of (picture, other picture, head); 0 where nothing changes.

    gap: so many pixels around the head count as neither.
    """
    inside, outside = [], []
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * gap + 1, 2 * gap + 1))
    for one, other, head in changes:
        change = np.abs(one.astype(np.float32) - other).mean(axis=2)
        far = cv2.dilate(head.astype(np.uint8), around) == 0
        inside.append(change[head].mean() if head.any() else 0.0)
        outside.append(change[far].mean() if far.any() else 0.0)
    return float(np.mean(outside) / np.mean(inside)) if np.mean(inside) else 0.0


def wishes_of(place: int, settings: ReportSettings, style: str = "") -> list[Wish]:
    """The prompts of the person at a place; the same for every way to paint."""
    found = []
    for number in range(settings.prompts):
        code = (settings.seed * 1_000 + place) * 100 + number
        shown, look = scene(code, **({"style": style} if style else {})), appearance(code)
        said = caption(shown, [look], np.random.default_rng((41, code)))
        found.append(Wish(prompt=said, answers=labels_of(shown, look), seed=code))
    return found


def pair_wish(place: int, settings: ReportSettings) -> Wish:
    """A prompt for two people."""
    code = settings.seed * 1_000 + place + 500_000
    shown, looks = scene(code), [appearance(code), appearance(code + 1)]
    return Wish(prompt=caption(shown, looks, np.random.default_rng((43, code))), answers=(), seed=code)


def usual_head() -> np.ndarray:
    """Where more than half of drawn people have their heads, bool [H, W]."""
    heads = [draw(person(number), scene(number), appearance(number)).people[0].head for number in TESTED[:64]]
    return np.mean(heads, axis=0) > 0.5


def named_files(text: str) -> dict[str, Path]:
    """name=file,name=file as a table. BadInput."""
    parts = [part.partition("=") for part in text.split(",") if part]
    wrong = [name for name, sign, path in parts if not sign or not Path(path).is_file()]
    if wrong:
        raise BadInput(f"{wrong[0]!r} names no file: write name=file, several joined by commas.")
    return {name: Path(path) for name, _, path in parts}


def figures(bench: Bench, keep: dict[str, Run]) -> Iterator[Figure]:
    """The rows of the table, each as soon as it is measured; `keep` takes the pictures."""
    settings = bench.settings
    top, answers = ceiling(bench.judge, seen, bench.people), right(bench.reader, unseen(max(settings.people, 20)))
    yield Figure(name="ceiling: judge on real renders", value=top, bar="≥ 95 %", held=top >= 0.95)
    through = told_apart(bench.painters.host.networks.vae, bench.people, judge=bench.judge)
    yield Figure(name="ceiling: judge on real renders through the VAE", value=through, bar="", held=None)
    for name, share in shares(bench.judge, bench.gallery, bench.people, settings.prompts).items():
        yield Figure(name=f"renders right in {name}", value=share, bar="", held=None, ceiling=top)
    yield Figure(name="ceiling: reader on real renders", value=answers, bar="", held=None)
    off, on = keep.setdefault("off", bench.run()), keep.setdefault("on", bench.run(photos=1))
    alike, without = bench.likeness(on), bench.likeness(off)
    yield Figure(name="identity first, adapter on", value=alike, bar="≥ 70 %", held=alike >= 0.7, ceiling=top)
    yield Figure(name="identity first, adapter off", value=without, bar="≤ 3 %", held=without <= 0.03, ceiling=top)
    for name, made in (("on", on), ("off", off)):
        middle = float(np.median(bench.places(made)))
        yield Figure(name=f"place of the right person, median, adapter {name}", value=middle, bar="", held=None)
    kept, before = bench.kept(on), bench.kept(off)
    for name in (*ATTRIBUTES, "all"):
        yield Figure(name=f"prompt kept, off: {name}", value=before[name], bar="", held=None, ceiling=answers)
        lost = before[name] - kept[name]
        bar = "loses ≤ 3 points" if name == "all" else ""
        yield Figure(name=f"prompt kept, on: {name}", value=kept[name], bar=bar, held=lost <= 0.03 if bar else None, ceiling=answers)
    yield from looks_right(bench, on)
    ratio = bench.outside(on, off)
    yield Figure(name="pixel change outside the head by inside", value=ratio, bar="≤ 0.25", held=ratio <= 0.25)
    far = bench.outside(on, off, CELL)
    yield Figure(name="the same, a cell of the latents and farther from the head", value=far, bar="", held=None)
    four = keep.setdefault("four photos", bench.run(photos=4))
    several, words = bench.likeness(four), bench.kept(four)["all"]
    yield Figure(name="identity first, four photos", value=several, bar="not lower", held=several >= alike, ceiling=top)
    yield Figure(name="prompt kept, four photos", value=words, bar="not lower", held=words >= kept["all"], ceiling=answers)
    yield from together(bench, keep, top)


def looks_right(bench: Bench, run: Run) -> Iterator[Figure]:
    """By what people are known again: looks that are right in pictures, beside what a probe sees of real renders."""
    if not bench.settings.probed:
        return
    probe = fit(bench.judge, bench.settings.probed)
    each = len(run.pictures[0])
    people = [person(number) for number in run.people for _ in range(each)]
    renders = []
    for number in run.people:
        rng = np.random.default_rng((53, number))
        renders += [seen(picture(number, rng), rng, False) for _ in range(each)]
    real = probe.agreement(np.stack(renders), people)
    painted = probe.agreement(np.stack([view(one) for row in run.pictures for one in row]), people)
    for name, value in painted.items():
        yield Figure(name=f"looks right, on: {name}", value=value, bar="", held=None, ceiling=real[name])


def together(bench: Bench, keep: dict[str, Run], top: float) -> Iterator[Figure]:
    """Identity with style LoRAs, with a pose, and in pictures of two; what there is no file for has no value."""
    settings, bar = bench.settings, "≥ 60 %"
    for style in EXTRA_STYLES:
        name, value = f"identity first, style LoRA {style}", None
        if style in bench.loras:
            made = keep.setdefault(style, bench.run(photos=1, style=style, loras=(Lora(source=bench.loras[style]),)))
            value, kept = bench.likeness(made), bench.kept(made, style)["style"]
            yield Figure(name=f"style LoRA {style} seen", value=kept, bar="", held=None)
        yield _bar(name, value, bar, top)
    value = bench.likeness(keep.setdefault("pose", bench.posed(bench.control))) if bench.control else None
    yield _bar("identity first, pose ControlNet", value, bar, top)
    value = None
    if settings.pairs:
        two = keep.setdefault("two people", bench.pairs())
        value = (bench.likeness(two, SIDE / 2) + bench.likeness(two, SIDE * 1.5, shift=1)) / 2
    yield _bar("identity first, two people", value, bar, top)


def _bar(name: str, value: float | None, bar: str, top: float) -> Figure:
    return Figure(name=name, value=value, bar=bar, held=None if value is None else value >= 0.6, ceiling=top)


def ablation(bench: Bench, off: Run) -> Iterator[Mapping[str, Any]]:
    """A row per adapter trained otherwise: likeness, prompt, change outside by inside."""
    for name, adapter in bench.others.items():
        made = bench.run(photos=1, adapter=adapter)
        at = bench.places(made)
        row = {
            "identity first": float((at == 1).mean()),
            "place, median": float(np.median(at)),
            "place, mean of the logarithm": float(np.log(at).mean()),
            "prompt kept": bench.kept(made)["all"],
            "outside by inside": bench.outside(made, off),
        }
        yield {"recipe": name, **row}


def any_adapter(path: Path) -> AnyAdapter:
    """A gated or a parallel adapter."""
    from facechain_ext.engine.checkpoints import read_tensors
    from facechain_ext.training.parallel import LAYERS

    return read_parallel(path) if any(key.startswith(LAYERS) for key in read_tensors(path)[0]) else read_adapter(path)


def sheet(bench: Bench, runs: Mapping[str, Run]) -> np.ndarray:
    """A block per person: the photo that was given, then a row for every way to paint."""
    blocks = []
    for place, number in enumerate(bench.people[:SHOWN]):
        rng = np.random.default_rng((31, number, 0))
        given = photo(number, rng).picture
        width = max(sum(one.shape[1] for one in run.pictures[place]) for run in runs.values())
        for index, run in enumerate(runs.values()):
            row = np.hstack([given if index == 0 else np.full_like(given, 255), *run.pictures[place]])
            blocks.append(np.pad(row, ((0, 0), (0, width + SIDE - row.shape[1]), (0, 0)), constant_values=255))
        blocks.append(np.full((8, width + SIDE, 3), 255, np.uint8))
    return np.vstack(blocks)


def markdown(rows: Sequence[Figure], others: Sequence[Mapping[str, Any]], note: str) -> str:
    """The table for people."""
    lines = [note, "", "| measure | value | ceiling | bar | held |", "|---|---|---|---|---|"]
    for row in rows:
        held = "" if row.held is None else "yes" if row.held else "no"
        lines.append(f"| {row.name} | {_number(row.value)} | {_number(row.ceiling, '')} | {row.bar} | {held} |")
    if others:
        names = list(others[0])
        lines += ["", f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
        lines += [f"| {' | '.join(v if isinstance(v, str) else _number(v) for v in other.values())} |" for other in others]
    return "\n".join(lines) + "\n"


def _number(value: float | None, nothing: str = "not measured") -> str:
    return nothing if value is None else f"{value:.3f}"


def report(settings: ReportSettings, folder: Path) -> list[Figure]:
    """Measure everything and write report.json, report.md and sheet.png into `folder`."""
    prepare(folder)
    bench, runs, rows = Bench(settings, folder), {}, []
    try:
        for row in figures(bench, runs):
            log.info("%s: %s", row.name, _number(row.value))
            rows.append(row)
        others = list(ablation(bench, runs["off"]))
    finally:
        bench.painters.close()
    kept = {"settings": asdict(settings), "note": bench.note, "figures": [asdict(row) for row in rows], "ablation": others}
    (folder / "report.json").write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(markdown(rows, others, bench.note), encoding="utf-8")
    Image.fromarray(sheet(bench, runs)).save(folder / "sheet.png")
    return rows


def main(argv: Sequence[str]) -> None:
    """Command line."""
    report(*parse(ReportSettings, NAME, SUMMARY, argv))


if __name__ == "__main__":
    speak()
    main(sys.argv[1:])
