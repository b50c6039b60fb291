"""The Monge gap: closed forms, the order of its kinds, gradients, invariances, OTT-JAX."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fenchel.ot import costs, monge_gap
from fenchel.ot.networks import MLP, SphereMap, StructuredMap, conservativity

KINDS = ("entropic", "kl", "transport", "exact", "debiased")
TIGHT: dict[str, Any] = {"tolerance": 1e-10}
SQUARED = costs.SquaredEuclidean()


def clouds(n: int, d: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((2, n, d))


# closed forms


@given(st.integers(0, 10_000))
def test_on_the_line_the_exact_gap_is_by_sorting(seed: int) -> None:
    x, mapped = clouds(30, 1, seed)
    inner = (np.sort(x, axis=0) * np.sort(mapped, axis=0)).mean() - (x * mapped).mean()
    np.testing.assert_allclose(monge_gap(x, mapped, kind="exact"), 2 * inner, atol=1e-12)
    for p in (1.5, 3.0):
        cost = costs.PNormPower(p)
        moved = cost.pairs(x, mapped).mean()
        least = cost.pairs(np.sort(x, axis=0), np.sort(mapped, axis=0)).mean()
        gap = monge_gap(x, mapped, kind="exact", cost=cost)
        np.testing.assert_allclose(gap, moved - least, atol=1e-12)


def test_gradients_of_convex_functions_have_no_gap() -> None:
    x, z = clouds(60, 3)
    A = z[:3].T @ z[:3]  # positive semidefinite
    assert monge_gap(x, x @ A, kind="exact") == pytest.approx(0.0, abs=1e-12)
    quartic = (x**2).sum(axis=1, keepdims=True) * x  # ∇ ¼ ‖x‖⁴
    assert monge_gap(x, quartic, kind="exact") == pytest.approx(0.0, abs=1e-12)
    rotated = np.stack([-x[:, 1], x[:, 0], x[:, 2]], axis=1)
    assert monge_gap(x, rotated, kind="exact") > 0.5


@pytest.mark.parametrize(
    "cost", ["sqeuclidean", "euclidean", costs.PNorm(1.5), costs.ElasticL1(0.3)]
)
def test_translations_have_no_gap(cost: Any) -> None:
    x, _ = clouds(40, 2)
    moved = x + np.array([1.5, -0.7])
    assert monge_gap(x, moved, cost=cost, kind="exact") == pytest.approx(0.0, abs=1e-12)


def test_reflection_of_a_symmetric_cloud_moves_all_for_nothing() -> None:
    half, _ = clouds(20, 2)
    x = np.vstack([half, -half])
    expected = 4 * (x**2).sum(axis=1).mean()
    np.testing.assert_allclose(monge_gap(x, -x, kind="exact"), expected, rtol=1e-12)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    sphere = costs.Sphere()
    moved = sphere.pairs(unit, -unit).mean() - sphere.pairs(unit, unit).mean()
    gap = monge_gap(unit, -unit, cost=sphere, kind="exact")
    np.testing.assert_allclose(gap, moved, rtol=1e-6)


def test_a_cap_that_turns_about_its_axis_moves_for_little() -> None:
    """Its law does not change, so the gap of many points nears the whole cost, from below."""
    sphere, rng = costs.Sphere(), np.random.default_rng(0)
    before = 0.0
    for n in (50, 200, 800):
        height, turn = rng.uniform(0.5, 1.0, n), rng.uniform(0, 2 * np.pi, n)
        radius = np.sqrt(1 - height**2)
        x, moved = (
            np.stack([radius * np.cos(t), radius * np.sin(t), height], axis=1)
            for t in (turn, turn + 0.5)
        )
        share = monge_gap(x, moved, cost=sphere, kind="exact") / sphere.pairs(x, moved).mean()
        assert before < share < 1
        before = share
    assert before > 0.7


# the kinds


@pytest.mark.parametrize("cost", ["sqeuclidean", "euclidean"])
@pytest.mark.parametrize("weighted", [False, True])
def test_kinds_differ_as_proven(cost: str, weighted: bool) -> None:
    x, mapped = clouds(30, 2)
    a = np.random.default_rng(1).dirichlet(np.ones(30)) if weighted else None
    entropy = math.log(30) if a is None else -float((a * np.log(a)).sum())
    for epsilon in (0.02, 0.3, 3.0):
        gaps = {
            kind: monge_gap(x, mapped, cost=cost, epsilon=epsilon, kind=kind, reference=a, **TIGHT)
            for kind in KINDS
        }
        floor = epsilon * entropy
        np.testing.assert_allclose(gaps["entropic"] - gaps["kl"], 2 * floor, atol=1e-9)
        order = [gaps["kl"], gaps["transport"], gaps["exact"], gaps["entropic"] - floor]
        assert all(one <= other + 1e-9 for one, other in itertools.pairwise(order))
        assert gaps["exact"] >= 0
        assert gaps["entropic"] >= floor


def test_limits_in_epsilon() -> None:
    x, mapped = clouds(25, 2)
    exact = monge_gap(x, mapped, kind="exact")
    errors = [
        abs(monge_gap(x, mapped, epsilon=e, kind="entropic", **TIGHT) - exact)
        for e in (0.3, 0.03, 0.003)
    ]
    assert errors[0] > 5 * errors[1] > 25 * errors[2]
    C = SQUARED.matrix(x, mapped)
    huge = monge_gap(x, mapped, epsilon=1e6, kind="kl", **TIGHT)
    np.testing.assert_allclose(huge, np.diag(C).mean() - C.mean(), rtol=1e-5)


def test_debiased_is_the_divergence_subtracted_and_0_at_the_identity() -> None:
    x, _ = clouds(30, 2)
    assert monge_gap(x, x, epsilon=0.2, kind="debiased", **TIGHT) == pytest.approx(0, abs=1e-9)


def test_squared_cost_makes_it_convex_homogeneous_and_subadditive() -> None:
    x, z = clouds(20, 2)
    w = np.random.default_rng(5).standard_normal((20, 2))

    def gap(mapped: Any, kind: Any) -> float:
        # in the form of inner products: ‖x − T‖² without the squares, which cancel
        return float(monge_gap(x, mapped, epsilon=0.3, kind=kind, **TIGHT))

    for kind in ("exact", "entropic"):
        for share in (0.25, 0.5):
            mixed = gap(share * z + (1 - share) * w, kind)
            assert mixed <= share * gap(z, kind) + (1 - share) * gap(w, kind) + 1e-9
    np.testing.assert_allclose(gap(2.5 * z, "exact"), 2.5 * gap(z, "exact"), rtol=1e-10)
    assert gap(z + w, "exact") <= gap(z, "exact") + gap(w, "exact") + 1e-12


# invariances


@pytest.mark.parametrize("kind", KINDS)
def test_invariances(kind: Any) -> None:
    x, mapped = clouds(25, 2)
    setting: dict[str, Any] = {"kind": kind, **TIGHT}
    gap = monge_gap(x, mapped, epsilon=0.2, **setting)
    order = np.random.default_rng(0).permutation(25)
    angle = 0.7
    R = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    for one, other in ((x[order], mapped[order]), (x + 3, mapped + 3), (x @ R, mapped @ R)):
        np.testing.assert_allclose(monge_gap(one, other, epsilon=0.2, **setting), gap, atol=1e-8)
    scaled = monge_gap(3 * x, 3 * mapped, epsilon=9 * 0.2, **setting)
    np.testing.assert_allclose(scaled, 9 * gap, atol=1e-7)
    doubled = monge_gap(x, mapped, epsilon=0.2, reference=np.full(25, 2 / 25), **setting)
    if kind != "entropic":  # H is that of the plan, whose mass counts
        np.testing.assert_allclose(doubled, 2 * gap, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_its_problems(kind: Any) -> None:
    x, mapped = np.random.default_rng(0).standard_normal((2, 3, 12, 2))
    together = monge_gap(x, mapped, epsilon=0.3, kind=kind, **TIGHT)
    for one, a, b in zip(together, x, mapped, strict=True):
        np.testing.assert_allclose(one, monge_gap(a, b, epsilon=0.3, kind=kind, **TIGHT), atol=1e-9)


# gradients


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cost", ["sqeuclidean", "euclidean", costs.PNorm(1.5)])
def test_gradients_are_finite_differences(kind: Any, cost: Any) -> None:
    x, mapped = (torch.tensor(c) for c in clouds(8, 2, seed=3))

    def gap(points: Any, images: Any) -> Any:
        return monge_gap(points, images, cost=cost, epsilon=0.4, kind=kind, tolerance=1e-11)

    points, images = x.clone().requires_grad_(), mapped.clone().requires_grad_()
    gradients = torch.autograd.grad(gap(points, images), (points, images))
    step = 1e-5
    for which, gradient in enumerate(gradients):
        for i, k in ((0, 0), (3, 1), (7, 0)):
            values = []
            for sign in (1, -1):
                both = [x.clone(), mapped.clone()]
                both[which][i, k] += sign * step
                values.append(float(gap(*both)))
            slope = (values[0] - values[1]) / (2 * step)
            np.testing.assert_allclose(float(gradient[i, k]), slope, atol=2e-6)


def test_gradient_for_the_squared_cost_is_in_closed_form() -> None:
    from fenchel.ot import sinkhorn

    x, mapped = (torch.tensor(c) for c in clouds(20, 3))
    mapped.requires_grad_()
    (gradient,) = torch.autograd.grad(monge_gap(x, mapped, epsilon=0.5, **TIGHT), mapped)
    P = sinkhorn(x, mapped.detach(), epsilon=0.5, **TIGHT).plan
    T = mapped.detach()
    pulls = 2 * (P[:, :, None] * (T[None] - x[:, None])).sum(dim=0)
    np.testing.assert_allclose(gradient, 2 / 20 * (T - x) - pulls, atol=1e-9)


@pytest.mark.parametrize("kind", ["entropic", "kl", "exact", "debiased"])
@pytest.mark.parametrize("cost", ["sqeuclidean", "euclidean", "sphere"])
def test_at_the_identity_gradients_are_finite(kind: Any, cost: str) -> None:
    x = torch.tensor(clouds(10, 3)[0])
    x = x / x.norm(dim=1, keepdim=True)
    mapped = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(monge_gap(x, mapped, cost=cost, kind=kind), mapped)
    assert bool(torch.isfinite(gradient).all())


# bad input


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "entropy"}, "kind must be one of"),
        ({"mapped": np.zeros((4, 3))}, "mapped must have the shape"),
        ({"mapped": np.full((5, 2), np.nan)}, "mapped must be finite"),
        ({"epsilon": 0.0}, "epsilon must be"),
        ({"cost": "l7"}, "cost must be"),
        ({"reference": -np.ones(5)}, "reference must be nonnegative"),
        ({"reference": np.ones(4)}, "reference must have shape"),
        ({"x": np.ones(5), "mapped": np.ones(5)}, "x must have shape"),
        ({"cost": "sphere", "x": np.ones((5, 2))}, "norm 1"),
    ],
)
def test_bad_input_says_what_to_do(change: Any, words: str) -> None:
    arguments = {"x": np.ones((5, 2)), "mapped": np.zeros((5, 2))} | change
    with pytest.raises(ValueError, match=words):
        monge_gap(arguments.pop("x"), arguments.pop("mapped"), **arguments)


# parts of maps


def test_conservativity_is_the_asymmetry_of_the_jacobian() -> None:
    x, _ = (torch.tensor(c) for c in clouds(20_000, 3))
    A = torch.tensor(np.random.default_rng(0).standard_normal((3, 3)))
    linear = nn.Linear(3, 3, bias=False, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        linear.weight.copy_(A + A.T)
    assert float(conservativity(linear, x[:50], generator=generator).detach()) == pytest.approx(
        0, abs=1e-25
    )
    with torch.no_grad():
        linear.weight.copy_(A)
    S = A - A.T
    expected = float((S**2).sum())
    deviation = math.sqrt(2 * float(((S.T @ S) ** 2).sum()) / 20_000)
    found = float(conservativity(linear, x, generator=generator).detach())
    assert abs(found - expected) <= 3 * deviation


@pytest.mark.parametrize(
    "cost", [SQUARED, costs.PNorm(1.5), costs.PNormPower(3.0), costs.ElasticL1(0.2)]
)
def test_structured_maps_invert_the_gradient_of_the_cost(cost: Any) -> None:
    torch.manual_seed(0)
    field = MLP(2, (8,)).double()
    x = torch.tensor(clouds(10, 2)[0])
    z = x - StructuredMap(field, cost)(x)
    moved = z.abs() > 1e-9  # where an elastic map does not move, ∇h is set-valued
    back = cost.gradient(z)
    np.testing.assert_allclose(back[moved].detach(), field(x)[moved].detach(), rtol=1e-6)


def test_maps_of_the_sphere_stay_on_it() -> None:
    torch.manual_seed(0)
    x = torch.nn.functional.normalize(torch.randn(10, 3), dim=1)
    np.testing.assert_allclose(SphereMap(MLP(3, (8,)))(x).norm(dim=1).detach(), 1.0, rtol=1e-6)


# peers


@pytest.mark.parametrize(("tolerance", "agreement"), [(1e-3, 1e-3), (1e-8, 1e-6)])
@pytest.mark.parametrize("cost", ["sqeuclidean", "euclidean"])
def test_agrees_with_ott(tolerance: float, agreement: float, cost: str) -> None:
    jax = pytest.importorskip("jax")
    pytest.importorskip("ott")
    pytest.importorskip("flax")
    from ott.geometry import costs as peer_costs
    from ott.neural.methods.monge_gap import monge_gap_from_samples

    theirs = {"sqeuclidean": peer_costs.SqEuclidean(), "euclidean": peer_costs.Euclidean()}
    x, mapped = clouds(40, 2)
    with jax.enable_x64():
        peer = monge_gap_from_samples(
            jax.numpy.asarray(x),
            jax.numpy.asarray(mapped),
            cost_fn=theirs[cost],
            epsilon=0.3,
            relative_epsilon=None,
            threshold=tolerance,
            max_iterations=20_000,
        )
    ours = monge_gap(x, mapped, cost=cost, epsilon=0.3, tolerance=tolerance)
    np.testing.assert_allclose(ours, float(peer), rtol=agreement)
