"""Pictures of a person to order: look at the photos → safety → paint → score → keep the best, or go on until they are alike → history.

What is finished is in the history at once, whatever happens to the rest.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from facechain_ext.errors import Interrupted, OutOfMemory, PictureFailed, Skipped
from facechain_ext.log import log
from facechain_ext.store.records import Record
from facechain_ext.workflows import safety
from facechain_ext.workflows.infotext import NOTE, info_text, lora_name
from facechain_ext.workflows.likeness import ranked
from facechain_ext.workflows.orders import (
    ALL,
    AUTO,
    BEST,
    MOST_PHOTOS,
    MOST_PICTURES,
    MOST_TRIES,
    UNTIL,
    Again,
    Chosen,
    Known,
    MakingOptions,
    Order,
    Result,
    Room,
)  # fmt: skip
from facechain_ext.workflows.people import Picture
from facechain_ext.workflows.planning import TAG, WITHHELD, Plan, planned, skeleton_text, stated

if TYPE_CHECKING:
    from PIL import Image

    from facechain_ext.hosts.types import Painted, Progress, Report
    from facechain_ext.store.records import Entry

__all__ = [
    "ALL", "AUTO", "BEST", "MOST_PHOTOS", "MOST_PICTURES", "MOST_TRIES", "UNTIL", "Again", "Chosen", "Known", "MakingOptions", "Order",
    "Picture", "Result", "Room", "make",
]  # fmt: skip

NONE_ALIKE = "{reached} of {made} pictures reached a likeness of {until:.2f}: the most alike of them are kept."
CHOSEN_EARLY = "{made} of {total} pictures were finished before the stop: the most alike of them are kept."
NOT_SHOWN = "This picture is not shown: the check for nudity ({name}) objected to it, and only a blurred one is kept; try other words."
NOTHING_KEPT = "This picture is not shown: the check for nudity ({name}) objected to it, and nothing of it is kept, because {minor}."



def make(order: Order, room: Room, user: str, report: Report | None = None) -> Iterator[Known | Result | Chosen]:
    """Do what is ordered for a user, telling each thing as soon as it is so. `report` may raise Skipped or Interrupted between steps.

    Any FaceChainError; what was told before it is kept. Once interrupted, it chooses among what is finished before Interrupted is raised.
    """
    plan = planned(order, room, user)
    yield Known(
        judge=plan.who.judge.encoder, between=plan.who.judge.between, notes=plan.notes, minor=plan.rules.minor, seed=plan.request.seed,
        pictures=plan.total, photos=plan.who.identity.photos,
    )  # fmt: skip
    results: list[Result] = []
    stopped: Interrupted | None = None
    try:
        with closing(_results(plan, room, user, report)) as made:
            for result in made:
                results.append(result)
                yield result
                if _enough(plan, results):
                    break
    except Interrupted as stop:  # also thrown in where a result was told
        stopped = stop
    if results or stopped is None:
        yield _chosen(plan, room, user, results, stopped=stopped is not None)
    if stopped is not None:
        raise stopped


def _results(plan: Plan, room: Room, user: str, report: Report | None) -> Generator[Result, None, None]:
    """Picture after picture. What fails or is skipped is left out, a batch as a whole; the work ends where going on makes no sense."""
    done, failed, batch = 0, 0, plan.request.batch
    told = Told(report, plan)
    while done < plan.total:
        rest = replace(plan.request, seed=plan.request.seed + done, count=plan.total - done, batch=batch)
        try:
            with closing(room.host.paint(rest, told.since(done))) as painting:
                for painted in painting:
                    result = _kept(plan, room, user, painted, done + 1)
                    done, failed = done + 1, 0
                    yield result
        except Skipped:
            done += told.together
        except OutOfMemory as error:
            if batch > 1:
                log.warning("%s Going on with one picture at a time.", error)
                batch = 1
                continue
            done, failed = done + 1, failed + 1
            yield Result(number=done, seed=plan.request.seed + done - 1, kept=False, failed=str(error))
            if failed > 1 or done == failed:  # nothing went well before: the next one would not either
                raise
        except PictureFailed as error:
            done, failed = done + 1, failed + 1
            yield Result(number=done, seed=plan.request.seed + done - 1, kept=False, failed=str(error))
            if failed > 1:
                raise


class Told:
    """The host's progress as that of the whole order, without previews where one may not watch. together: pictures now painted at once."""

    def __init__(self, report: Report | None, plan: Plan) -> None:
        self._report, self._plan, self.together = report, plan, 1

    def since(self, first: int) -> Report | None:
        """For a request whose first picture has that number, from 0; None where nobody listens."""
        listener = self._report
        if listener is None:
            return None

        def report(at: Progress) -> None:
            self.together = at.together
            preview = at.preview if self._plan.rules.preview else None
            listener(replace(at, picture=at.picture + first, pictures=self._plan.total, preview=preview))

        return report


