"""That it learns, and learns to look: the right choice depends on the clip alone."""

import numpy as np
import torch
from transformers import GenerationConfig
from trl.trainer.grpo_config import GRPOConfig

from spatial_mllm_ros.mllm import load_model
from spatial_mllm_training.grpo.clips import sample, see
from spatial_mllm_training.grpo.prompts import prompt_of
from spatial_mllm_training.grpo.trainer import ClipGRPOTrainer
from spatial_mllm_training.runs.parts import ModelRecipe, trainable

from .records import OTHER

SHADES = {"dark": 20, "bright": 230}


def even_if_bright(completion_ids, record, **_):
    """1 for an even token about the bright clip and an odd one about the dark clip: blind, the mean is at most 1/2."""
    return [float((ids[0] % 2 == 0) == (asked["id"] == "bright")) for ids, asked in zip(completion_ids, record)]


class Choices:
    """The same question about the dark and the bright clip, in turn."""

    faults = ()

    def __init__(self, processor, count):
        clips = {name: [np.full((56, 56, 3), shade, np.uint8)] * 2 for name, shade in SHADES.items()}
        self.known = [prompt_of(OTHER | {"id": name}, clip, processor, False) for name, clip in clips.items()]
        self.count = count

    def __len__(self):
        return self.count

    def __call__(self, number):
        return self.known[number % 2]


def greedy_reward(model, processor, prompts):
    """Mean reward of the likeliest answers."""
    config = GenerationConfig(
        max_new_tokens=1,
        do_sample=False,
        eos_token_id=[processor.tokenizer.eos_token_id],
        pad_token_id=processor.tokenizer.pad_token_id,
    )
    clips = [see(model, prompt) for prompt in prompts]
    said = sample(model, clips, [0, 1], [prompt.ids for prompt in prompts], config)
    return sum(even_if_bright(said, [prompt.record for prompt in prompts])) / 2


def test_it_learns_to_look(tiny, tmp_path):
    model, processor = load_model(tiny)
    prompts = Choices(processor, 32)
    recipe = ModelRecipe(learning_rate=3e-3)
    settings = GRPOConfig(
        output_dir=str(tmp_path),
        per_device_train_batch_size=32,
        num_generations=16,
        max_completion_length=1,
        max_steps=16,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="constant",
        beta=0.01,
        loss_type="grpo",
        use_bias_correction_kl=False,
        shuffle_dataset=False,
        report_to=[],
        save_strategy="no",
        logging_steps=1,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_tqdm=True,
        seed=3,
    )
    model = trainable(model, recipe)
    before = greedy_reward(model, processor, prompts.known)
    trainer = ClipGRPOTrainer(recipe, model, settings, prompts, [(even_if_bright, 1.0)], processor)
    trainer.train()
    rewards = [row["reward"] for row in trainer.state.log_history if "reward" in row]
    assert before <= 0.5
    assert np.mean(rewards[:3]) < 0.75
    assert np.mean(rewards[-4:]) > 0.8
    assert greedy_reward(model, processor, prompts.known) == 1.0
    assert torch.isfinite(torch.tensor(rewards)).all()
