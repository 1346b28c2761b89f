"""Benchmarks, each read from the folder that its authors publish."""
