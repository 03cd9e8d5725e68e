"""Trains a FACT adapter: resampler and 16 gates on a frozen SD1.5 checkpoint and a frozen face encoder (FACTS §1.1).

noise error + λ·FAIR; the reference face comes from another picture of the same person, more and more often as training goes on; at
random the face, the caption or both are left out, so that guidance works; some steps show several references of a person.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facechain_ext.engine.adapter import Adapter
from facechain_ext.engine.checkpoints import adapter_tensors, read_encoder, write_adapter
from facechain_ext.engine.encoder import FaceEncoder
from facechain_ext.engine.identity import face_tokens, to_input
from facechain_ext.engine.injection import Call, attach
from facechain_ext.engine.looks import LOOKS
from facechain_ext.errors import BadInput
from facechain_ext.hosts.standalone.checkpoint import Networks
from facechain_ext.training.arguments import Common, checkpoint_option, encoder_option, identity_of, option, parse, speak
from facechain_ext.training.average import Average
from facechain_ext.training.batch import Batch, Batches, Variants
from facechain_ext.training.checkpoint import given_or_trained
from facechain_ext.training.device import choose_device, fused, lay_out, optimise, pace_of, rate_at, send
from facechain_ext.training.distil import Teacher, Tell
from facechain_ext.training.drawn import DrawnSet
from facechain_ext.training.encoder import FINISHED as ENCODER
from facechain_ext.training.fair import Outside
from facechain_ext.training.fresh import build_adapter, optimiser_of
from facechain_ext.training.frozen import networks_of
from facechain_ext.training.identity_loss import IdentityLoss
from facechain_ext.training.latents import HEIGHT
from facechain_ext.training.loop import train
from facechain_ext.training.noise import add_noise, coarse_weight, sample, snr_weight, take_noise, velocity_weight, weighed
from facechain_ext.training.parallel import ParallelAdapter, attach_parallel, parallel_tensors
from facechain_ext.training.pixels import to_pictures
from facechain_ext.training.resampler import look_ahead
from facechain_ext.training.subjects import Source, StoredPeople, source_of
from facechain_ext.training.team import ALONE, Team, assemble
from facechain_ext.training.told import Told
from facechain_ext.training.watch import GUIDANCE, Guided, Watcher, first_step, guide, unwatched, watched

NAME, SUMMARY = "train-fact", "Train a FACT adapter on a dataset of faces, or on drawn people."
FINISHED = "adapter.safetensors"

SHOWN, PAINTED_AT_ONCE = 6, 100


@dataclass(frozen=True, kw_only=True)
class FactSettings(Common):
    """Settings of a FACT training."""

    rate: float = option(1e-4, "highest learning rate; cosine to a twentieth of it")
    batch: int = option(8, "pictures per step and process", lowest=1)
    decay: float = option(0.9995, "decay of the moving average of the weights")
    checkpoint: str = checkpoint_option()
    encoder: str = encoder_option()
    begin: str = option("", "adapter to begin with; empty: a fresh one")
    resampler_from: str = option("", "adapter whose resampler a fresh one takes, whose gates begin anew; empty: a fresh resampler too")
    looks: int = option(
        0, "how often the finished adapter looks at every photo, and while its gates learn by themselves; 0: as --begin does, or once",
        lowest=0, highest=len(LOOKS),
    )  # fmt: skip
    as_one: bool = option(False, "let several photos of a person weigh together what one would; an adapter of --begin that does stays so")
    data: str = option("", "dataset folder with a sub-folder of pictures per person; empty: drawn people")
    size: int = option(512, "side of a dataset's pictures in pixels, a multiple of 8", lowest=8, multiple=8)
    analyser: str = option("auto", "face analysis that looks at the dataset")
    models: str = option("", "folder with face analysis models, in sub-folders named as the backends")
    latents: str = option("", "drawn people: folder of encoded pictures; empty: encoded on the fly, which is slower")
    drawn: str = option("", "drawn people: folder of draw-people that --latents encodes; empty: faces are drawn on the fly by one core")
    drawn_pairs: str = option("", "the same for --pairs")
    ahead: bool = option(False, "with --drawn: let the encoder look at all faces once, ahead of the training, not at every step")
    pictures: int = option(0, "drawn people: how many of the encoded pictures to use; 0: all there are", lowest=0)
    photos: float = option(
        0.0, "drawn people: share of references that are photos without a hat, as people give them, drawn on the fly; 0: as pictures are"
    )
    pairs: str = option("", "drawn people: folder of encoded pictures of two people; empty: none")
    pair_every: int = option(10, "every so many steps a half batch of pictures of two people", lowest=1)
    fair: bool = option(True, "penalise what a face changes outside the head")
    fair_weight: float = option(0.01, "weight of FAIR, the mean over the 16 gates")
    held: int = option(
        0, "pictures per step that are told without the adapter too, to be left as they are outside the head; 0: none", lowest=0
    )
    hold: float = option(1.0, "for --held: weight of what the adapter changes there")
    heads: float = option(1.0, "how many times as much the noise error in heads counts: it is there that a face can be learnt from")
    shuffle: bool = option(True, "take references from other pictures of the same person")
    curriculum: float = option(0.2, "part of the training over which such references become the rule")
    drop: float = option(0.1, "share of pictures without the face, half of them without the caption too")
    drop_words: float = option(0.05, "share of pictures without the caption alone")
    several: float = option(0.2, "share of steps with two to four references of each person")
    gates: float = option(10.0, "learning rate of the gates' openings in multiples of the others'")
    resampler: float = option(0.2, "the same of the resampler: fast, it forgets whom it sees before a gate uses it; 0: it stays")
    muon: float = option(0.0, "size of Muon's steps in multiples of the rate (AdamW's are 0.2) for matrices; 0: AdamW alone")
    snr: float = option(0.0, "cap of the signal-to-noise weight (min-SNR); 0: every step of the noise weighs the same")
    coarse: float = option(0.0, "extra weight of noisy steps in multiples of noise by signal: outlines are settled there; 0: none")
    velocity: bool = option(False, "the error of the velocity v in place of the noise's: noisy steps are heard as clearly as the others")
    tested: int = option(
        0, "drawn people: how many unseen ones are painted at every sample sheet, for the judge to tell apart; 0: none", lowest=0
    )
    half: bool = option(False, "write the finished adapter in float16: half the size")
    identity: float = option(0.0, "drawn people: weight of the identity loss, on the picture that the told noise stands for; 0: none")
    recogniser: str = option("", "for --identity: what train-recogniser trained; empty: the one trained here")
    painted: int = option(
        0, "with --identity or --distil: people per step whom the model itself paints from noise, to be watched; 0: none", lowest=0
    )
    beside: float = option(
        0.0, "with --painted: weight of what they differ outside the head from pictures of the same noise without the adapter; 0: not asked"
    )  # fmt: skip
    distil: float = option(
        0.0, "drawn people: weight of distillation from the model itself, told in words how somebody looks, beside --teacher; 0: none"
    )
    teacher: str = option("", "for --distil: adapter whose faces the words are said beside; empty: that of --begin")
    parallel: bool = option(False, "ablation: parallel cross-attention, as IP-Adapter's, instead of the gate before the text")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.begin and self.resampler_from:
            raise BadInput("--begin gives an adapter with its resampler, --resampler-from another's: leave one of the two out.")
        if not (self.resampler or self.begin or self.resampler_from):
            raise BadInput("--resampler 0 leaves the resampler as it is: give one that has learnt by --begin or --resampler-from.")
        if self.identity and not self.ahead:
            raise BadInput("--identity needs to know who is who: give --drawn and --ahead beside it.")
        if self.painted and not (self.ahead and (self.identity or self.distil)):
            raise BadInput("--painted lets the identity loss or a teacher watch: give --identity or --distil beside it, and --ahead.")
        if self.beside and not (self.painted and self.identity):
            raise BadInput("--beside is about pictures that are painted and watched: give --painted and --identity beside it.")
        if self.looks > 1 and self.parallel:
            raise BadInput("--looks is about adapters with gates, --parallel asks for one without: leave one of the two out.")
        if self.as_one and self.parallel:
            raise BadInput("--as-one is about adapters with gates, --parallel asks for one without: leave one of the two out.")
        if self.distil and self.data:
            raise BadInput("--distil tells looks in words, and only those of drawn people are known: leave out --data or --distil.")
        if self.teacher and self.parallel:
            raise BadInput("--teacher gives an adapter with gates, --parallel asks for one without: leave one of the two out.")
        if self.teacher and not self.distil:
            raise BadInput("--teacher is an adapter for --distil: give that beside it.")


MAY_CHANGE = {"models", "half"}


class Watched(NamedTuple):
    """What is asked of told pictures: whether they are like, what gates change off the head, what a teacher says, what else is changed."""

    unlike: Tensor | float = 0.0
    strayed: Tensor | float = 0.0
    taught: Tensor | float = 0.0
    apart: Tensor | float = 0.0


class FactTrainee:
    """Adapter, its optimiser and its average, on frozen networks."""

    def __init__(
        self, settings: FactSettings, device: torch.device, networks: Networks, encoder: FaceEncoder, source: Source, team: Team = ALONE
    ) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.device, self.networks, self.source, self.team = settings, device, networks, source, team
        lay_out(networks.unet, settings)
        self.encoder = encoder.to(device)
        self.adapter = build_adapter(settings, networks.unet, encoder).to(device).train()
        self.adapter.resampler.requires_grad_(settings.resampler > 0)
        self.parameters = [one for one in self.adapter.parameters() if one.requires_grad]
        self.optimiser = optimiser_of(self.adapter, settings, fused(device))
        self.average = Average({"adapter": self.adapter}, settings.decay)
        self.batches = Batches(settings, networks, source)
        self.kept: np.ndarray | None = None
        self.identity: IdentityLoss | None = None
        self.usual = torch.zeros(1, 1, 1)
        if settings.ahead:
            drawn = kept_of(source)
            self.usual = send(drawn.heads[: drawn.done].mean(axis=0, keepdims=True, dtype=np.float32) / 255, device)
            self.kept = look_ahead(self.encoder, drawn, autocast=settings.autocast)
            if settings.identity:
                self.identity = IdentityLoss.of(settings.recogniser, self.encoder, drawn, self.kept)
        self.teacher: Teacher | None = None
        if settings.distil:
            before = self.adapter
            if settings.teacher:
                before = build_adapter(replace(settings, begin=settings.teacher, resampler_from=""), networks.unet, encoder)
            self.teacher = Teacher(networks.unet, copy.deepcopy(before).to(device), self._attach)
        self.known = self.seen = torch.zeros(())
        self.judged = 0.0
        self.told: Told | None = None

    def step(self, number: int, rng: np.random.Generator) -> Mapping[str, float | Tensor]:
        loss, said = self.loss(number, rng)
        norm = self._update(loss, number)
        self.average.follow(number)
        return {**said, "gradient": norm}

    def loss(self, number: int, rng: np.random.Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss of a step, and what to log of it."""
        settings = self.settings
        batch = self.batches.draw(number, rng)
        noise = torch.randn_like(batch.latents)
        times = torch.randint(0, 1000, (len(noise),), device=self.device)
        latent = (noise.shape[2], noise.shape[3])
        outside = Outside(batch.head, latent)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=settings.autocast):
            with torch.no_grad():
                words = self.networks.text_encoder(batch.words).last_hidden_state
                looks = None if batch.looks is None else self.networks.text_encoder(batch.looks).last_hidden_state
            rows = tuple(range(len(noise)))
            call = Call(rows=rows, pictures=rows, progress=0.0, latent=latent)
            with self._attach(self.adapter, self._persons(batch, self.adapter), lambda _: call, outside):
                noisy = add_noise(batch.latents, noise, times)
                found = self.networks.unet(noisy, times, words).sample
        plain = F.mse_loss(found.float(), noise, reduction="none").detach()
        told, fair = (self._error(found.float(), noise, batch.head) * self._weight(times)).mean(), outside.mean()
        taught = self._taught(batch, words, looks, noisy, found.float(), times)
        way = self._unlike(batch, words, looks, noisy, found.float(), times)
        changed = self._changed(batch, words, noisy, found.float(), times)
        taught = taught + way.taught
        fairly = settings.fair_weight * settings.fair * (fair + way.strayed)
        elsewhere = settings.hold * changed + settings.beside * way.apart
        loss = told + fairly + settings.identity * way.unlike + settings.distil * taught + elsewhere
        said = {"error": plain.mean(), "fair": fair.detach(), "gate": self._opening()}
        watch = {"seen": (settings.painted * settings.identity, self.seen), "strayed": (settings.painted, way.strayed)}
        watch |= {"apart": (settings.beside, way.apart), "taught": (settings.distil, taught)}
        asked = {"known": (settings.identity, self.known), **watch}
        asked |= {"changed": (settings.held, changed), "judged": (settings.tested, self.judged)}
        return loss, said | {name: torch.as_tensor(value).detach() for name, (wanted, value) in asked.items() if wanted}

    def _error(self, found: Tensor, wanted: Tensor, head: Tensor) -> Tensor:
        """Squared error of noise [B, 4, h, w] by rows, where heads [1 or B, H, W] count as they are told to [B]."""
        return weighed(found, wanted, 1 + (self.settings.heads - 1) * F.adaptive_avg_pool2d(head[:, None], found.shape[2:]))

    def _weight(self, times: Tensor) -> Tensor:
        """How much the error of the noise counts at steps of it [B]."""
        settings = self.settings
        whole = snr_weight(times, settings.snr) * coarse_weight(times, settings.coarse)
        return whole * velocity_weight(times) if settings.velocity else whole

    def _attach(self, adapter: nn.Module, persons: Sequence[Any], calls: Any, observe: Any = None) -> Any:
        way: Any = attach_parallel if self.settings.parallel else attach
        return way(self.networks.unet, adapter, persons, calls, observe=observe)

    def _persons(self, batch: Batch, adapter: Adapter | ParallelAdapter) -> list[Variants]:
        """Everybody's face tokens per row, the null tokens where the row goes without."""
        null, persons = self._null(adapter), []
        for crops, rows, place in zip(batch.crops, batch.rows, batch.places, strict=True):
            count = crops.shape[1]
            tokens = self._tokens(adapter, crops.flatten(0, 1), rows).unflatten(0, (-1, count)).flatten(1, 2)
            persons.append(Variants(stack=torch.where(batch.faceless[:, None, None], null.repeat(1, count, 1), tokens), mask=place))
        return persons

    def _tokens(self, adapter: Adapter | ParallelAdapter, crops: Tensor, rows: np.ndarray | None = None) -> Tensor:
        """Face tokens of crops; of what was seen ahead where that is the same. A resampler that learns looks once at every face."""
        if isinstance(adapter, Adapter) and adapter.looks > 1 and not self.settings.resampler:
            return face_tokens(self.encoder, adapter, crops)[0]
        if self.kept is not None and rows is not None and not self.settings.photos:
            return adapter.resampler(send(self.kept[rows.flatten()].astype(np.float32), self.device))
        with torch.no_grad():
            local = self.encoder(to_input(crops))
        return adapter.resampler(local)

    def _taught(
        self, batch: Batch, words: Tensor, looks: Tensor | None, noisy: Tensor, found: Tensor, times: Tensor
    ) -> Tensor | float:  # fmt: skip
        """How far told noise is from the teacher's; 0 where there is none. Rows without face or caption are not asked."""
        if self.teacher is None or looks is None:
            return 0.0
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.autocast), torch.no_grad():
            persons = self._persons(batch, self.teacher.before)
            with self.teacher.told_of(persons, (noisy.shape[2], noisy.shape[3])) as tell:
                wanted = tell(noisy, times, words, looks)
        return (self._error(found, wanted, batch.head) * self._weight(times) * ~(batch.faceless | batch.wordless)).mean()

    def _changed(self, batch: Batch, words: Tensor, noisy: Tensor, found: Tensor, times: Tensor) -> Tensor | float:
        """How far told noise of some rows is from what is told without the adapter: outside heads, and without a face everywhere.

        What the noise error says of that is drowned by what is unknown of the noise; here the answer is known.
        """
        count = min(self.settings.held, len(words))
        if not count:
            return 0.0
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.autocast), torch.no_grad():
            without = self.networks.unet(noisy[:count], times[:count], words[:count]).sample.float()
        free = 1 - F.adaptive_avg_pool2d(batch.head[:count, None], found.shape[2:])
        free = torch.where(batch.faceless[:count, None, None, None], 1.0, free)
        return (weighed(found[:count], without, free) * self._weight(times[:count])).mean()

    def _unlike(
        self, batch: Batch, words: Tensor, looks: Tensor | None, noisy: Tensor, noise: Tensor, times: Tensor
    ) -> Watched:  # fmt: skip
        """What the identity loss says of told noise; and where it watches, all that is asked along the way.

        0 where neither is asked, or where pictures show several people.
        """
        rows, wrong = batch.rows[0], 0.0
        if len(batch.rows) > 1 or rows is None:
            return Watched()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.autocast):
            if self.identity is not None:
                wrong, self.known = self.identity(take_noise(noisy, noise, times), times, rows[:, 0], ~batch.faceless)
            if not self.settings.painted:
                return Watched(wrong)
            found = self._watched(batch, words, looks, rows)
            return found._replace(unlike=wrong + found.unlike)

    def _watched(self, batch: Batch, words: Tensor, looks: Tensor | None, rows: np.ndarray) -> Watched:
        """What is asked along the model's own way from noise to pictures of some of the batch's people, with guidance as a host's.

        Nobody knows yet where the head will be, so FAIR and the teacher go by where heads are how often.
        """
        count = min(self.settings.painted, len(words))
        with torch.no_grad():
            none = self.networks.text_encoder(self.batches.no_words).last_hidden_state.expand(count, -1, -1)
        some = (batch.crops[0][:count, 0], rows[:count, :1])
        stack = torch.cat((self._null(self.adapter), self._tokens(self.adapter, *some)))
        latent = (batch.latents.shape[2], batch.latents.shape[3])
        guided = Guided(self.networks.unet, words[:count], none, latent)
        outside, strayed, taught, apart = Outside(self.usual.expand(count, -1, -1), latent), [], [], []

        def tell(latents: Tensor, times: Tensor) -> Tensor:
            without, with_face = guided(latents, times)
            strayed.append(outside.mean())
            if teach is not None and looks is not None:
                wanted = teach(latents, times, words[:count], looks[:count])
                # As it is: weighed as the noise of pictures may be, the last steps would not be heard, and there words help most.
                taught.append((self._error(with_face, wanted, self.usual) * ~batch.wordless[:count]).mean())
            return guide(without, with_face)

        first, noise = first_step(), torch.randn_like(batch.latents[:count])
        with self._attach(self.adapter, [Variants(stack=stack)], guided.call, outside), self._teaching(some, latent) as teach:
            watcher: Watcher | None = self.identity
            if self.identity is not None and self.settings.beside:
                watcher = self._compared(self.identity, unwatched(guided.alone, noise, first), apart)
            wrong, self.seen = watched(watcher, tell, noise, rows[:count, 0], first)
        return Watched(wrong, *(torch.stack(each).mean() if each else 0.0 for each in (strayed, taught, apart)))

    def _compared(self, identity: IdentityLoss, alone: Sequence[Tensor], apart: list[Tensor]) -> Watcher:
        """The identity loss, noting how far the pictures of every step are from those without the adapter where neither has a head."""

        def judge(clean: Tensor, times: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
            other = alone[len(apart)]
            free = 1 - torch.maximum(identity.heads(clean.detach()), identity.heads(other))
            apart.append(weighed(clean, other, free).mean())
            return identity(clean, times, *rest)

        return judge

    def _teaching(self, faces: tuple[Tensor, np.ndarray], latent: tuple[int, int]) -> AbstractContextManager[Tell | None]:
        """The teacher, told of these faces; nothing where there is none."""
        if self.teacher is None:
            return nullcontext()
        with torch.no_grad():
            stack = self._tokens(self.teacher.before, *faces)
        return self.teacher.told_of([Variants(stack=stack)], latent)

    def _null(self, adapter: Adapter | ParallelAdapter) -> Tensor:
        """Face tokens of nobody [1, T, context]."""
        return adapter.resampler(torch.zeros(1, self.encoder.sizes.tokens, self.encoder.sizes.dim, device=self.device))

    def _update(self, loss: Tensor, number: int) -> Tensor:
        return optimise(loss, self.optimiser, self.parameters, rate_at(number, self.settings), team=self.team)

    def _opening(self) -> Tensor:
        """How far the gates are open: mean |tanh α|."""
        openings = [value.detach().tanh().abs() for key, value in self.adapter.named_parameters() if ".alpha_" in key]
        return torch.stack(openings).mean() if openings else torch.zeros((), device=self.device)

    def state(self) -> dict[str, Any]:
        trained = {"adapter": self.adapter.state_dict(), "optimiser": self.optimiser.state_dict(), "average": self.average.tensors}
        return {**trained, "judged": self.judged}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.judged = state["judged"]
        self.adapter.load_state_dict(state["adapter"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average.restore(state["average"])

    def averaged(self) -> Adapter | ParallelAdapter:
        """The adapter with the averaged weights."""
        adapter = copy.deepcopy(self.adapter)
        adapter.load_state_dict(self.average.of("adapter"))
        return adapter.eval().requires_grad_(False)

    def weights(self) -> Mapping[str, Tensor]:
        adapter = self.averaged()
        return parallel_tensors(adapter) if isinstance(adapter, ParallelAdapter) else adapter_tensors(adapter)

    def metadata(self) -> Mapping[str, str]:
        recipe = {key: getattr(self.settings, key) for key in ("fair", "fair_weight", "shuffle", "parallel", "steps", "batch", "seed")}
        return {"resampler_heads": str(self.adapter.sizes.resampler.heads), "recipe": json.dumps(recipe)}

    @torch.no_grad()
    def sheet(self) -> np.ndarray:
        """Three rows: the reference face, the picture without it, the picture with it; the judge is asked too."""
        shown, adapter = self.source.show(SHOWN), self.averaged()
        crops = np.stack([crop for crop, _ in shown])
        rows = [np.hstack(list(made)) for made in self._painted(adapter, crops, np.stack([words for _, words in shown]))]
        if self.settings.tested:
            self.judged = self._told_apart(adapter)
        height = rows[0].shape[0]
        return np.vstack([np.hstack([cv2.resize(crop, (height, height)) for crop in crops]), *rows])

    def _painted(self, adapter: Adapter | ParallelAdapter, crops: np.ndarray, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pictures without and with the faces, RGB uint8 [B, H, W, 3], always from the same noise."""
        vae = self.networks.vae
        texts = send(tokens.astype(np.int64), self.device)
        words, none = (self.networks.text_encoder(each).last_hidden_state for each in (texts, self.batches.no_words))
        side = (self.settings.size if self.settings.data else HEIGHT) // 8
        start = torch.randn((len(crops), 4, side, side), generator=torch.Generator().manual_seed(3)).to(self.device)
        stack = torch.cat((self._null(adapter), self._tokens(adapter, send(crops, self.device))))
        rows = (*(0 for _ in crops), *range(1, len(crops) + 1))
        call = Call(rows=rows, pictures=rows, progress=0.0, latent=(side, side))
        made = [self._paint(start, words, none)]
        with self._attach(adapter, [Variants(stack=stack)], lambda _: call):
            made.append(self._paint(start, words, none))
        without, with_faces = (to_pictures(vae.decode(one / vae.config["scaling_factor"]).sample) for one in made)
        return without, with_faces

    def _paint(self, start: Tensor, words: Tensor, none: Tensor) -> Tensor:
        return sample(self.networks.unet, start, words, none.expand(len(start), -1, -1), steps=20, guidance=GUIDANCE)

    def _told_apart(self, adapter: Adapter | ParallelAdapter) -> float:
        """Share of unseen people whom the judge ranks first in pictures painted from a photo of each."""
        if self.told is None:
            self.told = Told(self.settings.tested)
        crops, tokens = self.told.crops, self.told.tokens
        parts = [slice(first, first + PAINTED_AT_ONCE) for first in range(0, len(crops), PAINTED_AT_ONCE)]
        return self.told.share(np.concatenate([self._painted(adapter, crops[part], tokens[part])[1] for part in parts]))


def kept_of(source: Source) -> DrawnSet:
    """The set of single people that a source takes faces from. BadInput where it draws or reads them itself."""
    if not isinstance(source, StoredPeople):
        raise BadInput("--ahead needs faces that are kept: give --drawn, or leave it out.")
    return source.drawn


def main(argv: Sequence[str]) -> None:
    """Command line."""
    settings, folder = parse(FactSettings, NAME, SUMMARY, argv)
    team = assemble(settings.device)
    device = team.device(choose_device(settings))
    networks = networks_of(settings.checkpoint, device)
    encoder = read_encoder(given_or_trained(settings.encoder, "encoder", ENCODER))
    trainee = FactTrainee(settings, device, networks, encoder, source_of(settings, folder), team)
    fixed = {key: value for key, value in identity_of(settings).items() if key not in MAY_CHANGE}
    train(trainee, folder, fixed | team.stated, settings.seed, pace_of(settings), team)
    if team.first:
        finish(trainee, folder)


def finish(trainee: FactTrainee, folder: Path) -> None:
    """Write the averaged adapter under its published names; one of the ablation's kind stays in weights.safetensors. CannotWrite."""
    adapter = trainee.averaged()
    if isinstance(adapter, Adapter):
        write_adapter(adapter.half() if trainee.settings.half else adapter, folder / FINISHED, trainee.metadata())


if __name__ == "__main__":
    speak()
    main(sys.argv[1:])
