"""Frames of a recording, in order of time, with what is not named found by itself."""

import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

from ..assembler import FrameAssembler, Part
from ..config import Config
from ..frames import Frame
from .errors import BagWarning
from .poses import is_static, transform_messages
from .recording import Recording
from .topics import find_sources
from .types import TRANSFORMS

PATIENCE = 0.5  # s; a recording has no deadline: images wait longer for late poses than they would live


class FrameReader(AbstractContextManager["FrameReader"]):
    """The frames of a recording; iterate it as often as needed, close it after.

    Frames come in order of their stamps. Memory is constant: only what waits for its depth, pose or turn is held.

    Args:
        path: any recording, see :class:`Recording`.
        config: parameters to read it with; its cameras and pose source are replaced by those of the recording.
        needs: parts that a frame must have, see :class:`FrameAssembler`; by default as ``config`` asks for.
        topics: what not to guess, see :func:`find_sources`.

    Attributes:
        recording, sources: what is read, and from which topics.
        config: the parameters with the cameras and pose source of the recording.
        dropped: how many images of the last iteration never became a frame, by reason; said in a BagWarning at its end.

    Raises:
        BagError: not a recording, no camera in it, or a topic that is not there or of the wrong type.
    """

    def __init__(
        self, path: str | Path, config: Config | None = None, needs: Collection[Part] | None = None, **topics: Any
    ):
        self.recording = Recording(path)
        try:
            self.sources = find_sources(self.recording, **topics)
        except BaseException:
            self.recording.close()
            raise
        config = self.sources.config(config)
        self.config = replace(config, pose=replace(config.pose, max_wait=max(config.pose.max_wait, PATIENCE)))
        self._needs = needs
        self.dropped: Counter[str] = Counter()
        for problem in self.sources.problems:
            warnings.warn(problem, BagWarning, stacklevel=2)

    def __iter__(self) -> Iterator[Frame]:
        assembler = FrameAssembler(self.config, self._needs)
        self.dropped = assembler.dropped
        for _, message in transform_messages(self.recording, static_only=True):
            assembler.add_transforms(message, static=True)
        held: list[tuple[tuple[int, str], int, Frame]] = []
        slack = int(self.config.pose.max_wait * 1e9) if len(self.config.cameras) > 1 else 0
        newest = count = jumps = 0
        feeds = self._feeds(assembler)
        for topic, now, message in self.recording.decoded(feeds):
            for feed in feeds[topic.name]:
                feed(message, now)
            if assembler.jumps != jumps:
                jumps, newest = assembler.jumps, 0
                while held:
                    yield heappop(held)[-1]
            for frame in assembler.take(now):
                newest = max(newest, frame.stamp_ns)
                heappush(held, (frame.key, count := count + 1, frame))
            while held and held[0][0][0] <= newest - slack:
                yield heappop(held)[-1]
        for frame in assembler.take(self.recording.end_ns, flush=True):
            heappush(held, (frame.key, count := count + 1, frame))
        while held:
            yield heappop(held)[-1]
        for reason, dropped in assembler.dropped.items():
            text = f"{dropped} images left out, {reason}: {assembler.problems[reason]}"
            warnings.warn(text, BagWarning, stacklevel=2)

    def close(self) -> None:
        self.recording.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _feeds(self, assembler: FrameAssembler) -> dict[str, list[Callable[[Any, int], None]]]:
        """What takes the messages of each topic that is read; one may serve several cameras."""
        feeds = defaultdict(list)
        for t in self.recording.topics.values():
            if t.type == TRANSFORMS:
                feeds[t.name].append(assembler.feeder("tf_static" if is_static(t.name) else "tf"))
        feeds[self.sources.poses.topic].append(assembler.feeder("pose"))
        for camera, topics in self.sources.cameras.items():
            for kind, name in vars(topics).items():
                feeds[name].append(assembler.feeder(kind, camera))
        feeds.pop("", None)  # no depth, or no topic of poses
        return feeds


def read_frames(
    path: str | Path, config: Config | None = None, needs: Collection[Part] | None = None, **topics: Any
) -> Iterator[Frame]:
    """Frames of a recording in order of time; see :class:`FrameReader` for arguments and errors."""
    reader = FrameReader(path, config, needs, **topics)

    def frames() -> Iterator[Frame]:
        with reader:
            yield from reader

    return frames()
