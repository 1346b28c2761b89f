"""The loop over frames by itself: what it drops when the pipeline is too slow, and that nothing ends it."""

from threading import Event
from types import SimpleNamespace

import pytest

from spatial_mllm_ros.assembler import FrameAssembler
from spatial_mllm_ros.config import build
from spatial_mllm_ros.errors import BadMessage
from spatial_mllm_ros.node.frame_loop import FrameLoop
from spatial_mllm_ros.node.inputs import camera_streams, transform_streams

from .process import changed, polled
from .scene import depth, image, info, transforms

MS = 1_000_000
START = 1_000_000 * MS


class Pipeline:
    """Takes frames when it is allowed to, and remembers which."""

    def __init__(self, error=None):
        self.stamps, self.allowed, self.error = [], Event(), error

    def process(self, frame):
        self.allowed.wait(10)
        if self.error:
            raise self.error
        self.stamps.append(frame.stamp_ns)
        return SimpleNamespace(reset=False, news=(), stamp_ns=frame.stamp_ns)

    def reset(self):
        self.stamps.clear()


class Log:
    def __init__(self):
        self.lines = []

    def error(self, text, throttle_duration_sec):
        self.lines.append(text)


class Bench:
    """A loop with streams of one camera, but no ROS."""

    def __init__(self, queue_size=4, error=None, ahead=500 * MS):
        config = build({"sync.queue_size": queue_size, "sync.tolerance": 0.001})
        self.pipeline, self.log, self.published = Pipeline(error), Log(), []
        self.assembler = FrameAssembler(config)
        streams = [*transform_streams(config), *camera_streams("camera", config.camera("camera"), config)]
        self.streams = {s.kind: s for s in streams}
        self.loop = FrameLoop(self.pipeline, self.assembler, lambda: START + ahead, self._publish, self.log)
        self.loop.start(SimpleNamespace(streams=streams))
        self.streams["tf_static"].store(transforms((0, "odom", "camera_optical", 0.0)))

    def _publish(self, processed, age):
        with changed:
            self.published.append((processed.stamp_ns, age))
            changed.notify_all()

    def send(self, i):
        ns = START + i * 10 * MS
        for kind, msg in (("camera_info", info(ns)), ("depth", depth(ns)), ("image", image(ns, 0))):
            self.streams[kind].store(msg)
        self.loop.arrived.set()
        return ns

    def settle(self, count):
        polled(lambda: len(self.published) + self.loop.dropped().total() == count, f"{count} frames accounted for")


@pytest.fixture
def bench():
    benches = []

    def make(**options):
        benches.append(Bench(**options))
        return benches[-1]

    yield make
    for b in benches:
        b.pipeline.allowed.set()
        b.loop.stop()


def test_each_frame_is_published_with_its_age(bench):
    b = bench()
    b.pipeline.allowed.set()
    ns = b.send(0)
    b.settle(1)
    assert b.published == [(ns, 500 * MS)]
    assert list(b.loop.ages) == [0.5]
    assert b.loop.processed == {"camera": 1}
    assert not b.loop.dropped()


YEAR = 365 * 24 * 3600 * 1000 * MS


@pytest.mark.parametrize("ahead", [2 * YEAR, -2 * YEAR, 61_000 * MS, -1_001 * MS])
def test_stamps_of_another_clock_have_no_age(bench, ahead):
    b = bench(ahead=ahead)
    b.pipeline.allowed.set()
    ns = b.send(0)
    b.settle(1)
    assert b.published == [(ns, None)]
    assert not b.loop.ages
    said = b.assembler.problems["another clock"]
    assert "stamped 1970-01-01 00:16:40 UTC" in said and b.loop.apart in said
    assert "use_sim_time" in said and "--restamp" in said


@pytest.mark.parametrize(("ahead", "age"), [(59_000 * MS, 59_000 * MS), (0, 0), (-900 * MS, 0)])
def test_an_age_is_never_negative(bench, ahead, age):
    b = bench(ahead=ahead)
    b.pipeline.allowed.set()
    ns = b.send(0)
    b.settle(1)
    assert b.published == [(ns, age)]
    assert list(b.loop.ages) == [age / 1e9]
    assert not b.loop.apart and not b.assembler.problems


@pytest.mark.parametrize("queue_size", [1, 3])
def test_a_slow_pipeline_drops_the_oldest_and_counts_every_one(bench, queue_size):
    b = bench(queue_size=queue_size)
    stamps = [b.send(0)]
    polled(lambda: not b.streams["image"]._queue, "the first frame in work")
    stamps += [b.send(i) for i in range(1, 20)]
    b.pipeline.allowed.set()
    b.settle(20)
    dropped = b.loop.dropped()
    assert dropped.total() + len(b.published) == 20
    assert dropped.total() >= 19 - queue_size
    assert set(dropped) <= {"queue full", "no depth"}
    assert b.pipeline.stamps[0] == stamps[0]  # it was in work already
    assert b.pipeline.stamps[-1] == stamps[-1]  # the newest is never the one to go
    assert b.pipeline.stamps == sorted(b.pipeline.stamps)


def test_counts_outlive_a_pause(bench):
    b = bench(queue_size=1)
    b.send(0)
    polled(lambda: not b.streams["image"]._queue, "the first frame in work")
    for i in range(1, 6):
        b.send(i)
    b.pipeline.allowed.set()
    b.settle(6)
    before = b.loop.dropped()
    b.loop.stop()
    assert b.loop.dropped() == before
    b.loop.reset()
    assert not b.loop.dropped()
    assert not b.loop.processed


@pytest.mark.parametrize(
    ("error", "reason", "lines"),
    [(BadMessage("PNG is broken"), "bad image", 0), (RuntimeError("a defect"), "failed", 1)],
)
def test_a_frame_that_fails_is_counted_and_the_next_is_processed(bench, error, reason, lines):
    b = bench(error=error)
    b.pipeline.allowed.set()
    b.send(0)
    polled(lambda: b.loop.dropped() == {reason: 1}, "the count")
    b.pipeline.error = None
    b.send(1)
    b.settle(2)
    assert len(b.published) == 1
    assert len(b.log.lines) == lines
    assert all("a defect" in line for line in b.log.lines)
