"""Folders of colour, depth and poses as 7-Scenes and the TUM RGB-D benchmark publish them.

7-Scenes (Shotton et al., CVPR 2013), 30 Hz, depth in millimetres with 65535 for no reading, world from camera as a
matrix. Its colour is not registered to its depth: geometry is that of depth, a pixel in colour is some pixels beside.

    redkitchen/seq-01/frame-000000.color.png  frame-000000.depth.png  frame-000000.pose.txt

TUM RGB-D (Sturm et al., IROS 2012), depth in units of 1/5000 m, 0 for no reading, time in seconds since 1970:

    rgbd_dataset_freiburg1_desk/
      rgb.txt depth.txt      lines of ``time file``
      groundtruth.txt        lines of ``time tx ty tz qx qy qz qw``, world from camera

The camera is the published one of the data set, for 640x480; that of the freiburg named in the folder's name. A file
``camera.txt`` or ``intrinsics.txt`` in the folder or the one above says otherwise: fx fy cx cy, or a 3x3 or 4x4 matrix.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spatial_mllm_ros.frames import Camera, Frame, Pixels
from spatial_mllm_ros.geometry.poses import Matrix, interpolate, pose_matrix

from ..item import bad
from ..scene import Scene
from . import stored
from .usable import content_key, listing, usable

PUBLISHED = 640, 480
SEVEN_SCENES = 585, 585, 320, 240  # fx, fy, cx, cy
FREIBURG = {  # and k1, k2, p1, p2, k3 of the lens
    "1": (517.3, 516.5, 318.6, 255.3, 0.2624, -0.9531, -0.0054, 0.0026, 1.1633),
    "2": (520.9, 521.0, 325.1, 249.7, 0.2312, -0.7849, -0.0033, -0.0001, 0.9172),
    "3": (535.4, 539.2, 320.1, 247.6),
}
RATE = 30  # Hz, of 7-Scenes
MILLIMETRE, TUM_UNIT = 0.001, 1 / 5000
NO_READING = 65535
TOLERANCE = 20_000_000  # ns between colour and its depth and pose
LISTS = "rgb.txt", "depth.txt"


@dataclass(frozen=True)
class RgbdFolderRef:
    """The folder of one sequence."""

    path: Path
    name: str
    source: str = "rgbd_folder"

    def open(self) -> Scene:
        """Read which files there are, and the poses.

        Raises:
            SpatialError: no frame, depth and colour of different shapes, a list that cannot be read, or no camera.
        """
        with stored.reading(self.name):
            frames, content = self._tum() if (self.path / LISTS[0]).is_file() else self._seven_scenes()
        dropped = Counter[str]()
        frames, lacks = usable(frames, dropped)
        lacks |= dict.fromkeys(("things", "tracks"), "only colour, depth and poses are recorded")
        key = content_key(self.source, *content)
        return Scene(self.name, self.source, frames, key, lacks=lacks, dropped=dict(dropped))

    def _seven_scenes(self) -> tuple[list[Frame], Sequence[bytes]]:
        colors, depths = _images(self.path, "color"), _images(self.path, "depth")
        if not colors:
            raise bad(f"{self.name} has no image: expected frame-000000.color.png and so on")
        poses = {number: self.path / f"{file.name.split('.')[0]}.pose.txt" for number, file in colors.items()}
        size = stored.usual_size([*colors.values()])
        depth_size = stored.usual_size([*depths.values()]) if depths else size
        camera = self._camera(size, SEVEN_SCENES)
        frames = []
        for number, file in colors.items():
            depth = None
            if there := depths.get(number):
                depth = stored.depth(there.read_bytes, there.name, depth_size, MILLIMETRE, NO_READING)
            image = stored.color(file.read_bytes, file.name, size)
            frames.append(_frame(round(number * 1e9 / RATE), camera, image, depth, stored.pose(poses[number])))
        told = (file.read_bytes() for file in poses.values() if file.is_file())
        return frames, [listing([*colors.values(), *depths.values()]), *told]

    def _tum(self) -> tuple[list[Frame], Sequence[bytes]]:
        (times, colors), (depth_times, depths) = (self._list(name) for name in LISTS)
        if not colors:
            raise bad(f"{self.name} has no image: rgb.txt names none")
        freiburg = re.search(r"(?:freiburg|fr)(\d)", self.path.resolve().name)
        size = stored.usual_size(colors)
        depth_size = stored.usual_size(depths) if depths else size
        camera = self._camera(size, FREIBURG.get(freiburg[1]) if freiburg else None)
        partner = mutual_nearest(times, depth_times)
        pose_times, poses = self._trajectory()
        frames = []
        for i, (time, file) in enumerate(zip(times.tolist(), colors)):
            depth = None
            if partner[i] >= 0:
                there = depths[partner[i]]
                depth = stored.depth(there.read_bytes, there.name, depth_size, TUM_UNIT)
            image = stored.color(file.read_bytes, file.name, size)
            frames.append(_frame(time, camera, image, depth, _at(time, pose_times, poses)))
        lists = [file for name in (*LISTS, "groundtruth.txt") if (file := self.path / name).is_file()]
        files = [file for file in (*colors, *depths) if file.is_file()]
        return frames, [listing(files), *(file.read_bytes() for file in lists)]

    def _camera(self, size: stored.Size, published: Sequence[float] | None) -> Camera:
        for at in (self.path, self.path.parent):
            for name in ("camera.txt", "intrinsics.txt"):
                if (at / name).is_file():
                    return stored.pinhole(stored.numbers(at / name), size, name)
        instead = "write its fx fy cx cy to camera.txt beside the images"
        if published is None:
            raise bad(f"the camera of {self.name} is not known, its folder names no freiburg1 to 3: {instead}")
        if size != PUBLISHED:
            raise bad(f"{self.name} is of {size[0]}x{size[1]}, its published camera of 640x480: {instead}")
        k, lens = np.eye(3), np.array(published[4:], np.float64)
        k[[0, 1, 0, 1], [0, 1, 2, 2]] = published[:4]
        return Camera("camera", "camera", *size, k, "plumb_bob" if lens.size else "none", lens)

    def _list(self, name: str) -> tuple[NDArray[np.int64], list[Path]]:
        rows = self._rows(name, 2)
        return np.array([time for time, _ in rows], np.int64), [
            self.path / words[0].replace("\\", "/") for _, words in rows
        ]

    def _trajectory(self) -> tuple[NDArray[np.int64], list[Matrix | None]]:
        rows = self._rows("groundtruth.txt", 8) if (self.path / "groundtruth.txt").is_file() else []
        return np.array([time for time, _ in rows], np.int64), [_matrix(words) for _, words in rows]

    def _rows(self, name: str, length: int) -> list[tuple[int, list[str]]]:
        """(nanoseconds, the other words) of each line, in order of time."""
        try:
            text = (self.path / name).read_text("utf-8-sig").replace(",", " ")
            rows = [line.split() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
            if rows and rows[0][0].lower() in ("timestamp", "time"):  # names of the columns, without their sign
                del rows[0]
            found = [(_nanoseconds(row[0]), row[1:]) for row in rows if len(row) == length]
        except FileNotFoundError:
            raise bad(f"{self.name} has no {name}") from None
        except (UnicodeDecodeError, InvalidOperation, ValueError):
            raise bad(f"{name} of {self.name} has a line that does not begin with a time in seconds") from None
        if len(found) < len(rows):
            raise bad(f"{name} of {self.name} has lines that are not of {length} words")
        return sorted(found)


def find(path: Path) -> list[Path]:
    """The folder itself where it is one of a sequence."""
    tum = (path / LISTS[0]).is_file() and (path / LISTS[1]).is_file()
    return [path] if tum or next(path.glob("frame-*.color.*"), None) else []


def _frame(stamp: int, camera: Camera, image: Pixels, depth: Pixels | None, place: Matrix | None) -> Frame:
    if depth is not None:
        image, camera = stored.onto(depth, image, camera)
    return Frame(stamp, camera, image=image, depth=depth, world_from_camera=place, world_frame="world")


def _images(folder: Path, kind: str) -> dict[int, Path]:
    """Images of 7-Scenes by the number of their frame, in its order."""
    named = {}
    for file in folder.glob(f"frame-*.{kind}.*"):
        if number := re.fullmatch(rf"frame-(\d+)\.{kind}\.(png|jpe?g)", file.name, re.IGNORECASE):
            named[int(number[1])] = file
    return dict(sorted(named.items()))


def _nanoseconds(seconds: str) -> int:
    """Raises ValueError or InvalidOperation where these are no seconds."""
    time = Decimal(seconds)
    if not abs(time) < 9_000_000_000:
        raise ValueError(seconds)
    return int(time * 10**9)


def mutual_nearest(times: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each time the other that it is nearest to and that is nearest to it, within the tolerance; else -1."""
    if not times.size or not others.size:
        return np.full(times.size, -1)
    there, back = _nearest(times, others), _nearest(others, times)
    mutual = (back[there] == np.arange(times.size)) & (abs(others[there] - times) <= TOLERANCE)
    return np.where(mutual, there, -1)


def _nearest(times: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.int64]:
    after = np.searchsorted(others, times).clip(0, others.size - 1)
    before = (after - 1).clip(0)
    return np.where(abs(others[before] - times) <= abs(others[after] - times), before, after)


def _matrix(words: Sequence[str]) -> Matrix | None:
    try:
        values = [float(word) for word in words]
        return pose_matrix(values[:3], values[3:])
    except ValueError:
        return None


def _at(time: int, times: NDArray[np.int64], poses: Sequence[Matrix | None]) -> Matrix | None:
    """The pose of that time, between the two around it where both are near enough; NaN where those are no poses."""
    after = int(np.searchsorted(times, time))
    near = [i for i in (after - 1, after) if 0 <= i < len(poses) and abs(int(times[i]) - time) <= TOLERANCE]
    around = [(int(times[i]), place) for i in near if (place := poses[i]) is not None]
    if len(around) == 2:
        (first, a), (second, b) = around
        return interpolate(a, b, (time - first) / (second - first))
    if near and not around:
        return np.full((4, 4), np.nan)
    return around[-1][1] if around else None
