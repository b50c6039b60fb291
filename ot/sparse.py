"""Sparsity-constrained optimal transport: at most k entries in each column of the plan.

For a ∈ ℝᵐ, b ∈ ℝⁿ, nonnegative and of equal sum, costs C ∈ ℝᵐˣⁿ with columns c_j, and γ > 0,

    min over T ∈ U(a, b) of ⟨T, C⟩ + Σ_j (γ/2) ‖t_j‖²,   at most k_j nonzeros in column t_j,
    U(a, b) = {T >= 0, T1 = a, Tᵀ1 = b}.

k = m is quadratic transport, convex. With k < m the problem is combinatorial, but the conjugates of
a column are in closed form, by the k largest entries (topk):

    Ω*(s)   = max over t >= 0, ‖t‖_0 <= k of s·t − (γ/2)‖t‖² = (1/2γ) Σ_{i ∈ topk(s)} (s_i)_+²
    ∇Ω*(s)  = topk(s)_+/γ
    Ω*_b(s) = the same with Σ t = b = s·t − (γ/2)‖t‖²  at
    ∇Ω*_b(s) = t = b · (projection of topk(s)/(γ b) on the simplex)

with −∞ for what is not among the k largest, in the projection, and any choice at ties. Any α ∈ ℝᵐ
bounds the value of every plan from below by the semi-dual

    D(α) = α·a − Σ_j Ω*_{b_j}(α − c_j),

which is concave, and the dual of the convex relaxation with shares θ,

    min over T ∈ U(a, b), θ ∈ [0, 1]ᵐˣⁿ, Σ_i θ_ij <= k_j of ⟨T, C⟩ + Σ_ij (γ/2) T_ij²/θ_ij.

If the maximiser of D has no ties, shares are 0 or 1, and the gradients of the conjugates are an
optimal plan. If it has, none need be, and there may be a gap between the two problems.

Solved in four steps, each by Newton's method (`_sparse_solver`):

    1. continue   quadratic transport for γ large, then smaller, down to γ: exact maximisation in α
                  and β by turns, then Newton's steps. Done if no column has more than k entries.
    2. relax      proximal points in the shares, which end on the relaxation:
                  θ ← the shares near θ, with + γ b_j² (ε/2k_j²) ‖θ_j − θ⁰_j‖² for θ⁰ the last θ.
    3. round      the same, near θ + κ (2θ − 1): a difference-of-convex iteration for the penalty
                  ρ Σ_j γ b_j² Σ_i θ_ij (1 − θ_ij)/k_j², ρ growing, until shares are 0 or 1.
    4. polish     quadratic transport on the pairs left, to rounding; then pairs that would help
                  enter where a column has room, as long as there are some.

The result is certified: `dual_value` bounds the value of every plan with at most k entries a
column, `primal_value` is that of the plan found. Nothing is proven about the gap; on clouds of
points it was 1e-4 of the value and less.

The strength of γ is not free of scale: entries of T are of the order of b_j, so it is γ b_j that
compares with costs, and γ has to grow like n to be felt. gamma=("relative", r) stands for
γ = r · mean(C)/max(b).

References:
    Liu, Puigcerver, Blondel. Sparsity-constrained optimal transport. ICLR 2023.
    Blondel, Seguy, Rolet. Smooth and sparse optimal transport. AISTATS 2018 (k = m).
    Lorenz, Manns, Meyer. Quadratically regularized optimal transport. Applied Mathematics &
    Optimization 83, 2021 (the Newton steps for k = m).
    Günlük, Linderoth. Perspective reformulations of mixed integer nonlinear programs with indicator
    variables. Mathematical Programming 124, 2010 (shares).
Differs from Liu et al.: they maximise D by L-BFGS or Adam, which stall at ties, and return the
gradients of the conjugates there, whose row sums are off (by 5 to 15 % for k <= 4 in the peer's
implementation); steps 2 to 4 and the certificate are ours.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import block_array, csc_array, eye_array
from torch import Tensor

from ..core import checks
from ..core.checks import BoolArray, FloatArray, IntArray
from ._sparse_solver import Budget, Pairs, SemiDual, newton, sweep
from ._tensors import Array, Origin, require_equal_mass, together, weights
from .exact import exact_plan
from .sinkhorn import ConvergenceWarning

Axis: TypeAlias = Literal["columns", "rows"]
Status: TypeAlias = Literal["optimal", "feasible", "relaxed", "max_iterations"]
Gamma: TypeAlias = float | tuple[Literal["relative"], float]
_ROUNDING = 1e-13  # of the largest cost times the mass: what values may be off by
_PRECISE = 1e-12  # error of a plan on given pairs
_NEGLIGIBLE = 1e-15  # of the total mass: weights below count as 0
_SMALL = 256  # rows, to which a dense Newton step is cheap
_FEW_PAIRS, _MANY_PAIRS = 2500, 5000  # branch and bound takes all pairs, or none


# ------------------------------------------------------------------------------- conjugates


def topk_maximizer(scores: Array, *, k: Any, gamma: float) -> Any:
    """∇Ω*(s) = topk(s)_+/γ, over the last axis.

    Args:
        scores: s, (..., m), finite; numpy array or tensor, on any device.
        k: 1 <= k <= m; an integer, or integers that broadcast to (...).
        gamma: γ > 0.

    Returns:
        t, (..., m): the maximiser of s·t − (γ/2)‖t‖² over t >= 0 with at most k nonzeros; at ties
        one of them.
    """
    s, origin, k, gamma = _scores(scores, k, gamma)
    values, places = _largest(s, k)
    t = torch.clamp(values, min=0.0) / gamma
    return origin.restore(torch.zeros_like(s).scatter(-1, places, t))


def topk_conjugate(scores: Array, *, k: Any, gamma: float) -> Any:
    """Ω*(s) = (1/2γ) Σ_{i ∈ topk(s)} (s_i)_+², (...); arguments as in `topk_maximizer`.

    Differentiable for tensors, with the maximiser as gradient.
    """
    s, origin, k, gamma = _scores(scores, k, gamma)
    values, _ = _largest(s, k)
    return origin.restore((torch.clamp(values, min=0.0) ** 2).sum(dim=-1) / (2 * gamma))


def project_topk_simplex(points: Array, *, k: Any) -> Any:
    """Euclidean projection on the points of the simplex with at most k nonzeros.

    p_i = (x_i − τ)_+ for the k largest x_i, 0 for the others, τ such that Σ p = 1.

    Args:
        points: x, (..., m), finite.
        k: 1 <= k <= m; an integer, or integers that broadcast to (...).

    Returns:
        p, (..., m); at ties one of the projections.
    """
    x, origin, k, _ = _scores(points, k, 1.0, "points")
    return origin.restore(_project(x, k))


def topk_simplex_maximizer(scores: Array, *, k: Any, gamma: float, mass: Any = 1.0) -> Any:
    """∇Ω*_b(s) = b · (projection of topk(s)/(γ b) on the simplex), over the last axis.

    Args:
        scores: s, (..., m), finite; numpy array or tensor, on any device.
        k: 1 <= k <= m; an integer, or integers that broadcast to (...).
        gamma: γ > 0.
        mass: b >= 0; a number, or numbers that broadcast to (...).

    Returns:
        t, (..., m): the maximiser of s·t − (γ/2)‖t‖² over t >= 0 with Σ t = b and at most k
        nonzeros; at ties one of them.
    """
    s, origin, k, gamma = _scores(scores, k, gamma)
    return origin.restore(_simplex_maximizer(s, k, gamma, _mass(mass, s)))


def topk_simplex_conjugate(scores: Array, *, k: Any, gamma: float, mass: Any = 1.0) -> Any:
    """Ω*_b(s) = s·t − (γ/2)‖t‖² at its maximiser t, (...); see `topk_simplex_maximizer`.

    Differentiable for tensors, with the maximiser as gradient.
    """
    s, origin, k, gamma = _scores(scores, k, gamma)
    t = _simplex_maximizer(s.detach(), k, gamma, _mass(mass, s))
    return origin.restore((s * t - gamma / 2 * t * t).sum(dim=-1))


def _scores(
    given: Array, k: Any, gamma: float, name: str = "scores"
) -> tuple[Tensor, Origin, Tensor, float]:
    arrays, origin = together(**{name: given})
    s = arrays[name]
    if s is None or s.ndim == 0 or s.shape[-1] == 0:
        shape = None if s is None else tuple(s.shape)
        raise ValueError(f"{name} must have shape (..., m), m at least 1, got {shape}; reshape it")
    counts = torch.as_tensor(_counts(k, s.shape[-1]), device=s.device)
    _require_broadcast(tuple(counts.shape), tuple(s.shape[:-1]), "k")
    return s, origin, counts, checks.positive(gamma, "gamma")


def _mass(given: Any, s: Tensor) -> Tensor:
    mass = torch.as_tensor(given, dtype=s.dtype, device=s.device)
    if not bool((torch.isfinite(mass) & (mass >= 0)).all()):
        raise ValueError(f"mass must be finite and nonnegative, got {given!r:.80}; clip it")
    _require_broadcast(tuple(mass.shape), tuple(s.shape[:-1]), "mass")
    return mass


def _require_broadcast(shape: tuple[int, ...], target: tuple[int, ...], name: str) -> None:
    try:
        fits = np.broadcast_shapes(shape, target) == target
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{name} must broadcast to {target}, got shape {shape}; reshape it")


def _counts(k: Any, m: int) -> IntArray:
    """k as integers in [1, m], of any shape."""
    given = np.asarray(k.detach().cpu() if isinstance(k, Tensor) else k)
    if given.dtype.kind not in "iu":
        raise TypeError(f"k must be an integer or integers, got {k!r:.80}; pass an int")
    if given.size and not ((given >= 1) & (given <= m)).all():
        bad = given[(given < 1) | (given > m)].flat[0]
        raise ValueError(
            f"k must be at least 1 and at most {m}, the number of entries, got {bad}; clip it"
        )
    return given.astype(np.int64)


def _largest(s: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """The k largest entries, descending, and their places; −∞ where k is below the largest k."""
    values, places = torch.topk(s, int(k.max()), dim=-1)
    ranks = torch.arange(values.shape[-1], device=s.device)
    return values.masked_fill(ranks >= k[..., None], -math.inf), places


def _project(x: Tensor, k: Tensor) -> Tensor:
    top = x.amax(dim=-1, keepdim=True)
    values, places = _largest(x - top, k)
    finite = torch.isfinite(values)
    sums = torch.where(finite, values, torch.zeros_like(values)).cumsum(dim=-1) - 1
    ranks = torch.arange(1, values.shape[-1] + 1, dtype=x.dtype, device=x.device)
    used = (values * ranks > sums).sum(dim=-1, keepdim=True)  # r with u_r > (Σ_{i<=r} u_i − 1)/r
    tau = sums.gather(-1, used - 1) / used
    p = torch.clamp(values - tau, min=0.0)
    return torch.zeros_like(x).scatter(-1, places, p)


def _simplex_maximizer(s: Tensor, k: Tensor, gamma: float, mass: Tensor) -> Tensor:
    scale = gamma * mass[..., None]
    p = _project(s / torch.where(scale > 0, scale, torch.ones_like(scale)), k)
    return mass[..., None] * p


# ------------------------------------------------------------------------------------ plans


@dataclass(frozen=True, eq=False)
class SparsePlan:
    """A plan with at most k nonzeros in each column (or row), and what certifies it.

    Arrays are numpy arrays or tensors, float32 or float64, as the arguments were; values are floats
    of float64 accuracy.

    Attributes:
        plan: T, (m, n). Columns (with axis="rows": rows) have at most k nonzeros and exact sums.
            Unless the status is "relaxed" or "max_iterations", the other sums are exact too, to
            1e-12 of the mass.
        alpha: α of the bound, (m,), with mean zero.
        beta: β, (n,); T = (α_i + β_j − C_ij)_+/γ on the k largest of a column (row), if no ties.
        dual_value: D(α), at most the value of any plan with at most k nonzeros.
        primal_value: ⟨T, C⟩ + (γ/2)‖T‖²; ∞ where no plan with these marginals was found.
        error: ‖T1 − a‖_1 + ‖Tᵀ1 − b‖_1.
        status: "optimal": the error is within the tolerance and the gap too;
            "feasible": the error is, the gap is not;
            "relaxed": D is maximal, but no plan was found that has these marginals and at most k
            nonzeros; `plan` has the best columns for α, with an error;
            "max_iterations": the same, and D may not be maximal.
        iterations: Newton steps, of all stages.
        gamma: γ.
    """

    plan: Any
    alpha: Any
    beta: Any
    dual_value: float
    primal_value: float
    error: float
    status: Status
    iterations: int
    gamma: float

    @property
    def gap(self) -> float:
        """`primal_value` − `dual_value`, >= 0 up to rounding; no plan costs less by more."""
        return self.primal_value - self.dual_value

    def __repr__(self) -> str:
        return (
            f"<SparsePlan {self.status}, value in [{self.dual_value:.9g}, {self.primal_value:.9g}]"
            f", error {self.error:.2g}, {self.iterations} steps>"
        )


def sparse_plan(
    cost: Array,
    a: Array | None = None,
    b: Array | None = None,
    *,
    k: Any,
    gamma: Gamma = 1.0,
    axis: Axis = "columns",
    tolerance: float = 1e-6,
    max_iterations: int = 3000,
) -> SparsePlan:
    """A plan with at most k nonzeros a column, or a row; see the module docstring.

    All is solved in float64 on the CPU, whatever the arguments are. Nothing is differentiable; by
    the envelope theorem the gradient in C of the value of an optimal plan is that plan.

    Args:
        cost: C, (m, n), finite; numpy array or tensor, and the weights likewise.
        a: weights of the rows, (m,), nonnegative; None: 1/m each.
        b: weights of the columns, (n,), with the sum of a; None: 1/n each. What the sums differ by,
            within rounding, is removed by scaling b.
        k: how many nonzeros a column may have, 1 <= k <= m; an integer, or one for each column. For
            axis="rows": a row, 1 <= k <= n.
        gamma: γ > 0, or ("relative", r) for r · mean(C)/max(b) (max(a) for axis="rows").
        axis: "columns" or "rows", of which the nonzeros are counted.
        tolerance: the status is "optimal" if the error is at most this times the mass, and the gap
            at most this times Σ_j (γ/2) b_j²/k_j, the least that the quadratic term can be, plus
            rounding (for axis="rows": of a).
        max_iterations: Newton steps allowed. 20 to 400 are typical.

    Returns:
        The plan with its certificate. Where several k-sparse plans tie, one of them.

    Raises:
        TypeError: an argument is no array of numbers, or arrays and tensors are mixed.
        ValueError: shapes do not fit, an entry is not finite, a weight is negative, sums differ,
            gamma is not positive, k is out of range or Σ k below the number of rows (columns) with
            mass, or the axis is unknown.

    Warns:
        ConvergenceWarning: no plan with these marginals was found.
    """
    if axis not in ("columns", "rows"):
        raise ValueError(f"axis must be 'columns' or 'rows', got {axis!r}; choose one")
    tolerance = checks.positive(tolerance, "tolerance")
    budget = Budget(checks.integer(max_iterations, "max_iterations", minimum=1))
    C, p, q, origin = _arguments(cost, a, b)
    if axis == "rows":
        C, p, q = C.T, q, p
    rows, columns = (np.flatnonzero(x > _NEGLIGIBLE * p.sum()) for x in (p, q))
    limits = _limits(k, C.shape, rows, columns, axis)
    strength = _strength(gamma, C, q)
    inner = np.ascontiguousarray(C[np.ix_(rows, columns)].T)
    a_, b_ = p[rows], q[columns]
    b_ *= a_.sum() / b_.sum()
    solved = _solve(inner, a_, b_, limits[columns], strength, tolerance, budget)
    return _result(
        solved, C, (p, q), limits, strength, (rows, columns), axis, origin, tolerance, budget
    )


def quadratic_plan(
    cost: Array,
    a: Array | None = None,
    b: Array | None = None,
    *,
    gamma: Gamma = 1.0,
    tolerance: float = 1e-6,
    max_iterations: int = 3000,
) -> SparsePlan:
    """Quadratic transport: min ⟨T, C⟩ + (γ/2)‖T‖² over T ∈ U(a, b), to 1e-12.

    Arguments and result are those of `sparse_plan`, with k = m.
    """
    m = np.shape(cost)[0] if np.ndim(cost) == 2 else 1
    return sparse_plan(
        cost, a, b, k=max(m, 1), gamma=gamma, tolerance=tolerance, max_iterations=max_iterations
    )


def _arguments(
    cost: Array, a: Array | None, b: Array | None
) -> tuple[FloatArray, FloatArray, FloatArray, Origin]:
    """C and the weights, in float64 and of equal sum."""
    arrays, origin = together(cost=cost, a=a, b=b)
    given = arrays["cost"]
    if given is None or given.ndim != 2 or 0 in given.shape:
        shape = None if given is None else tuple(given.shape)
        raise ValueError(
            f"cost must have shape (m, n), m and n at least 1, got {shape}; pass one problem"
        )
    masses = []
    for weight, name, size in ((arrays["a"], "a", given.shape[0]), (arrays["b"], "b", -1)):
        size = given.shape[1] if size < 0 else size
        if weight is not None and tuple(weight.shape) != (size,):
            raise ValueError(
                f"{name} must have shape ({size},), one weight for each "
                f"{'row' if name == 'a' else 'column'} of cost, got {tuple(weight.shape)}; "
                "reshape it"
            )
        masses.append(weights(weight, name, given, size))
    require_equal_mass(masses[0], masses[1])
    C, p, q = (x.detach().cpu().double().numpy() for x in (given, *masses))
    return C, p, q * (p.sum() / q.sum()), origin


def _limits(
    k: Any, shape: tuple[int, ...], rows: IntArray, columns: IntArray, axis: Axis
) -> IntArray:
    """k of each column, at most the number of rows with mass."""
    limits = _counts(k, shape[0])
    if limits.ndim and limits.shape != shape[1:]:
        raise ValueError(
            f"k must be an integer or have shape {shape[1:]}, one for each of the {axis}, got "
            f"shape {limits.shape}; reshape it"
        )
    limits = np.broadcast_to(limits, shape[1:])
    reached, needed = int(limits[columns].sum()), len(rows)
    if reached < needed:
        others = "rows" if axis == "columns" else "columns"
        raise ValueError(
            f"k must allow an entry in each of the {needed} {others} with mass, got {reached} "
            "entries in all; raise k"
        )
    return np.minimum(limits, needed)


def _strength(gamma: Gamma, C: FloatArray, q: FloatArray) -> float:
    """γ as a number."""
    if not isinstance(gamma, tuple):
        return checks.positive(gamma, "gamma")
    if len(gamma) != 2 or gamma[0] != "relative":
        raise ValueError(f"gamma must be a number or ('relative', r), got {gamma!r}; pass one")
    mean = float(C.mean())
    if mean <= 0:
        raise ValueError(
            f"gamma relative to the mean cost needs a positive one, got {mean:.6g}; pass a number"
        )
    return checks.positive(gamma[1], "gamma[1]") * mean / float(q.max())


@dataclass
class _Solved:
    """The best bound and the best plan, on rows and columns with mass."""

    alpha: FloatArray
    plan: FloatArray  # (n, m), a column of T a row
    is_feasible: bool
    is_maximal: bool


def _solve(
    costs: FloatArray,
    a: FloatArray,
    b: FloatArray,
    k: IntArray,
    gamma: float,
    tolerance: float,
    budget: Budget,
) -> _Solved:
    """The four steps; `costs` are Cᵀ, (n, m)."""
    if (k == 1).all() and len(a) == len(b) and np.ptp(a) == 0 and np.ptp(b) == 0:
        return _permutation(costs, a, b)
    offsets = costs.min(axis=0)  # costs near 0 are the more precise; plans do not see offsets
    costs = costs - offsets
    costs -= costs.min(axis=1, keepdims=True)
    precision = tolerance * gamma / 2 * float(b @ (b / k)) + _ROUNDING * costs.max() * a.sum()
    dual, start = _continued(costs, a, b, k, gamma, budget)
    is_done = bool((dual.counts(dual.masses() > 0) <= k).all())
    if is_done:
        newton(dual, _PRECISE, 100, budget)
        is_done = bool((dual.counts(dual.masses() > 0) <= k).all())
    if is_done:
        is_maximal = dual.error() <= tolerance
    else:
        is_maximal = _relaxed(dual, start, 0.1 * precision, budget)
    alpha, (bound, _) = dual.alpha, dual.bound()
    scores = alpha - costs  # (n, m)
    scores[dual.columns(), dual.rows] += 1e-9 * gamma * b[dual.columns()] * dual.theta  # at ties
    plan = topk_simplex_maximizer(scores, k=k, gamma=gamma, mass=b)
    error = float(np.abs(plan.sum(axis=0) - a).sum() / a.sum())
    rounded = _rounded(dual, tolerance, budget)
    if rounded is not None and rounded.error() <= max(error, tolerance):
        dual.alpha, error = rounded.alpha, rounded.error()
        if error <= tolerance and dual.bound()[0] > bound:
            alpha = rounded.alpha
        plan = np.zeros_like(costs)
        plan[rounded.columns(), rounded.rows] = rounded.masses()
    return _Solved(alpha + offsets, plan, error <= tolerance, is_maximal)


def _permutation(costs: FloatArray, a: FloatArray, b: FloatArray) -> _Solved:
    """One nonzero a column, equal weights: an exact plan, as γ only shifts its value."""
    exact = exact_plan(costs.T, a, b, method="assignment")
    return _Solved(exact.f, np.ascontiguousarray(exact.plan.T), True, True)


def _continued(
    costs: FloatArray, a: FloatArray, b: FloatArray, k: IntArray, gamma: float, budget: Budget
) -> tuple[SemiDual, FloatArray]:
    """Step 1; quadratic transport, to 1 % of the mass, and α when only small columns were wide."""
    dual = SemiDual(costs, a, b, k, gamma)
    by_rows = np.ascontiguousarray(costs.T)
    alpha, best, beta, start = np.zeros(len(a)), np.empty(len(a)), np.empty(len(b)), None
    tolerance = _coarse(dual)
    for width in dual.widths(max(float(costs.max()), gamma * float(b.max()))):
        dual.widen(width)
        for relaxation in (1.8, 1.8, 1.8, 1.8, 1.0):
            sweep(alpha, costs, np.ones(len(a)), dual.gammas * b, beta)
            sweep(beta, by_rows, 1 / dual.gammas, a, best)
            alpha = alpha + relaxation * (best - alpha)
        dual.evaluate(alpha)
        if len(a) <= _SMALL or dual.is_thin() or width <= gamma * b.min():
            newton(dual, tolerance, 100, budget)
            alpha = dual.alpha
        if start is None and width <= gamma * b.mean():
            start = alpha
    return dual, alpha if start is None else start


def _coarse(dual: SemiDual) -> float:
    """A tolerance on the way, such that rows and columns of little mass are not left behind."""
    least = min(dual.a.min(), dual.b.min()) / dual.a.sum()
    return float(np.clip(10 * least, 1e-5, 1e-2))


def _relaxed(dual: SemiDual, start: FloatArray, precision: float, budget: Budget) -> bool:
    """Step 2; the relaxation, to a duality gap of `precision`; whether that was reached."""
    dual.smooth(0.0)
    first = dual.gamma * float(dual.b.mean())
    dual.widen(first)
    dual.evaluate(start)
    dual.shares = np.minimum(dual.theta * dual.z * dual.k[dual.columns()], 1.0)  # k T/b
    strength, change, tolerance = 0.1, 1.0, 1e-2
    for width in dual.widths(first):
        dual.widen(width)
        is_last, rounds = width <= dual.gamma * dual.b.min(), 0
        while budget.made < budget.allowed and (is_last or rounds < 6):
            rounds += 1
            dual.smooth(strength)
            before = budget.made
            solved = newton(dual, max(tolerance, _PRECISE), 10, budget)
            change = float(np.abs(dual.theta - dual.shares).sum() / dual.k.sum())
            dual.shares = dual.theta.copy()
            gap = dual.relaxed_value() + float(dual.alpha @ dual.gradient) - dual.bound()[0]
            doubt = float(np.abs(dual.gradient).sum() * np.ptp(dual.alpha))
            if is_last and gap + doubt <= precision:
                return True
            tolerance = 0.01 * change
            if gap < doubt:
                tolerance = min(tolerance, 0.1 * dual.error())
            if not solved:
                strength = min(8 * strength, 1.0)
            elif budget.made - before <= 3:
                strength = max(0.3 * strength, 1e-4)
            if not is_last and change < 1e-2:
                break
    return False


def _rounded(dual: SemiDual, tolerance: float, budget: Budget) -> SemiDual | None:
    """Steps 3 and 4; a plan with at most k entries a column, whose error may be large."""
    most = np.cumsum(np.sort(dual.a)[::-1])[dual.k.astype(int) - 1]  # that k rows can give
    if np.maximum(dual.b - most, 0).sum() > tolerance * dual.a.sum():
        return None
    pairs = _Pairs.of(dual)
    if not pairs.excess(dual):
        return _on_largest(dual, pairs, tolerance, budget)
    tried: list[SemiDual] = []
    for search in (_held_dive, _dive, _by_search):
        found = search(dual, tolerance, budget)
        if found is not None:
            tried.append(found)
            if found.error() <= tolerance:
                break
    return min(tried, key=SemiDual.error, default=None)


class _Pairs(NamedTuple):
    """Pairs, and positive numbers by which they are preferred."""

    columns: IntArray
    rows: IntArray
    weights: FloatArray

    @staticmethod
    def of(dual: SemiDual) -> _Pairs:
        """Those with mass, preferred by mass."""
        masses = dual.masses()
        used = masses > 0
        return _Pairs(dual.columns()[used], dual.rows[used].astype(np.int64), masses[used])

    def extra(self, dual: SemiDual) -> BoolArray:
        """Whether a pair is beyond the k most preferred of its column."""
        order = np.lexsort((-self.weights, self.columns))
        columns = self.columns[order]
        extra = np.empty(len(order), np.bool_)
        ranks = np.arange(len(order)) - np.searchsorted(columns, columns)
        extra[order] = ranks >= dual.k[columns]
        return extra

    def excess(self, dual: SemiDual) -> float:
        """The sum of the weights of these."""
        return float(self.weights[self.extra(dual)].sum())


def _held_dive(dual: SemiDual, tolerance: float, budget: Budget) -> SemiDual | None:
    """Step 3 with the candidates that there are, which is faster."""
    return _dive(dual, tolerance, budget, is_held=True)


def _dive(
    dual: SemiDual, tolerance: float, budget: Budget, *, is_held: bool = False
) -> SemiDual | None:
    """Step 3, then 4 once no column has more than k entries.

    If that finds no plan: from the k largest entries of each column, when others had least mass.
    """
    dual = dual.clone()
    scattered = np.sin(np.arange(1, len(dual.shares) + 1)) * 1e4 % 1 - 0.5  # breaks symmetries
    dual.shares = dual.shares + 0.5 * scattered * dual.shares * (1 - dual.shares)
    dual.widen(0.03 * dual.gamma * float(dual.b.mean()))
    if is_held:
        dual.smooth(1.0, 1.0)
        dual.hold()
    best, least, tried = _Pairs.of(dual), math.inf, None
    for power in range(32):
        dual.smooth(0.02 * 1.5**power, 1.0)
        newton(dual, 1e-3, 20, budget)
        dual.shares = dual.theta.copy()
        pairs = _Pairs.of(dual)
        excess = pairs.excess(dual)
        if excess == 0 and dual.error() < 1e-2:
            places = pairs.columns * len(dual.a) + pairs.rows
            if tried is None or not np.array_equal(places, tried):
                found = _on_largest(dual, pairs, tolerance, budget)
                if found is not None and found.error() <= tolerance:
                    return found
            tried = places
        if excess < least:
            best, least = pairs, excess
        if power > 12 and excess > 10 * least:
            break
    return _on_largest(dual, best, tolerance, budget)


def _on_largest(dual: SemiDual, pairs: _Pairs, tolerance: float, budget: Budget) -> SemiDual | None:
    """Step 4, on the k most preferred pairs of each column."""
    kept = ~pairs.extra(dual)
    return _polished(dual, pairs.columns[kept], pairs.rows[kept], tolerance, budget)


def _by_search(dual: SemiDual, tolerance: float, budget: Budget) -> SemiDual | None:
    """Step 4, from a plan found by branch and bound, and other pairs with mass.

    min ⟨T, C⟩ over T ∈ U(a, b), 0 <= T_ij <= min(a_i, b_j) x_ij, Σ_i x_ij <= k_j, x_ij ∈ {0, 1} on
    all pairs, or if these are many, on pairs near the top of their column; its root node only.
    """
    m, n = len(dual.a), len(dual.b)
    masses = np.zeros((n, m))
    masses[dual.columns(), dual.rows] = dual.masses()
    if m * n <= _FEW_PAIRS:
        columns, rows = (x.ravel() for x in np.indices((n, m)))
    else:
        starts, near = dual.near(1.0)
        rows = near.astype(np.int64)
        columns = np.repeat(np.arange(n), np.diff(starts))
    size = len(rows)
    scaled = np.concatenate([dual.a, dual.b]) * (max(m, n) / dual.a.sum())
    if size > _MANY_PAIRS or scaled.min() < 1e-6:  # HiGHS sees 1e-6
        return None
    caps = np.minimum(scaled[rows], scaled[m + columns])
    places = np.arange(size)
    by_row = csc_array((caps, (rows, places)), shape=(m, size))
    by_column = csc_array((caps, (columns, places)), shape=(n, size))
    counts = csc_array((np.ones(size), (columns, places)), shape=(n, size))
    one = eye_array(size)
    blocks: list[list[Any]] = [[by_row, None], [by_column, None], [None, counts], [one, -one]]
    prices = dual.all_costs[columns, rows] * caps
    found = milp(
        np.concatenate([prices / max(prices.max(), 1e-300), np.zeros(size)]),
        constraints=LinearConstraint(
            block_array(blocks),
            np.concatenate([scaled, np.zeros(n), np.full(size, -np.inf)]),
            np.concatenate([scaled, dual.k, np.zeros(size)]),
        ),
        integrality=np.repeat([0, 1], size),
        bounds=Bounds(0, 1),
        options={"node_limit": 1, "mip_rel_gap": 0.05},
    )
    if found.x is None:
        return None
    masses /= masses.max()
    masses[columns, rows] += np.where(found.x[:size] > 1e-6, 2 + found.x[:size], 0)
    columns, rows = np.nonzero(masses)
    return _on_largest(dual, _Pairs(columns, rows, masses[columns, rows]), tolerance, budget)


def _polished(
    dual: SemiDual, columns: IntArray, rows: Any, tolerance: float, budget: Budget
) -> SemiDual | None:
    """Step 4, from these pairs; its error is large if no plan lives on them."""
    best = _on_pairs(dual, columns, rows, budget)
    for _ in range(50):
        if best is None or best.error() > tolerance:
            break
        gains = best.alpha + best.levels[:, None] - best.all_costs  # of a unit of mass, (n, m)
        gains[best.columns(), best.rows] = -math.inf
        used = best.masses() > 0
        entrants = gains.argmax(axis=1)
        places = np.arange(len(entrants))
        enters = gains[places, entrants] > 1e-9 * best.gamma * best.b
        enters &= best.counts(used) < best.k
        if not enters.any():
            break
        columns = np.concatenate([best.columns()[used], places[enters]])
        rows = np.concatenate([best.rows[used], entrants[enters]])
        better = _on_pairs(best, columns, rows, budget)
        if better is None or better.error() > tolerance:
            break
        if better.relaxed_value() >= best.relaxed_value():
            break
        best = better
    return best


def _on_pairs(dual: SemiDual, columns: IntArray, rows: Any, budget: Budget) -> SemiDual | None:
    """Quadratic transport on these pairs alone, from α; None if a column has none."""
    order = np.argsort(columns, kind="stable")
    counts = np.bincount(columns, minlength=len(dual.b))
    if (counts == 0).any():
        return None
    starts = np.concatenate([[0], np.cumsum(counts)])
    pairs: Pairs = starts, np.asarray(rows, dtype=np.int32)[order]
    inner = SemiDual(dual.all_costs, dual.a, dual.b, dual.k, dual.gamma, pairs)
    inner.alpha = dual.alpha
    for width in inner.widths(inner.gamma * float(inner.b.mean())):
        inner.widen(width)
        if not newton(inner, _coarse(inner), 60, budget):
            return inner  # no plan lives on these pairs, it seems
    newton(inner, _PRECISE, 100, budget)
    return inner


def _result(
    solved: _Solved,
    C: FloatArray,
    masses: tuple[FloatArray, FloatArray],
    k: IntArray,
    gamma: float,
    kept: tuple[IntArray, IntArray],
    axis: Axis,
    origin: Origin,
    tolerance: float,
    budget: Budget,
) -> SparsePlan:
    """The certificate, from nothing but α and T; zero weights put back."""
    (p, q), (rows, columns) = masses, kept
    T = np.zeros_like(C)
    T[np.ix_(rows, columns)] = solved.plan.T
    inner = SemiDual(np.ascontiguousarray(C[np.ix_(rows, columns)].T), p[rows], q[columns],
                     k[columns], gamma)  # fmt: skip
    inner.alpha = solved.alpha
    bound, levels = inner.bound()
    beta = np.full(len(q), -math.inf)
    beta[columns] = levels
    alpha = (C[:, columns] - levels).min(axis=1)  # without mass: as high as changes nothing
    alpha[rows] = solved.alpha
    beta = np.where(beta > -math.inf, beta, (C - alpha[:, None]).min(axis=0))
    shift = alpha.mean()
    alpha, beta = alpha - shift, beta + shift
    error = float(np.abs(T.sum(axis=1) - p).sum() + np.abs(T.sum(axis=0) - q).sum())
    value = float((T * C).sum() + gamma / 2 * (T * T).sum()) if solved.is_feasible else math.inf
    precision = tolerance * gamma / 2 * float(q @ (q / k))
    precision += _ROUNDING * float(np.abs(C).max() * p.sum())
    status: Status = "max_iterations"
    if solved.is_feasible and error <= tolerance * p.sum():
        status = "optimal" if value - bound <= precision else "feasible"
    elif solved.is_maximal:
        status = "relaxed"
    if status in ("relaxed", "max_iterations"):
        warnings.warn(
            f"no plan with these marginals and at most k nonzeros in each of the {axis} was found "
            f"(status {status!r}); the plan returned has a marginal error of {error:.2g}",
            ConvergenceWarning,
            stacklevel=3,
        )
    if axis == "rows":
        T, alpha, beta = T.T, beta, alpha
        shift = alpha.mean()
        alpha, beta = alpha - shift, beta + shift

    def restore(array: FloatArray) -> Any:
        array = np.ascontiguousarray(array)
        return origin.restore(torch.from_numpy(array).to(origin.device, origin.dtype))

    return SparsePlan(
        plan=restore(T),
        alpha=restore(alpha),
        beta=restore(beta),
        dual_value=bound,
        primal_value=value,
        error=error,
        status=status,
        iterations=budget.made,
        gamma=gamma,
    )
