"""Questions about a real recording, their answers worked out again from its raw depth images and transforms."""

import json
import re
from collections import Counter

import numpy as np
import pytest

from spatial_mllm_training.benchmarks.baselines import baseline
from spatial_mllm_training.benchmarks.suites import multispa
from spatial_mllm_training.multispa.generate import generate
from spatial_mllm_training.multispa.item import CAMERA_MOTION, CORRESPONDENCE, DEPTH, NOT_OBSERVED
from spatial_mllm_training.multispa.manifest import GenerateOptions
from spatial_mllm_training.multispa.sources import open_sources

from .recompute import RawRecording, agrees, answer

PER_TASK, SAMPLED = 36, 500
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def kitchen(redkitchen, tmp_path_factory):
    """(folder, its records) of questions about the kitchen."""
    out = tmp_path_factory.mktemp("kitchen")
    options = GenerateOptions(per_task=PER_TASK, test_share=1.0, runner="inline")
    summary = generate(open_sources([str(redkitchen)]), out, options)
    assert not summary.faults
    return out, [json.loads(line) for line in (out / "test.jsonl").read_text().splitlines()]


def test_every_subtask_that_depth_and_poses_allow_is_there(kitchen):
    counts = Counter(record["question_type"] for record in kitchen[1])
    refusals = counts.pop(NOT_OBSERVED)
    assert counts == dict.fromkeys((*DEPTH, *CORRESPONDENCE, *CAMERA_MOTION), PER_TASK)
    assert refusals == round(counts.total() / 9), "a tenth of all"


def test_sampled_answers_agree_with_raw_depth_and_poses(kitchen, redkitchen):
    recording, records = RawRecording(redkitchen), kitchen[1]
    chosen = np.random.default_rng(0).choice(len(records), SAMPLED, replace=False)
    found = [(answer(recording, records[i]), records[i]) for i in chosen.tolist()]
    assert {record["question_type"] for _, record in found} == {*DEPTH, *CORRESPONDENCE, *CAMERA_MOTION, NOT_OBSERVED}
    assert [(value, record) for value, record in found if not agrees(value, record["gt_value"])] == []


def test_pairs_share_what_their_bin_says(kitchen, redkitchen):
    """Within 4 of 100: which points a surface is made of is a matter of choice."""
    recording = RawRecording(redkitchen)
    records = [record for record in kitchen[1] if "overlap" in record["meta"]["bins"]][::8]
    off = [recording.overlap(each["meta"]["stamps_ns"]) - each["meta"]["bins"]["overlap"] for each in records]
    assert len(off) > 40 and np.abs(off).max() < 4
    assert {*range(6, 35)} >= {record["meta"]["bins"]["overlap"] for record in records}


def test_questions_for_degrees_name_the_true_direction(kitchen, redkitchen):
    recording, opposite = RawRecording(redkitchen), {"left": "right", "right": "left", "up": "down", "down": "up"}
    records = [record for record in kitchen[1] if record["question_type"].endswith("_degrees")]
    assert len(records) == 2 * PER_TASK
    for record in records:
        asks = record["question_type"].replace("degrees", "direction")
        direction = answer(recording, record | {"question_type": asks})
        words = record["conversations"][0]["value"].lower() + record["conversations"][1]["value"].lower()
        assert direction in words and not re.search(rf"\b{opposite[direction]}", words), words


def test_the_check_sees_a_millimetre_and_a_thousandth(kitchen, redkitchen):
    recording = RawRecording(redkitchen)
    for record in kitchen[1][::5]:
        truth = record["gt_value"]
        if record["meta"]["output"] in ("scalar", "vector", "pixel"):
            values = json.loads(truth) if isinstance(truth, str) else truth
            wrong = values + 1 if isinstance(values, int) else [*values[:-1], values[-1] + 1]
        else:
            wrong = f"not {truth}"
        assert not agrees(answer(recording, record), wrong)


def test_the_geometry_baseline_is_right(kitchen, redkitchen):
    model = baseline("geometry", [], open_sources([str(redkitchen)]))
    scores = [multispa.score(item, model(item.record())) for item in multispa.load(kitchen[0])]
    assert len(scores) == len(kitchen[1])
    assert all(score["accuracy"] == 1 for score in scores)
