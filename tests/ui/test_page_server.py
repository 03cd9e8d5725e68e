"""The server of the page: who is let in, over which address, and what the command says of it."""

from __future__ import annotations

import socket

import pytest

from facechain_ext.errors import BadInput
from facechain_ext.ui.command_ui import Ready, accounts_of, door_of
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


def test_names_and_passwords_may_be_of_any_script(visitors):
    client = visitors({"安娜": "пароль"})
    assert client.get(STYLES, auth=("安娜", "пароль")).status_code == 200
    assert client.get(STYLES, auth=("安娜", "пароля")).status_code == 401


@pytest.mark.parametrize("header", ["Basic", "Basic ü", "Basic YW5uYQ==", "Basic /////w==", "Bearer YW5uYTpzZWNyZXQ=", "Basic !"])
def test_a_header_that_is_no_name_and_password_is_refused(visitors, header):
    answer = visitors({"anna": "secret"}).get(STYLES, headers={"Authorization": header.encode("latin-1")})
    assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Basic"


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/redoc"])
def test_what_describes_the_api_asks_for_the_log_in_too(visitors, path):
    client = visitors({"anna": "secret"})
    assert client.get(path, auth=("anna", "wrong")).status_code in (401, 404) and client.get(path).status_code in (401, 404)
    known = client.get(path, auth=("anna", "secret"))
    assert (path in ("/docs", "/openapi.json")) == (known.status_code == 200)
    if path == "/openapi.json":
        assert "/facechain/v1/portrait" in known.json()["paths"]
        assert known.json()["components"]["securitySchemes"] == {"HTTPBasic": {"type": "http", "scheme": "basic"}}


def test_what_describes_the_api_asks_nobody_else_for_anything(visitors):
    """Plain text fetches nothing, whatever stands in it."""
    told = visitors({}).get("/docs")
    assert told.headers["content-type"] == "text/plain; charset=utf-8"
    assert told.text.startswith("# The API") and "/openapi.json" in told.text


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


@pytest.mark.parametrize(
    ("host", "accounts", "open", "owners"),
    [
        ("127.0.0.1", {}, False, {"local"}),
        ("0.0.0.0", {}, True, set()),
        ("0.0.0.0", {"anna": "x", "ben": "y"}, False, {"anna"}),
        ("127.0.0.1", {"anna": "x"}, False, {"anna"}),
    ],
)
def test_whom_the_machine_belongs_to(host, accounts, open, owners):
    door = door_of(host, accounts)
    assert door.open is open and {one for one in ("local", "anna", "ben") if door.owner(one)} == owners


def test_people_saved_before_there_were_log_ins_are_pointed_at(capsys, tmp_path):
    (tmp_path / "people").mkdir()
    (tmp_path / "people" / "Anna.safetensors").write_bytes(b"x")
    (tmp_path / "styles").mkdir()
    for name in ("mine", "other"):
        (tmp_path / "styles" / f"{name}.json").write_text("{}")
    Ready("127.0.0.1", 7870, {}, tmp_path, open=False).say()
    assert "without a log-in" not in capsys.readouterr().err
    Ready("127.0.0.1", 7870, {"ada": "x"}, tmp_path, open=False).say()
    said = capsys.readouterr().err
    assert f"1 people saved without a log-in lie in {tmp_path / 'people'}" in said
    assert f"2 styles saved without a log-in lie in {tmp_path / 'styles'}" in said and str(tmp_path / "styles" / "users" / "NAME") in said


def test_a_port_that_is_taken_is_said():
    from facechain_ext.ui.page_server import check_free

    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(BadInput, match="another --port"):
        check_free("127.0.0.1", taken.getsockname()[1])


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70000), ("127.0.0.1", -1), ("ü" * 70, 0)])
def test_what_is_no_address_is_said(host, port):
    from facechain_ext.ui.page_server import check_free

    with pytest.raises(BadInput, match=f"^{host}:{port} cannot be listened at .+: choose another --port or --host"):
        check_free(host, port)


def test_an_address_of_ipv6_is_listened_at_and_said_in_brackets(capsys, tmp_path):
    from facechain_ext.ui.page_server import check_free

    for host, address in (("::1", "http://[::1]:7870/"), ("::", "http://[::1]:7870/"), ("fd00::4", "http://[fd00::4]:7870/")):
        Ready(host, 7870, {}, tmp_path, open=False).say()
        assert f" {address} " in capsys.readouterr().err
    try:
        taken = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:  # a machine without IPv6 says so
        with pytest.raises(BadInput, match=r"^\[::1\]:7870 cannot be listened at"):
            check_free("::1", 7870)
        return
    with taken, pytest.raises(BadInput, match=r"^\[::1\]:\d+ cannot be listened at"):
        check_free("::1", taken.getsockname()[1])
    check_free("::1", 0)
