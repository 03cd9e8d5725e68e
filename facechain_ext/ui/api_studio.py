"""The tab over REST: orders and jobs, styles, LoRAs, people and history under /facechain/v1/ (docs/api.md), whichever host is below.

Bodies are plain JSON objects checked by hand, files are raw bodies: A1111 ships pydantic 1 and a FastAPI of that time.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, Response
from fastapi.routing import APIRoute

from facechain_ext import __version__
from facechain_ext.errors import BadInput, BadWeights, FaceChainError, NotAllowed
from facechain_ext.options import from_mapping, to_mapping
from facechain_ext.store.names import NOBODY
from facechain_ext.store.records import Wanted
from facechain_ext.ui.api_json import checked, person_json, seen_json, style_json
from facechain_ext.ui.api_order import again_json, entry_json, order_of, pictures_of, schema, state_json
from facechain_ext.ui.jobs import State
from facechain_ext.ui.studio import Settings, Studio
from facechain_ext.workflows.lora_files import hashes
from facechain_ext.workflows.own_styles import own_style

PREFIX = "/facechain/v1"
LARGEST_UPLOAD = 2_000_000_000
LARGEST_BODY = 100_000_000
"""Bytes of a JSON body: six photos and a pose of ten megabytes each, as base64."""
FILE_TYPE, JSON_TYPE = "application/octet-stream", "application/json"
JSON_OBJECT = {"required": True, "content": {JSON_TYPE: {"schema": {"type": "object"}}}}
MOST_ENTRIES = 500
PATIENCE = 0.2
"""Seconds between two looks at a job that is waited for. Meanwhile nothing is held but the connection: no thread."""

Route = Callable[..., Any]


def add_routes(app: FastAPI, studio: Studio, allowed: Callable[..., Any]) -> None:
    """Add the routes that the app does not have yet.

    allowed: a FastAPI dependency that refuses strangers and returns the user's name ("" or None: the page has no log-in).
    """
    there = {(method, getattr(route, "path", "")) for route in app.routes for method in getattr(route, "methods", None) or ()}
    for method, path, answer in ROUTES:
        if (method, PREFIX + path) not in there:
            route = bound(answer, studio, allowed)
            more = {"requestBody": JSON_OBJECT} if _takes(route, json_body) else None
            made = Bounded(PREFIX + path, route, methods=[method], tags=["FaceChain"], response_model=None, openapi_extra=more)
            app.router.routes.append(made)


class Bounded(APIRoute):
    """A route that reads a body up to a limit only; 413 and a sentence beyond it. The larger limit is for routes that take a file.

    Bodies are read by dependencies that stand behind the log-in: what FastAPI reads itself, it reads before.
    """

    def get_route_handler(self) -> Callable[..., Any]:
        """The handler, with a body that is counted as it comes."""
        handle = super().get_route_handler()
        file = _takes(self.endpoint, uploaded)

        async def bounded(request: Request) -> Any:
            largest = LARGEST_UPLOAD if file else LARGEST_BODY
            stated = request.headers.get("content-length", "")
            if stated.isdigit() and int(stated) > largest:
                raise too_large(largest)
            return await handle(Request(request.scope, _counted(request.receive, largest)))

        return bounded


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip()


def _takes(route: Route, reader: Callable[..., Any]) -> bool:
    return any(getattr(one.default, "dependency", None) is reader for one in inspect.signature(route).parameters.values())


def too_large(largest: int) -> HTTPException:
    """The refusal of a body of more bytes than that."""
    text = f"This request is larger than {largest // 10**6} MB: send fewer or smaller photos, or a smaller file."
    return HTTPException(status_code=413, detail=text)


def _counted(receive: Callable[[], Any], largest: int) -> Callable[[], Any]:
    """An ASGI `receive` that ends once more than so many bytes came, whatever was announced."""
    size = 0

    async def counted() -> Any:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > largest:
            raise too_large(largest)
        return message

    return counted


def bound(answer: Route, studio: Studio, allowed: Callable[..., Any]) -> Route:
    """A route of this studio whose first parameters, studio and user, are given; refusals become a sentence, with 422, or 403."""

    async def route(given_user: Any, **given: Any) -> Any:
        user = str(given_user or "") or NOBODY
        try:
            if inspect.iscoroutinefunction(answer):
                return await answer(studio, user, **given)
            return await run_in_threadpool(functools.partial(answer, studio, user, **given))
        except FaceChainError as error:
            status = 403 if isinstance(error, NotAllowed) else 422
            raise HTTPException(status_code=status, detail=studio.told(str(error), user)) from error

    _studio, _user, *rest = inspect.signature(answer, eval_str=True).parameters.values()
    user = inspect.Parameter("given_user", inspect.Parameter.KEYWORD_ONLY, default=Depends(allowed))
    named = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in rest]
    route.__signature__ = inspect.Signature([user, *named])
    route.__name__, route.__doc__ = answer.__name__, answer.__doc__
    return route


async def json_body(request: Request) -> dict[str, Any]:
    """The body, a JSON object."""
    if _kind(request) != JSON_TYPE:
        raise HTTPException(status_code=422, detail=f"Send a JSON object as the body, with the header Content-Type: {JSON_TYPE}.")
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise HTTPException(status_code=422, detail=f"The body is no JSON ({error}): mend it.") from error
    if not isinstance(body, dict):
        raise HTTPException(status_code=422, detail="The body must be a JSON object, {…}: see docs/api.md.")
    return body


async def uploaded(request: Request, name: str = Query("upload")) -> AsyncIterator[Path]:
    """The raw body as a file of the given name, gone after the request."""
    if _kind(request) != FILE_TYPE:
        raise HTTPException(status_code=422, detail=f"Send the file itself as the body, with the header Content-Type: {FILE_TYPE}.")
    with tempfile.TemporaryDirectory(prefix="facechain-") as folder:
        target = Path(folder) / (Path(name.replace("\\", "/")).name or "upload")
        try:
            with open(target, "wb") as file:
                async for block in request.stream():
                    file.write(block)
        except (OSError, ValueError) as error:
            raise HTTPException(status_code=422, detail="The file cannot be kept under this name: send it under another.") from error
        yield target


# Orders and jobs.


def version(studio: Studio, _user: str) -> dict[str, Any]:
    """Which FaceChain this is, and where it runs."""
    return {"version": __version__, "api": 1, "host": studio.kind, "checkpoint": studio.host.checkpoint()}


def portrait_schema(_studio: Studio, _user: str) -> dict[str, Any]:
    """The JSON Schema of POST /portrait."""
    return schema()


async def portrait(studio: Studio, user: str, body: dict = Depends(json_body)) -> dict[str, Any]:  # noqa: B008
    """Order pictures; with `wait`, answer when they are made or the time is over."""
    order, wait = await run_in_threadpool(order_of, body)
    id = studio.jobs.start(user, order)
    return await _told(studio, await _waited(studio, user, id, wait), pictures=wait > 0)


async def _waited(studio: Studio, user: str, id: str, seconds: float, than: int | None = None) -> State:
    """The job when it is over (or newer than a version), or after so many seconds whatever it is."""
    end = time.monotonic() + seconds
    state = studio.jobs.state(user, id)
    while not state.over and (than is None or state.version <= than) and (left := end - time.monotonic()) > 0:
        await asyncio.sleep(min(left, PATIENCE))
        state = studio.jobs.state(user, id)
    return state


async def _told(studio: Studio, state: State, **more: bool) -> dict[str, Any]:
    """A job as its user may read it; pictures are read from their files, which takes a while."""
    readable = replace(state, error=studio.told(state.error, state.user))
    return await run_in_threadpool(functools.partial(state_json, readable, **more))


async def current_job(studio: Studio, user: str) -> dict[str, Any]:
    """The user's job that is being done, or the last one."""
    id = studio.jobs.current(user)
    return {"job": None if id is None else await _told(studio, studio.jobs.state(user, id))}


