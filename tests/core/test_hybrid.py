"""Sums of potentials on the simplex."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fenchel.bandits import BernoulliBandit, FTRLBandit, StochasticallyConstrainedAdversary
from fenchel.core import run
from fenchel.core.potentials import Hybrid, LogBarrier, NegativeEntropy, TsallisEntropy

HYBRIDS = {
    "Tsallis and complement": Hybrid(tsallis=0.25, complement=1.0),
    "entropy and log-barrier": Hybrid(entropy=1.0, log_barrier=0.05),
    "all": Hybrid(tsallis=0.5, entropy=2.0, log_barrier=0.3, complement=1.5),
}
every_hybrid = pytest.mark.parametrize("potential", HYBRIDS.values(), ids=HYBRIDS)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e2, 1e5])
@pytest.mark.parametrize(
    ("hybrid", "pure"),
    [
        (Hybrid(tsallis=1.0), TsallisEntropy(0.5)),
        (Hybrid(entropy=1.0), NegativeEntropy()),
        (Hybrid(log_barrier=1.0), LogBarrier()),
    ],
)
def test_one_weight_alone_is_the_pure_potential(hybrid: Any, pure: Any, size: float) -> None:
    z = size * np.random.default_rng(0).normal(size=(40, 7))
    p = pure.maximizer(z)
    np.testing.assert_allclose(hybrid.maximizer(z), p, rtol=1e-11, atol=1e-300)
    inner = p[(p > 1e-200).all(axis=1)]
    np.testing.assert_allclose(hybrid.value(inner), pure.value(inner), rtol=1e-12)
    np.testing.assert_allclose(hybrid.gradient(inner), pure.gradient(inner), rtol=1e-12)
    np.testing.assert_allclose(hybrid.conjugate(z), pure.conjugate(z), rtol=1e-9)


@every_hybrid
@settings(deadline=None)
@given(seed=st.integers(0, 10**6), n_arms=st.integers(2, 40), size=st.floats(-3.0, 6.0))
def test_optimality_conditions_hold(potential: Any, seed: int, n_arms: int, size: float) -> None:
    z = 10**size * np.random.default_rng(seed).normal(size=(4, n_arms))
    p = potential.maximizer(z)
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-12)
    assert (p >= 0).all()
    for row, scores in zip(p, z, strict=True):
        inside = (row > 1e-250) & (row < 1 - 1e-6)  # 1 − p has lost its digits beyond
        if inside.sum() > 1:
            lam = scores[inside] - potential.gradient(row[inside])
            scale = np.abs(scores).max() + np.abs(potential.gradient(row[inside])).max()
            assert np.ptp(lam) <= 1e-9 * scale
    order = np.argsort(z, axis=1)
    assert (np.diff(np.take_along_axis(p, order, axis=1)) >= -1e-15).all()


@every_hybrid
def test_the_maximiser_is_that_of_cvxpy(potential: Any) -> None:
    cp = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(1)
    offset = -2 * potential.tsallis  # −4 Σ √p + 2
    for _ in range(20):
        z = 3 * rng.normal(size=5)
        x = cp.Variable(5)
        psi = (
            -4 * potential.tsallis * cp.sum(cp.sqrt(x))
            - potential.entropy * cp.sum(cp.entr(x))
            - potential.log_barrier * cp.sum(cp.log(x))
            - potential.complement * cp.sum(cp.entr(1 - x))
        )
        problem = cp.Problem(cp.Maximize(z @ x - psi), [cp.sum(x) == 1])
        gap = solve(problem)
        # as exact as a program is solved: the objective, and by strong convexity the point
        p = potential.maximizer(z)
        np.testing.assert_allclose(z @ p - potential.value(p), problem.value + offset, atol=1e-8)
        np.testing.assert_allclose(p, x.value, atol=max(1e-5, math.sqrt(2 * gap)))


@every_hybrid
def test_gradient_is_that_of_the_value_and_fenchel_young_is_tight(potential: Any) -> None:
    rng = np.random.default_rng(2)
    p = rng.dirichlet(np.ones(4) * 3, size=10)
    for i, j in itertools.combinations(range(4), 2):
        d = np.zeros(4)
        d[i], d[j] = 1e-6, -1e-6
        slope = (potential.value(p + d) - potential.value(p - d)) / 2e-6
        expected = potential.gradient(p)[:, i] - potential.gradient(p)[:, j]
        np.testing.assert_allclose(slope, expected, rtol=1e-5, atol=1e-5)
    z = potential.gradient(p)
    np.testing.assert_allclose(potential.maximizer(z), p, rtol=1e-9)
    tight = np.sum(z * p, axis=1) - potential.value(p)
    np.testing.assert_allclose(potential.conjugate(z), tight, rtol=1e-9)
    other = rng.dirichlet(np.ones(4), size=10)
    assert (potential.bregman(other, p) > 0).all()


def solve(problem: Any) -> float:
    """Solve as exactly as CLARABEL can; the gap."""
    cp = pytest.importorskip("cvxpy")
    for tolerance in (1e-13, 1e-12, 1e-11, 1e-10, 1e-9):
        names = ("tol_gap_abs", "tol_gap_rel", "tol_feas")
        options = dict.fromkeys(names, tolerance)
        options |= {f"reduced_{name}": tolerance for name in names}
        try:
            problem.solve(solver=cp.CLARABEL, **options)
            return tolerance
        except cp.SolverError:  # it stalls before
            continue
    raise AssertionError("no tolerance was met")


def test_two_arms_have_a_closed_form_for_the_entropies_alone() -> None:
    # Σ p ln p + Σ (1−p) ln(1−p) is twice the entropy of one arm: softmax of z/2
    z = np.random.default_rng(3).normal(size=(20, 2)) * 5
    p = Hybrid(entropy=1.0, complement=1.0).maximizer(z)
    np.testing.assert_allclose(p, NegativeEntropy().maximizer(z / 2), rtol=1e-12)


def test_the_hybrid_of_zimmert_luo_wei_is_small_in_both_worlds() -> None:
    # regret far below √(KT) ln-type growth of Exp3 where there is a gap, constrained or not
    def make() -> FTRLBandit:
        potential = Hybrid(tsallis=0.25, complement=1.0)
        return FTRLBandit(4, potential, learning_rate=lambda t: 1 / math.sqrt(t))

    for game in (
        BernoulliBandit([0.3, 0.6, 0.6, 0.6]),
        StochasticallyConstrainedAdversary(4, gap=0.3),
    ):
        trace = run(make(), game, 2000, n_replications=32, seed=4, checkpoints=[500, 2000])
        early, late = trace.mean()
        assert late < 4 * math.sqrt(4 * 2000) + 1
        assert late - early < early  # log growth adds ln 4, root growth doubles


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({}, "must be positive"),
        ({"complement": 1.0}, "must be positive"),
        ({"tsallis": -1.0}, "tsallis must be at least 0"),
        ({"entropy": math.nan}, "entropy must be a finite number"),
    ],
)
def test_bad_weights_are_refused(weights: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Hybrid(**weights)


def test_scores_that_are_not_finite_are_refused() -> None:
    out = np.empty((1, 3))
    with pytest.raises(FloatingPointError, match="replication 0"):
        Hybrid(tsallis=1.0).maximize_rows(np.array([[0.0, np.nan, 1.0]]), 1.0, out)


def test_small_weights_of_the_complement_are_solved_too() -> None:
    # φ' is shaped like an S in the logit: Newton's method alone cycles
    for a in np.linspace(-6, 0, 121):
        z = np.array([0.0, a, -3.0])
        potential = Hybrid(tsallis=1.0, complement=1e-3)
        p = potential.maximizer(z)
        lam = z - potential.gradient(p)
        np.testing.assert_allclose(lam, lam[0], atol=1e-8)
    p = Hybrid(log_barrier=1.0, complement=0.01).maximizer(np.array([0.0, -114, -25, -25, -25]))
    np.testing.assert_allclose(p[2:], p[2], rtol=1e-9)
    learner = FTRLBandit(10, Hybrid(tsallis=1.0, complement=0.01), learning_rate=0.5)
    run(learner, BernoulliBandit([0.1] + [0.5] * 9), 500, n_replications=20, seed=0)


@pytest.mark.parametrize("gap", [1.0, 30.0, 600.0, 1300.0])
def test_two_arms_keep_tiny_probabilities(gap: float) -> None:
    # entropies of p and 1 − p: the sigmoid of gap/2
    p = Hybrid(entropy=1.0, complement=1.0).maximizer(np.array([0.0, -gap]))
    np.testing.assert_allclose(math.log(p[1]), -np.logaddexp(0.0, gap / 2), rtol=1e-12)
