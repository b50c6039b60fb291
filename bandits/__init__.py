"""Online convex optimisation, experts and bandits."""

from .environments import (
    AdaptiveBandit,
    AdversarialBandit,
    BayesianBernoulliBandit,
    BernoulliBandit,
    History,
    StochasticallyConstrainedAdversary,
    punish_favourite,
)
from .exp3 import Exp3, Exp3IX
from .ftrl import FTRLBandit, FTRLExperts
from .gradient_descent import OGD, AdaGradNorm
from .hedge import Hedge
from .log_barrier import LogBarrierFTRL
from .online_newton import ONS
from .thompson import ThompsonSampling
from .tsallis_inf import TsallisINF
from .ucb import UCB1

__all__ = [
    "OGD",
    "ONS",
    "UCB1",
    "AdaGradNorm",
    "AdaptiveBandit",
    "AdversarialBandit",
    "BayesianBernoulliBandit",
    "BernoulliBandit",
    "Exp3",
    "Exp3IX",
    "FTRLBandit",
    "FTRLExperts",
    "Hedge",
    "History",
    "LogBarrierFTRL",
    "StochasticallyConstrainedAdversary",
    "ThompsonSampling",
    "TsallisINF",
    "punish_favourite",
]
