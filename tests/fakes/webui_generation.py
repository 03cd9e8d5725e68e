"""A WebUI that makes pictures: its processing objects, queue, state, lists and scripts as the tab's host sees them, with a real small UNet.

Generations run in the host's order, with hooks that never raise; every name that is not here is an error, as in the host.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image

from facechain_ext.hosts import webui
from tests.fakes.webui import Denoiser, LatentDiffusion, sigmas
from tests.fakes.webui import install as install_modules
from tests.hosts.webui_cases import negatives, prompts

MADE: list[Any] = []
"""Every processing object since the last install."""


class State:
    """shared.state."""

    def __init__(self) -> None:
        self.jobs: list[str] = []
        self.current_image: Image.Image | None = None
        self.previews = 0
        self._clear()
        self.sampling_step = self.sampling_steps = 0

    def _clear(self) -> None:
        self.interrupted = self.skipped = self.stopping_generation = False

    def begin(self, job: str) -> None:
        assert "running" not in self.jobs, "one job at a time"
        self._clear()
        self.jobs += [job, "running"]

    def end(self) -> None:
        self.jobs.remove("running")

    def interrupt(self) -> None:
        self.interrupted = True

    def set_current_image(self) -> None:
        self.previews += 1
        self.current_image = Image.new("RGBA", (1024, 512), "green")


class Queue:
    """call_queue.queue_lock: only these two ways to take it, and who waits."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.taken = 0

    def acquire(self, blocking: bool = True) -> bool:
        got = self.lock.acquire(blocking)
        self.taken += got
        return got

    def release(self) -> None:
        self.lock.release()


class Script:
    """An always-on script; `ours` does what the extension's script does with an errand."""

    def __init__(self, name: str, values: list[Any]) -> None:
        self.name, self.values = name, values
        self.args_from = self.args_to = 0
        self.plan: Any = None

    def title(self) -> str:
        return self.name

    def process(self, p: Any) -> None:
        if self.name == "FaceChain":
            webui.release()
            sent = webui.errand(p)
            self.plan = None if sent is None else sent.plan

    def before_sampling(self, p: Any, latent: tuple[int, int]) -> None:
        if self.plan is not None:
            webui.begin(p, self.plan, latent)


class Runner:
    """scripts.scripts_txt2img: the controls of all scripts one after the other; the first chooses from a list."""

    def __init__(self, *scripts: Script) -> None:
        self.alwayson_scripts = list(scripts)
        self.inputs: list[Any] = [SimpleNamespace(value="None")]
        for script in scripts:
            script.args_from = len(self.inputs)
            self.inputs += [SimpleNamespace(value=value) for value in script.values]
            script.args_to = len(self.inputs)


@dataclass
class Processing:
    """What all of the host's processing objects have."""

    sd_model: Any
    prompt: str
    negative_prompt: str
    seed: int
    sampler_name: str
    scheduler: str
    steps: int
    cfg_scale: float
    width: int
    height: int
    batch_size: int
    n_iter: int
    do_not_save_samples: bool
    do_not_save_grid: bool
    restore_faces: bool | None
    is_api: bool = field(default=False, init=False)
    is_hr_pass: bool = field(default=False, init=False)
    scripts: Any = field(default=None, init=False)
    script_args: Any = field(default=None, init=False)
    closed: bool = field(default=False, init=False)
    extra_generation_params: dict = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        MADE.append(self)

    def close(self) -> None:
        self.closed = True


@dataclass
class Txt2Img(Processing):
    enable_hr: bool = False
    hr_scale: float = 2.0
    hr_upscaler: str | None = None
    hr_second_pass_steps: int = 0
    denoising_strength: float = 0.75


@dataclass
class ForgeTxt2Img(Txt2Img):
    hr_additional_modules: list | None = None
    hr_cfg: float = 1.0


@dataclass
class Img2Img(Processing):
    init_images: list = field(default_factory=list)
    resize_mode: int = 1
    denoising_strength: float = 0.75
    mask: Any = None
    mask_blur: int = 4
    inpainting_fill: int = 0
    inpaint_full_res: bool = True


