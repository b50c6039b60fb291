"""Trees against NVlabs/gbrl, and agents with trees against stable-baselines3's networks.

Growth: one tree for normal features and gradients, 256 candidates, candidates included; the peer's
`step`, which is the same. Fresh batches: trees of depth 4 for ½ ‖F − y‖² on a new batch each, 128
rows, 20 features, 3 targets (the paper's Table 1); CatBoost and XGBoost go on from their model.
Prediction: all trees of an ensemble of depth 4, 16 features, 3 outputs. Throughput: PPO on
CartPole, 320 trees a rollout.
Agents: environment steps per second of the process's CPU time, whole training included, and the
mean reward of the last 100 episodes; the paper's settings for trees, those of RL Zoo for networks.

Everything runs on one core, in processes of their own: OpenMP of the peer and numba disturb each
other. CPU time, medians. Peers that are missing are left out.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rich.console import Console

from ...mdp.gbrl import TreeEnsemble, TreeParams
from ._tables import digits, numbers

GROWTH = (  # n, F, D, depth
    (512, 16, 2, 4), (512, 16, 8, 4), (512, 16, 2, 6), (512, 128, 2, 4), (2048, 16, 2, 4),
    (2048, 128, 2, 4), (2048, 128, 8, 4), (16_384, 16, 2, 4), (16_384, 16, 2, 6),
)  # fmt: skip
PREDICTION = ((1000, 16), (5000, 16), (1000, 512), (5000, 512), (5000, 2048))  # trees, n
FRESH = 1000  # iterations
TASKS = {  # steps, environments, n_steps, batch, epochs, γ, λ, rates; then those of networks
    "CartPole-v1": (
        (51_200, 8, 128, 64, 1, 0.98, 0.8, 0.029, 0.015),
        (8, 32, 256, 20, 0.98, 0.8, 1e-3),
    ),
    "Acrobot-v1": (
        (51_200, 16, 128, 512, 20, 0.99, 0.94, 0.160276, 0.034185),
        (16, 256, 64, 4, 0.99, 0.94, 3e-4),
    ),
    "MiniGrid-Empty-Random-5x5-v0": (
        (40_960, 16, 256, 512, 20, 0.99, 0.95, 0.170551, 0.010032),
        (8, 128, 64, 10, 0.993, 0.95, 2.5e-4),
    ),
}


def cpu_time(call: Callable[[], Any], prepare: Callable[[], Any] = lambda: None) -> float:
    """Milliseconds of CPU time, median of up to nine calls in a second or so."""
    times: list[float] = []
    while len(times) < 9 and (len(times) < 3 or sum(times) < 1.0):
        prepare()
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return 1e3 * float(np.median(times))


def our_growth(n: int, F: int, D: int, depth: int) -> list[float]:
    """Milliseconds."""
    rng = np.random.default_rng(0)
    X, G = rng.normal(size=(n, F)).astype(np.float32), rng.normal(size=(n, D))
    ensemble = TreeEnsemble(D, TreeParams(depth))
    ensemble.step(X, G)  # compiles
    return [cpu_time(lambda: ensemble.step(X, G))]


def peer_growth(n: int, F: int, D: int, depth: int) -> list[float]:
    """Milliseconds."""
    import torch

    rng = np.random.default_rng(0)
    X, G = rng.normal(size=(n, F)).astype(np.float32), rng.normal(size=(n, D))
    model = reference(F, D, TreeParams(depth))
    weights = torch.tensor(G, dtype=torch.float32)

    def prepare() -> None:
        (model(X, requires_grad=True).reshape(n, D) * weights).mean(dim=0).sum().backward()

    return [cpu_time(model.step, prepare)]


def our_fresh(n_iterations: int) -> list[float]:
    """Milliseconds an iteration."""
    ensemble = TreeEnsemble(3)

    def iterate(X: Any, y: Any) -> None:
        ensemble.step(X, ensemble.predict(X) - y)

    return _fresh(iterate, n_iterations)


def gbrl_fresh(n_iterations: int) -> list[float]:
    """The same of NVlabs/gbrl."""
    import torch

    model = reference(20, 3, TreeParams())

    def iterate(X: Any, y: Any) -> None:
        output = model(X, requires_grad=True).reshape(y.shape)
        (0.5 * ((output - torch.tensor(y)) ** 2).sum(dim=1).mean()).backward()
        model.step()

    return _fresh(iterate, n_iterations)


def catboost_fresh(n_iterations: int) -> list[float]:
    """The same of CatBoost."""
    from catboost import CatBoostRegressor

    models: list[Any] = [None]

    def iterate(X: Any, y: Any) -> None:
        model = CatBoostRegressor(
            iterations=1, depth=4, learning_rate=0.1, loss_function="MultiRMSE",
            thread_count=1, verbose=False, allow_writing_files=False,
        )  # fmt: skip
        models[0] = model.fit(X, y, init_model=models[0])

    return _fresh(iterate, n_iterations)


def xgboost_fresh(n_iterations: int) -> list[float]:
    """The same of XGBoost."""
    import xgboost

    models: list[Any] = [None]
    parameters = {
        "max_depth": 4, "eta": 0.1, "tree_method": "hist", "multi_strategy": "multi_output_tree",
        "nthread": 1, "objective": "reg:squarederror",
    }  # fmt: skip

    def iterate(X: Any, y: Any) -> None:
        data = xgboost.DMatrix(X, y)
        models[0] = xgboost.train(parameters, data, num_boost_round=1, xgb_model=models[0])

    return _fresh(iterate, n_iterations)


def _fresh(iterate: Callable[[Any, Any], None], n_iterations: int) -> list[float]:
    rng = np.random.default_rng(0)
    batches = rng.normal(size=(n_iterations + 1, 128, 23)).astype(np.float32)
    iterate(batches[-1, :, :20], batches[-1, :, 20:])  # compiles
    start = time.process_time()
    for batch in batches[:-1]:
        iterate(np.ascontiguousarray(batch[:, :20]), np.ascontiguousarray(batch[:, 20:]))
    return [1e3 * (time.process_time() - start) / n_iterations]


def throughput(n_trees: int) -> list[float]:
    """Trees, and steps a CPU second, of one rollout after the other."""
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env

    from ...mdp.gbrl import PPO_GBRL

    env = make_vec_env("CartPole-v1", 8, seed=0)
    settings: dict[str, Any] = {"n_steps": 128, "batch_size": 64, "seed": 0}
    PPO_GBRL(env, n_epochs=1, **settings).learn(1024)  # compiles
    seen: list[float] = []

    class Clock(BaseCallback):  # type: ignore[misc]
        def _on_rollout_start(self) -> None:
            seen.extend((self.model.policy.n_trees, time.process_time()))

        def _on_step(self) -> bool:
            return bool(self.model.policy.n_trees < n_trees)

    model = PPO_GBRL(env, policy_lr=0.003, value_lr=0.015, n_epochs=20, **settings)
    model.learn(1024 * (n_trees // 320 + 2), callback=Clock())
    trees, times = np.array(seen).reshape(-1, 2).T
    rates = 1024 / np.diff(times)
    return [float(one) for pair in zip(trees[1:], rates, strict=True) for one in pair]


def our_prediction(n_trees: int, n: int) -> list[float]:
    """Milliseconds."""
    rng = np.random.default_rng(0)
    ensemble = TreeEnsemble(3)
    X = rng.normal(size=(16, 16)).astype(np.float32)  # few rows: trees are soon grown
    for _ in range(n_trees):
        ensemble.step(X, rng.normal(size=(16, 3)))
    rows = rng.normal(size=(n, 16)).astype(np.float32)
    return [cpu_time(lambda: ensemble.predict(rows))]


def peer_prediction(n_trees: int, n: int) -> list[float]:
    """Milliseconds."""
    import torch

    rng = np.random.default_rng(0)
    X = rng.normal(size=(16, 16)).astype(np.float32)
    model = reference(16, 3, TreeParams())
    for _ in range(n_trees):
        weights = torch.tensor(rng.normal(size=(16, 3)), dtype=torch.float32)
        (model(X, requires_grad=True) * weights).mean(dim=0).sum().backward()
        model.step()
    rows = rng.normal(size=(n, 16)).astype(np.float32)
    return [cpu_time(lambda: model(rows, requires_grad=False))]


def reference(
    n_features: int, n_outputs: int, params: TreeParams, *, control_variates: bool = False
) -> Any:
    """The peer's model of such trees, rate 0.1."""
    from gbrl.models.gbt import GBTModel

    tree = {"max_depth": params.depth, "n_bins": params.n_bins, "grow_policy": params.grow}
    return GBTModel(
        input_dim=n_features,
        output_dim=n_outputs,
        tree_struct=tree | {"min_data_in_leaf": params.min_data_in_leaf, "par_th": 2},
        optimizers={"algo": "SGD", "lr": 0.1, "start_idx": 0, "stop_idx": n_outputs},
        params={
            "split_score_func": {"cosine": "Cosine", "l2": "L2"}[params.score],
            "generator_type": params.generator.capitalize(),
            "control_variates": control_variates,
        },
        verbose=0,
        device="cpu",
    )


