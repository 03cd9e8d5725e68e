"""The command line: `python -m facechain_ext COMMAND …` (or `python run.py COMMAND …`, which installs first)."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from facechain_ext import __version__
from facechain_ext.errors import BadInput, CannotWrite, FaceChainError, Interrupted
from facechain_ext.ui.console import say, tell

Command = Callable[[Sequence[str]], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 2 something the person can mend, 130 stopped."""
    argv = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    try:
        return _run(argv)
    except FaceChainError as error:
        return _say(error)
    except KeyboardInterrupt:
        return _say(Interrupted("Stopped."))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read our output has gone; there is nobody to tell
        return 1


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        say(_usage())
        return 0
    if argv[0] in ("-V", "--version"):
        say(__version__)
        return 0
    return _command(argv[0])(argv[1:])


def _say(error: FaceChainError) -> int:
    tell(str(error))
    return error.exit_code


def _usage() -> str:
    commands = {name: summary for name, (summary, _) in COMMANDS.items()} | {name: entry[0] for name, entry in _trainers().items()}
    rows = [f"  {name:<17}{summary.rstrip('.')}" for name, summary in commands.items()]
    return f"FaceChain {__version__}\n\nusage: run.py COMMAND [options]      (COMMAND --help tells its options)\n\n" + "\n".join(rows)


def _trainers() -> Mapping[str, tuple[str, Command]]:
    """The trainers' commands; they live with the trainers."""
    from facechain_ext.training.commands import COMMANDS as trainers

    return trainers


def _command(name: str) -> Command:
    entry = COMMANDS.get(name) or _trainers().get(name)
    if entry is None:
        raise BadInput(f"There is no command {name!r}: use one of {', '.join([*COMMANDS, *_trainers()])}.")
    return entry[1]


def portrait(argv: Sequence[str]) -> int:
    """Portraits of a person from one or several photos."""
    from facechain_ext.ui.command_portrait import run

    return run(argv)


def faces(argv: Sequence[str]) -> int:
    """What is seen in a photo, and an annotated copy of it."""
    from facechain_ext.ui.command_faces import run

    return run(argv)


def ui(argv: Sequence[str]) -> int:
    """The FaceChain tab as a page of its own, on this computer."""
    from facechain_ext.ui.command_ui import run

    return run(argv)


def parity(argv: Sequence[str]) -> int:
    """Our numbers against a case of the published networks, as JSON."""
    from facechain_ext.parity import main as run

    say(json.dumps(run(argv), indent=2))
    return 0


def bench(argv: Sequence[str]) -> int:
    """Speed and memory, as JSON."""
    from facechain_ext.bench import main as run

    say(json.dumps(run(argv), indent=2))
    return 0


def convert(argv: Sequence[str]) -> int:
    """An adapter or encoder (.ckpt, .pt) → one safetensors file."""
    from facechain_ext.engine.checkpoints import convert as run

    parser = argparse.ArgumentParser(prog="run.py convert", description=convert.__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path, nargs="?", help="default: the source's name with .safetensors, beside it")
    parser.add_argument("--looks", type=int, default=0, help="adapter: how often it shall look at every photo, 1 to 5; default: as it says")
    words = "adapter: whether several photos of a person shall weigh as one, so that the prompt stays as clear; default: as it says"
    parser.add_argument("--as-one", action=argparse.BooleanOptionalAction, default=None, help=words)
    arguments = parser.parse_args(argv)
    target = arguments.target or arguments.source.with_suffix(".safetensors")
    if target.exists():
        raise CannotWrite(f"{target} is there already: delete it or name another target.")
    run(arguments.source, target, arguments.looks, arguments.as_one)
    say(str(target))
    return 0


def random_weights(argv: Sequence[str]) -> int:
    """An adapter and encoder of random numbers that fit a checkpoint."""
    from facechain_ext.ui.command_random_weights import run

    return run(argv)


COMMANDS: dict[str, tuple[str, Command]] = {
    function.__name__.replace("_", "-"): (str(function.__doc__).rstrip("."), function)
    for function in (portrait, ui, faces, parity, bench, convert, random_weights)
}

if __name__ == "__main__":
    # Threads of torch that wait must not burn the core another program needs: beside a busy one that costs a factor of ten.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(main())
