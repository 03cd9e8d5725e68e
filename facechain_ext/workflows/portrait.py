"""Portraits of a person: photos → identity → pictures with a likeness score, as FaceChain-FACT does it (FACTS §1.2), its weaknesses mended.

look at the photos → words for the subject → paint with the identity → score each picture → save at once
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from facechain_ext.errors import BadInput
from facechain_ext.hosts.types import Control, Lora, Paint, Painted
from facechain_ext.options import check, option, to_info
from facechain_ext.workflows.infotext import info_text, lora_name
from facechain_ext.workflows.likeness import ranked
from facechain_ext.workflows.safety import rules
from facechain_ext.workflows.wording import SUBJECTS, prompts, wording

if TYPE_CHECKING:
    from facechain_ext.engine.adapter import Adapter
    from facechain_ext.engine.identity import Identity
    from facechain_ext.faces.types import Attributes
    from facechain_ext.hosts.types import Host, Report
    from facechain_ext.workflows.likeness import Judge
    from facechain_ext.workflows.people import Subject


@dataclass(frozen=True, kw_only=True)
class PortraitOptions:
    """Everything a person may choose about portraits."""

    prompt: str = option("", label="Prompt", help="what the picture shows, in the checkpoint's words; (word:1.2) weighs")
    negative: str | None = option(None, label="Negative prompt", help="what to avoid (default: a list against bad quality and nudity)")
    subject: str = option(
        "auto",
        label="Subject",
        help="who it is: auto judges the photo where a backend can",
        choices=("auto", *SUBJECTS),
        info="FaceChain subject",
    )
    template: str = option(
        "photo",
        label="Wording",
        help="photo adds FaceChain's words for portrait photos to the prompt, plain leaves it",
        choices=("photo", "plain"),
    )
    count: int = option(1, label="Pictures", help="how many pictures", minimum=1, maximum=100)
    seed: int = option(
        -1,
        label="Seed",
        help="start number; -1 chooses one; the first picture uses it, each further one the next number",
        minimum=-1,
        maximum=2**32 - 1,
    )
    steps: int = option(30, label="Steps", help="sampling steps", minimum=1, maximum=150)
    sampler: str = option("DPM++ 2M Karras", label="Sampler", help="sampler under the WebUI's name")
    cfg: float = option(
        7.0, label="Prompt strength", technical="CFG scale", help="how strictly to follow the prompt", minimum=1, maximum=30
    )
    width: int = option(512, label="Width", help="pixels, a multiple of 8", minimum=64, maximum=2048)
    height: int = option(512, label="Height", help="pixels, a multiple of 8", minimum=64, maximum=2048)
    weight: float = option(
        0.5,
        label="Likeness",
        technical="adapter weight",
        help="how strongly the face is held; more likeness, less freedom",
        minimum=0,
        maximum=2,
        step=0.05,
        info="FaceChain weight",
    )
    start: float = option(
        0.0,
        label="From",
        technical="start",
        help="fraction of the steps after which the face enters",
        minimum=0,
        maximum=1,
        info="FaceChain start",
    )
    end: float = option(
        1.0, label="To", technical="end", help="fraction of the steps at which it leaves", minimum=0, maximum=1, info="FaceChain end"
    )
    batch: int = option(
        1,
        label="Batch size",
        help="pictures computed together; the pictures are the same, only speed and memory change",
        minimum=1,
        maximum=16,
    )
    clip_skip: int = option(1, label="Clip skip", help="text layers left out at the end, plus one", minimum=1, maximum=12)

    def __post_init__(self) -> None:
        check(self)
        if self.start > self.end:
            raise BadInput(f"From ({self.start:g}) must not be after To ({self.end:g}).")
        if self.width % 8 or self.height % 8:
            raise BadInput(f"Width and height must be multiples of 8; got {self.width}×{self.height}.")


@dataclass(frozen=True, kw_only=True)
class Portrait:
    """A finished picture: where it lies, its seed, its likeness (None: no face found in it) and its info text."""

    path: Path
    seed: int
    likeness: float | None
    info: str


Save = Callable[[Painted, str, int], Path]
"""Keeps a finished picture with its info text and its number from 0; returns where."""


def portrait(
    host: Host,
    adapter: Adapter,
    subject: Subject,
    judge: Judge,
    options: PortraitOptions,
    save: Save,
    *,
    attributes: Attributes | None = None,
    loras: tuple[Lora, ...] = (),
    controls: tuple[Control, ...] = (),
    report: Report | None = None,
) -> Iterator[Portrait]:
    """Make `options.count` portraits; each is saved and handed over as soon as it is finished.

    options.seed must be chosen (not -1). Nothing looks at finished pictures here, so the words are what is checked. Errors: those of the
    host, and BadInput where `safety` refuses.
    """
    treated = rules([options.prompt, *map(lora_name, loras)], options.subject, attributes, against=options.negative or "")
    if treated.refusal:
        raise BadInput(treated.refusal)
    request = request_of(adapter, subject.identity, options, attributes=attributes, loras=loras, controls=controls)
    request = with_words_against(request, treated.negative)
    for number, painted in enumerate(host.paint(request, report)):
        score = judge.score(painted.image)
        info = info_text(host, request, to_info(options), subject.identity, seed=painted.seed, likeness=score, judge=judge.encoder)
        yield Portrait(path=save(painted, info, number), seed=painted.seed, likeness=score, info=info)


def request_of(
    adapter: Adapter,
    identity: Identity,
    options: PortraitOptions,
    *,
    attributes: Attributes | None = None,
    loras: tuple[Lora, ...] = (),
    controls: tuple[Control, ...] = (),
) -> Paint:
    """The host's request: prompts in full, and the person on the whole picture."""
    from facechain_ext.engine.injection import Person

    words = wording(options.subject, attributes)
    positive, negative = prompts(options.prompt, options.negative, words, template=options.template, lora=bool(loras))
    person = Person(identity=identity, weight=options.weight, start=options.start, end=options.end)
    same = {name: getattr(options, name) for name in ("width", "height", "steps", "sampler", "cfg", "seed", "count", "batch", "clip_skip")}
    return Paint(prompt=positive, negative=negative, adapter=adapter, persons=(person,), loras=loras, controls=controls, **same)


def with_words_against(request: Paint, words: str) -> Paint:
    """The request with words at the end of its negative prompt, where they are not in it yet."""
    return request if words in request.negative else replace(request, negative=", ".join(filter(None, (request.negative, words))))


def best(portraits: list[Portrait], keep: int, aside: Path) -> list[Portrait]:
    """The `keep` pictures most alike, best first; the others are moved into the folder `aside`, not lost."""
    order = ranked([one.likeness for one in portraits])
    for index in order[keep:]:
        aside.mkdir(parents=True, exist_ok=True)
        portraits[index].path.replace(aside / portraits[index].path.name)
    return [portraits[index] for index in order[:keep]]
