"""A run that teaches the spatial encoder of a Spatial-MLLM geometry from posed scenes with depth."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Sampler, SequentialSampler
from transformers import Trainer, TrainingArguments

from spatial_mllm_ros.cli.terminal import progress, warn
from spatial_mllm_ros.config import param
from spatial_mllm_ros.errors import ErrorCode, SpatialError
from spatial_mllm_ros.mllm import load_model

from ..multispa.sources import open_sources
from ..runs.arguments import training_arguments
from ..runs.callbacks import callbacks
from ..runs.folder import RunError, RunFolder
from ..runs.recipe import RecipeError, RunRecipe, entries
from ..runs.run import run
from .clips import ClipBatches, Phase
from .losses import GeometryLoss
from .views import Views, identity, make_views, open_views

PATCH = 14  # pixels, of both encoders
Losses = Callable[[Any, Any], dict[str, Tensor]]


@dataclass(frozen=True)
class PhaseRecipe:
    """A part of a run: coarse images cost less, and teach most of what fine ones do."""

    share: float = param(1.0, "of the steps", low=0.0, high=1.0)
    height: int = param(140, "of the images", unit="pixels", low=28, high=4096)
    width: int = param(196, "of the images", unit="pixels", low=28, high=4096)
    alone: bool = param(False, "frames do not meet: each learns depth, and features that match")


@dataclass(frozen=True)
class GeometryRecipe(RunRecipe):
    """How geometry is learnt (Wang et al., CVPR 2025, section 3.4)."""

    scenes: list[str] = param([], "posed scenes with depth, as for multispa generate")  # noqa: RUF009
    batch: int = param(32, "frames a process sees at a time; clips have 1, 2 or 4", low=1, high=65_536)
    views: str = param("", "folder that keeps their views at the model's size; empty: in the run's folder")
    height: int = param(140, "of the images", unit="pixels", low=28, high=4096)
    width: int = param(196, "of the images", unit="pixels", low=28, high=4096)
    phases: tuple[PhaseRecipe, ...] = entries(
        PhaseRecipe, "parts of the run, in order; what they leave over is of height x width"
    )
    dense_frames: int = param(8, "frames of a batch that the dense heads learn from", low=1, high=4096)

    def __post_init__(self):
        super().__post_init__()
        if not self.steps:
            raise RecipeError("steps = 0: expected how many batches of clips are drawn")
        if self.evaluate_every:
            raise RecipeError(f"evaluate_every = {self.evaluate_every}: every batch is new: expected 0")
        if self.gradient_checkpointing:
            raise RecipeError("gradient_checkpointing = true: expected false, and a smaller batch")
        for what in (self, *self.phases):
            if what.height % PATCH or what.width % PATCH:
                raise RecipeError(f"images of {what.height} x {what.width}: expected multiples of {PATCH}")
        if (whole := sum(phase.share for phase in self.phases)) > 1 + 1e-9:
            raise RecipeError(f"phases have shares of {whole:g} together: expected at most 1")


class StepTrainer(Trainer):
    """Batches that a data set has ready, in their order.

    Args:
        losses: of a model and a batch: by name, of which ``loss`` is followed.
    """

    def __init__(self, recipe: RunRecipe, folder: RunFolder, model: nn.Module, batches: Dataset, losses: Losses):
        self._losses_of = losses
        self._seen: dict[str, list[Tensor]] = {}  # losses since the last point of the curves
        arguments = training_arguments(recipe, folder.path, per_device_train_batch_size=1, dataloader_num_workers=0)
        made = TrainingArguments(**arguments)
        if made.n_gpu > 1:
            raise RunError("several GPUs: this stage runs on one: set CUDA_VISIBLE_DEVICES=0")
        super().__init__(
            model,
            made,
            data_collator=lambda items: {"batch": items[0]},
            train_dataset=batches,
            callbacks=callbacks(recipe, folder, recipe.batch * recipe.accumulate),
        )

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Nothing: batches are drawn without end, so the losses are those of clips never seen before."""
        return {}

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Sampler:
        return SequentialSampler(self.train_dataset)  # type: ignore[arg-type]

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Tensor:
        with self.accelerator.autocast():  # also where the losses call parts of the model
            losses = self._losses_of(model, on_device(inputs["batch"], self.args.device))
        for name, value in losses.items():
            self._seen.setdefault(name, []).append(value.detach())
        return losses["loss"]

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        if "loss" in logs:
            parts = {name: values for name, values in self._seen.items() if name != "loss"}
            logs |= {f"losses/{name}": float(torch.stack(values).mean()) for name, values in parts.items()}
            self._seen.clear()
        super().log(logs, *args, **kwargs)


def on_device(batch: Any, device: torch.device | str) -> Any:
    """The same dataclass with its tensors on a device."""
    return replace(batch, **{name: part.to(device) for name, part in vars(batch).items() if isinstance(part, Tensor)})


def train_geometry(recipe: GeometryRecipe, out: str | Path, overwrite: bool = False) -> Path:
    """Trains, or goes on with, one run; the model with its new spatial encoder is in ``out/model``.

    Raises:
        SpatialError: no scenes, no usable model, or a folder that holds something else.
    """
    folder = RunFolder(out)
    scenes = open_scenes(recipe, folder, overwrite)
    if folder.finished:
        return folder.trained
    torch.manual_seed(recipe.seed)
    model, _ = load_model(recipe.model)
    vggt = model.vggt.requires_grad_(True)
    batches = recipe.steps * recipe.accumulate
    phases = [Phase(round(p.share * batches), (p.height, p.width), p.alone) for p in recipe.phases]
    rest = batches - sum(phase.count for phase in phases)
    phases.append(Phase(max(rest, 0), (recipe.height, recipe.width)))
    clips = ClipBatches(scenes, phases, recipe.seed, recipe.batch)
    teacher = GeometryLoss(vggt, recipe.dense_frames).train()
    trainer = StepTrainer(recipe, folder, teacher, clips, lambda learner, batch: learner(batch))
    return run(trainer, folder, recipe.model, model)


def open_scenes(recipe: GeometryRecipe, folder: RunFolder, overwrite: bool) -> list[Views]:
    """Opens the run's folder, and the views of the recipe's scenes, made where they are not there yet."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise RunError("several processes: this stage runs in one: start it without torchrun")
    refs = open_sources(recipe.scenes)
    known = f"[{', '.join(map(identity, refs))}]"
    data = {"scenes": len(refs), "hash": sha256(known.encode()).hexdigest()[:16]}
    folder.open(recipe, data, overwrite=overwrite)
    size, place = (recipe.height, recipe.width), views_folder(recipe, folder)
    with progress("views") as move:
        for done, why in enumerate(make_views(refs, size, place, max(1, recipe.workers)), 1):
            move(done, len(refs))
            if why and recipe.on_broken == "stop":
                raise SpatialError(ErrorCode.BAD_REQUEST, why)
            if why:
                warn(f"left out: {why}")
    if not (scenes := open_views(refs, size, place)):
        raise SpatialError(ErrorCode.NO_GEOMETRY, f"none of {len(refs)} scenes has depth and poses")
    return scenes


def views_folder(recipe: GeometryRecipe, folder: RunFolder) -> Path:
    """Where the views of a run's scenes are kept."""
    return Path(recipe.views or folder.path / "views")
