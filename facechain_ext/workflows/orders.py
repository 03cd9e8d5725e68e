"""What can be ordered of the tab and over REST, what comes of it, and the room in which it is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from facechain_ext.errors import BadInput
from facechain_ext.options import option
from facechain_ext.workflows.people import Picture
from facechain_ext.workflows.portrait import PortraitOptions

if TYPE_CHECKING:
    from PIL import Image

    from facechain_ext.engine.adapter import Adapter
    from facechain_ext.engine.encoder import FaceEncoder
    from facechain_ext.faces.types import FaceAnalyser, PictureCheck
    from facechain_ext.hosts.types import Host, Listed
    from facechain_ext.store.history import History
    from facechain_ext.store.library import Library
    from facechain_ext.store.records import Entry
    from facechain_ext.workflows.own_styles import OwnStyles
    from facechain_ext.workflows.styles import Bound

AUTO = "auto"
ALL, BEST, UNTIL = "all", "best", "until"
MOST_PHOTOS, MOST_PICTURES, MOST_TRIES = 6, 16, 64


@dataclass(frozen=True, kw_only=True)
class MakingOptions(PortraitOptions):
    """Everything that may be chosen about portraits in the tab and over REST."""

    count: int = option(1, label="Pictures", help="how many pictures to make, or to keep", minimum=1, maximum=MOST_PICTURES)
    choose: str = option(
        ALL,
        label="Keep",
        help="all pictures, the most alike of `most`, or as many as reach a likeness",
        choices=(ALL, BEST, UNTIL),
    )
    most: int = option(
        8, label="At most", help="pictures to make when the best are kept, or until enough are alike", minimum=1, maximum=MOST_TRIES,
    )  # fmt: skip
    until: float | None = option(
        None,
        label="Until a likeness of",
        help="likeness that counts as alike (default: what the photos have among each other at least)",
        minimum=-1,
        maximum=1,
        step=0.01,
    )
    hires: float = option(
        1.0, label="Enlarge", technical="hires fix", help="paint once more at this many times the size; 1 does not", minimum=1, maximum=4,
        step=0.05,
    )  # fmt: skip
    hires_strength: float = option(
        0.45, label="Repaint", technical="denoising strength", help="how much the enlarged picture may change", minimum=0, maximum=1,
        step=0.05,
    )  # fmt: skip
    hires_steps: int = option(0, label="Steps when enlarging", help="0: as many as before", minimum=0, maximum=150)
    upscaler: str = option("", label="Upscaler", help="what enlarges the picture, by the host's name (default: the host's first)")
    restore: str = option(
        "", label="Restore faces", technical="face restoration",
        help="what repairs faces in the finished picture, by the host's name; empty: nothing does. It may cost likeness",
    )  # fmt: skip
    finish: float = option(
        1.0, label="Enlarge the finished picture", technical="upscale", help="this many times, without painting again; 1 does not",
        minimum=1, maximum=4, step=0.25,
    )  # fmt: skip
    finish_upscaler: str = option(
        "", label="Upscaler for the finished picture", help="what enlarges it, by the host's name (default: the host's first)"
    )
    adapter: str = option(AUTO, label="Adapter", help="adapter file by name; auto takes the one of the settings, else the first")
    analyser: str = option(
        AUTO, label="Face analysis", technical="analyser", help="what looks at the photos: auto takes the best that is installed"
    )
    face: int = option(
        0, label="Which face", technical="face", help="of the photos, counted from the left; 0 takes the largest", minimum=0, maximum=20
    )
    without_lora: bool = option(
        False, label="Without the missing LoRA", help="make a style whose LoRA is missing from its words alone; otherwise it is refused"
    )


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be made. Photos count before a saved person's name.

    style: key of a style, or ""; style_weight: of its LoRA, None for the style's own; loras: further ones, by the host's names;
    pose: a photo of somebody or a skeleton. An empty prompt means the style's, fitted to the person.
    """

    options: MakingOptions
    photos: tuple[Picture, ...] = ()
    person: str = ""
    style: str = ""
    style_weight: float | None = None
    loras: tuple[tuple[str, float], ...] = ()
    pose: Picture | None = None
    pose_weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.photos and not self.person:
            raise BadInput("There is neither a photo nor a saved person: drop one to six photos, or choose somebody.")
        if len(self.photos) > MOST_PHOTOS:
            raise BadInput(f"There are {len(self.photos)} photos: {MOST_PHOTOS} are the most.")


