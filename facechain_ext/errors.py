"""Kinds of errors. Every message is one sentence for a person: what was found, and what to do about it."""

from __future__ import annotations


class FaceChainError(Exception):
    """Base of every error this product raises on purpose; the command line prints it and exits with `exit_code`."""

    exit_code = 2


class BadInput(FaceChainError):
    """An argument, option or file the person gave cannot be used as it is."""


class BadPicture(BadInput):
    """A picture file that cannot be read, is corrupt, or is too large."""


class NoFace(BadInput):
    """No usable face where one is needed."""


class BadWeights(BadInput):
    """A weight file that is missing, is not what it should be, or whose tensors do not fit."""


class UnsupportedModel(BadInput):
    """A checkpoint the adapter cannot work with (not of SD1.5's structure, or of another width)."""


class MissingPackage(FaceChainError):
    """A library that the asked-for backend needs is not installed."""


class CannotWrite(FaceChainError):
    """A folder or disk that results cannot be written to."""


class NotAllowed(FaceChainError):
    """Something that this user may not do here; the message says who may, or what forbids it."""


class OutOfMemory(FaceChainError):
    """The device ran out of memory; the message says what would need less."""


class PictureFailed(FaceChainError):
    """One picture could not be finished; another seed or size may go well."""


class Interrupted(FaceChainError):
    """The person stopped the work; what was finished is kept."""

    exit_code = 130


class Skipped(FaceChainError):
    """The person leaves out the picture that is being made; the work goes on with the next one."""

    exit_code = 130
