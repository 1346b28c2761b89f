"""Rows about what trains: transformers' Trainer and TRL."""

import inspect
from pathlib import Path
from typing import Any

from . import Row

GRPO = "training/spatial_mllm_training/grpo/trainer.py"
SFT = "training/spatial_mllm_training/sft/trainer.py"
CALLBACKS = "training/spatial_mllm_training/runs/callbacks.py"


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def called(function: Any, *names: str) -> None:
    """Asserts that a method still uses what it is overridden or set for."""
    text = inspect.getsource(function)
    assert not (missing := [name for name in names if name not in text]), f"{function.__qualname__} has no {missing}"


def groups_are_generated_and_scored(_: Path) -> None:
    from trl.trainer.grpo_trainer import GRPOTrainer

    own = GRPOTrainer._generate_and_score_completions
    assert parameters(own) == ["self", "inputs"]
    called(
        own, "self._calculate_rewards(", "self._get_per_token_logps_and_entropies(", "advantages", '"completion_ids"'
    )
    assert parameters(GRPOTrainer._calculate_rewards)[:5] == [
        *("self", "inputs", "prompts", "completions", "completion_ids_list"),
    ]
    assert parameters(GRPOTrainer._compute_loss) == ["self", "model", "inputs"]
    called(GRPOTrainer._compute_loss, "self._get_per_token_logps_and_entropies(")


def log_probabilities_are_asked_of_one_method(_: Path) -> None:
    from trl.trainer.grpo_trainer import GRPOTrainer

    known = parameters(GRPOTrainer._get_per_token_logps_and_entropies)
    ours = ["self", "model", "input_ids", "attention_mask", "logits_to_keep", "batch_size", "compute_entropy"]
    assert known[: len(ours)] == ours, known


def what_is_measured_is_kept_by_mode(_: Path) -> None:
    from trl.trainer.grpo_trainer import GRPOTrainer
    from trl.trainer.sft_trainer import SFTTrainer

    called(GRPOTrainer, "self._metrics = ", "self._logs = ", '"rewards": ')
    called(GRPOTrainer.log, "self._metrics[")
    called(SFTTrainer, "self._metrics = ", '["num_tokens"]')
    assert parameters(GRPOTrainer._log_metric)[:3] == ["self", "name", "value"]


def a_head_is_fused(_: Path) -> None:
    import torch
    from trl.trainer.utils import add_fused_lm_head

    from spatial_mllm_ros.mllm.families.spatial_mllm.model import SpatialMLLMForConditionalGeneration
    from tests.closeness import assert_close

    from .model import _config

    torch.manual_seed(0)
    model: Any = SpatialMLLMForConditionalGeneration(_config()).eval()
    ids = torch.arange(40, 46)[None]
    with torch.no_grad():
        logits = model(input_ids=ids).logits[:, :-1].log_softmax(-1)
        add_fused_lm_head(model)
        output = model(input_ids=ids, labels=ids, fused_lm_head=True)
    expected = logits.gather(-1, ids[:, 1:, None])[..., 0]
    assert_close(output.log_probs, expected)
    assert output.label_mask.all() and output.label_mask.shape == (1, 5)


def a_rollout_is_ours(_: Path) -> None:
    from trl.models.utils import unwrap_model_for_generation
    from trl.trainer.grpo_trainer import GRPOTrainer

    assert "rollout_func" in parameters(GRPOTrainer.__init__)
    known = parameters(unwrap_model_for_generation)
    assert {"model", "accelerator", "gradient_checkpointing_kwargs", "generation_kwargs"} <= set(known), known


def callbacks_come_back_from_a_checkpoint(_: Path) -> None:
    from transformers import TrainingArguments
    from transformers.trainer_callback import ExportableState

    from spatial_mllm_training.runs.callbacks import NotFinite

    assert "restore_callback_states_from_checkpoint" in parameters(TrainingArguments.__init__)
    again = NotFinite.from_state(NotFinite("skip", 3, 2).state())
    assert isinstance(again, ExportableState)
    assert (again.action, again.most, again.count) == ("skip", 3, 2)


def a_trainer_is_asked_by_its_own_names(_: Path) -> None:
    from transformers import Trainer
    from trl.trainer.sft_trainer import SFTTrainer

    called(Trainer.__init__, "self.model_accepts_loss_kwargs", "self.callback_handler")
    assert parameters(Trainer.create_optimizer)[:2] == ["self", "model"]
    assert callable(Trainer._prepare_inputs) and callable(Trainer.compute_loss_context_manager)
    called(SFTTrainer.compute_loss, "fused_lm_head")


ROWS = [
    Row(
        "trl",
        "GRPOTrainer generates, scores and computes its loss by the private methods that are overridden",
        GRPO,
        "super()._generate_and_score_completions( super()._calculate_rewards( super()._compute_loss(",
        groups_are_generated_and_scored,
        "trl",
    ),
    Row(
        "trl",
        "GRPOTrainer asks one private method for log-probabilities",
        GRPO,
        "def _get_per_token_logps_and_entropies(",
        log_probabilities_are_asked_of_one_method,
        "trl",
    ),
    Row(
        "trl",
        "what is measured is in _metrics and _logs until it is logged",
        GRPO,
        "self._metrics self._logs self._log_metric",
        what_is_measured_is_kept_by_mode,
        "trl",
    ),
    Row(
        "trl",
        "add_fused_lm_head lets a model give log_probs, entropy and label_mask",
        GRPO,
        "add_fused_lm_head(",
        a_head_is_fused,
        "trl",
    ),
    Row(
        "trl",
        "rollout_func (experimental) and unwrap_model_for_generation",
        GRPO,
        "rollout_func= unwrap_model_for_generation(",
        a_rollout_is_ours,
        "trl",
    ),
    Row(
        "transformers",
        "ExportableState: what a callback counted comes back with a checkpoint",
        CALLBACKS,
        "ExportableState",
        callbacks_come_back_from_a_checkpoint,
        "transformers",
    ),
    Row(
        "transformers",
        "Trainer._prepare_inputs, model_accepts_loss_kwargs, compute_loss_context_manager",
        SFT,
        "self._prepare_inputs( self.model_accepts_loss_kwargs self.compute_loss_context_manager(",
        a_trainer_is_asked_by_its_own_names,
        "trl",
    ),
]
