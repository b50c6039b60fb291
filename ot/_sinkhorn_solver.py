"""How `sinkhorn` finds the potentials of one problem; see there for the problem itself.

Everything is in base 2 and in units of ε: with κ = log₂(e)/ε,

    F = κ f,  G = κ g,      P_ij = a_i b_j 2^(F_i + G_j − κ C_ij),

as exp2 is faster than exp, and on CPUs ten times faster where float32 underflows. Masses are 1.

    sweep           G_j = −log₂ Σ_i a_i 2^(F_i − κ C_ij), then F alike: the rows of P are exact
    kernel sweep    with K = P kept: v = b/(Kᵀ u), u = a/(K v); u and v are absorbed into F and G,
                    and K is made anew, where they grow large
    relaxed sweep   log u ← (1 − ω) log u + ω log(a/(K v)), v alike, with ω = 2/(1 + √(1 − ρ)) for
                    the rate ρ of plain sweeps: successive over-relaxation of the two blocks
    ε-scaling       ε_0 = mean(C)/4, then a fifth each time, each started where the last one ended
    Newton          for the dual value as a function of g. With r = b − Pᵀ1 and
                    H = diag(Pᵀ1) − Pᵀ diag(1/a) P, solve H x = r by conjugate gradients
                    (preconditioned by the diagonal of H, to a residual of min{0.3, √‖r‖_1} ‖r‖_1),
                    then g ← g + t ε x with Armijo's rule: D(g + t ε x) − D(g) =
                    ε (t ⟨x, b⟩ − ⟨a, log(P e^{t x}/a)⟩); rows are made exact again

The error is that of the columns, ‖b − Pᵀ1‖_1: rows are exact where it is taken.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

LOG2_E = 1 / math.log(2)
_SMALLEST = {torch.float32: 1e-25, torch.float64: 1e-200}  # of P: less is 0
_LEAST = {torch.float32: -100.0, torch.float64: -1000.0}  # exponents, the powers still normal
_LARGEST = {torch.float32: 1e8, torch.float64: 1e30}  # scalings that need not yet be absorbed
_LEVEL_TOLERANCE, _LEVEL_SWEEPS = 0.05, 30  # of a level of ε-scaling
_SWITCH = 3e-2  # error below which Newton's method takes over
_PATIENCE = 20  # sweeps to the end that are worth waiting for
_LARGE = 1 << 18  # entries of P beyond which sweeps cost more than looks at them
_STALLS = 4  # looks without a better error, in rounding's reach, that end the solve
_FLOOR = {torch.float32: 3e-4, torch.float64: 1e-10}  # errors that may be rounding's
_MAX_RELAXATION, _RELAXED_LOOKS = 1.998, 10
_NEWTON_STEPS, _CONJUGATE_STEPS = 100, 500
_DRIFT = {torch.float32: 15.0, torch.float64: 100.0}  # of log P, before P is made anew
_STRIDE = 20.0  # largest |t x_j|: e^{t x} stays in range


class Problem(ABC):
    """One problem of mass 1, in the dtype that it is solved in; weights may be 0.

    Args:
        a: (n,).
        b: (m,).
        epsilon: ε.
    """

    def __init__(self, a: Tensor, b: Tensor, epsilon: float) -> None:
        self.a, self.b, self.epsilon = a, b, epsilon
        self.log_a, self.log_b = torch.log2(a), torch.log2(b)
        zeros_a, zeros_b = a == 0, b == 0  # there rows and columns of P are 0
        self.zeros_a = zeros_a if bool(zeros_a.any()) else None
        self.zeros_b = zeros_b if bool(zeros_b.any()) else None
        self.safe_a, self.safe_b = a.masked_fill(zeros_a, 1.0), b.masked_fill(zeros_b, 1.0)

    @property
    def kappa(self) -> float:
        """log₂(e)/ε."""
        return LOG2_E / self.epsilon

    @property
    def scratch(self) -> Tensor | None:
        """An array of the shape of each block, if there is one."""
        return None

    @abstractmethod
    def costs(self) -> Iterator[tuple[slice, Tensor]]:
        """C in blocks of rows, from the first to the last: which, and (rows, m)."""

    @abstractmethod
    def kernel(self, F: Tensor, G: Tensor) -> Kernel:
        """P; those of calls before are lost."""

    @abstractmethod
    def at(self, epsilon: float, dtype: torch.dtype) -> Problem:
        """The same with another ε, in another dtype."""

    def rows(self, G: Tensor) -> Tensor:
        """F with exact rows, (n,)."""
        G = G + self.log_b
        parts = [soft_minimum(C, G, self.kappa, 1, self.scratch) for _, C in self.costs()]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def columns(self, F: Tensor) -> Tensor:
        """G with exact columns, (m,)."""
        F = F + self.log_a
        parts = [soft_minimum(C, F[rows], self.kappa, 0, self.scratch) for rows, C in self.costs()]
        if len(parts) == 1:
            return parts[0]
        return soft_minimum(torch.stack(parts), torch.zeros_like(F[: len(parts)]), 1.0, 0)

    def bounds(self, G: Tensor) -> Tensor:
        """F with largest entries 2^F_i of 1 in each row, weights of rows left out: a start."""
        G = (G + self.log_b)[None, :]
        parts = [
            torch.add(G, C, alpha=-self.kappa, out=self.scratch).amax(dim=1)
            for _, C in self.costs()
        ]
        return -torch.cat(parts)

    def blocks(self, F: Tensor, G: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Rows of P and of C, from the first to the last: which, and both (rows, m).

        P is overwritten by what comes next.
        """
        F, G = F + self.log_a, G + self.log_b
        for rows, C in self.costs():
            yield rows, _plan(C, F[rows], G, self.kappa, out=self.scratch), C


