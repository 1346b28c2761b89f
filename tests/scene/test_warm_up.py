"""What warming up promises: no frame after it meets machine code that is not loaded."""

import subprocess
import sys
from pathlib import Path

CHILD = """
import numpy as np
from spatial_mllm_ros.config import build
from spatial_mllm_ros.coverage import distinct, keyset, ledger, voxels
from spatial_mllm_ros.frames import Pixels
from spatial_mllm_ros.scene.pipeline import SpatialPipeline
from spatial_mllm_ros.scene.warm_up import warm_up
from tests.scene.wall import frame

def compiled():
    modules = distinct, keyset, ledger, voxels
    kernels = {kernel for m in modules for kernel in vars(m).values() if hasattr(kernel, "signatures")}
    return {kernel.__name__: len(kernel.signatures) for kernel in kernels}

warm_up(build({"cameras": ["front"]}))
before = compiled()
pipeline = SpatialPipeline(build({"cameras": ["front"], "coverage.frames": 4, "coverage.max_voxels": 1024}))
for i in range(60):
    update = pipeline.process(frame(i, 0.1 * i)).update
assert update.evicted is not None and pipeline.memory.state().voxels_seen > 1024
pipeline.memory.frames(max_frames=2)
new = {name for name, count in compiled().items() if count > before[name]}
print(sorted(new))
"""


def test_no_later_frame_waits_for_machine_code():
    root = Path(__file__).parents[2]
    child = subprocess.run([sys.executable, "-c", CHILD], cwd=root, capture_output=True, text=True)
    assert child.stdout == "[]\n", child.stderr
