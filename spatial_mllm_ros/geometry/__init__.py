"""Cameras, poses and transforms over time."""
