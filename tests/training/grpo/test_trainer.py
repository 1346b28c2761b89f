"""GRPO of clips: that the clip counts, what is computed once, and figures against closed forms and plain forwards."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from trl.trainer.grpo_config import GRPOConfig

from spatial_mllm_ros.mllm import load_model
from spatial_mllm_training.grpo.clips import see
from spatial_mllm_training.grpo.prompts import prompt_of
from spatial_mllm_training.grpo.trainer import ClipGRPOTrainer
from spatial_mllm_training.runs.parts import ModelRecipe, trainable
from tests.closeness import assert_close, rounding

from .records import DEPTH, WORD

RECORDS = (WORD, DEPTH)
FULL = ModelRecipe(learning_rate=1e-2)
LORA = ModelRecipe(learning_rate=1e-2, lora_rank=4, train=["connector"])


def length_in_letters(completions, **_):
    """Any number that differs from completion to completion."""
    return [float(sum(map(ord, said)) % 7) for said in completions]


def constant(completions, **_):
    return [1.0] * len(completions)


@dataclass
class Shown:
    """As ``Prompts``, each clip in turn."""

    clips: list
    processor: Any
    faults = ()

    def __len__(self):
        return len(RECORDS)

    def __call__(self, number):
        return prompt_of(RECORDS[number], self.clips[number], self.processor, reasoning=False)


@pytest.fixture
def make(tiny, clips, tmp_path):
    """A trainer of both clips, each prompt shown in turn."""

    def build(rewards=((length_in_letters, 1.0),), recipe=FULL, **changes):
        model, processor = load_model(tiny)
        settings = {
            "output_dir": str(tmp_path),
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 2,
            "num_generations": 4,
            "max_completion_length": 5,
            "beta": 0.1,
            "loss_type": "grpo",
            "use_bias_correction_kl": False,
            "learning_rate": 1e-2,
            "max_steps": 1,
            "report_to": [],
            "save_strategy": "no",
            "use_cpu": True,
            "bf16": False,
            "gradient_checkpointing": False,
            "disable_tqdm": True,
            **changes,
        }

        prompts = Shown(clips, processor)
        return ClipGRPOTrainer(
            recipe, trainable(model, recipe), GRPOConfig(**settings), prompts, list(rewards), processor
        )

    return build


def batch(trainer):
    """One generation batch: a group for each clip, in that order."""
    size = trainer.num_generations
    return trainer._generate_and_score_completions([{"number": i} for i in range(len(RECORDS)) for _ in range(size)])


def plain_logps(model, prompt, completion):
    """Log-probabilities of a completion after a prompt: one row, pixels in, no cache, no padding."""
    ids = torch.tensor([prompt.ids + completion])
    logits = model(
        input_ids=ids,
        pixel_values_videos=prompt.pixels,
        video_grid_thw=prompt.grid,
        second_per_grid_ts=[1.0],
    ).logits[0, len(prompt.ids) - 1 : -1]
    return logits.log_softmax(-1).gather(1, torch.tensor(completion)[:, None])[:, 0]


def said(outputs, row):
    return outputs["completion_ids"][row][outputs["completion_mask"][row].bool()].tolist()


def logps(trainer, outputs, rows):
    ids = torch.cat([outputs["prompt_ids"], outputs["completion_ids"]], 1)
    mask = torch.cat([outputs["prompt_mask"], outputs["completion_mask"]], 1)
    trainer._rows = rows
    keep = outputs["completion_ids"].shape[1]
    return trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, keep, batch_size=3)[0]


def move(model):
    """Makes the policy another one than it began as."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.005 * torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("recipe", [FULL, LORA])
def test_the_reference_stays_what_the_policy_began_as(make, tiny, recipe):
    trainer = make(recipe=recipe)
    move(trainer.model)
    outputs = batch(trainer)
    start = load_model(tiny)[0]
    apart = 0.0
    for row, clip in enumerate(outputs["rows"].tolist()):
        with torch.no_grad():
            began, now = (plain_logps(m, trainer.prompts(clip), said(outputs, row)) for m in (start, trainer.model))
        assert_close(outputs["ref_per_token_logps"][row][: len(began)], began)
        apart = max(apart, float((began - now).abs().max()))
    assert apart > 1e-3


@pytest.mark.parametrize("recipe", [FULL, LORA])
def test_log_probabilities_are_those_of_a_plain_forward_with_pixels(make, recipe):
    trainer = make(recipe=recipe)
    outputs = batch(trainer)
    rows = outputs["rows"].tolist()
    assert rows == [0] * 4 + [1] * 4
    with torch.no_grad():
        found = logps(trainer, outputs, rows)
        for row, clip in enumerate(rows):
            tokens = said(outputs, row)
            expected = plain_logps(trainer.model, trainer.prompts(clip), tokens)
            assert_close(found[row, : len(tokens)], expected)


def test_another_clip_gives_other_log_probabilities(make, clips):
    """A trainer that lost the clip on its way would not notice."""
    trainer = make()
    outputs = batch(trainer)
    rows = outputs["rows"].tolist()
    with torch.no_grad():
        before = logps(trainer, outputs, rows)
        turned = [np.flip(frame, 0).copy() for frame in clips[0]]
        other = replace(trainer.prompts(0), pixels=trainer.processing_class.pack_clip(turned)[0])
        trainer._clips[0] = see(trainer.model, other)
        after = logps(trainer, outputs, rows)
    assert (before[:4] - after[:4]).abs().max() > 1e-2
    assert_close(before[4:], after[4:])