class Arrays:
    """Arrays of the shape of C for all passes: fresh memory costs more than to compute in it.

    Args:
        shape: (n, m).
        like: a tensor of the dtype on the device.
    """

    def __init__(self, shape: tuple[int, ...], like: Tensor) -> None:
        self.shape, self._like = shape, like.new_empty(0)

    @cached_property
    def cost(self) -> Tensor:
        """For C."""
        return self._like.new_empty(self.shape)

    @cached_property
    def kernel(self) -> Tensor:
        """For P."""
        return self._like.new_empty(self.shape)

    @cached_property
    def scratch(self) -> Tensor:
        """For one pass."""
        return self._like.new_empty(self.shape)


class DenseProblem(Problem):
    """A problem with its cost matrix.

    Args:
        cost: C, (n, m).
        arrays: those that it shall use.
    """

    def __init__(
        self, cost: Tensor, a: Tensor, b: Tensor, epsilon: float, arrays: Arrays | None = None
    ) -> None:
        super().__init__(a, b, epsilon)
        self.cost = cost
        self.arrays = Arrays(tuple(cost.shape), cost) if arrays is None else arrays

    @property
    def scratch(self) -> Tensor:
        """For all passes."""
        return self.arrays.scratch

    def costs(self) -> Iterator[tuple[slice, Tensor]]:
        """One block."""
        yield slice(None), self.cost

    def kernel(self, F: Tensor, G: Tensor) -> DenseKernel:
        """Kept."""
        F, G = F + self.log_a, G + self.log_b
        return DenseKernel(_plan(self.cost, F, G, self.kappa, out=self.arrays.kernel))

    def at(self, epsilon: float, dtype: torch.dtype) -> DenseProblem:
        """Shares all that it can where the dtype is the same."""
        if dtype == self.a.dtype:
            return self.replaced(self.cost, epsilon)
        return DenseProblem(self.cost.to(dtype), self.a.to(dtype), self.b.to(dtype), epsilon)

    def replaced(self, cost: Tensor, epsilon: float) -> DenseProblem:
        """One of the same weights in the same arrays."""
        problem = copy(self)
        problem.cost, problem.epsilon = cost, epsilon
        return problem


