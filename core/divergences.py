"""f-divergences and their convex conjugates, for numpy arrays and torch tensors alike.

For f convex with f(1) = 0 and distributions p, q,

    D_f(p‖q) = E_q[f(p/q)]                                   ≥ 0, in nats where a logarithm enters
    f*(y)    = sup_{w ∈ ℝ} w y − f(w)                        (conjugate)
    f_p*(y)  = sup_{w ≥ 0} w y − f(w)                        (positive_conjugate)
    w*(y)    = argmax_{w ≥ 0} w y − f(w) = (f_p*)'(y)        (ratio)
    D_f(p‖q) = sup_y E_p[y] − E_q[f*(y)], attained at y = f'(p/q)

so that a density ratio w ≥ 0 is eliminated from a saddle point in closed form. With E = e^{2y}:

    name              f(w)                            f*(y)              w*(y)           f'(∞)
    KL                w ln w                          e^{y−1}            e^{y−1}           ∞
    ChiSquared        (w − 1)²                        y + y²/4           (1 + y/2)₊        ∞
    TotalVariation    |w − 1|/2                       y on [−½, ½]       1{y ≥ −½}         ½
    SquaredHellinger  (√w − 1)²                       y/(1 − y)          1/(1 − y)²        1
    JensenShannon     ½[w ln w − (1+w) ln((1+w)/2)]   −½ ln(2 − E)       E/(2 − E)       ½ ln 2

f_p* = f* where f is +∞ on w < 0 (KL, SquaredHellinger, JensenShannon); otherwise
f_p*(y) = max(y, −2)(1 + max(y, −2)/4) for ChiSquared and max(y, −½), y ≤ ½, for TotalVariation.
Values are extended reals: f(w) = +∞ outside dom f, f*(y) = w*(y) = +∞ beyond f'(∞), and f'(w) = −∞
for w ≤ 0 where the slope at 0 is infinite. Autograd gives finite gradients at such points (a branch
that is masked out contributes 0), so that no finite argument has a nan gradient.

References:
    Csiszár. Information-type measures of difference of probability distributions. Studia Sci.
    Math. Hungar. 2, 1967.
    Nguyen, Wainwright, Jordan. Estimating divergence functionals and the likelihood ratio by convex
    risk minimization. IEEE Trans. Inf. Theory 56(11), 2010 (the variational form).
    Sikchi, Zheng, Zhang, Niekum. Dual RL. ICLR 2024 (f_p* and w*).
"""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

Values = Any  # numpy array (or number), or torch tensor; the result is of the same kind and dtype
Namespace = Any  # numpy or torch: the functions used below have one name and meaning in both


def _namespace(*values: Values) -> tuple[Namespace, list[Values]]:
    """The namespace (numpy or torch) of the values, and the values as its floating arrays."""
    torch: Any = sys.modules.get("torch")  # a tensor exists only where torch has been imported
    tensors = [torch is not None and isinstance(value, torch.Tensor) for value in values]
    if not any(tensors):
        arrays = [np.asarray(value) for value in values]
        return np, [a if a.dtype.kind == "f" else a.astype(np.float64) for a in arrays]
    if not all(tensors):
        raise TypeError("p and q must both be tensors or both be arrays, got one of each")
    return torch, [v if v.is_floating_point() else v.to(torch.get_default_dtype()) for v in values]


def _evaluate(formula: Callable[..., Values], *values: Values) -> Values:
    xp, arrays = _namespace(*values)
    with np.errstate(over="ignore", divide="ignore"):  # inf is a value here
        result = formula(xp, *arrays)
    return result[()] if xp is np else result  # 0-d arrays become numbers


def _where_positive(xp: Namespace, w: Values) -> Values:
    """`w` where w > 0, else 1: keeps a branch that is masked out free of inf and nan gradients."""
    return xp.where(w <= 0, 1.0, w)


