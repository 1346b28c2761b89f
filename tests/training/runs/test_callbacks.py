"""What watches a run, driven by hand."""

from types import SimpleNamespace

import pytest
import torch
from transformers import TrainerControl, TrainerState, TrainingArguments

from spatial_mllm_training.runs.callbacks import Broken, Checkpoints, Curves, NotFinite, ProgressLine, check_norm
from spatial_mllm_training.runs.folder import RunError, RunFolder
from spatial_mllm_training.runs.recipe import RunRecipe

CONTROL = TrainerControl()
ARGS: TrainingArguments = SimpleNamespace()  # type: ignore[assignment]


def state(step=0, **more):
    return TrainerState(global_step=step, max_steps=10, **more)


def learner(*gradients):
    model = torch.nn.Linear(2, 1)
    for parameter, value in zip(model.parameters(), gradients):
        parameter.grad = torch.full_like(parameter, value)
    return model


class TestNotFinite:
    @pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
    def test_stops(self, bad):
        with pytest.raises(RunError, match=r"step 8: loss or gradients are not finite"):
            NotFinite("stop").on_pre_optimizer_step(ARGS, state(7), CONTROL, model=learner(1.0, bad))

    @pytest.mark.parametrize("fused", [None, True])
    def test_skips_so_that_weights_and_moments_stay(self, fused):
        watch, model = NotFinite("skip", most=1), learner(1.0, 1.0)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1, fused=fused)
        optimizer.step()
        before = [p.detach().clone() for p in model.parameters()]
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, float("nan"))
        watch.on_pre_optimizer_step(ARGS, state(), CONTROL, model=model)
        optimizer.step()
        assert all(torch.equal(a, b) for a, b in zip(before, model.parameters()))
        assert watch.count == 1 and all(s["step"] == 1 for s in optimizer.state.values())

    def test_more_than_the_bound_stops(self):
        watch = NotFinite("skip", most=1, count=1)
        with pytest.raises(RunError, match="2 steps were not finite, max_nan is 1"):
            watch.on_pre_optimizer_step(ARGS, state(), CONTROL, model=learner(float("nan")))

    def test_finite_gradients_pass(self):
        model = learner(3e38, 1.0)
        NotFinite("stop").on_pre_optimizer_step(ARGS, state(), CONTROL, model=model)
        assert model.bias.grad is not None

    def test_the_count_is_logged_and_survives(self):
        watch = NotFinite.from_state(NotFinite("skip", 5, 3).state())
        logs, now = {"loss": 1.0}, state(log_history=[{"loss": 1.0}])
        watch.on_log(ARGS, now, CONTROL, logs=logs)
        assert logs["skipped_steps"] == now.log_history[-1]["skipped_steps"] == 3


@pytest.mark.parametrize("norm", [float("nan"), float("inf"), -1.0])
def test_a_norm_that_is_none_stops(norm):
    with pytest.raises(RunError, match=r"step 8: loss or gradients are not finite: expected a lower learning rate$"):
        check_norm(norm, 8)


@pytest.mark.parametrize("norm", [None, 0.0, 3e38])
def test_other_norms_pass(norm):
    check_norm(norm, 8)


class TestBroken:
    def test_stops(self):
        with pytest.raises(RunError, match="a sample is broken: a: gone"):
            Broken("stop").add(["a: gone"])

    def test_skips_up_to_the_bound(self, capsys):
        watch = Broken("skip", most=2)
        watch.add(["a: gone"])
        watch.add([])
        watch.add(["a: gone"])
        assert watch.count == 2 and capsys.readouterr().err.count("a: gone") == 1
        with pytest.raises(RunError, match="3 samples are broken, max_broken is 2; the last: b: dark"):
            watch.add(["b: dark"])

    def test_what_is_only_told_does_not_count(self, capsys):
        watch = Broken("skip", most=0)
        watch.tell(["a: gone"])
        watch.tell(["a: gone"])
        assert watch.count == 0 and capsys.readouterr().err.count("a: gone") == 1
        with pytest.raises(RunError, match="a sample is broken: a: gone"):
            Broken("stop").tell(["a: gone"])

    def test_the_count_is_logged_and_survives(self):
        watch = Broken.from_state(Broken("skip", 5, 2).state())
        logs = {"loss": 1.0}
        watch.on_log(ARGS, state(log_history=[{}]), CONTROL, logs=logs)
        assert logs["broken"] == 2


def test_checkpoints_are_marked_and_rotated(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.open(RunRecipe(), {})
    watch = Checkpoints(folder, keep=1)
    for step in (1, 2):
        (folder.path / f"checkpoint-{step}").mkdir()
        watch.on_save(ARGS, state(step), CONTROL)
    assert folder.newest() == folder.path / "checkpoint-2" and not (folder.path / "checkpoint-1").exists()
    assert '"steps": 2' in (folder.path / "run.json").read_text()


def test_curves_are_written_at_evaluations_and_at_the_end(tmp_path):
    watch = Curves(tmp_path)
    watch.on_log(ARGS, state(log_history=[{"step": 1, "loss": 2.0}]), CONTROL, logs={"loss": 2.0})
    history = [{"step": 1, "loss": 2.0}, {"step": 1, "eval_loss": 3.0}]
    watch.on_log(ARGS, state(log_history=history), CONTROL, logs={"eval_loss": 3.0})
    assert "3.0" in (tmp_path / "curves.csv").read_text()
    watch.on_train_end(ARGS, state(log_history=[*history, {"step": 2, "loss": 1.5}]), CONTROL)
    assert "1.5" in (tmp_path / "curves.csv").read_text()


def test_progress_says_rate_and_time_left(capsys, monkeypatch):
    """Resumed at step 2, it has read 3 x 40 samples in 600 s; 5 x 40 are left, which take 1000 s."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("spatial_mllm_training.runs.callbacks.monotonic", lambda: clock.now)
    watch = ProgressLine(samples=40)
    watch.on_train_begin(ARGS, state(2), CONTROL)
    clock.now += 600.0
    watch.on_log(ARGS, state(5), CONTROL, logs={"loss": 0.5})
    clock.now += 9.0
    watch.on_log(ARGS, state(6), CONTROL, logs={"loss": 0.4})  # too soon for another line
    clock.now += 2.0
    watch.on_log(ARGS, state(10), CONTROL, logs={"loss": 0.3})
    watch.on_train_end(ARGS, state(10), CONTROL)
    lines = capsys.readouterr().err.split("\n")
    assert [line for line in lines if line] == [
        "step 5 of 10: loss 0.5000, 0.2 samples/s, 17 min left",
        "step 10 of 10: loss 0.3000, 0.5 samples/s, 0 min left",
    ]
