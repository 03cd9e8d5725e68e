"""Trains the demo model's text encoder and UNet together, from nothing, on latents of drawn pictures and their captions."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from facechain_ext.demo.architecture import CLIP, UNET, VAE
from facechain_ext.errors import BadWeights
from facechain_ext.hosts.standalone.checkpoint import load_networks
from facechain_ext.log import log
from facechain_ext.training.arguments import Common, identity_of, option, parse, speak
from facechain_ext.training.average import Average
from facechain_ext.training.checkpoint import default_folder, fill
from facechain_ext.training.device import choose_device, fused, lay_out, optimise, pace_of, rate_at, send
from facechain_ext.training.latents import LatentSet, enough, open_pairs, open_set
from facechain_ext.training.loop import train
from facechain_ext.training.muon import muon_and_adamw
from facechain_ext.training.noise import add_noise, coarse_weight, mean_weight, sample, snr_weight
from facechain_ext.training.pixels import to_pictures
from facechain_ext.training.team import ALONE, Team, assemble
from facechain_ext.training.tokens import tokens_of
from facechain_ext.training.vae import read_vae

NAME, SUMMARY = "train-base", "Train the demo model's text encoder and UNet on encoded pictures."
PROMPTS = (
    "a photo of a person, wearing a red hoodie, smiling, at the beach",
    "a pencil drawing of a person, wearing a suit and a top hat, in front of bookshelves, neutral expression",
    "a watercolour painting of a person, wearing a yellow dungarees, laughing, in a forest",
    "a neon sign of a person, wearing a blue t-shirt and a crown, in the city, sad",
    "a comic of a person, wearing a green turtleneck and a straw hat, looking surprised, in the mountains",
    "an oil painting of a person, wearing a purple striped shirt, no hat, plain background, calm",
    "a photo of a person, wearing a black suit and a beanie, laughing, in the city, waving",
    "a comic of a person, wearing a white hoodie and a baseball cap, smiling, in a library",
)


@dataclass(frozen=True, kw_only=True)
class BaseSettings(Common):
    """Settings of the base model's training."""

    rate: float = option(5e-4, "highest learning rate; cosine to a twentieth of it")
    decay: float = option(0.9995, "decay of the moving average of the weights")
    pictures: int = option(100_000, "how many of the encoded pictures to use; may grow when a training goes on", lowest=1)
    data: str = option("", "folder of encoded pictures; empty: encode-pictures' own")
    pairs: str = option("", "folder of encoded pictures of two people; empty: none; may be added when a training goes on")
    pair_every: int = option(10, "every so many steps a half batch of pictures of two people", lowest=1)
    drop: float = option(0.1, "share of captions left out")
    snr: float = option(5.0, "cap of the signal-to-noise weight (min-SNR); 0: every step of the noise weighs the same")
    broad: float = option(50.0, "extra weight of the error of a picture's mean: norms this narrow hide it, and it is the colours")
    coarse: float = option(1.0, "extra weight of noisy steps in multiples of noise by signal: a picture's plan is made there; 0: none")
    heads: float = option(1.0, "how many times as much the error in heads counts; faces are the hardest part of a picture")
    begin: str = option("", "checkpoint to begin with, as export-base wrote it; empty: fresh networks")
    muon: float = option(0.0, "size of Muon's steps in multiples of the rate (AdamW's are 0.2) for hidden matrices; 0: AdamW alone")
    vae: str = option("", "the VAE's weights, or a checkpoint, for sample sheets; empty: those train-vae finished, else the product's")


OUTER = ("conv_in", "conv_out", "token_embedding", "position_embedding")
MAY_CHANGE = {"pictures", "pairs"}


