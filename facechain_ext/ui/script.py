"""The always-on script: reads the panel, meets the persons, hands the plan to the host, and tells what went wrong.

Whatever fails, the picture is made; with `strict` over the API the request is refused instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import product
from typing import Any

from fastapi import HTTPException
from modules import script_callbacks, scripts

from facechain_ext.errors import BadInput, FaceChainError, PictureFailed
from facechain_ext.log import log
from facechain_ext.ui import accounts, api, inner, settings, xyz
from facechain_ext.ui.door import without_places
from facechain_ext.ui.loaded import Met, loaded, plan_of
from facechain_ext.ui.request import ERROR_KEY, PERSON_KEY, PanelOptions, Request, from_args, panel_info, person_info, with_axes

RUN = "facechain_run"
"""The attribute of a processing object that holds what FaceChain does in it."""
NOTHING = Request(panel=PanelOptions(), persons=())
"""Asked of the panel in a generation of the tab's own."""
last_trouble: dict[tuple[str, str], str] = {}
"""Why a user's last generation in a tab was made without the face; nothing where it was not."""


@dataclass
class Run:
    """What FaceChain does in one generation."""

    request: Request
    strict: bool
    plan: Any = None


class FaceChain(scripts.Script):
    """FaceChain in txt2img and img2img."""

    def title(self) -> str:
        """The name under which the API and other extensions know it."""
        return "FaceChain"

    def show(self, is_img2img: bool) -> Any:
        """In both tabs, always."""
        return scripts.AlwaysVisible

    panel: Any = None
    """What was built last."""

    def ui(self, is_img2img: bool) -> list:
        """The panel; its controls' values become the arguments below. The host's API asks four times for values alone: nothing is built."""
        from facechain_ext.ui.gradio_versions import nowhere
        from facechain_ext.ui.panel import Panel

        if self.panel is None or not nowhere():
            self.panel = Panel("img2img" if is_img2img else "txt2img")
            self.infotext_fields, self.paste_field_names = self.panel.infotext_fields, []
        return self.panel.controls

    def process(self, p: Any, *args: Any) -> None:
        """Before anything is sampled: who is asked for, and what the info text says of them."""
        from facechain_ext.hosts import webui

        webui.release()
        setattr(p, RUN, None)
        with edge(p):
            sent = webui.errand(p)
            if sent is not None:
                setattr(p, RUN, Run(request=NOTHING, strict=True, plan=fitting(p, sent.plan)))
                return
            run = Run(request=asked(p, args), strict=stated_strict(args))
            setattr(p, RUN, run)
            prepare(p, run)

    def process_before_every_sampling(self, p: Any, *args: Any, **kwargs: Any) -> None:
        """Before each pass: attach the plan."""
        from facechain_ext.hosts import webui

        run = getattr(p, RUN, None)
        if run is None or run.plan is None:
            return
        with edge(p):
            webui.begin(p, run.plan, tuple(kwargs["x"].shape[-2:]))

    def postprocess_batch(self, p: Any, *args: Any, **kwargs: Any) -> None:
        """After each batch, before its info text is written: what went wrong meanwhile."""
        from facechain_ext.hosts import webui

        if getattr(p, RUN, None) is not None and webui.trouble(p):
            fail(p, str(webui.trouble(p)))

    def postprocess_image(self, p: Any, pp: Any, *args: Any) -> None:
        """A finished picture: ADetailer's faces are counted anew for the next."""
        inner.picture_done(p)

    def postprocess(self, p: Any, processed: Any, *args: Any) -> None:
        """After everything: leave nothing behind."""
        from facechain_ext.hosts import webui

        webui.release(p)
        setattr(p, RUN, None)


def fitting(p: Any, plan: Any) -> Any:
    """The tab's plan, if checkpoint and adapter can work together. UnsupportedModel."""
    from facechain_ext.errors import UnsupportedModel
    from facechain_ext.hosts import webui

    reason = webui.supports(p, plan.adapter) if plan is not None else None
    if reason:
        raise UnsupportedModel(reason)
    return plan


def asked(p: Any, args: Sequence[Any]) -> Request:
    """What is asked for in this generation, with what X/Y/Z changes."""
    return with_axes(from_args(args, api=bool(getattr(p, "is_api", False))), xyz.axes_of(p))


def stated_strict(args: Sequence[Any]) -> bool:
    """Whether strictness was asked for, also where the rest of the request cannot be read."""
    return bool(args) and isinstance(args[0], dict) and args[0].get("strict") is True


def prepare(p: Any, run: Run) -> None:
    """Meet the persons and state them in the info text. Any FaceChainError."""
    from facechain_ext.errors import UnsupportedModel
    from facechain_ext.hosts import webui

    if not inner.is_inner(p):
        last_trouble.pop((accounts.user_of(p), tab_of(p)), None)
        inner.picture_done(p)
    if not run.request.active or (inner.is_inner(p) and not run.request.panel.adetailer_pass):
        return
    reason = webui.supports(p)
    if reason:
        raise UnsupportedModel(reason)
    plan, met = plan_of(run.request, loaded, accounts.user_of(p))
    refuse_of_the_young(p, met.values())
    reason = webui.supports(p, plan.adapter)
    if reason:
        raise UnsupportedModel(reason)
    run.plan = inner.only_one(p, run.request, plan) if inner.is_inner(p) else plan
    p.extra_generation_params.update(info_of(run.request, plan.adapter, met))


