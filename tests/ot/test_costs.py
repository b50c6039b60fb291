import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.spatial.distance import cdist

from fenchel.core.checks import FloatArray
from fenchel.ot.costs import (
    NAMED,
    Cosine,
    Cost,
    ElasticL1,
    ElasticSTVS,
    Euclidean,
    PNorm,
    PNormPower,
    Sphere,
    SquaredEuclidean,
    TranslationCost,
    get,
)

deterministic = settings(deadline=None, derandomize=True, max_examples=80)


def stvs_penalty(t: float, strength: float) -> float:
    u = math.asinh(abs(t) / (2 * strength))
    return strength**2 * (u + (1 - math.exp(-2 * u)) / 2)


def norm(z: FloatArray, p: float) -> float:
    return sum(abs(t) ** p for t in z) ** (1 / p)


# c(x, y) by hand, one pair at a time
TRANSLATION: dict[str, tuple[TranslationCost, Any]] = {
    "squared": (SquaredEuclidean(), lambda x, y: sum((x - y) ** 2)),
    "distance": (Euclidean(), lambda x, y: math.sqrt(sum((x - y) ** 2))),
    "1.5-norm": (PNorm(1.5), lambda x, y: norm(x - y, 1.5) ** 2 / 2),
    "2-norm": (PNorm(2.0), lambda x, y: sum((x - y) ** 2) / 2),
    "3-norm": (PNorm(3.0), lambda x, y: norm(x - y, 3.0) ** 2 / 2),
    "power 1.5": (PNormPower(1.5), lambda x, y: sum(abs(x - y) ** 1.5) / 1.5),
    "power 2": (PNormPower(2.0), lambda x, y: sum((x - y) ** 2) / 2),
    "power 4": (PNormPower(4.0), lambda x, y: sum((x - y) ** 4) / 4),
    "elastic": (ElasticL1(0.7), lambda x, y: sum((x - y) ** 2) / 2 + 0.7 * sum(abs(x - y))),
    "elastic, 0": (ElasticL1(0.0), lambda x, y: sum((x - y) ** 2) / 2),
    "STVS": (
        ElasticSTVS(0.4),
        lambda x, y: sum((x - y) ** 2) / 2 + sum(stvs_penalty(t, 0.4) for t in x - y),
    ),
}
DIRECTIONS: dict[str, tuple[Cost, Any]] = {
    "cosine": (Cosine(), lambda x, y: 1 - x @ y / math.sqrt(x @ x * (y @ y))),
    "sphere": (Sphere(), lambda x, y: math.acos(x @ y)),
    "half squared sphere": (Sphere(squared=True), lambda x, y: math.acos(x @ y) ** 2 / 2),
}
COSTS: dict[str, tuple[Cost, Any]] = {**TRANSLATION, **DIRECTIONS}
every_cost = pytest.mark.parametrize("name", COSTS)
every_translation_cost = pytest.mark.parametrize("name", TRANSLATION)
STRICT = [name for name in TRANSLATION if name != "distance"]
every_strictly_convex_cost = pytest.mark.parametrize("name", STRICT)
SMOOTH = [name for name in STRICT if name not in ("elastic", "STVS")]  # differentiable everywhere


def clouds(name: str, n: int = 6, m: int = 5, d: int = 3, seed: int = 0) -> list[FloatArray]:
    """Two clouds, with points of norm 1 for the sphere."""
    rng = np.random.default_rng(seed)
    points = [rng.normal(size=(n, d)), rng.normal(size=(m, d))]
    if "sphere" in name:
        points = [x / np.linalg.norm(x, axis=-1, keepdims=True) for x in points]
    return points


def conjugate(cost: TranslationCost, w: torch.Tensor) -> torch.Tensor:
    """h*(w) = ⟨w, z⟩ − h(z) at z = ∇h*(w), which attains the maximum over z."""
    z = cost.conjugate_gradient(w)
    return (w * z).sum(dim=-1) - cost.h(z)


# Values


