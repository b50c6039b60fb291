"""Online convex optimisation, experts and bandits."""

from .adagrad import AdaGradDiagonal, AdaGradFull
from .adahedge import AdaHedge
from .coin_betting import CoinBetting
from .convex_environments import AdversarialConvex, OnlineRegression
from .corral import Corral
from .environments import (
    AdaptiveBandit,
    AdversarialBandit,
    BayesianBernoulliBandit,
    BernoulliBandit,
    CorruptedBandit,
    History,
    NonstationaryBandit,
    StochasticallyConstrainedAdversary,
    drifting,
    punish_favourite,
)
from .epsilon_greedy import EpsilonGreedy
from .exp3 import Exp3, Exp3IX, Exp3P
from .explore_then_commit import ExploreThenCommit
from .fixed_share import FixedShare
from .follow_perturbed_leader import FTPL
from .ftrl import FTRLBandit, FTRLExperts
from .gradient_descent import OGD, AdaGradNorm
from .hedge import Hedge
from .kl_ucb import KLUCB
from .log_barrier import LogBarrierFTRL
from .log_barrier_omd import BroadOMD
from .mirror_descent import DualAveraging, MirrorDescent
from .moss import MOSS
from .online_newton import ONS
from .squint import Squint
from .thompson import GaussianThompsonSampling, ThompsonSampling
from .tsallis_inf import TsallisINF
from .ucb import UCB1

__all__ = [
    "FTPL",
    "KLUCB",
    "MOSS",
    "OGD",
    "ONS",
    "UCB1",
    "AdaGradDiagonal",
    "AdaGradFull",
    "AdaGradNorm",
    "AdaHedge",
    "AdaptiveBandit",
    "AdversarialBandit",
    "AdversarialConvex",
    "BayesianBernoulliBandit",
    "BernoulliBandit",
    "BroadOMD",
    "CoinBetting",
    "Corral",
    "CorruptedBandit",
    "DualAveraging",
    "EpsilonGreedy",
    "Exp3",
    "Exp3IX",
    "Exp3P",
    "ExploreThenCommit",
    "FTRLBandit",
    "FTRLExperts",
    "FixedShare",
    "GaussianThompsonSampling",
    "Hedge",
    "History",
    "LogBarrierFTRL",
    "MirrorDescent",
    "NonstationaryBandit",
    "OnlineRegression",
    "Squint",
    "StochasticallyConstrainedAdversary",
    "ThompsonSampling",
    "TsallisINF",
    "drifting",
    "punish_favourite",
]
