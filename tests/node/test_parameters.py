"""Parameters: when each may be set, what it then does, and QoS overrides: obeyed or refused."""

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import Image
from spatial_mllm_msgs.msg import MotionReward, SelectedFrames

from .process import polled, until
from .scene import Sensors

pytestmark = pytest.mark.live
KINDS = {
    bool: (ParameterType.PARAMETER_BOOL, "bool_value"),
    int: (ParameterType.PARAMETER_INTEGER, "integer_value"),
    float: (ParameterType.PARAMETER_DOUBLE, "double_value"),
    str: (ParameterType.PARAMETER_STRING, "string_value"),
}


def parameter(name, value):
    if isinstance(value, list):
        message = ParameterValue(type=ParameterType.PARAMETER_STRING_ARRAY, string_array_value=value)
    else:
        kind, field = KINDS[type(value)]
        message = ParameterValue(type=kind, **{field: value})
    return Parameter(name=name, value=message)


@pytest.fixture(scope="module")
def waiting(start):
    """A node that waits for a lifecycle manager."""
    return start({"autostart": False, "status_rate": 10.0, "coverage.frames": 4})


@pytest.fixture
def put(robot):
    def put(name, value):
        wanted = [parameter(name, value)]
        return robot.call(SetParameters, "/spatial_mllm/set_parameters", parameters=wanted).results[0]

    return put


@pytest.fixture
def put_together(robot):
    def put(**values):
        wanted = [parameter(name.replace("__", "."), value) for name, value in values.items()]
        name = "/spatial_mllm/set_parameters_atomically"
        return robot.call(SetParametersAtomically, name, parameters=wanted).result

    return put


def test_names_of_cameras_are_read_only(waiting, put):
    refused = put("cameras", ["other"])
    assert not refused.successful and "read-only" in refused.reason


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("coverage.frames", 0, "coverage.frames"),  # out of range
        ("coverage.source", "sonar", "expected one of auto, depth, vggt"),
        ("coverage.min_depth", 7.0, "expected less than coverage.max_depth, 6.0 m"),  # beside the others
        ("camera.depth_topic", 3, ""),  # another type
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(waiting, put, name, value, words):
    refused = put(name, value)
    assert not refused.successful and words in refused.reason


def test_two_that_only_go_together_are_set_together(waiting, put_together):
    assert not put_together(coverage__min_depth=8.0, coverage__max_depth=7.0).successful
    assert put_together(coverage__min_depth=7.0, coverage__max_depth=9.0).successful
    assert put_together(coverage__min_depth=0.2, coverage__max_depth=6.0).successful


def selected(robot, rewards, sensors, messages):
    """How many frames are selected of a camera that moves through new places."""
    for i in range(0, 600, 75):
        sensors.processed(rewards, i)
    return len(messages[-1].frames)


def test_a_value_takes_effect_with_configure(robot, waiting, put):
    rewards = robot.listen(MotionReward, "/spatial_mllm/motion_reward")
    frames = robot.listen(SelectedFrames, "/spatial_mllm/selected_frames")
    assert put("coverage.frames", 2).successful  # while unconfigured
    assert robot.transition("configure") and robot.transition("activate")
    assert selected(robot, rewards, Sensors(robot), frames) == 2

    refused = put("coverage.frames", 3)
    assert not refused.successful
    assert "coverage.frames" in refused.reason and "deactivate" in refused.reason
    assert put("sync.stale_after", 3.0).successful  # live

    assert robot.transition("deactivate")
    line = len(waiting.lines)
    assert put("coverage.frames", 3).successful  # while inactive
    waiting.says("coverage.frames", "configure", after=line)
    assert put("sync.stale_after", 4.0).successful  # what waits does not come in with what is live
    assert robot.transition("activate")
    assert selected(robot, rewards, Sensors(robot), frames) == 2
    assert robot.transition("deactivate") and robot.transition("cleanup")
    assert robot.transition("configure") and robot.transition("activate")
    selected(robot, rewards, Sensors(robot), frames)
    until(lambda: len(frames[-1].frames) == 3, "three selected frames")


def test_the_model_and_a_topic_change_without_another_process(robot, waiting, put):
    statuses = robot.listen(DiagnosticArray, "/diagnostics")

    def model():
        said = {s.name: s for s in statuses[-1].status} if statuses else {}
        return said["spatial_mllm: model"].message if "spatial_mllm: model" in said else ""

    until(lambda: model() == "no model configured", "a status of the model")
    assert robot.transition("deactivate") and robot.transition("cleanup")
    assert put("ask.model", "/nowhere/at/all").successful
    assert put("camera.image_topic", "/elsewhere").successful
    assert robot.transition("configure") and robot.transition("activate")
    until(lambda: model().startswith(("loading: ", "failed: ")), "a word about the other model")
    polled(lambda: robot.node.count_subscribers("/elsewhere"), "a subscription of the other topic")
    assert not robot.node.count_subscribers("/camera/color/image_raw")
    assert waiting.process.poll() is None


def offered(robot, topic):
    return [s.qos_profile for s in robot.node.get_subscriptions_info_by_topic(topic) if s.node_name == "spatial_mllm"]


def test_qos_overrides_and_reliability_are_obeyed(robot, start):
    topic = "/robot2/camera/color/image_raw"
    override = f"qos_overrides.{topic}.subscription"
    node = start(
        {"sync.reliability": "reliable", f"{override}.reliability": "best_effort", f"{override}.depth": 3},
        "--ros-args",
        "-r",
        "__ns:=/robot2",
    )
    polled(lambda: offered(robot, "/robot2/camera/depth/image_raw"), "subscriptions")
    assert offered(robot, topic)[0].reliability == ReliabilityPolicy.BEST_EFFORT
    assert offered(robot, "/robot2/camera/depth/image_raw")[0].reliability == ReliabilityPolicy.RELIABLE
    robot.node.create_publisher(Image, "/robot2/camera/depth/image_raw", 1)
    node.end()
    assert "Traceback" not in node.log


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("/camera/color/image_rew.subscription.depth", 3, "did you mean '/camera/color/image_raw.subscription'"),
        ("/camera/color/image_raw.subscription.reliability", "best", "expected one of best_effort, reliable"),
        ("/camera/color/image_raw.subscription.depth", 0, "expected 1 to 1000"),
        ("/camera/color/image_raw.subscription.history", "keep_all", "unknown policy"),
        ("/spatial_mllm/coverage.publisher.depth", "many", "expected int"),
    ],
)
def test_a_qos_override_that_would_do_nothing_is_refused(start, name, value, words):
    node = start({f"qos_overrides.{name}": value})
    node.says("cannot configure", f"qos_overrides.{name.rpartition('.')[0]}", words)
    assert node.wait() == 1