class StreamedProblem(Problem):
    """A problem between clouds, whose cost matrix is computed in blocks each time it is used.

    Args:
        x: (n, d).
        y: (m, d).
        between: gives the cost matrix of two clouds.
        chunk_size: rows of a block.
    """

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        a: Tensor,
        b: Tensor,
        epsilon: float,
        between: Callable[[Tensor, Tensor], Tensor],
        chunk_size: int,
    ) -> None:
        super().__init__(a, b, epsilon)
        self.x, self.y, self.between, self.chunk_size = x, y, between, chunk_size

    def costs(self) -> Iterator[tuple[slice, Tensor]]:
        """Of `chunk_size` rows."""
        for start in range(0, len(self.x), self.chunk_size):
            rows = slice(start, start + self.chunk_size)
            yield rows, self.between(self.x[rows], self.y)

    def kernel(self, F: Tensor, G: Tensor) -> StreamedKernel:
        """Made anew each time."""
        return StreamedKernel(self, F, G)

    def at(self, epsilon: float, dtype: torch.dtype) -> StreamedProblem:
        """In the other dtype throughout."""
        x, y, a, b = (t.to(dtype) for t in (self.x, self.y, self.a, self.b))
        return StreamedProblem(x, y, a, b, epsilon, self.between, self.chunk_size)


def _plan(cost: Tensor, F: Tensor, G: Tensor, kappa: float, *, out: Tensor | None = None) -> Tensor:
    """2^(F + G − κ C), where F and G hold the logarithms of the weights."""
    P = torch.add(F[:, None], cost, alpha=-kappa, out=out)
    P += G[None, :]
    return powers(P)


def powers(E: Tensor) -> Tensor:
    """2^E in place, 0 where that is tiny: numbers that are not normal take three times as long."""
    E.clamp_(min=_LEAST[E.dtype])
    return torch.nn.functional.threshold_(torch.exp2(E, out=E), _SMALLEST[E.dtype], 0.0)


def soft_minimum(
    cost: Tensor, potential: Tensor, kappa: float, dim: int, out: Tensor | None = None
) -> Tensor:
    """−log₂ Σ 2^(potential − κ C) over one axis; ∞ where all potentials are −∞; `out` is lost."""
    E = torch.add(potential.unsqueeze(1 - dim), cost, alpha=-kappa, out=out)
    largest = E.amax(dim=dim, keepdim=True).clamp(min=torch.finfo(E.dtype).min)
    E -= largest
    return -(largest.squeeze(dim) + torch.log2(powers(E).sum(dim=dim)))


