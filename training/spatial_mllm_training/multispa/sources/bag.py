"""Recordings as scenes: any bag with colour, depth and poses."""

import re
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spatial_mllm_ros.errors import SpatialError
from spatial_mllm_ros.frames import Frame, Pixels
from spatial_mllm_ros.recordings import BagError, BagWarning, FrameReader
from spatial_mllm_ros.recordings.folder import is_part, unpacked
from spatial_mllm_ros.recordings.storage import is_recording

from ..item import bad
from ..scene import Scene
from .stored import onto
from .usable import content_key, usable

MOST_BYTES = 512 * 2**20  # of undecoded pixels that an open scene holds
THINNED = "a place in time between those kept: the recording is longer than an open scene may be"
DIGITS = 6  # of poses in the key


@dataclass(frozen=True)
class BagRef:
    """A recording that is one scene."""

    path: Path
    name: str
    source: str = "bag"

    def open(self) -> Scene:
        """Read the recording once; its frames keep their pixels as they were recorded, decoded when asked for.

        A recording with more than MOST_BYTES of them keeps every 2nd, 4th ... frame of each camera.

        Raises:
            SpatialError: it is no recording, has no camera, depth and colour have different shapes,
                or depth and poses disagree.
        """
        try:
            frames, dropped, told = self._read()
        except BagError as error:
            raise bad(str(error).replace(str(self.path), self.path.name)) from None
        try:
            frames, lacks = usable([_one_grid(frame) for frame in frames], dropped)
        except SpatialError as error:
            raise bad("; ".join([str(error), *told])) from None
        for part, why in lacks.items():
            lacks[part] = "; ".join([why, *(line for line in told if f"without {part}" in line)])
        lacks |= dict.fromkeys(("things", "tracks"), "a recording does not say which objects it shows")
        key = content_key(self.source, *(_content(frame) for frame in frames))
        return Scene(self.name, self.source, frames, key, lacks=lacks, dropped=dict(dropped))

    def _read(self) -> tuple[list[Frame], Counter[str], list[str]]:
        """Frames; how many are not among them, by reason; and causes, in words."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BagWarning)  # what was left out is counted
            with FrameReader(self.path, needs=()) as reader:  # what frames lack is said below
                dropped = Counter[str]()
                frames = thinned(reader, MOST_BYTES, dropped)
                for camera, verdict in reader.verdicts.items():
                    if verdict.wrong:
                        raise bad(verdict.about(camera))
                told = [*reader.recording.problems, *reader.sources.problems, *reader.told()]
                return frames, dropped + reader.dropped, told


def find(path: Path) -> list[Path]:
    """The recordings of a file or folder; files of a folder that are parts of one are one."""
    if not is_recording(path):
        return []
    if not path.is_dir() or (path / "metadata.yaml").exists():
        return [path]
    files = sorted(filter(is_part, path.iterdir()))
    plain = [Path(unpacked(file)) for file in files]
    one = len({(re.sub(r"_\d+$", "", file.stem), file.suffix) for file in plain}) == 1
    return [path] if one and len(files) > 1 else files


def thinned(frames: Iterable[Frame], most: int, dropped: Counter[str]) -> list[Frame]:
    """Every frame, or every 2nd, 4th ... of each camera, so that undecoded pixels of ``most`` bytes are held."""
    kept: list[tuple[int, Frame]] = []
    seen, every, held = Counter[str](), 1, 0
    for frame in frames:
        number = seen[frame.camera.name]
        seen[frame.camera.name] += 1
        if number % every == 0:
            kept.append((number, frame))
            held += frame.nbytes
        while held > most and len(kept) > len(seen):
            every *= 2
            kept = [(number, frame) for number, frame in kept if number % every == 0]
            held = sum(frame.nbytes for _, frame in kept)
    if every > 1:
        dropped[THINNED] = seen.total() - len(kept)
    return [frame for _, frame in kept]


def _one_grid(frame: Frame) -> Frame:
    """The frame with its colour at the pixels of its depth."""
    fine, coarse = frame.camera, frame.depth_camera
    if fine is coarse:
        return frame

    def depth() -> NDArray[np.float32]:
        found = frame.depth
        frame.release()
        assert found is not None
        return found

    def color() -> NDArray[np.uint8]:
        found = frame.decoded()
        assert found is not None
        return found

    readings = Pixels(coarse.height, coarse.width, frame.nbytes, depth)
    image, camera = onto(readings, Pixels(fine.height, fine.width, 0, color), fine)
    return Frame(
        frame.stamp_ns,
        camera,
        image=image,
        depth=readings,
        world_from_camera=frame.world_from_camera,
        world_frame=frame.world_frame,
    )


def _content(frame: Frame) -> bytes:
    place = frame.world_from_camera
    told = b"" if place is None else (np.round(place, DIGITS) + 0.0).tobytes()
    return f"{frame.stamp_ns} {frame.camera.name} {frame.nbytes} ".encode() + told
