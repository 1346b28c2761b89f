"""Rewards written into a new recording: right, complete, and the same bytes whatever happens on the way."""

import os
import random
import signal
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from spatial_mllm_ros.annotate import bag as module
from spatial_mllm_ros.annotate.bag import REWARD_TOPIC, annotate
from spatial_mllm_ros.config import build
from spatial_mllm_ros.errors import ErrorCode, SpatialError
from spatial_mllm_ros.mllm import Answer, Verdict
from spatial_mllm_ros.mllm.calibration import Calibration
from spatial_mllm_ros.motion.targets import Target
from spatial_mllm_ros.recordings import BagError, BagWarning, Recording, messages, read_frames

from ..recordings.card import CARD, CARD_SPEED, camera_x, pushed
from ..recordings.recordings import START, STEP, compressed, rgbd, transforms, write_ros1, write_ros2

CARD_TARGET = Target("card", roi=CARD)
LABELS = ("camera", "card")


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return write_ros2(tmp_path_factory.mktemp("scene") / "scene", pushed())


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    monkeypatch.setattr(module, "CHECKPOINT", 7)
    with warnings.catch_warnings():
        warnings.simplefilter("error", BagWarning)
        yield


def rewards(path, label="camera"):
    return [m for _, _, m in messages(path, [REWARD_TOPIC]) if m.target == label]


