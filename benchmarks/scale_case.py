"""A thousand concepts at true sizes: weights, rows to move, and closed forms site by site."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sepme.core.compose import folded
from sepme.linalg.text_system import Moments, TextSystem

_SD = (320,) * 2 + (640,) * 2 + (1280,) * 6 + (640,) * 3 + (320,) * 3
WIDTHS = {"sd1": _SD, "sd2": _SD, "sdxl": (640,) * 4 + (1280,) * 60 + (640,) * 6}
"""Output width of every cross-attention layer; its keys and its values are a site each."""

D_TEXT = {"sd1": 768, "sd2": 1024, "sdxl": 2048}
ROWS, RANK, LAMB = 8, 4, 2.0


@dataclass(frozen=True)
class Case:
    """Weights, and rows of what is to move and of what is to stay."""

    size: str
    moved: tuple[Moments, ...]
    still: tuple[Moments, ...]

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """Site to a random weight."""
        draw, width = torch.Generator().manual_seed(1), D_TEXT[self.size]
        return {
            f"blocks.{layer}.transformer_blocks.0.attn2.to_{part}": torch.randn(
                d_out, width, generator=draw
            )
            / width**0.5
            for layer, d_out in enumerate(WIDTHS[self.size])
            for part in "kv"
        }

    @cached_property
    def pairs(self) -> list[tuple[Tensor, Tensor]]:
        """Rows and where they go, float32, for each concept, as closed forms site by site take."""
        known = (*self.moved, *self.still)
        return [(each.rows.float(), (each.rows + each.moves).float()) for each in known]

    def system(self) -> TextSystem:
        """The system of everything."""
        return TextSystem.of((*self.moved, *self.still), lamb=LAMB)

    def solve(self) -> Tensor:
        """The map of everything that is to move."""
        return self.system().together(self.moved)

    def fold(self, text_map: Tensor) -> dict[str, Tensor]:
        """Every weight with the map in it."""
        return {site: folded(weight, text_map) for site, weight in self.weights.items()}

    def both(self) -> dict[str, Tensor]:
        """Solve and fold."""
        return self.fold(self.solve())

    def operations(self) -> dict[str, tuple[float, float]]:
        """Floating-point operations in float64 and in float32, by work."""
        d, moved = D_TEXT[self.size], ROWS * len(self.moved)
        rows = moved + ROWS * len(self.still)
        solve = 2 * d**2 * (rows + moved) + d**3 / 3 + 2 * d**3
        fold = 2 * d**2 * 2 * sum(WIDTHS[self.size])
        restore = 2 * d**2 * RANK * (len(self.moved) - 1)
        return {
            "solve": (solve, 0),
            "fold": (0, fold),
            "solve+fold": (solve, fold),
            "restore-one": (restore, fold),
        }


def moments(count: int, width: int, *, seed: int, move: bool) -> tuple[Moments, ...]:
    """Random rows around a common mean, by falling energy, and where they go."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw, dtype=torch.float64)

    mean = torch.randn(width, generator=torch.Generator().manual_seed(0)).double()
    sizes = 0.7 ** torch.arange(ROWS, dtype=torch.float64)
    found = []
    for _ in range(count):
        rows = (mean + normal(ROWS, width)) * sizes[:, None]
        moves = normal(ROWS, width) * sizes[:, None] if move else torch.zeros_like(rows)
        found.append(Moments(rows, moves))
    return tuple(found)


def loop_of_rows(case: Case) -> dict[str, Tensor]:
    """Site by site and concept by concept, outer products of single rows added up."""
    found = {}
    for site, weight in case.weights.items():
        wanted, second = LAMB * weight, LAMB * torch.eye(weight.shape[1])
        for rows, goals in case.pairs:
            values = (goals @ weight.T)[:, :, None]
            wanted += (values @ rows[:, None, :]).sum(dim=0)
            second += (rows[:, :, None] @ rows[:, None, :]).sum(dim=0)
        found[site] = wanted @ torch.inverse(second)
    return found


def loop_of_products(case: Case) -> dict[str, Tensor]:
    """Site by site and concept by concept, one product for all rows of a concept."""
    found = {}
    for site, weight in case.weights.items():
        wanted, second = LAMB * weight, LAMB * torch.eye(weight.shape[1])
        for rows, goals in case.pairs:
            wanted += (goals @ weight.T).T @ rows
            second += rows.T @ rows
        found[site] = wanted @ torch.inverse(second)
    return found


def batched(case: Case) -> dict[str, Tensor]:
    """Site by site, all rows of all concepts at once."""
    rows, goals = (torch.cat(part) for part in zip(*case.pairs, strict=True))
    found = {}
    for site, weight in case.weights.items():
        wanted = LAMB * weight + (goals @ weight.T).T @ rows
        second = LAMB * torch.eye(weight.shape[1]) + rows.T @ rows
        found[site] = torch.linalg.solve(second, wanted.T).T
    return found


def shared(case: Case) -> dict[str, Tensor]:
    """One factorisation for all sites, in float32: what is left of ours without its float64."""
    rows, goals = (torch.cat(part) for part in zip(*case.pairs, strict=True))
    identity = torch.eye(rows.shape[1])
    triangle = torch.linalg.cholesky(LAMB * identity + rows.T @ rows)
    text = torch.cholesky_solve(LAMB * identity + rows.T @ goals, triangle).T
    return {site: weight @ text for site, weight in case.weights.items()}


def difference_from_float64(case: Case, ours: dict[str, Tensor]) -> float:
    """Ours at one site from the solution of that site in float64."""
    rows, goals = (torch.cat(part).double() for part in zip(*case.pairs, strict=True))
    site, weight = next(iter(case.weights.items()))
    wide = weight.double()
    wanted = LAMB * wide + (goals @ wide.T).T @ rows
    second = LAMB * torch.eye(len(rows.T), dtype=torch.float64) + rows.T @ rows
    return difference(ours, {site: torch.linalg.solve(second, wanted.T).T})


def difference(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Largest difference, relative to the largest number."""
    gaps = (float((found[site] - weight).abs().max()) for site, weight in expected.items())
    return max(gaps) / max(float(weight.abs().max()) for weight in expected.values())
