"""Offline RL: datasets, inverse dynamics, offline algorithms (torch). Still empty."""
