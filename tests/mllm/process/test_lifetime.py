"""When a process is started again, and when no more, on a clock that goes when told to."""

from math import inf
from types import SimpleNamespace

import pytest

from spatial_mllm_ros.errors import ErrorCode
from spatial_mllm_ros.mllm.process import lifetime
from spatial_mllm_ros.mllm.process.lifetime import Lifetime

from .bench import Log


class Process:
    """A child of which only its outside is there."""

    def __init__(self):
        self.pulse = SimpleNamespace(silent=0.0, still=0.0, stopped=False, due=0.0, look=lambda: None)
        self.process = SimpleNamespace(pid=7)
        self.printed, self.nbytes, self.killed = "", 0, False
        self.loads = self.closed = False

    def load(self):
        self.loads = True

    def kill_hung(self):
        self.killed = True

    def close(self):
        self.closed = True


class Life:
    """A lifetime whose clock and processes are the test's."""

    def __init__(self, monkeypatch, timeout=3.0, make=Process, spare=False):
        self.now, self.log = 0.0, Log()
        monkeypatch.setattr(lifetime, "monotonic", lambda: self.now)
        self.life = Lifetime(self.log, make, timeout, spare)

    def started(self):
        """Wait until a process is there; seconds that took."""
        start = self.now
        while self.life.child is None:
            assert self.life.due < inf, self.life.message
            self.now = max(self.now, self.life.due)
            self.life.look()
        return self.now - start

    def ready(self, seconds=0.0):
        self.started()
        self.life.hear("ready", ())
        self.now += seconds

    def does(self, *jobs):
        for job in jobs:
            self.life.job = job
            self.life.worked()


@pytest.fixture
def life(monkeypatch):
    return lambda **options: Life(monkeypatch, **options)


def test_pauses_grow_until_it_is_given_up(life):
    a = life()
    pauses = []
    for _ in range(8):
        pauses.append(a.started())
        a.life.ended(-9)
    assert pauses == [0, 0, 1, 2, 4, 8, 16, 32]
    assert (a.life.due, a.life.stage) == (inf, "failed")
    assert "given up after 8 tries in a row" in a.life.message
    assert a.life.state(0).restarts == 7


def test_loading_that_fails_is_tried_again_after_5_seconds_at_least(life):
    a = life()
    pauses = []
    for _ in range(8):
        pauses.append(a.started())
        a.life.hear("failed", (ErrorCode.FAILED, "out of memory"))
        a.life.ended(0)
    assert pauses == [0, 5, 5, 5, 5, 8, 16, 32]
    assert a.life.message.startswith("out of memory; given up after 8 tries in a row")
    assert a.log.errors.count("the model cannot be loaded: out of memory") == 8


def test_a_process_that_cannot_be_started_is_tried_again(life):
    def refuse():
        raise OSError("no processes left")

    a = life(make=refuse)
    with pytest.raises(AssertionError, match=r"cannot be started \(no processes left\); given up"):
        a.started()
    assert a.now == 1 + 2 + 4 + 8 + 16 + 32


def test_a_wrong_model_is_not_tried_again(life):
    a = life()
    a.started()
    a.life.hear("failed", (ErrorCode.BAD_REQUEST, "no such folder"))
    a.life.ended(0)
    assert (a.life.due, a.life.stage, a.life.message) == (inf, "failed", "no such folder")


def test_a_job_that_is_done_ends_the_row(life):
    a = life()
    for _ in range(20):
        a.ready()
        a.does("ask")
        a.life.ended(-9)
    assert a.started() == 0


def test_another_job_that_is_done_does_not(life):
    """Scenes that are encoded well hide no windows that kill the process each time."""
    a = life()
    for _ in range(8):
        a.ready()
        a.does("warm")
        a.life.job = "geometry"
        a.life.ended(-11)
    assert a.life.stage == "failed"


def test_a_process_that_lived_for_a_minute_begins_a_new_row(life):
    a = life()
    for _ in range(20):
        a.ready(60.0)
        a.life.ended(-9)
    assert a.life.stage == "restarting"


