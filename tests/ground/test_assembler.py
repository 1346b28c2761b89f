import numpy as np
import pytest

from spatial_mllm_ros.assembler import JUMP_NS, MAX_WAITING, FrameAssembler, needs_of
from spatial_mllm_ros.config import build
from spatial_mllm_ros.scene.pipeline import SpatialPipeline

from . import sensor
from .sensor import MS

START = 1_000 * JUMP_NS


def assembler(**values):
    return FrameAssembler(build({"cameras": ["front"], **{k.replace("__", "."): v for k, v in values.items()}}))


@pytest.fixture
def ready():
    return make_ready()


def make_ready(needs=None, depth_topic="depth"):
    """An assembler that knows the camera, its mount, and odometry every 100 ms for a second."""
    a = FrameAssembler(build({"cameras": ["front"], "front.depth_topic": depth_topic}), needs)
    a.add_info("front", sensor.info(START))
    a.add_transforms(sensor.transforms((START, "base", "optical", 0.5)), static=True)
    for ms in range(0, 1001, 100):
        a.add_transforms(sensor.transforms((START + ms * MS, "odom", "base", ms / 1000)))
    return a


def put(a, ms, depth_ms=None, camera="front"):
    a.add_color(camera, sensor.color(START + ms * MS), START + ms * MS)
    a.add_depth(camera, sensor.depth(START + (ms if depth_ms is None else depth_ms) * MS))


def stamps(frames):
    return [(f.stamp_ns - START) // MS for f in frames]


def test_a_frame_has_image_depth_camera_and_pose(ready):
    put(ready, 130)
    (frame,) = ready.take(START + 130 * MS)
    assert frame.stamp_ns == START + 130 * MS
    assert frame.image.shape == (48, 64, 3)
    assert np.allclose(frame.depth, 2.0)
    assert frame.camera.name == "front"
    assert frame.world_from_camera[0, 3] == pytest.approx(0.63)
    assert frame.world_frame == "odom"


def test_order_of_image_and_depth_does_not_matter(ready):
    ready.add_depth("front", sensor.depth(START + 50 * MS))
    assert ready.take(START) == []
    ready.add_color("front", sensor.color(START + 50 * MS), START + 50 * MS)
    assert stamps(ready.take(START + 50 * MS)) == [50]


def test_depth_within_tolerance_is_paired_with_the_nearest(ready):
    ready.add_color("front", sensor.color(START + 100 * MS), START)
    ready.add_depth("front", sensor.depth(START + 85 * MS, 1.0))
    assert ready.take(START) == []  # a nearer one may follow
    ready.add_depth("front", sensor.depth(START + 104 * MS, 3.0))
    (frame,) = ready.take(START)
    assert np.allclose(frame.depth, 3.0)


def test_without_depth_the_frame_goes_on_after_a_wait_or_is_dropped(ready):
    ready.add_color("front", sensor.color(START + 100 * MS), START + 100 * MS)
    assert ready.take(START + 290 * MS) == []
    (frame,) = ready.take(START + 310 * MS)
    assert not frame.has_depth
    strict = assembler(coverage__source="depth")
    strict.add_info("front", sensor.info(START))
    strict.add_color("front", sensor.color(START), START)
    assert strict.take(START + 300 * MS) == []
    assert strict.dropped == {"no depth": 1}


def test_a_later_depth_ends_the_wait(ready):
    ready.add_color("front", sensor.color(START + 100 * MS), START + 100 * MS)
    ready.add_depth("front", sensor.depth(START + 133 * MS))
    (frame,) = ready.take(START + 100 * MS)
    assert not frame.has_depth


def test_late_transforms_are_waited_for(ready):
    put(ready, 1050)
    assert ready.take(START + 1060 * MS) == []
    ready.add_transforms(sensor.transforms((START + 1100 * MS, "odom", "base", 1.1)))
    (frame,) = ready.take(START + 1100 * MS)
    assert frame.world_from_camera[0, 3] == pytest.approx(1.55)


def test_missing_transforms_drop_the_frame_with_the_reason(ready):
    put(ready, 1050)
    assert ready.take(START + 1300 * MS) == []
    assert ready.dropped == {"no pose": 1}
    assert "after the newest" in ready.problems["no pose"]


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({}, {"pose of depth"}),
        ({"coverage.source": "depth"}, {"depth", "pose"}),
        ({"coverage.source": "vggt", "vggt.model": "some"}, set()),
        ({"coverage.source": "depth", "motion.source": "mllm"}, set()),
        ({"coverage.source": "depth", "motion.source": "both"}, set()),
    ],
)
def test_parts_that_parameters_need(values, parts):
    assert needs_of(build(values)) == parts


