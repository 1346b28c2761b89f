"""Questions to a node whose model is an engine of the tests: answers, outcomes, and what goes on meanwhile."""

import os
import signal
from math import isnan
from pathlib import Path

import pytest
from action_msgs.msg import GoalStatus
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.action import ActionClient
from rclpy.qos import QoSProfile
from spatial_mllm_msgs.action import AskSpatial as AskAction
from spatial_mllm_msgs.msg import CoverageStatus, MotionReward
from spatial_mllm_msgs.srv import AskSpatial
from std_srvs.srv import Trigger

from .process import Robot, changed, finished, polled, until
from .scene import HEIGHT, WIDTH, Sensors, stamp

pytestmark = pytest.mark.live
ENGINE = "tests.mllm.process.engines:Engine"
ASK, ACT = "/spatial_mllm/ask", "/spatial_mllm/ask_with_progress"
Q, R = AskSpatial.Request, AskSpatial.Response


class Model:
    """The folder that steers the engine and in which it records its calls."""

    def __init__(self, folder: Path):
        self.folder = folder

    @property
    def calls(self):
        file = self.folder / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def called(self, begin, after=0, seconds=10.0):
        return polled(lambda: [c for c in self.calls[after:] if c.startswith(begin)], f"call '{begin}'", seconds)

    def open(self, gate):
        (self.folder / f"{gate}.gate").write_text("go")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return Model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def node(start, model):
    parameters = {"ask.model": str(model.folder), "status_rate": 20.0, "sync.stale_after": 60.0, "ask.refresh": 0.2}
    parameters |= {"ask.waiting": 4, "coverage.frames": 4, "ask.max_frames": 4}
    node = start(parameters, engine=ENGINE)
    node.says("the model is ready", seconds=30)
    return node


@pytest.fixture(scope="module")
def sensors(node, robot):
    rewards = robot.listen(MotionReward, "/spatial_mllm/motion_reward")
    robot.listen(CoverageStatus, "/spatial_mllm/coverage")
    robot.listen(DiagnosticArray, "/diagnostics")
    sensors = Sensors(robot)
    sensors.processed(rewards, 0)
    return sensors


@pytest.fixture
def scene(robot, sensors):
    """Three frames that see different parts of the wall, and nothing else; their stamps."""
    assert robot.call(Trigger, "/spatial_mllm/reset_memory").success
    stamps = [sensors.send(i) for i in (0, 100, 200)]
    heard = robot.heard["/spatial_mllm/coverage"]
    until(lambda: heard[-1].frames_seen == 3 and heard[-1].frames_selected == 3, "three frames")
    return stamps


@pytest.fixture(scope="module")
def action(robot, node):
    client = ActionClient(robot.node, AskAction, ACT)
    assert client.wait_for_server(10)
    yield client
    client.destroy()


def ask(robot, question="what", **fields):
    return robot.call(AskSpatial, ASK, question=question, **fields)


def send(robot, question="what", **fields):
    return robot.client(AskSpatial, ASK).call_async(Q(question=question, **fields))


def goal(action, question="what", heard=None, **fields):
    """An accepted goal; its feedback is appended to a list."""

    def feedback(message):
        with changed:
            heard.append((message.feedback.stage, message.feedback.partial_answer))
            changed.notify_all()

    sent = action.send_goal_async(
        AskAction.Goal(question=question, **fields), feedback_callback=None if heard is None else feedback
    )
    handle = finished(sent, "goal")
    assert handle.accepted
    return handle


def result(handle):
    """(final status, result) of a goal."""
    answer = finished(handle.get_result_async(), "result")
    return answer.status, answer.result


def status(robot, part="model"):
    """The latest diagnostic status of a part, and its values."""
    found = [s for a in robot.heard["/diagnostics"] for s in a.status if s.name == f"spatial_mllm: {part}"][-1]
    return found, {v.key: v.value for v in found.values}


def test_an_answer_names_the_frames_that_it_is_from(robot, scene):
    answer = ask(robot)
    assert (answer.error_code, answer.error_msg, answer.verdict) == (0, "", R.ANSWERED)
    assert [e.stamp for e in answer.evidence] == [stamp(ns) for ns in scene]
    assert {e.frame_id for e in answer.evidence} == {"camera_optical"}
    assert answer.answer.endswith(" -1.0")
    assert isnan(answer.value)
    assert answer.choice == -1
    assert answer.seconds_generate == pytest.approx(0.5)
    part = ask(robot, start=stamp(scene[0] + 1), end=stamp(scene[1]))
    assert [e.stamp for e in part.evidence] == [stamp(scene[1])]
    assert len(ask(robot, max_frames=1).evidence) == 1
    refused = ask(robot, "refuse")
    assert (refused.verdict, refused.confidence) == (R.NOT_OBSERVED, 0.75)


