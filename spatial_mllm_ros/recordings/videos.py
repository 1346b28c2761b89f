"""Video files as frames without depth and pose: by PyAV where it is installed, else by OpenCV."""

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..frames import Frame
from ..versions import install
from .errors import BagError, BagWarning
from .images import IMAGE_SUFFIXES, assumed_camera

RATE = 30.0  # images a second of a video that does not say
CONTAINERS = ((0, b"RIFF"), (4, b"ftyp"), (0, b"\x1aE\xdf\xa3"))  # AVI, MP4 and Matroska: what is where in a file
UNCOUNTED = CONTAINERS[2:]  # do not know their number of images
LISTS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD", b"v=0", b"[playlist]")  # what files begin with that name others
NO_VIDEO = ("tty", "image2")  # what FFmpeg shows of texts and pictures; so are the formats that end with _pipe
TEXT = int.from_bytes(b"ansi", "little")  # the codec that OpenCV names for texts
CODECS = {"av01": "AV1", "av1": "AV1", "hev1": "H.265", "hvc1": "H.265", "hevc": "H.265", "vvc1": "H.266"}
LOCAL = {"protocol_whitelist": "file"}  # for FFmpeg: some formats name others, also on a network
ANEW = "ffmpeg -i IN -c:v libx264 OUT.mp4"
ENDS_EARLY = 0.1  # s that a video may be shorter than it says, besides three of its longest pauses

Image = NDArray[np.uint8]
Decoded = tuple[int | None, Callable[[], Image]]


@dataclass
class Video:
    """A video that is being read.

    Attributes:
        path: of the file.
        count: of its images as its container says; 0 where it does not.
        problems: what was left out, in words, once all was read.
    """

    path: Path
    count: int = 0
    problems: list[str] = field(default_factory=list)

    def images(self, fps: float = RATE) -> Iterator[tuple[int, Callable[[], Image]]]:
        """(presentation time in ns from 0, what makes the image: RGB uint8 [H, W, 3], upright) of each, in order.

        An image has to be made before the next is asked for. Without times these are number / ``fps``.

        Raises:
            BagError: none of them can be decoded; the text names the codec.
        """
        self.problems.clear()
        first, last, number = 0, -1, 0
        for time, image in (_by_opencv if pyav() is None else _by_av)(self):
            time = round(number * 1e9 / fps) if time is None else time
            first = first if number else time
            last = time - first if time - first > last else last + round(1e9 / fps)
            number += 1
            yield last, image
        if not number:
            raise BagError("; ".join(self.problems) or f"{self.path.name} holds no image")


@cache
def pyav() -> Any:
    """PyAV, of the extra ``media``, loaded with the first video; None where it is not installed."""
    try:
        return import_module("av")
    except ImportError:
        return None


def open_video(path: Path) -> Video:
    """Raises BagError: it is no video, or not its whole beginning is there."""
    if not path.is_file() or path.suffix.lower() in IMAGE_SUFFIXES or _is_list(path):
        raise BagError(f"{path} is no video that can be decoded")
    if (av := pyav()) is None:
        reader = cv2.VideoCapture(str(path))
        if reader.isOpened() and reader.get(cv2.CAP_PROP_FOURCC) != TEXT:
            return Video(path, max(0, int(reader.get(cv2.CAP_PROP_FRAME_COUNT))))
        raise _no_video(path)
    try:
        with av.open(str(path), options=LOCAL) as container:
            stream, name = container.streams.best("video"), container.format.name
            if stream is None or name in NO_VIDEO or name.endswith("_pipe"):
                raise BagError(f"{path} is no video that can be decoded")
            return Video(path, stream.frames)
    except (av.FFmpegError, OSError, ValueError):
        raise _no_video(path) from None


def read_video(path: str | Path, fps: float = RATE) -> Iterator[Frame]:
    """Frames of a video file, without depth and pose; their stamps are its own, from 0, or count / ``fps``.

    They are upright as the file says. What cannot be decoded is left out and counted in a BagWarning at the end.
    Intrinsics: :func:`assumed_camera`.

    Raises:
        BagError: it is no video, or with the first frame: it cannot be decoded.
    """
    return _frames(open_video(Path(path)), fps)


def is_video(path: Path) -> bool:
    """Whether it is a video, or begins like one; to OpenCV a single image would be one too."""
    try:
        open_video(path)
    except BagError:
        return path.is_file() and path.suffix.lower() not in IMAGE_SUFFIXES and _begins(path, CONTAINERS)
    return True


