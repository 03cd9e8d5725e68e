"""A prompt in the WebUI's notation, tag by tag: commas, (emphasis), (weights:1.2) and [less], repaired where brackets do not match."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

TOKEN = re.compile(r"\\.|[()\[\],]|[^()\[\],\\]+|\\$")
CLOSING = {")": "(", "]": "["}
WEIGHT = re.compile(r":\s*(\d+(?:\.\d*)?|\.\d+)\s*$")
BARE = re.compile(r"(.*[^\W\d].*):(\d\.\d+)")
"""A tag with a weight that stands outside brackets; with decimals, so that 16:9 is none."""


@dataclass(frozen=True)
class Group:
    """Tags in brackets; weight as written, None where there is none."""

    bracket: str
    tags: tuple[Tag, ...]
    weight: float | None = None


Tag = tuple["str | Group", ...]
"""What stands between two commas: texts and groups."""


def rewritten(prompt: str, *, keep: Callable[[str], bool], text: Callable[[str], str], strongest: float | None = None) -> str:
    """The prompt without the tags that `keep` refuses, each text changed by `text`, brackets balanced, weights at most `strongest`."""

    def change(tags: tuple[Tag, ...]) -> Iterator[Tag]:
        for tag in tags:
            lone = [type(piece) for piece in tag if isinstance(piece, Group) or piece.strip()] == [Group]
            new = tuple(piece for piece in map(piece_of, tag) if piece) if lone or keep(plain(tag)) else ()
            if any(isinstance(piece, Group) or piece.strip() for piece in new):
                yield new

    def piece_of(piece: str | Group) -> str | Group:
        if isinstance(piece, str):
            return text(piece)
        inner = tuple(change(piece.tags))
        weight = piece.weight if piece.weight is None or strongest is None else min(piece.weight, strongest)
        return Group(piece.bracket, inner, weight) if inner else ""

    return written(tuple(change(tags_of(prompt))))


def tags_of(prompt: str) -> tuple[Tag, ...]:
    """The tags of a prompt; brackets without a partner are closed after their weight, or left out."""
    tags, _ = _read(list(_balanced(TOKEN.findall(prompt))), 0)
    return tuple((Group("(", ((found[1],),), float(found[2])),) if (found := _bare(tag)) else tag for tag in tags)


def written(tags: tuple[Tag, ...]) -> str:
    """Tags as a prompt."""
    texts = ("".join(piece if isinstance(piece, str) else _bracketed(piece) for piece in tag) for tag in tags)
    return ", ".join(re.sub(r"\s+", " ", text).strip() for text in texts)


def plain(tag: Tag) -> str:
    """The words of a tag without brackets and weights."""
    return "".join(piece if isinstance(piece, str) else ", ".join(map(plain, piece.tags)) for piece in tag).strip()


def _bracketed(group: Group) -> str:
    weight = "" if group.weight is None else f":{group.weight:g}"
    return f"{group.bracket}{written(group.tags)}{weight}{')' if group.bracket == '(' else ']'}"


def _bare(tag: Tag) -> re.Match[str] | None:
    return BARE.fullmatch(tag[0].strip()) if len(tag) == 1 and isinstance(tag[0], str) else None


def _balanced(tokens: list[str]) -> Iterator[str]:
    """The tokens without brackets that have no partner; one that closes takes its weight along, one that opens ends at its weight."""
    partners = _partners(tokens)
    for place, token in enumerate(tokens):
        following = tokens[place + 1] if place + 1 < len(tokens) else ""
        before = tokens[place - 1] if place else ""
        if token in ("(", "[", *CLOSING):
            if place in partners or (token == "(" and WEIGHT.search(following)):
                yield token
        elif following in CLOSING and place + 1 not in partners and not (before == "(" and place - 1 not in partners):
            yield WEIGHT.sub("", token)
        else:
            yield token
            if before == "(" and place - 1 not in partners and WEIGHT.search(token):
                yield ")"


def _partners(tokens: list[str]) -> set[int]:
    """The places of brackets that belong together."""
    open_places: list[int] = []
    found: set[int] = set()
    for place, token in enumerate(tokens):
        if token in ("(", "["):
            open_places.append(place)
        elif token in CLOSING and open_places and tokens[open_places[-1]] == CLOSING[token]:
            found |= {open_places.pop(), place}
    return found


def _read(tokens: list[str], place: int) -> tuple[tuple[Tag, ...], int]:
    """Tags up to the bracket that closes them, and the place after it."""
    tags: list[Tag] = []
    tag: list[str | Group] = []
    while place < len(tokens) and tokens[place] not in CLOSING:
        token = tokens[place]
        place += 1
        if token == ",":
            tags, tag = [*tags, tuple(tag)], []
        elif token in ("(", "["):
            inner, place = _read(tokens, place)
            place += 1
            tag.append(_weighted(token, inner))
        elif tag and isinstance(tag[-1], str):
            tag[-1] += token
        else:
            tag.append(token)
    return tuple(one for one in (*tags, tuple(tag)) if plain(one)), place


def _weighted(bracket: str, tags: tuple[Tag, ...]) -> Group:
    last = tags[-1][-1] if tags else ""
    found = WEIGHT.search(last) if bracket == "(" and isinstance(last, str) else None
    if not found or not isinstance(last, str):
        return Group(bracket, tags)
    rest = (*tags[-1][:-1], last[: found.start()])
    return Group(bracket, tuple(tag for tag in (*tags[:-1], rest) if plain(tag)), float(found[1]))
