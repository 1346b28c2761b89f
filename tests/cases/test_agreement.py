"""Depth and poses that do not belong together are found, with the cause; those that do are let alone."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from scipy.spatial.transform import Rotation

from spatial_mllm_ros.config import Config, build
from spatial_mllm_ros.errors import SpatialError
from spatial_mllm_ros.frames import Camera, Frame
from spatial_mllm_ros.geometry.agreement import OPTICAL, View, compare, noise
from spatial_mllm_ros.geometry.self_check import SelfCheck
from spatial_mllm_ros.node.diagnostics import Diagnostics
from spatial_mllm_ros.recordings import BagWarning, FrameReader, read_frames, recording_info
from spatial_mllm_ros.report import analyse
from spatial_mllm_ros.scene.pipeline import SpatialPipeline
from spatial_mllm_ros.simulation.room import Room
from spatial_mllm_training.multispa.sources.bag import BagRef
from tests.cases import room
from tests.cases.room import DEPTH
from tests.recordings.recordings import image, write_ros2

FX, FY, CX, CY = room.INTRINSICS
CAMERA = Camera("camera", "optical", *room.SIZE, np.array([[FX, 0, CX], [0, FY, CY], [0, 0, 1]]))
RATE = 30
LINK = room.pose(translation=(0.1, 0.02, 0.3))  # base_link from the link that carries the camera


def carried_by_hand(seconds):
    """odom from optical: never at a steady pace."""
    turned = 0.9 + 0.5 * np.sin(1.7 * seconds) + 0.1 * np.sin(5 * seconds)
    base = Rotation.from_euler("zy", [turned, 0.15 * np.sin(3.1 * seconds)]).as_matrix()
    place = 1.6 + 0.5 * np.sin(1.3 * seconds), 1.4 + 0.4 * np.cos(1.9 * seconds), 0.9 + 0.15 * np.sin(2.7 * seconds)
    return room.pose(base, place) @ room.MOUNT


@pytest.fixture(scope="module")
def walk():
    """(stamp, depth) of six seconds, as a depth camera measures them: noise grows with the square of depth."""
    rng = np.random.default_rng(7)
    seen = []
    for i in range(6 * RATE):
        depth = room.see(carried_by_hand(i / RATE))[0]
        noisy = depth + rng.normal(0, 0.0015, depth.shape) * depth**2
        seen.append((room.START + i * 1_000_000_000 // RATE, room.millimetres(noisy) * np.float32(0.001)))
    return seen


def verdict(walk, pose=lambda p: p, late=0.0, scale=1.0, focal=1.0, every=500_000_000, hide=0):
    """What a check says of the walk where its poses, its depth or its camera_info are wrong."""
    intrinsics = CAMERA.intrinsics * np.array([[focal, 1, 1], [1, focal, 1], [1, 1, 1]])
    camera = Camera("camera", "optical", *room.SIZE, intrinsics)
    check = SelfCheck(every)
    for stamp, depth in walk:
        given = pose(carried_by_hand((stamp - room.START) / 1e9 - late))
        depth = depth * np.float32(scale)
        depth[:, :hide] = 0.6 + 0.3 * np.sin(stamp / 1e9)  # something moves there
        check.look(Frame(stamp, camera, depth=depth, world_from_camera=given))
    return check.finish()


def wall(distance):
    """A camera that looks straight at a wall."""
    return np.full((120, 160), distance, np.float32)


def test_a_wall_that_is_off_is_off_by_that():
    ahead = room.pose(translation=(0, 0, 0.3))
    first = View.of(0, CAMERA, wall(2.0), np.eye(4))
    right, wrong = (compare(first, View.of(1, CAMERA, wall(d), ahead)) for d in (1.7, 1.75))
    assert right.metres == pytest.approx(0, abs=1e-6)
    assert wrong.metres == pytest.approx(0.05, abs=1e-6)
    assert wrong.share == pytest.approx(0.05 / 1.7, rel=1e-6)
    assert wrong.noises == pytest.approx(0.05 / noise(1.7), rel=1e-6)


def test_differences_are_those_of_brute_force():
    """Pixel by pixel, of a room and a pose that is wrong."""
    poses = carried_by_hand(0.2), carried_by_hand(0.5) @ room.pose(translation=(0.06, 0.03, 0.1))
    seen = [room.see(pose)[0].astype(np.float32) for pose in (carried_by_hand(0.2), carried_by_hand(0.5))]
    pair = compare(*(View.of(i, CAMERA, depth, pose) for i, (depth, pose) in enumerate(zip(seen, poses, strict=True))))
    off = []
    for v in range(3, 120, 6):
        for u in range(3, 160, 6):
            point = np.array([(u - CX) / FX, (v - CY) / FY, 1, 1 / seen[0][v, u]]) * seen[0][v, u]
            x, y, z, _ = np.linalg.inv(poses[1]) @ poses[0] @ point
            column, row = round(FX * x / z + CX), round(FY * y / z + CY)
            if z > 0 and 0 <= column < 160 and 0 <= row < 120:
                off.append(abs(seen[1][row, column] - z))
    assert pair.metres == pytest.approx(np.sort(off)[len(off) // 2], abs=1e-5)


def test_what_is_right_is_consistent(walk):
    found = verdict(walk)
    assert not found.wrong and found.pairs >= 8
    assert found.text == f"consistent within {1000 * found.metres:.0f} mm" and found.metres < 0.015


def test_something_that_moves_is_no_error(walk):
    found = verdict(walk, hide=60)
    assert not found.wrong and found.metres < 0.02


@pytest.mark.parametrize(
    ("wrong", "cause", "text"),
    [
        ({"pose": lambda p: p @ np.linalg.inv(OPTICAL)}, "link", "'optical' looks forward along x"),
        ({"pose": lambda p: p @ np.linalg.inv(room.MOUNT)}, "link", "the pose of a body is taken for the camera's"),
        ({"pose": lambda p: p @ np.diag([1.0, -1, -1, 1])}, "backward", "looks along -z, as in OpenGL"),
        ({"pose": lambda p: p @ np.diag([-1.0, -1, 1, 1])}, "upside down", "the picture is upside down"),
        ({"pose": np.linalg.inv}, "inverted", "they map the world to the camera"),
        ({"scale": 1000.0}, "scale", "depth is about 1000 times too large"),
        ({"scale": 0.001}, "scale", "depth is about 1000 times too small"),
        ({"scale": 5.0}, "scale", "depth is about 5 times too large"),
        ({"scale": 0.2}, "scale", "depth is about 5 times too small"),
        ({"scale": 10.0}, "scale", "depth is about 10 times too large"),
        ({"scale": 0.7}, "scale", "too small"),
        ({"focal": 1.4}, "focal", "depth fits about 0.7 times the focal length of camera_info"),
        ({"focal": 0.8}, "focal", "times the focal length of camera_info"),
        ({"focal": 0.9}, "focal", "depth fits about 1.1 times the focal length of camera_info"),
        ({"late": 0.1}, "late", "ms late against the images"),
        ({"late": -0.1}, "late", "ms early against the images"),
    ],
)
def test_what_is_wrong_is_found_with_its_cause(walk, wrong, cause, text):
    found = verdict(walk, **wrong)
    assert found.wrong and found.cause == cause
    assert text in found.why


def test_late_poses_are_late_by_that(walk):
    said = verdict(walk, late=0.1).why
    assert 70 <= int(said.split("about ")[1].split(" ms")[0]) <= 130


def test_what_no_change_explains_is_wrong_without_a_cause(walk):
    """Poses of another walk."""
    other = {stamp: carried_by_hand((stamp - room.START) / 1e9 * 1.31 + 2) for stamp, _ in walk}
    check = SelfCheck(500_000_000)
    for stamp, depth in walk:
        check.look(Frame(stamp, CAMERA, depth=depth, world_from_camera=other[stamp]))
    found = check.finish()
    assert found.wrong and found.cause == "" and "depth does not tell the cause" in found.why


def test_what_does_not_move_cannot_be_checked(walk):
    check = SelfCheck()
    for stamp, _ in walk:
        check.look(Frame(stamp, CAMERA, depth=wall(2.0), world_from_camera=np.eye(4)))
    assert check.finish().text == "not checked: the camera does not move"
    for given, why in (({"world_from_camera": np.eye(4)}, "no depth came"), ({"depth": wall(1.0)}, "poses are not")):
        check = SelfCheck()
        check.look(Frame(1, CAMERA, **given))
        assert why in check.verdict.text and not check.verdict.wrong


def test_two_pairs_call_nothing_wrong(walk):
    found = verdict(walk[:14], pose=np.linalg.inv, every=200_000_000)
    assert 1 <= found.pairs <= 2 and not found.wrong


@pytest.mark.parametrize("seed", [1, 2])
def test_simulated_rooms_are_consistent(seed):
    """With the sensor's noise and pushed objects."""
    pytest.importorskip("embreex", reason="rooms are simulated with embreex")
    check = SelfCheck(500_000_000)
    for seen in Room(seed, size=(160, 120), fps=10, duration=6).frames():
        check.look(seen.frame)
    found = check.finish()
    assert found.pairs >= 3 and not found.wrong and found.metres < 0.03


