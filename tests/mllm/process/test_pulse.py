"""What the kernel says of processes that sleep, work and are stopped; and time that counts only while one listens."""

import os
import signal
import subprocess
import sys

import pytest

from spatial_mllm_ros.mllm.process import pulse
from spatial_mllm_ros.mllm.process.pulse import LOOK, Pulse, thread_states

from .bench import SECONDS, poll

BEGIN = "import threading; threading.Thread(target=threading.Event().wait).start(); print(1, flush=True)\n"
SLEEPS, WORKS = f"{BEGIN}input()", f"{BEGIN}while True: pass"


@pytest.fixture
def process():
    """Starts a program of two threads; returns once it says so."""
    started = []

    def start(code):
        process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(process)
        process.stdout.readline()
        return process.pid

    yield start
    for process in started:
        process.kill()
    for process in started:
        process.communicate(timeout=SECONDS)


class Clock:
    """A clock that goes when told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(pulse, "monotonic", made)
    return made


def look(heart, clock, count=1, step=LOOK):
    for _ in range(count):
        clock.now += step
        heart.look()


def test_states_of_threads_are_those_of_the_kernel(process):
    sleeping, working = process(SLEEPS), process(WORKS)
    poll(lambda: thread_states(sleeping) == {"S"}, "sleep")
    poll(lambda: thread_states(working) == {"R", "S"}, "work")
    for pid in (sleeping, working):
        os.kill(pid, signal.SIGSTOP)
        poll(lambda pid=pid: thread_states(pid) == {"T"}, "a stop")
        os.kill(pid, signal.SIGCONT)
        poll(lambda pid=pid: "T" not in thread_states(pid), "its end")
    assert thread_states(2**22 + 1) == set(), "no process has that number"


def test_silence_adds_up_until_a_beat_and_work_is_not_stillness(process, clock):
    sleeping, working = process(SLEEPS), process(WORKS)
    poll(lambda: thread_states(sleeping) == {"S"}, "sleep")
    poll(lambda: "R" in thread_states(working), "work")
    still = Pulse(sleeping)
    look(still, clock, 4)
    busy = Pulse(working)
    look(busy, clock, 4)
    assert (still.silent, still.still, still.stopped) == (1.0, 1.0, False)
    assert (busy.silent, busy.still) == (1.0, 0.0)
    assert str(still) == "no heartbeat for 1.0 s, none of its threads works"
    assert str(busy) == "no heartbeat for 1.0 s, it is busy"
    os.kill(working, signal.SIGSTOP)
    poll(lambda: thread_states(working) == {"T"}, "a stop")
    look(busy, clock, 2)
    assert (busy.silent, busy.still, busy.stopped) == (1.5, 0.5, True)
    assert str(busy) == "no heartbeat for 1.5 s, it is stopped"
    busy.beat()
    look(busy, clock)
    assert (busy.silent, busy.still, busy.stopped) == (0.0, 0.0, False)


def test_a_second_look_at_once_counts_nothing(process, clock):
    heart = Pulse(process(SLEEPS))
    look(heart, clock, 8, LOOK / 4)
    assert heart.silent == 2 * LOOK
    assert heart.due == clock.now + LOOK


def test_time_in_which_this_side_stood_still_counts_for_nearly_nothing(process, clock):
    heart = Pulse(process(SLEEPS))
    look(heart, clock, 1, 60.0)
    assert heart.silent == 2 * LOOK
    heart.beat()
    look(heart, clock, 1, 60.0)
    assert heart.silent == 0.0
