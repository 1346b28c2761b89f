"""Whole GRPO runs on the untrained checkpoint: learning to look, curves, resuming, broken records, recipes."""

import csv
import json
from collections import Counter

import pytest
import torch

from spatial_mllm_ros.errors import SpatialError
from spatial_mllm_ros.mllm import load_model
from spatial_mllm_training.cli import app
from spatial_mllm_training.grpo.recipe import GrpoRecipe
from spatial_mllm_training.grpo.train import train_grpo
from spatial_mllm_training.grpo.trainer import ClipGRPOTrainer
from spatial_mllm_training.runs.folder import RunFolder
from spatial_mllm_training.runs.recipe import load_recipe, make_recipe
from tests.closeness import rounding

from ..stopping import stopped_after
from .data import write_records

TINY = {
    "group": 4,
    "batch": 4,
    "accumulate": 2,
    "steps": 4,
    "learning_rate": 1e-3,
    "schedule": "constant",
    "warmup": 0.0,
    "reasoning": False,
    "max_tokens": 6,
    "score_text": "edit_similarity",
    "log_every": 1,
    "checkpoint_every": 4,
    "device": "cpu",
}


@pytest.fixture
def recipe(tiny, tmp_path):
    data = write_records(tmp_path / "data")

    def build(**changes):
        return make_recipe({**TINY, "model": str(tiny), "data": [{"path": str(data)}], **changes}, GrpoRecipe)

    return build


def history(folder):
    with (folder / "curves.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_a_model_and_curves(recipe, tmp_path):
    out = tmp_path / "run"
    place = train_grpo(recipe(), out)
    model, processor = load_model(place)
    assert processor is not None
    before, _ = load_model(recipe().model)
    after = model.state_dict()
    changed = Counter(
        name.split(".")[1] for name, value in before.state_dict().items() if not torch.equal(value, after[name])
    )
    assert changed["connector"] and changed["language_model"]
    assert not changed["visual"] and not changed["spatial_encoder"]
    rows = history(out)
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]
    names = {"reward", "reward/dark", "reward/bright", "kl", "rewards/answer", "equal_groups", "loss"}
    assert names <= rows[0].keys()
    assert (out / "curves.png").stat().st_size > 1000
    said = json.loads((out / "completions.json").read_text())
    assert len(said) == 8 and all("What is this?" in row["asked"] for row in said)
    mean = sum(row["rewards"]["answer"] for row in said) / 8
    assert mean == pytest.approx(float(rows[-1]["rewards/answer"]), abs=1e-6)
    assert sum(row["advantage"] for row in said) == pytest.approx(0, abs=1e-4)
    assert RunFolder(out).finished
    assert json.loads((out / "data.json").read_text())["data"]


def test_an_adapter_loads_beside_its_model(recipe, tmp_path):
    made = recipe(lora_rank=4, train=["connector"], steps=2)
    place = train_grpo(made, tmp_path / "run")
    plain, _ = load_model(made.model)
    adapted, _ = load_model(made.model, adapter=place)
    changed = [n for n, p in plain.named_parameters() if not torch.equal(p, adapted.get_parameter(n))]
    assert any(".connector." in name for name in changed) and any("q_proj" in name for name in changed)
    assert all(".connector." in name or "_proj" in name for name in changed)
    assert not any("spatial_encoder" in name or ".visual." in name for name in changed)


@pytest.mark.long
@pytest.mark.parametrize("iterations", [1, 2])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(recipe, tmp_path, monkeypatch, iterations):
    made = recipe(checkpoint_every=2, iterations=iterations)
    train_grpo(made, tmp_path / "whole")
    with stopped_after(0, monkeypatch):
        train_grpo(made, tmp_path / "parts")
    assert json.loads((tmp_path / "parts" / "run.json").read_text())["state"] == "stopped"
    train_grpo(made, tmp_path / "parts")
    whole, parts = history(tmp_path / "whole"), history(tmp_path / "parts")
    assert len(whole) == len(parts) == 4
    for one, other in zip(whole, parts):
        for name in ("loss", "reward", "kl", "grad_norm", "entropy"):
            assert bool(one[name]) == bool(other[name]), "rewards are there where answers are new"
            if one[name]:
                assert float(one[name]) == pytest.approx(float(other[name]), abs=rounding(10)), (one["step"], name)
    for place in ("whole", "parts"):
        assert (tmp_path / place / "model" / "model.safetensors").is_file()


