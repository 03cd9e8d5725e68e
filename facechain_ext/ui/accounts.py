"""The WebUI's users: who has an account, how its page is reached, and who asks for a generation."""

from __future__ import annotations

import secrets
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from modules import shared

from facechain_ext.store.names import NOBODY
from facechain_ext.ui import inner
from facechain_ext.ui.basic import credentials
from facechain_ext.ui.door import Door
from facechain_ext.ui.foreign import LOCAL, Application

GENERATING = ("/sdapi/v1/txt2img", "/sdapi/v1/img2img")
"""The host's own routes that make pictures; it checks who asks, and does not hand it on."""
_asks: ContextVar[str] = ContextVar("facechain_user", default="")
_last = {"user": ""}
"""Whose generation the last one was; those that extensions make within it know no user."""


def page_accounts() -> dict[str, str]:
    """Users and passwords of the page's log-in; empty where it has none."""
    options = shared.cmd_opts
    texts = str(getattr(options, "gradio_auth", None) or "").strip('"').replace("\n", ",").split(",")
    path = getattr(options, "gradio_auth_path", None)
    return _pairs(texts + (Path(path).read_text(encoding="utf-8").replace("\n", ",").split(",") if path else []))


def accounts() -> dict[str, str]:
    """Users and passwords of --api-auth; without it those of the page, so that a page with a login has no open back door."""
    return _pairs(str(getattr(shared.cmd_opts, "api_auth", None) or "").split(",")) or page_accounts()


def _pairs(texts: list[str]) -> dict[str, str]:
    return dict(text.strip().split(":", 1) for text in texts if ":" in text)


def verified(name: str, password: str) -> bool:
    """Whether it is an account, and its password."""
    known = accounts()
    return name in known and secrets.compare_digest(password.encode(), known[name].encode())


def door() -> Door:
    """How the page is reached, by the host's command line."""
    flags, page = shared.cmd_opts, page_accounts()
    named = getattr(flags, "server_name", None)
    exposed = any(getattr(flags, name, None) for name in ("listen", "share", "ngrok")) or (bool(named) and named not in LOCAL)
    firsts = [next(iter(known)) for known in (page, accounts()) if known]
    return Door(login=bool(page), owners=tuple(dict.fromkeys(firsts)), exposed=exposed)


class Noting:
    """A route of the host's that lets us know which of its users asks, as it keeps that to itself."""

    def __init__(self, app: Application) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        token = _asks.set(_named(dict(scope.get("headers") or ()).get(b"authorization", b"")))
        try:
            await self.app(scope, receive, send)
        finally:
            _asks.reset(token)


def note_users(app: Any) -> None:
    """Have the host's generating routes tell who asks; once for each route, however often it is called."""
    for route in app.routes:
        if getattr(route, "path", "") in GENERATING and not isinstance(route.app, Noting):
            route.app = Noting(route.app)


def _named(header: bytes) -> str:
    """The account that a header of HTTP Basic names, "" where it is none."""
    found = credentials(header.decode("latin-1"))
    return found[0] if found is not None and verified(*found) else ""


def user_of(p: Any) -> str:
    """Whose generation it is; "" where the host has log-ins and this one came past them."""
    _last["user"] = _user_of(p)
    return _last["user"]


def _user_of(p: Any) -> str:
    if getattr(p, "user", None):
        return str(p.user)
    if inner.is_inner(p):
        return _last["user"]
    if getattr(p, "is_api", False):
        return _asks.get() or ("" if accounts() else NOBODY)
    return "" if page_accounts() else NOBODY