def _sqrt(xp: Namespace, w: Values) -> Values:
    """√w for w > 0, else 0, with gradient 0 there."""
    return xp.where(w <= 0, 0.0, xp.sqrt(_where_positive(xp, w)))


def _relative_entropy(xp: Namespace, p: Values, q: Values) -> Values:
    """The summand p ln(p/q) − p + q ≥ 0 of KL; q where p = 0, and +∞ where q = 0 < p.

    Its error is of order ε |p − q| where p ≈ q (ε the dtype's), not ε p.
    """
    both = (p > 0) & (q > 0)
    a, b = xp.where(both, p, 1.0), xp.where(both, q, 1.0)
    near = abs(a - b) <= b / 2
    relative_gap = xp.where(near, a - b, 0.0) / xp.where(near, b, 1.0)
    far_log = xp.log(xp.where(near, 1.0, a)) - xp.log(xp.where(near, 1.0, b))  # a/b may overflow
    value = a * xp.where(near, xp.log1p(relative_gap), far_log) - (a - b)
    return xp.where(both, xp.clip(value, 0.0, None), xp.where(p > 0, math.inf, q))


@dataclass(frozen=True)
class FDivergence(ABC):
    """An f-divergence: the generator f, its derivative and its conjugates, all elementwise.

    Each method takes an array or a tensor of any shape and returns one of that shape and floating
    dtype (integers become float64 in numpy, the default dtype in torch).

    Attributes:
        domain: closure (f'(−∞), f'(∞)) of the interval where f* is finite. f_p* is finite for
            every y below f'(∞). The ends belong to it for TotalVariation only.
    """

    domain: ClassVar[tuple[float, float]]

    def f(self, w: Values) -> Values:
        """The generator f at `w`; +∞ where w < 0, but for ChiSquared and TotalVariation."""
        return _evaluate(self._f, w)

    def derivative(self, w: Values) -> Values:
        """f'(w); the subgradient 0 at the kink of TotalVariation; −∞ left of an infinite slope."""
        return _evaluate(self._derivative, w)

    def conjugate(self, y: Values) -> Values:
        """f*(y) = sup_{w ∈ ℝ} w y − f(w); +∞ outside its domain."""
        return _evaluate(self._conjugate, y)

    def positive_conjugate(self, y: Values) -> Values:
        """f_p*(y) = sup_{w ≥ 0} w y − f(w); +∞ above its domain."""
        return _evaluate(self._positive_conjugate, y)

    def ratio(self, y: Values) -> Values:
        """w*(y) = argmax_{w ≥ 0} w y − f(w) = (f_p*)'(y); +∞ where no maximiser exists.

        TotalVariation has an interval of maximisers at y = ±½: 1 is returned at both.
        """
        return _evaluate(self._ratio, y)

    def divergence(self, p: Values, q: Values, axis: int = -1) -> Values:
        """D_f(p‖q) = Σ q f(p/q) along `axis`, with f'(∞) p where q = 0 and 0 where p = q = 0.

        The sum runs over q f(p/q) + f'(1)(q − p) ≥ 0, the same number for distributions, so that
        rounding cannot make it negative and small divergences keep their digits. Autograd
        differentiates that sum: gradients in p and q are the usual ones up to a constant f'(1),
        which normalised p and q (a softmax, say) do not feel.

        Args:
            p: distributions along `axis`; broadcast against q.
            q: distributions along `axis`.
            axis: the axis of the atoms.

        Returns:
            D_f(p‖q) ≥ 0 over the other axes; +∞ if f'(∞) = ∞ and p has mass where q has none.

        Raises:
            ValueError: p or q has a negative or nan entry, or its sum is off one by more than √ε
                of its dtype (1.5e-8 in float64, 3.5e-4 in float32).
            TypeError: one of p and q is a tensor and the other is not.
        """
        xp, (p, q) = _namespace(p, q)
        for name, value in (("p", p), ("q", q)):
            total, slack = value.sum(axis=axis), math.sqrt(xp.finfo(value.dtype).eps)
            if not bool((value >= 0).all() & (abs(total - 1) <= slack).all()):
                raise ValueError(
                    f"{name} must be nonnegative and sum to one along axis {axis}, got smallest "
                    f"entry {float(value.min())} and sums in [{float(total.min())}, "
                    f"{float(total.max())}]; normalise it"
                )
        return _evaluate(self._perspective, p, q).sum(axis=axis)

    @abstractmethod
    def _f(self, xp: Namespace, w: Values) -> Values: ...

    @abstractmethod
    def _derivative(self, xp: Namespace, w: Values) -> Values: ...

    @abstractmethod
    def _conjugate(self, xp: Namespace, y: Values) -> Values: ...

    def _positive_conjugate(self, xp: Namespace, y: Values) -> Values:
        return self._conjugate(xp, y)  # f is +∞ on w < 0

    @abstractmethod
    def _ratio(self, xp: Namespace, y: Values) -> Values: ...

    @abstractmethod
    def _perspective(self, xp: Namespace, p: Values, q: Values) -> Values:
        """The summand q f(p/q) + f'(1)(q − p) for p, q ≥ 0, continued to q = 0."""


