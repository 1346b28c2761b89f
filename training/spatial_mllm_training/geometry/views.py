"""Posed views of scenes at the size a model sees them: images, depth, cameras and overlaps, kept on disk and mapped."""

import resource
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatial_mllm_ros.errors import ErrorCode, SpatialError
from spatial_mllm_ros.files import whole_folder
from spatial_mllm_ros.mllm.families.spatial_mllm.packing import resize_frame

from ..multispa.covisibility import SceneIndex
from ..multispa.scene import SceneRef
from ..multispa.shard import reason

FORMAT = 1
CAMERAS = "cameras.npz"


@dataclass(frozen=True, eq=False)
class Views:
    """What the cameras of one scene saw, N views.

    Attributes:
        images: uint8 [N, H, W, 3] RGB, memory-mapped.
        depth: float16 [N, H, W] metres along the optical axis, 0 where there is none; memory-mapped.
        world_from_camera: float64 [N, 4, 4].
        intrinsics: float64 [N, 4], fx, fy, cx, cy in pixels of these images, the centre of the first pixel at 0.
        overlap: float32 [N, N], part of the points that two views share (see ``multispa.covisibility``).
    """

    images: NDArray[np.uint8]
    depth: NDArray[np.float16]
    world_from_camera: NDArray[np.float64]
    intrinsics: NDArray[np.float64]
    overlap: NDArray[np.float32]


def make_views(refs: Sequence[SceneRef], size: tuple[int, int], folder: Path, workers: int = 1) -> Iterator[str]:
    """Writes the views of scenes; those that are there already are kept.

    Args:
        size: height and width of the images.
        workers: processes.
    Yields:
        Why a scene was left out, or an empty text where it is there: one for each scene, as they get ready.
    """
    folder.mkdir(parents=True, exist_ok=True)
    yield from of_each(partial(_make, size=size, folder=folder), refs, workers)


def of_each(make: Callable[[SceneRef], Any], refs: Sequence[SceneRef], workers: int) -> Iterator[Any]:
    """What is made of each scene, in that many processes; here where it is one."""
    if workers == 1:
        yield from map(make, refs)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(make, refs)


def open_views(refs: Sequence[SceneRef], size: tuple[int, int], folder: Path) -> list[Views]:
    """The scenes that ``make_views`` wrote, in the order of ``refs``, those without any left out."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = soft + 2 * len(refs)  # each keeps two files open
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard < 0 else min(wanted, hard), hard))
    places = [folder / name_of(ref, size) for ref in refs]
    return [_open(place) for place in places if (place / CAMERAS).is_file()]


def identity(ref: SceneRef) -> str:
    """What a scene is made from: another recording at the same path is another scene."""
    if (path := getattr(ref, "path", None)) is None:
        return repr(ref)
    files = sorted(file for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())
    return f"{ref!r} {[(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]}"


def name_of(ref: SceneRef, size: tuple[int, int]) -> str:
    key = sha256(f"{FORMAT} {identity(ref)} {size}".encode()).hexdigest()[:12]
    return f"{ref.source}-{ref.name}-{key}"


def _make(ref: SceneRef, size: tuple[int, int], folder: Path) -> str:
    place = folder / name_of(ref, size)
    if (place / CAMERAS).is_file():
        return ""
    try:
        parts = _read(ref, size)
    except SpatialError as error:
        return f"{ref.source}/{ref.name}: {reason(error)}"
    with whole_folder(place) as beside:
        np.save(beside / "images.npy", parts.pop("images"))
        np.save(beside / "depth.npy", parts.pop("depth"))
        np.savez(beside / CAMERAS, **parts)
    return ""


def _read(ref: SceneRef, size: tuple[int, int]) -> dict[str, Any]:
    scene = ref.open()
    index = SceneIndex(scene)
    images, depths, cameras = [], [], []
    for i in index.numbers.tolist():
        frame = scene.frames[i]
        image = frame.decoded()
        assert image is not None  # the index has read it
        images.append(resize_frame(image, image.shape[:2], size).permute(1, 2, 0).numpy())
        depths.append(nearest(np.nan_to_num(index.depth(i)), size))
        k, scale = frame.camera.intrinsics, np.array(size[::-1]) / (frame.camera.width, frame.camera.height)
        centre = (np.array([k[0, 2], k[1, 2]]) + 0.5) * scale - 0.5
        cameras.append([k[0, 0] * scale[0], k[1, 1] * scale[1], *centre])
        frame.release()
    if len(images) < 2:
        raise SpatialError(ErrorCode.NO_GEOMETRY, f"{len(images)} views with depth and pose: expected at least 2")
    return {
        "images": np.stack(images),
        "depth": np.stack(depths).astype(np.float16),
        "world_from_camera": np.stack([index.pose(i) for i in index.numbers.tolist()]),
        "intrinsics": np.array(cameras),
        "overlap": index.overlap,
    }


def nearest(depth: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Depth [H, W] at the pixels of another size; never a mean of two surfaces."""
    rows, columns = (
        ((np.arange(to) + 0.5) * whole / to).astype(int) for to, whole in zip(size, depth.shape, strict=True)
    )
    return depth[np.ix_(rows, columns)]


def _open(place: Path) -> Views:
    cameras = np.load(place / CAMERAS)
    return Views(
        np.load(place / "images.npy", mmap_mode="r"),
        np.load(place / "depth.npy", mmap_mode="r"),
        *(cameras[name] for name in ("world_from_camera", "intrinsics", "overlap")),
    )
