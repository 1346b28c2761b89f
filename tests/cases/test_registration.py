"""Depth of a sensor beside the colour camera, or with other intrinsics: used as measured, carried over, or refused."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from spatial_mllm_ros.assembler import FrameAssembler
from spatial_mllm_ros.config import CameraParams, Config, CoverageParams
from spatial_mllm_ros.frames import Camera
from spatial_mllm_ros.geometry.cameras import ray_grid
from spatial_mllm_ros.geometry.registration import Registration, same_view
from spatial_mllm_ros.recordings import BagError, BagWarning, read_frames, recording_info
from spatial_mllm_ros.scene.selection import select
from tests.cases import room
from tests.recordings.recordings import image, write_ros2

DEPTH, DEPTH_INFO = "/camera/depth/image_rect_raw", "/camera/depth/camera_info"
NARROW, SMALL = (104.0, 103.0, 78.0, 61.0), (80, 60)
BESIDE = room.pose(Rotation.from_euler("xyz", (0.01, -0.02, 0.005)).as_matrix(), (-0.05, 0.002, 0.003))


def unaligned(intrinsics=NARROW, size=room.SIZE, place=BESIDE, depth_info=True, static=True, frame="depth_optical"):
    """A recording whose depth is seen from beside colour, and the voxels that depth sees."""
    links = [(room.START, "base_link", "optical", room.MOUNT)]
    links += [(room.START, "optical", "depth_optical", place)] if static else []
    out, seen, rays = [("/tf_static", room.START, room.transforms(*links))], [], room.rays(intrinsics, size)
    for i in range(room.FRAMES):
        ns, here = room.START + i * room.STEP, room.camera_pose(i)
        metres, _ = room.see(here @ place, rays)
        seen.append((room.millimetres(metres) / 1000, rays, here @ place))
        out.append(("/tf", ns, room.transforms((ns, "odom", "base_link", room.base_pose(i)))))
        out.append((room.INFO, ns, room.info(ns)))
        if depth_info:
            out.append((DEPTH_INFO, ns, room.info(ns, intrinsics, size, frame=frame)))
        out.append((room.COLOR, ns, image(ns, room.see(here)[1], "rgb8")))
        out.append((DEPTH, ns, image(ns, room.millimetres(metres), "16UC1", frame)))
    return out, seen


@pytest.mark.parametrize("size", [room.SIZE, SMALL])
def test_coverage_takes_depth_as_it_was_measured(tmp_path, size):
    intrinsics = NARROW if size == room.SIZE else (70.0, 70.0, 39.0, 30.5)
    messages, seen = unaligned(intrinsics, size)
    bag = write_ros2(tmp_path / "bag", messages)
    frames = list(read_frames(bag))
    assert select(frames, CoverageParams()).voxels_seen == room.voxels(seen)
    known = recording_info(bag, 0)
    assert known.cameras["camera"].depth_info == DEPTH_INFO
    assert known.seen["camera"].depth_size == size
    assert any("50 mm beside colour" in note for note in known.notes)


def test_depth_of_colour_pixels_is_carried_over(tmp_path):
    frame = next(iter(read_frames(write_ros2(tmp_path / "bag", unaligned()[0]))))
    right, _ = room.see(frame.world_from_camera, ray_grid(frame.depth_camera).astype(float))
    there = frame.depth > 0
    assert there.mean() > 0.97  # all but a border, and what only colour sees
    assert np.median(np.abs(frame.depth - right)[there]) < 0.001  # of readings in whole millimetres
    assert np.quantile(np.abs(frame.depth - right)[there], 0.97) < 0.005  # all but where walls meet
    assert frame.depth_camera.intrinsics[0, 0] == pytest.approx(104, rel=0.01)  # no finer than it was measured


def test_other_intrinsics_in_the_same_frame(tmp_path):
    messages, seen = unaligned(place=np.eye(4), frame="optical", static=False)
    frames = list(read_frames(write_ros2(tmp_path / "bag", messages)))
    assert select(frames, CoverageParams()).voxels_seen == room.voxels(seen)


def test_depth_that_agrees_with_colour_is_used_as_it_is(tmp_path):
    messages = unaligned(room.INTRINSICS, place=np.eye(4), frame="optical", static=False)[0]
    bag = write_ros2(tmp_path / "bag", messages)
    frame = next(iter(read_frames(bag)))
    assert frame.depth_camera is frame.camera and frame.measured.depth is frame.depth
    assert not recording_info(bag).notes and not recording_info(bag).problems


@pytest.mark.parametrize(
    "changes, why",
    [
        ({"depth_info": False}, "name its camera_info in camera.depth_info_topic"),
        ({"static": False}, "'depth_optical' is unknown"),
    ],
)
def test_what_is_missing_for_it_is_said_and_depth_is_not_used(tmp_path, changes, why):
    bag = write_ros2(tmp_path / "bag", unaligned(**changes)[0])
    with pytest.warns(BagWarning, match=why):
        frames = list(read_frames(bag))
    assert len(frames) == room.FRAMES and not any(frame.has_depth for frame in frames)
    assert any(why in problem for problem in recording_info(bag).problems)


def test_a_topic_for_it_may_be_named(tmp_path):
    messages, seen = unaligned()
    messages = [("/elsewhere" if topic == DEPTH_INFO else topic, ns, m) for topic, ns, m in messages]
    bag = write_ros2(tmp_path / "bag", messages)
    frames = list(read_frames(bag, depth_info="/elsewhere"))
    assert select(frames, CoverageParams()).voxels_seen == room.voxels(seen)
    with pytest.raises(BagError, match="no topic /nowhere"):
        read_frames(bag, depth_info="/nowhere")


def test_registered_depth_may_name_any_frame(tmp_path):
    """As in drivers that give aligned depth a frame of its own."""
    messages = room.recording(depth=lambda ns, metres: image(ns, room.millimetres(metres), "16UC1", "aligned_frame"))
    frames = list(read_frames(write_ros2(tmp_path / "bag", messages)))
    assert select(frames, CoverageParams()).voxels_seen == room.right_voxels()


def live(topic="depth/image_raw", **params):
    config = Config(camera_params={"camera": CameraParams(depth_topic=topic, **params)})
    return FrameAssembler(config, needs=())


def feed(assembler, messages, frames=3):
    """The frames of the first messages of a recording, fed as the node does."""
    kinds = {"/tf_static": "tf_static", "/tf": "tf", room.INFO: "camera_info", DEPTH_INFO: "depth_info"}
    kinds |= {room.COLOR: "image", DEPTH: "depth"}
    for topic, ns, message in messages:
        if ns < room.START + frames * room.STEP and topic in kinds:
            assembler.feeder(kinds[topic], "camera")(message, ns)
    return assembler.take(room.START + 10**10, flush=True)


def test_the_node_refuses_depth_of_which_it_knows_too_little():
    assembler = live()
    messages = [message for message in unaligned()[0] if message[0] != DEPTH_INFO]
    assert [frame.has_depth for frame in feed(assembler, messages)] == [False] * 3
    assert "camera.depth_info_topic" in assembler.problems["depth not registered"]


def test_the_node_waits_for_the_camera_info_of_depth_and_for_the_transform():
    messages = unaligned()[0]
    without = [m for m in messages if m[0] != DEPTH_INFO]
    assembler = live(depth_info_topic="depth/camera_info")
    assert [frame.has_depth for frame in feed(assembler, without)] == [False] * 3
    assert "no camera_info of depth has come on depth/camera_info" in assembler.problems["depth not registered"]
    frames = feed(live(depth_info_topic="depth/camera_info"), messages)
    assert [frame.has_depth for frame in frames] == [True] * 3
    assert len({id(frame.measured.camera) for frame in frames}) == 1  # so that rays are computed once


def test_frames_that_are_at_one_place_need_no_camera_info():
    messages = [m for m in unaligned(room.INTRINSICS, place=np.eye(4))[0] if m[0] != DEPTH_INFO]
    assert all(frame.depth_camera is frame.camera for frame in feed(live(), messages))


COLOR = Camera("c", "c", 160, 120, np.array([[140.0, 0, 79.5], [0, 140, 59.5], [0, 0, 1]]))
SENSOR = Camera("d", "d", 160, 120, np.array([[130.0, 0, 79.5], [0, 130, 59.5], [0, 0, 1]]))
LENSES = {
    "none": [],
    "plumb_bob": [-0.2, 0.05, 0.001, -0.0008, 0.0],
    "equidistant": [0.02, -0.01, 0.004, -0.001],
}


@pytest.mark.parametrize("model", LENSES)
def test_planes_are_carried_over_exactly_through_any_lens(model):
    color = Camera("c", "c", 160, 120, COLOR.intrinsics, model, np.array(LENSES[model]))
    found = Registration(color, SENSOR, BESIDE)
    normal, offset = np.array([0.4, -0.3, -0.86]), 2.0  # seen from colour: normal . x + offset = 0

    def plane(camera, color_from_camera):
        """Depth of the plane for each pixel of a camera."""
        turned, moved = color_from_camera[:3, :3], color_from_camera[:3, 3]
        return -(offset + normal @ moved) / (ray_grid(camera).astype(float) @ (turned.T @ normal))

    out = found.register(plane(SENSOR, BESIDE).astype(np.float32))
    right = plane(found.target, np.eye(4))
    there = out > 0
    assert there[10:-10, 15:-10].mean() > 0.99  # no cracks
    np.testing.assert_allclose(out[there], right[there], atol=1e-3)


def test_a_lens_of_which_no_pixel_has_a_ray_shows_nothing():
    blind = Camera("c", "c", 16, 12, np.array([[1e-3, 0, -900], [0, 1e-3, -900], [0, 0, 1]]), "equidistant", np.ones(4))
    assert not np.isfinite(ray_grid(blind)[..., :2]).any()
    assert (
        not Registration(blind, SENSOR, BESIDE).register(np.full((SENSOR.height, SENSOR.width), 2.0, np.float32)).any()
    )


def test_the_nearest_surface_is_in_front_and_nothing_is_invented():
    """A board 1 m away before a wall at 3 m, 0.1 m of baseline: edges move by f b / z pixels."""
    place = room.pose(translation=(-0.1, 0, 0))
    sensor = Camera("d", "d", 160, 120, COLOR.intrinsics)
    depth = np.full((120, 160), 3.0, np.float32)
    depth[40:80, 60:100] = 1.0
    out = Registration(COLOR, sensor, place).register(depth)
    shift = {z: 140 * 0.1 / z for z in (1.0, 3.0)}  # pixels to the left: 14 and 4.7
    assert set(np.unique(out.round(4))) == {0.0, 1.0, 3.0}
    row = out[60]
    left, right = 60 - shift[1.0], 99 - shift[1.0]
    np.testing.assert_array_equal(np.flatnonzero(row == 1.0), np.arange(left, right + 1))
    hidden = np.flatnonzero(row == 0)
    hidden = hidden[(hidden > 50) & (hidden < 120)]
    assert len(hidden) == pytest.approx(shift[1.0] - shift[3.0], abs=1)  # what the board hid from the sensor
    assert hidden.min() == right + 1


def test_holes_and_readings_that_are_none_stay_empty():
    depth = np.full((120, 160), 2.0, np.float32)
    depth[30:40, 30:40] = 0
    depth[50:60, 30:40] = np.nan
    depth[70:80, 30:40] = np.inf
    out = Registration(COLOR, COLOR, np.eye(4)).register(depth)
    for top in (30, 50, 70):
        assert not out[top : top + 10, 30:40].any()
    assert (np.delete(out[1:-1, 1:-1], np.s_[29:79], axis=0) == 2.0).all()


def test_what_is_behind_colour_or_far_beside_it_is_left_out():
    depth = np.full((120, 160), 2.0, np.float32)
    assert not Registration(COLOR, SENSOR, room.pose(translation=(0, 0, -3.0))).register(depth).any()
    assert not Registration(COLOR, SENSOR, room.pose(translation=(30.0, 0, 0))).register(depth).any()


def test_rounding_is_no_other_camera():
    near = Camera("d", "d", 160, 120, COLOR.intrinsics * [[1 + 1e-5, 1, 1 + 1e-4], [1, 1, 1], [1, 1, 1]])
    assert same_view(COLOR, near, room.pose(translation=(1e-5, 0, 0)))
    assert same_view(COLOR, COLOR.resized(80, 60), np.eye(4))
    assert not same_view(COLOR, SENSOR, np.eye(4))
    assert not same_view(COLOR, COLOR, BESIDE)
