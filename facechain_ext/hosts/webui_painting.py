"""One batch of pictures in the WebUI: its turn in the queue, the processing object, the steps as they come, and what can go wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facechain_ext.errors import FaceChainError, Interrupted, OutOfMemory, PictureFailed, Skipped
from facechain_ext.hosts import webui, webui_controls
from facechain_ext.hosts.rows import progress
from facechain_ext.hosts.types import Finish, Paint, Painted, Progress, Report

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

PATIENCE = 0.5
"""Seconds between two looks at whether the person still waits."""
PREVIEW_EVERY = 1.0
PREVIEW_SIDE = 512
NOT_LOADED = (
    "The WebUI could not load the upscaler {name} and enlarged the picture by Lanczos instead: "
    "its console says why; choose another upscaler."
)
STOPPED = "The work was interrupted in the WebUI; what was finished is kept."


def paint_batch(request: Paint, tags: str, first: int, count: int, report: Report | None) -> tuple[list[Painted], bool]:
    """Pictures `first` to `first + count` of a request, and whether the WebUI is to make no more. tags: LoRAs for the prompt's end."""
    from modules import processing, shared

    watch = Watch(request, first, count, report)
    hires = "" if request.hires is None else request.hires.upscaler
    with turn(watch.waits), closing(processed_object(request, tags, first, count)) as p, clip_skip(request.clip_skip), failures(request):
        webui.send(p, webui.Errand(plan=plan_of(request), step=watch.step))
        webui_controls.add(p, request.controls)
        with job():
            with upscaling(hires) as idle:
                made = processing.process_images(p)
            watch.end(p)
            if shared.state.interrupted:
                raise Interrupted(STOPPED)
            if shared.state.skipped:
                raise Skipped("The picture was skipped in the WebUI.")
            enough = bool(shared.state.stopping_generation)
            whole = [one.convert("RGB") for one in made.images[made.index_of_first_image :][:count]]
            pictures = [finished(one, request.finish, idle) for one in whole]
    return [Painted(image=one, seed=request.seed + first + n, note=note) for n, (one, note) in enumerate(pictures)], enough


def finished(picture: Image.Image, finish: Finish | None, idle: Sequence[str] = ()) -> tuple[Image.Image, str]:
    """A picture with its faces restored and enlarged by the host's own means, and a note on upscalers that did nothing.

    idle: those of the passes before. PictureFailed where the restorer's model cannot be loaded.
    """
    from modules import shared

    lost = list(idle)
    if finish is not None and finish.restorer:
        picture = restored(picture, next(one for one in shared.face_restorers if one.name() == finish.restorer))
    if finish is not None and finish.scale > 1:
        one = next(one for one in shared.sd_upscalers if one.name == finish.upscaler)
        with upscaling(one.name) as found:
            picture = one.scaler.upscale(picture, finish.scale, one.data_path)
        lost += found
        if shared.state.interrupted:  # the host's upscalers end early then, with a picture of any size
            raise Interrupted(STOPPED)
    return picture.convert("RGB"), " ".join(NOT_LOADED.format(name=name) for name in dict.fromkeys(lost))


@contextmanager
def upscaling(name: str) -> Iterator[list[str]]:
    """A list that holds the name of an upscaler once it has done nothing.

    The host's upscalers give back the very picture they were given where their model cannot be loaded; the host logs that, and enlarges
    by Lanczos. Whatever an upscaler makes is another object.
    """
    from modules import shared

    idle: list[str] = []
    scaler = next((one.scaler for one in shared.sd_upscalers if one.name == name), None)
    if scaler is None:  # of latents, or none
        yield idle
        return
    work, own = scaler.do_upscale, vars(scaler).get("do_upscale")

    def watched(picture: Image.Image, *rest: Any) -> Image.Image:
        made = work(picture, *rest)
        if made is picture:
            idle.append(name)
        return made

    scaler.do_upscale = watched
    try:
        yield idle
    finally:
        if own is None:
            del scaler.do_upscale
        else:
            scaler.do_upscale = own


