"""A recording's coverage, motion and rewards on one HTML page."""

from .analysis import Analysis, Recorder
from .objects import ObjectTrack, read_tracks
from .page import render
from .recording import analyse

__all__ = ["Analysis", "ObjectTrack", "Recorder", "analyse", "read_tracks", "render"]
