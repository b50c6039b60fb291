"""Optimal transport against POT, OTT-JAX and GeomLoss: plans, divergences, training steps, size.

Problem: x ~ N(0, I_d), y = A z + 1.5/√d with z ~ N(0, I_d) and A = 0.7 I + 0.3 G/√d, n = m, squared
Euclidean cost, ε = r mean(C), float64, cost matrix given. POT: the fastest of its methods that
reaches the tolerance, each told tolerance/√n in its own L2 norm. OTT-JAX: in logarithms or by
kernel, whichever is faster, jitted, compilation excluded, with the same L1 threshold. Errors, of
the worse marginal, are computed from the plans returned. Wall time, median of five or more. Peers
may take 20 000 iterations, fewer where these would take more than some seconds; one that has not
reached the tolerance then is marked ">" with the time that it took.

Each table is measured in a process of its own, bound to one core or with all of them. Peers that
are missing are left out.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from rich.table import Table

from ...core.checks import FloatArray
from ._tables import digits, numbers

SIZES, DIMS = (256, 1024), (2, 64)
RATIOS, TOLERANCES = (0.05, 0.005), (1e-3, 1e-6)
CAP, BUDGET = 20_000, 5.0  # iterations of a peer, and seconds for them
LONG = 1.0  # seconds beyond which a solve is measured once
SHORT = 0.5  # seconds that are measured at least, if that is not more than 50 times
_TRIAL = 50  # iterations to see how long they take
_STEPS = 60  # of training

Solver: TypeAlias = Callable[[int], Any]  # at most so many iterations -> plan


def clouds(n: int, dim: int) -> tuple[FloatArray, FloatArray]:
    """x and y of the problem above, (n, d)."""
    rng = np.random.default_rng(0)
    x, z = rng.standard_normal((2, n, dim))
    A = 0.7 * np.eye(dim) + 0.3 * rng.standard_normal((dim, dim)) / np.sqrt(dim)
    return x, z @ A.T + 1.5 / np.sqrt(dim)


def cost_matrix(n: int, dim: int) -> FloatArray:
    """Squared distances of these."""
    x, y = clouds(n, dim)
    squares = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1)[None]
    return np.maximum(squares - 2 * x @ y.T, 0.0)


def median_time(call: Callable[[], Any], repeats: int = 5) -> tuple[float, Any]:
    """Milliseconds, and the last result; once only where it takes long, more often where not."""
    times: list[float] = []
    while True:
        start = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - start)
        if len(times) >= repeats and (repeats == 1 or len(times) >= 50 or sum(times) >= SHORT):
            break
        if times[0] >= LONG:
            break
    return 1e3 * float(np.median(times)), result


def marginal_error(plan: FloatArray) -> float:
    """The larger L1 error of the two marginals, uniform weights."""
    n = len(plan)
    return float(max(np.abs(plan.sum(axis=axis) - 1 / n).sum() for axis in (0, 1)))


def ours(C: FloatArray, epsilon: float, tolerance: float) -> tuple[float, float]:
    """Milliseconds and error."""
    from ...ot import sinkhorn

    def call() -> Any:
        return sinkhorn(cost_matrix=C, epsilon=epsilon, tolerance=tolerance)

    call()
    milliseconds, result = median_time(call)
    return milliseconds, marginal_error(result.plan)


def best(solvers: Sequence[Solver], tolerance: float) -> tuple[float, float]:
    """Milliseconds and error of the fastest that reaches the tolerance, or of the nearest."""
    found = []
    for solve in solvers:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            solve(_TRIAL)
            once, _ = median_time(partial(solve, _TRIAL), repeats=1)
            cap = min(CAP, max(_TRIAL, int(1e3 * BUDGET / once * _TRIAL)))
            milliseconds, plan = median_time(partial(solve, cap))
        error = marginal_error(np.asarray(plan))
        found.append((milliseconds, error if np.isfinite(error) else np.inf))
    good = [one for one in found if one[1] <= 1.01 * tolerance]
    return min(good) if good else min(found, key=lambda one: one[1])


def pots(C: FloatArray, epsilon: float, tolerance: float) -> tuple[float, float] | None:
    """Of POT, or None where it is missing."""
    try:
        import ot
    except ModuleNotFoundError:
        return None
    n = len(C)
    weights = np.full(n, 1 / n)

    def solve(method: str, cap: int) -> Any:
        return ot.sinkhorn(
            weights,
            weights,
            C,
            epsilon,
            method=method,
            numItermax=cap,
            stopThr=tolerance / np.sqrt(n),
            warn=False,
        )

    methods = ("sinkhorn", "sinkhorn_log", "sinkhorn_stabilized")
    return best([partial(solve, method) for method in methods], tolerance)


def otts(C: FloatArray, epsilon: float, tolerance: float) -> tuple[float, float] | None:
    """Of OTT-JAX, or None where it is missing."""
    try:
        import jax
        from ott.geometry import geometry
        from ott.problems.linear import linear_problem
        from ott.solvers.linear import sinkhorn as peer
    except ModuleNotFoundError:
        return None
    jax.config.update("jax_enable_x64", True)
    costs = jax.numpy.asarray(C)
    compiled: dict[tuple[bool, int], Any] = {}

    def solve(in_logarithms: bool, cap: int) -> Any:
        key = in_logarithms, cap
        if key not in compiled:
            solver = peer.Sinkhorn(threshold=tolerance, max_iterations=cap, lse_mode=in_logarithms)

            def plan(cost: Any) -> Any:
                geom = geometry.Geometry(cost_matrix=cost, epsilon=epsilon)
                return solver(linear_problem.LinearProblem(geom)).matrix

            compiled[key] = jax.jit(plan).lower(costs).compile()
        return compiled[key](costs).block_until_ready()

    return best([partial(solve, True), partial(solve, False)], tolerance)


def sinkhorn_table() -> Table:
    """Milliseconds to a marginal error."""
    table = _table(
        "Entropic plans: milliseconds to the tolerance, float64",
        "ratio: fastest peer that reached the tolerance, or nearest one, over fenchel; >: "
        f"not reached within {CAP:,} iterations or {BUDGET:g} s",
        ("n", "d", "r", "tolerance", "fenchel", "POT", "OTT", "ratio"),
    )
    for n in SIZES:
        for dim in DIMS:
            C = cost_matrix(n, dim)
            for ratio in RATIOS:
                epsilon = ratio * float(C.mean())
                for tolerance in TOLERANCES:
                    own, error = ours(C, epsilon, tolerance)
                    if not error <= 1.01 * tolerance:
                        raise ArithmeticError(f"error {error:.2g} beyond {tolerance:.2g}")
                    peers = [pots(C, epsilon, tolerance), otts(C, epsilon, tolerance)]
                    reached = [p[0] for p in peers if p and p[1] <= 1.01 * tolerance]
                    others = reached or [p[0] for p in peers if p]
                    table.add_row(
                        *(str(n), str(dim), f"{ratio:g}", f"{tolerance:.0e}", digits(own)),
                        *(
                            ""
                            if p is None
                            else ("" if p[1] <= 1.01 * tolerance else "> ") + digits(p[0])
                            for p in peers
                        ),
                        digits(min(others) / own) if others else "",
                    )
    return table


def divergence_table() -> Table:
    """Milliseconds for the divergence and its gradient in the points, and how far off that is."""
    table = _table(
        "Sinkhorn divergence with its gradient in x, n = 1024, d = 2, float64",
        "error: of the gradient, relative, against a solve to 1e-11; OTT: to the same tolerances, "
        "jitted; GeomLoss has no tolerance, but a schedule of ε",
        ("r", "library", "setting", "milliseconds", "error"),
    )
    n = 1024
    x, y = clouds(n, 2)
    for ratio in RATIOS:
        epsilon = ratio * float(cost_matrix(n, 2).mean())
        reference = _our_gradient(x, y, epsilon, 1e-11)()
        rows: list[tuple[str, str, Callable[[], FloatArray] | None]] = [
            ("fenchel", f"tolerance {t:.0e}", _our_gradient(x, y, epsilon, t)) for t in TOLERANCES
        ]
        rows += [("OTT", f"tolerance {t:.0e}", _ott_gradient(x, y, epsilon, t)) for t in TOLERANCES]
        rows += [
            ("GeomLoss", f"scaling {scaling:g}", _geomloss_gradient(x, y, epsilon, scaling))
            for scaling in (0.5, 0.9, 0.99)
        ]
        for library, setting, call in rows:
            if call is not None:
                call()
                milliseconds, gradient = median_time(call)
                error = np.linalg.norm(gradient - reference) / np.linalg.norm(reference)
                table.add_row(f"{ratio:g}", library, setting, digits(milliseconds), f"{error:.1e}")
    return table


def _our_gradient(
    x: FloatArray, y: FloatArray, epsilon: float, tolerance: float
) -> Callable[[], FloatArray]:
    from ...ot import sinkhorn_divergence

    return _torch_gradient(
        lambda one, other: (
            sinkhorn_divergence(one, other, epsilon=epsilon, tolerance=tolerance).value
        ),
        x,
        y,
    )


def _geomloss_gradient(
    x: FloatArray, y: FloatArray, epsilon: float, scaling: float
) -> Callable[[], FloatArray] | None:
    """Of twice GeomLoss's, whose cost is ½ ‖x − y‖²; None where it is missing."""
    try:
        from geomloss import SamplesLoss
    except ModuleNotFoundError:
        return None
    loss = SamplesLoss(
        "sinkhorn", p=2, blur=math.sqrt(epsilon / 2), scaling=scaling, backend="tensorized"
    )
    return _torch_gradient(lambda one, other: 2 * loss(one, other), x, y)


