"""What a model cannot do: answers that are cut off, frames it was not trained with, thoughts that it has not."""

import shutil
from dataclasses import replace
from math import isnan

import pytest

from spatial_mllm_ros.mllm.answering.answer import GARBLED, UNREASONED, UNTRAINED, Answerer, Speech
from spatial_mllm_ros.mllm.answering.decode import TextStream
from spatial_mllm_ros.mllm.answering.engine import load_engine
from spatial_mllm_ros.mllm.calibration import Calibration, write_calibration
from spatial_mllm_ros.mllm.question import AnswerType, Question, Verdict
from spatial_mllm_ros.mllm.text.parsing import NONSENSE
from spatial_mllm_ros.mllm.text.tokens import encode_text

from .test_engine import CHOICE, TOKENS, clip, generated, said

TEXT = Question("Where is the mug?", answer_type=AnswerType.TEXT)
GARBAGE = "1941,666 mm7)871)616 mm1"


@pytest.fixture(scope="module")
def loaded(tiny):
    return load_engine(tiny, device="cpu", max_tokens=TOKENS, not_observed=1.0)


@pytest.fixture
def engine(loaded):
    """The engine without a calibration, and set back to that afterwards."""
    loaded.encode("scene", clip(0))
    ends, longest = loaded.model.network.generation_config.eos_token_id, loaded.max_tokens
    yield loaded
    loaded.calibration, loaded.max_tokens = Calibration(), longest
    loaded.model.network.generation_config.eos_token_id = ends


def speaks(engine, monkeypatch, thinking, plainly):
    """It says one text where it is asked to think first, another where it is not; returns which of both it was."""
    asked: list[bool] = []
    tokenizer = engine.model.processor.tokenizer

    def speak(self, turn, question, on_text):
        asked.append(question.with_reasoning)
        ids = self.model.question_ids(question)
        turn.read(ids)
        stream = TextStream(lambda tokens: tokenizer.decode(tokens, skip_special_tokens=True))
        tokens = encode_text(tokenizer, thinking if question.with_reasoning else plainly)
        for token in tokens:
            stream.add(token)
        on_text(stream.text)
        return Speech(ids, tokens, [-0.1] * len(tokens), stream)

    monkeypatch.setattr(Answerer, "_speak", speak)
    return asked


class TestCutOff:
    def test_what_was_cut_off_is_no_answer(self, engine):
        answer = engine.answer("scene", TEXT)
        assert (answer.verdict, answer.text) == (
            Verdict.UNSURE,
            said(engine, generated(engine, clip(0), TEXT)).strip(),
        )
        assert f"cut off after {TOKENS} tokens" in answer.note

    def test_one_that_ends_with_its_last_token_is_whole(self, engine):
        tokens = generated(engine, clip(0), TEXT)
        count = next(i for i in range(3, TOKENS) if tokens[i] not in tokens[:i])
        engine.model.network.generation_config.eos_token_id = tokens[count]
        whole = engine.answer("scene", TEXT)
        assert whole.text == said(engine, tokens[:count]).strip() and "cut off" not in whole.note
        engine.max_tokens = count
        assert replace(engine.answer("scene", TEXT), seconds_generate=0) == replace(whole, seconds_generate=0)
        engine.max_tokens = count - 1
        assert f"cut off after {count - 1} tokens" in engine.answer("scene", TEXT).note

    def test_half_a_number_is_none(self, engine, monkeypatch):
        """``1`` of ``12 m``."""
        speaks(engine, monkeypatch, "", "1 m")
        question = Question("How wide is it?", answer_type=AnswerType.NUMBER)
        assert engine.answer("scene", question).value == 1
        speak = Answerer._speak
        monkeypatch.setattr(Answerer, "_speak", lambda *args: replace(speak(*args), whole=False))
        cut = engine.answer("scene", question)
        assert (cut.verdict, cut.text, cut.unit) == (Verdict.UNSURE, "1 m", "") and isnan(cut.value)


