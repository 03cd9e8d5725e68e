"""`portrait`: photos in, pictures with a line each out."""

from __future__ import annotations

import argparse
import json
import re
import secrets
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from facechain_ext.app import App, Choice
from facechain_ext.errors import BadInput, CannotWrite, Interrupted
from facechain_ext.hosts.types import Control, Lora, Painted, Progress
from facechain_ext.options import add_arguments, fields_of, from_arguments, parse_value
from facechain_ext.ui.console import say, tell
from facechain_ext.workflows.infotext import NOTE
from facechain_ext.workflows.portrait import Portrait, PortraitOptions, best
from facechain_ext.workflows.portrait import portrait as make

if TYPE_CHECKING:
    from PIL import Image
    from tqdm import tqdm

    from facechain_ext.faces.types import Attributes
    from facechain_ext.workflows.likeness import Judge
    from facechain_ext.workflows.people import Subject

NUMBERED = re.compile(r"(\d{5,})-.*\.png")
OTHERS = "others"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be made, everything checked."""

    options: PortraitOptions
    subject: Subject
    judge: Judge
    attributes: Attributes | None
    loras: tuple[Lora, ...]
    controls: tuple[Control, ...]
    notes: tuple[str, ...]


def run(argv: Sequence[str]) -> int:
    """Make the pictures; what is finished is kept, whatever happens to the rest."""
    arguments = parser().parse_args(argv)
    keep, count = _best(arguments.best, arguments.count)
    out = writable(Path(arguments.out))
    with _app(arguments) as app:
        job = _job(app, arguments, count)
        for note in job.notes:
            tell(note)
        made: list[Portrait] = []
        stop = _make(app, job, out, made, show=not arguments.json)
        chosen = best(made, keep, out / OTHERS) if keep and not stop else made
        _close(job, made, chosen, out, stop, as_json=arguments.json)
    return stop.exit_code if stop else 0


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = argparse.ArgumentParser(
        prog="run.py portrait", description="Portraits of a person from one or several photos, without training."
    )
    made.add_argument("--photo", action="append", required=True, metavar="FILE", help="a photo of the person; may be given several times")
    made.add_argument("--face", type=int, metavar="N", help="which face of the photos, counted from the left from 1 (default: the largest)")
    made.add_argument("--out", required=True, metavar="DIR", help="folder for the pictures; nothing is written anywhere else")
    made.add_argument("--checkpoint", type=Path, metavar="FILE", help="an SD1.5 checkpoint, a single .safetensors as in a WebUI's folder")
    made.add_argument("--adapter", type=Path, metavar="FILE", help="a FaceChain-FACT adapter (.safetensors or .ckpt)")
    made.add_argument("--encoder", type=Path, metavar="FILE", help="the TransFace encoder (.safetensors or .pt)")
    made.add_argument(
        "--models",
        type=Path,
        default=Path("models"),
        metavar="DIR",
        help="folder with Lora/ and ControlNet/, as a WebUI has it (default models)",
    )
    made.add_argument(
        "--lora", action="append", default=[], metavar="NAME|FILE:WEIGHT", help="a LoRA in kohya's format; may be given several times"
    )
    made.add_argument("--pose", metavar="IMAGE", help="a photo or skeleton whose pose to take; needs --controlnet")
    made.add_argument("--controlnet", type=Path, metavar="FILE", help="an openpose ControlNet for SD1.5")
    made.add_argument("--pose-weight", type=float, default=1.0, help="how strictly to take the pose (default 1)")
    made.add_argument("--best", nargs="+", metavar="N [of M]", help="keep the N pictures most alike of all (of M, which sets --count)")
    made.add_argument(
        "--size", metavar="WIDTHxHEIGHT", help="in pixels; one number for a square (default: what the checkpoint was made for)"
    )
    made.add_argument(
        "--analyser", default="auto", help="face analysis: auto, embedded, insightface, facexlib, modelscope, or several joined by +"
    )
    made.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default auto)")
    made.add_argument("--dtype", default="auto", help="auto, fp32, fp16, bf16 (default auto)")
    made.add_argument("--json", action="store_true", help="the result as one JSON object on standard output")
    add_arguments(made, PortraitOptions, skip=("width", "height"))
    return made


def _job(app: App, arguments: argparse.Namespace, count: int | None) -> Job:
    """Check everything that can be checked before anything slow begins."""
    from facechain_ext.workflows.likeness import judge_of
    from facechain_ext.workflows.people import Photo, meet
    from facechain_ext.workflows.persons import attributes_of

    loras, size = tuple(_lora(text) for text in arguments.lora), _size(arguments.size)
    sides = dict(zip(("width", "height"), size or (app.native_size,) * 2, strict=True))
    suited = {name: value for name, value in app.suited.items() if getattr(arguments, name) is None}
    options = from_arguments(PortraitOptions, arguments, **sides, **suited, **({"count": count} if count else {}))
    if options.seed == -1:
        options = replace(options, seed=secrets.randbelow(2**32 - options.count))
    photos = [Photo(image=read_photo(path), name=Path(path).name) for path in arguments.photo]
    controls = _controls(app, arguments, (options.width, options.height))
    subject = meet(app.analyser, app.encoder, app.adapter, photos, face=arguments.face)
    attributes = attributes_of(app.analyser, subject)
    notes = [app.note, *(f"{problem.sentence} {problem.advice}" for report in subject.reports for problem in report.problems)]
    return Job(
        options=options,
        subject=subject,
        judge=judge_of(app.analyser, app.encoder, subject),
        attributes=attributes,
        loras=loras,
        controls=controls,
        notes=tuple(filter(None, notes)),
    )


def _make(app: App, job: Job, out: Path, made: list[Portrait], *, show: bool) -> Interrupted | None:
    """Paint into `made`, a line per picture; returns the interruption where there was one."""
    first = 1 + max((int(match[1]) for path in _pictures(out) if (match := NUMBERED.fullmatch(path.name))), default=0)

    def save(painted: Painted, info: str, number: int) -> Path:
        from facechain_ext.vision.pictures import save_png

        return save_png(painted.image, out / f"{first + number:05d}-{painted.seed}.png", {"parameters": info, "Comment": NOTE})

    with _stoppable() as stopped, _bar(job.options) as bar:

        def report(progress: Progress) -> None:
            _advance(bar, progress)
            if stopped():
                raise Interrupted("Stopped between two steps.")

        try:
            for one in make(
                app.host, app.adapter, job.subject, job.judge, job.options, save,
                attributes=job.attributes, loras=job.loras, controls=job.controls, report=report,
            ):  # fmt: skip
                made.append(one)
                if show:
                    with bar.external_write_mode():
                        say(_line(one, job))
        except Interrupted as stop:
            return stop
    return None


def _line(one: Portrait, job: Job) -> str:
    measured = "no face found" if one.likeness is None else f"likeness {one.likeness:.2f}"
    between = job.judge.between
    scale = f" (among the photos {between[0]:.2f}–{between[1]:.2f})" if between and one.likeness is not None else ""
    return f"{one.path}  seed {one.seed}  {measured}{scale}, by {job.judge.encoder}"


def _close(job: Job, made: list[Portrait], chosen: list[Portrait], out: Path, stop: Interrupted | None, *, as_json: bool) -> None:
    kept = {one.path for one in chosen}
    if as_json:
        pictures = [
            {
                "file": str(one.path if one.path in kept else out / OTHERS / one.path.name),
                "seed": one.seed,
                "likeness": one.likeness,
                "kept": one.path in kept,
            }
            for one in made
        ]
        photos = [
            {"name": photo.name, "hash": photo_hash}
            for photo, photo_hash in zip(job.subject.used, job.subject.identity.photos, strict=True)
        ]
        record = {"pictures": pictures, "encoder": job.judge.encoder, "among_photos": job.judge.between, "photos": photos}
        say(json.dumps(record | {"notes": job.notes, "stopped": stop is not None}, ensure_ascii=False, indent=2))
    elif len(chosen) < len(made):
        say(f"Most alike: {', '.join(one.path.name for one in chosen)}; the others are in {out / OTHERS}.")
    if stop:
        tell(f"{stop} {len(made)} of {job.options.count} pictures are finished and kept in {out}.")


def _best(words: list[str] | None, count: str | None) -> tuple[int, int | None]:
    """How many to keep (0: all) and how many to make, from `--best N`, `--best N of M` or `--best NofM`."""
    if words is None:
        return 0, None
    match = re.fullmatch(r"(\d+)(?:of(\d+))?", "".join(words))
    if not match:
        raise BadInput(f"--best must be N or N of M, as in 2 of 8; got {' '.join(words)!r}.")
    given = next(parse_value(one, count) for one in fields_of(PortraitOptions) if one.name == "count") if count else 0
    keep, total = int(match[1]), int(match[2] or given)
    if not 1 <= keep <= total:
        raise BadInput(f"--best {keep} needs at least as many pictures to choose from: give --best {keep} of M, or --count.")
    return keep, total


def _lora(text: str) -> Lora:
    """NAME-or-FILE:WEIGHT; the weight is what follows the last colon, if it is a number."""
    source, colon, weight = text.rpartition(":")
    with suppress(ValueError):  # a name without weight, or a Windows path: both are taken whole below
        if colon:
            return Lora(source=source, weight=float(weight))
    return Lora(source=text)


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)(?:[x×X*](\d+))?", text)
    if not match:
        raise BadInput(f"--size must be WIDTHxHEIGHT in pixels, as in 512x768; got {text!r}.")
    return int(match[1]), int(match[2] or match[1])


def _controls(app: App, arguments: argparse.Namespace, size: tuple[int, int]) -> tuple[Control, ...]:
    if not arguments.pose and not arguments.controlnet:
        return ()
    if not arguments.pose or not arguments.controlnet:
        raise BadInput(
            "--pose and --controlnet belong together: the picture whose pose to take, and the openpose ControlNet that follows it."
        )
    image = app.skeleton(read_photo(arguments.pose), size)
    return (Control(model=str(arguments.controlnet), image=image, weight=arguments.pose_weight),)


def read_photo(path: str) -> Image.Image:
    """A photo file as RGB, upright, at most as large as is of use."""
    from facechain_ext.vision.pictures import read, shrink
    from facechain_ext.workflows.people import LONGEST_SIDE

    return shrink(read(path), LONGEST_SIDE)


def writable(out: Path) -> Path:
    """The folder, made and proven to take files before any work is done. CannotWrite."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            return out
    except OSError as error:
        raise CannotWrite(f"{out} cannot be written to ({error.strerror}): choose another folder with --out.") from error


