"""The command line's own output: results on standard output, everything else on standard error."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """A line of the result, shown at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def tell(text: str) -> None:
    """A line about the work: notes, errors."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
