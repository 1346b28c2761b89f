"""Fine-tuning: a step with the frozen encoders' outputs kept on disk, against a step that runs them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from time import perf_counter

import cv2
import numpy as np
import torch

from benchmarks.common import Row, show, timed
from spatial_mllm_ros.mllm.families.spatial_mllm.model import SpatialMLLMForConditionalGeneration
from spatial_mllm_ros.mllm.families.spatial_mllm.untrained import make_untrained
from spatial_mllm_ros.simulation import make_room
from spatial_mllm_training.runs.parts import load_speaker, parameter_groups, trainable
from spatial_mllm_training.runs.recipe import make_recipe
from spatial_mllm_training.sft.collate import Collator
from spatial_mllm_training.sft.dataset import DataEntry, Mixture
from spatial_mllm_training.sft.features import FeatureStore, fill, fingerprint
from spatial_mllm_training.sft.recipe import SftRecipe
from spatial_mllm_training.sft.train import clips

NANO = Path(__file__).resolve().parents[1] / "models" / "nano"
RECORDS, FRAMES, BATCH, STEPS = 16, 8, 4, 12


def run() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        mixture = Mixture([DataEntry(str(write_questions(folder / "questions")))])
        models = {"untrained tiny": make_untrained(folder / "tiny")} | ({"nano": NANO} if NANO.is_dir() else {})
        for name, path in models.items():
            yield from steps(name, path, mixture, folder / f"features of {name}")


def steps(name: str, path: Path, mixture: Mixture, features: Path) -> Iterator[Row]:
    """Connector and language model learn; seconds of a step, data read and optimiser included, and the same losses."""
    found = {}
    for kept in (False, True):
        model, processor = load_speaker(str(path))
        collator = Collator(mixture, processor, SftRecipe(max_frames=FRAMES))
        if kept:
            collator.store = FeatureStore(features, fingerprint(model, processor, "float32"))
            seen, count = timed(fill, collator.store, model, clips(collator, mixture.all().tolist()))
            yield Row(f"{name}: {count} clips of {FRAMES} frames seen and kept", f"{1e3 * seen / count:.0f} ms a clip")
        found[kept] = train(model, collator)
    (plain, losses), (quick, same) = found[False], found[True]
    difference = max(abs(a - b) for a, b in zip(losses, same))
    what = f"{name}: a step of {BATCH} samples with encoders' outputs from disk"
    yield Row(what, f"{1e3 * quick:.0f} ms", f"{1e3 * plain:.0f} ms with encoders", f"{plain / quick:.1f}")
    course = f"loss {losses[0]:.2f} to {losses[-1]:.2f}"
    yield Row(f"{name}: largest difference of {STEPS} losses", f"{difference:.0e}", course)


def train(model: SpatialMLLMForConditionalGeneration, collator: Collator) -> tuple[float, list[float]]:
    """Median seconds of a step, and its losses."""
    recipe = make_recipe({"learning_rate": 1e-3}, SftRecipe)
    trainable(model, recipe)
    optimizer = torch.optim.AdamW(parameter_groups(model, recipe))
    seconds, losses = [], []
    draws = collator.mixture.draws(STEPS * BATCH, 0)
    for at in range(0, len(draws), BATCH):
        start = perf_counter()
        batch = collator([{"source": source, "row": row} for source, row in draws[at : at + BATCH].tolist()])
        assert not batch.pop("faults") and batch.pop("question_types")
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(perf_counter() - start)
        losses.append(loss.item())
    return median(seconds), losses


def write_questions(folder: Path) -> Path:
    """Records about clips of a simulated room; what they ask does not matter here."""
    folder.mkdir()
    room = make_room(0, (320, 240), fps=8, duration=RECORDS * FRAMES / 8 / 2, pushes=0)
    images = [image for view in room.frames() if (image := view.frame.decoded()) is not None]
    for i, image in enumerate(images):
        cv2.imwrite(str(folder / f"{i}.jpg"), image[..., ::-1])
    chosen = np.random.default_rng(0).integers(0, len(images), (RECORDS, FRAMES))
    said = [{"from": "human", "value": "How far did the camera move, in millimetres?"}, {"from": "gpt", "value": "1 m"}]
    with (folder / "train.jsonl").open("w") as file:
        for row in chosen:
            values = {"images": [f"{i}.jpg" for i in row], "conversations": said, "meta": {"output": "scalar"}}
            file.write(json.dumps(values) + "\n")
    return folder


if __name__ == "__main__":
    show(run())
