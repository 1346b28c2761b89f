"""Coverage from colour alone: exact rooms, seen through windows in gauges of their own."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spatial_mllm_ros.coverage import StreamingCoverageSampler, depth_voxel_keys
from spatial_mllm_ros.geometry.alignment import Sim3, scale_from_poses
from spatial_mllm_ros.geometry.cameras import ray_grid

from ..geometry.room import CAMERAS, START_NS, STEP_NS, depth_of, frames_of, look, misplaced, walk
from .robot import FRAMES, NOISE, VOXEL, Robot, books_are_right, broken


def voxels(depth, pose):
    return depth_voxel_keys(depth, ray_grid(CAMERAS["front"]), pose, VOXEL, 0.2, 6.0, 1)


def share_of_best(robot, map_from_world=None):
    """What the selection covers, of what the same sampler covers where every window's gauge is known exactly.

    Both from the pixels that the model believes, counted at their true poses in the voxels of the map.
    """
    to_map = map_from_world or Sim3()
    limits = (0.2, 6.0) if map_from_world is None else (0.0, np.inf)
    keys = {
        key: depth_voxel_keys(
            depth * np.float32(to_map.scale),
            ray_grid(CAMERAS["front"]),
            to_map.pose(robot.true[key]),
            VOXEL,
            *limits,
            1,
        )
        for key, depth in robot.seen.items()
    }
    best = StreamingCoverageSampler(FRAMES, VOXEL)
    for key in keys:
        best.add_voxels(key, keys[key])
    return len(np.unique(np.concatenate([keys[s.frame.key] for s in robot.memory.selected]))) / best.voxels_covered


@pytest.mark.parametrize("noise", [{}, NOISE], ids=["exact", "noisy"])
@pytest.mark.parametrize("seed", range(4))
def test_known_poses(seed, noise):
    """Within 1 % of scale; poses are the known ones; coverage within 2 % of that from true geometry."""
    robot, poses = Robot(seed, noise), walk(112)
    assert all(result.accepted for result in robot.drive(poses))
    for pose, found, scale in robot.held():
        np.testing.assert_array_equal(found, pose)
        assert scale == pytest.approx(1, abs=0.01)
    assert robot.memory.state().geometry_source == "vggt"
    assert share_of_best(robot) >= 0.98
    best = len(np.unique(np.concatenate([voxels(robot.seen[k], robot.true[k]) for k in robot.seen])))
    assert robot.memory.state().voxels_seen == pytest.approx(best, rel=0.02)


@pytest.mark.parametrize("noise", [{}, NOISE | {"pose_noise": 0.002}], ids=["exact", "noisy"])
@pytest.mark.parametrize("seed", range(4))
def test_no_poses(seed, noise):
    """The map is the room but for one similarity transform: 1 % of scale, 1 degree; coverage within 2 %."""
    robot, poses = Robot(seed, noise), walk(112)
    assert all(result.accepted for result in robot.drive(poses, known=False))
    held = robot.held()
    true, found, scales = (np.stack(column) for column in zip(*held, strict=True))
    fit = scale_from_poses(true, found, 3.0)
    assert scales * fit.transform.scale == pytest.approx(1, abs=0.01)
    place, turn = misplaced(fit.transform, found, true)
    assert np.degrees(turn) < 1 and place < 0.03
    assert robot.memory.state().geometry_source == "vggt (unscaled)"
    assert share_of_best(robot, fit.transform.inverse()) >= 0.98
    assert all(s.frame.world_from_camera is None and s.world_from_camera.shape == (4, 4) for s in robot.memory.selected)


def test_a_voxel_without_metres_is_a_twentieth_of_the_shortest_side():
    robot = Robot()
    shown = []
    robot.drive(walk(16), lambda geometry: shown.append(geometry) or geometry, known=False)
    points = shown[0].points()[shown[0].confident()]
    sides = np.diff(np.percentile(points, (2, 98), axis=0), axis=0)
    gauge = next(g for g in robot.memory._gauges.values() if not g.metric)
    assert sides.min() * gauge.world_from_section.scale == pytest.approx(20 * VOXEL, rel=1e-4)


def test_two_cameras_without_poses_do_not_share_voxels():
    robot = Robot(rear__depth_topic="")
    robot.drive(walk(16), known=False)
    robot.drive(walk(16), known=False, name="rear")
    sampler, front, rear = robot.memory._sampler, set(), set()
    for key in sampler.held:
        (front if key[1] == "front" else rear).update(sampler.voxels(key).tolist())
    assert front and rear and not front & rear


def test_turning_in_place_waits_for_a_baseline():
    """Known poses without baselines give no scale; once the robot moves, what was seen before gets metres."""
    robot = Robot()
    turn = [look(0.5, 0.2, 1.4, 0.15 * i) for i in range(28)]
    robot.drive(turn)
    assert [r.accepted for r in robot.results] == [True, True]
    assert robot.memory.state().geometry_source == "vggt (unscaled)"
    start = turn[-1]
    straight = []
    for i in range(1, 13):
        pose = start.copy()
        pose[:3, 3] += [0.08 * i, 0.03 * i, 0]
        straight.append(pose)
    robot.drive(straight, first=28)
    assert robot.results[-1].accepted
    state = robot.memory.state()
    assert state.geometry_source == "vggt"
    for pose, found, scale in robot.held():
        np.testing.assert_array_equal(found, pose)
        assert scale == pytest.approx(1, abs=1e-3)
    assert share_of_best(robot) >= 0.98


def test_poses_that_come_late_move_the_map_into_the_world():
    robot, poses = Robot(), walk(40)
    robot.drive(poses[:28], known=False)
    assert robot.memory.state().geometry_source == "vggt (unscaled)"
    robot.drive(poses[28:], first=28)
    assert robot.memory.state().geometry_source == "vggt"
    for pose, found, scale in robot.held():
        assert scale == pytest.approx(1, abs=1e-3)
        np.testing.assert_allclose(found, pose, atol=1e-3)


def test_poses_that_stop_leave_a_map_in_metres():
    robot, poses = Robot(), walk(64)
    robot.drive(poses[:28])
    robot.drive(poses[28:], known=False, first=28)
    assert robot.memory.state().geometry_source == "vggt"
    for pose, found, scale in robot.held():
        assert scale == pytest.approx(1, abs=1e-3)
        np.testing.assert_allclose(found, pose, atol=2e-3)


@pytest.mark.parametrize("seed", range(4))
def test_a_scale_that_becomes_better_known_moves_what_was_placed(seed):
    """Short baselines first, with noise that makes their scale wrong by several percent; then long ones."""
    robot = Robot(seed, {"pose_noise": 0.02})
    slow = [look(0.03 * i, 0.0, 1.4, 0.1 * i) for i in range(16)]
    robot.drive(slow)
    first = dict(robot.memory._gauges)
    fast = [look(0.45 + 0.12 * i, 0.05 * i, 1.4, 1.6 + 0.03 * i) for i in range(24)]
    robot.drive(fast, first=16)
    assert all(r.accepted for r in robot.results)
    section = max(first)
    assert section > 0 and robot.memory._gauges.get(section) is not first[section]
    for _, _, scale in robot.held():
        assert scale == pytest.approx(1, abs=0.03)


def rebuilt(robot):
    """The sampler that the frames at hand would give from scratch, in the order in which they are held."""
    fresh = StreamingCoverageSampler(FRAMES, VOXEL)
    for key in robot.memory._sampler.held:
        placed = robot.memory._placed[key]
        gauge = robot.memory._gauges[placed.section]
        depth = placed.depth * np.float32(gauge.world_from_section.scale)
        pose = placed.world_from_camera(gauge)
        fresh.add_voxels(key, depth_voxel_keys(depth, ray_grid(CAMERAS["front"]), pose, VOXEL, 0.2, 6.0, 1))
    return fresh


def test_indexing_again_equals_building_from_scratch():
    robot = Robot(1, NOISE)
    robot.drive([look(0.5, 0.2, 1.4, 0.15 * i) for i in range(28)])
    moved = [look(0.5 + 0.07 * i, 0.2, 1.4, 4.2 + 0.02 * i) for i in range(12)]
    window = frames_of(moved, first=28)
    for frame, pose in zip(window, moved, strict=True):
        robot.true[frame.key] = pose
        robot.pipeline.process(frame)
    asked = robot.pipeline.next_window()
    add = robot.memory.add_geometry
    compared = []

    def only_move(aligned, cleared):
        add(replace(aligned, placed=[], voxels=[]), cleared)  # the section moves before its new frames compete
        fresh, now = rebuilt(robot), robot.memory._sampler
        assert (fresh.selected, fresh.held) == (now.selected, now.held)
        assert (fresh.voxels_seen, fresh.voxels_covered) == (now.voxels_seen, now.voxels_covered)
        assert all(np.array_equal(fresh.voxels(key), now.voxels(key)) for key in now.held)
        compared.append(len(now.held))
        add(aligned, cleared)

    robot.memory.add_geometry = only_move
    assert robot.pipeline.add_window(asked, robot.see(asked)).accepted
    assert compared and compared[0] > 5
    assert robot.memory.state().geometry_source == "vggt"


def test_depth_where_it_arrives_else_vggt():
    robot = Robot(rear__depth_topic="depth")
    poses = walk(30)
    robot.drive(poses[:10], name="rear", depth=True)
    from_depth = robot.memory.state()
    assert from_depth.geometry_source == "depth" and not robot.asked
    robot.drive(poses[:16], name="front")
    assert {frame.camera.name for window in robot.asked for frame in window} == {"front"}
    again = np.concatenate([voxels(robot.seen[k], robot.true[k]) for k in robot.seen])
    before = np.concatenate([voxels(depth_of(pose).astype(np.float32), pose) for pose in poses[:10]])
    together = len(np.union1d(before, again))  # the same room, in the same voxels
    assert robot.memory.state().voxels_seen == pytest.approx(together, rel=0.01)
    robot.drive(poses[16:], name="front", known=False, first=16)
    assert robot.memory.state().geometry_source == "depth + vggt"
    assert all(result.accepted for result in robot.results)


def test_a_camera_without_depth_or_pose_beside_one_with_both():
    robot = Robot(rear__depth_topic="depth")
    robot.drive(walk(16), name="rear", depth=True)
    robot.drive(walk(16), name="front", known=False)
    assert robot.memory.state().geometry_source == "depth + vggt (unscaled)"
    sampler, front, rear = robot.memory._sampler, set(), set()
    for key in sampler.held:
        (front if key[1] == "front" else rear).update(sampler.voxels(key).tolist())
    assert front and rear and not front & rear


def test_sources_that_exclude_each_other():
    only_depth = Robot(coverage__source="depth", front__depth_topic="depth")
    only_depth.drive(walk(40))
    assert not only_depth.asked and only_depth.memory.state().frames_selected == 0
    only_vggt = Robot(coverage__source="vggt")
    only_vggt.drive(walk(16), depth=True)
    assert len(only_vggt.asked) == 1 and only_vggt.memory.state().geometry_source == "vggt"


def test_frames_that_are_forgotten_by_then_come_back_when_they_are_selected():
    robot = Robot(memory__seconds=0.5)
    frames = frames_of(poses := walk(40))
    robot.true = {frame.key: pose for frame, pose in zip(frames, poses, strict=True)}
    for frame in frames:
        robot.pipeline.process(frame)
    assert len(robot.memory.recent()) == 6
    window = robot.pipeline.next_window()
    assert robot.pipeline.add_window(window, robot.see(window)).accepted
    selected = robot.memory.selected
    assert selected and selected[0].frame.stamp_ns < robot.memory.recent()[0].stamp_ns
    books_are_right(robot)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 14), st.booleans(), st.sampled_from(["", "nan depth", "failed"])), max_size=8))
def test_the_books_are_right_whatever_comes(drives):
    robot, first = Robot(3, NOISE, memory__seconds=1.0, vggt__window=6, vggt__shared=2), 0
    poses = walk(200)
    for count, known, fault in drives:
        robot.drive(poses[first : first + count], broken(fault) if fault else None, known=known, first=first)
        first += count
        books_are_right(robot)
        assert robot.pipeline.windows.total() == len(robot.results)


def test_memory_is_bounded_over_a_long_run():
    """1,000 frames, windows refused and restarted among them; a slow model leaves at most two windows waiting."""
    robot = Robot(memory__seconds=1.0, vggt__window=8, vggt__shared=2, memory__megabytes=1)
    poses = walk(100)
    for lap in range(10):
        robot.drive(poses, broken("nan depth") if lap % 5 == 4 else None, known=lap % 2 == 0, first=lap * 100, seed=lap)
        memory, waiting = robot.memory, robot.pipeline._waiting._cameras["front"]
        assert memory._nbytes <= 1_000_000 and len(memory._held) <= FRAMES + 16
        assert len(memory._gauges) <= len(memory._held) + 2
        assert len(waiting.waiting) <= 16 and len(waiting.shared) <= 3
    books_are_right(robot)


def scales(robot, first, last):
    """Of the held frames from one number to another: the map's metres in a true one."""
    held = {round((key[0] - START_NS) / STEP_NS): row[2] for key, row in zip(robot.memory._placed, robot.held())}
    return [scale for number, scale in held.items() if first <= number < last]


