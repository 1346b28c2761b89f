import cv2
import numpy as np
import pytest

from spatial_mllm_ros.config import build
from spatial_mllm_ros.errors import BadMessage, ErrorCode, SpatialError
from spatial_mllm_ros.frames import Frame, Pixels
from spatial_mllm_ros.motion.record import MOST_GIVEN_UP, State
from spatial_mllm_ros.motion.targets import MAX_TARGETS, Target
from spatial_mllm_ros.scene.pipeline import SpatialPipeline

from .wall import CAMERAS, WALL, K, frame

TEXTURE = cv2.GaussianBlur(np.random.default_rng(5).integers(0, 255, (400, 1600), np.uint8), (0, 0), 2)
TEXTURE = cv2.normalize(TEXTURE, None, 0, 255, cv2.NORM_MINMAX)
PER_METRE = K[0, 0] / WALL  # pixels of image and texture a metre of wall takes


def wall(i, x=0.0, has_pose=True, has_depth=True):
    """The textured wall seen from x: the image is a window of the texture moved by x."""
    left = 200 + x * PER_METRE
    columns = (np.arange(64) + left).astype(np.float32)
    grid = np.meshgrid(columns, np.arange(48, dtype=np.float32) + 100)
    view = cv2.remap(TEXTURE, *grid, cv2.INTER_LINEAR)
    return frame(i, x, image=cv2.cvtColor(view, cv2.COLOR_GRAY2RGB), has_pose=has_pose, has_depth=has_depth)


def pipeline(**values):
    return SpatialPipeline(
        build({"cameras": ["front", "rear"], **{k.replace("__", "."): v for k, v in values.items()}})
    )


def refused(call, *args, **kwargs):
    with pytest.raises(SpatialError) as caught:
        call(*args, **kwargs)
    return caught.value


def test_the_camera_is_followed_from_the_first_frame():
    p = pipeline()
    rewards = [p.process(frame(i, 0.1 * i)).rewards[0] for i in range(11)]
    last = rewards[-1]
    assert last.target == "camera" and last.valid and last.source == "geometry"
    assert last.distance == pytest.approx(1.0) and last.path_length == pytest.approx(1.0, abs=0.02)
    np.testing.assert_allclose(last.displacement, [1, 0, 0], atol=1e-9)
    assert sum(r.reward for r in rewards) == pytest.approx(1.0)
    assert last.reference_ns == frame(0).stamp_ns


def test_a_goal_rewards_coming_nearer():
    p = pipeline()
    p.process(frame(0, 0.0))
    assert p.set_target(Target("camera", goal=(2.0, 0, 0))) == 0
    rewards = [p.process(frame(i, 0.1 * i)).rewards[0].reward for i in range(1, 6)]
    np.testing.assert_allclose(rewards, 0.1, atol=1e-9)


def test_other_cameras_have_no_reward_of_the_target():
    p = pipeline()
    assert len(p.process(frame(0)).rewards) == 1
    assert p.process(frame(0, name="rear")).rewards == []


def test_a_region_catches_up_with_the_past():
    """A still wall seen by a moving camera does not move, also when the target is set late and in the past."""
    p = pipeline()
    for i in range(10):
        p.process(wall(i, 0.02 * i))
    assert p.set_target(Target("poster", roi=(10, 8, 40, 30), stamp_ns=frame(3).stamp_ns)) >= 6
    rewards = {r.target: r for r in p.process(wall(10, 0.2)).rewards}
    poster = rewards["poster"]
    assert poster.valid and poster.reference_ns == frame(3).stamp_ns
    assert poster.distance < 0.02
    assert rewards["camera"].distance == pytest.approx(0.2)
    assert p._targets.labels == ["camera", "poster"]


def test_measured_camera_motion():
    p = pipeline()
    for i in range(10):
        p.process(frame(i, 0.1 * i))
    first, last, motion = p.measure_motion("camera", "front", frame(2).stamp_ns, frame(7).stamp_ns)
    assert (first, last) == (frame(2).stamp_ns, frame(7).stamp_ns)
    assert motion.distance == pytest.approx(0.5)
    assert motion.rotation == pytest.approx(0.0)
    whole = p.measure_motion("camera")[2]
    assert whole.distance == pytest.approx(0.9)


def test_a_still_point_has_not_moved():
    p = pipeline()
    for i in range(10):
        p.process(wall(i, 0.02 * i))
    _, _, motion = p.measure_motion("point", "front", frame(0).stamp_ns, 0, (40.0, 24.0))
    assert motion.distance < 0.02


