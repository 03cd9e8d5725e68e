"""Jobs: orders done one after the other in a worker thread, watched from the page or over REST, which may come and go."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from facechain_ext.errors import BadInput, FaceChainError, Interrupted, Skipped
from facechain_ext.hosts.types import Progress
from facechain_ext.log import log
from facechain_ext.workflows.orders import Chosen, Known, Order, Result, Room

if TYPE_CHECKING:
    from PIL import Image

    from facechain_ext.workflows.people import Picture

Phase = Literal["waiting", "looking", "painting", "choosing", "done", "stopped", "failed"]
OVER: frozenset[Phase] = frozenset({"done", "stopped", "failed"})
MOST_WAITING = 8
"""Jobs of one user in the queue."""
WITH_PHOTOS = 3
"""Jobs of one user that are over and still hold the photos they were given."""
STOPPED = "Stopped; what was finished is kept."


@dataclass(frozen=True, kw_only=True)
class State:
    """Where a job is. version counts its changes; ahead: jobs that come first while it waits.

    picture of pictures (from 1; 0 before the first), step of steps of that picture; seconds_left: None while it cannot be told;
    results: in the order of making, after choosing most alike first; between, judge, minor, photos: as in making.Known; notes: sentences;
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
    photos: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    error: str = ""

    @property
    def over(self) -> bool:
        """Nothing will change any more."""
        return self.phase in OVER


