"""SS-ORL: offline RL when most trajectories lack their actions.

    inverse dynamics    p(a_t | s_{t−k}, .., s_t, s_{t+1}), learned from labelled trajectories
    proxy labels        its mean, clipped to the range of actions, for all others
    offline RL          any algorithm on the whole, all transitions alike

Rewards and ends are known everywhere, so are states, and none of them is changed. Self-training
does the same in rounds: those trajectories first of which the inverse model is surest, then again
with these.

Reference:
    Zheng, Henaff, Amos, Grover. Semi-supervised offline reinforcement learning with action-free
    trajectories. ICML 2023.
Differs from its code: the last window of a trajectory has its true next state (there it is a pad),
and the inverse model of the best validation is kept (there the last is).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..core import checks
from ..core.checks import IntArray

if TYPE_CHECKING:
    from .datasets import OfflineDataset
    from .inverse_dynamics import InverseDynamics


@dataclass(frozen=True)
class Split:
    """Which trajectories have their actions.

    Attributes:
        dataset: all trajectories in their order, actions nan where they are taken away.
        labelled: trajectories with actions.
        inside: without, of the same returns as these ("in distribution").
        outside: without, of other returns.
        true_actions: (N, d), as they were.
    """

    dataset: OfflineDataset
    labelled: IntArray
    inside: IntArray
    outside: IntArray
    true_actions: Any

    def rows(self, trajectories: IntArray) -> IntArray:
        """Transitions of some trajectories."""
        bounds = self.dataset.bounds
        return np.concatenate(
            [np.arange(bounds[i], bounds[i + 1]) for i in trajectories] or [np.arange(0)]
        )


def split_labelled(
    dataset: OfflineDataset, quality: float, *, fraction: float = 0.1, rng: np.random.Generator
) -> Split:
    """Actions of trajectories of low return only ("coupled").

    Of the trajectories in the order of their return, undiscounted, the pool is the lowest share q;
    labelled are so many of it, drawn uniformly, as are a fraction of all.

    Args:
        dataset: with all actions.
        quality: q in (0, 1]: at 0.1 only the worst are labelled, at 1 any.
        fraction: of all trajectories, in (0, 1].
        rng: of the draw.

    Raises:
        ValueError: there are too few trajectories for one with actions.
    """
    quality = _share(quality, "quality")
    fraction = _share(fraction, "fraction")
    returns = dataset.returns()
    n, order = len(returns), np.argsort(returns, kind="stable")
    pool = order[: int(n * quality)]
    size = min(len(pool), int(n * fraction))
    if size == 0:
        raise ValueError(
            f"dataset must have so many trajectories that one is labelled, got {n} with "
            f"quality {quality} and fraction {fraction}; take more of them"
        )
    chosen = np.sort(rng.choice(pool, size, replace=False))
    return _split(dataset, chosen, np.setdiff1d(pool, chosen), np.sort(order[len(pool) :]))


def split_decoupled(
    dataset: OfflineDataset,
    labelled: tuple[float, float],
    unlabelled: tuple[float, float],
    *,
    fractions: tuple[float, float] = (0.1, 0.3),
    rng: np.random.Generator,
) -> Split:
    """Labelled and unlabelled trajectories of bands of return that are chosen apart.

    Args:
        dataset: with all actions; trajectories of neither kind are left out.
        labelled: band of the order of returns, such as (0, 1/3), the lowest third.
        unlabelled: likewise; what is labelled already is left out of it.
        fractions: of all trajectories, labelled and unlabelled, at most.
        rng: of the draws.
    """
    order = np.argsort(dataset.returns(), kind="stable")
    n = len(order)
    found: list[IntArray] = []
    for name, band, fraction in zip(
        ("labelled", "unlabelled"), (labelled, unlabelled), fractions, strict=True
    ):
        if not 0 <= band[0] < band[1] <= 1:
            raise ValueError(f"{name} must be a band (low, high) in [0, 1], got {band}")
        there = order[int(n * band[0]) : int(n * band[1])]
        there = np.setdiff1d(there, np.concatenate([*found, np.arange(0)]))
        size = min(len(there), int(n * _share(fraction, "fractions")))
        if size == 0:
            raise ValueError(
                f"{name} must hold a trajectory, got the band {band} and the fraction {fraction} "
                f"of {n}; take more of them"
            )
        found.append(rng.choice(there, size, replace=False))
    kept = np.sort(np.concatenate(found))
    places = [np.flatnonzero(np.isin(kept, one)) for one in found]
    empty = np.arange(0)
    inside, outside = (places[1], empty) if labelled == unlabelled else (empty, places[1])
    return _split(dataset.subset(kept), places[0], inside, outside)


def _split(
    dataset: OfflineDataset, labelled: IntArray, inside: IntArray, outside: IntArray
) -> Split:
    actions = dataset.actions.copy()
    split = Split(dataset, labelled, inside, outside, dataset.actions)
    for one in (inside, outside):
        actions[split.rows(one)] = np.nan
    return Split(dataset.relabel(actions), labelled, inside, outside, dataset.actions)


def _share(value: float, name: str) -> float:
    share = checks.real(value, name, above=0.0)
    if share > 1:
        raise ValueError(f"{name} must be in (0, 1], got {value}")
    return share


class SemiSupervisedOfflineRL:
    """SS-ORL: proxy labels from inverse dynamics, then an offline agent on the whole.

        learner = SemiSupervisedOfflineRL(TD3BC(seed=0), InverseDynamics(seed=0))
        learner.fit(split_labelled(dataset, 0.1, rng=rng).dataset, 200_000)

    Args:
        agent: any of `offline_rl.algorithms`, not fitted yet.
        inverse: the model of inverse dynamics.
        rounds: R; 1: all labels at once. More: self-training, each round labels ⌈n/R⌉ of the n
            trajectories without actions, those of the least mean uncertainty, and the model learns
            anew with them; the last round labels what is left.

    Attributes:
        proxy: the dataset with all labels, after `fit`.
        order: round in which each trajectory was labelled; 0: it had its actions.
    """

    def __init__(self, agent: Any, inverse: InverseDynamics, *, rounds: int = 1) -> None:
        self.agent, self.inverse = agent, inverse
        self.rounds = checks.integer(rounds, "rounds", minimum=1)
        self.proxy: OfflineDataset | None = None
        self.order: IntArray | None = None

    def fit(self, dataset: OfflineDataset, n_steps: int, **more: Any) -> Self:
        """Label what has no actions, and fit the agent.

        Args:
            dataset: actions are nan where they are not known, in whole trajectories or parts.
            n_steps: gradient steps of the agent.
            more: of its `fit`; `progress` of both.
        """
        self.proxy = self.label(dataset, progress=bool(more.get("progress", True)))
        self.agent.fit(self.proxy, n_steps, **more)
        return self

    def label(self, dataset: OfflineDataset, *, progress: bool = True) -> OfflineDataset:
        """The dataset with proxy labels where actions are nan; known ones are kept."""
        bounds = dataset.bounds
        known = dataset.labelled.copy()
        unknown = [i for i in range(len(bounds) - 1) if not known[bounds[i] : bounds[i + 1]].all()]
        self.order = np.zeros(len(bounds) - 1, np.int64)
        size = -(-len(unknown) // self.rounds)
        for number in range(1, self.rounds + 1):
            if not unknown:
                break
            found = self.inverse.fit(dataset, progress=progress).predict(dataset)
            means = [found.uncertainty[bounds[i] : bounds[i + 1]].mean() for i in unknown]
            surest = np.argsort(means, kind="stable")
            chosen = [unknown[j] for j in (surest if number == self.rounds else surest[:size])]
            actions = dataset.actions.copy()
            for i in chosen:
                rows = np.arange(bounds[i], bounds[i + 1])
                rows = rows[~dataset.labelled[rows]]
                actions[rows] = found.actions[rows]
                self.order[i] = number
            dataset = dataset.relabel(actions)
            unknown = [i for i in unknown if i not in set(chosen)]
        return dataset

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = True,
    ) -> tuple[Any, Any]:
        """Of the agent."""
        return self.agent.predict(observation, state, episode_start, deterministic)

    def receive(self, state: Any, rewards: Any) -> Any:
        """The agent's memory after rewards, where it has one."""
        return self.agent.receive(state, rewards) if hasattr(self.agent, "receive") else state


def proxy_error(split: Split, proxy: OfflineDataset) -> dict[str, float]:
    """Mean square of proxy labels less true actions, over dimensions: inside and outside.

    Parts without trajectories are left out.
    """
    square = ((proxy.actions - split.true_actions) ** 2).mean(axis=1)
    parts = {"inside": split.rows(split.inside), "outside": split.rows(split.outside)}
    return {name: float(square[rows].mean()) for name, rows in parts.items() if len(rows)}


def gap(oracle: float, learner: float) -> float:
    """(J_oracle − J)/J_oracle, of normalised scores; nan where the oracle has less than 5."""
    return (oracle - learner) / oracle if abs(oracle) >= 5 else float("nan")


def recovered(oracle: float, baseline: float, learner: float) -> float:
    """(J − J_base)/(J_oracle − J_base), of normalised scores; nan where these are within 5."""
    lost = oracle - baseline
    return (learner - baseline) / lost if abs(lost) >= 5 else float("nan")
