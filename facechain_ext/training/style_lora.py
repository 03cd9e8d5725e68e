"""Trains a style LoRA: low-rank changes of a frozen UNet's transformers, from a folder of pictures or a drawn style (FACTS §1.5).

The file is in kohya's format, with alpha = rank unless `--strength` says otherwise, and works in every WebUI. It changes what kohya's
trainer changes: attention, feed-forward and projections (FACTS §1.5 has attention alone). What an adapter puts into pictures of people is
not of the style (a blueprint has no colour of skin): told meanwhile who is in its pictures (`--shown`), a LoRA learns to say that in the
style too. One that shows less of who somebody is can be watched (`--identity`).
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from facechain_ext.demo.world import person
from facechain_ext.demo.world.caption import STYLE_WORDS
from facechain_ext.demo.world.traits import EXTRA_STYLES
from facechain_ext.engine.checkpoints import read_encoder
from facechain_ext.engine.identity import face_tokens, null_tokens
from facechain_ext.engine.injection import Call, attach
from facechain_ext.engine.sites import find_sites
from facechain_ext.errors import BadInput
from facechain_ext.hosts.standalone.checkpoint import Networks
from facechain_ext.training.arguments import Common, adapter_option, checkpoint_option, encoder_option, identity_of, option, parse, speak
from facechain_ext.training.average import Average
from facechain_ext.training.batch import Variants
from facechain_ext.training.checkpoint import ADAPTER, CHECKPOINT, given_or_trained
from facechain_ext.training.device import choose_device, fused, lay_out, optimise, pace_of, rate_at, send
from facechain_ext.training.drawn import DrawnSet, check_alone, head_cells, open_drawn
from facechain_ext.training.encoder import FINISHED as ENCODER
from facechain_ext.training.encoder import head_crop
from facechain_ext.training.fresh import read_fitting
from facechain_ext.training.frozen import Frozen, captions_of, finish, listed, networks_of, noise_error, squared, without_words
from facechain_ext.training.identity_loss import IdentityLoss, recogniser_file
from facechain_ext.training.latents import HEIGHT
from facechain_ext.training.loop import train
from facechain_ext.training.low_rank import LowRank, kohya_name, take_up, targets
from facechain_ext.training.people import PAINTED, TESTED, anyone, photo_of, picture
from facechain_ext.training.resampler import look_ahead
from facechain_ext.training.team import ALONE, Team, assemble
from facechain_ext.training.tokens import tokens_of
from facechain_ext.training.watch import Guided, first_step, guide, watched

NAME, SUMMARY = "train-style-lora", "Train a style LoRA on a folder of pictures, or on a drawn style."
FINISHED = "lora.safetensors"
NO_ROWS = np.zeros(0, np.int64)
LATENT = (HEIGHT // 8, HEIGHT // 8)


@dataclass(frozen=True, kw_only=True)
class StyleSettings(Common):
    """Settings of a style LoRA's training."""

    rate: float = option(1e-4, "highest learning rate; cosine to a twentieth of it")
    batch: int = option(4, "pictures per step", lowest=1)
    checkpoint: str = checkpoint_option()
    data: str = option("", "folder of pictures, each with a caption in a .txt of the same name beside it")
    trigger: str = option("", "word before every caption")
    style: str = option("", "instead of a folder: a drawn style", ("", *EXTRA_STYLES))
    drawn: str = option("", "drawn style: folder of draw-people that has it; empty: drawn on the fly by one core")
    size: int = option(512, "side of the folder's pictures in pixels, a multiple of 8", lowest=8, multiple=8)
    rank: int = option(32, "rank of the changes", lowest=1)
    drop: float = option(0.1, "share of captions left out")
    heads: float = option(1.0, "drawn style: how many times as much the noise error in heads counts", lowest=0)
    attention: bool = option(False, "change attention alone, which makes a file half the size")
    velocity: bool = option(False, "the error of the velocity v in place of the noise's: noisy steps, which settle colours, are heard too")
    snr: float = option(0.0, "cap of the signal-to-noise weight (min-SNR); 0: every step of the noise weighs the same")
    strength: float = option(1.0, "how strongly the finished file works, in multiples of what was learnt: its alpha by its rank")
    begin: str = option("", "LoRA to begin with, of the same layers and rank; empty: a fresh one")
    shown: float = option(0.0, "with --drawn: share of the steps in which the adapter says who is in the pictures", lowest=0.0, highest=1.0)
    identity: float = option(0.0, "with --drawn: weight of the identity loss, on pictures of people that the model itself paints; 0: none")
    adapter: str = adapter_option("for --shown and --identity: adapter that says who is in pictures")
    encoder: str = encoder_option()
    recogniser: str = option("", "for --identity: what train-recogniser trained, on this style; empty: the one trained here")
    painted: int = option(8, "for --identity: how many of a step's captions are painted; all, where there are no more", lowest=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.data) == bool(self.style):
            raise BadInput("Give either --data with a folder of pictures, or --style with a drawn style.")
        if self.drawn and not self.style:
            raise BadInput("--drawn has pictures of a drawn style, --data gives others: leave one of the two out.")
        if self.heads != 1 and not self.style:
            raise BadInput("--heads needs to know where heads are, and only drawn pictures tell: give --style, or leave it out.")
        if self.trigger and self.style:
            raise BadInput("--trigger goes before the captions of --data; a drawn style has words of its own: leave it out.")
        if (self.identity or self.shown) and not self.drawn:
            asked = "--identity" if self.identity else "--shown"
            raise BadInput(f"{asked} needs to know who is who: give --style and --drawn beside it.")


