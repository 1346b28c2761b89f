"""Videos of TAPVid-3D (Koppula et al., NeurIPS 2024): points that were followed in 3D, one ``.npz`` a video.

    images_jpeg_bytes   [T] bytes
    tracks_XYZ          [T, P, 3] metres in the camera's frame of that time
    visibility          [T, P] bool
    fx_fy_cx_cy         [4] pixels, with the corner of the first pixel at 0
    extrinsics_w2c      [T, 4, 4] camera from world; not in those of Panoptic Studio, whose cameras stand still

There is no time in them: frames are stamped as those of a video of 30 Hz. No depth images are published.
"""

import re
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from spatial_mllm_ros.errors import BadMessage
from spatial_mllm_ros.frames import Camera, Frame
from spatial_mllm_ros.geometry.cameras import project
from spatial_mllm_ros.geometry.poses import inverse, is_rigid, transform
from spatial_mllm_ros.messages import color_pixels

from ..item import bad
from ..scene import Scene, Tracks
from . import stored
from .usable import ROUNDING, content_key, usable

RATE = 30  # Hz
STILL = ("basketball", "boxes", "football", "juggle", "softball", "tennis")  # sequences of Panoptic Studio
CORNER = 0.5, 0.5  # where the centre of the first pixel is, in the coordinates of fx_fy_cx_cy
IMAGES, POINTS, SEEN, CAMERA = NEEDED = "images_jpeg_bytes", "tracks_XYZ", "visibility", "fx_fy_cx_cy"
POSES = "extrinsics_w2c"


@dataclass(frozen=True)
class TapVid3dRef:
    """One file."""

    path: Path
    name: str
    source: str = "tapvid3d"

    def open(self) -> Scene:
        """Read the file; images stay JPEG until they are asked for.

        Raises:
            SpatialError: the file is damaged, lacks something, or its arrays do not fit each other.
        """
        arrays, key = self._read()
        images, dropped = arrays[IMAGES], Counter[str]()
        camera = self._camera(images, arrays[CAMERA])
        every = [
            Frame(
                round(i * 1e9 / RATE),
                camera,
                image=stored.color(partial(bytes, images[i]), f"image {i}", (camera.width, camera.height)),
                world_from_camera=place,
                world_frame="world",
            )
            for i, place in enumerate(self._places(arrays))
        ]
        frames, lacks = usable(every, dropped)
        lacks |= {"depth": "no depth images are published", "things": "only points are annotated"}
        if POSES not in arrays and "pose" in lacks:
            lacks["pose"] = f"its camera moves, and there is no {POSES}"
        tracks = None
        if "pose" in lacks:
            lacks["tracks"] = f"without poses its points have no place in the world ({lacks['pose']})"
        else:
            rows = np.isin([frame.stamp_ns for frame in every], [frame.stamp_ns for frame in frames])
            tracks = partial(_tracks, frames, arrays[POINTS][rows], arrays[SEEN][rows])
        return Scene(self.name, self.source, frames, key, tracks=tracks, lacks=lacks, dropped=dict(dropped))

    def _read(self) -> tuple[dict[str, NDArray], str]:
        """The arrays, of shapes that fit, and the scene's key, of the checksums in the file."""
        file = self.path.name
        try:
            with zipfile.ZipFile(self.path) as members:
                sums = sorted(f"{m.filename} {m.file_size} {m.CRC}" for m in members.infolist())
            with np.load(self.path) as held:
                arrays = {name: held[name] for name in (*NEEDED, POSES) if name in held}
        except Exception as error:  # NumPy, zipfile and zlib have many words for damage
            why = getattr(error, "strerror", None) or error
            raise bad(f"{file} is damaged, or holds Python objects instead of arrays: {why}") from None
        if missing := [name for name in NEEDED if name not in arrays]:
            raise bad(f"{file} has no {', '.join(missing)}: it is not one of TAPVid-3D with its images")
        count, points = len(arrays[IMAGES]) if arrays[IMAGES].ndim == 1 else 0, arrays[POINTS]
        if not count or arrays[IMAGES].dtype.kind != "S":
            raise bad(f"{file}: {IMAGES} must be one JPEG of bytes a frame, and at least one")
        shapes = {POINTS: (count, *points.shape[1:2], 3), SEEN: points.shape[:2], CAMERA: (4,), POSES: (count, 4, 4)}
        for name in (POINTS, SEEN, CAMERA, POSES):
            if name in arrays and arrays[name].shape != shapes[name]:
                found, expected = arrays[name].shape, shapes[name]
                raise bad(f"{file}: {name} of shape {found}, expected {expected} for its {count} images")
            if name in arrays and arrays[name].dtype.kind not in "fiub":
                raise bad(f"{file}: {name} holds {arrays[name].dtype}, expected numbers")
        return arrays, content_key(self.source, "\n".join(sums).encode())

    def _camera(self, images: NDArray, intrinsics: NDArray) -> Camera:
        for image in images:
            try:
                pixels = color_pixels(SimpleNamespace(data=bytes(image), format="jpeg"))
            except BadMessage:
                continue
            values = intrinsics.astype(np.float64) - [0, 0, *CORNER]
            return stored.pinhole(values, (pixels.width, pixels.height), f"{CAMERA} of {self.path.name}")
        raise bad(f"none of the images of {self.path.name} can be read: expected JPEG")

    def _places(self, arrays: dict[str, NDArray]) -> list[NDArray[np.float64] | None]:
        if POSES in arrays:
            lost = np.full((4, 4), np.nan)
            return [inverse(pose) if is_rigid(pose, ROUNDING) else lost for pose in arrays[POSES].astype(np.float64)]
        still = re.fullmatch(rf"({'|'.join(STILL)})_\d+", self.path.stem)
        return [np.eye(4) if still else None] * len(arrays[IMAGES])


def find(path: Path) -> list[Path]:
    """The videos of a folder, or the file itself; other archives in a folder are passed over."""
    if path.is_dir():
        return sorted(file for file in path.glob("*.npz") if _is_video(file))
    return [path] if path.suffix == ".npz" else []


def _is_video(file: Path) -> bool:
    try:
        with zipfile.ZipFile(file) as members:
            return {f"{IMAGES}.npy", f"{POINTS}.npy"} <= set(members.namelist())
    except (OSError, zipfile.BadZipFile):
        return True  # to be told about when it is opened


def _tracks(frames: Sequence[Frame], points: NDArray, seen: NDArray) -> Tracks:
    """Points [T, P, 3] of the cameras' frames to the world and to pixels."""
    points = points.astype(np.float64)
    world, pixels = np.empty_like(points), np.empty((*points.shape[:2], 2))
    visible = seen.astype(bool)
    for i, frame in enumerate(frames):
        assert frame.world_from_camera is not None
        world[i] = transform(frame.world_from_camera, points[i])
        pixels[i], inside = project(frame.camera, points[i])
        visible[i] &= inside
    return Tracks(world, visible, pixels)
