"""The history: every result kept whole, found by its user alone, and really deleted."""

from __future__ import annotations

import sqlite3
from datetime import date

import pytest
from PIL import Image

from facechain_ext.errors import BadInput, BadPicture, CannotWrite
from facechain_ext.store import index
from facechain_ext.store.crowd import fill, first_page_seconds
from facechain_ext.store.records import Wanted
from facechain_ext.workflows.infotext import parse_info
from tests.store.history_cases import NOON, history, image, record, write


def seeds(kept, wanted: Wanted, **more) -> list[int]:
    return [entry.seed for entry in kept.page(wanted, **more).entries]


def test_a_result_lies_where_a_person_looks_for_it_with_all_that_made_it(tmp_path) -> None:
    kept = history(tmp_path)
    entry = kept.add(image(5), record(seed=5))
    day = date.fromtimestamp(NOON).isoformat()
    assert entry.path == tmp_path / "anna" / "Max" / "Film" / day / "00001-5.png"
    with Image.open(entry.path) as picture:
        assert picture.size == (16, 24) == (entry.width, entry.height)
        assert parse_info(picture.info["parameters"])[2]["Seed"] == "5"
    assert kept.get("anna", entry.id) == entry
    assert (entry.person, entry.style, entry.seed, entry.likeness, entry.judge) == ("Max", "Film", 5, 0.5, "arcface")
    assert entry.loras == (("film grain", 0.6),) and entry.info == record(seed=5).info and entry.bytes == entry.path.stat().st_size
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["00001-5.png", "history.sqlite3"]


def test_a_file_is_copied_and_a_callable_saves_itself(tmp_path) -> None:
    kept = history(tmp_path / "out")
    given = write(tmp_path / "given.png", 3)
    assert kept.add(given, record()).path.read_bytes() == given.read_bytes()
    assert kept.add(lambda path: image(9).save(path), record()).there


def test_nothing_half_written_stays(tmp_path) -> None:
    kept = history(tmp_path)

    def breaks(path) -> None:
        path.write_bytes(b"\x89PNG half")
        raise OSError(28, "No space left on device")

    with pytest.raises(CannotWrite, match="No space left"):
        kept.add(breaks, record())
    with pytest.raises(BadPicture):
        kept.add(lambda path: path.write_bytes(b"no picture"), record())
    assert not list(tmp_path.rglob("*.png")) and kept.amount(Wanted(user="anna")) == 0


def test_numbers_are_not_used_again_after_deletions(tmp_path) -> None:
    kept = history(tmp_path)
    entries = [kept.add(image(n), record(seed=7)) for n in range(3)]
    kept.delete("anna", [entry.id for entry in entries[1:]])
    assert kept.add(image(4), record(seed=7)).path.name == "00004-7.png"
    assert kept.add(image(4), record(user="bob", seed=7)).path.name == "00001-7.png"


def test_a_number_that_is_taken_by_a_file_nobody_knew_is_not_overwritten(tmp_path) -> None:
    kept = history(tmp_path)
    first = kept.add(image(1), record(seed=1))
    stranger = write(first.path.with_name("00002-1.png"), 200)
    before = stranger.read_bytes()
    assert kept.add(image(2), record(seed=1)).path.name == "00003-1.png" and stranger.read_bytes() == before


def test_filters_and_order(tmp_path) -> None:
    kept = history(tmp_path)
    day = 86400.0
    kept.add(image(1), record(seed=1, likeness=0.2, made=NOON))
    kept.add(image(2), record(seed=2, likeness=None, made=NOON + day, person="Eva"))
    kept.add(image(3), record(seed=3, likeness=0.9, made=NOON + 2 * day, style="Oil"))
    kept.add(image(4), record(seed=4, likeness=-0.1, made=NOON + 3 * day, prompt="UNDER the Sea", person=""))
    kept.add(image(5), record("bob", seed=5, likeness=0.99))
    days = [date.fromtimestamp(NOON + n * day) for n in range(4)]
    assert seeds(kept, Wanted(user="anna")) == [4, 3, 2, 1]
    assert seeds(kept, Wanted(user="anna", sort="likeness")) == [3, 1, 4, 2]
    assert seeds(kept, Wanted(user="anna", person="Eva")) == [2]
    assert seeds(kept, Wanted(user="anna", person="")) == [4]
    assert seeds(kept, Wanted(user="anna", style="Oil")) == [3]
    assert seeds(kept, Wanted(user="anna", since=days[1], until=days[2])) == [3, 2]
    assert seeds(kept, Wanted(user="anna", text="sea under")) == [4]
    assert seeds(kept, Wanted(user="anna", text="100%")) == []
    assert seeds(kept, Wanted(user="anna", least=0.2)) == [3, 1]
    assert seeds(kept, Wanted(user="anna", least=-5)) == [4, 3, 1]
    assert kept.amount(Wanted(user="anna", style="Film")) == 3
    assert kept.names("anna", "person") == {"": 1, "Eva": 1, "Max": 2} and kept.names("anna", "style") == {"Film": 3, "Oil": 1}