class Faces:
    """An adapter that says who is in a picture, by a photo of them as people give it."""

    def __init__(self, settings: StyleSettings, device: torch.device, frozen: Frozen, drawn: DrawnSet) -> None:
        check_alone(drawn)
        self.device, self.frozen, self.drawn = device, frozen, drawn
        self.encoder = read_encoder(given_or_trained(settings.encoder, "encoder", ENCODER)).to(device)
        self.adapter = read_fitting(given_or_trained(settings.adapter, "fact", ADAPTER), self.encoder).to(device)
        self.adapter.check_fits(find_sites(frozen.networks.unet))

    def of(self, rows: np.ndarray, rng: np.random.Generator) -> Tensor:
        """Face tokens [B, T, context] of whoever is in rows of the set."""
        photos = [head_crop(photo_of(person(int(self.drawn.who[row, 0])), rng), rng, True) for row in rows]
        return face_tokens(self.encoder, self.adapter, send(np.stack(photos), self.device))[0]

    def speaking(self, faces: Tensor) -> AbstractContextManager[Any]:
        """While it lasts, the UNet is told of each of a batch's pictures whose it is."""
        each = tuple(range(len(faces)))
        call = Call(rows=each, pictures=each, progress=0.0, latent=LATENT)
        return attach(self.frozen.networks.unet, self.adapter, [Variants(stack=faces)], lambda _: call)


