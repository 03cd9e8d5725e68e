"""Fetch a weight file when a person asks for it: resumable, from the first mirror that answers, checked before it gets its name."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from facechain_ext.errors import BadWeights, CannotWrite, FaceChainError
from facechain_ext.log import log
from facechain_ext.weights.records import Record

CHUNK = 1 << 20
TIMEOUT = 30
SPARE = 50_000_000  # bytes that stay free on the disk

Report = Callable[[int, "int | None"], None]
"""Told the bytes that are here and those there will be (None: unknown); raising stops the work, what came stays for the next time."""


class CannotFetch(FaceChainError):
    """No mirror gave the file."""


def fetch(record: Record, models: Path, *, offline: bool = False, report: Report | None = None) -> Path:
    """Bring the file to where the host keeps it, and return its path; one that is there already is only checked.

    CannotFetch where offline, or where every mirror failed; BadWeights where what is there or came is not the file; CannotWrite.
    """
    target = record.target(models)
    if target.is_file():
        verify(record, target)
        return target
    if offline:
        raise CannotFetch(f"{record.file} is not there and --facechain-offline forbids fetching it: put it into {target.parent}.")
    _check_space(record, target)
    partial = target.with_name(target.name + ".partial")
    failures = []
    for source in record.sources:
        try:
            _download(source, partial, record, report)
            verify(record, partial)
            partial.replace(target)
            return target
        except BadWeights as error:
            partial.unlink(missing_ok=True)
            failures.append(f"{_host(source)} gave another file ({error})")
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            failures.append(f"{_host(source)} did not answer ({getattr(error, 'reason', None) or error})")
        except OSError as error:
            raise CannotWrite(f"{partial} cannot be written ({error.strerror or error}): free some space or change its folder.") from error
        log.warning("%s: %s", record.file, failures[-1])
    raise CannotFetch(f"{record.file} could not be fetched: {'; '.join(failures)}. Put it into {target.parent} by hand.")


def verify(record: Record, path: Path) -> None:
    """BadWeights where the file's size or SHA-256 is not the record's, as far as the record knows them."""
    size = path.stat().st_size
    if record.bytes is not None and size != record.bytes:
        raise BadWeights(f"{path.name} has {size} bytes, expected {record.bytes}: delete it and get it again.")
    if record.sha256 is not None and (found := digest(path)) != record.sha256:
        raise BadWeights(f"{path.name} has SHA-256 {found[:12]}…, expected {record.sha256[:12]}…: delete it and get it again.")


def digest(path: Path) -> str:
    """SHA-256 of a whole file, in hex."""
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            total.update(chunk)
    return total.hexdigest()


def _download(source: str, partial: Path, record: Record, report: Report | None) -> None:
    """Append what is missing to the partial file; begin anew where the server cannot continue."""
    here = partial.stat().st_size if partial.is_file() else 0
    if record.bytes is not None and here == record.bytes:
        return
    headers = {"User-Agent": "facechain-webui"} | ({"Range": f"bytes={here}-"} if here else {})
    try:
        answer = urllib.request.urlopen(urllib.request.Request(source, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and here:  # nothing is left to send: the file is whole, or not this one, which the check will tell
            return
        raise
    with answer:
        here = here if answer.status == 206 else 0
        length = answer.headers.get("Content-Length")
        total = here + int(length) if length else record.bytes
        with open(partial, "ab" if here else "wb") as file:
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                here += len(chunk)
                if report is not None:
                    report(here, total)
    if total is not None and here < total:
        raise ConnectionError(f"the connection ended after {here} of {total} bytes")


def _check_space(record: Record, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(target.parent).free
    except OSError as error:
        raise CannotWrite(f"{target.parent} cannot be made ({error.strerror}): choose another folder for models.") from error
    if record.bytes is not None and free < record.bytes + SPARE:
        raise CannotWrite(f"{target.parent} has {free // 10**6} MB free, {record.file} needs {record.bytes // 10**6} MB: free some space.")


def _host(source: str) -> str:
    return source.split("/")[2] if "//" in source else source