class KL(FDivergence):
    """Kullback-Leibler divergence KL(p‖q) = Σ p ln(p/q): f(w) = w ln w."""

    domain = (-math.inf, math.inf)

    def _f(self, xp: Namespace, w: Values) -> Values:
        v = _where_positive(xp, w)
        return xp.where(w < 0, math.inf, v * xp.log(v))

    def _derivative(self, xp: Namespace, w: Values) -> Values:
        return xp.where(w <= 0, -math.inf, xp.log(_where_positive(xp, w)) + 1)

    def _conjugate(self, xp: Namespace, y: Values) -> Values:
        return xp.exp(y - 1)

    _ratio = _conjugate

    def _perspective(self, xp: Namespace, p: Values, q: Values) -> Values:
        return _relative_entropy(xp, p, q)


class ChiSquared(FDivergence):
    """Pearson's χ²(p‖q) = Σ (p − q)²/q: f(w) = (w − 1)² on the whole line."""

    domain = (-math.inf, math.inf)

    def _f(self, xp: Namespace, w: Values) -> Values:
        return (w - 1) ** 2

    def _derivative(self, xp: Namespace, w: Values) -> Values:
        return 2 * (w - 1)

    def _conjugate(self, xp: Namespace, y: Values) -> Values:
        return y * (1 + y / 4)  # no ∞ − ∞

    def _positive_conjugate(self, xp: Namespace, y: Values) -> Values:
        return self._conjugate(xp, xp.clip(y, -2.0, None))

    def _ratio(self, xp: Namespace, y: Values) -> Values:
        return 1 + xp.clip(y, -2.0, None) / 2

    def _perspective(self, xp: Namespace, p: Values, q: Values) -> Values:
        gap = xp.where(q > 0, p - q, 0.0)
        value = gap * (gap / _where_positive(xp, q))
        return xp.where((q <= 0) & (p > 0), math.inf, value)


class TotalVariation(FDivergence):
    """Total variation ½ Σ |p − q| in [0, 1]: f(w) = |w − 1|/2 on the whole line."""

    domain = (-0.5, 0.5)

    def _f(self, xp: Namespace, w: Values) -> Values:
        return abs(w - 1) / 2

    def _derivative(self, xp: Namespace, w: Values) -> Values:
        return xp.sign(w - 1) / 2

    def _conjugate(self, xp: Namespace, y: Values) -> Values:
        return xp.where(abs(y) > 0.5, math.inf, y)

    def _positive_conjugate(self, xp: Namespace, y: Values) -> Values:
        return self._conjugate(xp, xp.clip(y, -0.5, None))

    def _ratio(self, xp: Namespace, y: Values) -> Values:
        w = xp.clip(xp.floor(y + 0.5) + 1, 0.0, 1.0)  # 1{y ≥ −½}, with gradient 0
        return xp.where(y > 0.5, math.inf, w)

    def _perspective(self, xp: Namespace, p: Values, q: Values) -> Values:
        return abs(p - q) / 2


