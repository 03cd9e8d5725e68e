"""Names as folders: safe everywhere, never shared, read back."""

from __future__ import annotations

import unicodedata

import pytest

from facechain_ext.store.names import name_of, owner, part


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("Anna", "Anna"), ("陈 晨", "陈 晨"), ("Zoë", "Zoë"), ("a/b", "a=2Fb"), ("..", "=2E=2E"), ("../../etc", "=2E.=2F..=2Fetc"),
        ("x.", "x=2E"), ("x ", "x=20"), (".x", "=2Ex"), (" x", "=20x"), ("con", "=63on"), ("NUL.txt", "=4EUL.txt"), ("com1", "=63om1"),
        ("com", "com"), ("", "_"), ("_", "=5F"), ("a:b*c?", "a=3Ab=2Ac=3F"), ("50%", "50=25"), ("~x", "=7Ex"), ("a=b", "a=3Db"),
        ("tab\there", "tab=09here"),
    ],
)  # fmt: skip
def test_a_name_becomes_a_folder_and_is_read_back(name: str, folder: str) -> None:
    assert part(name) == folder
    assert name_of(folder) == name


def test_a_decomposed_letter_is_the_same_name() -> None:
    assert part(unicodedata.normalize("NFD", "Zoë")) == part("Zoë") and name_of(unicodedata.normalize("NFD", "Zoë")) == "Zoë"


def test_long_names_are_cut_and_stay_apart() -> None:
    one, two = part("陈" * 200), part("陈" * 201)
    assert one != two and len(one) <= 48 and len(one.encode()) < 200


@pytest.mark.parametrize(
    "pair", [("Bob", "bob"), ("a/b", "a_b"), ("^bob", "Bob"), ("=42ob", "Bob"), ("É", "é"), ("x" * 60, "x" * 61), ("", "_")]
)
def test_no_two_users_share_a_folder(pair: tuple[str, str]) -> None:
    assert owner(pair[0]).casefold() != owner(pair[1]).casefold()


def test_a_users_folder_reads_well() -> None:
    assert (owner("Anna"), owner("bob@example.org"), owner("CON")) == ("^anna", "bob@example.org", "=43^o^n")
