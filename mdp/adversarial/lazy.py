"""Policies of a simulator's states, computed where they are asked for.

Where states cannot be enumerated, π_k(·|s) is found only in states that are visited, from

    C_k(s, a) = Σ_{κ < k} Q̂_κ(s, a) − B_κ(s, a).

Q̂_κ is a function of φ(s, a): the inverses Σ̂†_κ, the features played and the loss to go are kept,
and for the magnitude-reduced estimator the features y of a sample of π_κ, with which m is the mean
of H min{φᵀ Σ̂† y, 0}. The dilated bonus comes from recursive sampling, with n fresh s' ~ P_h(·|s, a)
for each κ, s and a:

    B_κ(s, a) = b_κ(s, a) + (1 + 1/H) mean over s' of Σ_{a'} π_κ(a'|s') B_κ(s', a').

Each s' needs π_κ(·|s') and thus B_1, ..., B_κ there, and so on to the last layer: where states
never repeat, episode k takes time of the order of (n A k)^{H − 1}, and each fresh trajectory for a
covariance of k (n A k)^{H − 2}. What is known of a state is kept.

References:
    Luo, Wei, Lee. Policy optimization in adversarial MDPs: improved exploration via dilated
    bonuses. NeurIPS 2021 (a simulator, bonuses by recursive sampling).
Differs from the paper: the mean over a' is exact.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ...core import checks
from ...core.checks import FloatArray, IntArray
from ...core.potentials import SimplexPotential
from ..models import LinearMDP

if TYPE_CHECKING:
    import numpy.typing as npt

    from .policy_optimization import Tuning

State: TypeAlias = Any  # whatever can be hashed: numbers, tuples, ...


class Simulator(ABC):
    """An MDP that can be sampled; the action values of all policies are linear in its features.

    Layers are counted from 0. The episodes of a learner on it are played by hand, as exact regret
    needs the states enumerated: `(policy,) = learner.act()` for one replication, then
    `policy(layer, state)` in each state, then `learner.update(TrajectoryFeedback(...))` with states
    as an object array (1, H). (`AdversarialMDP` plays those on a `ModelSimulator`.)

    Attributes:
        horizon: H.
        n_actions: A.
        dim: d.
        initial_state: s_1. States can be hashed: numbers, tuples, ...
    """

    horizon: int
    n_actions: int
    dim: int
    initial_state: State

    @abstractmethod
    def features(self, layer: int, state: State) -> FloatArray:
        """φ_h(s, ·), (A, d), norms at most 1, for h = layer + 1."""

    @abstractmethod
    def sample(self, layer: int, state: State, action: int, rng: np.random.Generator) -> State:
        """s' ~ P_h(·|s, a)."""


class ModelSimulator(Simulator):
    """A finite MDP as a simulator; its states are 0, ..., S − 1.

    Args:
        model: the MDP.
    """

    def __init__(self, model: LinearMDP) -> None:
        self.model = model
        self.horizon, self.n_actions, self.dim = model.horizon, model.n_actions, model.dim
        self.initial_state = model.initial_state

    def features(self, layer: int, state: State) -> FloatArray:
        """A row of the model's."""
        return self.model.features[layer, state]

    def sample(self, layer: int, state: State, action: int, rng: np.random.Generator) -> State:
        """By inversion of the distribution function."""
        return draw(self.model.transition[layer, state, action], rng)


def draw(probabilities: FloatArray, rng: np.random.Generator) -> int:
    """An index, never one of probability 0."""
    cumulative = probabilities.cumsum()
    return int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))


@dataclass(frozen=True)
class _Episode:
    """What Q̂ and b of one episode are made of, layer by layer."""

    inverses: FloatArray  # Σ̂†, (H, d, d)
    played: FloatArray  # Σ̂† φ(s_h, a_h), (H, d)
    to_go: FloatArray  # L_h, (H,)
    sample: FloatArray  # Σ̂† y, (n, H, d), or none


@dataclass
class _Known:
    """C and Σ_a π_κ B_κ of one state in one layer, for the episodes taken in so far."""

    features: FloatArray
    cumulative: FloatArray
    values: list[float] = field(default_factory=list)