@pytest.mark.parametrize(
    ("stage", "silent", "still", "stopped", "hangs"),
    [
        ("ready", 2.9, 2.9, False, False),
        ("ready", 3.0, 3.0, False, True),
        ("ready", 3.0, 3.0, True, True),
        ("ready", 29.9, 0.0, False, False),
        ("ready", 30.0, 0.0, False, True),
        ("loading", 3.0, 3.0, True, True),
        ("loading", 29.9, 29.9, False, False),
        ("loading", 30.0, 30.0, False, True),
        ("loading", 600.0, 0.0, False, False),
    ],
)
def test_what_is_taken_for_hanging(life, stage, silent, still, stopped, hangs):
    a = life()
    a.started()
    if stage == "ready":
        a.life.hear("ready", ())
    child = a.life.child
    child.pulse.silent, child.pulse.still, child.pulse.stopped = silent, still, stopped
    assert bool(a.life.look()) == hangs == child.killed
    assert a.life.stage == ("restarting" if hangs else stage)


def test_a_long_timeout_holds_for_what_works_too(life):
    a = life(timeout=3600.0)
    a.ready()
    a.life.child.pulse.silent = 3599.0
    assert not a.life.look()
    a.life.child.pulse.silent = 3600.0
    assert a.life.look()


def test_loading_without_progress_ends(life):
    a = life()
    a.started()
    a.now += 1799.0
    a.life.hear("loading", ("weights", 0.5))
    a.now += 1799.0
    assert not a.life.look()
    a.now += 1.0
    assert a.life.look() == "the model's process has loaded nothing for 1800 s; it is started again"


def test_what_a_killed_process_has_still_sent_does_not_count(life):
    a = life()
    a.started()
    a.life.replace("hangs")
    a.life.hear("ready", ())
    assert a.life.stage == "restarting"
    a.life.child.printed = "where it hung"
    a.life.ended(-9)
    assert a.log.errors == [
        "the model's process hangs; it is started again",
        "the model's process printed last:\nwhere it hung",
    ]


def test_a_process_that_hangs_as_it_ends_changes_no_reason(life):
    a = life()
    a.started()
    a.life.hear("failed", (ErrorCode.BAD_REQUEST, "no such folder"))
    a.life.child.pulse.still = 30.0
    assert a.life.look() == "no such folder"
    a.life.ended(-9)
    assert (a.life.due, a.life.stage, a.life.message) == (inf, "failed", "no such folder")


def settled(life):
    """A lifetime whose process has been ready for long enough to have a spare beside it; and that."""
    a = life(spare=True)
    a.ready()
    assert a.life.spare is None
    a.life.child.pulse.due = inf
    a.now = a.life.due
    assert a.now == 5.0
    a.life.look()
    return a, a.life.spare


def test_a_spare_takes_the_place_of_what_ended(life):
    a, spare = settled(life)
    assert not spare.loads and a.life.child.loads
    a.life.ended(-9)
    assert a.started() == 0
    assert a.life.child is spare and spare.loads and a.life.spare is None
    assert a.life.state(0).restarts == 1
    a.life.hear("ready", ())
    a.now += 5.0
    a.life.look()
    assert a.life.spare not in (None, spare)


def test_a_spare_that_has_ended_is_not_taken(life):
    a, spare = settled(life)
    a.life.end_spare()
    assert spare.closed
    a.life.ended(-9)
    a.started()
    assert a.life.child is not spare and a.life.child.loads


def test_without_memory_for_a_spare_it_goes_on_without(life):
    made = []

    def make():
        if made:
            raise OSError("no memory left")
        made.append(Process())
        return made[0]

    a = life(make=make, spare=True)
    a.ready()
    a.life.child.pulse.due = inf
    a.now = a.life.due
    a.life.look()
    assert (a.life.stage, a.life.spare, a.life.due) == ("ready", None, inf)


def test_no_spare_outlives_a_model_that_is_given_up(life):
    a, spare = settled(life)
    a.life.hear("failed", (ErrorCode.BAD_REQUEST, "no such folder"))
    assert spare.closed and a.life.spare is None


def test_without_being_asked_for_there_is_none(life):
    a = life()
    a.ready(60.0)
    a.life.look()
    assert a.life.spare is None