def test_real_recordings_are_consistent(redkitchen, tum_cabinet):
    for bag, most in ((redkitchen, 0.015), (tum_cabinet, 0.03)):
        info = recording_info(bag, 0)
        assert info.problems == []
        said = info.checks["camera"]
        assert said.startswith("consistent within") and int(said.split()[2]) < 1000 * most


def links():
    """A recording whose camera_info names the link that carries the camera."""
    given = room.recording(static=False, camera_info=lambda ns: room.info(ns, frame="camera_link"))
    return [("/tf_static", room.START, room.transforms((room.START, "base_link", "camera_link", LINK))), *given]


def test_a_recording_says_what_is_wrong(tmp_path):
    bag = write_ros2(tmp_path / "bag", links())
    with pytest.warns(BagWarning, match="camera 'camera': depth and poses disagree by .* mm: the frame 'camera_link'"):
        assert len(list(read_frames(bag))) == room.FRAMES
    info = recording_info(bag, 0)
    assert info.checks["camera"].startswith("disagree by")
    assert "'camera_link' looks forward along x" in info.problems[0] and "name the optical frame" in info.problems[0]
    notes = " ".join(analyse(bag, Config()).notes)
    assert "'camera_link' looks forward along x" in notes
    with pytest.raises(SpatialError, match="'camera_link' looks forward along x"):
        BagRef(bag, "bag").open()


