"""Files moved, deleted, copied and edited by hand; the index lost or broken; two processes at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from facechain_ext.store.history import INDEX
from facechain_ext.store.records import Changes, Wanted
from tests.store.history_cases import INFO, NOON, history, image, record, write

ROOT = Path(__file__).parents[2]


def everything(kept, user: str = "anna") -> dict[str, int]:
    return {entry.path.relative_to(kept.folder).as_posix(): entry.seed for entry in kept.page(Wanted(user=user), count=500).entries}


def test_an_untouched_folder_changes_nothing(tmp_path) -> None:
    kept = history(tmp_path)
    kept.add(image(1), record())
    assert kept.reindex() == Changes()


def test_a_moved_file_is_found_by_its_content(tmp_path) -> None:
    kept = history(tmp_path)
    entry, other = kept.add(image(1), record(seed=1)), kept.add(image(2), record(seed=2))
    target = tmp_path / "anna" / "Eva" / "Oil" / "2023-11-15" / "best.png"
    target.parent.mkdir(parents=True)
    shutil.move(entry.path, target)
    assert kept.reindex() == Changes(moved=1)
    found = kept.get("anna", entry.id)
    assert found.path == target and (found.person, found.style, found.seed, found.likeness) == ("Eva", "Oil", 1, 0.5)
    assert kept.get("anna", other.id) == other
    assert [one.id for one in kept.page(Wanted(user="anna", text="eva oil")).entries] == [entry.id]


def test_two_files_that_changed_places_are_told_apart(tmp_path) -> None:
    kept = history(tmp_path)
    one, two = kept.add(image(1), record(seed=1)), kept.add(image(2), record(seed=2))
    between = tmp_path / "x"
    os.replace(one.path, between)
    os.replace(two.path, one.path)
    os.replace(between, two.path)
    assert kept.reindex() == Changes(moved=2)
    assert kept.get("anna", one.id).path == two.path and kept.get("anna", two.id).path == one.path


def test_a_file_moved_onto_a_deleted_ones_place(tmp_path) -> None:
    kept = history(tmp_path)
    one, two = kept.add(image(1), record(seed=1)), kept.add(image(2), record(seed=2))
    os.replace(one.path, two.path)
    assert kept.reindex() == Changes(moved=1, dropped=1)
    assert everything(kept) == {two.path.relative_to(tmp_path).as_posix(): 1}


def test_a_vanished_file_is_dropped_with_its_thumbnail(tmp_path) -> None:
    kept = history(tmp_path)
    entry = kept.add(image(1), record())
    small = kept.thumbnail("anna", entry.id)
    entry.path.unlink()
    assert not kept.page(Wanted(user="anna")).entries[0].there
    assert kept.reindex() == Changes(dropped=1)
    assert everything(kept) == {} and not small.exists()


def test_what_is_moved_to_another_user_is_that_users(tmp_path) -> None:
    kept = history(tmp_path)
    entry = kept.add(image(1), record())
    target = tmp_path / "bob" / entry.path.relative_to(tmp_path / "anna")
    target.parent.mkdir(parents=True)
    os.replace(entry.path, target)
    kept.reindex()
    assert everything(kept, "anna") == {} and len(everything(kept, "bob")) == 1


def test_unknown_pictures_of_ours_are_taken_in_and_no_others(tmp_path) -> None:
    kept = history(tmp_path)
    kept.add(image(1), record(seed=1))
    info = INFO.format(seed=77, likeness="0.625 by arc, face")
    ours = write(tmp_path / "^bob" / "a=2Fb" / "Öl" / "2023-11-15" / "00007-77.png", 3, info)
    os.utime(ours, (NOON, NOON))
    write(tmp_path / "anna" / "strange.png", 4, "a cat\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1")
    write(tmp_path / "anna" / "plain.png", 5)
    write(tmp_path / "anna" / "~unfinished.png", 6, info)
    write(tmp_path / "nobody.png", 7, info)
    (tmp_path / "anna" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nhalf")
    assert kept.reindex() == Changes(added=1)
    (entry,) = kept.page(Wanted(user="Bob")).entries
    assert (entry.user, entry.person, entry.style, entry.seed, entry.made) == ("Bob", "a/b", "Öl", 77, NOON)
    assert (entry.prompt, entry.loras, entry.info) == ("a handsome man, in a garden", (("film grain", 0.6),), info)
    assert entry.likeness == 0.625 and (entry.width, entry.height) == (16, 24)


def test_an_edited_picture_keeps_its_entry(tmp_path) -> None:
    kept = history(tmp_path)
    entry = kept.add(image(1), record(seed=1))
    write(entry.path, 250, INFO.format(seed=8, likeness="no face found by arc"))
    assert kept.reindex() == Changes(edited=1)
    found = kept.get("anna", entry.id)
    assert (found.seed, found.likeness, found.judge, found.person) == (8, None, "arc", "Max") and found.hash != entry.hash


def test_a_crash_after_the_file_loses_nothing(tmp_path) -> None:
    kept = history(tmp_path)
    kept.add(image(1), record(seed=1))
    code = (
        "import os, sys; from pathlib import Path; from facechain_ext.store import index; from tests.store.history_cases import *\n"
        "index.insert = lambda *a, **k: os._exit(9)\n"
        "history(Path(sys.argv[1])).add(image(2), record(seed=2))"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=False).returncode == 9
    assert sorted(everything(kept).values()) == [1]
    kept.reindex()
    assert sorted(everything(kept).values()) == [1, 2]
    assert kept.add(image(3), record(seed=3)).path.name == "00003-3.png"


def test_remains_of_crashes_are_swept_up_but_not_work_going_on(tmp_path) -> None:
    kept = history(tmp_path)
    kept.add(image(1), record())
    old, new, mine = (write(tmp_path / "anna" / f"~{name}.png", 1) for name in (f"{1:032x}", f"{2:032x}", "mine"))
    torn = write(tmp_path / "anna" / "torn.png", 1).rename(tmp_path / "anna" / f".{3:032x}.part")
    for path in (old, torn, mine):
        os.utime(path, (NOON, NOON))
    kept.reindex()
    assert not old.exists() and not torn.exists() and new.exists() and mine.exists(), "what somebody else called so is not ours to delete"


@pytest.mark.parametrize("harm", ["lost", "no database", "torn"])
def test_the_index_is_made_again_from_the_pictures(tmp_path, harm, caplog) -> None:
    kept = history(tmp_path)
    for seed in range(1, 5):
        kept.add(image(seed), record(seed=seed, person="A/B"))
    kept.delete("anna", kept.page(Wanted(user="anna")).entries[1].id)
    before = everything(kept)
    file, content = tmp_path / INDEX, (tmp_path / INDEX).read_bytes()
    if harm == "lost":
        file.unlink()
    else:
        file.write_bytes(b"not a database at all" * 300 if harm == "no database" else content[:4096] + b"\xff" * (len(content) - 4096))
    assert everything(kept) == before and len(before) == 3
    assert {entry.person for entry in kept.page(Wanted(user="anna")).entries} == {"A/B"}
    aside = list(tmp_path.glob("history-broken-*.sqlite3"))
    assert len(aside) == (harm != "lost")
    assert sum("was broken" in message for message in caplog.messages) == len(aside)
    assert kept.add(image(9), record(seed=9)).path.name == "00005-9.png"


def test_an_index_that_broke_off_while_it_was_filled_is_filled_again(tmp_path) -> None:
    kept = history(tmp_path)
    kept.add(image(1), record(seed=1))
    (tmp_path / INDEX).unlink()
    kept.parse = lambda info: 1 / 0  # whatever stops it
    with pytest.raises(ZeroDivisionError):
        kept.page(Wanted(user="anna"))
    assert list(everything(history(tmp_path)).values()) == [1]


WRITER = """
import sys
from pathlib import Path
from tests.store.history_cases import *
kept = history(Path(sys.argv[1]))
start = int(sys.argv[2])
sys.stdin.readline()
for seed in range(start, start + 25):
    entry = kept.add(image(seed), record(seed=1, prompt=f"p{seed}"))
    if seed % 5 == 0:
        kept.delete("anna", entry.id)
    if seed % 10 == 3:
        kept.reindex()
"""


def test_two_processes_write_at_once(tmp_path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(start)], cwd=ROOT, stdin=subprocess.PIPE, text=True)
        for start in (0, 1000)
    ]
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    assert [writer.wait(120) for writer in writers] == [0, 0]
    kept = history(tmp_path)
    entries = kept.page(Wanted(user="anna"), count=500).entries
    expected = {f"p{seed}" for start in (0, 1000) for seed in range(start, start + 25) if seed % 5}
    assert {entry.prompt for entry in entries} == expected and len(entries) == len(expected) == 40
    assert {entry.path for entry in entries} == set(tmp_path.rglob("*.png")) and len({entry.path.name[:5] for entry in entries}) == 40
    assert kept.reindex() == Changes()
