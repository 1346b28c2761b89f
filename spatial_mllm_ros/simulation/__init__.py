"""Seeded furnished rooms as RGB-D recordings with exact poses and tracks, for demos, tests and training data."""

from .bag import simulate
from .room import Room, SimFrame, SimObject, make_room

__all__ = ["Room", "SimFrame", "SimObject", "make_room", "simulate"]