def test_requests_that_cannot_be_met_say_why():
    p = pipeline()
    assert refused(p.set_target, Target("camera")).code is ErrorCode.NO_FRAMES
    assert refused(p.measure_motion, "camera").code is ErrorCode.NO_FRAMES
    for i in range(3):
        p.process(frame(i, has_pose=False))
    assert refused(p.measure_motion, "camera").code is ErrorCode.NO_GEOMETRY
    assert refused(p.measure_motion, "drawer").code is ErrorCode.BAD_REQUEST
    assert refused(p.measure_motion, "camera", "left").code is ErrorCode.BAD_REQUEST
    back = refused(p.measure_motion, "camera", "front", frame(2).stamp_ns, frame(1).stamp_ns)
    assert back.code is ErrorCode.BAD_REQUEST and "after" in back.message
    for label, roi in (("", (0, 0, 9, 9)), ("x" * 65, (0, 0, 9, 9)), ("box", None), ("box", (3, 3, 0, 5))):
        assert refused(p.set_target, Target(label, roi=roi)).code is ErrorCode.BAD_REQUEST
    assert refused(p.set_target, Target("camera", goal=(0, np.nan, 0))).code is ErrorCode.BAD_REQUEST
    assert refused(p.set_target, Target("box", roi=(1, 1, 9, 9))).code is ErrorCode.NO_GEOMETRY
    p.process(wall(3))
    assert refused(p.set_target, Target("box", roi=(500, 500, 9, 9))).code is ErrorCode.BAD_REQUEST


def test_targets_are_bounded():
    p = pipeline()
    p.process(wall(0))
    for i in range(MAX_TARGETS - 1):
        p.set_target(Target(f"box{i}", roi=(8, 8, 48, 32)))
    assert refused(p.set_target, Target("one more", roi=(8, 8, 48, 32))).code is ErrorCode.BAD_REQUEST
    p.set_target(Target("box3", roi=(8, 8, 48, 32)))  # replacing is fine


def test_time_that_jumps_back_starts_anew():
    p = pipeline()
    for i in range(100, 110):
        p.process(frame(i, 0.1 * i))
    done = p.process(frame(3, 5.0))
    assert done.reset and done.rewards[0].distance == 0
    assert p.memory.state().frames_seen == 11 and p.memory.state().frames_recent == 1


def states(p):
    return {(s.target.label, s.source): s.state for s in p.target_series()}


def lose(p, first, poster="poster"):
    """A region is set and then has no depth for more than motion.max_lost; the number of the next frame."""
    p.process(wall(first))
    p.set_target(Target(poster, roi=(10, 8, 40, 30)))
    news = [line for i in range(1, 14) for line in p.process(wall(first + i, has_depth=False)).news]
    assert states(p)[poster, "geometry"] is State.GIVEN_UP and len(news) == 1
    given_up = frame(first + 12).stamp_ns / 1e9  # without depth since the first frame, for more than a second
    why = "invisible for more than 1 s; set the target again"
    assert news[0] == f"target '{poster}' (geometry) is given up at {given_up:.3f} s: {why}"
    return first + 14


def test_states_of_a_target_from_setting_to_giving_up():
    p = pipeline()
    assert states(p) == {("camera", "geometry"): State.WAITING}
    p.process(wall(0))
    p.set_target(Target("poster", roi=(10, 8, 40, 30), goal=(1.0, 2.0, 3.0)))
    assert states(p) == {("camera", "geometry"): State.FOLLOWED, ("poster", "geometry"): State.FOLLOWED}
    for i in range(1, 5):
        p.process(wall(i, 0.01 * i))
    for i in range(5, 8):
        p.process(wall(i, has_depth=False))
    lost = p.target_series()[1]
    assert (lost.state, lost.reason) == (State.LOST, "no depth")
    assert lost.lost_for == pytest.approx(0.3) and lost.valid_share == pytest.approx(4 / 7)
    assert (lost.reference_ns, lost.target.goal) == (frame(0).stamp_ns, (1.0, 2.0, 3.0))
    p.process(wall(8, 0.05))
    assert p.target_series()[1].state is State.FOLLOWED and p.target_series()[1].lost_for == 0
    for i in range(9, 30):
        p.process(wall(i, has_depth=False))
    over = p.target_series()[1]
    assert over.state is State.GIVEN_UP and "set the target again" in over.reason and p._targets.labels == ["camera"]
    assert over.valid_share == pytest.approx(5 / 20)  # valid: 1 to 4 and 8; of 1 to 20, where it was given up


