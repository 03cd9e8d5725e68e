"""REST routes under /facechain/v1/ (docs/api.md). They live in the host's own app and obey its --api-auth.

Bodies are plain JSON objects, checked by hand: A1111 ships pydantic 1, Forge pydantic 2.
"""

from __future__ import annotations

import base64
import functools
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fastapi import Body, Depends, FastAPI, HTTPException
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from modules import shared

from facechain_ext import __version__
from facechain_ext.errors import BadInput, BadWeights, FaceChainError
from facechain_ext.store.library import Saved
from facechain_ext.ui import analysis, request, xyz
from facechain_ext.ui.loaded import loaded
from facechain_ext.ui.regions import decode
from facechain_ext.ui.settings import models_folder
from facechain_ext.weights.locate import encoder_file, found

PREFIX = "/facechain/v1"
basic = HTTPBasic(auto_error=False)


def on_app_started(_demo: Any, app: FastAPI) -> None:
    """Add our routes to the host's app; a second call for the same app adds nothing."""
    xyz.add_axes()  # where there is no page, nothing else would
    if any(getattr(route, "path", "").startswith(PREFIX) for route in app.routes):
        return
    for method, path, answer in ROUTES:
        app.add_api_route(PREFIX + path, told(answer), methods=[method], dependencies=[Depends(allowed)], tags=["FaceChain"])


def allowed(given: HTTPBasicCredentials | None = Depends(basic)) -> None:  # noqa: B008  # how FastAPI declares a dependency
    """401 for whoever is not among the users the host was started with; nobody is asked where it was started with none."""
    users = accounts()
    if not users:
        return
    name, password = (given.username, given.password) if given is not None else ("", "")
    if name not in users or not secrets.compare_digest(password.encode(), users[name].encode()):
        raise HTTPException(status_code=401, detail="Incorrect username or password", headers={"WWW-Authenticate": "Basic"})


def accounts() -> dict[str, str]:
    """Users and passwords of --api-auth; without it those of the page, so that a page with a login has no open back door."""
    options = shared.cmd_opts
    texts = str(getattr(options, "api_auth", None) or "").split(",")
    if not any(texts):
        texts = str(getattr(options, "gradio_auth", None) or "").strip('"').replace("\n", ",").split(",")
        path = getattr(options, "gradio_auth_path", None)
        texts += Path(path).read_text(encoding="utf-8").replace("\n", ",").split(",") if path else []
    return dict(text.strip().split(":", 1) for text in texts if ":" in text)


def told(answer: Callable[..., Any]) -> Callable[..., Any]:
    """The route with its refusals as 422 and a sentence."""

    @functools.wraps(answer)
    def route(*args: Any, **kwargs: Any) -> Any:
        try:
            return answer(*args, **kwargs)
        except FaceChainError as error:
            raise HTTPException(status_code=422, detail=str(error)) from error

    return route


def version() -> dict[str, Any]:
    """Which FaceChain this is, and in which WebUI."""
    from facechain_ext.hosts import webui

    return {"version": __version__, "api": 1, "host": webui.kind(), "checkpoint": webui.supports() or "supported"}


def schema() -> dict[str, Any]:
    """The JSON Schema of what goes into alwayson_scripts."""
    return request.schema()


def adapters() -> dict[str, Any]:
    """The adapters and the encoder that are there."""
    here = [one for one in found(models_folder()) if one.kind == "adapter"]
    try:
        encoder = encoder_file(models_folder()).name
    except BadWeights:
        encoder = None
    return {"folder": str(models_folder()), "adapters": [{"name": one.name, "bytes": one.bytes} for one in here], "encoder": encoder}


def analyse(body: dict = Body(...)) -> dict[str, Any]:  # noqa: B008
    """What is seen in photos, and what stands against each."""
    values = checked(body, photos=list, adapter=str, analyser=str, face=int)
    seen = analysis.analyse(loaded, photos_of(values.pop("photos", [])), **values)
    return {"photos": [seen_json(one) for one in seen]}


def persons() -> dict[str, Any]:
    """Everyone in the library."""
    return {"persons": [saved_json(one) for one in loaded.library().people()]}


def add_person(body: dict = Body(...)) -> dict[str, Any]:  # noqa: B008
    """Save a person from photos."""
    values = checked(body, name=str, photos=list, adapter=str, analyser=str, face=int, consent=bool, keep_photos=bool, replace=bool)
    return saved_json(analysis.save(loaded, values.pop("name", ""), photos_of(values.pop("photos", [])), **values))


def rename_person(name: str, body: dict = Body(...)) -> dict[str, Any]:  # noqa: B008
    """Give a saved person another name."""
    return saved_json(loaded.library().rename(name, checked(body, name=str).get("name", "")))


def delete_person(name: str) -> dict[str, Any]:
    """Delete a saved person: the file and everything in it."""
    loaded.library().delete(name)
    return {"deleted": name}


ROUTES: tuple[tuple[str, str, Callable[..., Any]], ...] = (
    ("GET", "/version", version),
    ("GET", "/schema", schema),
    ("GET", "/adapters", adapters),
    ("POST", "/analyse", analyse),
    ("GET", "/persons", persons),
    ("POST", "/persons", add_person),
    ("PATCH", "/persons/{name}", rename_person),
    ("DELETE", "/persons/{name}", delete_person),
)

KINDS = {str: "a text", int: "a whole number", bool: "true or false", list: "a list"}


def checked(body: Mapping[str, Any], **kinds: type) -> dict[str, Any]:
    """The body's fields if all are known and of their kinds. BadInput names the first that is not."""
    for name, value in body.items():
        if name not in kinds:
            raise BadInput(f"There is no field {name!r}: known are {', '.join(kinds)}.")
        if not isinstance(value, kinds[name]) or (isinstance(value, bool) and kinds[name] is not bool):
            raise BadInput(f"{name} must be {KINDS[kinds[name]]}.")
    return dict(body)


def photos_of(texts: Sequence[Any]) -> list[request.Picture]:
    """Photos from base64. BadInput names the one that is not."""
    if len(texts) > request.MOST_PHOTOS:
        raise BadInput(f"There are {len(texts)} photos: {request.MOST_PHOTOS} are the most.")
    return [request.Picture(data=decode(str(text), f"photo {at}"), name=f"photo {at}") for at, text in enumerate(texts, 1)]


def seen_json(seen: analysis.Seen) -> dict[str, Any]:
    """A photo's report as JSON."""
    report = seen.report
    return {
        "hash": seen.hash,
        "size": list(seen.size),
        "usable": report.usable,
        "faces": [list(face.box) for face in report.faces],
        "face": list(report.face.box) if report.face else None,
        "likeness": report.likeness,
        "problems": [
            {"code": one.code, "severity": one.severity, "sentence": one.sentence, "advice": one.advice} for one in report.problems
        ],
        "thumbnail": base64.b64encode(seen.thumbnail).decode(),
    }


def saved_json(saved: Saved) -> dict[str, Any]:
    """A saved person as JSON."""
    return {
        "name": saved.name,
        "photos": list(saved.photos),
        "adapters": dict(saved.adapters),
        "encoder": saved.encoder,
        "consent": saved.consent,
        "saved": saved.saved,
        "originals": saved.originals,
        "thumbnail": base64.b64encode(saved.thumbnail).decode(),
    }
