"""Flags of the WebUI's command line that belong to FaceChain."""

from __future__ import annotations

import argparse


def preload(parser: argparse.ArgumentParser) -> None:
    """Called by the WebUI before it reads its command line."""
    parser.add_argument("--facechain-models-dir", metavar="DIR", default=None, help="folder with FaceChain's adapters and face encoder")
    parser.add_argument("--facechain-offline", action="store_true", help="FaceChain never fetches a file, even when asked to")
