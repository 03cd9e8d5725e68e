"""Trains the demo model's VAE on crops of drawn pictures: absolute error, error of edges, and a very small KL term; heads count more.

What it must keep is who somebody is: `told_apart` asks the judge about pictures that went through it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from diffusers import AutoencoderKL
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn
from torch.nn import functional as F

from facechain_ext.demo.architecture import VAE
from facechain_ext.demo.world.traits import STYLES
from facechain_ext.errors import BadInput
from facechain_ext.hosts.standalone.checkpoint import load_networks
from facechain_ext.training.arguments import Common, encoder_option, identity_of, option, parse, speak
from facechain_ext.training.average import Average
from facechain_ext.training.checkpoint import CHECKPOINT, default_folder, fill, load_weights, save_weights, trained
from facechain_ext.training.device import choose_device, fused, keep_order, optimise, pace_of, rate_at, send
from facechain_ext.training.drawn import HEIGHT, DrawnSet, open_drawn
from facechain_ext.training.face_loss import FaceLoss
from facechain_ext.training.frozen import Frozen
from facechain_ext.training.loop import train
from facechain_ext.training.noise import add_noise, take_noise
from facechain_ext.training.people import ALL_STYLES, PAINTED, TESTED, anyone, picture
from facechain_ext.training.pixels import CELL, to_pictures, to_tensor
from facechain_ext.training.team import ALONE, Team, assemble
from facechain_ext.training.tokens import tokens_of
from facechain_ext.vision.align import similarity

VAGUE = 300
"""Steps of the noise, of 1,000, from which --vague has latents finished: at the last of them two fifths are noise."""
FINISHED = "vae.safetensors"
"""The averaged VAE with centred latents: what the other trainings use."""

SURROUNDINGS = 9
"""Side of the square, in pixels, from whose mean a line differs."""
DISTINCT = 0.5
"""Difference from the surroundings, in [-1, 1], from which on a pixel is all line."""

NAME, SUMMARY = "train-vae", "Train the demo model's VAE on drawn pictures."
SHOWN_STYLES = (*STYLES, *ALL_STYLES)
"""The base model's styles twice as often as those of the LoRAs."""


@dataclass(frozen=True, kw_only=True)
class VaeSettings(Common):
    """Settings of the VAE's training."""

    crop: int = option(
        128,
        "side of the crops in pixels, a multiple of 8; group norms want whole pictures, flat crops tell them nothing",
        lowest=8,
        multiple=8,
    )
    shrink: int = option(
        1, "pictures are shrunk by this factor before they are cropped: colours are learnt sooner from small whole pictures", lowest=1
    )
    drawn: str = option("", "folders of draw-people, joined by commas, every style as often; empty: drawn on the fly by one core")
    begin: str = option("", "weights to begin with: of a run with smaller pictures, or the finished ones for --decoder")
    decoder: bool = option(False, "train the decoder alone: latents stay what they are, so that what was trained on them stays good")
    vague: str = option("", "with --decoder: checkpoint whose UNet finishes half of the latents from some noise, as vague as painted ones")
    noise: float = option(
        0.0, "noise on the latents before they are decoded, up to so many of their deviations: what must survive it becomes loud in them"
    )
    edges: float = option(0.5, "weight of the error of horizontal and vertical differences")
    heads: float = option(3.0, "how many times as much an error in somebody's head counts")
    lines: float = option(1.0, "how many times as much an error counts on what differs from its surroundings, as thin lines do", lowest=1)
    faces: float = option(0.0, "weight of what the face encoder sees otherwise in a head; whole pictures, drawn on the fly", lowest=0)
    encoder: str = encoder_option()
    tested: int = option(0, "people by whom the judge says, at every sample sheet, what is left of them; 0 for none", lowest=0)
    kl: float = option(5e-6, "weight of the KL term, summed over a picture")
    widths: str = option("", "channels of the four levels, all the same, as 16,16,16,16; empty: the demo model's")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.widths and not _suits(self.widths.split(",")):
            said = "give the same multiple of 4 four times, as 16,16,16,16; above 32 a multiple of 32"
            raise BadInput(f"--widths is {self.widths!r}: {said}.")
        if self.faces and (self.drawn or self.shrink > 1 or self.crop < HEIGHT):
            raise BadInput("--faces looks at whole pictures that are drawn on the fly: leave --drawn, --shrink and --crop out.")
        if self.vague and not self.decoder:
            raise BadInput("--vague makes latents vague, from which an encoder would learn nonsense: give --decoder beside it.")


