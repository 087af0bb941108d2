"""One change of each weight that acts like several changes, each on rows of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sepme.errors import MethodError
from sepme.linalg.wide import float64


def fuse(
    rows: Sequence[Tensor],
    changes: Sequence[Mapping[str, Tensor]],
    retained: Tensor,
    *,
    base: Mapping[str, Tensor],
    preserve_scale: float = 1.0,
    lamb: float = 1.0,
) -> dict[str, Tensor]:
    """Least-squares fusion of several changes of the same weights (MACE, multi-LoRA fusion).

    With the rows ``e`` of concept ``i``, its change ``D_i`` and retained rows ``r``, every weight
    changes by the ``D`` that minimises ``sum_i sum_e |D e - (B + D_i) e|^2 + s_p sum |D r|^2 +
    lam |D - B|^2``, where ``B`` is a change that is made in any case. The solution is
    ``D = B + (sum_i D_i E_i^T E_i - s_p B R^T R) (lam I + sum_i E_i^T E_i + s_p R^T R)^-1``.

    Args:
        rows: For each concept its rows ``E_i``, ``(n_i, d)``, any floating dtype.
        changes: For each concept its ``D_i`` by site, ``(d_out, d)``.
        retained: Rows whose outputs should not change at all, ``(m, d)``; ``m`` may be 0.
        base: ``B`` by site; decides the sites.
        preserve_scale: ``s_p``, at least 0 (dimensionless).
        lamb: ``lam``, weight of changing nothing but ``B``, above 0 (squared row norms).

    Returns:
        ``D`` by site, float64, on the CPU.

    Raises:
        MethodError: If the system cannot be solved.

    Example:
        >>> own, other = torch.eye(2)[:1], torch.eye(2)[1:]
        >>> one, two = {"to_k": torch.full((1, 2), 3.0)}, {"to_k": torch.full((1, 2), 5.0)}
        >>> base = {"to_k": torch.zeros(1, 2)}
        >>> fuse([own, other], [one, two], torch.zeros(0, 2), base=base, lamb=1e-9)["to_k"].round()
        tensor([[3., 5.]], dtype=torch.float64)
    """
    owned, kept = [float64(part) for part in rows], float64(retained) * preserve_scale**0.5
    stacked = torch.cat([*owned, kept])
    system = stacked.T @ stacked + lamb * torch.eye(stacked.shape[1], dtype=torch.float64)
    triangle, failed = torch.linalg.cholesky_ex(system)
    if failed:
        raise MethodError(
            f"the changes cannot be fused with lamb {lamb:g}: the system is not positive definite "
            "in float64. Try a larger lamb."
        )
    fused = {}
    for site, made in base.items():
        start = float64(made)
        wanted = [
            part @ float64(change[site]).T for part, change in zip(owned, changes, strict=True)
        ]
        moment = torch.cat([*wanted, -kept @ start.T]).T @ stacked
        fused[site] = start + torch.cholesky_solve(moment.T, triangle).T
    return fused
