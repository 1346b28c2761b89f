"""A running node: frames in, coverage, selection, rewards and answers out."""

import re
from math import isnan
from pathlib import Path
from time import time_ns

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Point
from rclpy.action import get_action_server_names_and_types_by_node
from rclpy.serialization import serialize_message
from sensor_msgs.msg import RegionOfInterest
from spatial_mllm_msgs.action import AskSpatial as AskAction
from spatial_mllm_msgs.msg import CoverageStatus, MotionReward, SelectedFrames
from spatial_mllm_msgs.srv import AskSpatial, MeasureMotion, SetRewardTarget
from std_srvs.srv import Trigger
from visualization_msgs.msg import Marker, MarkerArray

from spatial_mllm_ros.annotate.bag import REWARD_TOPIC, annotate
from spatial_mllm_ros.config import build
from spatial_mllm_ros.recordings import messages
from spatial_mllm_ros.recordings.topic import Topic
from spatial_mllm_ros.recordings.writer import BagWriter
from spatial_mllm_ros.report import analyse

from .process import FAST, finished, until
from .scene import HEIGHT, LATCHED, STEP, WALL, WIDTH, Sensors, depth, image, info, stamp, transforms

pytestmark = pytest.mark.live
PARAMETERS = {"status_rate": 10.0, "coverage.frames": 4, "sync.stale_after": 60.0, "pose.max_wait": 1.0}
LEFT_HALF = RegionOfInterest(x_offset=10, y_offset=10, width=60, height=50)


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
    """A node that remembers nothing."""
    assert robot.call(Trigger, "/spatial_mllm/reset_memory").success
    return sensors


def rewards(robot, ns, target="camera"):
    """The reward for one target and frame."""

    def found():
        heard = robot.heard["/spatial_mllm/motion_reward"]
        return [r for r in heard if r.target == target and r.header.stamp == stamp(ns)]

    return until(found, f"reward of '{target}'")[0]


def walk(robot, scene, steps):
    """Send frames along the wall and wait for each; their stamps."""
    stamps = []
    for i in steps:
        stamps.append(scene.send(i))
        rewards(robot, stamps[-1])
    return stamps


def test_every_frame_is_processed_and_selected_by_what_it_adds(robot, scene):
    selected = robot.listen(SelectedFrames, "/spatial_mllm/selected_frames", LATCHED)
    stamps = walk(robot, scene, [0, 100, 200, 300, 301, 302])
    status = until(
        lambda: [s for s in robot.heard["/spatial_mllm/coverage"] if s.header.stamp == stamp(stamps[-1])], "coverage"
    )[-1]
    assert (status.frames_seen, status.frames_dropped, status.frames_selected) == (6, 0, 4)
    assert status.header.frame_id == "odom"
    assert status.voxels_seen > status.voxels_covered * 0.9 > 0
    assert status.voxel_size == pytest.approx(0.1)
    assert 0 < status.frame_age < 1
    chosen = until(lambda: selected and len(selected[-1].frames) == 4 and selected[-1], "four selected frames").frames
    assert [f.camera for f in chosen] == ["camera"] * 4
    times = [f.header.stamp for f in chosen]
    assert times[:3] == [stamp(s) for s in stamps[:3]]
    assert [f.pose.position.x for f in chosen][:3] == pytest.approx([0, 100 * STEP, 200 * STEP], abs=1e-9)
    assert all(f.voxels >= f.unique_voxels > 0 for f in chosen)


def test_a_late_subscriber_gets_the_selection_at_once(robot, scene):
    walk(robot, scene, [0, 60])
    late = robot.listen(SelectedFrames, "/spatial_mllm/selected_frames", LATCHED)
    assert len(until(lambda: late and len(late[-1].frames) == 2 and late[-1], "latched selection").frames) == 2