def stamp(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def test_camera_rewards_are_the_recorded_motion(scene, tmp_path):
    report = annotate(scene, tmp_path / "out.mcap")
    assert (report.frames, report.rewards, report.resumed) == (60, 60, 0)
    got = rewards(tmp_path / "out.mcap")
    x = np.array([camera_x(i) for i in range(60)])
    assert [stamp(m) for m in got] == [START + i * STEP for i in range(60)]
    assert all(m.valid and m.header.frame_id == "odom" and m.source == "geometry" for m in got)
    np.testing.assert_allclose([m.distance for m in got], abs(x), atol=1e-12)
    np.testing.assert_allclose([m.displacement.x for m in got], x, atol=1e-12)
    np.testing.assert_allclose(np.cumsum([m.reward for m in got]), abs(x), atol=1e-12)
    assert list(tmp_path.iterdir()) == [tmp_path / "out.mcap"]


def test_region_rewards_follow_the_card(scene, tmp_path):
    annotate(scene, tmp_path / "out.mcap", targets=[CARD_TARGET])
    card = rewards(tmp_path / "out.mcap", "card")
    assert [stamp(m) for m in card] == [START + i * STEP for i in range(1, 60)]
    assert len(rewards(tmp_path / "out.mcap")) == 60
    true = np.array([CARD_SPEED * max(i - 10, 0) for i in range(1, 60)])
    valid = np.array([m.valid for m in card])
    assert valid.mean() > 0.9
    error = np.array([m.distance for m in card])[valid] - true[valid]
    assert abs(error).max() < 0.01
    assert all(np.isnan(m.distance) and m.reward == 0 for m in card if not m.valid)


def test_goal_rewards_approach(scene, tmp_path):
    annotate(scene, tmp_path / "out.mcap", targets=[Target("camera", goal=(1.0, 0.0, 0.0))])
    got = rewards(tmp_path / "out.mcap")
    np.testing.assert_allclose(np.cumsum([m.reward for m in got]), [camera_x(i) for i in range(60)], atol=1e-12)


def test_region_may_begin_later(scene, tmp_path):
    annotate(scene, tmp_path / "out.mcap", targets=[Target("card", "camera", CARD, START + 4 * STEP + 1)])
    assert [stamp(m) for m in rewards(tmp_path / "out.mcap", "card")] == [START + i * STEP for i in range(6, 60)]


def test_topics_that_are_copied(scene, tmp_path):
    def copied(name, **options):
        annotate(scene, tmp_path / name, **options)
        with Recording(tmp_path / name) as recording:
            stamps = [ns for _, ns, _ in recording.messages()]
            assert stamps == sorted(stamps)
            return recording.counts

    assert copied("default") == {"/tf": 60, REWARD_TOPIC: 60}
    assert copied("none.mcap", topics=[]) == {REWARD_TOPIC: 60}
    assert copied("one.mcap", topics=["/camera/depth/image_raw"]) == {"/camera/depth/image_raw": 60, REWARD_TOPIC: 60}
    every = copied("all.mcap", topics="all")
    assert len(every) == 5 and set(every.values()) == {60}
    assert (tmp_path / "default" / "metadata.yaml").exists()
    (tmp_path / "again").mkdir()
    again = tmp_path / "again" / "all.mcap"
    annotate(tmp_path / "all.mcap", again, topics="all")
    assert again.read_bytes() == (tmp_path / "all.mcap").read_bytes(), "rewards in the source are replaced"


def test_ros1_source(tmp_path):
    source = write_ros1(tmp_path / "r.bag", pushed(10))
    annotate(source, tmp_path / "out.mcap", topics="all")
    with Recording(tmp_path / "out.mcap") as recording:
        assert set(recording.counts.values()) == {10}
        assert recording.first("/camera/color/camera_info").k[0] == 120.0
    assert len(rewards(tmp_path / "out.mcap")) == 10


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def undisturbed(source, folder, **options):
    """The bytes of an output of the same name that was made in one go."""
    (folder / "undisturbed").mkdir()
    annotate(source, folder / "undisturbed" / "out.mcap", **options)
    return (folder / "undisturbed" / "out.mcap").read_bytes()


def interrupted_at(count):
    def progress(done, total):
        assert done <= total
        if done == count:
            raise KeyboardInterrupt

    return progress


@pytest.mark.long
def test_resumed_from_any_frame_gives_the_same_file(scene, tmp_path):
    whole, out = undisturbed(scene, tmp_path, targets=[CARD_TARGET]), tmp_path / "out.mcap"
    for count in (1, 6, 7, 8, 20, 42, 59, 60):
        with pytest.raises(KeyboardInterrupt):
            annotate(scene, out, targets=[CARD_TARGET], progress=interrupted_at(count))
        assert not out.exists()
        seen: list[tuple[int, int]] = []
        report = annotate(scene, out, targets=[CARD_TARGET], progress=lambda *step, seen=seen: seen.append(step))
        assert report.resumed == count - count % 7, "finished work is not done again"
        assert seen == [(done, 60) for done in range(report.resumed + 1, 61)]
        assert (report.frames, report.rewards) == (60, 119)
        assert out.read_bytes() == whole
        out.unlink()
        assert names(tmp_path) == ["undisturbed"]


CHILD = """
import sys
from pathlib import Path
from spatial_mllm_ros.annotate import bag as module
from tests.annotate.test_annotate import CARD_TARGET

module.CHECKPOINT = 7
module.annotate(sys.argv[1], sys.argv[2], targets=[CARD_TARGET], progress=lambda done, total: print(done, flush=True))
print("done")
"""


@pytest.mark.long
def test_killed_at_random_moments(scene, tmp_path):
    """SIGKILL, again and again: children die some frames after their start, the last one while it writes the output."""
    whole, out = undisturbed(scene, tmp_path, targets=[CARD_TARGET]), tmp_path / "out.mcap"
    chance = random.Random()
    for patience in (chance.randrange(5, 25), chance.randrange(5, 25), 60):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(scene), str(out)],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            text=True,
        )
        for count, line in enumerate(child.stdout, 1):
            if count == patience or line == "60\n":
                break
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
        assert out.exists() or ".out.mcap.progress" in names(tmp_path)
    if not out.exists():
        assert annotate(scene, out, targets=[CARD_TARGET]).resumed >= 14
    assert out.read_bytes() == whole
    assert set(names(tmp_path)) - {".out.mcap.progress"} == {"out.mcap", "undisturbed"}


