"""The figures of gradient boosting RL at a small size, and that their claims can fail."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fenchel.experiments import Verdict, at_least
from fenchel.experiments.experiment import config_hash

pytest.importorskip("stable_baselines3")
pytest.importorskip("minigrid")

EMPTY = "MiniGrid-Empty-Random-5x5-v0"
SMALL: dict[str, dict[str, object]] = {
    "gbrl_ablations": {"n_steps": 300, "n_seeds": 2},
    "gbrl_categorical": {"n_steps": 300, "n_seeds": 2, "tasks": (EMPTY,)},
    "gbrl_classic_control": {"n_steps": 300, "n_seeds": 2, "tasks": ("CartPole-v1",)},
    "gbrl_robustness": {
        "cart_steps": 300, "cart_steps_networks": 300, "n_episodes": 2, "n_seeds": 2,
    },
    "gbrl_shared_trees": {"n_steps": 300, "n_seeds": 2},
    "gbrl_speed": {"n_iterations": 3, "rows": (64,), "n_trees": 330, "n_seeds": 1},
}  # fmt: skip


@pytest.fixture(scope="module", params=SMALL)
def made(request: pytest.FixtureRequest, make_small: Any) -> Any:
    return make_small(request.param, SMALL[request.param])


def changed(data: Any, change: Any) -> Any:
    """The results with tables change(config, table, seed)."""
    tables = {
        config_hash(data.experiment, config): [
            change(config, table, seed) for seed, table in enumerate(data[config])
        ]
        for config in data.configs
    }
    return replace(data, tables=tables)


def by_model(column: str, trees: float, others: float) -> Any:
    """Trees at one value, all else at another, hardly spread."""

    def change(config: Any, table: Any, seed: int) -> Any:
        model = getattr(config, "training", config).model
        return table.assign(**{column: (trees if model == "trees" else others) + 1e-3 * seed})

    return change


def lost_by_noise(config: Any, table: Any, seed: int) -> Any:
    """Trained agents, of which those with trees are lost in noise."""
    value = table["return"].to_numpy() * 0 + 500.0
    value[-1] = (10.0 if config.training.model == "trees" else 400.0) + 1e-3 * seed
    return table.assign(**{"return": value})


def the_other_way(config: Any, table: Any, seed: int) -> Any:
    """Faster with the changes that are claimed to be slow."""
    slow = {"tree.depth": 2, "tree.score": "l2", "batch_size": 2048, "policy_lr": 0.001}
    hit = any(config.changes.get(name) == value for name, value in slow.items())
    hit = hit or (config.changes.get("batch_size"), config.changes.get("n_epochs")) == (1024, 1)
    return table.assign(reward=(100.0 if hit else 1.0) + 1e-3 * seed)


def no_gain_of_sharing(config: Any, table: Any, seed: int) -> Any:
    cost = 1.0 if not config.changes["shared"] else 1.0 + 1e-3 * seed
    return table.assign(trees=cost, bytes=cost, seconds=cost)


def slow(config: Any, table: Any, seed: int) -> Any:
    """This library a thousand times slower; the others there."""
    if config.measure == "throughput":
        return table.assign(value=1.0)
    import pandas as pd

    return pd.DataFrame({"value": [1000.0 if config.library == "fenchel" else 1.0]})


# what makes claims fail, and how many do not depend on the budget
WORSE: dict[str, tuple[Any, int]] = {
    "gbrl_ablations": (the_other_way, 5),
    "gbrl_categorical": (by_model("score", 0.0, 0.9), 0),
    "gbrl_classic_control": (by_model("score", 0.0, 20.0), 1),
    "gbrl_robustness": (lost_by_noise, 2),
    "gbrl_shared_trees": (no_gain_of_sharing, 3),
    "gbrl_speed": (slow, 4),
}


def test_figure_writes_pictures_measured_claims_and_notes(made: Any, check_files: Any) -> None:
    check_files(made)


def test_claims_fail_where_they_should(made: Any) -> None:
    figure, _, data = made
    change, n_free = WORSE[figure.name]
    worse = changed(data, change)
    verdicts = [claim.measure(worse).verdict for claim in figure.claims]
    assert verdicts.count(Verdict.NOT_REPRODUCED) == n_free
    assert Verdict.REPRODUCED not in verdicts


def test_a_small_budget_settles_nothing() -> None:
    from fenchel.paper_figures._outcomes import at_budget

    outcome = at_least(5.0, 4.0, 6.0, 1.0, "value")
    assert at_budget(outcome, 1_000_000, 1_000_000).verdict == Verdict.REPRODUCED
    assert at_budget(outcome, 999_999, 1_000_000).verdict == Verdict.INCONCLUSIVE
    assert "budget" in at_budget(outcome, 10, 1_000_000).detail


def test_settings_are_there_for_all_that_presets_ask_for() -> None:
    from fenchel.paper_figures import gbrl_categorical, gbrl_classic_control
    from fenchel.paper_figures._gbrl import GRID, SETTINGS

    for figure in (gbrl_classic_control.FIGURE, gbrl_categorical.FIGURE):
        experiment: Any = figure.experiment
        for preset in ("quick", "standard", "paper"):
            for config in experiment.configs(experiment.settings(preset)):
                if config.model != "uniform":
                    task = GRID if config.task.startswith(GRID) else config.task
                    assert task in SETTINGS[config.algorithm, config.model], config


class Clockwork:
    """An agent for which an episode of return k ends at every even step k."""

    policy = None

    def learn(self, n_steps: int, callback: Any) -> None:
        for k in range(1, n_steps + 1):
            callback.num_timesteps = k
            callback.locals = {"infos": [{} if k % 2 else {"episode": {"r": float(k)}}]}
            callback._on_step()


def test_learning_curves_are_means_of_the_last_hundred_episodes() -> None:
    from fenchel.paper_figures._gbrl import train

    table = train(Clockwork(), 400)
    for step, reward in zip(table["step"], table["reward"], strict=True):
        ends = np.arange(2, step + 1, 2)[-100:]
        assert reward == ends.mean()
    assert table["score"].iloc[0] == np.arange(202, 401, 2).mean()
    with pytest.raises(ValueError, match="an episode ends"):
        train(Clockwork(), 1)
