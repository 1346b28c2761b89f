"""When messages are played while somebody steers: on a clock that only waiting moves, and between real threads."""

from itertools import pairwise
from threading import Condition, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_mllm_ros.recordings.play.controls import BEHIND, Controls, Event

BEGIN = 1_700_000_000_000_000_000
MS = 1_000_000
SECOND = 1000 * MS
STEP = 100 * MS


class Time(Condition):
    """A clock, and the condition that waits on it; things happen at times that were set."""

    def __init__(self):
        super().__init__()
        self.now, self.happens = 0, []

    def __call__(self):
        return self.now

    def at(self, time, what):
        self.happens.append((time, len(self.happens), what))
        self.happens.sort()

    def wait(self, timeout=None):
        end = None if timeout is None else self.now + round(timeout * 1e9)
        assert self.happens or end is not None, "it waits for ever"
        if self.happens and (end is None or self.happens[0][0] <= end):
            time, _, what = self.happens.pop(0)
            self.now = max(self.now, time)
            what()
        else:
            self.now = end
        return True


class Stage:
    """A player of messages at these times of the recording, ns after its beginning; publishing one takes ``costs``."""

    def __init__(self, moments, rate=1.0, paused=False, costs=0, tick=None):
        self.time, self.said, self.played, self.clocks = Time(), [], [], []
        self.controls = Controls(self.said.append, self.time, self.time)
        self.moments, self.costs, self.tick = list(moments), costs, tick
        self.controls.open(BEGIN, BEGIN + max(moments) + 1, rate, paused)

    def play(self):
        """(time, moment) of each message, ns."""
        start = 0
        while start is not None:
            self.controls.start(BEGIN + start)
            for moment in [m for m in self.moments if m >= start] + [None]:
                if not self.wait(moment):
                    break
                self.played.append((self.time.now, moment))
                self.time.now += self.costs
            target = self.controls.take_target()
            start = None if target is None else target - BEGIN
        return self.played

    def wait(self, moment):
        wake = None
        while True:
            if self.tick:
                wake = self.time.now + self.tick
                self.clocks.append((self.time.now, self.controls.now() - BEGIN))
            event = self.controls.wait(None if moment is None else BEGIN + moment, wake)
            if event is not Event.WAKE:
                return event is Event.PLAY

    def stall(self, time, length):
        """The process sleeps: time passes, and nothing else happens."""

        def sleep():
            self.time.now += length

        self.time.at(time, sleep)


def every(step, count):
    return [i * step for i in range(count)]


def test_each_message_comes_at_its_time():
    assert Stage(every(STEP, 5)).play() == [(m, m) for m in every(STEP, 5)]
    assert Stage(every(STEP, 5), rate=0.5).play() == [(2 * m, m) for m in every(STEP, 5)]


def test_nothing_comes_while_paused_and_all_goes_on_as_it_was():
    stage = Stage(every(STEP, 5))
    stage.time.at(150 * MS, stage.controls.toggle_paused)
    stage.time.at(10 * SECOND, stage.controls.toggle_paused)
    paused = 10 * SECOND - 150 * MS
    assert stage.play() == [(m + (paused if m >= 200 * MS else 0), m) for m in every(STEP, 5)]
    assert stage.said == ["paused at 0.15 s", "playing on"]
    assert stage.controls.shifts == 0


