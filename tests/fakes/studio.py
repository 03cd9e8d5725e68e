"""A studio that makes its pictures at once: people of the demo world, a real history and library in a temporary folder, scripted jobs.

It has exactly what `ui.studio.Studio` has; what a test wants to go wrong is set on it before the page asks.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from facechain_ext.demo.world import appearance, draw, person, scene
from facechain_ext.errors import BadInput, CannotWrite
from facechain_ext.hosts.types import Folders, Listed
from facechain_ext.store.history import History
from facechain_ext.store.library import Addition, Library, Saved, library_of
from facechain_ext.store.names import NOBODY
from facechain_ext.store.records import Record
from facechain_ext.ui.door import Door, without_places
from facechain_ext.ui.jobs import State
from facechain_ext.ui.studio import Ready, Settings
from facechain_ext.workflows.infotext import parse_info
from facechain_ext.workflows.looking import Seen
from facechain_ext.workflows.orders import AUTO, MakingOptions, Order, Picture, Result
from facechain_ext.workflows.own_styles import OwnStyles, styles_of
from facechain_ext.workflows.styles import Bound, bind, presets

SIDE = 256
ANNA, BEN = 11, 23
JUDGE = "the judge of drawn people"
BETWEEN = (0.58, 0.71)
LIKENESS: tuple[float | None, ...] = (0.62, 0.49, 0.68, 0.71, 0.55, 0.60)


def drawn(who: int, look: int, side: int = SIDE) -> Image.Image:
    """A picture of somebody of the demo world."""
    return Image.fromarray(draw(person(who), scene(look), appearance(look), side).picture)


def photo(who: int, look: int, side: int = SIDE) -> bytes:
    """A photo file of somebody."""
    return png(drawn(who, look, side))


def png(image: Image.Image) -> bytes:
    """A picture as a PNG file."""
    out = BytesIO()
    image.save(out, format="PNG")
    return out.getvalue()


def identity(number: int) -> Any:
    """Tokens of somebody; of no use but to be kept."""
    import torch

    from facechain_ext.engine.identity import Identity

    some = torch.full((16, 4), float(number))
    return Identity(
        tokens=some, null=some * 0, embeddings=torch.nn.functional.normalize(torch.ones(1, 8) * number, dim=1), photos=(f"{number:012d}",),
        encoder="fake", adapter="fake",
    )  # fmt: skip


class FakeHost:
    """Lists and folders of a host; it paints nothing."""

    name = "fake host"

    def __init__(self, folder: Path) -> None:
        self.folders = Folders(models=folder / "models", loras=folder / "models" / "Lora", outputs=folder / "outputs")

    def samplers(self) -> list[str]:
        return ["DPM++ 2M Karras", "Euler a", "Euler"]

    def upscalers(self) -> list[str]:
        return ["Latent", "Lanczos"]

    def finishers(self) -> list[str]:
        return ["Lanczos"]

    def restorers(self) -> list[str]:
        return []

    def checkpoint(self) -> str:
        return "majicmixRealistic_v6 [e4a30e4607]"


class FakeJobs:
    """Jobs that go one step whenever they are asked after."""

    def __init__(self, studio: FakeStudio) -> None:
        self.studio, self.made, self.holding = studio, {}, False
        self._ids = itertools.count(1)

    def start(self, user: str, order: Order) -> str:
        id = f"job{next(self._ids)}"
        self.made[id] = State(id=id, user=user, order=order, phase="waiting", pictures=order.options.count, steps=order.options.steps)
        return id

    def state(self, user: str, id: str) -> State:
        if id not in self.made or self.made[id].user != user:
            raise BadInput(f"There is no job {id}: it is too old, or the program was started anew.")
        return self.made[id]

    def wait(self, user: str, id: str, version: int, timeout: float) -> State:
        state = self.state(user, id)
        if not state.over and not (self.holding and state.preview):
            self.made[id] = state = replace(self._next(state), version=state.version + 1)
        return state

    def stop(self, user: str, id: str) -> State:
        self.made[id] = replace(self.state(user, id), phase="stopped", version=self.made[id].version + 1)
        return self.made[id]

    def skip(self, user: str, id: str) -> State:
        state = self.state(user, id)
        self.made[id] = replace(state, picture=state.picture + 1, step=0, preview=None, version=state.version + 1)
        return self.made[id]

    def photos(self, user: str, hashes: tuple[str, ...]) -> tuple[Picture, ...]:
        return next((one.order.photos for one in self.made.values() if one.user == user and one.order.photos), ())

    def current(self, user: str) -> str | None:
        mine = [id for id, state in self.made.items() if state.user == user]
        return mine[-1] if mine else None

    def _next(self, state: State) -> State:
        if state.phase == "waiting":
            return replace(state, phase="looking")
        if state.phase == "looking":
            if self.studio.error:
                return replace(state, phase="failed", error=self.studio.error)
            return replace(state, phase="painting", picture=1, between=BETWEEN, judge=JUDGE)
        step = state.step + max(state.steps // 2, 1)
        if step < state.steps:
            preview = drawn(BEN if state.order.person == "Ben" else ANNA, state.picture).resize((64, 64)).resize((SIDE, SIDE))
            return replace(
                state, step=step, preview=preview, seconds_left=4.0 * (state.pictures - state.picture) + (state.steps - step) / 8
            )
        return self._finished(state, failed=self.studio.failing.get(state.picture, ""))

    def _finished(self, state: State, failed: str) -> State:
        number = state.picture
        result = Result(number=number, seed=state.order.options.seed + number - 1, failed=failed)
        if not failed:
            likeness = LIKENESS[(number - 1) % len(LIKENESS)]
            entry = self.studio.keep(state.user, state.order, number, likeness)
            result = replace(result, entry=entry, likeness=likeness, note=self.studio.noted)
        results = (*state.results, result)
        if number < state.pictures:
            return replace(state, picture=number + 1, step=0, results=results)
        return replace(state, phase="done", results=results, preview=None, notes=self.studio.notes)


class FakeStudio:
    """A studio without networks."""

    kind: Literal["standalone", "a1111", "forge"] = "standalone"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = FakeHost(folder)
        self.jobs = FakeJobs(self)
        self.listed: list[Listed] = [
            Listed(name="autumn_populus", file="autumn_populus.safetensors"),
            Listed(name="film", file="film.safetensors"),
        ]
        self.failing: dict[int, str] = {}
        self.noted = ""
        self.error = ""
        self.notes: tuple[str, ...] = ()
        self.missing: tuple[str, ...] = ()
        self.frozen: dict[str, str] = {}
        self.door = Door()
        self._settings = Settings()
        self._history = History(folder / "outputs", parse_info)
        (folder / "models" / "Lora").mkdir(parents=True)

    def keep(self, user: str, order: Order, number: int, likeness: float | None, **more: Any) -> Any:
        options, who = order.options, BEN if order.person == "Ben" else ANNA
        style, seed = order.style, max(options.seed, 0) + number - 1
        info = (
            f"{options.prompt or 'a beautiful woman'}\nNegative prompt: lowres\nSteps: {options.steps}, "
            f"Sampler: {options.sampler}, CFG scale: 7, Seed: {seed}, Size: {SIDE}x{SIDE}, Model: majicmixRealistic_v6, "
            f"FaceChain weight: {options.weight:g}, FaceChain style: {style or 'none'}, FaceChain likeness: {likeness}, Version: FaceChain"
        )
        record = Record(
            user=user, person=order.person, style=style, info=info, prompt=options.prompt or "a beautiful woman, close-up",
            seed=seed, likeness=likeness, judge=JUDGE, **more,
        )  # fmt: skip
        return self._history.add(drawn(who, seed), record)

    def fill(self, amount: int, user: str = NOBODY) -> None:
        """A history of so many pictures, of a few faces, styles and days; most of many are copies that a re-index finds."""
        pictures, entries = [drawn((ANNA, BEN)[at % 2], at) for at in range(min(amount, 12))], []
        keys = [one.key for one in presets()[:5]]
        for at in range(min(amount, 24)):
            alike = 0.4 + (at % 40) / 100
            info = (
                f"a portrait\nNegative prompt: lowres\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: {at}, Size: {SIDE}x{SIDE}, "
                f"FaceChain weight: 0.5, FaceChain likeness: {alike:.3f} by {JUDGE}, Version: FaceChain"
            )
            record = Record(
                user=user, person=("Anna", "Ben")[at % 2], style=keys[at % 5], info=info,
                prompt="a portrait", seed=at, likeness=alike, judge=JUDGE, made=1.76e9 + at * 7200,
            )  # fmt: skip
            entries.append(self._history.add(pictures[at % 12], record))
        for at in range(24, amount):
            path = entries[at % 24].path
            path.with_name(f"{at + 1:05d}-{at}.png").write_bytes(path.read_bytes())
        if amount > 24:
            assert self._history.reindex().added == amount - 24

    def person(self, name: str, who: int, *, consent: bool = True, user: str = NOBODY) -> Saved:
        """Somebody in a user's library."""
        what = Addition(
            identity=identity(who), adapter="adapter_maj", thumbnail=png(drawn(who, 1, 112)),
            consent="The person who saved this states that the pictured person agreed, 2026-11-20." if consent else "",
        )  # fmt: skip
        return self.library(user).add(name, what)

    def library(self, user: str) -> Library:
        return library_of(user, self.folder / "people")

    def history(self) -> History:
        return self._history

    def own_styles(self, user: str) -> OwnStyles:
        return styles_of(user, self.folder / "styles")

    def styles(self, user: str) -> tuple[Bound, ...]:
        return bind([*self.own_styles(user).styles(), *presets()], self.listed)

    def loras(self) -> tuple[Listed, ...]:
        return tuple(self.listed)

    def adapters(self) -> tuple[str, ...]:
        return ("adapter_maj_mask_large_new_reg001_faceshuffle_00290001", "adapter_film")

    def analysers(self) -> tuple[str, ...]:
        return ("auto", "embedded", "insightface")

    def adapter(self, name: str) -> Any:
        raise BadInput("The fake studio has no networks.")

    encoder = analyser = adapter

    def checker(self) -> None:
        return None

    def checking(self) -> bool:
        return self._settings.check

    def defaults(self, user: str = NOBODY) -> MakingOptions:
        mine = self._settings
        return MakingOptions(width=SIDE, height=SIDE, steps=mine.steps, sampler=mine.sampler, weight=mine.weight)

    def told(self, text: str, user: str) -> str:
        return text if self.door.owner(user) else without_places(text, [self.folder])

    def fixed(self, user: str) -> dict[str, str]:
        return self.frozen

    def readiness(self, user: str) -> tuple[Ready, ...]:
        def ready(name: str, good: str, bad: str, advice: str, *, there: bool, needed: bool = True) -> Ready:
            return Ready(name=name, there=there, needed=needed, sentence=good if there else bad, advice=advice)

        return (
            ready(
                "checkpoint", "The checkpoint is SD1.5: majicmixRealistic_v6.",
                "This checkpoint is SDXL; FaceChain works with SD1.5 checkpoints only.",
                "Choose another at the top of the page.", there="checkpoint" not in self.missing,
            ),
            ready(
                "adapter", "The adapter adapter_maj is there.", "No FaceChain adapter is in models/FaceChain.", "Put a FACT adapter there.",
                there="adapter" not in self.missing,
            ),
            ready(
                "pose", "Poses can be taken from photos.", "No openpose ControlNet is installed.", "Install it to take poses from photos.",
                there=False, needed=False,
            ),
        )  # fmt: skip

    def look(self, photos: Sequence[Picture], *, adapter: str = AUTO, analyser: str = AUTO, face: int = 0) -> list[Seen]:
        from facechain_ext.faces.types import Face
        from facechain_ext.faces.vetting import Report, objection

        found = []
        for at, one in enumerate(photos, 1):
            image = Image.open(BytesIO(one.data)).convert("RGB")
            wide, high = image.size
            faceless = float(np.asarray(image).std()) < 12 or image.size[0] < 100
            problems = [objection("no_face", name=one.name)] if faceless else []
            if at == 3 and not faceless:
                problems = [objection("other_person", name=one.name, value=0.08, limit=0.25)]
            points = tuple((wide * x, high * y) for x, y in ((0.4, 0.4), (0.6, 0.4), (0.5, 0.5), (0.42, 0.6), (0.58, 0.6)))
            seen = (
                None
                if faceless
                else Face(box=(wide * 0.3, high * 0.2, wide * 0.7, high * 0.8), points=points, score=0.9, yaw=4.0 if at == 1 else 31.0)
            )
            report = Report(number=at, face=seen, faces=(seen,) if seen else (), problems=tuple(problems))
            small = image.copy()
            small.thumbnail((112, 112))
            found.append(Seen(report=report, hash="0" * 12, size=image.size, thumbnail=png(small)))
        return found

    def save_person(
        self, user: str, name: str, photos: Sequence[Picture], *, adapter: str = AUTO, analyser: str = AUTO, face: int = 0,
        consent: bool = False, keep_photos: bool = False, replace: bool = False,
    ) -> Saved:  # fmt: skip
        if not consent:
            raise BadInput("Nobody is saved unasked: confirm that the person in the photos agrees.")
        if not photos:
            raise BadInput("There is no photo to save a person from: drop one to six photos first.")
        return self.person(name, len(name) + 40, user=user)

    def demo_person(self) -> tuple[Picture, ...]:
        return tuple(Picture(data=photo(ANNA, look), name=f"photo {look}") for look in (1, 2))

    def install_lora(self, path: Path, name: str = "") -> Any:
        from facechain_ext.workflows.lora_files import install, lora_file

        lora_file(path)
        target = install(path, self.host.folders.loras)
        self.listed.append(Listed(name=target.stem, file=target.name))
        return lora_file(target)

    def skeleton(self, image: Image.Image, size: tuple[int, int]) -> Image.Image:
        return Image.new("RGB", size, "black")

    def poses_possible(self) -> str:
        return "No openpose ControlNet is here: put one into models/ControlNet."

    def safety(self) -> str:
        return "Pictures are checked by the prompt alone: no checker's weights are here."

    def user(self, request: Any) -> str:
        return str(getattr(request, "username", None) or NOBODY)

    def send_to(self) -> tuple[str, ...]:
        return ()

    def settings(self, user: str = NOBODY) -> Settings:
        return self._settings

    def set_settings(self, settings: Settings, user: str = NOBODY) -> None:
        if settings.outputs == "/nowhere":
            raise CannotWrite("The settings cannot be written: check the folder.")
        self._settings = settings