class Likeness:
    """A recogniser that sees who is in a picture which the adapter was told of: whether people are still themselves in a style."""

    def __init__(self, settings: StyleSettings, faces: Faces) -> None:
        recogniser_file(settings.recogniser)
        self.faces = faces
        seen = look_ahead(faces.encoder, faces.drawn, autocast=settings.autocast)
        self.loss = IdentityLoss.of(settings.recogniser, faces.encoder, faces.drawn, seen)
        self.nobody = null_tokens(faces.adapter, faces.encoder.sizes.tokens).to(faces.device)[None]

    def unlike(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """The identity loss along the model's own way to pictures with the captions of rows; the share that is right in the end."""
        frozen, faces = self.faces.frozen, self.faces.of(rows, rng)
        words, none = frozen.read(self.faces.drawn.tokens[rows]), frozen.read(tokens_of([""])).expand(len(rows), -1, -1)
        guided = Guided(frozen.networks.unet, words, none, LATENT)
        noise, first = torch.randn((len(rows), 4, *LATENT), device=self.faces.device), first_step()
        with attach(frozen.networks.unet, self.faces.adapter, [Variants(stack=torch.cat((self.nobody, faces)))], guided.call):
            return watched(self.loss, lambda latents, times: guide(*guided(latents, times)), noise, rows, first)


class StyleTrainee:
    """The changes, their optimiser and their average, hung onto a frozen UNet."""

    def __init__(self, settings: StyleSettings, device: torch.device, networks: Networks, team: Team = ALONE) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.device, self.frozen, self.team = settings, device, Frozen(networks), team
        lay_out(networks.unet, settings)
        self.layers = {kohya_name(path): layer for path, layer in targets(networks.unet, settings.attention)}
        made = {name: LowRank(layer, settings.rank) for name, layer in self.layers.items()}
        self.changes = nn.ModuleDict(made)
        if settings.begin:
            take_up(self.changes, Path(settings.begin))
        self.changes.to(device)
        self.at_work = self.changes
        for name, layer in self.layers.items():
            layer.register_forward_hook(self._change(name))
        self.optimiser = torch.optim.AdamW(self.changes.parameters(), lr=settings.rate, weight_decay=0.01, fused=fused(device))
        self.average = Average({"changes": self.changes}, settings.decay)
        self.paths = listed(Path(settings.data)) if settings.data else []
        self.tokens = tokens_of(captions_of(self.paths, settings.trigger)) if self.paths else None
        self.drawn = open_drawn(Path(settings.drawn)) if settings.drawn else None
        self.rows = self.drawn.rows_in(settings.style) if self.drawn else NO_ROWS
        named = self.drawn is not None and bool(settings.shown or settings.identity)
        self.faces = Faces(settings, device, self.frozen, self.drawn) if named else None
        self.likeness = Likeness(settings, self.faces) if self.faces and settings.identity else None

    def _change(self, name: str) -> Any:
        return lambda _layer, args, output: output + self.at_work[name](args[0])

    def step(self, number: int, rng: np.random.Generator) -> Mapping[str, Tensor]:
        settings = self.settings
        pictures, tokens, heads, rows = self._batch(rng)
        latents = self.frozen.encode(pictures) * self.frozen.scale
        words = self.frozen.read(without_words(tokens, settings.drop, rng))
        told = self._told(rows, rng)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=settings.autocast):
            unet = self.frozen.networks.unet
            with told:
                loss, error = noise_error(
                    latents,
                    settings.snr,
                    lambda noisy, times: unet(noisy, times, words).sample,
                    self._weight(heads),
                    velocity=settings.velocity,
                )
            said = {"error": error.detach()}
            if self.likeness is not None:
                unlike, seen = self.likeness.unlike(rng.permutation(rows)[: settings.painted], rng)
                loss, said = loss + settings.identity * unlike, said | {"unlike": unlike.detach(), "seen": seen}
        norm = optimise(loss, self.optimiser, [*self.changes.parameters()], rate_at(number, settings), team=self.team)
        self.average.follow(number)
        return {**said, "gradient": norm}

    def _told(self, rows: np.ndarray, rng: np.random.Generator) -> AbstractContextManager[Any]:
        """In so many steps as are to know it, the UNet is told who is in a batch's pictures."""
        if self.faces is None or not self.settings.shown or rng.random() >= self.settings.shown:
            return nullcontext()
        return self.faces.speaking(self.faces.of(rows, rng))

    def _weight(self, heads: np.ndarray | None) -> Tensor | None:
        """How much cells count [B, 1, h, w], from how much of each is somebody's head, of 255 [B, h, w]."""
        if heads is None or self.settings.heads == 1:
            return None
        return 1 + (self.settings.heads - 1) / 255 * send(heads.astype(np.float32), self.device)[:, None]

    def _batch(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray]:
        """Pictures, the tokens of their captions, where heads are, in cells, None where nobody knows, and their rows in the drawn set."""
        if self.drawn is not None:
            rows = np.sort(rng.choice(self.rows, self.settings.batch))
            return self.drawn.pictures[rows], self.drawn.tokens[rows], self.drawn.heads[rows], rows
        if self.tokens is None:
            drawn = [picture(anyone(PAINTED, rng), rng, [self.settings.style]) for _ in range(self.settings.batch)]
            heads = np.stack([head_cells(one) for one in drawn])
            return np.stack([one.picture for one in drawn]), tokens_of([one.caption for one in drawn]), heads, NO_ROWS
        chosen = rng.integers(0, len(self.paths), self.settings.batch)
        pictures = [squared(self.paths[index], self.settings.size) for index in chosen]
        mirrored = [one[:, ::-1] if rng.random() < 0.5 else one for one in pictures]
        return np.stack(mirrored), self.tokens[chosen], None, NO_ROWS

    def state(self) -> dict[str, Any]:
        return {"changes": self.changes.state_dict(), "optimiser": self.optimiser.state_dict(), "average": self.average.tensors}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.changes.load_state_dict(state["changes"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average.restore(state["average"])

    def weights(self) -> Mapping[str, Tensor]:
        alphas = {f"{name}.alpha": torch.tensor(self.alpha) for name in self.layers}
        return {**self.average.of("changes"), **alphas}

    @property
    def alpha(self) -> float:
        """What the file says of every layer: a change counts alpha / rank times."""
        return self.settings.strength * self.settings.rank

    def metadata(self) -> Mapping[str, str]:
        """As kohya's trainer names it, so that WebUIs show it."""
        rank, base = str(self.settings.rank), Path(self.settings.checkpoint or CHECKPOINT).name
        said = {"ss_network_module": "networks.lora", "ss_network_dim": rank, "ss_network_alpha": f"{self.alpha:g}"}
        said["ss_sd_model_name"] = base
        words = self.settings.trigger if self.settings.data else STYLE_WORDS[self.settings.style][0]
        return said | ({"modelspec.trigger_phrase": words} if words else {})

    def sheet(self) -> np.ndarray:
        """Two rows: the frozen model's pictures, and those with the averaged LoRA."""
        if self.tokens is None:
            rng = np.random.default_rng(5)
            tokens = tokens_of([picture(number, rng, [self.settings.style]).caption for number in TESTED[:6]])
        else:
            tokens = self.tokens[:6]
        words = self.frozen.read(tokens)
        rows = []
        for share in (0.0, self.settings.strength):
            self.at_work = self._averaged(share)
            rows.append(np.hstack(list(self.frozen.paint(words, HEIGHT if self.settings.style else self.settings.size))))
        self.at_work = self.changes
        return np.vstack(rows)

    def _averaged(self, share: float) -> nn.ModuleDict:
        changes = copy.deepcopy(self.changes)
        changes.load_state_dict({key: value * (share if "lora_up" in key else 1) for key, value in self.average.of("changes").items()})
        return changes


def stated(settings: StyleSettings) -> dict[str, Any]:
    """What must stay the same when a training goes on; who watches matters only where somebody does, and strength when it ends."""
    free = {"strength"} | (set() if settings.identity else {"recogniser", "painted"})
    free |= set() if settings.identity or settings.shown else {"adapter", "encoder"}
    return {key: value for key, value in identity_of(settings).items() if key not in free}


def main(argv: Sequence[str]) -> None:
    """Command line."""
    settings, folder = parse(StyleSettings, NAME, SUMMARY, argv)
    team = assemble(settings.device)
    device = team.device(choose_device(settings))
    trainee = StyleTrainee(settings, device, networks_of(settings.checkpoint, device), team)
    train(trainee, folder, stated(settings) | team.stated, settings.seed, pace_of(settings), team)
    if team.first:
        finish(trainee, folder / FINISHED)


if __name__ == "__main__":
    speak()
    main(sys.argv[1:])
