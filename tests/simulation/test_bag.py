"""Simulated recordings, read back with rosbags alone."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from spatial_mllm_ros.simulation import make_room, simulate
from tests.mllm.process.bench import poll

SMALL = {"size": (96, 72), "fps": 5, "duration": 2}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """(path, room, progress calls) of a small bag."""
    path, calls = tmp_path_factory.mktemp("one") / "room.mcap", []
    room = simulate(path, 6, workers=1, progress=lambda *done: calls.append(done), **SMALL)
    return path, room, calls


def messages(path):
    """topic -> list of (log time, message)."""
    out = {}
    with AnyReader([path]) as reader:
        for connection, stamp, raw in reader.messages():
            out.setdefault(connection.topic, []).append((stamp, reader.deserialize(raw, connection.msgtype)))
    return out


def stamp_of(header):
    return header.stamp.sec * 1_000_000_000 + header.stamp.nanosec


def matrix(position, rotation):
    x, y, z, w = rotation.x, rotation.y, rotation.z, rotation.w
    out = np.eye(4)
    out[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    out[:3, 3] = position.x, position.y, position.z
    return out


def test_topics_types_and_counts(recorded):
    path, room, calls = recorded
    with AnyReader([path]) as reader:
        topics = {c.topic: (c.msgtype, c.msgcount) for c in reader.connections}
    for kind in ("color", "depth"):
        assert topics[f"/camera/{kind}/image_raw/compressed"] == ("sensor_msgs/msg/CompressedImage", 10)
        assert topics[f"/camera/{kind}/camera_info"] == ("sensor_msgs/msg/CameraInfo", 10)
    assert topics["/tf"] == ("tf2_msgs/msg/TFMessage", 10) and topics["/tf_static"] == ("tf2_msgs/msg/TFMessage", 1)
    assert topics["/odom"] == ("nav_msgs/msg/Odometry", 10)
    assert topics["/objects/markers"] == ("visualization_msgs/msg/MarkerArray", 1)
    assert {t for t in topics if t.endswith("/pose")} == {f"/objects/{thing.name}/pose" for thing in room.objects}
    assert calls == [(i + 1, 10) for i in range(10)]


def test_stamps_increase_on_every_topic(recorded):
    for topic, entries in messages(recorded[0]).items():
        stamps = [stamp for stamp, _ in entries]
        assert (np.diff(stamps) > 0).all(), topic
        for stamp, message in entries:
            if hasattr(message, "header"):
                assert stamp_of(message.header) == stamp, topic


def test_images_poses_and_tracks_are_those_of_the_room(recorded):
    path, room, _ = recorded
    read = messages(path)
    static = read["/tf_static"][0][1].transforms[0]
    mount = matrix(static.transform.translation, static.transform.rotation)
    assert (static.header.frame_id, static.child_frame_id) == ("base_link", "camera_color_optical_frame")
    for index in (0, 5, 9):
        view = room.render(index)
        base = read["/tf"][index][1].transforms[0]
        assert (base.header.frame_id, base.child_frame_id) == ("odom", "base_link")
        pose = matrix(base.transform.translation, base.transform.rotation)
        assert pose @ mount == pytest.approx(view.frame.world_from_camera, abs=1e-12)
        odometry = read["/odom"][index][1]
        assert matrix(odometry.pose.pose.position, odometry.pose.pose.orientation) == pytest.approx(pose, abs=1e-12)

        color = read["/camera/color/image_raw/compressed"][index][1]
        depth = read["/camera/depth/image_raw/compressed"][index][1]
        assert color.format == "rgb8; jpeg compressed bgr8" and depth.format == "16UC1; png compressed"
        gray = cv2.imdecode(color.data, cv2.IMREAD_GRAYSCALE)
        assert np.abs(gray.astype(int) - view.frame.gray).mean() < 3
        bgr = cv2.imdecode(color.data, cv2.IMREAD_COLOR)
        assert np.abs(bgr.mean(axis=(0, 1)) - view.frame.image.mean(axis=(0, 1))[::-1]).max() < 1
        millimetres = cv2.imdecode(depth.data, cv2.IMREAD_UNCHANGED)
        assert millimetres.dtype == np.uint16 and (np.rint(view.frame.depth * 1000) == millimetres).all()
        for thing in room.objects:
            track = read[f"/objects/{thing.name}/pose"][index][1]
            assert track.header.frame_id == "odom"
            assert matrix(track.pose.position, track.pose.orientation) == pytest.approx(
                thing.world_from_object(view.frame.stamp_ns), abs=1e-12
            )
    info = read["/camera/color/camera_info"][0][1]
    assert (info.width, info.height) == (96, 72) and info.k.reshape(3, 3) == pytest.approx(room.cameras[0].intrinsics)
    boxes = {m.ns: m for m in read["/objects/markers"][0][1].markers}
    for thing in room.objects:
        scale = boxes[thing.name].scale
        assert [scale.x, scale.y, scale.z] == pytest.approx(thing.size)
        assert boxes[thing.name].text == f"{thing.color} {thing.label}".strip()


def test_same_seed_same_bytes_with_any_number_of_workers(recorded, tmp_path):
    path = recorded[0]
    simulate(tmp_path / "room.mcap", 6, workers=2, **SMALL)
    assert (tmp_path / "room.mcap").read_bytes() == path.read_bytes()


def test_several_cameras_have_topics_of_their_own(tmp_path):
    simulate(tmp_path / "two.mcap", 2, workers=1, cameras=2, size=(64, 48), fps=5, duration=0.6)
    read = messages(tmp_path / "two.mcap")
    for name in ("front", "left"):
        assert len(read[f"/{name}/color/image_raw/compressed"]) == len(read[f"/{name}/depth/image_raw/compressed"]) == 3
    assert {t.child_frame_id for t in read["/tf_static"][0][1].transforms} == {
        "front_color_optical_frame",
        "left_color_optical_frame",
    }
    images = [read[f"/{name}/color/image_raw/compressed"][0][1].data.tobytes() for name in ("front", "left")]
    assert images[0] != images[1]


def test_an_interrupted_bag_leaves_nothing(tmp_path):
    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path / "room.mcap", 1, workers=1, progress=stop, **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_unasked(tmp_path):
    (tmp_path / "room.mcap").write_text("mine")
    with pytest.raises(Exception, match="exists already"):
        simulate(tmp_path / "room.mcap", 1, workers=1, **SMALL)
    assert (tmp_path / "room.mcap").read_text() == "mine"


@pytest.mark.parametrize("workers", [0, -1, 1.5])
def test_workers_are_checked(tmp_path, workers):
    with pytest.raises(ValueError, match=r"workers = .*expected a whole number from 1"):
        simulate(tmp_path / "room.mcap", 1, workers=workers)


def test_room_arguments_are_checked_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="cameras = 9"):
        simulate(tmp_path / "room.mcap", 1, cameras=9)
    assert list(tmp_path.iterdir()) == []


def test_the_bag_reader_gives_the_frames_of_the_room(recorded):
    from spatial_mllm_ros.recordings import read_frames

    path, room, _ = recorded
    frames = list(read_frames(path))
    assert len(frames) == len(room)
    assert make_room(6, **SMALL).stamps.tolist() == [f.stamp_ns for f in frames]
    for index in (0, 9):
        view = room.render(index)
        assert frames[index].world_from_camera == pytest.approx(view.frame.world_from_camera, abs=1e-9)
        assert (frames[index].depth == view.frame.depth).all()


def test_no_worker_outlives_a_command_that_was_killed(tmp_path):
    path = str(tmp_path / "room.mcap")
    code = f"from spatial_mllm_ros.simulation import simulate; simulate({path!r}, 6, workers=2, duration=60)"
    child = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL)
    try:
        workers = poll(lambda: spawned(child.pid), "workers")
    finally:
        child.kill()
        child.wait()
    poll(lambda: not [pid for pid in workers if Path(f"/proc/{pid}").exists()], "the end of the workers")


def spawned(parent: int) -> list[int]:
    """Both workers of a pool, once they have begun."""
    children = [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    found = [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return found if len(found) == 2 else []
