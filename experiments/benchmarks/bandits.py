"""Bandit learners: arm pulls per CPU second, against river, SMPyBandits, mabwiser and fused loops.

All play K = 10 Bernoulli arms, losses of mean 0.5 and 0.6, in one thread, in this one process
(SMPyBandits and mabwiser, which need an older numpy, in their own: `make bench-peers`; SMPyBandits
without its optional kernels, which import a module that numba no longer has). fenchel's time
includes the environment and the exact account of the regret. The fused loop is the least that a
compiled program of the same arithmetic needs: it plays all rounds of one replication after the
other and can do nothing else. Peers play one replication, their fastest. CPU time, best of three;
ratios are to be compared, not rates, which differ between machines.
"""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numba import njit
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...bandits import (
    KLUCB,
    MOSS,
    UCB1,
    BernoulliBandit,
    EpsilonGreedy,
    Exp3,
    Exp3IX,
    ThompsonSampling,
    TsallisINF,
)
from ...core import Learner, run

N_ARMS = 10
MEANS = np.array([0.5] + [0.6] * 9)  # mean losses
HORIZON = 100_000
TARGETS = {  # times the fastest peer
    "UCB1": 100,
    "KL-UCB": 100,
    "MOSS": 100,
    "Thompson": 10,
    "Exp3": 50,
    "Tsallis-INF": 100,
}
LEARNERS: dict[str, Callable[[int], Learner]] = {
    "UCB1": UCB1,
    "KL-UCB": KLUCB,
    "MOSS": MOSS,
    "ε-greedy": lambda n_arms: EpsilonGreedy(n_arms, epsilon=0.1),
    "Thompson": ThompsonSampling,
    "Exp3": Exp3,
    "Exp3-IX": Exp3IX,
    "Tsallis-INF": TsallisINF,
}
PEERS_PYTHON = Path(__file__).resolve().parents[2] / ".venv-peers" / "bin" / "python"


def pulls_per_second(play: Callable[[], object], pulls: int, repeats: int = 3) -> float:
    """Best rate of `repeats` calls of `play`, by CPU time of the process."""
    rates = []
    for _ in range(repeats):
        start = time.process_time()
        play()
        rates.append(pulls / (time.process_time() - start))
    return max(rates)


def fenchel_rate(name: str, n_replications: int, horizon: int) -> float:
    """Rate of `fenchel.core.run`."""
    learner, environment = LEARNERS[name](N_ARMS), BernoulliBandit(MEANS)
    run(learner, environment, 100, n_replications=n_replications, seed=0)  # load the kernels
    return pulls_per_second(
        lambda: run(learner, environment, horizon, n_replications=n_replications, seed=0),
        horizon * n_replications,
    )


@njit(cache=True)
def fused_ucb1(means, horizon, n_replications):  # type: ignore[no-untyped-def]
    """UCB1, all rounds of a replication at a stretch."""
    regret = 0.0
    size = len(means)
    for _ in range(n_replications):
        average, width, counts = np.zeros(size), np.zeros(size), np.zeros(size)
        for t in range(horizon):
            arm = t
            if t >= size:
                scale = math.sqrt(2 * math.log(t))
                least = np.inf
                for k in range(size):
                    index = average[k] - scale * width[k]
                    if index < least:
                        least, arm = index, k
            loss = 1.0 if np.random.random() < means[arm] else 0.0
            counts[arm] += 1
            average[arm] += (loss - average[arm]) / counts[arm]
            width[arm] = 1 / math.sqrt(counts[arm])
            regret += means[arm] - means[0]
    return regret


@njit(cache=True)
def fused_exp3(means, horizon, n_replications):  # type: ignore[no-untyped-def]
    """Exp3, all rounds of a replication at a stretch."""
    regret = 0.0
    size = len(means)
    eta = math.sqrt(2 * math.log(size) / (horizon * size))
    for _ in range(n_replications):
        losses, p = np.zeros(size), np.zeros(size)
        for _ in range(horizon):
            least = losses.min()
            total = 0.0
            for k in range(size):
                p[k] = math.exp(-eta * (losses[k] - least))
                total += p[k]
            u, arm, below = np.random.random() * total, 0, p[0]
            while below <= u and arm < size - 1:
                arm += 1
                below += p[arm]
            for k in range(size):
                regret += p[k] / total * (means[k] - means[0])
            if np.random.random() < means[arm]:
                losses[arm] += total / p[arm]
    return regret


