"""Learners for episodic MDPs with adversarial losses, and the game they play.

What is the papers' and what is ours:

- The rates, the log-barrier with its refined analysis, the magnitude-reduced estimator and the
  empirical inverse in place of matrix geometric resampling are those of Dai, Luo, Wei, Zimmert
  (ICML 2023); the skeleton with dilated bonuses and the baseline those of Luo, Wei, Lee (NeurIPS
  2021).
- All constants, of the theory's tuning and of the bounds, are derived here from the lemmas that the
  tests check. The practical tuning keeps the exponents in K, and was found by search; nothing is
  proven for it.
- The papers reach the transitions through a simulator. Here they are known, states are enumerated,
  and covariances are exact unless an estimator is asked for.
- The papers have no experiments. Games, sizes and figures are ours.
"""