def test_a_day_that_the_machine_cannot_tell_is_before_or_after_everything(tmp_path, monkeypatch) -> None:
    """Windows knows no time before 1970, and none after 3000."""
    kept = history(tmp_path)
    kept.add(image(1), record())

    class Days(index.datetime):
        def timestamp(self) -> float:
            raise OSError(22, "Invalid argument")

    monkeypatch.setattr(index, "datetime", Days)
    amounts = [kept.amount(Wanted(user="anna", **{end: date(year, 1, 1)})) for end in ("since", "until") for year in (1970, 4000)]
    assert amounts == [1, 0, 0, 1]


@pytest.mark.parametrize("sort", ["newest", "likeness"])
def test_pages_follow_each_other_also_when_pictures_come_between(tmp_path, sort) -> None:
    kept = history(tmp_path)
    for n in range(7):  # equal times and likenesses: only the id tells them apart
        kept.add(image(n), record(seed=n, likeness=0.5, made=NOON))
    wanted = Wanted(user="anna", sort=sort)
    first = kept.page(wanted, count=3)
    kept.add(image(99), record(seed=99, likeness=0.9, made=NOON + 5))
    second = kept.page(wanted, after=first.next, count=3)
    last = kept.page(wanted, after=second.next, count=3)
    assert [[entry.seed for entry in page.entries] for page in (first, second, last)] == [[6, 5, 4], [3, 2, 1], [0]]
    assert last.next == ""
    with pytest.raises(BadInput, match="no place in the history"):
        kept.page(wanted, after="x'; DROP TABLE pictures")


def test_nothing_of_another_user(tmp_path) -> None:
    kept = history(tmp_path)
    hers, his = kept.add(image(1), record("anna")), kept.add(image(2), record("Anna"))
    assert [entry.id for entry in kept.page(Wanted(user="anna")).entries] == [hers.id]
    with pytest.raises(BadInput, match="There is no picture"):
        kept.get("anna", his.id)
    with pytest.raises(BadInput):
        kept.thumbnail("anna", his.id)
    assert kept.delete("anna", [his.id]) == 0 and his.there
    assert kept.delete_all("anna") == 1 and his.there and not hers.there
    for user in ("", "bob"):
        asked = Wanted(user=user)
        if user:
            assert kept.page(asked).entries == () and kept.names(user, "style") == {}
            continue
        for ask in (lambda asked=asked: kept.page(asked), lambda asked=asked: kept.amount(asked), lambda: kept.delete_all("")):
            with pytest.raises(BadInput, match="per user"):
                ask()


def test_deleting_leaves_nothing(tmp_path) -> None:
    kept = history(tmp_path)
    one, two = kept.add(image(1), record(person="Secret Name", prompt="secret prompt")), kept.add(image(2), record())
    small = kept.thumbnail("anna", one.id)
    assert kept.delete("anna", one.id) == 1
    assert not one.there and not small.exists() and two.there and not (tmp_path / "anna" / "Secret Name").exists()
    content = (tmp_path / "history.sqlite3").read_bytes()
    assert b"secret prompt" not in content and b"Secret Name" not in content
    assert kept.delete("anna", one.id) == 0


