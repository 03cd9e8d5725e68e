"""`run.py ui`: accounts, and that nothing of a visitor's photos stays behind."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest

from facechain_ext.errors import BadInput
from facechain_ext.ui.command_ui import UPLOADS, Ready, accounts_of, scratch_folder


def test_uploads_and_exports_lie_in_a_folder_that_is_gone_afterwards(monkeypatch) -> None:
    monkeypatch.delenv(UPLOADS, raising=False)
    with scratch_folder() as scratch:
        assert Path(os.environ[UPLOADS]).parent == scratch == Path(tempfile.gettempdir())
        (scratch / "uploads").mkdir()
        (scratch / "uploads" / "photo.png").write_bytes(b"somebody")
        exported = Path(tempfile.mkdtemp(prefix="facechain-"))
    assert not scratch.exists() and not exported.exists() and UPLOADS not in os.environ and tempfile.gettempdir() != str(scratch)


def test_the_folder_goes_too_where_the_process_is_ended(monkeypatch) -> None:
    monkeypatch.setenv(UPLOADS, "elsewhere")
    with pytest.raises(SystemExit), scratch_folder() as scratch:
        signal.raise_signal(signal.SIGTERM)
    assert not scratch.exists() and os.environ[UPLOADS] == "elsewhere", "who names a folder keeps it"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_accounts_are_names_and_passwords() -> None:
    assert accounts_of(["anna:a:b", "max:c"]) == {"anna": "a:b", "max": "c"}
    for text in ("anna", "anna:", ":secret"):
        with pytest.raises(BadInput, match="--auth anna:secret"):
            accounts_of([text])


@pytest.mark.parametrize(
    ("host", "accounts", "exposed"),
    [("127.0.0.1", {}, False), ("localhost", {}, False), ("0.0.0.0", {}, True), ("192.168.0.2", {}, True), ("0.0.0.0", {"a": "b"}, False)],
)
def test_who_may_come_unasked_is_warned_of(tmp_path, capsys, host, accounts, exposed) -> None:
    Ready(host, 7870, accounts, tmp_path, open=False).say()
    assert ("Everybody who reaches this computer" in capsys.readouterr().err) == exposed
