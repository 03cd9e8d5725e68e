"""The studio: everything the tab and the REST paths need, whichever host is below. Made by studio_alone or studio_webui."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from facechain_ext.options import check, option
from facechain_ext.store.names import NOBODY
from facechain_ext.ui.door import Door
from facechain_ext.ui.readiness import Ready
from facechain_ext.workflows.orders import AUTO, MakingOptions, Room
from facechain_ext.workflows.people import Picture

if TYPE_CHECKING:
    from facechain_ext.store.library import Saved
    from facechain_ext.ui.jobs import Jobs
    from facechain_ext.workflows.looking import Seen
    from facechain_ext.workflows.lora_files import LoraFile

__all__ = ["Ready", "Settings", "Studio"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The tab's own settings: a section of the host's in a WebUI, settings.json standalone."""

    language: str = option(AUTO, label="Language", help="auto follows the browser, or the WebUI's localization", choices=(AUTO, "en", "zh"))
    check: bool = option(
        True,
        label="Check pictures for nudity",
        technical="NSFW",
        help="what is found is blurred; pictures of people who look under 18 are always checked, more strictly",
    )
    adapter: str = option(AUTO, label="Adapter", help="the adapter that auto means: a file name, or auto for the first")
    analyser: str = option(AUTO, label="Face analysis", help="what looks at photos: auto takes the best that is installed")
    outputs: str = option("", label="Folder for results", help="where the history lies; empty: the usual place, see What is here")
    steps: int = option(30, label="Steps", help="what the Portrait page begins with", minimum=1, maximum=150)
    sampler: str = option("DPM++ 2M Karras", label="Sampler", help="what the Portrait page begins with")
    weight: float = option(0.5, label="Likeness", help="what the Portrait page begins with", minimum=0, maximum=2, step=0.05)

    def __post_init__(self) -> None:
        check(self)


PERSONAL = ("language", "steps", "sampler", "weight")
"""The settings that are a matter of taste; the others are the installation's."""


class Studio(Room, Protocol):
    """What a page can do. Every method may be called from any thread; any FaceChainError."""

    jobs: Jobs
    door: Door

    @property
    def kind(self) -> Literal["standalone", "a1111", "forge"]:
        """Where the page is shown."""
        ...

    def analysers(self) -> tuple[str, ...]:
        """Face analyses that can be used here, auto first."""
        ...

    def defaults(self, user: str = NOBODY) -> MakingOptions:
        """What a user's page begins with: the settings', in the size the checkpoint was made for."""
        ...

    def readiness(self, user: str) -> tuple[Ready, ...]:
        """What is there and what is missing, for the first visit, as `told` to this user. Loads no model."""
        ...

    def told(self, text: str, user: str) -> str:
        """A sentence as this user may read it: where things lie on the machine is for whom it belongs to."""
        ...

    def look(self, photos: Sequence[Picture], *, adapter: str = AUTO, analyser: str = AUTO, face: int = 0) -> list[Seen]:
        """Vet photos: one report and thumbnail each."""
        ...

    def save_person(
        self, user: str, name: str, photos: Sequence[Picture], *, adapter: str = AUTO, analyser: str = AUTO, face: int = 0,
        consent: bool = False, keep_photos: bool = False, replace: bool = False,
    ) -> Saved:  # fmt: skip
        """Add a person to the user's library. BadInput without consent."""
        ...

    def demo_person(self) -> tuple[Picture, ...]:
        """Photos of the person to try things with; none where there is nobody."""
        ...

    def install_lora(self, path: Path, name: str = "") -> LoraFile:
        """Copy a LoRA into the host's folder after checking it, under its own name or the given one; the list is fresh afterwards."""
        ...

    def safety(self) -> str:
        """Which check is at work, in a sentence."""
        ...

    def user(self, request: Any) -> str:
        """Whose page it is, from gradio's or fastapi's request (None: nobody's in particular)."""
        ...

    def send_to(self) -> tuple[str, ...]:
        """The host's tabs that a picture can be sent to: txt2img, img2img, inpaint, extras; none standalone."""
        ...

    def settings(self, user: str = NOBODY) -> Settings:
        """The settings as they are for this user."""
        ...

    def fixed(self, user: str) -> Mapping[str, str]:
        """The settings that this user cannot change, by name, each with the sentence why."""
        ...

    def set_settings(self, settings: Settings, user: str = NOBODY) -> None:
        """Keep these settings. CannotWrite; NotAllowed where one of them is fixed and another than before."""
        ...
