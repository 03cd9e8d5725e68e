"""`ui`: the FaceChain tab as a page of its own, on this computer."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import webbrowser
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from facechain_ext.app import App, Choice, completed
from facechain_ext.errors import BadInput, MissingPackage
from facechain_ext.store.names import USERS
from facechain_ext.ui.console import tell
from facechain_ext.ui.door import Door
from facechain_ext.ui.foreign import LOCAL, named

HERE = "127.0.0.1"
EVERYWHERE = {"0.0.0.0": HERE, "::": "::1"}
"""Addresses that mean all of this computer, and the one of the same kind under which it reaches itself."""
PORT = 7870
UPLOADS = "GRADIO_TEMP_DIR"
"""Where gradio looks for the folder of what is uploaded; otherwise it lies for ever in one that every user of the computer can read."""


def run(argv: Sequence[str]) -> int:
    """Serve the page until somebody stops it."""
    arguments = parser().parse_args(argv)
    accounts = accounts_of(arguments.auth)
    tell("Starting the page …")  # reading gradio and torch takes seconds, on a slow disk a minute
    try:
        from facechain_ext.ui.page_server import application, check_free, serve
    except ImportError as error:
        raise MissingPackage(f"The page needs gradio 6, and {error.name} is missing: start it by run.py, which installs it.") from error
    from facechain_ext.ui.studio_alone import StudioAlone

    check_free(arguments.host, arguments.port)
    with scratch_folder() as scratch:
        given = Choice(
            checkpoint=arguments.checkpoint, adapter=arguments.adapter, encoder=arguments.encoder, analyser=arguments.analyser,
            device=arguments.device, dtype=arguments.dtype, models=arguments.models, scratch=scratch,
        )  # fmt: skip
        app = App(completed(given))
        tell(app.note)
        studio = StudioAlone(app, arguments.data, door_of(arguments.host, accounts))
        ready = Ready(arguments.host, arguments.port, accounts, arguments.data, open=arguments.open)
        serve(application(studio, accounts, local=arguments.host in LOCAL), arguments.host, arguments.port, ready.say)
    return 0


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder of this run alone, gone after it: there lies what gradio keeps of photos that are given to the page, and exported people."""
    with tempfile.TemporaryDirectory(prefix="facechain-") as folder:
        before, usual = signal.getsignal(signal.SIGTERM), tempfile.tempdir
        mine = os.environ.setdefault(UPLOADS, str(Path(folder) / "uploads")).startswith(folder)
        tempfile.tempdir = folder
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # else what ends the process politely would leave the folder behind
        try:
            yield Path(folder)
        finally:
            signal.signal(signal.SIGTERM, before)
            tempfile.tempdir = usual
            if mine:
                del os.environ[UPLOADS]


class Ready:
    """What is said, and done, once the page answers."""

    def __init__(self, host: str, port: int, accounts: Mapping[str, str], data: Path, *, open: bool) -> None:
        self.address = f"http://{named(EVERYWHERE.get(host, host))}:{port}/"
        self.exposed = host not in LOCAL and not accounts
        kept = {"people": "*.safetensors", "styles": "*.json"} if accounts else {}
        self.left = {kind: len(list((data / kind).glob(files))) for kind, files in kept.items()}
        self.data, self.open = data, open

    def say(self) -> None:
        """The address, where everything is kept, and a warning where strangers may reach the page."""
        tell(f"FaceChain is at {self.address} (Ctrl-C ends it); pictures, people and settings are kept in {self.data.resolve()}.")
        if self.exposed:
            tell("Everybody who reaches this computer may use the page: give --auth NAME:PASSWORD to ask for a log-in.")
        for kind, count in self.left.items():
            if count:
                folder = self.data / kind
                mine = folder / USERS / "NAME"
                tell(f"{count} {kind} saved without a log-in lie in {folder}: move their files into {mine} to give them to an account.")
        if self.open:
            webbrowser.open(self.address)


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = argparse.ArgumentParser(prog="run.py ui", description="The FaceChain tab as a page of its own, with a REST API beside it.")
    made.add_argument("--host", default=HERE, help=f"address to listen at (default {HERE}: this computer alone)")
    made.add_argument("--port", type=int, default=PORT, help=f"port to listen at (default {PORT})")
    auth = "ask for a log-in; may be given several times, and what holds for all is the first account's to set"
    made.add_argument("--auth", action="append", default=[], metavar="NAME:PASSWORD", help=auth)
    made.add_argument("--open", action="store_true", help="open the page in a browser once it is there")
    data = "folder for pictures, people, styles and settings (default out)"
    made.add_argument("--data", type=Path, default=Path("out"), metavar="DIR", help=data)
    made.add_argument("--checkpoint", type=Path, metavar="FILE", help="an SD1.5 checkpoint (default: from --models, else the demo model)")
    made.add_argument("--adapter", type=Path, metavar="FILE", help="a FaceChain-FACT adapter (.safetensors or .ckpt)")
    made.add_argument("--encoder", type=Path, metavar="FILE", help="the TransFace encoder (.safetensors or .pt)")
    models = "folder with Lora/, ControlNet/ and FaceChain/, as a WebUI has it (default models)"
    made.add_argument("--models", type=Path, default=Path("models"), metavar="DIR", help=models)
    made.add_argument("--analyser", default="auto", help="face analysis: auto, embedded, insightface, …, or several joined by +")
    made.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default auto)")
    made.add_argument("--dtype", default="auto", help="auto, fp32, fp16, bf16 (default auto)")
    return made


def door_of(host: str, accounts: Mapping[str, str]) -> Door:
    """Who comes in: the first account is whom the installation belongs to."""
    return Door(login=bool(accounts), owners=tuple(accounts)[:1], exposed=host not in LOCAL)


def accounts_of(texts: Sequence[str]) -> dict[str, str]:
    """Names and passwords. BadInput for one without a name or a password."""
    found = {}
    for text in texts:
        name, _, password = text.partition(":")
        if not name or not password:
            raise BadInput("--auth needs a name and a password with a colon between them, as in --auth anna:secret.")
        found[name] = password
    return found
