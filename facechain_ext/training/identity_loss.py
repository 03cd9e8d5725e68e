"""An identity loss for gates and style LoRAs: a recogniser looks at the picture the noise prediction stands for and says whose face it is.

What tells people apart moves the error of the noise by little, so a gate hears little of it. The recogniser works on latents: nothing need
be decoded. It learns on what it will be shown, pictures as vague as a frozen UNet tells them from noise, and speaks as the lessons of a
resampler do (training/resampler.py): traits by name, and nearness to everybody's mean embedding.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facechain_ext.demo.architecture import VAE
from facechain_ext.engine.checkpoints import read_encoder
from facechain_ext.engine.encoder import FaceEncoder
from facechain_ext.errors import BadInput, BadWeights
from facechain_ext.hosts.standalone.loras import applied
from facechain_ext.training.arguments import Common, checkpoint_option, encoder_option, identity_of, option, parse, speak
from facechain_ext.training.average import Average
from facechain_ext.training.checkpoint import default_folder, fill, given_or_trained, load_weights
from facechain_ext.training.device import choose_device, fused, optimise, pace_of, rate_at, send
from facechain_ext.training.drawn import DrawnSet, open_drawn
from facechain_ext.training.encoder import FINISHED as ENCODER
from facechain_ext.training.frozen import finish, networks_of
from facechain_ext.training.latents import HEIGHT, check_drawn, open_set
from facechain_ext.training.loop import train
from facechain_ext.training.noise import ALPHAS, STEPS, add_noise, take_noise
from facechain_ext.training.people import ALL_STYLES
from facechain_ext.training.resampler import Lessons, look_ahead, means_of, whose

NAME, SUMMARY = "train-recogniser", "Teach a small network whose face latents show, for an identity loss."
FINISHED = "recogniser.safetensors"
CELLS, FEATURES = HEIGHT // 8, 384
CHANNELS = (64, 128, 256)
"""At every size of the latents: whole, half, quarter."""
WHOLE = 3
"""Parts of the trunk that work at the whole size."""


class Block(nn.Module):
    """Two convolutions beside a way past them, [B, C, H, W] both ways."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        parts = (nn.GroupNorm(8, channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1))
        again = (nn.GroupNorm(8, channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1))
        self.way = nn.Sequential(*parts, *again)

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.way(maps)