class Pace:
    """How long a step takes, from those that were seen; what lies between pictures counts in."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began: float | None = None
        self._steps = 0
        self._last = (0, 0)

    def left(self, progress: Progress) -> float | None:
        """Seconds to the end of all pictures, None before the second step."""
        now, place = self._clock(), (progress.picture, progress.step)
        if self._began is None:
            self._began = now
        else:
            same = place[0] == self._last[0]
            self._steps += max(place[1] - self._last[1], 0) if same else place[1]
        self._last = place
        if self._steps == 0:
            return None
        remaining = (progress.pictures - progress.picture) * progress.steps - progress.step
        return (now - self._began) / self._steps * max(remaining, 0)


@dataclass
class _Job:
    """A job and what was asked of it."""

    state: State
    stop: bool = False
    skip: int = 0  # the number of the picture to leave out
    pace: Pace = field(default_factory=lambda: Pace(time.monotonic))


Make = Callable[[Order, Room, str, "Callable[[Progress], None]"], Any]


def make(order: Order, room: Room, user: str, report: Callable[[Progress], None]) -> Any:
    """The work itself, loaded with the first job: a WebUI that starts should not wait for it."""
    from facechain_ext.workflows import making

    return making.make(order, room, user, report)


class Jobs:
    """The jobs of one studio. Every method may be called from any thread; a job of another user is as good as none (BadInput)."""

    def __init__(self, room: Room, *, keep: int = 20, make: Make = make) -> None:
        """keep: how many jobs that are over stay to be asked for."""
        self._room, self._keep, self._make = room, keep, make
        self._changed = threading.Condition()
        self._jobs: dict[str, _Job] = {}  # in the order of starting
        self._worker: threading.Thread | None = None

    def start(self, user: str, order: Order) -> str:
        """Put an order into the queue and return the job's id. BadInput where the user has too many waiting."""
        with self._changed:
            waiting = [job for job in self._jobs.values() if job.state.user == user and job.state.phase == "waiting"]
            if len(waiting) >= MOST_WAITING:
                raise BadInput(f"{len(waiting)} of your jobs are waiting already: let some of them finish, or stop them.")
            id = secrets.token_hex(8)
            ahead = sum(not job.state.over for job in self._jobs.values())
            self._jobs[id] = _Job(state=State(id=id, user=user, order=order, ahead=ahead))
            self._forget()
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="facechain-jobs", daemon=True)
                self._worker.start()
            self._changed.notify_all()
            return id

    def state(self, user: str, id: str) -> State:
        """Where the job is."""
        with self._changed:
            return self._of(user, id).state

    def wait(self, user: str, id: str, version: int, timeout: float) -> State:
        """The state once it is newer than `version`, or after `timeout` seconds whatever it is."""
        with self._changed:
            self._changed.wait_for(lambda: self._of(user, id).state.version > version, timeout)
            return self._of(user, id).state

    def stop(self, user: str, id: str) -> State:
        """End the job between two steps; what is finished is kept. One that waits is not begun."""
        with self._changed:
            job = self._of(user, id)
            job.stop = True
            if job.state.phase == "waiting":
                self._set(job, phase="stopped", notes=(STOPPED,))
            return job.state

    def skip(self, user: str, id: str) -> State:
        """Leave out the picture that is being painted; one that was finished meanwhile stays, and the next is not taken for it."""
        with self._changed:
            job = self._of(user, id)
            job.skip = job.state.picture if job.state.phase == "painting" else 0
            return job.state

    def current(self, user: str) -> str | None:
        """The user's job that is being done, else the next that waits, else the last one; None where there is none."""
        with self._changed:
            mine = [job.state for job in self._jobs.values() if job.state.user == user]
            busy = [one for one in mine if one.phase not in OVER and one.phase != "waiting"]
            waiting = [one for one in mine if one.phase == "waiting"]
            found = (busy or waiting or mine[-1:])[:1]
            return found[0].id if found else None

    def photos(self, user: str, hashes: tuple[str, ...]) -> tuple[Picture, ...]:
        """The photos of these hashes (as in an info text) from one of the user's last jobs; none where they are gone."""
        with self._changed:
            states = [job.state for job in self._jobs.values() if job.state.user == user and hashes and job.state.photos == hashes]
        return next((one.order.photos for one in reversed(states) if all(photo.data for photo in one.order.photos)), ())

    def _of(self, user: str, id: str) -> _Job:
        job = self._jobs.get(id)
        if job is None or job.state.user != user:
            raise BadInput(f"There is no job {id}: it is too old, or the program was started anew.")
        return job

    def _forget(self) -> None:
        """Let old jobs go, and the photos of all but the last few: they are the heaviest, and somebody's face."""
        over = [id for id, job in self._jobs.items() if job.state.over]
        for id in over[: max(len(over) - self._keep, 0)]:
            del self._jobs[id]
        for job in self._too_old_for_photos():
            bare = tuple(replace(photo, data=b"") for photo in job.state.order.photos)
            job.state = replace(job.state, order=replace(job.state.order, photos=bare, pose=None))

    def _too_old_for_photos(self) -> list[_Job]:
        """Of each user's jobs that are over, all but the last few."""
        mine: dict[str, list[_Job]] = {}
        for job in self._jobs.values():
            if job.state.over:
                mine.setdefault(job.state.user, []).append(job)
        return [job for jobs in mine.values() for job in jobs[:-WITH_PHOTOS]]

    def _set(self, job: _Job, **values: Any) -> None:
        """Change a job's state; with the lock held."""
        job.state = replace(job.state, version=job.state.version + 1, **values)
        if job.state.over or "phase" in values:
            waiting = [one for one in self._jobs.values() if one.state.phase == "waiting"]
            busy = sum(not one.state.over and one.state.phase != "waiting" for one in self._jobs.values())
            for place, one in enumerate(waiting):
                if one.state.ahead != place + busy:
                    one.state = replace(one.state, version=one.state.version + 1, ahead=place + busy)
        self._changed.notify_all()

    def _change(self, job: _Job, **values: Any) -> None:
        with self._changed:
            self._set(job, **values)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._next() is not None)
                job = self._next()
                if job is None:
                    continue
                self._set(job, phase="looking", ahead=0)
            self._do(job)

    def _next(self) -> _Job | None:
        return next((job for job in self._jobs.values() if job.state.phase == "waiting"), None)

    def _do(self, job: _Job) -> None:
        """Do a job to its end, whatever comes; what was finished stays among its results."""
        try:
            events = self._make(job.state.order, self._room, job.state.user, lambda progress: self._report(job, progress))
            event = next(events, None)
            while event is not None:
                self._take(job, event)
                stop = job.stop and not isinstance(event, Chosen)
                event = events.throw(Interrupted(STOPPED)) if stop else next(events, None)  # thrown in, for it may still have to choose
            self._end(job, "done")
        except Interrupted:
            self._end(job, "stopped", notes=(*job.state.notes, STOPPED))
        except FaceChainError as error:
            log.warning("A job ended: %s", error)
            self._end(job, "failed", error=str(error))
        except Exception as error:  # noqa: BLE001  # the edge: nobody else would tell the person
            log.exception("A job ended unexpectedly.")
            self._end(job, "failed", error=unexpected(error))

    def _end(self, job: _Job, phase: Phase, **values: Any) -> None:
        self._change(job, phase=phase, preview=None, seconds_left=None, **values)

    def _take(self, job: _Job, event: Known | Result | Chosen) -> None:
        """Take what the work tells into the state."""
        state = job.state
        if isinstance(event, Known):
            values = {name: getattr(event, name) for name in ("judge", "between", "minor", "photos", "notes")}
            self._change(job, phase="painting", pictures=event.pictures, **values)
        elif isinstance(event, Result):
            self._change(job, results=(*state.results, event), preview=None)
        else:
            self._change(job, phase="choosing", results=event.results, notes=(*state.notes, *event.notes))

    def _report(self, job: _Job, progress: Progress) -> None:
        """What the host tells after each step."""
        self._change(
            job, picture=progress.picture + 1, pictures=progress.pictures, step=progress.step, steps=progress.steps,
            seconds_left=job.pace.left(progress), preview=progress.preview or self._preview(job, progress),
        )  # fmt: skip
        if job.stop:
            raise Interrupted(STOPPED)
        if job.skip == progress.picture + 1:
            job.skip = 0
            raise Skipped("Skipped.")

    def _preview(self, job: _Job, progress: Progress) -> Image.Image | None:
        """The last preview, as long as it is of this picture."""
        return job.state.preview if job.state.picture == progress.picture + 1 else None


def unexpected(error: Exception) -> str:
    """A sentence for an error that nobody foresaw."""
    if type(error).__name__ == "OutOfMemoryError" or "out of memory" in str(error):
        return "The memory does not suffice: choose a smaller size, one picture at a time, or close other programs."
    reason = (str(error).strip().splitlines() or [""])[0][:200]
    return f"Something unforeseen went wrong ({type(error).__name__}: {reason}): try again; the log tells more."
