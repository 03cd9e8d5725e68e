"""Folders whose files a WebUI's page gives to nobody by their path: what is kept of one user would be every other's too.

A1111 and Forge have gradio serve everything below their own folder (`/file=models/…`), to whoever has logged in. gradio's own list of
blocked folders compares names as they are written, so a detour (`outputs/../models`) leads around it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from os import stat_result
from pathlib import Path
from typing import Any

from fastapi.responses import JSONResponse

from facechain_ext.ui.foreign import Application

SERVING = "/file"
"""How gradio's routes begin that serve files by their path."""
WHY = "This is somebody's own: each user reaches it through FaceChain's pages and routes."


class Closed:
    """A route of gradio's that does not serve some folders and files. folders: asked anew each time, for settings move them."""

    def __init__(self, app: Application, folders: Callable[[], Iterable[Path]]) -> None:
        self.app, self.folders = app, folders

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        asked = scope.get("path_params", {}).values()
        refused = any(lies_in(str(one), self.folders()) for one in asked)
        await (JSONResponse({"detail": WHY}, 403) if refused else self.app)(scope, receive, send)


def close(app: Any, folders: Callable[[], Iterable[Path]]) -> None:
    """Have the routes that serve files leave these folders alone; once for each route, however often it is called."""
    for route in app.routes:
        if getattr(route, "path", "").startswith(SERVING) and not isinstance(route.app, Closed):
            route.app = Closed(route.app, folders)


def lies_in(path: str, folders: Iterable[Path]) -> bool:
    """Whether a file is in one of the folders or is one of them, by whatever name it is reached; also where that cannot be told."""
    try:
        named, real = Path(path).absolute(), Path(path).resolve()  # a link may lead in, or be what lies there
        closed = {_which(one.stat()) for one in folders if one.exists()}
        return any(_which(one.stat()) in closed for one in (*named.parents, real, *real.parents) if one.exists())
    except (OSError, ValueError):
        return True


def _which(found: stat_result) -> tuple[int, int]:
    """A folder as the machine knows it: two spellings of a name may mean the same one."""
    return found.st_dev, found.st_ino
