"""Short answers say what is true and are read back as it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_mllm_ros.mllm import AnswerType, Question, Verdict
from spatial_mllm_ros.mllm.text.parsing import parse
from spatial_mllm_training.sft.answers import answer_of, short_answer
from spatial_mllm_training.sft.records import RecordFault

TEXT = Question("Which?", answer_type=AnswerType.TEXT)
CHOICE = Question("Which?", ("to the left", "to the right"), AnswerType.CHOICE)


def record(kind, value, output, said="It is so."):
    turns = [{"from": "human", "value": "?"}, {"from": "gpt", "value": said}]
    return {"id": "a", "question_type": kind, "gt_value": value, "meta": {"output": output}, "conversations": turns}


@pytest.mark.parametrize(
    ("kind", "value", "output", "question", "said"),
    [
        ("depth_estimation_dot", 1734, "scalar", TEXT, "1734 mm"),
        ("camera_yaw_degrees", 23, "scalar", TEXT, "23 degrees"),
        ("camera_vector", [120, -40, 300], "vector", TEXT, "(120, -40, 300) mm"),
        ("correspondence_coordinate", "[412, 633]", "pixel", TEXT, "(412, 633)"),
        ("camera_left_right", "left", "choice", TEXT, "left"),
        ("depth_comparison_dot", "B", "choice", TEXT, "B"),
        ("camera_left_right", "to the right", "choice", CHOICE, "B"),
        ("not_observed", "not observed", "scalar", TEXT, "Not visible."),
    ],
)
def test_canonical_forms(kind, value, output, question, said):
    assert short_answer(record(kind, value, output), question) == said


@given(st.integers(0, 100_000))
def test_lengths_read_back(value):
    question = Question("How far?", answer_type=AnswerType.NUMBER)
    answer = parse(short_answer(record("object_height", value, "scalar"), question), question)
    assert (answer.verdict, answer.unit) == (Verdict.ANSWERED, "m") and abs(answer.value - value / 1000) < 1e-9


@given(st.lists(st.integers(-9999, 9999), min_size=3, max_size=3))
def test_vectors_read_back(value):
    question = Question("Where to?", answer_type=AnswerType.VECTOR)
    answer = parse(short_answer(record("object_vector_dot", value, "vector"), question), question)
    assert answer.verdict == Verdict.ANSWERED
    assert all(abs(a - b / 1000) < 1e-9 for a, b in zip(answer.vector, value))


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_pixels_read_back(x, y):
    question = Question("Where?", answer_type=AnswerType.PIXEL)
    answer = parse(short_answer(record("correspondence_coordinate", f"[{x}, {y}]", "pixel"), question), question)
    assert answer.vector == (x / 1000, y / 1000, 0.0)


def test_refusals_read_back():
    assert (
        parse(short_answer(record("not_observed", "not observed", "text"), TEXT), TEXT).verdict == Verdict.NOT_OBSERVED
    )


def test_written_answers_and_those_without_a_value():
    assert answer_of(record("camera_left_right", "left", "choice"), "written", TEXT) == "It is so."
    assert answer_of(record("general", None, ""), "short", TEXT) == "It is so."


@pytest.mark.parametrize(
    ("kind", "value", "output", "question"),
    [
        ("depth_estimation_dot", "far", "scalar", TEXT),
        ("depth_estimation_dot", float("inf"), "scalar", TEXT),
        ("camera_vector", [1, 2], "vector", TEXT),
        ("correspondence_coordinate", "there", "pixel", TEXT),
        ("camera_left_right", "", "choice", TEXT),
        ("camera_left_right", "up", "choice", CHOICE),
    ],
)
def test_values_that_are_no_answers(kind, value, output, question):
    with pytest.raises(RecordFault, match="gt_value"):
        short_answer(record(kind, value, output), question)


def test_no_answer_at_all():
    with pytest.raises(RecordFault, match="a: it has no answer"):
        answer_of(record("general", None, "", said=" "), "short", TEXT)