def our_agent(task: str) -> list[float]:
    """Steps a CPU second, and the reward at the end."""
    from stable_baselines3.common.env_util import make_vec_env

    from ...mdp.gbrl import PPO_GBRL, CategoricalMiniGrid

    steps, n_envs, n_steps, batch, epochs, gamma, gae, policy_lr, value_lr = TASKS[task][0]
    wrapper = CategoricalMiniGrid if _grid(task) else None
    env = make_vec_env(task, n_envs, seed=0, wrapper_class=wrapper)
    settings: dict[str, Any] = {"n_steps": n_steps, "batch_size": batch, "n_epochs": epochs}
    settings |= {"gamma": gamma, "gae_lambda": gae, "seed": 0}
    warm = PPO_GBRL(env, **(settings | {"n_epochs": 1}))
    warm.learn(n_envs * n_steps)  # compiles
    return _trained(PPO_GBRL(env, policy_lr=policy_lr, value_lr=value_lr, **settings), steps)


def peer_agent(task: str) -> list[float]:
    """Steps a CPU second, and the reward at the end, of PPO with networks."""
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env

    torch.set_num_threads(1)
    n_envs, n_steps, batch, epochs, gamma, gae, rate = TASKS[task][1]
    wrapper = None
    if _grid(task):
        from minigrid import wrappers

        wrapper = wrappers.FlatObsWrapper
    env = make_vec_env(task, int(n_envs), seed=0, wrapper_class=wrapper)
    model = PPO(
        "MlpPolicy", env, n_steps=int(n_steps), batch_size=int(batch), n_epochs=int(epochs),
        gamma=gamma, gae_lambda=gae, learning_rate=rate, seed=0, device="cpu",
    )  # fmt: skip
    return _trained(model, int(TASKS[task][0][0]))


