"""The figures on snapshots at a small size, and that their claims can fail."""

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest

from fenchel.experiments import Verdict

pytest.importorskip("mujoco")

SMALL: dict[str, dict[str, object]] = {
    "snapshot_exactness": {"n_seeds": 1, "tasks": ("Ant-v5", "CartPole-v1", "FrozenLake-v1")},
    "snapshot_tabular": {"n_steps": 1000, "n_seeds": 2},
    "snapshot_control": {
        "car_variants": ("no snapshots", "snapshots", "S3RL: both", "random policy's bank"),
        "car_steps": 2, "pendulum_variants": ("no snapshots", "snapshots", "S3RL: both"),
        "pendulum_steps": 60, "n_seeds": 2,
    },
    "snapshot_mujoco": {"n_steps": 60, "n_seeds": 2},
}  # fmt: skip
AGENTS = ("snapshot_control", "snapshot_mujoco")


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


def harmful(data: Any) -> Any:
    """Snapshots do harm, most those of S3RL, and least those of random actions."""
    from fenchel.paper_figures import _snapshot as shared

    loss = {shared.BASE: 0.0, shared.RANDOM: 0.5, shared.S3RL: 2.0}
    return {
        key: [table.assign(**{"return": 7.0 - loss.get(key[-1], 1.0)}) for table in tables]
        for key, tables in data.items()
    }


def tampered(name: str, data: Any) -> Any:
    if name == "snapshot_control":
        return harmful(data)
    if name == "snapshot_mujoco":
        return replace(data, tables=harmful(data.tables))
    if name == "snapshot_exactness":
        return {task: the_other_way(table) for task, table in data.items()}
    return {key: [later(key[1], table) for table in tables] for key, tables in data.items()}


def test_figure_writes_pictures_measured_claims_and_notes(made: Any, check_files: Any) -> None:
    check_files(made)


def test_claims_fail_where_they_should(made: Any) -> None:
    figure, _, data = made
    worse = tampered(figure.name, data)
    outcomes = [claim.measure(worse) for claim in figure.claims]
    settled = [outcome for outcome in outcomes if "budget" not in outcome.detail]
    assert len(settled) == (2 if figure.name == "snapshot_mujoco" else len(figure.claims))
    assert {outcome.verdict for outcome in settled} == {Verdict.NOT_REPRODUCED}


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


# agents


def test_actors_are_the_models(tmp_path: Any) -> None:
    """With and without noise that depends on the state, from a file too."""
    pytest.importorskip("stable_baselines3")
    from fenchel.paper_figures import _snapshot as shared

    for algorithm, more in (("SAC", {}), ("SAC", {"use_sde": True}), ("TD3", {})):
        model = shared.make_model("Pendulum-v1", algorithm, shared.SMALL, 0, **more)
        shared.Actor.of(model).save(tmp_path / "actor.npz")
        actor = shared.Actor.load(tmp_path / "actor.npz")
        observations = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
        expected, _ = model.predict(observations, deterministic=True)
        np.testing.assert_allclose(actor(observations), expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(actor(observations[2]), expected[2], rtol=1e-5, atol=1e-6)


def student(variant: str) -> Any:
    from fenchel.paper_figures import _snapshot as shared

    teacher = shared.Teacher("Pendulum-v1", "SAC", shared.SMALL)
    return shared.Student("Pendulum-v1", "SAC", shared.SMALL, variant, 60, 12, teacher, "")


def test_students_start_as_their_variant_says() -> None:
    from fenchel.mdp.snapshot import ClusterSampler, JumpStart, SnapshotReset, UniformSampler
    from fenchel.paper_figures import _snapshot as shared

    expected = {
        shared.RANDOM: (UniformSampler, 1000), shared.PLAIN: (UniformSampler, 1000),
        shared.SC: (ClusterSampler, 1000), shared.STT: (UniformSampler, 100),
        shared.S3RL: (ClusterSampler, 100),
    }  # fmt: skip
    for variant in (shared.BASE, shared.BUFFER, shared.JUMP, *expected):
        config = student(variant)
        env = shared.start_otherwise(config, gymnasium.make("Pendulum-v1"), seed=0)
        if variant in expected:
            kind, truncate = expected[variant]
            assert isinstance(env, SnapshotReset)
            assert (type(env.sampler), env.truncate) == (kind, truncate)
        else:
            assert isinstance(env, JumpStart) == (variant == shared.JUMP)
            assert not isinstance(env, SnapshotReset)


def test_snapshots_end_when_they_should() -> None:
    pytest.importorskip("stable_baselines3")
    from fenchel.paper_figures import _snapshot as shared

    for variant, at in ((shared.S3RL, 12), (shared.JUMP, 12), (shared.BASE, 0)):
        table = shared.make_run(student(variant), seed=0)
        assert list(table["step"]) == list(range(3, 61, 3))
        assert (table["switched"] == at).all()


def test_ppo_is_evaluated_with_the_statistics_it_has() -> None:
    pytest.importorskip("stable_baselines3")
    from fenchel.paper_figures import _snapshot as shared
    from fenchel.paper_figures import _teachers as teachers

    model = shared.make_model("Pendulum-v1", "PPO", shared.FULL, 0)
    model.learn(2048)
    observation = model.get_vec_normalize_env().get_original_obs()
    seen = model.get_vec_normalize_env().normalize_obs(observation)
    assert np.abs(seen - observation).max() > 0.1
    expected, _ = model.predict(seen, deterministic=True)
    np.testing.assert_array_equal(shared.mean_action(model)(observation), expected)
    kept = teachers.keep(model)
    model.learn(2048)
    assert np.abs(shared.mean_action(model)(observation) - expected).max() > 0
    teachers.put_back(model, kept)
    np.testing.assert_array_equal(shared.mean_action(model)(observation), expected)


def test_banks_that_are_missing_say_how_to_make_them() -> None:
    from fenchel.paper_figures import _snapshot as shared

    with pytest.raises(FileNotFoundError, match=r"_teachers\.py --task Ant-v5 --algorithm TD3"):
        shared.Teacher("Ant-v5", "TD3", shared.FULL).mark()


def test_bootstrap_intervals_hold_the_mean_about_as_often_as_said() -> None:
    from fenchel.paper_figures._statistics import bootstrap

    rng = np.random.default_rng(0)
    for n, least, most in ((5, 0.78, 0.9), (40, 0.9, 0.97)):
        each = [bootstrap(rng.normal(size=n)) for _ in range(400)]
        assert least < np.mean([low <= 0 <= high for _, low, high in each]) < most
    assert bootstrap([3.0]) == (3.0, -np.inf, np.inf)
    assert bootstrap([2.0, 2.0]) == (2.0, 2.0, 2.0)
