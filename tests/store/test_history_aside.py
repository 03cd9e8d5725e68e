"""Pictures made to choose from and not chosen: kept, but out of the way."""

from __future__ import annotations

import pytest

from facechain_ext.store.records import Wanted
from tests.store.history_cases import history, image, record, write


def ids(found) -> list[int]:
    return [entry.id for entry in found.entries]


def test_what_is_not_chosen_lies_in_a_folder_of_its_own_and_stays_in_the_history(tmp_path) -> None:
    kept = history(tmp_path)
    entries = [kept.add(image(n), record(seed=n)) for n in range(3)]
    (moved,) = kept.set_aside("anna", [entries[1].id])
    assert moved.path == entries[1].path.parent / "others" / entries[1].path.name and moved.there and moved.aside
    assert moved.id == entries[1].id and not entries[1].path.exists()
    assert ids(kept.page(Wanted(user="anna", aside=False))) == [entries[2].id, entries[0].id]
    assert ids(kept.page(Wanted(user="anna", aside=True))) == [moved.id]
    assert len(ids(kept.page(Wanted(user="anna")))) == 3
    assert kept.delete("anna", moved.id) == 1 and not moved.path.parent.exists()


def test_it_stays_aside_when_the_index_is_made_anew(tmp_path) -> None:
    kept = history(tmp_path)
    first, second = (kept.add(image(n), record(seed=n)) for n in range(2))
    kept.set_aside("anna", [first.id])
    assert kept.reindex().moved == 0
    kept.index.unlink()
    found = history(tmp_path).page(Wanted(user="anna", aside=True)).entries
    assert [(one.seed, one.person, one.style) for one in found] == [(0, "Max", "Film")]
    assert history(tmp_path).amount(Wanted(user="anna", aside=False)) == 1 and second.there


@pytest.mark.parametrize("style", ["others", "2024-01-01"])
def test_a_style_of_that_name_is_not_taken_for_it(tmp_path, style) -> None:
    kept = history(tmp_path)
    entry = kept.add(image(1), record(style=style))
    assert not entry.aside and kept.amount(Wanted(user="anna", aside=True)) == 0


def test_nothing_of_another_user_is_moved_and_what_is_gone_is_passed_over(tmp_path) -> None:
    kept = history(tmp_path)
    theirs = kept.add(image(1), record(user="max"))
    mine = kept.add(image(2), record())
    mine.path.unlink()
    assert kept.set_aside("anna", [theirs.id, mine.id]) == [] and theirs.there
    write(theirs.path.parent / "others" / "note.png", 3)
    assert [entry.aside for entry in kept.set_aside("max", [theirs.id])] == [True]
