"""The stochastically extended adversarial (SEA) model of online convex optimisation.

Between i.i.d. losses and an adversary: each round nature picks a distribution, the loss is drawn
from it. Instances know how noisy (σ) and how adversarial (Σ) they are, exactly; learners carry
bounds in these quantities, and inequalities that each run must meet.
"""

from .dynamic import Ader, DynamicOptimisticOMD
from .finite import LeastAbsolute, LeastSquares, RandomCoordinate
from .instance import SEAInstance
from .noisy import FixedHessianQuadratic, LinearRegression, NoisyLinear, NoisyQuadratic
from .optimistic_ftrl import OptimisticFTL, OptimisticFTRL
from .optimistic_omd import OMD, ImplicitOMD, OptimisticOMD
from .optimistic_ons import OptimisticONS
from .quantities import SEAQuantities
from .random_order import RandomOrder
from .shifts import alternating, corrupted, drifting, rotating, switching
from .tuning import tuned
from .universal import Universal

__all__ = [
    "OMD",
    "Ader",
    "DynamicOptimisticOMD",
    "FixedHessianQuadratic",
    "ImplicitOMD",
    "LeastAbsolute",
    "LeastSquares",
    "LinearRegression",
    "NoisyLinear",
    "NoisyQuadratic",
    "OptimisticFTL",
    "OptimisticFTRL",
    "OptimisticOMD",
    "OptimisticONS",
    "RandomCoordinate",
    "RandomOrder",
    "SEAInstance",
    "SEAQuantities",
    "Universal",
    "alternating",
    "corrupted",
    "drifting",
    "rotating",
    "switching",
    "tuned",
]