@njit(cache=True)
def fused_tsallis(means, horizon, n_replications):  # type: ignore[no-untyped-def]
    """Tsallis-INF, Newton from the last root, all rounds of a replication at a stretch."""
    regret = 0.0
    size = len(means)
    for _ in range(n_replications):
        losses, p = np.zeros(size), np.zeros(size)
        for t in range(1, horizon + 1):
            eta = 2 / math.sqrt(t)
            x = losses.min() - 2 / eta
            while True:
                total, slope = 0.0, 0.0
                for k in range(size):
                    v = 2 / (eta * (losses[k] - x))
                    p[k] = v * v
                    total += p[k]
                    slope += p[k] * v
                if abs(total - 1) < 1e-12:
                    break
                x -= 2 * (math.sqrt(total) - 1) * total / slope / eta
            u, arm, below = np.random.random() * total, 0, p[0]
            while below <= u and arm < size - 1:
                arm += 1
                below += p[arm]
            for k in range(size):
                regret += p[k] * (means[k] - means[0])
            if np.random.random() < means[arm]:
                losses[arm] += 1 / p[arm]
    return regret


FUSED = {"UCB1": fused_ucb1, "Exp3": fused_exp3, "Tsallis-INF": fused_tsallis}


def fused_rate(name: str, n_replications: int, horizon: int) -> float:
    """Rate of the fused loop."""
    loop = FUSED[name]
    loop(MEANS, 20, 1)  # compile
    return pulls_per_second(lambda: loop(MEANS, horizon, n_replications), horizon * n_replications)


def river_rates(horizon: int) -> dict[str, float]:
    """Rates of river's policies on rewards 1 − loss; empty where river is not installed."""
    try:
        from river import bandit, proba
    except ModuleNotFoundError:
        return {}
    policies = {
        "UCB1": lambda: bandit.UCB(delta=1, seed=1),
        "Exp3": lambda: bandit.Exp3(gamma=0.1, seed=1),
        "ε-greedy": lambda: bandit.EpsilonGreedy(epsilon=0.1, seed=1),
        "Thompson": lambda: bandit.ThompsonSampling(reward_obj=proba.Beta(), seed=1),
    }
    arms, means = list(range(N_ARMS)), MEANS.tolist()

    def play(policy) -> None:  # type: ignore[no-untyped-def]
        rng = random.Random(0)
        for _ in range(horizon):
            arm = policy.pull(arms)
            policy.update(arm, float(rng.random() >= means[arm]))

    return {
        name: pulls_per_second(lambda make=make: play(make()), horizon)  # type: ignore[misc]
        for name, make in policies.items()
    }


OLDER = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
sys.stdout, out = sys.stderr, sys.stdout
import numpy as np
from mabwiser.mab import MAB, LearningPolicy
from SMPyBandits.Policies import MOSS, UCB, EpsilonGreedy, Exp3, Thompson, klUCB
from SMPyBandits.Policies.TsallisInf import TsallisInf
means, horizon = json.loads(sys.argv[1]), int(sys.argv[2])
n_arms = len(means)
def best(play, horizon):
    rates = []
    for _ in range(3):
        start = time.process_time()
        play(horizon)
        rates.append(horizon / (time.process_time() - start))
    return max(rates)
def smpybandits(make):
    def play(horizon):
        rng, policy = np.random.RandomState(0), make(n_arms)
        policy.startGame()
        for _ in range(horizon):
            arm = policy.choice()
            policy.getReward(arm, float(rng.random_sample() >= means[arm]))
    return play
def mabwiser(policy):
    def play(horizon):
        rng = np.random.RandomState(0)
        mab = MAB(arms=list(range(n_arms)), learning_policy=policy, seed=1)
        mab.fit(list(range(n_arms)), [1] * n_arms)
        for _ in range(horizon):
            arm = mab.predict()
            mab.partial_fit([arm], [int(rng.random_sample() >= means[arm])])
    return play
