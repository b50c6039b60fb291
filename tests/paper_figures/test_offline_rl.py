"""The figures on offline RL at a small size, and that their claims can fail."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fenchel.experiments import Verdict

torch = pytest.importorskip("torch")
pytest.importorskip("gymnasium")

SIZES = {"n_steps": 20, "n_inverse_steps": 20, "n_seeds": 2}
SMALL: dict[str, dict[str, object]] = {
    "ss_orl_labels": SIZES,
    "ss_orl_backends": {**SIZES, "agents": ("TD3+BC", "CQL", "DT", "IQL")},
    "ss_orl_self_training": SIZES,
    "ss_orl_inverse_dynamics": {"n_steps": 20, "n_seeds": 2},
    "offline_baselines": {
        "n_steps": 20, "n_seeds": 2, "agents": ("BC", "TD3+BC", "IQL"),
        "datasets": ("PointMass2D/expert", "LQR/medium-replay", "StitchMaze2D/halves"),
    },
}  # fmt: skip
SETTLED = {
    "ss_orl_labels": 3, "ss_orl_backends": 10, "ss_orl_self_training": 2,
    "ss_orl_inverse_dynamics": 5, "offline_baselines": 5,
}  # fmt: skip


@pytest.fixture(scope="module", params=SMALL)
def made(request: pytest.FixtureRequest, make_small: Any) -> Any:
    return make_small(request.param, SMALL[request.param])


def harmed(config: Any, table: pd.DataFrame) -> pd.DataFrame:
    """Proxy labels do harm, rounds mend it, better labels do harm, and nothing beats cloning."""
    from fenchel.paper_figures import _offline as shared

    score = {
        shared.LABELLED: 60.0 - 10 * config.quality, shared.SS: 20.0, shared.ENSEMBLE: 20.0,
        shared.SELF_TRAINED: 80.0, shared.ORACLE: 90.0,
    }[config.method]  # fmt: skip
    if config.agent == "DT":
        score += 1.0
    if config.method == shared.ORACLE and config.agent == "BC":
        score = 50.0 if config.dataset.endswith("/expert") else 95.0
    outside = 0.1 if config.method == shared.SELF_TRAINED else 1.0
    return table.assign(score=score, outside=outside)


def worse_models(table: pd.DataFrame, window: int, stochastic: bool) -> pd.DataFrame:
    """Windows and densities that are worse, labels better outside, single ones worse."""
    error = 1.0 if stochastic else 2.0
    nll = 3.0 + window
    return table.assign(nll=nll, constant_nll=2.0, inside=error, outside=error / 2)


def test_figure_writes_pictures_measured_claims_and_notes(made: Any, check_files: Any) -> None:
    check_files(made)


def test_claims_fail_where_they_should(made: Any) -> None:
    figure, _, data = made
    if figure.name == "ss_orl_inverse_dynamics":
        worse: Any = {key: worse_models(table, *key[1:]) for key, table in data.items()}
    else:
        worse = {key: [harmed(key, table) for table in tables] for key, tables in data.items()}
    outcomes = [claim.measure(worse) for claim in figure.claims]
    settled = [outcome for outcome in outcomes if "budget" not in outcome.detail]
    assert len(settled) == SETTLED[figure.name]
    assert {outcome.verdict for outcome in settled} == {Verdict.NOT_REPRODUCED}


def test_shares_that_say_nothing_are_not_said() -> None:
    from fenchel.paper_figures._offline import said

    assert said(float("nan")) == "n/a"
    assert said(0.256) == "26 %"


def test_figures_share_their_runs() -> None:
    """The oracle has no q; TD3+BC of the figure on algorithms is that of the figure on labels."""
    from fenchel.paper_figures import _offline as shared
    from fenchel.paper_figures import ss_orl_backends, ss_orl_labels

    labels, backends = (
        set(figure.EXPERIMENT.configs(figure.EXPERIMENT.presets["standard"]))
        for figure in (ss_orl_labels, ss_orl_backends)
    )
    assert len(labels) == 2 * (4 * 2 + 1)
    common = {config for config in backends if config.agent == "TD3+BC"}
    assert common <= labels
    assert len(common) == 3
    assert {config.source for config in labels} == {shared.SELF_GENERATED}


def test_rounds_label_all_and_are_told_apart() -> None:
    from fenchel.paper_figures import _offline as shared

    config = shared.cell(shared.POINT, shared.SELF_TRAINED, 0.5, "TD3+BC", shared.SMALL, 5, 5)
    table = shared.run(config, seed=1)
    assert list(table["round"]) == [1, 2, 3, 4, 5]
    assert table["share"].between(0, 1).all()
    # 160 of the 360 trajectories without actions are of the labelled half, 200 of the other
    assert table["share"].mean() == pytest.approx(200 / 360, rel=1e-12)
    sizes = np.full(5, 72)
    of_all = (table["error"] * sizes).sum() / sizes.sum()
    inside, outside = table["inside"].iloc[0], table["outside"].iloc[0]
    assert of_all == pytest.approx((160 * inside + 200 * outside) / 360, rel=1e-5)


def test_files_of_d4rl_are_taken_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("h5py")
    from fenchel.offline_rl import generate
    from fenchel.offline_rl.datasets import to_d4rl_hdf5
    from fenchel.paper_figures import _offline as shared

    monkeypatch.setenv("FENCHEL_DATA", str(tmp_path))
    name = "Hopper-v5/medium-replay"
    assert shared.source(name) == shared.SELF_GENERATED
    (tmp_path / "d4rl").mkdir()
    recorded = generate("PointMass2D/medium", n_transitions=200, cache=False)
    to_d4rl_hdf5(recorded, tmp_path / "d4rl" / "hopper_medium_replay-v2.hdf5")
    source = shared.source(name)
    assert source.startswith("D4RL ")
    found, bound = shared.load(name, source, seed=0)
    assert found.hash() == recorded.hash()
    assert bound == 1.0
    assert (found.meta["ref_min"], found.meta["ref_max"]) == (-20.272305, 3234.3)
    assert found.meta["env_id"] == "Hopper-v5"


def test_agents_of_the_papers_have_their_sizes() -> None:
    from fenchel.offline_rl import generate
    from fenchel.paper_figures import _offline as shared

    data = generate("PointMass2D/medium", n_transitions=200, cache=False)
    span = float(np.ptp(data.returns()))
    sizes = {}
    for name in shared.AGENTS:
        config = shared.cell("Hopper-v5/medium", shared.ORACLE, 1.0, name, shared.FULL, 1)
        agent = shared.make_agent(config, data, 1.0, seed=3)
        assert agent.seed == 3
        if name == "IQL":
            assert agent.reward_scale * span == pytest.approx(1000.0)
        sizes[name] = agent.width if name == "DT" else agent.hidden
    assert sizes["DT"] == 512
    assert sizes["CQL"] == (256, 256, 256)
    assert {sizes[name] for name in ("BC", "10 % BC", "TD3+BC", "IQL")} == {(256, 256)}
    assert shared.BATCH["TD3+BC", shared.FULL] == 5120


# ------------------------------------------------------------------ the least error possible


def sample(n: int = 4000) -> tuple[Any, Any, Any]:
    """Actions, m and what moved the velocity, of the figure's world."""
    from fenchel.paper_figures import ss_orl_inverse_dynamics as figure

    dataset, m, pushed = figure.collect(figure.PUSHES, n // 50, np.random.default_rng(0))
    return dataset.actions.astype(float), m, pushed


def test_states_that_say_nothing_leave_the_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    from fenchel.offline_rl.algorithms.networks import squashed_log_prob
    from fenchel.paper_figures import ss_orl_inverse_dynamics as figure

    actions, m, pushed = sample()
    monkeypatch.setattr(figure, "NOISE", 1e6)
    found = figure.least(actions, m, pushed)
    u, spread = torch.as_tensor(np.arctanh(actions)), torch.full((), np.log(figure.SPREAD))
    expected = -squashed_log_prob(u, torch.as_tensor(m), spread).mean()
    assert found["least_nll"] == pytest.approx(float(expected), rel=1e-6)


def test_states_that_say_all_leave_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from fenchel.paper_figures import ss_orl_inverse_dynamics as figure

    actions, m, _ = sample()
    usual = figure.least(*sample())
    monkeypatch.setattr(figure, "NOISE", 0.005)  # nodes are 0.02 apart in 0.1 a
    found = figure.least(actions, m, 0.1 * actions)
    assert found["least_error"] < 0.1 * usual["least_error"]
    assert found["least_nll"] < usual["least_nll"] - 1


def test_the_posterior_is_calibrated() -> None:
    """E (a − E[a | s, s'])² is the mean of the posterior's own variance."""
    from fenchel.paper_figures import ss_orl_inverse_dynamics as figure

    actions, m, pushed = sample(40_000)
    grid = np.linspace(-8, 8, 801)
    u = m[..., None] + figure.SPREAD * grid
    log_weight = -0.5 * grid**2 - 0.5 * ((pushed[..., None] - 0.1 * np.tanh(u)) / figure.NOISE) ** 2
    weight = np.exp(log_weight)
    weight /= weight.sum(axis=-1, keepdims=True)
    mean = (weight * np.tanh(u)).sum(axis=-1)
    variance = (weight * np.tanh(u) ** 2).sum(axis=-1) - mean**2
    error = figure.least(actions, m, pushed)["least_error"]
    assert error == pytest.approx(((mean - actions) ** 2).mean(), rel=1e-6)
    square = (mean - actions) ** 2
    assert abs(error - variance.mean()) < 4 * square.std() / np.sqrt(square.size)


def test_a_constant_density_is_that_of_its_moments() -> None:
    from fenchel.offline_rl.algorithms.networks import squashed_log_prob
    from fenchel.paper_figures.ss_orl_inverse_dynamics import constant_nll

    u = np.random.default_rng(0).normal(0.3, 0.5, (500, 2))
    mean, deviation = u.mean(axis=0), u.std(axis=0)
    x, m, s = (torch.as_tensor(value) for value in (u, mean, np.log(deviation)))
    expected = -float(squashed_log_prob(x, m, s).mean()) + 2 * np.log(2.0)
    assert constant_nll(np.tanh(u), np.tanh(u), 2.0) == pytest.approx(expected, rel=1e-9)


def test_a_run_is_replaced_by_one_of_other_data() -> None:
    """A file of D4RL in the place of a stand-in is another run."""
    from fenchel.experiments.experiment import config_hash
    from fenchel.paper_figures import _offline as shared

    config = shared.cell("Hopper-v5/medium", shared.SS, 0.1, "TD3+BC", shared.FULL, 1, 1)
    other = replace(config, source="D4RL 0123456789ab")
    assert config_hash("offline_agents", config) != config_hash("offline_agents", other)