def restored(picture: Image.Image, restorer: Any) -> Image.Image:
    """A picture with its faces restored; the host gives it back as it is where the model is not there, which is said here."""
    import numpy as np
    from PIL import Image

    made = restorer.restore(np.asarray(picture))
    if getattr(restorer, "net", made) is None:
        folder = Path(getattr(restorer, "model_path", restorer.name())).name  # CodeFormer's is models/Codeformer
        raise PictureFailed(
            f"The WebUI could not load {restorer.name()}, which restores faces: put its file into the folder models/{folder}, "
            "or make the picture without."
        )
    return Image.fromarray(made)


def plan_of(request: Paint) -> webui.Plan | None:
    """The persons of a request as the script attaches them; None for the plain model."""
    if request.adapter is None or not request.persons:
        return None
    placed = tuple(
        webui.Placed(identity=one.identity, weight=one.weight, start=one.start, end=one.end, mask=_picture(one.mask))
        for one in request.persons
    )
    return webui.Plan(adapter=request.adapter, persons=placed)


def _picture(mask: Tensor | None) -> Image.Image | None:
    """[H, W] in [0, 1] → a grey picture."""
    from PIL import Image

    return None if mask is None else Image.fromarray((mask.detach().float().cpu().clamp(0, 1) * 255).round().byte().numpy())


def processed_object(request: Paint, tags: str, first: int, count: int) -> Any:
    """The host's processing object, set up as its own API does: all scripts with their usual arguments, nothing saved by the host."""
    from modules import processing, scripts, sd_samplers, shared

    sampler, scheduler = sd_samplers.get_sampler_and_scheduler(request.sampler, None)
    given: dict[str, Any] = {
        "sd_model": shared.sd_model, "prompt": request.prompt + tags, "negative_prompt": request.negative, "seed": request.seed + first,
        "sampler_name": sampler, "scheduler": scheduler, "steps": request.steps, "cfg_scale": request.cfg, "width": request.width,
        "height": request.height, "batch_size": count, "n_iter": 1, "do_not_save_samples": True, "do_not_save_grid": True,
        "restore_faces": False,  # else the host's setting decides; where it is asked for, `finished` does it
    }  # fmt: skip
    if request.image is None:
        made, runner = processing.StableDiffusionProcessingTxt2Img, scripts.scripts_txt2img
        given |= _hires(request, {one.name for one in fields(made)})
    else:
        made, runner = processing.StableDiffusionProcessingImg2Img, scripts.scripts_img2img
        given |= _repaint(request)
    p = made(**given)
    p.is_api, p.scripts, p.script_args = True, runner, tuple(usual_arguments(runner))
    return p


def _hires(request: Paint, names: set[str]) -> dict[str, Any]:
    """The second pass. Forge has two fields more, whose usual values would change what is asked for."""
    wanted = request.hires
    if wanted is None:
        return {}
    given = {
        "enable_hr": True, "hr_scale": wanted.scale, "denoising_strength": wanted.strength, "hr_second_pass_steps": wanted.steps,
        "hr_upscaler": wanted.upscaler,
    }  # fmt: skip
    forge = {"hr_additional_modules": ["Use same choices"], "hr_cfg": request.cfg}
    return given | {name: value for name, value in forge.items() if name in names}


def _repaint(request: Paint) -> dict[str, Any]:
    """A picture to start from, and where it may change."""
    assert request.image is not None
    size = (request.width, request.height)
    given: dict[str, Any] = {"init_images": [request.image.resize(size)], "denoising_strength": request.strength, "resize_mode": 0}
    if request.mask is not None:
        given |= {"mask": request.mask.convert("L").resize(size), "mask_blur": 0, "inpainting_fill": 1, "inpaint_full_res": False}
    return given


def usual_arguments(runner: Any) -> list[Any]:
    """What the scripts' controls say before anybody touches them; first which script of the list is chosen: none."""
    return [0, *(getattr(control, "value", None) for control in runner.inputs[1:])]


