"""Declare, run, store, check and report experiments."""
