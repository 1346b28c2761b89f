"""The real engine in its process, over a model with random weights: as in this process, through crashes and cancels."""

import json
import os
import shutil
import signal
import threading
from dataclasses import replace
from pathlib import Path
from time import monotonic

import numpy as np
import pytest

from spatial_mllm_ros.config import AskParams
from spatial_mllm_ros.errors import ErrorCode
from spatial_mllm_ros.frames import Camera, Frame
from spatial_mllm_ros.mllm.process.remote import ModelProcess
from spatial_mllm_ros.mllm.question import AnswerType, Question

from .bench import Log, fds, outcome, poll

SECONDS = 60.0
CAMERA = Camera("camera", "optical", 84, 56, np.array([[60.0, 0, 41.5], [0, 60, 27.5], [0, 0, 1]]))
QUESTION = Question("How far is the table?", answer_type=AnswerType.TEXT)


def frames(seed=0, count=4):
    images = np.random.default_rng(seed).integers(0, 255, (count, 56, 84, 3), np.uint8)
    return [Frame(1_000_000_000 * seed + i + 1, CAMERA, image=image) for i, image in enumerate(images)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from spatial_mllm_ros.mllm.families.spatial_mllm.untrained import make_untrained

    return make_untrained(tmp_path_factory.mktemp("untrained") / "tiny")


@pytest.fixture(scope="module")
def model(folder):
    params = AskParams(model=str(folder), timeout=SECONDS, max_tokens=24, not_observed=1.0, device="cpu")
    model = ModelProcess(replace(params, heartbeat_timeout=1.0), Log())
    model.start()
    yield model
    model.close()


def test_it_answers_as_the_engine_does_in_this_process(model, folder):
    import torch

    from spatial_mllm_ros.mllm.answering.engine import load_engine

    torch.set_num_threads(1)
    engine = load_engine(folder, device="cpu", max_tokens=24, not_observed=1.0)
    for question in (QUESTION, Question("Which?", ("a cup", "a bowl"))):
        expected = engine.ask([frame.decoded() for frame in frames()], question)
        answer = model.ask(question, frames()).result(SECONDS)
        assert (answer.text, answer.verdict, answer.choice) == (expected.text, expected.verdict, expected.choice)
        assert answer.frames == expected.frames == (0, 1, 2, 3)
        assert answer.confidence == pytest.approx(expected.confidence, abs=1e-4)
    window = model.geometry(frames()).result(SECONDS)
    expected = engine.geometry([frame.decoded() for frame in frames()])
    assert np.allclose(window.depth, expected.depth, rtol=1e-3, atol=1e-5)
    assert np.allclose(window.window_from_camera, expected.window_from_camera, atol=1e-4)


def test_imports_of_torch_are_no_silence(model):
    assert model.ask(QUESTION, frames()).result(SECONDS)
    assert model.state.restarts == 0


def test_a_second_question_is_asked_of_the_encoded_scene(model):
    first = model.ask(QUESTION, frames(1)).result(SECONDS)
    second = model.ask(QUESTION, frames(1)).result(SECONDS)
    assert first.seconds_encode > 0
    assert second.seconds_encode == 0
    assert second.text == first.text


def endless(folder, copy):
    """A copy of the model that never ends an answer: that token is like no other, so others are always more likely."""
    from safetensors.numpy import load_file, save_file

    shutil.copytree(folder, copy)
    weights = load_file(copy / "model.safetensors")
    weights["model.embed_tokens.weight"][json.loads((copy / "generation_config.json").read_text())["eos_token_id"]] = 0
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


def test_it_is_canceled_between_two_tokens(folder, tmp_path):
    model = str(endless(folder, tmp_path / "endless"))
    params = AskParams(model=model, timeout=SECONDS, max_tokens=8192, not_observed=1.0, device="cpu")
    model = ModelProcess(params, Log())
    model.start()
    talking = threading.Event()
    try:
        ticket = model.ask(QUESTION, frames(), on_progress=lambda stage, text: text and talking.set())
        assert talking.wait(SECONDS)
        start = monotonic()
        ticket.cancel()
        assert outcome(ticket)[0] == ErrorCode.CANCELED
        after = model.ask(QUESTION, frames(2))
        poll(lambda: after.stage == "generating", "the next one's turn")
        assert monotonic() - start < 3.0  # with the encoding of another scene
    finally:
        model.close()


def test_killed_while_answering_the_next_answer_is_the_same(folder, tmp_path):
    path = str(endless(folder, tmp_path / "endless"))  # one that is never done before it is killed
    model = ModelProcess(AskParams(model=path, timeout=SECONDS, max_tokens=128, not_observed=1.0, device="cpu"), Log())
    model.start()
    try:
        expected = model.ask(QUESTION, frames(3)).result(SECONDS).text
        before, restarts = fds(), model.state.restarts
        talking = threading.Event()
        ticket = model.ask(QUESTION, frames(3), on_progress=lambda stage, text: text and talking.set())
        assert talking.wait(SECONDS)
        pid = model.state.pid
        os.kill(pid, signal.SIGKILL)
        assert outcome(ticket, SECONDS)[0] == ErrorCode.FAILED
        assert model.ask(QUESTION, frames(3)).result(SECONDS).text == expected
        assert model.state.restarts == restarts + 1
        assert not Path(f"/proc/{pid}").exists()
        assert fds() <= before
    finally:
        model.close()


def test_a_model_that_is_not_there_is_named(tmp_path):
    model = ModelProcess(AskParams(model=str(tmp_path / "nothing"), timeout=SECONDS), Log())
    model.start()
    try:
        code, text = outcome(model.ask(QUESTION, frames()), SECONDS)
        assert code == ErrorCode.MODEL_NOT_READY
        assert "nothing" in text
        assert model.state.stage == "failed"
    finally:
        model.close()


def test_a_tokenizer_that_panics_is_a_failure_that_is_said(folder, tmp_path):
    """Rust code raises no Exception then, but a BaseException: here for a prefix that is longer than its tokens."""
    copy = shutil.copytree(folder, tmp_path / "panics")
    state = json.loads((copy / "tokenizer.json").read_text("utf-8"))
    state["model"]["continuing_subword_prefix"] = "#" * 50
    (copy / "tokenizer.json").write_text(json.dumps(state), "utf-8")
    config = json.loads((copy / "tokenizer_config.json").read_text("utf-8"))
    config["tokenizer_class"] = "PreTrainedTokenizerFast"  # which takes the file as it is
    (copy / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    model = ModelProcess(AskParams(model=str(copy), timeout=SECONDS), Log())
    model.start()
    try:
        code, text = outcome(model.ask(QUESTION, frames()), SECONDS)
        assert code == ErrorCode.MODEL_NOT_READY
        assert "no usable processor (PanicException), expected" in text
        assert model.state.stage == "failed"
    finally:
        model.close()
