"""The node with the real engine over random weights, while a recording plays: questions cost no frame."""

import os
import subprocess
import sys
from collections import Counter

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from spatial_mllm_msgs.msg import CoverageStatus, MotionReward
from spatial_mllm_msgs.srv import AskSpatial
from visualization_msgs.msg import MarkerArray

from .process import DOMAIN, changed, finished, polled, until
from .scene import HEIGHT, LATCHED, STEP, WALL, WIDTH, Sensors
from .test_recording import PLAY, SECONDS_PLAYED, ns, recorded_positions

pytestmark = pytest.mark.live
COMPRESSED = {"camera.image_transport": "compressed", "camera.depth_transport": "compressed"}


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    pytest.importorskip("torch", reason="the model needs torch")
    from spatial_mllm_ros.mllm.families.spatial_mllm.untrained import make_untrained

    return make_untrained(tmp_path_factory.mktemp("untrained") / "tiny")


def test_a_recording_loses_no_frame_while_questions_are_answered(robot, start, redkitchen, untrained):
    parameters = {"ask.model": str(untrained), "ask.max_tokens": 16, "ask.max_frames": 8, "status_rate": 10.0}
    parameters["sync.queue_size"] = 30  # a second: other work on the machine is no loss, a model in the way is
    node = start(COMPRESSED | parameters)
    node.says("the model is ready", seconds=60)
    rewards = robot.listen(MotionReward, "/spatial_mllm/motion_reward")
    status = robot.listen(CoverageStatus, "/spatial_mllm/coverage")
    polled(lambda: status, "coverage")
    positions = sorted(recorded_positions(redkitchen))
    client = robot.client(AskSpatial, "/spatial_mllm/ask")
    answers = []
    environment = os.environ | {"ROS_DOMAIN_ID": str(DOMAIN)}
    with subprocess.Popen([sys.executable, "-c", PLAY, str(redkitchen)], env=environment) as player:
        until(lambda: rewards, "the first frame", 30)
        while player.poll() is None:
            answers.append(finished(client.call_async(AskSpatial.Request(question="What is there?")), "ask"))
    assert player.returncode == 0
    # subscriptions that are late for the first frames are DDS's way; from then on each one is accounted for
    sent = [stamp for stamp in positions[: 30 * SECONDS_PLAYED] if stamp >= ns(rewards[0].header.stamp)]
    assert len(sent) >= 30 * SECONDS_PLAYED - 10
    last = until(
        lambda: (s := status[-1]).frames_seen + s.frames_dropped >= len(sent) and s, f"{len(sent)} frames; {node.log}"
    )
    assert len(sent) <= last.frames_seen + last.frames_dropped <= 30 * SECONDS_PLAYED
    assert last.frames_dropped <= 0.05 * len(sent), (last, node.log)
    assert len(answers) >= 3
    assert Counter(a.error_code for a in answers) == {0: len(answers)}
    assert all(1 <= len(a.evidence) <= 8 for a in answers)
    assert all(a.evidence[0].frame_id and a.seconds_generate > 0 for a in answers)
    assert node.signal() == 0
    assert "Traceback" not in node.log


def test_coverage_grows_from_colour_alone(robot, start, tmp_path):
    """Poses are known, depth is not: windows of a model whose unit of length is another in each."""
    parameters = {"ask.model": str(tmp_path), "camera.depth_topic": "", "status_rate": 20.0, "coverage.frames": 8}
    parameters |= {"vggt.window": 4, "vggt.shared": 2, "vggt.min_motion": 0.005, "sync.stale_after": 60.0}
    node = start(parameters, engine="tests.mllm.process.engines:WallEngine")
    node.says("the model is ready", seconds=30)
    rewards = robot.listen(MotionReward, "/spatial_mllm/motion_reward")
    status = robot.listen(CoverageStatus, "/spatial_mllm/coverage")
    pictures = robot.listen(MarkerArray, "/spatial_mllm/coverage_markers", LATCHED)
    robot.listen(DiagnosticArray, "/diagnostics")
    camera = Sensors(robot, depth=False)
    camera.processed(rewards, 0)
    for i in range(8, 200, 8):
        camera.send(i, depth=None)
        until(lambda i=i: rewards[-1].displacement.x == pytest.approx(i * STEP), "the frame")
    until(lambda: status[-1].geometry_source == "vggt", f"metric geometry; {node.log}")

    def covered():
        """Centres of the covered voxels, once they reach the last but one window's end."""
        points = pictures[-1].markers[0].points if pictures else []
        return points if max((p.x for p in points), default=0) > (176 + WIDTH / 2) * STEP - 0.2 else []

    for i in range(200, 600, 8):  # a model that is behind sees the last frames of the way only if more come
        with changed:
            if changed.wait_for(covered, 0.2):
                break
        camera.send(i, depth=None)
        until(lambda i=i: rewards[-1].displacement.x == pytest.approx(i * STEP), "the frame")
    points = until(covered, "coverage of the whole way")
    assert all(abs(p.z - WALL) <= 0.1 for p in points)
    assert min(p.x for p in points) == pytest.approx(-WIDTH / 2 * STEP, abs=0.15)
    cells = round((176 + WIDTH) * STEP / 0.1) * round(HEIGHT * STEP / 0.1)
    assert status[-1].voxels_covered >= 0.9 * cells
    values = {v.key: v.value for s in robot.heard["/diagnostics"][-1].status if "geometry" in s.name for v in s.values}
    assert int(values["windows: accepted"]) >= 3
    assert node.signal() == 0
    assert "Traceback" not in node.log
