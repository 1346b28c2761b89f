import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_mllm_ros.geometry.poses import inverse, pose_matrix
from spatial_mllm_ros.geometry.transform_buffer import MAX_FRAMES, MAX_PARENTS, Reason, TransformBuffer, TransformError

MS = 1_000_000


def at(x, degrees=0.0):
    half = np.radians(degrees) / 2
    return pose_matrix([x, 0, 0], [0, 0, np.sin(half), np.cos(half)])


@pytest.fixture
def robot():
    """odom -> base moving 1 m/s and turning 90 deg/s, sampled at 0, 100, 200 ms; base -> camera fixed."""
    buffer = TransformBuffer()
    for ms in (0, 100, 200):
        buffer.add("odom", "base", ms * MS, at(ms / 1000, ms * 0.09))
    buffer.add("base", "camera", 0, at(0.5), static=True)
    return buffer


def refused(buffer, *args):
    with pytest.raises(TransformError) as caught:
        buffer.lookup(*args)
    return caught.value


def test_interpolates_between_two_stamps_and_gives_exact_ones_as_they_are(robot):
    np.testing.assert_allclose(robot.lookup("odom", "camera", 130 * MS), at(0.13, 11.7) @ at(0.5), atol=1e-12)
    np.testing.assert_allclose(robot.lookup("odom", "camera", 100 * MS), at(0.1, 9) @ at(0.5), atol=1e-12)
    np.testing.assert_allclose(robot.lookup("camera", "base", 999), at(-0.5))


def test_lookup_goes_both_ways_and_across_branches(robot):
    robot.add("base", "lidar", 0, at(-0.2, 90), static=True)
    np.testing.assert_allclose(
        robot.lookup("camera", "odom", 50 * MS), inverse(robot.lookup("odom", "camera", 50 * MS))
    )
    np.testing.assert_allclose(robot.lookup("lidar", "camera", 0), inverse(at(-0.2, 90)) @ at(0.5))
    np.testing.assert_array_equal(robot.lookup("odom", "odom", 7), np.eye(4))


def test_refuses_instead_of_guessing(robot):
    new = refused(robot, "odom", "camera", 250 * MS)
    assert new.reason is Reason.TOO_NEW and "50.0 ms after the newest" in str(new)
    robot.add("odom", "base", 400 * MS, at(0.4))
    old = TransformBuffer()
    old.add("odom", "base", 500 * MS, at(1))
    assert refused(old, "odom", "base", 100 * MS).reason is Reason.TOO_OLD
    unknown = refused(robot, "map", "camera", 0)
    assert unknown.reason is Reason.UNKNOWN_FRAME and "'base', 'camera', 'odom'" in str(unknown)
    robot.add("moon", "rover", 0, at(1), static=True)
    assert refused(robot, "odom", "rover", 0).reason is Reason.NOT_CONNECTED


def test_wide_holes_are_refused():
    buffer = TransformBuffer(max_gap_ns=200 * MS)
    buffer.add("odom", "base", 0, at(0))
    buffer.add("odom", "base", 201 * MS, at(1))
    hole = refused(buffer, "odom", "base", 100 * MS)
    assert hole.reason is Reason.GAP and "201 ms" in str(hole)
    buffer.add("odom", "base", 100 * MS, at(0.3))  # a late one closes it
    np.testing.assert_allclose(buffer.lookup("odom", "base", 150 * MS)[0, 3], 0.3 + 0.7 * 50 / 101)


def test_history_is_bounded():
    buffer = TransformBuffer(history_ns=1000 * MS)
    for ms in range(0, 5000, 10):
        buffer.add("odom", "base", ms * MS, at(ms))
    assert refused(buffer, "odom", "base", 3980 * MS).reason is Reason.TOO_OLD
    assert buffer.lookup("odom", "base", 3990 * MS)[0, 3] == 3990
    (link,) = buffer._links["base"]
    assert len(link.stamps) == len(link.matrices) == 101


