"""Problems for learned transport maps: two measures, a cost and, where it is known, the map.

    problem                 source → target                          T known, and optimal for
    gaussian_pair           N(m1, S1) → N(m2, S2)                    ‖x − y‖²
    convex_potential        mixture of Gaussians → image by ∇u       ‖x − y‖²
    separable               N(0, I) → image, axis by axis            Σ h_i(x_i − y_i), h_i convex
    simulated_cells         control cells → treated cells            likewise
    sphere_toward_pole      uniform → nearer the pole                ½ arccos²⟨x, y⟩
    sphere_caps             a cap → two caps                         not known
    moons_to_s_curve        arcs in the plane                        not known

Why these T are optimal, whatever the source is:

    gradients   T = ∇u, u convex, is optimal for ‖x − y‖² (Brenier; Knott and Smith). If u is
                differentiable, every optimal plan is the one of T.
    separable   Σ_i h_i(x_i − y_i) costs at least the sum of the costs of the marginals on the line,
                and T_i increasing attains each of them.
    meridians   The arc between x and y is at least the difference |θ_x − θ_y| of their arcs to the
                pole (triangle inequality), so that transport costs at least what it costs to move
                θ; a T along meridians with θ ↦ θ' increasing attains it.

References:
    Brenier. Polar factorization and monotone rearrangement of vector-valued functions. CPAM 44(4),
    1991.
    Knott, Smith. On the optimal mapping of distributions. JOTA 43, 1984 (Gaussians too).
    Korotin et al. Do neural optimal transport solvers work? A continuous Wasserstein-2 benchmark.
    NeurIPS 2021: `convex_potential` takes its place where its trained networks are not at hand.
    Uscidda, Cuturi. The Monge gap: a regularizer to learn all transport maps. ICML 2023.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from os import PathLike
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit, logsumexp, softmax

from ..core import checks
from ..core.checks import FloatArray
from . import costs
from .costs import Cost, Sphere, SquaredEuclidean, TranslationCost
from .gaussians import gaussian_map_matrix

Sampler: TypeAlias = Callable[[int, np.random.Generator], FloatArray]
Map: TypeAlias = Callable[[FloatArray], FloatArray]

_CHUNK = 1 << 22  # numbers of the largest array made at once


@dataclass(frozen=True, eq=False)
class TransportProblem:
    """Move `source` to `target` at the least expected cost.

    Where targets are images of the source, `source` and `target` draw the same numbers: with two
    generators in the same state they give matched pairs (x, T(x)), and with one generator, used
    for both, independent samples, as learners should see them.

    Attributes:
        name: what it is, for tables.
        dim: d.
        cost: c(x, y).
        source: draws x, (n, d), from n and a generator.
        target: draws y, (n, d), likewise.
        map: T, (n, d) of points (n, d), with the target as the image of the source, and optimal
            unless its maker says otherwise; None: not known.
        known_variance: `target_variance` where it is known exactly.

    Raises:
        TypeError: dim is not an integer, or cost is not a `Cost`.
        ValueError: dim is below 1, or known_variance is not positive.
    """

    name: str
    dim: int
    cost: Cost
    source: Sampler
    target: Sampler
    map: Map | None = None
    known_variance: float | None = None

    def __post_init__(self) -> None:
        checks.integer(self.dim, "dim", minimum=1)
        checks.positive(self.known_variance, "known_variance", optional=True)
        if not isinstance(self.cost, Cost):
            raise TypeError(f"cost must be a Cost, got {self.cost!r}; pass costs.get of a name")

    @cached_property
    def target_variance(self) -> float:
        """Trace of the covariance of the target, by which L2-UVP divides squared errors.

        `known_variance`, or that of 200 000/d points (10 000 at least) drawn with seed 0: of the
        problems here, with a standard error below 1 percent.
        """
        if self.known_variance is not None:
            return self.known_variance
        n = max(10_000, 200_000 // self.dim)
        y = self.target(n, np.random.default_rng(0))
        return float(y.var(axis=0).sum())


def _points(x: FloatArray, dim: int) -> FloatArray:
    return checks.array(x, "x", shape=(None, dim))


def _image(source: Sampler, transport: Map) -> Sampler:
    return lambda n, rng: transport(source(n, rng))


def _generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(checks.integer(seed, "seed", minimum=0))


# Gaussians


def gaussian_pair(dim: int, *, seed: int) -> TransportProblem:
    """N(m1, S1) → N(m2, S2), with T(x) = m2 + A (x − m1), A of `gaussians.gaussian_map_matrix`.

    m1, m2 ~ N(0, I) and S1, S2 = BBᵀ/d + 0.3 I, with B standard normal, (d, d): eigenvalues are
    in about [0.3, 4.3] for every d. The target variance is known, tr S2.

    Args:
        dim: d >= 1.
        seed: of m1, m2, S1 and S2.

    Raises:
        TypeError: an argument is not an integer.
        ValueError: dim is below 1, or seed below 0.
    """
    dim = checks.integer(dim, "dim", minimum=1)
    rng = _generator(seed)
    m1, m2 = rng.standard_normal((2, dim))
    B = rng.standard_normal((2, dim, dim))
    S1, S2 = B @ B.transpose(0, 2, 1) / dim + 0.3 * np.eye(dim)
    root1, root2 = np.linalg.cholesky(S1), np.linalg.cholesky(S2)
    A = gaussian_map_matrix(S1, S2)
    return TransportProblem(
        name=f"Gaussians, d = {dim}",
        dim=dim,
        cost=SquaredEuclidean(),
        source=lambda n, rng: m1 + rng.standard_normal((n, dim)) @ root1.T,
        target=lambda n, rng: m2 + rng.standard_normal((n, dim)) @ root2.T,
        map=lambda x: m2 + (_points(x, dim) - m1) @ A,
        known_variance=float(np.trace(S2)),
    )


# Convex potentials


@dataclass(frozen=True, eq=False)
class _PotentialGradient:
    """T = ∇u of `convex_potential`, and u.

    Attributes:
        g: (K, L, d).
        b: (K, L).
        sharpness: τ.
        strength: r.
    """

    g: FloatArray
    b: FloatArray
    sharpness: float
    strength: float

    def scores(self, x: FloatArray) -> FloatArray:
        """⟨a_kl, x⟩ + b_kl, (n, K, L)."""
        K, L, dim = self.g.shape
        products = x @ self.g.reshape(K * L, dim).T
        return self.sharpness / math.sqrt(dim) * products.reshape(-1, K, L) + self.b

    def potential(self, x: FloatArray) -> FloatArray:
        """u, (n,), of points (n, d)."""
        K, _, dim = self.g.shape
        scale = self.strength / self.sharpness * math.sqrt(dim / K)
        sums = logsumexp(self.scores(x), axis=-1).sum(axis=-1)
        return 0.5 * (x * x).sum(axis=-1) + scale * sums

    def __call__(self, x: FloatArray) -> FloatArray:
        """∇u, (n, d), of points (n, d)."""
        K, L, dim = self.g.shape
        x = _points(x, dim)
        moved = np.empty_like(x)
        size = max(1, _CHUNK // (K * L))
        for start in range(0, len(x), size):
            part = x[start : start + size]
            weights = softmax(self.scores(part), axis=-1).reshape(-1, K * L)
            step = self.strength / math.sqrt(K) * (weights @ self.g.reshape(K * L, dim))
            moved[start : start + size] = part + step
        return moved


def convex_potential(
    dim: int,
    *,
    seed: int,
    n_components: int = 3,
    n_potentials: int | None = None,
    n_pieces: int = 8,
    sharpness: float = 5.0,
    strength: float = 1.5,
) -> TransportProblem:
    """A mixture of Gaussians → its image by T = ∇u, u convex, far from quadratic.

        u(x) = ½ ‖x‖² + s Σ_k w_k log Σ_l exp(⟨a_kl, x⟩ + b_kl),       w_k = 1/K,
        T(x) = x + s Σ_k w_k Σ_l p_kl(x) a_kl,    p_k(x) = softmax_l(⟨a_kl, x⟩ + b_kl),

    with k <= K, l <= L. It stands in for the benchmark of Korotin et al., whose potentials are
    trained networks; its numbers are not theirs. The mixture has equal weights, means from N(0, I)
    and covariances I/2.

    Scales are such that no d is easier by them. a_kl = τ g_kl/√d with g_kl ~ N(0, I): scores
    ⟨a_kl, x⟩ have deviation about τ, since coordinates of x have about 1 (τ → 0: T is a shift;
    τ → ∞: T is x plus steps). s = r √(K d)/τ: T(x) = x + r/√K Σ_kl p_kl(x) g_kl, so that each of
    the K terms moves coordinates by about r/√K, whatever d is. b_kl ~ N(0, 1). With K in proportion
    to d, ∇²u − I, of rank K (L − 1) at most, reaches all directions, and its eigenvalues, of order
    r τ √(d/K), do not grow; but all K terms move x away from the origin, and for large K/d their
    sum is closer to affine.

    Measured with the defaults (d = 2 to 256): coordinates of T(x) − x have root mean square 1.3 to
    3.1, the target 3 to 10 times the variance of the source (1.6 and 4.5 for large d), ∇²u
    eigenvalues from 1 to 15. The best affine map has an L2-UVP of 3 to 14 percent, 10 for large d,
    and misses a quarter of the variance of T(x) − x. A thousand points take 0.03 s at d = 256 on
    one core.

    Args:
        dim: d >= 1.
        seed: of the means, g and b.
        n_components: of the mixture, at least 1.
        n_potentials: K >= 1; None: d/4, at least 2.
        n_pieces: L >= 2.
        sharpness: τ > 0.
        strength: r > 0.

    Raises:
        TypeError: an argument is no number of its kind.
        ValueError: an argument is out of range.
    """
    dim = checks.integer(dim, "dim", minimum=1)
    n_components = checks.integer(n_components, "n_components", minimum=1)
    K = max(2, dim // 4) if n_potentials is None else n_potentials
    K = checks.integer(K, "n_potentials", minimum=1)
    L = checks.integer(n_pieces, "n_pieces", minimum=2)
    sharpness = checks.positive(sharpness, "sharpness")
    strength = checks.positive(strength, "strength")
    rng = _generator(seed)
    means = rng.standard_normal((n_components, dim))
    g, b = rng.standard_normal((K, L, dim)), rng.standard_normal((K, L))
    transport = _PotentialGradient(g, b, sharpness, strength)

    def source(n: int, rng: np.random.Generator) -> FloatArray:
        centers = means[rng.integers(n_components, size=n)]
        return centers + math.sqrt(0.5) * rng.standard_normal((n, dim))

    return TransportProblem(
        name=f"convex potential, d = {dim}",
        dim=dim,
        cost=SquaredEuclidean(),
        source=source,
        target=_image(source, transport),
        map=transport,
    )


# Separable maps


def separable(
    dim: int, *, seed: int, cost: str | TranslationCost = "sqeuclidean"
) -> TransportProblem:
    """N(0, I) → its image by T_i(x) = c_i + s_i x_i + j_i σ(6 (x_i − t_i)), σ the logistic.

    Slopes s_i ~ U(0.3, 1), jumps j_i ~ U(1, 3) at t_i ~ U(−1, 1), shifts c_i ~ N(0, 1). Each
    T_i increases, so that T is optimal for every cost Σ_i h_i(x_i − y_i), h_i convex (and for such
    costs it would be for any source). Where all h_i are strictly convex no other plan is.

    Args:
        dim: d >= 1.
        seed: of T.
        cost: of that form: "sqeuclidean", PNormPower, ElasticL1, ElasticSTVS, or your own.

    Raises:
        TypeError: dim or seed is not an integer.
        ValueError: dim is below 1, seed below 0, or the cost is not separable: T need not be
            optimal for it.
    """
    dim = checks.integer(dim, "dim", minimum=1)
    own = _separable_cost(cost, dim)
    rng = _generator(seed)
    slope, jump = rng.uniform(0.3, 1.0, dim), rng.uniform(1.0, 3.0, dim)
    knee, shift = rng.uniform(-1.0, 1.0, dim), rng.standard_normal(dim)

    def source(n: int, rng: np.random.Generator) -> FloatArray:
        return rng.standard_normal((n, dim))

    def transport(x: FloatArray) -> FloatArray:
        x = _points(x, dim)
        return shift + slope * x + jump * expit(6 * (x - knee))

    return TransportProblem(
        name=f"separable, d = {dim}",
        dim=dim,
        cost=own,
        source=source,
        target=_image(source, transport),
        map=transport,
    )


def _separable_cost(cost: str | Cost, dim: int) -> TranslationCost:
    """The cost, if h is the sum of what it is on each axis, tried at one displacement."""
    own = costs.get(cost)
    if isinstance(own, TranslationCost):
        z = torch.linspace(0.5, 1.5, dim, dtype=torch.float64)
        whole, parts = float(own.h(z)), float(own.h(torch.diag(z)).sum())
        if math.isclose(whole, parts, rel_tol=1e-9):
            return own
    raise ValueError(
        f"cost must be a sum over coordinates of convex functions of x − y, got {own}; take "
        "'sqeuclidean', PNormPower or an elastic cost"
    )


def simulated_cells(
    n_genes: int = 50,
    *,
    seed: int,
    n_types: int = 4,
    affected: float = 0.3,
    fold: float = 4.0,
    depth: float = 10.0,
    cost: str | Cost = "sqeuclidean",
) -> TransportProblem:
    """Simulated control cells → treated cells that are not paired with them.

    A cell has a type (proportions from Dirichlet(5, ..., 5)), a depth (log-normal, deviation 0.3)
    and counts that are negative binomial given both, with dispersion 0.3. Rates of genes are
    log-normal with deviation 1, and in each type a random three tenths of the genes have theirs
    multiplied by another such factor. Features are log(1 + counts · total), scaled to a total of
    `depth` · G a cell, as is usual for counts of RNA. Treatment multiplies the scaled counts of
    gene g by F_g,

        T_g(x) = log(1 + F_g (exp(x) − 1)),  x >= 0        (odd: T_g(−x) = −T_g(x)),

    with log F_g = ± u log fold, u ~ U(½, 1), for the affected genes, half of them up and half
    down, and F_g = 1 for the others. Treated cells are others than the control cells, and have the
    same proportions of types.

    What `map` is: the truth of the simulation, the same in all cell types. Each T_g increases, so
    that T is the gradient of a convex function; for ‖x − y‖², as for every cost that is a sum of
    convex functions of x_g − y_g, it is optimal although genes depend on each other. For other
    costs (Euclidean, cosine) it is not known to be. Nothing says that responses of real cells are
    optimal in this sense: real drugs act on types differently and through genes jointly.

    Args:
        n_genes: G >= 2.
        seed: of types, rates and responses.
        n_types: of cells, at least 1.
        affected: share of the genes that respond, in (0, 1); at least one up and one down.
        fold: the largest multiple, above 1.
        depth: median counts a gene and cell, above 0.
        cost: any; see above.

    Raises:
        TypeError: an argument is no number of its kind.
        ValueError: an argument is out of range.
    """
    n_genes = checks.integer(n_genes, "n_genes", minimum=2)
    n_types = checks.integer(n_types, "n_types", minimum=1)
    affected = checks.real(affected, "affected", above=0.0, below=1.0)
    fold = checks.real(fold, "fold", above=1.0)
    depth = checks.positive(depth, "depth")
    own = costs.get(cost)
    total = depth * n_genes
    rng = _generator(seed)
    logs = rng.standard_normal(n_genes) + np.where(
        rng.random((n_types, n_genes)) < 0.3, rng.standard_normal((n_types, n_genes)), 0.0
    )
    rates = softmax(logs, axis=-1)  # shares of a cell's counts, (types, G)
    proportions = rng.dirichlet(np.full(n_types, 5.0))
    half = max(1, round(affected * n_genes / 2))
    genes = rng.permutation(n_genes)[: 2 * half]
    folds = np.ones(n_genes)
    folds[genes] = fold ** rng.uniform(0.5, 1.0, 2 * half)
    folds[genes[half:]] **= -1

    def source(n: int, rng: np.random.Generator) -> FloatArray:
        types = rng.choice(n_types, size=n, p=proportions)
        depths = total * rng.lognormal(0.0, 0.3, size=(n, 1))
        noise = rng.gamma(1 / 0.3, 0.3, size=(n, n_genes))  # mean 1, variance 0.3
        counts = rng.poisson(depths * rates[types] * noise)
        return np.log1p(counts * (total / counts.sum(axis=1, keepdims=True).clip(min=1)))

    def transport(x: FloatArray) -> FloatArray:
        x = _points(x, n_genes)
        size = np.abs(x)
        return x + np.sign(x) * np.log1p((1 - folds) * np.expm1(-size))

    return TransportProblem(
        name=f"simulated cells, {n_genes} genes",
        dim=n_genes,
        cost=own,
        source=source,
        target=_image(source, transport),
        map=transport,
    )


# The plane


def moons_to_s_curve(
    cost: str | Cost = "sqeuclidean", *, noise: float = 0.05, n_moons: Literal[1, 2] = 1
) -> TransportProblem:
    """Arcs in the plane, as in the tutorial of OTT on the Monge gap; no map is known.

    Source: a half circle (cos t, sin t), t uniform on [0, π] — the upper of the two moons — plus
    noise, then rotated by π/6 and shifted by (0, −½). Target: (z, x) of the s-curve,
    x = sin t and z = sign(t) (cos t − 1), t uniform on [−3π/2, 3π/2], plus noise, then rotated by
    π/2, scaled by 0.6 and shifted by (1, −2). Rotations are anticlockwise. The variance of the
    target is known, 0.36 (2 + 4/(3π) + 2 noise²).

    Args:
        cost: any.
        noise: deviation of the Gaussian noise of each coordinate, >= 0, before rotation and scale.
        n_moons: 1, as in the tutorial, or 2: the other one too, (1 − cos t, ½ − sin t), with equal
            probability.

    Raises:
        TypeError: noise is no real number.
        ValueError: noise is negative, n_moons is not 1 or 2, or the cost is not known.
    """
    own = costs.get(cost)
    noise = float(checks.array(noise, "noise", shape=(), low=0.0))
    if n_moons not in (1, 2):
        raise ValueError(f"n_moons must be 1 or 2, got {n_moons!r}; pass one of them")

    def source(n: int, rng: np.random.Generator) -> FloatArray:
        t = rng.uniform(0.0, np.pi, n)
        x = np.stack([np.cos(t), np.sin(t)], axis=1)
        if n_moons == 2:
            lower = rng.random(n) < 0.5
            x[lower] = [1.0, 0.5] - x[lower]
        x += noise * rng.standard_normal((n, 2))
        return _rotated(x, np.pi / 6) + np.array([0.0, -0.5])

    def target(n: int, rng: np.random.Generator) -> FloatArray:
        t = rng.uniform(-1.5 * np.pi, 1.5 * np.pi, n)
        y = np.stack([np.sign(t) * (np.cos(t) - 1), np.sin(t)], axis=1)
        y += noise * rng.standard_normal((n, 2))
        return 0.6 * _rotated(y, np.pi / 2) + np.array([1.0, -2.0])

    return TransportProblem(
        name="moons to s-curve",
        dim=2,
        cost=own,
        source=source,
        target=target,
        known_variance=0.36 * (2 + 4 / (3 * np.pi) + 2 * noise**2),
    )


def _rotated(x: FloatArray, angle: float) -> FloatArray:
    """x, (n, 2), turned anticlockwise."""
    cos, sin = np.cos(angle), np.sin(angle)
    return x @ np.array([[cos, sin], [-sin, cos]])


# The sphere


def sphere_caps(
    radius: float = 0.6, *, target_radius: float = 0.4, distance: float = 1.2
) -> TransportProblem:
    """A cap of the sphere in ℝ³ → two smaller ones on either side of it, cost ½ arccos²⟨x, y⟩.

    The uniform measure on the points within an arc `radius` of p = (0, 0, 1), to that on the points
    within `target_radius` of (± sin D, 0, cos D), D the `distance`, half the mass on each. Heights
    along the axis of a cap of radius r are uniform on [cos r, 1] (Archimedes). The variance of the
    target is known, 1 − ((1 + cos r)/2 · cos D)². No map is known.

    Args:
        radius: in (0, π).
        target_radius: in (0, π).
        distance: arc from the centre of the source to each centre of the target, in (0, π).

    Raises:
        TypeError: an argument is no real number.
        ValueError: an argument is out of range.
    """
    radius = checks.real(radius, "radius", above=0.0, below=math.pi)
    target_radius = checks.real(target_radius, "target_radius", above=0.0, below=math.pi)
    distance = checks.real(distance, "distance", above=0.0, below=math.pi)

    def target(n: int, rng: np.random.Generator) -> FloatArray:
        y = _cap(n, target_radius, rng)
        side = np.where(rng.random(n) < 0.5, 1.0, -1.0)
        cos, sin = np.cos(distance), side * np.sin(distance)
        return np.stack([cos * y[:, 0] + sin * y[:, 2], y[:, 1], cos * y[:, 2] - sin * y[:, 0]], 1)

    height = (1 + math.cos(target_radius)) / 2 * math.cos(distance)  # of the mean
    return TransportProblem(
        name="cap to two caps",
        dim=3,
        cost=Sphere(squared=True),
        source=lambda n, rng: _cap(n, radius, rng),
        target=target,
        known_variance=1 - height**2,
    )


def _cap(n: int, radius: float, rng: np.random.Generator) -> FloatArray:
    """Points (n, 3), uniform on the cap about (0, 0, 1)."""
    drop = (1 - math.cos(radius)) * rng.random(n)  # 1 − z
    angle = rng.uniform(0.0, 2 * np.pi, n)
    flat = np.sqrt(drop * (2 - drop))
    return np.stack([flat * np.cos(angle), flat * np.sin(angle), 1 - drop], axis=1)


def sphere_toward_pole(delta: float, *, dim: int = 3) -> TransportProblem:
    """Uniform on the sphere in ℝᵈ → its image by T(x) = exp_x(−∇f(x)), f(x) = −δ ⟨x, p⟩.

    p = (0, ..., 0, 1). At an arc θ from p, ∇f has length |δ| sin θ, and T moves x along its
    meridian from θ to θ − δ sin θ: toward p for δ > 0, away from it for δ < 0. For |δ| < 1 that
    increases with θ, and T is optimal for ½ arccos²⟨x, y⟩ (and for arccos⟨x, y⟩), whatever the
    source; for |δ| > 1 points beyond the pole would cross.

    Args:
        delta: δ in (−1, 1).
        dim: d >= 2.

    Raises:
        TypeError: an argument is no number of its kind.
        ValueError: an argument is out of range; from the map, a point is not of norm 1.
    """
    delta = checks.real(delta, "delta", above=-1.0, below=1.0)
    dim = checks.integer(dim, "dim", minimum=2)
    cost = Sphere(squared=True)
    pole = np.eye(dim)[-1]

    def source(n: int, rng: np.random.Generator) -> FloatArray:
        x = rng.standard_normal((n, dim))
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    def transport(x: FloatArray) -> FloatArray:
        x = _points(x, dim)
        cost.check(torch.tensor(x), "x")
        step = delta * (pole - x[:, -1:] * x)  # −∇f, tangent at x
        length = np.linalg.norm(step, axis=1, keepdims=True)
        return np.cos(length) * x + np.sinc(length / np.pi) * step  # sinc t = sin(πt)/(πt)

    return TransportProblem(
        name=f"sphere toward a pole, d = {dim}",
        dim=dim,
        cost=cost,
        source=source,
        target=_image(source, transport),
        map=transport,
    )


# Users' data


def load_h5ad(
    path: str | PathLike[str],
    *,
    perturbation_key: str,
    control: str,
    treated: str,
    layer: str | None = None,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Features of the control cells and of the treated cells of an .h5ad file.

    Needs the package anndata (pip install anndata). Features are taken as they are: normalise and
    select them first.

    Args:
        path: of the file.
        perturbation_key: the column of `obs` that says what was done to a cell.
        control: its value for control cells; values are compared as strings.
        treated: its value for treated cells.
        layer: the layer to take; None: X.

    Returns:
        The control cells (n, d) and the treated cells (m, d), dense, float32, in the file's order.

    Raises:
        ModuleNotFoundError: anndata is not installed.
        ValueError: a key, a value or the layer is not in the file, control and treated are the
            same, or a feature is not finite.
    """
    try:
        anndata = import_module("anndata")
    except ModuleNotFoundError as error:
        if error.name != "anndata":  # anndata is there, and something that it needs is not
            raise
        message = "anndata is not installed; run: pip install anndata"
        raise ModuleNotFoundError(message, name="anndata") from None
    if str(control) == str(treated):
        raise ValueError(f"control and treated must differ, got {control!r} twice; pass two values")
    data = anndata.read_h5ad(path)
    if perturbation_key not in data.obs:
        raise ValueError(
            f"perturbation_key must be a column of obs, got {perturbation_key!r}; "
            f"take one of {_listed(data.obs)}"
        )
    labels = np.asarray(data.obs[perturbation_key]).astype(str)
    for value, name in ((control, "control"), (treated, "treated")):
        if str(value) not in labels:
            raise ValueError(
                f"{name} must be a value of obs[{perturbation_key!r}], got {value!r}; "
                f"take one of {_listed(np.unique(labels))}"
            )
    if layer is not None and layer not in data.layers:
        raise ValueError(
            f"layer must be in the file, got {layer!r}; take one of {_listed(data.layers)}"
        )
    features = data.X if layer is None else data.layers[layer]
    if features is None:
        raise ValueError(
            f"layer must be given where X is empty; take one of {_listed(data.layers)}"
        )
    return (
        _dense(features[labels == str(control)], "control"),
        _dense(features[labels == str(treated)], "treated"),
    )


def _listed(names: Any) -> str:
    shown = [repr(str(name)) for name in names]
    return ", ".join(shown[:10]) + (f" and {len(shown) - 10} more" if len(shown) > 10 else "")


def _dense(rows: Any, name: str) -> npt.NDArray[np.float32]:
    dense = np.asarray(rows.toarray() if hasattr(rows, "toarray") else rows, dtype=np.float32)
    if not np.isfinite(dense).all():
        i, j = (int(k) for k in np.argwhere(~np.isfinite(dense))[0])
        raise ValueError(
            f"{name} cells must have finite features, got {dense[i, j]} for cell {i}, feature {j}; "
            "clean them"
        )
    return dense
