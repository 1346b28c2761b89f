"""The node's pipeline, annotate and the report give the same rewards for the same frames, and the right ones."""

import numpy as np
import pytest

from spatial_mllm_ros.annotate.bag import REWARD_TOPIC, annotate
from spatial_mllm_ros.config import build
from spatial_mllm_ros.mllm import Answer, Verdict
from spatial_mllm_ros.mllm.calibration import Calibration
from spatial_mllm_ros.motion.targets import Target
from spatial_mllm_ros.recordings import BagWarning, FrameReader, messages
from spatial_mllm_ros.report import analyse
from spatial_mllm_ros.scene.pipeline import SpatialPipeline

from ..recordings.card import CARD, CARD_SPEED, camera_x, pushed
from ..recordings.recordings import START, STEP, header, transforms, write_ros2

PERIOD = 100_000_000
FRAMES, JUMP = 50, 40
NO_DEPTH = {4, 5, *range(20, 30), 44}
NO_POSE = set(range(21, 29))  # transforms around them are too far apart to be interpolated
LATE = 10  # a region that begins there
KEPT = 32  # another, which is not lost before the jump
CONFIG = {"motion.max_lost": 0.5}


def seconds(i):
    """When frame i is taken: after a gap in time the later ones, and after a jump back some of the earlier."""
    return 0.1 * i + (2.0 if i >= 15 else 0.0) - (3.0 if i >= JUMP else 0.0)


def stamp(i, camera="front"):
    return START + round(1e9 * seconds(i)) + (40_000_000 if camera == "rear" else 0)


def position(i, camera="front"):
    return camera_x(i) if camera == "front" else 0.03 * i


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    """Two cameras: one sees a card that is pushed, the other the same pictures from elsewhere."""
    written = []
    for camera in ("front", "rear"):
        for topic, ns, message in pushed(FRAMES):
            i, frame = (ns - START) // STEP, f"{camera}_optical"
            kind = topic.rsplit("/", 2)[-2]
            if i in (NO_POSE if topic == "/tf" else NO_DEPTH if kind == "depth" else ()):
                continue
            if topic == "/tf":
                message = transforms((stamp(i, camera), "odom", frame, (position(i, camera), 0.0, 0.0)))
            else:
                message.header = header(stamp(i, camera), frame)
            recorded = START + i * PERIOD + (40_000_000 if camera == "rear" else 0)
            written.append((topic.replace("/camera", f"/{camera}"), recorded, message))
    written.sort(key=lambda m: m[1])
    return write_ros2(tmp_path_factory.mktemp("same") / "bag", written)


CORNER = (4, 4, 30, 30)
TARGETS = [
    Target("card", "front", CARD),
    Target("late", "front", CORNER, stamp(LATE)),
    Target("kept", "front", CORNER, stamp(KEPT)),
]


class Judge:
    """A model that takes brightness for length."""

    name, folders, device, dtype, encoders = "judge", (), "cpu", "float32", ""
    max_tokens, not_observed = 256, -1.0
    calibration = Calibration(motion_confidence=0.5)

    def ask(self, images, question):
        first, last = (float(image.mean()) for image in images)
        return Answer(Verdict.ANSWERED, "said", abs(last - first), "m", confidence=0.9, frames=(0, 1))


def by_node(bag, cameras, config=CONFIG, targets=TARGETS):
    """What the node's core gives for the frames of a recording, its targets set when they are to begin."""
    with FrameReader(bag, build(config)) as reader:
        pipeline = SpatialPipeline(build({"cameras": cameras, **config}))
        rewards = []
        for frame in reader:
            rewards += pipeline.process(frame).rewards
            while asked := pipeline.next_motion():
                answer = Judge().ask([f.image for f in asked.frames], asked.question)
                rewards.append(pipeline.add_motion(asked, answer, 0.5))
            for target in targets:
                begins = target.stamp_ns or stamp(0)
                if frame.key == (begins, target.camera):
                    pipeline.set_target(target)
        return rewards


def fields(reward):
    """All that a MotionReward holds, of either kind."""
    if hasattr(reward, "header"):
        stamps = (s.sec * 10**9 + s.nanosec for s in (reward.header.stamp, reward.reference_stamp))
        moved = [reward.displacement.x, reward.displacement.y, reward.displacement.z]
    else:
        stamps, moved = (reward.stamp_ns, reward.reference_ns), reward.displacement
    numbers = [reward.distance, reward.path_length, reward.reward, np.float32(reward.confidence), *moved]
    return [*stamps, reward.valid, reward.source, np.array(numbers, np.float64).tobytes()]