def test_sampling_sees_the_clip_too(make):
    """Completions are sampled as likely as the log-probabilities with the clip say: cold, they are the likeliest."""
    trainer = make(temperature=1e-4)
    outputs = batch(trainer)
    for row, clip in enumerate(outputs["rows"].tolist()):
        prompt, tokens = trainer.prompts(clip), []
        for token in said(outputs, row):
            ids = torch.tensor([prompt.ids + tokens])
            with torch.no_grad():
                logits = trainer.model(
                    input_ids=ids,
                    pixel_values_videos=prompt.pixels,
                    video_grid_thw=prompt.grid,
                    second_per_grid_ts=[1.0],
                ).logits[0, -1]
            assert token == int(logits.argmax())
            tokens.append(token)


def test_each_clip_is_encoded_once_a_step(make):
    trainer = make(steps_per_generation=2, num_iterations=2, gradient_accumulation_steps=2, max_steps=4)
    counts = {"visual": 0, "spatial": 0}
    inner = trainer.model.model

    def count(name):
        def hook(*_):
            counts[name] += 1

        return hook

    inner.visual.register_forward_pre_hook(count("visual"))
    aggregate = inner.spatial_encoder.vggt_model.aggregate

    def counted(*args, **kwargs):
        counts["spatial"] += 1
        return aggregate(*args, **kwargs)

    inner.spatial_encoder.vggt_model.aggregate = counted
    trainer.train()  # 4 steps on 2 generations of 2 clips, each used twice
    assert counts == {"visual": 4, "spatial": 4}


def test_advantages_are_those_of_the_group(make):
    trainer = make()
    outputs = batch(trainer)
    texts = trainer.processing_class.batch_decode([said(outputs, row) for row in range(8)], skip_special_tokens=True)
    rewards = np.array(length_in_letters(texts)).reshape(2, 4)
    expected = (rewards - rewards.mean(1, keepdims=True)) / (rewards.std(1, ddof=1, keepdims=True) + 1e-4)
    assert_close(outputs["advantages"], expected.ravel())


@pytest.mark.parametrize(("recipe", "checkpointing"), [(FULL, False), (FULL, True), (LORA, False), (LORA, True)])
def test_loss_and_gradients_by_hand(make, recipe, checkpointing):
    """Policy and reference differ; ratio, clip, advantage and KL are worked out from plain forwards with pixels."""
    more = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}
    # 2 iterations: old log-probabilities are kept
    trainer = make(recipe=recipe, epsilon=0.1, num_iterations=2, beta=0.5, **(more if checkpointing else {}))
    trainer.model.train()
    outputs = batch(trainer)
    assert_close(outputs["old_per_token_logps"], outputs["ref_per_token_logps"])
    reference = {(row, clip): None for row, clip in enumerate(outputs["rows"].tolist())}
    with torch.no_grad():
        for row, clip in reference:
            reference[row, clip] = plain_logps(trainer.model, trainer.prompts(clip), said(outputs, row))
    move(trainer.model)
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.zero_grad()
    loss = trainer._compute_loss(trainer.model, outputs)
    loss.backward()
    found = {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None}

    trainer.model.zero_grad()
    expected, clipped = [], 0
    for (row, clip), before in reference.items():
        now = plain_logps(trainer.model, trainer.prompts(clip), said(outputs, row))
        ratio, advantage = (now - before).exp(), outputs["advantages"][row]
        bounded = ratio.clamp(0.9, 1.1)
        clipped += int((ratio != bounded).sum())
        divergence = (before - now).exp() - (before - now) - 1
        expected.append((-torch.minimum(ratio * advantage, bounded * advantage) + 0.5 * divergence).mean())
    hand = torch.stack(expected).mean()
    hand.backward()
    assert clipped > 0
    assert float(loss) == pytest.approx(float(hand), abs=rounding(10))
    assert any("connector" in name for name in found) and any("language_model" in name for name in found)
    for name, parameter in trainer.model.named_parameters():
        if parameter.requires_grad and parameter.grad is not None:
            scale = parameter.grad.abs().max().clamp(min=1e-3)
            np.testing.assert_allclose(found[name] / scale, parameter.grad / scale, atol=rounding(10), err_msg=name)


def test_groups_of_equal_rewards_teach_nothing(make):
    trainer = make(rewards=[(constant, 1.0)], beta=0.0)
    before = {name: p.clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    assert trainer.state.log_history[0]["equal_groups"] == 1
    assert trainer.state.log_history[0]["reward"] == 1
    for name, parameter in trainer.model.named_parameters():
        assert torch.equal(parameter, before[name]), name


def test_rewards_are_logged_by_question_type(make):
    trainer = make(rewards=[(constant, 1.0), (lambda completions, **_: [0.5] * len(completions), 2.0)])
    trainer.train()
    logged = trainer.state.log_history[0]
    assert logged["reward/camera_left_right"] == logged["reward/depth_estimation_dot"] == 2


@pytest.mark.parametrize("recipe", [FULL, LORA])
def test_only_what_is_to_learn_changes(make, recipe):
    trainer = make(recipe=recipe)
    before = {name: p.clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    changed = {name for name, p in trainer.model.named_parameters() if not torch.equal(p, before[name])}
    assert changed and all(".visual." not in name and "spatial_encoder" not in name for name in changed)
    assert any("connector" in name for name in changed)
    if recipe is LORA:
        assert all("lora_" in name or "modules_to_save" in name for name in changed)