def test_what_was_given_up_is_not_valid_until_it_is_set_again():
    p = pipeline()
    at = lose(p, 0)
    for i in range(at, at + 3):
        camera, poster = sorted(p.process(wall(i)).rewards, key=lambda r: r.target)
        assert camera.valid and not poster.valid and poster.reward == 0 and poster.reference_ns == frame(0).stamp_ns
    assert p.set_target(Target("poster", roi=(10, 8, 40, 30))) >= 6
    poster = next(r for r in p.process(wall(at + 3)).rewards if r.target == "poster")
    assert poster.valid and poster.distance < 0.01 and poster.reference_ns == frame(at + 2).stamp_ns
    assert states(p)["poster", "geometry"] is State.FOLLOWED and len(p.target_series()) == 2


def test_a_removed_target_has_no_rewards_and_can_be_set_again():
    p = pipeline()
    at = lose(p, 0)
    p.set_target(Target("box", roi=(10, 8, 40, 30), stamp_ns=frame(0).stamp_ns))
    for label in ("poster", "box", "camera"):
        p.remove_target(label)
    assert p.process(wall(at)).rewards == [] and p.target_series() == [] and p._targets.labels == []
    gone = refused(p.remove_target, "box")
    assert gone.code is ErrorCode.BAD_REQUEST and gone.message == "no target 'box'; there are none"
    p.set_target(Target("camera"))
    p.set_target(Target("box", roi=(10, 8, 40, 30)))
    assert [r.target for r in p.process(wall(at + 1)).rewards] == ["camera", "box"]
    assert refused(p.remove_target, "poster").message == "no target 'poster'; there are camera, box"


def test_a_reset_forgets_what_was_given_up_and_brings_the_camera_back():
    p = pipeline()
    at = lose(p, 0)
    p.set_target(Target("camera", goal=(9.0, 0, 0)))
    p.remove_target("camera")
    p.reset()
    assert states(p) == {("camera", "geometry"): State.WAITING}
    assert p.process(wall(at, 0.1)).rewards[0].distance == 0
    assert p.set_target(Target("poster", roi=(10, 8, 40, 30))) >= 6
    rewards = p.process(wall(at + 1, 0.2)).rewards
    assert [(r.target, r.valid) for r in rewards] == [("camera", True), ("poster", True)]
    assert rewards[0].reward == pytest.approx(0.1), "the goal is forgotten"


def test_time_that_jumps_back_gives_regions_up_and_leads_the_camera_on():
    p = pipeline()
    p.process(wall(100))
    p.set_target(Target("camera", "front", goal=(2.0, 0, 0)))
    p.set_target(Target("poster", roi=(10, 8, 40, 30)))
    p.process(wall(101, 0.1))
    done = p.process(wall(3, 0.5))
    back = frame(3).stamp_ns / 1e9
    assert done.reset and done.news == [
        f"target 'poster' (geometry) is given up at {back:.3f} s: time jumped back; set the target again"
    ]
    assert {r.target: r.valid for r in done.rewards} == {"camera": True, "poster": False}
    assert states(p) == {("camera", "geometry"): State.FOLLOWED, ("poster", "geometry"): State.GIVEN_UP}
    rewards = {r.target: r.reward for r in p.process(wall(4, 0.6)).rewards}
    assert rewards["camera"] == pytest.approx(0.1), "nearer to the goal, from a new reference"
    p.set_target(Target("poster", roi=(10, 8, 40, 30)))
    assert all(r.valid for r in p.process(wall(5, 0.61)).rewards)


def test_a_camera_that_was_removed_stays_so_when_time_jumps_back():
    p = pipeline()
    p.process(wall(100))
    p.remove_target("camera")
    assert p.process(wall(3)).rewards == [] and p.target_series() == []


def test_poses_that_jump_start_the_rewards_anew_and_say_so_now_and_then():
    """A robot that is put back every 3 s."""
    p = pipeline()
    news = []
    for i in range(1, 301):
        done = p.process(frame(i, 0.1 * (i % 30)))
        news += done.news
        (reward,) = done.rewards
        assert reward.valid == (i % 30 != 0)
        since = i % 30 if i >= 30 else i - 1
        assert not reward.valid or reward.distance == pytest.approx(0.1 * since)
    told = [
        f"camera 'front' jumped by 2.900 m within 0.100 s at {frame(i).stamp_ns / 1e9:.3f} s" for i in (30, 150, 270)
    ]
    assert [line.partition(",")[0] for line in news] == told, "at most every 10 s"
    assert all("rewards of camera start anew" in line and "raise motion.max_speed" in line for line in news)
    assert p.target_series()[0].state is State.FOLLOWED


