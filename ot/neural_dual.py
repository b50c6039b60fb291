"""Transport maps for the squared Euclidean cost, as gradients of two convex networks.

By Kantorovich's duality and Brenier's theorem, with f and g convex and f* the conjugate,

    ½ W₂²(μ, ν) = ½ E_μ‖x‖² + ½ E_ν‖y‖² − min_f [E_μ f(x) + E_ν f*(y)],
    f*(y) = max_z ⟨y, z⟩ − f(z) >= ⟨y, ∇g(y)⟩ − f(∇g(y)),   with equality for g = f*,

so that the least of the brackets is min_f max_g J(f, g),

    J(f, g) = E_μ f(x) + E_ν[⟨y, ∇g(y)⟩ − f(∇g(y))],

and at a solution ∇f moves μ to ν optimally, ∇g moves ν to μ, and each is the inverse of the other.
A solution is a saddle point, J(f°, g) <= J(f°, g°) = J(f, g°): the order of min and max does not
change the value. It does change the algorithm: f must not move on before g has followed, since for
a fixed g other than g° the least J over f is −∞ in general.

A step of each method, on batches x ~ μ, y ~ ν:

    "makkuva"   inner_steps times, on new y:  g descends on E_ν[f(∇g(y)) − ⟨y, ∇g(y)⟩] = const − J
                once:                         f descends on E_μ f(x) − E_ν f(∇g(y)) = J + const
    "w2gn"      once, both together:          f descends on E_μ f(x) − E_ν f(∇g(y)) + λ C(f, g)
                                              g descends on λ C(f, g)
                C(f, g) = E_ν‖∇f(∇g(y)) − y‖²

In "w2gn" the derivative of J in g is left out, as in the authors' code. It vanishes where ∇g
inverts ∇f, to which C leads for any λ > 0; elsewhere a descent on J would be wrong, as J is to be
largest in g. If f is strongly convex with modulus β and λ >= 1/(2β), then
E_μ f + E_ν f* <= J + λ C: the penalised value does not fall below the least bracket.

Coordinates. Networks see x̃ = (x − a) P and ỹ = (y − b) Q with P, Q symmetric and P Q = I/s². As
⟨x̃, ỹ⟩ = ⟨x − a, y − b⟩/s², the optimal map between these is that between μ and ν,

    T(x) = b + s² ∇f(x̃) P,   T⁻¹(y) = a + s² ∇g(ỹ) Q,

the gradient of a convex function for any P; J, C and λ are those of x̃ and ỹ. Both networks start
near ½‖·‖², hence T near x ↦ b + s² (x − a) P². From the first batches,

    start = "gaussian"   a, b means of x and y; s² P² = A = Σ_x^{−½} (Σ_x^½ Σ_y Σ_x^½)^½ Σ_x^{−½}:
                         the optimal map between Gaussians of these moments; x̃ and ỹ have one
                         covariance, of trace d
    start = "identity"   a = b the mean of both, P = Q = I/s: the identity

References:
    Makkuva, Taghvaei, Oh, Lee. Optimal transport mapping via input convex neural networks. ICML
    2020. Their code: 10 inner steps, Adam with 1e-4 and β = (0.5, 0.9), batches of 1024.
    Korotin, Egiazarian, Asadulaev, Safin, Burnaev. Wasserstein-2 generative networks. ICLR 2021.
    Takatsu. Wasserstein geometry of Gaussian measures. Osaka J. Math. 48, 2011 (the map A).
Differs from both: weights are kept nonnegative as softplus of parameters, not by clipping or by a
penalty; activations are softplus; the networks see x̃ and ỹ; f and g have equal settings of Adam.
Differs from Korotin et al.: no pretraining to the identity, which the networks start near, and C in
one direction only (their code for Gaussians adds E_μ‖∇g(∇f(x)) − x‖²). Their λ multiplies a mean
over coordinates: min(d, 50) there, the value of that code, is 1 here for d <= 50.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol, TypeAlias, cast, get_args

import torch
from torch import Tensor, nn

from ..core import checks
from ._tensors import Array
from .gaussians import gaussian_map_matrix
from .learned_map import Draws, LearnedMap
from .networks import ICNN

Method: TypeAlias = Literal["makkuva", "w2gn"]
Start: TypeAlias = Literal["gaussian", "identity"]


class Potential(Protocol):
    """A convex function on ℝᵈ with its gradient, such as `networks.ICNN`."""

    def __call__(self, points: Tensor) -> Tensor:
        """Values, (n,), at points (n, d)."""

    def gradient(self, points: Tensor) -> Tensor:
        """Gradients, (n, d), at points (n, d)."""


def dual_objective(f: Potential, g: Potential, x: Tensor, y: Tensor) -> Tensor:
    """J(f, g) = E f(x) + E[⟨y, ∇g(y)⟩ − f(∇g(y))] of the module docstring.

    Args:
        f: potential of the map from x to y.
        g: potential of the map from y to x.
        x: points (n, d) of μ.
        y: points (m, d) of ν.

    Returns:
        J, (); differentiable in the parameters of f and g.
    """
    return f(x).mean() - _inner(f, g.gradient(y), y)


def dual_value(f: Potential, g: Potential, x: Tensor, y: Tensor) -> Tensor:
    """E‖x‖² + E‖y‖² − 2 J(f, g), which is W₂², of the cost ‖x − y‖², at a solution.

    Of the arguments of `dual_objective`. With g = f* it is at most W₂² between the samples; with
    another g it may be more.
    """
    squares = (x * x).sum(dim=-1).mean() + (y * y).sum(dim=-1).mean()
    return squares - 2 * dual_objective(f, g, x, y)


def cycle_error(f: Potential, g: Potential, y: Tensor) -> Tensor:
    """C(f, g) = E‖∇f(∇g(y)) − y‖², (), of points y (m, d): 0 if ∇g inverts ∇f there."""
    return _squared_error(f.gradient(g.gradient(y)), y)


def _inner(f: Potential, back: Tensor, y: Tensor) -> Tensor:
    """E[f(z) − ⟨y, z⟩] for z = ∇g(y), which g minimises."""
    return (f(back) - (y * back).sum(dim=-1)).mean()


def _squared_error(one: Tensor, other: Tensor) -> Tensor:
    return ((one - other) ** 2).sum(dim=-1).mean()


def _powers(matrix: Tensor, *powers: float) -> list[Tensor]:
    """Powers of a symmetric positive matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    values = values.clamp(min=torch.finfo(matrix.dtype).tiny)
    return [(vectors * values**power) @ vectors.T for power in powers]


