"""fenchel: online learning, reinforcement-learning theory and optimal transport.

Learners carry their proven bounds as functions, figures measure what papers claim, and comparators
are exact. Packages are imported by name: `fenchel.core`, `fenchel.bandits`, `fenchel.mdp`,
`fenchel.offline_rl`, `fenchel.ot`, `fenchel.experiments`.
"""

__version__ = "0.1.0"