def _suits(widths: Sequence[str]) -> bool:
    """Whether a VAE can have these channels: four times the same, and as many in each of at most 32 groups of a norm."""
    if len(widths) != 4 or len(set(widths)) > 1 or not (widths[0].isascii() and widths[0].isdigit()):
        return False
    width = int(widths[0])
    return width > 0 and width % (4 if width <= 32 else 32) == 0


def shares_of(drawn: Sequence[DrawnSet]) -> np.ndarray:
    """How often each set is looked into, so that every style is learnt as often; they sum to 1."""
    styles = np.array([len(one.named) for one in drawn], dtype=float)
    return styles / styles.sum()


def build_vae(widths: str = "") -> AutoencoderKL:
    """The demo model's VAE, or a slimmer one."""
    config = dict(VAE)
    if widths:
        channels = [int(width) for width in widths.split(",")]
        config |= {"block_out_channels": channels, "norm_num_groups": min(32, channels[0])}
    return AutoencoderKL(**config)


def read_vae(given: str) -> AutoencoderKL:
    """A VAE that train-vae wrote, or that of a checkpoint; empty: the one finished here, else the one that comes with the product.

    BadWeights, UnsupportedModel.
    """
    own = default_folder("vae") / FINISHED
    path = Path(given) if given else own if own.is_file() else trained("base", CHECKPOINT)
    tensors = load_weights(path)
    if any(key.startswith("first_stage_model.") for key in tensors):
        return load_networks(path, torch.device("cpu"), torch.float32).vae
    vae = build_vae()
    fill(vae, tensors, path, "a VAE of the demo model's widths")
    return vae.eval()


class Cut(NamedTuple):
    """What is learnt from: RGB uint8 [h, w, 3]; how much of a pixel is head, float32 [h, w]; whole picture → face crop, float32 [2, 3]."""

    picture: np.ndarray
    head: np.ndarray
    laid: np.ndarray


UNKNOWN = np.full((2, 3), np.nan, np.float32)
"""How a face is laid in a set of draw-people, which does not say."""


