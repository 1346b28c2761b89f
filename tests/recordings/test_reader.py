"""Frames of recordings: stamps, poses, pairs of colour and depth, and which topics are taken for what."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spatial_mllm_ros.config import build
from spatial_mllm_ros.errors import BadMessage
from spatial_mllm_ros.recordings import BagError, BagWarning, FrameReader, read_frames, recording_info

from .recordings import (
    FORMATS,
    START,
    STEP,
    color_pixels,
    compressed,
    depth_pixels,
    image,
    info,
    odometry,
    pose_stamped,
    rgbd,
    transforms,
    write,
    write_ros2,
    x_of,
)


@pytest.fixture(autouse=True)
def _warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error", BagWarning)
        yield


def check_frames(frames, count, base=(0.0, 0.0, -0.5)):
    assert [f.stamp_ns for f in frames] == [START + i * STEP for i in range(count)]
    for i, frame in enumerate(frames):
        assert (frame.image == color_pixels(i)).all()
        np.testing.assert_allclose(frame.depth, depth_pixels(i) / 1000, rtol=1e-6)
        np.testing.assert_allclose(frame.world_from_camera[:3, 3], [base[0] + x_of(i), base[1], base[2]])


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_frames(tmp_path, kind):
    frames = list(read_frames(write(tmp_path, rgbd(10), kind)))
    check_frames(frames, 10)
    assert {f.world_frame for f in frames} == {"odom"}
    assert {f.camera.name for f in frames} == {"camera"}
    assert frames[0].camera.intrinsics[0, 0] == 20.0


def test_odometry_where_tf_is_only_static(tmp_path):
    recording = write(tmp_path, rgbd(10, poses="odometry"), "mcap")
    with FrameReader(recording) as reader:
        assert (reader.sources.poses.source, reader.sources.poses.topic) == ("odometry", "/odom")
        check_frames(list(reader), 10)


def test_pose_stamped_where_there_is_nothing_else(tmp_path):
    written = [*rgbd(10, poses="pose"), ("/objects/mug/pose", START, pose_stamped(START, 9.0))]
    with FrameReader(write_ros2(tmp_path / "r", written)) as reader:
        assert (reader.sources.poses.source, reader.sources.poses.topic) == ("pose", "/camera/pose")
        check_frames(list(reader), 10, base=(0.0, 0.0, 0.0))


def test_tf_before_odometry_unless_named(tmp_path):
    extra = [("/wheel_odom", START + i * STEP, odometry(START + i * STEP, 2 * x_of(i), "wheels")) for i in range(10)]
    recording = write_ros2(tmp_path / "r", sorted(rgbd(10) + extra, key=lambda m: m[1]))
    check_frames(list(read_frames(recording)), 10)
    named = list(read_frames(recording, odometry="/wheel_odom"))
    assert {f.world_frame for f in named} == {"wheels"}
    np.testing.assert_allclose([f.world_from_camera[0, 3] for f in named], [2 * x_of(i) for i in range(10)])


def test_world_frame_is_odom_or_the_root(tmp_path):
    link = [("/tf_static", START, transforms((START, "map", "odom", (5.0, 0.0, 0.0))))]
    recording = write_ros2(tmp_path / "r", link + rgbd(4))
    assert next(read_frames(recording)).world_frame == "odom"
    frame = next(read_frames(recording, world_frame="map"))
    np.testing.assert_allclose(frame.world_from_camera[:3, 3], [5.0, 0.0, -0.5])
    with pytest.raises(
        BagError,
        match="world frame 'mars' is not connected to the camera's frame 'optical'; connected: base_link, odom, map",
    ):
        read_frames(recording, world_frame="mars")


def test_late_poses_and_late_static_transforms_are_waited_for(tmp_path):
    late = {"/tf": 300_000_000, "/tf_static": 8 * STEP}
    written = [(topic, ns + late.get(topic, 0), message) for topic, ns, message in rgbd(20)]
    frames = list(read_frames(write_ros2(tmp_path / "r", sorted(written, key=lambda m: m[1]))))
    check_frames(frames, 20)


def test_several_cameras_come_in_one_order_of_time(tmp_path):
    front = rgbd(8, "/robot/front", frame="front_optical")
    rear = [
        (
            topic,
            ns + 40_000_000,
            image(ns - 10_000_000, color_pixels(9), "rgb8", "rear_optical") if "image" in topic else m,
        )
        for topic, ns, m in rgbd(8, "/robot/rear", frame="rear_optical")
        if "depth" not in topic and topic != "/tf"
    ]
    recording = write_ros2(tmp_path / "r", sorted(front + rear, key=lambda m: m[1]))
    found = recording_info(recording).cameras
    assert list(found) == ["front", "rear"]
    assert found["front"].depth == "/robot/front/depth/image_rect_raw"
    assert found["rear"].depth == ""
    with pytest.warns(BagWarning, match="1 frames without pose: camera 'rear': .* 10.0 ms before the oldest"):
        frames = list(read_frames(recording))
    assert len(frames) == 16
    assert [f.stamp_ns for f in frames] == sorted(f.stamp_ns for f in frames)
    assert [f.camera.name for f in read_frames(recording, cameras=["front"])] == ["front"] * 8
    with pytest.raises(BagError, match="no camera 'left'; cameras found: front, rear"):
        read_frames(recording, cameras=["left"])


def test_names_of_well_known_drivers(tmp_path):
    color, depth = color_pixels(0), depth_pixels(0)

    def cameras(name, topics):
        messages = []
        for topic, message in topics.items():
            messages.append((topic, START, message))
        return recording_info(write_ros2(tmp_path / name, messages)).cameras

    realsense = cameras(
        "realsense",
        {
            "/camera/camera/color/image_raw": image(START, color, "rgb8"),
            "/camera/camera/color/camera_info": info(START),
            "/camera/camera/infra1/image_rect_raw": image(START, color[..., 0], "mono8"),
            "/camera/camera/infra1/camera_info": info(START),
            "/camera/camera/depth/image_rect_raw": image(START, depth, "16UC1"),
            "/camera/camera/depth/camera_info": info(START),
            "/camera/camera/aligned_depth_to_color/image_raw": image(START, depth, "16UC1"),
            "/camera/camera/aligned_depth_to_color/camera_info": info(START),
        },
    )
    assert list(realsense) == ["camera"]
    assert realsense["camera"].depth == "/camera/camera/aligned_depth_to_color/image_raw"
    assert realsense["camera"].camera_info == "/camera/camera/color/camera_info"

    zed = cameras(
        "zed",
        {
            "/zed/zed_node/left/image_rect_color": image(START, color, "bgr8"),
            "/zed/zed_node/left/camera_info": info(START),
            "/zed/zed_node/rgb/image_rect_color": image(START, color, "bgr8"),
            "/zed/zed_node/rgb/camera_info": info(START),
            "/zed/zed_node/depth/depth_registered": image(START, np.ones((12, 16), np.float32), "32FC1"),
            "/zed/zed_node/confidence/confidence_map": image(START, np.ones((12, 16), np.float32), "32FC1"),
        },
    )
    assert list(zed) == ["zed_node", "left"]
    assert zed["zed_node"].image == "/zed/zed_node/rgb/image_rect_color"
    assert zed["zed_node"].depth == "/zed/zed_node/depth/depth_registered"
    assert zed["left"].depth == ""

    kinect = cameras(
        "kinect",
        {
            "/camera/rgb/image_color/compressed": compressed(START, b"", "bgr8; jpeg compressed bgr8"),
            "/camera/rgb/camera_info": info(START),
            "/camera/depth/image/compressedDepth": compressed(START, b"", "32FC1; compressedDepth png"),
        },
    )
    assert kinect["camera"].image == "/camera/rgb/image_color/compressed"
    assert kinect["camera"].depth == "/camera/depth/image/compressedDepth"

    oak = cameras(
        "oak",
        {
            "/oak/rgb/image_raw": image(START, color, "bgr8"),
            "/oak/rgb/image_raw/compressed": compressed(START, b"", "jpeg"),
            "/oak/rgb/camera_info": info(START),
            "/oak/stereo/image_raw": image(START, depth, "16UC1"),
        },
    )
    assert list(oak) == ["oak"]
    assert oak["oak"].image == "/oak/rgb/image_raw"
    assert oak["oak"].depth == "/oak/stereo/image_raw"

    stereo = cameras(
        "stereo",
        {
            "/stereo/left/image_raw": image(START, color, "bgr8"),
            "/stereo/left/camera_info": info(START),
            "/stereo/right/image_raw": image(START, color, "bgr8"),
            "/stereo/right/camera_info": info(START),
        },
    )
    assert list(stereo) == ["left", "right"]


def test_named_topics(tmp_path):
    odd = {
        "/camera/color/image_raw": "/eye",
        "/camera/depth/image_rect_raw": "/far",
        "/camera/color/camera_info": "/lens",
    }
    recording = write_ros2(tmp_path / "r", [(odd.get(t, t), ns, m) for t, ns, m in rgbd(4)])
    check_frames(list(read_frames(recording)), 4)
    check_frames(list(read_frames(recording, image="/eye", depth="/far", camera_info="/lens")), 4)
    named = list(read_frames(recording, cameras={"left": {"image": "/eye", "depth": "", "camera_info": "/lens"}}))
    assert {f.camera.name for f in named} == {"left"}
    assert not named[0].has_depth


@pytest.mark.parametrize(
    ("topics", "text"),
    [
        (
            {"image": "/eye"},
            "has no topic /eye; topics of type .*Image.* in r: /camera/color/image_raw, /camera/depth/",
        ),
        (
            {"image": "/tf"},
            "/tf is of type tf2_msgs/msg/TFMessage, expected sensor_msgs/msg/Image or sensor_msgs/msg/Comp",
        ),
        ({"depth": "/far"}, "has no topic /far"),
        (
            {"camera_info": "/tf"},
            "/tf is of type .*, expected sensor_msgs/msg/CameraInfo; .*: /camera/color/camera_info",
        ),
        ({"odometry": "/tf"}, "expected nav_msgs/msg/Odometry; topics of type nav_msgs/msg/Odometry in r: none"),
        ({"pose": "/nowhere"}, "has no topic /nowhere"),
        ({"pose": "/a", "odometry": "/b"}, "poses come from one of them"),
    ],
)
def test_wrong_topics_are_named_with_the_right_ones(tmp_path, topics, text):
    recording = write_ros2(tmp_path / "r", rgbd(2))
    with pytest.raises(BagError, match=text):
        read_frames(recording, **topics)


def test_no_camera(tmp_path):
    with pytest.raises(BagError, match="r has no camera: no Image or CompressedImage topic with colour; topics: /tf"):
        read_frames(write_ros2(tmp_path / "r", [("/tf", START, transforms())]))
    with pytest.raises(BagError, match=r"/camera/color/image_raw is not used: no CameraInfo topic belongs to it"):
        read_frames(write_ros2(tmp_path / "s", [m for m in rgbd(2) if "info" not in m[0]]))


def test_without_poses_it_says_so(tmp_path):
    recording = write_ros2(tmp_path / "r", rgbd(3, poses="none"))
    with pytest.warns(BagWarning, match="no camera poses: no TF leads to 'optical'"):
        frames = read_frames(recording)
    with pytest.warns(BagWarning, match="3 images left out, no pose"):
        assert list(frames) == []
    color_only = write_ros2(tmp_path / "s", [m for m in rgbd(3, poses="none") if "depth" not in m[0]])
    with pytest.warns(BagWarning, match="no camera poses"):
        frames = list(read_frames(color_only))
    assert len(frames) == 3 and frames[0].world_from_camera is None


def test_broken_images_are_left_out_and_counted(tmp_path):
    written = rgbd(6)
    broken = next(m for t, ns, m in written if t == "/camera/color/image_raw" and ns == START + 2 * STEP)
    broken.data = broken.data[:10]
    with (
        FrameReader(write_ros2(tmp_path / "r", written)) as reader,
        pytest.warns(BagWarning, match="1 images left out, bad image"),
    ):
        frames = list(reader)
        assert reader.dropped == {"bad image": 1}
    assert len(frames) == 5


def test_parameters_are_kept(tmp_path):
    config = build({"coverage.voxel_size": 0.05, "cameras": ["other"], "pose.max_wait": 3.0})
    with FrameReader(write_ros2(tmp_path / "r", rgbd(2)), config) as reader:
        assert reader.config.coverage.voxel_size == 0.05
        assert reader.config.cameras == ["camera"]
        assert reader.config.pose.max_wait == 3.0
        assert len(list(reader)) == 2
        assert len(list(reader)) == 2, "it can be read again"


def test_frames_without_the_parts_that_the_caller_does_not_need_are_kept(tmp_path):
    written = write_ros2(tmp_path / "r", rgbd(3, poses="none"))
    with pytest.warns(BagWarning, match="no camera poses"):
        frames = list(read_frames(written, needs={"depth"}))
    assert [(f.has_depth, f.world_from_camera) for f in frames] == [(True, None)] * 3
    blind = write_ros2(tmp_path / "s", [m for m in rgbd(3) if "depth" not in m[0]])
    with pytest.warns(BagWarning, match="3 images left out, no depth: camera 'camera': it has no depth topic"):
        assert not list(read_frames(blind, needs={"depth", "pose"}))


@settings(max_examples=80, deadline=None)
@given(kind=st.sampled_from(FORMATS), at=st.floats(0, 0.999), junk=st.binary(min_size=1, max_size=12))
def test_damaged_bytes_never_escape(tmp_path_factory, kind, at, junk):
    folder = tmp_path_factory.getbasetemp() / f"intact-{kind}"
    if not folder.exists():
        folder.mkdir()
        write(folder, rgbd(4), kind)
    file = next(f for f in folder.rglob("r.*") if f.is_file())
    data = file.read_bytes()
    damaged = folder / f"damaged{file.suffix}"
    damaged.write_bytes(data[: int(at * len(data))] + junk + data[int(at * len(data)) + len(junk) :])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BagWarning)
        try:
            for frame in read_frames(damaged):
                assert frame.image is not None
        except (BagError, BadMessage):
            pass


def test_redkitchen(redkitchen):
    frames = list(read_frames(redkitchen))
    assert len(frames) == 300
    assert all(f.has_depth and f.world_from_camera is not None for f in frames)
    assert frames[0].camera.intrinsics[0, 0] == 585
    assert frames[0].depth.shape == (480, 640)


def test_tum_cabinet(tum_cabinet):
    frames = list(read_frames(tum_cabinet))
    assert len(frames) == 56
    assert {f.world_frame for f in frames} == {"world"}
