"""A static transform is not a pose: only while a camera sees what it saw does one that nothing moves stand still."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from spatial_mllm_ros.annotate.bag import annotate
from spatial_mllm_ros.assembler import FrameAssembler
from spatial_mllm_ros.cli import app
from spatial_mllm_ros.config import Config, build
from spatial_mllm_ros.frames import Camera, Frame
from spatial_mllm_ros.geometry.still_view import Glance, depth_tolerance, moved
from spatial_mllm_ros.geometry.transform_buffer import TransformBuffer
from spatial_mllm_ros.recordings import BagWarning, FrameReader, read_frames, recording_info
from spatial_mllm_ros.recordings.survey import moved_cameras
from spatial_mllm_ros.report import analyse
from spatial_mllm_training.multispa.sources.bag import BagRef
from tests.cases import room
from tests.recordings.recordings import T, image, odometry, write_ros2

CAMERA = Camera("camera", "optical", 80, 60, np.array([[70.0, 0, 40], [0, 70, 30], [0, 0, 1]]))
STILL = build({"pose.still": True})
UNKNOWN = "nothing moves 'optical' in 'base_link' .*, but what it sees moves; publish what moves it"


def carried(link="base_link"):
    """A recording of a camera that is carried through the room, and of which only the mount is known."""
    mount = ("/tf_static", room.START, room.transforms((room.START, link, "optical", room.MOUNT)))
    return [mount, *room.recording(moves=False, static=False)]


def standing(frames=room.FRAMES, hides=0.4, seed=3):
    """(depth, picture) of a camera that stands still: something passes before it, with noise, while light changes."""
    rng = np.random.default_rng(seed)
    depth, picture = room.see(room.camera_pose(0))
    height, width = depth.shape
    for i in range(frames):
        seen, shown = depth + rng.normal(0, 0.002, depth.shape) * depth**2, picture * (0.7 + 0.6 * i / frames)
        wide = round(hides * width)
        left = round((width - wide) * (0.5 + 0.5 * np.sin(i)))
        seen[:, left : left + wide] = 0.9
        shown[:, left : left + wide] = rng.integers(0, 255, (height, wide, 3))
        yield seen, np.clip(shown + rng.normal(0, 4, shown.shape), 0, 255).astype(np.uint8)


def of_a_cell(**options):
    """A recording of :func:`standing`, the camera on a mount in the world."""
    seen = list(standing(**options))
    at = {room.START + i * room.STEP: one for i, one in enumerate(seen)}
    mount = ("/tf_static", room.START, room.transforms((room.START, "world", "optical", room.camera_pose(0))))
    return [
        mount,
        *room.recording(
            len(seen),
            color=lambda ns, _: image(ns, at[ns][1], "rgb8"),
            depth=lambda ns, _: image(ns, room.millimetres(at[ns][0]), "16UC1"),
            moves=False,
            static=False,
        ),
    ]


def repeated(tree):
    """The same transform on /tf over and over, as static_transform_publisher of ROS 1 does."""
    return [
        ("/tf", room.START + i * room.STEP, room.transforms((room.START + i * room.STEP, *tree)))
        for i in range(room.FRAMES)
    ]


def in_order(messages):
    return sorted(messages, key=lambda m: m[1])


@pytest.mark.filterwarnings("ignore::spatial_mllm_ros.recordings.BagWarning")
@pytest.mark.parametrize("link", ["base_link", "camera_link"])
def test_a_camera_that_is_carried_has_no_poses(tmp_path, link):
    bag = write_ros2(tmp_path / "bag", carried(link))
    with FrameReader(bag, needs=()) as reader:
        assert [frame.world_from_camera for frame in reader] == [None] * room.FRAMES
    why = UNKNOWN.replace("base_link", link)
    with pytest.warns(BagWarning, match=f"30 images left out, no pose: camera 'camera': its poses are not.* {why}"):
        assert list(read_frames(bag)) == []
    info = recording_info(bag, 0)
    assert not info.has_poses and info.checks == {}
    (problem,) = info.problems
    assert f"nothing moves 'optical' in '{link}'" in problem and "--still" in problem and "Odometry" in problem


def test_what_repeats_itself_on_tf_does_not_move_a_camera(tmp_path):
    messages = [*repeated(("base_link", "optical", room.MOUNT)), *room.recording(moves=False, static=False)]
    info = recording_info(write_ros2(tmp_path / "bag", in_order(messages)), 0)
    assert not info.has_poses and "or always the same" in info.problems[0]


@pytest.mark.filterwarnings("ignore::spatial_mllm_ros.recordings.BagWarning")
def test_without_poses_nothing_is_measured(tmp_path):
    bag = write_ros2(tmp_path / "bag", carried())
    assert annotate(bag, tmp_path / "new.mcap").rewards == 0
    analysis = analyse(bag, Config())
    assert analysis.voxels_seen == 0 and any("its poses are not known" in note for note in analysis.notes)
    assert "0 of 30 frames can be used" in BagRef(bag, "bag").open().lacks["pose"]


def test_a_command_says_why_there_is_nothing(tmp_path, capsys):
    bag = write_ros2(tmp_path / "bag", carried())
    with pytest.raises(SystemExit) as ended, pytest.warns(BagWarning, match=UNKNOWN):
        app(["sample", str(bag)])
    assert ended.value.code == 1
    with pytest.raises(SystemExit) as ended:
        app(["sample", str(bag), "--still"])
    assert ended.value.code == 0 and "16 frames cover" in capsys.readouterr().out


@pytest.mark.parametrize("hides", [0.0, 0.4])
def test_a_fixed_camera_has_its_pose(tmp_path, hides):
    """Though something passes before it, light changes and readings are noisy."""
    bag = write_ros2(tmp_path / "bag", of_a_cell(hides=hides))
    with warnings.catch_warnings():
        warnings.simplefilter("error", BagWarning)
        found = list(read_frames(bag))
    assert len(found) == room.FRAMES
    assert all(np.allclose(frame.world_from_camera, room.camera_pose(0)) for frame in found)
    info = recording_info(bag, 0)
    assert info.poses.world_frame == "world" and info.problems == []
    assert info.checks == {"camera": "not checked: the camera does not move"}


def test_a_camera_is_declared_to_stand_still(tmp_path):
    """Whatever is seen: a conveyor belt fills the view."""
    bag = write_ros2(tmp_path / "bag", carried())
    found = list(read_frames(bag, STILL))
    assert len(found) == room.FRAMES
    assert all(np.allclose(frame.world_from_camera, room.MOUNT) for frame in found)
    assert recording_info(bag, 0, STILL).has_poses


def test_odometry_of_something_else_is_no_pose(tmp_path):
    other = [("/odom", room.START + i * room.STEP, odometry(room.START + i * room.STEP, 0.1 * i)) for i in range(30)]
    bag = write_ros2(tmp_path / "bag", in_order([*carried("camera_link"), *other]))
    info = recording_info(bag, 0)
    assert not info.has_poses
    texts = " ".join(info.problems)
    assert "/odom moves 'base_link', to which the camera's frame 'optical' is not connected" in texts
    assert "nothing moves 'optical' in 'camera_link'" in texts


def test_a_goal_is_no_pose_of_a_camera(tmp_path):
    goal = room.recording(moves=False, static=False)
    message = odometry(room.START, 1.0)
    pose = T["geometry_msgs/msg/PoseStamped"](message.header, message.pose.pose)
    info = recording_info(write_ros2(tmp_path / "bag", in_order([*goal, ("/goal_pose", room.START, pose)])), 0)
    assert not info.has_poses


def test_a_robot_that_stands_at_first_has_poses_whatever_passes_by(tmp_path):
    """Its odometry repeats itself for 2 s, while something fills the view; then it moves."""
    rng, stands = np.random.default_rng(5), 20

    def base(i):
        return room.base_pose(max(i - stands, 0))

    tf = [("/tf", ns, room.transforms((ns, "odom", "base_link", base(i)))) for i, ns in enumerate(stamps(40))]
    crowd = rng.integers(0, 255, (120, 160, 3)).astype(np.uint8)
    seen = {ns: room.see(base(i) @ room.MOUNT) for i, ns in enumerate(stamps(40))}
    near = {ns: (np.full((120, 160), 0.7), np.roll(crowd, 9 * i, 1)) for i, ns in enumerate(stamps(15)) if i > 4}
    seen |= near
    frames = room.recording(
        40,
        color=lambda ns, _: image(ns, seen[ns][1], "rgb8"),
        depth=lambda ns, _: image(ns, room.millimetres(seen[ns][0]), "16UC1"),
        moves=False,
    )
    with FrameReader(write_ros2(tmp_path / "bag", in_order([*tf, *frames])), needs=()) as reader:
        assert all(frame.world_from_camera is not None for frame in reader)


def test_a_robot_that_moves_after_what_info_looks_at_has_poses(tmp_path):
    """It stands for 8 s; from 0.2 s on something fills the view."""
    rng = np.random.default_rng(6)
    crowd = {ns: rng.integers(0, 255, (120, 160, 3)).astype(np.uint8) for ns in stamps(30)[2:]}
    frames = room.recording(
        color=lambda ns, picture: image(ns, crowd.get(ns, picture), "rgb8"),
        depth=lambda ns, depth: image(
            ns, room.millimetres(depth if ns not in crowd else np.full_like(depth, 0.7)), "16UC1"
        ),
        moves=False,
        seen_from=lambda i: room.camera_pose(0),
    )
    places = [room.base_pose(max(i - 80, 0)) for i in range(100)]
    tf = [("/tf", ns, room.transforms((ns, "odom", "base_link", places[i]))) for i, ns in enumerate(stamps(100))]
    bag = write_ros2(tmp_path / "bag", in_order([*tf, *frames]))
    info = recording_info(bag, 1.0)
    assert info.looked == 1.0 and info.has_poses and info.seen["camera"].complete == 10 and info.problems == []
    parked = write_ros2(tmp_path / "parked", in_order([*tf[:80], *frames]))
    assert not recording_info(parked, 1.0).has_poses


@pytest.mark.parametrize("topics", [(), (room.INFO, room.DEPTH, "/tf_static", room.COLOR)])
def test_the_order_of_the_log_hides_no_motion(tmp_path, topics):
    """All logged at the same time; or topics one after the other."""
    messages = sorted(carried(), key=lambda m: topics.index(m[0]) if topics else 0)
    logged = [(topic, room.START + i * 1000 * bool(topics), message) for i, (topic, _, message) in enumerate(messages)]
    bag = write_ros2(tmp_path / "bag", logged)
    assert not recording_info(bag, 0).has_poses
    with pytest.warns(BagWarning, match=f"30 images left out, no pose: .*{UNKNOWN}"):
        assert list(read_frames(bag)) == []


def test_no_more_frames_are_looked_at_than_needed():
    """One camera is moved, the other has no poses."""
    buffer = TransformBuffer()
    buffer.add("odom", "optical", 1, np.eye(4))
    pose = {"camera": np.eye(4), "other": None}
    taken = []

    def frames(names):
        for i in range(80):
            name = names[i % len(names)]
            taken.append(name)
            if i == 6:
                buffer.add("odom", "optical", 2, room.MOUNT)
            yield Frame(i + 1, replace(CAMERA, name=name), world_from_camera=pose[name])

    assert moved_cameras(frames(["camera"]), {"camera": 80}, "odom", buffer, lambda: buffer) == {"camera": False}
    assert len(taken) == 7
    taken.clear()
    both = moved_cameras(frames(["camera", "other"]), {"camera": 40, "other": 40}, "odom", buffer, lambda: buffer)
    assert both == {"camera": False} and len(taken) == 21


def stamps(count):
    return [room.START + i * room.STEP for i in range(count)]


def test_live_a_pose_holds_until_the_camera_is_taken_away(tmp_path):
    """It stands for 2 s, is carried for 1 s, and is put back where it was."""
    messages = FrameAssembler(build({"pose.world_frame": "base_link"}))
    messages.add_transforms(room.transforms((room.START, "base_link", "optical", room.MOUNT)), static=True)
    places = [0] * 20 + list(range(1, 11)) + [0] * 10
    known = []
    for i, place in enumerate(places):
        ns = room.START + i * room.STEP
        depth, picture = room.see(room.camera_pose(3 * place))
        messages.add_info("camera", room.info(ns))
        messages.add_depth("camera", image(ns, room.millimetres(depth), "16UC1"))
        messages.add_color("camera", image(ns, picture, "rgb8"), ns)
        known.append(len(messages.take(ns)))
    assert known[:20] == [1] * 20
    late = 5  # frames between two looks, at most half a second
    assert known[20 + late : 30] == [0] * (10 - late)
    assert known[30 + late :] == [1] * (10 - late)
    assert "what it sees moves" in messages.problems["no pose"]


def test_what_moves_by_its_transforms_is_trusted():
    buffer = TransformBuffer()
    buffer.add("base", "optical", 0, np.eye(4), static=True)
    buffer.add("base", "arm", 0, np.eye(4))
    buffer.add("odom", "base", 0, np.eye(4))
    assert not buffer.moves("odom", "optical")
    buffer.add("odom", "base", 1, np.eye(4))
    assert not buffer.moves("odom", "optical")
    buffer.add("base", "arm", 1, room.MOUNT)
    assert buffer.moves("odom", "arm") and not buffer.moves("odom", "optical")
    buffer.add("odom", "base", 2, room.MOUNT)
    assert buffer.moves("odom", "optical") and not buffer.moves("base", "optical")


def test_a_frame_that_changes_its_parent_moves():
    buffer = TransformBuffer()
    buffer.add("base", "optical", 0, np.eye(4), static=True)
    for stamp in (1, 2):
        buffer.add("odom", "base", stamp, np.eye(4))
        buffer.add("lift", "base", stamp, np.eye(4))
    assert buffer.moves("lift", "optical") and not buffer.moves("odom", "optical"), "odom is above by a way of its own"
    buffer.add("odom", "lift", 0, np.eye(4), static=True)
    assert buffer.moves("odom", "optical") and not buffer.moves("odom", "lift")
    assert not buffer.moves("odom", "nowhere")


def glance(depth=None, picture=None):
    return Glance.of(Frame(1, CAMERA, depth=depth, image=picture))


def test_depth_alone_tells():
    depth = np.full((60, 80), 2.0, np.float32)
    nearer = depth - np.float32(1.5 * depth_tolerance(2.0))
    assert moved(glance(depth), glance(depth)) is False
    assert moved(glance(depth), glance(nearer)) is True
    half = np.where(np.arange(80) < 40, depth, nearer)
    assert moved(glance(depth), glance(half)) is None
    assert moved(glance(depth), glance(np.zeros_like(depth))) is None


def test_a_picture_alone_tells():
    rng = np.random.default_rng(0)
    dots = np.repeat(np.repeat(rng.integers(0, 255, (30, 40, 1), np.uint8), 8, 0), 8, 1).repeat(3, 2)
    assert moved(glance(picture=dots), glance(picture=dots // 2)) is False
    assert moved(glance(picture=dots), glance(picture=np.roll(dots, 24, 1))) is True
    assert moved(glance(picture=dots), glance(picture=np.full_like(dots, 90))) is None
