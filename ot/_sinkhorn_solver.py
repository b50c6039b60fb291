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
from dataclasses import dataclass, field

import torch
from torch import Tensor

LOG2_E = 1 / math.log(2)
_SMALLEST = {torch.float32: 1e-25, torch.float64: 1e-200}  # of P: less is 0, not subnormal
_LARGEST = {torch.float32: 1e8, torch.float64: 1e30}  # scalings that need not yet be absorbed
_LEVEL_TOLERANCE, _LEVEL_SWEEPS = 0.05, 30  # of a level of ε-scaling
_SWITCH = 1e-2  # error below which Newton's method takes over
_PATIENCE = 20  # sweeps to the end that are worth waiting for
_LARGE = 1 << 18  # entries of P beyond which sweeps cost more than looks at them
_STALLS = 4  # looks without a better error, in rounding's reach, that end the solve
_FLOOR = {torch.float32: 3e-4, torch.float64: 1e-10}  # errors that may be rounding's
_MAX_RELAXATION, _RELAXED_LOOKS = 1.998, 10
_NEWTON_STEPS, _CONJUGATE_STEPS = 100, 500
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
        self.kappa = LOG2_E / epsilon
        self.log_a, self.log_b = torch.log2(a), torch.log2(b)

    @abstractmethod
    def rows(self, G: Tensor) -> Tensor:
        """F with exact rows, (n,)."""

    @abstractmethod
    def columns(self, F: Tensor) -> Tensor:
        """G with exact columns, (m,)."""

    @abstractmethod
    def at(self, epsilon: float, dtype: torch.dtype) -> Problem:
        """The same with another ε, in another dtype."""

    @abstractmethod
    def blocks(self, F: Tensor, G: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Rows of P and of C, from the first to the last: which, and both (rows, m)."""


class DenseProblem(Problem):
    """A problem with its cost matrix.

    Args:
        cost: C, (n, m).
    """

    def __init__(self, cost: Tensor, a: Tensor, b: Tensor, epsilon: float) -> None:
        super().__init__(a, b, epsilon)
        self.cost = cost
        zeros_a, zeros_b = a == 0, b == 0  # there rows and columns of P are 0
        self.zeros_a = zeros_a if bool(zeros_a.any()) else None
        self.zeros_b = zeros_b if bool(zeros_b.any()) else None
        self.safe_a, self.safe_b = a.masked_fill(zeros_a, 1.0), b.masked_fill(zeros_b, 1.0)

    def rows(self, G: Tensor) -> Tensor:
        """By one pass over C."""
        return _soft_minimum(self.cost, G + self.log_b, self.kappa, dim=1)

    def columns(self, F: Tensor) -> Tensor:
        """By one pass over C."""
        return _soft_minimum(self.cost, F + self.log_a, self.kappa, dim=0)

    def at(self, epsilon: float, dtype: torch.dtype) -> DenseProblem:
        """Shares the cost matrix where the dtype is the same."""
        return DenseProblem(self.cost.to(dtype), self.a.to(dtype), self.b.to(dtype), epsilon)

    def bounds(self, G: Tensor) -> Tensor:
        """F with largest entries 2^F_i of 1 in each row, weights of rows left out: a start."""
        return -torch.add((G + self.log_b)[None, :], self.cost, alpha=-self.kappa).amax(dim=1)

    def plan(self, F: Tensor, G: Tensor) -> Tensor:
        """P, (n, m)."""
        return _plan(self, self.cost, F + self.log_a, G + self.log_b)

    def blocks(self, F: Tensor, G: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """One block."""
        yield slice(None), self.plan(F, G), self.cost


class StreamedProblem(Problem):
    """A problem between clouds, whose cost matrix is computed in blocks each time it is used.

    Args:
        x: (n, d).
        y: (m, d).
        between: gives the cost matrix of two clouds.
        chunk_size: rows, or columns, of a block.
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

    def rows(self, G: Tensor) -> Tensor:
        """Block by block of rows."""
        G = G + self.log_b
        parts = (self.between(x, self.y) for x in self.x.split(self.chunk_size))
        return torch.cat([_soft_minimum(C, G, self.kappa, dim=1) for C in parts])

    def columns(self, F: Tensor) -> Tensor:
        """Block by block of columns."""
        F = F + self.log_a
        parts = (self.between(self.x, y) for y in self.y.split(self.chunk_size))
        return torch.cat([_soft_minimum(C, F, self.kappa, dim=0) for C in parts])

    def at(self, epsilon: float, dtype: torch.dtype) -> StreamedProblem:
        """In the other dtype throughout."""
        x, y, a, b = (t.to(dtype) for t in (self.x, self.y, self.a, self.b))
        return StreamedProblem(x, y, a, b, epsilon, self.between, self.chunk_size)

    def blocks(self, F: Tensor, G: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Blocks of rows."""
        F, G = F + self.log_a, G + self.log_b
        for start in range(0, len(self.x), self.chunk_size):
            where = slice(start, start + self.chunk_size)
            C = self.between(self.x[where], self.y)
            yield where, _plan(self, C, F[where], G), C


def _plan(problem: Problem, cost: Tensor, F: Tensor, G: Tensor) -> Tensor:
    """2^(F + G − κ C), where F and G hold the logarithms of the weights."""
    P = torch.add(F[:, None], cost, alpha=-problem.kappa)
    P += G[None, :]
    torch.exp2(P, out=P)
    return torch.nn.functional.threshold_(P, _SMALLEST[P.dtype], 0.0)


def _soft_minimum(cost: Tensor, potential: Tensor, kappa: float, dim: int) -> Tensor:
    """−log₂ Σ 2^(potential − κ C) over one axis."""
    E = torch.add(potential.unsqueeze(1 - dim), cost, alpha=-kappa)
    largest = E.amax(dim=dim, keepdim=True)
    E -= largest
    torch.exp2(E, out=E)
    return -(largest.squeeze(dim) + torch.log2(E.sum(dim=dim)))


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


def logarithmic_sweeps(
    problem: Problem, G: Tensor, progress: Progress, *, relaxed: bool = False
) -> tuple[Tensor, Tensor]:
    """Sweeps in logarithms: slower, and nothing overflows. Returns F, with exact rows, and G."""
    since, relaxation = len(progress.history), _Relaxation(progress, relaxed)
    F = exact = problem.rows(G)
    while True:
        following = problem.columns(F)
        error = _violation(problem.b, G, following)
        if relaxation.omega > 1.0:  # rows are not exact either
            error = error + _violation(problem.a, F, exact)
        if not progress.note(error):
            progress.of_last = relaxation.omega == 1.0
            return (F if progress.of_last else problem.rows(G)), G
        progress.watch(since, _FLOOR[G.dtype])
        omega = relaxation.look()
        G = G + omega * (following - G)
        exact = problem.rows(G)
        F = F + omega * (exact - F)
        progress.iterations += 1


def _violation(weights: Tensor, potential: Tensor, exact: Tensor) -> Tensor:
    """L1 error of the marginal, whose mass at j is b_j 2^(G_j − G_j⁺) with G⁺ the exact one."""
    excess = torch.exp2(torch.clamp(potential - exact, max=100.0)) - 1
    return (weights * excess.abs()).sum()


def symmetric_sweeps(problem: Problem, F: Tensor, progress: Progress) -> Tensor:
    """F = G where x = y and a = b: F ← (F + rows(F))/2, which halves the error or better."""
    while True:
        exact = problem.rows(F)
        if not progress.note(_violation(problem.a, F, exact)):
            return F
        progress.watch(0, _FLOOR[F.dtype])
        F = 0.5 * (F + exact)
        progress.iterations += 1


def kernel_sweeps(
    problem: DenseProblem,
    F: Tensor,
    G: Tensor,
    progress: Progress,
    *,
    relaxed: bool = False,
    until: Callable[[], bool] | None = None,
) -> tuple[Tensor, Tensor]:
    """Sweeps by products with a kernel. Returns F, with exact rows, and G."""
    a, b, since = problem.a, problem.b, len(progress.history)
    K, v = problem.plan(F, G), torch.ones_like(b)
    u = _scaled(a, problem.safe_a / K.sum(dim=1), 1.0, problem.zeros_a)
    relaxation = _Relaxation(progress, relaxed)
    stride = 2 if K.numel() > _LARGE else 4
    while True:
        masses = u @ K  # of columns, over v
        error = (v * masses - b).abs().sum()
        if relaxation.omega > 1.0:  # rows are not exact either
            error = error + (u * (K @ v) - a).abs().sum()
        if not progress.note(error) or (until is not None and until()):
            break
        progress.watch(since, _FLOOR[F.dtype])
        if not math.isfinite(progress.error) or bool(((masses <= 0) & (b > 0)).any()):
            # K has lost a column, or a scaling has overflowed: again from logarithms
            G = problem.columns(problem.rows(G))
            F = problem.rows(G)
            K, u, v = problem.plan(F, G), torch.ones_like(a), torch.ones_like(b)
            masses = u @ K
        elif _out_of_range(u, v, _LARGEST[F.dtype]):
            F, G = F + torch.log2(u), G + torch.log2(v)
            K, u, v = problem.plan(F, G), torch.ones_like(a), torch.ones_like(b)
            masses = u @ K
        omega = relaxation.look()
        for repeat in range(stride):
            if repeat > 0:
                masses = u @ K
            v = _scaled(v, problem.safe_b / masses, omega, problem.zeros_b)
            u = _scaled(u, problem.safe_a / (K @ v), omega, problem.zeros_a)
        progress.iterations += stride
    F, G = F + torch.log2(u), G + torch.log2(v)
    progress.of_last = relaxation.omega == 1.0
    return (F if progress.of_last else problem.rows(G)), G


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


def newton(problem: DenseProblem, G: Tensor, progress: Progress) -> tuple[Tensor, Tensor]:
    """Newton's method for the dual in g. Returns F, with exact rows, and G."""
    since = len(progress.history)
    F = problem.rows(G)
    P, inverse_a = problem.plan(F, G), 1 / problem.safe_a
    least, best = math.inf, (F, G)
    for _ in range(_NEWTON_STEPS):
        columns = P.sum(dim=0)
        r = problem.b - columns
        go_on = progress.note(r.abs().sum())
        if progress.error < least:
            least, best = progress.error, (F, G)
        elif least < _FLOOR[G.dtype]:  # rounding
            progress.stalled, progress.of_last, (F, G) = True, False, best
            break
        progress.of_last = not go_on
        if not go_on:
            break
        progress.watch(since, _FLOOR[G.dtype])
        goal = min(0.3, math.sqrt(progress.error)) * progress.error
        limit = min(_CONJUGATE_STEPS, progress.limit - progress.iterations)
        x, steps = conjugate_gradients(P, inverse_a, columns, r, goal=goal, limit=limit)
        progress.iterations += steps
        step, scale = _armijo(P, problem, inverse_a, r, x)
        if step == 0.0:
            progress.stalled = True
            break
        ratio = _scaled(scale, problem.safe_a / scale, 1.0, problem.zeros_a)
        P *= ratio[:, None]
        P *= torch.exp(step * x)[None, :]
        G = G + step * LOG2_E * x
        F = F + torch.log2(ratio)
    return F, G


def conjugate_gradients(
    P: Tensor, inverse_a: Tensor, columns: Tensor, r: Tensor, *, goal: float, limit: int
) -> tuple[Tensor, int]:
    """x with H x ≈ r, of mean 0, and the number of steps.

    Args:
        P: (n, m), with exact rows.
        inverse_a: 1/a, anything where a is 0.
        columns: Pᵀ1.
        r: orthogonal to 1 and to columns without mass, along which H is singular.
        goal: L1 norm of the residual at which to stop.
        limit: steps at most.
    """
    active = columns > 0
    diagonal = torch.maximum(columns - inverse_a @ (P * P), 1e-3 * columns)
    weights = torch.where(active, 1 / torch.where(active, diagonal, 1.0), 0.0)
    x, residual = torch.zeros_like(r), r * active
    z = weights * residual
    p, product, steps = z.clone(), float(residual @ z), 0
    rounding = (10 * torch.finfo(r.dtype).eps) ** 2 * product
    while steps < limit and product > rounding:
        image = columns * p - (inverse_a * (P @ p)) @ P
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
    P: Tensor, problem: DenseProblem, inverse_a: Tensor, r: Tensor, x: Tensor
) -> tuple[float, Tensor]:
    """t and P e^{t x} with enough of a rise of the dual; 0 where rounding allows none."""
    slope = float(r @ x)
    step = min(1.0, _STRIDE / max(float(x.abs().max()), 1e-30))
    smallest, linear = 1e-8 * step, float(problem.b @ x)
    rounding = 10 * torch.finfo(x.dtype).eps
    scale = x
    while step > smallest:
        scale = P @ torch.exp(step * x)
        ratio = _scaled(scale, scale * inverse_a, 1.0, problem.zeros_a)
        rise = step * linear - float(problem.a @ torch.log(ratio))
        if rise >= 1e-4 * step * slope - rounding:
            return step, scale
        step /= 2
    return 0.0, scale


def solve(
    problem: Problem, progress: Progress, *, method: str, scaling: bool, mean: float, G: Tensor
) -> tuple[Tensor, Tensor]:
    """F, with exact rows, and G.

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
    if not isinstance(problem, DenseProblem) or method == "log":
        return logarithmic_sweeps(problem, G, progress, relaxed=method != "log")
    F, since = problem.bounds(G), len(progress.history)
    if method in ("kernel", "relaxed"):
        return kernel_sweeps(problem, F, G, progress, relaxed=method == "relaxed")

    def enough() -> bool:
        """Whether Newton's method should take over."""
        if progress.error > _SWITCH:  # it copes better where sweeps hardly move
            return len(progress.history) - since > _PATIENCE and _rate(progress.history[-2:]) > 0.95
        return method == "newton" or _sweeps_left(progress) > _PATIENCE

    F, G = kernel_sweeps(problem, F, G, progress, until=enough)
    if progress.error > progress.tolerance and progress.iterations < progress.limit:
        progress.stalled = False
        F, G = newton(problem, G, progress)
    return F, G


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
        if isinstance(level, DenseProblem):
            _, G32 = kernel_sweeps(level, level.bounds(G32), G32, own)
        else:
            _, G32 = logarithmic_sweeps(level, G32, own)
        progress.iterations += own.iterations
        g = G32 / level.kappa
    return g.to(G.dtype) * problem.kappa