class TestFrames:
    @pytest.mark.parametrize(("given", "shown"), [(3, (0, 1, 2)), (4, (0, 1, 2, 3)), (9, (0, 3, 5, 8))])
    def test_no_more_than_it_was_trained_with(self, engine, given, shown):
        engine.calibration = Calibration(max_frames=4)
        images = clip(20 + given, frames=given)
        answer = engine.ask(images, TEXT)
        assert answer.frames == shown
        assert answer.text == said(engine, generated(engine, [images[i] for i in shown], TEXT)).strip()
        told = "shown 4 frames, not 9: the model was trained with no more"
        assert (told in answer.note) == (given > 4) == ("shown" in answer.note)

    def test_a_model_of_which_nothing_is_known_sees_all(self, engine):
        answer = engine.ask(clip(40, frames=20), TEXT)
        assert answer.frames == tuple(range(20)) and "shown" not in answer.note

    def test_those_beside_the_weights_count(self, tiny, tmp_path):
        folder = shutil.copytree(tiny, tmp_path / "model")
        write_calibration(folder, Calibration(max_frames=1))
        answer = load_engine(folder, device="cpu", max_tokens=2, not_observed=1.0).ask(clip(0), TEXT)
        assert answer.frames == (0,) and "shown 1 frame, not 4" in answer.note


class TestReasoning:
    @pytest.mark.parametrize("question", [TEXT, CHOICE])
    def test_a_model_that_was_not_trained_to_answers_at_once(self, engine, question):
        plain = engine.answer("scene", question)
        engine.calibration = Calibration(reasoning=False)
        asked = engine.answer("scene", replace(question, with_reasoning=True))
        assert (asked.text, asked.verdict, asked.choice) == (plain.text, plain.verdict, plain.choice)
        assert asked.reasoning == "" and UNTRAINED in asked.note and UNTRAINED not in plain.note
        assert UNTRAINED not in engine.answer("scene", question).note

    @pytest.mark.parametrize("thinking", [GARBAGE, f"<think>{GARBAGE}</think><answer>yes</answer>", "the door " * 20])
    @pytest.mark.parametrize("question", [TEXT, CHOICE])
    def test_nonsense_is_thrown_away_and_the_question_asked_plainly(self, engine, monkeypatch, thinking, question):
        plain = engine.answer("scene", question)
        asked = speaks(engine, monkeypatch, thinking, "on the shelf")
        answer = engine.answer("scene", replace(question, with_reasoning=True))
        assert answer.verdict == Verdict.ANSWERED and (answer.reasoning, answer.note) == ("", GARBLED)
        if question.options:
            assert (answer.choice, answer.confidence) == (plain.choice, pytest.approx(plain.confidence, abs=1e-6))
        else:
            assert (answer.text, asked) == ("on the shelf", [True, False])

    def test_what_was_thought_is_kept(self, engine, monkeypatch):
        speaks(engine, monkeypatch, "<think>It lies by the lamp.</think><answer>on the shelf</answer>", "")
        answer = engine.answer("scene", replace(TEXT, with_reasoning=True))
        assert (answer.verdict, answer.text, answer.note) == (Verdict.ANSWERED, "on the shelf", "")
        assert answer.reasoning == "It lies by the lamp."

    def test_none_where_it_was_asked_for_is_said(self, engine, monkeypatch):
        speaks(engine, monkeypatch, "on the shelf", "")
        answer = engine.answer("scene", replace(TEXT, with_reasoning=True))
        assert (answer.verdict, answer.text, answer.note) == (Verdict.ANSWERED, "on the shelf", UNREASONED)


def test_nonsense_without_any_thinking_is_unsure(engine, monkeypatch):
    speaks(engine, monkeypatch, "", GARBAGE)
    answer = engine.answer("scene", TEXT)
    assert (answer.verdict, answer.text, answer.note) == (Verdict.UNSURE, GARBAGE, NONSENSE)
