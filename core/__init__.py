"""What all of fenchel shares: potentials, sets, divergences, the loop, regret, guarantees."""

from .environment import BanditFeedback, Environment, FullFeedback
from .guarantee import Guarantee
from .interaction import run
from .learner import Learner
from .regret import Estimate, Trace

__all__ = [
    "BanditFeedback",
    "Environment",
    "Estimate",
    "FullFeedback",
    "Guarantee",
    "Learner",
    "Trace",
    "run",
]
