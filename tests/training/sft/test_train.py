"""Whole runs of a few steps: what learns, what is left, and what stops them."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import TrainingArguments

from spatial_mllm_ros.mllm import load_model
from spatial_mllm_ros.mllm.encoders.vggt.layers import Attention
from spatial_mllm_training.cli import app
from spatial_mllm_training.grpo.recipe import GrpoRecipe
from spatial_mllm_training.grpo.train import train_grpo
from spatial_mllm_training.runs.folder import RunError, RunFolder
from spatial_mllm_training.runs.parts import PARTS, part_of
from spatial_mllm_training.runs.recipe import make_recipe
from spatial_mllm_training.sft.train import train_sft
from tests.closeness import rounding

from .questions import write_questions
from .training import curve, recipe


def changed(tiny, trained):
    """Parts of the model whose weights are no longer those of the beginning."""
    before, after = dict(load_model(tiny)[0].named_parameters()), dict(trained.named_parameters())
    other = [name for name in before if not torch.equal(before[name], after[name])]
    return {part for part, prefix in PARTS.items() if any(name.startswith(prefix) for name in other)}


def test_it_learns_and_what_is_left_loads(tiny, questions, tmp_path):
    given = recipe(tiny, questions, steps=24, evaluate=[{"path": str(questions), "split": "test"}], evaluate_every=12)
    out = tmp_path / "run"
    place = train_sft(given, out)
    assert place == out / "model"
    losses = curve(out)
    assert len(losses) == 24 and sum(losses[-4:]) < 0.6 * sum(losses[:4])
    model, processor = load_model(place)
    assert processor is not None and changed(tiny, model) == {"connector", "language_model"}
    assert load_file(place / "model.safetensors").keys() == load_file(tiny / "model.safetensors").keys()
    assert (place / "config.json").read_bytes() == (tiny / "config.json").read_bytes()
    assert {"curves.png", "versions.json", "data.json", "recipe.yaml", "tensorboard"} <= {p.name for p in out.iterdir()}
    assert json.loads((out / "run.json").read_text())["state"] == "finished"
    assert len(curve(out, "eval_loss")) == 2  # in the middle and at the end
    assert (out / "curves.csv").read_text().partition("\n")[0].count("eval_loss/") == 6
    load_model(out / "checkpoint-24")  # a checkpoint is a model too
    assert train_sft(given, out) == place and len(curve(out)) == 24  # finished: nothing is done again


def test_loss_of_evaluation_is_the_models_own(tiny, questions, tmp_path):
    """Without learning, it is the mean over all tokens of the held-out answers."""
    from spatial_mllm_training.sft.collate import Collator
    from spatial_mllm_training.sft.dataset import DataEntry, Mixture
    from spatial_mllm_training.sft.recipe import SftRecipe

    held = [{"path": str(questions), "split": "test"}]
    train_sft(recipe(tiny, questions, steps=1, learning_rate=0.0, evaluate=held, batch=4), tmp_path / "run")
    model, processor = load_model(tiny)
    collate = Collator(Mixture([DataEntry(str(questions), split="test")]), processor, SftRecipe())
    total = tokens = 0.0
    for row in range(6):
        batch = collate([{"source": 0, "row": row}])
        labels = batch.pop("labels")[:, 1:]
        batch.pop("faults"), batch.pop("question_types")
        with torch.no_grad():
            logits = model(**batch).logits[:, :-1]
        loss = float(torch.nn.functional.cross_entropy(logits[0], labels[0], reduction="sum"))
        count = int((labels != -100).sum())
        total, tokens = total + loss, tokens + count
        if row == 3:
            assert curve(tmp_path / "run", "eval_loss/camera_vector") == [pytest.approx(loss / count, abs=rounding(10))]
    assert curve(tmp_path / "run", "eval_loss") == [pytest.approx(total / tokens, abs=rounding(10))]


def test_an_adapter_and_the_connector(tiny, questions, tmp_path):
    given = recipe(tiny, questions, train=["connector"], lora_rank=4, lora_dropout=0.1, checkpoint_every=2)
    place = train_sft(given, tmp_path / "run")
    assert place == tmp_path / "run" / "adapter"
    assert sorted(p.name for p in place.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert changed(tiny, load_model(tiny, adapter=place)[0]) == {"connector", "language_model"}
    before = curve(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoint-4")
    RunFolder(tmp_path / "run").state("stopped")
    train_sft(given, tmp_path / "run")  # from its second step on, dropout and all
    assert curve(tmp_path / "run") == pytest.approx(before, abs=rounding(10))


@pytest.mark.parametrize("part", ["visual", "spatial_encoder"])
def test_encoders_can_learn(tiny, questions, tmp_path, part):
    place = train_sft(recipe(tiny, questions, train=[part], steps=1, gradient_checkpointing=True), tmp_path / "run")
    assert changed(tiny, load_model(place)[0]) == {part}


@pytest.fixture
def poisoned(tiny, tmp_path):
    """The checkpoint, with one huge number in the head: its loss is not finite."""
    folder = tmp_path / "poisoned"
    folder.mkdir()
    for file in tiny.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    weights = load_file(tiny / "model.safetensors")
    weights["model.norm.weight"][:] = 3e38
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def policy(tiny, questions, **more):
    """A recipe of GRPO about the same questions: 8 answers a step, of one question."""
    given = {"model": str(tiny), "data": [{"path": str(questions)}], "device": "cpu", "batch": 8}
    return make_recipe({**given, "log_every": 1, "checkpoint_every": 100, **more}, GrpoRecipe)


def test_several_gpus_without_a_launcher_are_told_at_once(tiny, questions, tmp_path, monkeypatch):
    """Before anything is loaded or written."""
    monkeypatch.setattr(TrainingArguments, "n_gpu", 2)
    for train, given in ((train_sft, recipe(tiny, questions)), (train_grpo, policy(tiny, questions))):
        with pytest.raises(RunError, match="2 GPUs and one process: expected CUDA_VISIBLE_DEVICES=0, or torchrun"):
            train(given, tmp_path / "run")
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("parts", [["connector", "language_model"], ["connector"]])
def test_what_is_not_changed_is_saved_as_it_was(tiny, questions, tmp_path, parts):
    """With bfloat16, at a learning rate of 0: what learns keeps every digit, the rest those of bfloat16."""
    given = recipe(tiny, questions, train=parts, dtype="bfloat16", learning_rate=0.0, weight_decay=0.0, steps=1)
    place = train_sft(given, tmp_path / "run")
    before, after = (load_model(folder)[0].named_parameters() for folder in (tiny, place))
    for (name, old), (_, new) in zip(before, after):
        kept = part_of(name) in ("", *parts)
        assert torch.equal(new, old if kept else old.bfloat16().float()), name


@pytest.mark.parametrize("kind", ["sft", "grpo"])
def test_a_second_run_begins_with_the_adapter_of_the_first(tiny, questions, tmp_path, kind):
    """Its own adapter adds nothing at a learning rate of 0, so that it leaves the base with the first one merged."""
    first = train_sft(recipe(tiny, questions, train=["connector"], lora_rank=4, steps=2), tmp_path / "first")
    more = {"train": ["connector"], "lora_rank": 4, "steps": 1, "learning_rate": 0.0, "adapter": str(first)}
    if kind == "sft":
        second = train_sft(recipe(tiny, questions, **more), tmp_path / "second")
    else:
        second = train_grpo(policy(tiny, questions, **more, max_tokens=4, reasoning=False), tmp_path / "second")
    assert second == tmp_path / "second" / "model" and not (tmp_path / "second" / "adapter").exists()
    base, found = (load_model(folder)[0].state_dict() for folder in (tiny, second))
    merged = load_model(tiny, adapter=first)[0].state_dict()
    assert all(torch.allclose(found[name], value, atol=1e-7) for name, value in merged.items())
    assert any(not torch.equal(base[name], value) for name, value in merged.items() if ".q_proj.weight" in name)


def test_the_spatial_encoder_learns_the_same_with_gradient_checkpointing(tiny, questions, tmp_path, monkeypatch):
    """The same numbers, with every block run twice: 2 steps of 2 clips, each seen with the others of its size."""
    calls, forward = [], Attention.forward

    def counted(self, *args):
        calls.append(self)
        return forward(self, *args)

    monkeypatch.setattr(Attention, "forward", counted)
    found, weights = {}, {}
    for on in (False, True):
        calls.clear()
        given = recipe(tiny, questions, train=["spatial_encoder"], steps=2, gradient_checkpointing=on)
        place = train_sft(given, tmp_path / str(on))
        found[on], weights[on] = (curve(tmp_path / str(on)), len(calls)), load_file(place / "model.safetensors")
    assert found[True][0] == found[False][0] and found[True][1] == 2 * found[False][1] > 0
    assert all(torch.equal(value, weights[True][name]) for name, value in weights[False].items())


def test_a_loss_that_is_none_stops(poisoned, questions, tmp_path):
    with pytest.raises(RunError, match="step 1: loss or gradients are not finite"):
        train_sft(recipe(poisoned, questions), tmp_path / "run")
    state = json.loads((tmp_path / "run" / "run.json").read_text())
    assert state["state"] == "stopped" and "not finite" in state["why"]


def test_or_is_skipped_with_a_count(poisoned, questions, tmp_path):
    place = train_sft(recipe(poisoned, questions, on_nan="skip", steps=2), tmp_path / "run")
    assert curve(tmp_path / "run", "skipped_steps") == [1, 2]
    before, after = (load_file(folder / "model.safetensors") for folder in (poisoned, place))
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.fixture
def broken(tmp_path):
    """Six records; the pictures of all but the first are no pictures: most batches are empty."""
    folder = write_questions(tmp_path / "broken", 6, images=1)
    for n in range(1, 7):
        (folder / "images" / f"{n}.png").write_bytes(b"nothing")
    return folder


def test_broken_samples_and_empty_batches_are_skipped_with_a_count(tiny, broken, tmp_path):
    train_sft(recipe(tiny, broken, steps=6, batch=1), tmp_path / "run")
    losses = curve(tmp_path / "run")
    assert len(losses) == 6 and sorted(losses)[:5] == [0.0] * 5 and max(losses) > 1
    assert curve(tmp_path / "run", "broken")[-1] == 5


def test_broken_held_out_records_count_once_and_not_for_the_bound(tiny, questions, broken, tmp_path):
    held = [{"path": str(broken)}]
    given = recipe(tiny, questions, steps=3, evaluate=held, evaluate_every=1, max_broken=0)
    train_sft(given, tmp_path / "run")
    assert curve(tmp_path / "run", "eval_broken") == [5, 5, 5] and len(curve(tmp_path / "run", "eval_loss")) == 3
    assert "broken" not in (tmp_path / "run" / "curves.csv").read_text().partition("\n")[0].split(",")


@pytest.mark.parametrize(
    ("more", "said"),
    [({"on_broken": "stop"}, "a sample is broken: .*.png is missing"), ({"max_broken": 1}, "2 samples are broken")],
)
def test_or_stop_the_run(tiny, broken, tmp_path, more, said):
    with pytest.raises(RunError, match=said):
        train_sft(recipe(tiny, broken, steps=6, batch=1, **more), tmp_path / "run")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"model": ""}, "model = ''"),
        ({"model": "nowhere"}, "nowhere"),
    ],
)
def test_models_that_are_none(tiny, questions, tmp_path, more, said):
    with pytest.raises(Exception, match=said):
        train_sft(recipe(tiny, questions, **more), tmp_path / "run")


def test_command(tiny, questions, tmp_path, capsys):
    from typer.testing import CliRunner

    more = [f"model={tiny}", f"data=[{{path: {questions}}}]", "steps=2", "checkpoint_every=2", "accumulate=1"]
    command = ["sft", "sft_tiny", "--out", str(tmp_path / "run"), *(x for one in more for x in ("--set", one))]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0 and (tmp_path / "run" / "model" / "model.safetensors").is_file()
    assert CliRunner().invoke(app, ["sft", "sft_tiny", "--out", "x", "--set", "stepz=1"]).exit_code == 1