def test_camera_rewards_are_the_exact_motion(robot, scene):
    stamps = walk(robot, scene, [0, 10, 25, 5])
    heard = [rewards(robot, s) for s in stamps]
    assert [r.valid for r in heard] == [True] * 4
    assert [r.distance for r in heard] == pytest.approx([0, 10 * STEP, 25 * STEP, 5 * STEP], abs=1e-9)
    assert [r.reward for r in heard] == pytest.approx([0, 10 * STEP, 15 * STEP, -20 * STEP], abs=1e-9)
    assert heard[-1].path_length == pytest.approx(45 * STEP, abs=1e-9)
    assert heard[-1].displacement.x == pytest.approx(5 * STEP, abs=1e-9)
    assert heard[-1].reference_stamp == stamp(stamps[0])
    assert (heard[-1].header.frame_id, heard[-1].source) == ("odom", "geometry")


def test_measured_motion_of_camera_and_point(robot, scene):
    stamps = walk(robot, scene, range(0, 16, 3))
    times = {"from_stamp": stamp(stamps[0]), "to_stamp": stamp(stamps[-1])}
    camera = robot.call(MeasureMotion, "/spatial_mllm/measure_motion", target="camera", **times)
    assert (camera.error_code, camera.error_msg) == (0, "")
    assert camera.distance == pytest.approx(15 * STEP, abs=1e-9)
    assert camera.displacement_camera.x == pytest.approx(15 * STEP, abs=1e-9)
    assert camera.rotation_deg == pytest.approx(0, abs=1e-6)
    assert (camera.from_stamp, camera.to_stamp) == (stamp(stamps[0]), stamp(stamps[-1]))
    point = robot.call(MeasureMotion, "/spatial_mllm/measure_motion", target="point", u=60.0, v=36.0, **times)
    assert (point.error_code, point.error_msg) == (0, "")
    assert point.distance < 0.3 * STEP  # the wall stands still while the camera moves by 15 steps
    assert point.confidence > 0


def test_a_region_is_followed_from_the_moment_it_was_chosen(robot, scene):
    stamps = walk(robot, scene, [0, 1, 2])
    set_ = robot.call(
        SetRewardTarget, "/spatial_mllm/set_reward_target", label="wall", roi=LEFT_HALF, stamp=stamp(stamps[0])
    )
    assert (set_.error_code, set_.error_msg) == (0, "")
    assert set_.tracked_points >= 6
    last = walk(robot, scene, [3, 4])[-1]
    reward = rewards(robot, last, "wall")
    assert reward.valid
    assert reward.distance < 0.5 * STEP
    assert reward.reference_stamp == stamp(stamps[0])


def test_a_goal_turns_distance_into_progress(robot, scene):
    walk(robot, scene, [0])
    goal = Point(x=100 * STEP, y=0.0, z=0.0)
    set_ = robot.call(SetRewardTarget, "/spatial_mllm/set_reward_target", label="camera", has_goal=True, goal=goal)
    assert set_.error_code == 0
    stamps = walk(robot, scene, [30, 20])
    assert [rewards(robot, s).reward for s in stamps] == pytest.approx([30 * STEP, -10 * STEP], abs=1e-9)


def test_a_region_of_no_size_is_the_whole_image(robot, scene):
    walk(robot, scene, [0])
    whole = robot.call(SetRewardTarget, "/spatial_mllm/set_reward_target", label="everything")
    assert whole.error_code == 0
    assert whole.tracked_points >= 6


def test_markers_show_voxels_and_frusta(robot, scene):
    walk(robot, scene, [0, 60])
    pictures = robot.listen(MarkerArray, "/spatial_mllm/coverage_markers", LATCHED)
    voxels, frusta = until(
        lambda: next((p.markers for p in pictures if p.markers and len(p.markers[1].points) == 32), None), "markers"
    )
    assert (voxels.type, frusta.type) == (Marker.CUBE_LIST, Marker.LINE_LIST)
    assert voxels.header.frame_id == "odom"
    z = np.array([p.z for p in voxels.points])
    assert np.abs(z - WALL).max() <= 0.1  # cubes lie on the wall
    x = np.array([p.x for p in voxels.points])
    half = WIDTH / 2 * STEP
    assert x.min() == pytest.approx(-half, abs=0.1)
    assert x.max() == pytest.approx(60 * STEP + half, abs=0.1)


