"""Unregularised optimal transport: exact plans, with potentials that certify them.

For masses a ∈ ℝⁿ and b ∈ ℝᵐ, nonnegative and of equal sum, and costs C ∈ ℝⁿˣᵐ,

    min ⟨P, C⟩   over P >= 0 with P1 = a, Pᵀ1 = b
    = max ⟨f, a⟩ + ⟨g, b⟩   over f_i + g_j <= C_ij.

Each f, g that meets the constraints bounds the value from below, so that a plan and potentials of
equal value prove each other optimal: `ExactPlan.gap` is the difference. Where P_ij > 0,
f_i + g_j = C_ij (complementary slackness).

    assignment   equal weights, n = m: a permutation σ by scipy, then f_i is the shortest distance
                 to i in the graph with edges k → i of lengths C_{i σ(k)} − C_{k σ(k)} (no cycle
                 is negative, or it would improve σ), and g_σ(i) = C_{i σ(i)} − f_i
    linprog      any weights: HiGHS; potentials are the multipliers of the marginals
    on the line  C_ij = h(x_i − y_j), h convex: the monotone plan (north-west corner of the sorted
                 points) is optimal; f and g add up the rises of C along its staircase

Potentials are fixed by Σ a_i f_i = 0; adding s to f and subtracting it from g changes nothing else.
With matrices, f and g are c-transforms of each other, f_i = min_j C_ij − g_j and
g_j = min_i C_ij − f_i, for points without weight too.

All is solved in float64. Nothing here is differentiable; by the envelope theorem the gradients of
the value in C, a and b are P, f and g (where they are unique).

References:
    Peyré, Cuturi. Computational Optimal Transport. Foundations and Trends in Machine Learning
    11(5-6), 2019, sections 2.6, 3.1 to 3.4.
    Crouse. On implementing 2D rectangular assignment algorithms. IEEE Transactions on Aerospace
    and Electronic Systems 52(4), 2016 (scipy's).
    Howard. Dynamic Programming and Markov Processes. MIT Press, 1960 (policy iteration, here for
    the shortest distances).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment, linprog
from scipy.sparse import csc_array
from torch import Tensor

from ..core.checks import FloatArray, IntArray
from ._tensors import Array, Origin, require_equal_mass, together, weights
from .costs import Cost, TranslationCost, get

Method: TypeAlias = Literal["auto", "assignment", "linprog"]
_NEGLIGIBLE = 1e-15  # of the total mass: what rounding leaves in cells that are empty
_ROUNDING = 1e-13  # of the total mass: what marginals may be off by
_TOLERANCE = 1e-10  # of HiGHS, the least that it takes


@dataclass(frozen=True, eq=False)
class ExactPlan:
    """A plan, in sparse form, and the potentials that certify it.

    Arrays are numpy arrays or tensors, float32 or float64, as the arguments were; the values are
    floats, of float64 accuracy.

    Attributes:
        rows: i of the k cells with mass, (k,), ascending.
        columns: j of these cells, (k,), ascending within a row.
        masses: P_ij > 0 of these cells, (k,).
        f: potentials of the rows, (n,), with mean zero under a.
        g: potentials of the columns, (m,).
        value: ⟨P, C⟩.
        value_dual: ⟨f, a⟩ + ⟨g, b⟩, at most the value of any plan.
    """

    rows: Any
    columns: Any
    masses: Any
    f: Any
    g: Any
    value: float
    value_dual: float

    @property
    def gap(self) -> float:
        """`value` − `value_dual`, >= 0 up to rounding: no plan costs less by more than that."""
        return self.value - self.value_dual

    @cached_property
    def plan(self) -> Any:
        """P, (n, m), dense; made when first asked for."""
        shape = len(self.f), len(self.g)
        if isinstance(self.masses, Tensor):
            plan = self.masses.new_zeros(shape)
        else:
            plan = np.zeros(shape, dtype=self.masses.dtype)
        plan[self.rows, self.columns] = self.masses
        return plan

    @property
    def assignment(self) -> Any:
        """σ, (n,), when row i sends all its mass to column σ(i); None when one splits or has none.

        With n = m and equal weights a permutation.
        """
        whole = len(self.rows) == len(self.f) and bool((self.rows[1:] > self.rows[:-1]).all())
        return self.columns if whole else None


def exact_plan(
    cost: Array, a: Array | None = None, b: Array | None = None, *, method: Method = "auto"
) -> ExactPlan:
    """An optimal plan for a matrix of costs.

    Args:
        cost: C, (n, m), finite; numpy array or tensor, and the weights likewise.
        a: weights of the rows, (n,), nonnegative; None: 1/n each.
        b: weights of the columns, (m,), with the sum of a; None: 1/m each. What the sums differ
            by, within rounding, is removed by scaling b.
        method: "assignment" is for as many rows as columns, all of the same weight; "linprog" for
            any weights; "auto" takes the first where it can. Points of weight zero do not count.

    Returns:
        The plan: a vertex, with at most n + m − 1 cells of mass. By "assignment" the gap is
        rounding, and the potentials take less time than the plan: together 1 to 2 seconds at
        n = m = 2048, up to 10 where points have to pass by many others. By "linprog" the gap is
        rounding too, unless differences of costs, or weights, are as small as 1e-10 of the largest,
        which HiGHS does not see: they add as much to it, and weights so small may add a few cells.
        Marginals hold to 1e-13 of the total mass. It takes half a second at 256 × 256, and about
        8 times as long for twice as many points.

    Raises:
        TypeError: an argument is no array of numbers, or arrays and tensors are mixed.
        ValueError: shapes do not fit, an entry is not finite, a weight is negative, sums differ,
            dtypes or devices differ, or weights are not equal for "assignment".
        RuntimeError: HiGHS found no optimum.
    """
    if method not in get_args(Method):
        names = ", ".join(map(repr, get_args(Method)))
        raise ValueError(f"method must be one of {names}, got {method!r}; choose one")
    arrays, origin = together(cost=cost, a=a, b=b)
    given = arrays["cost"]
    if given is None or given.ndim != 2 or 0 in given.shape:
        shape = None if given is None else tuple(given.shape)
        raise ValueError(
            f"cost must have shape (n, m), n and m at least 1, got {shape}; pass one problem"
        )
    C = _float64(given)
    p, q = _masses(arrays["a"], arrays["b"], C.shape, origin)
    rows, columns = np.flatnonzero(p), np.flatnonzero(q)
    inner = C[np.ix_(rows, columns)]
    if _equal(p[rows], q[columns]) and method != "linprog":
        i, j, masses, f = _by_assignment(inner, p[rows])
    elif method == "assignment":
        raise ValueError(
            f"a and b must be as many equal weights for method='assignment', got {len(rows)} "
            f"in [{p[rows].min():.6g}, {p[rows].max():.6g}] and {len(columns)} in "
            f"[{q[columns].min():.6g}, {q[columns].max():.6g}]; pass method='linprog'"
        )
    else:
        i, j, masses, f = _by_linprog(inner, p[rows], q[columns])
    g = (C[rows] - f[:, None]).min(axis=0)  # c-transforms, which can only raise the dual value
    f = (C - g).min(axis=1)
    f -= (f @ p) / p.sum()
    g = (C - f[:, None]).min(axis=0)
    return _result(rows[i], columns[j], masses, C[rows[i], columns[j]], (f, g), (p, q), origin)


def exact_plan_1d(
    x: Array,
    y: Array,
    a: Array | None = None,
    b: Array | None = None,
    *,
    cost: str | Cost = "sqeuclidean",
) -> ExactPlan:
    """The monotone plan between points on the line, optimal for each convex cost of x − y.

    Args:
        x: (n,), finite, in any order; numpy array or tensor, and the others likewise.
        y: (m,).
        a: weights of x, (n,), nonnegative; None: 1/n each.
        b: weights of y, (m,), with the sum of a; None: 1/m each. What the sums differ by, within
            rounding, is removed by scaling b.
        cost: a `TranslationCost`, or its name.

    Returns:
        The plan, in O((n + m) log(n + m)) time and O(n + m) memory, if `plan` is not asked for.
        f_i + g_j exceeds C_ij by no more than rounding of sums of n + m terms.

    Raises:
        TypeError: an argument is no array of numbers, or arrays and tensors are mixed.
        ValueError: shapes do not fit, an entry is not finite, a weight is negative, sums differ,
            dtypes or devices differ, or the cost is not a convex function of x − y.
    """
    convex = get(cost)
    if not isinstance(convex, TranslationCost):
        raise ValueError(
            f"cost must be a convex function of x − y, a TranslationCost, got {cost!r}; "
            "pass exact_plan its matrix"
        )
    arrays, origin = together(x=x, y=y, a=a, b=b)
    sorted_points, orders = [], []
    for name in ("x", "y"):
        points = arrays[name]
        if points is None or points.ndim != 1 or len(points) == 0:
            shape = None if points is None else tuple(points.shape)
            raise ValueError(f"{name} must have shape (n,), n at least 1, got {shape}; flatten it")
        orders.append(np.argsort(_float64(points), kind="stable"))
        sorted_points.append(_float64(points)[orders[-1]])
    p, q = _masses(arrays["a"], arrays["b"], (len(orders[0]), len(orders[1])), origin)
    i, j, masses = _staircase(p[orders[0]], q[orders[1]])
    ends = (torch.from_numpy(z[k])[:, None] for z, k in zip(sorted_points, (i, j), strict=True))
    c = convex.matched(*ends).numpy()  # of the cells, (n + m − 1,)
    rises, down = np.diff(c), np.diff(i) == 1
    f = np.concatenate([[0.0], np.cumsum(rises[down])])
    f -= (f @ p[orders[0]]) / p.sum()
    g = np.minimum.reduceat(c - f[i], np.flatnonzero(np.diff(j, prepend=-1)))  # a column's cells
    potentials = np.empty_like(f), np.empty_like(g)
    potentials[0][orders[0]], potentials[1][orders[1]] = f, g
    return _result(orders[0][i], orders[1][j], masses, c, potentials, (p, q), origin)


def _float64(tensor: Tensor) -> FloatArray:
    return tensor.detach().cpu().double().numpy()


def _masses(
    a: Tensor | None, b: Tensor | None, sizes: tuple[int, ...], origin: Origin
) -> tuple[FloatArray, FloatArray]:
    """The weights, in float64 and of equal sum."""
    like = torch.empty((), dtype=torch.float64, device=origin.device)
    one, other = weights(a, "a", like, sizes[0]), weights(b, "b", like, sizes[1])
    require_equal_mass(one.to(origin.dtype), other.to(origin.dtype))
    p, q = _float64(one), _float64(other)
    return p, q * (p.sum() / q.sum())


def _equal(p: FloatArray, q: FloatArray) -> bool:
    """Whether these weights of equal sum are as many, and all the same."""
    return len(p) == len(q) and bool((p == p[0]).all() and (q == q[0]).all())


def _result(
    rows: IntArray,
    columns: IntArray,
    masses: FloatArray,
    costs: FloatArray,
    potentials: tuple[FloatArray, FloatArray],
    weights: tuple[FloatArray, FloatArray],
    origin: Origin,
) -> ExactPlan:
    """The result, of the kind that the arguments were, from cells and their costs."""
    (f, g), (p, q) = potentials, weights
    order = np.argsort(rows * len(g) + columns)  # four times as fast as lexsort
    order = order[masses[order] > _NEGLIGIBLE * p.sum()]

    def restore(array: FloatArray) -> Any:
        return origin.restore(torch.from_numpy(array).to(origin.device, origin.dtype))

    def restore_indices(array: IntArray) -> Any:
        return origin.restore(torch.from_numpy(array).to(origin.device))

    return ExactPlan(
        rows=restore_indices(rows[order]),
        columns=restore_indices(columns[order]),
        masses=restore(masses[order]),
        f=restore(f),
        g=restore(g),
        value=float(masses[order] @ costs[order]),
        value_dual=float(f @ p + g @ q),
    )


def _by_assignment(
    C: FloatArray, p: FloatArray
) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
    """Rows, columns, masses and f for equal weights."""
    rows, columns = linear_sum_assignment(C)
    lengths = np.take(C, columns, axis=1)  # (i, k): of the edge from k to i
    lengths -= C[rows, columns]
    return rows, columns, p, _shortest_distances(lengths)


def _shortest_distances(lengths: FloatArray) -> FloatArray:
    """Shortest distances, (n,), from a source that has an edge of length 0 to every node.

    Policy iteration: each node takes the best predecessor for the present distances, as in a sweep
    of Bellman and Ford, then the distances in the tree of predecessors are summed exactly, by
    doubling. It takes some 10 to 30 sweeps where theirs alone, on points along a line, take n.

    Args:
        lengths: (n, n), entry (i, k) of the edge from k to i; 0 on the diagonal, which stands for
            the edge from the source; no cycle of negative length, up to rounding.
    """
    n = len(lengths)
    nodes = np.arange(n)
    rounding = 8 * np.finfo(float).eps * np.abs(lengths).max()
    distances, predecessors, through = np.zeros(n), nodes, np.empty_like(lengths)
    for _ in range(n + 1):
        np.add(lengths, distances, out=through)
        best = through.argmin(axis=1)
        shorter = through[nodes, best] < distances - rounding
        if not shorter.any():
            break
        predecessors = np.where(shorter, best, predecessors)
        total, ancestors = lengths[nodes, predecessors], predecessors
        for _ in range(n.bit_length()):
            total, ancestors = total + total[ancestors], ancestors[ancestors]
        if (predecessors[ancestors] != ancestors).any():  # a cycle: all that is left is rounding
            break
        distances = total
    return distances


def _by_linprog(
    C: FloatArray, p: FloatArray, q: FloatArray
) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
    """Rows, columns, masses and f for positive weights.

    The tolerances of HiGHS are absolute: costs are reduced to [0, 1], mean weights to about 1.
    """
    n, m = C.shape
    f = C.min(axis=1)
    reduced = C - f[:, None]
    reduced -= reduced.min(axis=0)
    scale = reduced.max() or 1.0
    unit = p.sum() / max(n, m)
    i, j = (index.ravel() for index in np.indices((n, m)))
    free = np.flatnonzero(j < m - 1)  # the last column's marginal follows from the others
    constraints: Any = csc_array(
        (
            np.ones(n * m + len(free)),
            (np.concatenate([i, n + j[free]]), np.concatenate([np.arange(n * m), free])),
        ),
        shape=(n + m - 1, n * m),
    )
    options: Any = dict.fromkeys(
        ("primal_feasibility_tolerance", "dual_feasibility_tolerance"), _TOLERANCE
    )
    solution: Any = linprog(
        reduced.ravel() / scale,
        A_eq=constraints,
        b_eq=np.concatenate([p, q[:-1]]) / unit,
        method="highs",
        options=options,
    )
    if solution.status != 0:
        raise RuntimeError(f"HiGHS must find an optimum, got: {solution.message}")
    P = _with_marginals(np.maximum(solution.x, 0.0).reshape(n, m) * unit, p, q)
    return i, j, P.ravel(), f + scale * solution.eqlin.marginals[:n]


def _with_marginals(P: FloatArray, p: FloatArray, q: FloatArray) -> FloatArray:
    """The plan, where its marginals are off by more than rounding repaired.

    That is so where weights are below the tolerance of HiGHS. What is too much is scaled down; what
    is missing then is added by the north-west corner rule.
    """
    off = max(np.abs(P.sum(axis=1) - p).max(), np.abs(P.sum(axis=0) - q).max())
    if off <= _ROUNDING * p.sum():
        return P
    P = P * (p / np.maximum(P.sum(axis=1), p))[:, None]
    P = P * (q / np.maximum(P.sum(axis=0), q))
    missing = p - P.sum(axis=1), q - P.sum(axis=0)
    i, j, masses = _staircase(*(np.maximum(part, 0.0) for part in missing))
    P[i, j] += masses
    return P


def _staircase(p: FloatArray, q: FloatArray) -> tuple[IntArray, IntArray, FloatArray]:
    """The n + m − 1 cells of the north-west corner rule, some of them with mass 0.

    From cell (0, 0), the next is below where the row is used up first, else to the right.
    """
    # in long doubles, so that equal sums are equal numbers, however they are reached
    ends = np.concatenate([np.cumsum(w[:-1], dtype=np.longdouble) for w in (p, q)])
    order = np.argsort(ends, kind="stable")
    down = order < len(p) - 1
    i, j = (np.concatenate([[0], np.cumsum(step)]) for step in (down, ~down))
    total = p.sum(dtype=np.longdouble)
    borders = np.concatenate([[0.0], np.minimum(ends[order], total), [total]])
    return i, j, np.diff(borders).astype(float)
