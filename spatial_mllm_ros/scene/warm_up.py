"""Compiles, or loads from the cache, what the first frames would otherwise wait for."""

import struct
from dataclasses import replace

import numpy as np

from ..config import Config
from ..frames import Camera, Frame
from ..geometry.registration import Registration
from ..rvl import decode_rvl
from ..topic_names import is_depth_rectified, is_rectified
from .pipeline import SpatialPipeline

ONE_PIXEL = struct.pack("<iiI", 1, 1, 0x10000000)  # as RVL has it: one pixel without a reading
FRAMES = 24  # more than are selected and in reserve


def warm_up(config: Config) -> None:
    """Run a throw-away pipeline over a few tiny frames: each sees more than the last, so that all that can happen does.

    The first time after installation that takes some seconds, later half a second.
    """
    topics = [config.camera(name) for name in config.cameras]
    camera = Camera(config.cameras[0], "", 32, 24, np.array([[20.0, 0, 15.5], [0, 20, 11.5], [0, 0, 1]]))
    pipeline = SpatialPipeline(replace(config, coverage=replace(config.coverage, frames=1, max_voxels=1)))
    for i in range(FRAMES):
        depth = np.zeros((24, 32), np.float32)
        depth[: 1 + i] = config.coverage.max_depth / 2
        world_from_camera = np.eye(4)
        world_from_camera[0, 3] = i * config.coverage.max_depth
        pipeline.process(Frame(1 + i, camera, depth=depth, world_from_camera=world_from_camera))
    alike = (is_depth_rectified(t.depth_topic, t.image_topic) == is_rectified(t.image_topic) for t in topics)
    if any(t.depth_info_topic for t in topics) or not all(alike):
        Registration(camera, camera, np.eye(4)).register(depth)
    if any(t.depth_transport == "compressedDepth" for t in topics):
        decode_rvl(memoryview(ONE_PIXEL))