def test_a_jump_in_the_past_that_a_target_catches_up_with_counts_too():
    p = pipeline()
    for i in range(10):
        p.process(wall(i, 0.05 * i if i < 5 else 0.05 * (i - 5) + 2.0))
    p.set_target(Target("camera", goal=(5.0, 0, 0), stamp_ns=frame(2).stamp_ns))
    p.set_target(Target("poster", roi=(10, 8, 40, 30), stamp_ns=frame(2).stamp_ns))
    rewards = {r.target: r for r in p.process(wall(10, 2.25)).rewards}
    assert rewards["camera"].reference_ns == frame(5).stamp_ns
    assert rewards["camera"].distance == pytest.approx(0.25) and rewards["camera"].reward == pytest.approx(0.05)
    assert not rewards["poster"].valid and "camera 'front' jumped by 1.8" in rewards["poster"].reason


def test_what_was_given_up_takes_no_place_and_is_bounded():
    p = pipeline()
    at = 0
    for round_ in range(3):
        p.process(wall(at))
        labels = [f"box{round_}-{i}" for i in range(MAX_TARGETS - 1)]
        for label in labels:
            p.set_target(Target(label, roi=(8, 8, 48, 32)))
        for i in range(1, 14):
            p.process(wall(at + i, has_depth=False))
        at += 14
        assert p._targets.labels == ["camera"]
    given_up = [s.target.label for s in p.target_series() if s.state is State.GIVEN_UP]
    assert len(given_up) == MOST_GIVEN_UP and given_up[-MAX_TARGETS + 1 :] == labels


def test_a_camera_that_lags_is_no_time_jump():
    p = pipeline()
    for i in range(20):
        assert not p.process(frame(100 + i, 0.1 * i)).reset
        assert not p.process(frame(80 + i, 0.1 * i, "rear")).reset
    assert p.memory.state().frames_recent == 40


def test_a_reset_while_a_target_is_set_forgets_it(monkeypatch):
    p = pipeline()
    for i in range(5):
        p.process(wall(i, 0.02 * i))
    recent = p.memory.recent

    def reset_first(*args):
        frames = recent(*args)
        p.reset()
        return frames

    monkeypatch.setattr(p.memory, "recent", reset_first)
    assert (
        refused(p.set_target, Target("box", roi=(8, 8, 48, 32), stamp_ns=frame(0).stamp_ns)).code is ErrorCode.NO_FRAMES
    )
    assert p._targets.labels == ["camera"]


def test_a_target_that_takes_too_long_says_so(monkeypatch):
    p = pipeline()
    for i in range(5):
        p.process(wall(i, 0.02 * i))
    monkeypatch.setattr("spatial_mllm_ros.scene.pipeline.CATCH_UP", -1.0)
    late = refused(p.set_target, Target("box", roi=(8, 8, 48, 32), stamp_ns=frame(1).stamp_ns))
    assert late.code is ErrorCode.TIMEOUT and "0.3 s ago" in late.message
    p.set_target(Target("box", roi=(8, 8, 48, 32)))  # the latest frame needs no catching up


def test_a_target_that_fails_takes_nothing_with_it(monkeypatch):
    p = pipeline()
    p.process(wall(0))
    p.set_target(Target("box", roi=(8, 8, 48, 32)))

    def fail(*_):
        raise RuntimeError("boom")

    monkeypatch.setattr("spatial_mllm_ros.motion.rewards.RegionTarget.update", fail)
    done = p.process(wall(1, 0.1))
    camera, box = done.rewards
    assert camera.valid and not box.valid and box.reward == 0
    assert done.news == ["target 'box' (geometry) is given up at 1000.100 s: it failed; set the target again"]
    assert p._targets.labels == ["camera"] and p.memory.state().frames_seen == 2


def test_a_point_is_followed_to_the_last_frame_with_depth():
    p = pipeline()
    for i in range(6):
        p.process(wall(i, 0.02 * i))
    p.process(frame(6, 0.12, has_depth=False))
    _, end, _ = p.measure_motion("point", "front", frame(0).stamp_ns, 0, (40.0, 24.0))
    assert end == frame(5).stamp_ns


def test_broken_pixels_leave_no_trace():
    def fail():
        raise BadMessage("broken")

    p = pipeline()
    p.process(wall(0))
    p.set_target(Target("box", roi=(8, 8, 48, 32)))
    before = p.memory.state()
    broken = Pixels(48, 64, 10, fail)
    good = wall(1)
    for image, depth in ((broken, good.depth), (good.image, broken)):
        bad = Frame(frame(1).stamp_ns, CAMERAS["front"], image=image, depth=depth, world_from_camera=np.eye(4))
        with pytest.raises(BadMessage):
            p.process(bad)
    assert p.memory.state() == before
    assert p.process(wall(1)).rewards[1].valid


def test_decoded_pixels_do_not_pile_up():
    p = pipeline()
    frames = [frame(i) for i in range(5)]
    for f in frames:
        p.process(f)
    p.measure_motion("camera")
    assert all(f._image is None and f._gray is None and f._depth is None for f in frames)
