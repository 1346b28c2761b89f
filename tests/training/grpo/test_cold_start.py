"""Cold start: which traces are kept, on cases by hand; resuming; and that SFT reads what is written."""

import json
from dataclasses import asdict

import pytest
import torch

from spatial_mllm_ros.errors import SpatialError
from spatial_mllm_ros.mllm import load_model
from spatial_mllm_training.grpo import cold_start as module
from spatial_mllm_training.grpo.cold_start import Trace, cold_start, keep
from spatial_mllm_training.grpo.recipe import ColdStartRecipe
from spatial_mllm_training.runs.recipe import load_recipe, make_recipe
from spatial_mllm_training.sft import media
from spatial_mllm_training.sft.collate import Collator
from spatial_mllm_training.sft.dataset import DataEntry, Mixture
from spatial_mllm_training.sft.recipe import SftRecipe

from .data import ANSWERS, write_records
from .records import DEPTH, OTHER, WORD


def thought(text):
    return f"<think>I look.</think><answer>{text}</answer>"


@pytest.fixture
def recipe(tiny, tmp_path):
    data = write_records(tmp_path / "data")

    def build(**changes):
        values = {"model": str(tiny), "data": [{"path": str(data)}], "traces": 3, "max_tokens": 4, "device": "cpu"}
        return make_recipe({**values, **changes}, ColdStartRecipe)

    return build


@pytest.fixture
def scripted(monkeypatch):
    """Instead of sampling: texts of all traces of the n-th question that is asked; returns how many were asked."""

    def script(texts):
        asked = []

        def sample(model, clips, rows, prompts, config):
            encode = processor.tokenizer.encode
            said = texts(len(asked))
            asked.append(len(rows))
            return [encode(text) for text in said]

        monkeypatch.setattr(module, "sample", sample)
        return asked

    processor = None
    load = module.load_speaker

    def keep_processor(*args):
        nonlocal processor
        model, processor = load(*args)
        return model, processor

    monkeypatch.setattr(module, "load_speaker", keep_processor)
    return script


def test_the_median_of_the_type_decides():
    rewards = {
        "a": (WORD, 2.0),
        "b": (WORD, 1.0),
        "c": (WORD, 1.5),
        "d": (DEPTH, 0.0),
        "e": (DEPTH, 0.0),
        "f": (OTHER, 0.1),
    }
    best = [(record | {"id": name}, Trace("said", reward)) for name, (record, reward) in rewards.items()]
    kept = {record["id"] for record, _ in keep(best)}
    assert kept == {"a", "c", "f"}  # the median of a, b, c is 1.5, that of d and e is nothing, f is alone
    assert keep([]) == []


def test_half_of_a_type_is_kept_where_all_differ():
    best = [(WORD | {"id": str(i)}, Trace("said", 1.0 + i)) for i in range(10)]
    assert [record["id"] for record, _ in keep(best)] == ["5", "6", "7", "8", "9"]


