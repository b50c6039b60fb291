"""Finite, linear and adversarial MDPs, and agents that act in gymnasium worlds. Still empty."""