NO_DEPTH = "camera 'front': no depth within 0.02 s (sync.tolerance) of the image at 1000.100 s"
NEEDS = [(), ("depth",), ("pose",), ("pose of depth",), ("depth", "pose")]


@pytest.mark.parametrize("needs", NEEDS)
@pytest.mark.parametrize("depth_ms, away", [(60, "0.040"), (150, "0.050")])
def test_an_image_whose_depth_is_missing(needs, depth_ms, away):
    a = make_ready(needs)
    put(a, 100, depth_ms)
    frames = a.take(START + 10_000 * MS)
    if "depth" in needs:
        assert not frames and a.dropped == {"no depth": 1}
        assert a.problems == {"no depth": f"{NO_DEPTH}; the nearest is {away} s away"}
    else:
        (frame,) = frames
        assert not frame.has_depth and frame.world_from_camera is not None and not a.dropped and not a.problems


@pytest.mark.parametrize("has_depth", [True, False])
@pytest.mark.parametrize("needs", [needs for needs in NEEDS if "depth" not in needs])
def test_an_image_whose_pose_is_missing(needs, has_depth):
    a = make_ready(needs)
    a.add_color("front", sensor.color(START + 1500 * MS), START)
    if has_depth:
        a.add_depth("front", sensor.depth(START + 1500 * MS))
    frames = a.take(START + 10_000 * MS)
    if "pose" in needs or ("pose of depth" in needs and has_depth):
        assert not frames and a.dropped == {"no pose": 1}
        assert "camera 'front': " in a.problems["no pose"] and "after the newest" in a.problems["no pose"]
    else:
        (frame,) = frames
        assert frame.has_depth == has_depth and frame.world_from_camera is None and not a.dropped and not a.problems


def test_an_image_without_any_depth():
    a = make_ready(("depth",))
    a.add_color("front", sensor.color(START + 100 * MS), START)
    assert a.take(START + 10_000 * MS) == [] and a.problems["no depth"] == f"{NO_DEPTH}; none waits"
    blind = make_ready(("depth",), depth_topic="")
    blind.add_color("front", sensor.color(START + 100 * MS), START)
    assert blind.take(START) == [] and blind.dropped == {"no depth": 1}
    assert blind.problems == {"no depth": "camera 'front': it has no depth topic"}


def test_a_frame_without_depth_goes_on_without_pose():
    rgb = assembler(front__depth_topic="")
    rgb.add_info("front", sensor.info(START))
    rgb.add_color("front", sensor.color(START), START)
    assert rgb.take(START) == []
    (frame,) = rgb.take(START + 300 * MS)
    assert frame.world_from_camera is None and not frame.has_depth


@pytest.mark.parametrize("source", ["mllm", "both"])
def test_for_the_models_rewards_an_image_is_enough(source):
    pipeline = SpatialPipeline(build({"cameras": ["front"], "motion.source": source}))
    a = assembler(motion__source=source)
    a.add_info("front", sensor.info(START))
    put(a, 0)
    assert a.take(START + 100 * MS) == [], "its pose may come"
    (frame,) = a.take(START + 300 * MS)
    assert frame.has_depth and frame.world_from_camera is None and not a.dropped
    reasons = {"mllm": [], "both": ["no pose"]}
    assert [r.reason for r in pipeline.process(frame).rewards] == reasons[source], "geometry says why it has none"

    strict = assembler(motion__source=source, coverage__source="depth")
    strict.add_info("front", sensor.info(START))
    strict.add_color("front", sensor.color(START), START)
    (frame,) = strict.take(START + 300 * MS)
    assert not frame.has_depth and frame.world_from_camera is None and not strict.dropped


def test_no_camera_info():
    a = assembler()
    put(a, 0)
    a.add_info("front", sensor.info(START, k=[0] * 9))
    assert a.take(START + 300 * MS) == []
    assert a.dropped == {"no camera_info": 1}
    assert a.problems["no camera_info"].startswith("camera 'front': camera_info of 64x48 with fx = 0")
    assert "not calibrated" in a.problems["bad camera_info"]


def test_the_camera_stays_one_object_until_it_changes(ready):
    put(ready, 100)
    ready.add_info("front", sensor.info(START + 1))
    put(ready, 133)
    first, second = ready.take(START + 133 * MS)
    assert first.camera is second.camera
    ready.add_info("front", sensor.info(START + 1, d=[0.1, 0, 0, 0, 0]))
    put(ready, 166)
    (third,) = ready.take(START + 166 * MS)
    assert third.camera is not first.camera
    ready.add_info("front", sensor.info(START + 1, d=[0.1, 0, 0, 0]))  # one coefficient less, that is 0: the same lens
    put(ready, 199)
    (fourth,) = ready.take(START + 199 * MS)
    assert fourth.camera is third.camera


