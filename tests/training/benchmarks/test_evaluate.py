"""Runs of a benchmark: from predictions, functions and baselines, killed and gone on with; their page and JSON."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spatial_mllm_ros.cli.terminal import PlainConsole
from spatial_mllm_ros.config import AskParams
from spatial_mllm_ros.errors import ErrorCode, SpatialError
from spatial_mllm_ros.mllm import AnswerType
from spatial_mllm_training.benchmarks.answers import Model, read_predictions
from spatial_mllm_training.benchmarks.evaluate import GIVE_UP, evaluate
from spatial_mllm_training.benchmarks.journal import NAME, Journal
from spatial_mllm_training.benchmarks.page import lines
from spatial_mllm_training.benchmarks.tables import MICRO
from spatial_mllm_training.multispa.question import question_of

from .test_suites import RECORDS, RIGHT, WRONG, record, vsi_row, write_lines

BY_ID = {known["id"]: text for known, text in zip(RECORDS, RIGHT)}


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    write_lines(folder / "test.jsonl", RECORDS)
    for i in range(len(RECORDS)):
        image = np.full((48, 64, 3), 25 * i, np.uint8)
        cv2.imwrite(str(folder / "images" / f"{i}.jpg"), image)
    return folder


def total(result, column=0):
    (row,) = [row for row in result.tables[0].rows if row.name == MICRO]
    return row.cells[column].value


def answer(known):
    return BY_ID[known["id"]]


def test_right_answers(data, tmp_path):
    result = evaluate("multispa", data, answer, tmp_path / "out")
    assert total(result) == 1 and not result.worst and not result.notes
    assert result.counts == {"questions": 9, "answered": 9, "missing": 0, "failed": 0, "unreadable": 0, "refused": 1}
    found = json.loads((tmp_path / "out" / "result.json").read_text())
    assert found["tables"][0]["rows"][-2]["accuracy"]["value"] == 1 and found["suite"] == "multispa"
    assert "every answer is right" in (tmp_path / "out" / "result.html").read_text()


def test_predictions_of_a_file(data, tmp_path):
    rows = [{"id": name, "prediction": text} for name, text in BY_ID.items()][1:]
    rows[0]["prediction"], rows[1]["prediction"] = ["A", float("nan"), "B"], None
    write_lines(tmp_path / "said.jsonl", [*rows, {"id": 7, "prediction": "x"}])
    result = evaluate("multispa", data, read_predictions(tmp_path / "said.jsonl"), tmp_path / "out", name="said.jsonl")
    assert total(result) == pytest.approx(6 / 9)
    assert (result.counts["missing"], result.counts["unreadable"], result.answers) == (1, 2, "said.jsonl")
    assert result.problems == {"not one answer": 1, "empty": 1}
    found = json.loads((tmp_path / "out" / "result.json").read_text(), parse_constant=pytest.fail)
    assert "nan" in str([case["prediction"] for case in found["worst"]]).lower()
    assert result.notes == [
        "Predictions about none of these questions: 1.",
        "Questions without a prediction, which count as wrong: 1.",
    ]
    assert not (tmp_path / "out" / NAME).exists()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ('{"id": 1}\n', "prediction 1: field 'prediction' is missing; it has id"),
        ('{"prediction": 1}\n', "field 'id' is missing"),
        ('{"id": [1], "prediction": 1}\n', "field 'id' is list"),
        ('{"id": 1, "prediction": 1}\n{"id": "1", "prediction": 2}\n', "id '1' is there twice"),
        ("[]\n", "said.jsonl, line 1: expected a JSON object"),
        pytest.param("[" * 9999 + "]" * 9999, "said.jsonl, line 1: expected a JSON object", id="deep"),
    ],
)
def test_broken_predictions(tmp_path, content, text):
    (tmp_path / "said.jsonl").write_text(content)
    with pytest.raises(SpatialError, match=re.escape(text)):
        read_predictions(tmp_path / "said.jsonl")


def test_predictions_that_are_not_there(tmp_path):
    with pytest.raises(SpatialError, match=r"said\.jsonl cannot be read: No such file"):
        read_predictions(tmp_path / "said.jsonl")


def test_a_run_goes_on_where_it_was_killed(data, tmp_path):
    asked = []

    def until_killed(known):
        if len(asked) == 4:
            raise KeyboardInterrupt
        asked.append(known["id"])
        return answer(known)

    with pytest.raises(KeyboardInterrupt):
        evaluate("multispa", data, until_killed, tmp_path / "out")
    assert not (tmp_path / "out" / "result.json").exists()

    def rest(known):
        asked.append(known["id"])
        return answer(known)

    result = evaluate("multispa", data, rest, tmp_path / "out")
    assert asked == [known["id"] for known in RECORDS] and total(result) == 1
    whole = evaluate("multispa", data, answer, tmp_path / "whole")
    for name in (NAME, "result.json", "result.html"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert evaluate("multispa", data, answer, tmp_path / "whole").values() == whole.values()


def test_a_killed_process_leaves_whole_lines(data, tmp_path):
    program = (
        "import os, sys; from pathlib import Path; from spatial_mllm_training.benchmarks.evaluate import evaluate\n"
        "count = iter(range(99))\n"
        "def answer(known):\n"
        "    if next(count) == 5: os.kill(os.getpid(), 9)\n"
        "    return 'x'\n"
        "evaluate('multispa', Path(sys.argv[1]), answer, Path(sys.argv[2]))"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(data), str(tmp_path / "out")], check=False)
    assert killed.returncode == -9
    kept = (tmp_path / "out" / NAME).read_text().splitlines()
    assert [json.loads(line)["id"] for line in kept[1:]] == [known["id"] for known in RECORDS[:5]]


@settings(max_examples=20, deadline=None)
@given(cut=st.integers(0, 400), noise=st.binary(max_size=20))
def test_a_journal_cut_anywhere(tmp_path_factory, cut, noise):
    """Whole lines before the cut count, nothing else; what is then added is read again."""
    folder, run = tmp_path_factory.mktemp("cut"), {"suite": "s", "answers": "a"}
    with Journal(folder, run) as journal:
        for known in RECORDS:
            journal.add(known, BY_ID[known["id"]])
    content = (folder / NAME).read_bytes()
    (folder / NAME).write_bytes(content[:cut] + noise.replace(b"\n", b" "))
    whole = max(0, content[:cut].count(b"\n") - 1)
    with Journal(folder, run) as journal:
        assert [name for name, _ in journal.known] == [known["id"] for known in RECORDS[:whole]]
        for known in RECORDS[whole:]:
            journal.add(known, BY_ID[known["id"]])
    assert (folder / NAME).read_bytes() == content


def test_a_question_that_changed_is_asked_again(data, tmp_path):
    evaluate("multispa", data, answer, tmp_path / "out")
    changed = [RECORDS[0] | {"images": ["images/1.jpg"]}, *RECORDS[1:]]
    write_lines(data / "test.jsonl", changed)
    asked = []

    def again(known):
        asked.append(known["id"])
        return answer(known)

    evaluate("multispa", data, again, tmp_path / "out")
    assert asked == [RECORDS[0]["id"]]


def test_a_journal_of_another_run(data, tmp_path):
    evaluate("multispa", data, answer, tmp_path / "out", name="one")
    with pytest.raises(SpatialError, match="holds answers of answers 'one', not 'two': give another folder, or --anew"):
        evaluate("multispa", data, answer, tmp_path / "out", name="two")
    result = evaluate("multispa", data, lambda known: "?", tmp_path / "out", name="two", resume=False)
    assert total(result) == 0
    (tmp_path / "out" / NAME).write_text('{"id": 1, "asked": 2}\n' * 2)
    with pytest.raises(SpatialError, match="is no journal of answers"):
        evaluate("multispa", data, answer, tmp_path / "out")


@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("count", [1, 3])
def test_predictions_where_the_journal_goes_are_not_lost(data, tmp_path, count, end):
    content = "\n".join(json.dumps({"id": name, "prediction": BY_ID[name]}) for name in list(BY_ID)[:count]) + end
    (tmp_path / NAME).write_text(content)
    with pytest.raises(SpatialError, match="is no journal of answers"):
        evaluate("multispa", data, answer, tmp_path)
    assert (tmp_path / NAME).read_text() == content


def test_answers_of_other_settings_are_not_gone_on_with(data, tmp_path):
    evaluate("multispa", data, answer, tmp_path, name="m", settings="adapter=one")
    with pytest.raises(SpatialError, match="holds answers of settings 'adapter=one', not 'adapter='"):
        evaluate("multispa", data, answer, tmp_path, name="m", settings="adapter=")


def test_predictions_need_no_training_split(data, tmp_path):
    (data / "train.jsonl").write_text("broken\n")
    assert total(evaluate("multispa", data, BY_ID, tmp_path / "out")) == 1


def test_two_runs_in_one_folder(data, tmp_path):
    run = {"suite": "multispa", "answers": "model"}
    with Journal(tmp_path, run), pytest.raises(SpatialError, match=r"another process is writing .*answers\.jsonl"):
        Journal(tmp_path, run)


def test_records_that_fail_are_asked_again(data, tmp_path):
    def sometimes(known):
        if known["id"] == RECORDS[3]["id"]:
            raise SpatialError(ErrorCode.NO_FRAMES, "3.jpg is missing")
        return answer(known)

    result = evaluate("multispa", data, sometimes, tmp_path / "out")
    assert result.counts["failed"] == 1 and result.problems == {"3.jpg is missing": 1} and total(result) < 1
    assert result.notes == ["Questions that could not be asked, and count as wrong: 1. The first: 3.jpg is missing"]
    assert total(evaluate("multispa", data, answer, tmp_path / "out")) == 1


def test_a_run_without_any_answer_is_given_up(tmp_path):
    (tmp_path / "data").mkdir()
    write_lines(tmp_path / "data" / "test.jsonl", [record(i, "depth_estimation_dot", 10, "scalar") for i in range(99)])
    asked = []

    def never(known):
        asked.append(known)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        evaluate("multispa", tmp_path / "data", never, tmp_path / "out")
    assert len(asked) == GIVE_UP

    def no_model(known):
        asked.append(known)
        raise SpatialError(ErrorCode.MODEL_NOT_READY, "it is a VGGT")

    with pytest.raises(SpatialError, match="VGGT"):
        evaluate("multispa", tmp_path / "data", no_model, tmp_path / "out")
    assert len(asked) == GIVE_UP + 1


def test_limits_and_data(data, tmp_path):
    assert evaluate("multispa", data, answer, tmp_path / "out", limit=3).counts["questions"] == 3
    assert evaluate("multispa", data, answer, tmp_path / "out").counts["questions"] == 9
    for folder, limit, text in (
        (data, 0, "limit 0: expected at least 1"),
        (tmp_path / "no", None, "no does not exist"),
    ):
        with pytest.raises(SpatialError, match=text):
            evaluate("multispa", folder, answer, tmp_path / "out", limit=limit)
    (data / "test.jsonl").write_text("")
    with pytest.raises(SpatialError, match="has no questions"):
        evaluate("multispa", data, answer, tmp_path / "out")
    write_lines(data / "test.jsonl", [RECORDS[0], RECORDS[0]])
    with pytest.raises(SpatialError, match="id 'depth_estimation_dot-0' is there 2 times"):
        evaluate("multispa", data, answer, tmp_path / "out")


def test_baselines_get_columns(data, tmp_path):
    result = evaluate("multispa", data, answer, tmp_path / "out", compare=("majority", "geometry"))
    table = result.tables[0]
    assert table.against == ("majority",) and list(table.columns)[-1] == "majority"
    rows = {row.name: row.cells for row in table.rows}
    assert rows["camera_left_right"][2].value == 1  # the only answer is the most frequent one
    assert rows[MICRO][2].value > 0
    assert result.notes[0].startswith("No baseline 'geometry': ")
    with pytest.raises(SpatialError, match="baseline 'luck'"):
        evaluate("multispa", data, "luck", tmp_path / "luck")


@pytest.mark.parametrize("name", ["chance", "majority"])
def test_a_baseline_answers(tmp_path, name):
    options = ["A. left", "B. right"]
    rows = [vsi_row(i, "object_rel_direction_hard", "AB"[i % 3 == 0], options) for i in range(300)]
    rows += [vsi_row(300 + i, truth=str(2 + i % 3)) for i in range(30)]
    (tmp_path / "data").mkdir()
    write_lines(tmp_path / "data" / "test.jsonl", rows)
    result = evaluate("vsi_bench", tmp_path / "data", name, tmp_path / "out")
    counting, direction = (row.cells[0] for row in result.tables[0].rows[:2])
    assert result.counts["unreadable"] == 0
    if name == "majority":
        assert direction.value == pytest.approx(2 / 3)
        assert counting.value == pytest.approx((0 + 1 + 0.5) / 3)  # 3, of 2, 3 and 4
    else:
        assert 0.4 < direction.value < 0.6 and counting.value > 0


def test_a_baseline_learns_from_the_training_split(tmp_path):
    (tmp_path / "train.jsonl").write_text("")
    write_lines(tmp_path / "test.jsonl", [record(i, "camera_distance", 1000, "scalar") for i in range(4)])
    assert evaluate("multispa", tmp_path, "majority", tmp_path / "own").tables[0].rows[0].cells[0].value == 1
    rows = [record(i, "camera_distance", 500, "scalar", split="train") for i in range(3)]
    write_lines(tmp_path / "train.jsonl", rows)
    for name, data in (("folder", tmp_path), ("file", tmp_path / "test.jsonl")):
        assert evaluate("multispa", data, "majority", tmp_path / name).tables[0].rows[0].cells[0].value == 0


def test_what_a_baseline_learned_from_fewer_questions_is_not_kept(tmp_path):
    (tmp_path / "data").mkdir()
    rows = [record(i, "camera_distance", value, "scalar") for i, value in enumerate([100, 1000, 1000])]
    write_lines(tmp_path / "data" / "test.jsonl", rows)
    assert total_of_one(evaluate("multispa", tmp_path / "data", "majority", tmp_path / "out", limit=1)) == 1
    found = evaluate("multispa", tmp_path / "data", "majority", tmp_path / "out")
    assert total_of_one(found) == pytest.approx(2 / 3)


def total_of_one(result):
    return result.tables[0].rows[0].cells[0].value


def test_worst_cases(data, tmp_path):
    said = dict(zip(BY_ID, WRONG)) | {
        RECORDS[7]["id"]: "<answer>1 m",
        RECORDS[5]["id"]: "</dd><script>alert(1)</script>",
    }
    (data / "images" / "4.jpg").unlink()
    result = evaluate("multispa", data, said, tmp_path / "out")
    assert len(result.worst) == 9
    page = (tmp_path / "out" / "result.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 8 and "4.jpg is missing" in page
    assert "<script" not in page and "&lt;script&gt;alert(1)" in page
    assert "off by 30 %" in page  # 1.6 m of 1234 mm
    assert "a tag is not closed" in page


def test_worst_cases_are_of_every_type_and_worst_first(tmp_path):
    rows = [record(i, "depth_estimation_dot", 1000, "scalar") for i in range(40)]
    rows += [record(i, "camera_distance", 1000, "scalar") for i in range(3)]
    (tmp_path / "data").mkdir()
    write_lines(tmp_path / "data" / "test.jsonl", rows)
    said = {known["id"]: f"{2000 + i} mm" for i, known in enumerate(rows)} | {"depth_estimation_dot-39": "?"}
    result = evaluate("multispa", tmp_path / "data", said, tmp_path / "out")
    assert [case.item.id for case in result.worst[:4]] == [
        "camera_distance-2",
        "depth_estimation_dot-38",
        "camera_distance-1",
        "depth_estimation_dot-37",
    ]
    assert len(result.worst) == 12


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [
            value for name, value in attrs if name in ("src", "href") and not value.startswith(("data:", "#"))
        ]


def test_the_page_needs_nothing_else(data, tmp_path):
    said = dict(zip(BY_ID, WRONG)) | {RECORDS[0]["id"]: "\ud800 \x07 1.6 m"}
    evaluate("multispa", data, said, tmp_path / "out", compare=("chance",))
    page = (tmp_path / "out" / "result.html").read_text()
    links = Links()
    links.feed(page)
    assert links.found == [] and "http" not in re.sub(r"http://www\.w3\.org/\S+", "", page)
    assert "\x07" not in page


def test_names_that_no_page_can_hold(data, tmp_path):
    write_lines(data / "test.jsonl", [record(0, "not_observed", "not observed", "text", bins={"asks": "\ud800"})])
    result = evaluate("abstention", data, {}, tmp_path / "out", name="\ud800")
    assert "answers of ?" in (tmp_path / "out" / "result.html").read_text()
    console = PlainConsole(width=200)
    with console.capture() as captured:
        for line in lines(result):
            console.print(line)
    assert captured.get().encode()


def test_the_true_and_the_said_pixel_are_drawn(data, tmp_path):
    from spatial_mllm_training.benchmarks.page import SAID, TRUTH, uri

    image = np.full((480, 640, 3), 90, np.uint8)
    plain, marked = uri(image), uri(image, [((250, 250), TRUTH), ((750, 500), SAID)])
    assert plain != marked
    import base64

    drawn = cv2.imdecode(np.frombuffer(base64.b64decode(marked.split(",")[1]), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert drawn.shape == (300, 400, 3)
    for (x, y), (_, colour) in (((100, 75), TRUTH), ((300, 150), SAID)):
        assert np.abs(drawn[y, x + 9].astype(int) - colour).max() < 60
        assert np.abs(drawn[y, x].astype(int) - 90).max() < 30


def test_on_a_terminal(data, tmp_path):
    result = evaluate("multispa", data, dict(zip(BY_ID, WRONG)), tmp_path / "out", compare=("majority",))
    console = PlainConsole(width=200)
    with console.capture() as captured:
        for line in lines(result):
            console.print(line)
    shown = captured.get()
    assert re.search(r"all answers, micro +9 +0\.0 +0\.0 to 29\.9", shown)
    assert "majority" in shown


def test_questions_for_a_model():
    asked = question_of(RECORDS[0])
    assert (asked.text, asked.answer_type, asked.options) == ("Where?", AnswerType.NUMBER, ())
    kinds = [question_of(known).answer_type for known in RECORDS[2:4]]
    assert kinds == [AnswerType.PIXEL, AnswerType.TEXT]
    assert question_of(RECORDS[4]).options == ("left", "right")
    named = json.loads(json.dumps(RECORDS[4]))
    named["conversations"][0]["value"] = "<image>\nDid it move left or right?"
    assert question_of(named).answer_type == AnswerType.TEXT


def test_a_model_without_its_images(tmp_path):
    model = Model(AskParams(model="none"), tmp_path)
    with pytest.raises(SpatialError, match=r"^0\.jpg is missing"):
        model(RECORDS[0])
    with pytest.raises(SpatialError, match="neither images nor a video"):
        model(RECORDS[0] | {"images": []})


def test_an_untrained_model_answers(data, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from spatial_mllm_ros.mllm.families.spatial_mllm.untrained import make_untrained

    params = AskParams(model=str(make_untrained(tmp_path / "model")), device="cpu", max_tokens=4)
    result = evaluate("multispa", data, Model(params, data), tmp_path / "out", limit=2)
    assert result.counts["answered"] == 2


def test_frames_of_a_video_beside_the_data(tmp_path):
    """As VSI-Bench has them: so many frames, evenly spread, each of one grey value that tells its time."""
    writer = cv2.VideoWriter(str(tmp_path / "scan.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 5, (32, 24))
    for i in range(20):
        writer.write(np.full((24, 32, 3), 10 * i, np.uint8))
    writer.release()
    shown = Model(AskParams(model="none", max_frames=4), tmp_path)._images(
        {"images": [], "meta": {"video": "scan.avi"}}
    )
    values = [float(image.mean()) for image in shown]
    assert len(shown) == 4 and shown[0].shape == (24, 32, 3)
    assert values == pytest.approx([0, 60, 120, 180], abs=3)
