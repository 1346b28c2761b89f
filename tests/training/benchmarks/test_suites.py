"""Benchmarks from folders as their authors publish them, with a few questions of our own, and broken ones."""

import json
from pathlib import Path

import numpy as np
import pytest

from spatial_mllm_ros.errors import ErrorCode, SpatialError
from spatial_mllm_training.benchmarks.reading import Reading
from spatial_mllm_training.benchmarks.suites import SUITES, Item, find_suite
from spatial_mllm_training.benchmarks.suites.multispa import item_of
from spatial_mllm_training.benchmarks.tables import MACRO, MICRO
from spatial_mllm_training.multispa.wording import word

from ..multispa.test_wording import FORMS, REFUSED, candidate

ANNOTATIONS = "v1_balanced_sqa_annotations_test_scannetv2.json"
QUESTIONS = "v1_balanced_questions_test_scannetv2.json"


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def vsi_row(number=0, kind="object_counting", truth="3", options=None, **changes):
    row = {"id": number, "dataset": "arkitscenes", "scene_name": "41069025", "question_type": kind, "question": "What?"}
    return row | {"ground_truth": truth, "options": options} | changes


def vsi_rows():
    chairs = ["A. chair", "B. table", "C. sofa", "D. lamp"]
    turns = ["A. left", "B. right"]
    return [
        vsi_row(0),
        vsi_row(1, "object_abs_distance", "1.5"),
        vsi_row(2, "object_size_estimation", "60"),
        vsi_row(3, "room_size_estimation", "20.5"),
        vsi_row(4, "object_rel_distance", "C", chairs),
        vsi_row(5, "object_rel_direction_easy", "A", turns),
        vsi_row(6, "object_rel_direction_easy", "A", turns),
        vsi_row(7, "object_rel_direction_hard", "B", turns),
    ]


def record(number, kind, value, output, answer="x", split="test", **meta):
    turns = [{"from": "human", "value": "<image>\nWhere?"}, {"from": "gpt", "value": answer}]
    meta = {"scene": "test/room", "output": output, "image_size": [640, 480], "options": [], "split": split} | meta
    name = f"{kind}-{number}"
    return {"id": name, "question_type": kind, "images": [f"images/{number}.jpg"], "conversations": turns} | {
        "gt_value": value,
        "meta": meta,
    }


RECORDS = [
    record(0, "depth_estimation_dot", 1234, "scalar"),
    record(1, "depth_comparison_dot", "B", "choice"),
    record(2, "correspondence_coordinate", "[512, 300]", "pixel"),
    record(3, "correspondence_choice", "C", "choice", options=[[1, 2], [3, 4], [5, 6], [7, 8]]),
    record(4, "camera_left_right", "left", "text", options=["left", "right"]),
    record(5, "camera_yaw_degrees", 20, "scalar"),
    record(6, "camera_vector", [100, -20, 300], "vector"),
    record(7, "object_height", 800.0, "scalar", label="chair"),
    record(8, "not_observed", "not observed", "text", bins={"asks": "object_height"}),
]
KINDS_OF_RECORDS = ("scalar", "choice", "pixel", "choice", "choice", "scalar", "vector", "scalar", "text")
RIGHT = ["1.3 m", "Point B", "(520, 310)", "C", "To the left.", "22", "[110, -20, 290]", "82 cm", "not visible"]
WRONG = ["1.6 m", "Point A", "(580, 300)", "D", "right", "25", "[100, 20, 200]", "1 m", "800 mm"]


def scanqa_row(number, question="What color is the chair?", answers=("brown", "dark brown"), **changes):
    row = {
        "scene_id": "scene0011_00",
        "question_id": f"val-scene0011-{number}",
        "object_ids": [1],
        "object_names": ["chair"],
    }
    return row | {"question": question, "answers": list(answers)} | changes


def sqa_files(folder, questions=None, annotations=None):
    folder.mkdir(parents=True, exist_ok=True)
    asked = [
        {"question_id": 220602000000 + i, "scene_id": "scene0380_00", "situation": "I face a window.", "question": text}
        | {"alternative_situation": ["I look outside."]}
        for i, text in enumerate(["What is on my left?", "Is it dark?", "Where is it?"])
    ]
    known = [
        {
            "question_id": row["question_id"],
            "scene_id": row["scene_id"],
            "answers": [{"answer": answer, "answer_id": 1}],
        }
        | {"position": {"x": 0, "y": 0, "z": 0}, "rotation": {"_x": 0, "_y": 0, "_z": 0, "_w": 1}}
        for row, answer in zip(asked, ["chair", "no", "behind"])
    ]
    (folder / QUESTIONS).write_text(json.dumps({"questions": asked if questions is None else questions}))
    (folder / ANNOTATIONS).write_text(json.dumps({"annotations": known if annotations is None else annotations}))