@every_cost
def test_matrix_is_the_formula_at_each_pair(name: str) -> None:
    cost, formula = COSTS[name]
    x, y = clouds(name)
    by_hand = [[formula(p, q) for q in y] for p in x]
    np.testing.assert_allclose(cost.matrix(x, y), by_hand, rtol=1e-12, atol=1e-14)


@every_cost
def test_pairs_are_the_diagonal_of_the_matrix(name: str) -> None:
    cost, _ = COSTS[name]
    x, y = clouds(name, 6, 6)
    np.testing.assert_allclose(cost.pairs(x, y), np.diagonal(cost.matrix(x, y)), rtol=1e-12)


@every_cost
def test_costs_are_symmetric_and_nonnegative(name: str) -> None:
    cost, _ = COSTS[name]
    x, y = clouds(name)
    there, back = cost.matrix(x, y), cost.matrix(y, x)
    np.testing.assert_allclose(there, back.T, rtol=1e-13)
    assert (there >= 0).all()
    many = clouds(name, 40, 1, 8)[0].astype(np.float32)
    assert (cost.matrix(many, many) >= 0).all()  # of a sum of squares, rounding may be negative
    if isinstance(cost, TranslationCost):
        z = torch.from_numpy(x)
        torch.testing.assert_close(cost.h(z), cost.h(-z), rtol=0, atol=0)
        torch.testing.assert_close(cost.gradient(z), -cost.gradient(-z), rtol=0, atol=0)


@every_translation_cost
def test_translation_of_both_clouds_changes_nothing(name: str) -> None:
    cost, _ = TRANSLATION[name]
    x, y = clouds(name)
    np.testing.assert_allclose(cost.matrix(x + 5.0, y + 5.0), cost.matrix(x, y), rtol=1e-12)


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean", "cosine"])
def test_named_costs_are_those_of_scipy(metric: str) -> None:
    x, y = clouds(metric, 40, 30, 7)
    np.testing.assert_allclose(get(metric).matrix(x, y), cdist(x, y, metric), rtol=1e-12)


def test_squared_costs_are_those_of_pot() -> None:
    pot = pytest.importorskip("ot")
    x, y = clouds("squared", 40, 30, 7)
    np.testing.assert_allclose(SquaredEuclidean().matrix(x, y), pot.dist(x, y), rtol=1e-11)


def test_families_meet_where_their_parameters_say() -> None:
    x, y = clouds("squared")
    half = SquaredEuclidean().matrix(x, y) / 2
    for cost in (PNorm(2.0), PNormPower(2.0), ElasticL1(0.0), ElasticSTVS(1e-9)):
        np.testing.assert_allclose(cost.matrix(x, y), half, rtol=1e-12)
    np.testing.assert_allclose(Euclidean().matrix(x, y) ** 2 / 2, half, rtol=1e-12)
    line = x[:, :1], y[:, :1]  # on the line all p-norms are |z|
    np.testing.assert_allclose(PNorm(7.0).matrix(*line), PNorm(1.1).matrix(*line), rtol=1e-12)


def test_arcs_are_distances_and_cosines_forget_lengths() -> None:
    x, y = clouds("sphere")
    arcs = Sphere().matrix(x, y)
    np.testing.assert_allclose(Cosine().matrix(3 * x, 0.2 * y), 1 - np.cos(arcs), rtol=1e-12)
    np.testing.assert_allclose(Sphere(squared=True).matrix(x, y), arcs**2 / 2, rtol=1e-13)
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    np.testing.assert_allclose(Sphere().matrix(x @ rotation, y @ rotation), arcs, rtol=1e-12)


# Where points meet


