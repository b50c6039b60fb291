"""How good a learned map is: against the true one, against the target, and by itself.

    l2_uvp       100 E‖T̂(x) − T*(x)‖² / Var(ν)               the true map is known
    map_cosine   ⟨T̂ − Id, T* − Id⟩ / (‖T̂ − Id‖ ‖T* − Id‖)     the true map is known
    mmd          mean over γ of MMD²(T̂♯μ, ν), k(x, y) = exp(−γ ‖x − y‖²)
    crossings    share of pairs of segments [x_i, T̂(x_i)] in the plane that cross

All take numpy arrays or tensors and return floats, computed in float64.

References:
    Korotin, Li, Genevay, Solomon, Filippov, Burnaev. Do neural optimal transport solvers work? A
    continuous Wasserstein-2 benchmark. NeurIPS 2021 (the first two).
    Gretton, Borgwardt, Rasch, Schölkopf, Smola. A kernel two-sample test. JMLR 13, 2012 (MMD).
    Shewchuk. Adaptive precision floating-point arithmetic and fast robust geometric predicates.
    Discrete & Computational Geometry 18, 1997 (the bound on the rounding of an orientation).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..core import checks
from . import costs
from ._tensors import Array, together

_Points: TypeAlias = npt.NDArray[Any]  # (n, 2), of floats or of Python's integers
_CHUNK = 1 << 20  # pairs handled at once
_GAMMAS = (2.0, 1.0, 0.5, 0.1, 0.01, 0.005)
_ROUNDING = (3 + 16 * 2.0**-53) * 2.0**-53  # relative, of an orientation; Shewchuk's bound
_TINY = 1e-290  # below it products may have lost digits to underflow


def l2_uvp(mapped: Array, true: Array, *, variance: float) -> float:
    """Unexplained variance of a map, in percent: 100 E‖T̂(x) − T*(x)‖² / Var(ν).

    0 for the true map, 100 for the constant map to the mean of ν.

    Args:
        mapped: T̂(x_i), (n, d), numpy or torch.
        true: T*(x_i), (n, d), of the same points.
        variance: Var(ν) > 0, the trace of the covariance of the target.

    Returns:
        L2-UVP >= 0, with the mean over the points for E.

    Raises:
        TypeError, ValueError: an argument is out of range; says which and what to do.
    """
    moved, wanted = _paired(mapped=mapped, true=true)
    share = ((moved - wanted) ** 2).sum(dim=-1).mean() / checks.positive(variance, "variance")
    return 100 * float(share)


def map_cosine(x: Array, mapped: Array, true: Array) -> float:
    """Cosine in L²(μ) of the displacements T̂ − Id and T* − Id.

    1 if they are positive multiples of each other.

    Args:
        x: points x_i, (n, d), numpy or torch.
        mapped: T̂(x_i), (n, d).
        true: T*(x_i), (n, d).

    Returns:
        The cosine, in [−1, 1]; nan if T̂ moves no point.

    Raises:
        TypeError, ValueError: shapes differ, or T* moves no point.
    """
    points, moved, wanted = _paired(x=x, mapped=mapped, true=true)
    one, other = (image - points for image in (moved, wanted))
    if not bool(other.any()):
        raise ValueError("true must move a point, got x itself; compare with l2_uvp")
    if not bool(one.any()):
        return math.nan
    one, other = one / one.abs().max(), other / other.abs().max()  # squares stay in range
    cosine = float((one * other).sum() / (one.norm() * other.norm()))
    return min(1.0, max(-1.0, cosine))


def mmd(x: Array, y: Array, *, gammas: Sequence[float] = _GAMMAS) -> float:
    """Squared maximum mean discrepancy of two samples, averaged over kernel widths.

    For each γ, with k(x, y) = exp(−γ ‖x − y‖²) and means over all pairs, i = j included,

        MMD² = mean k(x_i, x_j) + mean k(y_i, y_j) − 2 mean k(x_i, y_j),

    the biased (V-) statistic: >= 0, and 0 for equal samples. For n and m independent points of one
    law its expectation is (1/n + 1/m)(1 − E k), k between two independent points: compare at equal
    n and m only. The widths are absolute, for data of about unit size.

    Args:
        x: points (n, d), numpy or torch.
        y: points (m, d).
        gammas: the γ > 0; by default those usual for single-cell data.

    Returns:
        The mean of MMD² over the γ, in [0, 2].

    Raises:
        TypeError, ValueError: an argument is out of range; says which and what to do.
    """
    widths = [checks.positive(gamma, "gammas") for gamma in gammas]
    if not widths:
        raise ValueError(f"gammas must hold a number, got {gammas!r}; give one")
    arrays, _ = together(x=x, y=y)
    one, other = (_cloud(arrays[name], name) for name in ("x", "y"))
    if one.shape[-1] != other.shape[-1]:
        raise ValueError(
            f"y must have shape (m, {one.shape[-1]}) like x, got {tuple(other.shape)}; reshape it"
        )
    total = _kernel_mean(one, one, widths) + _kernel_mean(other, other, widths)
    return max(0.0, total - 2 * _kernel_mean(one, other, widths))


def crossings(x: Array, mapped: Array) -> float:
    """Share of the pairs of segments [x_i, T(x_i)] that cross, in the plane.

    Two segments cross if each has the ends of the other strictly on both of its sides: segments
    that only touch, or overlap along a line, do not. The sides are exact for the floating-point
    numbers given. No two segments of an optimal map for the Euclidean cost ‖x − y‖ cross, since
    to exchange their ends would be shorter; for its square they may.

    Args:
        x: points x_i, (n, 2), n >= 2, numpy or torch.
        mapped: T(x_i), (n, 2).

    Returns:
        Pairs that cross over n (n − 1)/2, in [0, 1].

    Raises:
        TypeError, ValueError: an argument is out of range; says which and what to do.
    """
    starts, ends = (one.cpu().numpy() for one in _paired(x=x, mapped=mapped))
    if starts.shape[1] != 2 or len(starts) < 2:
        raise ValueError(
            f"x must have shape (n, 2), n at least 2, got {starts.shape}; "
            "crossings are of segments in the plane"
        )
    whole: list[_Points] = []  # the same points as integers, made if needed
    n, count = len(starts), 0
    for i, j in _pairs(n):
        four = starts[i], ends[i], starts[j], ends[j]
        sides = _sides(*four)  # (4, pairs)
        unsure = (sides == 0).any(axis=0)
        unsure &= (sides[0] * sides[1] <= 0) & (sides[2] * sides[3] <= 0)
        if unsure.any():
            whole = whole or _integers(starts, ends)
            some = i[unsure], j[unsure]
            integers = whole[0][some[0]], whole[1][some[0]], whole[0][some[1]], whole[1][some[1]]
            sides[:, unsure] = _sides(*integers)
        crossing = (sides[0] * sides[1] < 0) & (sides[2] * sides[3] < 0)
        count += int(crossing.sum())
    return count / (n * (n - 1) // 2)


def _paired(**arrays: Array) -> list[Tensor]:
    """Clouds (n, d) of one shape, in float64."""
    converted, _ = together(**arrays)
    clouds = [_cloud(tensor, name) for name, tensor in converted.items()]
    for name, cloud in zip(list(arrays)[1:], clouds[1:], strict=True):
        if cloud.shape != clouds[0].shape:
            raise ValueError(
                f"{name} must have the shape {tuple(clouds[0].shape)} of {next(iter(arrays))}, got "
                f"{tuple(cloud.shape)}; pass one image for each point"
            )
    return clouds


def _cloud(tensor: Tensor | None, name: str) -> Tensor:
    """Points (n, d), in float64."""
    points = cast(Tensor, tensor)
    if points.ndim != 2 or points.numel() == 0:
        raise ValueError(
            f"{name} must have shape (n, d) without zeros, got {tuple(points.shape)}; reshape it"
        )
    return points.detach().double()


def _kernel_mean(x: Tensor, y: Tensor, gammas: Sequence[float]) -> float:
    """Mean of exp(−γ ‖x_i − y_j‖²) over i, j and γ."""
    total = 0.0
    for part in x.split(max(1, _CHUNK // len(y))):
        squares = costs.NAMED["sqeuclidean"].between(part, y)
        total += sum(float(torch.exp(-gamma * squares).sum()) for gamma in gammas)
    return total / (len(gammas) * len(x) * len(y))


def _pairs(n: int) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
    """All i < j < n, some rows at once."""
    rows = max(1, _CHUNK // n)
    for first in range(0, n - 1, rows):
        i, j = np.nonzero(np.arange(first, min(first + rows, n))[:, None] < np.arange(n))
        yield i + first, j


def _sides(a: _Points, b: _Points, c: _Points, d: _Points) -> npt.NDArray[np.int8]:
    """Sides of c and d of the lines a b, of a and b of the lines c d: (4, n), 1, −1, or 0."""
    return np.stack([_side(a, b, c), _side(a, b, d), _side(c, d, a), _side(c, d, b)])


def _side(p: _Points, q: _Points, r: _Points) -> npt.NDArray[np.int8]:
    """1 where p, q, r turn left, −1 where right; 0 on a line, or where floats cannot tell."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        left = (p[:, 0] - r[:, 0]) * (q[:, 1] - r[:, 1])
        right = (p[:, 1] - r[:, 1]) * (q[:, 0] - r[:, 0])
        turn = left - right
        margin: Any = 0
        if turn.dtype != object:
            margin = _ROUNDING * (np.abs(left) + np.abs(right)) + _TINY
        return (turn > margin).astype(np.int8) - (turn < -margin).astype(np.int8)


def _integers(*clouds: _Points) -> list[_Points]:
    """The points times one power of 2, as Python's integers, exactly."""
    mantissas, exponents = np.frexp(np.stack(clouds))
    digits = np.ldexp(mantissas, 53).astype(np.int64).astype(object)
    return list(digits << (exponents - exponents.min()).astype(object))
