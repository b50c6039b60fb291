"""Entropic optimal transport.

For weights a (n,) and b (m,) of equal mass M, a cost matrix C (n, m) and ε > 0,

    P* = argmin ⟨P, C⟩ + ε KL(P ‖ a bᵀ/M)   over P >= 0 with P1 = a, Pᵀ1 = b,
    P*_ij = (a_i b_j/M) exp((f_i + g_j − C_ij)/ε).

Three values, which differ (know which one is reported):

    value              ⟨P*, C⟩ + ε KL(P* ‖ a bᵀ/M) = ⟨f, a⟩ + ⟨g, b⟩
    value_transport    ⟨P*, C⟩
    value_entropy      ⟨P*, C⟩ − ε H(P*), H(P) = −Σ P log P

For M = 1: value_transport <= value, and value_entropy = value − ε (H(a) + H(b)). The value is
homogeneous: weights s a and s b have s times the value and the same potentials.

Potentials are those with ⟨f, a⟩ = ⟨g, b⟩. Where a weight is 0 they are the soft minima
f_i = −ε log Σ_j (b_j/M) exp((g_j − C_ij)/ε), which also extend them to other points.

Gradients are those of the optimum (Danskin), without unrolling: ∂value/∂C = P*, ∂/∂a = f and
∂/∂b = g along changes that keep masses equal, and through C those of points. Their error is of the
order of the marginal error. ε is held constant. With differentiate="plan", the plan itself can be
differentiated, implicitly.

How the potentials are found: `_sinkhorn_solver`.

References:
    Cuturi. Sinkhorn distances. NeurIPS 2013.
    Peyré, Cuturi. Computational optimal transport. Foundations and Trends in Machine Learning, 2019
    (Danskin, section 9.1; ε-scaling and logarithms, section 4.4).
    Thibault, Chizat, Dossal, Papadakis. Overrelaxed Sinkhorn-Knopp algorithm for regularized
    optimal transport. Algorithms 14(5), 2021.
    Brauer, Clason, Lorenz, Wirth. A Sinkhorn-Newton method for entropic optimal transport. 2017.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..core import checks
from ..core.checks import FloatArray
from . import costs
from ._sinkhorn_solver import (
    LOG2_E,
    DenseKernel,
    DenseProblem,
    Found,
    Problem,
    Progress,
    StreamedProblem,
    conjugate_gradients,
    powers,
    solve,
    symmetric_sweeps,
)
from ._tensors import (
    Array,
    Origin,
    require_equal_mass,
    require_shape,
    threads_for,
    together,
    weights,
)

Method: TypeAlias = Literal["auto", "newton", "kernel", "relaxed", "log"]
Status: TypeAlias = Literal["converged", "max_iterations", "precision"]
_METHODS = ("auto", "newton", "kernel", "relaxed", "log")
SCALING_FROM = 50.0  # mean(C)/ε beyond which ε-scaling pays
_LARGEST_EXPONENT = {torch.float32: 1e5, torch.float64: 1e13}  # of C/ε: then nothing is left of it


class ConvergenceWarning(RuntimeWarning):
    """A solve has ended before its tolerance was met."""


@dataclass(frozen=True, eq=False, repr=False)
class SinkhornResult:
    """What `sinkhorn` found. Arrays are numpy's where the arguments were.

    For a batch, all have its axes in front, `error`, `iterations` and `status` too.

    Attributes:
        f: first potential, (n,).
        g: second potential, (m,).
        value: ⟨f, a⟩ + ⟨g, b⟩; differentiable.
        error: L1 violation of the second marginal over the mass, as of the potentials returned; the
            first marginal is exact up to rounding.
        iterations: sweeps, and steps of conjugate gradients, which cost as much; all levels of ε.
        status: "converged": the error is at most the tolerance; "max_iterations"; "precision":
            rounding does not allow a smaller error.
        epsilon: ε.
        history: for each problem the pairs (iterations, error) seen at the last level of ε.
        seconds: for each problem the time from the start of its solve to each of these.
    """

    f: Any
    g: Any
    value: Any
    error: Any
    iterations: Any
    status: Any
    epsilon: Any
    history: list[list[tuple[int, float]]]
    seconds: list[list[float]]
    _problem: _Given = field(repr=False)
    _plan: Tensor | None = field(repr=False)

    @property
    def converged(self) -> bool:
        """Whether all problems have."""
        return bool(np.all(np.asarray(self.status) == "converged"))

    @cached_property
    def plan(self) -> Any:
        """P*, (n, m); computed when it is first asked for."""
        plan = self._problem.plan(self) if self._plan is None else self._plan
        return self._problem.origin.restore(plan)

    @cached_property
    def value_transport(self) -> Any:
        """⟨P*, C⟩; differentiable only with differentiate="plan"."""
        if self._plan is not None:
            assert self._problem.cost is not None
            return self._problem.scalars((self._plan * self._problem.cost).sum(dim=(-2, -1)))
        return self._problem.scalars(self._problem.transport(self))

    @property
    def value_entropy(self) -> Any:
        """⟨P*, C⟩ − ε H(P*); differentiable as `value` is."""
        given = self._problem
        a, b = given.a, given.b
        mass = a.sum(dim=-1)
        entropies = torch.xlogy(a, a).sum(dim=-1) + torch.xlogy(b, b).sum(dim=-1)
        value = torch.as_tensor(self.value, dtype=a.dtype, device=a.device)
        epsilon = torch.as_tensor(self.epsilon, dtype=a.dtype, device=a.device)
        return given.scalars(value + epsilon * (entropies - torch.xlogy(mass, mass)))

    def __repr__(self) -> str:
        if isinstance(self.status, str):
            return (
                f"<SinkhornResult value={float(self.value):.6g} {self.status} after "
                f"{self.iterations} iterations, error {self.error:.2g}>"
            )
        return f"<SinkhornResult of {self.status.size} problems, converged={self.converged}>"


@dataclass(frozen=True)
class _Given:
    """The arguments of a solve as tensors, with their batch axes."""

    x: Tensor | None
    y: Tensor | None
    cost: Tensor | None  # None: in chunks
    a: Tensor
    b: Tensor
    between: costs.Cost
    chunk_size: int | None
    origin: Origin

    @property
    def batch(self) -> torch.Size:
        return self.a.shape[:-1]

    def scalars(self, values: Tensor) -> Any:
        """One number a problem, a float where the arguments were numpy arrays and no batch."""
        if not self.origin.is_numpy:
            return values
        return values.detach().cpu().numpy() if self.batch else float(values)

    def problems(self, epsilons: Tensor) -> Iterator[Problem]:
        """The problems of the batch, detached and of mass 1."""
        a, b = self.a.detach(), self.b.detach()
        a, b = a / a.sum(dim=-1, keepdim=True), b / b.sum(dim=-1, keepdim=True)
        a, b = a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1])
        epsilon = epsilons.reshape(-1).tolist()
        for i in range(len(a)):
            if self.cost is not None:
                cost = self.cost.detach().reshape(-1, *self.cost.shape[-2:])
                yield DenseProblem(cost[i], a[i], b[i], epsilon[i])
            else:
                assert self.x is not None
                assert self.y is not None
                assert self.chunk_size is not None
                x = self.x.detach().reshape(-1, *self.x.shape[-2:])[i]
                y = self.y.detach().reshape(-1, *self.y.shape[-2:])[i]
                yield StreamedProblem(
                    x, y, a[i], b[i], epsilon[i], self.between.between, self.chunk_size
                )

    def _solved(self, result: SinkhornResult) -> Iterator[tuple[Problem, Tensor, Tensor, Tensor]]:
        """Each problem with F, G and its mass."""
        f, g, epsilons, masses = (
            torch.as_tensor(value, dtype=self.a.dtype, device=self.a.device).detach()
            for value in (result.f, result.g, result.epsilon, self.a.sum(dim=-1))
        )
        f, g, masses = f.reshape(-1, f.shape[-1]), g.reshape(-1, g.shape[-1]), masses.reshape(-1)
        for i, problem in enumerate(self.problems(epsilons)):
            yield problem, f[i] * problem.kappa, g[i] * problem.kappa, masses[i]

    def plan(self, result: SinkhornResult) -> Tensor:
        plans = [
            torch.cat([mass * P for _, P, _ in problem.blocks(F, G)])
            for problem, F, G, mass in self._solved(result)
        ]
        return torch.stack(plans).reshape(*self.batch, self.a.shape[-1], self.b.shape[-1])

    def transport(self, result: SinkhornResult) -> Tensor:
        values = [
            mass * sum(((P * C).sum() for _, P, C in problem.blocks(F, G)), torch.zeros_like(mass))
            for problem, F, G, mass in self._solved(result)
        ]
        return torch.stack(values).reshape(self.batch)


def sinkhorn(
    x: Array | None = None,
    y: Array | None = None,
    a: Array | None = None,
    b: Array | None = None,
    *,
    cost: str | costs.Cost = "sqeuclidean",
    epsilon: float | tuple[Literal["mean"], float] | None = None,
    cost_matrix: Array | None = None,
    tolerance: float = 1e-6,
    max_iterations: int = 20_000,
    init: SinkhornResult | tuple[Array, Array] | None = None,
    method: Method = "auto",
    scaling: bool | None = None,
    chunk_size: int | None = None,
    differentiate: Literal["value", "plan"] = "value",
) -> SinkhornResult:
    """Solve the entropic transport problem of the module docstring.

    Args:
        x: points (..., n, d), numpy or torch, float32 or float64; leading axes are a batch, whose
            problems are solved one after the other, each to its own tolerance.
        y: points (..., m, d).
        a: weights (..., n) >= 0 of any positive mass, 0 allowed; None: 1/n each.
        b: weights (..., m) of the same mass; None: 1/m each.
        cost: a name of `costs.NAMED` or a `costs.Cost`.
        epsilon: ε > 0, in the units of the cost; ("mean", r): r times the mean of C; None:
            ("mean", 0.05).
        cost_matrix: C (..., n, m) instead of points.
        tolerance: of the marginal error.
        max_iterations: sweeps and steps of conjugate gradients together.
        init: potentials (f, g) to start from, or a result that has them; only g matters.
        method: "auto": products with a kernel, then Newton's method where the tolerance is far off;
            "newton": the same, always; "kernel": sweeps by products with a kernel; "relaxed": the
            same, over-relaxed; "log": sweeps in logarithms.
        scaling: start from larger ε; None: if ε is below a fiftieth of the mean of C and there is
            no `init`.
        chunk_size: never hold an (n, m) array, but blocks of so many rows, made anew each time;
            needs points.
        differentiate: "plan": let `plan` and `value_transport` be differentiated as well.

    Returns:
        A `SinkhornResult`; warns with a `ConvergenceWarning` if the tolerance was not met.

    Raises:
        TypeError, ValueError: an argument is out of range; says which and what to do.
        FloatingPointError: the potentials are not finite.
    """
    for value, name, choices in (
        (method, "method", _METHODS),
        (differentiate, "differentiate", ("value", "plan")),
    ):
        if value not in choices:
            raise ValueError(f"{name} must be one of {choices}, got {value!r}")
    checks.positive(tolerance, "tolerance")
    checks.integer(max_iterations, "max_iterations", minimum=1)
    if chunk_size is not None:
        checks.integer(chunk_size, "chunk_size", minimum=1)
        if cost_matrix is not None or differentiate == "plan":
            raise ValueError(
                f"chunk_size={chunk_size} keeps no matrix: pass points, not cost_matrix, and "
                'differentiate="value"'
            )
    given = _arguments(x, y, a, b, costs.get(cost), cost_matrix, chunk_size)
    means = _mean_costs(given)
    epsilons = require_resolution(resolved_epsilon(epsilon, means), means)
    starts = _starts(init, given)

    solved = []
    for i, problem in enumerate(given.problems(epsilons)):
        mean = float(means.reshape(-1)[i])
        progress = Progress(float(tolerance), max_iterations)
        scaled = mean > SCALING_FROM * problem.epsilon and init is None
        with torch.no_grad(), threads_for(len(problem.a) * len(problem.b)):
            found = solve(
                problem,
                progress,
                method=method,
                scaling=scaled if scaling is None else scaling,
                mean=mean,
                G=starts[i] * problem.kappa,
            )
            solved.append(_finished(problem, progress, found))
    return _result(given, epsilons, solved, float(tolerance), differentiate == "plan")


def symmetric_sinkhorn(
    x: Array,
    a: Array | None = None,
    *,
    cost: str | costs.Cost = "sqeuclidean",
    epsilon: float | FloatArray | Tensor,
    tolerance: float = 1e-6,
    max_iterations: int = 20_000,
    chunk_size: int | None = None,
) -> SinkhornResult:
    """`sinkhorn` from a cloud to itself, f = g up to the error; see `divergences`.

    Args:
        x: points (..., n, d).
        a: weights (..., n); None: 1/n each.
        cost: symmetric.
        epsilon: ε, one a problem or one for all.
        tolerance: of the marginal error.
        max_iterations: sweeps.
        chunk_size: as in `sinkhorn`.
    """
    given = _arguments(x, x, a, a, costs.get(cost), None, chunk_size)
    epsilons = torch.as_tensor(epsilon, dtype=given.a.dtype, device=given.a.device)
    epsilons = epsilons.expand(given.batch)
    solved = []
    for problem in given.problems(epsilons):
        progress = Progress(tolerance, max_iterations)
        with torch.no_grad(), threads_for(len(problem.a) * len(problem.b)):
            solved.append(_finished(problem, progress, symmetric_sweeps(problem, progress)))
    return _result(given, epsilons, solved, tolerance, with_plan=False)


def _arguments(
    x: Array | None,
    y: Array | None,
    a: Array | None,
    b: Array | None,
    cost: costs.Cost,
    cost_matrix: Array | None,
    chunk_size: int | None,
) -> _Given:
    arrays, origin = together(x=x, y=y, cost_matrix=cost_matrix, a=a, b=b)
    matrix = arrays["cost_matrix"]
    if matrix is not None:
        if x is not None or y is not None:
            raise ValueError("cost_matrix must come without x and y; pass one or the other")
        require_shape(matrix, "cost_matrix", (None, None), "(..., n, m)")
    else:
        if x is None or y is None:
            raise ValueError("x and y must both be given, or cost_matrix; pass the missing one")
        px, py = cast(Tensor, arrays["x"]), cast(Tensor, arrays["y"])
        require_shape(px, "x", (None, None), "(..., n, d)")
        require_shape(py, "y", (None, px.shape[-1]), f"(..., m, {px.shape[-1]}) like x")
        try:
            batch = torch.broadcast_shapes(px.shape[:-2], py.shape[:-2])
        except RuntimeError:
            raise ValueError(
                f"x and y must have the same batch axes, got {tuple(px.shape)} and "
                f"{tuple(py.shape)}; reshape one"
            ) from None
        px, py = px.expand(*batch, *px.shape[-2:]), py.expand(*batch, *py.shape[-2:])
        arrays["x"], arrays["y"] = px, py
        cost.check(px, "x")
        cost.check(py, "y")
        if chunk_size is None:
            matrix = cost.between(px, py)
    if matrix is not None:
        n, m, like = matrix.shape[-2], matrix.shape[-1], matrix
    else:
        n, m, like = px.shape[-2], py.shape[-2], px
    if min(n, m) == 0:
        raise ValueError(f"there must be points on both sides, got {n} and {m}; pass some")
    wa, wb = weights(arrays["a"], "a", like, n), weights(arrays["b"], "b", like, m)
    require_equal_mass(wa, wb)
    return _Given(arrays["x"], arrays["y"], matrix, wa, wb, cost, chunk_size, origin)


def _mean_costs(given: _Given) -> Tensor:
    """Of C, unweighted, one a problem."""
    if given.cost is not None:
        return given.cost.detach().mean(dim=(-2, -1))
    ones = torch.ones(given.batch, dtype=given.a.dtype)
    means = []
    for problem in given.problems(ones):
        assert isinstance(problem, StreamedProblem)
        parts = problem.x.split(problem.chunk_size)
        total = sum(float(problem.between(part, problem.y).sum()) for part in parts)
        means.append(total / (len(problem.x) * len(problem.y)))
    return torch.tensor(means, dtype=given.a.dtype).reshape(given.batch)


def resolved_epsilon(epsilon: Any, means: Tensor, name: str = "epsilon") -> Tensor:
    """ε of each problem, from its mean cost if it is relative; None: ("mean", 0.05)."""
    if epsilon is None:
        epsilon = ("mean", 0.05)
    if not isinstance(epsilon, tuple):
        return torch.full_like(means, checks.positive(epsilon, name))
    if len(epsilon) != 2 or epsilon[0] != "mean":
        raise ValueError(f'{name} must be a number or ("mean", number), got {epsilon!r}')
    ratio = checks.positive(epsilon[1], name)
    # a cost of 0 everywhere: the plan is a bᵀ whatever ε is
    return torch.where(means > 0, ratio * means, torch.ones_like(means))


def require_resolution(epsilons: Tensor, means: Tensor, name: str = "epsilon") -> Tensor:
    """Raise a ValueError if potentials of such ε, in the dtype, cannot be told from rounding."""
    largest = _LARGEST_EXPONENT[means.dtype]
    if bool((means > largest * epsilons).any()):
        raise ValueError(
            f"{name} must be at least the mean cost over {largest:.0e} in {means.dtype}, got "
            f"{float(epsilons.min()):.3g}; take a larger one, or exact_plan"
        )
    return epsilons


def _starts(init: Any, given: _Given) -> Tensor:
    """g of each problem, (B, m)."""
    if init is None:
        return torch.zeros_like(given.b.detach()).reshape(-1, given.b.shape[-1])
    f, g = (init.f, init.g) if isinstance(init, SinkhornResult) else init
    arrays, _ = together(f=f, g=g, a=given.origin.restore(given.a))
    start = cast(Tensor, arrays["g"]).detach()
    require_shape(start, "init", (given.b.shape[-1],), f"(f, g) with g (..., {given.b.shape[-1]})")
    return start.expand(given.b.shape).reshape(-1, given.b.shape[-1])


@dataclass(frozen=True)
class _Solved:
    """One problem's potentials and plan (of mass 1), value and record."""

    f: Tensor
    g: Tensor
    value: float
    error: float
    progress: Progress
    plan: Tensor | None  # if it was made for the error, and in one piece


