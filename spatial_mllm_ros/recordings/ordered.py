"""A first pass over a recording: what is small is gathered, of images and depth only stamps and sizes are noted."""

from array import array
from collections.abc import Callable, Collection, Iterator, Mapping
from heapq import heappop, heappush, merge
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import BagError
from .gathered import Feeder, Transforms
from .poses import PoseSource, is_static
from .recording import Recording
from .restamp import leading_stamp
from .runs import Runs
from .source import FOREVER
from .topic import Topic
from .types import ODOMETRY, TRANSFORMS

HELD = 256 * 2**20  # bytes of messages that may wait for their turn
LATE_NS = 5_000_000_000  # after the end of what is looked at, transforms and poses are still gathered


class Ordered:
    """What has to be known of a recording before its images are read in order of their stamps.

    A recording may hold several runs, see :class:`Runs`: what is of one has nothing to do with the others. Within a
    run, stamps decide.

    Args:
        images: topics of colour and depth. turning: those of them whose stamps tell runs apart.
        infos: topics of camera_info.
        stop_ns: log time at which to stop looking at images.

    Attributes:
        transforms: all of them, and poses. last: number of the last run.
        counts: name -> number of images or depth images.
        length_ns: from the earliest to the latest stamp of the longest run.
    """

    def __init__(
        self,
        recording: Recording,
        images: Collection[str],
        turning: Collection[str],
        infos: Collection[str],
        poses: PoseSource,
        stop_ns: int = FOREVER,
    ):
        self._recording, self._images, self._poses, self._stop = recording, list(images), poses, stop_ns
        self.transforms = Transforms()
        self._infos: dict[str, list[tuple[int, int, bytes]]] = {name: [] for name in infos}
        self._topics, self._runs, self._stamps, self._sizes = array("i"), array("i"), array("q"), array("q")
        number = {name: i for i, name in enumerate(self._images)}
        known = recording.topics
        moving = [t.name for t in known.values() if t.type == TRANSFORMS or t.name == poses.topic]
        runs, latest = Runs(), 0
        late = stop_ns if stop_ns == FOREVER else stop_ns + LATE_NS
        for topic, logged, data in recording.messages({*images, *infos, *moving}, stop_ns=late):
            if topic.name in moving:
                self._gather(topic, data, runs)
            elif topic.name in self._infos:
                self._keep_info(topic, data, runs)
            elif logged < stop_ns:
                stamp = leading_stamp(data)
                latest = stamp if stamp > 0 else latest
                self._topics.append(number[topic.name])
                self._runs.append(runs.of(topic.name, latest, topic.name in turning))
                self._stamps.append(latest)
                self._sizes.append(len(data))
        self.last = runs.now
        self._order = np.minimum(np.array(self._runs, np.int64), self.last), np.array(self._stamps, np.int64)
        numbers = np.bincount(np.array(self._topics, np.int64), minlength=len(self._images)).tolist()
        self.counts = dict(zip(self._images, numbers, strict=True))
        self.length_ns = _longest(*self._order)

    def messages(self) -> Iterator[tuple[int, int, Topic, bytes]]:
        """(run, stamp, topic, message in CDR) of images and depth, in order of the first two.

        Messages are held for that, HELD bytes at most. Where this is not enough, as when topics were logged one after
        the other, the recording is read once for each topic.
        """
        runs, stamps = self._order
        topics, sizes = np.array(self._topics), np.array(self._sizes)
        lanes: list[Collection[str]] = [self._images]
        if _most_held(runs, stamps, sizes) > HELD:
            lanes = [[name] for name in self._images]
        ordered = []
        for lane in lanes:
            mine = np.isin(topics, [self._images.index(name) for name in lane])
            ordered.append(
                self._in_order(lane, runs[mine], _earliest_after(runs[mine], stamps[mine]), HELD // len(lanes))
            )
        return merge(*ordered, key=lambda m: m[:2])

    def infos(self, feeds: Mapping[str, Collection[Callable[[Any, int], None]]]) -> list[Feeder]:
        """Feeds each camera_info that differs from the one before; the first good one also at the very beginning."""
        feeders = []
        for name, found in self._infos.items():
            found.sort(key=lambda info: info[:2])

            def feed(i: int, name: str = name, found: list = found) -> None:
                _, stamp, data = found[i]
                try:
                    message = self._recording.decode(self._recording.topics[name], data)
                except BagError:
                    return  # told when it was gathered
                for one in feeds[name]:
                    one(message, stamp)

            for i in reversed(range(len(found))):
                feed(i)
            feeders.append(Feeder(np.array([i[0] for i in found]), np.array([i[1] for i in found]), feed))
        return feeders

    def _gather(self, topic: Topic, data: bytes, runs: Runs) -> None:
        message = self._recording.decoded_or_none(topic, data)
        if message is None:
            return
        if topic.name == self._poses.topic:
            child, pose = self._poses.child_frame, message.pose
            if topic.type == ODOMETRY:
                child, pose = message.child_frame_id, pose.pose
            self.transforms.add_pose(runs, message.header, child, pose)
        elif is_static(topic.name):
            self.transforms.add_static(message)
        else:
            self.transforms.add(runs, message, once=topic.convert is not None)

    def _keep_info(self, topic: Topic, data: bytes, runs: Runs) -> None:
        kept = self._infos[topic.name]
        if (not kept or kept[-1][2][12:] != data[12:]) and self._recording.decoded_or_none(topic, data) is not None:
            kept.append((runs.now, leading_stamp(data), data))

    def _in_order(
        self, topics: Collection[str], runs: NDArray, after: NDArray, most: int
    ) -> Iterator[tuple[int, int, Topic, bytes]]:
        """One reading of these topics; a message goes when no earlier one can come, or too many wait."""
        waiting: list[tuple[int, int, int, Topic, bytes]] = []
        held = latest = 0
        read = self._recording.messages(topics, stop_ns=self._stop)
        for i, (run, first, (topic, _, data)) in enumerate(zip(runs.tolist(), after.tolist(), read)):
            stamp = leading_stamp(data)
            latest = max(latest, stamp)
            heappush(waiting, (run, stamp if stamp > 0 else latest, i, topic, data))
            held += len(data)
            while waiting and ((waiting[0][0], waiting[0][1]) <= (run, first) or held > most):
                run_of, stamp, _, topic, data = heappop(waiting)
                held -= len(data)
                yield run_of, stamp, topic, data
        while waiting:
            run_of, stamp, _, topic, data = heappop(waiting)
            yield run_of, stamp, topic, data


def _longest(runs: NDArray, stamps: NDArray) -> int:
    """How long the longest run is, ns; stamps that are zero do not count."""
    return max((int(np.ptp(stamps[(runs == run) & (stamps > 0)])) for run in np.unique(runs[stamps > 0])), default=0)


def _earliest_after(runs: NDArray, stamps: NDArray) -> NDArray[np.int64]:
    """For each message the earliest stamp of those after it in its run; FOREVER for the last."""
    after = np.full(len(stamps), FOREVER, np.int64)
    for run in np.unique(runs):
        (mine,) = np.nonzero(runs == run)
        after[mine[:-1]] = np.minimum.accumulate(stamps[mine][::-1])[::-1][1:]
    return after


def _most_held(runs: NDArray, stamps: NDArray, sizes: NDArray) -> int:
    """Bytes that have to be held at most for messages to go in order of their stamps."""
    after = _earliest_after(runs, stamps)
    if (stamps <= after).all():
        return 0
    waiting: list[tuple[int, int, int]] = []
    held = most = 0
    for run, stamp, first, size in zip(runs.tolist(), stamps.tolist(), after.tolist(), sizes.tolist()):
        heappush(waiting, (run, stamp, size))
        held += size
        while waiting and waiting[0][:2] <= (run, first):
            held -= heappop(waiting)[2]
        most = max(most, held)
    return most