def _torch_gradient(
    value: Callable[[Any, Any], Any], x: FloatArray, y: FloatArray
) -> Callable[[], FloatArray]:
    """Calls for the gradient of a value in its first argument."""
    import torch

    points, others = torch.tensor(x, requires_grad=True), torch.tensor(y)
    return lambda: np.asarray(torch.autograd.grad(value(points, others), points)[0])


def _ott_gradient(
    x: FloatArray, y: FloatArray, epsilon: float, tolerance: float
) -> Callable[[], FloatArray] | None:
    try:
        import jax
        from ott.geometry import pointcloud
        from ott.tools import sinkhorn_divergence as peer
    except ModuleNotFoundError:
        return None
    jax.config.update("jax_enable_x64", True)
    settings = {"threshold": tolerance, "max_iterations": CAP}

    def value(points: Any, others: Any) -> Any:
        return peer.sinkhorn_divergence(
            pointcloud.PointCloud, points, others, epsilon=epsilon, solve_kwargs=settings
        )[0]

    compiled = jax.jit(jax.grad(value)).lower(x, y).compile()
    return lambda: np.asarray(compiled(x, y))


def sparse_table() -> Table:
    """Seconds for plans with at most k entries a column, and what they are worth."""
    table = _table(
        "At most k entries a column, n = 1024, d = 2, cost over its maximum, γ = 1",
        "row error: of the plan returned, L1, of the mass; POT: smooth_ot_semi_dual, 500 "
        "iterations, stopThr 1e-9",
        ("k", "fenchel, s", "row error", "gap", "POT, s", "row error", "ratio"),
    )
    from ...ot import quadratic_plan, sparse_plan

    C = cost_matrix(1024, 2)
    C /= C.max()
    weights = np.full(len(C), 1 / len(C))
    sparse_plan(C[:50, :50], k=2)  # compiles
    for k in (2, 8, 1024):

        def solve(k: int = k) -> Any:
            return quadratic_plan(C) if k == len(C) else sparse_plan(C, k=k)

        milliseconds, found = median_time(solve, repeats=3)
        row = [f"{milliseconds / 1e3:.2g}", f"{found.error:.1e}"]
        row.append(f"{found.gap / found.primal_value:.1e}")
        try:
            import ot
        except ModuleNotFoundError:
            table.add_row(str(k), *row)
            continue
        kind = "l2" if k == len(C) else "sparsity_constrained"

        def peer(k: int = k, kind: str = kind) -> Any:
            with contextlib.redirect_stdout(io.StringIO()):  # it prints shapes
                return ot.smooth.smooth_ot_semi_dual(
                    weights, weights, C, 1.0, reg_type=kind, max_nz=k, stopThr=1e-9, numItermax=500
                )

        peers, plan = median_time(peer, repeats=1)
        error = np.abs(np.asarray(plan).sum(axis=1) - weights).sum()
        row += [f"{peers / 1e3:.2g}", f"{error:.1e}", digits(peers / milliseconds)]
        table.add_row(str(k), *row)
    return table