def _kept(plan: Plan, room: Room, user: str, painted: Painted, number: int) -> Result:
    """Check a finished picture, score it, and keep it in the history."""
    if plan.check is not None and plan.check.objects(painted.image, strict=_strict(plan, painted.image)):
        return _withheld(plan, room, user, painted, number, plan.check.name)
    score = plan.who.judge.score(painted.image)
    entry = _entered(plan, room, user, painted, painted.image, score)
    return Result(number=number, seed=painted.seed, entry=entry, likeness=score, note=painted.note)


def _strict(plan: Plan, picture: Image.Image) -> bool:
    """Whether to look strictly: the person is treated as under 18, or came out looking so."""
    analyser = plan.who.judge.analyser
    if plan.rules.minor or "attributes" not in analyser.capabilities:
        return bool(plan.rules.minor)
    return any(bool(safety.minor_because("", AUTO, analyser.attributes(picture, face))) for face in analyser.faces(picture))


def _withheld(plan: Plan, room: Room, user: str, painted: Painted, number: int, name: str) -> Result:
    if plan.rules.minor:
        return Result(number=number, seed=painted.seed, kept=False, withheld=NOTHING_KEPT.format(name=name, minor=plan.rules.minor))
    entry = _entered(plan, room, user, painted, safety.coarse(painted.image), None, withheld=name)
    return Result(number=number, seed=painted.seed, entry=entry, withheld=NOT_SHOWN.format(name=name))


def _entered(
    plan: Plan, room: Room, user: str, painted: Painted, shown: Image.Image, score: float | None, *, withheld: str = ""
) -> Entry:
    from facechain_ext.vision.pictures import save_png

    judge = plan.who.judge.encoder
    info = info_text(
        room.host, plan.request, {**stated(plan), WITHHELD: withheld}, plan.who.identity, seed=painted.seed, likeness=score,
        judge=judge,
    )  # fmt: skip
    record = Record(
        user=user, person=plan.who.name, style=plan.order.style, info=info, prompt=TAG.sub("", plan.request.prompt).strip(),
        seed=painted.seed, likeness=score, judge=judge,
        loras=tuple((lora_name(lora), lora.weight) for lora in plan.request.loras),
    )  # fmt: skip
    texts = {"parameters": info, "Comment": NOTE, **skeleton_text(plan)}
    return room.history().add(lambda path: save_png(shown, path, texts), record)


def _enough(plan: Plan, results: Sequence[Result]) -> bool:
    if plan.until is None:
        return False
    return len(_alike(results, plan.until)) >= plan.order.options.count


def _alike(results: Sequence[Result], until: float) -> list[Result]:
    return [one for one in results if one.likeness is not None and one.likeness >= until]


def _chosen(plan: Plan, room: Room, user: str, results: Sequence[Result], *, stopped: bool = False) -> Chosen:
    """All results, most alike first, those not to be seen last; those not chosen are set aside, in the history too."""
    options = plan.order.options
    order = sorted((results[at] for at in ranked([one.likeness for one in results])), key=lambda one: bool(one.failed or one.withheld))
    if options.choose == ALL:
        return Chosen(results=tuple(order))
    good = [one for one in order if one.entry is not None and not one.withheld]
    chosen = {one.number for one in good[: options.count]}
    aside = [one.entry.id for one in order if one.entry is not None and one.number not in chosen]
    moved = {entry.id: entry for entry in room.history().set_aside(user, aside)}
    results = [
        replace(one, kept=one.number in chosen, entry=moved.get(one.entry.id, one.entry) if one.entry else None) for one in order
    ]
    reached = len(_alike(results, plan.until)) if plan.until is not None else 0
    short = plan.until is not None and reached < options.count
    notes = [NONE_ALIKE.format(reached=reached, made=len(good), until=plan.until)] if short else []
    if stopped:
        notes.append(CHOSEN_EARLY.format(made=len(good), total=plan.total))
    return Chosen(results=tuple(results), notes=tuple(notes))
