"""Broken sensor data never stops the node: it is counted or explained, and the next good frame is processed."""

import re
from time import time_ns

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point
from sensor_msgs.msg import CameraInfo, CompressedImage, RegionOfInterest
from spatial_mllm_msgs.msg import CoverageStatus, MotionReward
from spatial_mllm_msgs.srv import AskSpatial, MeasureMotion, SetRewardTarget
from std_srvs.srv import Trigger

from .process import changed, polled, until
from .scene import HEIGHT, WALL, WIDTH, Sensors, depth, header, image, info, stamp, transforms

pytestmark = pytest.mark.live
PARAMETERS = {
    "status_rate": 20.0,
    "sync.stale_after": 60.0,
    "sync.tolerance": 0.0,  # frames follow each other within milliseconds here: no depth of another frame will do
    "pose.max_wait": 0.15,
    "coverage.source": "depth",
    "packed.image_transport": "compressed",
    "packed.depth_transport": "compressed",
    "cameras": ["camera", "packed"],
}
R = AskSpatial.Response
SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def node(start):
    node = start(PARAMETERS)
    node.says("configured")
    return node


@pytest.fixture(scope="module")
def sensors(node, robot):
    rewards = robot.listen(MotionReward, "/spatial_mllm/motion_reward")
    robot.listen(CoverageStatus, "/spatial_mllm/coverage")
    sensors = Sensors(robot)
    sensors.processed(rewards, 0)
    return sensors


@pytest.fixture
def scene(robot, sensors):
    """A node that has just processed a good frame and dropped nothing."""
    assert robot.call(Trigger, "/spatial_mllm/reset_memory").success
    processed(robot, sensors, 0)
    return sensors


def processed(robot, scene, i):
    """A good frame arrives in the rewards."""
    ns = scene.send(i)
    heard = robot.heard["/spatial_mllm/motion_reward"]
    return until(lambda: [r for r in heard if r.header.stamp == stamp(ns)], "the next good frame")[0]


def dropped(robot, frames):
    """The published count reaches this number, and stays there while the next good frame is processed."""
    heard = robot.heard["/spatial_mllm/coverage"]
    until(lambda: heard and heard[-1].frames_dropped == frames, f"{frames} dropped frames")


