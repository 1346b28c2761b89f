"""Memory over a stream of 20,000 frames in a scene that never ends."""

import gc
from collections.abc import Iterator

import numpy as np

from benchmarks.common import Row, resident_mb, show
from spatial_mllm_ros.config import Config
from spatial_mllm_ros.frames import Camera, Frame
from spatial_mllm_ros.scene.pipeline import SpatialPipeline

FRAMES = 20_000
SAMPLES = (1_000, 5_000, 20_000)


def corridor(count: int) -> Iterator[Frame]:
    """Frames of 80x60 pixels of an endless uneven wall that a camera walks along, 5 cm a frame, 30 frames a second."""
    random = np.random.default_rng(0)
    camera = Camera("camera", "optical", 80, 60, np.array([[70.0, 0, 39.5], [0, 70.0, 29.5], [0, 0, 1]]))
    for i in range(count):
        pose = np.eye(4)
        pose[0, 3] = 0.05 * i
        depth = (2 + 0.3 * random.standard_normal((60, 80))).astype(np.float32)
        image = random.integers(0, 255, (60, 80, 3), np.uint8)
        yield Frame(i * 33_333_333, camera, image=image, depth=depth, world_from_camera=pose, world_frame="odom")


def measure(count: int) -> dict[int, tuple[float, float, int]]:
    """Frames so far -> resident memory, MB; frames held by the memory, MB; voxels seen."""
    pipeline = SpatialPipeline(Config())
    out = {}
    for i, frame in enumerate(corridor(count), 1):
        pipeline.process(frame)
        if i in SAMPLES or i == count:
            gc.collect()
            state = pipeline.memory.state()
            out[i] = resident_mb(), state.nbytes / 1e6, state.voxels_seen
    return out


def run(count: int = FRAMES) -> Iterator[Row]:
    samples = measure(count)
    first = samples[min(samples)][0]
    for i, (resident, held, seen) in samples.items():
        about = f"{held:.1f} MB of frames, {seen:,} voxels seen"
        yield Row(f"memory after {i:,} frames", f"{resident:.1f} MB resident", about, f"{resident / first:.3f}")


if __name__ == "__main__":
    show(run())