def load(name, folder):
    return list(find_suite(name).load(folder))


def fails(name, folder, text):
    with pytest.raises(SpatialError, match=text) as caught:
        load(name, folder)
    assert caught.value.code == ErrorCode.BAD_REQUEST


def test_every_suite_has_its_parts():
    for name in SUITES:
        suite = find_suite(name)
        assert suite.TITLE and suite.MAIN in suite.METRICS
    assert find_suite("vsi-bench") is find_suite("vsi_bench")
    with pytest.raises(SpatialError, match="none of multispa, vsi_bench"):
        find_suite("vqa")


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_vsi_bench(tmp_path, form):
    if form == "jsonl":
        write_lines(tmp_path / "test.jsonl", vsi_rows())
    else:
        import pyarrow as pa
        import pyarrow.parquet as parquet

        parquet.write_table(pa.Table.from_pylist(vsi_rows()), tmp_path / "test-00000-of-00001.parquet")
    (tmp_path / "arkitscenes").mkdir()
    (tmp_path / "arkitscenes" / "41069025.mp4").touch()
    items = load("vsi_bench", tmp_path)
    assert [item.unit for item in items[:4]] == ["", "m", "cm", "m2"]
    assert items[4].options == ("chair", "table", "sofa", "lamp") and items[4].truth == 2
    assert items[0].video == tmp_path / "arkitscenes" / "41069025.mp4"
    known = items[4].record()
    assert known["gt_value"] == "C" and known["meta"]["options"] == ["chair", "table", "sofa", "lamp"]
    assert items[1].record()["gt_value"] == 1.5 and items[1].record()["meta"]["video"].endswith("41069025.mp4")


@pytest.mark.parametrize(
    ("number", "text", "score", "published"),
    [
        (0, "3", 1, 1),
        (0, "4", 0.4, 0.4),  # an error of a third
        (0, "Three chairs.", 1, 0),
        (1, "150 cm", 1, 0),
        (1, "1.5 m", 1, 1),
        (1, "<think>2 m?</think><answer>1.5</answer>", 1, 1),
        (1, "1.65", 0.8, 0.9),  # an error of 0.1 is at the limit of 0.90
        (1, "1-2 m", 0, 0),
        (2, "0.6 m", 1, 0),
        (3, "20.5 square meters", 1, 1),
        (4, "C", 1, 1),
        (4, "C. sofa", 1, 1),
        (4, "c", 1, 1),
        (4, "the sofa", 1, 0),
        (4, "C. chair", 0, 1),  # contradicts itself; the authors' code looks at the letter alone
        (4, "B", 0, 0),
        (4, None, 0, 0),
        (4, "not visible", 0, 0),
    ],
)
def test_vsi_bench_scores(tmp_path, number, text, score, published):
    write_lines(tmp_path / "test.jsonl", vsi_rows())
    found = find_suite("vsi_bench").score(load("vsi_bench", tmp_path)[number], text)
    assert found["score"] == pytest.approx(score) and found["as published"] == pytest.approx(published)


def test_vsi_bench_scores_long_answers_in_no_time(tmp_path):
    """Ten megabytes; a rule that looked again from every character would take days."""
    write_lines(tmp_path / "test.jsonl", vsi_rows())
    for item in load("vsi_bench", tmp_path)[3:5]:
        for text in ("a" * 10_000_000, "</answer>" * 1_000_000, "20.5 " * 2_000_000):
            assert find_suite("vsi_bench").score(item, text)["score"] == 0
        right = "<think>" + "b" * 10_000_000 + f"</think><answer>{item.answers[0]}</answer>"
        found = find_suite("vsi_bench").score(item, right)
        assert found["score"] == found["as published"] == 1


@pytest.mark.parametrize("truth", range(1, 9))
def test_the_published_rule_is_the_authors(tmp_path, truth):
    """Their formula: |said - truth| / truth <= 1 - theta, theta evenly spaced; ours differs only at the limits."""
    write_lines(tmp_path / "test.jsonl", [vsi_row(truth=str(truth))])
    (item,) = load("vsi_bench", tmp_path)
    for said in range(20):
        wanted = (abs(said - truth) / truth <= 1 - np.linspace(0.5, 0.95, 10)).mean()
        found = find_suite("vsi_bench").score(item, f"{said}.")
        assert found["as published"] == wanted and 0 <= wanted - found["score"] <= 0.1 + 1e-9


