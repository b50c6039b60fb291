import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

import fenchel.core.random
from fenchel.core import Learner, TrajectoryFeedback, run
from fenchel.core.checks import FloatArray
from fenchel.core.interaction import BLOCK
from fenchel.mdp import (
    AdversarialMDP,
    LinearMDP,
    UniformPolicy,
    chain,
    chain_flip,
    random_linear_mdp,
    tabular_as_linear,
)
from fenchel.mdp.adversarial import environment as module
from fenchel.mdp.adversarial.environment import rollout

BELOW_ONE = np.nextafter(1.0, 0.0)
seeds = st.integers(0, 10_000)
quick = settings(deadline=None, derandomize=True, max_examples=25)

MODEL = random_linear_mdp(3, 4, 2, 3, seed=0)
THETA = np.random.default_rng(1).random((12, 3, 3))
LOSSES = np.einsum("hsad,khd->khsa", MODEL.features, THETA)  # (K, H, S, A)


def made(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def tabular(H: int, S: int, A: int, rng: np.random.Generator) -> LinearMDP:
    P = rng.dirichlet(np.full(S, 0.7), size=(H, S, A))
    return tabular_as_linear(P, initial_state=int(rng.integers(S)))


def policies_of(model: LinearMDP, rng: np.random.Generator, *batch: int) -> FloatArray:
    """Random policies (*batch, H, S, A), some actions never taken."""
    shape = (*batch, model.horizon, model.n_states)
    p = rng.dirichlet(np.full(model.n_actions, 0.5), size=shape)
    p[(p < 0.1) & (p < p.max(axis=-1, keepdims=True))] = 0.0
    return p / p.sum(axis=-1, keepdims=True)


def losses_of(model: LinearMDP, n_episodes: int, rng: np.random.Generator) -> FloatArray:
    return rng.random((n_episodes, model.horizon, model.n_states, model.n_actions))


class Scripted(Learner):
    """Plays policies (K, R, H, S, A), or (K, H, S, A) in all replications, and keeps the answers.

    With `mixtures` these are the probabilities that it says it has.
    """

    def __init__(self, policies: FloatArray, mixtures: Any = None) -> None:
        self.policies, self.mixtures = policies, mixtures

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        self.n, self.k = n_replications, 0
        self.told: list[TrajectoryFeedback] = []

    def act(self) -> Any:
        now = self.policies[self.k]
        if self.mixtures is not None:
            self.probabilities = self.mixtures[self.k]
        self.k += 1
        return np.tile(now, (self.n, 1, 1, 1)) if now.ndim == 3 else now

    def update(self, feedback: TrajectoryFeedback) -> None:
        self.told.append(feedback)


class Reactive(Learner):
    """Policies that depend on all that was told, and on the learner's own generator."""

    def __init__(self, model: LinearMDP) -> None:
        self.model = model

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        self.rng = rng
        m = self.model
        self.weights = np.ones((n_replications, m.horizon, m.n_states, m.n_actions))

    def act(self) -> FloatArray:
        noise = 1 + 0.1 * self.rng.random(self.weights.shape)
        p = self.weights * noise
        return p / p.sum(axis=-1, keepdims=True)

    def update(self, feedback: TrajectoryFeedback) -> None:
        rows, layers = np.indices(feedback.states.shape)
        factors = np.exp(-feedback.losses)
        self.weights[rows, layers, feedback.states, feedback.actions] *= factors


def trajectories(
    model: LinearMDP, policy: FloatArray
) -> Iterator[tuple[float, tuple[int, ...], tuple[int, ...]]]:
    """Every trajectory that can happen: its probability, states and actions."""
    H, S, A = model.horizon, model.n_states, model.n_actions
    for actions in itertools.product(range(A), repeat=H):
        for rest in itertools.product(range(S), repeat=H - 1):
            states = (model.initial_state, *rest)
            probability = float(policy[H - 1, states[-1], actions[-1]])
            for h in range(H - 1):
                probability *= policy[h, states[h], actions[h]]
                probability *= model.transition[h, states[h], actions[h], states[h + 1]]
            if probability > 0:
                yield probability, states, actions


def value_by_hand(model: LinearMDP, policy: FloatArray, losses: FloatArray) -> float:
    """V_1(s_1), over the trajectories."""
    h = np.arange(model.horizon)
    paths = trajectories(model, policy)
    return float(sum(p * losses[h, list(s), list(a)].sum() for p, s, a in paths))


def best_by_hand(model: LinearMDP, losses: FloatArray) -> float:
    """The least value of all deterministic policies."""
    H, S, A = model.horizon, model.n_states, model.n_actions
    every = itertools.product(range(A), repeat=H * S)
    policies = (np.eye(A)[np.reshape(actions, (H, S))] for actions in every)
    return min(value_by_hand(model, policy, losses) for policy in policies)


def play(environment: AdversarialMDP, policies: FloatArray, seed: int) -> list[TrajectoryFeedback]:
    """The answers to policies (K, R, H, S, A)."""
    environment.reset(policies.shape[1], made(seed))
    return [environment.step(now) for now in policies]


def global_state() -> tuple[int, ...]:
    state: Any = np.random.get_state()  # noqa: NPY002
    return (*state[1].tolist(), state[2])


# regret


@pytest.mark.parametrize(
    ("H", "S", "A"), [(1, 1, 1), (1, 3, 3), (2, 2, 2), (3, 2, 2), (2, 2, 3), (3, 1, 3), (3, 2, 1)]
)
def test_regret_at_every_checkpoint_is_that_of_brute_force(H: int, S: int, A: int) -> None:
    rng = made(100 * H + 10 * S + A)
    model, K, R = tabular(H, S, A, rng), 6, 3
    losses, policies = losses_of(model, K, rng), policies_of(model, rng, K, R)
    charges = [
        [value_by_hand(model, policies[k, r], losses[k]) for k in range(K)] for r in range(R)
    ]
    best = [best_by_hand(model, losses[:n].sum(axis=0)) for n in range(1, K + 1)]
    expected = np.cumsum(charges, axis=1) - best
    environment = AdversarialMDP(model, losses)
    trace = run(
        Scripted(policies), environment, K, n_replications=R, checkpoints=range(1, K + 1), seed=0
    )
    np.testing.assert_allclose(trace.regret, expected, atol=1e-12)
    some = run(Scripted(policies), environment, K, n_replications=R, checkpoints=[2, 5], seed=1)
    np.testing.assert_allclose(some.regret, expected[:, [1, 4]], atol=1e-12)


@quick
@given(seeds, st.integers(1, 4), st.integers(1, 5), st.integers(1, 3), st.integers(1, 4))
def test_regret_is_the_loss_of_occupancies_less_the_optimum_of_the_linear_program(
    seed: int, H: int, S: int, A: int, d: int
) -> None:
    rng = made(seed)
    model = random_linear_mdp(H, S, A, d, seed=seed)
    theta, policies = rng.random((4, H, d)), policies_of(model, rng, 4, 2)
    environment = AdversarialMDP(model, theta)
    losses = np.array([environment.losses(k) for k in range(1, 5)])
    regret = run(Scripted(policies), environment, 4, n_replications=2, checkpoints=[4]).regret
    charges = np.einsum("krhsa,khsa->r", model.occupancy(policies), losses)
    optimum = model.best_occupancy(losses.sum(axis=0))[1]
    # HiGHS is feasible to 1e-7
    np.testing.assert_allclose(regret[:, 0], charges - optimum, atol=1e-6)


def test_one_policy_for_ever_has_nonnegative_regret_and_the_best_one_none() -> None:
    environment = AdversarialMDP(MODEL, THETA)
    rounds = range(1, 13)
    for policy in policies_of(MODEL, made(), 5):
        trace = run(Scripted(np.tile(policy, (12, 1, 1, 1))), environment, 12, checkpoints=rounds)
        assert (trace.regret >= -1e-12).all()
        assert trace.regret[0, -1] > 1e-3
    best = MODEL.deterministic(environment.best_policy()[0])
    trace = run(Scripted(np.tile(best, (12, 1, 1, 1))), environment, 12, checkpoints=rounds)
    assert trace.regret[0, -1] == pytest.approx(0.0, abs=1e-12)
    assert (trace.regret >= -1e-12).all()
    assert trace.guarantee is None


def test_who_follows_the_best_policy_of_each_episode_has_no_positive_regret() -> None:
    environment = AdversarialMDP(MODEL, LOSSES)
    policies = np.array([MODEL.deterministic(MODEL.best_policy(each)[0]) for each in LOSSES])
    trace = run(Scripted(policies), environment, 12, checkpoints=range(1, 13))
    assert trace.regret[0, 0] == pytest.approx(0.0, abs=1e-13)
    assert (trace.regret <= 1e-12).all()
    assert trace.regret[0, -1] < -0.01  # the comparator is fixed


def test_the_comparator_is_the_best_policy_of_the_first_episodes() -> None:
    environment = AdversarialMDP(MODEL, LOSSES)
    policies = policies_of(MODEL, made(), 12)
    regret = run(Scripted(policies), environment, 12, checkpoints=range(1, 13)).regret[0]
    charges = np.cumsum((MODEL.occupancy(policies) * LOSSES).sum(axis=(1, 2, 3)))
    for n in range(1, 13):
        actions, loss = environment.best_policy(n)
        assert charges[n - 1] - regret[n - 1] == pytest.approx(loss, abs=1e-12)
        q = MODEL.occupancy(MODEL.deterministic(actions))
        assert (q * LOSSES[:n]).sum() == pytest.approx(loss, abs=1e-12)
    whole, last = environment.best_policy(), environment.best_policy(12)
    np.testing.assert_array_equal(whole[0], last[0])
    assert whole[1] == last[1]


def test_mixtures_are_charged_in_place_of_the_policies_played() -> None:
    rng = made()
    played, mixtures = policies_of(MODEL, rng, 12, 3), policies_of(MODEL, rng, 12, 3)
    environment = AdversarialMDP(MODEL, LOSSES)
    both = run(Scripted(played, mixtures), environment, 12, n_replications=3, seed=0)
    plain = run(Scripted(mixtures), environment, 12, n_replications=3, seed=0)
    np.testing.assert_array_equal(both.regret, plain.regret)


def test_exact_regret_is_the_mean_of_that_of_rollouts() -> None:
    R, K = 5000, 4
    rng = made(3)
    model = tabular(4, 3, 3, rng)
    losses, policies = losses_of(model, K, rng), policies_of(model, rng, K)
    environment = AdversarialMDP(model, losses)
    exact = run(Scripted(policies), environment, K, checkpoints=[K]).regret[0, 0]
    told = play(environment, np.tile(policies[:, None], (1, R, 1, 1, 1)), seed=4)
    paid = sum(feedback.losses.sum(axis=1) for feedback in told)  # (R,)
    rollouts = paid - environment.best_policy()[1]
    error = rollouts.std() / math.sqrt(R)
    assert error > 0
    assert abs(rollouts.mean() - exact) < 5 * error


def test_regret_has_no_noise_but_that_of_the_policies() -> None:
    policies = policies_of(MODEL, made(), 12)
    environment = AdversarialMDP(MODEL, LOSSES)
    regret = run(Scripted(policies), environment, 12, n_replications=7, seed=0).regret
    np.testing.assert_array_equal(regret, np.broadcast_to(regret[:1], regret.shape))
    other = run(Scripted(policies), environment, 12, n_replications=1, seed=1).regret
    np.testing.assert_array_equal(other, regret[:1])


# trajectories


def test_trajectories_have_the_law_of_policy_and_transitions() -> None:
    R = 20_000
    rng = made(5)
    model = tabular(3, 2, 2, rng)
    policies = policies_of(model, rng, 2) * 0.8 + 0.1
    environment = AdversarialMDP(model, losses_of(model, 2, rng))
    told = play(environment, np.tile(policies[:, None], (1, R, 1, 1, 1)), seed=6)
    for policy, feedback in zip(policies, told, strict=True):
        assert feedback.states.shape == feedback.actions.shape == feedback.losses.shape == (R, 3)
        seen = np.concatenate([feedback.states, feedback.actions], axis=1)
        expected, counts = [], []
        for probability, states, actions in trajectories(model, policy):
            expected.append(R * probability)
            counts.append((seen == (*states, *actions)).all(axis=1).sum())
        assert sum(counts) == R
        expectations, occurrences = np.array(expected), np.array(counts)
        common = expectations > 10  # Pearson's statistic wants expectations above 5
        pairs = occurrences[common], expectations[common]
        if not common.all():
            pairs = tuple(np.append(x, R - x.sum()) for x in pairs)
        assert scipy.stats.chisquare(*pairs).pvalue > 1e-4


def test_pairs_are_visited_as_often_as_the_occupancy_measure_says() -> None:
    R = 20_000
    model = LinearMDP(MODEL.transition, MODEL.features, initial_state=2)
    policies = policies_of(model, made(7), 1)
    environment = AdversarialMDP(model, THETA)
    (told,) = play(environment, np.tile(policies[:, None], (1, R, 1, 1, 1)), seed=8)
    q = model.occupancy(policies[0])
    assert (told.states[:, 0] == 2).all()
    for h, s, a in np.ndindex(*q.shape):
        frequency = ((told.states[:, h] == s) & (told.actions[:, h] == a)).mean()
        assert abs(frequency - q[h, s, a]) <= 5 * math.sqrt(q[h, s, a] * (1 - q[h, s, a]) / R)


def test_trajectories_of_episodes_and_replications_are_independent() -> None:
    R, K = 4000, 4
    model = random_linear_mdp(2, 2, 2, 2, seed=3)
    uniform = np.tile(model.uniform_policy(), (K, R, 1, 1, 1))
    told = play(AdversarialMDP(model, np.zeros((K, 2, 2))), uniform, seed=9)
    actions = np.array([feedback.actions for feedback in told])  # (K, R, H)
    signs = 2.0 * actions - 1.0
    bound = 5 / math.sqrt(R)
    for first, second in itertools.combinations(range(K), 2):
        assert abs((signs[first] * signs[second]).mean(axis=0)).max() < bound
    assert abs((signs[:, :, 0] * signs[:, :, 1]).mean(axis=1)).max() < bound
    assert abs((signs[:, 1:] * signs[:, :-1]).mean(axis=1)).max() < bound
    # the next state does not know the uniform of the action, given the action
    states = np.array([feedback.states[:, 1] for feedback in told])
    for a in range(2):
        at = states[actions[..., 0] == a]
        law = model.transition[0, 0, a]
        assert abs(at.mean() - law[1]) < 5 * math.sqrt(law[0] * law[1] / at.size)


def path(policy: FloatArray, model: LinearMDP, uniforms: FloatArray) -> tuple[list[int], list[int]]:
    """The trajectory that `rollout` makes of uniforms (H, 2)."""
    states, actions = np.empty((2, 1, model.horizon), dtype=np.int64)
    rollout(policy[None], model.transition, model.initial_state, uniforms[None], states, actions)
    return states[0].tolist(), actions[0].tolist()


def inverted(p: FloatArray, u: float) -> int:
    """The first index whose distribution function exceeds u, else the last that can be drawn."""
    below = np.cumsum(p) > u
    return int(below.argmax()) if below.any() else int(np.flatnonzero(p)[-1])


@quick
@given(seeds, st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
def test_rollouts_invert_the_distribution_functions(seed: int, H: int, S: int, A: int) -> None:
    rng = made(seed)
    model = tabular(H, S, A, rng)
    policy = policies_of(model, rng)
    uniforms = rng.choice([0.0, 0.5, BELOW_ONE, rng.random(), rng.random()], size=(H, 2))
    states, actions = path(policy, model, uniforms)
    s = model.initial_state
    for h in range(H):
        assert states[h] == s
        assert actions[h] == inverted(policy[h, s], uniforms[h, 0])
        assert policy[h, s, actions[h]] > 0
        s = inverted(model.transition[h, s, actions[h]], uniforms[h, 1])


def test_frequencies_over_a_grid_of_uniforms_are_the_probabilities_exactly() -> None:
    # entries are multiples of 1/4, so each path owns its share of the points of the grid (i/8, j/8)
    p, law = np.array([0.25, 0.0, 0.5, 0.25]), np.array([0.5, 0.0, 0.25, 0.25])
    policy, transition = np.tile(p, (64, 2, 4, 1)), np.tile(law, (2, 4, 4, 1))
    uniforms = np.zeros((64, 2, 2))
    uniforms[:, 0] = np.array(list(itertools.product(range(8), repeat=2))) / 8
    states, actions = np.empty((2, 64, 2), dtype=np.int64)
    rollout(policy, transition, 0, uniforms, states, actions)
    pairs = 4 * actions[:, 0] + states[:, 1]
    np.testing.assert_array_equal(np.bincount(pairs, minlength=16), 64 * np.outer(p, law).ravel())


@pytest.mark.parametrize("u", [0.0, 0.5, BELOW_ONE])
def test_what_has_no_probability_never_happens(u: float) -> None:
    model = chain(6)
    for leave in range(7):
        actions = np.ones((6, 2), dtype=np.int64)
        if leave < 6:
            actions[leave, 0] = 0
        states, taken = path(model.deterministic(actions), model, np.full((6, 2), u))
        assert states == [0 if h <= leave else 1 for h in range(6)]
        assert taken == [0 if h == leave else 1 for h in range(6)]
    # sums of 1/n fall short of 1 by some ulps; the actions and states that come last cannot happen
    for n in (3, 7, 10, 49):
        p = np.append(np.full(n, 1 / n), 0.0)
        visited = np.empty((2, 1, 2), dtype=np.int64)  # states, actions
        policy, transition = np.tile(p, (1, 2, n + 1, 1)), np.tile(p, (2, n + 1, n + 1, 1))
        rollout(policy, transition, 0, np.full((1, 2, 2), u), *visited)
        assert visited.max() < n


# what the learner is told


@pytest.mark.parametrize("given_as", ["losses", "parameters"])
def test_the_losses_told_are_those_of_the_visited_pairs(given_as: str) -> None:
    environment = AdversarialMDP(MODEL, LOSSES if given_as == "losses" else THETA)
    learner = Scripted(policies_of(MODEL, made(), 12, 5))
    run(learner, environment, 12, n_replications=5, seed=0)
    assert len(learner.told) == 12
    for k, feedback in enumerate(learner.told):
        expected = [
            [LOSSES[k, h, feedback.states[r, h], feedback.actions[r, h]] for h in range(3)]
            for r in range(5)
        ]
        np.testing.assert_allclose(feedback.losses, expected, rtol=1e-13)
        assert feedback.states.dtype == feedback.actions.dtype == np.int64


def test_later_episodes_leave_what_was_told_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fenchel.core.random, "_CHUNK", 40)
    environment = AdversarialMDP(MODEL, LOSSES)
    environment.reset(2, made())
    policies = policies_of(MODEL, made(), 12, 2)
    told = environment.step(policies[0])
    kept = told.states.copy(), told.actions.copy(), told.losses.copy()
    for k in range(1, 12):
        environment.step(policies[k])
    np.testing.assert_array_equal(told.states, kept[0])
    np.testing.assert_array_equal(told.actions, kept[1])
    np.testing.assert_array_equal(told.losses, kept[2])


# losses


def regret_of(losses: Any, n_replications: int = 3, **options: Any) -> FloatArray:
    environment = AdversarialMDP(MODEL, losses)
    learner = Reactive(MODEL)
    options = {"seed": 5, "checkpoints": range(1, 13)} | options
    return run(learner, environment, 12, n_replications=n_replications, **options).regret


def test_parameters_arrays_and_functions_give_the_same_run() -> None:
    expected = regret_of(LOSSES)
    assert len(np.unique(expected[:, -1])) == 3
    np.testing.assert_array_equal(regret_of(lambda k: LOSSES[k - 1]), expected)
    np.testing.assert_array_equal(regret_of(LOSSES.tolist()), expected)
    np.testing.assert_array_equal(regret_of(lambda k: LOSSES[k - 1].tolist()), expected)
    # rounding of φᵀθ aside
    np.testing.assert_allclose(regret_of(THETA), expected, atol=1e-10)
    np.testing.assert_array_equal(regret_of(lambda k: THETA[k - 1]), regret_of(THETA))


@pytest.mark.parametrize("chunk", [1, 24, 25, 5 * 24, 1 << 20])  # an episode has 24 losses
def test_chunks_of_losses_and_of_uniforms_do_not_matter(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {"losses": regret_of(LOSSES), "parameters": regret_of(THETA)}
    monkeypatch.setattr(module, "_CHUNK", chunk)
    for name, table in (("losses", LOSSES), ("parameters", THETA)):
        np.testing.assert_allclose(regret_of(table), expected[name], rtol=1e-12, atol=1e-14)
        environment = AdversarialMDP(MODEL, table)
        for k in [*range(1, 13), 12, 1, 7, 6, 8, 3, 11, 2]:
            np.testing.assert_allclose(environment.losses(k), LOSSES[k - 1], rtol=1e-13)
    monkeypatch.setattr(fenchel.core.random, "_CHUNK", chunk)
    np.testing.assert_allclose(regret_of(LOSSES), expected["losses"], rtol=1e-12, atol=1e-14)


def test_a_function_is_asked_for_the_episodes_from_one_on_in_order() -> None:
    asked: list[int] = []

    def losses(k: int) -> FloatArray:
        asked.append(k)
        return LOSSES[k - 1]

    regret_of(losses)
    assert asked == list(range(1, 13))
    asked.clear()
    regret_of(losses, n_replications=BLOCK + 1)
    assert asked == [*range(1, 13), *range(1, 13)]  # once for each block


def test_a_function_may_reuse_its_memory() -> None:
    buffer = np.empty((3, 4, 2))

    def losses(k: int) -> FloatArray:
        buffer[:] = LOSSES[k - 1]
        return buffer

    np.testing.assert_array_equal(regret_of(losses), regret_of(LOSSES))
    environment = AdversarialMDP(MODEL, losses)
    first = environment.losses(1)
    environment.losses(2)
    np.testing.assert_array_equal(first, LOSSES[0])


def test_an_array_of_losses_is_copied() -> None:
    given = LOSSES.copy()
    environment = AdversarialMDP(MODEL, given)
    given[:] = 7.0
    np.testing.assert_array_equal(environment.losses(2), LOSSES[1])


def test_looking_at_losses_in_the_middle_of_a_run_does_not_disturb_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = regret_of(LOSSES)
    monkeypatch.setattr(module, "_CHUNK", 3 * 24)
    environment = AdversarialMDP(MODEL, LOSSES)

    class Curious(Reactive):
        def act(self) -> FloatArray:
            environment.best_policy()
            return super().act()

        def update(self, feedback: TrajectoryFeedback) -> None:
            environment.losses(1)
            super().update(feedback)

    trace = run(Curious(MODEL), environment, 12, n_replications=3, seed=5, checkpoints=range(1, 13))
    np.testing.assert_allclose(trace.regret, expected, rtol=1e-12)


def test_an_environment_says_what_it_is() -> None:
    for losses, horizon, linear in (
        (THETA, 12, True),
        (LOSSES, 12, True),
        (made().random((5, 3, 4, 2)), 5, False),
        (lambda k: THETA[k - 1], None, False),
    ):
        environment = AdversarialMDP(MODEL, losses)
        assert environment.adversary == "oblivious"
        assert environment.model is MODEL
        assert environment.horizon == horizon
        assert math.isfinite(environment.parameter_norm) is linear
    late = LOSSES.copy()
    late[-1, 1, 2, 0] += 1e-6 * (1 if late[-1, 1, 2, 0] < 0.5 else -1)
    assert AdversarialMDP(MODEL, late).parameter_norm == math.inf
    one_hot = tabular_as_linear(MODEL.transition)
    assert math.isfinite(AdversarialMDP(one_hot, made().random((5, 3, 4, 2))).parameter_norm)


def longest(model: LinearMDP, losses: FloatArray, policies: FloatArray) -> float:
    """The largest norm of the parameters of the action values of policies, by least squares."""
    worst = 0.0
    for episode in losses:
        for Q in model.action_values(policies, episode):
            worst = max(worst, np.linalg.norm(model.parameters(Q)[0], axis=-1).max())
    return worst


@pytest.mark.parametrize("seed", range(4))
def test_action_values_have_no_longer_parameters_than_certified(seed: int) -> None:
    rng = made(seed)
    model = random_linear_mdp(3, 5, 3, 4, seed=seed)
    theta = rng.random((6, 3, 4))
    environment = AdversarialMDP(model, theta)
    arrays = AdversarialMDP(model, np.array([environment.losses(k) for k in range(1, 7)]))
    assert arrays.parameter_norm == pytest.approx(environment.parameter_norm, rel=1e-9)
    policies = np.concatenate(
        [rng.dirichlet(np.full(3, 0.1), size=(200, 3, 5)), policies_of(model, rng, 5)]
    )
    losses = np.array([environment.losses(k) for k in range(1, 7)])
    assert longest(model, losses, policies) <= environment.parameter_norm * (1 + 1e-9)
    # features in the simplex with all their corners' parameters in [0, 1]: at most √d H
    assert environment.parameter_norm <= math.sqrt(4) * 3 * (1 + 1e-9)


def test_the_certified_norm_is_attained() -> None:
    # all losses 1: Q_1 = H, θ = H (1, ..., 1) with features in the simplex
    environment = AdversarialMDP(MODEL, np.ones((1, MODEL.horizon, MODEL.dim)))
    expected = MODEL.horizon * math.sqrt(MODEL.dim)
    assert environment.parameter_norm == pytest.approx(expected, rel=1e-9)


def test_short_features_ask_for_long_parameters() -> None:
    model = LinearMDP(np.ones((1, 1, 2, 1)), 1e-3 * np.eye(2)[None, None])
    environment = AdversarialMDP(model, np.array([[[[0.0, 1.0]]], [[[1.0, 1.0]]]]))
    assert environment.parameter_norm == pytest.approx(1e3 * math.sqrt(2))


def test_one_state_one_action_one_layer() -> None:
    model = random_linear_mdp(1, 1, 1, 1, seed=0)
    for losses in (np.full((3, 1, 1, 1), 0.25), np.full((3, 1, 1), 0.25)):
        environment = AdversarialMDP(model, losses)
        learner = Scripted(np.ones((3, 1, 1, 1)))
        trace = run(learner, environment, 3, n_replications=2, checkpoints=range(1, 4))
        np.testing.assert_array_equal(trace.regret, np.zeros((2, 3)))
        for feedback in learner.told:
            assert feedback.states.tolist() == feedback.actions.tolist() == [[0], [0]]
            np.testing.assert_allclose(feedback.losses, 0.25)
        assert environment.best_policy(2) == (np.zeros((1, 1)), pytest.approx(0.5))


def test_the_uniform_policy_on_the_chain_pays_by_hand() -> None:
    H, K = 3, 8
    model = chain(H)
    trace = run(
        UniformPolicy(model), AdversarialMDP(model, chain_flip(H, K)), K, checkpoints=[2, 8]
    )
    # on the chain in layers 1, 2, 3 with probability 1, ½, ¼; a stay costs 0.05 more than ½
    way = 1.5 + 0.05 * (1 / 2 + 1 / 4)
    bad, good = way + 0.4 / 4, way + (0.3 - 0.5) / 4
    assert trace.regret[0, 0] == pytest.approx(2 * bad - 2 * 1.5, abs=1e-13)
    stayed = 8 * 1.1 + 2 * 0.9
    assert trace.regret[0, 1] == pytest.approx(2 * bad + 6 * good - stayed, abs=1e-13)


# replications and seeds


def test_whole_blocks_do_not_depend_on_how_many_follow() -> None:
    more = regret_of(LOSSES, n_replications=BLOCK + 3)
    np.testing.assert_array_equal(more[:BLOCK], regret_of(LOSSES, n_replications=BLOCK))
    assert not np.array_equal(more[:3], more[BLOCK:])
    assert len(np.unique(more[:, -1])) == BLOCK + 3


def test_a_progress_bar_and_checkpoints_do_not_matter(capsys: pytest.CaptureFixture[str]) -> None:
    expected = regret_of(LOSSES)
    np.testing.assert_array_equal(regret_of(LOSSES, progress=True), expected)
    assert "Reactive" in capsys.readouterr().err
    np.testing.assert_array_equal(regret_of(LOSSES, checkpoints=[4, 12]), expected[:, [3, 11]])


def test_the_same_seed_gives_the_same_numbers_and_global_state_is_left_alone() -> None:
    before = global_state()
    first = regret_of(LOSSES)
    assert global_state() == before
    np.random.random(3)  # noqa: NPY002
    assert global_state() != before
    np.testing.assert_array_equal(regret_of(LOSSES), first)
    assert not np.array_equal(regret_of(LOSSES, seed=6), first)


def test_trajectories_are_those_of_the_seed_for_learners_without_randomness_too() -> None:
    def visited(seed: int, n_replications: int = 20) -> FloatArray:
        learner = Scripted(policies_of(MODEL, made(), 12))
        run(learner, AdversarialMDP(MODEL, LOSSES), 12, n_replications=n_replications, seed=seed)
        return np.array([[told.states, told.actions] for told in learner.told])

    np.testing.assert_array_equal(visited(1), visited(1))
    assert not np.array_equal(visited(1), visited(2))
    second_block = visited(1, BLOCK + 20)  # the answers that were kept last
    assert second_block.shape == visited(1).shape
    assert not np.array_equal(second_block, visited(1))


def test_an_environment_can_be_played_again() -> None:
    environment = AdversarialMDP(MODEL, THETA)
    first, second = (run(Reactive(MODEL), environment, 12, seed=2).regret for _ in range(2))
    np.testing.assert_array_equal(first, second)
    shorter = run(Reactive(MODEL), environment, 5, seed=2, checkpoints=range(1, 6)).regret
    fresh = run(
        Reactive(MODEL), AdversarialMDP(MODEL, THETA), 5, seed=2, checkpoints=range(1, 6)
    ).regret
    np.testing.assert_array_equal(shorter, fresh)


# what is refused


def altered(table: FloatArray, entry: float, index: tuple[int, ...] = (4, 1, 2)) -> FloatArray:
    result = table.copy()
    result[index] = entry
    return result


@pytest.mark.parametrize(
    "losses",
    [
        LOSSES[0],  # (H, S, A): one episode is (1, H, S, A)
        LOSSES[None],
        LOSSES[:0],
        THETA[:0],
        LOSSES[:, :2],
        LOSSES[:, :, :3],
        LOSSES[..., :1],
        THETA[:, :2],
        THETA[..., :2],
        THETA[0],
        0.5,
        [],
        altered(LOSSES, math.nan),
        altered(THETA, math.nan),
        altered(THETA, math.inf),
    ],
)
def test_losses_of_another_shape_or_not_finite_are_refused_by_name(losses: Any) -> None:
    with pytest.raises(ValueError, match="losses"):
        AdversarialMDP(MODEL, losses)


@pytest.mark.parametrize("losses", [None, "losses", {1: 2}, LOSSES + 0j, [[0.1], [0.1, 0.2]]])
def test_losses_of_another_type_are_refused_by_name(losses: Any) -> None:
    with pytest.raises(TypeError, match="losses"):
        AdversarialMDP(MODEL, losses)


@pytest.mark.parametrize("model", [None, MODEL.transition, LinearMDP])
def test_a_model_of_another_type_is_refused_by_name(model: Any) -> None:
    with pytest.raises(TypeError, match="model"):
        AdversarialMDP(model, LOSSES)


@pytest.mark.parametrize("entry", [-0.01, 1.01, 40.0])
@pytest.mark.parametrize("chunk", [1, 2 * 24, 1 << 18])
def test_losses_outside_the_unit_interval_are_refused_with_their_episode(
    entry: float, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHUNK", chunk)
    bad = altered(LOSSES, entry)
    # parameters: φᵀθ = θ for a common θ on the simplex
    for losses in (bad, altered(THETA, entry, (4, 1)), lambda k: bad[k - 1]):
        with pytest.raises(ValueError, match=r"losses must be in \[0, 1\].*episode 5"):
            run(Reactive(MODEL), AdversarialMDP(MODEL, losses), 12)


def test_rounding_does_not_take_losses_out_of_the_unit_interval() -> None:
    ones = np.ones((2, 3, 3))
    simplex = AdversarialMDP(MODEL, ones).losses(1)
    np.testing.assert_allclose(simplex, 1.0, rtol=1e-13)
    assert (simplex <= 1.0).all()


@pytest.mark.parametrize(
    "bad", [LOSSES[:1], LOSSES[0, :2], THETA[0, :2], 0.5, altered(LOSSES[0], math.nan, (1, 2, 0))]
)
def test_what_a_function_gives_is_checked_too(bad: Any) -> None:
    environment = AdversarialMDP(MODEL, lambda k: bad if k == 3 else LOSSES[k - 1])
    np.testing.assert_array_equal(environment.losses(2), LOSSES[1])
    with pytest.raises(ValueError, match="losses"):
        environment.losses(3)
    with pytest.raises(ValueError, match=r"round 3.*losses"):
        run(Reactive(MODEL), environment, 12)
    with pytest.raises(TypeError, match="losses"):
        AdversarialMDP(MODEL, lambda k: "none").losses(1)


@pytest.mark.parametrize("k", [0, -1, -11, 13])
@pytest.mark.parametrize("given_as", ["losses", "parameters"])
def test_episodes_that_there_are_not_have_no_losses(k: int, given_as: str) -> None:
    environment = AdversarialMDP(MODEL, LOSSES if given_as == "losses" else THETA)
    with pytest.raises(ValueError, match=r"must be|at least|at most"):
        environment.losses(k)


@pytest.mark.parametrize("k", [0, 13])
def test_a_refused_episode_leaves_the_others_as_they_are(k: int) -> None:
    environment = AdversarialMDP(MODEL, LOSSES)
    for _ in range(2):  # the second time the first answer must not be taken for that of k
        environment.losses(1)
        with pytest.raises(ValueError, match="k must be"):
            environment.losses(k)
        with pytest.raises(ValueError, match="k must be"):
            environment.losses(k)
        for place in range(12):
            np.testing.assert_array_equal(environment.losses(place + 1), LOSSES[place])


@pytest.mark.parametrize("n_episodes", [0, -1, 13])
def test_the_best_policy_of_episodes_that_there_are_not_is_refused(n_episodes: int) -> None:
    with pytest.raises(ValueError, match="n_episodes"):
        AdversarialMDP(MODEL, LOSSES).best_policy(n_episodes)


def test_a_function_has_no_last_episode() -> None:
    environment = AdversarialMDP(MODEL, lambda k: LOSSES[(k - 1) % 12])
    with pytest.raises(ValueError, match="n_episodes"):
        environment.best_policy()
    actions, loss = environment.best_policy(24)
    expected = AdversarialMDP(MODEL, LOSSES).best_policy()
    np.testing.assert_array_equal(actions, expected[0])
    assert loss == pytest.approx(2 * expected[1], rel=1e-13)
    assert run(Reactive(MODEL), environment, 30).rounds[-1] == 30


def test_more_episodes_than_there_are_losses_are_refused() -> None:
    environment = AdversarialMDP(MODEL, LOSSES)
    assert run(Reactive(MODEL), environment, 12).rounds[-1] == 12
    with pytest.raises(ValueError, match=r"horizon must be at most 12.*got 13"):
        run(Reactive(MODEL), environment, 13)


def test_learners_of_another_model_are_refused() -> None:
    environment = AdversarialMDP(MODEL, LOSSES)
    P, features = MODEL.transition, MODEL.features
    others = [
        random_linear_mdp(3, 4, 2, 3, seed=1),
        random_linear_mdp(2, 4, 2, 3, seed=0),
        LinearMDP(P, features, initial_state=1),
        LinearMDP(P, features[..., ::-1]),
        LinearMDP(np.roll(P, 1, axis=-1), features),
        tabular_as_linear(P),
    ]
    for other in others:
        with pytest.raises(ValueError, match=r"learner must be built with the model.*LinearMDP"):
            run(UniformPolicy(other), environment, 12)
    run(UniformPolicy(LinearMDP(P, features)), environment, 12)  # an equal one will do


def test_a_learner_whose_model_is_something_else_is_refused() -> None:
    learner = Scripted(policies_of(MODEL, made(), 12))
    learner.model = "a world model"
    with pytest.raises((TypeError, ValueError), match="learner"):
        run(learner, AdversarialMDP(MODEL, LOSSES), 12)


POLICIES = policies_of(MODEL, made(), 12, 3)


@pytest.mark.parametrize(
    "actions",
    [
        POLICIES[:, :2],
        POLICIES[:, 0],
        POLICIES[:, :, :2],
        POLICIES[:, :, :, :3],
        POLICIES[..., :1],
        POLICIES[:, None],
        np.zeros((12, 3), dtype=np.int64),
    ],
    ids=lambda actions: str(actions.shape[1:]),
)
def test_actions_of_another_shape_are_refused_by_name(actions: FloatArray) -> None:
    class Raw(Scripted):
        def act(self) -> Any:
            self.k += 1
            return self.policies[self.k - 1]

    with pytest.raises(ValueError, match="round 1: action"):
        run(Raw(actions), AdversarialMDP(MODEL, LOSSES), 12, n_replications=3)


@pytest.mark.parametrize("n_rows", [1, 2])
def test_mixtures_of_too_few_replications_are_refused(n_rows: int) -> None:
    learner = Scripted(POLICIES, mixtures=POLICIES[:, :n_rows])
    with pytest.raises(ValueError, match="round 1"):
        run(learner, AdversarialMDP(MODEL, LOSSES), 12, n_replications=3)


BAD_ROWS = {
    "nan": [math.nan, 0.5],
    "all nan": [math.nan, math.nan],
    "infinite": [math.inf, 0.0],
    "opposite infinities": [math.inf, -math.inf],
    "short": [0.5, 0.4],
    "long": [0.5, 0.5 + 1e-6],
    "negative": [1.5, -0.5],
    "zero": [0.0, 0.0],
}


@pytest.mark.parametrize("row", BAD_ROWS.values(), ids=BAD_ROWS.keys())
@pytest.mark.parametrize("place", [(0, 0), (1, 3), (2, 1), (0, 2)])  # layer 1 starts in state 0
def test_a_policy_that_is_no_distribution_is_refused_with_round_and_replication(
    row: list[float], place: tuple[int, int]
) -> None:
    policies = POLICIES.copy()
    policies[(6, 1, *place)] = row
    with pytest.raises(FloatingPointError, match="round 7, replication 1:"):
        run(Scripted(policies), AdversarialMDP(MODEL, LOSSES), 12, n_replications=3)
    run(Scripted(policies), AdversarialMDP(MODEL, LOSSES), 6, n_replications=3)


def test_the_replication_is_named_within_its_block() -> None:
    class Broken(Reactive):
        def act(self) -> FloatArray:
            policies = super().act()
            if len(policies) == 5:
                policies[2, 1, 1, 0] = math.nan
            return policies

    with pytest.raises(
        FloatingPointError, match=rf"round 1, replication 2: .*count from {BLOCK}\)"
    ):
        run(Broken(MODEL), AdversarialMDP(MODEL, LOSSES), 12, n_replications=BLOCK + 5)


def test_rounding_of_policies_is_accepted() -> None:
    policies = POLICIES * (1 + 1e-12)
    environment = AdversarialMDP(MODEL, LOSSES)
    almost = run(Scripted(policies), environment, 12, n_replications=3).regret
    exact = run(Scripted(POLICIES), environment, 12, n_replications=3).regret
    np.testing.assert_allclose(almost, exact, atol=1e-9)
