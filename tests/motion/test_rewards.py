from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spatial_mllm_ros.config import MotionParams
from spatial_mllm_ros.errors import ErrorCode, SpatialError
from spatial_mllm_ros.frames import Frame
from spatial_mllm_ros.motion.rewards import CameraTarget, RegionTarget

from .tiny_world import CAMERA, SIZE, Box, World, look_at, moved, project_point

BOX = (0.3, 0.3, 0.3)


def eased(t, start, end):
    """0 before start, 1 after end, smooth between."""
    s = np.clip((t - start) / (end - start), 0, 1)
    return s * s * (3 - 2 * s)


def pushed(distance, yaw=0.0, **world):
    """A box that is pushed along x between 0.3 and 1.0 s."""
    path = lambda t: moved(-0.1 + distance * eased(t, 0.3, 1.0), 0.6, 0.15, yaw * eased(t, 0.3, 1.0))  # noqa: E731
    return World([Box(BOX, path)], **world)


def region(world, frame, margin=2):
    """Bounding box of the first box's pixels."""
    v, u = np.nonzero(world.boxes[0].pixels)
    return int(u.min()) - margin, int(v.min()) - margin, int(np.ptp(u)) + 2 * margin, int(np.ptp(v)) + 2 * margin


def followed(world, seconds, roi=None, goal=None):
    """The target's rewards from the second frame on."""
    first = world.frame(0)
    target = RegionTarget("box", first, roi or region(world, first), goal)
    return [target.update(world.frame(i)) for i in range(1, round(seconds * world.fps))]


@pytest.mark.parametrize("distance", [0.05, 0.15, 0.3, 0.5])
def test_a_pushed_box_seen_by_a_moving_camera(distance):
    last = followed(pushed(distance), 1.3)[-1]
    assert last.valid and last.confidence > 0.1
    assert abs(last.distance - distance) < max(0.005, 0.03 * distance)
    assert abs(last.displacement[0] - distance) < max(0.005, 0.03 * distance)


def test_still_things_do_not_move_for_a_moving_camera():
    rewards = followed(pushed(0.0), 2.0)
    assert np.mean([r.valid for r in rewards]) > 0.95
    assert np.median([r.distance for r in rewards if r.valid]) < 0.005
    assert max(r.path_length for r in rewards) < 0.03


