"""Spatial intelligence for robots from ordinary cameras: coverage, motion, rewards and spatial questions."""
