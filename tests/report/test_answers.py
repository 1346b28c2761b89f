"""Questions and answers on the page."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spatial_mllm_ros.config import build
from spatial_mllm_ros.errors import BadMessage, ErrorCode, SpatialError
from spatial_mllm_ros.frames import Frame, Pixels
from spatial_mllm_ros.mllm import Answer, AnswerType, Question, Verdict
from spatial_mllm_ros.mllm.calibration import Calibration
from spatial_mllm_ros.recordings import read_frames
from spatial_mllm_ros.report import Recorder, analyse, render
from spatial_mllm_ros.report.answers import detail
from spatial_mllm_ros.scene.asking import Asked
from tests.report.test_report import Page, decoded

pytest.importorskip("jinja2")


@pytest.fixture(scope="module")
def keys(simulated_bag) -> list[tuple[int, str]]:
    return [f.key for f in read_frames(simulated_bag)]


def page_of(bag: Path, asked: list[Asked]) -> tuple[Page, list[str]]:
    analysis = analyse(bag, build({"coverage.frames": 2}), asked=asked, pushed=0)
    return Page(render(analysis, "room")), analysis.notes


def test_questions_answers_and_their_frames_are_shown(simulated_bag, keys):
    measured = Asked(
        Question("How wide <is> it?", answer_type=AnswerType.NUMBER, with_reasoning=True),
        Answer(Verdict.ANSWERED, "about 1.4", value=1.4, unit="m", confidence=0.83, reasoning="Two chairs wide."),
        (keys[3], keys[9]),
    )
    chosen = Asked(
        Question("Which side?", ("left one", "right one")),
        Answer(Verdict.NOT_OBSERVED, "nowhere", choice=1, confidence=0.4, note="only half of the frames"),
        (keys[20],),
    )
    page, notes = page_of(simulated_bag, [measured, chosen])
    for text in ("How wide <is> it?", "about 1.4", "1.4 m", "0.83", "Two chairs wide.", "left one", "right one"):
        assert text in page.text
    assert "not observed" in page.text and "only half of the frames" in page.text
    assert "answers" in page.ids and not any("not in this recording" in note for note in notes)
    frames = {f.key: f for f in read_frames(simulated_bag)}
    for key in (keys[3], keys[9], keys[20]):
        image = np.asarray(frames[key].image).astype(int)
        same = [i for i in map(decoded, page.images) if i.shape == image.shape and np.abs(i - image).mean() < 5]
        assert same, "an evidence frame is not on the page"


@pytest.mark.parametrize(("kind", "shown"), [("PIXEL", "marked in the first frame"), ("VECTOR", "0.000 m forward")])
def test_zeros_are_an_answer(kind, shown):
    asked = Asked(Question("Where to?", answer_type=AnswerType[kind]), Answer(Verdict.ANSWERED, "there"), ())
    assert shown in detail(asked)
    assert not detail(replace(asked, answer=Answer(Verdict.NOT_OBSERVED, "Not visible.")))


def test_a_pixel_is_marked_where_it_is(simulated_bag, keys):
    question = Question("Where is the ball?", answer_type=AnswerType.PIXEL)
    camera = next(read_frames(simulated_bag)).camera
    answer = Answer(Verdict.ANSWERED, "there", vector=(0.25 * camera.width - 0.5, 0.75 * camera.height - 0.5, 0.0))
    without = page_of(simulated_bag, [Asked(question, replace(answer, verdict=Verdict.UNSURE), (keys[5],))])[0]
    marked = page_of(simulated_bag, [Asked(question, answer, (keys[5],))])[0]
    (before,) = set(without.images) - set(marked.images)
    (after,) = set(marked.images) - set(without.images)
    changed = np.abs(decoded(before).astype(int) - decoded(after)).sum(axis=2) > 60
    rows, columns = np.nonzero(changed)
    height, width = changed.shape
    assert abs(columns.mean() / width - 0.25) < 0.02 and abs(rows.mean() / height - 0.75) < 0.02


def test_frames_of_another_recording_are_said_to_be_missing(simulated_bag, keys):
    asked = Asked(Question("What is it?"), Answer(Verdict.UNSURE, "that"), (keys[0], (17, "camera"), (18, "rear")))
    page, notes = page_of(simulated_bag, [asked])
    assert any("2 frames of the answer to “What is it?”" in note for note in notes)
    assert page.text.count("not here") == 2 and "unsure" in page.text


def test_the_truth_stands_beside_the_answer(simulated_bag, keys):
    question = Question("How far is it, in mm?", answer_type=AnswerType.NUMBER)
    answer = Answer(Verdict.ANSWERED, "1700 mm", value=1.7, unit="m", confidence=0.6)
    asked = [Asked(question, answer, (keys[0],), "1734 mm", True), Asked(question, answer, (), "900 mm", False)]
    asked = [Asked.of(json.loads(json.dumps(a.values()))) for a in asked]
    assert [a.right for a in asked] == [True, False]
    analysis = analyse(
        simulated_bag, build({"coverage.frames": 2}), asked=[*asked, Asked(question, answer, ())], pushed=0
    )
    html = render(analysis, "room")
    assert html.count("True: ") == 2
    assert html.count('True: 1734 mm <b class="right">right</b>') == 1
    assert html.count('True: 900 mm <b class="wrong">wrong</b>') == 1


def test_without_questions_there_is_no_section(simulated_bag):
    page, _ = page_of(simulated_bag, [])
    assert "answers" not in page.ids


class Judge:
    """Says that everything moved by 0.5 m, and is sure of it every other time."""

    name, calibration = "judge", Calibration(motion_confidence=0.5)

    def __init__(self):
        self.asked = []

    def ask(self, images, question):
        assert len(images) == 2 and images[0].shape == images[1].shape
        self.asked.append(question.text)
        sure = 0.9 if len(self.asked) % 2 else 0.1
        return Answer(Verdict.ANSWERED, "500 mm", 0.5, "m", confidence=sure, frames=(0, 1))


def test_rewards_of_the_model_stand_beside_those_of_geometry(simulated_bag):
    judge, stamps = Judge(), [f.stamp_ns for f in read_frames(simulated_bag)]
    interval = (stamps[-1] - stamps[0]) / 4e9
    config = build({"coverage.frames": 2, "motion.source": "both", "motion.ask_interval": interval})
    analysis = analyse(simulated_bag, config, pushed=0, engine=judge)
    (camera,) = analysis.series
    assert len(camera.judged) == len(judge.asked) >= 3
    assert [r.valid for r in camera.judged] == [i % 2 == 0 for i in range(len(camera.judged))]
    assert {r.source for r in camera.judged} == {"mllm"} and {r.source for r in camera.rewards} == {"geometry"}
    valid = [r for r in camera.judged if r.valid]
    true = {r.stamp_ns: r.distance for r in camera.rewards}
    off = round(1e3 * float(np.median([abs(0.5 - true[r.stamp_ns]) for r in valid])))
    html = render(analysis, "room")
    assert html.count('class="judged"') == len(valid)
    text = f"was asked {len(camera.judged)} times and was sure enough {len(valid)} times: median error {off} mm"
    assert text in Page(html).text
    assert not analyse(simulated_bag, build({"coverage.frames": 2}), pushed=0, engine=judge).series[0].judged


@pytest.mark.parametrize("source", ["mllm", "both"])
def test_a_model_that_cannot_judge_motion_is_refused(simulated_bag, source):
    config, judge = build({"motion.source": source}), Judge()
    judge.calibration = Calibration()
    for engine, text in ((judge, "judge: it has no confidence from which on"), (None, "needs a model")):
        with pytest.raises(SpatialError, match=text) as error:
            analyse(simulated_bag, config, pushed=0, engine=engine)
        assert error.value.code == ErrorCode.BAD_REQUEST
    assert not judge.asked


def test_the_models_motion_counts_from_the_first_image_that_is_not_broken(simulated_bag):
    def decode():
        raise BadMessage("JPEG is broken")

    frames = list(read_frames(simulated_bag))[:4]
    first = frames[0].camera
    frames[0] = Frame(frames[0].stamp_ns, first, image=Pixels(first.height, first.width, 1, decode))
    recorder = Recorder(build({"motion.source": "both", "motion.ask_interval": 0.0}), engine=Judge())
    for frame in frames:
        recorder.add(frame)
    analysis = recorder.result()
    (camera,) = analysis.series
    assert [r.stamp_ns for r in camera.judged] == [f.stamp_ns for f in frames[2:]]
    assert {r.reference_ns for r in camera.judged} == {frames[1].stamp_ns}
    assert any(note.startswith("1 of 4 frames added nothing") and "JPEG is broken" in note for note in analysis.notes)
