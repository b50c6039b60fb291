"""What all of fenchel shares: potentials, sets, divergences, the loop, regret, guarantees."""

from .environment import BanditFeedback, Environment, FullFeedback
from .guarantee import Guarantee
from .interaction import run
from .learner import Learner
from .regret import BestFixedArm, Estimate, Trace

__all__ = [
    "BanditFeedback",
    "BestFixedArm",
    "Environment",
    "Estimate",
    "FullFeedback",
    "Guarantee",
    "Learner",
    "Trace",
    "run",
]
