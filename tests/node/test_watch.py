"""Why nothing arrives: the log names topic, type, QoS and the parameter to change."""

from time import time_ns

import pytest
from geometry_msgs.msg import TwistStamped
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from .process import RELIABLE, SENSOR, polled
from .scene import LATCHED, depth, image, info, transforms

pytestmark = pytest.mark.live
PARAMETERS = {
    "sync.stale_after": 0.4,
    "status_rate": 10.0,
    "pose.max_wait": 0.1,
    "cameras": ["lone", "typed", "packed", "quiet", "sunk"],
    "sunk.depth_topic": "",
    "sunk.camera_info_topic": "other/camera_info",
}


@pytest.fixture(scope="module")
def node(start, robot):
    keep = [
        robot.node.create_publisher(TwistStamped, "/typed/color/image_raw", SENSOR),
        robot.node.create_publisher(CompressedImage, "/typed/depth/image_raw", SENSOR),
        robot.node.create_publisher(CompressedImage, "/packed/color/image_raw/compressed", SENSOR),
        robot.node.create_publisher(CompressedImage, "/packed/depth/image_raw/compressedDepth", SENSOR),
        robot.node.create_publisher(Image, "/quiet/color/image_raw", SENSOR),
        robot.node.create_publisher(CameraInfo, "/quiet/color/camera_info", SENSOR),
        robot.node.create_publisher(TFMessage, "/tf_static", QoSProfile(depth=1, durability=DurabilityPolicy.VOLATILE)),
    ]
    yield start(PARAMETERS)
    del keep


@pytest.mark.parametrize(
    "words",
    [
        ("nothing on /lone/color/image_raw for 0.4 s", "no publisher", "sensor_msgs/msg/Image", "best effort"),
        ("/lone/color/image_raw", "is published on /quiet/color/image_raw", "set lone.image_topic"),
        ("/typed/color/image_raw", "carries geometry_msgs/msg/TwistStamped, expected sensor_msgs/msg/Image"),
        (
            "/typed/depth/image_raw",
            "carries sensor_msgs/msg/CompressedImage",
            "set typed.depth_transport to compressed",
        ),
        ("/packed/color/image_raw", "set packed.image_transport to compressed"),
        ("/packed/depth/image_raw", "set packed.depth_transport to compressedDepth"),
        ("/quiet/color/image_raw", "right type and QoS", "silent"),
        ("/lone/color/camera_info", "is published on /quiet/color/camera_info: set lone.camera_info_topic"),
        ("nothing on /tf ", "no publisher", "tf2_msgs/msg/TFMessage", "reliable"),
        ("/tf_static", "publisher /robot offers reliable, volatile, this node needs reliable, transient local"),
    ],
)
def test_a_silent_topic_is_explained(node, words):
    node.says("WARN", *words)


def test_images_without_camera_info_or_pose_are_explained(node, robot):
    color = robot.publisher(Image, "/sunk/color/image_raw")
    repeated(lambda: color.publish(image(time_ns(), 0)), node, "camera 'sunk': no camera_info")
    camera_info = robot.publisher(CameraInfo, "/quiet/color/camera_info")
    quiet = robot.publisher(Image, "/quiet/color/image_raw")
    distance = robot.publisher(Image, "/quiet/depth/image_raw")
    tf = robot.publisher(TFMessage, "/tf", RELIABLE)

    def send():
        ns = time_ns()
        tf.publish(transforms((ns, "map", "base", 0.0)))
        camera_info.publish(info(ns, "quiet_optical"))
        seen = depth(ns)
        seen.header.frame_id = "quiet_optical"
        distance.publish(seen)
        quiet.publish(image(ns, 0))

    repeated(send, node, "no pose: camera 'quiet'", "frame 'odom' is unknown; known are 'base', 'map'")


def repeated(send, node, *words):
    """Send until the log has a line with these words: a new subscription may miss the first messages."""

    def said():
        send()
        return [line for line in node.lines if all(word in line for word in words)]

    polled(said, f"log line with {words}")


def test_a_topic_that_speaks_is_not_warned_about(node, robot):
    color = robot.publisher(Image, "/lone/color/image_raw")
    repeated(lambda: color.publish(image(time_ns(), 0)), node, "camera 'lone': no camera_info")
    lines = len(node.lines)
    repeated(lambda: color.publish(image(time_ns(), 0)), node, "camera 'lone': no camera_info")
    assert not [line for line in node.lines[lines:] if "nothing on /lone/color/image_raw" in line]


def test_missing_clock_is_named(start):
    start({"use_sim_time": True, "status_rate": 10.0}, "-r", "__ns:=/simulated").says("nothing arrives on /clock")


def test_the_same_warning_is_not_repeated_at_once(node):
    assert len([line for line in node.lines if "set packed.image_transport" in line]) == 1


def test_no_topic_of_its_own_is_proposed(robot, start):
    """It publishes images itself, for people to look at."""
    node = start({"sync.stale_after": 0.4, "status_rate": 10.0, "cameras": ["solo"]})
    polled(lambda: robot.node.count_publishers("/spatial_mllm/debug_image/solo"), "the debug image")
    node.says("nothing on /solo/color/image_raw for 0.4 s", "no publisher")
    assert "debug_image" not in node.log


def test_a_latched_topic_on_which_nothing_was_ever_sent_is_no_problem(robot, start):
    """A publisher of /tf_static that can be received and has nothing to say is not called silent."""
    robot.node.create_publisher(TFMessage, "/quiet9/tf_static", LATCHED)
    often = {"sync.stale_after": 0.4, "status_rate": 10.0, "cameras": ["lone"]}
    node = start(often, "--ros-args", "-r", "/tf_static:=/quiet9/tf_static")
    node.says("nothing on /lone/color/image_raw")
    node.says("nothing on /lone/color/image_raw", after=len(node.lines), seconds=60)  # it was looked at again and again
    assert "tf_static" not in node.log


def test_what_the_middleware_lost_is_said_with_what_to_do(robot, start):
    """This process has the shared memory of Fast DDS that is there by default: less than one of these images."""
    node = start({"status_rate": 10.0, "cameras": ["large"], "large.depth_topic": ""})
    large = robot.publisher(Image, "/large/color/image_raw", SENSOR)
    pixels = bytes(3 * 1280 * 960)

    def lost():
        for _ in range(10):
            ns = time_ns()
            large.publish(image(ns, 0, height=960, width=1280, encoding="rgb8", step=3 * 1280, data=pixels))
        return "the middleware lost" in node.log

    polled(lost, "lost images")
    line = node.says("WARN", "the middleware lost", "/large/color/image_raw")
    assert "docs/middleware.md" in line and "sync.reliability" in line


def test_debug_is_about_the_node(robot, start):
    node = start({}, "--ros-args", "--log-level", "debug")
    node.says("configured")
    polled(lambda: robot.node.count_subscribers("/camera/color/image_raw"), "a subscription")
    node.end()
    assert not [line for line in node.lines if "[rcl]" in line or "rmw" in line.split(":")[0]][3:]  # before the node is
