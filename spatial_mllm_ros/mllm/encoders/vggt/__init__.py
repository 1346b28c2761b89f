"""VGGT (Wang et al., CVPR 2025): cameras, depth and points from RGB frames, and the tokens behind them."""

from .config import VGGTConfig
from .model import VGGT, VGGTOutput

__all__ = ["VGGT", "VGGTConfig", "VGGTOutput"]
