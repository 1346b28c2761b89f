"""Offline the order of the log does not matter: stamps do."""

import numpy as np
import pytest

from spatial_mllm_ros.assembler import FrameAssembler
from spatial_mllm_ros.config import CoverageParams, build
from spatial_mllm_ros.recordings import BagWarning, FrameReader, gathered, ordered, read_frames
from spatial_mllm_ros.scene.selection import select
from tests.cases import room
from tests.cases.room import COLOR, DEPTH, FRAMES, INFO, START, STEP
from tests.recordings.recordings import T, header, write_ros2

pytestmark = pytest.mark.filterwarnings("error::spatial_mllm_ros.recordings.BagWarning")
SECOND = 1_000_000_000
TOPICS = ["/tf_static", "/tf", INFO, DEPTH, COLOR]


def logged(path, messages):
    """A recording of (topic, log time, message), written in order of log time."""
    return write_ros2(path, sorted(messages, key=lambda m: m[1]))


def one_after_the_other(topics):
    """All of one topic, then all of the next, logged a millisecond apart."""
    ordered = sorted(room.recording(), key=lambda m: topics.index(m[0]))
    return [(topic, START + i * 1_000_000, message) for i, (topic, _, message) in enumerate(ordered)]


def assert_whole(bag, frames=FRAMES, **topics):
    found = list(read_frames(bag, **topics))
    assert [f.stamp_ns for f in found] == [START + i * STEP for i in range(frames)]
    for i, frame in enumerate(found):
        np.testing.assert_allclose(frame.world_from_camera, room.camera_pose(i), atol=1e-9)
        metres, picture = room.see(room.camera_pose(i))
        np.testing.assert_allclose(frame.depth, room.millimetres(metres) / 1000, atol=1e-6)
        assert (frame.image == picture).all()
    return found


