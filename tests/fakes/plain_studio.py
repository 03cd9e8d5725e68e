"""A studio whose library, history and styles are real and whose pictures are plain colours: for the page and REST without networks.

Only what the protocol has; anything else is an AttributeError.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from facechain_ext.engine.identity import Identity
from facechain_ext.errors import BadInput, NotAllowed
from facechain_ext.hosts.types import Folders, Listed
from facechain_ext.store.library import Addition, Saved
from facechain_ext.store.names import NOBODY
from facechain_ext.store.records import Record
from facechain_ext.ui.door import Door, without_places
from facechain_ext.ui.jobs import State
from facechain_ext.ui.studio import Ready, Settings
from facechain_ext.workflows.looking import png
from facechain_ext.workflows.lora_files import LoraFile, install, lora_file
from facechain_ext.workflows.making import MakingOptions, Order, Picture, Result
from facechain_ext.workflows.styles import Bound, bind, presets
from tests.fakes.kept import Kept

INFO = "a portrait\nNegative prompt: bad\nSteps: 2, Sampler: Euler, CFG scale: 7, Seed: {seed}, Size: 64x64, FaceChain weight: 0.5"


@dataclass
class FakeHost:
    """The lists of a host."""

    folders: Folders
    name: str = "standalone"

    def checkpoint(self) -> str:
        return "small [0123456789]"

    def samplers(self) -> list[str]:
        return ["Euler", "DPM++ 2M Karras"]

    def upscalers(self) -> list[str]:
        return ["Lanczos"]

    def finishers(self) -> list[str]:
        return ["Lanczos"]

    def restorers(self) -> list[str]:
        return []

    def loras(self) -> list[str]:
        return [one.name for one in self.listed_loras()]

    def listed_loras(self) -> list[Listed]:
        assert self.folders.loras is not None
        return [Listed(name=path.stem, file=path.name) for path in sorted(self.folders.loras.glob("*.safetensors"))]


@dataclass
class FakeJobs:
    """Jobs that are done by `finish`, picture by picture, and belong to their user."""

    studio: FakeStudio
    states: dict[str, State] = field(default_factory=dict)
    at_once: bool = True
    looks: int = -1  # after how many looks a job that is not done at once is done; -1: when somebody says so

    def start(self, user: str, order: Order) -> str:
        id = f"job{len(self.states) + 1}"
        self.states[id] = State(id=id, user=user, order=order, pictures=order.options.count, steps=order.options.steps)
        if self.at_once:
            self.finish(id)
        return id

    def finish(self, id: str) -> None:
        """Make the pictures of a job: one colour per seed, into the real history."""
        state = self.states[id]
        results = [self.made(state, number) for number in range(1, state.order.options.count + 1)]
        self.states[id] = replace(
            state, phase="done", version=state.version + 1, results=tuple(results), judge="colours", between=(0.5, 0.75), preview=None
        )

    def made(self, state: State, number: int) -> Result:
        seed = max(state.order.options.seed, 0) + number
        record = Record(
            user=state.user, person=state.order.person, style=state.order.style, seed=seed, likeness=0.1 * number, judge="colours",
            info=INFO.format(seed=seed), prompt="a portrait",
        )  # fmt: skip
        entry = self.studio.history().add(Image.new("RGB", (64, 64), (seed % 256, 0, 0)), record)
        return Result(number=number, seed=seed, entry=entry, likeness=record.likeness)

    def state(self, user: str, id: str) -> State:
        found = self.states.get(id)
        if found is None or found.user != user:
            raise BadInput(f"There is no job {id}: it is too old, or the program was started anew.")
        self.looks -= 1
        if self.looks == 0:
            self.finish(id)
        return self.states[id]

    def stop(self, user: str, id: str) -> State:
        self.states[id] = replace(self.state(user, id), phase="stopped")
        return self.states[id]

    def skip(self, user: str, id: str) -> State:
        state = self.state(user, id)
        self.states[id] = replace(state, picture=state.picture + 1)
        return self.states[id]

    def current(self, user: str) -> str | None:
        return next((id for id, state in reversed(self.states.items()) if state.user == user), None)


class FakeStudio(Kept):
    """The studio of one folder."""

    kind = "standalone"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        loras = folder / "Lora"
        loras.mkdir(parents=True, exist_ok=True)
        self.host = FakeHost(Folders(models=folder, loras=loras, outputs=folder / "outputs"))
        self.jobs = FakeJobs(self)
        self.looked: list[dict[str, Any]] = []
        self.kept, self.door = Settings(), Door()

    def styles(self, user: str) -> tuple[Bound, ...]:
        return bind([*presets(), *self.own_styles(user).styles()], self.loras())

    def loras(self) -> tuple[Listed, ...]:
        return tuple(self.host.listed_loras())

    def adapters(self) -> tuple[str, ...]:
        return ("small",)

    def analysers(self) -> tuple[str, ...]:
        return ("auto", "embedded")

    def defaults(self, user: str = NOBODY) -> MakingOptions:
        return MakingOptions(width=64, height=64, steps=2)

    def told(self, text: str, user: str) -> str:
        return text if self.door.owner(user) else without_places(text, [self.folder])

    def fixed(self, user: str) -> dict[str, str]:
        return {} if user != "eve" else {"check": "Only the first account can change this."}

    def readiness(self, user: str) -> tuple[Ready, ...]:
        return (Ready(name="adapter", there=True, needed=True, sentence="The adapter small is there."),)

    def poses_possible(self) -> str:
        return "No ControlNet is there: put one into the folder ControlNet."

    def safety(self) -> str:
        return "Only the prompt is checked."

    def look(self, photos: Sequence[Picture], **how: Any) -> list[Any]:
        raise BadInput("This studio has no eyes.")

    def save_person(self, user: str, name: str, photos: Sequence[Picture], *, consent: bool = False, **how: Any) -> Saved:
        if not consent:
            raise BadInput("A person is saved with consent only.")
        count = len(photos)
        tokens = torch.randn(16 * count, 8)
        marks = tuple(f"{number:012x}" for number in range(count))
        identity = Identity(tokens=tokens, null=tokens * 0, embeddings=torch.ones(count, 4), photos=marks, encoder="enc", adapter="maj0")
        thumbnail = png(Image.new("RGB", (8, 8), "red"))
        return self.library(user).add(name, Addition(identity=identity, adapter="small", thumbnail=thumbnail, consent="agreed"))

    def install_lora(self, path: Path, name: str = "") -> LoraFile:
        assert self.host.folders.loras is not None
        named = path.with_name(name or path.name)
        found = lora_file(path.rename(named))
        return replace(found, path=install(named, self.host.folders.loras))

    def user(self, request: Any) -> str:
        return NOBODY

    def send_to(self) -> tuple[str, ...]:
        return ()

    def settings(self, user: str = NOBODY) -> Settings:
        return self.kept

    def set_settings(self, settings: Settings, user: str = NOBODY) -> None:
        for name, why in self.fixed(user).items():
            if getattr(settings, name) != getattr(self.kept, name):
                raise NotAllowed(why)
        self.kept = settings