def step_table() -> Table:
    """Milliseconds of a training step with the Monge gap."""
    table = _table(
        "A training step with the Monge gap: milliseconds, float32",
        "squared Euclidean cost; networks of widths 64, 64, 64, Adam; ε: 0.1 and 0.01 of mean "
        f"costs; tolerance 1e-3; medians of the first {_STEPS} steps; OTT: jitted, compilation "
        "excluded; sweeps: of the three solves of a step together",
        ("n", "d", "fenchel", "OTT", "ratio", "sweeps"),
    )
    for n in SIZES:
        for dim in DIMS:
            own, sweeps = _our_step(n, dim)
            row = [str(n), str(dim), digits(own)]
            peer = _ott_step(n, dim)
            row += ["", ""] if peer is None else [digits(peer), digits(peer / own)]
            table.add_row(*row, digits(sweeps))
    return table


def _batches(n: int, dim: int) -> tuple[list[FloatArray], list[FloatArray], float, float]:
    """Batches of x and of y, one a step, and ε of the fit and of the gap."""
    x, y = (points.astype(np.float32) for points in clouds(20_000, dim))
    rng = np.random.default_rng(1)
    chosen = [rng.choice(len(x), (2, n), replace=False) for _ in range(_STEPS)]
    some = x[:1000], y[:1000]
    squares = [(points**2).sum(axis=1).mean() for points in some]
    means = [points.mean(axis=0) for points in some]
    fit = 2 * (squares[1] - means[1] @ means[1])  # mean squared distances
    gap = squares[0] + squares[1] - 2 * means[0] @ means[1]
    return [x[i] for i, _ in chosen], [y[j] for _, j in chosen], 0.1 * float(fit), 0.01 * float(gap)


