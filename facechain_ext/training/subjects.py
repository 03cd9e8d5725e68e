"""What FACT learns from: pictures with people in them, and for every person reference faces from other pictures of the same one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from facechain_ext.demo.world import Drawing, Identity, appearance, draw, scene
from facechain_ext.demo.world import person as drawn_person
from facechain_ext.demo.world.traits import STYLES
from facechain_ext.errors import BadInput
from facechain_ext.training.distil import described
from facechain_ext.training.drawn import DrawnSet, alone, check_alone, open_drawn
from facechain_ext.training.encoder import head_crop
from facechain_ext.training.latents import LatentSet, check_drawn, drawing_of, enough, open_pairs, open_set
from facechain_ext.training.people import ALL_STYLES, PAINTED, TESTED, anyone, photo, photo_of, picture
from facechain_ext.training.tokens import tokens_of

if TYPE_CHECKING:
    from facechain_ext.training.fact import FactSettings

PHOTO = ALL_STYLES.index("photo")
PHOTO_SHARE = 0.4  # of drawn references; people give photos, but a drawing must do too


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One person of an example. crops: reference faces, uint8 RGB [n, 112, 112, 3]; place: where in the picture, bool [H, W], or None.

    rows: those of the references in the set of single people they are from [n], -1 where they are from none.
    """

    crops: np.ndarray
    place: np.ndarray | None = None
    rows: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Example:
    """A picture to learn: RGB uint8 [H, W, 3] or its latents [4, h, w], not scaled; words: tokens [77].

    head: bool [H, W], or its share of every cell of the latents, float32 [h, w]. looks: tells the same words and how the person looks [77],
    of drawn people alone in a picture.
    """

    words: np.ndarray
    head: np.ndarray
    people: tuple[Seen, ...]
    picture: np.ndarray | None = None
    latents: np.ndarray | None = None
    looks: Callable[[], np.ndarray] | None = None


