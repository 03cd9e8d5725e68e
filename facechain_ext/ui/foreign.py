"""Requests that other websites make through a visitor's browser: refused, for such a page could read and delete what is kept here.

A browser states where a request comes from (Origin) and whom it takes this server for (Host). A website whose name was pointed at this
computer after it was loaded (DNS rebinding) is its own origin, and is known by the Host alone.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
OTHER_SITE = "Another website asked for this: open FaceChain's own page, or call its API from a program."
OTHER_NAME = "This page is for this computer alone, under the name localhost: start it with --auth NAME:PASSWORD to reach it by another."

Message = MutableMapping[str, Any]
Application = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


class NoForeigners:
    """An ASGI application that lets only our own page, and programs, through to another one. local: nobody else is to reach it."""

    def __init__(self, app: Application, *, local: bool) -> None:
        self.app, self.local = app, local

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope.get("headers", ())}
        why = refusal(headers, local=self.local) if scope["type"] in ("http", "websocket") else ""
        if not why:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": why[:120]})
        else:
            kind = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 403, "headers": kind})
            await send({"type": "http.response.body", "body": json.dumps({"detail": why}).encode()})


def refusal(headers: MutableMapping[str, str], *, local: bool) -> str:
    """Why a request is refused, or "". headers: names in small letters; behind a proxy the visitor's own name for us is forwarded."""
    names = {_name(f"//{headers.get(key, '')}") for key in ("host", "x-forwarded-host")} - {""}
    if local and not names <= LOCAL:
        return OTHER_NAME
    origin = headers.get("origin")
    return OTHER_SITE if origin is not None and _name(origin) not in names else ""


def named(host: str) -> str:
    """A host as it stands in an address: one of IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def _name(address: str) -> str:
    """The host of an address, without its port; empty where there is none."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
