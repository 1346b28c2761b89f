"""GRPO of clips with TRL: groups, rewards, advantages, ratios and their clip, KL and loss are TRL's; clips are ours.

TRL knows images only: a prompt with a video would train without it. This subclass gives the model what the frozen
encoders saw, once for each clip of a step. Generation is TRL's ``rollout_func``; log-probabilities, loss and rewards by
question type override private methods, which is why trl is pinned to 1.16.
"""

import json
import warnings
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from torch import Tensor, nn
from transformers import TrainerCallback
from trl.models.utils import unwrap_model_for_generation
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.utils import add_fused_lm_head

from spatial_mllm_ros.files import write_whole
from spatial_mllm_ros.mllm.families.spatial_mllm.model import SpatialMLLMForConditionalGeneration
from spatial_mllm_ros.mllm.families.spatial_mllm.processor import SpatialMLLMProcessor

from ..runs.folder import RunError
from ..runs.parts import ModelRecipe, adamw
from .clips import Clip, Policy, base_of, sample, see, shown
from .prompts import Prompt, Prompts
from .rewards import RewardFunction

Outputs = tuple[Tensor, Tensor | None, Tensor | None]
CURVES = {
    "reward": "reward",
    "reward_std": "reward_std",
    "frac_reward_zero_std": "equal_groups",
    "kl": "kl",
    "entropy": "entropy",
    "clip_ratio/region_mean": "clipped_ratio",
    "completions/mean_length": "tokens",
    "completions/clipped_ratio": "cut_off",
}
"""What TRL measures and is worth a curve, and its name there. ``equal_groups`` is the share of groups whose completions
are all worth the same, which teach nothing; ``cut_off`` that of completions that reached the limit of tokens."""