def test_vsi_bench_tables(tmp_path):
    write_lines(tmp_path / "test.jsonl", vsi_rows())
    suite, items = find_suite("vsi_bench"), load("vsi_bench", tmp_path)
    texts = ["3", "1.5", "60", "20.5", "A", "A", "B", "B"]
    (table,) = suite.tables(items, texts, [suite.score(item, text) for item, text in zip(items, texts)])
    assert {row.name: round(row.cells[0].value, 6) for row in table.rows} == {
        "object_counting": 1,
        "object_abs_distance": 1,
        "object_size_estimation": 1,
        "room_size_estimation": 1,
        "object_rel_distance": 0,
        "object_rel_direction": 0.75,  # easy 1 of 2, hard 1 of 1
        MICRO: 0.75,  # 6 of 8
        MACRO: round(4.75 / 6, 6),
    }


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"id": 1}, "question 1: field 'question_type' is missing; it has id"),
        (vsi_row(kind="colour"), "question_type 'colour' is none of object_counting"),
        (vsi_row(truth="many"), "ground_truth 'many' is no number"),
        (vsi_row(kind="route_planning", truth="C", options=["A. x", "B. y"]), "'C' is not the letter of one of its 2"),
        (vsi_row(kind="route_planning", truth="A"), "field 'options' is NoneType, expected list"),
        ([1], "test.jsonl, line 1: expected a JSON object"),
    ],
)
def test_broken_vsi_bench(tmp_path, row, text):
    write_lines(tmp_path / "test.jsonl", [row])
    fails("vsi_bench", tmp_path, text)


def test_broken_files(tmp_path):
    fails("vsi_bench", tmp_path, "neither test.jsonl nor test-")
    (tmp_path / "test-0.parquet").write_bytes(b"no")
    fails("vsi_bench", tmp_path, "test-0.parquet cannot be read as Parquet")
    (tmp_path / "test.jsonl").write_bytes(b'{"id": "\xff"}\n')
    fails("vsi_bench", tmp_path, "test.jsonl is not UTF-8")
    (tmp_path / "test.jsonl").write_text('{"id": 1')
    fails("vsi_bench", tmp_path, "test.jsonl, line 1: expected a JSON object")


def test_scanqa(tmp_path):
    rows = [scanqa_row(0), scanqa_row(1, "Where is it?", ["on the desk"]), scanqa_row(2, "Is it a desk?", ["yes"])]
    (tmp_path / "ScanQA_v1.0_val.json").write_text(json.dumps(rows))
    (tmp_path / "ScanQA_v1.0_train.json").write_text("[]")
    color = tmp_path / "scans" / "scene0011_00" / "color"
    color.mkdir(parents=True)
    for number in (10, 2, 0):
        (color / f"{number}.jpg").touch()
    items = load("scanqa", tmp_path)
    assert [item.question_type for item in items] == ["Color", "Place", "Other"]
    assert [path.stem for path in items[0].images] == ["0", "2", "10"]
    assert all(Path(path).is_absolute() for path in items[0].record()["images"])
    suite = find_suite("scanqa")
    assert suite.score(items[0], "Dark brown.") == {"EM": 1, "refined EM": 1, "error": 0}
    assert suite.score(items[0], "<answer>a brown one</answer>")["refined EM"] == 1
    assert suite.score(items[0], "<answer>brown")["refined EM"] == 0
    assert suite.score(items[0], None) == {"EM": 0, "refined EM": 0, "error": 2}


def test_scanqa_tables(tmp_path, monkeypatch):
    pytest.importorskip("pycocoevalcap")
    monkeypatch.setattr("shutil.which", lambda name: None)
    (tmp_path / "ScanQA_v1.0_val.json").write_text(
        json.dumps([scanqa_row(0), scanqa_row(1, "Where?", ["on the desk"])])
    )
    suite, items = find_suite("scanqa"), load("scanqa", tmp_path)
    texts = ["brown", "<answer>on the desk</answer>"]
    questions, words = suite.tables(items, texts, [suite.score(item, text) for item, text in zip(items, texts)])
    assert [row.cells[0].value for row in questions.rows] == [1, 1, 1, 1]
    rows = {row.name: row.cells for row in words.rows}
    assert rows["METEOR"] == ["not available: needs Java"] * 2
    assert rows["BLEU-1"][0] == "not available: needs Java" and rows["BLEU-1"][1].value == pytest.approx(1)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{", "ScanQA_v1.0_val.json is no JSON"),
        ("{}", "expected a list of questions"),
        (json.dumps([scanqa_row(0, answers=())]), "question 1: 'answers' is empty"),
        (json.dumps([{"question": "x", "scene_id": "y"}]), "field 'answers' is missing; it has question, scene_id"),
        (json.dumps([scanqa_row(0, question=3)]), "field 'question' is int, expected str"),
    ],
)
def test_broken_scanqa(tmp_path, content, text):
    (tmp_path / "ScanQA_v1.0_val.json").write_text(content)
    fails("scanqa", tmp_path, text)