class SquaredHellinger(FDivergence):
    """Squared Hellinger distance Σ (√p − √q)² in [0, 2]: f(w) = (√w − 1)²."""

    domain = (-math.inf, 1.0)

    def _f(self, xp: Namespace, w: Values) -> Values:
        return xp.where(w < 0, math.inf, (_sqrt(xp, w) - 1) ** 2)

    def _derivative(self, xp: Namespace, w: Values) -> Values:
        slope = -xp.expm1(-xp.log(_where_positive(xp, w)) / 2)  # 1 − 1/√w
        return xp.where(w <= 0, -math.inf, slope)

    def _conjugate(self, xp: Namespace, y: Values) -> Values:
        inside = xp.where(y >= 1, 0.0, y)
        return xp.where(y >= 1, math.inf, xp.expm1(-xp.log1p(-inside)))  # −1 at y = −∞

    def _ratio(self, xp: Namespace, y: Values) -> Values:
        inside = xp.where(y >= 1, 0.0, y)
        return xp.where(y >= 1, math.inf, (1 / (1 - inside)) ** 2)

    def _perspective(self, xp: Namespace, p: Values, q: Values) -> Values:
        return (_sqrt(xp, p) - _sqrt(xp, q)) ** 2


class JensenShannon(FDivergence):
    """Jensen-Shannon divergence ½ KL(p‖m) + ½ KL(q‖m), m = (p + q)/2, in [0, ln 2].

    f(w) = ½ [w ln w − (1 + w) ln((1 + w)/2)] = w f'(w) − ½ ln((1 + w)/2),
    f'(w) = ½ ln(2w/(1 + w)); f' = y is solved by e^{2y} = 2w/(1 + w).
    """

    domain = (-math.inf, math.log(2) / 2)

    def _f(self, xp: Namespace, w: Values) -> Values:
        finite = xp.clip(w, 0.0, float(xp.finfo(w.dtype).max))  # f(∞) = ∞ without ∞ − ∞
        value = _where_positive(xp, w) * self._slope(xp, w) - xp.log1p((finite - 1) / 2) / 2
        return xp.where(w < 0, math.inf, value)

    def _derivative(self, xp: Namespace, w: Values) -> Values:
        return xp.where(w <= 0, -math.inf, self._slope(xp, w))

    def _conjugate(self, xp: Namespace, y: Values) -> Values:
        outside, growth = self._growth(xp, y)
        return xp.where(outside, math.inf, -xp.log1p(-growth) / 2)

    def _ratio(self, xp: Namespace, y: Values) -> Values:
        outside, growth = self._growth(xp, y)
        return xp.where(outside, math.inf, (1 + growth) / (1 - growth))

    def _perspective(self, xp: Namespace, p: Values, q: Values) -> Values:
        middle = (p + q) / 2
        return (_relative_entropy(xp, p, middle) + _relative_entropy(xp, q, middle)) / 2

    def _slope(self, xp: Namespace, w: Values) -> Values:
        """f'(w) for w > 0, else 0."""
        v = xp.clip(_where_positive(xp, w), None, float(xp.finfo(w.dtype).max))
        return (xp.log(v) - xp.log1p((v - 1) / 2)) / 2

    def _growth(self, xp: Namespace, y: Values) -> tuple[Values, Values]:
        """Whether y ≥ ½ ln 2, and e^{2y} − 1 (0 there)."""
        growth = xp.expm1(2 * xp.where(y >= self.domain[1], 0.0, y))
        outside = (y >= self.domain[1]) | (growth >= 1)  # rounding next to the end
        return outside, xp.where(outside, 0.0, growth)
