"""The one logger of the product. Hosts and the command line decide where it goes."""

from __future__ import annotations

import logging

log = logging.getLogger("facechain")
