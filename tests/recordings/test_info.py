"""Recordings in short."""

import os
import warnings

import pytest

from spatial_mllm_ros.recordings import BagError, BagWarning, recording_info

from .recordings import START, STEP, data_file, rgbd, transforms, write, write_ros2


def test_summary(tmp_path):
    recording = write(tmp_path, rgbd(31), "mcap")
    info = recording_info(recording)
    assert info.start_ns == START
    assert info.duration == pytest.approx(30 * STEP / 1e9)
    assert info.nbytes == sum(f.stat().st_size for f in recording.iterdir())
    topics = {t.name: t for t in info.topics}
    assert list(topics) == sorted(topics)
    assert topics["/tf"].count == 31
    assert topics["/tf"].rate == pytest.approx(30, rel=1e-6)
    assert topics["/tf_static"].rate == 0
    assert topics["/camera/color/image_raw"].type == "sensor_msgs/msg/Image"
    assert list(info.cameras) == ["camera"]
    assert info.has_depth and info.has_poses
    assert info.poses.world_frame == "odom"
    assert info.problems == []


def test_problems_are_listed_and_not_said_twice(tmp_path):
    recording = write_ros2(tmp_path / "r", [m for m in rgbd(60, poses="none") if "depth" not in m[0]])
    file = data_file(recording)
    os.truncate(file, file.stat().st_size // 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error", BagWarning)
        info = recording_info(recording)
    assert not info.has_depth and not info.has_poses
    texts = "; ".join(info.problems)
    for expected in ("cut off", "no camera poses", "camera 'camera' has no depth"):
        assert expected in texts


def test_no_camera(tmp_path):
    info = recording_info(write_ros2(tmp_path / "r", [("/tf", START, transforms())]))
    assert info.cameras == {}
    assert "has no camera" in info.problems[0]


def test_empty_recording(tmp_path):
    info = recording_info(write_ros2(tmp_path / "r", []))
    assert (info.duration, info.topics) == (0, [])


def test_not_a_recording(tmp_path):
    with pytest.raises(BagError, match="does not exist"):
        recording_info(tmp_path / "none")
