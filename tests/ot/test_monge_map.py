"""Learned maps: against no gap and closed forms, saved and resumed, and what they say."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fenchel.ot import ConvergenceWarning, MongeMap, costs, monge_gap
from fenchel.ot.datasets import gaussian_pair, moons_to_s_curve, sphere_caps
from fenchel.ot.learned_map import NotFittedError
from fenchel.ot.metrics import l2_uvp

MOONS = moons_to_s_curve()


def small(**changes: Any) -> MongeMap:
    setting: dict[str, Any] = {"n_steps": 10, "batch_size": 64, "hidden": (16, 16)}
    setting |= {"validate_every": 5, "n_validation": 64, "device": "cpu", "progress": False}
    return MongeMap(**(setting | changes))


def points(n: int, seed: int = 9) -> Any:
    return MOONS.source(n, np.random.default_rng(seed))


@pytest.mark.slow
def test_the_gap_makes_maps_optimal_where_none_is_asked_for() -> None:
    """Exact gaps several times smaller than without, over seeds, at the same budget."""
    ratios = []
    for seed in range(3):
        gaps = []
        for strength in (0.0, 1.0):
            mapping = small(
                strength=strength, n_steps=1000, batch_size=256, hidden=(64, 64, 64),
                validate_every=1000, seed=seed,
            )  # fmt: skip
            moved = mapping.fit(MOONS.source, MOONS.target).transport(points(512))
            gaps.append(monge_gap(points(512), moved, kind="exact"))
        ratios.append(gaps[0] / gaps[1])
    assert min(ratios) > 2
    assert np.exp(np.mean(np.log(ratios))) > 4


def test_the_map_between_gaussians_is_nearly_found() -> None:
    for seed in range(2):
        pair = gaussian_pair(2, seed=seed)
        mapping = small(n_steps=300, batch_size=128, hidden=(32, 32), learning_rate=3e-3, seed=seed)
        x = pair.source(500, np.random.default_rng(seed))
        moved = mapping.fit(pair.source, pair.target).transport(x)
        assert pair.map is not None
        error = l2_uvp(moved, pair.map(x), variance=pair.target_variance)
        assert error < 0.1 * l2_uvp(x, pair.map(x), variance=pair.target_variance)
        assert error < 5.0


def test_a_map_on_the_line_becomes_monotone() -> None:
    def source(n: int, rng: Any) -> Any:
        return rng.standard_normal((n, 1))

    def target(n: int, rng: Any) -> Any:
        return 2 + np.sign(rng.standard_normal((n, 1))) + 0.2 * rng.standard_normal((n, 1))

    mapping = small(n_steps=200, batch_size=128, hidden=(32, 32), learning_rate=3e-3)
    grid = np.linspace(-2, 2, 200)[:, None]
    moved = mapping.fit(source, target).transport(grid)
    assert monge_gap(grid, moved, kind="exact") < 1e-3 * float(((moved - grid) ** 2).mean())


# the fit


def test_same_seed_same_map_and_another_seed_another() -> None:
    one, other, third = (
        small(seed=seed).fit(MOONS.source, MOONS.target).transport(points(20)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, other)
    assert np.abs(one - third).max() > 1e-4


def test_torchs_own_generator_is_left_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    small(form="structured", conservativity=0.1).fit(MOONS.source, MOONS.target)
    assert bool((torch.get_rng_state() == before).all())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"form": "structured", "conservativity": 0.1, "cost": costs.PNorm(1.5)},
        {"patience": 1},
        {"strength": 0.0},
    ],
)
def test_a_fit_saved_on_the_way_ends_as_one_that_was_not(changes: Any, tmp_path: Path) -> None:
    x, y = (draw(200, np.random.default_rng(3)) for draw in (MOONS.source, MOONS.target))
    whole = small(**changes).fit(x, y)
    path = tmp_path / "map.pt"
    small(**changes | {"n_steps": 7}).fit(x, y).save(path)
    resumed = MongeMap.load(path, n_steps=10).fit(x, y, resume=True)
    np.testing.assert_array_equal(whole.transport(points(20)), resumed.transport(points(20)))
    assert resumed.step_ == whole.step_
    assert resumed.get_params().keys() == whole.get_params().keys()
    assert resumed.cost == whole.cost


def test_an_interrupted_fit_goes_on() -> None:
    calls = 0

    def source(n: int, rng: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 8:
            raise KeyboardInterrupt
        return MOONS.source(n, rng)

    mapping = small()
    with pytest.raises(KeyboardInterrupt):
        mapping.fit(source, MOONS.target)
    assert 0 < mapping.step_ < 10
    mapping.fit(source, MOONS.target, resume=True)
    assert mapping.step_ == 10


def test_early_stopping_goes_back_to_the_best() -> None:
    mapping = small(
        strength=lambda step: 0.0 if step < 10 else 1e4, penalty="displacement",
        n_steps=200, patience=2, learning_rate=3e-3,
    ).fit(MOONS.source, MOONS.target)  # fmt: skip
    assert mapping.step_ < 200
    best = mapping.history["divergence"].min()
    assert mapping.history["divergence"][-1] > best
    rng = np.random.default_rng(mapping._held[0])
    held = MOONS.source(64, rng)
    target = MOONS.target(64, np.random.default_rng(mapping._held[1]))
    np.testing.assert_allclose(-mapping.score(held, target), best, rtol=1e-3)


def test_history_has_rows_and_says_what_was_done() -> None:
    mapping = small(warm_up=4, n_steps=12).fit(MOONS.source, MOONS.target)
    history = mapping.history
    assert list(history["step"]) == [5, 10, 12]
    strengths = [(t + 1) / 5 for t in range(4)] + [1.0]
    np.testing.assert_allclose(history["strength"], [np.mean(strengths), 1.0, 1.0])
    assert set(history) == {
        "step", "loss", "fit", "gap", "strength", "iterations", "unsolved", "divergence",
        "exact_gap",
    }  # fmt: skip
    assert all(np.isfinite(column).all() for column in history.values())


def test_solves_that_do_not_converge_are_told() -> None:
    mapping = small(tolerance=1e-9)  # beyond float32
    with pytest.warns(ConvergenceWarning, match="solves ended before"):
        mapping.fit(MOONS.source, MOONS.target)
    assert mapping.history["unsolved"].max() > 0.01


def test_the_displacement_penalty_pulls_to_the_identity() -> None:
    free, pulled = (
        small(penalty="displacement", strength=s, n_steps=150).fit(MOONS.source, MOONS.target)
        for s in (0.0, 10.0)
    )
    x = points(100)
    lengths = [((m.transport(x) - x) ** 2).sum(axis=1).mean() for m in (free, pulled)]
    assert lengths[1] < 0.5 * lengths[0]


def test_the_gap_may_act_elsewhere() -> None:
    def box(n: int, rng: Any) -> Any:
        return rng.uniform(-2, 2, (n, 2))

    mapping = small().fit(MOONS.source, MOONS.target, reference=box)
    other = small().fit(MOONS.source, MOONS.target)
    assert np.abs(mapping.transport(points(9)) - other.transport(points(9))).max() > 1e-6
    rows = box(50, np.random.default_rng(0))
    small().fit(MOONS.source, MOONS.target, reference=rows)


def test_on_the_sphere_maps_stay_on_it() -> None:
    caps = sphere_caps()
    mapping = small(cost=caps.cost).fit(caps.source, caps.target)
    moved = mapping.transport(caps.source(30, np.random.default_rng(0)))
    np.testing.assert_allclose(np.linalg.norm(moved, axis=1), 1.0, rtol=1e-5)


# arrays in, arrays out


def test_what_comes_back_is_what_was_given() -> None:
    mapping = small().fit(MOONS.source, MOONS.target)
    x = points(6)
    assert mapping.transport(x).dtype == np.float64
    assert mapping.transport(x.astype(np.float32)).dtype == np.float32
    tensor = mapping.transport(torch.tensor(x).reshape(2, 3, 2))
    assert tensor.shape == (2, 3, 2)
    np.testing.assert_allclose(tensor.reshape(6, 2), mapping.transport(x), rtol=1e-6)
    assert mapping.score(x, x) <= 0


def test_own_networks_are_copied_and_given_again_on_loading(tmp_path: Path) -> None:
    network = nn.Linear(2, 2)
    before = network.weight.detach().clone()
    mapping = small(network=network).fit(MOONS.source, MOONS.target)
    assert bool((network.weight == before).all())
    mapping.save(tmp_path / "map.pt")
    with pytest.raises(ValueError, match="network must be given"):
        MongeMap.load(tmp_path / "map.pt")
    loaded = MongeMap.load(tmp_path / "map.pt", network=network)
    np.testing.assert_array_equal(loaded.transport(points(5)), mapping.transport(points(5)))


def test_parameters_are_those_of_scikit_learn() -> None:
    mapping = small(cost="euclidean")
    clone = MongeMap(**mapping.get_params())
    assert clone.get_params() == mapping.get_params()
    assert mapping.set_params(n_steps=3).n_steps == 3
    assert "cost='euclidean'" in repr(mapping)
    with pytest.raises(ValueError, match="rate must be one of"):
        mapping.set_params(rate=1.0)


# bad input


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"strength": -1.0}, "strength"),
        ({"form": "linear"}, "form must be one of"),
        ({"penalty": "none"}, "penalty must be one of"),
        ({"cost": "cosine", "form": "structured"}, "cost must be h"),
        ({"cost": "euclidean", "form": "structured"}, "strictly convex"),
        ({"conservativity": 0.1}, "conservativity must be 0"),
        (
            {"conservativity": 0.1, "form": "structured", "network": nn.Identity()},
            "conservativity must be 0 .* and no network",
        ),
        ({"gap_epsilon": 0.0}, "gap_epsilon"),
        ({"fit_epsilon": ("median", 0.1)}, "fit_epsilon must be"),
        ({"batch_size": 1}, "batch_size"),
        ({"n_steps": 0}, "n_steps"),
        ({"device": "tpu"}, "device must be"),
        ({"dtype": "float16"}, "dtype must be"),
    ],
)
def test_bad_arguments_say_what_to_do(change: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        small(**change)


def test_bad_data_say_what_to_do() -> None:
    good = points(40)
    for source, target, words in (
        (good[:, 0], good, "source must have shape"),
        (good, good[:, :1], "target must have d = 2"),
        (good[:5], good, "at least 10 points"),
        (np.full((40, 2), np.nan), good, "source must be finite"),
    ):
        with pytest.raises(ValueError, match=words):
            small().fit(source, target)
    with pytest.raises(NotFittedError, match="call fit"):
        small().transport(good)
    with pytest.raises(ValueError, match="points must have shape"):
        small().fit(good, good).transport(np.zeros((3, 5)))
    with pytest.raises(ValueError, match="source must have points of norm 1"):
        small(cost="sphere").fit(good, good)


@pytest.mark.filterwarnings("ignore")
def test_a_loss_that_explodes_is_an_error() -> None:
    mapping = small(learning_rate=1e18, n_steps=50)
    with pytest.raises(FloatingPointError):
        mapping.fit(MOONS.source, MOONS.target)


def test_the_learning_rate_falls_along_half_a_cosine() -> None:
    problem = gaussian_pair(2, seed=0)
    rates = []

    class Watched(MongeMap):
        def _step(self, source: Any, target: Any) -> dict[str, float]:
            rates.append(self._adam["all"].param_groups[0]["lr"])
            return super()._step(source, target)

    settings: dict[str, Any] = {"n_steps": 8, "batch_size": 64, "progress": False}
    Watched(learning_rate=0.01, final_rate=0.2, **settings).fit(problem.source, problem.target)
    assert rates[0] == 0.01
    np.testing.assert_allclose(rates[4], 0.006)  # half way between 0.01 and 0.002
    assert np.all(np.diff(rates) < 0)
    rates.clear()
    Watched(learning_rate=0.01, **settings).fit(problem.source, problem.target)
    assert rates == [0.01] * 8