class BaseTrainee:
    """Text encoder and UNet, their optimiser and average."""

    def __init__(self, settings: BaseSettings, device: torch.device, team: Team = ALONE) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.device, self.team = settings, device, team
        singles = open_set(Path(settings.data) if settings.data else default_folder("encode-pictures"))
        self.singles = enough(singles, settings.pictures)
        self.pairs = open_pairs(Path(settings.pairs)) if settings.pairs else None
        self.unet = UNet2DConditionModel(**UNET).to(device)
        self.text = CLIPTextModel(CLIPTextConfig(**CLIP)).to(device)
        if settings.begin:
            begun = load_networks(Path(settings.begin), device, torch.float32)
            self.unet.load_state_dict(begun.unet.state_dict())
            self.text.load_state_dict(begun.text_encoder.state_dict())
        lay_out(self.unet, settings)
        self.unet.train()
        self.text.train()
        self.parameters = [*self.unet.parameters(), *self.text.parameters()]
        if settings.muon:
            given = settings.rate, settings.muon, fused(device), not settings.autocast
            self.optimiser = muon_and_adamw((self.unet, self.text), OUTER, *given)
        else:
            self.optimiser = torch.optim.AdamW(self.parameters, lr=settings.rate, betas=(0.9, 0.99), weight_decay=0.01, fused=fused(device))
        self.average = Average({"unet": self.unet, "text": self.text}, settings.decay)
        self.no_words = tokens_of([""])

    def step(self, number: int, rng: np.random.Generator) -> Mapping[str, Tensor]:
        loss, said = self.loss(number, rng)
        norm = optimise(loss, self.optimiser, self.parameters, rate_at(number, self.settings), team=self.team)
        self.average.follow(number)
        return {**said, "gradient": norm}

    def loss(self, number: int, rng: np.random.Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss of a step, and what to log of it."""
        settings = self.settings
        paired = self.pairs is not None and number % settings.pair_every == settings.pair_every - 1
        source, count = (self.pairs, max(1, settings.batch // 2)) if paired and self.pairs else (self.singles, settings.batch)
        latents, heads, tokens = self._batch(rng, source, count)
        noise = torch.randn_like(latents)
        times = torch.randint(0, 1000, (len(latents),), device=self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=settings.autocast):
            words = self.text(tokens).last_hidden_state
            found = self.unet(add_noise(latents, noise, times), times, words).sample
        difference = found.float() - noise
        weight = 1 + (settings.heads - 1) * heads[:, None]
        error, mean = (difference.square() * weight).mean(dim=(1, 2, 3)) / weight.mean(), difference.mean(dim=(2, 3)).square().mean(dim=1)
        told = mean_weight(times, difference[0, 0].numel())
        both = coarse_weight(times, settings.coarse) * error + settings.broad * told * mean
        loss = (both * snr_weight(times, settings.snr)).mean()
        means = (told * mean).sum() / told.sum() * difference[0, 0].numel()  # 1 where nothing is known of them
        return loss, {"error": difference.detach().square().mean(), "means": means.detach(), "loss": loss.detach()}

    def _batch(self, rng: np.random.Generator, source: LatentSet, count: int) -> tuple[Tensor, Tensor, Tensor]:
        rows = np.sort(rng.integers(0, min(self.settings.pictures, source.done), count))
        latents = source.latents[rows].astype(np.float32) * np.float32(VAE["scaling_factor"])
        heads = source.heads[rows] / np.float32(255)
        tokens = source.tokens[rows].astype(np.int64)
        tokens[rng.random(count) < self.settings.drop] = self.no_words
        return send(latents, self.device), send(heads, self.device), send(tokens, self.device)

    def state(self) -> dict[str, Any]:
        networks = {"unet": self.unet.state_dict(), "text": self.text.state_dict()}
        return {**networks, "optimiser": self.optimiser.state_dict(), "average": self.average.tensors}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.unet.load_state_dict(state["unet"])
        self.text.load_state_dict(state["text"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average.restore(state["average"])

    def weights(self) -> Mapping[str, Tensor]:
        return self.average.tensors

    def metadata(self) -> Mapping[str, str]:
        return {}

    @torch.no_grad()
    def sheet(self) -> np.ndarray | None:
        """Eight pictures of the averaged model, 20 steps; none where there is no VAE."""
        try:
            vae = read_vae(self.settings.vae).to(self.device)
        except BadWeights as error:
            log.info("No sample sheet: %s", error)
            return None
        unet, text = load_base(self.average.tensors, self.device, "this training")
        words = text(torch.from_numpy(tokens_of(["", *PROMPTS]).astype(np.int64)).to(self.device)).last_hidden_state
        start = torch.randn((len(PROMPTS), 4, 16, 16), generator=torch.Generator().manual_seed(3)).to(self.device)
        latents = sample(unet, start, words[1:], words[:1].expand(len(PROMPTS), -1, -1), steps=20, guidance=4.0)
        pictures = to_pictures(vae.decode(latents / VAE["scaling_factor"]).sample)
        return np.vstack([np.hstack(list(pictures[:4])), np.hstack(list(pictures[4:]))])


def load_base(tensors: Mapping[str, Tensor], device: torch.device, source: str | Path) -> tuple[nn.Module, nn.Module]:
    """UNet and text encoder of a training's weights, or of a checkpoint, ready to paint; source: where they are from.

    BadWeights, UnsupportedModel.
    """
    if any(key.startswith("model.diffusion_model.") for key in tensors):
        networks = load_networks(Path(source), device, torch.float32)
        return networks.unet, networks.text_encoder
    unet, text = UNet2DConditionModel(**UNET), CLIPTextModel(CLIPTextConfig(**CLIP))
    for name, module in (("unet", unet), ("text", text)):
        own = {key[len(name) + 1 :]: value for key, value in tensors.items() if key.startswith(name + ".")}
        fill(module, own, source, "a base model that train-base trained")
        module.to(device).eval()
    return unet, text


def main(argv: Sequence[str]) -> None:
    """Command line."""
    settings, folder = parse(BaseSettings, NAME, SUMMARY, argv)
    team = assemble(settings.device)
    trainee = BaseTrainee(settings, team.device(choose_device(settings)), team)
    fixed = {key: value for key, value in identity_of(settings).items() if key not in MAY_CHANGE}
    train(trainee, folder, fixed | team.stated, settings.seed, pace_of(settings), team)


if __name__ == "__main__":
    speak()
    main(sys.argv[1:])