def refuse_of_the_young(p: Any, met: Iterable[Met]) -> None:
    """BadInput where a prompt, as the WebUI has filled it in, asks for what is not made of somebody under 18: by face or by its words."""
    from facechain_ext.workflows.safety import rules

    asked = [*zip(p.all_prompts, p.all_negative_prompts, strict=True)]
    if getattr(p, "enable_hr", False):  # the second pass may have a prompt of its own
        asked += zip(p.all_hr_prompts, p.all_hr_negative_prompts, strict=True)
    for (prompt, negative), one in product(dict.fromkeys(asked), met):
        told = rules([prompt], "auto", one.attributes, against=negative, eyes=True, switched_on=False)
        if told.minor and told.refusal:
            raise BadInput(told.refusal)


def info_of(request: Request, adapter: Any, met: dict[int, Any]) -> dict[str, str]:
    """What the info text says of this generation."""
    from facechain_ext.workflows.infotext import weigh_pair

    persons = {PERSON_KEY.format(one.number): person_info(one.options, met[one.number].identity.photos) for one in request.persons}
    encoder = next((one.identity.encoder for one in met.values()), "")
    networks = {"FaceChain adapter": f"{adapter.name} [{adapter.fingerprint}]", "FaceChain encoder": encoder}
    weigh = weigh_pair(adapter, max((len(one.identity.photos) for one in met.values()), default=0))
    return {**persons, **networks, **weigh, **panel_info(request.panel)}


@contextmanager
def edge(p: Any) -> Iterator[None]:
    """Nothing of ours ends a generation: what fails is told, and the picture is made without the face."""
    try:
        yield
    except FaceChainError as error:
        fail(p, str(error), error)
    except Exception as error:  # noqa: BLE001  # the edge of the product: the picture survives whatever this is
        log.exception("FaceChain failed")
        fail(p, f"FaceChain failed in this picture ({type(error).__name__}: {error}); the console tells where.")


def fail(p: Any, reason: str, error: FaceChainError | None = None) -> None:
    """Tell why the face is missing: in the info text, below the picture, in the panel and in the log; refuse where that was asked for.

    Where things lie on the machine is told to whom it belongs to, and never in an info text, which travels with the picture.
    """
    from facechain_ext.hosts import webui
    from facechain_ext.ui.studio_webui import studio

    webui.release(p)
    run = getattr(p, RUN, None)
    if run is not None:
        run.plan = None
    if webui.errand(p) is not None:
        refuse(p, error or PictureFailed(reason))
        return
    log.warning("The picture is made without the face. %s", reason)
    p.extra_generation_params[ERROR_KEY] = without_places(reason, studio().places())
    reason = studio().told(reason, accounts.user_of(p))
    if not getattr(p, "is_api", False) and not inner.is_inner(p):
        last_trouble[accounts.user_of(p), tab_of(p)] = reason
    if getattr(p, "is_api", False) and stated_strict(args_of(p)):
        refuse(p, HTTPException(status_code=422, detail=reason))
    elif settings.setting("note", True):
        with suppress(AttributeError):
            p.comment(f"FaceChain: {reason}")


NEXT_STEPS = ("init", "get_token_merging_ratio")
"""What the host calls of a processing object after process(), and when it writes the info text after sampling."""
SAMPLING = ("sample", "sample_img2img")


def refuse(p: Any, error: Exception) -> None:
    """End the generation with an error. The host swallows what script hooks raise, so its next step with this very one raises it."""

    def refused(*_args: Any, **_kwargs: Any) -> None:
        raise error

    for name in NEXT_STEPS:
        setattr(p, name, refused)
    for name in SAMPLING if getattr(p, "sampler", None) is not None else ():
        setattr(p.sampler, name, refused)


def args_of(p: Any) -> Sequence[Any]:
    """Our own arguments of this generation."""
    found = next((one for one in p.scripts.alwayson_scripts if isinstance(one, FaceChain)), None)
    return () if found is None else p.script_args[found.args_from : found.args_to]


def tab_of(p: Any) -> str:
    """The tab a generation belongs to."""
    return "img2img" if hasattr(p, "init_images") else "txt2img"


def denoising(params: Any) -> None:
    """A step of sampling."""
    from facechain_ext.hosts import webui

    webui.denoiser_callback(params)


def on_ui_tabs() -> list[tuple[Any, str, str]]:
    """The FaceChain tab."""
    from facechain_ext.ui import studio_webui

    return studio_webui.on_ui_tabs()


def register() -> None:
    """Register our callbacks; once, however often the WebUI loads its scripts.

    In a thread of its own, and waited for: the host looks at the whole stack of whoever registers, and searches all loaded modules
    for every frame of the import in which this is called. That was most of what we added to its start.
    """
    with ThreadPoolExecutor(1) as shallow:
        shallow.submit(_register).result()


def _register() -> None:
    settings.register(script_callbacks.on_cfg_denoiser, denoising)
    settings.register(script_callbacks.on_ui_settings, settings.on_ui_settings)
    settings.register(script_callbacks.on_app_started, api.on_app_started)
    settings.register(script_callbacks.on_ui_tabs, on_ui_tabs)
    settings.register(script_callbacks.on_before_ui, xyz.add_axes)
