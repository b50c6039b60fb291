"""Gradient steps of offline agents against CORL's and d3rlpy's.

Random data, 17 observations and 6 actions, 100 trajectories of 1000 steps; sizes and batches alike
(DT: width 128, 3 layers, 1 head, windows of 20 steps, 64 of them). CPU seconds of one thread, after
the first steps, of whole training loops with the draws of their batches: CORL's scripts run as they
are, with stand-ins for what they import of environments and logs. Each loop has a process of its
own, by turns; medians of three.

CORL (tinkoff-ai/CORL) is no package: FENCHEL_CORL names the folder of a checkout. d3rlpy needs an
older gymnasium and has an environment of its own: `make bench-peers`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.text import Text

from ._tables import digits, numbers

N_STEPS = {"TD3+BC": 600, "IQL": 600, "CQL": 40, "DT": 30}
TARGETS = {"TD3+BC": (1.3, 1.3), "IQL": (1.3, 1.3), "CQL": (1.3, 1.3), "DT": (None, 2.0)}
D3RLPY_PYTHON = Path(__file__).resolve().parents[2] / ".venv-d3rlpy" / "bin" / "python"
N_ROUNDS = 3

# Each program is given a name and n, and prints the steps a CPU second of the last 4/5 of n.
START = """
import sys, time
import numpy as np, torch
torch.set_num_threads(1)
name, n = sys.argv[1], int(sys.argv[2])
rng, size = np.random.default_rng(0), 100_000
data = {
    "observations": rng.normal(size=(size, 17)).astype("f4"),
    "actions": rng.uniform(-1, 1, (size, 6)).astype("f4"),
    "rewards": rng.normal(size=size).astype("f4"),
    "next_observations": rng.normal(size=(size, 17)).astype("f4"),
    "terminals": np.zeros(size, bool),
    "timeouts": np.arange(size) % 1000 == 999,
}
times, out = {}, sys.stdout
sys.stdout = sys.stderr
def mark(step):
    times[step] = time.process_time()
def done():
    print(0.8 * n / (times[n] - times[n // 5]), file=out)
"""
FENCHEL = (
    START
    + """
from fenchel.offline_rl import CQL, IQL, TD3BC, DecisionTransformer, OfflineDataset
agent = {
    "TD3+BC": TD3BC, "IQL": IQL, "CQL": CQL,
    "DT": lambda **more: DecisionTransformer(width=128, n_layers=3, n_heads=1, **more),
}[name](seed=0, device="cpu")
agent.fit(
    OfflineDataset(**data), n, every=n // 5, callback=lambda _, step, __: mark(step),
    batch_size=64 if name == "DT" else 256, progress=False,
)
done()
"""
)
CORL = (
    START
    + """
import types
folder = sys.argv[3]
class Space:
    def __init__(self, n): self.shape, self.high = (n,), np.ones(n)
    def seed(self, _): pass
class Env:
    observation_space, action_space = Space(17), Space(6)
    def seed(self, _): pass
    def get_dataset(self): return data
count = [0]
class Done(Exception): pass
def log(*_, **__):
    count[0] += 1
    mark(count[0])
    if count[0] == n: raise Done
same = lambda env, *_: env
stubs = {
    "gym": dict(
        Env=Env, make=lambda _: Env(),
        wrappers=types.SimpleNamespace(TransformObservation=same, TransformReward=same),
    ),
    "d4rl": dict(qlearning_dataset=lambda _: data),
    "wandb": dict(init=lambda **_: None, run=types.SimpleNamespace(save=lambda: None), log=log),
    "pyrallis": dict(wrap=lambda: lambda function: function),
}
for module, content in stubs.items():
    sys.modules[module] = types.ModuleType(module)
    sys.modules[module].__dict__.update(content)
sys.path.insert(0, folder + "/algorithms/offline")
script = __import__({"TD3+BC": "td3_bc", "IQL": "iql", "CQL": "cql", "DT": "dt"}[name])
config = script.TrainConfig(device="cpu")
if name == "DT":
    config.num_workers, config.target_returns = 0, ()  # batches by this process, no evaluation
try:
    script.train(config)
except Done:
    done()
"""
)
D3RLPY = (
    START
    + """
import d3rlpy
from d3rlpy.algos import CQLConfig, DecisionTransformerConfig, IQLConfig, TD3PlusBCConfig
from d3rlpy.models.encoders import VectorEncoderFactory
dataset = d3rlpy.dataset.MDPDataset(
    data["observations"], data["actions"], data["rewards"], data["terminals"], data["timeouts"]
)
three = dict.fromkeys(
    ("actor_encoder_factory", "critic_encoder_factory"), VectorEncoderFactory([256, 256, 256])
)
config = {
    "TD3+BC": lambda: TD3PlusBCConfig(batch_size=256),
    "IQL": lambda: IQLConfig(batch_size=256),
    "CQL": lambda: CQLConfig(batch_size=256, **three),
    "DT": lambda: DecisionTransformerConfig(
        batch_size=64, context_size=20, num_layers=3, num_heads=1,
        encoder_factory=VectorEncoderFactory([128], exclude_last_activation=True),
    ),
}[name]()
agent = config.create(device="cpu:0")
own = agent.update
count = [0]
def update(batch):
    found = own(batch)
    count[0] += 1
    mark(count[0])
    return found
agent.update = update
agent.fit(
    dataset, n_steps=n, n_steps_per_epoch=n, show_progress=False,
    logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
)
done()
"""
)


def rate(python: Path | str, program: str, name: str, *more: str) -> float:
    """Gradient steps a CPU second."""
    command = [str(python), "-c", program, name, str(N_STEPS[name]), *more]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


def main() -> None:
    """Measure and print."""
    console = Console()
    programs = {"fenchel": (sys.executable, FENCHEL)}
    folder = os.environ.get("FENCHEL_CORL", "")
    if folder:
        programs["CORL"] = (sys.executable, CORL)
    else:
        console.print(Text("CORL is skipped: FENCHEL_CORL names no checkout of it", "yellow"))
    if D3RLPY_PYTHON.exists():
        programs["d3rlpy"] = (str(D3RLPY_PYTHON), D3RLPY)
    else:
        console.print(Text("d3rlpy is skipped: it is not installed (make bench-peers)", "yellow"))
    table = numbers(
        "Gradient steps a CPU second, one thread",
        ("agent", "fenchel", "CORL", "/ CORL", "target", "d3rlpy", "/ d3rlpy", "target"),
    )
    for name in track(N_STEPS, "measuring", console=console, transient=True):
        found: dict[str, list[float]] = {peer: [] for peer in programs}
        for _ in range(N_ROUNDS):
            for peer, (python, program) in programs.items():
                found[peer].append(rate(python, program, name, folder))
        rates = {peer: float(np.median(each)) for peer, each in found.items()}
        row = [name, digits(rates["fenchel"], 3)]
        for peer, target in zip(("CORL", "d3rlpy"), TARGETS[name], strict=True):
            other = rates.get(peer)
            ratio = None if other is None else rates["fenchel"] / other
            row += [digits(other, 3), digits(ratio, 3), "" if target is None else f"{target}"]
        table.add_row(*row)
    console.print(table)