def test_a_rate_counts_from_when_it_is_set():
    stage = Stage(every(STEP, 5))
    stage.time.at(150 * MS, lambda: stage.controls.set_rate(2))
    assert [t // MS for t, _ in stage.play()] == [0, 100, 175, 225, 275]


def test_rates_by_key_are_tenths_and_end_above_none():
    controls = Controls()
    for expected in (1.1, 1.2, 1.3):
        assert controls.change_rate(0.1) and controls.rate == expected
    while controls.change_rate(-0.1):
        pass
    assert controls.rate == 0.1
    assert not controls.set_rate(float("nan")) and not controls.set_rate(0) and controls.rate == 0.1


def test_after_a_stop_it_goes_on_and_does_not_catch_up():
    stage = Stage(every(STEP, 20))
    stage.stall(1050 * MS, 5 * SECOND)
    late = 6050 * MS - 1100 * MS
    assert stage.play() == [(m + (late if m >= 1100 * MS else 0), m) for m in every(STEP, 20)]
    assert (stage.controls.shifts, stage.controls.shifted) == (1, late / 1e9)


def test_what_is_a_little_late_is_caught_up_with():
    stage = Stage(every(STEP, 20))
    stage.stall(1050 * MS, 400 * MS)
    played = dict((m, t) for t, m in stage.play())
    assert [played[m * STEP] // MS for m in (10, 11, 12, 13, 14, 15)] == [1000, 1450, 1450, 1450, 1450, 1500]
    assert stage.controls.shifts == 0


def test_a_machine_that_is_too_slow_is_never_far_behind():
    stage = Stage(every(STEP, 100), costs=130 * MS)
    played = stage.play()
    assert [later - sooner for (sooner, _), (later, _) in pairwise(played)] == [130 * MS] * 99
    behind = 99 * 30 * MS / 1e9  # s at the last message, had the schedule stayed
    assert 0 < behind - stage.controls.shifted <= BEHIND / 1e9
    assert stage.controls.shifts == 5  # each of more than half a second, which 17 messages make


def test_the_clock_neither_leaps_nor_runs_back_over_a_stop_in_a_silent_stretch():
    stage = Stage([0, 20 * SECOND], tick=10 * MS)
    stage.stall(3 * SECOND + 5 * MS, 5 * SECOND)
    stage.play()
    clocks = [moment for _, moment in stage.clocks]
    assert clocks == sorted(clocks)
    assert max(later - sooner for sooner, later in pairwise(clocks)) <= 20 * MS
    assert stage.played[-1] == (25 * SECOND - 5 * MS, 20 * SECOND)


def test_the_clock_stands_still_while_paused_but_goes_on_being_told():
    stage = Stage(every(SECOND, 3), tick=10 * MS)
    stage.time.at(1500 * MS, stage.controls.pause)
    stage.time.at(2500 * MS, stage.controls.resume)
    stage.play()
    standing = [moment for time, moment in stage.clocks if 1500 * MS < time < 2500 * MS]
    assert len(standing) >= 99 and set(standing) == {1500 * MS}


def test_the_clock_never_shows_what_is_still_to_be_played():
    stage = Stage(every(STEP, 50), costs=130 * MS, tick=10 * MS)
    played = stage.play()
    for time, moment in stage.clocks:
        assert moment <= min((m for t, m in played if t >= time), default=moment)


def test_seeking_goes_on_from_there_in_either_direction():
    stage = Stage(every(STEP, 30))
    stage.time.at(250 * MS, lambda: stage.controls.seek(BEGIN + 2 * SECOND))
    stage.time.at(390 * MS, lambda: stage.controls.seek(BEGIN + 150 * MS))
    stage.time.at(550 * MS, lambda: stage.controls.seek(BEGIN + 2850 * MS))
    assert [m // MS for _, m in stage.play()] == [0, 100, 200, 2000, 2100, 200, 300, 2900]
    assert [t // MS for t, _ in stage.played] == [0, 100, 200, 250, 350, 440, 540, 600]


@pytest.mark.parametrize("moment", [-1, 500 * MS, 10 * SECOND])
def test_seeking_outside_changes_nothing(moment):
    stage = Stage(every(STEP, 5))
    found = []
    stage.time.at(250 * MS, lambda: found.append(stage.controls.seek(BEGIN + moment)))
    assert stage.play() == [(m, m) for m in every(STEP, 5)]
    assert found == [False]


def test_stop_ends_it_at_once_and_for_good():
    stage = Stage(every(STEP, 5))
    stage.time.at(150 * MS, stage.controls.stop)
    assert [m for _, m in stage.play()] == [0, 100 * MS]
    assert stage.controls.stopped and not stage.controls.seek(BEGIN)
    stage.controls.pause()
    assert stage.controls.burst() == 0


@given(
    st.lists(st.integers(0, 400 * MS), min_size=2, max_size=40),
    st.lists(st.tuples(st.integers(0, 8 * SECOND), st.integers(0, 3 * SECOND)), max_size=5),
    st.lists(st.tuples(st.integers(0, 8 * SECOND), st.integers(0, 3 * SECOND)), max_size=3),
    st.integers(0, 300 * MS),
    st.sampled_from([None, 10 * MS]),
)
def test_whatever_happens_it_plays_all_in_order_and_never_rushes(gaps, stalls, pauses, costs, tick):
    moments = [sum(gaps[: i + 1]) for i in range(len(gaps))]
    stage = Stage(moments, costs=costs, tick=tick)
    for time, length in stalls:
        stage.stall(time, length)
    for time, length in pauses:
        stage.time.at(time, stage.controls.pause)
        stage.time.at(time + length, stage.controls.resume)
    played = stage.play()
    assert [m for _, m in played] == moments
    for i, (sooner, first) in enumerate(played):
        for later, second in played[i:]:
            assert later - sooner >= second - first - BEHIND - len(gaps)  # ns, of rounding
    clocks = [moment for _, moment in stage.clocks]
    assert clocks == sorted(clocks)


# steps, which are asked for by another thread


@pytest.fixture
def asked():
    """Calls a function in a thread; the function that comes back waits for its result."""
    threads = []

    def ask(function, *arguments):
        found = []
        thread = Thread(target=lambda: found.append(function(*arguments)), daemon=True)
        thread.start()
        threads.append(thread)

        def result():
            thread.join(20)
            assert found, "it still waits"
            return found[0]

        return result

    return ask


def paused_at(moment):
    controls = Controls()
    controls.open(BEGIN, BEGIN + SECOND, paused=True)
    controls.start(BEGIN + moment)
    return controls


def test_a_step_plays_one_message_and_says_when_it_is_published(asked):
    controls = paused_at(0)
    stepped = asked(controls.play_next)
    assert controls.wait(BEGIN + 500 * MS) is Event.PLAY
    assert controls.now() == BEGIN + 500 * MS
    again = asked(lambda: stepped() and controls.play_next())
    assert controls.wait(BEGIN + 600 * MS) is Event.PLAY  # one message more is one step more
    asked(lambda: again() and controls.stop())
    assert controls.wait(BEGIN + 700 * MS) is Event.LEAVE
    assert stepped() is True and again() is True


def test_a_burst_counts_what_it_played_up_to_the_end(asked):
    controls = paused_at(0)
    burst = asked(controls.burst, 5)
    for moment in every(STEP, 3):
        assert controls.wait(BEGIN + moment) is Event.PLAY
    asked(lambda: burst() and controls.resume())
    assert controls.wait(None) is Event.LEAVE
    assert burst() == 3


def test_from_the_end_it_goes_back_while_paused(asked):
    controls = paused_at(0)
    burst = asked(controls.burst)
    assert controls.wait(BEGIN) is Event.PLAY
    asked(lambda: burst() and controls.seek(BEGIN + 7))
    assert controls.wait(None) is Event.LEAVE
    assert controls.take_target() == BEGIN + 7 and controls.take_target() is None


def test_a_burst_of_all_is_cut_by_playing_on(asked):
    controls = paused_at(0)
    burst = asked(controls.burst)
    assert [controls.wait(BEGIN + moment) for moment in every(STEP, 4)] == [Event.PLAY] * 4
    assert controls.burst(1) == 0  # one at a time
    controls.resume()
    assert burst() == 4


def test_there_are_no_steps_while_it_plays():
    controls = Controls()
    controls.open(BEGIN, BEGIN + SECOND)
    assert not controls.play_next() and controls.burst() == 0


def test_a_stop_frees_who_waits_for_a_message(asked):
    controls = paused_at(0)
    burst = asked(controls.burst)
    assert controls.wait(BEGIN) is Event.PLAY
    controls.stop()
    assert burst() == 1
