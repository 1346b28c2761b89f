"""Geometry from colour alone: windows of frames through a model, aligned to one map."""

from .anchors import Refused
from .placed import WORLD, WORLD_GAUGE, Gauge, Placed
from .window_map import Aligned, WindowMap
from .windows import FrameWindows

__all__ = ["WORLD", "WORLD_GAUGE", "Aligned", "FrameWindows", "Gauge", "Placed", "Refused", "WindowMap"]
