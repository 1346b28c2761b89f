"""What watches a run: numbers that are none, broken samples, whole checkpoints, curves, progress."""

from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor
from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback  # pyright: ignore[reportPrivateImportUsage]
from transformers.trainer_callback import ExportableState

from spatial_mllm_ros.cli.terminal import LINE_SECONDS, err, note, warn
from spatial_mllm_ros.errors import ErrorCode

from .curves import write_curves
from .folder import RunError, RunFolder
from .recipe import RunRecipe

CURVES_SECONDS = 30.0  # between two drawings of the curves
SHOWN = 5  # broken samples that are told one by one
_NOT_FINITE = "step {}: loss or gradients are not finite: expected a lower learning rate"


def callbacks(recipe: RunRecipe, folder: RunFolder, samples: int) -> list[TrainerCallback]:
    """All that a run is watched by.

    Args:
        samples: that one step of the optimiser reads, in all processes together.
    """
    found: list[TrainerCallback] = [
        NotFinite(recipe.on_nan, recipe.max_nan),
        Broken(recipe.on_broken, recipe.max_broken),
        Checkpoints(folder, recipe.keep_checkpoints),
    ]
    found += [Curves(folder.path), ProgressLine(samples)]
    if is_main():
        board = TensorBoardCallback()
        board.logging_dir = str(folder.path / "tensorboard")
        found.append(board)
    return found


def is_main() -> bool:
    """Whether this is the process, of those that train together, that writes files."""
    return not _together() or torch.distributed.get_rank() == 0


def release(trainer: Any) -> None:
    """Gives the terminal back, also where training failed."""
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, ProgressLine):
            callback.close()


class Counted(TrainerCallback, ExportableState):
    """Counts what is skipped: it is logged under ``name``, and comes back with a checkpoint.

    Attributes:
        action: stop or skip. most: that are skipped. count: that were.
    """

    name = ""

    def __init__(self, action: str = "stop", most: int = 0, count: int = 0):
        self.action, self.most, self.count = action, most, count

    def state(self) -> dict[str, Any]:
        return {"args": {"action": self.action, "most": self.most, "count": self.count}, "attributes": {}}

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self.count and logs is not None and "loss" in logs and state.log_history:
            logs[self.name] = state.log_history[-1][self.name] = self.count


class NotFinite(Counted):
    """Stops, or leaves the weights alone for a step, where gradients are not finite (a loss that is not gives such).

    Counts the steps that were skipped.
    """

    name = "skipped_steps"

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        gradients = [p.grad for p in model.parameters() if p.grad is not None]  # type: ignore[union-attr]
        if not gradients or _all_finite(gradients):
            return
        step = state.global_step + 1
        if self.action == "stop":
            raise RunError(f"{_NOT_FINITE.format(step)}, or on_nan: skip", ErrorCode.FAILED)
        self.count += 1
        if self.count > self.most:
            raise RunError(f"step {step}: {self.count} steps were not finite, max_nan is {self.most}", ErrorCode.FAILED)
        for parameter in model.parameters():  # type: ignore[union-attr]
            parameter.grad = None  # without gradients AdamW changes neither weights nor moments


def check_norm(norm: float | None, step: int) -> None:
    """Stops where the norm of all gradients is none; DeepSpeed shows no more of them, and calls such a norm -1."""
    if norm is not None and not 0 <= norm < float("inf"):
        raise RunError(_NOT_FINITE.format(step), ErrorCode.FAILED)


