"""Jobs: orders done one after the other in a worker thread, watched from the page or over REST, which may come and go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from facechain_ext.errors import BadInput
from facechain_ext.workflows.making import Order, Result, Room

if TYPE_CHECKING:
    from PIL import Image

Phase = Literal["waiting", "looking", "painting", "choosing", "done", "stopped", "failed"]
OVER: frozenset[Phase] = frozenset({"done", "stopped", "failed"})


@dataclass(frozen=True, kw_only=True)
class State:
    """Where a job is. version counts its changes; ahead: jobs that come first while it waits.

    picture of pictures (from 1; 0 before the first), step of steps of that picture; seconds_left: None while it cannot be told;
    results: in the order of making, after choosing most alike first; between, judge: as in making.Known; notes: sentences;
    error: a sentence, or "".
    """

    id: str
    user: str
    order: Order
    version: int = 0
    phase: Phase = "waiting"
    ahead: int = 0
    picture: int = 0
    pictures: int = 0
    step: int = 0
    steps: int = 0
    seconds_left: float | None = None
    preview: Image.Image | None = None
    results: tuple[Result, ...] = ()
    between: tuple[float, float] | None = None
    judge: str = ""
    minor: str = ""
    notes: tuple[str, ...] = ()
    error: str = ""

    @property
    def over(self) -> bool:
        """Nothing will change any more."""
        return self.phase in OVER


class Jobs:
    """The jobs of one studio. Every method may be called from any thread; a job of another user is as good as none (BadInput)."""

    def __init__(self, room: Room, *, keep: int = 20) -> None:
        """keep: how many jobs that are over stay to be asked for."""
        self._room, self._keep = room, keep

    def start(self, user: str, order: Order) -> str:
        """Put an order into the queue and return the job's id. BadInput where the user has too many waiting."""
        raise BadInput("Jobs are not there yet.")

    def state(self, user: str, id: str) -> State:
        """Where the job is."""
        raise BadInput(f"There is no job {id}: it is too old, or the program was started anew.")

    def wait(self, user: str, id: str, version: int, timeout: float) -> State:
        """The state once it is newer than `version`, or after `timeout` seconds whatever it is."""
        return self.state(user, id)

    def stop(self, user: str, id: str) -> State:
        """End the job between two steps; what is finished is kept. One that waits is not begun."""
        return self.state(user, id)

    def skip(self, user: str, id: str) -> State:
        """Leave out the picture that is being painted."""
        return self.state(user, id)

    def current(self, user: str) -> str | None:
        """The user's job that is being done, else the next that waits, else the last one; None where there is none."""
        return None