def test_diagnostics_tell_rates_drops_memory_and_model(robot, scene):
    arrays = robot.listen(DiagnosticArray, "/diagnostics")
    walk(robot, scene, [0, 1, 2])
    scene.send(3, depth=depth(time_ns(), height=HEIGHT // 2, data=bytes(2 * WIDTH * HEIGHT)))
    until(lambda: "dropped: depth size" in values(arrays, "processing"), "a drop with its reason")
    assert values(arrays, "processing")["dropped: depth size"] == "1"
    assert float(values(arrays, "processing")["frame age p95 (ms)"]) > 0
    assert values(arrays, "camera camera")["frames processed"] == "3"
    assert values(arrays, "camera camera")["image topic"] == "/camera/color/image_raw"
    frames = 3 * 5 * WIDTH * HEIGHT  # mono8 and float32 of three frames, and the voxels they saw
    assert frames < int(values(arrays, "memory")["bytes"]) < frames + 1_000_000
    assert values(arrays, "memory")["recent frames"] == "3"
    model = next(s for s in arrays[-1].status if s.name == "spatial_mllm: model")
    assert model.message == "no model configured"


def values(arrays, part):
    """Key -> value of the latest status of one part."""
    found = [s for a in arrays for s in a.status if s.name == f"spatial_mllm: {part}"]
    return {v.key: v.value for v in found[-1].values} if found else {}


def test_a_question_is_answered_that_no_model_is_there(robot, scene):
    answer = robot.call(AskSpatial, "/spatial_mllm/ask", question="Is the mug left of the laptop?")
    assert answer.error_code == AskSpatial.Response.MODEL_NOT_READY
    assert answer.error_msg == "no model is configured: set the parameter ask.model"
    assert isnan(answer.value)
    assert answer.choice == -1


def test_the_action_aborts_with_the_same_answer(robot, scene):
    from rclpy.action import ActionClient

    client = ActionClient(robot.node, AskAction, "/spatial_mllm/ask_with_progress")
    assert client.wait_for_server(20)
    stages = []
    sent = client.send_goal_async(
        AskAction.Goal(question="Where is the mug?"), feedback_callback=lambda m: stages.append(m.feedback.stage)
    )
    goal = finished(sent, "goal")
    assert goal.accepted
    result = finished(goal.get_result_async(), "result")
    assert result.status == 6  # GoalStatus.STATUS_ABORTED
    assert result.result.error_code == AskSpatial.Response.MODEL_NOT_READY
    refused = finished(client.send_goal_async(AskAction.Goal(question=" ")), "goal")
    assert finished(refused.get_result_async(), "result").result.error_code == AskSpatial.Response.BAD_REQUEST
    client.destroy()


def test_reset_forgets_frames_targets_and_counts(robot, scene):
    walk(robot, scene, [0, 50])
    robot.call(SetRewardTarget, "/spatial_mllm/set_reward_target", label="wall", roi=LEFT_HALF)
    selected = robot.listen(SelectedFrames, "/spatial_mllm/selected_frames", LATCHED)
    assert robot.call(Trigger, "/spatial_mllm/reset_memory").success
    until(lambda: selected and not selected[-1].frames, "an empty selection")
    status = until(
        lambda: [s for s in robot.heard["/spatial_mllm/coverage"] if s.frames_seen == 0 and not s.voxels_seen], "zeros"
    )[-1]
    assert isnan(status.frame_age)
    gone = robot.call(MeasureMotion, "/spatial_mllm/measure_motion", target="camera")
    assert gone.error_code == AskSpatial.Response.NO_FRAMES
    first = walk(robot, scene, [7])[0]
    assert rewards(robot, first).distance == 0  # a new reference
    assert not [
        r for r in robot.heard["/spatial_mllm/motion_reward"] if r.target == "wall" and r.header.stamp == stamp(first)
    ]


def test_time_that_jumps_back_clears_and_goes_on(robot, scene, node):
    lines = len(node.lines)
    walk(robot, scene, [0, 50])
    past = time_ns() - 3600 * 10**9
    for i in range(3):
        ns = scene.send(100 + i, past + i * 33_000_000)
        rewards(robot, ns)
    node.says("time jumped back", after=lines)
    status = until(
        lambda: [s for s in robot.heard["/spatial_mllm/coverage"] if s.header.stamp == stamp(ns)], "coverage"
    )[-1]
    assert status.frames_seen == 5  # counts go on, as the message says
    oldest = robot.call(MeasureMotion, "/spatial_mllm/measure_motion", target="camera", camera="camera")
    assert oldest.from_stamp == stamp(past)  # what was before the jump is forgotten
    scene.stamp = 0


def test_annotate_and_the_report_give_the_rewards_of_the_node(robot, scene, tmp_path):
    """The messages that the node was sent, as a recording: a gap in time, a frame without depth, a jump back."""
    second, start = 10**9, time_ns()
    frames = [(0, 0.0), (10, 0.1), (25, 0.2), (5, 3.0), (15, 3.1), (40, -9.9), (30, -9.8), (70, -9.7)]
    topics = {"tf": "/tf", "info": "/camera/color/camera_info", "depth": "/camera/depth/image_raw"}
    topics |= {"color": "/camera/color/image_raw"}
    written = [("/tf_static", transforms((0, "camera_base", "camera_optical", 0.0)))]
    heard = []
    for i, moment in frames:
        ns = start + round(moment * second)
        tf = transforms((ns, "odom", "camera_base", i * STEP))
        sent = {"tf": tf, "info": info(ns), "depth": depth(ns) if i != 25 else None, "color": image(ns, i)}
        scene.send(i, ns, **sent)
        heard.append(rewards(robot, ns))
        written += [(topics[part], message) for part, message in sent.items() if message is not None]
    scene.stamp = 0
    with BagWriter(tmp_path / "sent.mcap") as bag:
        for name, message in dict(written).items():
            bag.add_topic(Topic(name, f"{type(message).__module__.split('.')[0]}/msg/{type(message).__name__}"))
        for number, (name, message) in enumerate(written):
            bag.write_cdr(name, serialize_message(message), start + number * second // 100)
    annotate(tmp_path / "sent.mcap", tmp_path / "out.mcap", config=build(FAST))
    annotated = [m for _, _, m in messages(tmp_path / "out.mcap", [REWARD_TOPIC])]
    (series,) = analyse(tmp_path / "sent.mcap", build(FAST)).series
    right = [0, 10, 15, -20, 10, 0, 10, 20]  # steps that it is farther away than before from frame 0, after the jump 40
    assert [r.reward / STEP for r in heard] == pytest.approx(right, abs=1e-9)
    assert [(r.valid, r.distance, r.path_length, r.reward) for r in heard] == [
        (r.valid, r.distance, r.path_length, r.reward) for r in series.rewards
    ]
    in_time = sorted(heard, key=lambda r: (r.header.stamp.sec, r.header.stamp.nanosec))
    assert [(r.valid, r.distance, r.path_length, r.reward) for r in in_time] == [
        (m.valid, m.distance, m.path_length, m.reward) for m in annotated
    ]


def test_the_graph_is_what_the_documentation_says(robot, sensors):
    page = (Path(__file__).parents[2] / "docs/ros-api.md").read_text("utf-8")
    documented = dict(re.findall(r"^\| `(~?/\w+)` \| `([\w/]+)` ", page, re.MULTILINE))
    own = {name.replace("~", "/spatial_mllm"): type_ for name, type_ in documented.items()}
    offered = dict(robot.node.get_publisher_names_and_types_by_node("spatial_mllm", "/"))
    offered |= dict(robot.node.get_service_names_and_types_by_node("spatial_mllm", "/"))
    offered |= dict(get_action_server_names_and_types_by_node(robot.node, "spatial_mllm", "/"))
    offered |= dict(robot.node.get_subscriber_names_and_types_by_node("spatial_mllm", "/"))
    for name, type_ in own.items():
        if name != "/clock":  # with use_sim_time only
            assert type_ in offered[name], name
    ours = {n for n, types in offered.items() if any("spatial_mllm_msgs" in t for t in types) and "_action" not in n}
    assert ours <= set(own)