class Kernel(ABC):
    """A matrix K (n, m) that is used by products alone."""

    @abstractmethod
    def right(self, v: Tensor) -> Tensor:
        """K v."""

    @abstractmethod
    def through(
        self, v: Tensor, left: Callable[[Tensor, slice], Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """r = K v, w = left(r), and w K, in one pass; `left` is told which rows it is given."""

    @abstractmethod
    def moments(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Column sums of K, and w (K ∘ K)."""

    @abstractmethod
    def scaled(self, u: Tensor, v: Tensor) -> Kernel:
        """diag(u) K diag(v); K is lost."""


class DenseKernel(Kernel):
    """A matrix that is kept."""

    def __init__(self, K: Tensor) -> None:
        self.K = K

    def right(self, v: Tensor) -> Tensor:
        """K v."""
        return self.K @ v

    def through(
        self, v: Tensor, left: Callable[[Tensor, slice], Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Two products."""
        r = self.K @ v
        w = left(r, slice(None))
        return r, w, w @ self.K

    def moments(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """As above."""
        return self.K.sum(dim=0), w @ (self.K * self.K)

    def scaled(self, u: Tensor, v: Tensor) -> DenseKernel:
        """In place."""
        self.K *= u[:, None]
        self.K *= v[None, :]
        return self


class StreamedKernel(Kernel):
    """P of a problem, made anew in blocks of rows each time."""

    def __init__(self, problem: StreamedProblem, F: Tensor, G: Tensor) -> None:
        self.problem, self.F, self.G = problem, F + problem.log_a, G + problem.log_b

    def _blocks(self) -> Iterator[tuple[slice, Tensor]]:
        for rows, C in self.problem.costs():
            yield rows, _plan(C, self.F[rows], self.G, self.problem.kappa, out=C)

    def right(self, v: Tensor) -> Tensor:
        """K v."""
        return torch.cat([P @ v for _, P in self._blocks()])

    def through(
        self, v: Tensor, left: Callable[[Tensor, slice], Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One pass."""
        products, lefts, sums = [], [], torch.zeros_like(self.G)
        for rows, P in self._blocks():
            products.append(P @ v)
            lefts.append(left(products[-1], rows))
            sums += lefts[-1] @ P
        return torch.cat(products), torch.cat(lefts), sums

    def moments(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """One pass."""
        sums, squares = torch.zeros_like(self.G), torch.zeros_like(self.G)
        for rows, P in self._blocks():
            sums += P.sum(dim=0)
            squares += w[rows] @ (P * P)
        return sums, squares

    def scaled(self, u: Tensor, v: Tensor) -> StreamedKernel:
        """By the potentials."""
        kernel = copy(self)
        kernel.F, kernel.G = self.F + torch.log2(u), self.G + torch.log2(v)
        return kernel


@dataclass
class Progress:
    """What a solve did: sweeps, steps of conjugate gradients, and errors on the way and when."""

    tolerance: float
    limit: int
    iterations: int = 0
    history: list[tuple[int, float]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    stalled: bool = False
    of_last: bool = False  # the last error is that of the potentials returned, up to rounding
    started: float = field(default_factory=time.perf_counter)

    @property
    def error(self) -> float:
        """The last one seen."""
        return self.history[-1][1] if self.history else math.inf

    @property
    def converged(self) -> bool:
        """Whether that is within the tolerance."""
        return self.error <= self.tolerance

    def note(self, error: Tensor) -> bool:
        """Keep an error; whether to go on."""
        self.history.append((self.iterations, float(error)))
        self.seconds.append(time.perf_counter() - self.started)
        return self.error > self.tolerance and self.iterations < self.limit and not self.stalled

    def watch(self, since: int, floor: float) -> None:
        """Stalled where errors below `floor` have stopped to fall, in looks from `since` on."""
        errors = [error for _, error in self.history[since:]]
        if len(errors) > _STALLS and min(errors[-_STALLS:]) >= min(errors[:-_STALLS]):
            self.stalled = min(errors) < floor


@dataclass(frozen=True)
class Found:
    """What a solve found.

    Attributes:
        F: (n,), with exact rows.
        G: (m,).
        P: of these, if it is at hand; up to rounding, as F and G have been rounded since.
        drift: of log P since P was made from potentials; ∞ if that is not known.
    """

    F: Tensor
    G: Tensor
    P: Kernel | None = None
    drift: float = math.inf


def logarithmic_sweeps(problem: Problem, G: Tensor, progress: Progress) -> Found:
    """Sweeps in logarithms: slower, and nothing overflows."""
    since = len(progress.history)
    while True:
        F = problem.rows(G)
        following = problem.columns(F)
        if not progress.note(_violation(problem.b, G, following)):
            progress.of_last = True
            return Found(F, G)
        progress.watch(since, _FLOOR[G.dtype])
        G = following
        progress.iterations += 1


def _violation(weights: Tensor, potential: Tensor, exact: Tensor) -> Tensor:
    """L1 error of the marginal, whose mass at j is b_j 2^(G_j − G_j⁺) with G⁺ the exact one."""
    excess = torch.exp2(torch.clamp(potential - exact, max=100.0)) - 1
    return (weights * excess.abs()).sum()


def symmetric_sweeps(problem: Problem, progress: Progress) -> Found:
    """For x = y and a = b: G ← (G + rows(G))/2, which halves the error or better.

    By products with the kernel K = P: u ← √(u a/(K u)). The start is that of points far apart which
    stay at no cost: P_ii = a_i. Errors are those of F = G; the F that is returned has exact rows.
    """
    G = -0.5 * torch.log2(problem.safe_a)
    K, u = problem.kernel(G, G), torch.ones_like(G)
    while True:
        products = K.right(u)
        exact = problem.safe_a / products
        if not progress.note((u * products - problem.a).abs().sum()):
            rows = _scaled(u, exact, 1.0, problem.zeros_a)
            return Found(G + torch.log2(rows), G + torch.log2(u), K.scaled(rows, u))
        progress.watch(0, _FLOOR[G.dtype])
        u = _scaled(u, torch.sqrt(u * exact), 1.0, problem.zeros_a)
        smallest, largest = (float(extreme) for extreme in u.aminmax())
        if not (smallest > 0 and largest < math.inf):  # K has lost a row, or has overflowed
            G = 0.5 * (G + problem.rows(G))
            K, u = problem.kernel(G, G), torch.ones_like(G)
        elif max(1 / smallest, largest) > _LARGEST[G.dtype]:
            G = G + torch.log2(u)
            K, u = problem.kernel(G, G), torch.ones_like(G)
        progress.iterations += 1


def kernel_sweeps(
    problem: Problem,
    F: Tensor,
    G: Tensor,
    progress: Progress,
    *,
    relaxed: bool = False,
    until: Callable[[], bool] | None = None,
) -> Found:
    """Sweeps by products with a kernel."""
    a, b, since = problem.a, problem.b, len(progress.history)
    relaxation = _Relaxation(progress, relaxed)
    stride = 2 if len(a) * len(b) > _LARGE else 4

    def following(products: Tensor, rows: slice) -> Tensor:
        """u, from those before and K v."""
        zeros = None if problem.zeros_a is None else problem.zeros_a[rows]
        return _scaled(u[rows], problem.safe_a[rows] / products, relaxation.omega, zeros)

    K, u, v = problem.kernel(F, G), torch.ones_like(a), torch.ones_like(b)
    products, u, masses = K.through(v, following)  # masses: of columns, over v
    while True:
        error = (v * masses - b).abs().sum()
        if relaxation.omega > 1.0:  # rows are not exact either
            error = error + (u * products - a).abs().sum()
        if not progress.note(error) or (until is not None and until()):
            break
        progress.watch(since, _FLOOR[F.dtype])
        if not math.isfinite(progress.error) or bool(((masses <= 0) & (b > 0)).any()):
            # K has lost a column, or a scaling has overflowed: again from logarithms
            G = problem.columns(problem.rows(G))
            F = problem.rows(G)
            K, u, v = problem.kernel(F, G), torch.ones_like(a), torch.ones_like(b)
            masses, _ = K.moments(u)
        elif _out_of_range(u, v, _LARGEST[F.dtype]):
            F, G, masses = F + torch.log2(u), G + torch.log2(v), v * masses
            K, u, v = problem.kernel(F, G), torch.ones_like(a), torch.ones_like(b)
        relaxation.look()
        for _ in range(stride):
            v = _scaled(v, problem.safe_b / masses, relaxation.omega, problem.zeros_b)
            products, u, masses = K.through(v, following)
        progress.iterations += stride
    progress.of_last = relaxation.omega == 1.0
    log_u, log_v = torch.log2(u), torch.log2(v)
    F, G = F + log_u, G + log_v
    if not progress.of_last:
        return Found(problem.rows(G), G)
    drift = math.inf
    if progress.error > progress.tolerance:
        drift = float(log_u.abs().max() + log_v.abs().max()) / LOG2_E
    return Found(F, G, K.scaled(u, v), drift)


def _out_of_range(u: Tensor, v: Tensor, largest: float) -> bool:
    sizes = torch.stack([u.amin(), u.amax(), v.amin(), v.amax()]).tolist()
    return bool(min(sizes[::2]) * largest < 1 or max(sizes[1::2]) > largest)


def _scaled(old: Tensor, new: Tensor, omega: float, zeros: Tensor | None) -> Tensor:
    """old^{1 − ω} new^ω, and 1 where the weight is 0."""
    if omega > 1.0:
        new = old ** (1 - omega) * new**omega
    return new if zeros is None else torch.where(zeros, torch.ones_like(new), new)


def _rate(history: list[tuple[int, float]]) -> float:
    """By which the error falls a sweep, from the first to the last; 0 if that is not known."""
    if len(history) < 2:
        return 0.0
    (before, larger), (now, smaller) = history[0], history[-1]
    if not (0 < smaller < math.inf and 0 < larger < math.inf and now > before):
        return 0.0
    return float((smaller / larger) ** (1 / (now - before)))


class _Relaxation:
    """ω: 1 until the rate ρ of plain sweeps has settled, then 2/(1 + √(1 − ρ)).

    Relaxed sweeps have the rate ω − 1. Where they turn out slower, λ, the ρ that was found was too
    small: it is (λ + ω − 1)²/(λ ω²). Where errors grow tenfold, 2 − ω is doubled.
    """

    def __init__(self, progress: Progress, allowed: bool) -> None:
        self.progress, self.allowed = progress, allowed
        self.since, self.omega = len(progress.history), 1.0

    def look(self) -> float:
        """ω for the next sweeps."""
        history = self.progress.history[self.since :]
        if not self.allowed or len(history) < _RELAXED_LOOKS:
            return self.omega
        rate = 0.0
        if self.omega == 1.0:
            half = _RELAXED_LOOKS // 2
            now, before = _rate(history[-half:]), _rate(history[-2 * half : -half])
            if 0.3 < now < 1 and abs(now - before) <= 0.2 * (1 - now):
                rate = now
        elif not history[-1][1] <= 10 * history[0][1]:
            self.omega = max(1.0, 2 - 2 * (2 - self.omega))
            self.since = len(self.progress.history)
        else:
            seen = _rate(history[-_RELAXED_LOOKS:])
            if self.omega - 1 + 0.1 * (2 - self.omega) < seen < 1:
                rate = (seen + self.omega - 1) ** 2 / (seen * self.omega**2)
        if rate > 0.0:
            self.omega = min(2 / (1 + math.sqrt(max(1 - rate, 0.0))), _MAX_RELAXATION)
            self.since = len(self.progress.history)
        return self.omega


def _sweeps_left(progress: Progress) -> float:
    """How many plain sweeps the tolerance is away; infinite while that is not known."""
    rate = _rate(progress.history[-2:])
    if not 0 < rate < 1:
        return math.inf
    return math.log(progress.tolerance / progress.error) / math.log(rate)


def newton(problem: Problem, start: Found, progress: Progress) -> Found:
    """Newton's method for the dual in g."""
    since = len(progress.history)
    F, G, P, drift = start.F, start.G, start.P, start.drift
    if P is None or drift > _DRIFT[G.dtype]:
        F, drift = problem.rows(G), 0.0
        P = problem.kernel(F, G)
    inverse_a, least, best = 1 / problem.safe_a, math.inf, (F, G)
    for _ in range(_NEWTON_STEPS):
        columns, squares = P.moments(inverse_a)
        r = problem.b - columns
        go_on = progress.note(r.abs().sum())
        if progress.error < least:
            least, best = progress.error, (F, G)
        elif least < _FLOOR[G.dtype]:  # rounding
            progress.stalled, progress.of_last = True, False
            return Found(*best)
        progress.of_last = not go_on
        if not go_on:
            break
        progress.watch(since, _FLOOR[G.dtype])
        goal = min(0.3, math.sqrt(progress.error)) * progress.error
        limit = min(_CONJUGATE_STEPS, progress.limit - progress.iterations)
        diagonal = torch.maximum(columns - squares, 1e-3 * columns)
        r = r - columns * (r.sum() / columns.sum())  # rounding: orthogonal to 1
        x, steps = conjugate_gradients(P, inverse_a, columns, diagonal, r, goal=goal, limit=limit)
        progress.iterations += steps
        step, scale = _armijo(P, problem, inverse_a, r, x)
        if step == 0.0:
            progress.stalled = True
            break
        drift += step * float(x.abs().max())
        G = G + step * LOG2_E * x
        if drift > _DRIFT[G.dtype]:  # entries that were 0 may have come back
            F, drift = problem.rows(G), 0.0
            P = problem.kernel(F, G)
        else:
            ratio = _scaled(scale, problem.safe_a / scale, 1.0, problem.zeros_a)
            P = P.scaled(ratio, torch.exp(step * x))
            F = F + torch.log2(ratio)
    return Found(F, G, P)


def conjugate_gradients(
    P: Kernel,
    inverse_a: Tensor,
    columns: Tensor,
    diagonal: Tensor,
    r: Tensor,
    *,
    goal: float,
    limit: int,
) -> tuple[Tensor, int]:
    """x with H x ≈ r, of mean 0, and the number of steps.

    Args:
        P: (n, m), with exact rows.
        inverse_a: 1/a, anything where a is 0.
        columns: Pᵀ1.
        diagonal: of H, positive where columns are.
        r: orthogonal to 1 and to columns without mass, along which H is singular.
        goal: L1 norm of the residual at which to stop.
        limit: steps at most.
    """
    active = columns > 0
    weights = torch.where(active, 1 / torch.where(active, diagonal, 1.0), 0.0)
    x, residual = torch.zeros_like(r), r * active
    z = weights * residual
    p, product, steps = z.clone(), float(residual @ z), 0
    rounding = (10 * torch.finfo(r.dtype).eps) ** 2 * product
    while steps < limit and product > rounding:
        image = columns * p - P.through(p, lambda products, rows: inverse_a[rows] * products)[2]
        steps += 1
        curvature = float(p @ image)
        if not curvature > 0:
            break
        alpha = product / curvature
        x += alpha * p
        residual -= alpha * image
        if float(residual.abs().sum()) <= goal:
            break
        z = weights * residual
        following = float(residual @ z)
        p = z + (following / product) * p
        product = following
    return (x - x[active].mean()) * active, steps


def _armijo(
    P: Kernel, problem: Problem, inverse_a: Tensor, r: Tensor, x: Tensor
) -> tuple[float, Tensor]:
    """t and P e^{t x} with enough of a rise of the dual; 0 where rounding allows none."""
    slope = float(r @ x)
    step = min(1.0, _STRIDE / max(float(x.abs().max()), 1e-30))
    smallest, linear = 1e-8 * step, float(problem.b @ x)
    rounding = 10 * torch.finfo(x.dtype).eps
    scale = x
    while step > smallest:
        scale = P.right(torch.exp(step * x))
        ratio = _scaled(scale, scale * inverse_a, 1.0, problem.zeros_a)
        rise = step * linear - float(problem.a @ torch.log(ratio))
        if rise >= 1e-4 * step * slope - rounding:
            return step, scale
        step /= 2
    return 0.0, scale


def solve(
    problem: Problem, progress: Progress, *, method: str, scaling: bool, mean: float, G: Tensor
) -> Found:
    """The potentials of a problem.

    Args:
        problem: of mass 1.
        progress: is brought up to date.
        method: see `sinkhorn`.
        scaling: ε-scaling.
        mean: of C.
        G: where to start.
    """
    if scaling:
        G = _levels(problem, progress, G, mean)
    if method == "log":
        return logarithmic_sweeps(problem, G, progress)
    F, since = problem.bounds(G), len(progress.history)
    if method in ("kernel", "relaxed"):
        return kernel_sweeps(problem, F, G, progress, relaxed=method == "relaxed")

    def enough() -> bool:
        """Whether Newton's method should take over."""
        if progress.error > _SWITCH:  # it copes better where sweeps hardly move
            return len(progress.history) - since > _PATIENCE and _rate(progress.history[-2:]) > 0.95
        return method == "newton" or _sweeps_left(progress) > _PATIENCE

    found = kernel_sweeps(problem, F, G, progress, until=enough)
    if progress.error > progress.tolerance and progress.iterations < progress.limit:
        progress.stalled = False
        found = newton(problem, found, progress)
    return found


def _levels(problem: Problem, progress: Progress, G: Tensor, mean: float) -> Tensor:
    """G for ε from those of larger ε, in float32, which is enough for a start."""
    epsilons = []
    epsilon = mean / 4
    while epsilon > 1.01 * problem.epsilon:
        epsilons.append(epsilon)
        epsilon /= 5
    if not epsilons:
        return G
    dtype, g = torch.float32, G.to(torch.float32) / problem.kappa
    base = problem.at(problem.epsilon, dtype)
    for epsilon in epsilons:
        level = base.at(epsilon, dtype)
        own, G32 = Progress(_LEVEL_TOLERANCE, _LEVEL_SWEEPS), g * level.kappa
        found = kernel_sweeps(level, level.bounds(G32), G32, own)
        progress.iterations += own.iterations
        g = found.G / level.kappa
    return g.to(G.dtype) * problem.kappa