class Broken(Counted):
    """Counts samples that could not be read or shown, and stops the run where they are too many.

    They are those of this process, on top of those that the main process had counted when the run was resumed.
    """

    name = "broken"

    def __init__(self, action: str = "stop", most: int = 0, count: int = 0):
        super().__init__(action, most, count)
        self._told: set[str] = set()

    def add(self, faults: Sequence[str]) -> None:
        """Counts samples by what is wrong with them, and tells them. Raises RunError as configured."""
        self.tell(faults)
        self.count += len(faults)
        if faults and self.count > self.most:
            text = f"{self.count} samples are broken, max_broken is {self.most}; the last: {faults[-1]}"
            raise RunError(text, ErrorCode.FAILED)

    def tell(self, faults: Sequence[str]) -> None:
        """Says the first ones, each once, without counting them. Raises RunError where any stops the run."""
        if faults and self.action == "stop":
            raise RunError(f"a sample is broken: {faults[0]}; on_broken: skip leaves it out", ErrorCode.FAILED)
        for fault in faults:
            if fault not in self._told and len(self._told) < SHOWN:
                self._told.add(fault)
                warn(f"left out: {fault}")


class Checkpoints(TrainerCallback):
    """Marks a checkpoint as whole once every process has written its part, and removes the oldest."""

    def __init__(self, folder: RunFolder, keep: int):
        self.folder, self.keep = folder, keep

    def on_save(self, args, state, control, **kwargs):
        if _together():
            torch.distributed.barrier()
        if is_main():
            self.folder.mark(state.global_step)
            self.folder.keep(self.keep)
            self.folder.state("running", steps=state.global_step)


class Curves(TrainerCallback):
    """Keeps ``curves.csv`` and ``curves.png`` up to date."""

    def __init__(self, path: Path):
        self.path, self._last = path, 0.0

    def on_log(self, args, state, control, logs=None, **kwargs):
        measured = any(name.startswith("eval_") for name in logs or ())
        if is_main() and (measured or monotonic() - self._last > CURVES_SECONDS):
            self._write(state)

    def on_save(self, args, state, control, **kwargs):
        if is_main():
            self._write(state)

    on_train_end = on_save

    def _write(self, state) -> None:
        write_curves(self.path, state.log_history)
        self._last = monotonic()


class ProgressLine(TrainerCallback):
    """Steps, samples a second and the time left on a terminal; a line now and then elsewhere."""

    def __init__(self, samples: int):
        self.samples = samples
        self._bar: Any = None

    def on_train_begin(self, args, state, control, **kwargs):
        if not is_main():
            return
        self._begun, self._first, self._said = monotonic(), state.global_step, 0.0
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
        )
        times = (TimeElapsedColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, *times, console=err, transient=True, disable=not err.is_terminal)
        self._task = self._bar.add_task("training", total=state.max_steps, completed=state.global_step, rate="")
        self._bar.start()

    def on_step_end(self, args, state, control, **kwargs):
        if self._bar is not None:
            self._bar.update(self._task, completed=state.global_step, rate=f"{self._rate(state):.1f} samples/s")

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self._bar is None or err.is_terminal or not logs or "loss" not in logs:
            return
        if monotonic() - self._said < LINE_SECONDS:
            return
        self._said = monotonic()
        left = (state.max_steps - state.global_step) * self.samples / max(self._rate(state), 1e-9)
        note(
            f"step {state.global_step} of {state.max_steps}: loss {float(logs['loss']):.4f},"
            f" {self._rate(state):.1f} samples/s, {left / 60:.0f} min left"
        )

    def on_train_end(self, args, state, control, **kwargs):
        self.close()

    def close(self) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.stop()

    def _rate(self, state) -> float:
        return (state.global_step - self._first) * self.samples / max(monotonic() - self._begun, 1e-9)


def _together() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _all_finite(gradients: list[Tensor]) -> bool:
    """Whether all are, on every process: what one of them skips, all do."""
    largest = [torch.linalg.vector_norm(part, torch.inf) for part in map(_local, gradients) if part.numel()]
    bad = torch.stack([~value.isfinite() for value in largest]).any().float() if largest else torch.zeros(())
    if _together():
        torch.distributed.all_reduce(bad)
    return not bool(bad)


def _local(gradient: Any) -> Tensor:
    """This process's part of a gradient that is spread over several (FSDP2)."""
    return gradient.to_local() if hasattr(gradient, "to_local") else gradient