class Source(Protocol):
    """Where examples come from."""

    def example(self, rng: np.random.Generator, references: int, shuffle: float, paired: bool) -> Example:
        """One example with that many references per person.

        shuffle: the chance that a reference is another picture of the same person, not the example's own.
        paired: of two people, where the source has such.
        """
        ...

    def show(self, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """People for the sample sheet, always the same: a reference face and the tokens of a caption."""
        ...


class DrawnPeople:
    """The demo world, drawn on the fly; encoded sets save encoding: their pictures are only drawn again for masks and people."""

    def __init__(self, singles: LatentSet | None = None, pairs: LatentSet | None = None, pictures: int = 0, photos: float = 0.0) -> None:
        """pictures: how many of the singles to use; 0: all. photos: share of shuffled references that are photos as people give them."""
        self.singles, self.pairs, self.pictures, self.photos = singles, pairs, pictures, photos

    def example(self, rng: np.random.Generator, references: int, shuffle: float, paired: bool) -> Example:
        chosen = self.pairs if paired and self.pairs is not None else self.singles
        if chosen is None:
            return self._finish(picture(anyone(PAINTED, rng), rng), rng, references, shuffle)
        most = min(self.pictures or chosen.done, chosen.done)
        number = int(rng.integers(most))
        drawing = drawing_of(chosen.seed, chosen.people, number)
        return self._finish(drawing, rng, references, shuffle, chosen.latents[number].astype(np.float32), chosen.tokens[number])

    def _finish(
        self, drawing: Drawing, rng: np.random.Generator, references: int, shuffle: float,
        latents: np.ndarray | None = None, words: np.ndarray | None = None,
    ) -> Example:  # fmt: skip
        places = squares(len(drawing.people), *drawing.picture.shape[:2])
        people = []
        for number in range(len(drawing.people)):
            crops = [self._reference(drawing, number, rng, rng.random() < shuffle) for _ in range(references)]
            people.append(Seen(crops=np.stack(crops), place=places[number]))
        words, who = tokens_of([drawing.caption])[0] if words is None else words, [one.who for one in drawing.people]
        return Example(
            words=words,
            head=np.logical_or.reduce([one.head for one in drawing.people]),
            people=tuple(people),
            picture=drawing.picture if latents is None else None,
            latents=latents,
            looks=partial(described, words, who[0], drawing.scene.style) if len(who) == 1 else None,
        )

    def _reference(self, drawing: Drawing, number: int, rng: np.random.Generator, other: bool) -> np.ndarray:
        if not other:
            return head_crop(alone(drawing, number), rng, True)
        who = drawing.people[number].who
        return head_crop(photo_of(who, rng) if self._is_given(rng) else another(who, rng), rng, True)

    def _is_given(self, rng: np.random.Generator) -> bool:
        """Whether a reference is a photo as people give them."""
        return self.photos > 0 and rng.random() < self.photos

    def show(self, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
        shown = []
        for number in TESTED[-count:]:
            rng = np.random.default_rng((7, number))
            reference = photo(number, rng)
            shown.append((head_crop(reference, rng, False), tokens_of([picture(number, rng).caption])[0]))
        return shown


class StoredPeople(DrawnPeople):
    """The demo world from sets of draw-people and their latents: nothing but `photos` is drawn during the training."""

    def __init__(
        self, drawn: DrawnSet, singles: LatentSet, pairs: tuple[DrawnSet, LatentSet] | None = None, pictures: int = 0, photos: float = 0.0
    ) -> None:
        """drawn, singles: pictures of one person each; pairs: of several of the same people. BadInput where they do not belong together.

        pictures, photos: as for DrawnPeople.
        """
        super().__init__(singles, pairs[1] if pairs else None, pictures, photos)
        check_alone(drawn)
        self.drawn, self.sets = drawn, {False: (drawn, singles), True: pairs or (drawn, singles)}
        for kept, latents in self.sets.values():
            check_drawn(latents, kept.folder)
        if pairs and pairs[0].identities * drawn.each > drawn.done:
            raise BadInput(f"{pairs[0].folder} shows people whom {drawn.folder} lacks: draw both with the same --identities.")

    def example(self, rng: np.random.Generator, references: int, shuffle: float, paired: bool) -> Example:
        pictures, latents = self.sets[paired]
        most = min(pictures.done, latents.done)
        row = int(rng.integers(min(self.pictures or most, most)))
        height, width = pictures.heads.shape[1:]
        places = squares(pictures.people, height, width)
        people = []
        for place, person in enumerate(pictures.who[row]):
            own = -1 if paired else row
            rows = [self._other(int(person), row, paired, rng) if rng.random() < shuffle else own for _ in range(references)]
            crops = [self._crop(int(person), row, place, one, paired, rng) for one in rows]
            people.append(Seen(crops=np.stack(crops), place=places[place], rows=np.array(rows)))
        words, who, style = pictures.tokens[row], pictures.who[row], ALL_STYLES[int(pictures.styles[row])]
        return Example(
            words=words,
            head=pictures.heads[row] / np.float32(255),
            people=tuple(people),
            latents=latents.latents[row].astype(np.float32),
            looks=partial(described, words, drawn_person(int(who[0])), style) if len(who) == 1 else None,
        )

    def _crop(self, person: int, row: int, place: int, other: int, paired: bool, rng: np.random.Generator) -> np.ndarray:
        """The face of a reference: of the picture itself, or of somebody's row `other`, in whose stead a photo may be drawn."""
        if other < 0:
            return self.sets[paired][0].faces[row, place]
        if (paired or other != row) and self._is_given(rng):
            return head_crop(photo_of(drawn_person(person), rng), rng, True)
        return self.drawn.faces[other, 0]

    def _other(self, person: int, row: int, paired: bool, rng: np.random.Generator) -> int:
        """The row of any other picture of somebody, photos more often than each of the other styles."""
        rows = [one for one in self.drawn.rows_of(person) if paired or one != row] or [row]
        photos = [one for one in rows if self.drawn.styles[one] == PHOTO] if rng.random() < PHOTO_SHARE else []
        return int(rng.choice(photos or rows))


def another(who: Identity, rng: np.random.Generator) -> Drawing:
    """Any other picture of somebody, photos more often than each of the other styles."""
    style = "photo" if rng.random() < PHOTO_SHARE else str(rng.choice(STYLES))
    return draw(who, scene(int(rng.integers(1 << 40)), style=style), appearance(int(rng.integers(1 << 40))))


def squares(count: int, height: int, width: int) -> Sequence[np.ndarray | None]:
    """Each one's square of a picture of several, bool [height, width]; no mask for somebody alone."""
    if count == 1:
        return [None]
    square = np.arange(width) * count // width
    return [np.broadcast_to(square == number, (height, width)) for number in range(count)]


def source_of(settings: FactSettings, folder: Path) -> Source:
    """Drawn people, or the dataset folder. BadInput where there is nothing."""
    if not settings.data:
        return _drawn_source(settings)
    beside = [name for name in ("latents", "drawn", "drawn_pairs", "pairs", "pictures", "photos", "tested") if getattr(settings, name)]
    if beside:
        raise BadInput(f"--data gives a dataset, --{beside[0].replace('_', '-')} is about drawn people: leave one of the two out.")
    from facechain_ext.faces.choose import ModelFolders, analyser
    from facechain_ext.training.dataset import FolderPeople

    models = Path(settings.models) if settings.models else None
    names = ("facexlib", "insightface", "modelscope")
    there = {name: models / name for name in names if models and (models / name).is_dir()}
    eyes = analyser(settings.analyser, ModelFolders(**there))
    return FolderPeople(Path(settings.data), folder / "prepared", settings.size, eyes, settings.shuffle)


def _drawn_source(settings: FactSettings) -> DrawnPeople:
    """Drawn people, kept ones where there are such. BadInput for sets that do not belong together."""
    singles = open_set(Path(settings.latents)) if settings.latents else None
    pairs = open_pairs(Path(settings.pairs)) if settings.pairs else None
    if singles is not None:
        enough(singles, settings.pictures)
    if settings.drawn:
        if singles is None or bool(pairs) != bool(settings.drawn_pairs):
            raise BadInput("--drawn needs --latents beside it, and --drawn-pairs where there is --pairs.")
        both = (open_drawn(Path(settings.drawn_pairs)), pairs) if pairs else None
        return StoredPeople(open_drawn(Path(settings.drawn)), singles, both, settings.pictures, settings.photos)
    if settings.drawn_pairs:
        raise BadInput("--drawn-pairs shows couples of the people in --drawn: give that too, or leave it out.")
    for latents, flag in ((singles, "--drawn"), (pairs, "--drawn-pairs, beside --drawn")):
        if latents is not None:
            check_drawn(latents, None, flag)
    return DrawnPeople(singles, pairs, settings.pictures, settings.photos)
