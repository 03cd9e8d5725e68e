"""Who can come in: whether the page asks for a log-in, whom the machine belongs to, and who may read where things lie on it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from facechain_ext.store.names import NOBODY


@dataclass(frozen=True, kw_only=True)
class Door:
    """How the page is reached. login: it asks who somebody is; owners: the first account; exposed: other computers reach it."""

    login: bool = False
    owners: tuple[str, ...] = ()
    exposed: bool = False

    @property
    def open(self) -> bool:
        """Whether anybody may come in from another computer and be the same person as everybody else."""
        return self.exposed and not self.login

    def owner(self, user: str) -> bool:
        """Whether a user is who the machine belongs to: the first account; without log-ins, whoever sits at this computer."""
        return user in self.owners or (user == NOBODY and not self.login and not self.exposed)


def without_places(text: str, folders: Iterable[Path]) -> str:
    """A sentence without where on this machine the folders lie: of each, its own name and what is beneath it."""
    known = {one for folder in folders for one in (folder, folder.absolute(), folder.resolve())}
    above = {f"{one.parent}{os.sep}" for one in known if not known & set(one.parents)}
    for place in sorted(above - {f".{os.sep}", os.sep}, key=len, reverse=True):
        text = text.replace(place, "")
    return text