def test_the_moving_body_wins_over_its_background():
    """The region holds twice as much floor and wall as box."""
    world = pushed(0.3)
    first = world.frame(0)
    u, v, w, h = region(world, first)
    last = followed(world, 1.3, (u - w // 2, v - h // 3, 2 * w, 2 * h))[-1]
    assert last.valid and abs(last.distance - 0.3) < 0.009


def test_a_turning_box():
    """It turns by 40 degrees on its way: the displacement is that of one point, and that point lies in the box."""
    last = followed(pushed(0.3, np.radians(40)), 1.3)[-1]
    assert last.valid and abs(last.displacement[2]) < 0.005
    middle, turn = np.array([-0.1, 0.6]), moved(yaw=np.radians(40))[:2, :2]
    offset = np.linalg.solve(
        turn - np.eye(2), last.displacement[:2] - [0.3, 0]
    )  # (R - 1) offset + shift = displacement
    assert (np.abs(offset) <= 0.16).all(), f"{middle + offset} is outside the box"


def test_a_hidden_box_is_not_guessed_and_comes_back():
    """A screen passes in front of the box from 0.5 to 1.2 s."""
    screen = Box((0.6, 0.02, 0.8), lambda t: moved(-2 if t < 0.5 or t > 1.2 else -0.05, 0.0, 0.5), seed=5)
    world = pushed(0.0)
    world.boxes.append(screen)
    rewards = followed(world, 1.8)
    hidden = [r for r in rewards if 1.53e9 < r.stamp_ns < 2.2e9]
    assert not any(r.valid for r in hidden)
    assert all(r.reward == 0 and np.isnan(r.distance) and r.confidence == 0 and r.reason for r in hidden)
    assert rewards[-1].valid and rewards[-1].distance < 0.01


def test_what_stays_hidden_is_lost():
    world = pushed(0.0)
    screen = Box((3, 0.02, 3), lambda t: moved(0, 5 if t < 0.2 else -0.2, 1), seed=5)
    world.boxes.append(screen)
    first = world.frame(0)
    target = RegionTarget("box", first, region(world, first), params=MotionParams(max_lost=0.5))
    for i in range(1, 30):
        reward = target.update(world.frame(i))
    assert not reward.valid
    assert target.lost == reward.reason == "invisible for more than 0.5 s"
    world.boxes.pop()
    assert not target.update(world.frame(31)).valid


def test_a_goal_rewards_coming_nearer():
    goal = np.array([1.0, 0.6, 0.15])
    rewards = followed(pushed(0.3), 1.3, goal=goal)
    assert sum(r.reward for r in rewards) == pytest.approx(0.3, abs=0.012)
    away = followed(pushed(0.3), 1.3, goal=np.array([-2.0, 0.6, 0.15]))
    assert sum(r.reward for r in away) == pytest.approx(-0.3, abs=0.012)


def test_the_same_frames_give_the_same_rewards():
    one, two = (followed(pushed(0.2), 1.0) for _ in range(2))
    assert [(r.distance, r.reward, r.confidence) for r in one] == [(r.distance, r.reward, r.confidence) for r in two]


@pytest.mark.parametrize(
    "roi, code, words",
    [
        ((400, 10, 50, 50), ErrorCode.BAD_REQUEST, "outside the image of 320x240"),
        ((-60, -60, 50, 50), ErrorCode.BAD_REQUEST, "outside the image"),
        ((10, 10, 4, 4), ErrorCode.NO_GEOMETRY, "only"),
    ],
)
def test_regions_that_cannot_be_followed(roi, code, words):
    with pytest.raises(SpatialError, match=words) as caught:
        RegionTarget("box", pushed(0.0).frame(0), roi)
    assert caught.value.code is code


def test_a_region_without_texture_or_depth_says_which():
    bare = World([], plain=True).frame(0)
    with pytest.raises(SpatialError, match="texture"):
        RegionTarget("wall", bare, (20, 20, 200, 150))
    seen = pushed(0.0).frame(0)
    blind = Frame(
        seen.stamp_ns,
        CAMERA,
        image=seen.image,
        depth=np.full(SIZE[::-1], np.nan, np.float32),
        world_from_camera=seen.world_from_camera,
    )
    with pytest.raises(SpatialError, match="depth"):
        RegionTarget("wall", blind, (20, 20, 200, 150))


def test_a_region_over_the_edge_is_clipped():
    assert RegionTarget("corner", pushed(0.0).frame(0), (200, 100, 500, 500)).tracked_points >= 6


def test_frames_that_cannot_be_used_are_not_valid_and_say_why():
    world = pushed(0.0)
    first = world.frame(0)
    target = RegionTarget("box", first, region(world, first))
    good = world.frame(1)
    without = {
        "no pose": Frame(1_100_000_000, CAMERA, image=good.image, depth=good.depth),
        "no depth": Frame(1_200_000_000, CAMERA, image=good.image, world_from_camera=good.world_from_camera),
        "no image": Frame(1_300_000_000, CAMERA, depth=good.depth, world_from_camera=good.world_from_camera),
        "not later": good,
    }
    for reason, frame in without.items():
        reward = target.update(frame)
        assert not reward.valid and reason in reward.reason and reward.reward == 0


def test_an_image_of_another_size_ends_the_target():
    world = pushed(0.0)
    first = world.frame(0)
    target = RegionTarget("box", first, region(world, first))
    small = CAMERA.resized(160, 120)
    other = Frame(
        2 * 10**9,
        small,
        image=np.zeros((120, 160, 3), np.uint8),
        depth=np.ones((120, 160), np.float32),
        world_from_camera=np.eye(4),
    )
    assert "from 320x240 to 160x120" in target.update(other).reason


def pose_only(stamp_ns, position):
    pose = None
    if position is not None:
        pose = look_at([0, 0, 1], [1, 0, 1])
        pose[:3, 3] = position
    return Frame(stamp_ns, CAMERA, world_from_camera=pose)


steps = st.lists(st.one_of(st.none(), st.tuples(*[st.floats(-5, 5)] * 3)), min_size=1, max_size=40)


@settings(deadline=None)
@given(steps, st.one_of(st.none(), st.tuples(*[st.floats(-5, 5)] * 3)))
def test_rewards_sum_to_the_progress_whatever_is_missing(positions, goal):
    target = CameraTarget("camera", None if goal is None else np.array(goal), MotionParams(max_speed=np.inf))
    rewards = [target.update(pose_only(10**9 + i, p)) for i, p in enumerate(positions)]
    known = [np.array(p) for p in positions if p is not None]
    total = sum(r.reward for r in rewards)
    assert [r.valid for r in rewards] == [p is not None for p in positions]
    assert all(r.reward == 0 for r in rewards if not r.valid)
    if known and goal is None:
        assert total == pytest.approx(np.linalg.norm(known[-1] - known[0]), abs=1e-9)
    elif known:
        before, after = (np.linalg.norm(np.array(goal) - p) for p in (known[0], known[-1]))
        assert total == pytest.approx(before - after, abs=1e-9)
    paths = [r.path_length for r in rewards]
    assert paths == sorted(paths)


def test_path_length_ignores_noise_and_counts_the_way():
    target = CameraTarget("camera", params=MotionParams(deadband=0.01))
    noise = np.random.default_rng(0).uniform(-0.002, 0.002, (500, 3))
    for i, offset in enumerate(noise):
        reward = target.update(pose_only(10**9 + i, offset))
    assert reward.path_length == 0
    for i in range(1, 101):  # there and back, 1 m each way
        reward = target.update(pose_only(2 * 10**9 + i, [0.02 * min(i, 100 - i), 0, 0]))
    assert reward.path_length == pytest.approx(2.0, abs=0.03)
    assert reward.distance < 0.01


def test_camera_distance_is_that_of_the_recorded_poses(redkitchen):
    from spatial_mllm_ros.recordings import read_frames

    target, positions = CameraTarget("camera"), []
    for frame in read_frames(redkitchen):
        positions.append(frame.world_from_camera[:3, 3])
        reward = target.update(frame)
        assert abs(reward.distance - np.linalg.norm(positions[-1] - positions[0])) < 1e-3
    assert len(positions) == 300


def test_projection_of_the_twin_is_the_camera_model():
    from spatial_mllm_ros.geometry.cameras import project
    from spatial_mllm_ros.geometry.poses import inverse, transform

    pose = look_at([0.2, -1, 1.1], [0, 0.9, 0.3])
    point = np.array([0.1, 0.5, 0.2])
    pixels, _ = project(CAMERA, transform(inverse(pose), point)[None])
    np.testing.assert_allclose(pixels[0], project_point(point, pose), atol=1e-9)


def parts_of(moments, limit):
    """Where a series starts anew, worked out from (ns, position or None): indices of new references."""
    known = [(i, ns, np.array(position)) for i, (ns, position) in enumerate(moments) if position is not None]
    steps = [(i, (b - a) / max((later - ns) / 1e9, 0.02)) for (_, ns, a), (i, later, b) in pairwise(known)]
    before = [np.zeros(3), *(velocity for _, velocity in steps)]
    return {i for (i, v), u in zip(steps, before) if np.linalg.norm(v) > limit and np.linalg.norm(v - u) > limit}


walks = st.lists(
    st.tuples(
        st.integers(1_000_000, 200_000_000),  # ns since the last frame
        st.one_of(st.none(), st.tuples(st.floats(-1, 1), st.floats(-0.3, 0.3), st.just(0.0))),
        st.booleans(),
    ),
    min_size=2,
    max_size=30,
)


@settings(deadline=None)
@given(walks, st.one_of(st.none(), st.tuples(*[st.floats(-5, 5)] * 3)))
def test_each_part_between_jumps_has_the_rewards_of_a_target_of_its_own(walk, goal):
    """Some steps are taken at walking pace, others reach anywhere."""
    ns, place, moments = 10**9, np.zeros(3), []
    for step, offset, jumps in walk:
        ns += step
        if offset is not None:
            place = place + np.array(offset) * (3.0 if jumps else 3.0 * step / 1e9)
        moments.append((ns, None if offset is None else tuple(place)))
    anew = parts_of(moments, 4.0)
    goal = None if goal is None else np.array(goal)
    target, fresh = CameraTarget("camera", goal, MotionParams(max_speed=4.0)), None
    for i, (stamp, position) in enumerate(moments):
        reward = target.update(pose_only(stamp, position))
        if i in anew or fresh is None:
            fresh = CameraTarget("camera", goal, MotionParams(max_speed=np.inf))
        right = fresh.update(pose_only(stamp, position))
        assert reward.reference_ns == right.reference_ns
        if i in anew:
            assert reward.anew and not reward.valid and reward.reward == 0 and reward.reference_ns == stamp
            assert "camera 'camera' jumped by" in reward.reason
        else:
            assert not reward.anew and reward.valid == right.valid and reward.reward == right.reward
            np.testing.assert_array_equal(reward.distance, right.distance)
            assert reward.path_length == right.path_length


def test_a_camera_that_turns_too_fast_has_jumped_too():
    target = CameraTarget("camera", params=MotionParams(max_turn_rate=10.0))
    poses = [look_at([0, 0, 1], [np.cos(a), np.sin(a), 1]) for a in np.radians([0, 15, 30, 60, 75])]
    frames = [Frame(10**9 + i * 33_000_000, CAMERA, world_from_camera=p) for i, p in enumerate(poses)]
    rewards = [target.update(f) for f in frames]  # 15 degrees in 33 ms are 7.9 rad/s, 30 are 15.9
    assert [r.valid for r in rewards] == [True] * 5, "a turn that becomes faster by 7.9 rad/s"
    poses = [look_at([0, 0, 1], [np.cos(a), np.sin(a), 1]) for a in np.radians([75, 73, 40, 38])]
    frames = [Frame(2 * 10**9 + i * 33_000_000, CAMERA, world_from_camera=p) for i, p in enumerate(poses)]
    rewards = [target.update(f) for f in frames]
    assert [r.valid for r in rewards] == [True, True, False, True]
    assert "jumped by 0.000 m and 33 degrees within 0.033 s" in rewards[2].reason


@pytest.mark.parametrize("ms", [33, 10, 1])
def test_what_is_always_fast_jumps_once_and_a_loop_of_it_is_seen(ms):
    """A vehicle at 15 m/s, that is put back by 30 m, or by 1 m where frames are closest."""
    step, back = 0.015 * ms, 30.0 if ms > 1 else 1.0
    x = np.concatenate([np.arange(20) * step, np.arange(20) * step + 19 * step - back])
    target = CameraTarget("camera")
    rewards = [target.update(pose_only(10**9 + i * ms * 1_000_000, (x[i], 0, 0))) for i in range(40)]
    jumps = [i for i, r in enumerate(rewards) if r.anew]
    # within 1 ms nothing is fast enough to be told from noise; after the seam its own speed is new again
    assert jumps == ([20] if ms == 1 else [1, 20, 21])
    assert max(abs(r.reward) for r in rewards) == pytest.approx(step)


def test_a_late_frame_is_no_jump():
    target = CameraTarget("camera")
    for ns, x, valid in ((0, 0.0, True), (40, 0.1, True), (20, 3.0, False), (60, 0.15, True)):
        reward = target.update(pose_only(10**9 + ns * 1_000_000, (x, 0, 0)))
        assert reward.valid == valid and not reward.anew


SEAM = 1.2  # s; what happens from there on has happened before


def again(path, shift=0.0):
    """From the seam on the same as from the beginning, somewhere else by ``shift`` metres along x."""

    def of(t):
        pose = np.array(path(t if t < SEAM else t - SEAM))
        pose[0, 3] += shift * (t >= SEAM)
        return pose

    return of


def looped(distance, shift=0.0):
    """A pushed box seen by a camera that moves on; both are back at the beginning after the seam."""
    world = pushed(distance)
    world.camera = again(lambda t: look_at([-0.5 + 0.5 * t, -1.0, 1.1], [0, 0.9, 0.3]), shift)
    (box,) = world.boxes
    box.pose = again(box.pose, shift)
    return world


@pytest.mark.parametrize("distance", [0.0, 0.05, 0.3])
def test_a_region_starts_anew_where_the_scene_jumps_back(distance):
    world = looped(distance)
    rewards = followed(world, 2 * SEAM)
    (restart,) = (i for i, r in enumerate(rewards) if r.anew)
    seam = round(SEAM * world.fps) - 1  # the first reward is that of the second frame
    assert seam <= restart <= seam + 3
    assert not any(r.valid for r in rewards[seam : restart + 1])
    assert all("jumped by 0.5" in r.reason for r in rewards[seam : restart + 1])
    for part, reference in ((rewards[:seam], world.frame(0)), (rewards[restart + 1 :], world.frame(restart + 1))):
        valid = [r for r in part if r.valid]
        assert len(valid) > 0.9 * len(part) and all(r.reference_ns == reference.stamp_ns for r in part)
        assert abs(valid[-1].distance - distance) < max(0.005, 0.03 * distance)
        assert sum(r.reward for r in valid) == pytest.approx(valid[-1].distance)
        assert min(r.reward for r in valid) > -0.01


def test_after_a_pose_that_was_wrong_once_a_region_is_found_where_it_was():
    """The box has been pushed; then two frames say that the camera is a metre farther left."""
    world = pushed(0.2)
    first = world.frame(0)
    target = RegionTarget("box", first, region(world, first))
    rewards = []
    for i in range(1, 60):
        frame = world.frame(i)
        if i in (40, 41):
            wrong = moved(-1.0) @ frame.world_from_camera
            frame = Frame(frame.stamp_ns, CAMERA, image=frame.image, depth=frame.depth, world_from_camera=wrong)
        rewards.append(target.update(frame))
    assert not any(r.valid for r in rewards[39:42]), "the wrong frames, and the first right one"
    assert [r.valid for r in rewards[-15:]] == [True] * 15
    assert rewards[-1].distance < 0.006, "since the new reference it stands still"
    assert sum(r.reward for r in rewards) == pytest.approx(0.2, abs=0.012)


def test_a_body_that_jumps_starts_anew():
    """A box leaps by 12 cm from one frame to the next, before a camera that stands still."""
    path = lambda t: moved(-0.1 + (0.12 if t > 0.5 else 0.0), 0.6, 0.15)  # noqa: E731
    world = World([Box(BOX, path)], camera=lambda t: look_at([0, -1.0, 1.1], [0, 0.9, 0.3]))
    first = world.frame(0)
    target = RegionTarget("box", first, region(world, first), params=MotionParams(max_speed=2.0))
    rewards = [target.update(world.frame(i)) for i in range(1, 40)]
    assert sum(r.anew for r in rewards) == 1
    restart = next(i for i, r in enumerate(rewards) if r.anew)
    assert "it jumped by 0.1" in rewards[restart].reason
    assert max(abs(r.reward) for r in rewards) < 0.01 and rewards[-1].valid and rewards[-1].distance < 0.006


def test_a_pause_of_the_camera_is_no_loss():
    """A minute without frames, and what comes then is dark at first."""
    world = pushed(0.0)
    first = world.frame(0)
    target = RegionTarget("box", first, region(world, first), params=MotionParams(max_lost=0.5))
    later = [world.frame(i) for i in range(1, 30)]
    for i, frame in enumerate(later):
        pause = 60 * 10**9 if i >= 10 else 0
        image = np.zeros_like(frame.image) if 10 <= i < 15 else frame.image
        shown = Frame(
            frame.stamp_ns + pause, CAMERA, image=image, depth=frame.depth, world_from_camera=frame.world_from_camera
        )
        reward = target.update(shown)
        assert 10 <= i < 15 or i in (15, 16) or reward.valid
    assert not target.lost and reward.valid
