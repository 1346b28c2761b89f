"""Reward targets as an operator meets them: lost, given up, listed, set again, removed; scenes that jump."""

from math import isnan

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import Point
from sensor_msgs.msg import RegionOfInterest
from spatial_mllm_msgs.msg import MotionReward, RewardTarget
from spatial_mllm_msgs.srv import AskSpatial, ListRewardTargets, RemoveRewardTarget, SetRewardTarget
from std_srvs.srv import Trigger

from .process import until
from .scene import STEP, Sensors, depth, stamp

pytestmark = pytest.mark.live
TOPIC = "/spatial_mllm/motion_reward"
PARAMETERS = {"status_rate": 10.0, "sync.stale_after": 60.0, "pose.max_wait": 1.0, "motion.max_speed": 5.0}
ROI = RegionOfInterest(x_offset=10, y_offset=10, width=60, height=50)
FRAME_NS = 50_000_000


@pytest.fixture(scope="module")
def node(start):
    node = start(PARAMETERS)
    node.says("configured")
    return node


class Walk(Sensors):
    """Frames 50 ms apart, each waited for."""

    def __init__(self, robot):
        self.rewards = robot.listen(MotionReward, TOPIC)
        super().__init__(robot)
        self.processed(self.rewards, 0)

    def reward(self, ns, target="camera"):
        heard = lambda: [r for r in self.rewards if r.target == target and r.header.stamp == stamp(ns)]  # noqa: E731
        return until(heard, f"reward of '{target}'")[0]

    def go(self, i, ahead=FRAME_NS, **parts):
        """The stamp of frame i, which the node has processed."""
        ns = self.send(i, self.stamp + ahead, **parts)
        self.reward(ns)
        return ns


@pytest.fixture(scope="module")
def sensors(node, robot):
    robot.listen(DiagnosticArray, "/diagnostics")
    return Walk(robot)


@pytest.fixture
def walk(robot, sensors):
    """A node that remembers nothing."""
    assert robot.call(Trigger, "/spatial_mllm/reset_memory").success
    return sensors


def listed(robot):
    """What the list says, by label."""
    answer = robot.call(ListRewardTargets, "/spatial_mllm/list_reward_targets")
    assert (answer.error_code, answer.error_msg) == (AskSpatial.Response.NONE, "")
    return {t.label: t for t in answer.targets}


def set_target(robot, label, **fields):
    answer = robot.call(SetRewardTarget, "/spatial_mllm/set_reward_target", label=label, **fields)
    assert (answer.error_code, answer.error_msg) == (AskSpatial.Response.NONE, "")
    return answer


def remove(robot, label):
    return robot.call(RemoveRewardTarget, "/spatial_mllm/remove_reward_target", label=label)


def status(robot, message, **wanted):
    """Level and values of the status of targets, once its message and values begin with these words."""

    def found():
        said = [s for a in robot.heard["/diagnostics"] for s in a.status if s.name == "spatial_mllm: targets"]
        values = {v.key: v.value for v in said[-1].values} if said else {}
        right = all(values.get(f"{label} (geometry)", "").startswith(words) for label, words in wanted.items())
        return (said[-1].level, values) if said and said[-1].message == message and right else None

    return until(found, f"a status of targets: {message}, {wanted}")


def test_a_target_that_is_lost_is_told_everywhere_and_can_be_set_again(robot, node, walk):
    lines = len(node.lines)
    assert listed(robot)["camera"].state == RewardTarget.WAITING and isnan(listed(robot)["camera"].valid_share)
    first = walk.go(0)
    goal = Point(x=1.0, y=2.0, z=3.0)
    set_target(robot, "poster", roi=ROI, stamp=stamp(first), has_goal=True, goal=goal)
    for i in range(1, 5):
        walk.go(i)
    assert status(robot, "2 followed", poster="followed, 100 % valid")[0] == DiagnosticStatus.OK
    for i in range(5, 10):  # no depth where the poster is
        gone = walk.go(i, depth=depth(walk.stamp + FRAME_NS, 0.0))
    assert not walk.reward(gone, "poster").valid
    level, values = status(robot, "lost: poster", poster="lost for 0.2 s, 44 % valid: ")  # 4 of 9
    assert level == DiagnosticStatus.WARN and values["camera (geometry)"] == "followed, 100 % valid"
    assert listed(robot)["poster"].state == RewardTarget.LOST and listed(robot)["poster"].reason

    for i in range(10, 30):
        gone = walk.go(i, depth=depth(walk.stamp + FRAME_NS, 0.0))
    said = node.says("target 'poster' (geometry) is given up", "set the target again", after=lines)
    why = "invisible for more than 1 s; set the target again"
    level, _ = status(robot, "given up: poster", poster=f"given up, 15 % valid: {why}")  # 4 of 26
    assert level == DiagnosticStatus.WARN and why in said
    over = listed(robot)["poster"]
    assert (over.state, over.camera, over.source) == (RewardTarget.GIVEN_UP, "camera", "geometry")
    assert (over.roi, over.has_goal, over.goal, over.reference_stamp) == (ROI, True, goal, stamp(first))
    assert over.lost_for == pytest.approx(1.1, abs=1e-6) and over.valid_share == pytest.approx(4 / 26)

    back = walk.go(30)
    assert not walk.reward(back, "poster").valid, "it is seen, but was given up"
    assert set_target(robot, "poster", roi=over.roi, has_goal=over.has_goal, goal=over.goal).tracked_points >= 6
    again = walk.reward(walk.go(31), "poster")
    assert again.valid and again.reference_stamp == stamp(back)
    assert listed(robot)["poster"].state == RewardTarget.FOLLOWED
    assert status(robot, "2 followed")[0] == DiagnosticStatus.OK
    assert sum("is given up" in line for line in node.lines[lines:]) == 1, "it is said once"


