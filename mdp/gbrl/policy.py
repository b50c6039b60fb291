"""Tree ensembles as actor-critics in the training loops of stable-baselines3.

    F(s) = (θ(s), V(s)): logits or the mean of a Gaussian, and the value

in one ensemble (shared trees), or in two. The loops are not changed: `evaluate_actions` makes F(s)
of a minibatch a leaf of the graph, so that `loss.backward()` gives ∂L/∂F(s_i) for the mean loss L,
and `optimizer.step()` appends a tree fitted to n ∂L/∂F(s_i) = ∂ℓ_i/∂F(s_i), clipped a row:

    ‖g_i^θ‖ <= policy_grad_clip,   |g_i^V| <= value_grad_clip

During an update F of all rows of the rollout is kept: a tree that is appended is added to them, so
that the trees before it are not walked again (`Outputs`).

The logarithms of the standard deviations of a Gaussian are free parameters, trained by Adam.

Reference:
    Fuhrer, Tessler, Dalal. Gradient boosting reinforcement learning. ICML 2025.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer
from stable_baselines3.common.distributions import (
    BernoulliDistribution,
    CategoricalDistribution,
    DiagGaussianDistribution,
    Distribution,
    MultiCategoricalDistribution,
)
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn

from ...core.checks import FloatArray, IntArray
from .encode import Encoder
from .ensemble import Backend, TreeEnsemble
from .params import TreeParams
from .shap import ShapleyValues, shap_values
from .trees import Float32Array


class TreeActorCriticPolicy(ActorCriticPolicy):
    """F for `PPO_GBRL` and `A2C_GBRL`, which explain its arguments."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Any,
        use_sde: bool = False,
        *,
        tree: TreeParams | None = None,
        shared: bool = True,
        policy_grad_clip: float | None = None,
        value_grad_clip: float | None = None,
        log_std_init: float = -2.0,
        categorical: Sequence[int] = (),
        backend: Backend = "numba",
        tree_device: str = "cpu",
    ) -> None:
        if use_sde:
            raise ValueError("use_sde must be False: trees have no latent features; leave it out")
        self.tree, self.shared = tree or TreeParams(), shared
        self.backend, self.tree_device = backend, tree_device
        self.policy_grad_clip, self.value_grad_clip = policy_grad_clip, value_grad_clip
        self.encoder = Encoder(observation_space, categorical)
        super().__init__(
            observation_space, action_space, lr_schedule, net_arch=[], log_std_init=log_std_init
        )

    def _build(self, lr_schedule: Any) -> None:
        self.n_parameters = _n_parameters(self.action_dist)
        outputs = [self.n_parameters + 1] if self.shared else [self.n_parameters, 1]
        self.ensembles = [
            TreeEnsemble(
                n,
                self.tree,
                categorical=self.encoder.categorical,
                backend=self.backend,
                device=self.tree_device,
            )
            for n in outputs
        ]
        # torch warns where gradients of no parameters are clipped, which the loops do
        self.unused = nn.Parameter(torch.zeros(()), requires_grad=False)
        if isinstance(self.action_dist, DiagGaussianDistribution):
            start = torch.full((self.n_parameters,), float(self.log_std_init))
            self.log_std = nn.Parameter(start)
        self.kept: Outputs | None = None  # of the rows of a buffer
        self.optimizer = BoostingOptimizer(self, lr_schedule(1))

    # ------------------------------------------------------------------------------- outputs

    def outputs(self, rows: Float32Array) -> FloatArray:
        """F of rows, (n, D)."""
        return np.concatenate([ensemble.predict(rows) for ensemble in self.ensembles], axis=1)

    def _output(self, obs: Any) -> Tensor:
        return torch.as_tensor(self.outputs(self.encoder(obs)), dtype=torch.float32)

    def _distribution(self, output: Tensor) -> Distribution:
        parameters = output[:, : self.n_parameters]
        if isinstance(self.action_dist, DiagGaussianDistribution):
            return self.action_dist.proba_distribution(parameters, self.log_std)
        return cast(Distribution, self.action_dist.proba_distribution(parameters))

    def forward(self, obs: Any, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Actions, values and logarithms of probabilities."""
        output = self._output(obs)
        distribution = self._distribution(output)
        actions = distribution.get_actions(deterministic=deterministic)
        shape = -1, *cast(tuple[int, ...], self.action_space.shape)
        return actions.reshape(shape), output[:, -1:], distribution.log_prob(actions)

    def evaluate_actions(self, obs: Any, actions: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Values, logarithms of probabilities, and entropies, on the graph of F(s)."""
        kept = None if self.kept is None else self.kept.take(obs)
        if kept is None:
            rows = self.encoder(obs)
            output = self.outputs(rows)
        else:
            rows, output = kept
        leaf = torch.tensor(output, dtype=torch.float32, requires_grad=True)
        self.optimizer.evaluated = rows, leaf
        distribution = self._distribution(leaf)
        return leaf[:, -1:], distribution.log_prob(actions), distribution.entropy()

    def get_distribution(self, obs: Any) -> Distribution:
        """π(· | s)."""
        return self._distribution(self._output(obs))

    def predict_values(self, obs: Any) -> Tensor:
        """V(s), (n, 1)."""
        return self._output(obs)[:, -1:]

    def explain(self, obs: Any) -> ShapleyValues:
        """What each feature adds to θ and V: `shap_values` of F at observations, one or several.

        phi, base = model.policy.explain(obs)  # (n, features, outputs), (outputs,)
        """
        batch, _ = self.obs_to_tensor(obs)
        rows = self.encoder(batch)
        parts = [shap_values(ensemble, rows) for ensemble in self.ensembles]
        phis, bases = zip(*parts, strict=True)
        return ShapleyValues(np.concatenate(phis, axis=2), np.concatenate(bases))

    # ------------------------------------------------------------------------------ training

    def append(self, rows: Float32Array, gradients: FloatArray, rates: tuple[float, float]) -> None:
        """A tree, or one each, for gradients of F at rows.

        Args:
            rows: (n, F).
            gradients: ∂ℓ_i/∂F(s_i), (n, D).
            rates: of the policy and of the value.
        """
        policy, value = gradients[:, :-1], gradients[:, -1:]
        if self.policy_grad_clip:
            norms = np.linalg.norm(policy, axis=1, keepdims=True)
            policy = policy * np.minimum(1.0, self.policy_grad_clip / np.maximum(norms, 1e-30))
        if self.value_grad_clip:
            value = np.clip(value, -self.value_grad_clip, self.value_grad_clip)
        parts = [np.concatenate([policy, value], axis=1)] if self.shared else [policy, value]
        each = np.repeat(rates, [self.n_parameters, 1])
        all_rates = [each] if self.shared else [each[:-1], each[-1:]]
        for ensemble, part, own in zip(self.ensembles, parts, all_rates, strict=True):
            ensemble.learning_rate = own
            ensemble.step(rows, part)
        if self.kept is not None:
            self.kept.update()

    @property
    def n_trees(self) -> int:
        """In all."""
        return sum(ensemble.n_trees for ensemble in self.ensembles)

    def get_extra_state(self) -> dict[str, Any]:
        """The trees, for `state_dict`."""
        return {
            f"ensemble {i}": {
                name: str(array) if array.dtype.kind == "U" else torch.as_tensor(array)
                for name, array in ensemble.state().items()
            }
            for i, ensemble in enumerate(self.ensembles)
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """From `state_dict`."""
        self.kept = None
        found = [
            TreeEnsemble.from_state(
                {
                    name: np.array(one) if isinstance(one, str) else one.cpu().numpy()
                    for name, one in part.items()
                },
                backend=self.backend,
                device=self.tree_device,
            )
            for part in state.values()
        ]
        wanted = [(e.n_outputs, self.encoder.n_features) for e in self.ensembles]
        given = [(e.n_outputs, e.n_features or self.encoder.n_features) for e in found]
        if given != wanted:
            raise ValueError(
                f"trees must be those of such a policy, with outputs and features {wanted}, got "
                f"{given}"
            )
        self.ensembles = found

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "lr_schedule": self._dummy_schedule,
            "tree": self.tree,
            "shared": self.shared,
            "policy_grad_clip": self.policy_grad_clip,
            "value_grad_clip": self.value_grad_clip,
            "log_std_init": self.log_std_init,
            "categorical": self.encoder.given,
            "backend": self.backend,
            "tree_device": self.tree_device,
        }


class BoostingOptimizer(torch.optim.Optimizer):
    """`step` appends a tree to a policy; groups 0, 1 and 2 have the rates of θ, V and log σ."""

    def __init__(self, policy: TreeActorCriticPolicy, rate: float) -> None:
        groups = [{"params": [nn.Parameter(torch.zeros(()))]} for _ in range(3)]
        super().__init__(groups, {"lr": rate})
        self.policy = policy
        self.evaluated: tuple[Float32Array, Tensor] | None = None
        free = [one for one in policy.parameters() if one.requires_grad]  # log σ, if it is there
        self.adam = torch.optim.Adam(free, lr=rate) if free else None

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Of log σ; the outputs were made since the last step, and have none yet."""
        if self.adam is not None:
            self.adam.zero_grad(set_to_none)

    def step(self, closure: Any = None) -> None:
        """Fit the outputs' gradients, those of the mean loss times n."""
        if self.evaluated is None or self.evaluated[1].grad is None:
            raise RuntimeError("step must follow evaluate_actions and backward; call these first")
        rows, leaf = self.evaluated
        self.evaluated = None
        gradients = leaf.grad.numpy().astype(np.float64) * len(rows)
        free = [one.grad for one in self.policy.parameters() if one.grad is not None]
        if not all(bool(torch.isfinite(g).all()) for g in [leaf.grad, *free]):
            raise FloatingPointError(
                f"the loss has no finite gradient at tree {self.policy.n_trees}, where outputs go "
                f"up to {float(leaf.detach().abs().max()):.2g}: training diverged; lower policy_lr "
                "and value_lr, or set policy_grad_clip and value_grad_clip (or a batch has one "
                "row, of which advantages cannot be normalised)"
            )
        rates = [float(group["lr"]) for group in self.param_groups]
        self.policy.append(rows, gradients, (rates[0], rates[1]))
        if self.adam is not None:
            self.adam.param_groups[0]["lr"] = rates[2]
            self.adam.step()

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {
            "policy": self.policy,
            "adam": self.adam,
            "evaluated": None,
        }

    def state_dict(self) -> dict[str, Any]:
        """Rates, and the state of Adam."""
        more = {} if self.adam is None else {"adam": self.adam.state_dict()}
        return super().state_dict() | more

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As it was."""
        if self.adam is not None:
            self.adam.load_state_dict(state_dict["adam"])
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "adam"})


class Outputs:
    """F of rows, kept while trees are added, for `evaluate_actions` of a policy."""

    def __init__(self, policy: TreeActorCriticPolicy, rows: Float32Array) -> None:
        self.parts = [ensemble.follow(rows) for ensemble in policy.ensembles]
        self.chosen: tuple[Any, Any] | None = None  # places, and the observations of these rows

    def put(self, places: IntArray, rows: Float32Array) -> None:
        """See `Followed.put`."""
        for part in self.parts:
            part.put(places, rows)

    def __call__(self, chosen: Any = slice(None)) -> FloatArray:
        """F of some rows, (n, D)."""
        return np.concatenate([part.values[chosen] for part in self.parts], axis=1)

    def take(self, obs: Any) -> tuple[Float32Array, FloatArray] | None:
        """The rows `chosen`, if these are the observations, and their outputs; once."""
        chosen, self.chosen = self.chosen, None
        if chosen is None or chosen[1] is not obs:
            return None
        return self.parts[0].rows[chosen[0]], self(chosen[0])

    def update(self) -> None:
        """Add the trees that were appended since."""
        for part in self.parts:
            part.update()


class _Kept:
    """A rollout buffer whose outputs are kept in its `policy`, which is set from outside."""

    policy: TreeActorCriticPolicy

    def reset(self) -> None:
        """Forget the rollout."""
        if hasattr(self, "policy"):
            self.policy.kept = None
        super().reset()  # type: ignore[misc]

    def _get_samples(self, batch_inds: Any, env: Any = None) -> Any:
        samples = super()._get_samples(batch_inds, env)  # type: ignore[misc]
        policy = self.policy
        if policy.kept is None:
            policy.kept = Outputs(policy, policy.encoder(self.observations))  # type: ignore[attr-defined]
        policy.kept.chosen = batch_inds, samples.observations
        return samples


class TreeRolloutBuffer(_Kept, RolloutBuffer):
    """A `RolloutBuffer` whose outputs are kept."""


class TreeDictRolloutBuffer(_Kept, DictRolloutBuffer):
    """The same for observations of several parts."""


def _n_parameters(distribution: Distribution) -> int:
    """Of an action distribution, in outputs."""
    if isinstance(distribution, CategoricalDistribution | DiagGaussianDistribution):
        return int(distribution.action_dim)
    if isinstance(distribution, MultiCategoricalDistribution):
        return int(sum(distribution.action_dims))
    assert isinstance(distribution, BernoulliDistribution)
    return int(distribution.action_dims)