@every_cost
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_identical_points_cost_nothing_and_have_gradient_zero(
    name: str, dtype: torch.dtype
) -> None:
    cost, _ = COSTS[name]
    single = dtype == torch.float32
    floor = {"sphere": math.acos(1 - (1e-6 if single else 1e-7))}  # as documented
    floor["half squared sphere"] = floor["sphere"] ** 2 / 2
    points = torch.from_numpy(clouds(name, 9)[0]).to(dtype)
    x, y = (points.clone().requires_grad_() for _ in range(2))
    matched, matrix = cost.pairs(x, y), cost.matrix(x, y).diagonal()
    expected = torch.full_like(matched, floor.get(name, 0.0))
    rtol = 2e-2 if single else 1e-6  # 1 − 1e-6 has two digits after the nines in float32
    for value in (matched, matrix):  # rounding of ‖x‖² + ‖y‖² − 2 ⟨x, y⟩ may be left
        torch.testing.assert_close(value, expected, rtol=rtol, atol=1e-6 if single else 1e-14)
    for value in (matched, matrix):
        for gradient in torch.autograd.grad(value.sum(), (x, y), retain_graph=True):
            # rounding of normalised points, and of sums of squares, is all that may be left
            torch.testing.assert_close(
                gradient, torch.zeros_like(gradient), rtol=0, atol=1e-5 if single else 1e-13
            )


@every_translation_cost
def test_matched_points_that_meet_cost_exactly_nothing(name: str) -> None:
    cost, _ = TRANSLATION[name]
    z = torch.zeros(4, 3, dtype=torch.float64, requires_grad=True)
    assert (cost.h(z) == 0).all()
    assert (torch.autograd.grad(cost.h(z).sum(), z)[0] == 0).all()
    assert (cost.gradient(z.detach()) == 0).all()
    if name in STRICT:
        assert (cost.conjugate_gradient(z.detach()) == 0).all()