def test_scanqa_without_answers(tmp_path):
    fails("scanqa", tmp_path, "no ScanQA_v1.0_val.json")
    (tmp_path / "ScanQA_v1.0_test_w_obj.json").write_text("[]")
    fails("scanqa", tmp_path, "whose answers are not published")


@pytest.mark.parametrize("inside", ["", "sqa_task/balanced"])
def test_sqa3d(tmp_path, inside):
    sqa_files(tmp_path / inside)
    (tmp_path / "video").mkdir()
    (tmp_path / "video" / "scene0380_00.mp4").touch()
    suite, items = find_suite("sqa3d"), load("sqa3d", tmp_path)
    assert [item.question_type for item in items] == ["what", "is", "other"]
    assert items[0].question == "I face a window. What is on my left?" and items[0].id == "220602000000"
    assert items[0].video == tmp_path / "video" / "scene0380_00.mp4"
    texts = ["The chair.", "no it is not", "in front"]
    scores = [suite.score(item, text) for item, text in zip(items, texts)]
    assert [(s["EM"], s["refined EM"]) for s in scores] == [(1, 1), (0, 1), (0, 0)]
    (table,) = suite.tables(items, texts, scores)
    assert [row.name for row in table.rows] == ["what", "is", "other", MICRO, MACRO]


def test_broken_sqa3d(tmp_path):
    fails("sqa3d", tmp_path, f"has no {QUESTIONS}")
    sqa_files(tmp_path, questions=[])
    fails("sqa3d", tmp_path, "question_id 220602000000 is not in")
    sqa_files(tmp_path, annotations=[{"question_id": 220602000000, "answers": [], "scene_id": "x"}])
    fails("sqa3d", tmp_path, "'answers' is empty")
    (tmp_path / QUESTIONS).write_text("[]")
    fails("sqa3d", tmp_path, "field 'questions' is missing")
    (tmp_path / QUESTIONS).unlink()
    fails("sqa3d", tmp_path, f"lacks {QUESTIONS}")


def multispa(tmp_path, records=RECORDS):
    write_lines(tmp_path / "test.jsonl", records)
    return load("multispa", tmp_path)


def test_multispa(tmp_path):
    items, suite = multispa(tmp_path), find_suite("multispa")
    assert [item.kind for item in items] == [*KINDS_OF_RECORDS]
    assert items[0].images == (tmp_path / "images" / "0.jpg",) and items[0].record() is items[0].given
    assert items[3].options == tuple("ABCD") and items[1].options == tuple("AB")
    for item, right, wrong in zip(items, RIGHT, WRONG, strict=True):
        assert suite.score(item, right)["accuracy"] == 1, item.id
        assert suite.score(item, wrong)["accuracy"] == 0, item.id
        for nothing in (None, "", "not visible" if item.truth is not None else "?", ["a", "b"], "<think>"):
            assert suite.score(item, nothing)["accuracy"] == 0
    assert suite.score(items[0], "far")["readable"] == 0
    assert suite.score(items[0], "1.6 m")["error"] == pytest.approx(366 / 1234)


@pytest.mark.parametrize("form", [*FORMS, *(f"not observed: {form}" for form in REFUSED)])
def test_every_way_to_word_a_true_answer_is_right(tmp_path, form):
    """What the data engine teaches to say, scores as right; so do the bare value and the letter or word chosen."""
    asked = candidate(form.removeprefix("not observed: "), unanswerable=form.startswith("not"), bins={"asks": form})
    suite = find_suite("multispa")
    for seed in range(40):
        said = word(asked, (640, 480), np.random.default_rng(seed))
        known = record(0, asked.question_type, said.gt_value, asked.output, said.answer, options=list(said.options))
        known["conversations"][0]["value"] = said.question
        item = item_of(known, tmp_path, "record")
        for text in (said.answer, f"<think>so</think><answer>{said.answer}</answer>", said.gt_value):
            assert suite.score(item, text) == {"accuracy": 1, "readable": 1, "error": 0}, (said.question, text)


