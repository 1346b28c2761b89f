"""Frames of a recording, in order of time, with what is not named found by itself."""

import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from functools import cached_property
from heapq import heappop, heappush
from math import inf
from pathlib import Path
from typing import Any

from ..assembler import WIDEST_GAP_NS, WITHOUT_POSE, FrameAssembler, Part
from ..config import Config
from ..errors import BadMessage
from ..frames import Frame
from ..geometry.self_check import SelfCheck, Verdict
from ..geometry.transform_buffer import TransformBuffer
from .errors import BagWarning
from .ordered import Ordered
from .recording import Recording
from .source import FOREVER
from .survey import moved_cameras
from .topics import find_sources

PAIRS = 10  # of frames, spread over the recording, by which depth and poses are compared
SHORTEST_NS = 100_000_000  # between two pairs
PATIENCE = 0.5  # s; a recording has no deadline: images wait longer for late poses than they would live


class FrameReader(AbstractContextManager["FrameReader"]):
    """The frames of a recording; iterate it as often as needed, close it after.

    Frames come in order of their stamps, in whatever order messages were logged: transforms and camera_info are
    gathered first, then images and depth are read in order. Memory is bounded, see :class:`Ordered`.

    Args:
        path: any recording, see :class:`Recording`, or an open one, which is closed with the reader.
        config: parameters to read it with; its cameras and pose source are replaced by those of the recording.
        needs: parts that a frame must have, see :class:`FrameAssembler`; by default as ``config`` asks for.
        topics: what not to guess, see :func:`find_sources`.

    Attributes:
        recording, sources: what is read, and from which topics.
        config: the parameters with the cameras and pose source of the recording.
        stop_ns: images that were logged later are not read; may be set before the first iteration.
        assembler: that of the last iteration; what it left out, and what frames lack, is said at its end.
        verdicts: by camera, whether depth and poses of the last iteration agree, known at its end; where they do not,
            that is said too.

    Raises:
        BagError: not a recording, no camera in it, or a topic that is not there or of the wrong type.
    """

    def __init__(
        self,
        path: str | Path | Recording,
        config: Config | None = None,
        needs: Collection[Part] | None = None,
        **topics: Any,
    ):
        self.recording = path if isinstance(path, Recording) else Recording(path)
        try:
            self.sources = find_sources(self.recording, **topics)
        except BaseException:
            self.recording.close()
            raise
        config = self.sources.config(config)
        self.config = replace(config, pose=replace(config.pose, max_wait=max(config.pose.max_wait, PATIENCE)))
        self._needs, self.stop_ns = needs, FOREVER
        self.assembler = FrameAssembler(self.config, needs)
        self.verdicts: dict[str, Verdict] = {}
        for problem in self.sources.problems:
            warnings.warn(problem, BagWarning, stacklevel=2)

    def __iter__(self) -> Iterator[Frame]:
        assembler = self.assembler = FrameAssembler(self.config, self._needs)
        assembler.moved, self.verdicts = self.moved, {}
        every_ns = max(self._ordered.length_ns // PAIRS, SHORTEST_NS)
        checks = {name: SelfCheck(every_ns) for name in self.config.cameras}
        for frame in self._frames(assembler):
            with suppress(BadMessage):  # it is told where it is used
                checks[frame.camera.name].look(frame)
            frame.release()
            yield frame
        self.verdicts = {name: check.finish() for name, check in checks.items()}
        for line in self.told():
            warnings.warn(line, BagWarning, stacklevel=2)

    def _frames(self, assembler: FrameAssembler) -> Iterator[Frame]:
        """All frames that an assembler makes, in order of their stamps."""
        feeds, ordered = self._feeds(assembler), self._ordered
        transforms, infos = ordered.transforms.feeder(assembler, ordered.last), ordered.infos(feeds)
        assembler.transforms.history_ns += WIDEST_GAP_NS  # they are fed so far ahead: holes are known as such
        held: list[tuple[tuple[int, str], int, Frame]] = []
        count = run = now = 0
        for its_run, now, topic, data in ordered.messages():
            if its_run != run:
                for frame in assembler.take(now, flush=True):
                    heappush(held, (frame.key, count := count + 1, frame))
                yield from _taken(held)
                run = its_run
                assembler.begin_anew()
            message = self.recording.decoded_or_none(topic, data)
            if message is None:
                continue
            transforms.until(run, now + WIDEST_GAP_NS)
            for info in infos:
                info.until(run, now)
            for feed in feeds[topic.name]:
                feed(message, now)
            for frame in assembler.take(now):
                heappush(held, (frame.key, count := count + 1, frame))
            waits = assembler.waits_from()
            yield from _taken(held, now if waits is None else min(now, waits))
        for frame in assembler.take(now, flush=True):
            heappush(held, (frame.key, count := count + 1, frame))
        yield from _taken(held)

    def told(self, every: bool = False) -> list[str]:
        """What the last iteration left out, what frames lack, with numbers and causes, and what disagrees.

        Args:
            every: also that frames lack poses where there are none, which ``sources`` says too.
        """
        every = every or bool(self.sources.poses.source)
        lacking = self.assembler.lacking.items()
        lines = [f"{n} {what}: {text}" for (_, what, _), (n, text) in lacking if every or what != WITHOUT_POSE]
        return lines + [verdict.about(name) for name, verdict in self.verdicts.items() if verdict.wrong]

    @property
    def dropped(self) -> Counter[str]:
        """How many images of the last iteration never became a frame, by reason."""
        return self.assembler.dropped

    @cached_property
    def moved(self) -> dict[str, bool]:
        """By camera, where that is known: whether it moves though no transform moves it; it has no poses then."""
        if self.config.pose.still or not self.sources.poses.source:
            return {}
        assembler = FrameAssembler(replace(self.config, pose=replace(self.config.pose, still=True)), ())
        images = {name: self._ordered.counts[topics.image] for name, topics in self.sources.cameras.items()}
        world, known = self.config.pose.world_frame.lstrip("/"), assembler.transforms

        def whole() -> TransformBuffer:
            if self.stop_ns == FOREVER:
                return known
            later, rest = FrameAssembler(self.config, ()), Ordered(self.recording, (), (), (), self.sources.poses)
            rest.transforms.feeder(later, rest.last).until(rest.last, FOREVER)
            return later.transforms

        return moved_cameras(self._frames(assembler), images, world, known, whole)

    @cached_property
    def _ordered(self) -> Ordered:
        topics = [vars(camera) for camera in self.sources.cameras.values()]
        named = {kind: [t[kind] for t in topics if t[kind]] for kind in topics[0]}
        images = dict.fromkeys([*named["image"], *named["depth"]])
        infos = {name for kind, names in named.items() for name in names} - images.keys()
        return Ordered(self.recording, images, named["image"], infos, self.sources.poses, self.stop_ns)

    def close(self) -> None:
        self.recording.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _feeds(self, assembler: FrameAssembler) -> dict[str, list[Callable[[Any, int], None]]]:
        """What takes the messages of each topic of a camera; one may serve several cameras."""
        feeds = defaultdict(list)
        for camera, topics in self.sources.cameras.items():
            for kind, name in vars(topics).items():
                feeds[name].append(assembler.feeder(kind, camera))
        feeds.pop("", None)  # no depth
        return feeds


def _taken(held: list[tuple[tuple[int, str], int, Frame]], before: float = inf) -> Iterator[Frame]:
    """Frames that are held, in order of time, as far as none before them can come any more."""
    while held and held[0][0][0] < before:
        yield heappop(held)[-1]


def read_frames(
    path: str | Path, config: Config | None = None, needs: Collection[Part] | None = None, **topics: Any
) -> Iterator[Frame]:
    """Frames of a recording in order of time; see :class:`FrameReader` for arguments and errors."""
    reader = FrameReader(path, config, needs, **topics)

    def frames() -> Iterator[Frame]:
        with reader:
            yield from reader

    return frames()