def _finished(problem: Problem, progress: Progress, found: Found) -> _Solved:
    """Potentials with ⟨f, a⟩ = ⟨g, b⟩, and the error that they have."""
    F, G = found.F, found.G
    if not (bool(torch.isfinite(F).all()) and bool(torch.isfinite(G).all())):
        raise FloatingPointError(
            f"the potentials are not finite at epsilon = {problem.epsilon:.3g}; take a larger "
            "epsilon or float64"
        )
    for mass, potential, extend in (
        (problem.a, F, problem.rows),
        (problem.b, G, problem.columns),
    ):
        empty = mass == 0
        if bool(empty.any()):
            potential[empty] = extend(G if potential is F else F)[empty]
    first, second = (problem.a.double() @ F.double(), problem.b.double() @ G.double())
    shift = ((second - first) / 2).to(F.dtype)
    F, G = F + shift, G - shift
    error = progress.error
    plan = found.P.K if isinstance(found.P, DenseKernel) else None
    if F.dtype != torch.float64 or not progress.of_last:
        masses = torch.zeros_like(G)
        for _, P, _ in problem.blocks(F, G):
            masses += P.sum(dim=0)
            plan = P if len(P) == len(F) else None
        error = float((masses - problem.b).abs().sum())
    value = float(first + second) / problem.kappa
    return _Solved(F / problem.kappa, G / problem.kappa, value, error, progress, plan)


