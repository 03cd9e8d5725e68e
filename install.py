"""Start-up hook of the WebUI, in a process of its own: on a complete host it looks, finds everything and installs nothing.

FaceChain's core runs on what A1111 and Forge bring. The one library that a stripped-down host may lack is OpenCV.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

NEEDED = {"torch": None, "safetensors": None, "numpy": None, "PIL": None, "cv2": "opencv-python-headless>=4.8,<5"}
"""What is imported, and what to ask pip for where it is missing; None: the host itself is broken without it."""


def missing() -> list[str]:
    """The names in NEEDED that cannot be imported."""
    return [name for name in NEEDED if find_spec(name) is None]


def constraints() -> str:
    """Every installed distribution at its version, so that pip moves none of them."""
    pins = {found.metadata["Name"]: found.version for found in distributions() if found.metadata["Name"]}
    return "".join(f"{name}=={version}\n" for name, version in sorted(pins.items()) if "+" not in version and "@" not in version)


def install(wanted: list[str]) -> int:
    """One pip call for all that is missing, which may not change what is there. pip's exit code."""
    with tempfile.TemporaryDirectory() as folder:
        held = Path(folder) / "constraints.txt"
        held.write_text(constraints(), encoding="utf-8")
        return subprocess.run([sys.executable, "-m", "pip", "install", "--prefer-binary", "-c", str(held), *wanted]).returncode


def main() -> None:
    """Look, and install what is missing; a failure is told and does not stop the WebUI."""
    absent = missing()
    wanted = [str(NEEDED[name]) for name in absent if NEEDED[name] is not None]
    broken = [name for name in absent if NEEDED[name] is None]
    if broken:
        sys.stderr.write(f"FaceChain: this WebUI lacks {', '.join(broken)}, which it needs itself: repair its installation.\n")
    if wanted and install(wanted) != 0:
        sys.stderr.write(f"FaceChain: {', '.join(wanted)} could not be installed; the panel will say what does not work.\n")


if __name__ == "__main__":
    main()
