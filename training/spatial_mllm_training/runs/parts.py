"""Which parts of a Spatial-MLLM learn, how fast, and whether the language model does so through an adapter (LoRA)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from spatial_mllm_ros.config import param
from spatial_mllm_ros.mllm.families.spatial_mllm.parts import PARTS, part_of

if TYPE_CHECKING:
    from peft import PeftModel

    from spatial_mllm_ros.mllm.families.spatial_mllm.model import SpatialMLLMForConditionalGeneration
    from spatial_mllm_ros.mllm.families.spatial_mllm.processor import SpatialMLLMProcessor

    Policy = SpatialMLLMForConditionalGeneration | PeftModel
    Loaded = tuple[SpatialMLLMForConditionalGeneration, SpatialMLLMProcessor]

from .folder import RunError
from .recipe import RecipeError, RunRecipe, mapping

LORA_LAYERS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
"""A list of layer names alone would also hit the 2D encoder's."""
ENCODERS = ("visual", "spatial_encoder")
NO_DECAY = ("bias", "norm", "ln_q")


@dataclass(frozen=True)
class ModelRecipe(RunRecipe):
    """A run that trains a Spatial-MLLM to answer."""

    adapter: str = param("", "folder or hub id of a PEFT adapter that is merged into the model first; empty: none")
    train: list[str] = param(  # noqa: RUF009, it makes a default_factory
        ["connector", "language_model"], "parts that learn, the others are frozen", choices=PARTS
    )
    rates: dict[str, float] = mapping(  # noqa: RUF009
        {}, "learning rates of parts, or of lora, where they differ from learning_rate", low=0.0, high=10.0
    )
    lora_rank: int = param(0, "of adapters on the language model's linear layers; 0: none", low=0, high=4096)
    lora_alpha: float = param(32.0, "the adapters' output is scaled by alpha / rank", low=0.0, high=1e5)
    lora_dropout: float = param(0.0, "of the adapters' input", low=0.0, high=0.99)

    def __post_init__(self):
        super().__post_init__()
        known = [*self.train, *(["lora"] if self.lora_rank else [])]
        if not known:
            raise RecipeError(f"train = [] and lora_rank = 0: expected one or more of {', '.join(PARTS)}, or adapters")
        if odd := [name for name in self.rates if name not in known]:
            raise RecipeError(f"rates.{odd[0]}: it does not learn: expected {', '.join(known)}")
        if self.lora_rank and set(self.train) - {"connector"}:
            raise RecipeError(f"lora_rank = {self.lora_rank}, train = {self.train}: expected [connector] or []")


def load_speaker(path: str, adapter: str = "", device: str = "cpu", dtype: str = "float32") -> "Loaded":
    """A model with the processor that answering needs.

    Raises:
        SpatialError: the model or the adapter cannot be used, or does not answer.
    """
    from spatial_mllm_ros.mllm import load_model  # takes seconds to import, which reading a recipe need not

    model, processor = load_model(path, device, dtype, adapter)
    if processor is None:
        raise RunError(f"model {path} has no tokenizer: expected one that answers, with tokenizer.json")
    return model, processor


def load_learner(recipe: ModelRecipe) -> "Loaded":
    """The model that a run begins with, and its processor: what learns is float32, the rest in the recipe's dtype.

    All is read as float32 first, so that what learns begins with the very numbers of the checkpoint.

    Raises:
        SpatialError: the model or the adapter cannot be used, or does not answer.
    """
    model, processor = load_speaker(recipe.model, recipe.adapter)
    for name, parameter in model.named_parameters():
        if (part := part_of(name)) and part not in recipe.train:
            parameter.data = parameter.data.to(getattr(torch, recipe.dtype))
    return model, processor


def trainable(model: "SpatialMLLMForConditionalGeneration", recipe: ModelRecipe) -> "Policy":
    """The model with the recipe's parts learning and the rest frozen; wrapped by PEFT where there are adapters.

    Args:
        model: SpatialMLLMForConditionalGeneration; what learns is float32.
    """
    model.requires_grad_(False)
    for encoder in (model.parts[part] for part in ENCODERS if part not in recipe.train):
        encoder.forward = torch.no_grad()(encoder.forward)  # checkpointing would make its input require gradients
    if recipe.lora_rank:
        from peft import LoraConfig, get_peft_model

        settings = LoraConfig(
            r=recipe.lora_rank,
            lora_alpha=recipe.lora_alpha,  # type: ignore[arg-type]
            lora_dropout=recipe.lora_dropout,
            target_modules=LORA_LAYERS,
            modules_to_save=list(recipe.train) or None,
            task_type="CAUSAL_LM",
        )
        return get_peft_model(model, settings).train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad = part_of(name) in recipe.train
    return model.train()


def parameter_groups(model: nn.Module, recipe: ModelRecipe) -> list[dict[str, Any]]:
    """What AdamW takes: one group for each part and for what weight decay spares."""
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decays = not any(part in name.lower() for part in NO_DECAY)
            groups.setdefault((part_of(name), decays), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": recipe.rates.get(part, recipe.learning_rate),
            "weight_decay": recipe.weight_decay if decays else 0.0,
        }
        for (part, decays), parameters in groups.items()
    ]


def adamw(model: nn.Module, recipe: ModelRecipe) -> torch.optim.AdamW:
    """The optimiser of what learns; in one kernel, which needs no memory of its own, where the device has that."""
    groups = parameter_groups(model, recipe)
    devices = {parameter.device.type for group in groups for parameter in group["params"]}
    fused = True if devices <= {"cpu", "cuda"} else None
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, recipe.beta2), fused=fused)
