"""Learners for episodic MDPs with adversarial losses, and the game they play."""
