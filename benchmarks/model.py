"""The model: seeing a clip, the first token of the first and of the next question, tokens a second, memory.

The untrained tiny checkpoint on the CPU; where there is a GPU also the sizes of Spatial-MLLM v1.1 (Qwen2.5-VL-3B and
VGGT-1B) with random weights: what they say means nothing, what it costs is the same.
"""

import gc
import json
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import torch

from benchmarks.common import Row, resident_mb, show, timed
from spatial_mllm_ros.mllm.answering.engine import Engine, load_engine
from spatial_mllm_ros.mllm.families.spatial_mllm.config import SpatialMLLMConfig
from spatial_mllm_ros.mllm.families.spatial_mllm.loaded import SpatialMLLM
from spatial_mllm_ros.mllm.families.spatial_mllm.loading import empty_model
from spatial_mllm_ros.mllm.families.spatial_mllm.processor import SpatialMLLMProcessor
from spatial_mllm_ros.mllm.families.spatial_mllm.untrained import (
    PIXELS,
    make_untrained,
    preprocessor_config,
    released_config,
    write_json,
)
from spatial_mllm_ros.mllm.question import AnswerType, Question

FIRST = Question("What is to the left of the chair?", answer_type=AnswerType.TEXT)
NEXT = Question("How far is the door from the table?", answer_type=AnswerType.NUMBER)
CHOICE = Question("Which of them is nearest?", ("the mug", "the lamp", "the door"))
TOKENS = 64
QUESTIONS = 1_000
REPEATS = 5


def full_size_engine(path: Path, device: str) -> Engine:
    """An engine of v1.1's size, built on its device with random weights; ``path`` is a tiny checkpoint."""
    tiny = json.loads((path / "config.json").read_text("utf-8"))
    ids = {key: value for key, value in tiny.items() if key.endswith("_token_id")}
    write_json(path / "preprocessor_config.json", preprocessor_config(*PIXELS["3b"]))
    config = SpatialMLLMConfig.from_dict({"vocab_size": tiny["vocab_size"], **released_config("3b"), **ids})
    network = empty_model(config, torch.bfloat16)
    weights = {}
    for name, parameter in network.named_parameters():
        value = torch.empty(parameter.shape, dtype=parameter.dtype, device=device)
        weights[name] = value.fill_(1) if name.endswith("weight") and value.ndim == 1 else value.normal_(0, 0.02)
    network.load_state_dict(weights, strict=False, assign=True)
    network.tie_weights()
    torch.nn.Module.to(network, device)  # what is computed rather than stored
    return Engine(SpatialMLLM("3b", network.eval(), SpatialMLLMProcessor.from_pretrained(path)))


def clip(frames: int, seed: int = 0) -> list[np.ndarray]:
    """Frames of noise: no part of the model costs less for what it sees."""
    random = np.random.default_rng(seed)
    return [random.integers(0, 256, (480, 640, 3), np.uint8) for _ in range(frames)]


def synced(call: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """What a call returned, once the GPU has done its part."""
    returned = call(*given, **named)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return returned


def measure(engine: Engine, frames: int) -> list[float]:
    """Seconds: encoders, language model over the clip, first token of the first and of the second question, a token.

    Medians over scenes that were not seen before, after one to warm up.
    """
    prefill: list[float] = []
    network = engine.model.network  # type: ignore[attr-defined]
    forward = network.forward

    def watched(*args: Any, **kwargs: Any) -> Any:
        time, out = timed(synced, forward, *args, **kwargs)
        prefill.append(time)
        return out

    rows = []
    for seed in range(REPEATS + 1):
        images = clip(frames, seed)
        network.forward = watched
        seen, _ = timed(synced, engine.encode, seed, images)
        network.forward = forward
        engine.max_tokens = 1
        first, second = (timed(synced, engine.answer, seed, asked, not_observed=1.0)[0] for asked in (FIRST, NEXT))
        rows.append((seen - prefill[-1], prefill[-1], seen + first, second, seconds_a_token(engine, seed)))
    return np.median(rows[1:], axis=0).tolist()


def seconds_a_token(engine: Engine, key: int) -> float:
    """Seconds for each token after the first, over up to ``TOKENS`` of them."""
    engine.max_tokens = TOKENS
    times: list[float] = []

    def stop() -> bool:  # asked before every token is read
        times.append(perf_counter())
        return False

    engine.answer(key, FIRST, stop=stop, not_observed=1.0)
    return (times[-1] - times[1]) / (len(times) - 2) if len(times) > 2 else float("nan")


def rows_of(name: str, engine: Engine, frames: int) -> Iterator[Row]:
    encoders, prefill, first, second, token = measure(engine, frames)
    name = f"{name}, {frames} frames"
    yield Row(f"{name}: resizing and both encoders", milliseconds(encoders))
    yield Row(f"{name}: language model reads the clip", milliseconds(prefill))
    yield Row(f"{name}: first token of the first question, clip included", milliseconds(first))
    ratio = f"{second / first:.3f}"
    yield Row(f"{name}: first token of the second", milliseconds(second), f"{milliseconds(first)} first", ratio)
    yield Row(f"{name}: after that", f"{1 / token:.0f} tokens/s")


def milliseconds(time: float) -> str:
    return f"{1e3 * time:.1f} ms"


def tiny(folder: Path) -> Iterator[Row]:
    """The tiny checkpoint on the CPU, one thread: what the worker has beside the images."""
    engine = load_engine(make_untrained(folder / "tiny"), device="cpu", not_observed=1.0)
    name = f"tiny, CPU, {torch.get_num_threads()} threads"
    yield from rows_of(name, engine, 16)
    yield Row(f"{name}, 16 frames: peak memory", f"{peak_resident_mb():.0f} MB resident")
    yield from many_questions(engine)


def many_questions(engine: Engine) -> Iterator[Row]:
    """Memory over questions of every kind on one scene and now and then a new one."""
    engine.max_tokens, after = 16, {}
    for i in range(1, QUESTIONS + 1):
        key = f"scene {i // 100}"
        engine.encode(key, clip(4, i // 100))
        engine.answer(key, (FIRST, NEXT, CHOICE)[i % 3], not_observed=0.5)
        if i in (100, QUESTIONS):
            gc.collect()
            after[i] = resident_mb(), engine.clip_bytes / 1e6
    (before, _), (now, held) = after[100], after[QUESTIONS]
    figure = f"{now:.1f} MB resident, {held:.1f} of them clips"
    yield Row(f"memory after {QUESTIONS:,} questions", figure, f"{before:.1f} MB after 100", f"{now / before:.3f}")


def peak_resident_mb() -> float:
    """Most resident memory of this process so far, MB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1e6 if sys.platform == "darwin" else most * 1024 / 1e6


def full_size(folder: Path) -> Iterator[Row]:
    """The released sizes in bfloat16 on the GPU."""
    engine = full_size_engine(make_untrained(folder / "full"), "cuda")
    name = f"3B + VGGT-1B, {torch.cuda.get_device_name()}"
    for frames in (4, 8, 16, 32):
        engine.forget()
        torch.cuda.reset_peak_memory_stats()
        yield from rows_of(name, engine, frames)
        yield Row(f"{name}, {frames} frames: peak memory", f"{torch.cuda.max_memory_allocated() / 1e9:.2f} GB")


def run() -> Iterator[Row]:
    with TemporaryDirectory() as folder:
        yield from tiny(Path(folder))
        if torch.cuda.is_available():
            yield from full_size(Path(folder))


if __name__ == "__main__":
    show(run())
