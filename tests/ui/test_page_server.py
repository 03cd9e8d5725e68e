"""The server of the page: who is let in, over which address, and what the command says of it."""

from __future__ import annotations

import socket

import pytest

from facechain_ext.errors import BadInput
from facechain_ext.ui.command_ui import Ready, accounts_of
from tests.fakes.studio import FakeStudio

STYLES = "/facechain/v1/styles"


@pytest.fixture
def visitors(tmp_path):
    """Who asks a server with accounts, or without any."""
    from fastapi.testclient import TestClient

    from facechain_ext.ui.page_server import application

    return lambda accounts: TestClient(application(FakeStudio(tmp_path / str(len(accounts))), accounts))


def test_without_accounts_page_and_rest_are_open(visitors):
    client = visitors({})
    page = client.get("/")
    assert page.status_code == 200 and "facechain-tab-root" in page.text and "facechain_tab" not in page.text
    assert len(client.get(STYLES).json()["styles"]) == 76


def test_with_accounts_nobody_else_gets_in(visitors):
    client = visitors({"anna": "secret"})
    assert client.get(STYLES).status_code == 401
    assert client.get(STYLES, auth=("anna", "wrong")).status_code == 401
    assert client.get(STYLES, auth=("ben", "secret")).status_code == 401
    assert client.get(STYLES, auth=("anna", "secret")).status_code == 200
    assert client.get("/config").status_code == 401


def test_other_websites_get_nothing(visitors):
    client = visitors({})
    assert client.get(STYLES, headers={"Origin": "http://testserver"}).status_code == 200
    assert client.delete("/facechain/v1/history?all=true", headers={"Origin": "http://evil.example"}).status_code == 403
    asks = {"Origin": "http://evil.example", "Access-Control-Request-Method": "DELETE"}
    assert "access-control-allow-origin" not in client.options("/facechain/v1/history", headers=asks).headers


def test_the_page_asks_no_stranger_for_anything(visitors):
    text = visitors({}).get("/").text
    assert "fonts.googleapis.com" not in text.replace('"preconnect"', "")


def test_accounts_are_read():
    assert accounts_of(["anna:se:cret", "ben:x"]) == {"anna": "se:cret", "ben": "x"}
    for wrong in ("anna", ":x", "anna:"):
        with pytest.raises(BadInput, match="a colon between"):
            accounts_of([wrong])


@pytest.mark.parametrize(
    ("host", "accounts", "warned"),
    [("127.0.0.1", {}, False), ("0.0.0.0", {}, True), ("0.0.0.0", {"anna": "x"}, False), ("192.168.0.4", {}, True)],
)
def test_the_address_is_said_and_an_open_door_too(capsys, tmp_path, host, accounts, warned):
    Ready(host, 7870, accounts, tmp_path, open=False).say()
    said = capsys.readouterr().err
    assert f"http://{'127.0.0.1' if host in ('127.0.0.1', '0.0.0.0') else host}:7870/" in said and str(tmp_path) in said
    assert ("--auth" in said) is warned


def test_a_port_that_is_taken_is_said():
    from facechain_ext.ui.page_server import check_free

    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(BadInput, match="another --port"):
        check_free("127.0.0.1", taken.getsockname()[1])
