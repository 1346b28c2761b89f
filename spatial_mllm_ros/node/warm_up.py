"""Compiles, or loads from the cache, what the first frames would otherwise wait for."""

import numpy as np

from ..config import Config
from ..frames import Camera, Frame
from ..scene.pipeline import SpatialPipeline


def warm_up(config: Config) -> None:
    """Run a throw-away pipeline over a few tiny frames, one more than are selected."""
    camera = Camera(config.cameras[0], "", 32, 24, np.array([[20.0, 0, 15.5], [0, 20, 11.5], [0, 0, 1]]))
    depth = np.full((24, 32), config.coverage.max_depth / 2, np.float32)
    pipeline = SpatialPipeline(config)
    for i in range(config.coverage.frames + 1):
        world_from_camera = np.eye(4)
        world_from_camera[0, 3] = i * config.coverage.max_depth
        pipeline.process(Frame(1 + i, camera, depth=depth, world_from_camera=world_from_camera))
