"""The figures on snapshots at a small size, and that their claims can fail."""

from typing import Any

import numpy as np
import pytest

from fenchel.experiments import Verdict

pytest.importorskip("gymnasium")
pytest.importorskip("mujoco")

SMALL: dict[str, dict[str, object]] = {
    "snapshot_exactness": {"n_seeds": 1, "tasks": ("Ant-v5", "CartPole-v1", "FrozenLake-v1")},
    "snapshot_tabular": {"n_steps": 1000, "n_seeds": 2},
}


@pytest.fixture(scope="module", params=SMALL)
def made(request: pytest.FixtureRequest, make_small: Any) -> Any:
    return make_small(request.param, SMALL[request.param])


def the_other_way(table: Any) -> Any:
    """Exact but for fenchel's."""
    ours = table["level"] == "fenchel"
    return table.assign(exact=~ours, step=np.where(ours, 0, -1), what="")


def later(variant: str, table: Any) -> Any:
    """Snapshots do harm, refinements of them more; what is learned is half as good as the best."""
    from fenchel.paper_figures import snapshot_tabular as figure

    at = {figure.BASE: 10, figure.RANDOM: 20, figure.STARTS: 30, figure.PLAIN: 50}.get(variant, 60)
    return table.assign(**{"return": 0.5 * (np.arange(len(table)) >= at), "first": at})


def tampered(name: str, data: Any) -> Any:
    if name == "snapshot_exactness":
        return {task: the_other_way(table) for task, table in data.items()}
    return {key: [later(key[1], table) for table in tables] for key, tables in data.items()}


def test_figure_writes_pictures_measured_claims_and_notes(made: Any, check_files: Any) -> None:
    check_files(made)


def test_claims_fail_where_they_should(made: Any) -> None:
    figure, _, data = made
    worse = tampered(figure.name, data)
    verdicts = {claim.measure(worse).verdict for claim in figure.claims}
    assert verdicts == {Verdict.NOT_REPRODUCED}


# exactness


def test_what_differs_first_is_told() -> None:
    from fenchel.paper_figures import snapshot_exactness as figure

    table = figure.make_run(figure.Config("Ant-v5"), seed=0)
    assert set(table["level"]) == set(figure.LEVELS) - {figure.STATE}
    stale = table[table["level"] == figure.INTEGRATION]
    assert (stale["what"] == "reward").all()
    assert (stale["step"] == 0).all()
    assert (stale["gap"] > 0).all()


def test_without_mujoco_its_tasks_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from fenchel.paper_figures import snapshot_exactness as figure

    monkeypatch.setattr(figure, "find_spec", lambda name: None)
    configs = figure.cells(figure.Settings(n_seeds=1))
    assert [config.task for config in configs] == list(figure.OTHERS)
    data = {"CartPole-v1": figure.make_run(figure.Config("CartPole-v1"), seed=0)}
    assert any("left out" in note for note in figure.notes(data))
    verdicts = [claim.measure(data).verdict for claim in figure.FIGURE.claims]
    assert verdicts.count(Verdict.REPRODUCED) == 1
    assert verdicts.count(Verdict.INCONCLUSIVE) == len(verdicts) - 1


def test_warnings_of_models_do_not_reach_the_terminal(
    capfd: pytest.CaptureFixture[str], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mujoco

    from fenchel.paper_figures import snapshot_exactness as figure

    monkeypatch.chdir(tmp_path)  # where MuJoCo writes its log
    before = mujoco.get_mju_user_warning()
    figure.make_env("HalfCheetah-v5")
    captured = capfd.readouterr()
    assert not captured.out + captured.err
    assert not list(tmp_path.iterdir())
    assert mujoco.get_mju_user_warning() is before


# tables


def test_banks_have_as_many_snapshots_whoever_made_them() -> None:
    from fenchel.paper_figures import snapshot_tabular as figure

    teacher, random = (
        figure.make_bank(figure.CHAIN, noise, np.random.default_rng(0)) for noise in (0.1, 1.0)
    )
    assert len(teacher) == len(random) == figure.BANK
    np.testing.assert_allclose(
        teacher.values(), [figure.DISCOUNT ** (48 - one.observation) for one in teacher]
    )
    assert max(one.observation for one in teacher) == 48  # the last before the goal
    assert max(one.observation for one in random) < 20


def test_variants_reset_as_they_say() -> None:
    from fenchel.paper_figures import snapshot_tabular as figure

    for variant in figure.VARIANTS[1:]:
        env = figure.make_env(figure.ROOMS, variant, np.random.default_rng(0), seed=0)
        states = {env.reset()[0] for _ in range(100)}
        start = env.unwrapped.start
        assert (states == {start}) == (variant == figure.STARTS)
        env.unwrapped.state = start
        n = 1
        while not env.step(0)[3]:  # up, where it ends at a wall
            n += 1
        assert n == (100 if variant in (figure.STT, figure.S3RL) else 1000)


def test_q_learning_finds_the_optimal_values() -> None:
    from fenchel.mdp.snapshot.worlds import chain, optimal_values
    from fenchel.paper_figures import snapshot_tabular as figure

    world, rng = chain(5), np.random.default_rng(0)
    *_, (q, _) = figure.q_learning(chain(5), world.moves.shape, 5000, rng)
    np.testing.assert_allclose(q, optimal_values(world, figure.DISCOUNT), rtol=1e-12)
    assert figure.greedy_return(world, q) == pytest.approx(figure.DISCOUNT**3)
    assert figure.greedy_return(world, [[0.0, 0.0]] * 5) == 0.0
