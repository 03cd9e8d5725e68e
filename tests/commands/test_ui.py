"""`run.py ui`: nothing of a visitor's photos stays behind."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest

from facechain_ext.ui.command_ui import UPLOADS, scratch_folder


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