def test_stamps_that_repeat_go_back_or_are_zero(ready):
    put(ready, 100)
    put(ready, 100)
    put(ready, 60)
    ready.add_color("front", sensor.color(0), START)
    assert stamps(ready.take(START + 100 * MS)) == [100]
    assert ready.dropped == {"stale stamp": 2, "zero stamp": 1}


def test_a_time_jump_forgets_and_goes_on(ready):
    put(ready, 500)
    back = -50_000
    ready.add_transforms(sensor.transforms((START + back * MS, "odom", "base", 7.0)))  # first word of the new time
    put(ready, back)
    assert ready.jumps == 1
    frames = ready.take(START + back * MS)
    assert stamps(frames) == [back]  # the mount survived, the old odometry did not
    assert frames[0].world_from_camera[0, 3] == pytest.approx(7.5)


def test_depth_of_another_resolution(ready):
    ready.add_color("front", sensor.color(START + 100 * MS), START)
    ready.add_depth("front", sensor.depth(START + 100 * MS, shape=(24, 32)))
    (frame,) = ready.take(START)
    assert (frame.depth_camera.width, frame.depth_camera.intrinsics[0, 0]) == (32, sensor.FOCAL / 2)
    ready.add_color("front", sensor.color(START + 200 * MS), START)
    ready.add_depth("front", sensor.depth(START + 200 * MS, shape=(48, 48)))
    assert ready.take(START) == []
    assert ready.dropped == {"depth size": 1}
    assert "depth of 48x48, camera_info of 64x48" in ready.problems["depth size"]


def test_image_of_another_shape_than_camera_info(ready):
    ready.add_color("front", sensor.color(START + 100 * MS, shape=(64, 64)), START)
    ready.add_depth("front", sensor.depth(START + 100 * MS))
    assert ready.take(START) == []
    assert ready.dropped == {"image size": 1}


def test_broken_messages_lose_nothing_else(ready):
    ready.add_color("front", sensor.compressed(START + 90 * MS, b"nonsense", "jpeg"), START)
    ready.add_depth("front", sensor.image(START + 95 * MS, np.zeros((4, 4), np.uint8), "8UC1"))
    broken = sensor.transforms((START + 95 * MS, "odom", "base", float("nan")), (START + 95 * MS, "", "x", 0.0))
    ready.add_transforms(broken)
    put(ready, 100)
    assert stamps(ready.take(START + 100 * MS)) == [100]
    assert ready.dropped == {"bad image": 1}
    assert {"bad image", "bad depth", "bad transform"} <= set(ready.problems)


def test_leading_slashes_of_ros_1_are_no_part_of_a_name():
    a = assembler(pose__world_frame="/odom")
    msg = sensor.info(START)
    msg.header.frame_id = "/optical"
    a.add_info("front", msg)
    a.add_transforms(sensor.transforms((START, "/odom", "/optical", 1.0)))
    put(a, 0)
    assert stamps(a.take(START)) == [0]


def test_transforms_without_a_stamp_change_nothing(ready):
    ready.add_transforms(sensor.transforms((0, "odom", "base", 9.0)))
    put(ready, 130)
    assert stamps(ready.take(START)) == [130]
    assert "without a time stamp" in ready.problems["bad transform"]


def test_images_that_wait_at_a_time_jump_are_counted(ready):
    for ms in (1050, 1080):
        put(ready, ms)  # their pose has not come yet
    put(ready, -50_000)
    assert not ready.dropped and not ready.take(START)
    assert ready.dropped["time jump"] == 2


FAR = 400_000_000_000  # ms, 12 years


@pytest.mark.parametrize("lie", [-900_000, -5_000, 5_000, FAR])
def test_one_image_of_another_time_turns_no_clock(ready, lie):
    """It is left out and counted, whatever it is stamped, and nothing else is."""
    for ms in range(0, 1000, 50):
        put(ready, ms)
        if ms == 500:
            ready.add_color("front", sensor.color(START + lie * MS), START + ms * MS)
    assert stamps(ready.take(START + 1000 * MS)) == list(range(0, 1000, 50))
    assert ready.jumps == 0 and ready.dropped == {"stray stamp": 1}
    assert "nothing else was at that time" in ready.problems["stray stamp"]


def move(a, ms):
    a.add_transforms(sensor.transforms((START + ms * MS, "odom", "base", 1.0)))


