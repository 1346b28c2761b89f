"""The recording that every case differs from: read as it is."""

import numpy as np
import pytest

from spatial_mllm_ros.config import CoverageParams
from spatial_mllm_ros.recordings import read_frames
from spatial_mllm_ros.scene.selection import select
from tests.cases import room
from tests.recordings.recordings import write_ros2


def test_an_ordinary_recording(tmp_path):
    bag = write_ros2(tmp_path / "bag", room.recording())
    found = list(read_frames(bag))
    assert len(found) == room.FRAMES
    first, last = found[0].world_from_camera, found[-1].world_from_camera
    assert np.linalg.norm(last[:3, 3] - first[:3, 3]) == pytest.approx(room.way(), abs=1e-9)
    assert select(found, CoverageParams()).voxels_seen == room.right_voxels()
