"""Geometry in words: the language model and the 2D encoder learn what numbers have to do with places in images.

The spatial encoder is frozen: its heads go on to say what its tokens mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from spatial_mllm_ros.cli.terminal import progress
from spatial_mllm_ros.config import param
from spatial_mllm_ros.mllm.families.base import Processor
from spatial_mllm_ros.mllm.families.spatial_mllm.config import SpatialMLLMConfig
from spatial_mllm_ros.mllm.families.spatial_mllm.model import SpatialMLLMForConditionalGeneration

from ..geometry.clips import WIDE, choose, recolour
from ..geometry.train import GeometryRecipe, StepTrainer, open_scenes, views_folder
from ..geometry.views import Views
from ..multispa.sources import open_sources
from ..runs.folder import RunFolder
from ..runs.parts import load_speaker
from ..runs.recipe import RecipeError
from ..runs.run import run
from .packing import Rows, packed_loss, rows
from .questions import Clip, ask
from .things import Things, make_things, open_things

PAIRS = 0.6  # of clips; the others are single images


@dataclass(frozen=True)
class WordsRecipe(GeometryRecipe):
    """Questions about depth, matches and motion, drawn from views without end."""

    batch: int = param(8, "clips a process sees at a time", low=1, high=65_536)
    questions: int = param(12, "about a clip", low=1, high=1024)
    things: bool = param(False, "ask also how large things are, and about points and things that are not shown")

    def __post_init__(self):
        super().__post_init__()
        if len(self.phases) > 1 or any(phase.share < 1 or phase.alone for phase in self.phases):
            raise RecipeError(
                "phases: questions are asked about images of one size: expected none, or one of all steps"
            )

    @property
    def shown(self) -> tuple[int, int]:
        """Height and width of the images, pixels."""
        return (self.phases[0].height, self.phases[0].width) if self.phases else (self.height, self.width)


class QuestionBatches(Dataset):
    """Batch number i is drawn by the seed and i alone."""

    def __init__(
        self,
        scenes: Sequence[Views],
        count: int,
        recipe: WordsRecipe,
        processor: Processor,
        config: SpatialMLLMConfig,
        things: Sequence[Things] = (),
    ):
        self.scenes, self.count, self.recipe = scenes, count, recipe
        self.processor, self.config, self.things = processor, config, things

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> Rows:
        rng = np.random.default_rng([self.recipe.seed, i])
        frames = 2 if rng.random() < PAIRS else 1
        return rows([self._clip(rng, frames) for _ in range(self.recipe.batch)], self.processor, self.config)

    def _clip(self, rng: np.random.Generator, frames: int) -> tuple[Any, list]:
        while True:
            scene = int(rng.integers(len(self.scenes)))
            chosen = choose(rng, self.scenes[scene].overlap, frames, WIDE)
            clip = Clip.of(self.scenes[scene], chosen, self.things[scene] if self.things else None)
            if found := ask(clip, rng, self.recipe.questions, self.recipe.things):
                images = recolour(rng, clip.images)
                return [
                    cv2.resize(image, self.recipe.shown[::-1], interpolation=cv2.INTER_AREA) for image in images
                ], found


def train_words(recipe: WordsRecipe, out: str | Path, overwrite: bool = False) -> Path:
    """Trains, or goes on with, one run; the model is in ``out/model``. Raises SpatialError as ``train_geometry``."""
    folder = RunFolder(out)
    scenes = open_scenes(recipe, folder, overwrite)
    if folder.finished:
        return folder.trained
    torch.manual_seed(recipe.seed)
    model, processor = load_speaker(recipe.model)
    model.train().requires_grad_(True)
    model.vggt.eval().requires_grad_(False)
    known = find_things(recipe, folder) if recipe.things else ()
    batches = QuestionBatches(scenes, recipe.steps * recipe.accumulate, recipe, processor, model.config, known)
    trainer = StepTrainer(recipe, folder, model, batches, losses)
    return run(trainer, folder, recipe.model)


def find_things(recipe: WordsRecipe, folder: RunFolder) -> list[Things]:
    """What the views of the recipe's scenes show of their things, found where it is not known yet."""
    refs, place = open_sources(recipe.scenes), views_folder(recipe, folder)
    size = (recipe.height, recipe.width)
    with progress("things") as move:
        for done, _ in enumerate(make_things(refs, size, place, max(1, recipe.workers)), 1):
            move(done, len(refs))
    return open_things(refs, size, place)


def losses(model: SpatialMLLMForConditionalGeneration, batch: Rows) -> dict[str, Tensor]:
    """As ``StepTrainer`` takes it."""
    return {"loss": packed_loss(model, batch).mean()}
