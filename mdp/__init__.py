"""Finite, linear and adversarial MDPs."""

from .adversarial.baselines import FollowTheLeader, UniformPolicy
from .adversarial.covariance import EmpiricalInverse, ExactCovariance, MatrixGeometricResampling
from .adversarial.environment import AdversarialMDP
from .adversarial.lazy import ModelSimulator, Simulator
from .adversarial.oreps import OREPS
from .adversarial.policy_optimization import (
    DilatedBonusPolicyOptimization,
    LogBarrierPolicyOptimization,
    MagnitudeReducedPolicyOptimization,
)
from .adversarial.simulator_free import SimulatorFreeExponentialWeights, SimulatorFreeLogBarrier
from .adversarial.uobreps import UOBREPS
from .losses import chain_flip, constrained_losses, stochastic_losses
from .models import LinearMDP, chain, random_linear_mdp, tabular_as_linear

__all__ = [
    "OREPS",
    "UOBREPS",
    "AdversarialMDP",
    "DilatedBonusPolicyOptimization",
    "EmpiricalInverse",
    "ExactCovariance",
    "FollowTheLeader",
    "LinearMDP",
    "LogBarrierPolicyOptimization",
    "MagnitudeReducedPolicyOptimization",
    "MatrixGeometricResampling",
    "ModelSimulator",
    "Simulator",
    "SimulatorFreeExponentialWeights",
    "SimulatorFreeLogBarrier",
    "UniformPolicy",
    "chain",
    "chain_flip",
    "constrained_losses",
    "random_linear_mdp",
    "stochastic_losses",
    "tabular_as_linear",
]
