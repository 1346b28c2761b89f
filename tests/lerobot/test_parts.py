"""Vectors, times, rewards and statistics, each against a twin that goes another way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spatial_mllm_ros.lerobot.episodes import spans
from spatial_mllm_ros.lerobot.fields import VectorReader
from spatial_mllm_ros.lerobot.map import Cuts, Vector
from spatial_mllm_ros.lerobot.progress import progress
from spatial_mllm_ros.lerobot.resample import SLACK_NS, Gap, Piece, next_piece
from spatial_mllm_ros.lerobot.rewards import UNKNOWN, Rewards, reward_columns
from spatial_mllm_ros.lerobot.stats import ImageStats, merged, of_rows
from spatial_mllm_ros.lerobot.survey import Source, Survey, names_of
from spatial_mllm_ros.recordings import BagError
from spatial_mllm_ros.recordings.topic import Topic

from ..recordings.recordings import START, T, header, odometry, vector
from .arm import joint_state

MS = 1_000_000


def test_joints_are_taken_by_name():
    first = joint_state(START, [1, 2, 3])
    read = VectorReader(Vector("/joints"), first)
    assert read.names == ("shoulder", "elbow", "wrist")
    assert read(joint_state(START, [30, 10, 20], ("wrist", "shoulder", "elbow"))).tolist() == [10, 20, 30]
    assert read(joint_state(START, [1], ("gripper",))) is None  # of another publisher
    assert read(joint_state(START, [1, float("nan"), 2])) is None
    assert read(joint_state(START, [])) is None
    some = VectorReader(Vector("/joints", joints=("wrist", "elbow")), first)
    assert (some.names, some(first).tolist()) == (("wrist", "elbow"), [3, 2])
    with pytest.raises(BagError, match=r"no joint elbo, did you mean elbow\?"):
        VectorReader(Vector("/joints", joints=("elbo",)), first)


def test_joints_that_do_not_fit_their_numbers():
    whole = joint_state(START, [1, 2, 3])
    short = joint_state(START, [1, 2])
    for wanted in (Vector("/joints"), Vector("/joints", joints=("elbow",))):
        with pytest.raises(BagError, match="/joints names 3 joints, and position has 2 numbers"):
            VectorReader(wanted, short)
    with pytest.raises(BagError, match=r"/joints names 3 joints, and header.stamp.sec has 1 numbers"):
        VectorReader(Vector("/joints", "header.stamp.sec", ("elbow",)), whole)
    assert VectorReader(Vector("/joints"), whole)(short) is None
    both = joint_state(START, [1, 2, 3], ("elbow", "wrist", "elbow"))
    with pytest.raises(BagError, match="/joints names the joint elbow twice"):
        VectorReader(Vector("/joints"), both)
    with pytest.raises(BagError, match="/joints names the joint elbow twice"):
        VectorReader(Vector("/joints", joints=("elbow", "wrist")), whole)(both)


def test_a_trajectory_without_points_has_no_value():
    def trajectory(*points):
        made = [
            T["trajectory_msgs/msg/JointTrajectoryPoint"](
                np.array(p, float), np.zeros(0), np.zeros(0), np.zeros(0), T["builtin_interfaces/msg/Duration"](0, 0)
            )
            for p in points
        ]
        return T["trajectory_msgs/msg/JointTrajectory"](header(START, ""), ["a", "b"], made)

    read = VectorReader(Vector("/commands"), trajectory([1, 2], [3, 4]))
    assert read(trajectory([5, 6])).tolist() == [5, 6] and read(trajectory()) is None
    with pytest.raises(BagError, match=r"points.0.positions has no number 0, it is of length 0"):
        VectorReader(Vector("/commands"), trajectory())


def test_equal_names_get_their_field_or_topic():
    def source(topic, *vector):
        read = VectorReader(Vector(topic, *vector), first)
        return Source(topic, "action", Topic(topic, "sensor_msgs/msg/JointState"), read)

    first = joint_state(START, [1, 2], ("a", "b"))
    first.velocity = np.array([3.0, 4.0])
    place, speed, other = source("/l/joints"), source("/l/joints", "velocity"), source("/r/joints")
    assert names_of("action", [place]) == ("a", "b")
    assert names_of("action", [place, speed]) == ("position.a", "position.b", "velocity.a", "velocity.b")
    assert names_of("action", [place, other]) == ("l.joints.a", "l.joints.b", "r.joints.a", "r.joints.b")
    assert names_of("action", [place, speed, other])[2:] == tuple(
        f"{arm}.joints.{what}.{joint}" for arm, what in (("l", "velocity"), ("r", "position")) for joint in "ab"
    )
    with pytest.raises(BagError, match=r"action takes l.joints.position.a twice"):
        names_of("action", [place, speed, source("/l/joints", "position", ("a",))])


def test_fields_by_their_names():
    twist = T["geometry_msgs/msg/Twist"](linear=vector(1.0, 2.0, 3.0), angular=vector(4.0, 5.0, 6.0))
    read = VectorReader(Vector("/cmd_vel"), twist)
    assert read.names == ("linear.x", "linear.y", "linear.z", "angular.x", "angular.y", "angular.z")
    assert read(twist).tolist() == [1, 2, 3, 4, 5, 6]
    assert VectorReader(Vector("/cmd_vel", "linear"), twist)(twist).tolist() == [1, 2, 3]
    assert VectorReader(Vector("/cmd_vel", "angular.z"), twist).names == ("z",)
    assert VectorReader(Vector("/odom"), odometry(START, 0.5)).names[:2] == ("position.x", "position.y")
    with pytest.raises(BagError, match=r"no field linear.w: no w.*its fields are x, y, z"):
        VectorReader(Vector("/cmd_vel", "linear.w"), twist)
    with pytest.raises(BagError, match=r"no field anglar: no anglar, did you mean angular\?"):
        VectorReader(Vector("/cmd_vel", "anglar"), twist)
    with pytest.raises(BagError, match="0 numbers"):
        VectorReader(Vector("/odom", "child_frame_id"), odometry(START, 0.5))


def test_a_vector_that_changes_its_length():
    def array(*values):
        layout = T["std_msgs/msg/MultiArrayLayout"]([], 0)
        return T["std_msgs/msg/Float64MultiArray"](layout, np.array(values, float))

    read = VectorReader(Vector("/commands", "data"), array(1, 2))
    assert (read.names, read(array(3, 4)).tolist()) == (("data_0", "data_1"), [3, 4])
    with pytest.raises(BagError, match="/commands changes its length: data had 2 numbers and now has 3"):
        read(array(1, 2, 3))


def _brute(sources, start, stop, fps, max_age, answers):
    """Frames without a gap, one after another, each source searched from its beginning."""

    def counts(number, stamp, time):
        if number in answers:
            return stamp < time + 10**9 // fps - SLACK_NS
        return stamp <= time + SLACK_NS

    def values(time):
        newest = [max((s for s in some if counts(i, s, time)), default=None) for i, some in enumerate(sources)]
        return None if any(s is None or time - s > max_age for s in newest) else newest

    moments = sorted({start, *(s for stamps in sources for s in stamps if s > start)})
    first = next((t for t in moments if t <= stop and values(t)), None)
    rows, k = [], 0
    while first is not None:
        tick = first + (k * 10**9 + fps // 2) // fps
        if tick > stop or (chosen := values(tick)) is None:
            break
        rows.append((tick, chosen))
        k += 1
    return rows


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 3000), min_size=1, max_size=25), min_size=1, max_size=3),
    st.integers(0, 1500),
    st.integers(0, 2500),
    st.sampled_from([1, 3, 10, 30]),
    st.integers(1, 600),
    st.sets(st.integers(0, 2)),
)
def test_resampling_invents_nothing(times, start, length, fps, max_age, answers):
    sources = [sorted({t * MS for t in some}) for some in times]
    start, stop, age = start * MS, (start + length) * MS, max_age * MS
    expected = _brute(sources, start, stop, fps, age, answers)
    got = next_piece([np.array(some) for some in sources], start, stop, fps, age, 10**6, answers)
    if not expected:
        assert got is None
        return
    assert got is not None
    assert got.ticks.tolist() == [tick for tick, _ in expected]
    assert [list(row) for row in zip(*got.chosen)] == [chosen for _, chosen in expected]
    assert expected[-1][0] < got.until_ns and expected[-1][0] <= got.stop_ns <= stop


def test_a_gap_is_said_and_what_follows_is_another_piece():
    stamps = np.array([0, 100, 200, 300, 900, 1000, 1100]) * MS
    steady = np.arange(0, 1200, 20) * MS
    first = next_piece([stamps, steady], 0, 1100 * MS, 10, 150 * MS, 1000)
    assert (first.ticks / MS).tolist() == [0, 100, 200, 300, 400]
    assert first.gap == Gap(0, 300 * MS, 900 * MS)
    second = next_piece([stamps, steady], first.until_ns, 1100 * MS, 10, 150 * MS, 1000)
    assert (second.ticks / MS).tolist() == [900, 1000, 1100] and second.gap is None
    assert next_piece([stamps, steady], second.until_ns, 1100 * MS, 10, 150 * MS, 1000) is None


def test_a_piece_that_is_long_enough_ends_and_another_goes_on():
    stamps = np.arange(0, 1000, 100) * MS
    first = next_piece([stamps], 0, 900 * MS, 10, 50 * MS, 4)
    assert (first.ticks / MS).tolist() == [0, 100, 200, 300] and first.stop_ns == 400 * MS
    second = next_piece([stamps], first.until_ns, 900 * MS, 10, 50 * MS, 100)
    assert (second.ticks / MS).tolist() == [400, 500, 600, 700, 800, 900]


@pytest.mark.parametrize("late", [0, 1, 30, 70, 98])
def test_the_command_that_answers_an_image_does_not_depend_on_its_phase(late):
    """10 images a second, each answered by a command; that of the last image comes after the end."""
    images = np.arange(0, 1000, 100) * MS
    commands = images + late * MS
    piece = next_piece([images, commands], 0, int(images[-1]), 10, 50 * MS, 100, answers={1})
    assert piece.chosen[1].tolist() == commands.tolist()


def test_commands_with_the_stamps_of_thirtieths_are_those_of_their_image():
    """Stamps fall behind the frames, which are exact, by a third of a nanosecond each."""
    images = np.arange(300) * 33_333_333
    piece = next_piece([images, images], 0, int(images[-1]), 30, 50 * MS, 1000, answers={1})
    np.testing.assert_array_equal(piece.chosen[1], images[: len(piece.ticks)])


def test_cuts():
    known = Survey([], start_ns=0, end_ns=100)
    assert spans(Cuts(), known) == [(0, 100)]
    known.begins, known.ends = [10, 50, 70], [30, 90]
    assert spans(Cuts(start="a"), Survey([], start_ns=0, end_ns=100, begins=[10, 50])) == [(10, 49), (50, 100)]
    assert spans(Cuts(start="a", stop="b"), known) == [(10, 29), (70, 89)]  # that of 50 was never ended
    known.signal = [(5, False), (20, True), (25, True), (40, False), (60, True)]
    assert spans(Cuts(signal="a"), known) == [(20, 39), (60, 100)]
    known = Survey([], start_ns=2 * 10**9, end_ns=10 * 10**9)
    assert spans(Cuts(times=((1, 2), (7.5, 20), (30, 40))), known) == [
        (3 * 10**9, 4 * 10**9),
        (int(9.5e9), 10 * 10**9),
    ]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 999), st.booleans(), st.floats(-1, 1), st.floats(0.001, 1)), max_size=40),
    st.integers(2, 12),
)
def test_rewards_of_frames_are_what_was_gained_in_their_time(sent, count):
    sent = sorted(sent, key=lambda r: r[0])
    columns = [np.array([row[i] for row in sent]) for i in range(4)]
    stamps, valid = columns[0].astype(np.int64) * 10 * MS, columns[1].astype(bool)
    rewards = Rewards("camera", stamps, valid, np.where(valid, columns[2], 0.0), columns[3])
    ticks = np.arange(count) * 700 * MS + 50 * MS
    stop = int(ticks[-1]) + 300 * MS
    gained, stddev, was = reward_columns(rewards, Piece(ticks, [], 0, stop))
    ends = [*ticks[1:], stop]
    for i, (tick, end) in enumerate(zip(ticks, ends)):
        inside = [r for r in sent if r[1] and tick + SLACK_NS < r[0] * 10 * MS <= end + SLACK_NS]
        assert gained[i] == pytest.approx(sum(r[2] for r in inside), abs=1e-6)
        assert was[i] == bool(inside)
        assert stddev[i] == np.float32(inside[-1][3] if inside else UNKNOWN)


def test_progress_is_a_share():
    gained, valid = np.array([0.1, 0.3, -0.2, 0.0, 5.0]), np.array([True, True, True, False, True])
    np.testing.assert_allclose(progress(gained, valid, 0.0), [0, 0.25, 1, 0.5, np.nan], atol=1e-6)
    np.testing.assert_allclose(progress(gained, valid, 0.8), [0, 0.125, 0.5, 0.25, np.nan], atol=1e-6)
    np.testing.assert_allclose(progress(gained, valid, 0.2), [0, 0.5, 1, 1, np.nan], atol=1e-6)
    assert np.isnan(progress(np.zeros(4), np.ones(4, bool), 0.0)).all()


def test_progress_holds_between_rewards():
    """Rewards of 5 Hz at 20 frames a second: 0.1 m gained in each fourth frame, one of them not valid."""
    valid = np.arange(32) % 4 == 3
    gained = np.where(valid, 0.1, 0.0)
    np.testing.assert_allclose(progress(gained, valid, 1.0), np.arange(32) // 4 / 10, atol=1e-6)
    valid[15], gained[15], gained[19] = False, 0.0, 0.2
    expected = np.where(np.arange(32) // 4 == 4, np.nan, np.arange(32) // 4 / 10)
    np.testing.assert_allclose(progress(gained, valid, 1.0), expected, atol=1e-6)
    mixed = np.arange(30) % 3 != 1  # 20 Hz at 30 frames a second: pauses of 1 and 2
    assert np.isfinite(progress(mixed * 0.1, mixed, 3.0)).all()
    silent = np.arange(30) < 10
    assert np.isnan(progress(silent * 0.1, silent, 1.0)).tolist() == [i > 10 for i in range(30)]


def test_statistics_against_numpy():
    rng = np.random.default_rng(3)
    parts = [rng.normal(size=(n, 4)) for n in (1, 7, 50)]
    whole = np.concatenate(parts)
    got = merged([of_rows(part) for part in parts])
    for name, wanted in (("min", whole.min(0)), ("max", whole.max(0)), ("mean", whole.mean(0)), ("std", whole.std(0))):
        np.testing.assert_allclose(got[name], wanted, atol=1e-12)
    assert got["count"].tolist() == [58]
    np.testing.assert_allclose(of_rows(whole)["q90"], np.quantile(whole, 0.9, axis=0))
    weighed = sum(len(part) * np.quantile(part, 0.1, axis=0) for part in parts) / 58
    np.testing.assert_allclose(got["q10"], weighed)


def test_statistics_of_images_against_numpy():
    images = np.random.default_rng(4).integers(0, 256, (130, 12, 16, 3)).astype(np.uint8)
    stats = ImageStats(len(images), 3, 256, 1 / 255, 0.0)
    looked = [i for i in range(len(images)) if stats.wants(i)]
    assert (len(looked), looked[0], looked[-1]) == (100, 0, 129)
    for i in looked:
        stats.add(images[i])
    got, seen = stats.finish(), images[looked].reshape(-1, 3) / 255
    for name in ("min", "max", "mean", "std"):
        assert got[name].shape == (3, 1, 1)
        np.testing.assert_allclose(got[name].ravel(), getattr(seen, name)(0), atol=1e-12)
    np.testing.assert_allclose(got["q50"].ravel(), np.quantile(seen, 0.5, axis=0), atol=1 / 255)
    assert got["count"].tolist() == [100]