def expected(camera):
    """(stamp, valid, distance, reward) of the camera itself, from its poses."""
    out = []
    for part in (range(JUMP), range(JUMP, FRAMES)):
        known = [i for i in part if i not in NO_POSE]
        before = 0.0
        for i in part:
            distance = abs(position(i, camera) - position(known[0], camera))
            out.append((stamp(i, camera), i in known, distance if i in known else np.nan, 0.0))
            if i in known:
                out[-1] = (*out[-1][:3], distance - before)
                before = distance
    return out


@pytest.fixture(scope="module")
def report(bag):
    return analyse(bag, build(CONFIG), TARGETS)


def test_what_is_given_up_is_said_with_the_reason(bag, tmp_path, report):
    with pytest.warns(BagWarning) as caught:
        annotate(bag, tmp_path / "out.mcap", config=build(CONFIG), targets=TARGETS)
    told = [line for line in (str(w.message) for w in caught) if line.startswith("target ")]
    with FrameReader(bag, build(CONFIG)) as reader:
        pipeline = SpatialPipeline(build({"cameras": ["front", "rear"], **CONFIG}))
        logged = []
        for frame in reader:
            logged += pipeline.process(frame).news
            for target in TARGETS:
                if frame.key == (target.stamp_ns or stamp(0), target.camera):
                    pipeline.set_target(target)
    assert [line for line in report.notes if "given up" in line] == told == logged
    # the long hole begins at frame 20; with the sixth frame after it half a second has passed
    lost = f"is given up at {stamp(26) / 1e9:.3f} s: invisible for more than 0.5 s; set the target again"
    back = f"is given up at {stamp(JUMP) / 1e9:.3f} s: time jumped back; set the target again"
    assert told == [
        f"target '{label}' (geometry) {why}" for label, why in (("card", lost), ("late", lost), ("kept", back))
    ]