def test_a_pixel_is_one_of_the_first_evidence(robot, scene):
    answer = ask(robot, "pixel", answer_type=Q.PIXEL)
    u, v = 0.5 * WIDTH - 0.5, 0.25 * HEIGHT - 0.5
    assert (answer.vector.x, answer.vector.y, answer.answer) == (u, v, f"({u:.1f}, {v:.1f}) px")
    assert [e.stamp for e in answer.evidence] == [stamp(scene[1])]
    assert answer.error_msg == "half of the frames"


def test_no_more_frames_are_shown_than_the_model_was_trained_with(robot, scene, sensors):
    for i in (300, 400):
        sensors.send(i)
    heard = robot.heard["/spatial_mllm/coverage"]
    until(lambda: heard[-1].frames_seen == 5 and heard[-1].frames_selected == 4, "five frames")
    answer = ask(robot, max_frames=32)
    assert (answer.error_code, len(answer.evidence)) == (0, 4)
    assert answer.error_msg == "shown 4 frames, not 32: the model was trained with no more"
    assert [ask(robot, max_frames=count).error_msg for count in (0, 2)] == ["", ""]


def test_what_is_wrong_with_a_question_is_said(robot, scene):
    assert ask(robot, " ").error_msg == "question is empty"
    assert ask(robot, answer_type=Q.CHOICE).error_code == R.BAD_REQUEST
    nothing = ask(robot, end=stamp(scene[0] - 10**9))
    assert nothing.error_code == R.NO_FRAMES
    assert "remembered are" in nothing.error_msg
    unsure = ask(robot, "unsure")
    assert (unsure.error_code, unsure.error_msg) == (R.BAD_REQUEST, "the question makes no sense")


def test_the_scene_is_encoded_in_the_background_when_enough_has_changed(robot, scene, sensors, model):
    polled(lambda: len((a := ask(robot)).evidence) == 3 and a.seconds_encode == 0, "a warm scene")
    encoded = len(model.calls)
    heard = robot.heard["/spatial_mllm/coverage"]
    seen = heard[-1].frames_seen
    sensors.send(202)  # hardly anything is new
    until(lambda: heard[-1].frames_seen == seen + 1, "a frame")
    looks = len(heard)
    until(lambda: len(heard) > looks + 3, "three more looks at the scene")
    assert not [c for c in model.calls[encoded:] if c.startswith("encode")]
    sensors.send(500)
    model.called("encode", encoded)
    before = len(model.calls)
    answer = polled(lambda: (a := ask(robot)).seconds_encode == 0 and a, "a warm scene")
    assert stamp(sensors.stamp) in [e.stamp for e in answer.evidence]
    assert not [c for c in model.calls[before:] if c.startswith("encode")]


def test_progress_and_a_goal_that_succeeds(robot, scene, action):
    heard = []
    handle = goal(action, "say", heard, start=stamp(scene[0] + 1))
    code, answer = result(handle)
    assert code == GoalStatus.STATUS_SUCCEEDED
    assert (answer.error_code, len(answer.evidence)) == (0, 2)
    assert [stage for stage, _ in heard][:3] == ["waiting", "encoding", "generating"]
    assert heard[-1][1].startswith("word word")


def test_a_goal_is_canceled_while_it_talks_and_while_it_waits(robot, scene, action):
    heard = []
    talking = goal(action, "long", heard)
    until(lambda: [text for _, text in heard if text], "words")
    waiting = goal(action, "waits")
    for handle in (waiting, talking):
        assert finished(handle.cancel_goal_async(), "cancel").goals_canceling
        code, answer = result(handle)
        assert code == GoalStatus.STATUS_CANCELED
        assert (answer.error_code, answer.error_msg) == (R.CANCELED, "canceled by the client")
    assert ask(robot).error_code == 0


def test_more_than_may_wait_are_busy_and_all_others_answered(robot, scene, model):
    before = len(model.calls)
    first = send(robot, "gate")
    model.called("gate", before)
    others = [send(robot, str(i)) for i in range(7)]
    until(lambda: sum(f.done() for f in others) == 3, "three are told at once")
    busy = [f.result() for f in others if f.done()]
    assert {(a.error_code, a.error_msg) for a in busy} == {(R.BUSY, "4 questions are waiting; ask again later")}
    model.open("answering")
    assert [finished(f, "ask").error_code for f in [first, *others]].count(0) == 5