def test_time_that_jumps_back(robot):
    robot.forget_after(100 * MS)
    assert refused(robot, "odom", "base", 150 * MS).reason is Reason.TOO_NEW
    robot.forget_after(-1)
    assert "nothing recorded" in str(refused(robot, "odom", "base", 0))
    robot.add("odom", "base", 60_000 * MS, at(1))
    robot.add("odom", "base", 5 * MS, at(2))  # older than all history: the link starts anew
    assert robot.lookup("odom", "base", 5 * MS)[0, 3] == 2
    assert refused(robot, "odom", "base", 60_000 * MS).reason is Reason.TOO_NEW


def test_a_frame_with_two_parents_in_turn_is_found_from_both(robot):
    for ms in (50, 150, 250):
        robot.add("vision", "base", ms * MS, at(10 + ms / 1000))
        robot.add("odom", "base", (ms + 100) * MS, at((ms + 100) / 1000))
    np.testing.assert_allclose(robot.lookup("odom", "camera", 300 * MS), at(0.8))
    np.testing.assert_allclose(robot.lookup("vision", "camera", 100 * MS), at(10.6))
    assert "'base' to 'vision'" in str(refused(robot, "vision", "camera", 300 * MS))


def test_a_frame_that_changes_its_parent_is_where_it_was_before_and_after(robot):
    robot.add("odom", "hand", 0, at(3), static=True)
    for ms in (0, 100):
        robot.add("base", "cup", ms * MS, at(0.2))
    for ms in (200, 300):
        robot.add("hand", "cup", ms * MS, at(0.1))
    np.testing.assert_allclose(robot.lookup("base", "cup", 50 * MS), at(0.2))
    np.testing.assert_allclose(robot.lookup("odom", "cup", 250 * MS), at(3.1))
    assert refused(robot, "odom", "cup", 150 * MS).reason is Reason.TOO_OLD


def test_a_static_transform_replaces_what_was_known_of_its_child(robot):
    robot.add("map", "base", 0, at(7), static=True)
    np.testing.assert_allclose(robot.lookup("map", "camera", 0), at(7.5))
    assert refused(robot, "odom", "camera", 0).reason is Reason.UNKNOWN_FRAME
    robot.add("odom", "base", 0, at(1))
    np.testing.assert_allclose(robot.lookup("odom", "camera", 0), at(1.5))
    assert refused(robot, "map", "camera", 0).reason is Reason.UNKNOWN_FRAME


def test_the_number_of_parents_is_bounded(robot):
    for i in range(100):
        robot.add(f"world{i}", "base", 0, at(i))
    assert len(robot._links["base"]) == MAX_PARENTS
    assert robot.lookup("world99", "camera", 0)[0, 3] == 99.5


def test_loops_end():
    buffer = TransformBuffer()
    for parent, child in (("a", "b"), ("b", "c"), ("c", "a")):
        buffer.add(parent, child, 0, at(1), static=True)
    buffer.add("x", "y", 0, at(1), static=True)
    assert refused(buffer, "x", "b", 0).reason is Reason.NOT_CONNECTED


@pytest.mark.parametrize("parent, child", [("", "a"), ("a", ""), ("a", "a")])
def test_bad_names(parent, child):
    with pytest.raises(ValueError, match="non-empty"):
        TransformBuffer().add(parent, child, 0, at(0))


def test_bad_matrices():
    with pytest.raises(ValueError, match="not a rotation"):
        TransformBuffer().add("a", "b", 0, np.diag([2.0, 2, 2, 1]))


def test_number_of_frames_is_bounded():
    buffer = TransformBuffer()
    for i in range(MAX_FRAMES):
        buffer._links[f"f{i}"] = None
    with pytest.raises(ValueError, match="more than"):
        buffer.add("root", "one more", 0, at(0))


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=30, unique=True), st.integers(0, 1000))
def test_any_order_of_arrival_gives_the_same_answers(stamps, asked):
    """A brute-force twin: straight lines between the two neighbours."""
    buffer = TransformBuffer(max_gap_ns=2000, history_ns=5000)
    for stamp in stamps:
        buffer.add("odom", "base", stamp, at(stamp**2))
    known = sorted(stamps)
    if known[0] <= asked <= known[-1]:
        expected = np.interp(asked, known, np.square(known))
        assert buffer.lookup("odom", "base", asked)[0, 3] == pytest.approx(expected)
    else:
        reason = Reason.TOO_OLD if asked < known[0] else Reason.TOO_NEW
        assert refused(buffer, "odom", "base", asked).reason is reason
