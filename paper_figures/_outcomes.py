"""Outcomes that settle nothing, and say why."""

from dataclasses import replace

import numpy as np

from fenchel.experiments import Outcome, Verdict


def at_budget(outcome: Outcome, n_steps: int, paper_steps: int) -> Outcome:
    """An outcome at a part of the paper's steps, which can settle nothing."""
    if n_steps >= paper_steps:
        return outcome
    here = f"{n_steps / 1000:g}k of {paper_steps / 1000:g}k steps"
    return unsettled(outcome, f"inconclusive at this budget, {here}")


def unsettled(outcome: Outcome, why: str) -> Outcome:
    """What was measured, which settles nothing."""
    return replace(outcome, verdict=Verdict.INCONCLUSIVE, detail=f"{outcome.detail}; {why}")


def not_run(why: str = "not run at this budget") -> Outcome:
    """Of what was left out."""
    return Outcome(0.0, -np.inf, np.inf, Verdict.INCONCLUSIVE, why)
