"""TRL's SFTTrainer for draws from a mixture: parts with their own learning rates, broken samples, loss by type."""

from collections import Counter
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object, send_to_device
from numpy.typing import NDArray
from torch import nn
from trl.trainer.sft_trainer import SFTTrainer

from ..runs.callbacks import Broken, check_norm
from ..runs.folder import RunError
from ..runs.parts import adamw
from .collate import Collator
from .recipe import SftRecipe


class SpatialSftTrainer(SFTTrainer):
    """Trains on draws in their order.

    Args:
        held: a collator of held-out records; evaluation takes all of them.
        options: as SFTTrainer; ``train_dataset`` holds ``source`` and ``row`` of each draw.
    """

    def __init__(self, recipe: SftRecipe, held: Collator | None, **options: Any):
        self.recipe, self.held = recipe, held
        super().__init__(**options)
        self.model_accepts_loss_kwargs = True  # Qwen2.5-VL's do not; TRL divides by all tokens of a step itself

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            self.optimizer = adamw(self.model if model is None else model, self.recipe)  # type: ignore[arg-type]
        return self.optimizer

    def training_step(self, model: nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss = super().training_step(model, *args, **kwargs)
        if self.is_deepspeed_enabled:
            norm = model.get_global_grad_norm()  # type: ignore[operator]
            check_norm(norm, self.state.global_step + 1)
        return loss

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        inputs = dict(inputs)
        self._broken.add(inputs.pop("faults"))
        inputs.pop("question_types")
        self._check_clips(inputs)
        return super().compute_loss(model, inputs, *args, **kwargs)

    @torch.no_grad()
    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Mean loss of the answers' tokens of all held-out records, and of each question type. Logged and returned.

        ``eval_broken``, where there are such: held-out records that are left out; they do not count for ``max_broken``.
        """
        if self.held is None:
            return {}
        model: nn.Module = self.model_wrapped  # type: ignore[assignment]
        model.eval()
        sums: dict[str, list[float]] = {}
        faults: list[str] = []
        for draws in _shares(self.held.mixture.all(), self.recipe.batch, self.accelerator):
            batch = self.held(draws)
            types = batch.pop("question_types")
            faults += batch.pop("faults")
            self._check_clips(batch)
            moved: Any = send_to_device(batch, self.args.device)  # also what was seen; the next line tensors alone
            with self.compute_loss_context_manager():
                output = model(**self._prepare_inputs(moved), use_cache=False, fused_lm_head=True)
            losses, counts = -output.log_probs.sum(1), output.label_mask.sum(1)
            for kind, loss, count in zip(types, losses.tolist(), counts.tolist()):
                known = sums.setdefault(kind, [0.0, 0.0])
                known[0], known[1] = known[0] + loss, known[1] + count
        self._broken.tell(faults)
        total = Counter[tuple[str, int]]()
        for kind, *values in gather_object([(kind, *values) for kind, values in sums.items()]):
            for i, value in enumerate(values):
                total[kind, i] += value
                total["", i] += value
        kinds = sorted({kind for kind, _ in total})
        found = {f"eval_loss/{kind}" if kind else "eval_loss": total[kind, 0] / total[kind, 1] for kind in kinds}
        if broken := len(gather_object(faults)):
            found["eval_broken"] = broken
        self.log(dict(found))
        model.train()
        return found

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        for metrics in self._metrics.values():
            metrics.pop("num_tokens", None)  # a count that resuming would begin anew
        super().log(logs, start_time)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """None: it would name a model of the hub."""

    def _check_clips(self, batch: dict[str, Any]) -> None:
        """ZeRO-3 fetches weights whenever they are used, so all processes have to use all of them equally often."""
        if self.is_deepspeed_enabled and (count := clips_in(batch)) != 1:
            raise RunError(f"{count} clips in a batch: DeepSpeed needs 1, with batch = 1: expected such data, or FSDP")

    @property
    def _broken(self) -> Broken:
        """The counter; resuming puts another one in its place."""
        return next(callback for callback in self.callback_handler.callbacks if isinstance(callback, Broken))


def _shares(draws: NDArray[np.int64], batch: int, accelerator: Any) -> Any:
    """This process's batches of held-out draws; as many for every process, some of them empty."""
    processes = accelerator.num_processes
    for at in range(0, len(draws), batch * processes):
        mine = draws[at + batch * accelerator.process_index : at + batch * (accelerator.process_index + 1)]
        yield [{"source": int(source), "row": int(row)} for source, row in mine]


def clips_in(batch: dict[str, Any]) -> int:
    """How often the connector reads what the encoders saw: each video, and the images of each size."""
    images, videos = (batch.get(f"{kind}_grid_thw", torch.empty(0, 3)).tolist() for kind in ("image", "video"))
    return len({tuple(grid) for grid in images}) + len(videos)
