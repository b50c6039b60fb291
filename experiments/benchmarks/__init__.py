"""Benchmarks against peers: `fenchel bench [NAME]`; never part of the tests."""