def short(msg):
    msg.data = msg.data[: len(msg.data) // 2]
    return msg


PACKED_PIXELS = {"jpeg": np.full((HEIGHT, WIDTH, 3), 90, np.uint8), "png": np.full((HEIGHT, WIDTH), 2000, np.uint16)}


def packed(kind, cut=0, form=""):
    """A JPEG or PNG message, without its last bytes."""
    data = cv2.imencode("." + kind, PACKED_PIXELS[kind])[1].tobytes()
    ns = time_ns()
    return CompressedImage(header=header(ns), format=form or kind, data=data[: len(data) - cut])


@pytest.mark.parametrize(
    ("color", "words"),
    [
        (lambda ns: image(ns, 0, encoding="rgb9"), "image encoding 'rgb9' is unknown"),
        (lambda ns: image(ns, 0, encoding="32FC1", step=0, data=bytes(4 * WIDTH * HEIGHT)), "is no colour"),
        (lambda ns: image(ns, 0, encoding="x" * 10_000), "is unknown"),
        (lambda ns: image(ns, 0, encoding=""), "is unknown"),
        (lambda ns: short(image(ns, 0)), "expected 6912 bytes"),
        (lambda ns: image(ns, 0, width=0), "expected 1 to"),
        (lambda ns: image(ns, 0, width=4_000_000_000), "expected 1 to"),
        (lambda ns: image(ns, 0, step=5), "image with step"),
        (lambda ns: image(ns, 0, height=HEIGHT - 12), "shapes must agree"),
        (lambda ns: image(0, 0), "no time stamp"),
    ],
)
def test_broken_colour(robot, scene, node, color, words):
    ns = time_ns()
    scene.send(1, ns, color=color(ns))
    dropped(robot, 1)
    node.says(words)
    processed(robot, scene, 2)


@pytest.mark.parametrize(
    ("distance", "words", "drops"),
    [
        (lambda ns: depth(ns, encoding="8UC1"), "depth encoding '8UC1': expected 16UC1", 1),
        (lambda ns: short(depth(ns)), "expected 27648 bytes", 1),
        (lambda ns: depth(ns, height=HEIGHT // 2), "shapes must agree", 1),
        (lambda ns: None, "no depth", 1),
        (lambda ns: depth(ns + SECOND), "no depth", 1),
        (lambda ns: depth(ns, np.nan), "", 0),
        (lambda ns: depth(ns, np.inf), "", 0),
        (lambda ns: depth(ns, -np.inf), "", 0),
        (lambda ns: depth(ns, 1e38), "", 0),
        (lambda ns: depth(ns, -1.0), "", 0),
    ],
)
def test_broken_depth(robot, scene, node, distance, words, drops):
    ns = time_ns()
    scene.send(1, ns, depth=distance(ns))
    if words:
        node.says(words)
        dropped(robot, drops)
    status = processed_status(robot, scene, 2)
    assert (status.frames_dropped, status.frames_seen) == (drops, 3 - drops)
    assert 0 < status.voxels_seen < 2000  # nothing was invented beyond the wall


def processed_status(robot, scene, i):
    """Coverage after one more good frame."""
    last = processed(robot, scene, i).header.stamp
    heard = robot.heard["/spatial_mllm/coverage"]
    return until(lambda: [c for c in heard if c.header.stamp == last], "coverage")[-1]


def test_depth_of_another_resolution_of_the_same_shape_is_used(robot, scene):
    half = np.full((HEIGHT // 2, WIDTH // 2), WALL, np.float32)
    before = processed_status(robot, scene, 0).voxels_seen
    ns = time_ns()
    coarse = depth(ns, height=HEIGHT // 2, width=WIDTH // 2, step=2 * WIDTH, data=half.tobytes())
    scene.send(0, ns, depth=coarse)
    status = processed_status(robot, scene, 0)
    assert (status.frames_dropped, status.frames_seen) == (0, 4)
    assert status.voxels_seen == pytest.approx(before, rel=0.05)  # the same wall


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"k": [0.0] * 9}, "the camera is not calibrated"),
        ({"k": [np.nan] * 9}, "camera_info"),
        ({"distortion_model": "strange", "d": [0.1]}, "distortion model 'strange'"),
        ({"d": [0.1, 0.2]}, "with 2 coefficients"),
        ({"roi": RegionOfInterest(x_offset=9999, width=10, height=10)}, "region of interest"),
    ],
)
def test_broken_camera_info_leaves_the_good_one(robot, scene, node, changes, words):
    ns = time_ns()
    scene.send(1, ns, info=info(ns, **changes))
    node.says("bad camera_info", words)
    status = processed_status(robot, scene, 2)
    assert (status.frames_dropped, status.frames_seen) == (0, 3)


def test_stamps_that_repeat_or_go_back_a_little(robot, scene):
    good = scene.stamp
    scene.send(1, good)
    dropped(robot, 1)
    scene.send(1, good - SECOND // 2)
    dropped(robot, 2)
    processed(robot, scene, 2)


@pytest.mark.parametrize(
    ("tf", "words"),
    [
        (lambda ns: None, "after the newest"),
        (lambda ns: transforms((ns, "map", "camera_base", 0.0)), "after the newest"),
        (lambda ns: transforms((ns, "odom", "camera_base", np.nan)), "bad transform"),
        (lambda ns: transforms((ns, "odom", "odom", 0.0)), "two different, non-empty frame names"),
        (lambda ns: transforms((ns, "", "camera_base", 0.0)), "two different, non-empty frame names"),
    ],
)
def test_missing_or_broken_transforms(robot, scene, node, tf, words):
    ns = time_ns()
    scene.send(1, ns, tf=tf(ns))
    node.says(words)
    dropped(robot, 1)
    processed(robot, scene, 2)


def test_a_late_transform_is_waited_for(robot, scene):
    ns = scene.send(1, tf=None)
    scene.tf.publish(transforms((ns, "odom", "camera_base", 0.25)))
    heard = robot.heard["/spatial_mllm/motion_reward"]
    reward = until(lambda: [r for r in heard if r.header.stamp == stamp(ns)], "the frame that waited")[0]
    assert reward.distance == pytest.approx(0.25, abs=1e-9)


def test_a_quaternion_of_zeros(robot, scene, node):
    ns = time_ns()
    broken = transforms((ns, "odom", "camera_base", 0.0))
    broken.transforms[0].transform.rotation.w = 0.0
    scene.send(1, ns, tf=broken)
    node.says("bad transform")
    dropped(robot, 1)
    processed(robot, scene, 2)


class PackedCamera:
    """The second camera, which sends JPEG and PNG."""

    def __init__(self, robot, scene):
        self.color = robot.publisher(CompressedImage, "/packed/color/image_raw/compressed")
        self.depth = robot.publisher(CompressedImage, "/packed/depth/image_raw/compressed")
        self.info = robot.publisher(CameraInfo, "/packed/color/camera_info")
        self.tf = scene.tf

    def send(self, color, distance):
        """One frame of these messages, now; its stamp."""
        ns = time_ns()
        color.header, distance.header = header(ns), header(ns)
        self.tf.publish(transforms((ns, "odom", "camera_base", 0.0)))
        self.info.publish(info(ns, "camera_optical"))
        self.depth.publish(distance)
        self.color.publish(color)
        return stamp(ns)


@pytest.fixture(scope="module")
def packed_camera(robot, sensors):
    """It has been heard: a new subscription may miss the first messages."""
    camera, heard = PackedCamera(robot, sensors), robot.heard["/spatial_mllm/coverage"]

    def connected():
        camera.send(packed("jpeg"), packed("png"))
        with changed:
            return changed.wait_for(lambda: heard[-1].frames_seen, 0.2)

    assert robot.call(Trigger, "/spatial_mllm/reset_memory").success
    until(lambda: heard[-1].frames_seen == 0, "a reset")
    polled(connected, "a frame of the packed camera")
    last = camera.send(packed("jpeg"), packed("png"))
    until(lambda: heard[-1].header.stamp == last, "the last frame of the packed camera")
    return camera


@pytest.mark.parametrize(
    ("color", "distance", "words"),
    [
        (packed("jpeg", cut=20), packed("png"), "cut off before its end"),
        (packed("jpeg"), packed("png", cut=20), "cut off before its end"),
        (packed("jpeg", form="rvl"), packed("png", form="16UC1; compressedDepth rvl"), "RVL"),
        (CompressedImage(format="jpeg", data=b"not an image"), packed("png"), "not readable as JPEG or PNG"),
        (CompressedImage(format="jpeg"), packed("png"), "not readable as JPEG or PNG"),
        (packed("jpeg"), packed("jpeg"), "expected 16 bit PNG"),
    ],
)
def test_truncated_and_foreign_compressed_images(robot, scene, node, packed_camera, color, distance, words):
    packed_camera.send(color, distance)
    node.says(words)
    dropped(robot, 1)
    processed(robot, scene, 2)


def test_a_damaged_image_with_a_whole_end_is_dropped_when_it_is_decoded(robot, scene, packed_camera):
    damaged = packed("png")
    middle = len(damaged.data) // 2
    damaged.data[middle - 10 : middle + 10] = type(damaged.data)("B", bytes(20))
    packed_camera.send(packed("jpeg"), damaged)
    status = processed_status(robot, scene, 2)
    assert (status.frames_seen, status.frames_dropped) == (2, 1)


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"target": "mug", "camera": "camera"}, R.BAD_REQUEST, "target 'mug': expected 'camera' or 'point'"),
        ({"target": "t" * 100_000, "camera": "camera"}, R.BAD_REQUEST, "expected 'camera' or 'point'"),
        ({"target": "camera"}, R.BAD_REQUEST, "there are several: camera, packed"),
        ({"target": "camera", "camera": "left"}, R.BAD_REQUEST, "camera 'left' is unknown; known are camera, packed"),
        ({"target": "camera", "camera": "packed"}, R.NO_FRAMES, "no frame of camera 'packed'"),
        ({"target": "camera", "camera": "camera", "from_stamp": Time(sec=5)}, R.NO_FRAMES, "remembered are"),
        ({"target": "camera", "camera": "camera", "from_stamp": Time(sec=-5)}, R.BAD_REQUEST, "from_stamp = -5 s"),
        ({"target": "point", "camera": "camera", "u": -4.0}, R.BAD_REQUEST, "pixel"),
        ({"target": "point", "camera": "camera", "u": float("nan")}, R.BAD_REQUEST, "pixel"),
        ({"target": "point", "camera": "camera", "v": 1e30}, R.BAD_REQUEST, "pixel"),
    ],
)
def test_requests_to_measure_what_cannot_be(robot, scene, fields, code, words):
    processed(robot, scene, 1)
    answer = robot.call(MeasureMotion, "/spatial_mllm/measure_motion", **fields)
    assert answer.error_code == code, answer.error_msg
    assert words in answer.error_msg
    assert len(answer.error_msg) < 300
    assert no_secrets(answer.error_msg)