async def job(
    studio: Studio, user: str, id: str, wait: float = Query(0, ge=0, le=600), than: int | None = Query(None), preview: bool = Query(False),
    pictures: bool = Query(False),
) -> dict[str, Any]:  # fmt: skip
    """Where a job is. wait: seconds until its end, or until its version is above `than`; preview, pictures: as base64 too."""
    return await _told(studio, await _waited(studio, user, id, wait, than), preview=preview, pictures=pictures)


def stop_job(studio: Studio, user: str, id: str) -> dict[str, Any]:
    """End a job between two steps; what is finished is kept."""
    return state_json(studio.jobs.stop(user, id))


def skip_picture(studio: Studio, user: str, id: str) -> dict[str, Any]:
    """Leave out the picture that is being made."""
    return state_json(studio.jobs.skip(user, id))


def ready(studio: Studio, user: str) -> dict[str, Any]:
    """What is there and what is missing, the lists to choose from, and which check is at work."""
    names = ("name", "there", "needed", "sentence", "advice")
    return {
        "ready": [{name: getattr(one, name) for name in names} for one in studio.readiness(user)],
        "adapters": list(studio.adapters()),
        "analysers": list(studio.analysers()),
        "samplers": studio.host.samplers(),
        "upscalers": studio.host.upscalers(),
        "finishers": studio.host.finishers(),
        "restorers": studio.host.restorers(),
        "poses": studio.told(studio.poses_possible(), user) or True,
        "safety": studio.safety(),
    }


