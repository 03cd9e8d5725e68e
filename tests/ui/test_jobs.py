"""Jobs: one after the other, watched from outside, stopped and skipped between steps, and nothing finished is lost."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from facechain_ext.errors import BadInput, Interrupted, OutOfMemory, Skipped
from facechain_ext.hosts.types import Progress
from facechain_ext.ui.jobs import Jobs, Pace, State
from facechain_ext.workflows.making import Chosen, Known, MakingOptions, Order, Result
from tests.fakes.room import flat, photo

PATIENCE = 20.0


class Script:
    """In place of workflows.making.make: does what the test puts into its queue, one thing after the other."""

    def __init__(self) -> None:
        self.lines: queue.Queue[Any] = queue.Queue()
        self.begun: list[str] = []
        self.threads: set[int] = set()
        self.skipped: list[Progress] = []
        self.stopped = False
        self.last: Chosen | None = None  # what is told after an interruption

    def __call__(self, order: Order, room: Any, user: str, report: Callable[[Progress], None]) -> Iterator[Any]:
        assert room == "the room"
        self.begun.append(user)
        self.threads.add(threading.get_ident())
        while True:
            line = self.lines.get(timeout=PATIENCE)
            if line is None:
                return
            if isinstance(line, Exception):
                raise line
            if isinstance(line, Progress):
                try:
                    report(line)
                except Skipped:
                    self.skipped.append(line)
                except Interrupted:
                    self.stopped = True
                    raise
            else:
                try:
                    yield line
                except Interrupted:
                    self.stopped = True
                    if self.last is not None:
                        yield self.last
                    raise


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def jobs(script: Script) -> Jobs:
    return Jobs("the room", keep=3, make=script)  # type: ignore[arg-type]


ORDER = Order(options=MakingOptions(prompt="x"), photos=(photo(),))
KNOWN = Known(judge="eyes", between=(0.5, 0.7), notes=("Blurred.",), pictures=4)
RESULTS = tuple(Result(number=n, seed=n, likeness=n / 10) for n in range(1, 5))


def at(picture: int, step: int, **more: Any) -> Progress:
    return Progress(picture=picture, pictures=4, step=step, steps=2, **more)


def until(jobs: Jobs, user: str, id: str, fits: Callable[[State], bool]) -> State:
    """The first state that fits; the test fails where none comes."""
    state = jobs.state(user, id)
    while not fits(state):
        later = jobs.wait(user, id, state.version, PATIENCE)
        assert later.version > state.version, f"nothing came after {state}"
        state = later
    return state


def over(jobs: Jobs, user: str, id: str) -> State:
    return until(jobs, user, id, lambda state: state.over)


def test_a_job_tells_where_it_is_to_its_end(jobs, script) -> None:
    id = jobs.start("anna", ORDER)
    assert until(jobs, "anna", id, lambda s: s.phase == "looking").order == ORDER
    script.lines.put(KNOWN)
    state = until(jobs, "anna", id, lambda s: s.phase == "painting")
    assert (state.judge, state.between, state.notes, state.pictures) == ("eyes", (0.5, 0.7), ("Blurred.",), 4)
    script.lines.put(at(0, 1, preview=flat((9, 9, 9))))
    state = until(jobs, "anna", id, lambda s: s.step == 1)
    assert (state.picture, state.pictures, state.steps, state.preview is not None) == (1, 4, 2, True)
    script.lines.put(at(0, 2))
    assert until(jobs, "anna", id, lambda s: s.step == 2).preview is not None, "the last preview stays while there is no newer one"
    script.lines.put(RESULTS[0])
    state = until(jobs, "anna", id, lambda s: len(s.results) == 1)
    assert state.results == RESULTS[:1] and state.preview is None
    script.lines.put(at(1, 1))
    assert until(jobs, "anna", id, lambda s: s.picture == 2).preview is None, "never the preview of another picture"
    script.lines.put(Chosen(results=RESULTS[:1], notes=("Few.",)))
    script.lines.put(None)
    state = over(jobs, "anna", id)
    assert (state.phase, state.results, state.notes, state.error) == ("done", RESULTS[:1], ("Blurred.", "Few."), "")
    assert threading.get_ident() not in script.threads


def test_jobs_wait_their_turn_and_say_how_many_come_first(jobs, script) -> None:
    first, second, third = (jobs.start(user, ORDER) for user in ("anna", "max", "anna"))
    until(jobs, "anna", first, lambda s: s.phase == "looking")
    assert (jobs.state("max", second).ahead, jobs.state("anna", third).ahead) == (1, 2)
    assert jobs.current("anna") == first and jobs.current("max") == second and jobs.current("eve") is None
    script.lines.put(None)
    over(jobs, "anna", first)
    assert until(jobs, "anna", third, lambda s: s.ahead == 1).phase == "waiting"
    assert jobs.current("anna") == third, "what waits is nearer than what is over"
    jobs.stop("anna", third)
    script.lines.put(None)
    over(jobs, "max", second)
    assert script.begun == ["anna", "max"] and jobs.state("anna", third).phase == "stopped"
    assert len(script.threads) == 1


def test_a_job_is_nobody_elses(jobs, script) -> None:
    id = jobs.start("anna", ORDER)
    for ask in (jobs.state, jobs.stop, jobs.skip, lambda user, id: jobs.wait(user, id, 0, 0.01)):
        with pytest.raises(BadInput, match="There is no job"):
            ask("max", id)
    script.lines.put(None)
    over(jobs, "anna", id)


def test_stop_comes_between_two_steps_and_keeps_what_is_finished(jobs, script) -> None:
    id = jobs.start("anna", ORDER)
    for line in (KNOWN, at(0, 1), at(0, 2), RESULTS[0]):
        script.lines.put(line)
    until(jobs, "anna", id, lambda s: len(s.results) == 1)
    jobs.stop("anna", id)
    script.lines.put(at(1, 1))
    state = over(jobs, "anna", id)
    assert (state.phase, state.results, state.error) == ("stopped", RESULTS[:1], "") and "what was finished is kept" in state.notes[-1]
    assert script.stopped


def test_stop_while_the_photos_are_looked_at_begins_nothing(jobs, script) -> None:
    id = jobs.start("anna", ORDER)
    until(jobs, "anna", id, lambda s: s.phase == "looking")
    jobs.stop("anna", id)
    script.lines.put(KNOWN)
    assert over(jobs, "anna", id).phase == "stopped"


def test_skip_leaves_out_the_picture_in_work_once(jobs, script) -> None:
    id = jobs.start("anna", ORDER)
    jobs.skip("anna", id)
    script.lines.put(KNOWN)
    until(jobs, "anna", id, lambda s: s.phase == "painting")
    script.lines.put(at(0, 1))
    until(jobs, "anna", id, lambda s: s.step == 1)
    jobs.skip("anna", id)
    for line in (at(0, 2), at(1, 1), at(1, 2), None):
        script.lines.put(line)
    assert over(jobs, "anna", id).phase == "done"
    assert [(one.picture, one.step) for one in script.skipped] == [(0, 2)]


def test_a_skip_that_comes_too_late_does_not_take_the_next_picture(jobs, script) -> None:
    id = jobs.start("anna", ORDER)
    for line in (KNOWN, at(0, 1), at(0, 2), RESULTS[0]):
        script.lines.put(line)
    until(jobs, "anna", id, lambda s: len(s.results) == 1)
    jobs.skip("anna", id)
    for line in (at(1, 1), at(1, 2), RESULTS[1], None):
        script.lines.put(line)
    assert len(over(jobs, "anna", id).results) == 2 and script.skipped == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OutOfMemory("The memory does not suffice: choose a smaller size."), "The memory does not suffice: choose a smaller size."),
        (ValueError("odd\nand more"), "Something unforeseen went wrong (ValueError: odd): try again; the log tells more."),
        (RuntimeError("CUDA out of memory. Tried"), "The memory does not suffice: choose a smaller size, one picture at a time"),
    ],
)
def test_whatever_goes_wrong_is_a_sentence_and_the_next_job_is_done(jobs, script, error, said, caplog) -> None:
    bad, good = jobs.start("anna", ORDER), jobs.start("anna", ORDER)
    for line in (KNOWN, RESULTS[0], error, None):
        script.lines.put(line)
    state = over(jobs, "anna", bad)
    assert state.phase == "failed" and state.error.startswith(said) and state.results == RESULTS[:1]
    assert over(jobs, "anna", good).phase == "done"
    assert bool([one for one in caplog.records if one.exc_info]) == (type(error) in (ValueError, RuntimeError))


def test_only_the_last_jobs_are_kept_and_photos_of_the_very_last(jobs, script) -> None:
    ids = []
    for _ in range(6):
        ids.append(jobs.start("anna", ORDER))
        script.lines.put(None)
        over(jobs, "anna", ids[-1])
    jobs.start("anna", ORDER)
    for id in ids[:3]:
        with pytest.raises(BadInput, match="too old"):
            jobs.state("anna", id)
    assert [bool(jobs.state("anna", id).order.photos[0].data) for id in ids[3:]] == [True, True, True]
    script.lines.put(None)


def test_photos_of_older_jobs_are_let_go(script) -> None:
    jobs = Jobs("the room", keep=20, make=script)  # type: ignore[arg-type]
    ids = []
    for _ in range(5):
        ids.append(jobs.start("anna", ORDER))
        script.lines.put(None)
        over(jobs, "anna", ids[-1])
    jobs.start("anna", ORDER)
    assert [bool(jobs.state("anna", id).order.photos[0].data) for id in ids] == [False, False, True, True, True]
    script.lines.put(None)


def test_photos_of_the_last_jobs_are_found_again_by_their_user_alone(jobs, script) -> None:
    id = jobs.start("anna", ORDER)
    for line in (Known(judge="eyes", between=None, photos=("abc",)), None):
        script.lines.put(line)
    assert over(jobs, "anna", id).photos == ("abc",)
    assert jobs.photos("anna", ("abc",)) == ORDER.photos
    assert jobs.photos("max", ("abc",)) == jobs.photos("anna", ("abd",)) == jobs.photos("anna", ()) == ()


def test_nobody_fills_the_queue(jobs, script) -> None:
    ids = [jobs.start("anna", ORDER) for _ in range(8)]
    until(jobs, "anna", ids[0], lambda s: s.phase == "looking")
    last = jobs.start("anna", ORDER)
    with pytest.raises(BadInput, match="8 of your jobs are waiting"):
        jobs.start("anna", ORDER)
    other = jobs.start("max", ORDER)
    for user, id in [("anna", one) for one in (*ids, last)] + [("max", other)]:
        jobs.stop(user, id)
    script.lines.put(KNOWN)
    assert over(jobs, "anna", ids[0]).phase == "stopped"


def test_waiting_ends_after_its_time(jobs, script) -> None:
    id = jobs.start("anna", ORDER)
    state = until(jobs, "anna", id, lambda s: s.phase == "looking")
    assert jobs.wait("anna", id, state.version, 0.01) == state
    script.lines.put(None)
    over(jobs, "anna", id)


def test_seconds_left_are_reckoned_from_the_steps_seen() -> None:
    now = iter((100.0, 102.0, 104.0, 110.0, 110.0))
    pace = Pace(lambda: next(now))
    assert pace.left(at(0, 1)) is None, "one step tells no pace"
    assert pace.left(at(0, 2)) == 2.0 * 6
    assert pace.left(at(1, 1)) == 2.0 * 5
    assert pace.left(at(2, 1)) == pytest.approx(10.0), "three steps in ten seconds; what lies between pictures counts in"
    assert pace.left(at(3, 2)) == 0
