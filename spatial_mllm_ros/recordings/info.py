"""What is in a recording and what can be done with it."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Any

from ..assembler import BITS, LEFT_OUT
from ..config import Config
from ..errors import BadMessage
from ..frames import Frame
from .errors import BagError, BagWarning
from .poses import PoseSource
from .reader import FrameReader
from .recording import Recording
from .source import FOREVER
from .topics import CameraTopics

NO_DEPTH = ": coverage and motion need depth that is registered to colour, or a model (--model)"


@dataclass(frozen=True)
class TopicInfo:
    """A topic, its type, its number of messages, and how many of them a second on average."""

    name: str
    type: str
    count: int
    rate: float


@dataclass(frozen=True)
class Seen:
    """What became of the images of a camera, as far as the recording was looked at.

    Attributes:
        images: their number. frames: of those that are one, with its camera_info.
        with_depth, with_pose, complete: of frames with these parts; with both.
        size, depth_size: pixels (width, height) of the last frame; zeros where there was none.
    """

    images: int = 0
    frames: int = 0
    with_depth: int = 0
    with_pose: int = 0
    complete: int = 0
    size: tuple[int, int] = (0, 0)
    depth_size: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class RecordingInfo:
    """A recording in short.

    Attributes:
        start_ns, duration: stamp of its first message, and seconds from there to its last.
        nbytes: size of its files.
        topics: sorted by name.
        cameras: those found, by name; ``depth`` of one is empty where it has none.
        poses: where camera poses come from; its ``source`` is empty where there are none.
        problems: damage, what is missing for coverage and motion, and why images are left out, in words.
        seen: by camera, what its images make. looked: how long they were looked at, s; 0 where they were not.
        checks: by camera, whether depth and poses of these images agree, in words.
        notes: what was decided about cameras that is not as it is mostly, in words.
    """

    path: Path
    start_ns: int
    duration: float
    nbytes: int
    topics: list[TopicInfo]
    cameras: dict[str, CameraTopics]
    poses: PoseSource
    problems: list[str]
    seen: dict[str, Seen]
    looked: float
    checks: dict[str, str]
    notes: list[str] = field(default_factory=list)

    @property
    def has_depth(self) -> bool:
        return any(topics.depth for topics in self.cameras.values())

    @property
    def has_poses(self) -> bool:
        return bool(self.poses.source)


def recording_info(
    path: str | Path, seconds: float | None = None, config: Config | None = None, **topics: Any
) -> RecordingInfo:
    """Look into a recording.

    Args:
        seconds: how much of it to go through for what its images make, from the first one on; 0 is all of it, None
            nothing. Few of their pixels are decoded, to see whether poses are some and agree with depth.
        config: parameters to pair images, depth and poses with.
        topics: what not to guess, see :func:`find_sources`.

    Raises:
        BagError: it is no recording, or a topic that is named is not there.
    """
    path = Path(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BagWarning)  # they are all in ``problems``
        recording = Recording(path)
        try:
            reader = FrameReader(recording, config, (), **topics)
        except BagError as error:
            if topics:
                raise
            return _info(recording, {}, PoseSource(), [str(error)], {}, 0.0, {})
        with reader:
            sources, looked, seen, checks = reader.sources, 0.0, {}, {}
            poses, found, decided = sources.poses, list(sources.problems), list(sources.notes)
            for name, camera in sources.cameras.items():
                if not camera.depth:
                    found.append(f"camera '{name}' has no depth{NO_DEPTH}")
            if seconds is not None:
                reader.stop_ns, looked = _until(reader, seconds)
                seen, broken = _look(reader)
                found += broken + reader.told(every=True)
                posed = {n: v.text for n, v in reader.verdicts.items() if poses.source and not reader.moved.get(n)}
                poses, checks = poses if posed else PoseSource(), posed
                decided += filter(None, [reader.assembler.problems.get(BITS)])
            known = _info(recording, sources.cameras, poses, found, seen, looked, checks)
            return replace(known, notes=decided)


def _info(
    recording: Recording,
    cameras: dict[str, CameraTopics],
    poses: PoseSource,
    found: list[str],
    seen: dict[str, Seen],
    looked: float,
    checks: dict[str, str],
) -> RecordingInfo:
    path, start = recording.path, recording.start_ns
    if start <= 0 < recording.end_ns:  # some were logged before there was a clock
        start = next((stamp for _, stamp, _ in recording.messages(start_ns=1)), start)
    duration = (recording.end_ns - start) / 1e9
    topics = [
        TopicInfo(name, t.type, recording.counts[name], _rate(recording.counts[name], duration))
        for name, t in sorted((recording.topics | recording.unread).items())
    ]
    files = [path] if path.is_file() else [f for f in path.iterdir() if f.is_file()]
    nbytes = sum(file.stat().st_size for file in files)
    problems = list(dict.fromkeys(recording.problems + found))
    looked = min(looked, duration)
    return RecordingInfo(path, start, duration, nbytes, topics, cameras, poses, problems, seen, looked, checks)


def _until(reader: FrameReader, seconds: float) -> tuple[int, float]:
    """Log time at which to stop, and how many seconds that are; all, where something would not come before."""
    recording = reader.recording
    names = {name for camera in reader.sources.cameras.values() for name in (camera.image, camera.depth) if name}
    first = [
        next((s for _, s, _ in recording.messages([name], 1)), FOREVER) for name in names if recording.counts[name]
    ]
    stop = min(first, default=FOREVER) + int(seconds * 1e9)
    if not seconds or stop > recording.end_ns or max(first) >= stop:
        return FOREVER, inf
    return stop, seconds


def _look(reader: FrameReader) -> tuple[dict[str, Seen], list[str]]:
    """Go through the frames of a recording; of their pixels only the first ones are looked at, which may be broken."""
    seen, broken = dict.fromkeys(reader.sources.cameras, Seen()), []
    for frame in reader:
        name, depth, pose = frame.camera.name, frame.has_depth, frame.world_from_camera is not None
        known = seen[name]
        broken += _broken(frame, depth and not known.with_depth, not known.frames)
        seen[name] = Seen(
            known.images + 1,
            known.frames + 1,
            known.with_depth + depth,
            known.with_pose + pose,
            known.complete + (depth and pose),
            (frame.camera.width, frame.camera.height),
            frame.measured_size or known.depth_size,
        )
    for (name, what, _), (count, _) in reader.assembler.lacking.items():
        if what.startswith(LEFT_OUT):
            seen[name] = replace(seen[name], images=seen[name].images + count)
    return seen, broken


def _broken(frame: Frame, depth: bool, image: bool) -> Iterator[str]:
    """Whether these pixels of a frame can be decoded."""
    for part, wanted in (("image", image), ("depth", depth)):
        if wanted:
            try:
                getattr(frame, part)
            except BadMessage as error:
                yield f"camera '{frame.camera.name}': its first {part} cannot be decoded: {error}"
    frame.release()


def _rate(count: int, duration: float) -> float:
    return (count - 1) / duration if count > 1 and duration > 0 else 0.0
