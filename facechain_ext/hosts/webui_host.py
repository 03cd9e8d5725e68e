"""A1111 and Forge as a host for the tab: their checkpoint, LoRA folder, samplers, upscalers and ControlNet, in their own queue."""

from __future__ import annotations

import difflib
import math
import os
import sys
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facechain_ext.errors import BadInput, Interrupted, UnsupportedModel
from facechain_ext.hosts import webui, webui_controls
from facechain_ext.hosts.types import Folders, Listed, Lora, Paint, Painted, Report
from facechain_ext.hosts.webui_painting import STOPPED, paint_batch

if TYPE_CHECKING:
    from PIL import Image

KARRAS = "Karras"
LATENT = "Latent"
WITHOUT_FILE = ("Lanczos", "Nearest")
NO_UPSCALER = "None"


class WebUIHost:
    """The WebUI this process is. Nothing is loaded before the first picture; what is changed in it is given back."""

    @property
    def name(self) -> str:
        """Which WebUI it is."""
        return webui.kind() or "a1111"

    @property
    def folders(self) -> Folders:
        """Where the host keeps things. outputs: beside the folders of its own pictures."""
        from modules import paths, shared

        models, flags = Path(paths.models_path), shared.cmd_opts
        return Folders(
            models=models,
            outputs=output_folder(),
            loras=_folder(getattr(flags, "lora_dir", None), models / "Lora"),
            checkpoints=_folder(getattr(flags, "ckpt_dir", None), models / "Stable-diffusion"),
            controlnets=_folder(getattr(flags, "controlnet_dir", None), models / "ControlNet"),
        )

    def paint(self, request: Paint, report: Report | None = None) -> Generator[Painted, None, None]:
        """Make `request.count` pictures, batch by batch, each batch waiting for its turn among everything the WebUI has to do.

        BadInput, UnsupportedModel, OutOfMemory, PictureFailed, and what `report` raises; Interrupted and Skipped also where the WebUI's
        own buttons were pressed.
        """
        self._check(request)
        if request.hires is not None and not request.hires.upscaler:
            request = replace(request, hires=replace(request.hires, upscaler=self.upscalers()[0]))
        if request.finish is not None and request.finish.scale > 1 and not request.finish.upscaler:
            request = replace(request, finish=replace(request.finish, upscaler=self.finishers()[0]))
        tags, together = self._tags(request.loras), max(1, request.batch)
        for first in range(0, request.count, together):
            pictures, enough = paint_batch(request, tags, first, min(together, request.count - first), report)
            yield from pictures
            if enough and first + together < request.count:
                raise Interrupted(STOPPED)

    def _check(self, request: Paint) -> None:
        """Refuse what the host would replace silently, or only fail at after a while."""
        known(request.sampler, self.samplers(), "sampler", more=_resolved(request.sampler))
        if request.hires is not None and request.hires.upscaler:
            known(request.hires.upscaler, self.upscalers(), "upscaler")
        if request.finish is not None and request.finish.upscaler:
            known(request.finish.upscaler, self.finishers(), "upscaler")
        if request.finish is not None and request.finish.restorer:
            known(request.finish.restorer, self.restorers(), "face restoration")
        reason = webui.supports(None, request.adapter) if request.persons else None
        if reason:
            raise UnsupportedModel(reason)
        if request.mask is not None and request.image is None:
            raise BadInput("There is a mask but no picture to inpaint: give the picture too.")

    def checkpoint(self) -> str:
        """Name and short hash of the checkpoint that is loaded, or will be, as the info text states it."""
        from modules import sd_models, shared

        info = webui.checkpoint_of(webui.loaded_model()) or sd_models.checkpoint_aliases.get(shared.opts.data.get("sd_model_checkpoint"))
        if info is None:
            info = next(iter(sd_models.checkpoints_list.values()), None)
        if info is None:
            return ""
        return f"{info.name_for_extra} [{info.shorthash}]" if info.shorthash else info.name_for_extra

    def checkpoints(self) -> list[str]:
        """Checkpoints by the titles that the host shows."""
        from modules import sd_models

        return [info.title for info in sd_models.checkpoints_list.values()]

    def loras(self) -> list[str]:
        """LoRAs by the names that prompts use."""
        return [one.name for one in self.listed_loras()]

    def listed_loras(self) -> list[Listed]:
        """LoRAs as the host's own list has them; nothing is read but what it has read already.

        Of several files of one name the host lists the last; the others are there by the names they were trained under, where no
        other has the same.
        """
        networks = sys.modules.get("networks")
        found = dict(getattr(networks, "available_networks", {}))
        shared, seen = getattr(networks, "forbidden_network_aliases", {}), {one.filename for one in found.values()}
        for alias, one in getattr(networks, "available_network_aliases", {}).items():
            if one.filename not in seen and alias not in found and alias.lower() not in shared:
                found[alias] = one
        return [
            Listed(name=name, file=one.filename, alias=one.alias or "", hashes=(one.hash,) if one.hash else ())
            for name, one in sorted(found.items(), key=lambda item: item[0].lower())
        ]

    def refresh_loras(self) -> None:
        """Let the host look into its folder again, after a file was put there."""
        networks = sys.modules.get("networks")
        if networks is not None:
            networks.list_available_networks()

    def samplers(self) -> list[str]:
        """Samplers by the host's names; those that a Karras schedule suits also with it, the usual one first."""
        from modules import sd_samplers

        found = []
        for one in sd_samplers.visible_samplers():
            found += [one.name, f"{one.name} {KARRAS}"] if _karras(one) else [one.name]
        usual = f"DPM++ 2M {KARRAS}"
        return sorted(found, key=lambda name: name != usual)

    def upscalers(self) -> list[str]:
        """Upscalers whose files are here, those without one, the latent ones; last those that would be fetched when used."""
        from modules import shared

        named = [one for one in shared.sd_upscalers if one.name != NO_UPSCALER]
        plain = [one.name for one in named if one.name in WITHOUT_FILE]
        here = [one.name for one in named if one.name not in plain and _here(one)]
        latent = list(shared.latent_upscale_modes)
        return [*here, *plain, *latent, *(one.name for one in named if one.name not in (*here, *plain))]

    def finishers(self) -> list[str]:
        """The upscalers but for those of latents."""
        from modules import shared

        return [name for name in self.upscalers() if name not in shared.latent_upscale_modes]

    def restorers(self) -> list[str]:
        """Face restorers the host has set up; one whose file is missing fetches it when used."""
        from modules import shared

        return [one.name() for one in shared.face_restorers if one.name() != NO_UPSCALER]

    def controlnets(self) -> list[str]:
        """ControlNet models by the host's names; none where it has no ControlNet."""
        return webui_controls.models()

    def poses_possible(self) -> str:
        """Empty, or why no pose can be followed here and what to do."""
        return webui_controls.hindrance()

    def skeleton(self, image: Image.Image, size: tuple[int, int]) -> Image.Image:
        """The control picture for a pose, drawn by the host's own openpose where its files are here. BadInput, MissingPackage."""
        return webui_controls.skeleton(image, size)

    def _tags(self, loras: Sequence[Lora]) -> str:
        """LoRAs as the prompt tags of the host. BadInput names one that it does not list."""
        listed = self.listed_loras()
        return "".join(f" <lora:{_listed_name(one, listed)}:{one.weight:g}>" for one in loras)


