"""What is in a recording and what can be done with it."""

import warnings
from dataclasses import dataclass
from pathlib import Path

from .errors import BagError, BagWarning
from .poses import PoseSource
from .recording import Recording
from .topics import CameraTopics, find_sources


@dataclass(frozen=True)
class TopicInfo:
    """A topic, its type, its number of messages, and how many of them a second on average."""

    name: str
    type: str
    count: int
    rate: float


@dataclass(frozen=True)
class RecordingInfo:
    """A recording in short.

    Attributes:
        start_ns, duration: stamp of its first message, and seconds from there to its last.
        nbytes: size of its files.
        topics: sorted by name.
        cameras: those found, by name; ``depth`` of one is empty where it has none.
        poses: where camera poses come from; its ``source`` is empty where there are none.
        problems: damage, and what is missing for coverage and motion, in words.
    """

    path: Path
    start_ns: int
    duration: float
    nbytes: int
    topics: list[TopicInfo]
    cameras: dict[str, CameraTopics]
    poses: PoseSource
    problems: list[str]

    @property
    def has_depth(self) -> bool:
        return any(topics.depth for topics in self.cameras.values())

    @property
    def has_poses(self) -> bool:
        return bool(self.poses.source)


def recording_info(path: str | Path) -> RecordingInfo:
    """Look into a recording. Raises BagError where it is none."""
    path = Path(path)
    cameras: dict[str, CameraTopics] = {}
    poses, found = PoseSource(), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BagWarning)  # they are all in ``problems``
        with Recording(path) as recording:
            try:
                sources = find_sources(recording)
                cameras, poses, found = sources.cameras, sources.poses, sources.problems
            except BagError as error:
                found = [str(error)]
            found += [f"camera '{name}' has no depth" for name, topics in cameras.items() if not topics.depth]
            duration = (recording.end_ns - recording.start_ns) / 1e9
            topics = [
                TopicInfo(t.name, t.type, recording.counts[t.name], _rate(recording.counts[t.name], duration))
                for t in sorted(recording.topics.values())
            ]
            files = [path] if path.is_file() else [f for f in path.iterdir() if f.is_file()]
            nbytes = sum(file.stat().st_size for file in files)
            problems = recording.problems + found
            return RecordingInfo(path, recording.start_ns, duration, nbytes, topics, cameras, poses, problems)


def _rate(count: int, duration: float) -> float:
    return (count - 1) / duration if count > 1 and duration > 0 else 0.0