def settings(studio: Studio, user: str) -> dict[str, Any]:
    """The settings as they are for this user, and which of them are not for this user to change."""
    return {"settings": to_mapping(studio.settings(user)), "fixed": dict(studio.fixed(user))}


def change_settings(studio: Studio, user: str, body: dict = Depends(json_body)) -> dict[str, Any]:  # noqa: B008
    """Change some of the settings."""
    studio.set_settings(from_mapping(Settings, to_mapping(studio.settings(user)) | body), user)
    return settings(studio, user)


# People.


def analyse(studio: Studio, _user: str, body: dict = Depends(json_body)) -> dict[str, Any]:  # noqa: B008
    """What is seen in photos, and what stands against each."""
    values = checked(body, photos=list, adapter=str, analyser=str, face=int)
    return {"photos": [seen_json(one) for one in studio.look(pictures_of(values.pop("photos", [])), **values)]}


def persons(studio: Studio, user: str) -> dict[str, Any]:
    """Everyone in the user's library."""
    return {"persons": [person_json(one) for one in studio.library(user).people()]}


def add_person(studio: Studio, user: str, body: dict = Depends(json_body)) -> dict[str, Any]:  # noqa: B008
    """Save a person from photos."""
    values = checked(body, name=str, photos=list, adapter=str, analyser=str, face=int, consent=bool, keep_photos=bool, replace=bool)
    return person_json(studio.save_person(user, values.pop("name", ""), pictures_of(values.pop("photos", [])), **values))


def rename_person(studio: Studio, user: str, name: str, body: dict = Depends(json_body)) -> dict[str, Any]:  # noqa: B008
    """Give a saved person another name."""
    return person_json(studio.library(user).rename(name, checked(body, name=str).get("name", "")))


def delete_person(studio: Studio, user: str, name: str) -> dict[str, Any]:
    """Delete a saved person: the file and everything in it."""
    studio.library(user).delete(name)
    return {"deleted": name}


def merge_persons(studio: Studio, user: str, body: dict = Depends(json_body)) -> dict[str, Any]:  # noqa: B008
    """Make one person of several."""
    values = checked(body, names=list, into=str)
    names = [str(one) for one in values.get("names", [])]
    return person_json(studio.library(user).merge(names, values.get("into", "")))


def export_persons(studio: Studio, user: str, name: list[str] = Query([])) -> Response:  # noqa: B008
    """Some people, or everyone, as one file."""
    return _exported("people.zip", lambda target: studio.library(user).exported(name or None, target))