def _our_step(n: int, dim: int) -> tuple[float, float]:
    """Milliseconds, and iterations of its solves."""
    from ...ot import MongeMap

    sources, targets, fit_epsilon, gap_epsilon = _batches(n, dim)
    starts: list[float] = []

    def source(size: int, rng: np.random.Generator) -> FloatArray:
        if size != n:  # to see d, or to validate
            return sources[0][:size]
        starts.append(time.perf_counter())
        return sources[len(starts) % _STEPS]

    def target(size: int, rng: np.random.Generator) -> FloatArray:
        return targets[len(starts) % _STEPS][:size]

    mapping = MongeMap(
        fit_epsilon=fit_epsilon,
        gap_epsilon=gap_epsilon,
        n_steps=_STEPS,
        batch_size=n,
        n_validation=n - 1,
        validate_every=_STEPS,
        device="cpu",
        progress=False,
    ).fit(source, target)
    if (unsolved := mapping.history["unsolved"][0]) > 0.01:
        raise ArithmeticError(f"{unsolved:.0%} of the solves have not converged")
    return 1e3 * float(np.median(np.diff(starts))), float(mapping.history["iterations"][0])


def _ott_step(n: int, dim: int) -> float | None:
    """Milliseconds, or None where it is missing."""
    try:
        import jax
        import optax
        from flax import linen
        from ott.neural.methods import monge_gap as peer
        from ott.neural.networks import potentials
        from ott.tools import sinkhorn_divergence
    except ModuleNotFoundError:
        return None
    sources, targets, fit_epsilon, gap_epsilon = _batches(n, dim)

    def fit(mapped: Any, y: Any) -> Any:
        return sinkhorn_divergence.sinkdiv(mapped, y, epsilon=fit_epsilon, static_b=True)[0], None

    def gap(x: Any, mapped: Any) -> Any:
        return peer.monge_gap_from_samples(x, mapped, epsilon=gap_epsilon), None

    network = potentials.PotentialMLP(
        dim_hidden=[64, 64, 64], is_potential=False, act_fn=linen.gelu
    )
    rng, adam = jax.random.key(0), optax.adam(1e-3)
    estimator = peer.MongeGapEstimator(dim, network, adam, fit, gap, 1.0, _STEPS, rng=rng)
    state, times = estimator.state_neural_net, []
    for step, (x, y) in enumerate(zip(sources, targets, strict=True)):
        start = time.perf_counter()
        batch = {"source": jax.numpy.asarray(x), "target": jax.numpy.asarray(y)}
        state, _ = estimator.step_fn(state, batch, None, False, step)
        jax.block_until_ready(state.params)
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times[1:]))


