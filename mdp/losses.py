"""Loss sequences for adversarial MDPs, fixed before the first episode.

Sequences of parameters θ (K, H, d) stand for losses ℓ_{k,h}(s, a) = φ_h(s, a)ᵀ θ_{k,h}. These are
in [0, 1] for features in the simplex (`random_linear_mdp`, `tabular_as_linear`) and θ ∈ [0, 1]ᵈ.
"""

from __future__ import annotations

import numpy as np

from ..core import checks
from ..core.checks import FloatArray
from .models import LinearMDP


def stochastic_losses(
    model: LinearMDP, n_episodes: int, *, rng: np.random.Generator, gap: float = 0.2
) -> FloatArray:
    """θ (K, H, d) with independent coordinates, Bernoulli(½ ± gap), signs fixed at random.

    Args:
        model: gives H and d.
        n_episodes: K >= 1.
        rng: draws the signs, then the coordinates.
        gap: in [0, ½].
    """
    return _bernoulli(model, n_episodes, np.zeros(1), gap, 0.5, rng)


def constrained_losses(
    model: LinearMDP,
    n_episodes: int,
    *,
    rng: np.random.Generator,
    gap: float = 0.2,
    level: float = 0.25,
    n_blocks: int = 16,
) -> FloatArray:
    """A stochastically constrained adversary: the same gaps, around a level that jumps.

    θ (K, H, d) with coordinates Bernoulli(½ ± level ± gap): the first sign alternates from block to
    block. With features in the simplex the level costs every policy the same.

    Args:
        model: gives H and d.
        n_episodes: K >= 1.
        rng: draws the signs of the gaps, then the coordinates.
        gap: at least 0; gap + level at most ½.
        level: at least 0.
        n_blocks: of equal lengths, up to one episode; no more than K are made.
    """
    K = checks.integer(n_episodes, "n_episodes", minimum=1)
    blocks = min(K, checks.integer(n_blocks, "n_blocks", minimum=1))
    height = float(checks.array(level, "level", shape=(), low=0.0, high=0.5))
    signs = np.where(np.arange(K) * blocks // K % 2 == 0, 1.0, -1.0)
    return _bernoulli(model, K, height * signs, gap, 0.5 - height, rng)


def _bernoulli(
    model: LinearMDP,
    n_episodes: int,
    levels: FloatArray,
    gap: float,
    largest: float,
    rng: np.random.Generator,
) -> FloatArray:
    K = checks.integer(n_episodes, "n_episodes", minimum=1)
    size = float(checks.array(gap, "gap", shape=(), low=0.0, high=largest * (1 + 1e-12)))
    shape = (model.horizon, model.dim)
    means = 0.5 + size * np.where(rng.random(shape) < 0.5, -1.0, 1.0)
    return (rng.random((K, *shape)) < means + levels[:, None, None]).astype(np.float64)


def chain_flip(horizon: int, n_episodes: int) -> FloatArray:
    """Losses (K, H, 2, 2) for `chain`: the end of the chain is bad at first, then good.

    Staying on the chain costs 0.55 a layer, all else 0.5. In the last layer the chain costs 0.9 in
    the first quarter of the episodes; then action 1 costs nothing there, action 0 costs 0.6. A
    learner that has stopped going there has to find out. For H <= 6 and 4 episodes or more the best
    fixed policy goes there; longer chains cost more than their end gives back.

    Args:
        horizon: H >= 1.
        n_episodes: K >= 1.
    """
    H = checks.integer(horizon, "horizon", minimum=1)
    K = checks.integer(n_episodes, "n_episodes", minimum=1)
    losses = np.full((K, H, 2, 2), 0.5)
    losses[:, :-1, 0, 1] = 0.55
    losses[: K // 4, -1, 0] = 0.9
    losses[K // 4 :, -1, 0] = [0.6, 0.0]
    return losses
