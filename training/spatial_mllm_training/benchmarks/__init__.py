"""Answers scored as the published benchmarks score them."""