class Watch:
    """Tells the steps of a batch, and remembers what the listener raised, for the host swallows what its callbacks raise."""

    def __init__(self, request: Paint, first: int, together: int, report: Report | None) -> None:
        hires = 0 if request.hires is None else request.hires.steps or request.steps
        self.passes = (request.steps, hires)
        self.first, self.together, self.pictures, self.report = first, together, request.count, report
        self.raised: FaceChainError | None = None
        self.seen = 0.0

    def waits(self) -> None:
        """Not begun yet. Raises what the listener raises."""
        if self.report is not None:
            self.report(self.at(0))

    def step(self, p: Any, step: int, total: int | None) -> None:
        """A denoiser step begins. Interrupts the host where the listener wants no more."""
        from modules import shared

        if self.report is None or self.raised is not None:
            return
        second = bool(getattr(p, "is_hr_pass", False))
        done = self.passes[0] * second + int(progress(step, total) * self.passes[second])
        try:
            self.report(self.at(done, self.preview(shared.state)))
        except FaceChainError as error:
            self.raised = error
            shared.state.interrupt()

    def at(self, step: int, preview: Image.Image | None = None) -> Progress:
        """Where the work is."""
        steps = sum(self.passes)
        return Progress(picture=self.first, pictures=self.pictures, step=step, steps=steps, preview=preview, together=self.together)

    def preview(self, state: Any) -> Image.Image | None:
        """The picture as far as it is, small, once a second, where the WebUI's settings want live previews."""
        if time.monotonic() - self.seen < PREVIEW_EVERY:
            return None
        state.set_current_image()
        if state.current_image is None:
            return None
        self.seen = time.monotonic()
        small = state.current_image.convert("RGB")
        small.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
        return small

    def end(self, p: Any) -> None:
        """After the last step: raise what stopped it, or what cost the picture its face."""
        if self.raised is not None:
            raise self.raised
        trouble = webui.trouble(p)
        if trouble:
            raise PictureFailed(trouble)


@contextmanager
def job() -> Iterator[None]:
    """The WebUI's progress is this work's."""
    from modules import shared

    shared.state.begin(job="facechain")
    try:
        yield
    finally:
        shared.state.end()
        shared.total_tqdm.clear()


@contextmanager
def turn(asking: Callable[[], None]) -> Iterator[None]:
    """Wait for the WebUI's queue, asking meanwhile whether to go on; what that raises gives the place in the queue up."""
    from modules import call_queue

    asking()
    lock = call_queue.queue_lock
    place = _Place(lock)
    try:
        while not place.reached.wait(PATIENCE):
            asking()
    except BaseException:
        place.give_up()
        raise
    try:
        yield
    finally:
        lock.release()


class _Place:
    """A place in a queue that can only be waited for, held by a thread of its own, so that it can be given up."""

    def __init__(self, lock: Any) -> None:
        self.lock, self.reached = lock, threading.Event()
        self._deciding, self._given_up = threading.Lock(), False
        threading.Thread(target=self._wait, name="facechain-queue", daemon=True).start()

    def _wait(self) -> None:
        self.lock.acquire()
        with self._deciding:
            if self._given_up:
                self.lock.release()
            else:
                self.reached.set()

    def give_up(self) -> None:
        """Not waited for any more; where the turn came at this very moment, it is passed on."""
        with self._deciding:
            self._given_up = True
            if self.reached.is_set():
                self.lock.release()


@contextmanager
def clip_skip(layers: int) -> Iterator[None]:
    """Set how many text layers are left out, and put back what was set; the host's own way would leave a setting that was never saved."""
    from modules import shared

    data, key = shared.opts.data, "CLIP_stop_at_last_layers"
    before = {key: data[key]} if key in data else {}
    data[key] = layers
    try:
        yield
    finally:
        data.pop(key, None)
        data.update(before)


@contextmanager
def failures(request: Paint) -> Iterator[None]:
    """Turn what hosts raise into a sentence: no memory, or a picture of no numbers."""
    from modules import devices

    none = getattr(devices, "NansException", None) or PictureFailed
    try:
        yield
    except none as error:
        if isinstance(error, PictureFailed):
            raise
        advice = "try another size or VAE, or start the WebUI with --no-half-vae or --no-half"
        raise PictureFailed(f"The picture came out as no numbers (NaN): {advice}.") from error
    except RuntimeError as error:
        text = str(error)
        if type(error).__name__ != "OutOfMemoryError" and "not enough memory" not in text and "out of memory" not in text:
            raise
        asked = f"{request.batch} at a time of {request.width}×{request.height}"
        smaller = "fewer per batch" if request.batch > 1 else "a smaller size, or start the WebUI with --medvram"
        raise OutOfMemory(f"The memory does not suffice for pictures {asked}: choose {smaller}.") from error