def _result(
    given: _Given, epsilons: Tensor, solved: list[_Solved], tolerance: float, with_plan: bool
) -> SinkhornResult:
    """Joined, with gradients and a warning."""
    a, b, origin = given.a, given.b, given.origin
    statuses = [_status(one, tolerance) for one in solved]
    bad = [i for i, status in enumerate(statuses) if status != "converged"]
    if bad:
        worst = max(bad, key=lambda i: solved[i].error)
        warnings.warn(
            f"{len(bad)} of {len(solved)} problems ended with status "
            f"{', '.join(sorted({statuses[i] for i in bad}))}; largest marginal error "
            f"{solved[worst].error:.2g}, tolerance {tolerance:.2g}",
            ConvergenceWarning,
            stacklevel=3,
        )
    f = torch.stack([one.f for one in solved]).reshape(a.shape)
    g = torch.stack([one.g for one in solved]).reshape(b.shape)
    value = torch.tensor([one.value for one in solved], dtype=torch.float64, device=a.device)
    value = value.reshape(given.batch).to(a.dtype) * a.detach().sum(dim=-1)
    if given.cost is not None:
        plans = [one.plan for one in solved if one.plan is not None]
        P = None
        if len(plans) == len(solved) and given.cost.requires_grad:
            P = plans[0] if len(plans) == 1 else torch.stack(plans)
            P = P.reshape(given.cost.shape)
        value = _Value.apply(given.cost, a, b, f, g, epsilons, value, P)
    else:
        value = _StreamedValue.apply(given.x, given.y, a, b, f, g, epsilons, value, given)
    plan = None
    if with_plan:
        plan = _Plan.apply(given.cost, a, b, f, g, epsilons)
    numbers = np.array([one.error for one in solved]).reshape(given.batch)
    iterations = np.array([one.progress.iterations for one in solved]).reshape(given.batch)
    single = not given.batch
    return SinkhornResult(
        f=origin.restore(f),
        g=origin.restore(g),
        value=given.scalars(value),
        error=float(numbers) if single else numbers,
        iterations=int(iterations) if single else iterations,
        status=statuses[0] if single else np.array(statuses).reshape(given.batch),
        epsilon=float(epsilons) if single else given.scalars(epsilons),
        history=[one.progress.history for one in solved],
        seconds=[one.progress.seconds for one in solved],
        _problem=given,
        _plan=plan,
    )


