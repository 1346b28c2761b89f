"""Which frames of a recording cover its scene best: in one pass as a robot would, or with all frames at hand."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..config import CoverageParams
from ..coverage import greedy_cover
from ..coverage.keyset import KeySet
from ..coverage.select import frame_voxels as window_voxels
from ..errors import BadMessage, ErrorCode, SpatialError, no_geometry
from ..evenly import Thinned
from ..files import write_whole
from ..frames import Frame
from ..geometry.window import WindowGeometry
from .cover import Cover
from .memory import FrameKey

MOST_FRAMES = 128  # of a video, that go through the model together
LONGEST_SIDE = 640  # pixels of a waiting image; the model sees 518


@dataclass(frozen=True)
class Chosen:
    """One selected frame; ``gain`` is the number of voxels that it adds to those selected before it."""

    stamp_ns: int
    camera: str
    gain: int


@dataclass(frozen=True)
class Sample:
    """Selected frames, best first; the gains sum to ``voxels_covered``.

    ``voxel_size`` is in metres; where a model alone gave the geometry, in its unit, which is no known length.
    """

    frames: list[Chosen]
    voxel_size: float
    voxels_seen: int
    voxels_covered: int
    skipped: Counter[str] = field(default_factory=Counter)

    def write(self, path: Path) -> None:
        """Write ``frames, voxel_size, voxels_seen, voxels_covered`` as JSON; the file appears whole or not at all."""
        values = asdict(self)
        del values["skipped"]
        write_whole(path, json.dumps(values, indent=2) + "\n")


def select(frames: Iterable[Frame], params: CoverageParams, *, offline: bool = False, history: int = 4096) -> Sample:
    """The ``params.frames`` frames that cover the scene best.

    Streaming (default) holds only the selected frames; ``offline`` is the greedy bound over all of them (over every
    2nd, 4th ... once there are more than ``history``).

    Raises:
        SpatialError: NO_FRAMES without a frame; NO_GEOMETRY when none has depth and pose.
    """
    cover = Cover(params)
    past: Thinned[tuple[FrameKey, NDArray[np.int64]]] = Thinned(history)
    for frame in frames:
        voxels = cover.voxels(frame)
        frame.release()
        if voxels is not None:
            cover.offer(frame, voxels)
            if offline:
                past.add((frame.key, voxels))
    if not cover.sampler.voxels_seen:
        raise nothing_usable(cover.skipped)
    if offline:
        order, gains = greedy_cover([voxels for _, voxels in past.items], params.frames)
        keys = [past.items[i][0] for i in order]
    else:
        best, gains = cover.best()
        keys = [frame.key for frame in best]
    chosen = [Chosen(*key, gain) for key, gain in zip(keys, gains, strict=True)]
    return Sample(chosen, params.voxel_size, int(cover.sampler.voxels_seen), sum(gains), cover.skipped)


def select_video(
    frames: Iterable[Frame],
    params: CoverageParams,
    geometry: Callable[[Sequence[NDArray[np.uint8]]], WindowGeometry],
    *,
    most: int = MOST_FRAMES,
) -> Sample:
    """The ``params.frames`` frames that cover the scene of a video best, from its pictures alone.

    Space-aware frame sampling of Spatial-MLLM (Wu et al., 2025): frames spread evenly over the video go through the
    model together; points whose confidence is at least the median and above 0.1 are counted in voxels of the shortest
    side of their bounding box / 20; greedy selection. Points are those of the depth and camera heads, which are more
    accurate than the point head of the paper's code. Fewer frames come back when no other adds a voxel.

    Args:
        frames: in order of time; at most twice ``most`` pictures are kept, at 640 pixels or less.
        params: only ``frames`` counts; without metres there is no voxel size and no limit of depth to be given.
        geometry: the model: images uint8 [H, W, 3] RGB of one or several sizes to their window.
    Raises:
        SpatialError: NO_FRAMES without a picture, NO_GEOMETRY where no point can be used, and what the model says.
    """
    even, skipped = Thinned[tuple[FrameKey, NDArray[np.uint8]]](2 * most), Counter[str]()
    for frame in frames:
        if not even.wants_next():
            even.skip()
            continue
        try:
            image = frame.decoded()
        except BadMessage as error:
            image, reason = None, f"broken image ({error})"
        else:
            reason = "no image"
        if image is None:
            skipped[reason] += 1
        else:
            even.add((frame.key, _at_most(image, LONGEST_SIDE)))
    chosen = even.pick(most)
    if not chosen:
        raise SpatialError(ErrorCode.NO_FRAMES, "there is no picture in it that can be used")
    keys, images = [key for key, _ in chosen], [image for _, image in chosen]
    window = geometry(images)
    if len(window) != len(images):
        raise SpatialError(ErrorCode.FAILED, f"the model saw {len(window)} of {len(images)} frames")
    points = window.points()
    confidence = np.where(np.isfinite(points[..., 2]), window.confidence, np.float32(np.nan))
    edge, voxels = window_voxels(points, confidence)
    order, gains = greedy_cover(voxels, params.frames)
    if not order:
        raise no_geometry("the model gives no depth that can be used in any of the frames")
    seen = KeySet()
    for each in voxels:
        seen.add(each)
    picked = [Chosen(keys[i][0], keys[i][1], gain) for i, gain in zip(order, gains, strict=True)]
    return Sample(picked, edge, len(seen), sum(gains), skipped)


def _at_most(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    scale = side / max(image.shape[:2])
    if scale >= 1:
        return image
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def nothing_usable(skipped: Counter[str]) -> SpatialError:
    if not skipped:
        return SpatialError(ErrorCode.NO_FRAMES, "there is no frame in it")
    if skipped["no depth"] == skipped.total():
        return no_geometry(
            f"none of the {skipped.total()} frames has depth; coverage needs depth images with camera poses (a recorded"
            " RGB-D bag), or a model that estimates it from colour: --model"
        )
    if not +skipped:
        return no_geometry("no depth reading lies between coverage.min_depth and coverage.max_depth")
    reasons = ", ".join(f"{count} with {reason}" for reason, count in skipped.most_common(3))
    return no_geometry(f"no frame has both depth and a camera pose: {reasons}")


def write_images(frames: Iterable[Frame], chosen: Sequence[Chosen], folder: Path) -> None:
    """Write the chosen frames' images as ``<order>_<camera>_<stamp_ns>.jpg``. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    order = {(c.stamp_ns, c.camera): i for i, c in enumerate(chosen, 1)}
    for frame in frames:
        if frame.key in order and frame.image is not None:
            write_whole(folder / f"{order[frame.key]:03d}_{frame.camera.name}_{frame.stamp_ns}.jpg", jpeg(frame.image))
            frame.release()


def jpeg(rgb: NDArray[np.uint8], quality: int = 85) -> bytes:
    """An RGB image uint8 [H, W, 3] as JPEG."""
    return cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
