import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spatial_mllm_ros.config import build
from spatial_mllm_ros.errors import ErrorCode, SpatialError
from spatial_mllm_ros.scene.memory import FrameMemory

from .wall import STEP, frame

FRAME_BYTES = 64 * 48 * (3 + 4)


def memory(**values):
    names = {k.replace("__", "."): v for k, v in values.items()}
    return FrameMemory(build({"cameras": ["front", "rear"], "coverage.stride": 1, **names}))


def indices(frames):
    return [(f.stamp_ns - 1_000_000_000_000) // STEP for f in frames]


def refused(call, *args, **kwargs):
    with pytest.raises(SpatialError) as caught:
        call(*args, **kwargs)
    return caught.value


def test_covers_a_long_wall_with_few_frames():
    """Frames 0.8 m apart, each sees 3.2 m: four of sixteen can cover what all see, and no two need to overlap."""
    m = memory(coverage__frames=4, coverage__voxel_size=0.05)
    for i in range(16):
        m.add(frame(i, 0.8 * i))
    xs = [s.frame.world_from_camera[0, 3] for s in m.selected]
    assert len(xs) == 4
    state = m.state()
    assert state.voxels_covered <= state.voxels_seen
    rows = 2.0 * 48 / 40 / 0.05  # voxels up the wall
    assert state.voxels_seen == pytest.approx((0.8 * 15 + 3.2) / 0.05 * rows, rel=0.03)
    assert state.voxels_covered > 0.75 * state.voxels_seen
    assert sum(s.unique_voxels for s in m.selected) <= state.voxels_covered <= sum(s.voxels for s in m.selected)
    assert len(m.covered_voxels()) == state.voxels_covered
    assert np.abs(m.covered_voxels()[:, 2] - 2.0).max() <= 0.05


def test_a_frame_seen_again_adds_nothing():
    m = memory()
    assert m.add(frame(0)).gain > 0
    assert m.add(frame(1)).gain == 0
    assert m.state().frames_seen == 2 and m.state().frames_selected == 1


def test_frames_without_geometry_are_remembered_but_not_selected():
    m = memory()
    for i, missing in enumerate(({"has_depth": False}, {"has_pose": False})):
        assert m.add(frame(i, **missing)).gain == 0
    assert m.selected == [] and m.state().geometry_source == ""
    assert indices(m.frames()) == [0, 1]


def test_time_and_camera_filters():
    m = memory(coverage__frames=4)
    for i in range(20):
        m.add(frame(i, 2.0 * i, ("front", "rear")[i % 2]))
    assert all(f.camera.name == "rear" for f in m.frames(cameras=["rear"]))
    start, end = frame(5).stamp_ns, frame(9).stamp_ns
    within = m.frames(start, end)
    assert indices(within) == sorted(indices(within))
    assert set(indices(within)) <= set(range(5, 10)) and len(within) == 4
    assert len(m.frames(max_frames=2)) == 2


def test_without_geometry_frames_are_spread_over_time():
    m = memory()
    for i in range(100):
        m.add(frame(i, has_depth=False))
    assert indices(m.frames(max_frames=4)) == [0, 33, 66, 99]


def test_requests_that_cannot_be_met_say_why():
    m = memory(memory__seconds=1.0)
    assert refused(m.frames).code is ErrorCode.NO_FRAMES
    assert refused(m.frame_at, "front").code is ErrorCode.NO_FRAMES
    for i in range(30):
        m.add(frame(i))
    unknown = refused(m.frames, cameras=["left"])
    assert unknown.code is ErrorCode.BAD_REQUEST and "known are front, rear" in unknown.message
    assert refused(m.frames, 5, 3).code is ErrorCode.BAD_REQUEST
    early = refused(m.frame_at, "front", frame(-100).stamp_ns)
    assert early.code is ErrorCode.NO_FRAMES and "10.0 s away" in early.message
    assert refused(m.frames, 1, 2).code is ErrorCode.NO_FRAMES
    assert len(refused(m.frames, cameras=["x" * 5000]).message) < 300


def test_frame_at_is_the_nearest():
    m = memory()
    for i in range(10):
        m.add(frame(i))
    assert indices([m.frame_at("front", frame(4).stamp_ns + STEP // 3)]) == [4]
    assert indices([m.frame_at("front")]) == [9]


def test_recent_frames_age_and_selected_ones_stay():
    m = memory(memory__seconds=1.0)
    for i in range(40):
        m.add(frame(i))
    assert indices(m.recent("front")) == list(range(29, 40))
    assert indices(s.frame for s in m.selected) == [0]
    assert indices(m.frames(end_ns=frame(5).stamp_ns)) == [0]  # not recent any more, but still at hand


def test_memory_limit_holds_for_recent_and_selected_frames():
    limit = 1_000_000 // FRAME_BYTES
    m = memory(memory__megabytes=1, memory__seconds=1000.0, coverage__frames=200)
    for i in range(3 * limit):
        m.add(frame(i, 3.0 * i))
        assert m._nbytes <= 1_000_000
    assert m.state().frames_selected <= limit
    assert m.state().voxels_covered == len(m.covered_voxels())


def test_frames_are_held_once_and_not_copied():
    m = memory()
    kept = frame(0)
    m.add(kept)
    assert m.selected[0].frame is kept and m.recent("front")[0] is kept
    assert m._nbytes == FRAME_BYTES
    assert m.state().nbytes == FRAME_BYTES + m._sampler.nbytes


def test_clear():
    m = memory()
    m.add(frame(0))
    m.clear()
    state = m.state()
    assert (state.frames_seen, state.voxels_seen, m._nbytes, state.frames_recent) == (0, 0, 0, 0)
    assert m.add(frame(0)).accepted


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 30), st.booleans(), st.sampled_from(["front", "rear"])), max_size=40))
def test_the_books_are_right_whatever_comes(frames):
    m = memory(coverage__frames=3, memory__seconds=1.0, coverage__stride=4)
    for i, (x, has_depth, name) in enumerate(frames):
        m.add(frame(i, x, name, has_depth=has_depth))
    state = m.state()
    held = {id(f): f for f in (*m.recent(), *m._held.values())}
    assert len(m._held) <= 3 + m._sampler.reserve
    assert m._nbytes == sum(f.nbytes for f in held.values())
    assert state.frames_selected <= 3
    assert state.frames_seen == len(frames)
    assert state.voxels_covered == len(m.covered_voxels()) <= state.voxels_seen


def test_asking_while_frames_come_in():
    m = memory(memory__seconds=2.0)
    stop = threading.Event()
    faults = []

    def ask():
        while not stop.is_set():
            try:
                m.frames(max_frames=8)
                m.frame_at("front")
                assert m.state().frames_selected <= 16
            except SpatialError as error:
                if error.code is not ErrorCode.NO_FRAMES:
                    faults.append(error)
            except Exception as error:
                faults.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    for i in range(300):
        m.add(frame(i, 0.3 * i))
    stop.set()
    thread.join(10)
    assert not thread.is_alive() and not faults
