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
    assert "invisible for more than 0.5 s; set the target again" in target.lost
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
    target = CameraTarget("camera", None if goal is None else np.array(goal))
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