def no_secrets(text):
    """Neither a path nor a traceback."""
    return not re.search(r"(/\w+){2}|Traceback|line \d+", text)


def region(x, y, width, height):
    return RegionOfInterest(x_offset=x, y_offset=y, width=width, height=height)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"label": ""}, "label of 0 characters"),
        ({"label": "m" * 65}, "label of 65 characters: expected 1 to 64"),
        ({"label": "mug", "camera": "left"}, "camera 'left' is unknown"),
        (
            {"label": "mug", "roi": RegionOfInterest(x_offset=90, y_offset=0, width=20, height=20)},
            "leaves the image of 96x72",
        ),
        (
            {"label": "mug", "roi": RegionOfInterest(x_offset=4_000_000_000, width=4_000_000_000, height=9)},
            "leaves the image",
        ),
        ({"label": "mug", "roi": RegionOfInterest(x_offset=5, y_offset=5, width=20)}, "width and height"),
        ({"label": "camera", "has_goal": True, "goal": Point(x=float("nan"))}, "goal is not finite"),
        ({"label": "camera", "has_goal": True, "goal": Point(x=1e308)}, "or too far"),
    ],
)
def test_reward_targets_that_cannot_be(robot, scene, fields, words):
    answer = robot.call(SetRewardTarget, "/spatial_mllm/set_reward_target", **({"camera": "camera"} | fields))
    assert answer.error_code == R.BAD_REQUEST, answer.error_msg
    assert words in answer.error_msg
    assert no_secrets(answer.error_msg)


def test_a_region_without_depth_has_no_geometry(robot, scene):
    ns = time_ns()
    ns = scene.send(1, ns, depth=depth(ns, np.nan))
    processed(robot, scene, 2)
    answer = robot.call(
        SetRewardTarget, "/spatial_mllm/set_reward_target", label="void", camera="camera", stamp=stamp(ns)
    )
    assert answer.error_code == R.NO_GEOMETRY
    assert answer.error_msg


def test_a_message_of_many_transforms_is_taken_apart(robot, scene):
    ns = time_ns()
    links = [(ns, "odom" if i == 0 else f"f{i - 1}", f"f{i}", 0.01) for i in range(500)]
    scene.tf.publish(transforms(*links, (ns, "f3", "f1", 0.0)))  # and a loop
    assert processed(robot, scene, 3).valid


def test_the_node_is_still_without_a_traceback(node):
    assert "Traceback" not in node.log
    assert node.signal() == 0
