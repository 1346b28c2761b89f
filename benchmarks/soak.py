"""The node for hours: 4 cameras, all services in use, between passes what operators and accidents do to it.

``python -m benchmarks.soak [RECORDING] [--hours H] [--raw] [--rate R] [--out FILE.csv]``: the kitchen recording, or a
simulated room, is played again and again. Every frame has to be processed or counted, and every request needs one
outcome; memory, threads and descriptors of the node and of its model's process have to stay where they were after the
first minutes.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep
from typing import Any

import numpy as np

from benchmarks.common import Row, recording, resident_mb, show
from benchmarks.node import DOMAIN, SETTLE, Player, Tape
from spatial_mllm_ros.errors import ErrorCode

CAMERAS = [f"camera{i}" for i in range(4)]
PAUSE = 0.2  # s between two requests
WAIT = 60.0  # s
LATE = 10.0  # s after a pass within which all of it has to be processed or counted, on however loaded a machine
LEFT = 5  # requests, and as many goals, that a client leaves behind
JUMP = 3600 * 10**9  # ns
WARM = 0.1  # of the time, after which nothing may grow any more
COLUMNS: tuple[str, ...] = (
    "seconds",
    "sent",
    "seen",
    "dropped",
    "node MB",
    "node threads",
    "node descriptors",
    "model MB",
    "spare MB",
)


class Soak(Player):
    """Plays, asks, and does harm."""

    def __init__(self, tape: Tape):
        from lifecycle_msgs.srv import ChangeState
        from rcl_interfaces.srv import SetParameters
        from spatial_mllm_msgs.srv import AskSpatial, MeasureMotion, SetRewardTarget

        super().__init__(tape, CAMERAS, f"cameras:=[{', '.join(CAMERAS)}]", "ask.max_tokens:=24")
        types = {
            "ask": AskSpatial,
            "measure_motion": MeasureMotion,
            "set_reward_target": SetRewardTarget,
            "set_parameters": SetParameters,
            "change_state": ChangeState,
        }
        self.types = types
        self.clients = {name: self.node.create_client(type_, f"/spatial_mllm/{name}") for name, type_ in types.items()}
        self.outcomes: Counter[str] = Counter()

    def call(self, name: str, **fields: Any) -> Any:
        """The answer, which is counted; a request without one ends the program."""
        future, deadline = self.clients[name].call_async(self.types[name].Request(**fields)), monotonic() + WAIT
        while not future.done():
            if monotonic() > deadline:
                raise SystemExit(f"{name}: no answer within {WAIT:g} s")
            sleep(0.005)
        answer = future.result()
        code = getattr(answer, "error_code", 0)
        self.outcomes[f"{name}: {ErrorCode(code).name if code else 'answered'}"] += 1
        return answer

    def use(self, end: Event) -> None:
        """One request after the other, until the end."""
        from sensor_msgs.msg import RegionOfInterest

        roi = RegionOfInterest(x_offset=250, y_offset=180, width=120, height=100)
        requests: list[Callable[[], Any]] = [
            lambda: self.call("ask", question="How far is the table from the door?"),
            lambda: self.call("measure_motion", target="camera", camera=CAMERAS[1]),
            lambda: self.call("measure_motion", target="point", camera=CAMERAS[0], u=320.0, v=240.0),
            lambda: self.call("set_reward_target", label="thing", camera=CAMERAS[2], roi=roi),
            lambda: self.call("set_reward_target", label="camera", camera=CAMERAS[3]),
            lambda: self.call("ask", question="Where is the sink?", answer_type=4, timeout=0.05),
        ]
        i = 0
        while not end.is_set():
            requests[i % len(requests)]()
            i += 1
            end.wait(PAUSE)

    def harm(self, i: int) -> None:
        """What happens between two passes, or during the next."""
        harms = [self.set_parameter, self.deactivate, self.kill, self.go_on_ahead, self.leave, self.stop]
        self.ahead = 0
        harms[i % len(harms)]()

    def set_parameter(self) -> None:
        from rcl_interfaces.msg import Parameter, ParameterValue

        value = ParameterValue(type=3, double_value=2.0 + monotonic() % 7)
        self.call("set_parameters", parameters=[Parameter(name="sync.stale_after", value=value)])

    def deactivate(self) -> None:
        from lifecycle_msgs.msg import Transition

        for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE):
            self.call("change_state", transition=Transition(id=transition))
        self.ready()

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        if pid := self.model():
            os.kill(pid, number)
            self.outcomes[f"model's process: {number.name}"] += 1

    def stop(self) -> None:
        self.kill(signal.SIGSTOP)

    def go_on_ahead(self) -> None:
        """The next pass is stamped an hour later; the one after it comes back."""
        self.ahead = JUMP
        self.outcomes["jumps of the clock"] += 1

    def leave(self) -> None:
        client = multiprocessing.get_context("spawn").Process(target=leave, args=(DOMAIN,))
        client.start()
        client.join(WAIT)
        self.outcomes[f"clients that left: {client.exitcode}"] += 1

    def model(self) -> int:
        """Process id of the model's process, by what the node says; 0: none."""
        return int(self.diagnostics.get("process", 0))

    def settle(self, sent: int) -> None:
        """Wait until so many images are processed or counted as dropped, LATE at most."""
        end = monotonic() + LATE
        while self.status.frames_seen + self.status.frames_dropped < sent and monotonic() < end:
            sleep(PAUSE)

    def sample(self) -> dict[str, float]:
        node, model = self.process.pid, self.model()
        return {
            "node MB": resident_mb(node),
            "node threads": len(os.listdir(f"/proc/{node}/task")),
            "node descriptors": len(os.listdir(f"/proc/{node}/fd")),
            "model MB": resident_mb(model) if model and Path(f"/proc/{model}").exists() else 0.0,
            "spare MB": float(self.diagnostics.get("spare process (MB)", 0)),
        }


