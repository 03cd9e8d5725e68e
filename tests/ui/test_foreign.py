"""Who is let through to the page: our own page and programs; no other website, whatever it calls this computer."""

from __future__ import annotations

import asyncio
import json

import pytest

from facechain_ext.ui.foreign import OTHER_NAME, OTHER_SITE, NoForeigners, refusal


@pytest.mark.parametrize(
    ("headers", "local", "why"),
    [
        ({"host": "127.0.0.1:7870"}, True, ""),
        ({"host": "localhost:7870", "origin": "http://localhost:7870"}, True, ""),
        ({"host": "[::1]:7870", "origin": "http://[::1]:7870"}, True, ""),
        ({}, True, ""),
        ({"host": "127.0.0.1:7870", "origin": "http://evil.example"}, True, OTHER_SITE),
        ({"host": "127.0.0.1:7870", "origin": "null"}, True, OTHER_SITE),
        ({"host": "127.0.0.1:7870", "origin": "http://["}, True, OTHER_SITE),
        ({"host": "evil.example:7870", "origin": "http://evil.example:7870"}, True, OTHER_NAME),
        ({"host": "evil.example:7870"}, True, OTHER_NAME),
        ({"host": "gpu.lan:7870", "origin": "http://gpu.lan:7870"}, False, ""),
        ({"host": "gpu.lan:7870"}, False, ""),
        ({"host": "gpu.lan:7870", "origin": "http://evil.example"}, False, OTHER_SITE),
        ({"host": "127.0.0.1:7870", "x-forwarded-host": "faces.example", "origin": "https://faces.example"}, False, ""),
        ({"host": "127.0.0.1:7870", "x-forwarded-host": "faces.example", "origin": "https://evil.example"}, False, OTHER_SITE),
    ],
)
def test_who_is_let_through(headers, local, why) -> None:
    assert refusal(headers, local=local) == why


def asked(headers: dict[str, str], kind: str = "http") -> list[dict]:
    sent = []

    async def app(scope, receive, send) -> None:
        await send({"type": "reached"})

    async def send(message) -> None:
        sent.append(message)

    async def receive() -> dict:
        return {}

    scope = {"type": kind, "headers": [(name.encode(), value.encode()) for name, value in headers.items()]}
    asyncio.run(NoForeigners(app, local=True)(scope, receive, send))
    return sent


def test_a_refusal_is_an_answer_with_a_sentence() -> None:
    assert asked({"host": "localhost"}) == [{"type": "reached"}] and asked({}, "lifespan") == [{"type": "reached"}]
    start, body = asked({"host": "localhost", "origin": "http://evil.example"})
    assert start["status"] == 403 and json.loads(body["body"]) == {"detail": OTHER_SITE}
    assert asked({"host": "localhost", "origin": "http://evil.example"}, "websocket")[0]["type"] == "websocket.close"