def _pictures(out: Path) -> Iterator[Path]:
    yield from out.glob("*.png")
    yield from (out / OTHERS).glob("*.png")


@contextmanager
def _app(arguments: argparse.Namespace) -> Iterator[App]:
    """The app of this run; files made for it are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="facechain-") as scratch:
        yield App(
            Choice(
                checkpoint=arguments.checkpoint, adapter=arguments.adapter, encoder=arguments.encoder, analyser=arguments.analyser,
                device=arguments.device, dtype=arguments.dtype, models=arguments.models, scratch=Path(scratch),
            )
        )  # fmt: skip


@contextmanager
def _stoppable() -> Iterator:
    """Ctrl-C stops between steps; a second one at once."""
    asked: list[int] = []

    def stop(number: int, _frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _bar(options: PortraitOptions) -> tqdm:
    """A progress bar over all steps of all pictures, with the time left, on standard error."""
    from tqdm import tqdm

    quiet = not sys.stderr.isatty()
    length = {"total": options.count * options.steps, "unit": "step", "desc": "loading the model"}
    return tqdm(**length, mininterval=5 if quiet else 0.2, file=sys.stderr, leave=not quiet)


def _advance(bar: tqdm, progress: Progress) -> None:
    done = progress.picture * progress.steps + progress.step
    bar.set_description(f"picture {progress.picture + 1} of {progress.pictures}", refresh=False)
    if not bar.n:  # what went before the first step was the loading, and says nothing of the time that is left
        bar.unpause()
        bar.initial = bar.last_print_n = bar.n = done
    bar.update(done - bar.n)
