"""A model's process that hangs: stopped, in a deadlock, or not to be killed; and one that is only slow."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from spatial_mllm_ros.errors import ErrorCode, SpatialError
from spatial_mllm_ros.mllm.process import lifetime
from spatial_mllm_ros.mllm.process.child import Child

from .bench import SECONDS, outcome, poll

RIGHT = "[10, 20] -1.0"
STOPPED = "it is stopped"


def stop(b):
    """Stop the process where it is; its id."""
    pid = b.model.state.pid
    os.kill(pid, signal.SIGSTOP)
    return pid


def replaced(b, pid):
    """The state, once another process is ready."""
    return poll(lambda: (s := b.model.state).stage == "ready" and s.pid != pid and s, "another process")


def took(b):
    return float(b.called("took")[-1].split()[1])


def test_stopped_while_idle_it_is_shown_and_replaced(bench):
    b = bench()
    b.stage("ready")
    pid = stop(b)
    state = b.stage("unresponsive")
    assert state.message.startswith("no heartbeat for ") and state.message.endswith(STOPPED)
    assert 0.5 <= state.silent < 3.0
    asked = b.ask()
    state = replaced(b, pid)
    assert state.restarts == 1
    assert state.last_end.startswith("the model's process hangs (no heartbeat for ") and STOPPED in state.last_end
    assert asked.result(SECONDS).text == RIGHT
    assert not Path(f"/proc/{pid}").exists()
    assert [line for line in b.log.errors if STOPPED in line]
    assert not [line for line in b.log.errors if "printed last" in line], "it was not asked where it hangs"


def test_stopped_while_loading_it_is_replaced(bench):
    b = bench(started=False)
    (b.folder / "load").write_text("wait")
    b.model.start()
    asked = b.ask()
    b.called("gate", "loading")
    (b.folder / "load").unlink()
    pid = stop(b)
    assert STOPPED in b.stage("unresponsive").message
    assert asked.result(SECONDS).text == RIGHT
    assert b.model.state.restarts == 1
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(("word", "call"), [("gate", ("gate", "answering")), ("long", ("answer", "long"))])
def test_stopped_while_answering_one_question_fails_and_the_next_is_answered(bench, word, call):
    b = bench()
    failing, waiting = b.ask(word), b.ask("next")
    b.called(*call)
    pid = stop(b)
    code, text = outcome(failing)
    assert code == ErrorCode.FAILED
    assert text.startswith("the model's process hangs (no heartbeat for ")
    assert text.endswith(f"{STOPPED}); it is started again")
    assert waiting.result(SECONDS).text == RIGHT
    assert b.model.state.restarts == 1
    assert not Path(f"/proc/{pid}").exists()


def test_a_call_that_never_returns_is_found_in_the_log(bench):
    b = bench()
    hanging, waiting = b.ask("deadlock"), b.ask("next")
    code, text = outcome(hanging)
    assert code == ErrorCode.FAILED
    assert "none of its threads works" in text
    assert waiting.result(SECONDS).text == RIGHT
    (stacks,) = [line for line in b.log.errors if line.startswith("the model's process printed last:\n")]
    assert "engines.py" in stacks and "in answer" in stacks


def test_what_keeps_the_channel_of_a_dead_process_open_does_not_hide_its_end(bench):
    b = bench()
    failing = b.ask("orphan")
    assert outcome(failing)[0] == ErrorCode.FAILED
    assert b.ask().result(SECONDS).text == RIGHT


@pytest.mark.parametrize("word", ["keeps", "native", "waits"])
def test_what_is_slow_and_lives_is_left_alone(bench, monkeypatch, word):
    monkeypatch.setattr(lifetime, "SLOW", 600.0)  # other work on the machine makes it slower still
    b = bench(heartbeat_timeout=1.0)
    assert b.ask(f"{word} 2").result(SECONDS).text == RIGHT
    assert took(b) > 1.5
    assert b.model.state.restarts == 0


def test_a_short_deadlock_is_left_alone(bench):
    b = bench(heartbeat_timeout=10.0)
    pid = b.stage("ready").pid
    stop(b)
    b.stage("unresponsive")
    os.kill(pid, signal.SIGCONT)
    assert b.ask().result(SECONDS).text == RIGHT
    assert b.stage("ready").pid == pid
    assert b.model.state.silent < 1.0


def test_what_keeps_the_interpreter_for_too_long_is_replaced(bench, monkeypatch):
    monkeypatch.setattr(lifetime, "SLOW", 1.0)
    b = bench(heartbeat_timeout=1.0)
    code, text = outcome(b.ask("keeps 3600"))
    assert code == ErrorCode.FAILED
    assert "it is busy" in text
    assert b.ask().result(SECONDS).text == RIGHT


def test_what_is_canceled_and_does_not_end_is_shown(bench):
    b = bench()
    b.stage("ready")
    (b.folder / "encode").write_text("wait")
    stuck = b.ask()
    b.called("gate", "encoding")
    (b.folder / "encode").unlink()
    stuck.cancel()
    assert b.stage("unresponsive").message.startswith("it is busy with what was canceled ")
    b.open("encoding")
    b.stage("ready")


def test_a_process_that_cannot_be_killed_is_left_to_itself(bench, monkeypatch):
    monkeypatch.setattr(lifetime, "KILLED", 0.2)
    b = bench()
    b.stage("ready")
    pid = stop(b)
    with monkeypatch.context() as patch:
        patch.setattr(Child, "kill", lambda self: None)
        replaced(b, pid)
    assert b.ask().result(SECONDS).text == RIGHT
    assert f"process {pid} of the model cannot be killed: it is left to itself" in b.log.errors
    with suppress(ChildProcessError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_model_that_never_lives_is_given_up_with_the_reason(bench, monkeypatch):
    monkeypatch.setattr(lifetime, "PAUSE", 0.001)
    b = bench(started=False, timeout=300.0)
    (b.folder / "load").write_text("die")
    b.model.start()
    asked = b.ask()
    code, text = outcome(asked, 300)
    assert code == ErrorCode.MODEL_NOT_READY
    assert text == (
        "the model's process ended (killed by signal 9); given up after 8 tries in a row: mend what fails, then"
        " configure the node anew"
    )
    state = b.model.state
    assert state.stage == "failed"
    assert (state.message, state.restarts, state.pid) == (text, 7, 0)
    with pytest.raises(SpatialError, match="given up after 8 tries"):
        b.ask()
    assert len([call for call in b.calls if call.startswith("load")]) == 8


def test_a_process_that_ends_says_what_it_printed_last(bench):
    b = bench()
    assert outcome(b.ask("exit"))[0] == ErrorCode.FAILED
    (told,) = [line for line in b.log.errors if "exit code 7" in line]
    assert told == "the model's process ended (exit code 7); it is started again; it printed last:\nloaded"
