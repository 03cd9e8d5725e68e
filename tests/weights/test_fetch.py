"""Fetching from a real server on this machine: whole, resumed, from the next mirror, or refused with a reason; never a false file."""

from __future__ import annotations

import hashlib
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from facechain_ext.errors import BadWeights, CannotWrite
from facechain_ext.weights.fetch import CannotFetch, fetch, verify
from facechain_ext.weights.records import Record

CONTENT = bytes(range(256)) * 12_000  # 3 MB, several chunks


class Server:
    """A file server whose habits can be set."""

    def __init__(self) -> None:
        self.content, self.ranges, self.asked, self.cut, self.status = CONTENT, True, [], None, None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *args: object) -> None:
                return None

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/file.pth"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range")
        self.asked.append(asked)
        if self.status:
            request.send_error(self.status)
            return
        first = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.ranges else 0
        if first >= len(self.content):
            request.send_error(416)
            return
        body = self.content[first:]
        request.send_response(206 if asked and self.ranges else 200)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body if self.cut is None else body[: self.cut])


@pytest.fixture
def server():
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


def record(*sources, **more) -> Record:
    whole = {"id": "x", "purpose": "p", "file": "file.pth", "folder": "GFPGAN", "licence": "MIT", "sources": sources}
    return Record(**{**whole, "bytes": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest(), **more})


def test_a_file_comes_whole_and_is_reported(server, tmp_path):
    seen: list[tuple] = []
    path = fetch(record(server.url), tmp_path, report=lambda here, total: seen.append((here, total)))
    assert path == tmp_path / "GFPGAN" / "file.pth" and path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT)) and [one.name for one in path.parent.iterdir()] == ["file.pth"]


def test_a_file_that_is_there_is_checked_and_not_fetched(server, tmp_path):
    path = fetch(record(server.url), tmp_path)
    assert fetch(record(server.url), tmp_path) == path and len(server.asked) == 1
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(BadWeights, match="expected 3072000"):
        fetch(record(server.url), tmp_path)


def test_a_broken_download_goes_on_where_it_stopped(server, tmp_path):
    server.cut = 1_000_000
    with pytest.raises(CannotFetch, match=r"file\.pth could not be fetched"):
        fetch(record(server.url), tmp_path)
    assert (tmp_path / "GFPGAN" / "file.pth.partial").stat().st_size == 1_000_000
    server.cut = None
    assert fetch(record(server.url), tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000000-"]


def test_a_stop_by_the_person_leaves_what_came(server, tmp_path):
    class Stop(Exception):
        pass

    def stop(here, total):
        raise Stop

    with pytest.raises(Stop):
        fetch(record(server.url), tmp_path, report=stop)
    assert (tmp_path / "GFPGAN" / "file.pth.partial").stat().st_size > 0
    assert fetch(record(server.url), tmp_path).read_bytes() == CONTENT and server.asked[1] is not None


def test_a_server_that_cannot_continue_is_read_from_the_beginning(server, tmp_path):
    (tmp_path / "GFPGAN").mkdir()
    (tmp_path / "GFPGAN" / "file.pth.partial").write_bytes(CONTENT[:500])
    server.ranges = False
    assert fetch(record(server.url), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_a_whole_partial_file_only_gets_its_name(server, tmp_path, size):
    (tmp_path / "GFPGAN").mkdir()
    (tmp_path / "GFPGAN" / "file.pth.partial").write_bytes(CONTENT)
    assert fetch(record(server.url, bytes=size), tmp_path).read_bytes() == CONTENT


def test_another_file_is_refused_and_removed(server, tmp_path):
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(CannotFetch, match="gave another file"):
        fetch(record(server.url), tmp_path)
    assert list((tmp_path / "GFPGAN").iterdir()) == []


def test_the_next_mirror_is_asked(server, tmp_path):
    bad = Server()
    bad.status = 503
    try:
        assert fetch(record(bad.url, server.url), tmp_path).read_bytes() == CONTENT and len(bad.asked) == 1
    finally:
        bad.http.shutdown()
        bad.http.server_close()


def test_nobody_answers(tmp_path):
    with pytest.raises(CannotFetch, match=r"127.0.0.1:1 did not answer .*Put it into .*GFPGAN by hand"):
        fetch(record("http://127.0.0.1:1/file.pth"), tmp_path)


def test_offline_nothing_is_asked(server, tmp_path):
    with pytest.raises(CannotFetch, match="--facechain-offline"):
        fetch(record(server.url), tmp_path, offline=True)
    assert server.asked == []


def test_a_full_disk_is_told_before(server, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10_000_000))
    with pytest.raises(CannotWrite, match=r"10 MB free, file.pth needs 3 MB"):
        fetch(record(server.url), tmp_path)
    assert server.asked == []


def test_what_is_not_known_is_not_checked(tmp_path):
    (tmp_path / "f").write_bytes(b"anything")
    verify(record(bytes=None, sha256=None), tmp_path / "f")
    with pytest.raises(BadWeights, match="SHA-256"):
        verify(record(bytes=None), tmp_path / "f")
