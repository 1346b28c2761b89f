"""Questions to the node: what they cost the images, and what becomes of them when much goes wrong.

``python -m benchmarks.ask [RECORDING] [--model M] [--questions N]``: by default the kitchen recording beside the
checkout, or a simulated room, and a tiny model with random weights.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep
from typing import Any

import numpy as np

from benchmarks.common import Row, recording, resident_mb, show
from benchmarks.node import SETTLE, WARM_UP, Player, Tape
from spatial_mllm_ros.config import AskParams
from spatial_mllm_ros.errors import ErrorCode, SpatialError
from spatial_mllm_ros.frames import Camera, Frame
from spatial_mllm_ros.mllm import Question
from spatial_mllm_ros.mllm.process.remote import ModelProcess

TOKENS = 16  # longest answer
KILLS, STOPS = 10, 5
CLIENTS = 32
WAIT = 60.0  # s
CAMERA = Camera("camera", "optical", 112, 84, np.array([[90.0, 0, 55.5], [0, 90, 41.5], [0, 0, 1]]))
QUESTION = Question("How far is the table from the door?")


class Asker(Player):
    """Plays the tape and asks meanwhile."""

    def __init__(self, tape: Tape, *parameters: str):
        from rclpy.action.client import ActionClient
        from spatial_mllm_msgs.action import AskSpatial as AskAction
        from spatial_mllm_msgs.srv import AskSpatial

        super().__init__(tape, ["camera"], *parameters)
        self.client = self.node.create_client(AskSpatial, "/spatial_mllm/ask")
        self.action = ActionClient(self.node, AskAction, "/spatial_mllm/ask_with_progress")
        self._request, self._goal = AskSpatial.Request, AskAction.Goal

    def until(self, condition: Any) -> None:
        deadline = monotonic() + WAIT
        while not condition():
            if monotonic() > deadline:
                raise SystemExit("nothing happened for a minute")
            sleep(0.005)

    def ask(self, **fields: Any) -> Any:
        return self.client.call_async(self._request(question=QUESTION.text, **fields))

    def go(self, **fields: Any) -> Any:
        return self.action.send_goal_async(self._goal(question=QUESTION.text, **fields))

    def ask_on(self, end: Event, answers: list[tuple[float, Any]]) -> None:
        """One question after the other until the end; seconds each took, and its answer."""
        while not end.is_set():
            start, future = monotonic(), self.ask()
            self.until(future.done)
            answers.append((monotonic() - start, future.result()))


def live(tape: Tape, model: str) -> Iterator[Row]:
    """The recording at its own pace, without questions and with one after the other; then 32 clients at once."""
    with closing(Asker(tape, f"ask.model:={model}", f"ask.max_tokens:={TOKENS}")) as asker:
        asker.ready()
        asker.until(lambda: asker.diagnostics.get("state") == "ready")
        asker.play(range(WARM_UP))
        for asked in (False, True):
            asker.forget()
            end, answers = Event(), []
            thread = Thread(target=asker.ask_on, args=(end, answers))
            if asked:
                thread.start()
            start = monotonic()
            sent = asker.play(range(WARM_UP, len(tape.frames)))
            seconds = monotonic() - start
            end.set()
            if asked:
                thread.join()
            sleep(SETTLE)
            name = "recording at 1x, one question after the other" if asked else "recording at 1x, no questions"
            yield from asker.rows(name, sent)
        took = [s for s, _ in answers]
        codes = Counter(a.error_code for _, a in answers if a.error_code != ErrorCode.NO_FRAMES)
        cold = sum(a.seconds_encode > 0 for _, a in answers)
        yield Row(
            "answers meanwhile",
            f"{codes[0]} in {seconds:.0f} s, {cold} of them with encoding; p50 {np.median(took) * 1e3:.0f} ms,"
            f" p95 {np.percentile(took, 95) * 1e3:.0f} ms",
            f"{codes.total()} asked",
            f"{codes[0] / codes.total():.3f}",
        )
        yield from crowd(asker)


def crowd(asker: Asker) -> Iterator[Row]:
    """32 clients at once, half of them goals; half of all cancel or have no time."""
    start = monotonic()
    calls = [asker.ask(timeout=0.1 if i % 2 else 0.0) for i in range(CLIENTS // 2)]
    goals = [asker.go() for _ in range(CLIENTS // 2)]
    asker.until(lambda: all(goal.done() for goal in goals))
    results = [goal.result().get_result_async() for goal in goals]
    for goal in goals[::2]:
        goal.result().cancel_goal_async()
    asker.until(lambda: all(future.done() for future in (*calls, *results)))
    outcomes = [call.result() for call in calls] + [result.result().result for result in results]
    names = Counter(ErrorCode(o.error_code).name if o.error_code else "answered" for o in outcomes)
    after = asker.ask()
    asker.until(after.done)
    said = ", ".join(f"{n} {name}" for name, n in names.most_common())
    yield Row(
        f"{CLIENTS} clients at once, half cancel or time out",
        f"{len(outcomes)} outcomes in {monotonic() - start:.1f} s: {said}; the next question:"
        f" {'answered' if after.result().error_code == 0 else after.result().error_msg}",
    )


class Quiet:
    def info(self, _: str) -> None:
        pass

    debug = warning = error = info


def frames(scene: int) -> list[Frame]:
    images = np.random.default_rng(scene).integers(0, 255, (4, CAMERA.height, CAMERA.width, 3), np.uint8)
    return [Frame(10_000_000_000 + 100 * scene + i, CAMERA, image=image) for i, image in enumerate(images)]


def hit(process: ModelProcess, number: signal.Signals, times: int) -> Iterator[Row]:
    """A signal that ends or stops the process while it answers: when that is shown, and when it answers again."""
    expected = process.ask(QUESTION, frames(0)).result().text
    descriptors, failed, right = len(os.listdir("/proc/self/fd")), 0, 0
    shown, told, back = [], [], []
    for _ in range(times):
        generating = Event()
        ticket = process.ask(QUESTION, frames(0), on_progress=lambda stage, _, e=generating: e.set())
        generating.wait(WAIT)
        start = monotonic()
        os.kill(process.state.pid, number)
        while process.state.stage == "ready":
            sleep(0.005)
        shown.append(monotonic() - start)
        try:
            ticket.result()
        except SpatialError as error:
            failed += error.code == ErrorCode.FAILED
        told.append(monotonic() - start)
        right += process.ask(QUESTION, frames(0)).result().text == expected
        back.append(monotonic() - start)
    leaked = len(os.listdir("/proc/self/fd")) - descriptors
    yield Row(
        f"{number.name} while answering, {times} times",
        f"{failed} FAILED, {right} right answers after; shown after {max(shown):.2f} s at most, FAILED after"
        f" {max(told):.2f} s at most; {np.median(back):.1f} s to the next answer, model loaded again; {leaked}"
        " descriptors leaked",
    )


def process(model: str, questions: int) -> Iterator[Row]:
    """The model's process by itself: killed and stopped while it answers, and asked very often."""
    params = AskParams(model=model, timeout=WAIT, max_tokens=TOKENS, not_observed=1.0)
    process = ModelProcess(params, Quiet())
    process.start()
    try:
        yield from hit(process, signal.SIGKILL, KILLS)
        yield from hit(process, signal.SIGSTOP, STOPS)
        descriptors = len(os.listdir("/proc/self/fd"))
        sizes = []
        for i in range(questions):
            process.ask(QUESTION, frames(i % 50)).result()
            if i % 50 == 49:
                sizes.append(resident_mb(process.state.pid))
        descriptors = len(os.listdir("/proc/self/fd")) - descriptors
        middle = sizes[len(sizes) // 2]
        yield Row(
            f"{questions} questions about 50 scenes: the process's memory",
            f"{sizes[0]:.0f} MB after 50, {middle:.0f} MB after half, {sizes[-1]:.0f} MB at the end;"
            f" {descriptors} descriptors leaked",
            "after half",
            f"{sizes[-1] / middle:.3f}",
        )
    finally:
        process.close()


def run(path: Path | None = None, model: str = "", questions: int = 1000) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        if not model:
            from spatial_mllm_ros.mllm.families.spatial_mllm.untrained import make_untrained

            model = str(make_untrained(Path(folder) / "tiny"))
        yield from live(Tape(path or recording(Path(folder))), model)
        yield from process(model, questions)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ask", description=__doc__)
    parser.add_argument("recording", nargs="?", type=Path, help="a bag; by default the kitchen recording")
    parser.add_argument("--model", default="", help="folder or hub id; by default a tiny one with random weights")
    parser.add_argument("--questions", type=int, default=1000, help="asked to see whether memory grows")
    arguments = parser.parse_args()
    show(run(arguments.recording, arguments.model, arguments.questions))
