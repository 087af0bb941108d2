"""Maximum mean discrepancy of two sets of features: KID and CMMD."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sepme.core.metric import Score
from sepme.errors import SpecError
from sepme.metrics._features import FeatureSets, feature_sets

Kernel = Callable[[Tensor, Tensor], Tensor]

CMMD_BANDWIDTH = 10.0
"""Bandwidth of CMMD's kernel, in units of the length of a feature vector, which is 1."""
_CMMD_SCALE = 1000.0
_LEAST_ROWS, _CHUNK_ROWS = 10, 1024


def mmd(a: Tensor, b: Tensor, kernel: Kernel, *, blocks: int = 100, seed: int = 0) -> Score:
    """Unbiased squared maximum mean discrepancy, with a block bootstrap interval.

    ``mean k(a, a') + mean k(b, b') - 2 mean k(a, b)`` over pairs of different rows (Gretton et al.,
    2012, eq. 3). Unbiased means that it is a little negative about as often as positive where the
    sets come from one distribution. For the interval the rows of each set are dealt into blocks by
    ``seed``, after sorting, so that their order does not matter; whole blocks are drawn again with
    replacement, and the middle 95 % of 2000 discrepancies is the interval. Where the two sets are
    alike it is wider than it need be.

    Args:
        a: Features, ``(n, d)``.
        b: Features, ``(m, d)``.
        kernel: ``(p, d)`` and ``(q, d)`` to ``(p, q)``, float64.
        blocks: Most blocks per set; with fewer rows each row is a block.
        seed: Seed of the dealing and the drawing.

    Returns:
        Discrepancy, the smaller count, and the interval; none below 10 rows.

    Raises:
        SpecError: If they are not two matrices of one width with at least two rows each, a number
            is not finite, or there is but one block.

    Example:
        >>> rows = torch.tensor([[0.0], [1.0]])
        >>> mmd(rows, rows + 2, lambda x, y: x @ y.T).value
        3.5
    """
    if blocks < 2:
        raise SpecError(f"an interval needs at least 2 blocks, got {blocks}. 100 is a good number.")
    first, second = feature_sets(a, b)
    random = np.random.default_rng(seed)
    one, two = _dealt(first, random), _dealt(second, random)
    statistic = _Statistic(
        _sums(one, one, kernel, blocks, same=True),
        _sums(two, two, kernel, blocks, same=True),
        _sums(one, two, kernel, blocks),
    )
    n = min(len(one), len(two))
    interval = statistic.interval(random) if n >= _LEAST_ROWS else None
    return Score(statistic.value(), n, interval)


def kid(a: Tensor, b: Tensor, *, seed: int = 0) -> Score:
    """Kernel distance of KID: the discrepancy by the kernel ``(x . y / d + 1)^3``.

    Bińkowski et al., 2018. All pairs are used instead of random subsets. It is called KID in
    public tables only with Inception features.

    Args:
        a: Features, ``(n, d)``.
        b: Features, ``(m, d)``.
        seed: Seed of the interval.

    Returns:
        Discrepancy (dimensionless), the smaller count, and the interval.

    Raises:
        SpecError: As `mmd`.

    Example:
        >>> kid(torch.zeros(2, 4), torch.ones(2, 4)).value
        7.0
    """
    return mmd(a, b, lambda x, y: (x @ y.T / x.shape[1] + 1) ** 3, seed=seed)


def cmmd(a: Tensor, b: Tensor, *, seed: int = 0) -> Score:
    """Distance of CMMD: 1000 times the discrepancy by a Gaussian kernel, on rows of length 1.

    Jayasumana et al., 2024: ``k(x, y) = exp(-|x - y|^2 / (2 s^2))`` with bandwidth ``s = 10`` in
    units of the rows' length. Unbiased, as their paper says; their code adds about
    ``1000 (1 - mean k) (1/n + 1/m)``, which matters below some thousand images. It is called CMMD
    in public tables only with CLIP features.

    Args:
        a: Features, ``(n, d)``; each row is divided by its length.
        b: Features, ``(m, d)``.
        seed: Seed of the interval.

    Returns:
        Discrepancy times 1000 (dimensionless, at most 2000), the smaller count, the interval.

    Raises:
        SpecError: As `mmd`, and if a row is zero.

    Example:
        >>> rows = torch.eye(2)
        >>> round(cmmd(rows[[0, 0]], rows[[1, 1]]).value, 2)
        19.9
    """
    first, second = (_unit(rows) for rows in feature_sets(a, b))
    score = mmd(first, second, lambda x, y: gaussian_kernel(x, y, CMMD_BANDWIDTH), seed=seed)
    interval = score.ci95 and (_CMMD_SCALE * score.ci95[0], _CMMD_SCALE * score.ci95[1])
    return Score(_CMMD_SCALE * score.value, score.n, interval)


