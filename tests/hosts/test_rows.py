"""Rows of a UNet call: the cursor, marks, chunks and tiles, against layouts written by hand."""

from __future__ import annotations

import pytest

from facechain_ext.hosts import rows


def test_a_cursor_hands_out_a_step_in_order():
    cursor = rows.Cursor((1, 1, 1, 0, 0))
    assert [cursor.take(2), cursor.take(2), cursor.take(1)] == [(1, 1), (1, 0), (0,)]
    assert cursor.take(1) is None


def test_a_cursor_gives_nothing_rather_than_a_part():
    cursor = rows.Cursor((1, 0))
    assert cursor.take(3) is None
    assert cursor.take(2) == (1, 0)
    assert rows.Cursor().take(1) is None


@pytest.mark.parametrize(
    ("conditional", "total", "layout"),
    [(1, 2, (1, 0)), (3, 6, (1, 1, 1, 0, 0, 0)), (4, 6, (1, 1, 1, 1, 0, 0)), (1, 3, (1, 0, 0)), (2, 2, (1, 1)), (0, 2, ()), (3, 2, ())],
    ids=["plain", "batch 3", "AND × batch 2", "edit model", "no negative", "nothing conditional", "impossible"],
)
def test_announced_rows(conditional, total, layout):
    assert rows.announced(conditional, total) == layout


def test_marked_rows():
    assert rows.marked([1.0, 1.0, 0.0, 0.0]) == (0, 0, 1, 1)


@pytest.mark.parametrize(
    ("chunks", "count", "layout"),
    [([1, 0], 4, (0, 0, 1, 1)), ([1, 0, 0], 3, (0, 1, 1)), ([0], 2, (1, 1)), ([1, 0], 3, None), ([], 2, None)],
)
def test_chunked_rows(chunks, count, layout):
    assert rows.chunked(chunks, count) == layout


@pytest.mark.parametrize(
    ("layout", "count", "result"), [((1, 0), 6, (1, 0, 1, 0, 1, 0)), ((1, 0), 2, (1, 0)), ((1, 0), 3, None), ((), 2, None)]
)
def test_tiles_repeat_the_layout(layout, count, result):
    assert rows.tiled(layout, count) == result


@pytest.mark.parametrize(
    ("step", "steps", "done"), [(0, 20, 0.0), (5, 20, 0.25), (19, 20, 0.95), (-1, 20, 0.0), (0, 0, 0.0), (0, None, 0.0)]
)
def test_progress(step, steps, done):
    assert rows.progress(step, steps) == done


def test_progress_stays_below_one_for_samplers_that_take_more_calls():
    assert 0.999 < rows.progress(25, 20) < 1
