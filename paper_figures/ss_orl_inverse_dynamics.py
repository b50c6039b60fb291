"""Inverse dynamics: what longer windows and densities are good for.

Runs:    python paper_figures/ss_orl_inverse_dynamics.py [--preset quick|standard|paper]
Shows:   against k, the states before the current one that the model sees: left, −log density of the
         actions of trajectories held out; middle, mean square of the labels less these actions;
         right, the same where states and actions determine the next state, for unlabelled
         trajectories with returns as the labelled ones (inside) and others (outside), q = 0.3.
         Means of seeds, with 95 % intervals left and middle. Dotted: the least possible for one
         who knows which policy acts, which is computed.
Games:   two hidden policies, one a trajectory, on a point in the plane with
         v' = 0.95 v + 0.1 a + ε, ε ~ N(0, 0.05² I), p' = p + 0.1 v', a = tanh u, u ~ N(m, 0.2² I).
         Orbits: m steers to the unit circle and round it, either way. Pushes: m = −p − v ± b (−1)ᵗ,
         b = (½, ½): which sign it was does not show in the state. Right: PointMass2D and, in
         standard, the replay of SAC on Pendulum, self-generated. Two layers of 128; paper has the
         sizes of the paper's code, and Hopper.
Claims:  k = 1 is surer than k = 0 where several policies act; densities are better than a constant
         one; labels are worse outside than inside; labels trained for their square have less.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing

from fenchel.core.checks import FloatArray
from fenchel.experiments import (
    Claim,
    Experiment,
    Figure,
    Outcome,
    Results,
    at_least,
    at_most,
    main,
)
from fenchel.paper_figures._offline import (
    FULL,
    OWN,
    PAPER,
    PENDULUM,
    POINT,
    SMALL,
    load,
    make_inverse,
    source,
)
from fenchel.paper_figures._outcomes import not_run
from fenchel.paper_figures._statistics import bars, interval

ORBITS, PUSHES = "orbits", "pushes"
HIDDEN = (ORBITS, PUSHES)
COLOUR = {ORBITS: "C0", PUSHES: "C1"}
STYLE = {True: "-o", False: "--s"}  # densities, single actions
KIND = {True: "density", False: "single action"}
NOISE, SPREAD, PUSH = 0.05, 0.2, 0.5  # deviations of ε and of u, and b
N_TRAIN, N_HELD, N_STEPS = 200, 100, 50  # trajectories and their length
QUALITY = 0.3
EDGE = 1e-6  # off ±1, as in the model


@dataclass(frozen=True)
class Settings:
    """Models, one a seed, task, window and kind."""

    tasks: tuple[str, ...]
    windows: tuple[int, ...]
    size: str
    n_steps: int
    n_seeds: int
    n_replications: int = 1


@dataclass(frozen=True)
class Config:
    """One model; see `Settings`. `source` is that of `_offline`."""

    task: str
    window: int
    stochastic: bool
    size: str
    n_steps: int
    source: str


def cells(settings: Settings) -> list[Config]:
    return [
        Config(
            task, window, stochastic, settings.size, settings.n_steps,
            "" if task in HIDDEN else source(task),
        )
        for task in settings.tasks
        for window in settings.windows
        for stochastic in (True, False)
    ]  # fmt: skip


# ---------------------------------------------------------------------------- hidden policies


def steered(task: str, state: FloatArray, sign: FloatArray, t: int) -> FloatArray:
    """m, (n, 2), for states (n, 4) and signs (n, 1)."""
    p, v = state[:, :2], state[:, 2:]
    if task == PUSHES:
        return -p - v + sign * PUSH * (-1) ** t
    radius = np.linalg.norm(p, axis=1, keepdims=True)
    outward = p / np.maximum(radius, 1e-9)
    around = outward[:, ::-1] * [-1, 1]
    return 2 * (0.5 * (1 - radius) * outward + 0.5 * sign * around - v)


def collect(task: str, n: int, rng: np.random.Generator) -> tuple[Any, FloatArray, FloatArray]:
    """Trajectories as a dataset, and of its rows m and ε + 0.1 a, (N, 2) each."""
    from fenchel.offline_rl import OfflineDataset

    sign = rng.choice([-1.0, 1.0], (n, 1))
    state = np.hstack([rng.uniform(-1, 1, (n, 2)), np.zeros((n, 2))])
    columns: list[tuple[FloatArray, ...]] = []
    for t in range(N_STEPS):
        m = steered(task, state, sign, t)
        a = np.tanh(m + SPREAD * rng.standard_normal((n, 2)))
        pushed = 0.1 * a + NOISE * rng.standard_normal((n, 2))
        v = 0.95 * state[:, 2:] + pushed
        following = np.hstack([state[:, :2] + 0.1 * v, v])
        columns.append((state, a, following, m, pushed))
        state = following
    s, a, s_next, m, pushed = (
        np.stack(column, axis=1).reshape(n * N_STEPS, -1)
        for column in zip(*columns, strict=True)
    )  # fmt: skip
    s, a, s_next = (x.astype(np.float32) for x in (s, a, s_next))
    none = np.zeros(n * N_STEPS, np.float32)  # there are no rewards
    ends = np.arange(n * N_STEPS) % N_STEPS == N_STEPS - 1
    return OfflineDataset(s, a, none, s_next, none.astype(bool), ends), m, pushed


def least(actions: FloatArray, m: FloatArray, pushed: FloatArray) -> dict[str, float]:
    """−log density, and mean square error, of one who knows s, s' and the policy.

    By dimension, p(u | s, s') ∝ N(u; m, 0.2²) N(pushed − 0.1 tanh u; 0, 0.05²), a = tanh u, with
    the normalising integral and the mean of a by Gauss and Hermite.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    u = m[..., None] + SPREAD * nodes  # (N, 2, 60)

    def likelihood(a: FloatArray, of: FloatArray) -> FloatArray:
        return np.exp(-0.5 * ((of - 0.1 * a) / NOISE) ** 2)

    joint = likelihood(np.tanh(u), pushed[..., None]) * weights / np.sqrt(2 * np.pi)
    total = joint.sum(axis=-1)
    mean = (joint * np.tanh(u)).sum(axis=-1) / total
    z = (np.arctanh(actions) - m) / SPREAD
    density = np.exp(-0.5 * z * z) / (SPREAD * np.sqrt(2 * np.pi)) / (1 - actions**2)
    each = -np.log(density * likelihood(actions, pushed) / total)
    return {
        "least_nll": float(each.sum(axis=1).mean()),
        "least_error": float(((mean - actions) ** 2).mean()),
    }


# ------------------------------------------------------------------------------------ models


def make_run(config: Config, seed: int) -> pd.DataFrame:
    """One row: nll, constant_nll, inside, outside, least_nll, least_error; nan: there is none."""
    import torch

    from fenchel.offline_rl import proxy_error, split_labelled

    row = dict.fromkeys(("nll", "inside", "outside", "least_nll", "least_error"), np.nan)
    bound = 1.0
    if config.size == SMALL:
        torch.set_num_threads(1)
    if config.task in HIDDEN:
        streams = [np.random.default_rng(one) for one in np.random.SeedSequence(seed).spawn(2)]
        train, _, _ = collect(config.task, N_TRAIN, streams[0])
        held, m, pushed = collect(config.task, N_HELD, streams[1])
        row |= least(held.actions.astype(float), m, pushed)
    else:
        dataset, bound = load(config.task, config.source, seed)
        split = split_labelled(dataset, QUALITY, rng=np.random.default_rng(seed))
        train, held = split.dataset, dataset.subset(split.inside)
    kind = {"window": config.window, "stochastic": config.stochastic}
    model = make_inverse(config.size, config.n_steps, bound, seed, **kind)
    model.fit(train, progress=False)
    if config.task in HIDDEN:
        row["inside"] = float(((model.predict(held).actions - held.actions) ** 2).mean())
    else:
        row |= proxy_error(split, train.relabel(model.predict(train).actions))
    if config.stochastic:
        row["nll"] = -float(model.log_likelihood(held).mean())
    known = train.actions[train.labelled]
    row["constant_nll"] = constant_nll(known / bound, held.actions / bound, bound)
    return pd.DataFrame([row])


def constant_nll(known: Any, held: Any, bound: float) -> float:
    """Of tanh of a Gaussian with the mean and deviation of the known actions, in [−1, 1]."""
    u, v = (np.arctanh(np.clip(a.astype(float), EDGE - 1, 1 - EDGE)) for a in (known, held))
    mean, deviation = u.mean(axis=0), u.std(axis=0)
    log_density = -0.5 * ((v - mean) / deviation) ** 2 - np.log(deviation * np.sqrt(2 * np.pi))
    log_density -= np.log(1 - np.tanh(v) ** 2) + np.log(bound)
    return -float(log_density.sum(axis=1).mean())


# ------------------------------------------------------------------------------------ figure

Data = dict[tuple[str, int, bool], pd.DataFrame]  # by task, window and kind; a row a seed


def summarise(results: Results[Settings, Config]) -> Data:
    return {
        (c.task, c.window, c.stochastic): pd.concat(list(results[c]), ignore_index=True)
        for c in results.configs
    }


def windows(data: Data, task: str) -> list[int]:
    return sorted({window for name, window, _ in data if name == task})


def draw(data: Data) -> Drawing:
    figure, axes = plt.subplots(1, 3, figsize=(13, 4))
    for task in HIDDEN:
        at, color = windows(data, task), COLOUR[task]
        for ax, name, kinds in ((axes[0], "nll", (True,)), (axes[1], "inside", (True, False))):
            for kind in kinds:
                middle, bar = bars(data[task, k, kind][name] for k in at)
                label = f"{task}, {KIND[kind]}"
                ax.errorbar(at, middle, bar, fmt=STYLE[kind], color=color, capsize=3, label=label)
        bounds = data[task, at[0], True][["least_nll", "least_error"]].mean()
        for ax, bound in zip(axes, bounds, strict=False):
            ax.axhline(bound, color=color, ls=":")
    others = list(dict.fromkeys(task for task, _, _ in data if task not in HIDDEN))
    for place, task in enumerate(others):
        at = windows(data, task)
        for kind in (True, False):
            for name, alpha in (("inside", 0.45), ("outside", 1.0)):
                means = [float(data[task, k, kind][name].mean()) for k in at]
                style: dict[str, Any] = {"color": f"C{place + 2}", "alpha": alpha}
                if kind:
                    style["label"] = f"{task.split('/')[0]}, {name}"
                axes[2].plot(at, means, STYLE[kind], **style)
    titles = ("−log density of actions, nats", "error of labels", "error, deterministic worlds")
    for ax, title in zip(axes, titles, strict=True):
        ax.set(title=title, xlabel="k, states before the current one")
        ax.set_xticks(windows(data, PUSHES))
        ax.legend(fontsize=8)
    axes[2].set_yscale("log")
    return figure


def surer(task: str) -> Callable[[Data], Outcome]:
    def check(data: Data) -> Outcome:
        none, one = (data[task, k, True]["nll"].to_numpy() for k in (0, 1))
        return at_least(*interval(none - one), 0.0, "nats, k = 0 less k = 1")

    return check


def better_than_constant(data: Data) -> Outcome:
    """The task and window with the smallest difference."""
    found = [
        (interval(table["constant_nll"] - table["nll"]), f"{task}, k = {k}")
        for (task, k, kind), table in data.items()
        if kind
    ]
    worst, where = min(found, key=lambda pair: pair[0][0])
    return at_least(*worst, 0.0, f"nats, least at {where}")


def worse_outside(task: str) -> Callable[[Data], Outcome]:
    def check(data: Data) -> Outcome:
        if (task, 0, False) not in data:
            return not_run()
        table = data[task, 0, False]
        ratio = np.log10(table["outside"] / table["inside"])
        return at_least(*interval(ratio), 0.0, "log10 of error outside / inside, k = 0")

    return check


def trained_for_it(data: Data) -> Outcome:
    """Over both tasks and all windows, by seeds."""
    ratios = [
        np.log10(data[task, k, False]["inside"] / data[task, k, True]["inside"])
        for task in HIDDEN
        for k in windows(data, task)
    ]
    return at_most(*interval(np.mean(ratios, axis=0)), 0.0, "log10 of error, single / density")


def notes(data: Data) -> list[str]:
    lines = []
    for task in HIDDEN:
        nll = ", ".join(
            f"k = {k}: {data[task, k, True]['nll'].mean():.3f}" for k in windows(data, task)
        )
        table = data[task, 0, True]
        lines.append(
            f"{task}, −log density: {nll}; least with the policy known "
            f"{table['least_nll'].mean():.3f}, constant {table['constant_nll'].mean():.3f}"
        )
    return lines


EXPERIMENT = Experiment(
    name="ss_orl_inverse_dynamics",
    summary="windows and densities in inverse dynamics",
    run=make_run,
    cells=cells,
    presets={
        "quick": Settings((*HIDDEN, POINT), (0, 1), SMALL, 1000, n_seeds=2),
        "standard": Settings((*HIDDEN, POINT, PENDULUM), (0, 1, 3), SMALL, 2000, n_seeds=5),
        "paper": Settings(
            (*HIDDEN, POINT, PENDULUM, "Hopper-v5/medium-replay"),
            (0, 1, 2, 3, 4), FULL, 100_000, n_seeds=5,
        ),
    },
)  # fmt: skip
FIGURE = Figure(
    name="ss_orl_inverse_dynamics",
    title="Windows and densities in inverse dynamics",
    paper="Zheng, Henaff, Amos, Grover 2023; tasks ours",
    experiment=EXPERIMENT,
    summarise=summarise,
    draw=draw,
    claims=[
        Claim(PAPER, "windows are surer: policies whose pushes are hidden", surer(PUSHES)),
        Claim(PAPER, "windows are surer: orbits either way", surer(ORBITS)),
        Claim(OWN, "densities are better than a constant one", better_than_constant),
        Claim(OWN, "PointMass2D: labels are worse outside", worse_outside(POINT)),
        Claim(OWN, "Pendulum: labels are worse outside", worse_outside(PENDULUM)),
        Claim(OWN, "labels trained for their square have less of it", trained_for_it),
    ],
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