def large_table() -> Table:
    """Seconds and memory of large problems, by matrix and in blocks of rows."""
    table = _table(
        "Large clouds, d = 2",
        "chunk: rows of a block that is made anew in each sweep; -: the matrix is kept. GiB: peak "
        "of the process, libraries included",
        ("n", "r", "tolerance", "bits", "chunk", "s", "CPU s", "iterations", "GiB"),
    )
    for case in (
        (4096, 0.05, 1e-3, "float32", None),
        (4096, 0.05, 1e-3, "float32", 256),
        (4096, 0.005, 1e-6, "float64", None),
        (4096, 0.005, 1e-6, "float64", 256),
        (16_384, 0.05, 1e-3, "float32", None),
        (16_384, 0.05, 1e-3, "float32", 256),
    ):
        code = f"from fenchel.experiments.benchmarks.ot import large; large{case}"
        out = subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True
        )
        chunk = "-" if case[4] is None else str(case[4])
        table.add_row(
            *(str(case[0]), f"{case[1]:g}", f"{case[2]:.0e}", case[3].removeprefix("float"), chunk),
            *out.stdout.split(),
        )
    return table


def large(n: int, ratio: float, tolerance: float, dtype: str, chunk_size: int | None) -> None:
    """Print seconds, CPU seconds, iterations and peak memory of one solve from points."""
    from ...ot import sinkhorn

    x, y = (points.astype(dtype) for points in clouds(n, 2))
    wall, cpu = time.perf_counter(), time.process_time()
    found = sinkhorn(x, y, epsilon=("mean", ratio), tolerance=tolerance, chunk_size=chunk_size)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if not found.converged:
        raise ArithmeticError(f"{found} at n = {n}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    sys.stdout.write(f"{wall:.2g} {cpu:.2g} {found.iterations} {peak:.1f}\n")


def _table(title: str, caption: str, columns: Sequence[str]) -> Table:
    cores = len(os.sched_getaffinity(0))
    return numbers(f"{title}, {cores} core{'s' * (cores > 1)}", columns, caption=caption)


def main() -> None:
    """Measure and print: on one core and on all, large problems on all."""
    available = sorted(os.sched_getaffinity(0))
    alone, together = {available[0]}, set(available)
    for name, places in (
        ("sinkhorn_table", (alone, together)),
        ("divergence_table", (alone, together)),
        ("sparse_table", (alone,)),
        ("step_table", (alone, together)),
        ("large_table", (together,)),
    ):
        for cores in places:
            code = (
                f"import os; os.sched_setaffinity(0, {cores}); "
                f"from rich.console import Console; from fenchel.experiments.benchmarks import ot; "
                f"Console().print(ot.{name}())"
            )
            subprocess.run([sys.executable, "-c", code], check=True)
