"""Learners for episodic MDPs with adversarial losses, and the game they play.

What is the papers' and what is ours:

- The rates, the log-barrier with its refined analysis, the magnitude-reduced estimator and the
  empirical inverse in place of matrix geometric resampling are those of Dai, Luo, Wei, Zimmert
  (ICML 2023); the skeleton with dilated bonuses and the baseline those of Luo, Wei, Lee (NeurIPS
  2021).
- All constants, of the theory's tuning and of the bounds, are derived here from the lemmas that the
  tests check. The practical tuning keeps the exponents in K, and was found by search; nothing is
  proven for it.
- The papers reach the transitions through a simulator. So do we when given a `Simulator`; given a
  model, transitions are known, states enumerated, and covariances exact unless sampled ones are
  asked for.
- Without a simulator, `SimulatorFreeLogBarrier` and `SimulatorFreeExponentialWeights` are
  reconstructions: the rates are the papers', the pseudo-code was not seen. Their exponents in K are
  derived from these rates; the random halves of an epoch and the oracle's cover are ours. They have
  no bound here.
- On benign games the plain estimator with exponential weights and the tuning of √K does as well as
  the log-barrier or the reduced estimator, with no bound. The figure `rare_state` has games where
  it fails; they are ours.
- The papers have no experiments. Games, sizes and figures are ours.
"""