class ClipGRPOTrainer(GRPOTrainer):
    """GRPO of a Spatial-MLLM whose encoders are frozen, by one process or several (DDP).

    Args:
        recipe: which parts learn, and how fast.
        model: the policy; what learns requires gradients. The reference of a PEFT model is the model without adapters,
            that of another one is a copy that shares the encoders.
        args: ``beta`` is the weight of the KL divergence to the reference.
        prompts: by their numbers, the same on every process; asked in that order.
        rewards: functions with their weights, see ``RewardRecipe.functions``.
    """

    def __init__(
        self,
        recipe: ModelRecipe,
        model: Policy,
        args: GRPOConfig,
        prompts: Prompts,
        rewards: Sequence[tuple[RewardFunction, float]],
        processor: SpatialMLLMProcessor,
        callbacks: list[TrainerCallback] | None = None,
    ):
        self.recipe, self.prompts = recipe, prompts
        reference = reference_of(model) if args.beta and not isinstance(model, PeftModel) else None
        beta, args.beta = args.beta, 0.0  # or TRL would look for a checkpoint of the reference
        args.reward_weights = [weight for _, weight in rewards]
        args.generation_kwargs = {"suppress_tokens": [processor.image_token_id, processor.video_token_id]}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "You are using 'rollout_func'")
            super().__init__(
                model=model,
                args=args,
                reward_funcs=[function for function, _ in rewards],
                train_dataset=Dataset.from_dict({"prompt": [""] * len(prompts), "number": range(len(prompts))}),
                processing_class=processor,
                callbacks=callbacks,
                rollout_func=lambda texts, trainer: self._rollout(),
            )
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise RunError("GRPO under FSDP or DeepSpeed: expected neither; adapters (lora_rank) save memory")
        self.beta = args.beta = beta
        if reference is not None:
            self.ref_model = self.accelerator.prepare_model(reference, evaluation_mode=True)
            add_fused_lm_head(self.ref_model, temperature=self.temperature)  # type: ignore[arg-type]
        self._clips: list[Clip] = []
        self._rows: list[int] = []  # the clip of each row of the batch at hand
        self._asked: list[Prompt] = []
        self._before: int | None = None

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            self.optimizer = adamw(model or self.model, self.recipe)  # type: ignore[arg-type]
        return self.optimizer

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """One batch of groups; ``rows`` tells the clip of each row from here on."""
        numbers = [int(row["number"]) for row in inputs]
        different = {number: i for i, number in enumerate(dict.fromkeys(numbers))}
        prompts = [self.prompts(number) for number in different]
        policy = base_of(self.accelerator.unwrap_model(self.model))
        with self.accelerator.autocast():
            self._clips = [see(policy, prompt) for prompt in prompts]
        self._rows = [different[number] for number in numbers]
        self._asked = [prompts[row] for row in self._rows]
        asked = [
            {"prompt": prompt.record["conversations"][0]["value"], "record": prompt.record} for prompt in self._asked
        ]
        outputs = super()._generate_and_score_completions(asked)
        return outputs | {"rows": torch.tensor(self._rows)}

    def _rollout(self) -> dict[str, Any]:
        """Prompts and their sampled completions as tokens, as TRL's ``rollout_func`` gives them."""
        ids = [prompt.ids for prompt in self._asked]
        with (
            self.accelerator.autocast(),
            unwrap_model_for_generation(
                self.model_wrapped,
                self.accelerator,
                generation_kwargs=self.generation_kwargs,
                gradient_checkpointing_kwargs=self.args.gradient_checkpointing_kwargs,  # type: ignore[arg-type]
            ) as policy,
        ):
            said = sample(policy, self._clips, self._rows, ids, self.generation_config)
        return {"prompt_ids": ids, "completion_ids": said, "logprobs": None}

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Tensor:
        """Rewards [rows of all processes, functions]; their sums are logged by question type."""
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        totals = (rewards * self.reward_weights.to(rewards.device)).nansum(1)
        start = self.accelerator.process_index * len(inputs)
        for row, total in zip(inputs, totals[start : start + len(inputs)].tolist()):
            self._log_metric(f"reward/{row['record']['question_type']}", total)
        return rewards

    def _compute_loss(self, model: nn.Module, inputs: dict[str, Any]) -> Tensor:
        self._rows = inputs["rows"].tolist()
        return super()._compute_loss(model, inputs)

    def _get_per_token_logps_and_entropies(
        self,
        model: nn.Module,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        **_: Any,
    ) -> Outputs:
        """Log-probabilities and entropies [B, logits_to_keep] of the last tokens, each row with its clip."""
        parts = []
        step = batch_size or len(input_ids)
        labels = input_ids.masked_fill(attention_mask == 0, -100)
        labels[:, :-logits_to_keep] = -100
        base = base_of(self.accelerator.unwrap_model(model))
        for start in range(0, len(input_ids), step):
            part = slice(start, start + step)
            with self.accelerator.autocast():
                output = model(
                    input_ids=input_ids[part],
                    attention_mask=attention_mask[part],
                    labels=labels[part],
                    fused_lm_head=True,
                    **shown(base, self._clips, self._rows[part]),
                )
            parts.append(output)
        logps = torch.cat([output.log_probs[:, -logits_to_keep:] for output in parts])
        entropies = torch.cat([output.entropy[:, -logits_to_keep:] for output in parts]) if compute_entropy else None
        return logps, entropies, None

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Nothing: ``spatial-mllm-training evaluate`` measures greedy answers."""
        return {}

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if self._before is None:  # of a run that is resumed
            self._before = int(max((row.get("broken", 0) for row in self.state.log_history), default=0))
        for metrics in self._metrics.values():
            found = {curve_of(name): values for name, values in metrics.items()}
            metrics.clear()
            metrics.update({name: values for name, values in found.items() if name})
        if self.prompts.faults:
            logs["broken"] = self._before + len(self.prompts.faults)
        super().log(logs, start_time)
        if self.accelerator.is_main_process and self._logs["completion"]:
            write_whole(
                Path(self.args.output_dir or "") / "completions.json", json.dumps(self._latest(), indent=1) + "\n"
            )

    def _latest(self) -> list[dict[str, Any]]:
        """What was said last, and what that was worth."""
        rewards = [dict(zip(self._logs["rewards"], row)) for row in zip(*self._logs["rewards"].values())]
        columns = (self._logs["prompt"], self._logs["completion"], self._logs["advantages"], rewards)
        names = ("asked", "said", "advantage", "rewards")
        return [dict(zip(names, row)) for row in zip(*columns)]

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """None: it would name a model of the hub."""


def curve_of(metric: str) -> str:
    """The curve that one of TRL's metrics belongs to; empty where it is not drawn."""
    if metric.startswith("rewards/") and metric.endswith("/mean"):
        return metric.removesuffix("/mean")
    return metric if metric.startswith("reward/") else CURVES.get(metric, "")


def reference_of(model: SpatialMLLMForConditionalGeneration) -> SpatialMLLMForConditionalGeneration:
    """A frozen copy of a policy that shares its encoders: only what trains is there twice."""
    shared = {id(part): part for part in (model.parts["visual"], model.vggt)}
    return deepcopy(model, dict(shared)).eval().requires_grad_(False)
