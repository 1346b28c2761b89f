"""TRL's SFTTrainer for draws from a mixture: parts with their own learning rates, broken samples, loss by type."""

from collections import Counter
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from numpy.typing import NDArray
from torch.utils.data import SequentialSampler
from trl.trainer.sft_trainer import SFTTrainer

from ..runs.callbacks import Broken
from ..runs.parts import parameter_groups
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

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            learner: Any = self.model if model is None else model
            groups = parameter_groups(learner, self.recipe)
            self.optimizer = torch.optim.AdamW(groups, lr=self.recipe.learning_rate, betas=(0.9, self.recipe.beta2))
        return self.optimizer

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        inputs = dict(inputs)
        self._broken.add(inputs.pop("faults"))
        inputs.pop("question_types")
        return super().compute_loss(model, inputs, *args, **kwargs)

    @torch.no_grad()
    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Mean loss of the answers' tokens of all held-out records, and of each question type. Logged and returned."""
        if self.held is None:
            return {}
        model: Any = self.model_wrapped
        model.eval()
        sums: dict[str, list[float]] = {}
        for draws in _shares(self.held.mixture.all(), self.recipe.batch, self.accelerator):
            batch = self.held(draws)
            types = batch.pop("question_types")
            self._broken.add(batch.pop("faults"))
            with self.compute_loss_context_manager():
                output = model(**self._prepare_inputs(batch), use_cache=False, fused_lm_head=True)
            losses, counts = -output.log_probs.sum(1), output.label_mask.sum(1)
            for kind, loss, count in zip(types, losses.tolist(), counts.tolist()):
                known = sums.setdefault(kind, [0.0, 0.0])
                known[0], known[1] = known[0] + loss, known[1] + count
        total = Counter[tuple[str, int]]()
        for kind, *values in gather_object([(kind, *values) for kind, values in sums.items()]):
            for i, value in enumerate(values):
                total[kind, i] += value
                total["", i] += value
        kinds = sorted({kind for kind, _ in total})
        found = {f"eval_loss/{kind}" if kind else "eval_loss": total[kind, 0] / total[kind, 1] for kind in kinds}
        self.log(dict(found))
        model.train()
        return found

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        for metrics in self._metrics.values():
            metrics.pop("num_tokens", None)  # a count that resuming would begin anew
        super().log(logs, start_time)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """None: it would name a model of the hub."""

    def _send_telemetry(self) -> None:
        """None: what is trained here is nobody else's concern."""

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        data: Any = self.train_dataset if train_dataset is None else train_dataset
        return SequentialSampler(data)

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