@every_translation_cost
def test_gradients_are_finite_where_single_coordinates_meet(name: str) -> None:
    cost, _ = TRANSLATION[name]
    x = torch.tensor([[0.0, 1.0, 2.0]], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([[0.0, -1.0, 2.0]], dtype=torch.float64)
    for value in (cost.pairs(x, y), cost.matrix(x, y)):
        gradient = torch.autograd.grad(value.sum(), x)[0]
        torch.testing.assert_close(gradient, cost.gradient(x.detach() - y), rtol=1e-12, atol=1e-14)
        assert gradient[0, 0] == gradient[0, 2] == 0


@pytest.mark.parametrize("name", ["sphere", "half squared sphere"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sphere_is_clipped_at_its_poles(name: str, dtype: torch.dtype) -> None:
    cost, _ = DIRECTIONS[name]
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=dtype, requires_grad=True)
    y = torch.tensor([[1.0, 0.0], [0.0, -1.0]], dtype=dtype)  # the same, and opposite
    value = cost.pairs(x, y)
    short = math.acos(1 - (1e-6 if dtype == torch.float32 else 1e-7))
    arcs = torch.tensor([short, math.pi - short], dtype=dtype)
    expected = arcs if name == "sphere" else arcs**2 / 2
    torch.testing.assert_close(value, expected, rtol=2e-2, atol=0)  # of 1 − 1e-6 in float32
    long = value[1].item() if name == "sphere" else math.sqrt(2 * value[1].item())
    assert math.pi - long == pytest.approx(short, rel=2e-2)
    assert (torch.autograd.grad(value.sum(), x)[0] == 0).all()
    scaled = 1.00005 * x.detach()  # within the tolerance for norms, ⟨x, y⟩ beyond 1
    assert torch.isfinite(cost.pairs(scaled, scaled)).all()


# Derivatives


@every_cost
def test_derivatives_are_those_of_finite_differences(name: str) -> None:
    cost, _ = COSTS[name]
    x, y = (torch.from_numpy(z).requires_grad_() for z in clouds(name, 4, 4))
    assert torch.autograd.gradcheck(cost.between, (x, y))
    assert torch.autograd.gradcheck(cost.matched, (x, y))


@every_translation_cost
def test_gradient_is_the_derivative_of_h(name: str) -> None:
    cost, _ = TRANSLATION[name]
    z = torch.from_numpy(clouds(name, 50)[0]).requires_grad_()
    derivative = torch.autograd.grad(cost.h(z).sum(), z)[0]
    torch.testing.assert_close(cost.gradient(z.detach()), derivative, rtol=1e-12, atol=1e-14)


@every_translation_cost
def test_derivative_of_the_matrix_is_that_of_h(name: str) -> None:
    cost, _ = TRANSLATION[name]
    x, y = (torch.from_numpy(z).requires_grad_() for z in clouds(name))
    weights = torch.rand(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    derivatives = torch.autograd.grad((weights * cost.matrix(x, y)).sum(), (x, y))
    rises = weights[..., None] * cost.gradient((x[:, None] - y[None]).detach())
    torch.testing.assert_close(derivatives[0], rises.sum(dim=1), rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(derivatives[1], -rises.sum(dim=0), rtol=1e-11, atol=1e-13)


@every_translation_cost
@pytest.mark.parametrize("entries", [[0.0, 0.0, 0.0], [1.0, 0.0, -2.0]])
def test_maps_have_finite_derivatives_at_zero(name: str, entries: list[float]) -> None:
    cost, _ = TRANSLATION[name]
    z = torch.tensor(entries, dtype=torch.float64, requires_grad=True)
    maps = [cost.gradient] + [cost.conjugate_gradient] * (name in STRICT)
    for one in maps:
        assert torch.isfinite(torch.autograd.grad(one(z).sum(), z)[0]).all()


# Conjugates

coordinates = st.floats(-20, 20).filter(lambda t: t == 0 or abs(t) > 1e-6)
vectors = st.lists(coordinates, min_size=3, max_size=3).map(
    lambda entries: torch.tensor(entries, dtype=torch.float64)
)


@deterministic
@given(st.sampled_from(STRICT), vectors)
def test_gradient_of_the_conjugate_inverts_the_gradient(name: str, z: torch.Tensor) -> None:
    cost, _ = TRANSLATION[name]
    # powers of tiny coordinates, p − 1 and back, lose digits only relative to themselves
    back = cost.conjugate_gradient(cost.gradient(z))
    torch.testing.assert_close(back, z, rtol=1e-10, atol=1e-10)
    if name in SMOOTH:
        forth = cost.gradient(cost.conjugate_gradient(z))
        torch.testing.assert_close(forth, z, rtol=1e-10, atol=1e-10)


@deterministic
@given(st.sampled_from(STRICT), vectors, vectors)
def test_young_inequality_holds(name: str, z: torch.Tensor, w: torch.Tensor) -> None:
    cost, _ = TRANSLATION[name]
    scale = 1 + cost.h(z).abs() + conjugate(cost, w).abs()
    assert cost.h(z) + conjugate(cost, w) >= (w * z).sum() - 1e-13 * scale


@deterministic
@given(st.sampled_from(STRICT), vectors)
def test_young_inequality_is_an_equality_at_the_gradient(name: str, z: torch.Tensor) -> None:
    cost, _ = TRANSLATION[name]
    w = cost.gradient(z)
    total = cost.h(z) + conjugate(cost, w)
    torch.testing.assert_close(total, (w * z).sum(), rtol=1e-11, atol=1e-11)


@deterministic
@given(st.sampled_from(list(TRANSLATION)), vectors, vectors)
def test_h_lies_above_its_tangents(name: str, z: torch.Tensor, other: torch.Tensor) -> None:
    cost, _ = TRANSLATION[name]
    tangent = cost.h(z) + (cost.gradient(z) * (other - z)).sum()
    scale = 1 + cost.h(z).abs() + cost.h(other).abs() + tangent.abs()
    assert cost.h(other) >= tangent - 1e-13 * scale


@every_strictly_convex_cost
def test_conjugate_has_the_derivative_that_attains_it(name: str) -> None:
    cost, _ = TRANSLATION[name]
    w = 2 * torch.from_numpy(clouds(name, 30, seed=3)[0])
    step = 1e-6
    for k in range(3):
        shift = step * torch.eye(3, dtype=torch.float64)[k]
        slope = (conjugate(cost, w + shift) - conjugate(cost, w - shift)) / (2 * step)
        torch.testing.assert_close(slope, cost.conjugate_gradient(w)[:, k], rtol=1e-6, atol=1e-6)


def test_conjugates_of_norms_are_dual_norms() -> None:
    w = torch.from_numpy(clouds("squared", 20)[0])
    for p in (1.5, 2.0, 3.0):
        q = p / (p - 1)
        size = torch.linalg.vector_norm(w, ord=q, dim=-1)
        torch.testing.assert_close(conjugate(PNorm(p), w), size**2 / 2, rtol=1e-12, atol=0)
        torch.testing.assert_close(conjugate(PNormPower(p), w), size**q / q, rtol=1e-12, atol=0)


@pytest.mark.parametrize("strength", [0.05, 0.4, 3.0])
def test_conjugate_gradients_of_elastic_costs_are_proximal_maps(strength: float) -> None:
    w = torch.linspace(-5, 5, 101, dtype=torch.float64)[:, None]  # in one dimension
    size = w.abs()
    soft = torch.sign(w) * torch.clamp(size - strength, min=0)
    vanishing = torch.where(size > strength, w - strength**2 / w, torch.zeros_like(w))
    for cost, closed in ((ElasticL1(strength), soft), (ElasticSTVS(strength), vanishing)):
        torch.testing.assert_close(cost.conjugate_gradient(w), closed, rtol=1e-14, atol=1e-15)
        for t in (-4.9, -strength / 2, 0.3 * strength, 1.3 * strength, 4.0):

            def objective(z: float, cost: TranslationCost = cost, t: float = t) -> float:
                return float(cost.h(torch.tensor([z], dtype=torch.float64))) - t * z

            least = minimize_scalar(objective, bounds=(-6, 6), options={"xatol": 1e-10})
            point = cost.conjugate_gradient(torch.tensor([t], dtype=torch.float64))
            assert objective(float(point)) <= least.fun + 1e-12
            assert float(point) == pytest.approx(least.x, abs=1e-5)


def test_stvs_shrinks_large_displacements_less_than_soft_thresholding() -> None:
    w = torch.tensor([[10.0], [100.0], [1000.0]], dtype=torch.float64)
    one, other = (cost.conjugate_gradient(w) for cost in (ElasticL1(1.0), ElasticSTVS(1.0)))
    torch.testing.assert_close(w - one, torch.ones_like(w), rtol=1e-12, atol=0)
    torch.testing.assert_close(w - other, 1 / w, rtol=1e-9, atol=0)


def test_distances_do_not_determine_maps() -> None:
    with pytest.raises(ValueError, match="strictly convex in x − y, got Euclidean; take PNorm"):
        Euclidean().conjugate_gradient(torch.ones(3))


# Rounding


@every_cost
def test_float32_is_close_to_float64(name: str) -> None:
    cost, _ = COSTS[name]
    x, y = clouds(name, 30, 20, 8)
    single = cost.matrix(x.astype(np.float32), y.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, cost.matrix(x, y), rtol=2e-5)


@every_translation_cost
def test_clouds_far_from_the_origin_keep_their_accuracy_in_float32(name: str) -> None:
    cost, _ = TRANSLATION[name]
    x, y = (np.round(64 * z) / 64 for z in clouds(name, 30, 20))  # sums with 1024 are exact
    near = cost.matrix(x.astype(np.float32), y.astype(np.float32))
    far = cost.matrix((x + 1024).astype(np.float32), (y + 1024).astype(np.float32))
    np.testing.assert_allclose(far, cost.matrix(x, y), rtol=1e-3, atol=1e-3)
    # the means, and so the shift, are known to about 1024 · 6e-8 only
    np.testing.assert_allclose(far, near, rtol=0, atol=2e-5 * np.abs(near).max())


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1e30, 1e200])
def test_norms_neither_overflow_nor_vanish(scale: float) -> None:
    z = torch.from_numpy(clouds("distance", 20)[0])
    for cost in (Euclidean(), PNorm(3.0)):
        torch.testing.assert_close(
            cost.gradient(scale * z) / scale ** (cost != Euclidean()),
            cost.gradient(z),
            rtol=1e-12,
            atol=0,
        )
    torch.testing.assert_close(
        Euclidean().h(scale * z), scale * Euclidean().h(z), rtol=1e-12, atol=0
    )


# Arrays in, arrays out


@every_cost
def test_batches_are_stacks_of_singles(name: str) -> None:
    cost, _ = COSTS[name]
    pairs = [clouds(name, 5, 5, seed=seed) for seed in range(6)]
    x, y = (np.stack(parts).reshape(2, 3, 5, 3) for parts in zip(*pairs, strict=True))
    matrices, matched = cost.matrix(x, y), cost.pairs(x, y)
    assert matrices.shape == (2, 3, 5, 5)
    assert matched.shape == (2, 3, 5)
    for i, j in itertools.product(range(2), range(3)):
        np.testing.assert_allclose(matrices[i, j], cost.matrix(x[i, j], y[i, j]), rtol=1e-12)
        np.testing.assert_allclose(matched[i, j], cost.pairs(x[i, j], y[i, j]), rtol=1e-12)
    shared = cost.matrix(x, y[0, 0])  # one cloud for the whole batch
    np.testing.assert_allclose(shared[1, 2], cost.matrix(x[1, 2], y[0, 0]), rtol=1e-12)


@every_cost
def test_arrays_come_back_as_they_were_given(name: str) -> None:
    cost, _ = COSTS[name]
    x, y = clouds(name, 5, 5)
    for method in (cost.matrix, cost.pairs):
        array = method(x, y)
        assert isinstance(array, np.ndarray)
        tensor = method(torch.from_numpy(x), torch.from_numpy(y))
        assert isinstance(tensor, torch.Tensor)
        np.testing.assert_array_equal(array, tensor.numpy())
        x.flags.writeable = False  # as arrays of models are
        np.testing.assert_array_equal(method(x, y[::-1]), method(x, y[::-1].copy()))
        x.flags.writeable = True


def test_lists_and_integers_are_points_too() -> None:
    np.testing.assert_array_equal(
        get("sqeuclidean").matrix([[0, 0], [3, 4]], [[0, 0]]), [[0], [25]]
    )
    floats = np.zeros((1, 2), np.float32)
    assert get("euclidean").matrix([[3, 4]], floats).dtype == np.float32


def test_names_are_costs_and_costs_are_themselves() -> None:
    assert {name: type(cost) for name, cost in NAMED.items()} == {
        "sqeuclidean": SquaredEuclidean,
        "euclidean": Euclidean,
        "cosine": Cosine,
        "sphere": Sphere,
    }
    for name, cost in NAMED.items():
        assert get(name) is cost
        assert get(cost) is cost
    assert PNorm(1.5) == PNorm(1.5) != PNormPower(1.5)
    with pytest.raises(ValueError, match=r"cost must be a Cost or one of 'sqeuclidean', .*'l1'"):
        get("l1")


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        ([[0.0, np.nan]], [[0.0, 0.0]], ValueError, r"x must be finite, got nan at index \(0, 1\)"),
        ([[0.0]], [[0.0], [np.inf]], ValueError, r"y must be finite, got inf at index \(1, 0\)"),
        ([0.0, 1.0], [[0.0]], ValueError, r"x must have shape \(..., n, d\), got \(2,\); reshape"),
        ([[0.0, 1.0]], [[0.0]], ValueError, r"y must have shape .*like x, got \(1, 1\)"),
        ([[1.0], [1.0, 2.0]], [[0.0]], TypeError, r"x must be an array of real numbers"),
        ([["a"]], [[0.0]], TypeError, r"x must be an array of real numbers"),
        ([[1.0j]], [[0.0]], TypeError, r"x must be an array of real numbers"),
        ([[1.0]], torch.ones(1, 1), TypeError, r"x must be a torch tensor like y, got list; pass"),
        (np.ones((1, 1), np.float32), np.ones((1, 1)), ValueError, r"y must have the dtype of x"),
        (np.ones((1, 1), np.float16), np.ones((1, 1)), ValueError, r"x must be float32 or float64"),
        (torch.ones(1, 1).half(), torch.ones(1, 1).half(), ValueError, r"x must be float32 or"),
        (
            torch.ones(1, 1) + 1j,
            torch.ones(1, 1),
            TypeError,
            r"x must be real, got torch.complex64",
        ),
    ],
)
def test_wrong_points_are_named(x: Any, y: Any, error: type[Exception], message: str) -> None:
    for method in (SquaredEuclidean().matrix, SquaredEuclidean().pairs):
        with pytest.raises(error, match=message):
            method(x, y)


