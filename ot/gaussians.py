"""The optimal map between Gaussians for the cost ‖x − y‖², in closed form.

References:
    Knott, Smith. On the optimal mapping of distributions. JOTA 43, 1984.
    Takatsu. Wasserstein geometry of Gaussian measures. Osaka J. Math. 48, 2011.
"""

from __future__ import annotations

import numpy as np

from ..core import checks
from ..core.checks import FloatArray


def gaussian_map_matrix(source_covariance: FloatArray, target_covariance: FloatArray) -> FloatArray:
    """A = S1^{-½} (S1^½ S2 S1^½)^½ S1^{-½}: x ↦ m2 + A (x − m1) is optimal between Gaussians.

    A is the one positive semidefinite matrix with A S1 A = S2.

    Args:
        source_covariance: S1, (d, d), symmetric, positive definite.
        target_covariance: S2, (d, d), symmetric, positive semidefinite.

    Returns:
        A, (d, d), symmetric, positive semidefinite. A S1 A − S2 is rounding times the condition
        number of S1.

    Raises:
        TypeError: an argument is no array of real numbers.
        ValueError: shapes do not fit, or a matrix is not symmetric or not as definite as it must.
    """
    S1 = checks.array(source_covariance, "source_covariance", shape=(None, None))
    S2 = checks.array(target_covariance, "target_covariance", shape=S1.shape)
    values, vectors = _eigen(S1, "source_covariance", definite=True)
    _eigen(S2, "target_covariance", definite=False)
    root = (vectors * np.sqrt(values)) @ vectors.T
    inverse = (vectors / np.sqrt(values)) @ vectors.T
    squares, basis = np.linalg.eigh(_symmetric(root @ S2 @ root))
    middle = (basis * np.sqrt(squares.clip(min=0.0))) @ basis.T
    return _symmetric(inverse @ middle @ inverse)


def _symmetric(matrix: FloatArray) -> FloatArray:
    return (matrix + matrix.T) / 2


def _eigen(S: FloatArray, name: str, *, definite: bool) -> tuple[FloatArray, FloatArray]:
    """Eigenvalues and eigenvectors; a ValueError unless S is symmetric and (semi)definite."""
    if S.shape != S.T.shape or not len(S):
        raise ValueError(f"{name} must be square, got shape {S.shape}; pass a covariance")
    if np.abs(S - S.T).max() > 1e-8 * np.abs(S).max():
        i, j = np.unravel_index(np.abs(S - S.T).argmax(), S.shape)
        raise ValueError(
            f"{name} must be symmetric, got {S[i, j]} at {(int(i), int(j))} and {S[j, i]} across; "
            "pass (S + S.T)/2"
        )
    values, vectors = np.linalg.eigh(S)
    rounding = 1e-12 * abs(float(values[-1]))
    if values[0] <= rounding if definite else values[0] < -rounding:
        wanted = "definite" if definite else "semidefinite"
        raise ValueError(
            f"{name} must be positive {wanted}, got the eigenvalue {values[0]:.6g}; add to its "
            "diagonal"
        )
    return values, vectors
