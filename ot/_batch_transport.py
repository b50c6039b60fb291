"""Entropic transport between the batches of a training loop, for gradients in their points.

The values of `sinkhorn`, and of the self-transport of `divergences`, for uniform weights, arranged
for many solves of one size:

    starts      cold: g = 0; or warm: g_j = −ε log Σ_i a_i exp((f_i − c(x_i, y_j))/ε) at the new y,
                over the x and f of the solve before, which costs as much as some sweeps and, where
                points are few for their dimension, is worth little: the kind that has taken less
                on average, and the other one every hundredth time
    gradients   those of ⟨P, C⟩, made with the value, from the P that the solve has at hand
    arrays      (n, m) are kept from one solve to the next: fresh memory costs more than to compute
                what it holds

Errors of marginals are those that the solver has seen: they are not measured again from potentials
that were rounded to be returned.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from . import costs
from ._sinkhorn_solver import (
    Arrays,
    DenseKernel,
    DenseProblem,
    Found,
    Progress,
    soft_minimum,
    solve,
    symmetric_sweeps,
)
from .sinkhorn import SCALING_FROM

_TRIAL = 100  # solves from one that is started in the other way to the next
_EXTENSION = 16  # sweeps: what a warm start costs for n = 256; 8 for n = 1024
_MEMORY = 0.8  # of averages, a solve
_MAX_ITERATIONS = 20_000  # of a solve


@dataclass
class _Series:
    """Solves of one kind.

    Attributes:
        x: points of the last one, (n, d).
        f: its potential, (n,).
        count: how many there were.
        cold: average sweeps from cold starts, 0 before the first.
        warm: those from warm ones.
    """

    x: Tensor
    f: Tensor
    count: int = 0
    cold: float = 0.0
    warm: float = 0.0

    def start_warm(self) -> bool:
        """Whether the next one should."""
        warm = self.warm + _EXTENSION < self.cold
        trial = self.count % _TRIAL == 0 and self.cold > _EXTENSION
        return warm != trial

    def note(self, sweeps: int, *, warm: bool) -> None:
        """What it took."""
        before = self.warm if warm else self.cold
        average = _MEMORY * before + (1 - _MEMORY) * sweeps if before else float(sweeps)
        if warm:
            self.warm = average
        else:
            self.cold = average


class BatchTransport:
    """Values of entropic transport between batches x and y, (n, d), tensors that are not checked.

    Args:
        tolerance: of the marginal errors.

    Attributes:
        solves: what each one did since the list was emptied.
    """

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance
        self.solves: list[Progress] = []
        self._series: dict[str, _Series] = {}
        self._before: DenseProblem | None = None  # its arrays and weights serve the next

    def value(self, name: str, x: Tensor, y: Tensor, cost: costs.Cost, epsilon: float) -> Tensor:
        """⟨P, C⟩ + ε KL(P ‖ a bᵀ), (), differentiable in both.

        Args:
            name: of the series that this solve goes on.
            x: (n, d).
            y: (m, d).
            cost: c.
            epsilon: ε.
        """
        problem, pullback = self._problem(x, y, cost, epsilon)
        with torch.no_grad():
            found = self._solved(name, x.detach(), y.detach(), cost, problem)
        return _with_gradients(problem, found, pullback, (x, y))

    def self_value(self, x: Tensor, cost: costs.Cost, epsilon: float) -> Tensor:
        """The value from x to itself, (), for a symmetric cost."""
        # ⟨P, C⟩ depends on x_i by row i and, in the same way, by column i
        problem, pullback = self._problem(x, x.detach(), cost, epsilon)
        with torch.no_grad():
            found = symmetric_sweeps(problem, self._progress())
        return _with_gradients(problem, found, pullback, (x, x.detach()), times=2.0)

    def state(self) -> dict[str, Any]:
        """What later solves depend on, in plain types and tensors."""
        return {name: asdict(series) for name, series in self._series.items()}

    def restore(self, state: dict[str, Any], device: torch.device) -> None:
        """Go on from a `state`."""
        for name, fields in state.items():
            x, f = (fields[one].to(device) for one in ("x", "f"))
            self._series[name] = _Series(**(fields | {"x": x, "f": f}))

    def _progress(self) -> Progress:
        self.solves.append(Progress(self.tolerance, _MAX_ITERATIONS))
        return self.solves[-1]

    def _problem(
        self, x: Tensor, y: Tensor, cost: costs.Cost, epsilon: float
    ) -> tuple[DenseProblem, costs.Pullback]:
        shape, before = (len(x), len(y)), self._before
        if before is None or (before.cost.shape, before.a.dtype, before.a.device) != (
            shape,
            x.dtype,
            x.device,
        ):
            arrays = Arrays(shape, x)
            a, b = (x.new_full((size,), 1 / size) for size in shape)
            before = self._before = DenseProblem(arrays.cost, a, b, epsilon, arrays)
        C, pullback = cost.vjp(x, y, before.arrays.cost)
        return before.replaced(C, epsilon), pullback

    def _solved(
        self, name: str, x: Tensor, y: Tensor, cost: costs.Cost, problem: DenseProblem
    ) -> Found:
        """The next solve of a series."""
        G, progress = torch.zeros_like(problem.b), self._progress()
        series = self._series.get(name)
        if series is None:
            mean = float(problem.cost.mean())
            scaling = mean > SCALING_FROM * problem.epsilon
            found = solve(problem, progress, method="auto", scaling=scaling, mean=mean, G=G)
            series = self._series[name] = _Series(x, found.F)
        else:
            warm = series.start_warm()
            if warm:
                C, _ = cost.vjp(series.x, y, problem.scratch)
                rows = problem.kappa * series.f - math.log2(len(series.f))
                G = soft_minimum(C, rows, problem.kappa, 0, out=C)
            found = solve(problem, progress, method="auto", scaling=False, mean=0.0, G=G)
            series.note(progress.iterations, warm=warm)
        series.count += 1
        series.x, series.f = x, found.F / problem.kappa
        return found


def _with_gradients(
    problem: DenseProblem,
    found: Found,
    pullback: costs.Pullback,
    points: tuple[Tensor, Tensor],
    times: float = 1.0,
) -> Tensor:
    """The value, with `times` the gradients of ⟨P, C⟩ in the points."""
    value = float(problem.a @ found.F + problem.b @ found.G) / problem.kappa
    total = problem.a.new_tensor(value)
    if not any(one.requires_grad for one in points):
        return total
    with torch.no_grad():
        if isinstance(found.P, DenseKernel):
            P = found.P.K
        else:
            _, P, _ = next(problem.blocks(found.F, found.G))
        slopes = pullback(P)
    for slope, one in zip(slopes, points, strict=True):
        if slope is not None:
            total = total + times * (slope * (one - one.detach())).sum()
    return total
