"""What a trainer does that needs a GPU or several processes, with stand-ins for them."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from trl.trainer.sft_trainer import SFTTrainer

from spatial_mllm_ros.mllm.families.spatial_mllm.seen import Seen
from spatial_mllm_training.runs.callbacks import Broken
from spatial_mllm_training.runs.folder import RunError
from spatial_mllm_training.sft.trainer import SpatialSftTrainer, clips_in


class Model:
    """Answers as the fused head does; keeps what it was given."""

    def eval(self):
        return self

    train = eval

    def __call__(self, **inputs):
        self.given = inputs
        return SimpleNamespace(log_probs=torch.full((1, 4), -0.5), label_mask=torch.ones(1, 4))


class Held:
    """Two held-out records: the first is seen, the second is broken."""

    mixture = SimpleNamespace(all=lambda: torch.tensor([[0, 0], [0, 1]]).numpy())

    def __call__(self, draws):
        faults = ["room-1: 3.png is missing"] if draws[0]["row"] else []
        video = {"video_grid_thw": torch.tensor([[1, 4, 6]])}
        seen = {"video": Seen(torch.zeros(6, 2), torch.zeros(48, 2))}
        return {"labels": torch.zeros(1, 5), **video, "seen": seen, "faults": faults, "question_types": ["depth"]}


@pytest.fixture
def trainer() -> Any:
    made: Any = SpatialSftTrainer.__new__(SpatialSftTrainer)
    made.recipe, made.held, made.model_wrapped = SimpleNamespace(batch=1), Held(), Model()
    made.args = SimpleNamespace(device=torch.device("meta"))
    made.accelerator = SimpleNamespace(num_processes=1, process_index=0)
    made.is_deepspeed_enabled = False
    made.state = SimpleNamespace(global_step=7)
    made.compute_loss_context_manager = nullcontext
    made.callback_handler = SimpleNamespace(callbacks=[Broken("skip", most=0)])
    made.log = lambda logs: None
    return made


def test_what_was_seen_is_moved_to_where_the_model_is(trainer):
    trainer.evaluate()
    seen = trainer.model_wrapped.given["seen"]["video"]
    assert {part.device.type for part in (seen.visual, seen.spatial, trainer.model_wrapped.given["labels"])} == {"meta"}


def test_held_out_faults_are_told_once_and_do_not_count_for_the_bound(trainer, capsys):
    for _ in range(3):
        assert trainer.evaluate() == {"eval_loss": 0.5, "eval_loss/depth": 0.5, "eval_broken": 1}
    assert trainer._broken.count == 0 and capsys.readouterr().err.count("room-1: 3.png is missing") == 1


@pytest.mark.parametrize("norm", [float("nan"), -1.0])
def test_deepspeed_stops_where_a_step_was_not_finite(trainer, monkeypatch, norm):
    monkeypatch.setattr(SFTTrainer, "training_step", lambda *_: torch.zeros(()))
    engine = SimpleNamespace(get_global_grad_norm=lambda: norm)
    trainer.training_step(engine, {})  # elsewhere gradients are looked at themselves
    trainer.is_deepspeed_enabled = True
    with pytest.raises(RunError, match="step 8: loss or gradients are not finite"):
        trainer.training_step(engine, {})
    trainer.training_step(SimpleNamespace(get_global_grad_norm=lambda: None), {})


def grids(*found):
    return torch.tensor(found)


@pytest.mark.parametrize(
    ("batch", "count"),
    [
        ({"video_grid_thw": grids((1, 4, 6))}, 1),
        ({"video_grid_thw": grids((1, 4, 6), (1, 4, 6))}, 2),
        ({"image_grid_thw": grids((1, 4, 6), (1, 4, 6))}, 1),
        ({"image_grid_thw": grids((1, 4, 6), (1, 6, 4)), "video_grid_thw": grids((1, 4, 6))}, 3),
        ({}, 0),
    ],
)
def test_under_deepspeed_a_batch_has_one_clip(trainer, batch, count):
    assert clips_in(batch) == count
    trainer._check_clips(batch)
    trainer.is_deepspeed_enabled = True
    if count == 1:
        trainer._check_clips(batch)
    else:
        with pytest.raises(RunError, match=f"{count} clips in a batch: DeepSpeed needs 1"):
            trainer._check_clips(batch)
