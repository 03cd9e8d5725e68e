"""Drawn pictures as latents of the finished VAE, on disk: rendered and encoded once, read many times by the base model's training.

A set is a folder of latents.npy (float16 [N, 4, H/8, W/8], not scaled), heads.npy (how much of each cell is head, uint8 of 255
[N, H/8, W/8]), tokens.npy (uint16 [N, 77]) and set.json (how many are done).
Picture i depends on (seed, people, i) alone, or is the one in row i of a folder of draw-people: an interrupted set is simply continued.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from facechain_ext.demo.architecture import VAE
from facechain_ext.demo.world import Drawing, Identity, person
from facechain_ext.demo.world.looks import looks
from facechain_ext.demo.world.traits import COLOURLESS
from facechain_ext.errors import BadInput
from facechain_ext.log import log
from facechain_ext.training.arguments import Common, option, parse, speak
from facechain_ext.training.checkpoint import open_arrays, prepare, read_note, save_note
from facechain_ext.training.device import choose_device, send
from facechain_ext.training.drawn import DrawnSet, head_cells, open_drawn
from facechain_ext.training.people import ALL_STYLES, MOST, PAINTED, anyone, pair_picture, picture
from facechain_ext.training.pixels import to_tensor
from facechain_ext.training.tokens import LENGTH, joined, tokens_of
from facechain_ext.training.vae import read_vae

NAME, SUMMARY = "encode-pictures", "Draw pictures and keep them as latents for the base model's training."
HEIGHT = 128
ARRAYS = ("latents", "heads", "tokens")


@dataclass(frozen=True, kw_only=True)
class LatentSettings(Common):
    """Settings of a set of latents; of the common ones seed, batch, autocast, device, threads and log_every count."""

    pictures: int = option(100_000, "how many pictures the set has room for", lowest=1)
    until: int = option(0, "stop after this many; 0: when full", lowest=0)
    people: int = option(1, "people in a picture, side by side", lowest=1, highest=MOST)
    looks: float = option(0.0, "share of captions that also say how people look (hair, glasses, …), as those of real pictures do")
    vae: str = option("", "the VAE's weights, or a checkpoint; empty: those train-vae finished, else the product's")
    drawn: str = option("", "folder of draw-people, whose pictures are encoded; empty: drawn on the fly by one core")


@dataclass(frozen=True, kw_only=True)
class LatentSet:
    """An open set; the arrays are memory-mapped, of which the first `done` rows are filled. seed, people: what it was drawn from.

    drawn: the folder of draw-people whose pictures it encodes, else empty.
    """

    latents: np.ndarray
    heads: np.ndarray
    tokens: np.ndarray
    done: int
    seed: int = 0
    people: int = 1
    drawn: str = ""


def open_set(folder: Path) -> LatentSet:
    """Open a set for reading. BadInput where there is none, or a broken one."""
    note = folder / "set.json"
    if not note.exists():
        raise BadInput(f"There are no encoded pictures in {folder}: make them with `encode-pictures` first.")
    said = read_note(note, ("done",))
    more = {key: said[key] for key in ("seed", "people", "drawn") if key in said}
    return LatentSet(**open_arrays(folder, ARRAYS, said["done"]), done=said["done"], **more)


def open_pairs(folder: Path) -> LatentSet:
    """Open a set of pictures that show several people each. BadInput where it shows one."""
    pairs = open_set(folder)
    if pairs.people < 2:
        raise BadInput(f"The pictures in {folder} show one person each: make those of two with `encode-pictures --people 2`.")
    return pairs


def enough(latents: LatentSet, pictures: int) -> LatentSet:
    """The same set. BadInput where it has fewer than so many pictures."""
    if latents.done < pictures:
        raise BadInput(f"Only {latents.done} pictures are encoded: give --pictures {latents.done}, or encode more.")
    return latents


def check_drawn(latents: LatentSet, drawn: Path | None, flag: str = "--drawn") -> None:
    """BadInput where latents are not those of a folder of draw-people, however its path is written; None: they are to be of no such folder.

    flag: the option that gives it. What was drawn on the fly can be drawn again by its number; whom a folder's pictures show, only the
    folder knows.
    """
    if drawn is None:
        if latents.drawn:
            raise BadInput(f"The latents are those of {latents.drawn}, which alone knows whom they show: give it with {flag}.")
    elif not latents.drawn or _resolved(latents.drawn) != _resolved(drawn):
        raise BadInput(f"The latents are not those of {drawn}: give its folder to `encode-pictures --drawn`.")


def _resolved(folder: str | Path) -> str:
    """A folder's path, the same however it is written."""
    return str(Path(folder).resolve())