json.dump({
    "SMPyBandits": {
        "UCB1": best(smpybandits(UCB), horizon),
        "KL-UCB": best(smpybandits(klUCB), horizon // 10),
        "MOSS": best(smpybandits(MOSS), horizon),
        "ε-greedy": best(smpybandits(lambda n: EpsilonGreedy(n, epsilon=0.1)), horizon),
        "Exp3": best(smpybandits(lambda n: Exp3(n, gamma=0.1)), horizon),
        "Thompson": best(smpybandits(Thompson), horizon),
        "Tsallis-INF": best(smpybandits(TsallisInf), horizon // 10),
    },
    "mabwiser": {
        "UCB1": best(mabwiser(LearningPolicy.UCB1(alpha=1)), horizon // 10),
        "ε-greedy": best(mabwiser(LearningPolicy.EpsilonGreedy(0.1)), horizon // 10),
        "Thompson": best(mabwiser(LearningPolicy.ThompsonSampling()), horizon // 10),
    },
}, out)
"""


def older_rates(horizon: int) -> dict[str, dict[str, float]]:
    """Rates of SMPyBandits and mabwiser, in the environment of `make bench-peers` if it exists."""
    if not PEERS_PYTHON.exists():
        return {"SMPyBandits": {}, "mabwiser": {}}
    command = [str(PEERS_PYTHON), "-c", OLDER, json.dumps(MEANS.tolist()), str(horizon)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rates: dict[str, dict[str, float]] = json.loads(done.stdout)
    return rates


def peak_memory(horizon: int) -> float:
    """Peak resident memory in MiB of a process that plays Exp3 on 256 replications."""
    program = (
        "import resource, sys; from fenchel.core import run; "
        "from fenchel.bandits import Exp3, BernoulliBandit; "
        f"run(Exp3({N_ARMS}), BernoulliBandit({MEANS.tolist()}), {horizon}, n_replications=256); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    command = [sys.executable, "-c", program]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _times(rate: float, other: float | None) -> str:
    return (
        ""
        if other is None
        else f"{rate / other:,.2f}"
        if rate < 10 * other
        else f"{rate / other:,.0f}"
    )


def main() -> None:
    """Measure and print."""
    console = Console()
    peers = {"river": river_rates(HORIZON // 5), **older_rates(HORIZON // 10)}
    for peer, rates in peers.items():
        if not rates:
            remedy = "make bench" if peer == "river" else "make bench-peers"
            console.print(Text(f"{peer} is skipped: it is not installed ({remedy})", "yellow"))
    table = Table(
        title=f"Million arm pulls per CPU second, K = {N_ARMS}, T = {HORIZON:,}, one thread",
        caption="R: replications; / fused: ratio to the fused compiled loop; / peer: ratio to the "
        "fastest of river, SMPyBandits (SMPyB.) and mabwiser (mabw.), which play one replication",
    )
    table.add_column("learner", no_wrap=True)
    for column in ("R", "fenchel", "/ fused", "river", "SMPyB.", "mabw.", "/ peer", "target"):
        table.add_column(column, justify="right", no_wrap=True)
    for name in LEARNERS:
        own = {peer: rates[name] for peer, rates in peers.items() if name in rates}
        fastest = max(own.values()) if own else None
        for n_replications in (256, 64, 1):
            horizon = HORIZON if name != "Thompson" else HORIZON // 5
            rate = fenchel_rate(name, n_replications, horizon)
            fused = fused_rate(name, n_replications, horizon) if name in FUSED else None
            target = "1" if n_replications == 1 and own else ""
            if n_replications == 256 and name in TARGETS:
                target = str(TARGETS[name])
            table.add_row(
                name,
                str(n_replications),
                f"{rate / 1e6:.3g}",
                _times(rate, fused),
                *(f"{own[peer] / 1e6:.2g}" if peer in own else "" for peer in peers),
                _times(rate, fastest),
                target,
            )
    console.print(table)
    console.print(f"Peak memory, Exp3, 256 replications, T = 10^6: {peak_memory(10**6):.0f} MiB")