def _status(solved: _Solved, tolerance: float) -> Status:
    if solved.error <= tolerance:
        return "converged"
    if solved.progress.iterations >= solved.progress.limit:
        return "max_iterations"
    return "precision"


def _densities(cost: Tensor, a: Tensor, b: Tensor, f: Tensor, g: Tensor, eps: Tensor) -> Tensor:
    """P, (..., n, m)."""
    kappa = LOG2_E / eps[..., None]
    rows = torch.log2(a) + kappa * f
    columns = torch.log2(b / a.sum(dim=-1, keepdim=True)) + kappa * g
    P = torch.addcmul(rows[..., :, None], cost, -kappa[..., None])
    P += columns[..., None, :]
    return powers(P)


class _Value(torch.autograd.Function):
    """The value, with the gradients of the optimum."""

    @staticmethod
    def forward(
        ctx: Any,
        cost: Tensor,
        a: Tensor,
        b: Tensor,
        f: Tensor,
        g: Tensor,
        epsilons: Tensor,
        value: Tensor,
        plan: Tensor | None,
    ) -> Tensor:
        """`plan`: P of mass 1, if it is at hand."""
        ctx.save_for_backward(cost if plan is None else plan, a, b, f, g, epsilons)
        ctx.at_hand = plan is not None
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        cost, a, b, f, g, epsilons = ctx.saved_tensors
        to_cost = None
        if ctx.needs_input_grad[0] and ctx.at_hand:
            to_cost = (outer * a.sum(dim=-1))[..., None, None] * cost
        elif ctx.needs_input_grad[0]:
            to_cost = _densities(cost, a, b, f, g, epsilons)
            to_cost *= outer[..., None, None]
        return to_cost, outer[..., None] * f, outer[..., None] * g, *[None] * 5


