"""S3RL: a model of stable-baselines3 that starts from a teacher's snapshots for a while.

    teacher ── episodes ──> bank ── levels of value ──> resets of the student, cut after L steps

for the first T_snap steps; then the usual resets. The student's algorithm is not changed, and no
action or weight of the teacher reaches it. Returns in these episodes are not those of the task: let
`EvalCallback` measure them, in an environment without snapshots.

Reference:
    Zhao, Qian, Wang, Shan, Qin. Snapshot reinforcement learning. arXiv 2403.00673, 2024.
Differs from its code: snapshots end at the first reset after T_snap, so at most L steps later,
instead of in mid-episode.
"""

from __future__ import annotations

from typing import Any

import gymnasium
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.vec_env import DummyVecEnv

from ...core import checks
from .adapters import access
from .bank import SnapshotBank, collect_snapshots
from .samplers import ClusterSampler, Sampler, UniformSampler
from .values import UnsupportedEnv
from .wrapper import SnapshotReset


class SwitchOff(BaseCallback):
    """Ends the resets to snapshots after a number of steps, and logs how many there were.

        env = make_vec_env(lambda: SnapshotReset(gymnasium.make("Hopper-v5"), sampler))
        TD3("MlpPolicy", env).learn(1_000_000, callback=SwitchOff(100_000))

    Args:
        n_steps: T_snap, steps of all environments together.

    Attributes:
        switched_at: the step at which it was done; None: not yet.
    """

    def __init__(self, n_steps: int = 100_000) -> None:
        super().__init__()
        self.n_steps = checks.integer(n_steps, "n_steps", minimum=0)
        self.switched_at: int | None = None

    def _on_step(self) -> bool:
        if self.switched_at is None and self.num_timesteps >= self.n_steps:
            self._switch()
        return True

    def _switch(self) -> None:
        self.training_env.env_method("set_active", False)
        self.switched_at = self.num_timesteps

    def _on_rollout_end(self) -> None:
        stats = self.training_env.env_method("stats")
        for name in stats[0]:
            self.logger.record(f"snapshot/{name}", sum(one[name] for one in stats))


class S3RL:
    """Trains a model with snapshots of a teacher.

        S3RL(TD3("MlpPolicy", "Hopper-v5", seed=0), teacher).learn(1_000_000)

    Args:
        model: of stable-baselines3, with environments in this process (DummyVecEnv); these are
            wrapped, inside of what counts the student's steps.
        teacher: a bank, or a model or function of the observation, from which ten episodes are
            collected in the first environment of the model, which must be reset thereafter, as a
            `learn` that begins anew does.
        n_steps: T_snap, after which episodes start as usual.
        truncate: L, steps of an episode from a snapshot ("STT"); None: up to the TimeLimit.
        n_clusters: C, levels of value ("SC"); None: snapshots are drawn uniformly.
        sampler: of your own, instead.
        seed: of the teacher's episodes.

    Attributes:
        bank: of snapshots.
        switch: the callback that ends the resets to them, and knows when.
    """

    def __init__(
        self,
        model: Any,
        teacher: Any,
        *,
        n_steps: int = 100_000,
        truncate: int | None = 100,
        n_clusters: int | None = 6,
        sampler: Sampler | None = None,
        seed: int | None = None,
    ) -> None:
        vec_env = model.get_env()
        if vec_env is None or not isinstance(vec_env.unwrapped, DummyVecEnv):
            raise ValueError(
                f"model must have its environments in this process, got {type(vec_env).__name__}; "
                "wrap each by SnapshotReset where it is made, and learn with SwitchOff"
            )
        places = [_place(env) for env in vec_env.unwrapped.envs]
        if isinstance(teacher, SnapshotBank):
            self.bank = teacher
        else:
            self.bank = collect_snapshots(teacher, places[0][1], seed=seed)
        if sampler is None:
            sampler = (
                UniformSampler(self.bank)
                if n_clusters is None
                else ClusterSampler(self.bank, n_clusters)
            )
        for i, (outside, env) in enumerate(places):
            wrapped = SnapshotReset(env, sampler, truncate=truncate, active=n_steps > 0)
            if outside is None:
                vec_env.unwrapped.envs[i] = wrapped
            else:
                outside.env = wrapped
        self.model, self.switch = model, SwitchOff(n_steps)
        if model.seed is not None:
            vec_env.seed(model.seed)  # the next reset seeds the draws

    def learn(self, total_timesteps: int, callback: Any = None, **more: Any) -> Any:
        """`model.learn` with snapshots for its first steps; returns the model."""
        callbacks = [self.switch]
        if callback is not None:
            callbacks += callback if isinstance(callback, list) else [callback]
        self.model.learn(total_timesteps, callback=CallbackList(callbacks), **more)
        return self.model


def _place(env: Any) -> tuple[Any, Any]:
    """The outermost environment of which snapshots can be taken, after what is just outside it."""
    outside = None
    while True:
        try:
            access(env)
        except UnsupportedEnv:
            if not isinstance(env, gymnasium.Wrapper):
                raise
            outside, env = env, env.env
        else:
            return outside, env
