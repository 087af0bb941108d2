"""Fréchet distance of two sets of features, the distance behind FID."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sepme.core.metric import Score
from sepme.metrics._features import FeatureSets, feature_sets


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Squared Fréchet distance of the Gaussians with the sets' means and covariances.

    ``|m_a - m_b|^2 + tr(S_a) + tr(S_b) - 2 tr((S_a S_b)^(1/2))`` (Heusel et al., 2017). With
    ``S = R^T R`` the last trace is the sum of the singular values of ``R_a R_b^T``, so no matrix
    root is taken and sets with fewer images than features lose no digits. It is biased upwards,
    the more so the fewer images there are: compare figures of equal counts only. It is called
    FID in public tables only with the features of the Inception network made for it.

    Args:
        a: Features, ``(n, d)``, any floating dtype.
        b: Features, ``(m, d)``.

    Returns:
        At least 0; 0 if means and covariances agree. In squared units of the features.

    Raises:
        SpecError: If they are not two matrices of one width with at least two rows each, or a
            number is not finite.

    Example:
        >>> rows = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
        >>> round(frechet_distance(rows, rows + torch.tensor([3.0, 4.0])), 9)
        25.0
    """
    first, second = feature_sets(a, b)
    apart = (first.mean(0) - second.mean(0)).square().sum()
    one, two = _root(first), _root(second)
    common = torch.linalg.svdvals(one @ two.T).sum()
    distance = apart + one.square().sum() + two.square().sum() - 2 * common
    return max(0.0, float(distance))


class FID(FeatureSets):
    """`frechet_distance` of the original's features and the live model's.

    No interval: resampling adds to the bias. Figures of several fits have one, see
    `cluster_bootstrap`. The count is that of the smaller set.
    """

    name, bounds = "fid", (0.0, math.inf)

    def compute(self) -> Score:
        """The distance of everything observed."""
        reference, live = self.observed()
        return Score(frechet_distance(reference, live), min(len(reference), len(live)))


def _root(rows: Tensor) -> Tensor:
    """``R`` with ``R^T R`` the unbiased covariance of the rows."""
    centred = (rows - rows.mean(0)) / math.sqrt(len(rows) - 1)
    if len(centred) <= centred.shape[1]:
        return centred
    root: Tensor = torch.linalg.qr(centred, mode="r").R
    return root
