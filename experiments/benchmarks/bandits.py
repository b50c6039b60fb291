"""Bandit learners: arm pulls per CPU second, against river, SMPyBandits and a fused compiled loop.

All play K = 10 Bernoulli arms, losses of mean 0.5 and 0.6, in one thread, in this one process
(SMPyBandits, which needs an older numpy, in its own: `make bench-peers`). fenchel's time includes
the environment and the exact account of the regret. The fused loop is the least that a compiled
program of the same arithmetic needs: it plays all rounds of one replication after the other and can
do nothing else. Peers play one replication, their fastest. CPU time, best of three; ratios are to
be compared, not rates, which differ between machines.
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

from ...bandits import UCB1, BernoulliBandit, Exp3, ThompsonSampling, TsallisINF
from ...core import run

N_ARMS = 10
MEANS = np.array([0.5] + [0.6] * 9)  # mean losses
HORIZON = 100_000
TARGETS = {"UCB1": 100, "Exp3": 50, "Tsallis-INF": 100, "Thompson": 10}  # times the fastest peer
LEARNERS = {
    "UCB1": UCB1,
    "Exp3": Exp3,
    "Tsallis-INF": TsallisINF,
    "Thompson": ThompsonSampling,
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


SMPYBANDITS = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
sys.stdout, out = sys.stderr, sys.stdout
import numpy as np
from SMPyBandits.Policies import UCB, Exp3, Thompson
from SMPyBandits.Policies.TsallisInf import TsallisInf
means, horizon = json.loads(sys.argv[1]), int(sys.argv[2])
def rate(make, horizon):
    rates = []
    for _ in range(3):
        rng, policy = np.random.RandomState(0), make(len(means))
        policy.startGame()
        start = time.process_time()
        for _ in range(horizon):
            arm = policy.choice()
            policy.getReward(arm, float(rng.random_sample() >= means[arm]))
        rates.append(horizon / (time.process_time() - start))
    return max(rates)
json.dump({
    "UCB1": rate(UCB, horizon),
    "Exp3": rate(lambda n: Exp3(n, gamma=0.1), horizon),
    "Thompson": rate(Thompson, horizon),
    "Tsallis-INF": rate(TsallisInf, horizon // 10),
}, out)
"""


def smpybandits_rates(horizon: int) -> dict[str, float]:
    """Rates of SMPyBandits in the environment of `make bench-peers`; empty where it is missing."""
    if not PEERS_PYTHON.exists():
        return {}
    command = [str(PEERS_PYTHON), "-c", SMPYBANDITS, json.dumps(MEANS.tolist()), str(horizon)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rates: dict[str, float] = json.loads(done.stdout)
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
    river, smpybandits = river_rates(HORIZON // 5), smpybandits_rates(HORIZON // 10)
    for peer, rates, remedy in (
        ("river", river, "make bench"),
        ("SMPyBandits", smpybandits, "make bench-peers"),
    ):
        if not rates:
            console.print(Text(f"{peer} is skipped: it is not installed ({remedy})", "yellow"))
    table = Table(
        title=f"Million arm pulls per CPU second, K = {N_ARMS}, T = {HORIZON:,}, one thread",
        caption="R: replications; / fused: ratio to the fused compiled loop; / peer: ratio to the "
        "faster of river and SMPyBandits (SMPyB.), which play one replication",
    )
    table.add_column("learner", no_wrap=True)
    for column in ("R", "fenchel", "/ fused", "river", "SMPyB.", "/ peer", "target"):
        table.add_column(column, justify="right", no_wrap=True)
    for name in LEARNERS:
        peers = [rates[name] for rates in (river, smpybandits) if name in rates]
        fastest = max(peers) if peers else None
        for n_replications in (256, 64, 1):
            horizon = HORIZON if name != "Thompson" else HORIZON // 5
            rate = fenchel_rate(name, n_replications, horizon)
            fused = fused_rate(name, n_replications, horizon) if name in FUSED else None
            target = {256: f"{TARGETS[name]}", 1: "1"}.get(n_replications, "")
            table.add_row(
                name,
                str(n_replications),
                f"{rate / 1e6:.3g}",
                _times(rate, fused),
                f"{river[name] / 1e6:.3g}" if name in river else "",
                f"{smpybandits[name] / 1e6:.3g}" if name in smpybandits else "",
                _times(rate, fastest),
                target,
            )
    console.print(table)
    console.print(f"Peak memory, Exp3, 256 replications, T = 10^6: {peak_memory(10**6):.0f} MiB")