class LazyPolicy:
    """π_k of one replication: `policy(layer, state)` is the distribution over actions, (A,).

    It goes along with the learner: after an update it is π_{k+1}.

    Args:
        simulator: the MDP.
        potential: ψ.
        tuned: η, β, γ.
        n_samples: n.
        rng: for all that this replication draws.
        replication: its number, for errors.
    """

    def __init__(
        self,
        simulator: Simulator,
        potential: SimplexPotential,
        tuned: Tuning,
        n_samples: int,
        rng: np.random.Generator,
        replication: int,
    ) -> None:
        self.simulator, self.potential, self.tuned = simulator, potential, tuned
        self.n_samples, self._rng, self._replication = n_samples, rng, replication
        self._episodes: list[_Episode] = []
        self._states: list[dict[State, _Known]] = [{} for _ in range(simulator.horizon)]

    def __call__(self, layer: int, state: State) -> FloatArray:
        """π_k(·|s)."""
        return self._distribution(self._known(layer, state, len(self._episodes)))

    def _distribution(self, known: _Known) -> FloatArray:
        scores = -self.tuned.learning_rate * known.cumulative
        if not np.isfinite(scores).all():
            raise FloatingPointError(
                f"replication {self._replication}: the cumulative adjusted losses are not finite; "
                f"is regularization = {self.tuned.regularization:.3g} too small, or learning_rate "
                f"= {self.tuned.learning_rate:.3g} too large?"
            )
        return self.potential.maximizer(scores)

    def _known(self, layer: int, state: State, n_episodes: int) -> _Known:
        """C of the state after at least `n_episodes` episodes."""
        known = self._states[layer].get(state)
        if known is None:
            shape = self.simulator.n_actions, self.simulator.dim
            name = f"features({layer}, {state!r})"
            phi = checks.array(self.simulator.features(layer, state), name, shape=shape)
            if np.linalg.norm(phi, axis=-1).max() > 1 + 1e-9:
                raise ValueError(f"{name} must have norms of at most 1, got {phi}; rescale")
            known = _Known(phi, np.zeros(shape[0]))
            self._states[layer][state] = known
        for k in range(len(known.values), n_episodes):
            self._take_in(k, layer, state, known)
        return known

    def _take_in(self, k: int, layer: int, state: State, known: _Known) -> None:
        """C += Q̂ − B of one episode."""
        H, phi, episode = self.simulator.horizon, known.features, self._episodes[k]
        policy = self._distribution(known)
        x = phi @ episode.played[layer]
        estimates = x * episode.to_go[layer]
        if len(episode.sample) > 0:
            means = np.minimum(phi @ episode.sample[:, layer].T, 0.0).mean(axis=1)
            estimates += H * (means - np.minimum(x, 0.0))
        norms = np.einsum("ai,ij,aj->a", phi, episode.inverses[layer], phi)
        bonuses = self.tuned.bonus_scale * (norms + policy @ norms)
        if layer + 1 < H:
            for a in range(self.simulator.n_actions):
                total = 0.0
                for _ in range(self.n_samples):
                    following = self.simulator.sample(layer, state, a, self._rng)
                    total += self._known(layer + 1, following, k + 1).values[k]
                bonuses[a] += (1 + 1 / H) * total / self.n_samples
        known.values.append(float(policy @ bonuses))
        known.cumulative += estimates - bonuses

    def trajectory(self) -> FloatArray:
        """The features (H, d) of a fresh trajectory of π_k."""
        simulator, H = self.simulator, self.simulator.horizon
        features, state = np.empty((H, simulator.dim)), simulator.initial_state
        for layer in range(H):
            action = draw(self(layer, state), self._rng)
            features[layer] = simulator.features(layer, state)[action]
            if layer + 1 < H:
                state = simulator.sample(layer, state, action, self._rng)
        return features

    def learn(
        self,
        inverses: FloatArray,
        sample: FloatArray,
        states: npt.NDArray[np.object_] | IntArray,
        actions: IntArray,
        losses: FloatArray,
    ) -> None:
        """One more episode.

        Args:
            inverses: Σ̂†, (H, d, d).
            sample: features of fresh trajectories, (n, H, d), for the magnitude-reduced estimator;
                n = 0 for the plain one.
            states: s_h, (H,).
            actions: a_h, (H,).
            losses: ℓ_h, (H,).
        """
        steps = enumerate(zip(states, actions, strict=True))
        phi = np.array([self.simulator.features(h, s)[a] for h, (s, a) in steps])
        self._episodes.append(
            _Episode(
                inverses,
                np.einsum("hij,hj->hi", inverses, phi),
                losses[::-1].cumsum()[::-1],
                np.einsum("hij,nhj->nhi", inverses, sample),
            )
        )