@pytest.mark.parametrize("drift", [(0.01, 0.0), (0.0, 0.03), (0.02, -0.02)])
def test_a_place_seen_again_moves_the_window_back(drift):
    """Two and a half laps, nine windows each: drift adds up to 8 to 20 % of scale or 15 degrees a lap."""
    lost, robot = Robot(1, drift=drift), Robot(1, drift=drift)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spatial_mllm_ros.mapping.anchors.NEAR", 0.0)  # as if nothing were seen again
        lost.drive(walk(250), known=False)
    robot.drive(walk(250), known=False)
    assert set(lost.pipeline.windows) == {"accepted"}
    assert robot.pipeline.windows == {"accepted": len(robot.results) - 2, "accepted after drift": 2}
    said = [result.reason for result in robot.results if result.reason]
    assert len(said) == 2 and all("a place seen before was off by" in reason for reason in said)
    assert len({placed.section for placed in robot.memory._placed.values()}) == 1
    back = scales(robot, 100, 112) + scales(robot, 200, 212)
    assert back and max(np.abs(np.log(back) - np.log(scales(robot, 0, 5)[0]))) < 0.03
    exact = Robot(1)
    exact.drive(walk(250), known=False)
    seen = [r.memory.state().voxels_seen for r in (exact, robot, lost)]
    assert seen[0] < seen[1] < 1.4 * seen[0] < seen[2]


