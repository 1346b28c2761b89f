"""What the policy is asked, against what the engine asks; broken records."""

import numpy as np
import pytest
import torch

from spatial_mllm_ros.mllm import Question, load_model
from spatial_mllm_training.grpo.clips import until
from spatial_mllm_training.grpo.prompts import Prompts
from spatial_mllm_training.multispa.question import question_of
from spatial_mllm_training.runs.folder import RunError
from spatial_mllm_training.sft.dataset import DataEntry, Mixture

from .data import SHADES, write_records
from .records import WORD


@pytest.fixture(scope="module")
def processor(tiny):
    return load_model(tiny)[1]


def prompts(folder, processor, reasoning=False, most=0):
    mixture = Mixture([DataEntry(path=str(folder))])
    return Prompts(mixture, mixture.all(), processor, reasoning, max_frames=16, most=most)


@pytest.mark.parametrize("reasoning", [False, True])
def test_asked_as_the_engine_asks(tmp_path, processor, reasoning):
    asked = prompts(write_records(tmp_path / "data"), processor, reasoning)
    for number in (0, 1):
        prompt = asked(number)
        frame = np.full((56, 56, 3), SHADES[number], np.uint8)
        pixels, grid = processor.pack_clip([frame, frame])
        torch.testing.assert_close(prompt.pixels, pixels, atol=0, rtol=0)
        question = Question("What is this?", answer_type=1, with_reasoning=reasoning)  # TEXT
        assert prompt.ids == processor.prefix_ids(grid[0].tolist()) + processor.question_ids(question)


def test_the_same_number_is_the_same_prompt(tmp_path, processor):
    asked = prompts(write_records(tmp_path / "data"), processor)
    assert [asked(n).record["id"] for n in (3, 0, 3)] == ["r3", "r0", "r3"]
    assert len(asked) == 8


def test_a_broken_record_is_replaced_by_the_next(tmp_path, processor, capsys):
    asked = prompts(write_records(tmp_path / "data", broken=(2, 3, 7)), processor, most=3)
    assert [asked(n).record["id"] for n in range(8)] == ["r0", "r1", "r4", "r4", "r4", "r5", "r6", "r0"]
    assert {row for _, row in asked.faults} == {2, 3, 7}
    assert capsys.readouterr().err.count("left out:") == 3


def test_too_many_broken_records_stop(tmp_path, processor):
    asked = prompts(write_records(tmp_path / "data", broken=(0, 1)), processor, most=1)
    with pytest.raises(RunError, match=r"2 broken records, 1 are allowed; the last: .*missing"):
        asked(0)


def test_nothing_but_broken_records(tmp_path, processor):
    asked = prompts(write_records(tmp_path / "data", count=2, broken=(0, 1)), processor, most=5)
    with pytest.raises(RunError, match="none of the records can be shown and scored"):
        asked(0)


def test_records_may_ask_for_thoughts():
    thinking = WORD | {"meta": {**WORD["meta"], "with_reasoning": True}}
    assert question_of(thinking).with_reasoning and not question_of(WORD).with_reasoning


def test_completions_end_with_their_first_end():
    assert until([5, 7, 9, 7], {7, 8}) == [5, 7]
    assert until([5, 6], {7}) == [5, 6]
    assert until([], {7}) == []
