"""Where we run: what a workflow may ask of a host, whichever it is."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from PIL import Image

    from facechain_ext.engine.adapter import Adapter
    from facechain_ext.engine.injection import Person


@dataclass(frozen=True, kw_only=True)
class Lora:
    """A LoRA to apply: its file, or the name under which the host lists it, and its weight."""

    source: str | Path
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A LoRA the host lists. name: as in a prompt; file: path or file name; alias: the name it was trained under; hashes: any known."""

    name: str
    file: str
    alias: str = ""
    hashes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Control:
    """A ControlNet unit: model file or name, the picture ready for the model (a skeleton, edges, …), its weight and part of the steps."""

    model: str | Path
    image: Image.Image
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Hires:
    """A second pass at `scale` times the size: enlarged by the host's upscaler of that name ("": its first), repainted by `strength`.

    steps: of the second pass, 0 for as many as the first has. The identity is held in both.
    """

    scale: float = 2.0
    strength: float = 0.45
    steps: int = 0
    upscaler: str = ""


@dataclass(frozen=True, kw_only=True)
class Finish:
    """What is done to finished pictures: faces restored by the host's restorer of that name ("": not), then enlarged `scale` times.

    upscaler: one of the host's that enlarge pictures ("": its first). No identity is held in it.
    """

    restorer: str = ""
    scale: float = 1.0
    upscaler: str = ""


@dataclass(frozen=True, kw_only=True)
class Paint:
    """A request for pictures in the words of the WebUI.

    Sizes in pixels, multiples of 8. Picture i of `count` uses `seed + i`, so it is the same alone and in any batch.
    image without mask: img2img; with mask (white = repaint): inpaint; strength: denoising strength of both.
    persons with an adapter: identity is injected; without: the plain model.
    """

    prompt: str
    negative: str = ""
    width: int = 512
    height: int = 512
    steps: int = 30
    sampler: str = "DPM++ 2M Karras"
    cfg: float = 7.0
    seed: int = 0
    count: int = 1
    batch: int = 1
    clip_skip: int = 1
    image: Image.Image | None = None
    mask: Image.Image | None = None
    strength: float = 0.75
    loras: tuple[Lora, ...] = ()
    controls: tuple[Control, ...] = ()
    adapter: Adapter | None = None
    persons: tuple[Person, ...] = ()
    hires: Hires | None = None
    finish: Finish | None = None


@dataclass(frozen=True, kw_only=True)
class Painted:
    """One finished picture (RGB) and the seed that made it. note: what the host did other than it was asked to, or ""."""

    image: Image.Image
    seed: int
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where the work is: picture index (from 0) of count, step (finished steps) of steps; preview where the host has one.

    together: how many pictures from that one on are painted at once. steps counts both passes where there are two; preview: small, RGB,
    about once a second at most.
    """

    picture: int
    pictures: int
    step: int
    steps: int
    preview: Image.Image | None = None
    together: int = 1


Report = Callable[[Progress], None]
"""Called after each step; what it raises (Interrupted, Skipped) ends `paint` between two steps; pictures handed over are finished."""


@dataclass(frozen=True, kw_only=True)
class Folders:
    """Where the host keeps things; None where it has no such folder.

    shipped: LoRAs and ControlNets that come with the product, offered beside the person's own; nothing is ever written there.
    """

    models: Path
    outputs: Path | None = None
    loras: Path | None = None
    checkpoints: Path | None = None
    controlnets: Path | None = None
    shipped: Path | None = None


class Host(Protocol):
    """A place that makes pictures.

    Closing the generator that `paint` is ends the work. Memory: OutOfMemory. One picture that cannot be finished: PictureFailed.
    """

    @property
    def name(self) -> str:
        """Which host it is, as the info text states it."""
        ...

    @property
    def folders(self) -> Folders:
        """Where it keeps things."""
        ...

    def paint(self, request: Paint, report: Report | None = None) -> Generator[Painted, None, None]:
        """Make `request.count` pictures, each handed over as soon as it is finished."""
        ...

    def checkpoint(self) -> str:
        """Name and short hash of the loaded checkpoint, as the info text states it."""
        ...

    def checkpoints(self) -> list[str]:
        """Checkpoints the host can load."""
        ...

    def loras(self) -> list[str]:
        """LoRAs in the host's folder."""
        ...

    def listed_loras(self) -> list[Listed]:
        """The same with what tells them apart; quick, from the host's own cache or the files' heads."""
        ...

    def upscalers(self) -> list[str]:
        """Upscalers by the host's names, the one that is taken unasked first."""
        ...

    def finishers(self) -> list[str]:
        """Those of the upscalers that enlarge a finished picture, the one that is taken unasked first."""
        ...

    def restorers(self) -> list[str]:
        """Face restorers by the host's names; none where it has none."""
        ...

    def controlnets(self) -> list[str]:
        """ControlNet models the host can load."""
        ...

    def samplers(self) -> list[str]:
        """Samplers under the WebUI's names."""
        ...
