"""The data engine: overlap of all pairs of frames of a scene, against plain sets in the same run; its speed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter, process_time

import numpy as np

from benchmarks.common import RECORDING, Row, show, timed
from spatial_mllm_ros.frames import Frame
from spatial_mllm_ros.recordings import read_frames
from spatial_mllm_ros.simulation import make_room
from spatial_mllm_training.multispa.covisibility import SceneIndex
from spatial_mllm_training.multispa.generate import GenerateOptions, generate
from spatial_mllm_training.multispa.overlap import overlap_of
from spatial_mllm_training.multispa.scene import Scene
from spatial_mllm_training.multispa.sources import open_sources

FRAMES = 300
RUNS = 5
PER_TYPE = 1000


def run() -> Iterator[Row]:
    yield from overlap()
    yield from questions()


def overlap() -> Iterator[Row]:
    """Of 300 frames of the recording, or of a room where that is not there; CPU time, one thread."""
    frames = list(read_frames(RECORDING))[:FRAMES] if RECORDING.exists() else rendered()
    index = SceneIndex(Scene("overlap", "benchmark", frames, key="overlap"))
    reading, seen = timed(getattr, index, "seen", clock=process_time)
    overlap_of(seen[:2])  # compiles it, or loads what was compiled before
    seconds, matrix = min(
        (timed(overlap_of, seen, clock=process_time) for _ in range(RUNS)), key=lambda found: found[0]
    )
    member = np.unpackbits(seen.view(np.uint8), axis=1, bitorder="little")
    sets = [set(np.flatnonzero(row).tolist()) for row in member]
    slow, plain = timed(set_overlap, sets, clock=process_time)
    assert (matrix == plain).all()
    name = f"overlap of {len(sets)} frames, {len(index.points):,} points: every pair"
    yield Row(name, f"{1e3 * seconds:.1f} ms", f"{slow:.2f} s with sets", f"{slow / seconds:.0f}")
    pairs = len(index.pairs()[0])
    yield Row(f"what {len(sets)} frames see, read and tested", f"{reading:.1f} s", f"{pairs:,} pairs of 6 to 35 %")


def questions() -> Iterator[Row]:
    """Questions a second of one core with their images written, from opening the scene to the last record."""
    specs = ["simulated:0"] + [str(RECORDING)] * RECORDING.exists()
    for spec in specs:
        with tempfile.TemporaryDirectory() as folder:
            start, before = process_time(), perf_counter()
            options = GenerateOptions(per_task=PER_TYPE, test_share=0.0, runner="inline")
            done = generate(open_sources([spec]), Path(folder), options)
            seconds, waited = process_time() - start, perf_counter() - before
            images = sum(1 for _ in Path(folder).glob("images/*/*.jpg"))
        name = f"{done.total:,} questions with {images:,} images: {Path(spec).name}"
        yield Row(name, f"{done.total / seconds:.0f} a second and core", f"{seconds:.0f} s, {waited:.0f} s waited")


def set_overlap(sets: list[set[int]]) -> np.ndarray:
    """Overlap of Python sets, each pair once."""
    out = np.eye(len(sets), dtype=np.float32)
    for a, first in enumerate(sets):
        for b, second in enumerate(sets[:a]):
            both = len(first & second)
            out[a, b] = out[b, a] = both / max(len(first) + len(second) - both, 1)
    return out


def rendered() -> list[Frame]:
    room = make_room(0, (320, 240), fps=10, duration=FRAMES / 10, pushes=0)
    return [view.frame for view in room.frames()]


if __name__ == "__main__":
    show(run())