def test_no_request_of_a_burst_is_lost(robot, scene):
    client = robot.node.create_client(AskSpatial, ASK, qos_profile=QoSProfile(depth=1000))
    assert client.wait_for_service(10)
    calls = [client.call_async(Q(question="what")) for _ in range(300)]
    codes = {finished(call, f"question {i}").error_code for i, call in enumerate(calls)}
    assert codes <= {R.NONE, R.BUSY}
    robot.node.destroy_client(client)


def test_a_deadline_holds_and_the_node_answers_meanwhile(robot, scene, model):
    before = len(model.calls)
    late = send(robot, "gate", timeout=0.4)
    model.called("gate", before)
    answer = finished(late, "ask")
    assert (answer.error_code, answer.error_msg) == (R.TIMEOUT, "no answer within 0.4 s; it was generating")
    model.open("answering")
    assert ask(robot).error_code == 0


def test_32_clients_half_of_which_give_up_each_get_one_outcome(robot, scene, sensors, node, action):
    robots = [Robot(f"client_{i}") for i in range(4)]
    actions = [ActionClient(r.node, AskAction, ACT) for r in robots]
    assert all(a.wait_for_server(10) for a in actions)
    services = [r.client(AskSpatial, ASK) for r in robots]
    calls = [services[i % 4].call_async(Q(question="say", timeout=0.1 if i % 2 else 0.0)) for i in range(16)]
    goals = [goal(actions[i % 4], "say") for i in range(16)]
    results = [handle.get_result_async() for handle in goals]
    for handle in goals[::2]:
        handle.cancel_goal_async()
    rewards = robot.heard["/spatial_mllm/motion_reward"]
    sent = stamp(sensors.send(210))
    until(lambda: [r for r in rewards if r.header.stamp == sent], "a frame among questions")
    codes = [finished(call, "ask").error_code for call in calls]
    ends = [finished(end, "result") for end in results]
    assert set(codes) <= {R.NONE, R.BUSY, R.TIMEOUT}
    assert {end.result.error_code for end in ends} <= {R.NONE, R.BUSY, R.CANCELED}
    for end in ends:
        wanted = {R.NONE: GoalStatus.STATUS_SUCCEEDED, R.CANCELED: GoalStatus.STATUS_CANCELED}
        assert end.status == wanted.get(end.result.error_code, GoalStatus.STATUS_ABORTED)
        assert bool(end.result.answer) == bool(end.result.evidence) == (end.result.error_code == R.NONE)
    assert R.NONE in codes
    assert ask(robot).error_code == 0
    for a in actions:
        a.destroy()
    for r in robots:
        r.close()
    assert "Traceback" not in node.log


def test_killed_while_answering_it_fails_once_and_comes_back(robot, scene, action, node):
    for i in range(1, 4):
        heard = []
        handle = goal(action, "long", heard)
        until(lambda heard=heard: [text for _, text in heard if text], "words")
        pid = int(status(robot)[1]["process"])
        os.kill(pid, signal.SIGKILL)
        code, answer = result(handle)
        assert (code, answer.error_code) == (GoalStatus.STATUS_ABORTED, R.FAILED)
        assert answer.error_msg == "the model's process ended (killed by signal 9); it is started again"
        assert ask(robot).error_code == 0
        polled(lambda i=i: status(robot)[1]["restarts"] == str(i), "the count of restarts")
        assert not Path(f"/proc/{pid}").exists()
    assert "Traceback" not in node.log


def test_stopped_while_answering_it_is_shown_and_replaced(robot, scene, action, node):
    heard = []
    handle = goal(action, "long", heard)
    until(lambda: [text for _, text in heard if text], "words")
    before = status(robot)[1]
    pid, restarts = int(before["process"]), int(before["restarts"])
    os.kill(pid, signal.SIGSTOP)
    found = polled(lambda: (s := status(robot))[1]["state"] == "unresponsive" and s[0], "that it is shown")
    assert found.level == DiagnosticStatus.WARN
    assert found.message.endswith("it is stopped")
    code, answer = result(handle)
    assert (code, answer.error_code) == (GoalStatus.STATUS_ABORTED, R.FAILED)
    assert answer.error_msg.endswith("it is stopped); it is started again")
    assert ask(robot).error_code == 0
    values = polled(lambda: (v := status(robot)[1])["state"] == "ready" and v, "another process")
    assert int(values["restarts"]) == restarts + 1
    assert values["last end"].endswith("it is stopped)")
    assert float(values["last heartbeat (s ago)"]) < 1.0
    assert not Path(f"/proc/{pid}").exists()
    node.says("ERROR", "it is stopped")