def _frames(video: Video, fps: float) -> Iterator[Frame]:
    camera = lru_cache(assumed_camera)
    for stamp, image in video.images(fps):
        rgb = image()
        yield Frame(stamp, camera(rgb.shape[1], rgb.shape[0]), image=rgb)
    for problem in video.problems:
        warnings.warn(problem, BagWarning, stacklevel=2)


def _by_av(video: Video) -> Iterator[Decoded]:
    packets, made, broken, ended = 0, 0, 0, False
    av, last, longest = pyav(), 0.0, 0.0
    with av.open(str(video.path), options=LOCAL) as container:
        stream: Any = container.streams.best("video")
        if stream.codec_context is None:
            raise BagError(f"{video.path.name}: no decoder for its codec is installed: encode it anew, {ANEW}")
        stream.thread_type = "AUTO"
        demuxed = container.demux(stream)
        while not ended:
            try:
                packet = next(demuxed)
            except StopIteration:
                break
            except av.FFmpegError:  # a file that ends within an image
                packet, ended = av.Packet(), True
                packet.stream = stream
            packets += bool(packet.size and not packet.is_discard)
            try:
                frames = packet.decode()
            except av.FFmpegError:
                broken += 1
                continue
            for frame in frames:
                if frame.is_corrupt:
                    broken += 1
                    continue
                time = None if frame.pts is None else frame.pts * frame.time_base
                if time is not None:
                    longest, last = max(longest, float(time) - last if made else 0.0), float(time)
                made += 1
                yield None if time is None else round(time * 10**9), partial(_upright, frame)
        counted = broken or ended or "mp4" not in container.format.name  # an MP4 counts what was trimmed, too
        lost = max(0, stream.frames - packets) if counted else 0
        lost += packets - made if broken else 0
        says = _seconds(container, stream)
    if lost:
        video.problems.append(_lost(video.path.name, lost, max(packets, made + lost)))
    elif says - last > 3 * longest + ENDS_EARLY:
        video.problems.append(f"{video.path.name} is cut off or damaged: it ends after {last:.1f} of {says:.1f} s")


def _seconds(container: Any, stream: Any) -> float:
    """When a file says that its video ends; 0 where it does not."""
    if found := re.fullmatch(r"(\d+):(\d+):(\d+\.\d+)", stream.metadata.get("DURATION", "")):
        return 3600 * int(found[1]) + 60 * int(found[2]) + float(found[3])
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / 1e6 if len(container.streams) == 1 else 0.0


def _upright(frame: Any) -> Image:
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)))


def _by_opencv(video: Video) -> Iterator[Decoded]:
    name = video.path.name
    reader = cv2.VideoCapture(str(video.path))
    try:
        said, made = int(reader.get(cv2.CAP_PROP_FRAME_COUNT)), 0
        while reader.grab():
            made += 1
            time = round(reader.get(cv2.CAP_PROP_POS_MSEC) * 1e6) if said >= 0 else None  # a raw stream has no times
            yield time, partial(_retrieved, reader, name)
        tag = int(reader.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode("ascii", "replace")
    finally:
        reader.release()
    if not made:
        codec = CODECS.get(tag.lower(), tag)
        what = f"OpenCV decodes none of its images, of codec {codec}"
        raise BagError(f"{name}: {what}: install PyAV, {install('av')}, or encode it anew, {ANEW}")
    if made < said and not _begins(video.path, UNCOUNTED):
        video.problems.append(_lost(name, said - made, said))


def _retrieved(reader: cv2.VideoCapture, name: str) -> Image:
    more, image = reader.retrieve()
    if not more:
        raise BagError(f"{name} has an image that cannot be decoded")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def _lost(name: str, lost: int, of: int) -> str:
    why = f"{name} is damaged, or was trimmed without being encoded anew"
    return f"{lost} of {of} images left out, cannot be decoded: {why}"


def _begins(path: Path, containers: Sequence[tuple[int, bytes]]) -> bool:
    with path.open("rb") as file:
        head = file.read(16)
    return any(head.startswith(what, at) for at, what in containers)


def _is_list(path: Path) -> bool:
    """Whether FFmpeg would take it for a list of other files, and show these."""
    with path.open("rb") as file:
        return file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(LISTS)


def _no_video(path: Path) -> BagError:
    if _begins(path, CONTAINERS):
        return BagError(f"{path} begins like a video, but cannot be decoded: it is cut off, or its index is missing")
    return BagError(f"{path} is no video that can be decoded")