class VaeTrainee:
    """The VAE, its optimiser and its average."""

    def __init__(self, settings: VaeSettings, device: torch.device, team: Team = ALONE) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.device, self.team = settings, device, team
        self.vae = build_vae(settings.widths).to(device)
        if device.type == "cpu":
            keep_order(self.vae)
        if settings.begin and settings.widths:
            fill(self.vae, load_weights(Path(settings.begin)), settings.begin, f"a VAE of the widths {settings.widths}")
        elif settings.begin:
            self.vae.load_state_dict(read_vae(settings.begin).state_dict())
        else:
            begin_with_colours(self.vae)
        if settings.decoder:
            for part in (self.vae.encoder, self.vae.quant_conv):
                part.requires_grad_(False)
        self.learning = [one for one in self.vae.parameters() if one.requires_grad]
        self.optimiser = torch.optim.Adam(self.learning, lr=settings.rate, betas=(0.9, 0.99), fused=fused(device))
        self.average = Average({"vae": self.vae}, settings.decay)
        self.painter = Frozen(load_networks(Path(settings.vague), device, torch.float32)) if settings.vague else None
        self.faces = FaceLoss.of(settings.encoder, device) if settings.faces else None
        self.judged = 0.0
        self.drawn = [open_drawn(Path(path)) for path in settings.drawn.split(",") if path]
        self.shares = shares_of(self.drawn)

    def step(self, number: int, rng: np.random.Generator) -> Mapping[str, float | Tensor]:
        settings = self.settings
        cuts = [self._cut(rng) for _ in range(settings.batch)]
        crops = to_tensor(send(np.stack([cut.picture for cut in cuts]), self.device))
        heads = send(np.stack([cut.head for cut in cuts]), self.device)[:, None]
        weight = shares_of_error(crops, heads, settings)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=settings.autocast):
            with torch.set_grad_enabled(not settings.decoder):
                latents = self.vae.encode(crops).latent_dist
            seen = self.vae.decode(self._noisy(self._vague(latents.sample()))).sample
        difference = seen.float() - crops
        error, edges = errors(difference * weight)
        kl = latents.kl().float().mean() / crops[0].numel()
        loss = error + settings.edges * edges + settings.kl * crops[0].numel() * kl
        faces = torch.zeros(())
        if self.faces is not None:
            faces = self.faces(seen.float(), crops, send(np.stack([cut.laid for cut in cuts]), self.device), heads)
            loss = loss + settings.faces * faces
        norm = optimise(loss, self.optimiser, self.learning, rate_at(number, settings), team=self.team)
        self.average.follow(number)
        plain = difference.detach().abs().mean() * 127.5
        told = {"error_of_255": plain, "edges": edges.detach(), "faces": faces.detach(), "kl": kl.detach()}
        return {**told, "gradient": norm, "judged": self.judged}

    @torch.no_grad()
    def _vague(self, latents: Tensor) -> Tensor:
        """The first half of the latents [B, 4, h, w] as the UNet finishes them from a little noise, in one step and without words."""
        if self.painter is None:
            return latents
        half, scale = max(1, len(latents) // 2), self.painter.scale
        clean = latents[:half] * scale
        times, noise = torch.randint(0, VAGUE, (half,), device=self.device), torch.randn_like(clean)
        noisy = add_noise(clean, noise, times)
        words = self.painter.read(tokens_of([""])).expand(half, -1, -1)
        finished = take_noise(noisy, self.painter.networks.unet(noisy, times, words).sample.float(), times)
        return torch.cat((finished / scale, latents[half:]))

    def _noisy(self, latents: Tensor) -> Tensor:
        """The latents [B, 4, h, w] with noise, none for half of them; in deviations of their own, or they would grow out of its reach."""
        if not self.settings.noise:
            return latents
        level = (torch.rand(len(latents), 1, 1, 1, device=self.device) * 2 - 1).clamp(min=0) * self.settings.noise
        return latents + level * latents.std(dim=(0, 2, 3), keepdim=True) * torch.randn_like(latents)

    def _cut(self, rng: np.random.Generator) -> Cut:
        """A whole picture, or a crop of it, or of it shrunk."""
        side, shrink = self.settings.crop, self.settings.shrink
        whole, head, laid = self._picture(rng)
        if shrink > 1:
            whole, head = (cv2.resize(one, None, fx=1 / shrink, fy=1 / shrink, interpolation=cv2.INTER_AREA) for one in (whole, head))
        side = min(side, len(whole))
        top, left = rng.integers(0, whole.shape[0] - side + 1, 2)
        return Cut(whole[top : top + side, left : left + side], head[top : top + side, left : left + side], laid)

    def _picture(self, rng: np.random.Generator) -> Cut:
        """A whole picture."""
        if self.drawn:
            chosen = self.drawn[int(rng.choice(len(self.drawn), p=self.shares))]
            row = int(rng.integers(chosen.done))
            head = (chosen.heads[row] / np.float32(255)).repeat(CELL, 0).repeat(CELL, 1)
            return Cut(chosen.pictures[row], head, UNKNOWN)
        drawing = picture(anyone(PAINTED, rng), rng, SHOWN_STYLES)
        one = drawing.people[0]
        return Cut(drawing.picture, one.head.astype(np.float32), similarity(np.array(one.points)).astype(np.float32))

    def state(self) -> dict[str, Any]:
        trained = {"vae": self.vae.state_dict(), "optimiser": self.optimiser.state_dict(), "average": self.average.tensors}
        return {**trained, "judged": self.judged}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.judged = state["judged"]
        self.vae.load_state_dict(state["vae"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average.restore(state["average"])

    def weights(self) -> Mapping[str, Tensor]:
        return self.average.of("vae")

    def metadata(self) -> Mapping[str, str]:
        return {"widths": self.settings.widths, "judged": f"{self.judged:.4f}"}

    @torch.no_grad()
    def sheet(self) -> np.ndarray:
        """Two rows: drawn, and back from the averaged VAE's latents; the judge is asked too."""
        rng = np.random.default_rng(1)
        drawn = np.stack([picture(anyone(PAINTED, rng), rng, [style]).picture for style in ALL_STYLES])
        vae = build_vae(self.settings.widths).to(self.device).eval()
        vae.load_state_dict(self.average.of("vae"))
        if self.settings.tested:
            self.judged = told_apart(vae, TESTED[: self.settings.tested], self.settings.autocast)
        return np.vstack([np.hstack(list(drawn)), np.hstack(list(through(vae, drawn)))])


@torch.no_grad()
def through(vae: AutoencoderKL, pictures: np.ndarray, autocast: bool = False) -> np.ndarray:
    """Pictures RGB uint8 [B, H, W, 3] as they come back from their latents."""
    with torch.autocast(vae.device.type, torch.bfloat16, enabled=autocast):
        seen = to_tensor(pictures).to(vae.device, vae.dtype)
        return to_pictures(vae.decode(vae.encode(seen).latent_dist.mean).sample)


def told_apart(vae: AutoencoderKL, people: Sequence[int], autocast: bool = False, judge: nn.Module | None = None) -> float:
    """The judge's ceiling on pictures that went through the VAE: a query per style, ranked by galleries of untouched pictures.

    judge: another than the one that comes with the product.
    """
    from facechain_ext.demo.judge import read_judge, view
    from facechain_ext.training.likeness import GALLERY, embed
    from facechain_ext.training.recognition import rank_first

    judge = judge or read_judge()
    queries, galleries = [], []
    for number in people:
        rng = np.random.default_rng((5, number))
        drawn = through(vae, np.stack([picture(number, rng, [style]).picture for style in STYLES]), autocast)
        queries.append(embed(judge, np.stack([view(one) for one in drawn])))
        galleries.append(embed(judge, np.stack([view(picture(number, rng).picture) for _ in range(GALLERY)])))
    return rank_first(torch.stack(queries), torch.stack(galleries))


GROUP = 3
STEADY = 1.5
"""Value of the two channels that keep a colour's group steady: one above, one below."""
LINEAR = 3.0
"""Where SiLU is nearly a straight line."""
SLOPE = 1.087


@torch.no_grad()
def begin_with_colours(vae: AutoencoderKL) -> None:
    """Weights with which training begins, in place: latents are the patches' mean colours and a difference across them, nearly noiseless.

    The way of colours is laid through channels of their own, each in a norm's group with two constant channels, or the norms would
    hide them; every residual branch begins at zero. Where levels differ in width or groups hold fewer than three channels, only the
    noise is made small.
    """
    variance = vae.quant_conv.bias[VAE["latent_channels"] :]
    variance.sub_(4.0)
    widths = vae.config["block_out_channels"]
    if len(set(widths)) > 1 or widths[0] != GROUP * vae.config["norm_num_groups"]:
        return
    variance.fill_(-8.0)
    for module in vae.modules():
        if isinstance(module, (ResnetBlock2D, Attention)):
            last = module.conv2 if isinstance(module, ResnetBlock2D) else module.to_out[0]
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
    lanes = _Lanes(VAE["latent_channels"])
    lanes.straight(vae.quant_conv)
    lanes.straight(vae.post_quant_conv)
    for block in vae.encoder.down_blocks[:-1]:
        lanes.pass_on(_conv(block, "downsamplers"), torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]) / 4)
    for block in vae.decoder.up_blocks[:-1]:
        lanes.pass_on(_conv(block, "upsamplers"), torch.outer(torch.tensor([1.0, 2.0, 1.0]), torch.tensor([1.0, 2.0, 1.0])) / 16)
    lanes.enter(vae.encoder.conv_in, 3)
    vae.encoder.conv_in.weight[lanes.colours[3], :, 1] = 0.7 * torch.tensor([-1.0, 0.0, 1.0])
    lanes.enter(vae.decoder.conv_in, VAE["latent_channels"])
    lanes.leave(vae.encoder.conv_norm_out, vae.encoder.conv_out, VAE["latent_channels"])
    lanes.leave(vae.decoder.conv_norm_out, vae.decoder.conv_out, 3)


def _conv(block: nn.Module, samplers: str) -> nn.Conv2d:
    """The convolution that changes the size at the end of a block."""
    found = block.get_submodule(f"{samplers}.0.conv")
    assert isinstance(found, nn.Conv2d)
    return found


class _Lanes:
    """The channels that colours take at first: of every group one for a colour, one above and one below."""

    def __init__(self, count: int) -> None:
        self.colours = [GROUP * number for number in range(count)]
        self.above, self.below = ([lane + by for lane in self.colours] for by in (1, 2))
        self.all = slice(0, GROUP * count)

    def straight(self, conv: nn.Conv2d) -> None:
        """1×1: what comes goes."""
        conv.weight[: len(self.colours)] = 0
        conv.bias[: len(self.colours)] = 0
        for number in range(len(self.colours)):
            conv.weight[number, number] = 1

    def enter(self, conv: nn.Conv2d, count: int) -> None:
        """The first `count` inputs become colours."""
        self._hold(conv)
        for number in range(count):
            conv.weight[self.colours[number], number, 1, 1] = 1

    def pass_on(self, conv: nn.Conv2d, kernel: Tensor) -> None:
        """Colours go through a kernel [3, 3]; what is steady stays out of the other channels."""
        conv.weight[:, self.above + self.below] = 0
        self._hold(conv)
        for lane in self.colours:
            conv.weight[lane, lane] = kernel

    def leave(self, norm: nn.GroupNorm, conv: nn.Conv2d, count: int) -> None:
        """Norm, SiLU and the last convolution give the first `count` colours back: a group's mean is told by its steady channels."""
        norm.weight[self.all] = STEADY * (2 / 3) ** 0.5
        norm.bias[self.colours], norm.bias[self.above], norm.bias[self.below] = LINEAR, LINEAR - STEADY, LINEAR + STEADY
        conv.weight[:count].mul_(0.1)
        conv.weight[:count, self.all] = 0
        conv.bias[:count] = 0
        for number in range(count):
            conv.weight[number, self.colours[number], 1, 1] = 1 / SLOPE
            for lane in (self.above[number], self.below[number]):
                conv.weight[number, lane, 1, 1] = -0.5 / SLOPE

    def _hold(self, conv: nn.Conv2d) -> None:
        conv.weight[self.all] = 0
        conv.bias[self.all] = 0
        conv.bias[self.above], conv.bias[self.below] = STEADY, -STEADY


def shares_of_error(pictures: Tensor, heads: Tensor, settings: VaeSettings) -> Tensor:
    """How much the error of each pixel counts, mean 1 [B, 1, H, W]; pictures [B, 3, H, W], heads in [0, 1] [B, 1, H, W]."""
    counted = (1 + (settings.heads - 1) * heads) * (1 + (settings.lines - 1) * distinct(pictures))
    return counted / counted.mean()


def distinct(pictures: Tensor) -> Tensor:
    """How much of each pixel is a line: how far it is from the mean around it, as a share of DISTINCT; [B, 3, H, W] → [B, 1, H, W]."""
    around = F.avg_pool2d(pictures, SURROUNDINGS, 1, SURROUNDINGS // 2, count_include_pad=False)
    return ((pictures - around).abs().amax(dim=1, keepdim=True) / DISTINCT).clamp(max=1)


def errors(difference: Tensor) -> tuple[Tensor, Tensor]:
    """Mean absolute error, and that of horizontal and vertical differences; [B, C, H, W]."""
    across, down = difference[..., 1:] - difference[..., :-1], difference[..., 1:, :] - difference[..., :-1, :]
    return difference.abs().mean(), across.abs().mean() + down.abs().mean()


@torch.no_grad()
def centre_latents(vae: AutoencoderKL, pictures: Tensor) -> None:
    """Fold a shift and a scale per channel into the 1×1 convolutions on both sides of the latents, in place.

    Afterwards latents × scaling_factor have mean 0 and variance 1 over `pictures` [B, 3, H, W]; what is decoded stays the same.
    """
    latents = vae.encode(pictures).latent_dist.mean
    mean = latents.mean(dim=(0, 2, 3))
    scale = latents.std(dim=(0, 2, 3)) * vae.config.scaling_factor
    count = len(mean)
    before, after = vae.quant_conv, vae.post_quant_conv
    before.bias[:count].sub_(mean).div_(scale)
    before.weight[:count].div_(scale[:, None, None, None])
    before.bias[count:].sub_(2 * scale.log())
    after.bias.add_(after.weight[:, :, 0, 0] @ mean)
    after.weight.mul_(scale[None, :, None, None])


def finish(trainee: VaeTrainee, folder: Path) -> None:
    """Write the averaged VAE with centred latents, or with those it had before where only the decoder was trained."""
    rng = np.random.default_rng(2)
    vae = build_vae(trainee.settings.widths).to(trainee.device).eval()
    vae.load_state_dict(trainee.average.of("vae"))
    if not trainee.settings.decoder:
        drawn = np.stack([picture(anyone(PAINTED, rng), rng).picture for _ in range(192)])
        centre_latents(vae, to_tensor(drawn).to(trainee.device))
    save_weights(folder / FINISHED, vae.state_dict(), trainee.metadata())


def main(argv: Sequence[str]) -> None:
    """Command line."""
    settings, folder = parse(VaeSettings, NAME, SUMMARY, argv)
    team = assemble(settings.device)
    trainee = VaeTrainee(settings, team.device(choose_device(settings)), team)
    train(trainee, folder, identity_of(settings) | team.stated, settings.seed, pace_of(settings), team)
    if team.first:
        finish(trainee, folder)


if __name__ == "__main__":
    speak()
    main(sys.argv[1:])
