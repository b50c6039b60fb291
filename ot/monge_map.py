"""Transport maps for any cost, learned with the Monge gap.

A network T_θ is trained to send samples of μ to ν while it moves them optimally for a cost c:

    minimise  S(T♯μ, ν) + λ M_ρ(T) + λ_c E_ρ ‖JF − JFᵀ‖_F²

    S       Sinkhorn divergence of the squared Euclidean cost, whatever c is; its term W(ν, ν) has
            no gradient and is left out
    M_ρ     Monge gap for c of T on a reference measure ρ whose support holds that of μ; ρ = μ
            unless another is given (`monge_gap`)
    F       the field of a structured map T(x) = x − ∇h*(F(x)); it is a gradient if T is optimal

One step: batches x ~ μ, y ~ ν, w ~ ρ; the two solves of S(T(x), y) and that of the gap; gradients
by the envelope theorem, without unrolling; Adam. Both ε are fixed before the first step, as ratios
of mean costs: of y with itself for S, of x to y for the gap.

How the solves are started, and gradients made: `_batch_transport`.

References:
    Uscidda, Cuturi. The Monge gap: a regularizer to learn all transport maps. ICML 2023.
    Settings of the authors' tutorial (OTT-JAX): ratios 0.1 and 0.01, tolerance 1e-3, batches of
    256, Adam with 1e-3, residual networks.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, Literal, Self, TypeAlias, cast, get_args

import torch
from torch import Tensor, nn

from ..core import checks
from ..core.device import resolve
from . import costs
from ._batch_transport import BatchTransport
from .learned_map import Data, Draws, LearnedMap
from .monge_gap import monge_gap
from .networks import MLP, ResidualMap, SphereMap, StructuredMap, conservativity
from .sinkhorn import ConvergenceWarning, require_resolution, resolved_epsilon

Form: TypeAlias = Literal["auto", "residual", "structured", "sphere"]
Penalty: TypeAlias = Literal["gap", "displacement"]
Epsilon: TypeAlias = float | tuple[Literal["mean"], float]
_EXACT_LIMIT = 2048  # points of an exact gap


class MongeMap(LearnedMap):
    """A map from source to target, near to optimal for the cost.

        from fenchel.ot import MongeMap
        mapping = MongeMap(cost="euclidean").fit(source, target)
        moved = mapping.transport(points)

    Args:
        cost: c, a name of `costs.NAMED` or a `costs.Cost`.
        strength: λ >= 0, or a function of the step. Values between 0.1 (squared costs) and 10 are
            usual: more is nearer to optimal, and a little farther from the target.
        form: "residual": x + F(x); "structured": x − ∇h*(F(x)), for costs h(x − y) with h strictly
            convex; "sphere": on the sphere; "auto": "sphere" for that cost, else "residual".
        hidden: widths of F.
        network: T itself, a module (n, d) -> (n, d), instead of `form` and `hidden`; it is copied.
        warm_up: steps over which λ rises to its value, from 0.
        conservativity: λ_c >= 0, for structured maps.
        penalty: "gap", or "displacement": λ E c(x, T(x)), a baseline that pulls T to the identity.
        fit_epsilon: ε of S: a number, or ("mean", r): r times the mean cost of the first target
            batch with itself.
        gap_epsilon: ε of the gap: a number, or ("mean", r): r times the mean c from the first
            source batch to the first target batch.
        tolerance: of the marginal errors of both solves.
        n_steps, batch_size, learning_rate, final_rate, validate_every, n_validation, patience,
            seed, device, dtype, progress: see `LearnedMap`.

    Attributes:
        history: columns "loss", "fit", "gap" (entropic, less its floor ε log n), "strength",
            "iterations" (of the solves of a step), "unsolved" (share of solves beyond the
            tolerance): means over the steps of a row; "divergence" and "exact_gap" on points held
            out.
        constants_: "fit_epsilon" and "gap_epsilon".
    """

    _shown = ("divergence", "exact_gap")

    def __init__(
        self,
        *,
        cost: str | costs.Cost = "sqeuclidean",
        strength: float | Callable[[int], float] = 1.0,
        form: Form = "auto",
        hidden: Sequence[int] = (64, 64, 64),
        network: nn.Module | None = None,
        warm_up: int = 0,
        conservativity: float = 0.0,
        penalty: Penalty = "gap",
        fit_epsilon: Epsilon = ("mean", 0.1),
        gap_epsilon: Epsilon = ("mean", 0.01),
        tolerance: float = 1e-3,
        n_steps: int = 2000,
        batch_size: int = 256,
        learning_rate: float = 1e-3,
        final_rate: float = 1.0,
        validate_every: int = 100,
        n_validation: int = 512,
        patience: int | None = None,
        seed: int = 0,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "float32",
        progress: bool = True,
    ) -> None:
        super().__init__(
            n_steps=n_steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            final_rate=final_rate,
            validate_every=validate_every,
            n_validation=n_validation,
            patience=patience,
            seed=seed,
            device=device,
            dtype=dtype,
            progress=progress,
        )
        for value, name, choices in (
            (form, "form", get_args(Form)),
            (penalty, "penalty", get_args(Penalty)),
        ):
            if value not in choices:
                raise ValueError(f"{name} must be one of {choices}, got {value!r}")
        own = costs.get(cost)
        if form == "structured":
            if not isinstance(own, costs.TranslationCost):
                raise ValueError(f"cost must be h(x − y) for a structured map, got {own}; see form")
            own.conjugate_gradient(torch.zeros(1, 1))  # raises where h is not strictly convex
        if conservativity > 0 and (form != "structured" or network is not None):
            raise ValueError(
                f"conservativity must be 0 unless the form is structured, got {conservativity}; "
                'pass form="structured" and no network'
            )
        if not callable(strength):
            checks.array(strength, "strength", shape=(), low=0.0)
        checks.integer(warm_up, "warm_up", minimum=0)
        checks.array(conservativity, "conservativity", shape=(), low=0.0)
        checks.positive(tolerance, "tolerance")
        for epsilon, name in ((fit_epsilon, "fit_epsilon"), (gap_epsilon, "gap_epsilon")):
            resolved_epsilon(epsilon, torch.ones(()), name)
        self.cost, self.strength, self.form, self.hidden = cost, strength, form, tuple(hidden)
        self.network, self.warm_up, self.conservativity = network, warm_up, conservativity
        self.penalty, self.tolerance = penalty, tolerance
        self.fit_epsilon, self.gap_epsilon = fit_epsilon, gap_epsilon
        self._reference: Draws | None = None
        self._transport = BatchTransport(tolerance)

    def fit(
        self, source: Data, target: Data, *, reference: Data | None = None, resume: bool = False
    ) -> Self:
        """As `LearnedMap.fit`.

        Args:
            source: points (n, d), or a sampler.
            target: likewise.
            reference: ρ, likewise; None: the source.
            resume: see there.
        """
        self._reference = None
        if reference is not None:
            self._reference = Draws(reference, "reference", self, self.seed, hold_out=False)
        super().fit(source, target, resume=resume)
        if len(self.history["unsolved"]) and (share := self.history["unsolved"].mean()) > 0.01:
            warnings.warn(
                f"{share:.0%} of the solves ended before their tolerance; take a larger "
                "gap_epsilon, tolerance or float64",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def _start(self, source: Data, target: Data) -> None:
        super()._start(source, target)
        self._transport = BatchTransport(self.tolerance)

    def _build(self, dim: int) -> nn.ModuleDict:
        if self.network is not None:
            return nn.ModuleDict({"map": deepcopy(self.network)})
        field, own = MLP(dim, self.hidden), costs.get(self.cost)
        if self.form == "structured":
            return nn.ModuleDict({"map": StructuredMap(field, cast(costs.TranslationCost, own))})
        on_sphere = self.form == "sphere" or (self.form == "auto" and isinstance(own, costs.Sphere))
        return nn.ModuleDict({"map": SphereMap(field) if on_sphere else ResidualMap(field)})

    def _prepare(self, x: Tensor, y: Tensor) -> dict[str, float]:
        own = costs.get(self.cost)
        own.check(x, "source")
        own.check(y, "target")
        fit, gap = costs.NAMED["sqeuclidean"].between(y, y).mean(), own.between(x, y).mean()
        constants = {}
        for name, epsilon, mean in (
            ("fit_epsilon", self.fit_epsilon, fit),
            ("gap_epsilon", self.gap_epsilon, gap),
        ):
            resolved = resolved_epsilon(epsilon, mean, name)
            constants[name] = float(require_resolution(resolved, mean, name))
        return constants

    def _moved(self, x: Tensor) -> Tensor:
        assert self.networks_ is not None
        with torch.no_grad():
            return cast(Tensor, self.networks_["map"](x))

    def _step(self, source: Draws, target: Draws) -> dict[str, float]:
        assert self.networks_ is not None
        network = self.networks_["map"]
        x, y = source.batch(), target.batch()
        w = x if self._reference is None else self._reference.batch()
        moved = self._finite(network(x))
        image = moved if w is x else network(w)
        strength = self._strength_now()
        self._transport.solves = []
        fit = self._fitting(moved, y)
        regularizer, gap = self._regularizer(w, image, strength)
        loss = fit + strength * regularizer
        if self.conservativity > 0:
            field = network.field
            loss = loss + self.conservativity * conservativity(field, w, generator=self._probes)
        self._adam["all"].zero_grad(set_to_none=True)
        loss.backward()
        self._adam["all"].step()
        solves = self._transport.solves
        return {
            "loss": float(loss.detach()),
            "fit": float(fit.detach()),
            "gap": gap,
            "strength": strength,
            "iterations": float(sum(one.iterations for one in solves)),
            "unsolved": sum(not one.converged for one in solves) / len(solves),
        }

    def _strength_now(self) -> float:
        strength = self.strength(self.step_) if callable(self.strength) else self.strength
        return float(strength) * min(1.0, (self.step_ + 1) / (self.warm_up + 1))

    def _fitting(self, moved: Tensor, y: Tensor) -> Tensor:
        """S less its constant term."""
        cost, epsilon = costs.NAMED["sqeuclidean"], self.constants_["fit_epsilon"]
        xy = self._transport.value("fit", moved, y, cost, epsilon)
        return xy - 0.5 * self._transport.self_value(moved, cost, epsilon)

    def _regularizer(self, w: Tensor, image: Tensor, strength: float) -> tuple[Tensor, float]:
        """What λ multiplies, and gap_ent − ε log n, which is at least the exact gap, hence 0."""
        own = costs.get(self.cost)
        moved = own.matched(w, image).mean()
        if self.penalty == "displacement" or strength == 0:
            return moved, math.nan
        epsilon = self.constants_["gap_epsilon"]
        gap = moved - self._transport.value("gap", w, image, own, epsilon)
        return gap, float(gap.detach()) + epsilon * math.log(len(w))

    def _measured(self, x: Tensor, y: Tensor, moved: Tensor) -> dict[str, float]:
        n = min(len(x), _EXACT_LIMIT)
        return {"exact_gap": float(monge_gap(x[:n], moved[:n], cost=self.cost, kind="exact"))}

    def _more(self) -> dict[str, Any]:
        return {"transport": self._transport.state()}

    def _restore_more(self, state: dict[str, Any]) -> None:
        self._transport.restore(state["transport"], resolve(self.device))
