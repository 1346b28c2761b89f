"""States, parameters, and how the node ends."""

import signal

import pytest
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters, SetParameters
from spatial_mllm_msgs.msg import MotionReward
from spatial_mllm_msgs.srv import MeasureMotion

from spatial_mllm_ros.config import node_parameters

from .process import polled
from .scene import STEP, Sensors

pytestmark = pytest.mark.live
NO_FRAMES = 3


@pytest.fixture(scope="module")
def waiting(start):
    """A node that waits for a lifecycle manager."""
    return start({"autostart": False, "sync.stale_after": 0.5})


def test_all_transitions_and_again(robot, waiting):
    rewards = robot.listen(MotionReward, "/spatial_mllm/motion_reward")
    assert robot.state() == "unconfigured"
    assert robot.transition("configure")
    assert robot.state() == "inactive"
    nothing = robot.call(MeasureMotion, "/spatial_mllm/measure_motion", target="camera")
    assert nothing.error_code == NO_FRAMES  # services answer while the node is inactive
    assert robot.transition("activate")
    sensors = Sensors(robot)
    assert sensors.processed(rewards, 0).distance == 0
    assert sensors.processed(rewards, 4).distance == pytest.approx(4 * STEP, abs=1e-9)

    assert robot.transition("deactivate")
    polled(lambda: sensors.color.get_subscription_count() == 0, "end of the subscription")
    kept = robot.call(MeasureMotion, "/spatial_mllm/measure_motion", target="camera")
    assert kept.distance == pytest.approx(4 * STEP, abs=1e-9)  # memory outlives deactivate

    assert robot.transition("activate")
    polled(lambda: sensors.color.get_subscription_count() == 1, "a subscription")
    sensors = Sensors(robot)
    assert sensors.processed(rewards, 6).distance == pytest.approx(6 * STEP, abs=1e-9)

    assert robot.transition("deactivate")
    assert robot.transition("cleanup")
    assert robot.state() == "unconfigured"
    for _ in range(3):
        assert robot.transition("configure")
        assert robot.transition("activate")
        assert robot.transition("deactivate")
        assert robot.transition("cleanup")
    assert robot.transition("configure")
    assert robot.transition("activate")
    assert Sensors(robot).processed(rewards, 9).distance == 0  # cleanup has forgotten everything
    assert "Traceback" not in waiting.log


def test_a_transition_that_does_not_exist_is_survived(robot, waiting):
    from lifecycle_msgs.srv import ChangeState

    request = ChangeState.Request()
    request.transition.label = "configure"  # the node is active
    robot.client(ChangeState, "/spatial_mllm/change_state").call_async(request)
    waiting.says("configure", "active")
    assert robot.state() == "active"


def test_a_live_parameter(robot, waiting):
    def set_(name, value):
        message = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=value)
        request = [Parameter(name=name, value=message)]
        return robot.call(SetParameters, "/spatial_mllm/set_parameters", parameters=request).results[0]

    assert not set_("sync.stale_after", 0.0).successful  # out of range
    assert set_("sync.stale_after", 0.3).successful
    waiting.says("nothing on", "for 0.3 s")


def test_every_parameter_is_declared_and_described(robot, waiting):
    known = node_parameters(["camera"])
    listed = robot.call(ListParameters, "/spatial_mllm/list_parameters").result.names
    assert set(known) <= set(listed)
    others = {n for n in listed if n not in known and not n.startswith("qos_overrides.")}
    assert others <= {"use_sim_time", "start_type_description_service"}
    described = robot.call(DescribeParameters, "/spatial_mllm/describe_parameters", names=list(known)).descriptors
    for (name, p), d in zip(known.items(), described, strict=True):
        assert d.name == name
        assert p["doc"] in d.description
        assert p["unit"] in d.description
        assert d.read_only == (name == "cameras")
        ranges = [(r.from_value, r.to_value) for r in (*d.floating_point_range, *d.integer_range)]
        assert ranges == ([] if p["low"] is None else [(p["low"], p["high"])])
        assert all(choice in d.additional_constraints for choice in p["choices"])


def test_shutdown_by_a_manager_then_a_signal(robot, waiting):
    assert robot.transition("shutdown")
    assert robot.state() == "finalized"
    assert waiting.signal(signal.SIGINT) == 0
    assert "Traceback" not in waiting.log.replace(expected_traceback(waiting.log), "")


def expected_traceback(log):
    """What the wrong transition of an earlier test has left."""
    begin = log.find("a callback failed")
    return log[begin : log.find("\n[", begin) + 1] if begin >= 0 else ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_working_node_cleanly(start, robot, number):
    node = start({})
    rewards = robot.listen(MotionReward, "/spatial_mllm/motion_reward")
    Sensors(robot).processed(rewards, 0)
    assert node.signal(number) == 0
    assert "Traceback" not in node.log
    assert "Exception" not in node.log


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"coverage.voxelsize": 0.1}, ["unknown parameter", "did you mean 'coverage.voxel_size'?"]),
        ({"coverage.frames": "many", "autostart": True}, ["coverage.frames = 'many': expected int"]),
        ({"camera.image_topic": "a b"}, ["cannot configure", "Invalid topic name"]),
    ],
)
def test_a_wrong_parameter_is_named_and_ends_the_node(start, parameters, words):
    node = start(parameters)
    assert node.wait() == 1
    node.says("cannot", *words, seconds=0.1)
    assert "Traceback" not in node.log


def test_a_parameter_file_that_cannot_be_read_is_named(start):
    node = start({}, "--params-file", "missing.yaml")
    assert node.wait() == 1
    node.says("spatial_mllm_node: ", "missing.yaml", "Error opening YAML file", seconds=0.1)
    assert "Traceback" not in node.log


def test_an_empty_list_ends_the_node(start):
    node = start({"cameras": []})
    assert node.wait() == 1
    node.says("spatial_mllm_node: ", "empty list", "cameras", seconds=0.1)
    assert "Traceback" not in node.log


def test_what_rclpy_takes_care_of_is_left_to_it(start, robot):
    node = start({"use_sim_time": True, "start_type_description_service": False, "ask.timeout": 5.0, "status_rate": 20})
    node.says("configured for 1 camera(s)")
    names = ["use_sim_time", "start_type_description_service", "ask.timeout", "status_rate"]
    values = robot.call(GetParameters, "/spatial_mllm/get_parameters", names=names).values
    assert [values[0].bool_value, values[1].bool_value, values[2].double_value] == [True, False, 5.0]
    assert (values[3].type, values[3].double_value) == (ParameterType.PARAMETER_DOUBLE, 20.0)  # an integer is as good
    assert node.signal(signal.SIGTERM) == 0


def test_a_wrong_parameter_fails_every_configure_of_a_manager(start, robot):
    node = start({"autostart": False, "coverage.frames": 999})
    polled(lambda: robot.state() == "unconfigured", "the node")
    assert not robot.transition("configure")
    node.says("coverage.frames = 999: expected 1 to 256")
    assert robot.state() == "unconfigured"
    assert node.signal(signal.SIGTERM) == 0
    assert "Traceback" not in node.log