def test_killed_just_before_and_after_the_output_is_placed(scene, tmp_path, monkeypatch):
    whole, out = undisturbed(scene, tmp_path), tmp_path / "out.mcap"
    place = module.Progress.place
    for before in (True, False):

        def dies(kept, before=before):
            if not before:
                place(kept)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(module.Progress, "place", dies)
            annotate(scene, out)
        assert out.exists() != before
        assert annotate(scene, out).resumed == 60
        assert out.read_bytes() == whole
        out.unlink()
    assert names(tmp_path) == ["undisturbed"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda scene, out: {"targets": [Target("card", roi=(50, 40, 44, 44))]}, "the targets changed"),
        (lambda scene, out: {"config": build({"motion.deadband": 0.02})}, "the parameters changed"),
        (lambda scene, out: os.utime(next(scene.glob("*.mcap"))), "the recording changed"),
        (lambda scene, out: (out / "state").write_bytes(b"junk"), "it is damaged"),
        (lambda scene, out: (out / "records").write_bytes(b""), "it is damaged"),
    ],
)
def test_progress_that_does_not_fit_is_not_used(scene, tmp_path, change, reason):
    out = tmp_path / "out.mcap"
    with pytest.raises(KeyboardInterrupt):
        annotate(scene, out, targets=[CARD_TARGET], progress=interrupted_at(30))
    options = change(scene, tmp_path / ".out.mcap.progress")
    options = {"targets": [CARD_TARGET], **(options if isinstance(options, dict) else {})}
    with pytest.warns(BagWarning, match=rf"earlier progress on out\.mcap is not used, {reason}; starting anew"):
        assert annotate(scene, out, **options).resumed == 0
    assert out.read_bytes() == undisturbed(scene, tmp_path, **options)


def test_two_at_once(scene, tmp_path):
    def meanwhile(done, total):
        with pytest.raises(BagError, match=r"another process is writing .*out\.mcap"):
            annotate(scene, tmp_path / "out.mcap")

    annotate(scene, tmp_path / "out.mcap", progress=meanwhile)
    assert len(rewards(tmp_path / "out.mcap")) == 60


def test_the_source_is_never_changed(scene, tmp_path):
    before = {f: f.read_bytes() for f in scene.iterdir()}
    for out in (scene, scene / "out.mcap", next(scene.glob("*.mcap"))):
        with pytest.raises(BagError, match="is the source or within it"):
            annotate(scene, out, overwrite=True)
    link = tmp_path / "link.mcap"
    link.symlink_to(next(scene.glob("*.mcap")))
    with pytest.raises(BagError, match="is the source or within it"):
        annotate(next(scene.glob("*.mcap")), link, overwrite=True)
    annotate(scene, tmp_path / "out.mcap")
    assert before == {f: f.read_bytes() for f in scene.iterdir()}


