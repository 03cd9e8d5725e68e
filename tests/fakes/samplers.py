"""k-diffusion's real samplers, without the rest of that package, which needs torchvision and a dozen libraries for training."""

from __future__ import annotations

import importlib
import sys
from functools import cache
from importlib.util import find_spec
from types import ModuleType

NEVER_CALLED = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")
"""What k_diffusion.utils imports for reading training pictures."""


@cache
def k_sampling() -> ModuleType:
    """The module k_diffusion.sampling."""
    found = find_spec("k_diffusion")
    assert found is not None and found.submodule_search_locations is not None
    package = ModuleType("k_diffusion")
    package.__path__ = list(found.submodule_search_locations)
    sys.modules["k_diffusion"] = package
    sys.modules.update({name: ModuleType(name) for name in NEVER_CALLED})
    for name in NEVER_CALLED[1:]:
        parent, _, child = name.rpartition(".")
        setattr(sys.modules[parent], child, sys.modules[name])
    try:
        return importlib.import_module("k_diffusion.sampling")
    finally:
        for name in NEVER_CALLED:
            del sys.modules[name]