def import_persons(studio: Studio, user: str, file: Path = Depends(uploaded)) -> dict[str, Any]:  # noqa: B008
    """Take in people from an exported file."""
    return {"persons": [person_json(one) for one in studio.library(user).imported(file)]}


def _exported(name: str, write: Callable[[Path], object]) -> Response:
    """A file made for this answer, gone after it."""
    folder = tempfile.TemporaryDirectory(prefix="facechain-")
    try:
        write(Path(folder.name) / name)
    except BaseException:
        folder.cleanup()
        raise
    afterwards = BackgroundTasks()
    afterwards.add_task(folder.cleanup)
    return FileResponse(Path(folder.name) / name, filename=name, media_type=FILE_TYPE, background=afterwards)


# Styles and LoRAs.


def styles(studio: Studio, user: str, thumbnails: bool = Query(False)) -> dict[str, Any]:
    """The presets and one's own styles, each with the LoRA it means or what is missing."""
    return {"styles": [style_json(one, thumbnail=thumbnails) for one in studio.styles(user)]}


def add_style(studio: Studio, user: str, body: dict = Depends(json_body)) -> dict[str, Any]:  # noqa: B008
    """Save a style of one's own."""
    values = checked(body, name=str, prompt=str, negative=str, lora=str, hashes=list, weight=float, replace=bool)
    over, values["hashes"] = values.pop("replace", False), tuple(values.get("hashes", ()))
    style = own_style(values.pop("name", ""), values.pop("prompt", ""), **values)
    saved = studio.own_styles(user).save(style, overwrite=over)
    return _own(studio, user, saved.key)


def _own(studio: Studio, user: str, key: str) -> dict[str, Any]:
    return next(style_json(one) for one in studio.styles(user) if one.style.own and one.style.key == key)


def delete_style(studio: Studio, user: str, name: str) -> dict[str, Any]:
    """Delete a style of one's own; its LoRA stays."""
    studio.own_styles(user).delete(name)
    return {"deleted": name}


def export_styles(studio: Studio, user: str, name: list[str] = Query([])) -> Response:  # noqa: B008
    """Some of one's own styles, or all, as one JSON file."""
    text = studio.own_styles(user).exported(name or None)
    return Response(text, media_type="application/json", headers={"Content-Disposition": 'attachment; filename="styles.json"'})


def import_styles(studio: Studio, user: str, file: Path = Depends(uploaded)) -> dict[str, Any]:  # noqa: B008
    """Take in styles from an exported file."""
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadInput("This is no exported style (it is not JSON): choose a file that was exported from FaceChain.") from error
    return {"styles": [_own(studio, user, one.key) for one in studio.own_styles(user).imported(text)]}


def loras(studio: Studio, _user: str) -> dict[str, Any]:
    """The LoRAs of the host's folder."""
    return {"loras": [{"name": one.name, "alias": one.alias, "hashes": list(one.hashes)} for one in studio.loras()]}


def add_lora(studio: Studio, _user: str, name: str = Query(...), file: Path = Depends(uploaded)) -> dict[str, Any]:  # noqa: B008
    """Look at a LoRA file and copy it into the host's folder. What a style is made of comes back: file, hashes, trigger words."""
    if not name.lower().endswith(".safetensors"):
        raise BadWeights(f"{name} is no LoRA that can be taken: only safetensors files are.")
    made = studio.install_lora(file, file.name)
    told = {one: getattr(made, one) for one in ("kind", "layers", "rank", "unet", "text", "alias")}
    return {"file": made.path.name, **told, "triggers": list(made.triggers), "hashes": list(hashes(made.path))}


# History.


