"""Weights spread over two processes as ``fsdp2.yaml`` spreads them, where their batches differ in what they show."""

import json

import cv2
import numpy as np
import pytest
import torch
import yaml

from spatial_mllm_ros.mllm import load_model
from spatial_mllm_training.runs.parts import ModelRecipe, adamw, trainable
from spatial_mllm_training.runs.recipe import RECIPES
from spatial_mllm_training.sft.collate import Collator
from spatial_mllm_training.sft.dataset import DataEntry, Mixture
from spatial_mllm_training.sft.recipe import SftRecipe

from .questions import record, write_questions
from .training import run_script

STEPS = 2
RECIPE = ModelRecipe(learning_rate=1e-3)
SCRIPT = """
import json, sys
from datetime import timedelta
import torch
from torch.distributed.fsdp import fully_shard
from spatial_mllm_training.runs.parts import adamw
from tests.training.sft.test_sharded import RECIPE, STEPS, learner, loss_of

tiny, folder, alone = sys.argv[1], sys.argv[2], sys.argv[3].split(",")
torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=60))
rank = torch.distributed.get_rank()
model, collator = learner(tiny, folder)
for module in reversed(list(model.modules())):
    if type(module).__name__ in alone:
        fully_shard(module, reshard_after_forward=True)
fully_shard([model.get_input_embeddings(), model.lm_head], reshard_after_forward=False)  # tied: as accelerate does
fully_shard(model)
optimizer, losses = adamw(model, RECIPE), []
for step in range(STEPS):
    loss = loss_of(model, collator, (rank + step) % 2)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    losses.append(float(loss.detach()))
model.eval()
with torch.no_grad():
    losses.append(float(loss_of(model, collator, rank)))
open(f"{folder}/{rank}.json", "w").write(json.dumps(losses))
"""


def learner(tiny, folder):
    """A model and a collator, the same in every process."""
    model, processor = load_model(tiny)
    model = trainable(model, RECIPE)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    mixture = Mixture([DataEntry(str(folder)), DataEntry(f"{folder}/text.jsonl")])
    return model, Collator(mixture, processor, SftRecipe(shown_as="written"), blank=True)


def loss_of(model, collator, source):
    batch = collator([{"source": source, "row": 0}])
    assert not batch.pop("faults") and batch.pop("question_types")
    return model(**batch).loss


@pytest.mark.long
def test_processes_may_show_two_clips_or_none(tiny, tmp_path):
    """One has images of two sizes, which the connector reads one after the other, the other text alone, in turn."""
    folder = write_questions(tmp_path / "room", 2)
    cv2.imwrite(str(folder / "images" / "tall.png"), np.full((112, 84, 3), 90, np.uint8))
    (folder / "train.jsonl").write_text(json.dumps(record(0, ["images/0.png", "images/tall.png"])))
    turns = [{"from": "human", "value": "Two and two?"}, {"from": "gpt", "value": "Four."}]
    (folder / "text.jsonl").write_text(json.dumps({"conversations": turns}))
    settings = yaml.safe_load((RECIPES / "distributed" / "fsdp2.yaml").read_text())["fsdp_config"]
    (tmp_path / "spread.py").write_text(SCRIPT)
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    alone = settings["fsdp_transformer_layer_cls_to_wrap"]
    assert run_script(tmp_path / "spread.py", str(tiny), str(folder), alone, launcher=launcher) == 0

    model, collator = learner(tiny, folder)  # one process, whose gradient is the mean of both
    optimizer, expected = adamw(model, RECIPE), []
    for _ in range(STEPS):
        losses = [loss_of(model, collator, source) for source in range(2)]
        (sum(losses) / 2).backward()
        optimizer.step()
        optimizer.zero_grad()
        expected.append([float(loss.detach()) for loss in losses])
    model.eval()
    with torch.no_grad():
        expected.append([float(loss_of(model, collator, source)) for source in range(2)])
    for rank in range(2):
        found = json.loads((folder / f"{rank}.json").read_text())
        sources = [(rank + step) % 2 for step in range(STEPS)] + [rank]
        assert np.allclose(found, [row[source] for row, source in zip(expected, sources)], rtol=0, atol=1e-4)
