"""GRPO of a Spatial-MLLM: one call from a recipe to a folder with the trained model."""

import os
from pathlib import Path

from transformers import set_seed
from trl.trainer.grpo_config import GRPOConfig

from spatial_mllm_ros.cli.terminal import note

from ..runs.arguments import check_launch, training_arguments
from ..runs.callbacks import callbacks, is_main
from ..runs.folder import RunError, RunFolder
from ..runs.parts import load_learner, trainable
from ..runs.run import run
from ..sft.dataset import Mixture
from .prompts import Prompts
from .recipe import GrpoRecipe
from .trainer import ClipGRPOTrainer


def train_grpo(recipe: GrpoRecipe, out: str | Path, overwrite: bool = False) -> Path:
    """Trains, or goes on with, the run of a folder; a finished one is left as it is.

    Curves hold the reward of each question type (``reward/TYPE``) and of each function (``rewards/NAME``), the KL
    divergence to the model it began with, and what else ``trainer.CURVES`` names.

    Args:
        overwrite: give up what another recipe or other data left there.
    Returns:
        The trained model's folder, or its adapter's, in ``out``.
    Raises:
        SpatialError: the recipe, the data, the model or the folder cannot be used, or training failed; says why.
    """
    if not recipe.model:
        raise RunError("model = '': expected the folder or hub id of a Spatial-MLLM")
    mixture, folder = Mixture(recipe.data), RunFolder(out)
    processes = int(os.environ.get("WORLD_SIZE", 1))
    samples = recipe.batch * recipe.accumulate * processes
    if samples % recipe.group:
        raise RunError(
            f"batch {recipe.batch} x accumulate {recipe.accumulate} x {processes} processes = {samples} completions a"
            f" step: expected a multiple of group, {recipe.group}"
        )
    asked = samples // recipe.group
    steps = recipe.steps or max(1, round(len(mixture) * recipe.epochs * recipe.iterations / asked))
    arguments = GRPOConfig(
        **training_arguments(
            recipe,
            folder.path,
            max_steps=steps,
            eval_strategy="no",
            num_generations=recipe.group,
            num_iterations=recipe.iterations,
            max_completion_length=recipe.max_tokens,
            temperature=recipe.temperature,
            top_k=0,
            beta=recipe.beta,
            epsilon=recipe.clip,
            loss_type="grpo",
            scale_rewards="group",
            use_bias_correction_kl=False,
            shuffle_dataset=False,  # the mixture draws
            ddp_find_unused_parameters=False,
        )
    )
    check_launch(recipe, arguments)
    with arguments.main_process_first(local=False):
        if is_main():
            folder.open(recipe, {"data": mixture.describe()}, processes, overwrite)
    if folder.finished:
        note(f"{folder.path.name} is finished; --overwrite begins anew")
        return folder.trained
    model, processor = load_learner(recipe)
    set_seed(recipe.seed)
    most = 0 if recipe.on_broken == "stop" else recipe.max_broken
    draws = mixture.draws(-(-steps // recipe.iterations) * asked, recipe.seed)
    prompts = Prompts(mixture, draws, processor, recipe.reasoning, recipe.max_frames, most)
    watching = callbacks(recipe, folder, samples)
    learner = trainable(model, recipe)
    trainer = ClipGRPOTrainer(recipe, learner, arguments, prompts, recipe.functions(), processor, watching)
    return run(trainer, folder, recipe.model, adapter=recipe.adapter)
