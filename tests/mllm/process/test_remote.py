"""The model's process from outside: every question gets one outcome, whatever happens in there."""

import os
import pickle
import signal
import subprocess
import sys
import threading
from concurrent.futures import wait
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from time import monotonic

import numpy as np
import pytest

from spatial_mllm_ros.errors import BadMessage, ErrorCode, SpatialError
from spatial_mllm_ros.frames import Frame, Pixels
from spatial_mllm_ros.mllm.calibration import Calibration, write_calibration
from spatial_mllm_ros.mllm.process import lifetime, remote
from spatial_mllm_ros.mllm.process.protocol import Channel
from spatial_mllm_ros.mllm.question import Question

from .bench import CAMERA, OTHER, SECONDS, fds, frames, outcome, poll


def shared_memory(pid="self"):
    """Files in shared memory that a process maps: what has a name could be left behind."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {line[line.index("/dev/shm/") :] for line in lines if "/dev/shm/" in line}


def test_an_answer_comes_from_the_frames_that_were_sent(bench):
    b = bench(max_tokens=77, not_observed=0.25)
    images = [*frames(2), *frames(1, 2, OTHER)]
    first = b.ask(images=images).result(SECONDS)
    assert first.text == "[10, 20, 30] 0.25"
    assert first.frames == (0, 1, 2)
    assert (first.seconds_encode, first.seconds_generate) == (0.25, 0.5)
    b.model.params = replace(b.model.params, not_observed=1.0)
    second = b.ask(images=images).result(SECONDS)  # the same scene: no pixels are sent again
    assert (second.text, second.seconds_encode) == ("[10, 20, 30] 1.0", 0.0)
    other = b.ask(images=images, epoch=1).result(SECONDS)  # the same stamps, after a reset
    assert other.seconds_encode == 0.25
    assert b.calls[0].startswith("load 77 ")
    shapes = "[(6, 8, 3), (6, 8, 3), (12, 16, 3)]"
    assert b.calls[1:] == [f"encode 3 {shapes}", "answer what", "answer what", f"encode 3 {shapes}", "answer what"]


def test_nothing_is_kept_decoded_and_broken_frames_are_left_out(bench):
    b = bench()

    def broken():
        raise BadMessage("JPEG is broken")

    good = [Frame(f.stamp_ns, CAMERA, image=Pixels(6, 8, 1, lambda f=f: f.image)) for f in frames(3)]
    images = [good[0], Frame(5, CAMERA, image=Pixels(6, 8, 1, broken)), good[2]]
    for _ in range(2):  # encoded, then known
        answer = b.ask(images=images).result(SECONDS)
        assert (answer.text, answer.frames) == ("[10, 30] -1.0", (0, 2))
    assert all(f._image is None for f in images)
    code, text = outcome(b.ask(images=images[1:2]))
    assert code == ErrorCode.NO_FRAMES
    assert "JPEG is broken" in text
    assert b.ask().result(SECONDS).text == "[10, 20] -1.0"


def test_progress_streams_back(bench):
    b = bench()
    heard = []
    b.ask("say something", on_progress=lambda stage, text: heard.append((stage, text))).result(SECONDS)
    assert heard[:2] == [("encoding", ""), ("generating", "")]
    texts = [text for stage, text in heard[2:]]
    assert len(texts) >= 2
    assert all(stage == "generating" for stage, _ in heard[2:])
    assert all(a == b[: len(a)] and len(a) < len(b) for a, b in pairwise(texts))


def test_a_listener_that_fails_disturbs_nobody(bench):
    b = bench()

    def fail(*_):
        raise RuntimeError("a defect of the listener")

    assert b.ask(on_progress=fail).result(SECONDS).text == "[10, 20] -1.0"
    assert [line for line in b.log.lines if "a defect of the listener" in line]


def test_a_question_is_canceled_within_a_token_and_the_next_is_answered(bench):
    b = bench()
    talking = threading.Event()
    ticket = b.ask("long story", on_progress=lambda stage, text: text and talking.set())
    assert talking.wait(SECONDS)
    start = monotonic()
    ticket.cancel()
    assert outcome(ticket) == (ErrorCode.CANCELED, "canceled by the client")
    assert b.ask().result(SECONDS).text == "[10, 20] -1.0"
    assert monotonic() - start < 1.0
    assert "stopped" in b.calls
    assert b.model.state.restarts == 0


def test_a_question_that_waits_is_canceled_at_once(bench):
    b = bench()
    first = b.ask("gate")
    b.called("gate", "answering")
    second, third = b.ask("second"), b.ask("third")
    assert b.model.state.waiting == 2
    second.cancel()
    assert outcome(second)[0] == ErrorCode.CANCELED
    b.open("answering")
    assert first.result(SECONDS)
    assert third.result(SECONDS)
    second.cancel()  # once more changes nothing
    first.cancel()
    assert "answer second" not in b.calls


def test_the_deadline_holds_while_the_process_is_stuck(bench):
    b = bench()
    b.stage("ready")
    (b.folder / "encode").write_text("wait")
    start = monotonic()
    stuck = b.ask(timeout=0.5)
    waits = b.ask(timeout=0.7)
    assert outcome(stuck) == (ErrorCode.TIMEOUT, "no answer within 0.5 s; it was encoding")
    assert 0.5 <= monotonic() - start < 2.0
    assert outcome(waits) == (ErrorCode.TIMEOUT, "no answer within 0.7 s; it was waiting")
    assert 0.7 <= monotonic() - start < 2.0
    (b.folder / "encode").unlink()
    last = b.ask("last")
    b.open("encoding")
    assert last.result(SECONDS)


def test_a_late_question_leaves_its_scene_encoded_for_the_next(bench):
    b = bench()
    b.stage("ready")
    (b.folder / "encode").write_text("wait")
    late = b.ask("late", timeout=0.3)
    assert outcome(late)[0] == ErrorCode.TIMEOUT
    b.open("encoding")
    answer = b.ask("next").result(SECONDS)
    assert (answer.text, answer.seconds_encode) == ("[10, 20] -1.0", 0.0)
    assert len([c for c in b.calls if c.startswith("encode")]) == 1


def test_what_a_late_question_left_gives_way_to_another_scene(bench):
    b = bench()
    b.stage("ready")
    (b.folder / "encode").write_text("slow")  # until it is stopped
    late = b.ask("late", timeout=0.3)
    assert outcome(late)[0] == ErrorCode.TIMEOUT
    (b.folder / "encode").unlink()
    assert b.ask("next", images=frames(3)).result(SECONDS).text == "[10, 20, 30] -1.0"
    assert "stopped" in b.calls
    assert "answer late" not in b.calls
    assert b.model.state.restarts == 0


def test_a_process_that_does_not_move_after_its_cancellation_is_killed(bench, monkeypatch):
    monkeypatch.setattr(remote, "GRACE", 0.2)
    b = bench(timeout=0.3)
    pid = b.stage("ready").pid
    (b.folder / "encode").write_text("wait")
    stuck = b.ask(timeout=SECONDS)
    b.called("gate", "encoding")
    stuck.cancel()
    assert outcome(stuck)[0] == ErrorCode.CANCELED
    (b.folder / "encode").unlink()
    assert b.ask(timeout=SECONDS).result(SECONDS)
    assert b.model.state.restarts == 1
    assert not Path(f"/proc/{pid}").exists()


def test_more_questions_than_may_wait_are_busy(bench):
    b = bench(waiting=3)
    tickets = [b.ask("gate")]
    b.called("gate", "answering")
    tickets += [b.ask(str(i)) for i in range(3)]
    with pytest.raises(SpatialError, match="3 questions are waiting") as error:
        b.ask("one too many")
    assert error.value.code == ErrorCode.BUSY
    tickets[1].cancel()
    tickets.append(b.ask("in the place of the canceled one"))
    b.open("answering")
    done = [t.future.exception(SECONDS) for t in tickets]
    assert [e is None for e in done] == [True, False, True, True, True]
    answered = [call.removeprefix("answer ") for call in b.calls if call.startswith("answer ")]
    assert answered == ["gate", "1", "2", "in the place of the canceled one"]


@pytest.mark.parametrize(
    ("word", "how"), [("crash", "killed by signal 9"), ("exit", "exit code 7"), ("cuda", "RuntimeError")]
)
def test_a_process_that_ends_fails_one_question_and_answers_the_next(bench, word, how):
    b = bench()
    assert b.ask().result(SECONDS)
    failing, waiting = b.ask(word), b.ask("next")
    code, text = outcome(failing)
    assert code == ErrorCode.FAILED
    assert how in text
    assert waiting.result(SECONDS).text == "[10, 20] -1.0"
    assert b.model.state.restarts == 1


def test_killed_while_answering_three_times(bench):
    b = bench()
    before = fds()
    for i in range(3):
        talking = threading.Event()
        ticket = b.ask("long", on_progress=lambda stage, text, told=talking: text and told.set())
        assert talking.wait(SECONDS)
        pid = b.model.state.pid
        os.kill(pid, signal.SIGKILL)
        code, text = outcome(ticket)
        assert (code, text) == (
            ErrorCode.FAILED,
            "the model's process ended (killed by signal 9); it is started again",
        )
        assert not Path(f"/proc/{pid}").exists()
        assert b.ask().result(SECONDS).text == "[10, 20] -1.0"
        assert b.model.state.restarts == i + 1
    assert fds() <= before + 3  # the two channels of the present process, its output


@pytest.mark.parametrize(
    ("word", "code", "text"),
    [
        (
            "memory",
            ErrorCode.FAILED,
            "out of memory: expected fewer frames, a smaller model or a shorter dtype; the node's log has the details",
        ),
        ("defect", ErrorCode.FAILED, "the model failed (ValueError); ask again; the node's log has the details"),
        ("unsure", ErrorCode.BAD_REQUEST, "the question makes no sense"),
    ],
)
def test_an_error_of_the_engine_is_that_questions_alone(bench, word, code, text):
    b = bench()
    assert outcome(b.ask(word)) == (code, text)
    assert b.ask().result(SECONDS)
    assert b.model.state.restarts == 0
    if word == "defect":
        poll(lambda: [line for line in b.log.lines if "ValueError" in line], "the traceback in the log")


def test_a_traceback_is_told_once(bench):
    b = bench()
    for _ in range(3):
        assert outcome(b.ask("defect"))[0] == ErrorCode.FAILED
    poll(lambda: sum("as before: ValueError" in line for line in b.log.errors) == 2, "the third time")
    (told,) = [line for line in b.log.lines if "Traceback" in line]
    assert told in b.log.errors
    assert told.startswith("the model's process: Traceback")
    assert told.splitlines()[-1] == f"ValueError: in {b.folder}"


def test_versions_that_were_not_tested_are_in_the_log_at_once(bench, monkeypatch):
    monkeypatch.setattr(remote, "outside", lambda: ["torch 9 is outside of what was tested"])
    b = bench()
    assert b.log.lines[0] == "the model may fail: torch 9 is outside of what was tested"
    assert b.ask().result(SECONDS)


def test_without_a_model_the_reason_comes_at_once(bench):
    b = bench(model="none")
    assert (b.model.model, b.model.max_frames) == ("", 16)
    with pytest.raises(SpatialError, match="set the parameter") as error:
        b.ask()
    assert error.value.code == ErrorCode.MODEL_NOT_READY
    assert b.model.state.stage == "off"


def test_a_model_that_is_still_loading(bench):
    b = bench(started=False)
    (b.folder / "load").write_text("wait")
    b.model.start()
    code, text = outcome(b.ask(timeout=0.3))
    assert code == ErrorCode.MODEL_NOT_READY
    assert "not loaded within 0.3 s" in text
    patient = b.ask()
    state = poll(lambda: b.model.state.fraction and b.model.state, "progress")
    assert (state.stage, state.fraction, state.message) == ("loading", 0.25, "weights, 25%")
    b.open("loading")
    assert patient.result(SECONDS)
    assert b.model.state.stage == "ready"
    assert b.model.state.nbytes > 1_000_000


def test_a_model_that_cannot_be_loaded_says_why(bench):
    b = bench(started=False)
    (b.folder / "load").write_text("refuse")
    b.model.start()
    waiting = b.ask()
    assert outcome(waiting) == (ErrorCode.MODEL_NOT_READY, "the model lacks tensors: visual.merger, and 3 more")
    with pytest.raises(SpatialError, match="lacks tensors"):
        b.ask()
    poll(lambda: not b.model.state.pid, "its end")
    assert b.model.state.restarts == 0  # a wrong model stays wrong


def test_a_library_that_is_too_old_stays_so(bench):
    b = bench(started=False)
    (b.folder / "load").write_text("old")
    b.model.start()
    code, text = outcome(b.ask())
    assert code == ErrorCode.MODEL_NOT_READY and "ImportError" in text
    poll(lambda: not b.model.state.pid, "its end")
    assert b.model.state.restarts == 0


def test_loading_that_breaks_is_tried_again_and_shows_no_path(bench, monkeypatch):
    monkeypatch.setattr(lifetime, "LEAST_BACKOFF", 0.1)
    b = bench(started=False)
    (b.folder / "load").write_text("break")
    b.model.start()
    code, text = outcome(b.ask())
    assert code == ErrorCode.MODEL_NOT_READY
    assert text == "loading failed: the model failed (RuntimeError); the node's log has the details"
    poll(lambda: b.model.state.restarts >= 1, "another try")
    (b.folder / "load").unlink()
    b.stage("ready")
    assert b.ask().result(SECONDS)


def test_a_panic_while_loading_is_said_and_not_tried_again(bench):
    b = bench(started=False)
    (b.folder / "load").write_text("panic")
    b.model.start()
    code, text = outcome(b.ask())
    assert code == ErrorCode.MODEL_NOT_READY
    said = "loading failed: the model failed (PanicException: index out of range); the node's log has the details"
    assert text == said
    poll(lambda: not b.model.state.pid, "its end")
    assert (b.model.state.stage, b.model.state.restarts) == ("failed", 0)
    assert [line for line in b.log.errors if "Traceback" in line and "in the vocabulary" in line]


def test_a_panic_in_a_question_is_that_questions_alone(bench):
    b = bench()
    code, text = outcome(b.ask("panic"))
    assert code == ErrorCode.FAILED
    assert "PanicException: index out of range" in text
    assert b.ask().result(SECONDS).text == "[10, 20] -1.0"
    assert b.model.state.restarts == 0


def test_a_process_that_dies_while_loading_is_started_again(bench):
    b = bench(started=False)
    (b.folder / "load").write_text("once")
    b.model.start()
    assert b.ask().result(SECONDS)
    assert b.model.state.restarts == 1


def test_restarts_come_later_and_later(bench):
    b = bench(started=False)
    (b.folder / "load").write_text("die")
    b.model.start()
    poll(lambda: b.model.state.restarts >= 1, "a second start")
    state = b.stage("restarting")
    poll(lambda: len([c for c in b.calls if c.startswith("load")]) >= 3, "a third start")
    assert state.message == "the model's process ended (killed by signal 9); it is started again"
    start = monotonic()
    b.model.close()  # does not wait for the next start
    assert monotonic() - start < 2


def test_an_engine_that_cannot_be_imported(bench):
    b = bench(started=False)
    b.model._engine = "no_such_package.engine:Engine"
    b.model.start()
    code, text = outcome(b.ask())
    assert code == ErrorCode.MODEL_NOT_READY
    assert text.startswith("no_such_package is not installed")


def test_close_ends_everything_at_once(bench):
    b = bench()
    tickets = [b.ask("long"), b.ask("waits")]
    b.called("answer", "long")
    pid = b.model.state.pid
    b.model.close()
    assert [outcome(t)[0] for t in tickets] == [ErrorCode.CANCELED] * 2
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(SpatialError) as error:
        b.ask()
    assert error.value.code == ErrorCode.CANCELED
    b.model.close()


def test_warming_makes_the_first_question_find_its_scene(bench):
    b = bench()
    b.model.warm(frames()).result(SECONDS)
    assert b.ask().result(SECONDS).seconds_encode == 0
    assert len([c for c in b.calls if c.startswith("encode")]) == 1


def test_warming_gives_way_to_questions_and_to_newer_scenes(bench):
    b = bench()
    b.stage("ready")
    (b.folder / "encode").write_text("slow")  # until it is stopped
    running = b.model.warm(frames(1))
    b.called("encode", "1")
    waits, newest = b.model.warm(frames(2)), b.model.warm(frames(3))
    with pytest.raises(SpatialError) as error:
        waits.result(SECONDS)
    assert error.value.code == ErrorCode.CANCELED
    (b.folder / "encode").unlink()
    assert b.ask(images=frames(4)).result(SECONDS)
    assert running.exception(SECONDS).message == "a question came first"
    newest.result(SECONDS)
    assert [c.split()[1] for c in b.calls if c.startswith("encode")] == ["1", "4", "3"]


def test_geometry_comes_back_and_after_questions(bench):
    b = bench()
    first = b.ask("gate")
    b.called("gate", "answering")
    window, question = b.model.geometry(frames(3)), b.ask("next")
    b.open("answering")
    geometry = window.result(SECONDS)
    assert geometry.depth.shape == (3, 6, 8)
    assert geometry.depth[:, 0, 0].tolist() == [10, 20, 30]
    assert geometry.confidence[2, 5, 7] == 31
    assert geometry.window_from_camera.dtype == np.float64
    assert question.result(SECONDS)
    assert first.result(SECONDS)
    assert b.calls.index("answer next") < b.calls.index("geometry 3")
    (b.folder / "geometry").write_text("broken")
    with pytest.raises(SpatialError, match="the model failed") as error:
        b.model.geometry(frames(3)).result(SECONDS)
    assert error.value.code == ErrorCode.FAILED
    assert b.ask().result(SECONDS)


def test_many_askers_each_get_one_outcome(bench):
    b = bench(waiting=8)
    b.stage("ready")
    counts, refused = [], []

    def ask(i):
        try:
            ticket = b.ask("say" if i % 3 else "crash", frames(1, i % 4), timeout=0.2 if i % 4 == 1 else SECONDS)
        except SpatialError as error:
            refused.append(error.code)
            return
        ticket.future.add_done_callback(lambda _: counts.append(i))
        if i % 4 == 3:
            ticket.cancel()
        wait([ticket.future], SECONDS)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive()
    assert len(counts) == len(set(counts))
    assert len(counts) + len(refused) == 32
    assert set(refused) <= {ErrorCode.BUSY}
    assert b.ask().result(SECONDS)


def test_descriptors_and_memory_files_stay_flat(bench):
    b = bench()
    for i in range(5):
        b.ask(images=frames(4, i)).result(SECONDS)
    pid = b.model.state.pid
    before, shared = (fds(), fds(pid)), (shared_memory(), shared_memory(pid))
    for i in range(60):
        b.ask(images=frames(4, i)).result(SECONDS)
        b.model.geometry(frames(2, i)).result(SECONDS)
    poll(lambda: fds() <= before[0] and fds(pid) <= before[1], f"{before} descriptors")
    mapped = [line for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if "memfd:arrays" in line]
    assert len(mapped) <= 1
    assert (shared_memory(), shared_memory(pid)) == shared


@pytest.mark.parametrize("body", [b"no pickle", pickle.dumps(("two", ())), pickle.dumps(("x", (), [((2,), "u1", 0)]))])
def test_what_is_no_message_ends_the_conversation(body):
    ours, theirs = Channel.pair()
    theirs._connection.send_bytes(body)
    theirs.close()  # where a descriptor is announced, none comes
    assert ours.receive() is None
    ours.close()


def test_a_defect_on_this_side_fails_what_waits_and_says_so(bench, monkeypatch):
    b = bench()
    b.stage("ready")

    def fail():
        raise RuntimeError("a defect")

    monkeypatch.setattr(b.model, "_dispatch", fail)
    assert outcome(b.ask()) == (ErrorCode.FAILED, "the model is given up; the node's log has the details")
    with pytest.raises(SpatialError) as error:
        b.ask()
    assert error.value.code == ErrorCode.MODEL_NOT_READY
    assert [line for line in b.log.lines if "a defect" in line]


def test_this_side_needs_no_torch():
    code = "import sys, spatial_mllm_ros.mllm.process.remote; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


PARENT = """
import os, sys
from tests.mllm.process.bench import Bench, SECONDS
from pathlib import Path
b = Bench(Path(sys.argv[1]))
ticket = b.ask("long")
b.called("answer", "long")
print(b.model.state.pid, flush=True)
os.kill(os.getpid(), 9)
"""


def test_the_process_ends_with_a_parent_that_is_killed(tmp_path):
    parent = subprocess.run([sys.executable, "-c", PARENT, str(tmp_path)], capture_output=True, text=True, timeout=60)
    pid = int(parent.stdout)
    poll(lambda: not Path(f"/proc/{pid}").exists() or "zombie" in Path(f"/proc/{pid}/status").read_text(), "its end")


def test_it_is_nice_and_leaves_a_core_and_interrupts_to_its_parent(bench, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    b = bench()
    pid = b.stage("ready").pid
    assert os.getpriority(os.PRIO_PROCESS, pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)
    environment = dict(e.partition("=")[::2] for e in Path(f"/proc/{pid}/environ").read_text().split("\0"))
    assert 1 <= int(environment["OMP_NUM_THREADS"]) <= max(1, len(os.sched_getaffinity(0)) - 1)
    os.kill(pid, signal.SIGINT)
    assert b.ask().result(SECONDS)
    assert b.model.state.pid == pid
    assert "model process: loaded" in b.log.debugged


def test_figures_of_the_model_are_known_before_and_after_it_is_loaded(bench, tmp_path):
    write_calibration(tmp_path, Calibration(max_frames=6))
    b = bench(started=False)
    assert b.model.max_frames == 6, "from the folder"
    b.model.start()
    b.stage("ready")
    assert (b.model.max_frames, b.model.calibration.motion_confidence) == (4, 0.5), "from the engine"
    b.model.params = replace(b.model.params, max_frames=9)
    assert b.model.max_frames == 4, "no more than it was trained with"
    b.model.params = replace(b.model.params, max_frames=3)
    assert b.model.max_frames == 3


def test_questions_about_motion_come_last_and_leave_nothing_behind(bench):
    b = bench()
    b.stage("ready")
    asked = [b.ask("gate"), b.ask("second", images=frames(2, 4))]
    b.called("gate", "answering")
    motion = b.model.motion(Question("moved"), frames(2, 8))
    with pytest.raises(SpatialError) as error:
        b.model.motion(Question("again"), frames(2, 8))
    assert error.value.code == ErrorCode.BUSY
    b.open("answering")
    assert [ticket.result(SECONDS).text for ticket in asked] and motion.result(SECONDS).text.startswith("[90, 100]")
    assert [call.split()[1] for call in b.calls if call.startswith("answer")] == ["gate", "second", "moved"]
    b.called("drop")
    assert b.ask("second", images=frames(2, 8)).result(SECONDS).seconds_encode == 0.25, "encoded anew"
