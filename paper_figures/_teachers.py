"""Trains the teachers of the figures on snapshots, and keeps the best one's bank and actor.

Runs:    python paper_figures/_teachers.py --task Pendulum-v1 --algorithm SAC --size 64-64
Makes:   in paper_figures/banks/, the bank (ten episodes of the mean action, a snapshot every tenth
         step, with the critic's value), the actor (for jump-starts and transitions; not of PPO),
         and how they came about: steps, seeds, returns, versions.
"""

import copy
import json
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import tyro

from fenchel.experiments.provenance import checkout, versions
from fenchel.mdp.snapshot import collect_snapshots
from fenchel.mdp.snapshot.bank import value_function
from fenchel.offline_rl import evaluate
from fenchel.paper_figures._snapshot import (
    FULL,
    SMALL,
    Actor,
    Teacher,
    make_model,
    mean_action,
)

# The usual recipe for the car: SAC with noise that depends on the state, which reaches the goal.
RECIPES: dict[Teacher, dict[str, Any]] = {
    Teacher("MountainCarContinuous-v0", "SAC", SMALL): {
        "learning_rate": 3e-4, "batch_size": 512, "buffer_size": 50_000, "ent_coef": 0.1,
        "train_freq": 32, "gradient_steps": 32, "gamma": 0.9999, "tau": 0.01,
        "learning_starts": 0, "use_sde": True,
        "policy_kwargs": {"log_std_init": -3.67, "net_arch": [64, 64]},
    },
}  # fmt: skip
CHECKS = 20  # evaluations of a teacher, ten episodes each
STEPS = {
    Teacher("MountainCarContinuous-v0", "SAC", SMALL): 50_000,
    Teacher("Pendulum-v1", "SAC", SMALL): 10_000,
    Teacher("Hopper-v5", "PPO", FULL): 500_000,
}  # of those that are not of the paper's 1,000,000


@dataclass(frozen=True)
class Arguments:
    """Which teacher."""

    task: str
    algorithm: str
    size: str = FULL
    n_steps: int | None = None  # None: as for the figures, 1,000,000 of the paper's size
    n_seeds: int = 1  # of which the best is kept


def train_teacher(teacher: Teacher, n_steps: int, seed: int) -> tuple[Any, float]:
    """A model as it was at the best of its evaluations, and the return there."""
    from stable_baselines3.common.callbacks import BaseCallback, EveryNTimesteps

    recipe = RECIPES.get(teacher, {})
    model = make_model(teacher.task, teacher.algorithm, teacher.size, seed, **recipe)
    scores, best = [-np.inf], keep(model)

    class Check(BaseCallback):  # type: ignore[misc]
        def _on_step(self) -> bool:
            nonlocal best
            returns = evaluate(mean_action(model), teacher.task, n_episodes=10, seed=seed)
            found = float(returns.mean())
            print(f"{teacher}, seed {seed}, {self.num_timesteps} steps: {found:.1f}", flush=True)
            if found > max(scores):
                best = keep(model)
            scores.append(found)
            return True

    model.learn(n_steps, callback=EveryNTimesteps(n_steps // CHECKS, Check()))
    put_back(model, best)
    return model, max(scores)


def keep(model: Any) -> tuple[Any, Any]:
    """Weights, and the statistics of observations, if there are any."""
    normalizer = model.get_vec_normalize_env()
    statistics = None if normalizer is None else normalizer.obs_rms
    return copy.deepcopy((model.policy.state_dict(), statistics))


def put_back(model: Any, kept: tuple[Any, Any]) -> None:
    """What `keep` gave."""
    weights, statistics = kept
    model.policy.load_state_dict(weights)
    if statistics is not None:
        model.get_vec_normalize_env().obs_rms = statistics


def main(arguments: Arguments) -> None:
    """Train, choose, collect, and write."""
    teacher = Teacher(arguments.task, arguments.algorithm, arguments.size)
    n_steps, n_seeds = arguments.n_steps or STEPS.get(teacher, 1_000_000), arguments.n_seeds
    found = [train_teacher(teacher, n_steps, seed) for seed in range(10_000, 10_000 + n_seeds)]
    best = max(found, key=lambda one: one[1])[0]
    choose, normalizer = mean_action(best), best.get_vec_normalize_env()
    value: Any = value_function(best)
    bank_steps = 0

    def act(observation: Any) -> Any:
        nonlocal bank_steps
        bank_steps += 1
        return choose(observation)

    def valued(observation: Any) -> float:
        return value(observation if normalizer is None else normalizer.normalize_obs(observation))

    bank = collect_snapshots(act, gymnasium.make(teacher.task), value=valued, seed=20_000)
    teacher.file(".npz").parent.mkdir(exist_ok=True)
    bank.save(teacher.file(".npz"))
    if normalizer is None:
        Actor.of(best).save(teacher.file("-actor.npz"))
    history = {
        "n_steps": n_steps,
        "n_seeds": n_seeds,
        "returns_of_seeds": [score for _, score in found],
        "n_snapshots": len(bank),
        "bank_steps": bank_steps,
        "commit": checkout()["commit"],
        "versions": versions(),
    }
    teacher.file(".json").write_text(json.dumps(history, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