class _Frame(nn.Module):
    """The coordinates of the module docstring."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        for name, value in (
            ("a", torch.zeros(dim)),
            ("b", torch.zeros(dim)),
            ("P", torch.eye(dim)),
            ("Q", torch.eye(dim)),
            ("scale", torch.ones(())),
        ):
            self.register_buffer(name, value)

    def place(self, x: Tensor, y: Tensor, start: Start) -> None:
        """Fix them from points (n, d) and (m, d)."""
        a, b = x.double().mean(dim=0), y.double().mean(dim=0)
        if start == "gaussian":
            source, target = (_covariance(one.double()) for one in (x, y))
            A = gaussian_map_matrix(source.cpu().numpy(), target.cpu().numpy())
            P, Q = _powers(torch.as_tensor(A, device=x.device), 0.5, -0.5)
            variance = torch.trace(P @ source @ P) / len(a)
        else:
            a = b = 0.5 * (a + b)
            P = Q = torch.eye(len(a), dtype=a.dtype, device=a.device)
            variance = (
                0.5 * (_squared_error(x.double(), a) + _squared_error(y.double(), b)) / len(a)
            )
        scale = variance.sqrt()
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        for name, value in (
            ("a", a),
            ("b", b),
            ("P", P / scale),
            ("Q", Q / scale),
            ("scale", scale),
        ):
            getattr(self, name).copy_(value)

    def source(self, x: Tensor) -> Tensor:
        """x̃."""
        return (x - self.a) @ self.P

    def target(self, y: Tensor) -> Tensor:
        """ỹ."""
        return (y - self.b) @ self.Q

    def to_target(self, slope: Tensor) -> Tensor:
        """The y whose ỹ is a slope of f."""
        return self.b + self.scale**2 * slope @ self.P

    def to_source(self, slope: Tensor) -> Tensor:
        """The x whose x̃ is a slope of g."""
        return self.a + self.scale**2 * slope @ self.Q


def _covariance(points: Tensor) -> Tensor:
    """Shrunk to a multiple of I by the share d/(n + d), so that few points give a regular one."""
    n, d = points.shape
    centred = points - points.mean(dim=0)
    sample = centred.T @ centred / n
    mean = torch.trace(sample) / d
    mean = torch.where(mean > 0, mean, torch.ones_like(mean))
    identity = torch.eye(d, dtype=sample.dtype, device=sample.device)
    return (n * sample + d * mean * identity) / (n + d)


class NeuralDual(LearnedMap):
    """The optimal map for ‖x − y‖² from source to target, as the gradient of a convex network.

        from fenchel.ot import NeuralDual
        mapping = NeuralDual().fit(source, target)
        moved, back = mapping.transport(points), mapping.inverse(other_points)

    Args:
        method: "w2gn" (cycle penalty) or "makkuva" (minimax), whose step costs about five times as
            much with 10 inner steps; see the module docstring.
        start: "gaussian" or "identity": the map that training starts near.
        hidden: widths of both convex networks.
        inner_steps: of g before each of f, for "makkuva".
        cycle_weight: λ > 0 of C, for "w2gn"; a large one slows f down.
        beta1: decay of Adam's mean of gradients, in [0, 1); below its usual 0.9, as each network
            chases the other.
        beta2: that of their squares.
        n_steps: steps of f in all; one of "makkuva" takes inner_steps more of g.
        learning_rate: of Adam, for both. Nonnegative weights w start small, where they are
            exponentials of their parameters: a step changes log w by about this rate, and the
            1e-4 of the authors, for weights that are clipped, would take thousands of steps to
            move them.
        batch_size, final_rate, validate_every, n_validation, patience, seed, device, dtype,
            progress: see `LearnedMap`.

    Attributes:
        history: column "loss": what f descends on, with its constant: J, plus λ C for "w2gn", of x̃
            and ỹ, the mean over the steps of a row; on points held out "divergence", "dual"
            (`dual_value` of x and y, an estimate of W₂²) and "cycle" (100 E‖T(T⁻¹(y)) − y‖²/Var(ν),
            in percent).
        constants_: "scale", s of the module docstring.
    """

    def __init__(
        self,
        *,
        method: Method = "w2gn",
        start: Start = "gaussian",
        hidden: Sequence[int] = (64, 64, 64),
        inner_steps: int = 10,
        cycle_weight: float = 1.0,
        beta1: float = 0.5,
        beta2: float = 0.9,
        n_steps: int = 2000,
        batch_size: int = 256,
        learning_rate: float = 1e-2,
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
            (method, "method", get_args(Method)),
            (start, "start", get_args(Start)),
        ):
            if value not in choices:
                raise ValueError(f"{name} must be one of {choices}, got {value!r}")
        for beta, name in ((beta1, "beta1"), (beta2, "beta2")):
            if not 0 <= checks.real(beta, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {beta}; 0.5 is usual here")
        self.method, self.start = method, start
        self.hidden = tuple(checks.integer(width, "hidden", minimum=1) for width in hidden)
        if not self.hidden:
            raise ValueError(f"hidden must have at least one width, got {hidden!r}; give one")
        self.inner_steps = checks.integer(inner_steps, "inner_steps", minimum=1)
        self.cycle_weight = checks.positive(cycle_weight, "cycle_weight")
        self.beta1, self.beta2 = float(beta1), float(beta2)

    def _build(self, dim: int) -> nn.ModuleDict:
        f, g = ICNN(dim, self.hidden), ICNN(dim, self.hidden)
        return nn.ModuleDict({"f": f, "g": g, "frame": _Frame(dim)})

    def _optimizers(self, networks: nn.ModuleDict) -> dict[str, torch.optim.Optimizer]:
        return {
            name: torch.optim.Adam(
                networks[name].parameters(), lr=self.learning_rate, betas=(self.beta1, self.beta2)
            )
            for name in ("f", "g")
        }

    def _prepare(self, x: Tensor, y: Tensor) -> dict[str, float]:
        _, _, frame = self._parts()
        frame.place(x, y, self.start)
        return {"scale": float(frame.scale)}

    def _parts(self) -> tuple[ICNN, ICNN, _Frame]:
        assert self.networks_ is not None
        f, g, frame = (self.networks_[name] for name in ("f", "g", "frame"))
        return cast(ICNN, f), cast(ICNN, g), cast(_Frame, frame)

    def _step(self, source: Draws, target: Draws) -> dict[str, float]:
        f, g, frame = self._parts()
        x, y = frame.source(source.batch()), frame.target(target.batch())
        if self.method == "makkuva":
            for _ in range(self.inner_steps):
                inner = frame.target(target.batch())
                self._descend(_inner(f, g.gradient(inner), inner), "g")
            with torch.no_grad():
                back = g.gradient(y)
            loss = f(x).mean() - _inner(f, back, y)
            self._descend(loss, "f")
        else:
            back = g.gradient(y)
            cycle = _squared_error(f.gradient(back), y)
            loss = f(x).mean() - _inner(f, back.detach(), y) + self.cycle_weight * cycle
            self._descend(loss, "f", "g")
        return {"loss": float(loss.detach())}

    def _descend(self, loss: Tensor, *names: str) -> None:
        """A step on the parameters of these networks only."""
        assert self.networks_ is not None
        parameters = [one for name in names for one in self.networks_[name].parameters()]
        slopes = torch.autograd.grad(loss, parameters)
        for one, slope in zip(parameters, slopes, strict=True):
            one.grad = slope
        for name in names:
            self._adam[name].step()

    def _moved(self, x: Tensor) -> Tensor:
        f, _, frame = self._parts()
        with torch.no_grad():
            return frame.to_target(f.gradient(frame.source(x)))

    def _moved_back(self, y: Tensor) -> Tensor:
        _, g, frame = self._parts()
        with torch.no_grad():
            return frame.to_source(g.gradient(frame.target(y)))

    def _measured(self, x: Tensor, y: Tensor, moved: Tensor) -> dict[str, float]:
        f, g, frame = self._parts()
        with torch.no_grad():
            J = dual_objective(f, g, frame.source(x), frame.target(y))
            # of the cost ‖x − y‖² = ‖x − b‖² + ‖y − a‖² − ‖a − b‖² − 2 s² ⟨x̃, ỹ⟩
            constant = _squared_error(x, frame.b) + _squared_error(y, frame.a)
            constant = constant - _squared_error(frame.a[None], frame.b)
            cycle = _squared_error(self._moved(self._moved_back(y)), y)
            variance = _squared_error(y, y.mean(dim=0))
        return {
            "dual": float(constant - 2 * frame.scale**2 * J),
            "cycle": 100 * float(cycle / variance),
        }

    def inverse(self, points: Array) -> Any:
        """T⁻¹ of points (..., d), numpy or torch; not differentiable, returned as they came."""
        return self._carried(points, self._moved_back)
