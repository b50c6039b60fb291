"""Routers of mixtures of experts: projections, semi-duals, limits, symmetries, gates, losses."""

import itertools
import math
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import torch

from fenchel.ot import sparse
from fenchel.ot.router import (
    KINDS,
    Router,
    Routing,
    ascend,
    chance_of_choice,
    semi_dual,
    semi_dual_plan,
    sinkhorn_plan,
    squared_variation,
    topk_simplex,
)

WITH_CAPACITY = [kind for kind in KINDS if kind != "top-k"]


def drawn(*shape: int, seed: int = 0, scale: float = 1.0) -> Any:
    return scale * torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def seeded(seed: int = 0) -> Any:
    return torch.Generator().manual_seed(seed)


def router(kind: Any, *, width: int = 5, n_experts: int = 4, k: int = 1, **options: Any) -> Router:
    return Router(
        width, n_experts, kind=kind, k=k, generator=seeded(3), **options
    ).double()  # fmt: skip


def masses(m: int, n: int) -> Any:
    return torch.ones(m, dtype=torch.float64), torch.full((n,), m / n, dtype=torch.float64)


# ---------------------------------------------------------------------------- the projection


@pytest.mark.parametrize("m", [1, 2, 4, 6])
@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_projection_is_the_best_of_all_supports(m: int, scale: float) -> None:
    points = drawn(20, m, seed=m, scale=scale)
    for k in range(1, m + 1):
        p = topk_simplex(points, k)
        best = np.full(len(points), math.inf)
        for size in range(1, k + 1):
            for support in itertools.combinations(range(m), size):
                x = points[:, list(support)]
                q = x - (x.sum(dim=1, keepdim=True) - 1) / size  # nearest on the affine hull
                distance = ((points**2).sum(dim=1) + ((x - q) ** 2 - x**2).sum(dim=1)).numpy()
                best = np.where((q >= 0).all(dim=1).numpy(), np.minimum(best, distance), best)
        np.testing.assert_allclose(((points - p) ** 2).sum(dim=1), best, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(p.sum(dim=1), 1.0, rtol=1e-12)
        assert (p >= 0).all()
        assert int((p > 0).sum(dim=1).max()) <= k


def test_projection_is_that_of_sparse_plans() -> None:
    points = drawn(7, 3, 12, seed=1)
    for k in (1, 3, 12):
        expected = sparse.project_topk_simplex(points, k=k)
        np.testing.assert_allclose(topk_simplex(points, k), expected, atol=1e-14)


# ----------------------------------------------------------------------------- the semi-dual


@pytest.mark.parametrize("k", [1, 3, 8])
def test_columns_have_exact_sums_and_few_nonzeros(k: int) -> None:
    b = torch.tensor([0.5, 3.0, 7.0], dtype=torch.float64)
    T = semi_dual_plan(drawn(2, 8, seed=1), drawn(2, 8, 3, seed=2), b, k=k, gamma=0.3)
    np.testing.assert_allclose(T.sum(dim=-2), b.expand(2, 3), rtol=1e-12)
    assert int((T > 0).sum(dim=-2).max()) <= k
    assert (T >= 0).all()


@pytest.mark.parametrize("mass", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("k", [2, 6])
def test_gradient_is_that_of_the_value(k: int, mass: float) -> None:
    alpha, scores, step = drawn(6, seed=3), drawn(6, 4, seed=4), 1e-6
    a, b = (mass * torch.from_numpy(np.random.default_rng(n).dirichlet(np.ones(n))) for n in (6, 4))
    steps = torch.cat([step * torch.eye(6), -step * torch.eye(6)]).double()
    values, _ = semi_dual(alpha + steps, scores.expand(12, 6, 4), a, b, k=k, gamma=2.0)
    _, gradient = semi_dual(alpha, scores, a, b, k=k, gamma=2.0)
    differences = (values[:6] - values[6:]) / (2 * step)
    np.testing.assert_allclose(gradient, differences, atol=1e-7 * max(1.0, mass))  # no ties near
    shifted, _ = semi_dual(alpha + 5.0, scores, a, b, k=k, gamma=2.0)
    value, _ = semi_dual(alpha, scores, a, b, k=k, gamma=2.0)
    np.testing.assert_allclose(shifted, value, rtol=1e-12)


def test_semi_dual_bounds_the_value_of_every_sparse_plan() -> None:
    scores = drawn(4, 4, seed=5)
    a, b = masses(4, 4)
    value, _ = semi_dual(drawn(50, 4, seed=6), scores.expand(50, 4, 4), a, b, k=2, gamma=1.0)
    for first, second in itertools.product(itertools.permutations(range(4)), repeat=2):
        T = (torch.eye(4)[list(first)] + torch.eye(4)[list(second)]).double() / 2
        assert (value <= -(T * scores).sum() + (T * T).sum() / 2 + 1e-12).all()


def test_long_runs_of_adam_reach_the_quadratic_plan() -> None:
    m, n, gamma = 6, 3, 1.0
    S = torch.softmax(drawn(m, n, seed=7, scale=2.0), dim=-1)
    a, b = masses(m, n)
    alpha = ascend(S, a, b, k=m, gamma=gamma, iterations=2000, learning_rate=1e-3)
    T = semi_dual_plan(alpha, S, b, k=m, gamma=gamma)
    P = cp.Variable((m, n), nonneg=True)
    value = cp.sum(cp.multiply(P, -S.numpy())) + gamma / 2 * cp.sum_squares(P)
    problem = cp.Problem(cp.Minimize(value), [P.sum(axis=1) == 1, P.sum(axis=0) == m / n])
    problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    np.testing.assert_allclose(T, P.value, atol=1e-5)  # of Clarabel


@pytest.mark.parametrize(("k", "gamma"), [(12, 1.0), (8, 0.05), (4, 1.0)])
def test_long_runs_of_adam_reach_the_bound_and_without_ties_the_sparse_plan(
    k: int, gamma: float
) -> None:
    m, n = 12, 4
    S, (a, b) = torch.softmax(drawn(m, n, seed=8), dim=-1), masses(m, n)
    exact = sparse.sparse_plan(-S, a, b, k=k, gamma=gamma)
    alpha = ascend(S, a, b, k=k, gamma=gamma, iterations=2500, learning_rate=4e-4)
    value, _ = semi_dual(alpha, S, a, b, k=k, gamma=gamma)
    assert exact.dual_value - 1e-3 <= value <= exact.dual_value + 1e-8  # steps are of 4e-4
    if exact.status == "optimal":
        T = semi_dual_plan(alpha, S, b, k=k, gamma=gamma)
        np.testing.assert_allclose(T, exact.plan, atol=1e-5)
    else:
        assert k < m


def test_twenty_steps_of_adam_are_those_of_torch() -> None:
    S, (a, b) = torch.softmax(drawn(16, 4, seed=9), dim=-1), masses(16, 4)
    alpha = torch.zeros(16, dtype=torch.float64)
    optimizer = torch.optim.Adam([alpha], lr=1e-2)
    for _ in range(20):
        alpha.grad = -semi_dual(alpha, S, a, b, k=5, gamma=1.0)[1]
        optimizer.step()
    np.testing.assert_allclose(ascend(S, a, b, k=5, gamma=1.0), alpha, atol=1e-12)


def test_rounding_moves_no_potential_that_is_optimal() -> None:
    S = torch.softmax(drawn(64, 8, seed=1, scale=0.1).float(), dim=-1)  # all of T is positive
    a, b = (mass.float() for mass in masses(64, 8))
    assert torch.equal(ascend(S, a, b, k=64, gamma=1.0), torch.zeros(64))


def test_sinkhorn_scales_rows_and_columns_of_the_exponential() -> None:
    L, (a, b) = drawn(2, 9, 3, seed=10), masses(9, 3)
    T = sinkhorn_plan(L, a, b, iterations=200)
    np.testing.assert_allclose(T.sum(dim=-2), b.expand(2, 3), rtol=1e-12)
    np.testing.assert_allclose(T.sum(dim=-1), a.expand(2, 9), rtol=1e-10)
    ratios = T.log() - L  # f_i + g_j
    centred = ratios - ratios.mean(dim=-1, keepdim=True) - ratios.mean(dim=-2, keepdim=True)
    np.testing.assert_allclose(centred + ratios.mean(dim=(-1, -2), keepdim=True), 0, atol=1e-12)


# -------------------------------------------------------------------------------- the router


@pytest.mark.parametrize("kind", WITH_CAPACITY)
@pytest.mark.parametrize("factor", [0.3, 1.0, 1.3])
@pytest.mark.parametrize("m", [1, 7, 40])
def test_no_expert_has_more_tokens_than_its_capacity(kind: str, factor: float, m: int) -> None:
    one = router(kind, n_experts=3, capacity_factor=factor)
    tokens = drawn(5, m, 5, seed=m, scale=4.0) + 2.0  # most would like the same expert
    routing = one(tokens)
    C = one.capacity(m)
    assert C % 4 == 0
    assert factor * m / 3 <= C < factor * m / 3 + 4 + 1e-9
    assert int(routing.load.max()) <= C
    assert torch.equal(routing.load, routing.dispatch.sum(dim=1))
    nobody = (routing.dispatch.sum(dim=-1) == 0).double().mean()
    assert float(routing.dropped) == float(nobody)


def test_capacity_is_not_rounded_up_by_rounding_errors() -> None:
    one = router("sparse", n_experts=10, capacity_factor=1.2)  # 1.2 · 100/10 = 12
    assert [one.capacity(m) for m in (1, 100, 101)] == [4, 12, 16]


@pytest.mark.parametrize("kind", ["sparse-rows", "top-k"])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_tokens_choose_at_most_k_experts(kind: str, k: int) -> None:
    routing = router(kind, k=k, capacity_factor=float(k))(drawn(3, 20, 5), seeded())
    assert int(routing.dispatch.sum(dim=-1).max()) <= k
    if kind == "top-k":
        assert (routing.dispatch.sum(dim=-1) == k).all()
        assert float(routing.dropped) == 0
    else:
        assert int((routing.plan > 0).sum(dim=-1).max()) <= k
        np.testing.assert_allclose(routing.plan.sum(dim=-1), 1.0, rtol=1e-12)


def test_experts_have_at_most_capacity_nonzeros_in_a_sparse_plan() -> None:
    one = router("sparse", capacity_factor=1.5)
    routing = one(drawn(3, 32, 5, scale=3.0))
    assert int((routing.plan > 0).sum(dim=1).max()) <= one.capacity(32) == 12
    assert torch.equal(routing.dispatch, routing.plan > 0)
    np.testing.assert_allclose(routing.plan.sum(dim=1), 8.0, rtol=1e-12)


def test_expert_choice_takes_the_largest_scores() -> None:
    one = router("expert-choice")
    tokens = drawn(2, 16, 5)
    scores = torch.softmax(tokens @ one.weight, dim=-1)
    routing = one(tokens)
    assert (routing.load == 4).all()
    rest = scores.masked_fill(routing.dispatch, -1.0).amax(dim=1)
    assert (scores.masked_fill(~routing.dispatch, 2.0).amin(dim=1) >= rest).all()


@pytest.mark.parametrize("kind", KINDS)
def test_gates_are_scores_on_the_dispatch_and_differentiable(kind: str) -> None:
    one = router(kind, k=2, capacity_factor=2.0).eval()
    tokens = drawn(2, 12, 5)
    routing = one(tokens)
    assert isinstance(routing, Routing)
    assert not routing.plan.requires_grad
    scores = torch.softmax(tokens @ one.weight, dim=-1).detach()
    np.testing.assert_array_equal(routing.gates.detach(), scores * routing.dispatch)
    target = drawn(2, 12, 4, seed=1)
    (routing.gates * target).sum().backward()
    step, direction = 1e-6, drawn(5, 4, seed=2)  # small: the dispatch stays
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            W = one.weight + sign * step * direction
            values.append((torch.softmax(tokens @ W, -1) * routing.dispatch * target).sum())
    difference = float(values[0] - values[1]) / (2 * step)
    assert abs(float((one.weight.grad * direction).sum()) - difference) <= 1e-7
    assert float(one.weight.grad.abs().sum()) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_logits_of_a_token_may_be_shifted(kind: str) -> None:
    one = router(kind, width=5).eval()
    tokens = torch.cat([drawn(2, 12, 4), torch.zeros(2, 12, 1, dtype=torch.float64)], dim=-1)
    with torch.no_grad():
        one.weight[-1] = 1.0  # the last feature is added to all logits
    before = one(tokens).dispatch
    tokens[..., -1] = drawn(2, 12, seed=1, scale=2.0)
    assert torch.equal(one(tokens).dispatch, before)


@pytest.mark.parametrize("kind", KINDS)
def test_permuted_tokens_and_experts_have_permuted_routings(kind: str) -> None:
    options: Any = {"k": 2, "capacity_factor": 1.5, "iterations": 5}  # Adam may multiply rounding
    one, other = (router(kind, **options).eval() for _ in range(2))  # errors by 5 a step
    tokens, rng = drawn(2, 24, 5), np.random.default_rng(0)
    order, experts = torch.from_numpy(rng.permutation(24)), torch.from_numpy(rng.permutation(4))
    with torch.no_grad():
        other.weight.copy_(one.weight[:, experts])
    expected, routing = one(tokens), other(tokens[:, order])
    assert torch.equal(routing.dispatch, expected.dispatch[:, order][..., experts])
    plan, gates = (x[:, order][..., experts].detach() for x in (expected.plan, expected.gates))
    np.testing.assert_allclose(routing.plan, plan, atol=1e-10)
    np.testing.assert_allclose(routing.gates.detach(), gates, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_groups_do_not_see_each_other(kind: str) -> None:
    one = router(kind, iterations=5).eval()
    tokens = drawn(4, 16, 5)
    together = one(tokens)
    for i in range(4):
        alone = one(tokens[i : i + 1])
        assert torch.equal(alone.dispatch[0], together.dispatch[i])
        np.testing.assert_allclose(alone.plan[0], together.plan[i], atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_results_have_the_dtype_of_the_router(kind: str, dtype: torch.dtype) -> None:
    one = router(kind).to(dtype)
    routing = one(drawn(2, 16, 5).to(dtype), seeded())
    for tensor in (routing.gates, routing.plan, routing.auxiliary_loss, routing.dropped):
        assert tensor.dtype == dtype
        assert torch.isfinite(tensor).all()
    assert routing.dispatch.dtype == torch.bool
    assert routing.auxiliary_loss.shape == ()


def test_float32_and_float64_agree() -> None:
    tokens = drawn(2, 32, 5)
    for kind in KINDS:
        options: Any = {"iterations": 5}
        fine, coarse = router(kind, **options).eval(), router(kind, **options).float().eval()
        same = fine(tokens).dispatch == coarse(tokens.float()).dispatch
        assert float(same.double().mean()) >= 0.99, kind  # rounding decides near ties


def test_huge_and_equal_logits_are_routed() -> None:
    for kind in KINDS:
        one = router(kind).eval()
        for scale in (0.0, 1e4):
            routing = one(drawn(2, 16, 5, scale=scale))
            assert torch.isfinite(routing.gates).all()
            assert torch.isfinite(routing.plan).all()
            if kind != "top-k":
                assert int(routing.load.max()) <= one.capacity(16)


# ------------------------------------------------------------------------------- noisy top-k


def test_chance_of_choice_is_the_share_of_fresh_noises() -> None:
    logits, scale = drawn(5, seed=1), torch.linspace(0.3, 1.0, 5, dtype=torch.float64)
    noisy, fresh = logits + scale * drawn(5, seed=2), drawn(20_000, seed=3)
    for k in (1, 2, 4):
        chances = chance_of_choice(logits, noisy, scale, k)
        for j in range(5):
            again = noisy.repeat(len(fresh), 1)
            again[:, j] = logits[j] + scale[j] * fresh
            share = (again.argsort(dim=-1, descending=True)[:, :k] == j).any(dim=-1).double().mean()
            assert abs(float(share - chances[j])) <= 4 * 0.5 / math.sqrt(len(fresh))


def test_squared_variation_of_one_hot_and_equal_loads() -> None:
    values = torch.tensor([[0, 0, 8, 0], [2, 2, 2, 2], [0, 0, 0, 0]], dtype=torch.float64)
    np.testing.assert_allclose(squared_variation(values), [3, 0, 0], atol=1e-15)  # n − 1 at worst


def test_auxiliary_loss_is_zero_but_for_topk_and_pulls_towards_balance() -> None:
    tokens = drawn(4, 256, 5) + 1.0
    for kind in WITH_CAPACITY:
        assert float(router(kind)(tokens).auxiliary_loss) == 0
    one, draws = router("top-k"), seeded(1)
    optimizer = torch.optim.Adam(one.parameters(), lr=0.05)
    losses, spreads = [], []
    for _ in range(100):
        routing = one(tokens, draws)
        optimizer.zero_grad()
        routing.auxiliary_loss.backward()
        optimizer.step()
        losses.append(float(routing.auxiliary_loss.detach()))
        spreads.append(float(squared_variation(routing.load.double()).mean()))
    assert np.mean(losses[-10:]) < 0.2 * np.mean(losses[:5])
    assert np.mean(spreads[-10:]) < 0.5 * np.mean(spreads[:5])  # chance alone leaves 3/256


def test_randomness_is_that_of_the_generators_alone() -> None:
    before = torch.get_rng_state()
    tokens = drawn(2, 16, 5)
    results = [router("top-k")(tokens, seeded(s)) for s in (1, 1, 2)]
    assert torch.equal(results[0].gates, results[1].gates)
    assert torch.equal(results[0].auxiliary_loss, results[1].auxiliary_loss)
    assert not torch.equal(results[0].gates, results[2].gates)
    for kind in WITH_CAPACITY:
        router(kind)(tokens)
    assert torch.equal(torch.get_rng_state(), before)


# ------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, "width must be at least 1"),
        ({"n_experts": 0}, "n_experts must be at least 1"),
        ({"kind": "hash"}, "kind must be one of sparse"),
        ({"capacity_factor": 0.0}, "capacity_factor must be"),
        ({"k": 5}, "k must be at most n_experts, 4, got 5"),
        ({"k": 0}, "k must be at least 1"),
        ({"iterations": 0}, "iterations must be at least 1"),
        ({"learning_rate": -1.0}, "learning_rate must be"),
        ({"gamma": math.nan}, "gamma must be"),
    ],
)
def test_bad_options_are_refused(changes: dict[str, Any], message: str) -> None:
    options: dict[str, Any] = {"width": 5, "n_experts": 4, "kind": "sparse", **changes}
    with pytest.raises(ValueError, match=message):
        Router(**options, generator=seeded())


def test_bad_tokens_are_refused() -> None:
    one = router("top-k")
    for shape in ((16, 5), (2, 16, 4), (2, 0, 5)):
        with pytest.raises(ValueError, match="tokens must have shape"):
            one(torch.zeros(*shape, dtype=torch.float64), seeded())
    with pytest.raises(ValueError, match="tokens must have the dtype"):
        one(torch.zeros(2, 16, 5, dtype=torch.float32), seeded())
    with pytest.raises(ValueError, match="generator must be given"):
        one(drawn(2, 16, 5))
    with pytest.raises(ValueError, match="logits must be finite"):
        one(drawn(2, 16, 5) / 0.0, seeded())
    with pytest.raises(TypeError, match="tokens must be a torch tensor"):
        one(np.zeros((2, 16, 5)), seeded())
    with pytest.raises(TypeError, match=r"generator must be a torch\.Generator"):
        Router(5, 4, kind="sparse", generator=0)
