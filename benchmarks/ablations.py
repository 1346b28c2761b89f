"""What parts of the training of nano are worth: the same steps with and without, on the same questions. Takes hours.

python -m benchmarks.ablations --made out/nano --test TEST.jsonl --out out/ablations
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import numpy as np

from benchmarks.common import Row, show
from benchmarks.coverage import by_exchange, voxels
from spatial_mllm_ros.cli.options import ask_params
from spatial_mllm_ros.evenly import evenly
from spatial_mllm_ros.mllm import AnswerType, Question, load_model
from spatial_mllm_ros.mllm.answering.engine import load_engine
from spatial_mllm_training.benchmarks.answers import Model
from spatial_mllm_training.benchmarks.evaluate import evaluate
from spatial_mllm_training.benchmarks.scoring import Estimate, estimate, within_norm
from spatial_mllm_training.benchmarks.suites import multispa
from spatial_mllm_training.multispa.item import CAMERA_MOTION, DEPTH, OBJECT_SIZE, Candidate
from spatial_mllm_training.multispa.scene import Scene
from spatial_mllm_training.multispa.sources.simulated import SimulatedRef
from spatial_mllm_training.multispa.tasks.object_size import SMALLEST, asked_things
from spatial_mllm_training.multispa.wording import word
from spatial_mllm_training.nano.words import WordsRecipe, train_words
from spatial_mllm_training.runs.recipe import load_recipe
from spatial_mllm_training.runs.saving import save_trained
from spatial_mllm_training.sft.recipe import SftRecipe
from spatial_mllm_training.sft.train import train_sft

WORDS, SFT = 400, 300  # steps of each arm
KINDS = {"depth": DEPTH, "camera motion": CAMERA_MOTION}
FRAMES = 4  # of a clip: as many as nano was taught with
ROOMS = 40
TOGETHER = "all tasks"


@dataclass(frozen=True)
class Place:
    """Where things are: stages of ``make nano``, a file of questions about rooms of its own, where arms are trained."""

    made: Path
    test: Path
    out: Path
    limit: int | None = None

    @property
    def questions(self) -> Path:
        return self.made / "questions" / "train.jsonl"


def run(place: Place) -> Iterator[Row]:
    yield from encoder_and_tasks(place)
    yield from rewards(place)
    yield from frames(place)


def encoder_and_tasks(place: Place) -> Iterator[Row]:
    """The spatial encoder on and off (Wu et al., 2025, section 5.3); one kind of question and all (Xu et al., 5.4)."""
    seeing = words(place, "words", place.made / "geometry" / "model")
    unseeing = words(place, "words without", without_spatial(place.made / "geometry" / "model", place.out / "without"))
    together = scores(place, TOGETHER, sft(place, TOGETHER, seeing, SFT, ()))
    without = scores(place, "no spatial encoder", sft(place, "no spatial encoder", unseeing, SFT, ()))
    for name, kinds in {"all": tuple(together), **KINDS}.items():
        yield compared(f"spatial encoder on and off: {name}", together, without, kinds)
    for name, kinds in KINDS.items():
        steps = max(1, round(SFT * share(place.questions, kinds)))  # each question as often as among the others
        alone = scores(place, f"{name} alone", sft(place, f"{name} alone", seeing, steps, kinds))
        yield compared(f"all tasks and one: {name}", together, alone, kinds)


def rewards(place: Place) -> Iterator[Row]:
    """SFT + GRPO and SFT."""
    after, before = (scores(place, stage, place.made / stage / "model") for stage in ("grpo", "even"))
    yield compared("SFT + GRPO and SFT: all", after, before, tuple(before))


def words(place: Place, name: str, model: Path) -> Path:
    fields = [f"model={model}", f"views={place.made / 'views'}", f"steps={WORDS}"]
    return train_words(load_recipe("nano_words", WordsRecipe, fields), place.out / name)


def sft(place: Place, name: str, model: Path, steps: int, kinds: Sequence[str]) -> Path:
    data = f"data=[{{path: {place.questions}, types: [{', '.join(kinds)}]}}]"
    return train_sft(load_recipe("nano_sft", SftRecipe, [f"model={model}", data, f"steps={steps}"]), place.out / name)


def without_spatial(model: Path, out: Path) -> Path:
    """The same model whose spatial encoder says nothing: all its weights are zero, and so are its tokens."""
    if not (out / "model").is_dir():
        loaded, _ = load_model(model)
        for parameter in loaded.vggt.parameters():
            parameter.data.zero_()
        save_trained(loaded, model, out)
    return out / "model"


def share(questions: Path, kinds: Sequence[str]) -> float:
    """Of questions that are of these types."""
    types = [item.question_type for item in multispa.load(questions)]
    return float(np.isin(types, kinds).mean())


def scores(place: Place, name: str, model: Path) -> dict[str, list[float]]:
    """Accuracies by question type. What a model says itself counts: no threshold of refusing is set for any arm."""
    said: dict[str, str] = {}
    asking = Model(ask_params(model=str(model), device="cpu", max_frames=FRAMES, not_observed=1.0), place.test.parent)

    def answer(record: dict) -> str:
        said[record["id"]] = text = asking(record)
        return text

    evaluate("multispa", place.test, answer, place.out / "scores" / name, name=name, limit=place.limit, resume=False)
    found: dict[str, list[float]] = {}
    for item in multispa.load(place.test):
        if item.id in said:
            found.setdefault(item.question_type, []).append(multispa.score(item, said[item.id])["accuracy"])
    return found


def compared(name: str, one: dict[str, list[float]], other: dict[str, list[float]], kinds: Sequence[str]) -> Row:
    """Mean accuracies over types, with 95 % intervals."""
    first, second = (estimate([found[kind] for kind in kinds if kind in found]) for found in (one, other))
    return Row(name, percent(first), percent(second), f"{first.value / second.value:.2f}" if second.value else "")


def percent(found: Estimate) -> str:
    return f"{100 * found.value:.1f} % ({100 * found.low:.1f} to {100 * found.high:.1f})"


def frames(place: Place) -> Iterator[Row]:
    """Space-aware and uniform frames (Wu et al., 2025, section 5.3): how large the things of a room are."""
    engine = load_engine(place.made / "grpo" / "model", device="cpu")
    ways = {  # the first as the node keeps frames
        "space-aware": lambda seen: by_exchange(seen, FRAMES).selected,
        "uniform": lambda seen: evenly(len(seen), FRAMES),
    }
    right: dict[str, list[float]] = {name: [] for name in ways}
    covered: dict[str, list[float]] = {name: [] for name in ways}
    for seed in range(ROOMS):
        scene = SimulatedRef(seed, (320, 240)).open()
        seen = [voxels(frame) for frame in scene.frames]
        whole = np.unique(np.concatenate(seen)).size
        questions = list(sizes(scene, np.random.default_rng(seed)))
        for name, choose in ways.items():
            chosen = choose(seen)
            covered[name].append(np.unique(np.concatenate([seen[i] for i in chosen])).size / whole)
            images = [image for i in chosen if (image := scene.frames[i].decoded()) is not None]
            for text, size in questions:
                said = engine.ask(images, Question(text, answer_type=AnswerType.NUMBER), not_observed=1.0)
                right[name].append(float(isfinite(said.value) and within_norm(1000 * said.value, size)))
    one, other = (percent(estimate(right[name])) for name in ways)
    shares = [f"{100 * np.mean(covered[name]):.0f} % of the voxels" for name in ways]
    yield Row(f"space-aware and uniform frames, {FRAMES} of each of {ROOMS} rooms: sizes", one, other)
    yield Row(f"space-aware and uniform frames, {FRAMES} of each of {ROOMS} rooms: covered", *shares)


def sizes(scene: Scene, rng: np.random.Generator) -> Iterator[tuple[str, float]]:
    """Questions about the height, width and length of each thing of a room, and the truth in millimetres."""
    for k, axes in asked_things(scene).items():
        thing = scene.things[k]
        for kind, axis in zip(OBJECT_SIZE, ("height", "width", "length"), strict=True):
            if (size := float(thing.size[axes[axis]])) >= SMALLEST:
                truth = float(round(1000 * size))
                candidate = Candidate(kind, (0,) * FRAMES, truth, "scalar", referring="label", label=thing.label)
                yield word(candidate, (320, 240), rng).question, truth


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.ablations", description=__doc__)
    arguments.add_argument("--made", type=Path, default=Path("out/nano"), help="what make nano left")
    arguments.add_argument("--test", type=Path, required=True, help="JSONL file of questions about other rooms")
    arguments.add_argument("--out", type=Path, default=Path("out/ablations"), help="where arms are trained; it resumes")
    arguments.add_argument("--limit", type=int, help="only so many questions, the first")
    show(run(Place(**vars(arguments.parse_args()))))


if __name__ == "__main__":
    main()
