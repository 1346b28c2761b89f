"""Checkpoints: found, checked, loaded, joined, written."""