class _StreamedValue(torch.autograd.Function):
    """The same where C is not kept: blocks of it are made again, with gradients to the points."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        y: Tensor,
        a: Tensor,
        b: Tensor,
        f: Tensor,
        g: Tensor,
        epsilons: Tensor,
        value: Tensor,
        given: _Given,
    ) -> Tensor:
        ctx.save_for_backward(x, y, a, b, f, g, epsilons)
        ctx.given = given
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        x, y, a, b, f, g, epsilons = ctx.saved_tensors
        gradients: list[Tensor | None] = [None, None]
        if any(ctx.needs_input_grad[:2]):
            size, between = ctx.given.chunk_size, ctx.given.between.between
            own_x, own_y = torch.zeros_like(x), torch.zeros_like(y)
            for start in range(0, x.shape[-2], size):
                rows = slice(start, start + size)
                with torch.enable_grad():
                    part, all_y = (t.detach().requires_grad_() for t in (x[..., rows, :], y))
                    C = between(part, all_y)
                    # P of these rows: weights of the others do not enter, the mass does
                    share = (a[..., rows] / a.sum(dim=-1, keepdim=True)).detach()
                    P = _densities(C.detach(), share, b, f[..., rows], g, epsilons)
                    P = P * share.sum(dim=-1)[..., None, None]
                    total = (outer[..., None, None] * P * C).sum()
                to_x, to_y = torch.autograd.grad(total, (part, all_y))
                own_x[..., rows, :] = to_x
                own_y += to_y
            gradients = [own_x, own_y]
        return (*gradients, outer[..., None] * f, outer[..., None] * g, *[None] * 5)


class _Plan(torch.autograd.Function):
    """P, differentiated implicitly.

    With dP = P ∘ (dF ⊕ dG − dC)/ε and marginals da and db, and Q = ∂/∂P ∘ P: solve

        diag(a) λ + P μ = Q1,   Pᵀ λ + diag(b) μ = Qᵀ1,

    then ∂/∂a = λ, ∂/∂b = μ, ∂/∂C = (P ∘ (λ ⊕ μ) − Q)/ε. By eliminating λ, the matrix of μ is the H
    of Newton's method.
    """

    @staticmethod
    def forward(
        ctx: Any, cost: Tensor, a: Tensor, b: Tensor, f: Tensor, g: Tensor, epsilons: Tensor
    ) -> Tensor:
        P = _densities(cost, a, b, f, g, epsilons)
        ctx.save_for_backward(P, a, epsilons)
        return P

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        P, a, epsilons = ctx.saved_tensors
        Q = outer * P
        first, second = torch.empty_like(P[..., 0]), torch.empty_like(P[..., 0, :])
        n, m = P.shape[-2:]
        shaped = [P.reshape(-1, n, m), Q.reshape(-1, n, m), a.reshape(-1, n)]
        lambdas, mus = first.reshape(-1, n), second.reshape(-1, m)
        for i, (plan, q, rows) in enumerate(zip(*shaped, strict=True)):
            inverse = torch.where(rows > 0, 1 / torch.where(rows > 0, rows, 1.0), 0.0)
            r = q.sum(dim=0) - (inverse * q.sum(dim=1)) @ plan
            kernel = DenseKernel(plan)
            columns, squares = kernel.moments(inverse)
            r = r - columns * (r.sum() / columns.sum())  # rounding: orthogonal to 1
            goal = 10 * torch.finfo(r.dtype).eps * float(q.abs().sum())
            diagonal = torch.maximum(columns - squares, 1e-3 * columns)
            mus[i], _ = conjugate_gradients(
                kernel, inverse, columns, diagonal, r, goal=goal, limit=10 * m
            )
            lambdas[i] = inverse * (q.sum(dim=1) - plan @ mus[i])
        total = first[..., :, None] + second[..., None, :]
        to_cost = (P * total - Q) / epsilons[..., None, None]
        return to_cost, first, second, None, None, None