def test_small_drift_is_shared_out():
    robot = Robot(1, drift=(0.005, 0.0))
    robot.drive(walk(140), known=False)
    assert set(robot.pipeline.windows) == {"accepted"} and max(r.residual for r in robot.results) < 0.01
    first = scales(robot, 0, 10)[0]
    before, after = (np.log(scales(robot, *part)) - np.log(first) for part in ((88, 96), (104, 120)))
    assert len(before) and len(after) and 0 < max(after) < 0.8 * min(before)


def test_a_map_that_is_lost_starts_anew():
    robot = Robot(1, drift=(0.1, 0.0))
    robot.drive(walk(130), known=False)
    (refused,) = [result for result in robot.results if not result.accepted]
    assert robot.pipeline.windows["drift"] == 1 and "the map is lost" in refused.reason
    assert robot.results[-1].accepted and len({placed.section for placed in robot.memory._placed.values()}) == 2
    books_are_right(robot)


def test_what_has_changed_since_says_nothing_about_drift():
    """The first frame of a window, an old one, is seen at other depths than before; the others are as they were."""

    def changed(geometry):
        depth = geometry.depth.copy()
        if robot.asked[-1][0].stamp_ns < robot.asked[-1][1].stamp_ns - 50 * STEP_NS:
            depth[0] *= np.linspace(0.5, 2, depth.shape[2], dtype=np.float32)
        return replace(geometry, depth=depth)

    robot = Robot(1)
    robot.drive(walk(140), changed, known=False)
    assert any(window[0].stamp_ns < window[1].stamp_ns - 50 * STEP_NS for window in robot.asked)
    assert set(robot.pipeline.windows) == {"accepted"} and max(r.residual for r in robot.results) < 0.01


def test_known_poses_need_no_old_frame():
    robot = Robot(1)
    robot.drive(walk(140))
    assert all(np.diff([f.stamp_ns for f in window]).max() == STEP_NS for window in robot.asked)