def test_thresholds_and_times_change_while_it_runs(robot, scene):
    def set_(name, value):
        kind = ParameterType.PARAMETER_DOUBLE if isinstance(value, float) else ParameterType.PARAMETER_INTEGER
        field = "double_value" if isinstance(value, float) else "integer_value"
        request = [Parameter(name=name, value=ParameterValue(type=kind, **{field: value}))]
        assert robot.call(SetParameters, "/spatial_mllm/set_parameters", parameters=request).results[0].successful

    set_("ask.not_observed", 0.875)
    set_("ask.max_frames", 2)
    set_("ask.timeout", 0.5)
    answer = ask(robot)
    assert answer.answer.endswith(" 0.875")
    assert len(answer.evidence) == 2
    assert ask(robot, "long").error_msg == "no answer within 0.5 s; it was generating"
    set_("ask.timeout", 30.0)
    set_("ask.max_frames", 4)


def test_diagnostics_show_the_model(robot, scene):
    found, values = polled(lambda: (s := status(robot))[0].message == "ready" and s, "a ready model")
    assert found.level == DiagnosticStatus.OK
    assert (values["state"], values["loaded (%)"], values["questions waiting"]) == ("ready", "100", "0")
    assert int(values["memory (MB)"]) > 5


def test_shutdown_cancels_what_is_asked_and_leaves_no_process(robot, scene, action, node):
    heard = []
    answers = goal(action, "long", heard).get_result_async()
    until(lambda: [text for _, text in heard if text], "words")  # accepted is not yet asked
    waiting = send(robot, "waits")
    polled(lambda: status(robot)[1]["questions waiting"] == "1", "a question that waits")
    pid = int(status(robot)[1]["process"])
    assert node.signal() == 0
    assert finished(answers, "result").result.error_code == R.CANCELED
    assert finished(waiting, "ask").error_msg == "the node is shutting down"
    assert not Path(f"/proc/{pid}").exists()
    assert "Traceback" not in node.log


def test_a_model_that_cannot_be_loaded_leaves_a_working_node(robot, start, tmp_path):
    (tmp_path / "load").write_text("refuse")
    node = start({"ask.model": str(tmp_path), "status_rate": 20.0}, engine=ENGINE)
    node.says("the model cannot be loaded: the model lacks tensors: visual.merger, and 3 more", seconds=30)
    rewards = robot.listen(MotionReward, "/spatial_mllm/motion_reward")
    robot.listen(DiagnosticArray, "/diagnostics")
    assert Sensors(robot).processed(rewards, 3).valid
    answer = ask(robot)
    assert answer.error_code == R.MODEL_NOT_READY
    assert answer.error_msg == "the model lacks tensors: visual.merger, and 3 more"
    until(lambda: robot.heard["/diagnostics"], "diagnostics")
    found, _ = status(robot)
    assert found.level == DiagnosticStatus.ERROR
    assert found.message == "failed: the model lacks tensors: visual.merger, and 3 more"
    assert node.signal() == 0


def test_transitions_while_it_answers(robot, start, tmp_path, model):
    node = start({"ask.model": str(tmp_path), "status_rate": 20.0}, engine=ENGINE)
    node.says("the model is ready", seconds=30)
    rewards = robot.listen(MotionReward, "/spatial_mllm/motion_reward")
    Sensors(robot).processed(rewards, 0)
    client = ActionClient(robot.node, AskAction, ACT)
    assert client.wait_for_server(10)
    heard = []
    results = goal(client, "long", heard).get_result_async()
    until(lambda: [text for _, text in heard if text], "words")
    assert robot.transition("deactivate")
    assert robot.transition("cleanup")
    assert finished(results, "result").result.error_code == R.CANCELED
    lines = len(node.lines)
    assert robot.transition("configure")
    node.says("the model is ready", after=lines, seconds=30)
    assert ask(robot).error_code == R.NO_FRAMES
    assert node.signal(signal.SIGTERM) == 0
    assert "Traceback" not in node.log
