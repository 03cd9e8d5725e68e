"""FaceChain for Stable Diffusion WebUI: one photo of a person, no training, pictures of that person.

Importing this package is free: it opens no file, no network and no GPU, and loads no heavy library (docs/architecture.md).
"""

__version__ = "0.1.0"