def test_broken_records_are_left_out_and_counted(recipe, tmp_path):
    data = write_records(tmp_path / "broken", broken=(1, 4))
    out = tmp_path / "run"
    train_grpo(recipe(data=[{"path": str(data)}], steps=4), out)
    assert float(history(out)[-1]["broken"]) == 2
    with pytest.raises(SpatialError, match="1 broken records, 0 are allowed"):
        train_grpo(recipe(data=[{"path": str(data)}], on_broken="stop"), tmp_path / "stopped")


def test_a_loss_that_is_no_number_is_skipped_or_stops(recipe, tmp_path, monkeypatch):
    compute, calls = ClipGRPOTrainer._compute_loss, []

    def broken(self, model, inputs):
        calls.append(1)
        return compute(self, model, inputs) * (float("nan") if len(calls) == 1 else 1.0)

    monkeypatch.setattr(ClipGRPOTrainer, "_compute_loss", broken)
    place = train_grpo(recipe(on_nan="skip", steps=2), tmp_path / "skipped")
    assert float(history(tmp_path / "skipped")[-1]["skipped_steps"]) == 1
    assert all(value.isfinite().all() for value in load_model(place)[0].state_dict().values())
    calls.clear()
    with pytest.raises(SpatialError, match="step 1: loss or gradients are not finite"):
        train_grpo(recipe(on_nan="stop", steps=2), tmp_path / "stopped")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch": 3, "accumulate": 1}, "= 3 completions a step: expected a multiple of group, 4"),
        ({"model": ""}, "model = '': expected the folder"),
        ({"train": ["visual"]}, "encoders stay frozen, not visual"),
        ({"data": [{"path": "nowhere"}]}, r"data\[0\].path = 'nowhere': expected a folder"),
        ({"data": []}, "expected one or more"),
        ({"score_scalar": "edit_similarity"}, "score_scalar = 'edit_similarity': expected one of right"),
        ({"weight_answer": 0.0, "weight_refusal": 0.0}, "all weights of rewards are 0"),
        ({"evaluate_every": 5}, "evaluate_every = 5: the rewards are the curve: expected 0"),
        ({"lora_dropout": 0.1}, "lora_dropout = 0.1: sampling and learning would differ: expected 0"),
        ({"checkpoint_every": 3, "iterations": 2}, "checkpoint_every = 3: completions are used 2 times"),
        ({"workers": 2}, "workers = 2: a policy is shown clips as it asks for them: expected 0"),
        ({"group": 1}, "group = 1: expected 2"),
        ({"bta": 0.1}, "unknown field 'bta'; did you mean 'beta'"),
    ],
)
def test_recipes_say_what_would_be_right(recipe, tmp_path, wrong, message):
    with pytest.raises(SpatialError, match=message):
        train_grpo(recipe(**wrong), tmp_path / "run")


def test_clips_are_shown_as_clips(recipe, tmp_path):
    path = recipe().data[0].path
    with pytest.raises(SpatialError, match="shown_as = 'written'"):
        recipe(data=[{"path": path, "shown_as": "written"}])


@pytest.mark.parametrize("name", ["grpo", "grpo_lora", "grpo_tiny"])
def test_shipped_recipes_have_the_figures_of_the_paper(name):
    made = load_recipe(name, GrpoRecipe)
    assert (made.group, made.temperature, made.beta) == (8, 1.0, 0.04)
    assert made.batch * made.accumulate % made.group == 0
    assert name != "grpo" or made.learning_rate == 1e-6


def test_the_command_trains_with_changed_fields(recipe, tmp_path, capsys):
    made, out = recipe(), tmp_path / "run"
    fields = [f"model={made.model}", f"data=[{{path: {made.data[0].path}}}]", "steps=1", "checkpoint_every=1"]
    with pytest.raises(SystemExit) as end:
        app(["grpo", "grpo_tiny", "--out", str(out), *(part for field in fields for part in ("--set", field))])
    assert end.value.code == 0
    assert f"wrote {out / 'model'}" in capsys.readouterr().err.replace("\n", "")
    with pytest.raises(SystemExit) as end:
        app(["grpo", "grpo_tiny", "--out", str(out), "--set", "beta=-1"])
    assert end.value.code == 1
    assert "beta = -1" in capsys.readouterr().err
