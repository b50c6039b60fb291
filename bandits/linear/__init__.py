"""Linear bandits: arms or points with losses that are linear in known features."""

from .contextual_environments import AdversarialContextualBandit, LinearContextualBandit
from .convex_bodies import ConvexBodyBandit, PointFeedback
from .design import Design, g_optimal_design
from .environments import AdversarialLinearBandit, LinearBandit
from .exp2 import Exp2
from .lin_exp3 import LinExp3
from .lin_ts import LinTS
from .log_det import LogDetFTRL, MatrixExperts, MatrixFeedback
from .oful import OFUL, LinUCB
from .scrible import SCRiBLe

__all__ = [
    "OFUL",
    "AdversarialContextualBandit",
    "AdversarialLinearBandit",
    "ConvexBodyBandit",
    "Design",
    "Exp2",
    "LinExp3",
    "LinTS",
    "LinUCB",
    "LinearBandit",
    "LinearContextualBandit",
    "LogDetFTRL",
    "MatrixExperts",
    "MatrixFeedback",
    "PointFeedback",
    "SCRiBLe",
    "g_optimal_design",
]