def test_deleting_everything_takes_also_what_the_index_did_not_know(tmp_path) -> None:
    kept = history(tmp_path)
    kept.thumbnail("anna", kept.add(image(1), record()).id)
    forgotten = write(tmp_path / "anna" / "Max" / "loose.png", 9, record(seed=9).info)
    draft = write(tmp_path / "anna" / "Max" / f"~{9:032x}.png", 9)
    torn = draft.rename(draft.with_name(f".{8:032x}.part"))
    write(draft, 9)
    assert kept.delete_all("anna") == 2
    assert not any(path.exists() for path in (forgotten, draft, torn))
    assert [path.name for path in tmp_path.iterdir()] == ["history.sqlite3"]


def test_a_persons_own_files_are_left_alone(tmp_path) -> None:
    kept = history(tmp_path)
    kept.add(image(1), record())
    holiday = write(tmp_path / "anna" / "holiday.png", 9)
    assert kept.delete_all("anna") == 1 and holiday.is_file()


def test_thumbnails_are_made_once_and_keep_the_whole_picture(tmp_path) -> None:
    kept = history(tmp_path)
    entry = kept.add(Image.new("RGBA", (600, 300), (9, 9, 9, 255)), record())
    assert not list(tmp_path.rglob("*.jpg"))
    small = kept.thumbnail("anna", entry.id)
    with Image.open(small) as picture:
        assert picture.size == (256, 128) and picture.format == "JPEG"
    small.write_bytes(b"seen before")
    assert kept.thumbnail("anna", entry.id).read_bytes() == b"seen before"
    small.unlink()
    entry.path.unlink()
    with pytest.raises(BadPicture, match="re-index"):
        kept.thumbnail("anna", entry.id)


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        (Wanted(user="a"), "newest"), (Wanted(user="a", person="p"), "newest_of_person"), (Wanted(user="a", style="s"), "newest_of_style"),
        (Wanted(user="a", sort="likeness"), "likest"), (Wanted(user="a", sort="likeness", person="p"), "likest_of_person"),
        (Wanted(user="a", sort="likeness", style="s", least=0.1), "likest_of_style"),
        (Wanted(user="a", since=date(2024, 1, 1), until=date(2024, 1, 2)), "newest"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("after", ["", "5.0:7"])
def test_every_page_is_read_off_an_index_without_sorting(tmp_path, wanted, name, after) -> None:
    kept = history(tmp_path)
    fill(kept, 300)
    statement, values = index.question(wanted, after=after, count=51)
    with index.opened(kept.index) as connection:
        plan = [row["detail"] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert len(plan) == 1 and plan[0].startswith(f"SEARCH pictures USING INDEX {name} (owner=?"), plan


def test_the_first_page_of_a_crowd_is_timed(tmp_path) -> None:
    assert first_page_seconds(120) > 0
    kept = history(tmp_path)
    fill(kept, 120)
    assert kept.amount(Wanted(user="one")) == 120 and seeds(kept, Wanted(user="one"), count=2) == [119, 118]


def test_an_older_index_is_brought_up_to_date(tmp_path, monkeypatch) -> None:
    kept = history(tmp_path)
    entry = kept.add(image(1), record())
    further = ("ALTER TABLE pictures ADD COLUMN stars INTEGER NOT NULL DEFAULT 3", "CREATE INDEX starred ON pictures (owner, stars)")
    monkeypatch.setattr(index, "MIGRATIONS", (*index.MIGRATIONS, further))
    assert kept.get("anna", entry.id) == entry
    with sqlite3.connect(kept.index) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
        assert connection.execute("SELECT stars FROM pictures").fetchall() == [(3,)]
    connection.close()


def test_an_index_of_a_newer_version_is_not_touched(tmp_path) -> None:
    kept = history(tmp_path)
    kept.add(image(1), record())
    with sqlite3.connect(kept.index) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = kept.index.read_bytes()
    with pytest.raises(CannotWrite, match="newer version"):
        kept.page(Wanted(user="anna"))
    assert kept.index.read_bytes() == before


def test_a_folder_that_cannot_be_used_is_said(tmp_path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(CannotWrite, match="index"):
        history(tmp_path / "file" / "out").page(Wanted(user="anna"))
    with pytest.raises(CannotWrite):
        history(tmp_path / "file" / "out").add(image(1), record())
