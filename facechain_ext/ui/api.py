"""REST routes under /facechain/v1/ in a WebUI (docs/api.md): in the host's own app, obeying its --api-auth; most are the studio's."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPBasicCredentials

from facechain_ext import __version__
from facechain_ext.errors import BadWeights, FaceChainError
from facechain_ext.store.names import NOBODY
from facechain_ext.ui import request, xyz
from facechain_ext.ui.accounts import accounts, door, note_users, verified
from facechain_ext.ui.basic import AnyBasic
from facechain_ext.ui.closed import close
from facechain_ext.ui.settings import models_folder
from facechain_ext.weights.locate import encoder_file, found

PREFIX = "/facechain/v1"
basic = AnyBasic()


def on_app_started(_demo: Any, app: FastAPI) -> None:
    """Add our routes to the host's app; a second call for the same app adds nothing."""
    from facechain_ext.ui.api_studio import add_routes
    from facechain_ext.ui.studio_webui import studio

    xyz.add_axes()  # where there is no page, nothing else would
    note_users(app)
    if accounts():
        close(app, lambda: studio().own_places())
    if any(getattr(route, "path", "").startswith(PREFIX) for route in app.routes):
        return
    for method, path, answer in ROUTES:
        app.add_api_route(PREFIX + path, told(answer), methods=[method], dependencies=[Depends(allowed)], tags=["FaceChain"])
    add_routes(app, studio(), allowed)


def allowed(given: HTTPBasicCredentials | None = Depends(basic)) -> str:  # noqa: B008  # how FastAPI declares a dependency
    """Who it is, by name; 401 for whoever is not among the users the host was started with. With none, "" for everybody."""
    if not accounts():
        return ""
    if given is None or not verified(given.username, given.password):
        raise HTTPException(status_code=401, detail="Incorrect username or password", headers={"WWW-Authenticate": "Basic"})
    return given.username


def told(answer: Callable[..., Any]) -> Callable[..., Any]:
    """The route with its refusals as 422 and a sentence, as whoever asks may read it; who does not say so is a stranger."""
    from facechain_ext.ui.studio_webui import studio

    @functools.wraps(answer)
    def route(*args: Any, **kwargs: Any) -> Any:
        try:
            return answer(*args, **kwargs)
        except FaceChainError as error:
            user = kwargs.get("user") or ("" if accounts() else NOBODY)
            raise HTTPException(status_code=422, detail=studio().told(str(error), user)) from error

    return route


def version() -> dict[str, Any]:
    """Which FaceChain this is, and in which WebUI."""
    from facechain_ext.hosts import webui

    return {"version": __version__, "api": 1, "host": webui.kind(), "checkpoint": webui.supports() or "supported"}


def schema() -> dict[str, Any]:
    """The JSON Schema of what goes into alwayson_scripts."""
    return request.schema()


def adapters(user: str = Depends(allowed)) -> dict[str, Any]:
    """The adapters and the encoder that are there; for whom the machine belongs to, also in which folder."""
    here = [one for one in found(models_folder()) if one.kind == "adapter"]
    try:
        encoder = encoder_file(models_folder()).name
    except BadWeights:
        encoder = None
    folder = str(models_folder()) if door().owner(user or NOBODY) else models_folder().name
    return {"folder": folder, "adapters": [{"name": one.name, "bytes": one.bytes} for one in here], "encoder": encoder}


ROUTES: tuple[tuple[str, str, Callable[..., Any]], ...] = (
    ("GET", "/version", version),
    ("GET", "/schema", schema),
    ("GET", "/adapters", adapters),
)