def test_what_disagrees_is_called_consistent_at_no_time(tmp_path):
    """A live node is asked while pairs are still too few to call anything wrong."""
    check, told = SelfCheck(100_000_000), []
    with pytest.warns(BagWarning, match="disagree"):
        for frame in read_frames(write_ros2(tmp_path / "bag", links())):
            if check.look(frame):
                told.append((check.verdict.text, check.verdict.pairs))
    check.finish()
    assert len(told) > 3 and told[-1][0].startswith("disagree by")
    assert not [text for text, _ in told if text.startswith("consistent")]


def test_what_frames_lack_and_what_disagrees_is_said_together(tmp_path):
    """Every third image has no depth; stamps of the log begin at 0."""
    given = [m for m in links() if m[0] != DEPTH or (m[1] - room.START) // room.STEP % 3]
    bag = write_ros2(tmp_path / "bag", [(topic, ns * (ns > room.START), message) for topic, ns, message in given])
    with FrameReader(bag, needs=()) as reader, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert len(list(reader)) == room.FRAMES
    assert reader.verdicts["camera"].pairs >= 5
    lacks, disagrees = (str(w.message) for w in caught)
    assert lacks.startswith("10 frames without depth: camera 'camera': ")
    assert disagrees.startswith("camera 'camera': depth and poses disagree by ")
    info = recording_info(bag, 0)
    assert info.problems == [lacks, disagrees] and info.checks["camera"].startswith("disagree by")
    assert info.seen["camera"].complete == 20


def test_depth_that_is_not_registered_is_said(tmp_path):
    """It has the intrinsics of a camera of its own."""
    own = room.rays((98.0, 98.0, 80.0, 60.0))
    given = room.recording(
        depth=lambda ns, _: image(
            ns, room.millimetres(room.see(room.camera_pose((ns - room.START) // room.STEP), own)[0]), "16UC1"
        )
    )
    info = recording_info(write_ros2(tmp_path / "bag", given), 0)
    assert "0.7 times the focal length of camera_info: depth is not registered to colour" in info.problems[0]


def test_a_right_recording_says_so(tmp_path):
    bag = write_ros2(tmp_path / "bag", room.recording())
    with warnings.catch_warnings():
        warnings.simplefilter("error", BagWarning)
        list(read_frames(bag))
        assert any("consistent within" in note for note in analyse(bag, Config()).notes)
    info = recording_info(bag, 0)
    assert info.problems == [] and info.checks["camera"].startswith("consistent within")


def test_live_it_is_said_once_and_shown(walk):
    pipeline = SpatialPipeline(build({"cameras": ["camera"]}))
    diagnostics = Diagnostics("node", SimpleNamespace(processed={"camera": 0}), pipeline, None, [])

    def status():
        return diagnostics._camera("camera", pipeline.config)

    said = []
    for stamp, depth in walk:
        given = np.linalg.inv(carried_by_hand((stamp - room.START) / 1e9))
        said += pipeline.process(Frame(stamp, CAMERA, depth=depth, world_from_camera=given)).news
        if stamp == walk[0][0]:
            assert status().level == DiagnosticStatus.OK
    (line,) = [line for line in said if "depth and poses" in line]
    assert line.startswith("camera 'camera': depth and poses disagree by") and "inverted" in line
    shown = status()
    assert shown.level == DiagnosticStatus.WARN and "the poses are inverted" in shown.message
    assert {v.key: v.value for v in shown.values}["depth and poses"].startswith("disagree by")
    pipeline.reset()
    assert status().level == DiagnosticStatus.OK