def test_wrong_thoughts_are_not_kept_however_many_there_are(recipe, scripted, tmp_path):
    scripted(lambda n: [thought(ANSWERS[n % 2] if n < 2 else "zzz")] * 3)  # 1 of 4 right of either type
    cold_start(recipe(score_text="right"), tmp_path / "out")
    lines = (tmp_path / "out" / "train.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["r0", "r1"]
    scripted(lambda n: [thought("zzz")] * 3)
    assert cold_start(recipe(score_text="right"), tmp_path / "none")["kept"] == 0


def test_what_is_not_well_formed_is_never_kept(recipe, scripted, tmp_path):
    scripted(lambda n: [ANSWERS[n % 2], f"<answer>{ANSWERS[n % 2]}</answer>", ""])
    counts = cold_start(recipe(), tmp_path / "out")
    assert counts["asked"] == 8 and counts["kept"] == 0
    assert (tmp_path / "out" / "train.jsonl").read_text() == ""


def test_the_best_of_each_question_is_what_sft_learns(recipe, scripted, tmp_path):
    """Odd questions get a right answer only from the fourth on; even ones always a better and a worse one."""

    def texts(n):
        right = ANSWERS[n % 2] if n % 2 == 0 or n >= 4 else "no"
        return [thought("zzz"), thought(right), "cut off <answer>"]

    scripted(texts)
    out = tmp_path / "out"
    counts = cold_start(recipe(), out)
    assert counts == {
        "asked": 8,
        "asked/dark": 4,
        "asked/bright": 4,
        "kept": 6,
        "kept/dark": 4,
        "kept/bright": 2,  # 5 and 7: the median of four is between the two wrong and the two right ones
    }
    lines = [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == ["r0", "r2", "r4", "r5", "r6", "r7"]
    assert [line["meta"]["reward"] for line in lines] == [1.0] * 6  # of the answer; well formed they all are
    mixture = Mixture([DataEntry(path=str(out), answers="written")])
    record = mixture.read(0, 3)
    assert record["conversations"][1]["value"] == thought(ANSWERS[1])
    assert [int(image.mean()) for image in media.clip(record, 16)] == [230, 230]
    processor = load_model(recipe().model)[1]
    tokens = Collator(mixture, processor, SftRecipe()).sample(record).tokens
    learned = [token for token, label in zip(tokens.ids, tokens.labels) if label != -100]
    assert processor.tokenizer.decode(learned) == thought(ANSWERS[1]) + "<|im_end|>"
    asked = processor.tokenizer.decode([token for token, label in zip(tokens.ids, tokens.labels) if label == -100])
    assert "First think, between <think> and </think>" in asked


def test_a_run_goes_on_where_it_was(recipe, scripted, tmp_path):
    first = scripted(lambda n: [thought(ANSWERS[n % 2])] * 3 if n < 3 else stop())

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cold_start(recipe(), tmp_path / "out")
    assert len(first) == 3
    again = scripted(lambda n: [thought(ANSWERS[(n + 3) % 2])] * 3)
    counts = cold_start(recipe(), tmp_path / "out")
    assert again == [3] * 5
    assert counts["kept"] == 8
    with pytest.raises(SpatialError, match="give another folder, or --anew"):
        cold_start(recipe(seed=1), tmp_path / "out")
    assert len(scripted(lambda n: [thought("x")] * 3)) == 0
    assert cold_start(recipe(seed=1), tmp_path / "out", resume=False)["asked"] == 8


def test_broken_records_are_counted(recipe, scripted, tmp_path):
    scripted(lambda n: [thought("x")] * 3)
    data = write_records(tmp_path / "broken", broken=(1, 2))
    counts = cold_start(recipe(data=[{"path": str(data)}]), tmp_path / "out")
    assert (counts["asked"], counts["broken"]) == (6, 2)


def test_traces_are_sampled_the_same_for_the_same_seed(recipe, tmp_path, monkeypatch):
    """The untrained model says nothing that is well formed; what it says is looked at before that."""
    seen = []
    monkeypatch.setattr(module, "well_formed", lambda text: seen.append(text) or 0.0)
    state = torch.get_rng_state()
    for seed in (0, 0, 1):
        cold_start(recipe(seed=seed), tmp_path / f"{len(seen)}", resume=False)
    assert seen[:24] == seen[24:48] != seen[48:]
    assert len({*seen[:3]}) > 1  # traces of one question differ
    assert torch.equal(state, torch.get_rng_state())


def test_a_model_that_cannot_be_loaded_is_no_broken_record(recipe, tmp_path):
    with pytest.raises(SpatialError):
        cold_start(recipe(model=str(tmp_path)), tmp_path / "out")


def test_recipes_say_what_would_be_right(recipe):
    with pytest.raises(SpatialError, match="reasoning = false"):
        recipe(reasoning=False)
    with pytest.raises(SpatialError, match="model = ''"):
        recipe(model="")
    with pytest.raises(SpatialError, match="traces = 0: expected 1"):
        recipe(traces=0)
    shipped = load_recipe("cold_start", ColdStartRecipe, ["model=somewhere"])
    assert (shipped.traces, shipped.temperature, shipped.reasoning) == (8, 1.0, True)
    assert asdict(shipped)["seed"] == 0
