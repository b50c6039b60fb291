"""AWR with trees: advantage-weighted regression on a replay buffer.

After every train_freq environment steps, with the present V, for all of the buffer in the order of
time (an episode that was cut off goes on with V of its last state, as does the newest one)

    δ_t = r_t + γ V(s_{t+1}) − V(s_t),   A_t = Σ_k (γλ)^k δ_{t+k},   R_t = A_t + V(s_t)

and then gradient_steps trees, each for a minibatch with the loss of a sample

    −min(exp(A/β), w_max) log π(a | s) − c_H H(π(· | s)) + c_V ½ (V(s) − R)²

References:
    Peng, Kumar, Zhang, Levine. Advantage-weighted regression. 2019.
    Fuhrer, Tessler, Dalal. Gradient boosting reinforcement learning. ICML 2025 (appendix).
Differs from the paper's code: sums of δ stop where an episode was cut off, and go in the order of
time when the buffer is full; actions of a Gaussian are kept as they were drawn, not rescaled.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from torch import Tensor

from ...core import checks
from ...core.checks import FloatArray, IntArray
from .agents import Boosted, Rate
from .params import TreeParams
from .policy import Outputs
from .trees import Float32Array


@numba.njit(cache=True, nogil=True)
def lambda_advantages(
    rewards: FloatArray,
    values: FloatArray,
    next_values: FloatArray,
    terminated: FloatArray,
    done: FloatArray,
    discount: float,
    decay: float,
) -> FloatArray:
    """A of the module docstring, (n, E): time by environment.

    Args:
        rewards: (n, E).
        values: V(s_t), (n, E).
        next_values: V(s_{t+1}), before a reset, (n, E).
        terminated: 1 where s_{t+1} has no value.
        done: 1 where the episode ends, for whatever reason.
        discount: γ.
        decay: λ.
    """
    advantages = np.zeros(rewards.shape)
    for e in range(rewards.shape[1]):
        later = 0.0
        for t in range(len(rewards) - 1, -1, -1):
            delta = rewards[t, e] - values[t, e]
            delta += discount * next_values[t, e] * (1.0 - terminated[t, e])
            later = delta + discount * decay * (1.0 - done[t, e]) * later
            advantages[t, e] = later
    return advantages


_MEANINGLESS = {
    "n_steps", "optimize_memory_usage", "use_sde", "action_noise", "replay_buffer_class",
    "sde_sample_freq", "use_sde_at_warmup", "tau",
}  # fmt: skip


class AWR_GBRL(Boosted, OffPolicyAlgorithm):  # noqa: N801
    """AWR with trees; a gradient step adds one tree, or one to each of two ensembles.

        model = AWR_GBRL("CartPole-v1", seed=0)
        model.learn(100_000)

    Defaults are those of the paper's classic control.

    Args:
        env: a name, an environment, or a VecEnv.
        policy_lr: η of the logits, or of the mean of a Gaussian.
        value_lr: η of the value.
        tree: how trees are grown; None: `TreeParams()`.
        buffer_size: transitions that are kept.
        batch_size: samples a tree.
        train_freq: steps, of all environments together, between updates.
        gradient_steps: trees an update.
        learning_starts: steps with actions at random, before any update.
        beta: β, in units of returns.
        weights_max: w_max.
        gae_lambda: λ.
        normalize_advantage: whether A has mean 0 and deviation 1 in each minibatch.
        ent_coef: c_H.
        vf_coef: c_V.
        more: see `PPO_GBRL`, and the arguments of stable-baselines3's off-policy algorithms.
    """

    replay_buffer: Any
    train_freq: Any

    def __init__(
        self,
        env: Any = None,
        *,
        policy_lr: Rate = 0.05,
        value_lr: Rate = 0.1,
        tree: TreeParams | None = None,
        buffer_size: int = 50_000,
        batch_size: int = 1024,
        train_freq: int = 2000,
        gradient_steps: int = 150,
        learning_starts: int = 1000,
        beta: float = 0.05,
        weights_max: float = 20.0,
        gae_lambda: float = 0.95,
        normalize_advantage: bool = False,
        ent_coef: float = 0.0,
        vf_coef: float = 0.56,
        _init_setup_model: bool = True,
        **more: Any,
    ) -> None:
        self.beta = checks.positive(beta, "beta")
        self.weights_max = checks.positive(weights_max, "weights_max")
        self.gae_lambda = gae_lambda
        self.normalize_advantage = normalize_advantage
        self.ent_coef, self.vf_coef = ent_coef, vf_coef
        self._outputs: Outputs | None = None  # of the rows of the buffer, by place
        self._n_new = 0  # steps that are not there yet
        self._synchronised_at = 0, 0  # place and size of the buffer when they were made
        self.steps_an_update = checks.integer(train_freq, "train_freq", minimum=1)
        if meaningless := sorted(_MEANINGLESS & set(more)):
            raise ValueError(f"{meaningless[0]} has no meaning for AWR with trees; leave it out")
        super().__init__(
            env,
            policy_lr=policy_lr,
            value_lr=value_lr,
            tree=tree,
            buffer_size=buffer_size,
            batch_size=batch_size,
            gradient_steps=checks.integer(gradient_steps, "gradient_steps", minimum=1),
            learning_starts=learning_starts,
            support_multi_env=True,
            sde_support=False,
            **more,
        )
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        if not hasattr(self, "rng"):  # a model that is loaded has it
            self.rng = np.random.default_rng(self.seed)
        self.train_freq = max(1, self.steps_an_update // self.n_envs)
        super()._setup_model()

    # --------------------------------------------------------------------------- transitions

    def _sample_action(
        self, learning_starts: int, action_noise: Any = None, n_envs: int = 1
    ) -> tuple[Any, Any]:
        """Actions for the environments, and as they are kept: without bounds."""
        if self.num_timesteps < learning_starts:
            actions, _ = super()._sample_action(learning_starts, action_noise, n_envs)
            return actions, actions
        obs, _ = self.policy.obs_to_tensor(self._last_obs)
        with torch.no_grad():
            actions = self.policy.get_distribution(obs).get_actions().cpu().numpy()
        actions = actions.reshape(n_envs, *self.action_space.shape)
        if isinstance(self.action_space, spaces.Box):
            return np.clip(actions, self.action_space.low, self.action_space.high), actions
        return actions, actions

    def _setup_learn(self, *arguments: Any, **more: Any) -> Any:
        """Where environments begin anew, the episodes of the buffer were cut off."""
        before = self._last_obs
        found = super()._setup_learn(*arguments, **more)
        buffer = self.replay_buffer
        if self._last_obs is not before and buffer.size():
            last = buffer.pos - 1
            buffer.timeouts[last] = np.where(buffer.dones[last], buffer.timeouts[last], 1.0)
            buffer.dones[last] = 1.0
        return found

    def _store_transition(self, *arguments: Any) -> None:
        super()._store_transition(*arguments)
        self._n_new += 1

    def load_replay_buffer(self, path: Any, truncate_last_traj: bool = True) -> None:
        """As it is, for outputs to be made anew."""
        super().load_replay_buffer(path, truncate_last_traj)
        self._outputs = None
        if self.replay_buffer.n_envs != self.n_envs:
            raise ValueError(
                f"the buffer must be of {self.n_envs} environments, got {self.replay_buffer.n_envs}"
            )

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_outputs"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer"], []

    # ------------------------------------------------------------------------------ training

    def train(self, gradient_steps: int, batch_size: int) -> None:
        """Trees for the buffer as it is."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        outputs = self._synchronised()
        actions, advantages, returns = self._targets(outputs)
        self.policy.kept = outputs
        losses = []
        for _ in range(gradient_steps):
            chosen = self.rng.integers(len(returns), size=batch_size)
            outputs.chosen = chosen, None
            A, R = advantages[chosen], returns[chosen]
            values, log_prob, entropy = self.policy.evaluate_actions(None, actions[chosen])
            if self.normalize_advantage and batch_size > 1:
                A = (A - A.mean()) / (A.std() + 1e-8)
            weights = torch.clamp(torch.exp(A / self.beta), max=self.weights_max)
            policy_loss = -(weights * log_prob).mean()
            value_loss = 0.5 * ((values.flatten() - R) ** 2).mean()
            loss = policy_loss - self.ent_coef * entropy.mean() + self.vf_coef * value_loss
            self.policy.optimizer.zero_grad()
            loss.backward()
            self.policy.optimizer.step()
            losses.append((policy_loss.item(), value_loss.item(), -entropy.mean().item()))
        self._n_updates += gradient_steps
        means = np.mean(losses, axis=0)
        for name, mean in zip(("policy", "value", "entropy"), means, strict=True):
            self.logger.record(f"train/{name}_loss", mean)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/n_trees", self.policy.n_trees)

    def _rows(self, observations: Any, chosen: Any) -> Float32Array:
        """Encoded observations (steps, environments, ..) of the buffer, by an index of steps."""
        if isinstance(observations, dict):
            parts = {name: _flat(part[chosen], 2) for name, part in observations.items()}
            return self.policy.encoder(parts)
        return self.policy.encoder(_flat(observations[chosen], 2))

    def _synchronised(self) -> Outputs:
        """Outputs of all rows of the buffer, those that came since the last update included."""
        buffer, E = self.replay_buffer, self.n_envs
        place, ensembles = self._synchronised_at, self.policy.ensembles
        expected = (place[0] + self._n_new) % buffer.buffer_size, place[1] + self._n_new
        there = buffer.pos, buffer.size()
        if (
            self._outputs is None
            or any(part.ensemble not in ensembles for part in self._outputs.parts)
            or expected[0] != there[0]
            or min(expected[1], buffer.buffer_size) != there[1]
        ):  # the trees, or the buffer, were changed from outside
            self._outputs, self._n_new = None, buffer.size()
        new = min(self._n_new, buffer.size())
        steps = (buffer.pos - new + np.arange(new)) % buffer.buffer_size
        rows = self._rows(buffer.observations, steps)
        if self._outputs is None:
            self._outputs = Outputs(self.policy, rows[:0])
        self._outputs.put((steps[:, None] * E + np.arange(E)).ravel(), rows)
        self._n_new, self._synchronised_at = 0, there
        return self._outputs

    def _targets(self, outputs: Outputs) -> tuple[Tensor, Tensor, Tensor]:
        """Actions, A and R of the rows of the buffer, by place."""
        buffer, n, E = self.replay_buffer, self.replay_buffer.size(), self.n_envs
        time = (np.arange(n) + (buffer.pos if buffer.full else 0)) % n
        by_place = outputs()[:, -1].reshape(n, E)  # V
        values = by_place[time]
        done = buffer.dones[:n][time].astype(np.float64)
        cut = done * buffer.timeouts[:n][time]
        next_values = np.concatenate([values[1:], values[-1:]])
        ends = cut.copy()
        ends[-1] = 1.0
        t, e = np.nonzero(ends * (1.0 - done + cut))
        next_values[t, e] = self._values_after(time[t], e)
        rewards = buffer._normalize_reward(buffer.rewards[:n][time], self._vec_normalize_env)
        advantages = np.empty((n, E))
        advantages[time] = lambda_advantages(
            rewards.astype(np.float64),
            values,
            next_values,
            done - cut,
            done,
            self.gamma,
            self.gae_lambda,
        )
        returns = advantages + by_place
        actions = torch.as_tensor(_flat(buffer.actions[:n], 2), dtype=torch.float32)
        if isinstance(self.action_space, spaces.Discrete):
            actions = actions.long().flatten()
        as_tensor = (torch.as_tensor(a.ravel(), dtype=torch.float32) for a in (advantages, returns))
        return actions, *as_tensor

    def _values_after(self, steps: IntArray, environments: IntArray) -> FloatArray:
        """V(s_{t+1}) by the observations that were kept for it."""
        after = self.replay_buffer.next_observations
        if isinstance(after, dict):
            rows = self.policy.encoder({k: v[steps, environments] for k, v in after.items()})
        else:
            rows = self.policy.encoder(after[steps, environments])
        values: FloatArray = self.policy.outputs(rows)[:, -1]
        return values


def _flat(array: Any, axes: int) -> Any:
    """The first axes as one."""
    return array.reshape(-1, *array.shape[axes:])
