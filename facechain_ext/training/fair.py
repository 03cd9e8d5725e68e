"""FAIR, face adapting increment regularisation: a face may change the picture where the head is, and as little as possible elsewhere.

For a site's increment Δ = y − x and the share m of head in each cell of the site's grid

    FAIR = ‖(1 − m)·Δ‖ / ‖Δ‖      per picture, averaged over pictures and the 16 sites

so it is 0 where a gate acts on the head alone and near 1 where it acts elsewhere; it does not ask gates to be weak. The published files'
names carry its weight, 0.01 (FACTS §1.1). Both roots hold an epsilon, for at the start Δ is 0 and a root's gradient there is not a number.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from facechain_ext.engine.injection import grid_of
from facechain_ext.engine.sites import LEVELS

EPSILON = 1e-4
"""Also what keeps FAIR quiet while gates hardly act: its gradient grows as 1/‖Δ‖ and would drown the noise error's."""


class Outside:
    """Told every site's increment while the UNet runs (engine.injection.attach's `observe`); afterwards it knows FAIR.

    head: [B, H, W] in [0, 1], what belongs to a head, at any resolution of the whole picture; latent: height and width of the latents.
    """

    def __init__(self, head: Tensor, latent: tuple[int, int]) -> None:
        self.head, self.latent = head, latent
        self._free: dict[int, Tensor] = {}
        self._sites: dict[int, Tensor] = {}

    def __call__(self, site: int, increment: Tensor) -> None:
        power = increment.float().square().sum(dim=2)  # [B, N]
        outside = (power * self._free_share(LEVELS[site]).square()).sum(dim=1)
        self._sites[site] = (torch.sqrt(outside + EPSILON) / torch.sqrt(power.sum(dim=1) + EPSILON)).mean()

    def _free_share(self, level: int) -> Tensor:
        """1 − m on the grid of a level, [B, N]."""
        if level not in self._free:
            grid = grid_of(self.latent, level)
            self._free[level] = 1 - F.adaptive_avg_pool2d(self.head[:, None].float(), grid).flatten(1)
        return self._free[level]

    def mean(self) -> Tensor:
        """FAIR, the mean over the sites."""
        return torch.stack(list(self._sites.values())).mean()