def test_points_that_a_cost_is_not_defined_at_are_refused() -> None:
    x = np.array([[1.0, 0.0], [0.0, 0.0]])
    with pytest.raises(ValueError, match=r"y must have no point at 0, got one at index \(1,\)"):
        Cosine().matrix(x[:1], x)
    with pytest.raises(ValueError, match=r"x must have points of norm 1, got 2 at index \(0,\)"):
        Sphere().pairs(2 * x[:1], x[:1])
    with pytest.raises(ValueError, match="y must have shape"):
        SquaredEuclidean().pairs(x, x[:1])


@pytest.mark.parametrize(
    ("family", "value", "error", "message"),
    [
        (PNorm, 1.0, ValueError, r"p must be .* \(1, inf\), got 1.0"),
        (PNorm, math.inf, ValueError, r"p must be .* got inf"),
        (PNormPower, 0.5, ValueError, r"p must be .* got 0.5"),
        (PNormPower, "2", TypeError, r"p must be a real number, got '2'"),
        (ElasticL1, -0.1, ValueError, r"strength must be .* got -0.1"),
        (ElasticL1, math.nan, ValueError, r"strength must be .* got nan"),
        (ElasticSTVS, 0.0, ValueError, r"strength must be .* got 0.0"),
        (ElasticSTVS, None, TypeError, r"strength must be a real number, got None"),
    ],
)
def test_parameters_are_checked(
    family: Any, value: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        family(value)


@pytest.mark.parametrize("name", COSTS)
@pytest.mark.parametrize("wanted", [(True, False), (False, True), (True, True)])
def test_products_with_the_jacobian_are_those_of_the_graph(
    name: str, wanted: tuple[bool, bool]
) -> None:
    given = [torch.as_tensor(points) for points in clouds(name)]
    x, y = (p.requires_grad_(yes) for p, yes in zip(given, wanted, strict=True))
    P = torch.as_tensor(np.random.default_rng(1).normal(size=(len(x), len(y))))
    cost, _ = COSTS[name]
    C, pullback = cost.vjp(x, y, torch.empty_like(P))
    graph = cost.between(x, y)
    assert not C.requires_grad
    np.testing.assert_allclose(C.numpy(), graph.detach().numpy(), atol=1e-12)
    leaves = [p for p, yes in zip((x, y), wanted, strict=True) if yes]
    slopes = iter(torch.autograd.grad(graph, leaves, P))
    for slope, yes in zip(pullback(P), wanted, strict=True):
        if yes:
            assert slope is not None
            np.testing.assert_allclose(slope.numpy(), next(slopes).numpy(), atol=1e-12)
        else:
            assert slope is None


def test_squared_distances_have_first_and_second_derivatives_in_broadcast_batches() -> None:
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.normal(size=(2, 3, 4)), requires_grad=True)
    y = torch.tensor(rng.normal(size=(5, 4)), requires_grad=True)
    between = SquaredEuclidean().between
    assert torch.autograd.gradcheck(between, (x, y))
    assert torch.autograd.gradgradcheck(between, (x, y))
