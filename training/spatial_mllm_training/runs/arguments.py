"""A recipe in the words of transformers."""

import warnings
from pathlib import Path
from typing import Any

from transformers import TrainingArguments
from transformers.utils import logging

from .folder import RunError
from .recipe import RunRecipe


def training_arguments(recipe: RunRecipe, out: Path, **more: Any) -> dict[str, Any]:
    """Keywords of transformers' ``TrainingArguments`` (and TRL's) for a recipe; ``more`` comes last.

    From here on those libraries say nothing but errors. Checkpoints are written to ``out``; what rotates them, and what
    shows progress, are the callbacks of ``runs``.
    """
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing", category=FutureWarning)  # what TRL reads
    return {
        "output_dir": str(out),
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "max_steps": recipe.steps or -1,
        "num_train_epochs": recipe.epochs or 1.0,
        "per_device_train_batch_size": recipe.batch,
        "per_device_eval_batch_size": recipe.batch,
        "gradient_accumulation_steps": recipe.accumulate,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": {"constant": "constant_with_warmup"}.get(recipe.schedule, recipe.schedule),
        "warmup_steps": recipe.warmup,
        "optim": "adamw_torch_fused",
        "adam_beta2": recipe.beta2,
        "weight_decay": recipe.weight_decay,
        "max_grad_norm": recipe.max_grad_norm,
        "bf16": recipe.dtype == "bfloat16",
        "use_cpu": recipe.device == "cpu",
        "gradient_checkpointing": recipe.gradient_checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False} if recipe.gradient_checkpointing else None,
        "dataloader_num_workers": recipe.workers,
        "dataloader_pin_memory": recipe.device != "cpu",
        "logging_steps": recipe.log_every,
        "save_steps": recipe.checkpoint_every,
        "save_strategy": "steps",
        "eval_steps": recipe.evaluate_every or None,
        "disable_tqdm": True,
        "report_to": "none",  # TensorBoard is one of the callbacks
        "remove_unused_columns": False,
        "restore_callback_states_from_checkpoint": True,
        **more,
    }


def check_launch(recipe: RunRecipe, arguments: TrainingArguments) -> None:
    """Refuses at once what would fail hours later, or not be seen. Raises RunError."""
    if (count := arguments.n_gpu) > 1:
        raise RunError(
            f"{count} GPUs and one process: expected CUDA_VISIBLE_DEVICES=0, or"
            f" torchrun --nproc-per-node {count} -m spatial_mllm_training.cli ..."
        )
    if arguments.deepspeed_plugin is not None and recipe.on_nan == "skip":
        raise RunError("on_nan = 'skip': under DeepSpeed the step is done before it can be skipped: expected 'stop'")
