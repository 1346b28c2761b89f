"""An engine with a calibration beside its weights: when it refuses, what it says instead, and how sure it is."""

import shutil
from dataclasses import replace
from math import exp, log

import pytest
import torch

from spatial_mllm_ros.errors import SpatialError
from spatial_mllm_ros.mllm.answering.answer import Answerer, Speech
from spatial_mllm_ros.mllm.answering.decode import TextStream
from spatial_mllm_ros.mllm.answering.engine import load_engine
from spatial_mllm_ros.mllm.answering.refusal import REFUSAL
from spatial_mllm_ros.mllm.calibration import FILE, Calibration, Scale, write_calibration
from spatial_mllm_ros.mllm.question import Question, Verdict
from spatial_mllm_ros.mllm.text.tokens import encode_text

from .test_engine import CHOICE, QUESTIONS, clip, uncached

ALMOST = 1 - 1e-12  # refuses nothing that is not certain
TRAINED = Calibration(not_observed=0.5)


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    folder = shutil.copytree(tiny, tmp_path_factory.mktemp("calibrated") / "model")
    write_calibration(folder, Calibration(0.25, 0.75, 6, {"text": Scale(2.0, 1.0)}))
    return folder


@pytest.fixture(scope="module")
def loaded(folder):
    engine = load_engine(folder, device="cpu", max_tokens=8)
    engine.encode("scene", clip(0))
    return engine


@pytest.fixture
def engine(loaded):
    """The engine, set back to its own calibration afterwards."""
    own = loaded.calibration
    yield loaded
    loaded.calibration = own


def refusal_probability(engine, question):
    """Of the tokens of the refusal, one after the other, by the model alone."""
    asked = engine.model.question_ids(question)
    refusal = encode_text(engine.model.processor.tokenizer, REFUSAL)
    rows = uncached(engine, clip(0), asked + refusal)[len(asked) - 1 : -1]
    return exp(float(rows[torch.arange(len(refusal)), refusal].sum()))


def test_the_file_beside_the_weights_is_used(folder, engine):
    assert engine.calibration == Calibration(0.25, 0.75, 6, {"text": Scale(2.0, 1.0)})
    wrong = shutil.copytree(folder, folder.parent / "wrong")
    (wrong / FILE).write_text('{"max_frames": "all"}')
    with pytest.raises(SpatialError, match="max_frames"):
        load_engine(wrong, device="cpu")


@pytest.mark.parametrize("question", [QUESTIONS[0], CHOICE])
def test_refused_where_writing_the_refusal_is_likelier_than_the_threshold(engine, question):
    engine.calibration = TRAINED
    expected = refusal_probability(engine, question)
    texts: list[str] = []
    refused = engine.answer("scene", question, not_observed=expected * 0.999, on_text=texts.append)
    assert (refused.verdict, refused.text) == (Verdict.NOT_OBSERVED, REFUSAL) and texts[-1] == REFUSAL
    assert refused.confidence == pytest.approx(expected, rel=1e-3)
    assert engine.answer("scene", question, not_observed=expected * 1.001).verdict != Verdict.NOT_OBSERVED


def test_below_zero_the_models_own_threshold_counts(engine):
    expected = refusal_probability(engine, QUESTIONS[0])
    engine.calibration = Calibration(not_observed=expected * 0.99)
    assert engine.answer("scene", QUESTIONS[0]).verdict == Verdict.NOT_OBSERVED
    assert engine.answer("scene", QUESTIONS[0], not_observed=-1).verdict == Verdict.NOT_OBSERVED
    engine.calibration = Calibration(not_observed=expected * 1.01)
    assert engine.answer("scene", QUESTIONS[0]).verdict != Verdict.NOT_OBSERVED


def test_a_refusal_below_the_threshold_gives_way_to_the_likeliest_other_answer(engine, monkeypatch):
    engine.calibration = TRAINED
    tokenizer = engine.model.processor.tokenizer
    refusal = encode_text(tokenizer, REFUSAL)

    def refuses(self, turn, question, on_text):
        asked = self.model.question_ids(question)
        turn.read(asked)
        stream = TextStream(lambda ids: tokenizer.decode(ids, skip_special_tokens=True))
        for token in refusal:
            stream.add(token)
        return Speech(asked, refusal, [-0.1] * len(refusal), stream)

    monkeypatch.setattr(Answerer, "_speak", refuses)
    texts: list[str] = []
    said = engine.answer("scene", QUESTIONS[0], not_observed=ALMOST, on_text=texts.append)
    assert texts and texts[-1].strip().rstrip("\ufffd") == said.text.rstrip("\ufffd")
    asked = engine.model.question_ids(QUESTIONS[0])
    row = uncached(engine, clip(0), asked)[-1].clone()
    row[refusal[0]] = -torch.inf
    first = tokenizer.decode([int(row.argmax())])
    assert said.verdict != Verdict.NOT_OBSERVED and said.text
    assert said.text.startswith(first.strip().rstrip("\ufffd"))
    assert engine.answer("scene", QUESTIONS[0], not_observed=1.0).text == REFUSAL, "at 1 its own words stand"
    thinking = replace(QUESTIONS[0], with_reasoning=True)
    assert engine.answer("scene", thinking, not_observed=ALMOST).verdict == Verdict.NOT_OBSERVED


REFUSALS = ("It is not shown.", "That cannot be determined.", "Sorry, it is not in view.")


@pytest.mark.parametrize("sayings", [(*REFUSALS, "on the shelf"), REFUSALS])
def test_a_refusal_in_other_words_gives_way_as_well_and_what_is_told_last_is_the_answer(engine, monkeypatch, sayings):
    """A model with a few things to say, the likeliest first, of which it says the first that it may begin."""
    engine.calibration = TRAINED
    tokenizer = engine.model.processor.tokenizer

    def write(self, turn, row, asked, on_text):
        spoken = [encode_text(tokenizer, text) for text in sayings]
        tokens = next((tokens for tokens in spoken if row[tokens[0]] > -torch.inf), spoken[-1])
        stream = TextStream(lambda ids: tokenizer.decode(ids, skip_special_tokens=True))
        for token in tokens:
            stream.add(token)
        on_text(stream.text)
        return Speech(asked, tokens, [-0.1] * len(tokens), stream)

    monkeypatch.setattr(Answerer, "_write", write)
    texts: list[str] = []
    said = engine.answer("scene", QUESTIONS[0], not_observed=ALMOST, on_text=texts.append)
    assert texts[-1] == said.text
    if sayings == REFUSALS:
        assert (said.verdict, said.text) == (Verdict.NOT_OBSERVED, REFUSALS[0])
    else:
        assert (said.verdict, said.text) == (Verdict.ANSWERED, "on the shelf")


def test_confidence_is_scaled_by_kind(engine):
    scaled = engine.answer("scene", QUESTIONS[0], not_observed=1.0)
    chosen = engine.answer("scene", CHOICE, not_observed=1.0)
    engine.calibration = TRAINED
    bare = engine.answer("scene", QUESTIONS[0], not_observed=1.0)
    odds = exp(2 * log(bare.confidence / (1 - bare.confidence)) + 1)
    assert scaled.confidence == pytest.approx(odds / (1 + odds), rel=1e-6)
    assert chosen.confidence == engine.answer("scene", CHOICE, not_observed=1.0).confidence
    assert scaled.text == bare.text


def test_one_scene_can_be_dropped(loaded):
    loaded.encode("other", clip(1))
    loaded.drop("other")
    loaded.drop("never heard of")
    assert not loaded.has("other") and loaded.has("scene")
    assert loaded.answer("scene", Question("What?"), not_observed=1.0).text