@pytest.mark.filterwarnings("ignore:target")
@pytest.mark.parametrize("camera", ["front", "rear"])
def test_of_a_camera(bag, tmp_path, report, camera):
    cameras = ["front", "rear"] if camera == "front" else ["rear", "front"]
    annotate(bag, tmp_path / "out.mcap", config=build(CONFIG), targets=[Target("camera", camera)])
    annotated = [m for _, _, m in messages(tmp_path / "out.mcap", [REWARD_TOPIC])]
    node = [r for r in by_node(bag, cameras) if r.target == "camera"]
    (shown,) = (s.rewards for s in report.series if s.target.label == f"camera {camera}")
    assert [fields(r) for r in shown] == [fields(r) for r in node]
    assert sorted(map(fields, annotated)) == sorted(map(fields, node)), "a recording is in the order of its stamps"
    told = np.array([(r.stamp_ns - START, r.valid, r.distance, r.reward) for r in node])
    right = np.array([(ns - START, *values) for ns, *values in expected(camera)])
    np.testing.assert_allclose(told, right, rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore:target")
@pytest.mark.parametrize(("label", "first"), [("card", 0), ("late", LATE), ("kept", KEPT)])
def test_of_a_region(bag, tmp_path, report, label, first):
    annotate(bag, tmp_path / "out.mcap", config=build(CONFIG), targets=TARGETS)
    annotated = [m for _, _, m in messages(tmp_path / "out.mcap", [REWARD_TOPIC]) if m.target == label]
    node = [r for r in by_node(bag, ["front", "rear"]) if r.target == label]
    (shown,) = (s.rewards for s in report.series if s.target.label == label)
    assert [fields(r) for r in node] == [fields(r) for r in shown]
    assert sorted(map(fields, annotated)) == sorted(map(fields, node))
    assert [r.stamp_ns for r in node] == [stamp(i) for i in range(first + 1, FRAMES)], "also after it was given up"
    valid, frames = np.array([r.valid for r in node]), np.arange(first + 1, FRAMES)
    usable = np.array([i not in NO_DEPTH for i in frames])
    lost = frames >= (JUMP if label == "kept" else min(NO_POSE))
    assert valid[usable & ~lost].mean() > 0.8 and not valid[~usable | lost].any()


@pytest.mark.filterwarnings("ignore:target")
@pytest.mark.parametrize("source", ["mllm", "both"])
def test_of_a_model(bag, tmp_path, source):
    config = {**CONFIG, "motion.source": source, "motion.ask_interval": 0.25}
    annotate(bag, tmp_path / "out.mcap", config=build(config), targets=TARGETS, engine=Judge())
    annotated = [m for _, _, m in messages(tmp_path / "out.mcap", [REWARD_TOPIC]) if m.source == "mllm"]
    node = [r for r in by_node(bag, ["front", "rear"], config) if r.source == "mllm"]
    series = analyse(bag, build(config), TARGETS, engine=Judge()).series
    shown = {s.target.label.removesuffix(" front"): s.judged for s in series}
    for label in ("camera", "card", "late", "kept"):
        mine = [r for r in node if r.target == label]
        assert sorted(fields(r) for r in annotated if r.target == label) == sorted(map(fields, mine))
        given_up = [r for r in mine if "time jumped back" in r.reason]
        assert [r.stamp_ns for r in given_up] == [stamp(i) for i in range(JUMP, FRAMES) if label != "camera"]
        assert [fields(r) for r in shown[label]] == [fields(r) for r in mine if r not in given_up]
    due = []
    for part in (range(JUMP), range(JUMP, FRAMES)):
        last = stamp(part[0])
        for i in part:
            if stamp(i) - last >= 250_000_000:
                due.append(stamp(i))
                last = stamp(i)
    assert [r.stamp_ns for r in node if r.target == "camera"] == due


LOOP = 30  # frames, then the same again under stamps that go on
SLOW = {"motion.max_speed": 1.0, "motion.ask_interval": 0.2}  # m/s; the camera moves at 0.12 m/s at most


def loop_stamp(i):
    return START + i * STEP


@pytest.fixture(scope="module")
def looped(tmp_path_factory):
    """What play --loop --restamp sends: a recording twice, with new stamps."""
    written = []
    for turn in range(2):
        for topic, ns, message in pushed(LOOP):
            later = ns + turn * LOOP * STEP
            for part in message.transforms if topic == "/tf" else [message]:
                part.header.stamp = header(later, "").stamp
            written.append((topic, later, message))
    return write_ros2(tmp_path_factory.mktemp("looped") / "bag", written)


@pytest.mark.parametrize("source", ["geometry", "both", "mllm"])
def test_a_loop_with_new_stamps_starts_all_series_anew(looped, tmp_path, source):
    config, targets = {**SLOW, "motion.source": source}, [Target("card", "camera", CARD)]
    with pytest.warns(BagWarning) as caught:
        annotate(looped, tmp_path / "out.mcap", config=build(config), targets=targets, engine=Judge())
    annotated = [m for _, _, m in messages(tmp_path / "out.mcap", [REWARD_TOPIC])]
    node = by_node(looped, ["camera"], config, targets)
    assert sorted(map(fields, annotated)) == sorted(map(fields, node))
    jump = f"camera 'camera' jumped by {camera_x(LOOP - 1):.3f} m within 0.033 s"
    told = [str(w.message) for w in caught]
    assert sum(line.startswith(f"{jump} at {loop_stamp(LOOP) / 1e9:.3f} s") for line in told) == 1
    ended = f"target 'card' (mllm) is given up at {loop_stamp(LOOP) / 1e9:.3f} s: {jump}; set the target again"
    assert (ended in told) == (source != "geometry")
    page = analyse(looped, build(config), targets, engine=None if source == "geometry" else Judge())
    for series in page.series if source != "mllm" else ():
        label = series.target.label
        assert [fields(r) for r in series.rewards] == [
            fields(r) for r in node if r.target == label and r.source == "geometry"
        ]


def test_no_reward_reaches_across_the_seam(looped):
    node = by_node(looped, ["camera"], SLOW, [Target("card", "camera", CARD)])
    camera = [r for r in node if r.target == "camera"]
    x = np.array([camera_x(i) for i in range(LOOP)])
    assert [r.valid for r in camera] == [i != LOOP for i in range(2 * LOOP)]
    assert [r.reference_ns for r in camera] == [loop_stamp(0)] * LOOP + [loop_stamp(LOOP)] * LOOP
    gained = np.concatenate([np.diff(abs(x), prepend=0)] * 2)
    np.testing.assert_allclose([r.reward for r in camera], gained, rtol=0, atol=1e-12)
    for part in (camera[:LOOP], camera[LOOP + 1 :]):
        right = [abs(camera_x((r.stamp_ns - START) // STEP % LOOP)) for r in part]
        np.testing.assert_allclose([r.distance for r in part], right, rtol=0, atol=1e-12)

    card = [r for r in node if r.target == "card"]
    pushed_by = [CARD_SPEED * max(i % LOOP - 10, 0) for i in range(2 * LOOP)]
    again = next(r for r in card if r.anew)
    found = (again.stamp_ns - START) // STEP
    assert LOOP <= found <= LOOP + 4 and again.reference_ns == again.stamp_ns and not again.valid and again.reward == 0
    for first, last in ((0, LOOP), (found, 2 * LOOP)):
        part = [r for r in card if loop_stamp(first) < r.stamp_ns < loop_stamp(last)]
        valid = [r for r in part if r.valid]
        assert len(valid) > 0.8 * len(part) and all(r.reference_ns == loop_stamp(first) for r in part)
        true = [pushed_by[(r.stamp_ns - START) // STEP] - pushed_by[first] for r in valid]
        assert np.abs([r.distance for r in valid] - np.array(true)).max() < 0.01
        assert sum(r.reward for r in valid) == pytest.approx(valid[-1].distance)
    assert min(r.reward for r in card) > -0.02, f"it was {pushed_by[LOOP - 1]:.3f} m away before the seam"
