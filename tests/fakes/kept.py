"""What a studio keeps, as it really is, in one folder."""

from __future__ import annotations

from pathlib import Path

from facechain_ext.store.history import History
from facechain_ext.store.library import Library, library_of
from facechain_ext.workflows.infotext import parse_info
from facechain_ext.workflows.own_styles import OwnStyles, styles_of


class Kept:
    """Library, history and own styles of `folder`."""

    folder: Path

    def library(self, user: str) -> Library:
        return library_of(user, self.folder / "people")

    def history(self) -> History:
        return History(self.folder / "outputs", parse_info)

    def own_styles(self, user: str) -> OwnStyles:
        return styles_of(user, self.folder / "styles")
