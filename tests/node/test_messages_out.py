"""Records to messages: numbers arrive unchanged, markers are bounded."""

import numpy as np
from scipy.spatial.transform import Rotation
from visualization_msgs.msg import Marker

from spatial_mllm_ros.frames import Camera, Frame
from spatial_mllm_ros.motion.rewards import Reward
from spatial_mllm_ros.node import convert
from spatial_mllm_ros.node.markers import FRUSTUM_DEPTH, MOST_VOXELS, coverage_markers, frustum
from spatial_mllm_ros.scene.memory import Selected

CAMERA = Camera("front", "optical", 100, 50, np.array([[50.0, 0, 49.5], [0, 25, 24.5], [0, 0, 1]]))
NS = 12_000_000_345


def posed(rotation=None, translation=(0, 0, 0)):
    matrix = np.eye(4)
    matrix[:3, :3] = (rotation or Rotation.identity()).as_matrix()
    matrix[:3, 3] = translation
    return matrix


def test_selected_frames_carry_pose_and_counts():
    turn = Rotation.from_euler("xyz", [0.3, -0.2, 2.9])
    selected = [Selected(Frame(NS + i, CAMERA), 10 + i, i, posed(turn, (1, 2, i))) for i in range(3)]
    msg = convert.selected_frames(selected, NS, "odom")
    assert (msg.header.stamp.sec, msg.header.stamp.nanosec, msg.header.frame_id) == (12, 345, "odom")
    assert [f.pose.position.z for f in msg.frames] == [0, 1, 2]
    q = msg.frames[1].pose.orientation
    assert np.allclose([q.x, q.y, q.z, q.w], turn.as_quat(canonical=True))
    assert [(f.voxels, f.unique_voxels, f.camera) for f in msg.frames] == [(10 + i, i, "front") for i in range(3)]
    assert convert.selected_frames([], 0, "odom").frames == []


def test_a_lost_reward_is_not_valid_and_zero():
    msg = convert.motion_reward(Reward(NS, "mug", 5, False), "odom")
    assert (msg.valid, msg.reward, msg.confidence, msg.target) == (False, 0.0, 0.0, "mug")


def test_a_frustum_opens_as_the_lens_does():
    ends = frustum(CAMERA, posed(translation=(0, 0, 1)))
    assert ends.shape == (16, 3)
    corners = np.unique(ends[ends[:, 2] > 1], axis=0)
    # 100 pixels at fx 50 and 50 pixels at fy 25: the pyramid is twice as wide and as high as it is deep
    assert np.allclose(np.abs(corners[:, :2]), FRUSTUM_DEPTH)
    assert np.allclose(corners[:, 2], 1 + FRUSTUM_DEPTH)
    assert len(corners) == 4


def test_markers_are_bounded_and_empty_ones_deleted():
    centers = np.arange(3 * (MOST_VOXELS + 5000), dtype=float).reshape(-1, 3)
    selected = [Selected(Frame(NS, CAMERA), 1, 1, posed())]
    voxels, frusta = coverage_markers(centers, 0.1, selected, NS, "odom").markers
    assert len(voxels.points) == MOST_VOXELS
    assert voxels.points[-1].z == centers[-1, 2]
    assert (voxels.action, voxels.type) == (Marker.ADD, Marker.CUBE_LIST)
    assert len(frusta.points) == 16
    empty = coverage_markers(np.zeros((0, 3)), 0.1, [], NS, "odom").markers
    assert [m.action for m in empty] == [Marker.DELETE] * 2