def gaussian_kernel(x: Tensor, y: Tensor, bandwidth: float) -> Tensor:
    """``exp(-|x - y|^2 / (2 bandwidth^2))`` of every pair of rows.

    Args:
        x: Rows, ``(p, d)``.
        y: Rows, ``(q, d)``.
        bandwidth: Distance at which the kernel has fallen to 0.61, in units of the rows.

    Returns:
        ``(p, q)``, 0 to 1.

    Example:
        >>> gaussian_kernel(torch.zeros(1, 3), torch.ones(1, 3), 1.0)
        tensor([[0.2231]])
    """
    squares = x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T
    return torch.exp(-squares.clamp(min=0) / (2 * bandwidth**2))


class KID(FeatureSets):
    """`kid` of the original's features and the live model's."""

    name, bounds = "kid", (-math.inf, math.inf)

    def compute(self) -> Score:
        """The distance of everything observed."""
        return kid(*self.observed())


class CMMD(FeatureSets):
    """`cmmd` of the original's features and the live model's."""

    name, bounds = "cmmd", (-2000.0, 2000.0)

    def compute(self) -> Score:
        """The distance of everything observed."""
        return cmmd(*self.observed())


@dataclass(frozen=True, slots=True)
class _Sums:
    """Kernel values of pairs of different rows, summed over pairs of blocks, and the blocks' sizes.

    A block drawn twice makes pairs with its copy, but no row makes one with its own copy.
    """

    kernel: Tensor
    left: Tensor
    right: Tensor
    same: bool

    def mean(self, one: Tensor, two: Tensor) -> Tensor:
        """Mean kernel value if each block counts as often as a row of weights says."""
        pairs = (one @ self.left) * (two @ self.right)
        if self.same:
            pairs -= one.square() @ self.left
        return ((one @ self.kernel) * two).sum(1) / pairs


@dataclass(frozen=True, slots=True)
class _Statistic:
    """The discrepancy as a function of how often each block counts."""

    first: _Sums
    second: _Sums
    across: _Sums

    def value(self) -> float:
        weights = (torch.ones(1, count, dtype=torch.float64) for count in self._blocks)
        return float(self._at(*weights))

    def interval(self, random: np.random.Generator, draws: int = 2000) -> tuple[float, float]:
        weights = (_weights(count, draws, random) for count in self._blocks)
        found: npt.NDArray[Any] = self._at(*weights).numpy()
        low, high = np.nanquantile(found, (0.025, 0.975))  # one block drawn throughout is no set
        return float(low), float(high)

    @property
    def _blocks(self) -> tuple[int, int]:
        return len(self.across.left), len(self.across.right)

    def _at(self, one: Tensor, two: Tensor) -> Tensor:
        within = self.first.mean(one, one) + self.second.mean(two, two)
        return within - 2 * self.across.mean(one, two)


def _sums(x: Tensor, y: Tensor, kernel: Kernel, blocks: int, *, same: bool = False) -> _Sums:
    left, right = (_sizes(len(rows), blocks) for rows in (x, y))
    row, column = (torch.repeat_interleave(sizes) for sizes in (left, right))
    sums, start = torch.zeros(len(left), len(right), dtype=torch.float64), 0
    for part in torch.split(x, _CHUNK_ROWS):
        values = kernel(part, y)
        places = torch.arange(len(part))
        if same:  # a row is no pair with itself
            values[places, start + places] = 0
        narrow = values.new_zeros(len(part), len(right)).index_add(1, column, values)
        sums.index_add_(0, row[start + places], narrow)
        start += len(part)
    return _Sums(sums, left.double(), right.double(), same)


def _sizes(rows: int, blocks: int) -> Tensor:
    return torch.tensor([len(p) for p in torch.arange(rows).tensor_split(min(blocks, rows))])


def _weights(count: int, draws: int, random: np.random.Generator) -> Tensor:
    chosen = torch.from_numpy(random.integers(count, size=(draws, count)))
    ones = torch.ones(draws, count, dtype=torch.float64)
    return torch.zeros_like(ones).scatter_add(1, chosen, ones)


def _dealt(rows: Tensor, random: np.random.Generator) -> Tensor:
    """The rows in an order that depends on which they are and on the seed, not on their order."""
    table = np.ascontiguousarray(rows.numpy())
    order = np.argsort(table.view(np.dtype((np.void, table.strides[0]))).ravel())
    return torch.from_numpy(table[order[random.permutation(len(table))]])


def _unit(rows: Tensor) -> Tensor:
    lengths = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    if (lengths == 0).any():
        raise SpecError("CMMD needs features of some length, got a zero row. Look at that image.")
    unit: Tensor = rows / lengths
    return unit
