"""Finite, linear and adversarial MDPs."""

from .adversarial.covariance import EmpiricalInverse, ExactCovariance, MatrixGeometricResampling
from .adversarial.environment import AdversarialMDP
from .adversarial.policy_optimization import (
    DilatedBonusPolicyOptimization,
    LogBarrierPolicyOptimization,
    MagnitudeReducedPolicyOptimization,
)
from .losses import chain_flip, constrained_losses, stochastic_losses
from .models import LinearMDP, chain, random_linear_mdp, tabular_as_linear

__all__ = [
    "AdversarialMDP",
    "DilatedBonusPolicyOptimization",
    "EmpiricalInverse",
    "ExactCovariance",
    "LinearMDP",
    "LogBarrierPolicyOptimization",
    "MagnitudeReducedPolicyOptimization",
    "MatrixGeometricResampling",
    "chain",
    "chain_flip",
    "constrained_losses",
    "random_linear_mdp",
    "stochastic_losses",
    "tabular_as_linear",
]