def test_a_target_is_removed(robot, walk):
    walk.go(0)
    set_target(robot, "poster", roi=ROI)
    assert walk.reward(walk.go(1), "poster").valid
    assert remove(robot, "poster").error_code == AskSpatial.Response.NONE
    ns = walk.go(2)
    later = walk.go(3)
    walk.reward(later)
    assert [r.target for r in walk.rewards if r.header.stamp in (stamp(ns), stamp(later))] == ["camera"] * 2
    assert list(listed(robot)) == ["camera"]
    for label in ("poster", ""):
        gone = remove(robot, label)
        assert gone.error_code == AskSpatial.Response.BAD_REQUEST
        assert gone.error_msg == f"no target '{label}'; there are camera"
    set_target(robot, "poster", roi=ROI)
    assert walk.reward(walk.go(4), "poster").valid


def test_a_jump_back_in_time_gives_regions_up_and_keeps_the_goal_of_the_camera(robot, node, walk):
    lines = len(node.lines)
    walk.go(0)
    set_target(robot, "camera", has_goal=True, goal=Point(x=10 * STEP))
    set_target(robot, "poster", roi=ROI)
    walk.go(2)
    walk.stamp -= 3600 * 10**9
    ns = walk.go(4)
    assert walk.reward(ns).valid and not walk.reward(ns, "poster").valid
    node.says("time jumped back to", after=lines)
    node.says("target 'poster' (geometry) is given up", "time jumped back; set the target again", after=lines)
    assert walk.reward(walk.go(5)).reward == pytest.approx(STEP, abs=1e-9), "nearer to the goal"
    assert listed(robot)["poster"].state == RewardTarget.GIVEN_UP
    set_target(robot, "poster", roi=ROI)
    assert walk.reward(walk.go(6), "poster").valid


def test_a_scene_that_jumps_back_under_new_stamps(robot, node, walk):
    """The camera walks away from the poster, and is back at the beginning one frame later."""
    lines = len(node.lines)
    start = walk.go(0)
    set_target(robot, "poster", roi=ROI)
    steps = range(1, 25)
    stamps = [walk.go(i) for i in steps]
    assert [walk.reward(ns).distance for ns in stamps] == pytest.approx([i * STEP for i in steps], abs=1e-9)
    seam = walk.go(0)
    after = [walk.go(i) for i in range(1, 6)]
    for target in ("camera", "poster"):
        jump = walk.reward(seam, target)
        assert not jump.valid and jump.reward == 0 and isnan(jump.distance)
    assert walk.reward(seam).reference_stamp == stamp(seam)
    heard = [walk.reward(ns) for ns in after]
    assert all(r.valid and r.reference_stamp == stamp(seam) for r in heard)
    assert [r.reward for r in heard] == pytest.approx([STEP] * 5, abs=1e-9)
    posters = [walk.reward(ns, "poster") for ns in [*stamps, seam, *after]]
    assert max(abs(r.reward) for r in posters) < STEP, "the wall stands still"
    assert posters[-1].valid and stamp(start) != posters[-1].reference_stamp
    metres = f"jumped by {24 * STEP:.3f} m within 0.050 s"
    said = node.says("camera 'camera'", metres, "rewards of camera, poster start anew", after=lines)
    assert "raise motion.max_speed or motion.max_turn_rate" in said
    assert "time jumped" not in "".join(node.lines[lines:])