@pytest.mark.parametrize("topic", ["/tf", "/tf_static", INFO, DEPTH, COLOR])
@pytest.mark.parametrize("late", [SECOND * 3 // 2, 10 * SECOND])
def test_a_topic_that_is_logged_late(tmp_path, topic, late):
    found = [(name, ns + late * (name == topic), message) for name, ns, message in room.recording()]
    assert_whole(logged(tmp_path / "bag", found))


@pytest.mark.parametrize("held", [0, 400_000, 2**28])  # none, a few messages, all
@pytest.mark.parametrize("topics", [TOPICS, TOPICS[::-1], [COLOR, "/tf", DEPTH, "/tf_static", INFO]])
def test_topics_one_after_the_other(tmp_path, monkeypatch, topics, held):
    monkeypatch.setattr(ordered, "HELD", held)
    found = assert_whole(logged(tmp_path / "bag", one_after_the_other(topics)))
    assert select(found, CoverageParams()).voxels_seen == room.right_voxels()


def test_topics_of_different_files(tmp_path):
    folder = tmp_path / "bag"
    folder.mkdir()
    for i, topics in enumerate(([COLOR], [DEPTH, INFO], ["/tf", "/tf_static"])):
        part = write_ros2(tmp_path / f"part{i}", [m for m in room.recording() if m[0] in topics])
        next(part.glob("*.mcap")).rename(folder / f"{'cab'[i]}.mcap")
    assert_whole(folder)


@pytest.mark.parametrize("when", [0, FRAMES // 2, FRAMES - 1])
def test_camera_info_that_came_once(tmp_path, when):
    found = [m for m in room.recording() if m[0] != INFO or m[1] == START + when * STEP]
    assert_whole(logged(tmp_path / "bag", found))


@pytest.mark.parametrize("log", [lambda ns: START, lambda ns: ns if ns > START + 2 * STEP else 0])
def test_log_times_that_say_nothing(tmp_path, log):
    assert_whole(write_ros2(tmp_path / "bag", [(topic, log(ns), m) for topic, ns, m in room.recording()]))


def test_messages_within_a_topic_out_of_order(tmp_path):
    """Six at a time in reverse."""

    def log(ns):
        i = (ns - START) // STEP
        return START + (i // 6 * 6 + 5 - i % 6) * STEP

    assert_whole(logged(tmp_path / "bag", [(topic, log(ns), message) for topic, ns, message in room.recording()]))


def test_a_loop_in_the_recording_is_a_second_run(tmp_path):
    """Played twice into one recording, with other poses the second time."""
    moved = room.pose(translation=(0.0, 0.0, 1.0))
    again = [m for m in room.recording() if m[0] != "/tf"]
    for i in range(FRAMES):
        ns = START + i * STEP
        again.append(("/tf", ns, room.transforms((ns, "odom", "base_link", moved @ room.base_pose(i)))))
    again = [(topic, ns + 5 * SECOND, message) for topic, ns, message in again]
    found = list(read_frames(logged(tmp_path / "bag", room.recording() + again)))
    assert [f.stamp_ns for f in found] == 2 * [START + i * STEP for i in range(FRAMES)]
    for i, frame in enumerate(found):
        right = room.camera_pose(i % FRAMES)
        np.testing.assert_allclose(frame.world_from_camera, moved @ right if i >= FRAMES else right, atol=1e-9)


def slow(period, hole=None):
    """Poses at every so many frames of a camera on a straight way, where interpolation is exact."""
    out = room.recording(moves=False, seen_from=lambda i: straight(i) @ room.MOUNT)
    for i in range(0, FRAMES + period, period):
        if i != hole:
            ns = START + i * STEP
            out.append(("/tf", ns, room.transforms((ns, "odom", "base_link", straight(i)))))
    return out


def straight(i):
    return room.pose(translation=(0.9 + 0.03 * i, 0.8, 0.75))


def test_slow_poses_are_interpolated_as_far_as_is_allowed(tmp_path):
    bag = logged(tmp_path / "bag", slow(10))
    with pytest.warns(BagWarning, match=r"27 images left out, no pose: .* pose.max_gap \(--max-gap\) of 1 s would"):
        assert len(list(read_frames(bag))) == 3
    found = list(read_frames(bag, build({"pose.max_gap": 1.0})))
    assert len(found) == FRAMES
    for i, frame in enumerate(found):
        np.testing.assert_allclose(frame.world_from_camera, straight(i) @ room.MOUNT, atol=1e-9)


def test_the_widest_hole_is_the_one_that_is_named(tmp_path):
    bag = logged(tmp_path / "bag", slow(7, hole=14))
    with pytest.warns(BagWarning, match=r"26 images .* pose.max_gap \(--max-gap\) of 1.4 s would bridge it"):
        list(read_frames(bag))
    assert len(list(read_frames(bag, build({"pose.max_gap": 1.4})))) == FRAMES


def test_holes_as_wide_as_may_be(tmp_path):
    bag = logged(tmp_path / "bag", [m for m in slow(FRAMES * 3) if m[0] != "/tf"] + slow(90)[-2:])
    assert len(list(read_frames(bag, build({"pose.max_gap": 9.0})))) == FRAMES


def test_a_frame_with_two_parents_in_turn(tmp_path):
    """Wheels and cameras both say where the robot is, each in a frame of its own."""
    out = room.recording()
    for i in range(FRAMES):
        ns = START + i * STEP + 1000
        shifted = room.pose(translation=(5.0, 0.0, 0.0)) @ room.base_pose(i)
        out.append(("/tf", ns, room.transforms((ns, "vision_odom", "base_link", shifted))))
    bag = logged(tmp_path / "bag", out)
    said = r"'base_link' has several parents in TF: odom, vision_odom; poses are those in 'odom'"
    with pytest.warns(BagWarning, match=said):
        assert_whole(bag)
    with pytest.warns(BagWarning, match="those in 'vision_odom'"), pytest.warns(BagWarning, match="1 images left out"):
        found = list(read_frames(bag, needs=("pose",), world_frame="vision_odom"))
    assert len(found) == FRAMES - 1, "the first image is older than that frame"
    assert found[0].world_from_camera[0, 3] == pytest.approx(room.camera_pose(1)[0, 3] + 5.0, abs=1e-4)


def test_a_frame_that_changes_its_parent(tmp_path):
    """A robot that is put on a moving platform half way: seen from the world it goes on."""
    out = [m for m in room.recording() if m[0] != "/tf"]
    platform = [room.pose(translation=(0.2 + 0.01 * i, 0.0, 0.0)) for i in range(FRAMES)]
    for i in range(FRAMES):
        ns = START + i * STEP
        out.append(("/tf", ns, room.transforms((ns, "odom", "platform", platform[i]))))
        parent, place = (
            ("odom", room.base_pose(i)) if i < 15 else ("platform", np.linalg.inv(platform[i]) @ room.base_pose(i))
        )
        out.append(("/tf", ns, room.transforms((ns, parent, "base_link", place))))
    assert_whole(logged(tmp_path / "bag", out))


def test_two_parents_of_what_the_camera_does_not_hang_on_are_nobodys_business(tmp_path):
    out = room.recording()
    for i in range(FRAMES):
        ns = START + i * STEP
        out.append(("/tf", ns, room.transforms((ns, "odom" if i < 15 else "base_link", "cup", room.pose()))))
    assert_whole(logged(tmp_path / "bag", out))


@pytest.mark.parametrize("late", [0, 1_500_000_000])
def test_poses_of_odometry_that_come_late_replace_those_of_tf(tmp_path, late):
    out = [m for m in room.recording() if m[0] != "/tf"]
    for i in range(FRAMES):
        ns = START + i * STEP
        out.append(("/tf", ns, room.transforms((ns, "odom", "base_link", room.pose()))))
        x, y, z, w = room.quaternion(room.base_pose(i))
        place = T["geometry_msgs/msg/Point"](*map(float, room.base_pose(i)[:3, 3]))
        pose = T["geometry_msgs/msg/Pose"](place, T["geometry_msgs/msg/Quaternion"](x, y, z, w))
        nothing = T["geometry_msgs/msg/Vector3"](0.0, 0.0, 0.0)
        twist = T["geometry_msgs/msg/TwistWithCovariance"](T["geometry_msgs/msg/Twist"](nothing, nothing), np.zeros(36))
        placed = T["geometry_msgs/msg/PoseWithCovariance"](pose, np.zeros(36))
        out.append(("/odom", ns + late, T["nav_msgs/msg/Odometry"](header(ns, "odom"), "base_link", placed, twist)))
    assert_whole(logged(tmp_path / "bag", out), odometry="/odom")


def test_offline_sees_what_live_sees(tmp_path):
    with FrameReader(logged(tmp_path / "bag", room.recording())) as reader:
        offline = list(reader)
        live = FrameAssembler(reader.config)
        feeds = {"/tf": live.feeder("tf"), "/tf_static": live.feeder("tf_static")}
        feeds |= {
            t: live.feeder(kind, "camera") for t, kind in ((COLOR, "image"), (DEPTH, "depth"), (INFO, "camera_info"))
        }
        seen = []
        for topic, ns, message in room.recording():
            feeds[topic](message, ns)
            seen += live.take(ns)
        seen += live.take(START + FRAMES * STEP, flush=True)
    assert [f.key for f in seen] == [f.key for f in offline]
    for one, other in zip(seen, offline, strict=True):
        np.testing.assert_array_equal(one.world_from_camera, other.world_from_camera)
        np.testing.assert_array_equal(one.depth, other.depth)


def test_more_transforms_than_are_held_are_thinned(tmp_path, monkeypatch):
    monkeypatch.setattr(gathered, "MOST", 40)
    dense = room.recording(moves=False, seen_from=lambda i: straight(i) @ room.MOUNT)
    for i in range(4 * FRAMES):
        ns = START + i * STEP // 4
        dense.append(("/tf", ns, room.transforms((ns, "odom", "base_link", straight(i / 4)))))
    found = list(read_frames(logged(tmp_path / "bag", dense)))
    assert len(found) == FRAMES
    for i, frame in enumerate(found):
        np.testing.assert_allclose(frame.world_from_camera, straight(i) @ room.MOUNT, atol=1e-9)
