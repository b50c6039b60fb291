"""Quadratics on a ball: exact minimisers by the secular equation.

    minimise  ½ ⟨x, A x⟩ − ⟨b, x⟩  over ‖x‖₂ ≤ r,   A symmetric, indefinite allowed.

A point is a minimiser exactly if (A + ν I) x = b with ν ≥ 0, A + ν I positive semidefinite, and
ν = 0 or ‖x‖ = r. In the eigenbasis of A, with eigenvalues w and coordinates c of b, that is

    y_i = c_i/(w_i + ν),     Σ_i c_i²/(w_i + ν)² = r²,

one equation in ν. Newton's method on 1/‖y(ν)‖, which is concave, started at the lower bound
ν_0 = max(0, max_i |c_i|/r − w_i), rises to the root without overshooting.

Maximising a quadratic is minimising its negative. All leading axes are batch.

References:
    Conn, Gould, Toint. Trust-Region Methods. SIAM, 2000, chapter 7 (with the "hard case").
"""

from __future__ import annotations

import numpy as np

from .checks import FloatArray

_ROUNDING = 64 * np.finfo(np.float64).eps  # times d: relative error of a computed eigenvalue


def minimize_diagonal(weights: FloatArray, coefficients: FloatArray, radius: float) -> FloatArray:
    """argmin over ‖y‖ ≤ r of ½ Σ w_i y_i² − Σ c_i y_i.

    Args:
        weights: w, (..., k), of any sign.
        coefficients: c, (..., k).
        radius: r > 0.

    Returns:
        y, (..., k), with a norm that exceeds r by rounding at most. Where minimisers are many (the
        hard case), one of them.
    """
    weights, c = np.broadcast_arrays(weights, coefficients)
    least = np.abs(c) / radius  # |y_i| ≤ r asks for w_i + ν ≥ |c_i|/r
    binding = (least - weights).argmax(axis=-1)[..., None]
    w, bound = (np.take_along_axis(v, binding, axis=-1) for v in (weights, least))
    lifted = bound > w  # ν_0 > 0
    gaps = np.where(lifted, weights - w + bound, weights)  # w_i + ν_0, exact for the binding i
    gaps = np.maximum(gaps, least)  # mends rounding
    y = np.divide(c, gaps, out=np.zeros_like(gaps), where=gaps != 0)
    norm = np.linalg.norm(y, axis=-1, keepdims=True)
    for _ in range(100):
        far = norm > radius * (1 + 1e-15)
        if not far.any():
            break
        slope = np.divide(y * y, gaps, out=np.zeros_like(y), where=gaps != 0)  # −½ d‖y‖²/dν
        rise = (norm / radius - 1) * norm**2 / np.where(far, slope.sum(axis=-1, keepdims=True), 1.0)
        gaps = gaps + np.where(far, rise, 0.0)
        y = np.divide(c, gaps, out=np.zeros_like(gaps), where=gaps != 0)
        last, norm = norm, np.linalg.norm(y, axis=-1, keepdims=True)
        if (norm >= last)[far].all():  # rounding stops the descent
            break
    # the hard case: ν = −min w > 0, and a multiple of that eigenvector is added
    missing = np.sqrt(np.maximum(radius**2 - norm**2, 0.0))
    bottom = weights.argmin(axis=-1)[..., None]
    hard = lifted & (np.take_along_axis(gaps, bottom, axis=-1) == 0.0)
    extra = np.zeros_like(y)
    np.put_along_axis(extra, bottom, np.where(hard, missing, 0.0), axis=-1)
    return y + extra


def minimize_on_ball(hessian: FloatArray, linear: FloatArray, radius: float) -> FloatArray:
    """argmin over ‖x‖ ≤ r of ½ ⟨x, A x⟩ − ⟨b, x⟩.

    Args:
        hessian: A, (..., d, d), symmetric (its lower triangle is read), indefinite allowed.
        linear: b, (..., d).
        radius: r > 0.

    Returns:
        x, (..., d). Directions along which the quadratic is flat up to rounding count as flat: x
        has no part in them, unless it must reach the sphere.
    """
    weights, basis = np.linalg.eigh(hessian)
    weights = without_rounding(weights)
    coefficients = np.einsum("...ji,...j->...i", basis, linear)
    negligible = _ROUNDING * weights.shape[-1] * np.abs(coefficients).max(axis=-1, keepdims=True)
    flat = (weights == 0.0) & (np.abs(coefficients) <= negligible)
    y = minimize_diagonal(weights, np.where(flat, 0.0, coefficients), radius)
    return np.einsum("...ij,...j->...i", basis, y)


def without_rounding(eigenvalues: FloatArray) -> FloatArray:
    """Eigenvalues (..., d) of symmetric matrices; those that are rounding errors are set to 0."""
    size = _ROUNDING * eigenvalues.shape[-1] * np.abs(eigenvalues).max(axis=-1, keepdims=True)
    return np.where(np.abs(eigenvalues) <= size, 0.0, eigenvalues)


def quadratic(hessian: FloatArray, linear: FloatArray, x: FloatArray) -> FloatArray:
    """½ ⟨x, A x⟩ − ⟨b, x⟩, shape (...), for A (..., d, d), b (..., d), x (..., d)."""
    half = 0.5 * np.einsum("...i,...ij,...j->...", x, hessian, x)
    result: FloatArray = half - np.einsum("...i,...i->...", linear, x)
    return result


def maximum_on_ball(hessian: FloatArray, linear: FloatArray, radius: float) -> FloatArray:
    """max over ‖x‖ ≤ r of ½ ⟨x, A x⟩ − ⟨b, x⟩, shape (...); arguments as `minimize_on_ball`."""
    hessian, linear = np.asarray(hessian), np.asarray(linear)
    return quadratic(hessian, linear, minimize_on_ball(-hessian, -linear, radius))
