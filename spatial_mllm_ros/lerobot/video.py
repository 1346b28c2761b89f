"""Videos of an episode: one frame a tick, encoded by one thread with fixed settings, so that the bytes are the same."""

import errno
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from packaging.version import Version

from ..recordings.errors import BagError
from ..recordings.videos import pyav

OLDEST = "17"  # of PyAV
GOP = 2  # images between two that can be decoded alone: training reads single ones


@dataclass(frozen=True)
class Encoding:
    """How images become a video.

    Attributes:
        encoder: of FFmpeg. named: the codec, as data sets name it.
        pixels: their format in the video. options: of the encoder.
    """

    encoder: str
    named: str
    pixels: str
    options: Mapping[str, str]


ENCODINGS = {
    "h264": Encoding("libx264", "h264", "yuv420p", {"crf": "20", "preset": "veryfast", "bf": "0"}),
    "av1": Encoding("libsvtav1", "av1", "yuv420p", {"crf": "30", "preset": "8", "svtav1-params": "lp=1"}),
    "depth": Encoding(
        "libx265",
        "hevc",
        "gray12le",
        {"preset": "veryfast", "x265-params": "lossless=1:pools=none:frame-threads=1:bframes=0:info=0:log-level=none"},
    ),
}
NEAREST, FARTHEST, SHIFT = 0.01, 10.0, 3.5  # m, of depth that becomes 12 bits by its logarithm
MOST = 4095
OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.EFBIG}


class VideoWriter(AbstractContextManager["VideoWriter"]):
    """A new MP4 at ``path``; use it with ``with``.

    Args:
        size: (width, height) of all images, both even.
        coding: of ENCODINGS. name: of the images, for errors.

    Raises:
        BagError: PyAV, or the encoder in it, is not installed, or does not take such images; so do writing and the end.
        OSError: the disk is full, as elsewhere; writing and the end raise that too.
    """

    def __init__(self, path: Path, fps: int, size: tuple[int, int], coding: str, name: str = "images"):
        av, self._coding = needed(), ENCODINGS[coding]
        try:
            av.Codec(self._coding.encoder, "w")
        except Exception:
            raise BagError(f"PyAV here has no {self._coding.encoder}: choose another codec in the map") from None
        self._av, self._number, self._fps = av, 0, fps
        what = f"{name}, {size[0]}x{size[1]} pixels at {fps} frames a second"
        self._said = f"{what}, cannot be encoded by {self._coding.encoder}"
        with self._encoding():
            self._open(path, size)

    def _open(self, path: Path, size: tuple[int, int]) -> None:
        av, fps = self._av, self._fps
        self._file = av.open(str(path), "w", options={"fflags": "+bitexact", "movflags": "+faststart"})
        self._stream: Any = self._file.add_stream(self._coding.encoder, rate=fps, options=dict(self._coding.options))
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = self._coding.pixels
        context = self._stream.codec_context
        context.gop_size, context.thread_count, context.time_base = GOP, 1, Fraction(1, fps)
        context.flags |= av.codec.context.Flags.bitexact
        try:
            context.open()
        except BaseException:
            self._file.close()
            raise

    def write(self, image: NDArray) -> None:
        """An image, uint8 [H, W, 3] RGB, or of depth in steps, uint16 [H, W]."""
        with self._encoding():
            self._write(image)

    def _write(self, image: NDArray) -> None:
        form = "rgb24" if image.ndim == 3 else "gray12le"
        frame = self._av.VideoFrame(image.shape[1], image.shape[0], form)
        plane = frame.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        row = np.ascontiguousarray(image).view(np.uint8).reshape(image.shape[0], -1)
        rows[: len(row), : row.shape[1]] = row
        frame = frame.reformat(format=self._coding.pixels, threads=1)  # several give other bytes now and then
        frame.pts, frame.time_base = self._number, Fraction(1, self._fps)
        self._number += 1
        self._file.mux(self._stream.encode(frame))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._encoding() if kind is None else suppress(Exception):  # of what failed there is more to say already
            try:
                if kind is None:
                    self._file.mux(self._stream.encode(None))
            finally:
                self._file.close()

    @contextmanager
    def _encoding(self) -> Iterator[None]:
        """Errors of FFmpeg name the images; those of the disk stay what they are."""
        try:
            yield
        except (self._av.error.FFmpegError, ValueError, TypeError, RuntimeError) as error:
            if isinstance(error, OSError) and error.errno in OF_THE_DISK:
                raise
            raise BagError(f"{self._said}: {getattr(error, 'strerror', None) or error}") from None


def needed() -> Any:
    """PyAV. Raises BagError where it is not installed, or cannot be told how many threads convert colours."""
    if (av := pyav()) is None or Version(av.__version__) < Version(OLDEST):
        raise BagError(f"a LeRobot data set needs another library: pip install 'av>={OLDEST}', or the extra lerobot")
    return av


def steps_of_depth(depth: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Depth in metres, [H, W], as 12 bits by its logarithm, as LeRobot reads it; no reading is the nearest there is."""
    low, high = np.log(NEAREST + SHIFT), np.log(FARTHEST + SHIFT)
    share = (np.log(np.nan_to_num(depth, nan=0.0) + SHIFT) - low) / (high - low)
    return np.rint(share * MOST).clip(0, MOST).astype(np.uint16)


def info(coding: str, fps: int, size: tuple[int, int]) -> dict[str, Any]:
    """What a data set says of such videos."""
    made = ENCODINGS[coding]
    depth = coding == "depth"
    said = {
        "video.height": size[1],
        "video.width": size[0],
        "video.codec": made.named,
        "video.pix_fmt": made.pixels,
        "video.fps": fps,
        "video.channels": 1 if depth else 3,
        "video.g": GOP,
        "has_audio": False,
        "is_depth_map": depth,
    }
    if depth:
        said |= {"depth_unit": "m", "video.depth_min": NEAREST, "video.depth_max": FARTHEST}
        said |= {"video.shift": SHIFT, "video.use_log": True}
    return said
