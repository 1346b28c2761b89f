"""Rewards of the model beside those of geometry: one question at a time, the newest frame wins, nothing waits."""

from types import SimpleNamespace

import pytest
from sensor_msgs.msg import RegionOfInterest
from spatial_mllm_msgs.msg import MotionReward
from spatial_mllm_msgs.srv import AskSpatial, SetRewardTarget
from std_srvs.srv import Trigger

from spatial_mllm_ros.config import build
from spatial_mllm_ros.mllm.calibration import Calibration
from spatial_mllm_ros.node.motion import MotionQuestions
from spatial_mllm_ros.scene.pipeline import SpatialPipeline

from .process import SECONDS, until
from .scene import TEXTURE, WIDTH, Sensors, stamp
from .test_ask import Model

pytestmark = pytest.mark.live
TOPIC = "/spatial_mllm/motion_reward"
MOTION = "motion 2"  # a question about two frames, as the engine notes it


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return Model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def node(start, model):
    parameters = {"ask.model": str(model.folder), "motion.source": "both", "motion.ask_interval": 0.0}
    parameters |= {"sync.stale_after": 60.0, "pose.max_wait": 1.0, "ask.refresh": 1.0}
    node = start(parameters, engine="tests.mllm.process.engines:MotionEngine")
    node.says("the model is ready")
    return node


@pytest.fixture(scope="module")
def sensors(node, robot):
    rewards = robot.listen(MotionReward, TOPIC)
    sensors = Sensors(robot)
    sensors.processed(rewards, 0)
    return sensors


@pytest.fixture
def scene(model, sensors, robot):
    """A node that remembers nothing, and a model that does as it is told by nobody."""
    for told in ("motion", "confidence"):
        (model.folder / told).unlink(missing_ok=True)
    assert robot.call(Trigger, "/spatial_mllm/reset_memory").success
    return sensors


def heard(robot, ns, source):
    """The reward of a source for a frame."""

    def found():
        return [r for r in robot.heard[TOPIC] if r.header.stamp == stamp(ns) and r.source == source]

    return until(found, f"reward of {source}")[0]


def test_the_model_says_how_far(robot, scene):
    first = scene.send(0)
    reference = heard(robot, first, "geometry").reference_stamp
    ns = scene.send(40)
    geometry, judged = heard(robot, ns, "geometry"), heard(robot, ns, "mllm")
    assert geometry.valid and judged.valid and judged.target == "camera"
    assert judged.reference_stamp == reference == stamp(first)
    assert judged.confidence == pytest.approx(0.75)
    means = [round(float(TEXTURE[:, i : i + WIDTH].mean())) for i in (0, 40)]
    assert judged.distance == pytest.approx(abs(means[1] - means[0]) / 100, abs=0.011)
    assert judged.reward == pytest.approx(judged.distance)


def test_an_unsure_model_gives_no_reward(robot, scene, model):
    (model.folder / "confidence").write_text("0.49")
    heard(robot, scene.send(0), "geometry")
    judged = heard(robot, scene.send(40), "mllm")
    assert not judged.valid and judged.reward == 0 and judged.confidence == 0


def test_nothing_waits_for_the_model_and_the_newest_frame_wins(robot, scene, model):
    heard(robot, scene.send(0), "geometry")
    (model.folder / "motion").write_text("wait")
    before = len(model.calls)
    asked = scene.send(1)
    model.called("gate moving", before)
    later = [scene.send(i) for i in (2, 3, 4)]
    for ns in later:
        assert heard(robot, ns, "geometry").valid, "geometry goes on while the model thinks"
    (model.folder / "motion").unlink()
    model.open("moving")
    assert heard(robot, asked, "mllm").valid
    assert heard(robot, later[-1], "mllm").valid
    judged = [r.header.stamp for r in robot.heard[TOPIC] if r.source == "mllm"]
    assert not {stamp(ns).nanosec for ns in later[:-1]} & {s.nanosec for s in judged}, "the others are skipped"
    assert sum(call == MOTION for call in model.calls[before:]) == 2


def test_a_persons_question_comes_first(robot, scene, model):
    heard(robot, scene.send(0), "geometry")
    (model.folder / "motion").write_text("slow")
    before = len(model.calls)
    scene.send(1)
    model.called(MOTION, before)
    answer = robot.call(AskSpatial, "/spatial_mllm/ask", question="what is there?")
    assert answer.error_code == AskSpatial.Response.NONE
    assert model.called("stopped", before) and model.called("drop", before), "two frames are not kept encoded"
    (model.folder / "motion").unlink()
    assert heard(robot, scene.send(2), "mllm").valid


def test_a_region_is_asked_about_by_the_pixel_in_its_middle(robot, scene, model):
    ns = scene.send(0)
    heard(robot, ns, "geometry")
    roi = RegionOfInterest(x_offset=10, y_offset=10, width=61, height=51)
    request = {"label": "wall", "stamp": stamp(ns), "roi": roi}
    assert robot.call(SetRewardTarget, "/spatial_mllm/set_reward_target", **request).error_code == 0
    before = len(model.calls)
    scene.send(1)
    assert model.called("answer The camera may have moved as well", before)
    asked = next(call for call in model.calls[before:] if call.startswith("answer"))
    assert f"({1000 * 40 // 96}, {1000 * 35 // 72})" in asked


@pytest.mark.parametrize(
    ("name", "told"), [("", "there is none: set the parameter ask.model"), ("m", "not calibrated for them")]
)
def test_why_no_reward_of_a_model_comes_is_said(name, told):
    lines = []
    log = SimpleNamespace(warning=lines.append)
    model = SimpleNamespace(model=name, state=SimpleNamespace(stage="ready"), calibration=Calibration())
    motion = MotionQuestions(SpatialPipeline(build({"motion.source": "both"})), model, lines.append, log)
    motion.look()
    if name:
        motion._thread.join(SECONDS)
    assert not motion._thread.is_alive() and len(lines) == 1 and told in lines[0]
    motion.close()
