"""Chains of thought to begin with: sampled from a model that thinks, and only the good ones kept, as for the cold start
of Spatial-MLLM (Wu et al., 2025).

Of each question K traces are sampled, and the answers of those that are well formed are scored as GRPO scores answers.
The best is kept if it is worth at least the median of the best of its question type, and more than nothing. A run that
was killed goes on where it was.
"""

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from statistics import median

import torch
from transformers import GenerationConfig

from spatial_mllm_ros.cli.terminal import track
from spatial_mllm_ros.errors import SpatialError
from spatial_mllm_ros.files import write_whole
from spatial_mllm_ros.mllm.device import choose
from spatial_mllm_ros.mllm.families.spatial_mllm.model import SpatialMLLMForConditionalGeneration
from spatial_mllm_ros.mllm.families.spatial_mllm.processor import SpatialMLLMProcessor

from ..benchmarks.journal import Journal, digest
from ..multispa.records import line
from ..runs.parts import load_speaker
from ..sft import media
from ..sft.dataset import Mixture
from ..sft.records import Record, RecordFault
from .clips import sample, see
from .prompts import Prompt, prompt_of
from .recipe import ColdStartRecipe
from .rewards import item_of, well_formed

PNG = b"\x89PNG"


@dataclass(frozen=True)
class Trace:
    """The best of a question's traces: what was said, and what its answer is worth. Empty where none is well formed."""

    said: str
    reward: float


def cold_start(recipe: ColdStartRecipe, out: Path, resume: bool = True) -> Counter[str]:
    """Samples traces and writes what is kept to ``out/train.jsonl``: records that SFT reads with ``answers: written``.

    Args:
        resume: go on with the traces in ``out``; else they are given up.
    Returns:
        Counts: ``asked``, ``kept``, ``broken``, and ``kept/TYPE`` and ``asked/TYPE`` of each question type.
    Raises:
        SpatialError: the model or the data cannot be used, or ``out`` holds another run.
    """
    mixture = Mixture(recipe.data)
    model, processor = load_speaker(recipe.model, recipe.adapter, *choose(recipe.device, recipe.dtype))
    settings = blake2b(json.dumps([asdict(recipe), mixture.describe()]).encode(), digest_size=12).hexdigest()
    best: list[tuple[Record, Trace]] = []
    counts: Counter[str] = Counter()
    with Journal(out, {"suite": "cold start", "answers": recipe.model, "settings": settings}, resume) as journal:
        for draw in track(mixture.all().tolist(), "sampling", len(mixture)):
            try:
                record = mixture.read(*draw)
                key = digest(record)
                if (record["id"], key) not in journal.known:
                    prompt = prompt_of(record, media.clip(record, recipe.max_frames), processor, True)
                    journal.add(record, asdict(best_trace(recipe, model, processor, prompt, key)))
                best.append((record, Trace(**journal.known[record["id"], key])))
            except (RecordFault, SpatialError):
                counts["broken"] += 1
    kept = keep(best)
    for name, chosen in (("asked", best), ("kept", kept)):
        counts[name] = len(chosen)
        counts.update(f"{name}/{record['question_type']}" for record, _ in chosen)
    write_whole(out / "train.jsonl", "".join(line(as_record(record, trace, out)) for record, trace in kept))
    return counts


def best_trace(
    recipe: ColdStartRecipe,
    model: SpatialMLLMForConditionalGeneration,
    processor: SpatialMLLMProcessor,
    prompt: Prompt,
    key: str,
) -> Trace:
    """The best of K traces of one question; the first of equals. The same for the same seed and key."""
    tokenizer = processor.tokenizer
    ends = model.generation_config.eos_token_id
    config = GenerationConfig(
        max_new_tokens=recipe.max_tokens,
        do_sample=True,
        repetition_penalty=1.0,  # what is not named would be the checkpoint's own
        temperature=recipe.temperature,
        top_k=0,
        top_p=1.0,
        eos_token_id=sorted({tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])}),
        pad_token_id=tokenizer.pad_token_id,
        suppress_tokens=[processor.image_token_id, processor.video_token_id],
    )
    with torch.random.fork_rng():
        torch.manual_seed(int.from_bytes(blake2b(f"{recipe.seed} {key}".encode(), digest_size=4).digest(), "big"))
        clip, rows = see(model, prompt), [0] * recipe.traces
        tokens = sample(model, [clip], rows, [prompt.ids for _ in rows], config)
    texts = [tokenizer.decode(row, skip_special_tokens=True).strip() for row in tokens]
    item = item_of(prompt.record)
    traces = [Trace(text, recipe.score(item)(item, text)) for text in texts if well_formed(text)]
    return max(traces, key=lambda trace: trace.reward, default=Trace("", 0.0))


def keep(best: Sequence[tuple[Record, Trace]]) -> list[tuple[Record, Trace]]:
    """Those worth at least the median of their question type, and more than nothing; none that is not well formed."""
    rewards: dict[str, list[float]] = {}
    for record, trace in best:
        rewards.setdefault(record["question_type"], []).append(trace.reward)
    least = {kind: median(found) for kind, found in rewards.items()}
    return [
        (record, trace)
        for record, trace in best
        if trace.said and trace.reward > 0 and trace.reward >= least[record["question_type"]]
    ]


def as_record(record: Record, trace: Trace, out: Path) -> Record:
    """The record with the trace for its answer, asked for thoughts; media relative to ``out``, or written there."""
    media_of = {kind: [_place(item, out) for item in record[kind]] for kind in ("images", "videos")}
    asked = next(turn for turn in record["conversations"] if turn["from"] == "human")
    turns = [asked, {"from": "gpt", "value": trace.said}]
    meta = {**record["meta"], "with_reasoning": True, "reward": trace.reward}
    return {**record, **media_of, "conversations": turns, "meta": meta}


def _place(item: Path | bytes, out: Path) -> str:
    if isinstance(item, Path):
        return os.path.relpath(item.absolute(), out.absolute())
    name = f"images/{blake2b(item, digest_size=12).hexdigest()}{'.png' if item.startswith(PNG) else '.jpg'}"
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).write_bytes(item)
    return name
