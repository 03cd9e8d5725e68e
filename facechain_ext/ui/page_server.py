"""The tab as a page of its own: gradio 6 and the REST paths in one server on this computer."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import PlainTextResponse
from fastapi.security import HTTPBasicCredentials

from facechain_ext.errors import BadInput
from facechain_ext.ui.basic import AnyBasic
from facechain_ext.ui.foreign import NoForeigners, named
from facechain_ext.ui.studio import Studio
from facechain_ext.ui.tab import build

ROOT = Path(__file__).parents[2]
DESCRIPTION = "/openapi.json"
AT_ONCE = 8
"""Answers to the page that may be worked on at the same time; pictures are made one after the other all the same."""
FONT = ["system-ui", "sans-serif"]
LEGIBLE = {
    "button_primary_background_fill": "*primary_600",
    "button_primary_background_fill_hover": "*primary_700",
    "button_primary_background_fill_dark": "*primary_600",
    "button_primary_background_fill_hover_dark": "*primary_700",
    "color_accent": "*primary_600",
}
"""What gradio's own theme makes too faint to read."""
MONO = ["ui-monospace", "monospace"]
"""Fonts that every machine has: the page asks nobody else for any."""

basic = AnyBasic()


def application(studio: Studio, accounts: Mapping[str, str], *, local: bool = False) -> FastAPI:
    """The server's application. accounts: names and passwords; with none, everybody who reaches it may use it.

    local: it is listened to at this computer's own address, and without accounts answers to its own names only.
    """
    from facechain_ext.ui.api_studio import add_routes

    app = FastAPI(title="FaceChain", openapi_url=None)  # and so no pages made of it: they would ask nobody for a log-in
    app.add_middleware(NoForeigners, local=local and not accounts)
    add_routes(app, studio, allowed(accounts))
    _describe(app, allowed(accounts))
    page = build(studio)
    page.queue(default_concurrency_limit=AT_ONCE)
    script = (ROOT / "javascript" / "facechain_tab.js").read_text(encoding="utf-8")
    theme = gr.themes.Default(primary_hue="blue", neutral_hue="slate", font=FONT, font_mono=MONO).set(**LEGIBLE)
    return gr.mount_gradio_app(
        app, page, path="/", auth=list(accounts.items()) or None, theme=theme, css=(ROOT / "style.css").read_text(encoding="utf-8"),
        head=f"<script>{script}</script>", footer_links=[], ssr_mode=False, show_error=True,
    )  # fmt: skip


def _describe(app: FastAPI, allowed: Callable[..., str]) -> None:
    """The description of the REST paths, for programs and for people, for whoever may use them.

    FastAPI's own page would fetch its script from another host, which would learn who looks at it.
    """

    def description(_user: str = Depends(allowed)) -> dict[str, Any]:
        return app.openapi()

    def told(_user: str = Depends(allowed)) -> PlainTextResponse:
        return PlainTextResponse((ROOT / "docs" / "api.md").read_text(encoding="utf-8"))

    app.add_api_route(DESCRIPTION, description, include_in_schema=False)
    app.add_api_route("/docs", told, include_in_schema=False)


def allowed(accounts: Mapping[str, str]) -> Callable[..., str]:
    """The REST paths' door: the name of whoever has an account, "" where none is needed, 401 for everybody else."""

    def name(given: HTTPBasicCredentials | None = Depends(basic)) -> str:  # noqa: B008  # how FastAPI declares a dependency
        if not accounts:
            return ""
        known = accounts.get(given.username, "") if given is not None else ""
        if given is None or not known or not secrets.compare_digest(given.password.encode(), known.encode()):
            raise HTTPException(status_code=401, detail="Incorrect username or password", headers={"WWW-Authenticate": "Basic"})
        return given.username

    return name


def check_free(host: str, port: int) -> None:
    """BadInput where the address cannot be listened at."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with closing(socket.create_server((host, port), family=family)):
            return
    except (OSError, OverflowError, TypeError) as error:  # taken or not ours; no port at all; no name that could be one
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"{named(host)}:{port} cannot be listened at ({reason}): choose another --port or --host.") from error


def serve(app: FastAPI, host: str, port: int, ready: Callable[[], Any]) -> None:
    """Serve until somebody stops it (Ctrl-C). `ready` is called once the page answers."""
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready()

    Server(uvicorn.Config(app, host=host, port=port, log_level="warning")).run()
