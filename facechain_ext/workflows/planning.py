"""An order looked through before anything is painted: the person, the style and its LoRAs, the words and whether they may be, the pose."""

from __future__ import annotations

import base64
import difflib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING

from facechain_ext.errors import BadInput
from facechain_ext.hosts.types import Control, Finish, Hires, Listed, Lora, Paint
from facechain_ext.options import to_info
from facechain_ext.workflows import safety
from facechain_ext.workflows.adapting import cleaned
from facechain_ext.workflows.looking import png
from facechain_ext.workflows.orders import ALL, AUTO, MOST_TRIES, UNTIL, MakingOptions, Order, Room
from facechain_ext.workflows.people import opened
from facechain_ext.workflows.persons import Eyes, Who, from_library, from_photos
from facechain_ext.workflows.portrait import request_of, with_words_against
from facechain_ext.workflows.safety import Rules
from facechain_ext.workflows.styles import Bound, Style
from facechain_ext.workflows.wording import SUBJECTS, subject_of

if TYPE_CHECKING:
    from facechain_ext.engine.adapter import Adapter
    from facechain_ext.faces.types import PictureCheck
    from facechain_ext.hosts.types import Host

TAG = re.compile(r"<lora:([^:>]+)(?::([^:>]*))?[^>]*>", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An order looked through: what is to be painted of whom, with what, and how results are treated."""

    order: Order
    who: Who
    request: Paint
    rules: Rules
    style: Style | None
    check: PictureCheck | None
    until: float | None
    notes: tuple[str, ...]

    @property
    def total(self) -> int:
        """Pictures to be made at most."""
        options = self.order.options
        return options.count if options.choose == ALL else max(options.most, options.count)


def planned(order: Order, room: Room, user: str) -> Plan:
    """Look at the person and the words, and say what is to be painted. Any FaceChainError; nothing is painted yet."""
    options = order.options
    style = _style(order, room.styles(user))
    loras = _loras(order, style, room.loras())
    adapter = room.adapter(options.adapter)
    eyes = Eyes(analyser=room.analyser(options.analyser), encoder=room.encoder(adapter), adapter=adapter)
    library = room.library(user)
    who = from_photos(eyes, order.photos, library, face=options.face) if order.photos else from_library(eyes, library, order.person)
    check = room.checker()
    prompt = _worded(options, style, who)
    rules = safety.rules(
        [prompt, *_called(prompt, style, loras, room.loras())], options.subject, who.attributes, against=_against(options, style),
        style=order.style, switched_on=room.checking(), eyes=check is not None,
    )  # fmt: skip
    if rules.refusal:
        raise BadInput(rules.refusal)
    request = _request(order, room, who, adapter, replace(options, prompt=prompt, seed=_seed(options)), loras, style)
    request = with_words_against(request, rules.negative)  # who looks under 18 has these words already
    until = _until(options, who.judge.between)
    return Plan(
        order=replace(order, options=replace(options, prompt=prompt)), who=who, request=request, rules=rules,
        style=style.style if style else None, check=check if rules.look else None, until=until, notes=who.notes,
    )  # fmt: skip


def _style(order: Order, styles: Sequence[Bound]) -> Bound | None:
    """The style ordered. BadInput where there is none of that key, or its LoRA is missing and it was not asked for without."""
    if not order.style:
        return None
    bound = next((one for one in styles if one.style.key == order.style), None)
    if bound is None:
        raise BadInput(f"There is no style {order.style!r}: choose one from the gallery.")
    if bound.state not in ("bound", "none") and not order.options.without_lora:
        raise BadInput(lacking(bound))
    return bound


def lacking(bound: Bound) -> str:
    name, file = bound.style.name_en, bound.style.lora
    if bound.state == "other model":
        return f"The style {name} was made for SDXL, and faces can be held in SD1.5 only: choose another style."
    if bound.state == "other file":
        return f"The style {name} needs another file than the {file} that is there: replace it, or make it from its words alone."
    return f"The style {name} needs the LoRA {file}, which is not there: put it into the LoRA folder, or make it from its words alone."


def _loras(order: Order, style: Bound | None, listed: Sequence[Listed]) -> tuple[Lora, ...]:
    """The style's LoRA and the further ones, each once. BadInput for one that the host has not."""
    chosen: dict[str, float] = {}
    if style is not None and style.lora is not None:
        chosen[style.lora.name] = style.style.weight if order.style_weight is None else order.style_weight
    for name, weight in order.loras:
        chosen[_named(name, listed)] = weight
    return tuple(Lora(source=name, weight=weight) for name, weight in chosen.items())


def _named(name: str, listed: Sequence[Listed]) -> str:
    """The host's name for a LoRA that is called by its name, its file's or the one it was trained under. BadInput where there is none,
    or where there are several."""
    for called in (lambda one: one.name, lambda one: PureWindowsPath(one.file).stem, lambda one: one.alias):
        found = list(dict.fromkeys(one.name for one in listed if called(one) == name))
        if len(found) > 1:
            raise BadInput(f"There are {len(found)} LoRAs called {name}: choose {' or '.join(found)}.")
        if found:
            return found[0]
    close = difflib.get_close_matches(name, [one.name for one in listed], 1)
    advice = f"perhaps {close[0]}" if close else "put it into the LoRA folder, or leave it out"
    raise BadInput(f"There is no LoRA {name!r}: {advice}.")


def _worded(options: MakingOptions, style: Bound | None, who: Who) -> str:
    """The prompt, without what is not for the young where the person or the words are."""
    prompt, against = _fitted(options, style, who, minor=False), _against(options, style)
    minor = safety.minor_because(prompt, options.subject, who.attributes, against=against)
    return _fitted(options, style, who, minor=True) if minor else prompt


def _against(options: MakingOptions, style: Bound | None) -> str:
    """What somebody wrote for the negative prompt, else the style's."""
    return (style.style.negative if style is not None else "") if options.negative is None else options.negative


def _called(prompt: str, style: Bound | None, loras: Sequence[Lora], listed: Sequence[Listed]) -> list[str]:
    """What the LoRAs and a style of one's own are called: names may say what is to be seen, too. BadInput for a LoRA the host has not."""
    used = {str(lora.source) for lora in loras} | {_named(tag[1], listed) for tag in TAG.finditer(prompt)}
    own = [style.style.key] if style is not None and style.style.own else []
    return [*sorted(used), *(one.alias for one in listed if one.name in used and one.alias), *own]


def _fitted(options: MakingOptions, style: Bound | None, who: Who, *, minor: bool) -> str:
    """The prompt: the style's, fitted to the person, as long as nobody has changed it; a person's own words stay as they are."""
    if style is None:
        return options.prompt
    untouched = {"", style.style.prompt, cleaned(style.style.prompt), *(style.style.prompt_for(one) for one in SUBJECTS)}
    if options.prompt.strip() not in untouched:
        return options.prompt
    subject = subject_of(who.attributes) if options.subject == AUTO else options.subject
    return style.style.prompt_for(subject, minor=minor)


def _request(
    order: Order, room: Room, who: Who, adapter: Adapter, options: MakingOptions, loras: tuple[Lora, ...], style: Bound | None
) -> Paint:
    """The host's request. BadInput for an upscaler or restorer the host has not, or a pose that cannot be taken."""
    _listed(options, room.host)
    options = replace(options, negative=_against(options, style) or options.negative)
    controls = _pose(order, room)
    request = request_of(adapter, who.identity, options, attributes=who.attributes, loras=loras, controls=controls)
    hires = Hires(scale=options.hires, strength=options.hires_strength, steps=options.hires_steps, upscaler=options.upscaler)
    finish = Finish(restorer=options.restore, scale=options.finish, upscaler=options.finish_upscaler)
    finished = options.restore or options.finish > 1
    return replace(request, hires=hires if options.hires > 1 else None, finish=finish if finished else None)


def _listed(options: MakingOptions, host: Host) -> None:
    """BadInput for what the host has not."""
    chosen, finishing = options.upscaler, options.finish_upscaler
    if chosen and chosen not in host.upscalers():
        raise BadInput(f"There is no upscaler {chosen!r}: choose one of {', '.join(host.upscalers())}.")
    if finishing and finishing not in host.finishers():
        raise BadInput(f"There is no upscaler {finishing!r} for finished pictures: choose one of {', '.join(host.finishers())}.")
    if options.restore and not host.restorers():
        raise BadInput(f"There is no face restoration {options.restore!r} here: leave it out, or use a WebUI that has it.")
    if options.restore and options.restore not in host.restorers():
        raise BadInput(f"There is no face restoration {options.restore!r}: choose one of {', '.join(host.restorers())}.")


def _pose(order: Order, room: Room) -> tuple[Control, ...]:
    if order.pose is None:
        return ()
    why_not, model = room.poses_possible(), openpose(room.host.controlnets())
    if why_not or model is None:
        raise BadInput(why_not or "There is no openpose ControlNet: put one for SD1.5 into the ControlNet folder.")
    (photo,) = opened([order.pose])
    size = (order.options.width, order.options.height)
    return (Control(model=model, image=room.skeleton(photo.image, size), weight=order.pose_weight),)


def openpose(controlnets: Sequence[str]) -> str | None:
    """The openpose ControlNet among the host's, None where there is none; one that says it is for SD1.5 first."""
    found = [name for name in controlnets if "openpose" in name.lower() and "xl" not in name.lower()]
    return next((name for name in found if "sd15" in name.lower()), found[0] if found else None)


def _seed(options: MakingOptions) -> int:
    return secrets.randbelow(2**32 - MOST_TRIES) if options.seed == -1 else options.seed


def _until(options: MakingOptions, between: tuple[float, float] | None) -> float | None:
    """The likeness that counts as alike, None where it does not matter. BadInput where there is nothing to take it from."""
    if options.choose != UNTIL:
        return None
    if options.until is None and between is None:
        raise BadInput("There is one photo only, so nothing says which likeness is enough: name one, or give two photos or more.")
    return options.until if options.until is not None else between[0] if between else None


# What "make again" needs beyond the WebUI's own settings, under these keys in the info text.
STYLE, OWN_WORDS, AGAINST, WORDING, POSE = (f"FaceChain {key}" for key in ("style", "prompt", "negative", "wording", "pose"))
PERSON, ANALYSER, FACE, WITHHELD = (f"FaceChain {key}" for key in ("person", "analyser", "face", "withheld"))


def stated(plan: Plan) -> dict[str, str]:
    """What the info text says of an order beside what the WebUI says itself; defaults are left out."""
    order, options = plan.order, plan.order.options
    return {
        **to_info(options),
        PERSON: plan.who.name,
        STYLE: order.style,
        OWN_WORDS: options.prompt,
        AGAINST: options.negative or "",
        WORDING: options.template,
        POSE: sha256(order.pose.data).hexdigest()[:12] if order.pose else "",
        ANALYSER: options.analyser if options.analyser != AUTO else "",
        FACE: str(options.face) if options.face else "",
    }


def skeleton_text(plan: Plan) -> dict[str, str]:
    """The pose's control picture as a text of the PNG file, so that it is there as long as the picture is; no photo of anybody."""
    if not plan.request.controls:
        return {}
    return {POSE: base64.b64encode(png(plan.request.controls[0].image)).decode()}