def output_folder() -> Path:
    """The folder that holds the host's folders of pictures."""
    from modules import paths, shared

    samples = str(shared.opts.outdir_samples or shared.opts.outdir_txt2img_samples)
    return (Path(paths.data_path) / samples).parent


def known(name: str, names: Sequence[str], what: str, *, more: bool = False) -> None:
    """BadInput, with the name that is closest, where something is not in the host's list."""
    if name in names or more:
        return
    close = difflib.get_close_matches(name, names, 1)
    listed = f"choose {', '.join(names[:5])}{', …' if len(names) > 5 else ''}." if names else "leave it out."
    advice = f"did you mean {close[0]!r}?" if close else listed
    raise BadInput(f"The WebUI has no {what} {name!r}: {advice}")


def _resolved(sampler: str) -> bool:
    """Whether the host reads the name as one of its samplers with one of its schedules; unknown ones become its first sampler."""
    from modules import sd_samplers

    name, _ = sd_samplers.get_sampler_and_scheduler(sampler, None)
    return sampler == name or sampler.startswith(f"{name} ")


def _karras(sampler: Any) -> bool:
    """Whether a sampler takes a schedule: those of k-diffusion do."""
    return sampler.options.get("scheduler") is not None or "k_" in " ".join(sampler.aliases)


def _here(upscaler: Any) -> bool:
    return any(path and os.path.isfile(str(path)) for path in (upscaler.local_data_path, upscaler.data_path))


def _folder(given: str | None, usual: Path) -> Path:
    return Path(given) if given else usual


def _listed_name(lora: Lora, listed: Sequence[Listed]) -> str:
    source = str(lora.source)
    if not math.isfinite(lora.weight):
        raise BadInput(f"The weight of the LoRA {source!r} must be a number.")
    for same in (lambda one: one.name == source, lambda one: os.path.isabs(source) and Path(source) == Path(one.file),
                 lambda one: one.alias == source):  # fmt: skip
        found = next((one.name for one in listed if same(one)), None)
        if found is not None:
            return found
    stem = Path(source).name.removesuffix(".safetensors")
    known(stem, [one.name for one in listed], "LoRA")
    return stem
