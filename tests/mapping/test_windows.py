"""Which frames go through a model together, and what becomes of windows that are wrong, late or not wanted."""

import threading

import numpy as np
import pytest

from spatial_mllm_ros.errors import BadMessage
from spatial_mllm_ros.frames import Frame, Pixels
from spatial_mllm_ros.mapping.window_map import WindowMap
from spatial_mllm_ros.mapping.windows import FrameWindows

from ..geometry.room import CAMERAS, START_NS, frames_of, walk
from .robot import VOXEL, Robot, books_are_right, broken, config


@pytest.mark.parametrize("known", [True, False])
def test_the_next_window_begins_with_the_last_frames_of_this_one(known, monkeypatch):
    monkeypatch.setattr("spatial_mllm_ros.mapping.anchors.NEAR", 0.0)  # no old ones
    robot = Robot(vggt__window=10, vggt__shared=3)
    robot.drive(walk(31), known=known)
    stamps = [[(f.stamp_ns - START_NS) // 100_000_000 for f in window] for window in robot.asked]
    assert stamps == [list(range(10)), list(range(7, 17)), list(range(14, 24)), list(range(21, 31))]
    placed = [key for key in robot.memory._placed]
    assert len(placed) == len(set(placed))


CAMERA_FAULTS = ["nan poses", "no rotation", "nan intrinsics", "zero focal"]


DEPTH_FAULTS = ["nan depth", "negative depth", "no confidence", "nan confidence", "few frames", "failed"]


MAP_FAULTS = ["other scene", "other size", "other path"]


@pytest.mark.parametrize("known", [True, False], ids=["known poses", "no poses"])
@pytest.mark.parametrize("kind", [*CAMERA_FAULTS, *DEPTH_FAULTS, *MAP_FAULTS])
def test_a_window_that_is_wrong_is_refused_and_mapping_goes_on(kind, known):
    robot = Robot()
    robot.drive(walk(16), known=known)
    before = robot.memory.state()
    assert robot.results[-1].accepted and before.voxels_covered > 0
    robot.drive(walk(28)[16:], broken(kind), known=known, first=16)
    refused = robot.results[-1]
    assert not refused.accepted and refused.reason
    after = robot.memory.state()
    assert (after.voxels_covered, after.frames_seen) == (before.voxels_covered, 28)
    assert robot.pipeline.windows.total() == 2 and robot.pipeline.windows["accepted"] == 1
    robot.drive(walk(40)[28:], known=known, first=28)
    assert robot.results[-1].accepted
    assert robot.asked[-1][:4] == robot.asked[-2][:4]  # against the frames of the last good window
    assert len(robot.memory.recent()) == 40  # none is lost for questions


def test_known_poses_see_a_wrong_scale():
    """Depth and baselines that do not belong together: each alone is plausible."""
    robot = Robot()
    robot.drive(walk(16))
    robot.drive(walk(28)[16:], broken("smaller room"), first=16)
    assert not robot.results[-1].accepted and robot.pipeline.windows["scale jump"] == 1
    assert "2.00 times" in robot.results[-1].reason or "0.50 times" in robot.results[-1].reason


def test_after_three_refused_windows_the_map_starts_anew():
    robot = Robot()
    robot.drive(walk(16), known=False)
    robot.drive(walk(52)[16:], broken("nan depth"), known=False, first=16)
    assert [r.accepted for r in robot.results] == [True, False, False, False]
    before = robot.memory.state().voxels_covered
    robot.drive(walk(92)[52:], known=False, first=52)
    assert robot.results[-1].accepted
    fresh = robot.asked[4]
    assert len(fresh) == 16 and not {f.key for f in fresh} & {f.key for f in robot.asked[0]}
    assert robot.memory.state().voxels_covered > before  # the old part still counts
    sections = {p.section for p in robot.memory._placed.values()}
    assert len(sections) == 2
    places = [robot.memory._gauges[s].world_from_section.translation for s in sections]
    assert np.linalg.norm(places[0] - places[1]) > 500 * VOXEL


def test_a_model_that_fails_does_not_end_the_map():
    robot = Robot()
    robot.drive(walk(16), known=False)
    robot.drive(walk(64)[16:], broken("failed"), known=False, first=16)
    assert robot.pipeline.windows["no geometry"] == 4
    robot.drive(walk(76)[64:], known=False, first=64)
    assert robot.results[-1].accepted and len({p.section for p in robot.memory._placed.values()}) == 1
    assert robot.asked[-1][:4] == robot.asked[0][-4:]


def test_without_a_model_no_picture_waits():
    robot = Robot(vggt__model="")
    robot.drive(walk(40))
    assert not robot.asked and not robot.pipeline._waiting._cameras


def test_a_model_that_is_slow_still_sees_all_of_the_way():
    windows = FrameWindows(config(vggt__window=8, vggt__shared=2).vggt)
    for frame in frames_of(walk(100)):
        windows.offer(frame)
    first = windows.next()
    assert len(first) == 8
    gaps = np.diff([f.stamp_ns for f in first])
    assert gaps.min() == gaps.max() > 100_000_000
    assert first[0].stamp_ns == START_NS


def test_a_picture_that_does_not_change_is_not_taken():
    windows = FrameWindows(config(vggt__window=4, vggt__shared=1).vggt)
    poses = walk(4)
    same = [Frame(START_NS + i, CAMERAS["front"], image=np.full((42, 56, 3), 90, np.uint8)) for i in range(9)]
    assert [windows.offer(frame) for frame in same] == [True] + [False] * 8
    assert windows.next() is None
    assert [windows.offer(frame) for frame in frames_of(poses[1:], first=1)] == [True] * 3
    assert len(windows.next()) == 4
    assert windows.next() is None


def test_frames_do_not_wait_for_ever_for_a_full_window():
    windows = FrameWindows(config(vggt__window=8, vggt__shared=2).vggt)
    frames = frames_of(walk(30))
    still = frames[2].image
    for frame in frames[:3]:
        windows.offer(frame)
    assert windows.next() is None
    for frame in frames[3:]:
        windows.offer(Frame(frame.stamp_ns, frame.camera, image=still))
    assert windows.next() == frames[:3]


def test_a_broken_picture_leaves_no_trace():
    robot = Robot()

    def fail():
        raise BadMessage("cut off")

    with pytest.raises(BadMessage):
        robot.pipeline.process(Frame(START_NS, CAMERAS["front"], image=Pixels(42, 56, 100, fail)))
    assert robot.memory.state().frames_seen == 0 and not robot.pipeline._waiting._cameras
    robot.pipeline.process(Frame(START_NS, CAMERAS["front"]))  # without a picture: remembered, not mapped
    assert robot.memory.state().frames_seen == 1 and robot.pipeline.next_window() is None


def test_a_window_that_is_not_waited_for_is_refused():
    robot = Robot()
    frames = frames_of(poses := walk(28))
    robot.true = {frame.key: pose for frame, pose in zip(frames, poses, strict=True)}
    for frame in frames[:16]:
        robot.pipeline.process(frame)
    window = robot.pipeline.next_window()
    geometry = robot.see(window)
    robot.pipeline.reset()
    assert "reset" in robot.pipeline.add_window(window, geometry).reason
    assert robot.memory.state().frames_selected == 0
    for frame in frames[:16]:
        robot.pipeline.process(frame)
    window = robot.pipeline.next_window()
    assert robot.pipeline.add_window(window, geometry).accepted
    again = robot.pipeline.add_window(window, geometry)
    assert not again.accepted and robot.pipeline.windows["not waited for"] == 2


def test_reset_while_a_window_is_aligned_drops_it(monkeypatch):
    robot = Robot()
    for frame in frames_of(poses := walk(16)):
        robot.true[frame.key] = poses[len(robot.true)]
        robot.pipeline.process(frame)
    window = robot.pipeline.next_window()
    add = WindowMap.add

    def late(self, frames, geometry):
        aligned = add(self, frames, geometry)
        robot.pipeline.reset()
        return aligned

    monkeypatch.setattr(WindowMap, "add", late)
    assert not robot.pipeline.add_window(window, robot.see(window)).accepted
    assert robot.memory.state().frames_selected == 0 and not robot.memory._gauges.keys() - {0}


def test_geometry_from_before_memory_was_cleared_is_left():
    robot = Robot()
    frames = frames_of(poses := walk(16))
    robot.true = {frame.key: pose for frame, pose in zip(frames, poses, strict=True)}
    aligned, memory = WindowMap(robot.pipeline.config).add(frames, robot.see(frames)), robot.memory
    before = memory.cleared
    memory.clear()
    memory.add_geometry(aligned, before)
    assert not memory.selected
    memory.add_geometry(aligned, memory.cleared)
    assert memory.selected and memory.state().voxels_covered > 0


def test_windows_are_added_while_frames_come_in():
    robot = Robot(vggt__window=8, vggt__shared=2)
    frames = frames_of(poses := walk(200))
    robot.true = {frame.key: pose for frame, pose in zip(frames, poses, strict=True)}
    done, faults = threading.Event(), []

    def model():
        try:
            while not done.is_set() or robot.pipeline._waiting._cameras["front"].waiting[6:]:
                if window := robot.pipeline.next_window():
                    robot.results.append(robot.pipeline.add_window(window, robot.see(window)))
                robot.memory.state()
        except Exception as error:
            faults.append(error)

    robot.pipeline.process(frames[0])
    thread = threading.Thread(target=model)
    thread.start()
    for frame in frames[1:]:
        robot.pipeline.process(frame)
    done.set()
    thread.join(60)
    assert not thread.is_alive() and not faults
    assert robot.results and all(r.accepted for r in robot.results)
    books_are_right(robot)


def test_large_pictures_wait_in_little_memory():
    frames = frames_of(walk(60))
    limit = 6 * frames[0].nbytes
    windows = FrameWindows(config(vggt__window=16, vggt__shared=2).vggt, limit)
    for frame in frames:
        windows.offer(frame)
        waiting = windows._cameras["front"].waiting
        assert sum(f.nbytes for f in waiting) <= limit
    late = windows.next()  # two seconds have passed: with those there are
    assert late is not None and 3 <= len(late) <= 6 and late[0] is frames[0] and late[-1].stamp_ns > frames[40].stamp_ns
    small = FrameWindows(config().vggt, 1)
    for frame in frames:
        small.offer(frame)
    assert len(small.next()) == 2