def encode(settings: LatentSettings, folder: Path) -> None:
    """Fill the set in `folder`, from where it stands."""
    device = choose_device(settings)
    vae = read_vae(settings.vae).to(device)
    drawn = open_drawn(Path(settings.drawn)) if settings.drawn else None
    if drawn is not None and (drawn.done < settings.pictures or drawn.people != settings.people):
        raise BadInput(f"{settings.drawn} holds {drawn.done} pictures of {drawn.people}: give --pictures and --people to fit.")
    arrays, done = _open_or_make(settings, folder)
    end, begun = min(settings.until or settings.pictures, settings.pictures), time.monotonic()
    first = done
    while done < end:
        numbers = range(done, min(done + settings.batch, end))
        pictures, heads, words = _pictures(settings, numbers, drawn)
        batch = to_tensor(send(pictures, device))
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=settings.autocast):
            mean = vae.encode(batch).latent_dist.mean
        for array, rows in zip(arrays, (mean.float().cpu().numpy(), heads, words), strict=True):
            array[numbers.start : numbers.stop] = rows
        done = numbers.stop
        if done % (settings.batch * settings.log_every) < settings.batch or done == end:
            for array in arrays:
                array.flush()
            _write_note(folder, settings, done)
            log.info("%d of %d pictures, %.1f a second", done, end, (done - first) / (time.monotonic() - begun))


def _pictures(settings: LatentSettings, numbers: range, drawn: DrawnSet | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """RGB uint8 [B, H, W, 3], the heads in their cells [B, H/8, W/8] and their captions' tokens [B, 77]."""
    if drawn is not None:
        rows = slice(numbers.start, numbers.stop)
        people = [[person(int(one)) for one in row] for row in drawn.who[rows]]
        styles = [ALL_STYLES[int(style)] for style in drawn.styles[rows]]
        return drawn.pictures[rows], drawn.heads[rows], _captions(settings, numbers, drawn.tokens[rows], people, styles)
    made = [drawing_of(settings.seed, settings.people, number) for number in numbers]
    people, styles = [[one.who for one in drawing.people] for drawing in made], [drawing.scene.style for drawing in made]
    said = _captions(settings, numbers, tokens_of([one.caption for one in made]), people, styles)
    return np.stack([one.picture for one in made]), np.stack([head_cells(one) for one in made]), said


def _captions(
    settings: LatentSettings, numbers: Sequence[int], tokens: np.ndarray, people: Sequence[Sequence[Identity]], styles: Sequence[str]
) -> np.ndarray:
    """Captions' tokens [B, 77], of which the share asked for also say how somebody looks; of several people nothing more is said."""
    found = tokens.copy()
    for row, (number, who, style) in enumerate(zip(numbers, people, styles, strict=True)):
        rng = np.random.default_rng((47, settings.seed, number))
        if len(who) == 1 and rng.random() < settings.looks:
            found[row] = joined(tokens[row], looks(who[0], rng, style not in COLOURLESS))
    return found


def drawing_of(seed: int, people: int, number: int) -> Drawing:
    """Picture `number` of a set: whoever needs what latents do not tell, its masks and people, draws it again."""
    rng = np.random.default_rng((seed, people, number))
    if people == 1:
        return picture(anyone(PAINTED, rng), rng)
    return pair_picture([anyone(PAINTED, rng) for _ in range(people)], rng)


def _facts(settings: LatentSettings) -> dict[str, object]:
    facts: dict[str, object] = {"seed": settings.seed, "people": settings.people, "vae": settings.vae}
    more = {"drawn": settings.drawn and _resolved(settings.drawn), "looks": settings.looks}
    return facts | {key: value for key, value in more.items() if value}


def _open_or_make(settings: LatentSettings, folder: Path) -> tuple[list[np.memmap], int]:
    prepare(folder)
    note = folder / "set.json"
    if note.exists():
        kept = read_note(note, ("done",))
        begun = {key: _resolved(value) if key == "drawn" else value for key, value in kept.items() if key != "done"}
        if begun != _facts(settings):
            raise BadInput(f"The pictures in {folder} were made with other settings: choose another --folder.")
        open_arrays(folder, ARRAYS, kept["done"])
        arrays = [np.lib.format.open_memmap(folder / f"{name}.npy", "r+") for name in ARRAYS]
        if len(arrays[0]) != settings.pictures:
            raise BadInput(
                f"The set in {folder} has room for {len(arrays[0])} pictures: give --pictures {len(arrays[0])} or another --folder."
            )
        return arrays, kept["done"]
    cells = (HEIGHT // 8, HEIGHT * settings.people // 8)
    shapes = {"latents": (np.float16, (VAE["latent_channels"], *cells)), "heads": (np.uint8, cells), "tokens": (np.uint16, (LENGTH,))}
    made = [(folder / f"{name}.npy", kind, (settings.pictures, *shape)) for name, (kind, shape) in shapes.items()]
    return [np.lib.format.open_memmap(path, "w+", kind, shape) for path, kind, shape in made], 0


def _write_note(folder: Path, settings: LatentSettings, done: int) -> None:
    save_note(folder / "set.json", {**_facts(settings), "done": done})


def main(argv: Sequence[str]) -> None:
    """Command line."""
    settings, folder = parse(LatentSettings, NAME, SUMMARY, argv)
    encode(settings, folder)


if __name__ == "__main__":
    speak()
    main(sys.argv[1:])
