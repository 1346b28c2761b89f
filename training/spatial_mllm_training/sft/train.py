"""Supervised fine-tuning of a Spatial-MLLM: one call from a recipe to a folder with the trained model."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray
from torch import nn
from transformers import set_seed
from trl.trainer.sft_config import SFTConfig

from spatial_mllm_ros.cli.terminal import note, track
from spatial_mllm_ros.mllm.families.spatial_mllm.model import SpatialMLLMForConditionalGeneration

from ..runs.arguments import check_launch, training_arguments
from ..runs.callbacks import callbacks, is_main
from ..runs.folder import RunError, RunFolder
from ..runs.parts import load_learner, trainable
from ..runs.run import run
from . import media
from .collate import Collator
from .dataset import Mixture
from .features import FeatureStore, fill, fingerprint
from .recipe import SftRecipe
from .records import RecordFault
from .trainer import SpatialSftTrainer


def train_sft(recipe: SftRecipe, out: str | Path, overwrite: bool = False) -> Path:
    """Trains, or goes on with, the run of a folder; a finished one is left as it is.

    Args:
        overwrite: give up what another recipe or other data left there.
    Returns:
        The trained model's folder, or its adapter's, in ``out``.
    Raises:
        SpatialError: the recipe, the data, the model or the folder cannot be used, or training failed; says why.
    """
    if not recipe.model:
        raise RunError("model = '': expected the folder or hub id of a Spatial-MLLM")
    mixture, held = Mixture(recipe.data), Mixture(recipe.evaluate) if recipe.evaluate else None
    folder, processes = RunFolder(out), int(os.environ.get("WORLD_SIZE", 1))
    samples = recipe.batch * recipe.accumulate * processes
    steps = recipe.steps or max(1, round(len(mixture) * recipe.epochs / samples))
    arguments = SFTConfig(
        **training_arguments(
            recipe,
            folder.path,
            max_steps=steps,
            max_length=None,  # else images would be cut off
            dataset_kwargs={"skip_prepare_dataset": True},
            train_sampling_strategy="sequential",  # the mixture draws
            eval_strategy="steps" if held and recipe.evaluate_every else "no",
        )
    )
    check_launch(recipe, arguments)
    if recipe.features and arguments.deepspeed_plugin is not None:
        raise RunError("features: under DeepSpeed all processes run their encoders: expected features: '', or FSDP")
    with arguments.main_process_first(local=False):
        if is_main():
            data = {"data": mixture.describe(), "evaluate": held.describe() if held else {}}
            folder.open(recipe, data, processes, overwrite)
    if folder.finished:
        note(f"{folder.path.name} is finished; --overwrite begins anew")
        return folder.trained
    model, processor = load_learner(recipe)
    draws = mixture.draws(steps * samples, recipe.seed)
    learned = Collator(mixture, processor, recipe, blank=processes > 1)
    measured = Collator(held, processor, recipe, blank=processes > 1) if held else None
    set_seed(recipe.seed)
    if recipe.features:
        nn.Module.to(model, arguments.device)
        shown = [(learned, draws), *([(measured, held.all())] if held and measured else [])]
        keep_features(recipe, model, shown, arguments)
    trainer = SpatialSftTrainer(
        recipe,
        measured,
        model=trainable(model, recipe),
        args=arguments,
        data_collator=learned,
        train_dataset=Dataset.from_dict({"source": draws[:, 0], "row": draws[:, 1]}),
        eval_dataset=Dataset.from_dict({"source": [0], "row": [0]}) if held else None,
        processing_class=processor,
        callbacks=callbacks(recipe, folder, samples),
    )
    return run(trainer, folder, recipe.model, adapter=recipe.adapter)


def keep_features(
    recipe: SftRecipe,
    model: SpatialMLLMForConditionalGeneration,
    shown: Sequence[tuple[Collator, NDArray[np.int64]]],
    arguments: SFTConfig,
) -> None:
    """Sees the clips that will be shown, each once, and lets the collators read what was seen; this process's share."""
    store = FeatureStore(
        recipe.features,
        fingerprint(model, processor=shown[0][0].processor, dtype=recipe.dtype, keep=recipe.kept),
        recipe.kept,
        recipe.features_dtype,
        recipe.features_megabytes,
    )
    for collator, draws in shown:
        collator.store = store
        mine = np.unique(draws, axis=0)[arguments.process_index :: arguments.world_size]
        fill(store, model, track(clips(collator, mine.tolist()), "seeing clips", len(mine)), recipe.dtype)


def clips(collator: Collator, draws: list[list[int]]) -> Iterator[tuple[str, Any]]:
    """Key and pixels of every clip; broken ones are told when they are trained on."""
    most = collator.recipe.max_frames
    for source, row in draws:
        try:
            record = collator.mixture.read(source, row)
            if collator.is_clip(record):
                key = FeatureStore.key(media.content(record, most))
                yield key, lambda record=record: collator.processor.pack_clip(media.clip(record, most))
        except RecordFault:
            continue