def test_an_existing_output_stays_unless_it_may_go(scene, tmp_path):
    out = tmp_path / "out.mcap"
    out.write_text("mine")
    with pytest.raises(BagError, match="exists already"):
        annotate(scene, out)
    assert out.read_text() == "mine" and list(tmp_path.iterdir()) == [out]
    annotate(scene, out, overwrite=True)
    assert len(rewards(out)) == 60
    annotate(scene, tmp_path / "folder")
    annotate(scene, tmp_path / "folder", overwrite=True, targets=[CARD_TARGET])
    assert len(rewards(tmp_path / "folder", "card")) == 59


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"targets": [Target("card")]}, "target 'card': expected a region"),
        ({"targets": [Target("", roi=CARD)]}, "label of 0 characters: expected 1 to 64"),
        ({"targets": [CARD_TARGET, CARD_TARGET]}, "each with its own label"),
        ({"targets": [Target("card", "left", CARD)]}, "no camera 'left'; there are camera"),
        ({"targets": [Target("card", roi=(300, 0, 20, 20))]}, r"region 20x20 at \(300, 0\) is outside the image"),
        ({"targets": [Target("card", roi=CARD, stamp_ns=2 * START)]}, "has no frame with depth and pose from"),
        ({"targets": [Target("camera", goal=(0.0, 0.0, float("nan")))]}, "expected x, y, z in metres"),
        ({"topics": ["/tff"]}, "has no topic /tff"),
        ({"image": "/eye"}, "has no topic /eye"),
    ],
)
def test_wrong_requests_leave_nothing(scene, tmp_path, options, text):
    with pytest.raises((BagError, SpatialError), match=text):
        annotate(scene, tmp_path / "out.mcap", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/sys").is_dir(), reason="there is no folder that root cannot write to")
def test_no_permission(scene):
    with pytest.raises(
        BagError, match=r"cannot be written: (Permission denied|Operation not permitted|Read-only file)"
    ):
        annotate(scene, "/sys/out.mcap")


def test_missing_folder(scene, tmp_path):
    with pytest.raises(BagError, match=r"the folder .*none does not exist"):
        annotate(scene, tmp_path / "none" / "out.mcap")


FULL = """
import resource, sys
from spatial_mllm_ros.recordings import BagError
from spatial_mllm_ros.annotate.bag import annotate
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    annotate(sys.argv[1], sys.argv[2], topics="all")
except BagError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [2000, 100_000])  # too small for the rewards, or for the copied images
def test_full_disk(scene, tmp_path, limit):
    out = tmp_path / "out.mcap"
    child = subprocess.run(
        [sys.executable, "-c", FULL, str(scene), str(out), str(limit)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert child.stdout.strip().endswith("out.mcap cannot be written: File too large"), child.stderr
    assert child.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_time_that_jumps_back(tmp_path):
    first, again = pushed(20), pushed(20)
    later = [(topic, ns + 60 * 10**9, message) for topic, ns, message in again]
    for topic, _, message in first:
        for header in [t.header for t in message.transforms] if topic == "/tf" else [message.header]:
            header.stamp.sec += 30
    recording = write_ros2(tmp_path / "r", first + later)
    with pytest.warns(BagWarning, match=r"given up at 1700000000\.000 s: time jumped back"):
        annotate(recording, tmp_path / "out.mcap", targets=[CARD_TARGET])
    got = rewards(tmp_path / "out.mcap")
    assert len(got) == 40
    assert {m.reference_stamp.sec - START // 10**9 for m in got[:20]} == {0}
    assert {m.reference_stamp.sec - START // 10**9 for m in got[20:]} == {30}
    card = rewards(tmp_path / "out.mcap", "card")
    assert [m.valid for m in card] == [False] * 20 + [True] * 19, "in the order of stamps"


def test_frames_without_pose_are_not_valid(tmp_path):
    color = [m for m in rgbd(5) if "depth" not in m[0]]
    late = [m for m in color if m[0] != "/tf" or m[1] >= START + 2 * STEP]
    with pytest.warns(BagWarning, match="2 frames without pose: camera 'camera': .* before the oldest"):
        annotate(write_ros2(tmp_path / "r", late), tmp_path / "out.mcap")
    assert [m.valid for m in rewards(tmp_path / "out.mcap")] == [False, False, True, True, True]


def test_broken_pixels_leave_no_trace(tmp_path):
    written = pushed(12)
    for topic, ns, message in written:
        if topic == "/camera/depth/image_raw":
            png = cv2.imencode(".png", message.data.view(np.uint16).reshape(message.height, message.width))[1]
            if ns == START + 5 * STEP:
                png[len(png) // 2 :][:40] = 0  # beginning and end are whole
            at = written.index((topic, ns, message))
            written[at] = topic, ns, compressed(ns, png.tobytes(), "16UC1; png compressed")
    report = annotate(write_ros2(tmp_path / "r", written), tmp_path / "out.mcap", targets=[CARD_TARGET])
    assert report.frames == 12
    ((reason, count),) = report.skipped.items()
    assert "depth" in reason and count == 1
    assert [stamp(m) for m in rewards(tmp_path / "out.mcap")] == [START + i * STEP for i in range(12) if i != 5]


def test_no_camera(tmp_path):
    with pytest.raises(BagError, match="has no camera"):
        annotate(write_ros2(tmp_path / "r", [("/tf", START, transforms())]), tmp_path / "out.mcap")


def test_redkitchen(redkitchen, tmp_path):
    annotate(redkitchen, tmp_path / "out.mcap")
    got = rewards(tmp_path / "out.mcap")
    recorded = {stamp(m): m.pose.pose.position for _, _, m in messages(redkitchen, ["/odom"])}
    start = recorded[stamp(got[0])]
    for m in got:
        p = recorded[stamp(m)]
        assert m.distance == pytest.approx(np.hypot(np.hypot(p.x - start.x, p.y - start.y), p.z - start.z), abs=1e-3)


class Judge:
    """A model that says how far things moved, as the brightness of two images tells; it notes its questions."""

    name, device, dtype, encoders, max_tokens, not_observed = "judge", "cpu", "float32", "", 256, -1.0
    calibration = Calibration(motion_confidence=0.5)

    def __init__(self, *folders):
        self.asked, self.folders = [], folders

    def ask(self, images, question):
        first, last = (float(image.mean()) for image in images)
        self.asked.append(question.text)
        return Answer(Verdict.ANSWERED, "said", abs(last - first), "m", confidence=0.9, frames=(0, 1))


def test_a_model_judges_a_frame_a_second_beside_geometry(scene, tmp_path):
    judge, config = Judge(), build({"motion.source": "both", "motion.ask_interval": 10 * STEP / 1e9})
    annotate(scene, tmp_path / "out.mcap", targets=[CARD_TARGET], config=config, engine=judge)
    by_model = {label: [m for m in rewards(tmp_path / "out.mcap", label) if m.source == "mllm"] for label in LABELS}
    measured = {label: [m for m in rewards(tmp_path / "out.mcap", label) if m.source != "mllm"] for label in LABELS}
    assert [len(m) for m in by_model.values()] == [5, 5] and len(judge.asked) == 10
    assert [stamp(m) for m in by_model["camera"]] == [START + i * STEP for i in (10, 20, 30, 40, 50)]
    frames = {f.stamp_ns: float(f.image.mean()) for f in read_frames(scene)}
    moved = [abs(frames[stamp(m)] - frames[START]) for m in by_model["camera"]]
    assert [m.distance for m in by_model["camera"]] == pytest.approx(moved)
    assert all(m.valid and m.reference_stamp.nanosec == START % 10**9 for m in by_model["camera"])
    plain = annotate(scene, tmp_path / "plain.mcap", targets=[CARD_TARGET])
    assert plain.rewards == sum(map(len, measured.values()))
    x, y = 1000 * 82 // 160, 1000 * 62 // 120  # the middle of CARD
    assert sum(f"({x}, {y})" in text for text in judge.asked) == 5


def test_the_model_alone_and_after_a_kill(scene, tmp_path):
    options = {"config": build({"motion.source": "mllm", "motion.ask_interval": 0.3}), "targets": [CARD_TARGET]}
    whole = undisturbed(scene, tmp_path, **options, engine=Judge())
    assert {m.source for label in LABELS for m in rewards(tmp_path / "undisturbed" / "out.mcap", label)} == {"mllm"}
    out = tmp_path / "out.mcap"
    with pytest.raises(KeyboardInterrupt):
        annotate(scene, out, **options, engine=Judge(), progress=interrupted_at(30))
    assert annotate(scene, out, **options, engine=Judge()).resumed >= 21
    assert out.read_bytes() == whole


def test_what_a_model_cannot_do_is_said(scene, tmp_path):
    judge = Judge()
    judge.calibration = Calibration()
    with pytest.raises(SpatialError, match="spatial-mllm-training calibrate"):
        annotate(scene, tmp_path / "out.mcap", config=build({"motion.source": "mllm"}), engine=judge)
    goal = [Target("camera", goal=(0.0, 0.0, 1.0))]
    with pytest.raises(SpatialError, match="a goal needs"):
        annotate(scene, tmp_path / "out.mcap", targets=goal, config=build({"motion.source": "mllm"}), engine=Judge())
    outside = [Target("card", roi=(300, 0, 20, 20))]
    with pytest.raises(SpatialError, match=r"region 20x20 at \(300, 0\) is outside the image") as error:
        annotate(scene, tmp_path / "out.mcap", targets=outside, config=build({"motion.source": "mllm"}), engine=Judge())
    assert error.value.code == ErrorCode.BAD_REQUEST
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("source", ["mllm", "both"])
def test_a_model_is_needed_where_it_is_to_be_asked_and_nowhere_else(scene, tmp_path, source):
    with pytest.raises(SpatialError, match=f"motion.source = {source} needs a model") as error:
        annotate(scene, tmp_path / "out.mcap", config=build({"motion.source": source}))
    assert error.value.code == ErrorCode.BAD_REQUEST and not list(tmp_path.iterdir())
    judge = Judge()
    judge.calibration = Calibration()
    assert annotate(scene, tmp_path / "out.mcap", engine=judge).rewards == 60 and not judge.asked


@pytest.mark.parametrize("with_adapter", [False, True])
def test_progress_of_another_model_is_not_used(scene, tmp_path, with_adapter):
    out, config = tmp_path / "out.mcap", build({"motion.source": "both"})
    weights, adapter = tmp_path / "model", tmp_path / "adapter"
    for folder in (weights, adapter):
        folder.mkdir()
        (folder / "weights.safetensors").write_bytes(bytes(100))
    with pytest.raises(KeyboardInterrupt):
        annotate(scene, out, config=config, engine=Judge(weights), progress=interrupted_at(30))
    if not with_adapter:
        (weights / "weights.safetensors").write_bytes(bytes(99) + b"!")
    folders = [weights, adapter] if with_adapter else [weights]
    with pytest.warns(BagWarning, match="is not used, the model changed; starting anew"):
        assert annotate(scene, out, config=config, engine=Judge(*folders)).resumed == 0


def with_broken(kind, numbers, frames=60):
    """The scene as PNG, the colour or the depth of some frames broken in the middle."""
    written, count = [], Counter()
    for topic, ns, message in pushed(frames):
        if message.__msgtype__ == "sensor_msgs/msg/Image":
            data = message.data if message.encoding == "rgb8" else message.data.view(np.uint16)
            form = "rgb8; png compressed bgr8" if message.encoding == "rgb8" else "16UC1; png compressed"
            png = cv2.imencode(".png", data.reshape(message.height, message.width, -1))[1]
            if kind in topic and count[topic] in numbers:
                png[len(png) // 2 :][:40] = 0
            count[topic] += 1
            message = compressed(ns, png.tobytes(), form)
        written.append((topic, ns, message))
    return written


def test_an_image_that_is_broken_costs_the_models_reward_alone(tmp_path):
    recording = write_ros2(tmp_path / "r", with_broken("color", {0, 11}))
    config = build({"motion.source": "both", "motion.ask_interval": 10 * STEP / 1e9})
    report = annotate(recording, tmp_path / "out.mcap", config=config, engine=Judge())
    got = rewards(tmp_path / "out.mcap")
    assert [stamp(m) for m in got if m.source == "geometry"] == [START + i * STEP for i in range(60)]
    judged = [m for m in got if m.source == "mllm"]
    assert [stamp(m) for m in judged] == [START + i * STEP for i in (12, 22, 32, 42, 52)]
    assert {m.reference_stamp.nanosec for m in judged} == {(START + STEP) % 10**9}
    assert report.skipped.total() == 2


def test_the_model_alone_does_not_look_at_depth(tmp_path):
    recording = write_ros2(tmp_path / "r", with_broken("depth", {0, 10}))
    config = build({"motion.source": "mllm", "motion.ask_interval": 10 * STEP / 1e9})
    report = annotate(recording, tmp_path / "out.mcap", targets=[CARD_TARGET], config=config, engine=Judge())
    for label in LABELS:
        stamps = [stamp(m) for m in rewards(tmp_path / "out.mcap", label)]
        assert stamps == [START + i * STEP for i in (10, 20, 30, 40, 50)]
    assert not report.skipped


def test_the_model_judges_frames_without_a_pose(tmp_path):
    late = [m for m in pushed(12) if m[0] != "/tf" or m[1] >= START + 6 * STEP]
    recording, config = write_ros2(tmp_path / "r", late), build({"motion.source": "both", "motion.ask_interval": 0.0})
    with pytest.warns(BagWarning, match="6 frames without pose"):
        annotate(recording, tmp_path / "out.mcap", config=config, engine=Judge())
    got = rewards(tmp_path / "out.mcap")
    assert [m.valid for m in got if m.source == "geometry"] == [False] * 6 + [True] * 6
    assert [stamp(m) for m in got if m.source == "mllm"] == [START + i * STEP for i in range(1, 12)]
