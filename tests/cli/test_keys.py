"""Keys typed into a terminal: a pseudo-terminal whose other end is here."""

import os
import subprocess
import sys
import termios
from threading import Condition, Thread

import pytest

from spatial_mllm_ros.cli.keys import keys
from spatial_mllm_ros.recordings.play import Controls
from spatial_mllm_ros.recordings.play.controls import Event

SECONDS = 20.0  # until a test fails; nothing waits for it to pass
BEGIN = 1_700_000_000_000_000_000
UP, DOWN, RIGHT, LEFT = (b"\x1b[" + letter for letter in (b"A", b"B", b"C", b"D"))


class Terminal:
    """Both ends of a terminal, and the controls of a player that stands at its beginning, with what they said."""

    def __init__(self):
        self.typing, self.end = os.openpty()
        self.said, self.changed = [], Condition()
        self.controls = Controls(self.say)
        self.controls.open(BEGIN, BEGIN + 10**9)
        self.controls.start(BEGIN)

    def say(self, text):
        with self.changed:
            self.said.append(text)
            self.changed.notify_all()

    def settings(self):
        return termios.tcgetattr(self.end)

    def type(self, keys, says):
        """Types, and waits until that many things were said in all."""
        os.write(self.typing, keys)
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.said) >= says, SECONDS), self.said


@pytest.fixture
def terminal():
    terminal = Terminal()
    yield terminal
    terminal.controls.stop()
    os.close(terminal.typing)
    os.close(terminal.end)


def test_keys_pause_and_change_the_rate(terminal):
    with keys(terminal.controls, terminal.end) as steered:
        assert steered
        terminal.type(b" ", 1)
        assert terminal.controls.paused
        terminal.type(b"\x1bOA" + UP + DOWN, 4)  # cursor keys come in two forms
        assert terminal.controls.rate == 1.1
        terminal.type(b"x\x1b[1;5C" + LEFT + b"\xc3\xa4 ", 5)  # what is no key of ours does nothing
        assert not terminal.controls.paused
    paused, *rates, on = terminal.said
    assert paused.startswith("paused at ") and rates == ["rate 1.1", "rate 1.2", "rate 1.1"] and on == "playing on"


def test_a_key_that_comes_in_parts_is_one(terminal):
    with keys(terminal.controls, terminal.end):
        os.write(terminal.typing, b"\x1b")
        os.write(terminal.typing, b"[")
        terminal.type(b"A", 1)
    assert terminal.said == ["rate 1.1"]


def test_a_step_by_key(terminal):
    terminal.controls.pause()
    with keys(terminal.controls, terminal.end):
        os.write(terminal.typing, RIGHT)
        assert terminal.controls.wait(BEGIN + 5) is Event.PLAY
        end = Thread(target=terminal.controls.wait, args=(None,), daemon=True)
        end.start()
        terminal.type(RIGHT, 2)
        assert terminal.said[1] == "there is no next message to play"
        terminal.type(b" " + RIGHT, 4)
        assert terminal.said[2:] == ["playing on", "SPACE pauses first"]
        end.join(SECONDS)


@pytest.mark.parametrize("how", [None, ValueError, KeyboardInterrupt, SystemExit])
def test_the_terminal_is_as_it_was_however_it_ends(terminal, how):
    before = terminal.settings()
    try:
        with keys(terminal.controls, terminal.end):
            terminal.type(b" ", 1)
            assert not terminal.settings()[3] & (termios.ICANON | termios.ECHO)
            assert terminal.settings()[3] & termios.ISIG  # Ctrl-C stays
            if how:
                raise how
    except BaseException as error:
        assert type(error) is how
    assert terminal.settings() == before


def test_what_is_no_terminal_is_left_alone(terminal):
    end, typing = os.pipe()
    os.write(typing, b" ")
    with keys(terminal.controls, end) as steered:
        assert not steered
    assert os.read(end, 10) == b" " and not terminal.said
    os.close(end)
    os.close(typing)


def test_a_terminal_that_goes_away_ends_it(terminal):
    other, end = os.openpty()
    with keys(terminal.controls, end):
        os.write(other, b" ")
        with terminal.changed:
            assert terminal.changed.wait_for(lambda: terminal.said, SECONDS)
        os.close(other)
    os.close(end)


SHELL = """
import os, signal, sys, termios
from time import monotonic

from spatial_mllm_ros.cli.keys import keys
from spatial_mllm_ros.recordings.play import Controls

signal.signal(signal.SIGTTOU, signal.SIG_IGN)
told, tell = os.pipe()
go, begin = os.pipe()

def until(condition, what):
    deadline = monotonic() + 20
    while not condition():
        assert monotonic() < deadline, what
        os.sched_yield()

def canonical():
    return bool(termios.tcgetattr(0)[3] & termios.ICANON)

job = os.fork()
if not job:
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.close(begin)
    os.setpgid(0, 0)
    with keys(Controls(lambda text: os.write(tell, text.encode() + b"\\n"))):
        os.write(tell, b"plays in the background\\n")
        os.read(go, 1)
    os._exit(0)
os.close(go)
print(os.read(told, 100).decode(), flush=True)
assert canonical(), "a job in the background changed the terminal"
assert sys.stdin.readline() == " typed for the shell\\n"
os.tcsetpgrp(0, job)
until(lambda: not canonical(), "the terminal was not taken")
print("plays in the foreground", flush=True)
assert os.read(told, 100).startswith(b"paused at")
os.close(begin)
pid, status = os.waitpid(job, os.WUNTRACED)
assert os.waitstatus_to_exitcode(status) == 0, status
os.tcsetpgrp(0, os.getpid())
assert canonical(), "the terminal was not given back"
print("is over", flush=True)
"""


def test_a_job_in_the_background_leaves_the_terminal_to_others():
    typing, end = os.openpty()
    start = "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); exec(sys.argv[1])"
    shell = subprocess.Popen(
        [sys.executable, "-c", start, SHELL], stdin=end, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert shell.stdout.readline() == "plays in the background\n", shell.stderr.read()
        os.write(typing, b" typed for the shell\n")
        line = next((line for line in shell.stdout if line.strip()), "")
        assert line == "plays in the foreground\n", shell.stderr.read()
        os.write(typing, b" ")
        _, errors = shell.communicate(timeout=SECONDS)
        assert shell.returncode == 0, errors
    finally:
        shell.kill()
        shell.communicate()
        os.close(typing)
        os.close(end)