class Sampling:
    """process_images, and what a test wants to happen in it: `during(p, step)` before each step, `fails` instead of a picture."""

    def __init__(self, state: State, opts: Any) -> None:
        self.state, self.opts = state, opts
        self.during: Any = None
        self.fails: Exception | None = None
        self.clip_skips: list[int] = []
        self.swallowed: list[Exception] = []
        self.grids = 0

    def process_images(self, p: Processing) -> SimpleNamespace:
        assert p.is_api and p.do_not_save_samples and p.do_not_save_grid and p.n_iter == 1
        assert isinstance(p.script_args, tuple) and len(p.script_args) == len(p.scripts.inputs) and p.script_args[0] == 0
        assert self.opts.CLIP_stop_at_last_layers == self.opts.data["CLIP_stop_at_last_layers"]
        self.clip_skips.append(self.opts.CLIP_stop_at_last_layers)
        for script in p.scripts.alwayson_scripts:
            script.process(p)
        x = self._pass(p, p.steps)
        if getattr(p, "enable_hr", False) and not self.state.interrupted:
            from modules import shared

            for one in (one for one in shared.sd_upscalers if one.name == p.hr_upscaler):  # type: ignore[attr-defined]
                one.scaler.upscale(_picture(x[0]), p.hr_scale, one.data_path)  # type: ignore[attr-defined]
            p.is_hr_pass = True
            x = self._pass(p, p.hr_second_pass_steps or p.steps)  # type: ignore[attr-defined]
            p.is_hr_pass = False
        if self.fails is not None:
            raise self.fails
        images = [_picture(one) for one in x]
        extra = [Image.new("RGB", (8, 8), "white")]  # ControlNet adds the picture that it followed
        return SimpleNamespace(images=[Image.new("RGB", (4, 4))] * self.grids + images + extra, index_of_first_image=self.grids)

    def _pass(self, p: Processing, steps: int) -> torch.Tensor:
        latent = (p.height // 8, p.width // 8)
        for script in p.scripts.alwayson_scripts:
            script.before_sampling(p, latent)
        seeds = range(p.seed, p.seed + p.batch_size)
        x = torch.cat([torch.randn(1, 4, *latent, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
        denoiser = Denoiser(p, self._called_back, steps)
        for step in range(steps):
            if self.during is not None:
                self.during(p, step)
            if self.state.interrupted or self.state.skipped:
                break
            self.state.sampling_step, self.state.sampling_steps = step, steps
            sigma = torch.full((len(x),), float(sigmas()[-1 - step]))
            x = denoiser(x, sigma, cond=prompts() * len(x), uncond=negatives() * len(x), scale=p.cfg_scale)
        return x

    def _called_back(self, params: Any) -> None:
        """The host's callbacks never raise."""
        try:
            webui.denoiser_callback(params)
        except Exception as error:  # noqa: BLE001
            self.swallowed.append(error)


def _picture(x: torch.Tensor) -> Image.Image:
    """Latents as a picture, RGBA as some scripts leave it."""
    pixels = ((x[:3] / 8).tanh() * 127 + 128).byte().permute(1, 2, 0).numpy()
    return Image.fromarray(np.kron(pixels, np.ones((8, 8, 1), np.uint8))).convert("RGBA")


class Opts:
    """shared.opts: settings that were saved lie in `data`, others have a default."""

    defaults = {"CLIP_stop_at_last_layers": 1, "outdir_samples": "", "outdir_txt2img_samples": "outputs/txt2img-images"}  # noqa: RUF012

    def __init__(self) -> None:
        self.data: dict[str, Any] = {"sd_model_checkpoint": "base.safetensors [0123456789]"}

    def __getattr__(self, name: str) -> Any:
        data = self.__dict__["data"]
        if name in data:
            return data[name]
        if name in self.defaults:
            return self.defaults[name]
        raise AttributeError(name)


class NansException(Exception):
    """devices.NansException."""


def network(name: str, file: str, alias: str = "", hash: str = "") -> SimpleNamespace:
    """A LoRA as the host lists it."""
    return SimpleNamespace(name=name, filename=file, alias=alias or name, hash=hash)


class Scaler:
    """An upscaler's worker: sides are cut to multiples of 8. Without its file it gives the picture back, and another way is taken."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, str | None]] = []
        self.there = True

    def upscale(self, img: Image.Image, scale: float, selected_model: str | None = None) -> Image.Image:
        self.asked.append((scale, selected_model))
        self.scale = scale
        return self.do_upscale(img, selected_model).resize([int(side * scale // 8 * 8) for side in img.size], Image.Resampling.NEAREST)

    def do_upscale(self, img: Image.Image, selected_model: str | None) -> Image.Image:
        return img.resize([int(side * self.scale) for side in img.size], Image.Resampling.NEAREST) if self.there else img


def upscaler(name: str, path: str | None = None) -> SimpleNamespace:
    return SimpleNamespace(name=name, data_path=path, local_data_path=path, scaler=Scaler())


class Restorer:
    """A face restorer: makes red what it restores; without its file it gives the picture back, as the host's do."""

    def __init__(self, name: str, *, there: bool = True) -> None:
        self._name, self._there, self.net = name, there, None
        self.model_path = f"/webui/models/{name.capitalize() if name == 'CodeFormer' else name}"

    def name(self) -> str:
        return self._name

    def restore(self, np_image: np.ndarray) -> np.ndarray:
        assert np_image.dtype == np.uint8 and np_image.shape[2] == 3
        if not self._there:
            return np_image
        self.net = object()
        return np.ascontiguousarray(np_image * np.array([1, 0, 0], np.uint8))


def sampler(name: str, aliases: list[str], **options: Any) -> SimpleNamespace:
    return SimpleNamespace(name=name, aliases=aliases, options=options)


SAMPLERS = [
    sampler("DPM++ 2M", ["k_dpmpp_2m"], scheduler="karras"), sampler("Euler a", ["k_euler_a", "k_euler_ancestral"]),
    sampler("Euler", ["k_euler"]), sampler("DDIM", ["ddim"]),
]  # fmt: skip


def get_sampler_and_scheduler(name: str | None, scheduler: str | None) -> tuple[str, str]:
    """As sd_samplers has it: an unknown name becomes the first sampler."""
    plain, found = name or SAMPLERS[0].name, "Automatic"
    for label in ("Karras", "Exponential"):
        if plain.endswith(f" {label}"):
            plain, found = plain.removesuffix(f" {label}"), label
    one = next((one for one in SAMPLERS if one.name == plain), SAMPLERS[0])
    return one.name, "Automatic" if one.options.get("scheduler") == found.lower() else found


def install(monkeypatch: Any, folder: Path, unet: Any, *, forge: bool = False, controlnet: bool = False) -> SimpleNamespace:
    """Put the WebUI into sys.modules; gives the modules by their last name, `sampling`, and `networks`."""
    MADE.clear()
    modules = install_modules(monkeypatch, LatentDiffusion(unet), lora_dir=str(folder / "Lora"), ckpt_dir=None)
    modules.sd_models.model_data.sd_model.sd_checkpoint_info = SimpleNamespace(name_for_extra="base", shorthash="0123456789")
    shared = modules.shared
    shared.state, shared.opts, shared.sd_model = State(), Opts(), modules.sd_models.model_data.sd_model
    shared.total_tqdm = SimpleNamespace(clear=lambda: None)
    shared.sd_upscalers = [upscaler("None"), upscaler("Lanczos"), upscaler("Nearest"), upscaler("R-ESRGAN 4x+", "https://elsewhere/x.pth")]
    shared.face_restorers = [Restorer("CodeFormer"), Restorer("GFPGAN", there=False)]
    shared.latent_upscale_modes = {"Latent": {}, "Latent (nearest)": {}}
    modules.devices.NansException = NansException
    info = SimpleNamespace(title="base.safetensors [0123456789]", name_for_extra="base", shorthash="0123456789")
    modules.sd_models.checkpoints_list = {info.title: info}
    modules.sd_models.checkpoint_aliases = {info.title: info}
    sampling = Sampling(shared.state, shared.opts)
    ours, other = Script("FaceChain", [False, "auto"]), Script("Other", [7])
    control = [Script("ControlNet", ["unit one", "unit two"])] if controlnet else []
    more = {
        "processing": {
            "StableDiffusionProcessingTxt2Img": ForgeTxt2Img if forge else Txt2Img, "StableDiffusionProcessingImg2Img": Img2Img,
            "process_images": sampling.process_images,
        },
        "scripts": {"scripts_txt2img": Runner(other, ours, *control), "scripts_img2img": Runner(ours)},
        "sd_samplers": {"visible_samplers": lambda: SAMPLERS, "get_sampler_and_scheduler": get_sampler_and_scheduler},
        "call_queue": {"queue_lock": Queue()},
        "paths": {"models_path": str(folder / "models"), "data_path": str(folder)},
    }  # fmt: skip
    add_modules(monkeypatch, modules, more)
    add_networks(monkeypatch, modules, folder / "Lora")
    modules.sampling = sampling
    return modules


def add_modules(monkeypatch: Any, modules: SimpleNamespace, more: dict[str, dict[str, Any]]) -> None:
    """Further `modules.*` with their content, by their last name."""
    for name, content in more.items():
        made = ModuleType(f"modules.{name}")
        made.__dict__.update(content)
        setattr(sys.modules["modules"], name, made)
        monkeypatch.setitem(sys.modules, f"modules.{name}", made)
        setattr(modules, name, made)


def add_networks(monkeypatch: Any, modules: SimpleNamespace, folder: Path) -> None:
    """The host's list of LoRAs, of which it learns when it looks into the folder."""
    modules.networks = ModuleType("networks")
    modules.networks.available_networks = {}
    modules.networks.list_available_networks = lambda: modules.networks.available_networks.update(
        {path.stem: network(path.stem, str(path)) for path in folder.glob("*.safetensors")}
    )
    monkeypatch.setitem(sys.modules, "networks", modules.networks)


@dataclass(frozen=True)
class Unit:
    """A ControlNet unit: these fields have all versions of it."""

    enabled: bool
    module: str
    model: str
    image: np.ndarray
    weight: float
    guidance_start: float
    guidance_end: float


def install_controlnet(monkeypatch: Any, folder: Path, *models: str, forge: bool) -> list[tuple]:
    """The modules of sd-webui-controlnet, or of what Forge has built in; gives what its preprocessor was asked."""
    asked: list[tuple] = []

    def draw(input_image: np.ndarray, resolution: int) -> Any:
        asked.append((input_image.shape, resolution))
        drawn = np.zeros((resolution, resolution, 3), np.uint8)
        return drawn if forge else SimpleNamespace(value=drawn)

    names = ["lib_controlnet.external_code", "lib_controlnet.global_state"] if forge else ["internal_controlnet.external_code"]
    made = {name: ModuleType(name) for name in [*names, "annotator.annotator_path", "scripts.supported_preprocessor"]}
    made[names[0]].ControlNetUnit = Unit  # type: ignore[attr-defined]
    if forge:
        made[names[1]].get_all_controlnet_names = lambda: ["None", *models]  # type: ignore[attr-defined]
        made[names[1]].get_preprocessor = {"openpose": draw}.get  # type: ignore[attr-defined]
    else:
        made[names[0]].get_models = lambda: ["None", *models]  # type: ignore[attr-defined]
        made["scripts.supported_preprocessor"].Preprocessor = SimpleNamespace(get_preprocessor={"openpose": draw}.get)  # type: ignore[attr-defined]
    made["annotator.annotator_path"].models_path = str(folder / "annotators")  # type: ignore[attr-defined]
    for name, module in made.items():
        monkeypatch.setitem(sys.modules, name, module)
    return asked
