"""FaceChain's entry for the WebUI: the one Script class, and the callbacks."""

from facechain_ext.ui import script
from facechain_ext.ui.script import FaceChain

__all__ = ["FaceChain"]

script.register()
