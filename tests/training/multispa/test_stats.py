"""Statistics of a folder whose records were written by hand."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_mllm_ros.errors import SpatialError
from spatial_mllm_training.multispa.item import QUESTION_TYPES
from spatial_mllm_training.multispa.records import write_parquet
from spatial_mllm_training.multispa.stats import Statistics, answer_group, read_records, shares, statistics

from .generated import records, write_folder


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "made")


def test_counts_by_type_and_split_in_the_usual_order(folder):
    known = statistics(folder)
    assert known.records["correspondence_choice"] == {"train": 3, "test": 1}
    assert known.records["depth_estimation_dot"] == {"train": 3}
    assert list(known.records) == [kind for kind in QUESTION_TYPES if kind in known.records]
    assert known.total == 11 and known.splits == ["train", "test"]
    assert known.scenes == {"bag/kitchen": 11}


def test_bins_before_and_after_balance(folder):
    known = statistics(folder)
    assert known.after["depth_estimation_dot"]["depth"] == {"1": 2, "3": 1}
    assert known.before["depth_estimation_dot"]["depth"] == {"1": 6, "3": 3, "9": 1}
    assert known.after["correspondence_choice"]["letter"] == {"A": 2, "B": 1, "C": 1}
    assert list(known.before["correspondence_choice"]["overlap"]) == ["6", "7", "8", "9"]
    assert known.candidates["depth_estimation_dot"] == 10 and known.candidates["camera_vector"] == 3


def test_bins_are_in_the_order_of_numbers(folder):
    path = folder / "annotations" / "train" / "kitchen.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for number, line in zip((10, 9, -2, "far", "2.5", "other"), lines):
        line["meta"]["bins"] = {"distance": number}
        line["question_type"] = "camera_distance"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert list(statistics(folder).after["camera_distance"]["distance"]) == ["-2", "2.5", "9", "10", "far", "other"]


def test_answers(folder):
    answers = statistics(folder).answers
    assert answers["correspondence_choice"] == {"A": 2, "B": 1, "C": 1}
    assert answers["depth_estimation_dot"] == {"800": 2, "1000": 1}
    assert answers["correspondence_coordinate"] == {"lower centre": 1}
    assert answers["camera_vector"] == {"500": 1}  # a triangle of 3, 4 and 5
    assert answers["not_observed"] == {"not observed": 1}


@given(st.integers(1, 10**6))
def test_numbers_are_grouped_by_their_first_digit(value):
    digits = str(value)
    assert answer_group(value, "scalar") == digits[0] + "0" * (len(digits) - 1)
    assert answer_group([0, -value, 0], "vector") == answer_group(value, "scalar")


def test_values_below_one_and_long_texts():
    assert answer_group(0.4, "scalar") == answer_group([0.0, 0.0, 0.0], "vector") == "0"
    assert len(answer_group("x" * 500, "text")) == 40


@pytest.mark.parametrize(
    "pixel, part",
    [
        ("[0, 0]", "upper left"),
        ("[999, 0]", "upper right"),
        ("[333, 334]", "middle left"),
        ("[334, 999]", "lower centre"),
    ],
)
def test_pixels_are_grouped_by_their_ninth(pixel, part):
    assert answer_group(pixel, "pixel") == part


def test_shares_name_the_most_frequent():
    assert shares({"A": 1, "B": 3}) == "B: 75%, A: 25%"
    assert shares({str(i): 1 for i in range(9)}).endswith(" and 3 more")
    assert shares({}) == ""


def test_what_was_skipped_and_why(folder):
    known = statistics(folder)
    assert known.skipped["bag/dark"] == "not a bag <b>&" and len(known.skipped) == 3
    assert list(known.reasons.items()) == [("object_motion: no tracks: a bag", 2), ("not a bag <b>&", 1)]
    assert known.faults == {"frame: cut short": 1} and known.dropped == {"cut short": 1, "no pose": 3}


def test_a_run_that_is_not_finished_says_so(folder):
    assert statistics(folder).finished
    (folder / "manifest.json").write_text('{"shards": {}}')
    known = statistics(folder)
    assert not known.finished and not known.skipped and known.total == 11


def test_rows_have_every_column_and_their_sums(folder):
    known = statistics(folder)
    rows = list(known.rows())
    assert {len(row) for row in rows} == {len(known.columns())} == {5}
    assert rows[0] == ("depth_estimation_dot", "3", "0", "10", "800: 67%, 1000: 33%")
    assert rows[-1] == ("all", "10", "1", "34", "")


def test_a_type_of_which_nothing_was_kept_is_still_a_row():
    known = Statistics(candidates={"camera_distance": 4})
    assert next(known.rows()) == ("camera_distance", "4", "")


def test_values_are_json(folder):
    known = statistics(folder)
    values = json.loads(json.dumps(known.values()))
    assert values["total"] == 11 and values["records"] == known.records and values["reasons"] == known.reasons


def test_parquet_says_the_same_as_lines(folder):
    expected = statistics(folder)
    images = {name: folder / name for record in records() for name in record["images"]}
    for path in folder.glob("annotations/*/*.jsonl"):
        made = [json.loads(line) for line in path.read_text().splitlines()]
        write_parquet(made, path.with_suffix(".parquet"), images)
    assert Counter(r["id"] for r in read_records(folder)).most_common(1)[0][1] == 1  # both formats: counted once
    for path in folder.glob("annotations/*/*.jsonl"):
        path.unlink()
    assert statistics(folder) == expected
    kept = next(read_records(folder, images=True))["images"][0]
    assert kept["bytes"] == (folder / kept["path"]).read_bytes()


def test_an_empty_run(folder):
    for path in [*folder.glob("annotations/*/*"), *folder.glob("candidates/*")]:
        path.unlink()
    known = statistics(folder)
    assert known.total == 0 and known.splits == [] and list(known.rows()) == [("all", "0", "")]


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(SpatialError, match=r"has no manifest.json: expected a folder that multispa generate"):
        statistics(tmp_path)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"shards": 3}', '{"shards": {"a": 1}}', '{"shards": {"a": {"proposed": {"dropped": 1}}}}'],
)
def test_a_damaged_manifest_is_named(folder, content):
    (folder / "manifest.json").write_text(content)
    with pytest.raises(SpatialError, match=r"manifest.json is damaged"):
        statistics(folder)


@pytest.mark.parametrize("line", ['{"id": "cut', "[]", "3", '{"meta": {}}', '{"meta": 3}'])
def test_a_damaged_line_is_named(folder, line):
    with (folder / "annotations" / "train" / "kitchen.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(SpatialError, match=r"annotations/train/kitchen.jsonl is damaged, line 11 is not a record"):
        statistics(folder)


def test_damaged_candidates_are_named(folder):
    path = folder / "candidates" / "kitchen.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SpatialError, match=r"candidates/kitchen.parquet is damaged"):
        statistics(folder)