class LatentRecogniser(nn.Module):
    """Scaled latents of one person [B, 4, 16, 16] → features [B, 384] and the lessons that read them; and where the head is."""

    def __init__(self, people: Tensor) -> None:
        """people: everybody's mean embedding, unit vectors [P, E]."""
        super().__init__()
        parts: list[nn.Module] = []
        before = VAE["latent_channels"]
        for place, channels in enumerate(CHANNELS):
            parts += [nn.Conv2d(before, channels, 3, padding=1, stride=2 if place else 1), Block(channels), Block(channels)]
            before = channels
        side = CELLS >> (len(CHANNELS) - 1)
        parts += [nn.GroupNorm(8, before), nn.SiLU(), nn.Flatten(), nn.Linear(before * side * side, FEATURES), nn.SiLU()]
        self.trunk = nn.Sequential(*parts)
        self.place = nn.Sequential(nn.GroupNorm(8, CHANNELS[0]), nn.SiLU(), nn.Conv2d(CHANNELS[0], 1, 1))
        self.lessons = Lessons(FEATURES, people)

    def errors(self, latents: Tensor, who: np.ndarray) -> tuple[Tensor, Tensor]:
        """Error of the traits and of whose face it is [B], and whether it is nearest to its own [B]; who: rows of the people [B]."""
        return self.errors_and_heads(latents, who)[:2]

    def heads(self, latents: Tensor) -> Tensor:
        """Share of head in every cell, before a sigmoid [B, 1, 16, 16]."""
        return self.place(self.trunk[:WHOLE](latents)).float()

    def errors_and_heads(self, latents: Tensor, who: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """What both say, at the price of one look. Where autocast is on, the lessons alone do not compute in bfloat16."""
        maps = self.trunk[:WHOLE](latents)
        features, heads = self.trunk[WHOLE:](maps), self.place(maps)
        with torch.autocast(features.device.type, enabled=False):
            return *self.lessons.errors(features.float(), who), heads.float()


def recogniser_file(path: str) -> Path:
    """The recogniser that was named; where none was, the one trained here. BadWeights where there is none."""
    file = Path(path) if path else default_folder(NAME.removeprefix("train-")) / FINISHED
    if not file.is_file():
        raise BadWeights(f"There is no recogniser at {file}: teach one by `{NAME}` first.")
    return file


class IdentityLoss:
    """What a training of gates or of a style asks a frozen recogniser."""

    def __init__(self, recogniser: LatentRecogniser, whose: np.ndarray) -> None:
        """whose: of every face that is kept ahead, whose it is [N]."""
        self.recogniser, self.whose = recogniser.eval().requires_grad_(False), whose

    @classmethod
    def of(cls, path: str, encoder: FaceEncoder, drawn: DrawnSet, seen: np.ndarray) -> IdentityLoss:
        """By a file of train-recogniser; empty: the one trained here. BadWeights where there is none, or one of another face encoder.

        seen: what look_ahead found of the set.
        """
        file = recogniser_file(path)
        everybody = whose(drawn)
        made = LatentRecogniser(means_of(encoder, seen, everybody))
        fill(made, load_weights(file), file, f"a recogniser for this face encoder, as `{NAME}` makes it")
        return cls(made.to(encoder.pos_embed.device), everybody)

    def __call__(self, latents: Tensor, times: Tensor, rows: np.ndarray, with_face: Tensor) -> tuple[Tensor, Tensor]:
        """Mean error of told pictures [B, 4, 16, 16], and the share that is nearest to its own; those without a face are not asked.

        times: of the noise they were told from [B]; rows: where a face of each is kept [B]; with_face: bool [B].
        """
        errors, right = self.recogniser.errors(latents, self.whose[rows])
        return (errors * trust(times) * with_face).mean(), right[with_face].float().mean()

    @torch.no_grad()
    def heads(self, latents: Tensor) -> Tensor:
        """Share of head in every cell of told pictures [B, 4, 16, 16], [B, 1, 16, 16] in [0, 1]."""
        return self.recogniser.heads(latents).sigmoid()


def trust(times: Tensor) -> Tensor:
    """√SNR of steps of the noise, at most 1: a picture told from more noise is its prediction's error many times over [B]."""
    alpha = ALPHAS.to(times.device)[times]
    return (alpha / (1 - alpha)).sqrt().clamp(max=1)


@dataclass(frozen=True, kw_only=True)
class RecogniserSettings(Common):
    """Settings of a recogniser's training."""

    batch: int = option(64, "latents per step, half of them told by the UNet from noise, half with noise left in them", lowest=2)
    encoder: str = encoder_option()
    checkpoint: str = checkpoint_option()
    drawn: str = option("", "folder of draw-people with single people")
    latents: str = option("", "folder of encode-pictures with latents of the same")
    lora: str = option("", "style LoRA that the UNet tells them with; empty: none")
    style: str = option("", "learn by pictures in this drawing style alone; empty: by all", ("", *ALL_STYLES))
    noise: float = option(0.9, "most noise left in latents, in their own deviations")
    tested: int = option(200, "people kept out, for the test at every sample sheet; 0: none", lowest=0)


class RecogniserTrainee:
    """A recogniser, its optimiser and its average."""

    def __init__(self, settings: RecogniserSettings, device: torch.device) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.device = settings, device
        if not settings.drawn or not settings.latents:
            raise BadInput("A recogniser is taught by drawn people and their latents: give --drawn and --latents.")
        drawn, self.set = open_drawn(Path(settings.drawn)), open_set(Path(settings.latents))
        check_drawn(self.set, drawn.folder)
        everybody = whose(drawn)
        self.networks = networks_of(settings.checkpoint, device)
        self.at_work = ExitStack()  # as long as this learns
        if settings.lora:
            self.at_work.enter_context(applied(self.networks, [(Path(settings.lora), 1.0)]))
        encoder = read_encoder(given_or_trained(settings.encoder, "encoder", ENCODER)).to(device)
        self.whose = everybody[: self.set.done]
        rows = drawn.rows_in(settings.style) if settings.style else np.arange(self.set.done)
        rows = rows[rows < self.set.done]
        learnt = self.whose[rows] < self.whose.max() + 1 - settings.tested
        self.learnt, self.kept_out = rows[learnt], rows[~learnt]
        if not len(self.learnt):
            raise BadInput(f"{settings.latents} has too few people to keep {settings.tested} for the test: encode more, or test fewer.")
        seen = look_ahead(encoder, drawn, autocast=settings.autocast)
        self.network = LatentRecogniser(means_of(encoder, seen, everybody)).to(device)
        self.parameters = [*self.network.parameters()]
        self.optimiser = torch.optim.AdamW(self.parameters, lr=settings.rate, weight_decay=0.05, fused=fused(device))
        self.average = Average({"recogniser": self.network}, settings.decay)
        self.unseen = 0.0

    def step(self, number: int, rng: np.random.Generator) -> Mapping[str, float | Tensor]:
        rows = np.sort(rng.permutation(self.learnt)[: self.settings.batch])
        rows = rng.permutation(rows)  # which half is which has nothing to do with who
        latents = self._latents(rows)
        half = len(rows) // 2
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.autocast):
            shown = torch.cat([self._told(latents[:half], rows[:half]), self._noisy(latents[half:])])
            errors, right, heads = self.network.errors_and_heads(shown, self.whose[rows])
        told = errors.mean()
        wanted = send(self.set.heads[rows].astype(np.float32)[:, None] / 255, self.device)
        loss = told + F.binary_cross_entropy_with_logits(heads, wanted)
        norm = optimise(loss, self.optimiser, self.parameters, rate_at(number, self.settings), clip=5.0)
        self.average.follow(number)
        misplaced = (heads.detach().sigmoid() - wanted).abs().mean()
        return {"told": told.detach(), "right": right.float().mean(), "heads": misplaced, "gradient": norm, "unseen": self.unseen}

    def _latents(self, rows: np.ndarray) -> Tensor:
        found = send(self.set.latents[rows].astype(np.float32), self.device)
        return found * self.networks.vae.config["scaling_factor"]

    @torch.no_grad()
    def _told(self, latents: Tensor, rows: np.ndarray) -> Tensor:
        """What the UNet makes of them with noise up to any step."""
        times = torch.randint(0, STEPS, (len(latents),), device=self.device)
        noisy = add_noise(latents, torch.randn_like(latents), times)
        words = self.networks.text_encoder(send(self.set.tokens[rows].astype(np.int64), self.device)).last_hidden_state
        return take_noise(noisy, self.networks.unet(noisy, times, words).sample.float(), times)

    def _noisy(self, latents: Tensor) -> Tensor:
        size = torch.rand(len(latents), 1, 1, 1, device=self.device) * self.settings.noise
        return latents + size * torch.randn_like(latents)

    def state(self) -> dict[str, Any]:
        taught = {"recogniser": self.network.state_dict(), "unseen": self.unseen}
        return {**taught, "optimiser": self.optimiser.state_dict(), "average": self.average.tensors}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.unseen = state["unseen"]
        self.network.load_state_dict(state["recogniser"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average.restore(state["average"])

    def weights(self) -> Mapping[str, Tensor]:
        return self.average.of("recogniser")

    def metadata(self) -> Mapping[str, str]:
        return {"unseen": f"{self.unseen:.4f}"}

    @torch.no_grad()
    def sheet(self) -> None:
        """No picture: of latents of people kept out, how many are nearest to their own embedding among everybody's."""
        if not self.settings.tested:
            return
        rows = self.kept_out[::2]
        network = LatentRecogniser(self.network.lessons.people).to(self.device)
        network.load_state_dict(self.average.of("recogniser"))
        self.unseen = float(network.eval().errors(self._latents(rows), self.whose[rows])[1].float().mean())


def main(argv: Sequence[str]) -> None:
    """Command line."""
    settings, folder = parse(RecogniserSettings, NAME, SUMMARY, argv)
    trainee = RecogniserTrainee(settings, choose_device(settings))
    train(trainee, folder, identity_of(settings), settings.seed, pace_of(settings))
    finish(trainee, folder / FINISHED)


if __name__ == "__main__":
    speak()
    main(sys.argv[1:])