@dataclass(frozen=True, kw_only=True)
class Known:
    """The person was looked at. judge: what measures likeness, by name; between: the range among the photos, None with fewer than two.

    minor: why the person is treated as under 18, or ""; seed: the first picture's; pictures: how many will be made at most;
    photos: the hashes of the photos the person is known from.
    """

    judge: str
    between: tuple[float, float] | None
    notes: tuple[str, ...] = ()
    minor: str = ""
    seed: int = 0
    pictures: int = 0
    photos: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Result:
    """One picture's outcome. number: from 1, in the order of making.

    entry: it in the history; None where nothing was kept. withheld: why it is not shown, or ""; failed: why there is none, or "".
    note: what was done other than ordered, or "". kept: False for one that was made to choose from and set aside.
    """

    number: int
    seed: int
    entry: Entry | None = None
    likeness: float | None = None
    kept: bool = True
    withheld: str = ""
    failed: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """All results once more after choosing, most alike first, those set aside last. notes: what to know about the choice."""

    results: tuple[Result, ...]
    notes: tuple[str, ...] = ()




@dataclass(frozen=True, kw_only=True)
class Again:
    """An order as an info text states it. notes: what of it could not be found again, in sentences.

    person: the saved person it was made of, or ""; photos: the hashes of the photos, by which a page may know ones it still has.
    """

    options: MakingOptions
    person: str
    photos: tuple[str, ...]
    style: str = ""
    style_weight: float | None = None
    loras: tuple[tuple[str, float], ...] = ()
    pose: Picture | None = None
    pose_weight: float = 1.0
    notes: tuple[str, ...] = ()

    def order(self, photos: tuple[Picture, ...] = ()) -> Order:
        """The order, of these photos where they are given again. BadInput, with the notes, where there is nobody to make it of."""
        if not photos and not self.person:
            raise BadInput(" ".join(self.notes) or "Nobody is known whom this was made of: give the photos again.")
        return Order(
            options=self.options, photos=photos, person="" if photos else self.person, style=self.style,
            style_weight=self.style_weight, loras=self.loras, pose=self.pose, pose_weight=self.pose_weight,
        )  # fmt: skip


class Room(Protocol):
    """What the work needs of where it is done; loaded on first use and once. Every method may be called from any thread."""

    @property
    def host(self) -> Host:
        """Where pictures are painted."""
        ...

    def adapter(self, name: str) -> Adapter:
        """The adapter of that name. BadWeights."""
        ...

    def adapters(self) -> tuple[str, ...]:
        """Adapter files by name; auto goes without saying."""
        ...

    def encoder(self, adapter: Adapter) -> FaceEncoder:
        """The face encoder that belongs to an adapter. BadWeights."""
        ...

    def analyser(self, name: str) -> FaceAnalyser:
        """The face analysis of that name. BadInput, MissingPackage."""
        ...

    def library(self, user: str) -> Library:
        """The persons this user saved."""
        ...

    def history(self) -> History:
        """The results."""
        ...

    def own_styles(self, user: str) -> OwnStyles:
        """The styles this user saved."""
        ...

    def styles(self, user: str) -> tuple[Bound, ...]:
        """Presets and the user's own styles, each with the LoRA it means."""
        ...

    def loras(self) -> tuple[Listed, ...]:
        """The LoRAs of the host's folder."""
        ...

    def checker(self) -> PictureCheck | None:
        """What looks for nudity in results; None where there is only the prompt to go by."""
        ...

    def checking(self) -> bool:
        """Whether results are checked (the setting; for subjects under 18 they always are)."""
        ...

    def skeleton(self, image: Image.Image, size: tuple[int, int]) -> Image.Image:
        """The pose of a photo as a control picture. BadInput, MissingPackage."""
        ...

    def poses_possible(self) -> str:
        """Empty, or why no pose can be taken here and what to do."""
        ...