def _trained(model: Any, steps: int) -> list[float]:
    start = time.process_time()
    model.learn(steps)
    rate = model.num_timesteps / (time.process_time() - start)
    return [rate, float(np.mean([one["r"] for one in model.ep_info_buffer]))]


def _grid(task: str) -> bool:
    if task.startswith("MiniGrid"):
        import minigrid

        return bool(minigrid)
    return False


def alone(name: str, *arguments: Any) -> list[float] | None:
    """A function of this module in a process of its own on one core; None without the peer."""
    cores = sorted(os.sched_getaffinity(0))
    code = (
        f"import os; os.sched_setaffinity(0, {{{cores[os.getpid() % len(cores)]}}}); "
        f"from fenchel.experiments.benchmarks import gbrl; print(*gbrl.{name}{arguments!r})"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    out = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    if out.returncode and "ModuleNotFoundError" in out.stderr:
        return None
    if out.returncode:
        raise RuntimeError(f"{name}{arguments!r}: {out.stderr[-2000:]}")
    return [float(word) for word in out.stdout.splitlines()[-1].split()]


def main() -> None:
    """Measure and print."""
    console = Console()
    for title, kind, sizes, names in (
        ("One tree, milliseconds", "growth", GROWTH, ("n", "features", "outputs", "depth")),
        ("Prediction, milliseconds", "prediction", PREDICTION, ("trees", "n")),
    ):
        table = numbers(title, (*names, "fenchel", "gbrl", "ratio"))
        for size in sizes:
            own, peer = (alone(f"{who}_{kind}", *size) for who in ("our", "peer"))
            assert own is not None
            ratio = peer[0] / own[0] if peer else None
            row = [digits(own[0]), digits(peer[0] if peer else None), digits(ratio)]
            table.add_row(*(f"{number}" for number in size), *row)
        console.print(table)
    title = f"A tree on a fresh batch, milliseconds, mean of {FRESH}"
    table = numbers(title, ("library", "time", "over fenchel"))
    times = {name: alone(f"{name}_fresh", FRESH) for name in ("our", "gbrl", "catboost", "xgboost")}
    own = times["our"]
    assert own is not None
    for name, found in times.items():
        if found is not None:
            library = "fenchel" if name == "our" else name
            table.add_row(library, digits(found[0]), digits(found[0] / own[0]))
    console.print(table)
    table = numbers("PPO on CartPole, steps a CPU second", ("trees", "steps"))
    if (found := alone("throughput", 16_000)) is not None:
        for trees, rate in list(zip(found[::2], found[1::2], strict=True))[::7]:
            table.add_row(f"{trees:,.0f}", digits(rate))
        console.print(table)
    table = numbers(
        "PPO, environment steps a CPU second, and reward at the end",
        ("task", "steps", "trees", "networks", "ratio", "reward, trees", "reward, networks"),
    )
    for task, (settings, _) in TASKS.items():
        own, peer = alone("our_agent", task), alone("peer_agent", task)
        if own is None or peer is None:
            continue
        row = [digits(own[0]), digits(peer[0]), digits(own[0] / peer[0])]
        table.add_row(task, f"{settings[0]:,}", *row, f"{own[1]:.3g}", f"{peer[1]:.3g}")
    console.print(table)