def test_multispa_reads_only_the_test_split(tmp_path):
    write_lines(tmp_path / "train.jsonl", RECORDS)
    fails("multispa", tmp_path, "has no test.jsonl")
    assert len(load("multispa", tmp_path / "train.jsonl")) == len(RECORDS)
    shards = tmp_path / "annotations" / "test"
    shards.mkdir(parents=True)
    write_lines(shards / "room.jsonl", RECORDS[:2])
    assert [item.images[0].parent for item in load("multispa", tmp_path)] == [tmp_path / "images"] * 2


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"question_type": "colour"}, "record 1: question_type 'colour' is none of depth_estimation_dot"),
        ({"meta": None}, "field 'meta' is NoneType, expected dict"),
        ({"conversations": []}, "'conversations' has 0 turns"),
        ({"gt_value": "far"}, "gt_value 'far' is no answer of output 'scalar'"),
        ({"meta": {}}, "meta: field 'output' is missing"),
        ({"meta": {"output": "smell"}}, "is no answer of output 'smell'"),
        ({"meta": {"output": "pixel", "image_size": [0, 0]}}, "is no answer of output 'pixel'"),
        ({"meta": {"output": "vector"}}, "is no answer of output 'vector'"),
        ({"meta": {"output": "text", "options": ["left", "right"]}}, "is no answer of output 'choice'"),
    ],
)
def test_broken_multispa(tmp_path, change, text):
    write_lines(tmp_path / "test.jsonl", [RECORDS[0] | change])
    fails("multispa", tmp_path, text)


def test_abstention(tmp_path):
    items, suite = multispa(tmp_path), find_suite("abstention")
    texts = [*RIGHT[:7], "not visible", "It is not visible."]
    texts[0] = "far"
    scores = [suite.score(item, text) for item, text in zip(items, texts)]
    refusals, forms = suite.tables(items, texts, scores)
    rows = {row.name: [cell.value for cell in row.cells] for row in refusals.rows}
    assert rows["not answerable"] == [1, 1] and rows["answerable"] == [1 / 8, 6 / 8]
    assert rows[MACRO][1] == (1 + 6 / 8) / 2
    assert forms.rows[0].name == "not_observed: object_height"


def test_an_item_is_read_as_what_it_asks():
    item = Item("1", "x", "How far, in metres?", ("1",), "scalar", 1000.0, "mm")
    assert item.read("1.1") == Reading(1100.0, said="1.1")


def test_media_outside_the_folder_is_not_looked_for(tmp_path):
    from spatial_mllm_training.benchmarks.suites import find_media

    (tmp_path / "inside").mkdir()
    (tmp_path / "scene.mp4").touch()
    assert find_media(tmp_path / "inside", "../scene") == ((), None)
    assert find_media(tmp_path / "inside", "scene", "..") == ((), None)
    assert find_media(tmp_path / "inside", "scene", str(tmp_path)) == ((), None)
    (tmp_path / "0.jpg").touch()
    assert find_media(tmp_path / "inside", "..") == ((), None)
    assert find_media(tmp_path, "scene") == ((), Path(tmp_path / "scene.mp4"))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"images": [3]}, "'images' should be paths"),
        ({"gt_value": float("nan")}, "gt_value nan is no answer of output 'scalar'"),
        ({"meta": {"output": "scalar", "options": 5}}, "field 'options' is int, expected list"),
    ],
)
def test_multispa_fields_of_other_kinds(tmp_path, changes, text):
    write_lines(tmp_path / "test.jsonl", [RECORDS[0] | changes])
    fails("multispa", tmp_path, text)


@pytest.mark.parametrize("size", [[640], [640, 480, 3], ["a", 1]])
def test_multispa_image_size_is_a_width_and_a_height(tmp_path, size):
    write_lines(tmp_path / "test.jsonl", [record(2, "correspondence_coordinate", "[5, 3]", "pixel", image_size=size)])
    fails("multispa", tmp_path, "is no answer of output 'pixel'")


def test_vsi_bench_truth_is_finite(tmp_path):
    write_lines(tmp_path / "test.jsonl", [vsi_row(truth="nan")])
    fails("vsi_bench", tmp_path, "ground_truth 'nan' is no number")


def test_lines_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "test.jsonl").write_text(json.dumps(vsi_row()) + "\n", encoding="utf-8-sig")
    assert load("vsi_bench", tmp_path)[0].truth == 3
