"""Keys that steer a player, as those of ``ros2 bag play``: read from the terminal while it plays."""

import os
import re
import signal
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from select import select
from threading import Thread

from ..recordings.play import Controls

HELP = "SPACE pauses and plays on, cursor right plays the next message, cursor up and down change the rate by 0.1"
FASTER = 0.1  # recorded seconds a second
LOOK = 0.5  # s after which a terminal that this process has got (fg) or lost (Ctrl-Z, bg) is noticed
KEY = re.compile(rb"\x1b[\[O][0-9;]*[@-~]|[^\x1b]", re.DOTALL)
BEGUN = re.compile(rb"\x1b([\[O][0-9;]*)?$")
IN_BACKGROUND = (signal.SIGTTIN, signal.SIGTTOU)  # what stops a process in the background that uses the terminal


@contextmanager
def keys(controls: Controls, terminal: int = 0) -> Iterator[bool]:
    """While the block runs, keys steer ``controls``; yields whether ``terminal``, a file descriptor, has any.

    What is typed is not shown then, and comes at once; Ctrl-C stays. The settings of the terminal are put back at the
    end. While it belongs to another process they are left alone, and nothing is read.
    """
    if not os.isatty(terminal):
        yield False
        return
    heard, ended = os.pipe()
    thread = Thread(target=_listen, args=(terminal, heard, controls), name="keys")
    thread.start()
    try:
        yield True
    finally:
        os.close(ended)  # the thread puts the settings back, whatever interrupts this
        thread.join()
        os.close(heard)


def pressed(controls: Controls) -> dict[bytes, Callable[[], object]]:
    """What each key does, by the bytes that terminals send for it."""

    def play_next() -> None:
        if not controls.play_next():
            controls.say("there is no next message to play" if controls.paused else "SPACE pauses first")

    right, up, down = b"C", b"A", b"B"
    does: dict[bytes, Callable[[], object]] = {b" ": controls.toggle_paused}
    for prefix in (b"\x1b[", b"\x1bO"):  # as terminals send cursor keys in either of their modes
        does[prefix + right] = play_next
        does[prefix + up] = lambda: controls.change_rate(FASTER)
        does[prefix + down] = lambda: controls.change_rate(-FASTER)
    return does


def _listen(terminal: int, ended: int, controls: Controls) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, IN_BACKGROUND)
    does, typed, before = pressed(controls), b"", None
    try:
        while True:
            mine = _in_foreground(terminal)
            if mine and termios.tcgetattr(terminal)[3] & termios.ICANON:
                before = termios.tcgetattr(terminal)
                tty.setcbreak(terminal, termios.TCSANOW)
            ready, _, _ = select([ended, *([terminal] if mine else [])], [], [], LOOK)
            if ended in ready:
                return
            if not ready:
                typed = b""  # an escape that nothing follows
                continue
            if not _in_foreground(terminal):
                continue
            if not (more := os.read(terminal, 64)):
                return
            typed += more
            for key in KEY.findall(typed):
                if act := does.get(key):
                    act()
            typed = found[0] if (found := BEGUN.search(typed)) else b""
    except (OSError, termios.error):
        return  # the terminal is gone
    finally:
        if before is not None and _in_foreground(terminal):
            with suppress(termios.error):
                termios.tcsetattr(terminal, termios.TCSANOW, before)


def _in_foreground(terminal: int) -> bool:
    """Whether the terminal belongs to this process: to its group, or to nobody's."""
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return True  # not the terminal of this session, where no shell gives and takes it
