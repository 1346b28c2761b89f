"""What goes wrong around a running node: how soon /diagnostics shows it, and how soon all is well again.

``python -m benchmarks.recovery [RECORDING] [--model M]``: two cameras play the kitchen recording beside the checkout,
or a simulated room, without end; parameters are the defaults. Goals of the project: shown within 2 s, well again within
5 s after its end, or after it was shown where it mends itself.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import cycle
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep, time_ns
from typing import Any

from benchmarks.ask import QUESTION, WAIT
from benchmarks.common import Row, recording, show
from benchmarks.node import PERIOD, Player, Tape
from spatial_mllm_ros.config import Config

CAMERAS = ["camera0", "camera1"]
SHOWN, RECOVERED = 2.0, 5.0  # s, goals
HELD = 3.0  # s that a fault lasts after it was shown
JUMP = 3600 * 10**9  # ns
CALM = 1.5  # s without anything but OK before a fault; more than between two statuses


class Surroundings(Player):
    """Plays without end, and leaves out what is said to be gone.

    Attributes:
        gone: topics of the tape, or cameras, that are not published.
        statuses: name of a part -> (level, message), as last heard.
    """

    def __init__(self, tape: Tape, model: str):
        from spatial_mllm_msgs.srv import AskSpatial

        default = Config().status_rate
        super().__init__(
            tape, CAMERAS, f"cameras:=[{', '.join(CAMERAS)}]", f"status_rate:={default}", f"ask.model:={model}"
        )
        self.gone: set[str] = set()
        self.statuses: dict[str, tuple[int, str]] = {}
        self._ask, self._request = self.node.create_client(AskSpatial, "/spatial_mllm/ask"), AskSpatial.Request
        self._end = Event()
        self._stream = Thread(target=self._play, name="stream")

    def start(self) -> None:
        self.ready()
        self._stream.start()

    def _play(self) -> None:
        due = monotonic()
        for frame in cycle(self.tape.frames):
            if self._end.is_set():
                return
            for number, camera in enumerate(CAMERAS):
                due += PERIOD / len(CAMERAS)
                sleep(max(0.0, due - monotonic()))
                ns = time_ns() + self.ahead
                for topic, raw in frame.items():
                    if not self.gone & {topic, camera if topic != "/tf" else topic}:
                        now = self.tape.stamped[topic](raw, lambda _, ns=ns: ns)
                        self.publishers[topic][number if topic != "/tf" else 0].publish(now)

    def _heard_diagnostics(self, msg: Any) -> None:
        super()._heard_diagnostics(msg)
        self.statuses = {s.name.partition(": ")[2]: (s.level[0], s.message) for s in msg.status}

    def well(self) -> bool:
        """Whether all statuses are OK, and each camera's frames are processed."""
        return bool(self.statuses) and not any(level for level, _ in self.statuses.values()) and self.answers()

    def answers(self) -> bool:
        future, deadline = self._ask.call_async(self._request(question=QUESTION.text)), monotonic() + WAIT
        while not future.done() and monotonic() < deadline:
            sleep(0.002)
        answer: Any = future.result() if future.done() else None
        return answer is not None and answer.error_code == 0

    def trouble(self) -> str:
        """The first status that is not OK."""
        return next((f"{part}: {message}" for part, (level, message) in self.statuses.items() if level), "")

    def close(self) -> None:
        self._end.set()
        if self._stream.is_alive():
            self._stream.join()
        super().close()


def since(start: float, condition: Callable[[], Any], what: str) -> float:
    """Seconds from a start until a condition holds."""
    while not condition():
        if monotonic() - start > WAIT:
            raise SystemExit(f"{what}: not within {WAIT:g} s")
        sleep(0.005)
    return monotonic() - start


@contextmanager
def missing(around: Surroundings, *what: str) -> Iterator[None]:
    around.gone |= set(what)
    yield
    around.gone -= set(what)


@contextmanager
def jumped(around: Surroundings) -> Iterator[None]:
    around.ahead = JUMP
    yield
    around.ahead = 0


@contextmanager
def hit(around: Surroundings, number: signal.Signals) -> Iterator[None]:
    os.kill(int(around.diagnostics["process"]), number)
    yield


def calm(around: Surroundings) -> None:
    """Wait until all has been well for a while, and a spare process is there."""
    start = last = monotonic()
    while monotonic() - last < CALM or around.diagnostics.get("spare process (MB)", "0") == "0":
        if not around.well():
            last = monotonic()
        if monotonic() - start > WAIT:
            raise SystemExit(f"it does not come to rest: {around.trouble()}")
        sleep(0.1)
    sleep(12.0)  # the spare process has its imports by then


def row(around: Surroundings, name: str, fault: Any, lasts: bool) -> Row:
    """One fault. What lasts is mended a while after it was shown; the rest mends itself."""
    calm(around)
    start = monotonic()
    with fault:
        shown = since(start, around.trouble, f"{name} is shown")
        said = around.trouble()
        if lasts:
            sleep(HELD)
        start = monotonic()
    recovered = since(start, around.well, f"{name} is over")
    return Row(
        name,
        f"shown after {shown:.2f} s, well again {recovered:.2f} s after {'its end' if lasts else 'that'}",
        f"{SHOWN:g} and {RECOVERED:g} s; {said[:120]}",
        f"{shown / SHOWN:.2f}, {recovered / RECOVERED:.2f}",
    )


def run(path: Path | None = None, model: str = "nano") -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        tape = Tape(path or recording(Path(folder)))
    with closing(Surroundings(tape, model)) as around:
        around.start()
        yield row(around, "one camera unplugged and plugged in", missing(around, CAMERAS[0]), True)
        yield row(around, "/tf gone and back", missing(around, "/tf"), True)
        yield row(around, "network pause: nothing arrives", missing(around, "/tf", *CAMERAS), True)
        yield row(around, "clock of all sources an hour ahead, and back", jumped(around), True)
        for number in (signal.SIGKILL, signal.SIGSTOP):
            yield row(around, f"model's process: {number.name}", hit(around, number), False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recovery", description=__doc__)
    parser.add_argument("recording", nargs="?", type=Path, help="a bag; by default the kitchen recording")
    parser.add_argument("--model", default="nano", help="folder or hub id")
    arguments = parser.parse_args()
    show(run(arguments.recording, arguments.model))