def history(
    studio: Studio, user: str, person: str | None = Query(None), style: str | None = Query(None), since: str = Query(""),
    until: str = Query(""), text: str = Query(""), least: float | None = Query(None), sort: str = Query("newest"), after: str = Query(""),
    count: int = Query(50, ge=1, le=MOST_ENTRIES),
) -> dict[str, Any]:  # fmt: skip
    """A page of the user's pictures. person, style: of these, empty: without one; since, until: days as 2024-05-31."""
    if sort not in ("newest", "likeness"):
        raise BadInput(f"sort must be newest or likeness; got {sort!r}.")
    wanted = Wanted(user=user, person=person, style=style, text=text, least=least, since=_day(since), until=_day(until))
    wanted = replace(wanted, sort="likeness") if sort == "likeness" else wanted
    page = studio.history().page(wanted, after=after, count=count)
    return {
        "entries": [entry_json(one) for one in page.entries],
        "next": page.next,
        "amount": studio.history().amount(wanted),
        "persons": studio.history().names(user, "person"),
        "styles": studio.history().names(user, "style"),
    }


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as error:
        raise BadInput(f"A day must be written as 2024-05-31; got {text[:40]!r}.") from error


def entry(studio: Studio, user: str, id: int) -> dict[str, Any]:
    """One picture of the user's history, with its whole info text."""
    return entry_json(studio.history().get(user, id))


def picture(studio: Studio, user: str, id: int) -> Response:
    """The picture's file."""
    found = studio.history().get(user, id)
    if not found.there:
        raise BadInput(f"The file of picture {id} is gone: re-index the history.")
    return FileResponse(found.path, media_type="image/png", filename=found.path.name)


def thumbnail(studio: Studio, user: str, id: int) -> Response:
    """The small picture of an entry, a JPEG of at most 256 pixels."""
    return FileResponse(studio.history().thumbnail(user, id), media_type="image/jpeg")


def make_again(studio: Studio, user: str, id: int) -> dict[str, Any]:
    """The order that made a picture, to be posted to /portrait."""
    from facechain_ext.workflows.again import again

    return again_json(again(studio.history().get(user, id), studio, user))


def delete_entry(studio: Studio, user: str, id: int) -> dict[str, Any]:
    """Delete a picture for good."""
    studio.history().get(user, id)
    return {"deleted": studio.history().delete(user, id)}


def delete_history(studio: Studio, user: str, all: bool = Query(False)) -> dict[str, Any]:
    """Delete every picture of the user for good."""
    if not all:
        raise BadInput("This deletes every picture of yours: say all=true if that is meant.")
    return {"deleted": studio.history().delete_all(user)}


def reindex(studio: Studio, _user: str) -> dict[str, Any]:
    """Bring the index to what lies in the folder."""
    changes = studio.history().reindex()
    return {name: getattr(changes, name) for name in ("moved", "edited", "added", "dropped")}


ROUTES: tuple[tuple[str, str, Route], ...] = (
    ("GET", "/version", version),
    ("GET", "/ready", ready),
    ("GET", "/settings", settings),
    ("PATCH", "/settings", change_settings),
    ("GET", "/portrait/schema", portrait_schema),
    ("POST", "/portrait", portrait),
    ("GET", "/jobs", current_job),
    ("GET", "/jobs/{id}", job),
    ("POST", "/jobs/{id}/stop", stop_job),
    ("POST", "/jobs/{id}/skip", skip_picture),
    ("POST", "/analyse", analyse),
    ("GET", "/persons", persons),
    ("POST", "/persons", add_person),
    ("POST", "/persons/merge", merge_persons),
    ("GET", "/persons/export", export_persons),
    ("POST", "/persons/import", import_persons),
    ("PATCH", "/persons/{name}", rename_person),
    ("DELETE", "/persons/{name}", delete_person),
    ("GET", "/styles", styles),
    ("POST", "/styles", add_style),
    ("GET", "/styles/export", export_styles),
    ("POST", "/styles/import", import_styles),
    ("DELETE", "/styles/{name:path}", delete_style),
    ("GET", "/loras", loras),
    ("POST", "/loras", add_lora),
    ("GET", "/history", history),
    ("DELETE", "/history", delete_history),
    ("POST", "/history/reindex", reindex),
    ("GET", "/history/{id}", entry),
    ("DELETE", "/history/{id}", delete_entry),
    ("GET", "/history/{id}/picture", picture),
    ("GET", "/history/{id}/thumbnail", thumbnail),
    ("GET", "/history/{id}/again", make_again),
)