def leave(domain: int) -> None:
    """A client that asks several times, by service and by action, and is killed before an answer can have come."""
    from rclpy.action.client import ActionClient
    from rclpy.context import Context
    from rclpy.node import Node
    from spatial_mllm_msgs.action import AskSpatial as AskAction
    from spatial_mllm_msgs.srv import AskSpatial

    context = Context()
    context.init(domain_id=domain)
    node = Node("leaving", context=context)
    client = node.create_client(AskSpatial, "/spatial_mllm/ask")
    action = ActionClient(node, AskAction, "/spatial_mllm/ask_with_progress")
    if client.wait_for_service(WAIT) and action.wait_for_server(WAIT):
        for i in range(LEFT):
            client.call_async(AskSpatial.Request(question=f"Where is thing {i}?"))
            action.send_goal_async(AskAction.Goal(question=f"Where is thing {i}?"))
    os.kill(os.getpid(), signal.SIGKILL)


def run(
    path: Path | None = None, hours: float = 2.0, raw: bool = False, rate: float = 1.0, out: Path | None = None
) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        tape = Tape(path or recording(Path(folder)), raw)
    samples: list[dict[str, float]] = []
    with closing(Soak(tape)) as soak:
        soak.rate = rate
        soak.ready()
        start, passes = monotonic(), 0
        while monotonic() - start < 3600 * hours:
            soak.forget()
            end = Event()
            users = Thread(target=soak.use, args=(end,), daemon=True)
            users.start()
            sent = soak.play(range(len(tape.frames)))
            end.set()
            users.join(WAIT)
            sleep(SETTLE)
            soak.settle(sent)
            state = {"seen": soak.status.frames_seen, "dropped": soak.status.frames_dropped}
            samples.append({"seconds": monotonic() - start, "sent": sent, **state, **soak.sample()})
            print(" ".join(f"{name} {samples[-1][name]:.0f}" for name in COLUMNS), file=sys.stderr, flush=True)
            soak.harm(passes)
            passes += 1
        outcomes = ", ".join(f"{n} {what}" for what, n in sorted(soak.outcomes.items()))
    if out is not None:
        with out.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(samples)
    yield from rows(samples, outcomes)


def rows(samples: list[dict[str, float]], outcomes: str) -> Iterator[Row]:
    sent, seen, dropped = (int(sum(s[name] for s in samples)) for name in ("sent", "seen", "dropped"))
    about = f"{sent} sent in {samples[-1]['seconds'] / 3600:.2f} h"
    yield Row("frames processed, and counted as dropped", f"{seen}, {dropped}", about, f"{(seen + dropped) / sent:.5f}")
    warm = samples[int(len(samples) * WARM) :]
    half = len(warm) // 2
    for name in ("node MB", "node threads", "node descriptors", "model MB", "spare MB"):
        first, last = (np.median([s[name] for s in part if s[name]]) for part in (warm[:half], warm[half:]))
        yield Row(
            f"{name}, median of the second half", f"{last:.0f}", f"{first:.0f} in the first", f"{last / first:.3f}"
        )
    yield Row("every request has one outcome", outcomes)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("recording", nargs="?", type=Path)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--raw", action="store_true", help="images are sent as Image instead of CompressedImage")
    parser.add_argument("--rate", type=float, default=1.0, help="pace of playing, 1 for 30 images a second and camera")
    parser.add_argument("--out", type=Path, help="also write all samples as CSV")
    chosen = parser.parse_args()
    show(run(chosen.recording, chosen.hours, chosen.raw, chosen.rate, chosen.out))
