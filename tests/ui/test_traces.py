"""What gradio keeps of dropped and handed out files: ours goes, other people's stays. Real files, laid as each gradio lays them."""

from __future__ import annotations

import os
import shutil
import threading
import time
from hashlib import sha1
from pathlib import Path
from types import SimpleNamespace

import pytest

from facechain_ext.errors import BadInput, BadPicture

SIGN = "facechain-0123456789abcdef-"
THEIRS = {"aa/photo.png", "bb/facechain-notes.txt", "cc/facechain-0123456789abcdeg-x.png"}
"""Somebody else's; the last is no sign of ours, for g is no digit."""


@pytest.fixture
def traces(host, tmp_path, monkeypatch):
    """The module over a folder of gradio's with somebody else's files in it."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    for name in THEIRS:
        place(tmp_path / "gradio" / name, b"theirs")
    from facechain_ext.ui import traces

    return traces


def place(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def there(tmp_path) -> list[str]:
    """What of ours lies in gradio's folder."""
    found = {path.relative_to(tmp_path / "gradio").as_posix() for path in (tmp_path / "gradio").rglob("*") if path.is_file()}
    assert found >= THEIRS
    assert not [path for path in (tmp_path / "gradio").iterdir() if not any(path.iterdir())], "no empty folders stay"
    return sorted(found - THEIRS)


def laid(tmp_path, version: int, name: str, content: bytes) -> object:
    """An upload as gradio hands it over: 3.41 a wrapper of a copy, with the upload's own place beside; 4 and 6 the upload's place."""
    digest = sha1(content).hexdigest()
    if version > 3:
        return str(place(tmp_path / "gradio" / digest / name, content))
    upload = place(tmp_path / "gradio" / "d0d0" / name, content)
    return SimpleNamespace(name=str(place(tmp_path / "gradio" / digest / name, content)), orig_name=str(upload))


@pytest.mark.parametrize("version", [3, 4, 6])
def test_what_was_dropped_is_read_under_its_own_name_and_gone(traces, tmp_path, version):
    one = laid(tmp_path, version, f"{SIGN}Anna 1.png", b"a photo")
    with traces.received([one]) as (path,):
        assert path.name == "Anna 1.png" and path.read_bytes() == b"a photo"
    assert there(tmp_path) == []
    single = laid(tmp_path, version, f"{SIGN}Anna 1.png", b"a photo")
    with pytest.raises(BadInput), traces.received(single):
        raise BadInput("It was refused.")
    assert there(tmp_path) == []


def test_somebody_elses_file_is_read_and_stays(traces, tmp_path):
    mine = place(tmp_path / "elsewhere" / "deep" / f"{SIGN}photo.png", b"signed, but not gradio's")
    with traces.received([str(tmp_path / "gradio" / "aa" / "photo.png"), str(mine)]) as found:
        assert [path.read_bytes() for path in found] == [b"theirs", b"signed, but not gradio's"]
    assert mine.is_file() and there(tmp_path) == []


def test_the_same_photo_in_another_component_stays(traces, tmp_path):
    """gradio 4 and 6 put files of the same content into the same folder; the signed name tells ours apart."""
    ours = laid(tmp_path, 4, f"{SIGN}photo.png", b"the same")
    panels = Path(str(laid(tmp_path, 4, "photo.png", b"the same")))
    with traces.received(ours):
        pass
    assert panels.read_bytes() == b"the same" and len(there(tmp_path)) == 1


def test_photos_lie_on_the_shelf_and_nowhere_else(traces, tmp_path):
    shelf = traces.Shelf(most=10)
    ((first, name),) = shelf.take([laid(tmp_path, 3, f"{SIGN}a.png", b"12345")]).items()
    assert name == "a.png" and shelf.get(first) == b"12345" and shelf.put(b"12345") == first and there(tmp_path) == []
    second = shelf.put(b"67890")
    shelf.get(first)
    third = shelf.put(b"abc")
    assert first in shelf and second not in shelf and shelf.get(third) == b"abc", "the one not asked for longest goes"
    with pytest.raises(BadPicture, match="drop it here again"):
        shelf.get(second)
    large = shelf.put(b"a" * 11)
    assert shelf.get(large) and first not in shelf, "one that is too large alone is kept alone"
    with pytest.raises(BadPicture, match="drop it here again"):
        shelf.take([str(tmp_path / "gradio" / "ee" / f"{SIGN}gone.png")])


@pytest.mark.parametrize("version", ["3.41.2", "4.40.0", "6.31.0"])
def test_what_is_handed_out_is_gone_after_a_while(host, traces, tmp_path, monkeypatch, version):
    """gradio 3.41 serves a copy of it, under the same name; later ones the file, under its own name."""
    host.gradio.__version__ = version
    timers: list[tuple[float, object]] = []

    class Timer(threading.Thread):
        def __init__(self, seconds: float, then: object) -> None:
            super().__init__(target=timers.append, args=((seconds, then),))

    monkeypatch.setattr(traces.threading, "Timer", Timer)
    path = traces.handed("people.zip", lambda target: target.write_bytes(b"everybody"))
    assert path.read_bytes() == b"everybody" and traces.SIGN.sub("", path.name) == "people.zip"
    assert os.name == "nt" or path.parent.stat().st_mode & 0o077 == 0, "nobody else on this computer reads it"
    signed = path.parent if version >= "4" else place(tmp_path / "gradio" / "ff00" / path.name, b"everybody")
    assert traces.SIGN.match(signed.name) and (version < "4" or path.name == "people.zip")
    traces.sweep()
    assert len(there(tmp_path)) == (1 if version >= "4" else 2), "still being downloaded"
    for one in (path, path.parent, signed):
        os.utime(one, (time.time() - 700, time.time() - 700))
    ((seconds, then),) = timers
    assert seconds == traces.PATIENCE == 600 and callable(then)
    then()
    assert there(tmp_path) == [] and not path.parent.exists()


def test_what_cannot_be_written_leaves_nothing(traces, tmp_path):
    def fails(target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        traces.handed("people.zip", fails)
    assert there(tmp_path) == []


def test_what_a_killed_program_left_is_swept(traces, tmp_path):
    room = place(tmp_path / "gradio" / f"{SIGN}room" / "Anna.png", b"a photo").parent
    fresh = place(tmp_path / "gradio" / "5678" / f"{SIGN}new.png", b"being uploaded")
    os.utime(room, (time.time() - 700, time.time() - 700))
    traces.sweep()
    assert not room.exists() and fresh.is_file() and len(there(tmp_path)) == 1


def test_at_the_end_what_was_handed_out_goes_at_once(traces, tmp_path):
    path = traces.handed("styles.json", lambda target: target.write_text("{}"))
    others = place(tmp_path / "gradio" / "9999" / f"{SIGN}people.zip", b"of another program")
    traces._at_the_end()
    assert not path.exists() and others.is_file()
    shutil.rmtree(others.parent)
    assert there(tmp_path) == []
