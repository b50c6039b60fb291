"""What all of fenchel shares: potentials, sets, divergences, the loop, regret, guarantees."""

from .environment import (
    BanditFeedback,
    Environment,
    FullFeedback,
    GradientFeedback,
    Loss,
    TrajectoryFeedback,
)
from .guarantee import Guarantee, Pathwise
from .interaction import run
from .learner import Learner
from .regret import BestFixedArm, Estimate, Trace

__all__ = [
    "BanditFeedback",
    "BestFixedArm",
    "Environment",
    "Estimate",
    "FullFeedback",
    "GradientFeedback",
    "Guarantee",
    "Learner",
    "Loss",
    "Pathwise",
    "Trace",
    "TrajectoryFeedback",
    "run",
]
