"""Encoders and connector of nano: torch eager, and exported files by ONNX Runtime, in turns in one run.

A turn is several clips one after the other, of which the first does not count: it meets threads of the other that are
not yet asleep.

``python -m benchmarks.encoders [--encoders DIR]``: a folder that ``spatial-mllm export nano`` wrote, or one is made.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import sleep
from typing import Any

import numpy as np
import torch

from benchmarks.common import Row, resident_mb, show, timed
from spatial_mllm_ros.mllm.answering.engine import load_engine
from spatial_mllm_ros.mllm.encoders.exported import read_exported
from spatial_mllm_ros.mllm.encoders.files import FileEncoders
from spatial_mllm_ros.mllm.families.exporting import export
from spatial_mllm_ros.mllm.families.spatial_mllm.from_files import from_files
from spatial_mllm_ros.mllm.families.spatial_mllm.loaded import SpatialMLLM
from spatial_mllm_ros.mllm.question import Question

FRAMES = (1, 4, 8, 16, 32)
THREADS = (1, 2)
ROUNDS, CLIPS = 8, 4  # turns; clips of a turn that count
PAUSE = 0.05  # s between two turns
SIZE = (480, 640)


def clip(frames: int) -> list[np.ndarray]:
    coarse = np.random.default_rng(frames).integers(0, 255, (frames, 12, 16, 3), np.uint8)
    return [np.kron(image, np.ones((40, 40, 1), np.uint8)) for image in coarse]


def encoded_by(model: SpatialMLLM, encoders: Any, frames: int) -> Callable[[], Any]:
    """Encodes a clip with these encoders, from patches to fused tokens."""
    network = model.network.model
    patches, grid = model.processor.pack_clip(clip(frames))

    @torch.inference_mode()
    def encode() -> Any:
        network.encoders = encoders
        return network.encode(pixel_values_videos=patches, video_grid_thw=grid)

    return encode


def rows(folder: Path) -> Iterator[Row]:
    engine = load_engine("nano", device="cpu")
    model: Any = engine.model
    eager = model.network.model.encoders
    for threads in THREADS:
        torch.set_num_threads(threads)
        before, files = resident_mb(), FileEncoders(read_exported(folder), "cpu", threads=threads)
        for name in ("visual", "spatial", "connector"):
            files.load(name)
        yield Row(f"memory of the loaded files, {threads} threads", f"{resident_mb() - before:.0f} MB")
        exported = from_files(files, torch.device("cpu"))
        for frames in FRAMES:
            ways = [encoded_by(model, encoders, frames) for encoders in (eager, exported)]
            times: list[list[float]] = [[], []]
            for _ in range(ROUNDS):  # in turns: what else the machine does meets both
                for way, seconds in zip(ways, times, strict=True):
                    sleep(PAUSE)
                    way()
                    seconds += [timed(way)[0] for _ in range(CLIPS)]
            torchs, ours = (1e3 * median(seconds) for seconds in times)
            ratio = torchs / ours
            name = f"{frames} frames, {threads} threads: encoders and connector by ONNX Runtime"
            yield Row(name, f"{ours:.0f} ms", f"{torchs:.0f} ms by torch, eager", f"{ratio:.2f} times as fast")
    question = Question("How far is the table?")
    for name, options in (("torch", {}), ("exported files", {"encoders": folder, "provider": "cpu"})):
        seconds, other = timed(load_engine, "nano", device="cpu", **options)
        first, _ = timed(other.ask, clip(8), question)
        yield Row(f"{name}: loaded, first answer about 8 frames", f"{seconds:.1f} s, {first:.1f} s")


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--encoders", type=Path)
    folder = arguments.parse_args().encoders
    with TemporaryDirectory() as scratch:
        if folder is None:
            folder = Path(scratch, "encoders")
            export("nano", folder, lambda: clip(8))
        show(rows(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
