"""Element ids: one function, one prefix, shared with the stylesheet and the script of the page."""

from __future__ import annotations

PREFIX = "facechain"


def element(tab: str, name: str, person: int | None = None) -> str:
    """The id of an element of the panel: `facechain-txt2img-weight-2` is the weight of person 2 in txt2img."""
    return "-".join(str(part) for part in (PREFIX, tab, name, person) if part is not None)
