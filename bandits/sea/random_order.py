"""The random order model: a finite family, drawn without replacement.

References:
    Sachs, Hadiji, van Erven, Guzmán. NeurIPS 2022, lemma 11.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.checks import FloatArray
from ...core.quadratics import quadratic
from .finite import LeastSquares, SquaredResidualFamily
from .instance import QuadraticInstance
from .losses import SquaredResiduals
from .quantities import Quantity, SEAQuantities

if TYPE_CHECKING:
    import numpy.typing as npt


class RandomOrder(QuadraticInstance):
    """The random order model: a finite family drawn without replacement, pass after pass.

    f_i(x) = ½ (⟨a_i, x⟩ − b_i)². Before each pass of n rounds the losses are shuffled; given the
    past, D_t is uniform on those that remain. Every f_t has mean F̄ = (1/n) Σ f_i, so that the
    comparator is u = argmin F̄ at each horizon.

    σ_t and Σ_t are random; their squares' expectations are averages over all sets that can remain.
    For n <= 10 these are enumerated. Beyond, `quantities` gives upper bounds for each pass, with
    m = n − t + 1 losses left and σ_1², σ̃_1² those of the whole family: E σ_t² ≤ min{(n/m) σ_1²,
    σ̃_1²}, Σ_t² ≤ 4G²/(m + 1)² within a pass and at most σ̃_1² between two, E σ̃_t² ≤ 4 σ̃_1²; then
    `exact` is False.

    Args:
        features: a_1, ..., a_n, (n, d).
        targets: b_1, ..., b_n, (n,).
        radius: r > 0 of the domain.
    """

    def __init__(
        self, features: npt.ArrayLike, targets: npt.ArrayLike, *, radius: float = 1.0
    ) -> None:
        family = LeastSquares(features, targets, radius=radius)
        self.features, self.targets = family.features, family.targets
        self.dim, self.radius = family.dim, family.radius
        self.gradient_bound, self.exp_concavity = family.gradient_bound, family.exp_concavity
        # a mean over the losses left can be as curved, or as flat, as one loss
        self.smoothness = float((self.features**2).sum(axis=-1).max())
        self.strong_convexity = family.strong_convexity if len(self.targets) == 1 else 0.0
        self._family = family
        self.comparators = family.minimizer(1)
        self._by_size: FloatArray | None = None

    def reset(self, n_replications: int, rng: np.random.Generator) -> None:
        """Start R replications before the first pass."""
        super().reset(n_replications, rng)
        H, h = self._family.mean_sum(len(self.targets))
        self._all = np.tile(H, (n_replications, 1, 1)), np.tile(h, (n_replications, 1))

    def mean(self, t: int) -> tuple[FloatArray, FloatArray]:
        """Of E F_t = F̄."""
        return self._family.mean(t)

    def mean_sum(self, t: int) -> tuple[FloatArray, FloatArray]:
        """Of t F̄."""
        return self._family.mean_sum(t)

    def _draw(self) -> SquaredResiduals:
        n, place = len(self.targets), (self._round - 1) % len(self.targets)
        if place == 0:
            shape = (self._n_replications, n)
            self._order = self._rng.permuted(np.broadcast_to(np.arange(n), shape), axis=1)
            self._hessian, self._linear = (moment.copy() for moment in self._all)
        else:
            drawn = self._order[:, place - 1]
            a, b = self.features[drawn], self.targets[drawn, None]
            self._hessian -= a[:, :, None] * a[:, None]
            self._linear -= b * a
        self._n_left = n - place
        picked = self._order[:, place]
        return SquaredResiduals(self.features[picked, None], self.targets[picked, None])

    def _expected(self, x: FloatArray) -> FloatArray:
        # the mean of the losses left before the draw: ½ ⟨x, H x⟩ − ⟨h, x⟩ over their number
        return quadratic(self._hessian, self._linear, x) / self._n_left

    def quantities(self, horizon: Quantity) -> SEAQuantities:
        """See the class docstring."""
        rounds, n = self._rounds(horizon), len(self.targets)
        if self._by_size is None:
            self._by_size = self._enumerated() if n <= 10 else self._bounded()
        left = n - np.arange(rounds) % n  # m
        sigma2, Sigma2, tilde = self._by_size[:, left - 1]
        return SEAQuantities.of_rounds(
            horizon,
            sigma2,
            Sigma2,
            tilde,
            G=self.gradient_bound,
            L=self.smoothness,
            D=2 * self.radius,
            exact=n <= 10,
        )

    def _enumerated(self) -> FloatArray:
        """Expectations of σ_t², Σ_t², σ̃_t² for m = 1, ..., n losses left, over all sets."""
        n = len(self.targets)
        family = SquaredResidualFamily(self.features, self.targets, self.radius)
        sets = (np.arange(1, 2**n)[:, None] >> np.arange(n)) & 1  # (2ⁿ − 1, n)
        sizes = sets.sum(axis=1)
        weights = sets / sizes[:, None]
        values = np.zeros((3, n))
        per_size = np.bincount(sizes)[1:]
        values[0] = np.bincount(sizes, family.variance(weights))[1:] / per_size
        values[2] = np.bincount(sizes, family.variance_inside(weights))[1:] / per_size
        # Σ_t²: a set of m + 1 losses loses one of them
        source, lost = np.nonzero(sets * (sizes > 1)[:, None])
        after = sets[source].astype(float)
        after[np.arange(len(source)), lost] = 0.0
        m = sizes[source] - 1
        moves = family.movement(after / m[:, None], weights[source])
        values[1, : n - 1] = (np.bincount(m, moves) / np.maximum(np.bincount(m), 1))[1:]
        # a new pass: from the last loss, uniform on the family, to all of them
        values[1, n - 1] = values[2, n - 1]
        return values

    def _bounded(self) -> FloatArray:
        n = len(self.targets)
        m = np.arange(1, n + 1)
        one = self._family.quantities(1)
        tilde = one.sigma2_tilde_cum
        Sigma2 = 4 * self.gradient_bound**2 / (m + 1) ** 2
        Sigma2[-1] = tilde
        return np.stack([np.minimum(n / m * one.sigma2_cum, tilde), Sigma2, np.full(n, 4 * tilde)])
