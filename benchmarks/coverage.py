"""Voxelisation and selection against plain sets, streaming selection against offline greedy, and time per frame."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np

from benchmarks.common import RECORDING, Row, show, timed
from spatial_mllm_ros.config import Config, CoverageParams
from spatial_mllm_ros.coverage import StreamingCoverageSampler, greedy_cover, select_frames
from spatial_mllm_ros.coverage.keyset import KeySet
from spatial_mllm_ros.evenly import evenly
from spatial_mllm_ros.frames import Frame
from spatial_mllm_ros.recordings import messages, read_frames
from spatial_mllm_ros.scene.memory import frame_voxels
from spatial_mllm_ros.scene.warm_up import warm_up
from spatial_mllm_ros.simulation import make_room

try:
    import torch  # type: ignore[import-not-found]
except ImportError:
    torch = None

PARITY = RECORDING.parents[1] / "parity"
SIZES = (4, 8, 16, 32)
PARAMS = CoverageParams()
Voxels = Sequence[np.ndarray]


def run() -> Iterator[Row]:
    warm_up(Config())
    yield from reference()
    yield from batch()
    if RECORDING.exists():
        yield from per_frame()
        yield from streaming({"the recording": [voxels(frame) for frame in read_frames(RECORDING)]})
    yield from streaming({f"room {seed}": room(seed) for seed in range(10)})
    yield from first_call()


def reference() -> Iterator[Row]:
    """Frames and order of the reference implementation on its own numbers."""
    for path in sorted(PARITY.glob("sampling_*.npz")):
        with np.load(path) as a:
            order = select_frames(a["world_points"], a["world_points_conf"], int(a["k"]))
            same = order == a["greedy_order"].tolist()
            yield Row(f"{path.stem}: frames and order", "same" if same else f"{order}", f"{a['greedy_order'].tolist()}")


def batch(frames: int = 128, height: int = 378, width: int = 518, k: int = 16) -> Iterator[Row]:
    """One clip as a reconstruction model gives it."""
    points, confidence = clip(frames, height, width)
    select_frames(points[:1], confidence[:1], 1)
    times, orders = zip(*(timed(select_frames, points, confidence, k) for _ in range(7)))
    plain, (plain_order, how) = timed(select_by_sets, points, confidence, k)
    ours, differs = float(np.median(times)), ": NOT THE SAME FRAMES" * (orders[-1] != plain_order)
    name = f"select {k} of {frames} x {height} x {width} points{differs}"
    yield Row(name, f"{ours:.3f} s (best {min(times):.3f})", f"{plain:.1f} s, {how} and sets", f"{plain / ours:.0f}")


def clip(frames: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy points of the walls of an empty room seen by a turning camera, and a confidence that is all noise."""
    random = np.random.default_rng(0)
    size = np.array([6, 5, 2.6], np.float32)
    v, u = np.mgrid[0:height, 0:width]
    rays = np.stack([(u - width / 2) / width, (v - height / 2) / width, np.ones_like(u)], -1).astype(np.float32)
    points = np.empty((frames, height, width, 3), np.float32)
    for t, yaw in enumerate(np.linspace(0, 9, frames)):
        pitch = 0.25 * np.sin(7 * yaw) - 0.2
        forward = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)])
        right = np.cross(forward, [0, 0, 1]) / np.hypot(*forward[:2])
        directions = rays @ np.stack([right, np.cross(forward, right), forward]).astype(np.float32) + np.float32(1e-7)
        eye = (size / 2 + [np.sin(yaw), np.cos(2 * yaw), 0]).astype(np.float32)
        distance = np.where(directions > 0, (size - eye) / directions, -eye / directions).min(-1)
        distance *= 1 + 0.003 * random.standard_normal(distance.shape, np.float32)
        points[t] = eye + directions * distance[..., None]
    return points, 1 + random.standard_gamma(2, (frames, height, width), np.float32)


def select_by_sets(points: np.ndarray, confidence: np.ndarray, k: int) -> tuple[list[int], str]:
    """The same selection as one writes it first: unique rows of each frame, sets of tuples, greedy over the sets."""

    def unique_rows(cells: np.ndarray) -> np.ndarray:
        return np.unique(cells, axis=0) if torch is None else torch.unique(torch.from_numpy(cells), dim=0).numpy()

    how = f"torch.unique of {torch.__version__}" if torch else f"np.unique of {np.__version__} (no torch here)"
    valid = (confidence >= np.percentile(confidence, 50)) & (confidence > 0.1)
    kept = points[valid]
    low = kept.min(axis=0)
    edge = (kept.max(axis=0) - low).min() / 20
    sets = []
    for p, v in zip(points, valid):
        cells = np.floor((p[v] - low) / edge).astype(np.int64)
        sets.append(set(map(tuple, unique_rows(cells).tolist())))
    covered: set = set()
    order: list[int] = []
    while len(order) < k:
        gains = [len(s - covered) for s in sets]
        best = max(range(len(sets)), key=gains.__getitem__)
        if not gains[best]:
            break
        order.append(best)
        covered |= sets[best]
    return order, how


