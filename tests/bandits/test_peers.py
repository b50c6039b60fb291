"""Agreement with peers where they run the same algorithm."""

import numpy as np
import pytest

from fenchel.bandits import UCB1
from fenchel.core import BanditFeedback


def test_ucb1_plays_the_arms_that_river_plays() -> None:
    bandit = pytest.importorskip("river.bandit")
    n_arms, horizon = 5, 500
    rng = np.random.default_rng(0)
    losses = rng.random((n_arms, horizon))  # of an arm's n-th play: no ties between arms
    ours = UCB1(n_arms)
    ours.reset(1, horizon, rng)
    river = bandit.UCB(delta=1, seed=0)
    plays = {"ours": np.zeros(n_arms, dtype=int), "river": np.zeros(n_arms, dtype=int)}
    for t in range(horizon):
        arm = ours.act()
        loss = losses[arm, plays["ours"][arm]]
        ours.update(BanditFeedback(arm, loss))
        plays["ours"][arm] += 1
        theirs = river.pull(list(range(n_arms)))
        river.update(theirs, 1.0 - losses[theirs, plays["river"][theirs]])
        plays["river"][theirs] += 1
        if t >= n_arms:  # each takes every arm once, in its own order
            assert theirs == arm[0]
    assert (plays["ours"] == plays["river"]).all()
    assert (plays["ours"] > 1).all()
