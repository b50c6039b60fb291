"""PPO and A2C with trees: the training loops of stable-baselines3, unchanged, with `policy`.

Reference:
    Fuhrer, Tessler, Dalal. Gradient boosting reinforcement learning. ICML 2025.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import gymnasium
from gymnasium import spaces
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.utils import FloatSchedule, LinearSchedule

from ...core import checks
from .encode import Encoder
from .ensemble import Backend
from .ensemble import LinearSchedule as ByTree
from .params import TreeParams
from .policy import TreeActorCriticPolicy, TreeDictRolloutBuffer, TreeRolloutBuffer

Rate: TypeAlias = float | Callable[[float], float]


class Boosted:
    """What trees need of an algorithm of stable-baselines3: three rates, and their policy.

    Args:
        env: a name, an environment, or a VecEnv.
        policy_lr: η of θ, in logits, or units of the action, a sample; or a function of the share
            of training that is left.
        value_lr: η of V, likewise.
        tree: how trees are grown; None: `TreeParams()`.
        shared: one ensemble for both; False: two.
        policy_grad_clip: largest norm of a sample's ∂ℓ/∂θ; None: any.
        value_grad_clip: largest |∂ℓ/∂V| of a sample; None: any.
        log_std_init: log σ of Gaussians, for Box actions.
        log_std_lr: of Adam for it; None: along a line from 0.0017 to 0.000475, as the paper's
            scripts do.
        categorical: columns of Box observations that name categories.
        backend: see `TreeEnsemble`.
        tree_device: of trees, if they are torch's.
        policy: for stable-baselines3, which passes it when it loads a model.
        device: "cpu", where the few tensors are that there are.
        more: arguments of the algorithm.
    """

    policy: Any

    def __init__(
        self,
        env: Any,
        *,
        policy_lr: Rate,
        value_lr: Rate,
        tree: TreeParams | None,
        shared: bool = True,
        policy_grad_clip: float | None = None,
        value_grad_clip: float | None = None,
        log_std_init: float = -2.0,
        log_std_lr: Rate | None = None,
        categorical: Sequence[int] = (),
        backend: Backend = "numba",
        tree_device: str = "cpu",
        policy: Any = TreeActorCriticPolicy,
        device: str = "cpu",
        **more: Any,
    ) -> None:
        log_std_lr = LinearSchedule(0.0017, 0.000475, 1.0) if log_std_lr is None else log_std_lr
        if device not in ("cpu", "auto"):
            raise ValueError(
                f'device must be "cpu", got {device!r}; for trees say backend="torch" and '
                "tree_device"
            )
        for rate, name in (
            (policy_lr, "policy_lr"),
            (value_lr, "value_lr"),
            (log_std_lr, "log_std_lr"),
        ):
            if isinstance(rate, ByTree):
                raise ValueError(f"{name} must be a function of the share of training that is left")
            if not callable(rate):
                checks.positive(rate, name)
        for clip, name in (
            (policy_grad_clip, "policy_grad_clip"),
            (value_grad_clip, "value_grad_clip"),
        ):
            checks.positive(clip, name, optional=True)
        self.value_lr, self.log_std_lr = value_lr, log_std_lr
        super().__init__(
            policy,
            env,
            learning_rate=policy_lr,
            device="cpu",
            policy_kwargs={
                "tree": tree,
                "shared": shared,
                "policy_grad_clip": policy_grad_clip,
                "value_grad_clip": value_grad_clip,
                "log_std_init": log_std_init,
                "categorical": tuple(categorical),
                "backend": backend,
                "tree_device": tree_device,
            },
            **more,
        )  # type: ignore[call-arg]

    @classmethod
    def load(cls, path: Any, env: Any = None, device: str = "cpu", **more: Any) -> Any:
        """As in stable-baselines3; `policy_lr` and the other rates may be given anew."""
        fixed = {"tree", "shared", "log_std_init", "categorical", "policy_grad_clip"}
        if given := sorted((fixed | {"value_grad_clip", "backend", "tree_device"}) & set(more)):
            raise ValueError(
                f"{given[0]} must be that of the model, got another; clips are in model.policy"
            )
        if "policy_lr" in more:
            more["learning_rate"] = more.pop("policy_lr")
        return super().load(path, env=env, device="cpu", **more)  # type: ignore[misc]

    def set_parameters(self, load_path_or_dict: Any, exact_match: bool = True, **_: Any) -> None:
        """As in stable-baselines3."""
        super().set_parameters(load_path_or_dict, exact_match, device="cpu")  # type: ignore[misc]

    def set_env(self, env: Any, force_reset: bool = True) -> None:
        """As in stable-baselines3."""
        super().set_env(env, force_reset)  # type: ignore[misc]
        self._check_scale()

    @staticmethod
    def _wrap_env(env: Any, verbose: int = 0, monitor_wrapper: bool = True) -> Any:
        if isinstance(env, gymnasium.Env):
            Encoder(env.observation_space)  # says what is wrong with it
        return BaseAlgorithm._wrap_env(env, verbose, monitor_wrapper)

    def _check_scale(self) -> None:
        normalized = self.get_vec_normalize_env()  # type: ignore[attr-defined]
        if normalized is not None and normalized.norm_obs:
            raise ValueError(
                "env must not normalise observations: the thresholds of trees would go stale, and "
                "trees need no scale; use VecNormalize(norm_obs=False)"
            )

    def _setup_model(self) -> None:
        self._check_scale()
        super()._setup_model()  # type: ignore[misc]

    def _update_learning_rate(self, optimizers: Any) -> None:
        super()._update_learning_rate(optimizers)  # type: ignore[misc]  # that of θ, for all
        left = self._current_progress_remaining  # type: ignore[attr-defined]
        rates = self.value_lr, self.log_std_lr
        for group, rate in zip(self.policy.optimizer.param_groups[1:], rates, strict=True):
            group["lr"] = FloatSchedule(rate)(left)
        for group in self.policy.optimizer.param_groups:  # the last rollout may go beyond the end
            group["lr"] = max(0.0, group["lr"])


class Rollouts(Boosted):
    """On-policy algorithms, with a buffer that keeps outputs."""

    rollout_buffer: Any
    rollout_buffer_class: Any
    observation_space: spaces.Space[Any]
    logger: Any

    def _setup_model(self) -> None:
        if self.rollout_buffer_class is None:
            is_dict = isinstance(self.observation_space, spaces.Dict)
            self.rollout_buffer_class = TreeDictRolloutBuffer if is_dict else TreeRolloutBuffer
        super()._setup_model()
        self.rollout_buffer.policy = self.policy

    def train(self) -> None:
        """As it is, with one more number for the log."""
        super().train()  # type: ignore[misc]
        self.logger.record("train/n_trees", self.policy.n_trees)


class PPO_GBRL(Rollouts, PPO):  # noqa: N801  # the name that users know
    """PPO with trees instead of networks.

        from fenchel.mdp.gbrl import PPO_GBRL
        model = PPO_GBRL("CartPole-v1", policy_lr=0.03, value_lr=0.015, seed=0)
        model.learn(100_000)

    A minibatch adds one tree. Defaults are those of the paper's agents. The coefficient of the
    value's loss is half of theirs, as stable-baselines3's loss has no ½.

    Args:
        env: a name, an environment, or a VecEnv.
        policy_lr: η of the logits, or of the mean of a Gaussian.
        value_lr: η of the value.
        tree: how trees are grown; None: `TreeParams()`.
        n_steps: steps of each environment between updates.
        batch_size: samples a tree.
        vf_coef: see above.
        more: shared, policy_grad_clip, value_grad_clip, log_std_init, log_std_lr, categorical,
            backend and tree_device (`Boosted`), and the arguments of `stable_baselines3.PPO`.
    """

    def __init__(
        self,
        env: Any = None,
        *,
        policy_lr: Rate = 0.05,
        value_lr: Rate = 0.005,
        tree: TreeParams | None = None,
        n_steps: int = 256,
        batch_size: int = 128,
        vf_coef: float = 0.4359615,
        **more: Any,
    ) -> None:
        super().__init__(
            env,
            policy_lr=policy_lr,
            value_lr=value_lr,
            tree=tree,
            n_steps=n_steps,
            batch_size=batch_size,
            vf_coef=vf_coef,
            **more,
        )


class A2C_GBRL(Rollouts, A2C):  # noqa: N801
    """A2C with trees instead of networks; a rollout adds one tree.

    Args:
        env: a name, an environment, or a VecEnv.
        policy_lr: η of the logits, or of the mean of a Gaussian.
        value_lr: η of the value.
        tree: how trees are grown; None: `TreeParams()`.
        n_steps: steps of each environment between updates.
        gae_lambda: λ of the advantages.
        normalize_advantage: whether to.
        more: see `PPO_GBRL`, and the arguments of `stable_baselines3.A2C`.
    """

    def __init__(
        self,
        env: Any = None,
        *,
        policy_lr: Rate = 0.1,
        value_lr: Rate = 0.05,
        tree: TreeParams | None = None,
        n_steps: int = 8,
        gae_lambda: float = 1.0,
        normalize_advantage: bool = True,
        **more: Any,
    ) -> None:
        super().__init__(
            env,
            policy_lr=policy_lr,
            value_lr=value_lr,
            tree=tree,
            n_steps=n_steps,
            gae_lambda=gae_lambda,
            normalize_advantage=normalize_advantage,
            use_rms_prop=False,
            **more,
        )