def per_frame() -> Iterator[Row]:
    """From the decoded depth image to the updated selection, against decoding that image."""
    images = [np.array(m.data) for _, _, m in messages(RECORDING, ["/camera/depth/image_raw/compressed"])]
    decoding, adding = [], []
    sampler = StreamingCoverageSampler(PARAMS.frames, PARAMS.voxel_size)

    def add(frame: Frame) -> None:
        sampler.add_voxels(frame.key, voxels(frame))

    for image, frame in zip(images, read_frames(RECORDING), strict=True):
        decoding.append(timed(cv2.imdecode, image, cv2.IMREAD_UNCHANGED)[0])
        assert frame.depth is not None  # decoded before the clock starts
        adding.append(timed(add, frame)[0])
    for name, of in (("median", 0.5), ("95th percentile", 0.95)):
        ours, decode = (1e3 * float(np.quantile(times, of)) for times in (adding, decoding))
        name = f"recording: depth image to selection, {name}"
        yield Row(name, f"{ours:.2f} ms", f"{decode:.2f} ms to decode it", f"{ours / decode:.2f}")


def voxels(frame: Frame, params: CoverageParams = PARAMS) -> np.ndarray:
    seen = frame_voxels(frame, params)
    assert seen is not None
    return seen


def room(seed: int) -> list[np.ndarray]:
    """Voxels of half a minute in a simulated room; rendered at 80 x 60, where every pixel counts."""
    params = replace(PARAMS, stride=1)
    return [voxels(view.frame, params) for view in make_room(seed, size=(80, 60), fps=10, duration=30).frames()]


def streaming(scenes: dict[str, Voxels]) -> Iterator[Row]:
    """Share of what offline greedy covers with as many frames, one row for each way to select and each k."""
    ways: dict[str, Callable[[Voxels, int], int]] = {
        "streaming": lambda frames, k: by_exchange(frames, k).voxels_covered,
        "exchange without reserve": lambda frames, k: by_exchange(frames, k, 0).voxels_covered,
        "SieveStreaming++": by_sieves,
        "uniform": uniform,
    }
    where = next(iter(scenes)) if len(scenes) == 1 else f"{len(scenes)} simulated rooms"
    for k in SIZES:
        greedy = [sum(greedy_cover(frames, k)[1]) for frames in scenes.values()]
        for name, covered in ways.items():
            share = [covered(frames, k) / best for frames, best in zip(scenes.values(), greedy)]
            figure = f"{min(share):.3f}" + (f" at worst, {np.mean(share):.3f} on average" if len(share) > 1 else "")
            yield Row(f"{where}, k = {k}: {name}", figure, "offline greedy", f"{min(share):.3f}")


def by_exchange(frames: Voxels, k: int, reserve: int = 16) -> StreamingCoverageSampler:
    sampler = StreamingCoverageSampler(k, PARAMS.voxel_size, reserve=reserve)
    for i, keys in enumerate(frames):
        sampler.add_voxels(i, keys)
    return sampler


def by_sieves(frames: Voxels, k: int, epsilon: float = 0.1) -> int:
    """SieveStreaming++ (Kazemi et al., ICML 2019): a selection for each guess of what a good frame adds."""
    covered: dict[int, KeySet] = {}
    taken: dict[int, int] = {}
    largest = best = 0
    for keys in frames:
        largest = max(largest, keys.size)
        if not largest:
            continue
        lowest = int(np.ceil(np.log(max(best, largest) / (2 * k)) / np.log1p(epsilon)))
        for power in [p for p in covered if p < lowest]:
            del covered[power], taken[power]
        for power in range(lowest, int(np.log(largest) / np.log1p(epsilon)) + 1):
            sieve = covered.setdefault(power, KeySet())
            if taken.setdefault(power, 0) < k and sieve.missing(keys) >= (1 + epsilon) ** power:
                sieve.add(keys)
                taken[power] += 1
                best = max(best, len(sieve))
    return best


def uniform(frames: Voxels, k: int) -> int:
    return np.unique(np.concatenate([frames[i] for i in evenly(len(frames), k)])).size


def first_call() -> Iterator[Row]:
    """Start of a new process, machine code compiled before: importing, then loading what frames run through."""
    code = """
from time import perf_counter as now; import numpy as np; a = now()
from spatial_mllm_ros.coverage import StreamingCoverageSampler, depth_voxel_keys; b = now()
sampler = StreamingCoverageSampler(1, 1.0, max_voxels=1, reserve=1)
for i in range(1, 6):
    depth = np.full((1, 2 * i), 1.0 + i, np.float32)
    rays = np.dstack([np.arange(2.0 * i), np.zeros(2 * i), np.ones(2 * i)]).astype(np.float32)
    sampler.add_voxels(i, depth_voxel_keys(depth, rays, np.eye(4), 1.0, 0.0, 10.0, 1))
print(b - a, now() - b)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    imported, loaded = map(float, out.split())
    yield Row("new process: import, then first frame", f"{imported:.2f} s + {loaded:.2f} s")


if __name__ == "__main__":
    show(run())
