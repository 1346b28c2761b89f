"""Recorded time against its sum over every stretch of real time, and against a clock that only moves when told to."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_mllm_ros.recordings.play.schedule import FASTEST, JUMP, SLOWEST, Calendar, Schedule

BEGIN = 1_700_000_000_000_000_000
SECOND = 10**9


class Clock:
    def __init__(self, now=0):
        self.now = now

    def __call__(self):
        return self.now


RATES = st.floats(0.05, 20, allow_nan=False)
TIMES = st.integers(0, 100 * SECOND)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("passes"), TIMES),
        st.tuples(st.just("pause"), st.none()),
        st.tuples(st.just("resume"), st.none()),
        st.tuples(st.just("rate"), RATES),
        st.tuples(st.just("move"), st.integers(BEGIN, BEGIN + 100 * SECOND)),
        st.tuples(st.just("shift"), TIMES),
    ),
    max_size=30,
)


@given(STEPS, st.integers(0, 10**15))
def test_time_is_the_sum_of_what_ran(steps, begun):
    clock = Clock(begun)
    schedule = Schedule(clock)
    schedule.move(BEGIN)
    moment, rate, paused = Fraction(BEGIN), Fraction(1), False
    for what, value in steps:
        if what == "passes":
            clock.now += value
            moment += 0 if paused else value * rate
        elif what == "pause":
            schedule.pause()
            paused = True
        elif what == "resume":
            schedule.resume()
            paused = False
        elif what == "rate":
            schedule.set_rate(value)
            rate = Fraction(value)
        elif what == "move":
            schedule.move(value)
            moment = Fraction(value)
        elif not paused:
            schedule.shift(value)
            moment -= value * rate
        assert abs(schedule.now() - moment) <= 1 + len(steps)  # ns, each step rounds
    assert schedule.paused == paused and schedule.rate == rate


@given(RATES, TIMES, st.integers(0, 100 * SECOND))
def test_a_moment_comes_when_it_is_due(rate, passed, ahead):
    clock = Clock(5)
    schedule = Schedule(clock)
    schedule.move(BEGIN)
    schedule.set_rate(rate)
    clock.now += passed
    moment = schedule.now() + ahead
    clock.now = schedule.due(moment)
    assert abs(schedule.now() - moment) <= 1 + rate


def test_stamps_in_between_keep_their_distance():
    schedule = Schedule(Clock(7))
    schedule.move(BEGIN)
    step = 33_333_333
    assert [schedule.due(BEGIN + i * step) for i in (-1, 0, 1, 1000)] == [7 - step, 7, 7 + step, 7 + 1000 * step]


def test_it_does_not_pass_its_limit_and_loses_nothing_that_it_waited_for():
    clock = Clock()
    schedule = Schedule(clock)
    schedule.move(BEGIN)
    schedule.limit = BEGIN + SECOND
    clock.now = 3 * SECOND
    assert schedule.now() == BEGIN + SECOND
    schedule.limit = None
    assert schedule.now() == BEGIN + 3 * SECOND


@pytest.mark.parametrize("rate", [0, -1, SLOWEST / 2, FASTEST * 2, float("nan"), float("inf")])
def test_what_is_no_rate_changes_nothing(rate):
    clock = Clock()
    schedule = Schedule(clock)
    with pytest.raises(ValueError, match=r"expected 0.001 to 1,000,000"):
        schedule.set_rate(rate)
    clock.now = SECOND
    assert schedule.now() == SECOND and schedule.rate == 1


def test_the_calendar_is_steady_and_follows_a_machine_that_slept():
    clock, today = Clock(100), Clock(BEGIN)
    calendar = Calendar(clock, today)
    clock.now, today.now = 300, BEGIN + 200 + JUMP  # set right, a little
    calendar.look()
    assert calendar.when(107) == BEGIN + 7
    today.now += SECOND  # suspended: the clock stood still
    calendar.look()
    assert calendar.when(clock.now) == today.now
