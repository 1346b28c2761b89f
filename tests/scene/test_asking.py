"""Which frames a question is asked about, and what is kept of its answer."""

import json
from math import nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_mllm_ros.config import CoverageParams
from spatial_mllm_ros.errors import BadMessage, ErrorCode, SpatialError
from spatial_mllm_ros.frames import Camera, Frame, Pixels
from spatial_mllm_ros.mllm import Answer, AnswerType, Question, Verdict
from spatial_mllm_ros.recordings import read_frames
from spatial_mllm_ros.scene.asking import Asked, ask, choose_frames, frames_of
from spatial_mllm_ros.scene.selection import Chosen, Sample, select

CAMERA = Camera("front", "front_optical", 8, 6, np.array([[8, 0, 3.5], [0, 8, 2.5], [0, 0, 1]], np.float64))


def colour(stamp: int) -> Frame:
    return Frame(stamp, CAMERA, image=np.full((6, 8, 3), stamp % 256, np.uint8))


def broken(stamp: int) -> Frame:
    def decode():
        raise BadMessage("not a JPEG")

    return Frame(stamp, CAMERA, image=Pixels(6, 8, 10, decode))


# frames


def test_with_geometry_they_are_those_that_cover_best(simulated_bag):
    params = CoverageParams(frames=5)
    chosen = choose_frames(read_frames(simulated_bag), params)
    expected = {(c.stamp_ns, c.camera) for c in select(read_frames(simulated_bag), params).frames}
    assert {f.key for f in chosen} == expected
    assert [f.key for f in chosen] == sorted(expected)


@given(count=st.integers(1, 300), k=st.integers(1, 16))
def test_without_geometry_they_are_spread_over_time(count, k):
    chosen = [f.stamp_ns for f in choose_frames(map(colour, range(count)), CoverageParams(frames=k))]
    assert len(chosen) == min(k, count) == len(set(chosen))
    assert chosen[0] == 0 and chosen == sorted(chosen)
    if len(chosen) > 1:
        gaps = np.diff(chosen)
        even = (count - 1) / (len(chosen) - 1)
        assert gaps.max() <= 1.5 * even + 1, "no part of the recording is left out"
        assert count - 1 - chosen[-1] <= max(1, count / (2 * k)), "the end is in it"


def test_frames_of_a_selection():
    chosen = Sample([Chosen(7, "front", 5), Chosen(2, "front", 3), Chosen(4, "rear", 1)], 0.1, 9, 9)
    assert [f.stamp_ns for f in frames_of(map(colour, range(10)), chosen)] == [2, 7]


def test_frames_that_cannot_be_decoded_are_left_out():
    frames = [broken(0), colour(1), colour(2), Frame(3, CAMERA)]
    assert [f.stamp_ns for f in choose_frames(frames, CoverageParams(frames=4))] == [1, 2]


@pytest.mark.parametrize("frames", [[], [broken(0)], [Frame(0, CAMERA)]], ids=["none", "broken", "no colour"])
def test_without_a_picture_it_says_so(frames):
    with pytest.raises(SpatialError, match="no colour image") as caught:
        choose_frames(frames, CoverageParams(frames=4))
    assert caught.value.code == ErrorCode.NO_FRAMES


# answers


class Looker:
    """An engine that says the brightness of the frames it is given, and looked at every second one."""

    def ask(self, images, question, on_text=None):
        text = ",".join(str(image[0, 0, 0]) for image in images)
        if on_text:
            on_text(text[:1])
            on_text(text)
        return Answer(Verdict.ANSWERED, text, frames=tuple(range(0, len(images), 2)), confidence=0.5)


def test_evidence_are_the_frames_it_looked_at():
    heard: list[str] = []
    engine: Looker = Looker()
    asked = ask(engine, [colour(s) for s in (7, 8, 9)], Question("How bright?"), heard.append)  # type: ignore[arg-type]
    assert asked.answer.text == "7,8,9" and heard == ["7", "7,8,9"]
    assert asked.evidence == ((7, "front"), (9, "front"))


def test_a_pixel_is_one_of_the_first_frame_it_looked_at_in_words_too():
    """Half of 8 columns lies between the fourth and the fifth, 3.5; a quarter of 6 rows at 1.0."""

    class Pointer:
        def ask(self, images, question, on_text=None):
            verdict = Verdict.UNSURE if question.text == "unsure" else Verdict.ANSWERED
            return Answer(verdict, "(500, 250)", vector=(0.5, 0.25, 0.0), frames=(1,), confidence=0.5)

    engine: Pointer = Pointer()
    frames = [colour(s) for s in (7, 8, 9)]
    asked = ask(engine, frames, Question("Where?", answer_type=AnswerType.PIXEL))  # type: ignore[arg-type]
    assert (asked.answer.vector, asked.answer.text) == ((3.5, 1.0, 0.0), "(3.5, 1.0) px")
    for question in (Question("unsure", answer_type=AnswerType.PIXEL), Question("Where?")):
        other = ask(engine, frames, question)  # type: ignore[arg-type]
        assert other.answer.text == "(500, 250)"


questions = st.builds(
    Question,
    text=st.text(min_size=1, max_size=40).filter(str.strip),
    answer_type=st.sampled_from([AnswerType.AUTO, AnswerType.NUMBER, AnswerType.PIXEL]),
    with_reasoning=st.booleans(),
)
number = st.floats(-1e6, 1e6)
answers = st.builds(
    Answer,
    verdict=st.sampled_from(Verdict),
    text=st.text(max_size=20),
    value=number,
    unit=st.sampled_from(["", "m", "deg"]),
    choice=st.integers(-1, 3),
    vector=st.tuples(number, number, number),
    confidence=st.floats(0, 1),
    note=st.text(max_size=20),
)
keys = st.lists(st.tuples(st.integers(0, 2**62), st.text(max_size=8)), max_size=4).map(tuple)


@given(st.builds(Asked, questions, answers, keys))
def test_json_keeps_everything(asked):
    assert Asked.of(json.loads(json.dumps(asked.values(), allow_nan=False))) == asked


def test_json_has_no_nan_and_says_names():
    question = Question("Left or right?", ("left", "right"), AnswerType.CHOICE)
    asked = Asked(question, Answer(Verdict.NOT_OBSERVED, "neither", value=nan), ((5, "front"),))
    values = json.loads(json.dumps(asked.values(), allow_nan=False))
    assert values["answer"]["value"] is None and values["answer"]["verdict"] == "not_observed"
    assert values["question"]["answer_type"] == "choice" and values["question"]["options"] == ["left", "right"]
    assert values["evidence"] == [{"stamp_ns": 5, "camera": "front"}]


@pytest.mark.parametrize("change", ["question", "answer", "evidence"])
def test_other_json_is_refused(change):
    values = Asked(Question("What?"), Answer(Verdict.ANSWERED, "that"), ()).values()
    assert Asked.of(values).question.text == "What?"
    for wrong in (None, 7, [7], {"text": ""}):
        with pytest.raises(ValueError, match="ask --json"):
            Asked.of({**values, change: wrong})
    for wrong in ([], 5, "text"):
        with pytest.raises(ValueError, match="ask --json"):
            Asked.of(wrong)