@pytest.mark.parametrize("back", [-900_000, 900_000])
@pytest.mark.parametrize("first", [True, False])
def test_what_another_stream_says_too_is_believed(ready, back, first):
    """Transforms may jump before or after the images; no image is lost."""
    put(ready, 900)
    assert len(ready.take(START + 900 * MS)) == 1
    images = [back + ms for ms in range(0, 300, 100)]
    for i, ms in enumerate(images):
        if first or i:
            move(ready, ms - 1)
            move(ready, ms + 1)
        ready.add_color("front", sensor.color(START + ms * MS), START + (1000 + 100 * i) * MS)
    ready.add_depth("front", sensor.depth(START + (images[-1] + 100) * MS))
    move(ready, back - 1)
    move(ready, back + 1)
    assert stamps(ready.take(START + 9000 * MS)) == images
    assert ready.jumps == (back < 0) and not ready.dropped


def images_alone(period_ms, count):
    """An assembler of images alone, that jump back by a minute; how many of so many come through."""
    a = make_ready(needs=(), depth_topic="")
    a.add_color("front", sensor.color(START + 120_000 * MS), START)
    for i in range(count):
        a.add_color("front", sensor.color(START + (60_000 + i * period_ms) * MS), START + (i + 1) * period_ms * MS)
    return len(a.take(START + 10_000_000 * MS)) - 1


def test_images_alone_are_believed_when_they_go_on():
    assert [images_alone(33, count) for count in (1, 9, 10, 11)] == [0, 0, 9, 10]  # the frame before the jump is gone
    assert [images_alone(2000, count) for count in (1, 2, 3, 4)] == [0, 0, 2, 3]


def test_a_pause_is_no_jump(ready):
    put(ready, 100)
    ready.add_color("front", sensor.color(START + 300_000 * MS), START + 300_000 * MS)
    put(ready, 300_050)
    assert not ready.dropped and ready.jumps == 0 and len(ready._streams["front"].images) == 3


def test_problems_are_of_bounded_length(ready):
    ready.add_transforms(sensor.transforms((START, "x" * 100_000, "x" * 100_000, 0.0)))
    assert len(ready.problems["bad transform"]) <= 500


def test_waiting_is_bounded():
    a = assembler()
    for i in range(MAX_WAITING + 50):
        a.add_color("front", sensor.color(START + i * MS), START)
        a.add_depth("front", sensor.depth(START + i * MS))
    assert a.dropped == {"queue full": 50}
    assert len(a._streams["front"].images) == len(a._streams["front"].depths) == MAX_WAITING


def test_odometry_replaces_tf_for_its_frame():
    a = assembler(pose__source="odometry")
    a.add_info("front", sensor.info(START))
    a.add_transforms(sensor.transforms((START, "base", "optical", 0.5)), static=True)
    a.add_odometry(sensor.odometry(START, "odom", "base", 2.0))
    a.add_transforms(sensor.transforms((START, "odom", "base", 99.0)))
    put(a, 0)
    (frame,) = a.take(START)
    assert frame.world_from_camera[0, 3] == pytest.approx(2.5)


@pytest.mark.parametrize("child, expected", [("", 3.0), ("base", 3.5)])
def test_pose_stamped(child, expected):
    a = assembler(pose__source="pose", pose__child_frame=child)
    a.add_info("front", sensor.info(START))
    if child:
        a.add_transforms(sensor.transforms((START, "base", "optical", 0.5)), static=True)
    a.add_pose(sensor.pose_stamped(START, "odom", 3.0))
    put(a, 0)
    (frame,) = a.take(START)
    assert frame.world_from_camera[0, 3] == pytest.approx(expected)


def test_several_cameras_are_independent():
    a = FrameAssembler(build({"cameras": ["left", "right"], "right.depth_topic": ""}))
    a.add_transforms(sensor.transforms((START, "odom", "optical", 1.0)), static=True)
    for name in ("left", "right"):
        a.add_info(name, sensor.info(START))
    put(a, 40, camera="left")
    a.add_color("right", sensor.color(START + 30 * MS), START)
    put(a, 10, camera="left")  # stale for left only
    frames = a.take(START)
    assert [(f.camera.name, f.has_depth) for f in frames] == [("right", False), ("left", True)]


def test_flush_completes_what_can_be_completed(ready):
    ready.add_color("front", sensor.color(START + 100 * MS), START + 100 * MS)
    put(ready, 2000)
    (frame,) = ready.take(START + 2000 * MS, flush=True)
    assert stamps([frame]) == [100] and not frame.has_depth
    assert ready.dropped == {"no pose": 1}
